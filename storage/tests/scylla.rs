//! The engine over CQL, against a real Cassandra: the shared suite, and what only it can do.

#[path = "../examples/cql_bench.rs"]
mod cql_bench;
mod suite;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Sender, channel},
    },
    time::{Duration, Instant},
};

use suite::{
    Fixture, bytes, cases, cassandra::Keyspace, create, delta, delta_by, op, put, put_new, recorder::Recorder,
};
use syncbridge_storage::{
    Commit, Engine, Error,
    Outcome::{self, Committed, Disowned, Exists, Fenced},
    Table, Taken, Write,
    engine::scylla::{
        self, Options, Scylla,
        faults::{Faults, Step},
    },
};

fn fixture_with(faults: Option<Arc<dyn Faults>>) -> Fixture {
    let keyspace = Keyspace::new();
    Fixture::new(Box::new(move |old, sink, clock| {
        drop(old);
        let options = Options { clock, faults: faults.clone(), ..keyspace.0.clone() };
        Box::new(Scylla::open(&options, sink).expect("opens"))
    }))
}

fn fixture() -> Fixture {
    fixture_with(None)
}

engine_suite!(fixture);

/// Every third answer to a conditional write that the database carried out does not arrive.
mod answers_lost {
    use super::*;

    #[derive(Default)]
    struct Every3rd(AtomicU64);

    impl Faults for Every3rd {
        fn loses_answer(&self) -> bool {
            self.0.fetch_add(1, Ordering::Relaxed) % 3 == 2
        }
    }

    fn fixture() -> Fixture {
        let lossy: Arc<dyn Faults> = Arc::<Every3rd>::default();
        // Not while a store is opened: who opens it does it again.
        Fixture::new(Box::new({
            let keyspace = Keyspace::new();
            move |old, sink, clock| {
                drop(old);
                let mut tries = 0;
                loop {
                    let options = Options { clock: clock.clone(), faults: Some(lossy.clone()), ..keyspace.0.clone() };
                    match Scylla::open(&options, sink.clone()) {
                        Ok(store) => return Box::new(store) as Box<dyn Engine>,
                        Err(error) => assert!(tries < 2, "{error}"),
                    }
                    tries += 1;
                }
            }
        }))
    }

    #[test]
    fn nothing_is_written_twice_or_told_wrong() {
        for case in [
            cases::an_absent_row_is_put_once,
            cases::a_commit_is_all_or_nothing,
            cases::answers_are_kept_with_the_effect_and_bounded,
            cases::many_threads_submit_and_each_session_keeps_its_order,
            cases::everything_completed_is_there_after_a_restart,
            cases::random_histories_match_a_model,
        ] {
            case(&mut fixture());
        }
    }
}

/// One of several servers on one keyspace.
struct Server {
    store: Scylla,
    sink: Arc<Recorder>,
    tickets: u64,
}

impl Server {
    fn open(options: &Options) -> Self {
        let sink: Arc<Recorder> = Arc::default();
        Self { store: Scylla::open(options, sink.clone()).expect("opens"), sink, tickets: 0 }
    }

    fn submit(&mut self, writes: Vec<Write>) -> u64 {
        self.tickets += 1;
        self.store.submit(Commit { ticket: self.tickets, writes });
        self.tickets
    }

    fn commit(&mut self, writes: Vec<Write>) -> Outcome {
        let ticket = self.submit(writes);
        self.sink.wait(ticket)
    }

    fn take(&self, session: &str) -> Taken {
        self.store.take(session, self.store.epoch()).expect("the database answers")
    }

    /// Takes the session as soon as it may.
    fn take_in_time(&self, session: &str) -> u64 {
        let began = Instant::now();
        loop {
            match self.take(session) {
                Taken::Owned { epoch } => return epoch,
                Taken::Held { .. } => assert!(began.elapsed() < Duration::from_secs(30), "it is never free"),
            }
        }
    }
}

