//! Time goes wrong: the real-time clock jumps, forwards and backwards, while the server runs and while it is down; and
//! the server stands still for seconds (SIGSTOP), then goes on, or is killed as it stands.
//!
//! `SYNCBRIDGE_TORTURE_JUMPS` sets how often each is done (1 when it is not set).

use std::{sync::Arc, time::Duration};

use crate::{
    points::{folder, with},
    rounds::{Crew, Tally},
    shim::Shim,
    support::{http::get, seed},
    truth::Clock,
};

const HOUR_MS: i64 = 3_600_000;
/// How far the clock is off, one after the other. Less than 30 days in all: an incarnation that is idle for longer is
/// closed, which is another promise.
const OFF: [i64; 6] = [HOUR_MS, -HOUR_MS, 10 * 24 * HOUR_MS, -24 * HOUR_MS, 1_500, 0];
/// How long it stands still.
const STILL: Duration = Duration::from_millis(1_500);

fn times() -> usize {
    std::env::var("SYNCBRIDGE_TORTURE_JUMPS").map_or(1, |times| times.parse().expect("a number"))
}

#[tokio::test]
async fn a_clock_that_jumps_loses_nothing_and_stops_nobody() {
    fastrand::seed(seed());
    let (folder, setup, token) = folder();
    let shim = Arc::new(Shim::new(folder.path(), &setup.data));
    let setup = with(&setup, shim.environment(false));
    let (mut tally, mut crew) = (Tally::default(), Crew::new(Clock::default()));
    // What the server's stamps say is how far the clock was off.
    crew.trusts_stamps = false;
    let jumps = OFF.len() * times();
    for jump in 0..jumps {
        let server = setup.start();
        let mut stage =
            crew.take_stage((jump % 4 == 0).then(|| format!("jump{jump}")), &server, &token, &mut tally).await;
        crew.load(&mut stage);
        stage.answered(fastrand::u64(100..400)).await;
        shim.shift_clock(OFF[jump % OFF.len()]);
        stage.answered(fastrand::u64(400..800)).await;
        assert_eq!(get(server.clients, "/ready").await.0, 200, "{}", setup.log());
        server.kill();
        crew.end(stage).await;
        if fastrand::bool() {
            shim.shift_clock(OFF[fastrand::usize(..OFF.len())]);
        }
    }
    crew.finish(&setup, &token, &mut tally).await;
    println!("the clock jumps: jumps={jumps} {tally}");
}

#[tokio::test]
async fn a_server_that_stands_still_for_seconds_goes_on_where_it_was() {
    fastrand::seed(seed());
    let (_folder, setup, token) = folder();
    let (mut tally, mut crew) = (Tally::default(), Crew::new(Clock::default()));
    let stops = 2 * times();
    for stop in 0..stops {
        let server = setup.start();
        let mut stage =
            crew.take_stage((stop % 4 == 0).then(|| format!("still{stop}")), &server, &token, &mut tally).await;
        crew.load(&mut stage);
        stage.answered(fastrand::u64(1..400)).await;
        server.pause();
        tokio::time::sleep(STILL).await;
        if stop % 2 == 0 {
            server.resume();
            // They write on the same connections.
            stage.answered(fastrand::u64(200..400)).await;
            assert!(!stage.anyone_left(), "a pause of {STILL:?} cost somebody the connection");
        }
        server.kill();
        crew.end(stage).await;
    }
    crew.finish(&setup, &token, &mut tally).await;
    println!("SIGSTOP for {STILL:?}: stops={stops}, half of them killed as they stood: {tally}");
}
