//! Owners that stand still: a server is stopped by SIGSTOP in the middle of its writes for longer than its lease, another
//! takes its session and goes on, and the first is woken. This binary is both servers and the checker: started anew with
//! `CHILD` set it writes and prints what the store tells it; the parent takes over and looks what the database holds.
//!
//! `SYNCBRIDGE_TAKEOVERS` sets the rounds (5 when it is not set).

#[path = "suite/cassandra.rs"]
mod cassandra;

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write as _},
    process::{Child, Command, Stdio},
    sync::{Condvar, Mutex},
    time::{Duration, Instant},
};

use cassandra::Keyspace;
use syncbridge_storage::{
    Applied, Commit, DEDUP_WINDOW, Engine, Error, Outcome, Sink, Taken, Ticket, Write,
    engine::scylla::{Options, Scylla},
};

const CHILD: &str = "SYNCBRIDGE_TAKEOVER_CHILD";
const LEASE: Duration = Duration::from_secs(1);
/// Commits on their way at a time.
const WINDOW: u64 = 16;
/// Durable commits after which the parent stops the child.
const BEFORE: u64 = 50;
/// Commits of the parent while the child stands still.
const MEANWHILE: u64 = 20;

/// How each commit ended.
#[derive(Default)]
struct Ended {
    outcomes: Mutex<HashMap<Ticket, Outcome>>,
    told: Condvar,
}

impl Sink for Ended {
    fn completed(&self, ended: &[(Ticket, Outcome)]) {
        self.outcomes.lock().expect("not poisoned").extend(ended.iter().copied());
        self.told.notify_all();
    }

    fn poisoned(&self, error: &Error) {
        eprintln!("poisoned: {error}");
        std::process::abort();
    }
}

impl Ended {
    fn wait(&self, ticket: Ticket) -> Outcome {
        let outcomes = self.outcomes.lock().expect("not poisoned");
        let (outcomes, timeout) = self
            .told
            .wait_timeout_while(outcomes, Duration::from_mins(1), |outcomes| !outcomes.contains_key(&ticket))
            .expect("not poisoned");
        assert!(!timeout.timed_out(), "commit {ticket} has not ended after a minute");
        outcomes[&ticket]
    }
}

fn open(keyspace: String, sink: std::sync::Arc<Ended>) -> Scylla {
    let contact_points = vec![cassandra::address().to_owned()];
    Scylla::open(&Options { contact_points, keyspace, lease: LEASE, ..Options::default() }, sink).expect("opens")
}

/// The write that makes a version; its answer names who made it.
fn write(epoch: u64, version: u64) -> Write {
    let op = Applied { user: "u".into(), incarnation: u128::from(epoch), counter: version, answer: "done".into() };
    let change = format!("{epoch} made {version}").into();
    Write::Delta { session: "s".into(), epoch, version, change, op: Some(op) }
}

/// The owner: writes until it is told that it is none any more. Prints `durable VERSION` and at last `disowned VERSION`.
fn child(keyspace: String) {
    let sink = std::sync::Arc::<Ended>::default();
    let store = open(keyspace, sink.clone());
    let Taken::Owned { epoch } = store.take("s", store.epoch()).expect("the database answers") else {
        panic!("the session is another's");
    };
    let first = store.load("s").expect("readable").expect("made").version + 1;
    println!("owner {epoch}");
    let mut out = std::io::stdout().lock();
    for version in first.. {
        store.submit(Commit { ticket: version, writes: vec![write(epoch, version)] });
        let Some(due) = version.checked_sub(WINDOW).filter(|due| *due >= first) else { continue };
        match sink.wait(due) {
            Outcome::Committed => writeln!(out, "durable {due}").expect("the parent reads"),
            outcome => {
                assert_eq!(outcome, Outcome::Disowned);
                writeln!(out, "disowned {due}").expect("the parent reads");
                for later in due..=version {
                    assert_ne!(sink.wait(later), Outcome::Committed, "{later} was written by one that was disowned");
                }
                return;
            }
        }
    }
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().expect("kill can be run");
    assert!(sent.success(), "{name}");
}