fn owned(taken: &Taken) -> u64 {
    match taken {
        Taken::Owned { epoch } => *epoch,
        Taken::Held { address } => panic!("{address} has it"),
    }
}

#[test]
fn the_database_refuses_an_older_owner_who_is_told_that_it_was_disowned() {
    let keyspace = Keyspace::new();
    let mut first = Server::open(&Options { address: "first:7400".into(), ..keyspace.0.clone() });
    let mut second = Server::open(&keyspace.0);
    let old = first.store.epoch();
    assert_eq!(first.commit(vec![create("s", old), create("other", old)]), Committed);
    assert_eq!(owned(&first.take("s")), old, "who made it has it");
    assert_eq!(second.take("s"), Taken::Held { address: "first:7400".into() });

    first.store.release("s").expect("the database answers");
    let new = owned(&second.take("s"));
    assert!(new > old);
    assert_eq!(second.commit(vec![delta("s", new, 2)]), Committed);
    // The first knows nothing of it, and its chart says that it is at version 1.
    assert_eq!(first.commit(vec![delta("s", old, 2)]), Disowned);
    assert_eq!(first.commit(vec![Write::DeleteSession { session: "s".into(), epoch: old }]), Disowned);
    let with_row = vec![put(Table::User, "u", "1"), delta("s", old, 3)];
    assert_eq!(first.commit(with_row), Disowned, "in a commit of several partitions, too");
    assert_eq!(first.store.get(Table::User, b"u", 0).expect("readable"), None);
    assert_eq!(first.commit(vec![delta("other", old, 2)]), Committed, "the rest is still its own");
    let kept = second.store.load("s").expect("readable").expect("there");
    assert_eq!((kept.version, kept.epoch), (2, new));

    // And back, above the epoch of the second although the first process is older.
    assert_eq!(first.take("s"), Taken::Held { address: String::new() });
    second.store.close().expect("nothing failed");
    let newest = owned(&first.take("s"));
    assert!(newest > new);
    assert_eq!(first.commit(vec![delta("s", newest, 3)]), Committed);
    let kept = first.store.load("s").expect("readable").expect("there");
    assert_eq!(
        kept.epochs.iter().map(|start| (start.epoch, start.base)).collect::<Vec<_>>(),
        [(old, 0), (new, 1), (newest, 2)]
    );
}

#[test]
fn taking_a_session_fences_its_owner_before_anything_is_written() {
    let keyspace = Keyspace::new();
    let mut first = Server::open(&keyspace.0);
    let second = Server::open(&keyspace.0);
    let old = first.store.epoch();
    assert_eq!(first.commit(vec![create("s", old)]), Committed);
    first.store.release("s").expect("the database answers");
    owned(&second.take("s"));
    for write in [
        delta("s", old, 2),
        Write::Meta { session: "s".into(), epoch: old, meta: bytes("m") },
        Write::Op { session: "s".into(), epoch: old, op: op("u", 1, 1) },
    ] {
        assert_eq!(first.commit(vec![write]), Disowned);
    }
    let kept = second.store.load("s").expect("readable").expect("there");
    assert_eq!((kept.version, kept.epoch, kept.epochs.len()), (1, old, 1), "taking it is no commit");
}

#[test]
fn the_sessions_of_a_server_that_went_away_may_be_taken_when_its_lease_is_over() {
    let keyspace = Keyspace::new();
    let options = Options { lease: Duration::from_secs(2), address: "first".into(), ..keyspace.0.clone() };
    let mut first = Server::open(&options);
    // Not at the same address: who comes back to that has its sessions at once.
    let second = Server::open(&Options { address: "second".into(), ..options });
    let epoch = first.store.epoch();
    assert_eq!(first.commit(vec![create("s", epoch)]), Committed);
    assert!(first.store.is_owner());
    // Killed: it does not say that it leaves.
    drop(first);
    assert_eq!(second.take("s"), Taken::Held { address: "first".into() });
    assert!(second.take_in_time("s") > epoch);
}

