//! The engine over CQL, against a real Cassandra: the shared suite, and what only it can do.

#[path = "../examples/cql_bench.rs"]
mod cql_bench;
mod suite;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
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

#[test]
fn a_refusal_is_told_only_of_what_was_read_just_now() {
    let keyspace = Keyspace::new();
    let (mut first, mut second) = (Server::open(&keyspace.0), Server::open(&keyspace.0));
    let remove = || vec![Write::Remove { table: Table::Credential, key: bytes("mail") }];
    for _ in 0..3 {
        assert_eq!(first.commit(vec![put_new(Table::Credential, "mail", "1", None)]), Committed);
        // The first remembers it as there, and the second as free.
        assert_eq!(second.commit(remove()), Committed);
        assert_eq!(first.commit(vec![put_new(Table::Credential, "mail", "2", None)]), Committed);
        assert_eq!(second.commit(vec![put_new(Table::Credential, "mail", "3", None)]), Exists);
        assert_eq!(second.commit(remove()), Committed);
    }
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
    const CHANGE: usize = 100;
    let keyspace = Keyspace::new();
    let mut server = Server::open(&keyspace.0);
    let epoch = server.store.epoch();
    assert_eq!(server.commit(vec![create("s", epoch)]), Committed);
    let (mut version, mut most) = (1, (0, 0));
    for _ in 0..10 {
        let mut last = 0;
        for _ in 0..800 {
            version += 1;
            let change = vec![b'1'; CHANGE].into();
            let op = Some(op("user", u128::from(version % 2), version));
            last = server.submit(vec![Write::Delta { session: "s".into(), epoch, version, change, op }]);
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
    // Of such changes 1,000 are kept behind the checkpoint, and a run of 64 KiB more, of 8,000 that were made; for each
    // client a window of answers.
    assert!(most.0 <= 1_000 * CHANGE + (64 << 10), "{most:?}");
    assert!(most.1 <= 2 * DEDUP_WINDOW, "{most:?}");
}

/// Somebody who changes bytes of the database behind the store's back.
struct Rot {
    runtime: tokio::runtime::Runtime,
    session: ::scylla::client::session::Session,
    keyspace: String,
}

impl Rot {
    fn on(options: &Options) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let builder = ::scylla::client::session_builder::SessionBuilder::new().known_nodes(&options.contact_points);
        let session = runtime.block_on(builder.build()).expect("connects");
        Self { runtime, session, keyspace: options.keyspace.clone() }
    }

    fn run(&self, text: &str, values: impl ::scylla::serialize::row::SerializeRow) {
        let text = text.replace("ks.", &format!("{}.", self.keyspace));
        self.runtime.block_on(self.session.query_unpaged(text, values)).expect("done");
    }

    fn select<R: for<'f> ::scylla::deserialize::row::DeserializeRow<'f, 'f>>(&self, text: &str) -> Vec<R> {
        let text = text.replace("ks.", &format!("{}.", self.keyspace));
        let found = self.runtime.block_on(self.session.query_unpaged(text, ())).expect("read");
        let rows = found.into_rows_result().expect("rows");
        rows.rows::<R>().expect("their form").map(|row| row.expect("readable")).collect()
    }

    /// Rows of tables: partition, key, value.
    fn rows(&self) -> Vec<(i8, i16, Vec<u8>, Vec<u8>)> {
        let all =
            self.select::<(i8, i16, Option<Vec<u8>>, Option<Vec<u8>>)>("SELECT tab, bucket, key, value FROM ks.rows");
        all.into_iter().filter_map(|(tab, bucket, key, value)| Some((tab, bucket, key?, value?))).collect()
    }

    /// Sets the value of a row.
    fn set(&self, (tab, bucket, key): (i8, i16, &[u8]), value: &[u8]) {
        let update = "UPDATE ks.rows SET value = ? WHERE tab = ? AND bucket = ? AND key = ? IF EXISTS";
        self.run(update, (value, tab, bucket, key));
    }

    /// Changes a byte of the value of the row with this key.
    fn change(&self, key: &str, at: usize) {
        let rows = self.rows();
        let (tab, bucket, key, value) = rows.iter().find(|(_, _, found, _)| found == key.as_bytes()).expect("there");
        let mut value = value.clone();
        value[at] ^= 4;
        self.set((*tab, *bucket, key), &value);
    }
}

