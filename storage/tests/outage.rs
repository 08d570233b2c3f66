//! A database that stands still, and one that is killed, while commits are on their way: nothing that was told is lost,
//! what waits becomes durable when it is back, and no server has to be started again. On a Cassandra of its own, which
//! syncs its log before it answers.

mod suite;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use suite::{
    cassandra::{Keyspace, script},
    create, delta_by, op, put,
    recorder::Recorder,
};
use syncbridge_storage::{
    Commit, Engine, Error,
    Outcome::{Committed, Fenced},
    Table,
    engine::scylla::{Options, Scylla},
};

const OWN: [(&str, &str); 2] = [("CASSANDRA_PORT", "19142"), ("CASSANDRA_SYNC", "batch")];

/// Stops it, however the test ends.
struct Database;

impl Drop for Database {
    fn drop(&mut self) {
        script("stop", &OWN);
    }
}

fn until(what: &str, done: impl Fn() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::yield_now();
    }
}

#[test]
fn a_database_that_is_away_for_a_while_costs_time_and_nothing_else() {
    let _database = Database;
    let keyspace = Keyspace::new_at(&script("start", &OWN));
    let sink: Arc<Recorder> = Arc::default();
    let options = Options { lease: Duration::from_secs(2), ..keyspace.0.clone() };
    let store = Scylla::open(&options, sink.clone()).expect("opens");
    let epoch = store.epoch();
    let submit = |ticket: u64| {
        let write = if ticket == 1 { create("s", epoch) } else { delta_by("s", epoch, ticket, op("u", 1, ticket)) };
        // Every tenth with a row beside it: a commit of two partitions.
        let row = ticket.is_multiple_of(10).then(|| put(Table::Membership, &format!("u\0{ticket}"), "v"));
        store.submit(Commit { ticket, writes: std::iter::once(write).chain(row).collect() });
    };
    for ticket in 1..=100 {
        submit(ticket);
    }
    assert_eq!(sink.wait(100), Committed);

    for (last, away, back) in [(300, "pause", "resume"), (500, "kill", "start")] {
        for ticket in last - 199..=last - 100 {
            submit(ticket);
        }
        script(away, &OWN);
        for ticket in last - 99..=last {
            submit(ticket);
        }
        assert!(store.stats().queued > 0, "{away}: something is on its way");
        let error = store.get(Table::Membership, b"u\x0010", 0).expect_err("the database is away");
        assert!(matches!(error, Error::Unavailable { .. }), "{away}: {error}");
        until(&format!("{away}: it cannot say that it lives"), || !store.is_owner());
        assert_eq!(sink.outcome(last), None, "{away}");
        let told = sink.order().len();
        script(back, &OWN);
        assert_eq!(sink.wait(last), Committed, "{back}");
        assert!(sink.order().len() > told);
        until(&format!("{back}: the lease is renewed"), || store.is_owner());
    }

    assert_eq!(sink.order(), (1..=500).collect::<Vec<_>>(), "each was told once, in its order");
    assert!(sink.poisoned().is_empty());
    assert!((1..=500).all(|ticket| sink.outcome(ticket) == Some(Committed)));
    let kept = store.load("s").expect("readable").expect("there");
    assert_eq!((kept.version, kept.deltas.len(), kept.incarnations[0].answers.len()), (500, 499, 499));
    assert_eq!(store.scan(Table::Membership, b"u\0", None, 100, 0).expect("readable").len(), 50);
    store.submit(Commit { ticket: 501, writes: vec![delta_by("s", epoch, 500, op("u", 1, 500))] });
    assert_eq!(sink.wait(501), Fenced);
    store.close().expect("nothing failed");
}