#[test]
fn a_server_that_closes_leaves_its_sessions_at_once() {
    let keyspace = Keyspace::new();
    let mut first = Server::open(&keyspace.0);
    let second = Server::open(&keyspace.0);
    let epoch = first.store.epoch();
    assert_eq!(first.commit(vec![create("s", epoch)]), Committed);
    first.store.close().expect("nothing failed");
    assert!(!first.store.is_owner());
    assert!(owned(&second.take("s")) > epoch);
}

#[test]
fn a_session_that_is_not_there_belongs_to_who_makes_it_first() {
    let keyspace = Keyspace::new();
    let mut servers = [Server::open(&keyspace.0), Server::open(&keyspace.0)];
    for round in 0..20 {
        let name = format!("s{round}");
        for server in &servers {
            assert_eq!(owned(&server.take(&name)), server.store.epoch());
        }
        let tickets = servers.each_mut().map(|server| server.submit(vec![create(&name, server.store.epoch())]));
        let mut ended = [0, 1].map(|n: usize| servers[n].sink.wait(tickets[n]));
        ended.sort_by_key(|outcome| *outcome != Committed);
        assert_eq!(ended, [Committed, Exists]);
    }
}

#[test]
fn of_servers_that_race_for_a_key_one_gets_it_and_rows_of_all_are_kept() {
    let keyspace = Keyspace::new();
    let mut servers = [Server::open(&keyspace.0), Server::open(&keyspace.0), Server::open(&keyspace.0)];
    for round in 0..20 {
        let mail = format!("mail{round}");
        let mut tickets = Vec::new();
        for (n, server) in servers.iter_mut().enumerate() {
            // Two tables, so several partitions; all three want one of the rows and each has one of its own.
            tickets.push(server.submit(vec![
                put_new(Table::Credential, &mail, &n.to_string(), None),
                put(Table::User, &format!("u\0{round}"), &n.to_string()),
            ]));
            tickets.push(server.submit(vec![put(Table::Device, &format!("d\0{round}-{n}"), "v")]));
        }
        let ended: Vec<_> = tickets.iter().enumerate().map(|(n, ticket)| servers[n / 2].sink.wait(*ticket)).collect();
        let winners: Vec<_> = (0..3).filter(|n| ended[n * 2] == Committed).collect();
        assert_eq!(winners.len(), 1, "{ended:?}");
        assert!((0..3).all(|n| ended[n * 2 + 1] == Committed), "{ended:?}");
        for key in [(Table::Credential, mail.clone()), (Table::User, format!("u\0{round}"))] {
            let row = servers[0].store.get(key.0, key.1.as_bytes(), 0).expect("readable").expect("there");
            assert_eq!(row, winners[0].to_string(), "both rows are of the same commit");
        }
    }
    assert_eq!(servers[0].store.scan(Table::Device, b"d\0", None, 100, 0).expect("readable").len(), 60);
}

/// Dies when a step was reached so often before, and says so.
struct Dies {
    at: Step,
    after: AtomicUsize,
    died: Mutex<Sender<()>>,
}

impl Faults for Dies {
    fn dies_at(&self, step: Step) -> bool {
        let dies = step == self.at && self.after.fetch_sub(1, Ordering::Relaxed) == 0;
        if dies {
            self.died.lock().expect("no test panics with it").send(()).expect("the test waits");
        }
        dies
    }
}