/// What `check` finds.
fn found(keyspace: &Keyspace) -> Vec<String> {
    let offline = scylla::tools::Offline::open(&keyspace.0).expect("no server lives");
    let mut found = Vec::new();
    offline.check(&mut |what| found.push(what)).expect("read");
    offline.close().expect("nothing failed");
    found
}

#[test]
fn a_damaged_row_is_refused_by_name_and_nothing_else_is() {
    use syncbridge_storage::Scanned;
    let keyspace = Keyspace::new();
    let mut server = Server::open(&keyspace.0);
    let later = now_ms() + 3_600_000;
    // All of one user, so in one bucket.
    let keys: Vec<_> = (0..6).map(|number| format!("u\0row-{number}")).collect();
    for key in &keys {
        assert_eq!(server.commit(vec![put_new(Table::Token, key, key, Some(later))]), Committed);
    }
    assert_eq!(server.commit(vec![put(Table::Credential, "u\0mail", "m")]), Committed);
    server.store.close().expect("nothing failed");
    assert_eq!(found(&keyspace), Vec::<String>::new());

    // A byte of the value, of the checksum, the time at which it is over, all of another row, nothing.
    let rot = Rot::on(&keyspace.0);
    rot.change(&keys[0], 0);
    rot.change(&keys[1], keys[1].len() + 2);
    let rows = rot.rows();
    let row = |key: &str| rows.iter().find(|(_, _, found, _)| found == key.as_bytes()).expect("there");
    let (tab, bucket, key, _) = row(&keys[2]);
    let update = "UPDATE ks.rows SET expires = 1 WHERE tab = ? AND bucket = ? AND key = ? IF EXISTS";
    rot.run(update, (*tab, *bucket, key));
    rot.set((*tab, *bucket, keys[3].as_bytes()), &row(&keys[5]).3);
    rot.set((*tab, *bucket, keys[4].as_bytes()), b"");

    let named = found(&keyspace);
    assert_eq!(named.len(), 5, "{named:?}");
    for (key, named) in keys.iter().zip(&named) {
        assert!(named.starts_with(&format!("row {} of table Token", key.as_bytes().escape_ascii())), "{named}");
    }
    let mut server = Server::open(&keyspace.0);
    for key in &keys[..5] {
        let read = server.store.get(Table::Token, key.as_bytes(), now_ms());
        assert!(matches!(&read, Err(Error::Damaged { what }) if what.contains(&key[2..])), "{read:?}");
        // It is nobody's, and whatever else comes in the same batch is judged by itself.
        let refused = server.submit(vec![put_new(Table::Token, key, "free?", None)]);
        let beside = server.submit(vec![put(Table::Token, "u\0beside", key)]);
        assert_eq!((server.sink.wait(refused), server.sink.wait(beside)), (Exists, Committed));
    }
    assert_eq!(server.store.get(Table::Token, keys[5].as_bytes(), now_ms()).expect("read"), Some(bytes(&keys[5])));
    assert_eq!(server.store.get(Table::Credential, b"u\0mail", now_ms()).expect("read"), Some(bytes("m")));
    // A list with it is refused; who has to go on without it is told its key.
    assert!(matches!(server.store.scan(Table::Token, b"u\0", None, 99, now_ms()), Err(Error::Damaged { .. })));
    assert_eq!(server.store.scan(Table::Token, b"u\0row-5", None, 99, now_ms()).expect("read").len(), 1);
    let (mut whole, mut unreadable) = (Vec::new(), Vec::new());
    server
        .store
        .scan_readable(Table::Token, b"u\0", now_ms(), &mut |scanned| match scanned {
            Scanned::Row(key, _) => whole.push(key),
            Scanned::Unreadable { from, .. } => unreadable.push(from),
        })
        .expect("read");
    assert_eq!(whole, [bytes("u\0beside"), bytes(&keys[5])]);
    assert_eq!(unreadable, keys[..5].iter().map(|key| bytes(key)).collect::<Vec<_>>());
    // Written anew, it is known again.
    for key in &keys[..5] {
        assert_eq!(server.commit(vec![put(Table::Token, key, "new")]), Committed);
    }
    assert_eq!(server.store.scan(Table::Token, b"u\0", None, 99, now_ms()).expect("whole again").len(), 7);
    server.store.close().expect("nothing failed");
    assert_eq!(found(&keyspace), Vec::<String>::new());
}