fn round(keyspace: &Keyspace, store: &Scylla, sink: &Ended, tickets: &mut Ticket) {
    let program = std::env::current_exe().expect("this program has a path");
    let mut owner = Command::new(program)
        .env(CHILD, &keyspace.0.keyspace)
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program can be started");
    let mut lines = BufReader::new(owner.stdout.take().expect("piped")).lines().map(|line| line.expect("UTF-8"));
    let old: u64 =
        lines.next().expect("it takes the session").strip_prefix("owner ").expect("said").parse().expect("so");
    let mut durable = Vec::new();
    let note = |line: &str, durable: &mut Vec<u64>| {
        let (what, version) = line.split_once(' ').expect("two words");
        if what == "durable" {
            durable.push(version.parse().expect("a version"));
        }
        what.to_owned()
    };
    while durable.len() < usize::try_from(BEFORE).expect("small") {
        note(&lines.next().expect("it goes on"), &mut durable);
    }
    signal(&owner, "-STOP");

    let began = Instant::now();
    let epoch = loop {
        match store.take("s", store.epoch()).expect("the database answers") {
            Taken::Owned { epoch } => break epoch,
            Taken::Held { .. } => assert!(began.elapsed() < Duration::from_mins(1), "its lease does not end"),
        }
    };
    assert!(epoch > old);
    let base = store.load("s").expect("readable").expect("made").version;
    for version in base + 1..=base + MEANWHILE {
        *tickets += 1;
        store.submit(Commit { ticket: *tickets, writes: vec![write(epoch, version)] });
    }
    assert_eq!(sink.wait(*tickets), Outcome::Committed);
    signal(&owner, "-CONT");

    let mut last = String::new();
    for line in lines {
        last = note(&line, &mut durable);
    }
    assert_eq!(last, "disowned", "it is told");
    assert!(owner.wait().expect("a child").success());

    let kept = store.load("s").expect("readable").expect("made");
    assert_eq!(kept.version, base + MEANWHILE, "nothing was written by the former owner");
    let made: HashMap<u64, u64> = kept.deltas.iter().map(|delta| (delta.version, delta.epoch)).collect();
    for version in durable {
        assert!(version <= base, "{version} was told as durable, and the next owner began at {base}");
        assert_eq!(made[&version], old, "{version} was told as durable and is another's");
    }
    for version in base + 1..=kept.version {
        assert_eq!(made[&version], epoch);
    }
    for by in &kept.incarnations {
        let mut of: Vec<u64> = made
            .iter()
            .filter(|(_, by_epoch)| u128::from(**by_epoch) == by.incarnation)
            .map(|(version, _)| *version)
            .collect();
        of.sort_unstable();
        let answered: Vec<u64> = by.answers.iter().map(|(counter, _)| *counter).collect();
        assert_eq!(
            answered,
            of[of.len().saturating_sub(DEDUP_WINDOW)..],
            "each change has its answer, and each answer its change"
        );
    }
    // The next round's owner must be able to take it.
    store.release("s").expect("the database answers");
}

fn main() {
    if let Ok(keyspace) = std::env::var(CHILD) {
        return child(keyspace);
    }
    let rounds = std::env::var("SYNCBRIDGE_TAKEOVERS").map_or(5, |rounds| rounds.parse().expect("a number"));
    let keyspace = Keyspace::new();
    let sink = std::sync::Arc::<Ended>::default();
    let store = open(keyspace.0.keyspace.clone(), sink.clone());
    let create =
        Write::Create { session: "s".into(), epoch: store.epoch(), meta: "m".into(), document: "{}".into(), op: None };
    let mut tickets = 1;
    store.submit(Commit { ticket: tickets, writes: vec![create] });
    assert_eq!(sink.wait(tickets), Outcome::Committed);
    store.release("s").expect("the database answers");
    for _ in 0..rounds {
        round(&keyspace, &store, &sink, &mut tickets);
    }
    store.close().expect("nothing failed");
    println!("test takeovers ... ok ({rounds} takeovers, 0 stale writes)");
    println!("\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out");
}
