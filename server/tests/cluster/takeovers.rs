//! An owner that stands still: SIGSTOP for longer than its lease, while another server takes its session; then SIGCONT.
//! It must write nothing more, tell whoever is left with it, and send them to the new owner.
//!
//! `SYNCBRIDGE_TAKEOVERS` sets how often (3 when it is not set).

use std::{collections::HashSet, path::Path};

use serde_json::Value;
use syncbridge_client::Transport;
use syncbridge_storage::{
    Engine as _, Error, Outcome, Sink, StoredDelta, Ticket,
    engine::scylla::{Options, Scylla},
};

use crate::{
    ALONE,
    app::{App, As, Durable, Writer, log},
    support::{
        cassandra::Keyspace,
        http::get_as,
        server::{Server, Setup},
        until, within,
    },
};

const SESSION: &str = "shared";
/// Durable updates before an owner is stopped, and by the next one before it is woken.
const BETWEEN: usize = 20;

/// Versions that are looked at behind each takeover: the store keeps 1,000, and time goes on meanwhile.
const LOOKED_AT: u64 = 900;

/// The test reads the store and writes nothing.
struct Nobody;

impl Sink for Nobody {
    fn completed(&self, _: &[(Ticket, Outcome)]) {
        unreachable!("nothing is submitted");
    }
    fn poisoned(&self, error: &Error) {
        panic!("{error}");
    }
}

/// Servers that check each other's tokens. Their leases are so many seconds.
fn cluster(folder: &Path, keyspace: &Keyspace, lease: u64) -> Vec<Setup> {
    let setup = |name: &str| {
        let data = folder.join(name);
        std::fs::create_dir(&data).expect("a folder");
        keyspace
            .of(Setup::with_lasting_port(&data))
            .set("storage.cassandra.lease_seconds", lease)
            .set("connection.heartbeat_ms", 1_000)
    };
    let setups = vec![setup("a"), setup("b")];
    setups[0].token("ann", &[]);
    std::fs::copy(setups[0].data.join("signing-key.pem"), setups[1].data.join("signing-key.pem")).expect("copied");
    setups
}

/// What a server says when it is asked for the session by REST.
async fn asked(server: &Server, token: &str) -> (u16, Value) {
    let (status, body) = get_as(server.clients, &format!("/api/v1/sessions/{SESSION}"), token).await;
    (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{status} {body}: {error}")))
}

/// The server that has the session, and the other, which says so. (On a machine with much else to do a lease may end by
/// itself.)
async fn owner<'a>(servers: &'a [Server], token: &str) -> (&'a Server, &'a Server) {
    loop {
        for (one, other) in [(0, 1), (1, 0)].map(|(one, other)| (&servers[one], &servers[other])) {
            let (status, problem) = asked(other, token).await;
            if status == 503 && problem["code"] == "moved" && problem["address"] == one.clients.to_string() {
                return (one, other);
            }
        }
    }
}

/// Makes the owner stand still: the epoch that it had, itself, and the other. What the other says then is what counts: the
/// session may have moved in the last moment.
async fn pause_owner<'a>(servers: &'a [Server], token: &str) -> (u64, &'a Server, &'a Server) {
    loop {
        let (owner, next) = owner(servers, token).await;
        let (200, held) = asked(owner, token).await else { continue };
        owner.pause();
        if asked(next, token).await.1["address"] == owner.clients.to_string() {
            return (held["epoch"].as_u64().expect("a number"), owner, next);
        }
        owner.resume();
    }
}