#[test]
fn a_session_with_a_damaged_value_is_refused_by_name_and_the_others_are_served() {
    let keyspace = Keyspace::new();
    let mut server = Server::open(&keyspace.0);
    let names = ["whole", "meta", "epochs", "run", "answers", "document"];
    let epoch = server.store.epoch();
    for name in names {
        assert_eq!(server.commit(vec![create(name, epoch)]), Committed);
        assert_eq!(server.commit(vec![delta_by(name, epoch, 2, op("user", 1, 1))]), Committed);
    }
    server.store.close().expect("nothing failed");
    assert_eq!(found(&keyspace), Vec::<String>::new());

    let rot = Rot::on(&keyspace.0);
    for (id, meta, epochs) in
        rot.select::<(String, Vec<u8>, Vec<u8>)>("SELECT DISTINCT id, meta, epochs FROM ks.sessions")
    {
        let (column, mut value) = if id == "meta" { ("meta", meta) } else { ("epochs", epochs) };
        if id == column {
            value[0] ^= 1;
            rot.run(&format!("UPDATE ks.sessions SET {column} = ? WHERE id = ? IF EXISTS"), (value, id));
        }
    }
    let all = "SELECT id, of_life, kind, name, number, value FROM ks.sessions";
    for (id, life, kind, name, number, mut value) in rot.select::<(String, i64, i8, Vec<u8>, i64, Vec<u8>)>(all) {
        if [("run", 1), ("answers", 2), ("document", 3)].contains(&(id.as_str(), kind)) {
            let last = value.len() - 5;
            value[last] ^= 0x40;
            let update = "UPDATE ks.sessions SET value = ? \
                          WHERE id = ? AND of_life = ? AND kind = ? AND name = ? AND number = ? IF EXISTS";
            rot.run(update, (value, id, life, kind, name, number));
        }
    }

    let damaged = found(&keyspace);
    assert_eq!(damaged.len(), 5, "{damaged:?}");
    let mut server = Server::open(&keyspace.0);
    for name in names {
        let loaded = server.store.load(name);
        if name == "whole" {
            assert_eq!(loaded.expect("served").expect("there").version, 2);
            let epoch = owned(&server.take(name));
            assert_eq!(server.commit(vec![delta(name, epoch, 3)]), Committed);
        } else {
            assert!(matches!(&loaded, Err(Error::Damaged { what }) if what.contains(name)), "{name}: {loaded:?}");
            assert!(damaged.iter().any(|what| what.starts_with(&format!("session {name:?}"))), "{name}: {damaged:?}");
        }
    }
}

#[test]
fn what_is_kept_of_a_session_can_be_read_while_another_server_writes_to_it_all_the_time() {
    const WRITES: u64 = 400;
    let keyspace = Keyspace::new();
    let (mut owner, other) = (Server::open(&keyspace.0), Server::open(&keyspace.0));
    let epoch = owned(&owner.take("busy"));
    // So large that somebody has always written by the time that it was read.
    let document = "x".repeat(4 << 20).into();
    let write = create("busy", epoch);
    let Write::Create { session, epoch, meta, op, .. } = write else { panic!("{write:?}") };
    assert_eq!(owner.commit(vec![Write::Create { session, epoch, meta: meta.clone(), document, op }]), Committed);
    let writing = AtomicBool::new(true);
    let read = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut read = 0;
            while writing.load(Ordering::Acquire) {
                assert_eq!(other.store.meta("busy").expect("readable"), Some(meta.clone()));
                read += 1;
            }
            read
        });
        for version in 2..2 + WRITES {
            assert_eq!(owner.commit(vec![delta("busy", epoch, version)]), Committed);
        }
        writing.store(false, Ordering::Release);
        reader.join().expect("it reads")
    });
    // One that waits for a pause has waited for the last write.
    assert!(read > 1, "read once while {WRITES} changes were made");
    assert_eq!(other.store.meta("nobody's").expect("readable"), None);
}