#[test]
fn a_commit_of_several_partitions_whose_server_dies_is_there_as_a_whole_or_not_at_all() {
    let keyspace = Keyspace::new();
    let steps = [
        (Step::Begun, 0, false),
        (Step::Marked, 0, false),
        (Step::Marked, 2, false),
        (Step::Decided, 0, true),
        (Step::CarriedOut, 0, true),
        (Step::CarriedOut, 2, true),
    ];
    for (n, (at, after, there)) in steps.into_iter().enumerate() {
        let (old, new) = (format!("old{n}"), format!("new{n}"));
        let mut stays = Server::open(&Options { lease: Duration::from_secs(1), ..keyspace.0.clone() });
        let epoch = stays.store.epoch();
        assert_eq!(stays.commit(vec![create(&old, epoch)]), Committed);
        let (sender, died) = channel();
        let faults = Dies { at, after: AtomicUsize::new(after), died: Mutex::new(sender) };
        let options = Options { faults: Some(Arc::new(faults)), lease: Duration::from_secs(1), ..keyspace.0.clone() };
        let mut dying = Server::open(&options);
        let newer = dying.store.epoch();
        dying.submit(vec![
            delta_by(&old, newer, 2, op("u", 1, 1)),
            create(&new, newer),
            put_new(Table::Credential, &old, "taken", None),
        ]);
        died.recv().expect("it gets there");
        drop(dying);
        if n % 2 == 0 {
            // Whoever comes by first finishes it.
            assert_eq!(stays.store.load(&new).expect("readable").is_some(), there, "{at:?} {after}");
        } else {
            // Or nobody comes by: then the server that lives does it by itself, when the lease is over.
            let row = || stays.store.get(Table::Credential, old.as_bytes(), 0).expect("readable").is_some();
            let began = Instant::now();
            while row() != there {
                assert!(began.elapsed() < Duration::from_secs(30), "{at:?} {after}: never finished");
            }
        }
        let taken = stays.commit(vec![put_new(Table::Credential, &old, "free", None)]);
        assert_eq!(taken, if there { Exists } else { Committed }, "{at:?} {after}");
        let found = stays.store.load(&old).expect("readable").expect("there");
        assert_eq!(found.version, if there { 2 } else { 1 }, "{at:?} {after}");
        assert_eq!(found.incarnations.len(), usize::from(there), "the answer is there with its effect");
        assert_eq!(stays.store.load(&new).expect("readable").is_some(), there);
    }
}

#[test]
fn the_database_lets_rows_go_whose_time_is_over() {
    let keyspace = Keyspace::new();
    let mut server = Server::open(&keyspace.0);
    let soon = syncbridge_storage::engine::system_clock()() + 500;
    assert_eq!(server.commit(vec![put_new(Table::Handoff, "code", "1", Some(soon))]), Committed);
    assert!(server.store.get(Table::Handoff, b"code", soon).expect("readable").is_some());
    // Asked as of a time at which it had not expired: the database alone can have removed it.
    let began = Instant::now();
    while server.store.get(Table::Handoff, b"code", soon).expect("readable").is_some() {
        assert!(began.elapsed() < Duration::from_secs(30), "the database keeps it");
    }
}

#[test]
fn the_schema_is_made_once_and_asked_for_when_it_is_missing() {
    let keyspace = Keyspace::empty();
    let sink: Arc<Recorder> = Arc::default();
    let missing = Scylla::open(&keyspace.0, sink.clone()).err().expect("there is no keyspace");
    assert!(missing.to_string().contains("syncbridge storage migrate"), "{missing}");
    assert_eq!(scylla::migrate(&keyspace.0).expect("made"), (0, scylla::FORMAT));
    assert_eq!(scylla::migrate(&keyspace.0).expect("nothing to do"), (scylla::FORMAT, scylla::FORMAT));
    Scylla::open(&keyspace.0, sink).expect("opens").close().expect("nothing failed");
}

#[test]
fn a_database_that_is_not_there_is_said_so() {
    let options = Options { contact_points: vec!["127.0.0.1:1".into()], ..Options::default() };
    let error = Scylla::open(&options, Arc::<Recorder>::default()).err().expect("nothing listens there");
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
}

#[test]
fn what_waits_is_written_in_few_batches() {
    let keyspace = Keyspace::new();
    let mut server = Server::open(&keyspace.0);
    let epoch = server.store.epoch();
    server.submit(vec![create("s", epoch)]);
    for version in 2..=2_000 {
        server.submit(vec![delta("s", epoch, version)]);
    }
    assert_eq!(server.commit(vec![delta("s", epoch, 2_001)]), Committed);
    let stats = server.store.stats();
    assert_eq!(stats.commits, 2_001);
    assert!(stats.syncs <= 40, "{} batches", stats.syncs);
    assert_eq!(server.commit(vec![delta("s", epoch, 2_001)]), Fenced);
}

