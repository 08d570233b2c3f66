//! A database that is slow, deaf, gone, stands still or is killed under a running server: what waits is bounded, clients
//! are told when to come back, what is in memory is read, `/readyz` says what is wrong; when the database is back the same
//! process goes on, and everything that was told as durable is there once.

use std::{collections::HashSet, time::Duration};

use serde_json::Value;
use syncbridge_client::Transport;

use crate::{
    ALONE,
    app::{App, As, Durable, Writer, log},
    proxy::{Proxy, Way},
    support::{
        cassandra::{Keyspace, script},
        http::{get, get_as, metric},
        server::{Server, Setup},
        until, within,
    },
};

/// Its own Cassandra, which syncs its log before it answers.
const OWN: [(&str, &str); 2] = [("CASSANDRA_PORT", "19542"), ("CASSANDRA_SYNC", "batch")];
/// Updates that may wait.
const QUEUE: u32 = 32;
/// What waits beside them: a checkpoint, what the server writes down of its devices.
const BESIDE: u32 = 4;
/// Updates that come at once while the database is away.
const BURST: usize = 100;

/// Stops it, however the test ends.
struct Database;

impl Drop for Database {
    fn drop(&mut self) {
        script("stop", &OWN);
    }
}

#[derive(Debug, Clone, Copy)]
enum Trouble {
    Network(Way),
    Script(&'static str, &'static str),
}

/// Whether `/readyz` says that all is well, or that it is not, for this reason.
async fn is_ready(server: &Server, reason: Option<&str>) -> bool {
    let (status, body) = get(server.admin, "/readyz").await;
    match reason {
        None => status == 200,
        Some(reason) => status == 503 && body.contains(reason),
    }
}

/// The session by REST: it is in memory.
async fn read(server: &Server, token: &str) -> Value {
    let (status, body) = get_as(server.clients, "/api/v1/sessions/kept", token).await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).expect("JSON")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_in_trouble_is_waited_for_within_bounds_and_nothing_durable_is_lost() {
    let _alone = ALONE.lock().await;
    let _database = Database;
    let database = script("start", &OWN);
    let keyspace = Keyspace::at(&database).migrated();
    let proxy = Proxy::before(&database).await;
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let setup = keyspace
        .of(Setup::with_lasting_port(&data))
        .set("storage.cassandra.contact_points", proxy.address)
        .set("storage.cassandra.lease_seconds", 5)
        .set("persist.queue", QUEUE);
    let server = setup.start();
    let token = setup.token("ann", &[]);
    let servers = server.clients.to_string();
    let of = |name, transport| As { name, transport, servers: &servers, token: &token, patience: 60_000 };
    let mut writer = Writer::start(App::start(of("writer", Transport::Quic), "kept", true).await);
    let busy = App::start(of("busy", Transport::WebSocket), "kept", false).await;
    let mut durable: Durable = Vec::new();

    let troubles = [
        Trouble::Network(Way::Slow(Duration::from_secs(1))),
        Trouble::Network(Way::Deaf),
        Trouble::Network(Way::Gone),
        Trouble::Script("pause", "resume"),
        Trouble::Script("kill", "start"),
    ];
    for trouble in troubles {
        writer.goes_on(10, |_| true).await;
        let refused = metric(server.admin, "syncbridge_refused_total").await;
        let before = writer.durable.lock().len();
        match trouble {
            Trouble::Network(way) => proxy.goes(way),
            Trouble::Script(away, _) => tokio::task::block_in_place(|| drop(script(away, &OWN))),
        }
        let burst: Vec<_> = (0..BURST)
            .map(|number| format!("{trouble:?}.{number}").replace(['"', ' '], ""))
            .map(|marker| (busy.append(&marker), marker))
            .collect();
        until("updates are refused for now", async || metric(server.admin, "syncbridge_refused_total").await > refused)
            .await;
        let waiting = metric(server.admin, "syncbridge_commits_waiting").await;
        assert!(waiting > 0.0 && waiting <= f64::from(QUEUE + BESIDE), "{trouble:?}: {waiting} commits wait");
        assert!(metric(server.admin, "syncbridge_commit_oldest_age_seconds").await > 0.0, "{trouble:?}");
        let slow = matches!(trouble, Trouble::Network(Way::Slow(_)));
        if slow {
            writer.goes_on(2, |_| true).await;
        } else {
            until("it is said that storage is behind", async || is_ready(&server, Some("storage is behind")).await)
                .await;
            until("it is said that the lease is over", async || is_ready(&server, Some("the lease ended")).await).await;
        }
        let shown = read(&server, &token).await;
        assert!(log(&shown["state"]).len() >= before, "{trouble:?}: what is in memory is read");
        if let Trouble::Network(Way::Gone) = trouble {
            let (status, body) = get_as(server.clients, "/api/v1/sessions/elsewhere", &token).await;
            assert_eq!(status, 503, "what is not in memory cannot be: {body}");
            assert!(body.contains(r#""code":"busy""#) && body.contains("retryAfterMs"), "{body}");
        }
        assert!(metric(server.admin, "syncbridge_poisoned").await < 0.5, "{trouble:?}");

        match trouble {
            Trouble::Network(_) => proxy.goes(Way::Through),
            Trouble::Script(_, back) => tokio::task::block_in_place(|| drop(script(back, &OWN))),
        }
        until("it is ready again", async || is_ready(&server, None).await).await;
        for (update, marker) in burst {
            let at = within("what was refused for now", update.durable()).await.expect("in the end");
            durable.push((marker, at));
        }
        writer.goes_on(10, |_| true).await;
        println!("{trouble:?}: {} durable", durable.len() + writer.durable.lock().len());
    }

    let (app, more) = writer.stop().await;
    durable.extend(more);
    server.kill();
    let server = setup.start();
    // It is where its predecessor was, so it need not wait for the end of that one's lease.
    let there = log(&read(&server, &token).await["state"]);
    let once: HashSet<&String> = there.iter().collect();
    assert_eq!(once.len(), there.len(), "something is there twice");
    for (marker, at) in &durable {
        assert!(once.contains(marker), "{marker} was told as durable at {at:?} and is lost");
    }
    assert_eq!(there.len(), durable.len(), "something is there that nobody was told of");
    for app in [app, busy] {
        assert_eq!(app.finish().await.lost, 0, "nothing that was shown is lost");
    }
}