/// What a store of before checksums has, gets them, once; and a migration that was cut off goes on.
#[test]
fn a_store_of_the_first_format_gets_its_checksums() {
    let keyspace = Keyspace::new();
    let server = Server::open(&keyspace.0);
    fill(&server.store, &server.sink);
    let truth = everything(&server.store);
    let rot = Rot::on(&keyspace.0);
    let first_format = || rot.run("UPDATE ks.numbers SET number = 1 WHERE name = 'format' IF number = 2", ());
    first_format();
    let refused = scylla::migrate(&keyspace.0);
    assert!(matches!(&refused, Err(Error::Refused { cause, .. }) if cause.contains("a server lives")), "{refused:?}");
    server.store.close().expect("nothing failed");
    drop(server);
    rot.run("DELETE FROM ks.numbers WHERE name = 'migrating' IF EXISTS", ());

    // As they were: without the last four bytes.
    let cut = |value: &[u8]| value[..value.len() - 4].to_vec();
    for (tab, bucket, key, value) in rot.rows() {
        rot.set((tab, bucket, &key), &cut(&value));
    }
    let all = "SELECT DISTINCT id, meta, epochs FROM ks.sessions";
    for (id, meta, epochs) in rot.select::<(String, Option<Vec<u8>>, Option<Vec<u8>>)>(all) {
        let (Some(meta), Some(epochs)) = (meta, epochs) else { continue };
        let update = "UPDATE ks.sessions SET meta = ?, epochs = ? WHERE id = ? IF EXISTS";
        rot.run(update, (cut(&meta), cut(&epochs), id));
    }
    let old = Scylla::open(&keyspace.0, Arc::<Recorder>::default()).err().expect("the format of before");
    assert!(old.to_string().contains("format 1") && old.to_string().contains("storage migrate"), "{old}");
    assert_eq!(scylla::migrate(&keyspace.0).expect("sealed"), (1, 2));
    assert_eq!(everything(&Server::open(&keyspace.0).store), truth);
    // Again, as if it had been cut off before it said that it was done: nothing is sealed twice.
    let began = Instant::now();
    first_format();
    while let Err(error) = scylla::migrate(&keyspace.0) {
        assert!(error.to_string().contains("a server lives"), "{error}");
        assert!(began.elapsed() < Duration::from_mins(1), "{error}");
        rot.run("DELETE FROM ks.numbers WHERE name = 'migrating' IF EXISTS", ());
    }
    assert_eq!(everything(&Server::open(&keyspace.0).store), truth);
}

/// Stands still when a batch was applied, before anybody is told, until it is let go.
struct Stands {
    armed: AtomicBool,
    stopped: Mutex<Sender<()>>,
    go: Mutex<Receiver<()>>,
}

impl Faults for Stands {
    fn loses_answer(&self) -> bool {
        if self.armed.swap(false, Ordering::Relaxed) {
            self.stopped.lock().expect("no test panics with it").send(()).expect("the test waits");
            // The test may have ended.
            let _gone = self.go.lock().expect("no test panics with it").recv();
        }
        false
    }
}

#[test]
fn an_answer_is_there_exactly_when_its_effect_is() {
    let keyspace = Keyspace::new();
    let (stopped, stops) = channel();
    let (let_go, go) = channel();
    let stands = Arc::new(Stands { armed: AtomicBool::new(false), stopped: Mutex::new(stopped), go: Mutex::new(go) });
    let options = Options { faults: Some(stands.clone()), ..keyspace.0.clone() };
    let (mut server, other) = (Server::open(&options), Server::open(&keyspace.0));
    let epoch = server.store.epoch();
    assert_eq!(server.commit(vec![create("s", epoch)]), Committed);
    for version in 2..8 {
        stands.armed.store(true, Ordering::Relaxed);
        let ticket = server.submit(vec![delta_by("s", epoch, version, op("user", 1, version - 1))]);
        stops.recv().expect("it gets there");
        // If it died now, this is what the next owner would go on from.
        let found = other.store.load("s").expect("readable").expect("there");
        let answered = found.incarnations.first().map_or(0, |client| client.high_water);
        assert_eq!((found.version, answered), (version, version - 1));
        let_go.send(()).expect("it waits");
        assert_eq!(server.sink.wait(ticket), Committed);
    }
}

#[test]
fn the_cql_bench_runs() {
    // It asserts that every commit ends `Committed`; its figures are nobody's promise here.
    cql_bench::compare(&Keyspace::new().0, 1, 2);
}