/// The changes that the store has, from the first of `after` that it is sure to keep.
fn changes(store: &Scylla, after: u64) -> Vec<StoredDelta> {
    let mut all: Vec<StoredDelta> = Vec::new();
    let after = after.max(store.load(SESSION).expect("readable").expect("there").version.saturating_sub(LOOKED_AT));
    loop {
        let from = all.last().map_or(after, |last| last.version);
        let more = store.deltas(SESSION, from, 1 << 20).expect("readable").expect("they are kept");
        if more.is_empty() {
            return all;
        }
        all.extend(more);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_stood_still_writes_nothing_more_and_its_clients_end_up_with_the_next_one() {
    let _alone = ALONE.lock().await;
    let rounds = std::env::var("SYNCBRIDGE_TAKEOVERS").map_or(3, |rounds| rounds.parse().expect("a number"));
    let folder = tempfile::tempdir().expect("a folder");
    let keyspace = Keyspace::new().migrated();
    let setups = cluster(folder.path(), &keyspace, 2);
    let servers: Vec<Server> = setups.iter().map(Setup::start).collect();
    let token = setups[0].token("ann", &[]);
    let both = format!("{},{}", servers[0].clients, servers[1].clients);
    let options = Options { lease: std::time::Duration::from_mins(1), ..keyspace.0.clone() };
    let store = Scylla::open(&options, std::sync::Arc::new(Nobody)).expect("opens");

    let of = |name, transport, patience| As { name, transport, servers: &both, token: &token, patience };
    let mut writer = Writer::start(App::start(of("writer", Transport::Quic, 500), SESSION, true).await);
    // They believe in whoever they are connected to: they are still there when it wakes up.
    let left = [
        App::start(of("left-ws", Transport::WebSocket, 60_000), SESSION, false).await,
        App::start(of("left-quic", Transport::Quic, 60_000), SESSION, false).await,
    ];
    let mut late: Durable = Vec::new();
    // The first version is made by no change.
    let mut checked = 1;
    for round in 0..rounds {
        writer.last_epoch_after(BETWEEN).await;
        let (before, owner, next) = within("the owner stands still", pause_owner(&servers, &token)).await;
        let stale: Vec<_> = left.iter().map(|app| (format!("{}.{round}", app.name), app)).collect();
        let stale: Vec<_> = stale.into_iter().map(|(marker, app)| (app.append(&marker), marker)).collect();
        writer.goes_on(BETWEEN, |at| at.epoch > before).await;
        let epoch = writer.last().epoch;
        owner.resume();

        for (update, marker) in stale {
            let at = within("what was on its way to the former owner", update.durable()).await.expect("in the end");
            assert!(at.epoch >= epoch, "{marker} was told as durable at {at:?}, and {epoch} had the session");
            late.push((marker, at));
        }
        let told = async || asked(owner, &token).await.1["address"] == next.clients.to_string();
        until("the former owner says where the session is", told).await;
        for app in &left {
            assert!(app.session.position().is_some_and(|at| at.epoch >= epoch), "{} is elsewhere", app.name);
        }
        // Whatever the former owner did since, no version of its epoch is behind one of the next.
        let made = tokio::task::block_in_place(|| changes(&store, checked));
        assert!(made.is_sorted_by_key(|delta| delta.epoch), "round {round}: a former owner wrote");
        checked = made.iter().rev().find(|delta| delta.epoch < epoch).map_or(checked, |delta| delta.version);
        println!("takeover {}: epoch {before} to {epoch}, version {}", round + 1, made.last().expect("some").version);
    }

    let (app, mut durable) = writer.stop().await;
    durable.append(&mut late);
    let there =
        log(&within("the document", app.client.get(SESSION)).await.expect("there").value.deserialize().expect("JSON"));
    let once: HashSet<&String> = there.iter().collect();
    assert_eq!(once.len(), there.len(), "something is there twice");
    for (marker, at) in &durable {
        assert!(once.contains(marker), "{marker} was told as durable at {at:?} and is lost");
    }
    assert_eq!(there.len(), durable.len(), "something is there that nobody was told of");
    for app in left {
        let name = app.name;
        until("it has all", async || app.log() == there).await;
        let seen = app.finish().await;
        assert!(seen.lost + seen.resumed >= rounds as u64, "{name}: {seen:?}");
    }
    app.finish().await;
    println!("{rounds} takeovers, {} durable updates, each there once", durable.len());
}

impl Writer {
    /// The session's epoch, once so many more are durable.
    async fn last_epoch_after(&mut self, more: usize) -> u64 {
        self.goes_on(more, |_| true).await;
        self.last().epoch
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_down_or_comes_back_keeps_nobody_waiting_for_its_lease_and_resets_nobody() {
    let _alone = ALONE.lock().await;
    let folder = tempfile::tempdir().expect("a folder");
    let keyspace = Keyspace::new().migrated();
    // Longer than anything is waited for here.
    let setups = cluster(folder.path(), &keyspace, 600);
    let mut servers: Vec<Server> = setups.iter().map(Setup::start).collect();
    let token = setups[0].token("ann", &[]);
    let both = format!("{},{}", servers[0].clients, servers[1].clients);
    let of = As { name: "writer", transport: Transport::Quic, servers: &both, token: &token, patience: 500 };
    let mut writer = Writer::start(App::start(of, SESSION, true).await);
    let first = writer.last_epoch_after(BETWEEN).await;

    let down = servers.remove(0);
    down.terminate();
    writer.goes_on(BETWEEN, |at| at.epoch > first).await;
    let second = writer.last().epoch;
    assert_eq!(down.ended().await.code(), Some(0));

    servers.remove(0).kill();
    let _back = setups[1].start();
    writer.goes_on(BETWEEN, |at| at.epoch > second).await;

    let (app, durable) = writer.stop().await;
    let there =
        log(&within("the document", app.client.get(SESSION)).await.expect("there").value.deserialize().expect("JSON"));
    let told: Vec<&String> = durable.iter().map(|(marker, _)| marker).collect();
    assert!(there.iter().eq(told), "everything once, in its order");
    app.finish().await;
}