/// A store with sessions of every shape: with changes before and behind a checkpoint, clients, a large document; and rows.
fn fill(store: &dyn Engine, sink: &Recorder) {
    let epoch = store.epoch();
    let mut ticket = 1 << 32;
    let mut commit = |writes: Vec<Write>| {
        ticket += 1;
        store.submit(Commit { ticket, writes });
        assert_eq!(sink.wait(ticket), Committed);
    };
    for session in 0..12u64 {
        let name = format!("session-{session}");
        commit(vec![create(&name, epoch), put(Table::Membership, &format!("user\0{name}"), "owner")]);
        for version in 2..2 + 7 * session {
            let by = op("user", u128::from(version % 3), version);
            commit(vec![delta_by(&name, epoch, version, by)]);
            if version % 11 == 0 {
                commit(vec![suite::checkpoint(&name, epoch, version)]);
            }
        }
    }
    let document = vec![b'7'; 700 << 10].into();
    commit(vec![Write::Create { session: "large".into(), epoch, meta: "m".into(), document, op: None }]);
    commit(vec![create("gone", epoch)]);
    commit(vec![Write::DeleteSession { session: "gone".into(), epoch }]);
    let later = Write::Put {
        table: Table::Handoff,
        key: bytes("code"),
        value: bytes("later"),
        expires_at_ms: Some(now_ms() + 3_600_000),
        if_absent: false,
    };
    commit(vec![later]);
}

fn now_ms() -> u64 {
    syncbridge_storage::engine::system_clock()()
}

/// Everything that can be read of what [`fill`] made.
fn everything(store: &dyn Engine) -> impl PartialEq + std::fmt::Debug + use<> {
    let names = (0..12).map(|session| format!("session-{session}")).chain(["large".to_owned(), "gone".to_owned()]);
    let sessions: Vec<_> = names
        .map(|name| {
            let mut loaded = store.load(&name).expect("readable");
            if let Some(loaded) = &mut loaded {
                loaded.incarnations.sort_by(|a, b| (&a.user, a.incarnation).cmp(&(&b.user, b.incarnation)));
            }
            (loaded, store.deltas(&name, 1, usize::MAX).expect("readable"), name)
        })
        .collect();
    let rows = [Table::Membership, Table::Handoff, Table::Token];
    let rows = rows.map(|table| store.scan(table, b"", None, usize::MAX, now_ms()).expect("readable"));
    (sessions, rows)
}

