//! `kill -9` under load, over and over on one data folder. `SYNCBRIDGE_TORTURE_KILLS` sets how often (50 when it is not
//! set); `SYNCBRIDGE_TORTURE_SEED` replays the draws.

use std::time::Duration;

use syncbridge_client::Transport;

use crate::{
    apps::{App, Seen},
    rounds::{Crew, Tally},
    support::{seed, server::Setup},
    truth::Clock,
};

/// Kills that a set of sessions lives through before a new one is made, so that documents stay small.
const KILLS_A_SET: usize = 5;

#[tokio::test]
async fn what_was_called_durable_survives_every_kill_and_nothing_is_done_twice() {
    let kills = std::env::var("SYNCBRIDGE_TORTURE_KILLS").map_or(50, |kills| kills.parse().expect("a number of kills"));
    fastrand::seed(seed());
    let folder = tempfile::tempdir().expect("a folder");
    let setup = Setup::with_lasting_port(&folder.path().join("data"));
    let token = setup.token("ann", &["--ttl", "2000000"]);
    let mut server = setup.start();
    let mut tally = Tally::default();
    let mut crew = Crew::new(Clock::default());
    let apps = [
        App::start("app-quic", Transport::Quic, server.clients, &token).await,
        App::start("app-websocket", Transport::WebSocket, server.clients, &token).await,
    ];

    for kill in 0..kills {
        let mut stage =
            crew.take_stage((kill % KILLS_A_SET == 0).then_some(&kill.to_string()), &server, &token, &mut tally).await;
        for app in &apps {
            app.back().await;
            if kill % 3 == 0 {
                app.heard().await;
            }
        }
        // Load, and death in the middle of it.
        crew.load(&mut stage);
        stage.answered(fastrand::u64(1..1_500)).await;
        server.kill();
        crew.end(stage).await;
        if fastrand::u8(..4) == 0 {
            // Recovering may be killed as well.
            setup.start_and_kill(Duration::from_micros(fastrand::u64(..60_000)));
        }
        server = setup.start();
    }
    crew.rest(&mut tally);
    let mut told = Vec::new();
    for app in apps {
        app.back().await;
        told.push(app.finish().await);
    }
    server.terminate();
    let status = server.ended().await;
    assert!(status.success(), "{status}: {}", setup.log());
    println!("kill -9 at random: kills={kills} {tally}");
    for Seen { made, lost, resumed } in told {
        println!(
            "an application on the client: {made} updates, each there once; {lost} resets as lost, {resumed} resumed"
        );
    }
    // Else the loop did not show what it is for.
    assert!(kills < 20 || (tally.rounds_that_lost > 0 && tally.reset > 0), "no kill lost anything that was accepted");
}