/// What is exported of one engine and imported into the other is the same there, and the same again on the way back.
#[test]
fn a_store_moves_from_the_folder_into_the_database_and_back_and_nothing_changes() {
    use syncbridge_storage::engine::embedded::{self, Embedded};
    let (first, back) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let open = |folder: &std::path::Path| {
        let sink: Arc<Recorder> = Arc::default();
        (Embedded::open(folder, embedded::Options::default(), sink.clone()).expect("opens"), sink)
    };
    let (store, sink) = open(first.path());
    fill(&store, &sink);
    let truth = everything(&store);
    drop(store);

    let keyspace = Keyspace::new();
    let mut import = scylla::tools::Offline::open(&keyspace.0).expect("opens").import().expect("it is empty");
    let half = Scylla::open(&keyspace.0, Arc::<Recorder>::default()).map(drop);
    assert!(matches!(half, Err(Error::Refused { .. })), "no server starts on half of a store");
    let epoch = embedded::tools::Offline::export(first.path(), embedded::Options::default(), |entry| import.put(entry));
    let epoch = epoch.expect("fits");
    import.finish(epoch).expect("finished");

    let mut server = Server::open(&keyspace.0);
    assert!(server.store.epoch() > epoch + 1000, "cursors of the other store are none of this one's");
    assert_eq!(everything(&server.store), truth);
    let refused = scylla::tools::Offline::open(&keyspace.0).map(drop);
    assert!(matches!(&refused, Err(Error::Refused { cause, .. }) if cause.contains("lives")), "{:?}", refused.err());
    server.store.close().expect("nothing failed");

    let offline = scylla::tools::Offline::open(&keyspace.0).expect("no server lives");
    assert_eq!(offline.check(&mut |what| panic!("{what}")).expect("read"), 13);
    let figures = offline.stats().expect("counted");
    assert_eq!((figures.sessions, figures.servers.len()), (13, 0));
    let rows: Vec<_> = figures.tables.iter().map(|(table, rows, _)| (*table, *rows)).collect();
    assert_eq!(rows, [(Table::Membership, 12), (Table::Handoff, 1)]);
    let mut import = embedded::tools::Import::begin(back.path()).expect("empty");
    let epoch = offline.export(|entry| import.put(entry)).expect("fits");
    offline.close().expect("nothing failed");
    import.finish(epoch).expect("finished");
    assert_eq!(everything(&open(back.path()).0), truth);

    let again = scylla::tools::Offline::open(&keyspace.0).expect("no server lives").import().map(drop);
    assert!(matches!(again, Err(Error::Refused { .. })), "there is something in it");
    // And it is served on.
    server = Server::open(&keyspace.0);
    let epoch = match server.take("session-3") {
        Taken::Owned { epoch } => epoch,
        Taken::Held { address } => panic!("{address}"),
    };
    let version = server.store.load("session-3").expect("read").expect("there").version;
    assert_eq!(server.commit(vec![delta("session-3", epoch, version + 1)]), Committed);
}

/// Days of updates to one session, in batches of a flush; what is in its partition stays within what is promised.
#[test]
fn a_session_that_is_written_to_without_end_stays_bounded() {
    use syncbridge_storage::{DEDUP_WINDOW, engine::embedded::tools::Entry};
    let keyspace = Keyspace::new();
    let mut server = Server::open(&keyspace.0);
    let epoch = server.store.epoch();
    assert_eq!(server.commit(vec![create("s", epoch)]), Committed);
    let (mut version, mut most) = (1, (0, 0));
    for _ in 0..10 {
        let mut last = 0;
        for _ in 0..800 {
            version += 1;
            last = server.submit(vec![delta_by("s", epoch, version, op("user", u128::from(version % 2), version))]);
        }
        assert_eq!(server.sink.wait(last), Committed);
        assert_eq!(server.commit(vec![suite::checkpoint("s", epoch, version)]), Committed);
        let mut entries = Vec::new();
        server.store.close().expect("nothing failed");
        let offline = scylla::tools::Offline::open(&keyspace.0).expect("no server lives");
        let _epoch = offline
            .export(|entry| {
                entries.push(entry);
                Ok::<_, Error>(())
            })
            .expect("read");
        offline.close().expect("nothing failed");
        server = Server::open(&keyspace.0);
        let (mut deltas, mut answers) = (0, 0);
        for entry in &entries {
            match entry {
                Entry::Deltas(run) => deltas += run.iter().map(|delta| delta.change.len()).sum::<usize>(),
                Entry::Answers { answers: run, .. } => answers += run.len(),
                _ => {}
            }
        }
        most = (most.0.max(deltas), most.1.max(answers));
    }
    assert!(version > 8000);
    // Small changes are kept up to 64 KiB behind the checkpoint, and a run more; for each client a window of answers.
    assert!(most.0 <= 128 << 10, "{most:?}");
    assert!(most.1 <= 2 * DEDUP_WINDOW, "{most:?}");
}

#[test]
fn the_cql_bench_runs() {
    // It asserts that every commit ends `Committed`; its figures are nobody's promise here.
    cql_bench::compare(&Keyspace::new().0, 1, 2);
}
