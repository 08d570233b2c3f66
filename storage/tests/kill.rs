//! `kill -9` in a loop with a checker. This binary is both sides: started anew with `CHILD` set it writes commits and
//! prints what the store calls durable; the parent kills it and looks whether that was true.
//!
//! `SYNCBRIDGE_KILLS` sets the rounds (10 when it is not set).

use std::{
    collections::HashMap,
    fmt::Write as _,
    io::{BufRead, BufReader, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use syncbridge_storage::{
    Applied, Commit, Engine, Error, Outcome, Sink, Ticket, Write,
    engine::embedded::{Embedded, Options},
};

const CHILD: &str = "SYNCBRIDGE_KILL_CHILD";
const SESSIONS: usize = 16;
/// Commits on their way at a time.
const WINDOW: u64 = 64;

fn options() -> Options {
    // Small, so that segments roll over and the index is written while the kill comes.
    Options {
        segment_bytes: 256 << 10,
        flush_bytes: 128 << 10,
        flush_after: Duration::from_millis(5),
        ..Options::default()
    }
}

fn name(session: usize) -> Arc<str> {
    format!("s{session}").into()
}

/// The change and the answer that make a version, so that the checker knows them.
fn content(session: usize, version: u64) -> bytes::Bytes {
    format!("{session} became {version} {}", "x".repeat(usize::try_from(version % 200).expect("small"))).into()
}

/// The child's sink: prints `session version` for each durable commit, in one write a batch.
struct Printer {
    /// Session of each ticket and its version.
    tickets: Mutex<HashMap<Ticket, (usize, u64)>>,
    open: Mutex<u64>,
    room: Condvar,
}

impl Sink for Printer {
    fn completed(&self, ended: &[(Ticket, Outcome)]) {
        let mut lines = String::new();
        {
            let mut tickets = self.tickets.lock().expect("not poisoned");
            for (ticket, outcome) in ended {
                assert_eq!(*outcome, Outcome::Committed);
                let (session, version) = tickets.remove(ticket).expect("submitted");
                writeln!(lines, "{session} {version}").expect("a string takes everything");
            }
        }
        std::io::stdout().lock().write_all(lines.as_bytes()).expect("the parent reads");
        *self.open.lock().expect("not poisoned") -= ended.len() as u64;
        self.room.notify_all();
    }

    fn poisoned(&self, error: &Error) {
        eprintln!("poisoned: {error}");
        std::process::abort();
    }
}

fn child(folder: &Path) {
    let sink = Arc::new(Printer { tickets: Mutex::default(), open: Mutex::new(0), room: Condvar::new() });
    let store = Embedded::open(folder, options(), sink.clone()).expect("opens");
    let epoch = store.epoch();
    let mut versions: Vec<u64> = (0..SESSIONS)
        .map(|session| store.load(&name(session)).expect("readable").map_or(0, |found| found.version))
        .collect();
    for ticket in 0.. {
        let session = usize::try_from(ticket % SESSIONS as u64).expect("small");
        versions[session] += 1;
        let version = versions[session];
        let op =
            Some(Applied { user: "u".into(), incarnation: 1, counter: version, answer: content(session, version) });
        let mut writes = vec![if version == 1 {
            Write::Create { session: name(session), epoch, meta: "m".into(), document: content(session, 1), op }
        } else {
            Write::Delta { session: name(session), epoch, version, change: content(session, version), op }
        }];
        if version.is_multiple_of(100) {
            writes.push(Write::Checkpoint {
                session: name(session),
                epoch,
                version,
                document: content(session, version),
            });
        }
        let mut open = sink.open.lock().expect("not poisoned");
        while *open >= WINDOW {
            open = sink.room.wait(open).expect("not poisoned");
        }
        *open += 1;
        drop(open);
        sink.tickets.lock().expect("not poisoned").insert(ticket, (session, version));
        store.submit(Commit { ticket, writes });
    }
}

struct Ignore;

impl Sink for Ignore {
    fn completed(&self, _: &[(Ticket, Outcome)]) {}
    fn poisoned(&self, error: &Error) {
        panic!("poisoned: {error}");
    }
}

/// Everything that was called durable is there, whole, with its answer, and what is there has no gap.
fn check(folder: &Path, durable: &[u64], last_epoch: &AtomicU64) {
    let store = Embedded::open(folder, options(), Arc::new(Ignore)).expect("opens after a kill");
    assert_eq!(store.recovery().salvaged, None, "a kill is no damage");
    let epoch = store.epoch();
    assert!(epoch > last_epoch.swap(epoch, Ordering::Relaxed), "the epoch grows");
    for (session, durable) in durable.iter().enumerate() {
        let Some(found) = store.load(&name(session)).expect("readable") else {
            assert_eq!(*durable, 0, "session {session} was durable");
            continue;
        };
        assert!(found.version >= *durable, "session {session}: {} durable, {} found", durable, found.version);
        assert!(found.epoch < epoch);
        assert_eq!(found.document, content(session, found.document_version));
        let versions: Vec<_> = found.deltas.iter().map(|delta| delta.version).collect();
        assert_eq!(versions, (found.document_version + 1..=found.version).collect::<Vec<_>>());
        for delta in &found.deltas {
            assert_eq!(delta.change, content(session, delta.version));
        }
        let dedup = &found.incarnations[0];
        assert_eq!(dedup.high_water, found.version, "the answer is committed with the effect");
        let first = found.version.saturating_sub(1024) + 1;
        let expected: Vec<_> = (first..=found.version).map(|version| (version, content(session, version))).collect();
        assert_eq!(dedup.answers, expected);
        assert!(found.epochs.windows(2).all(|pair| pair[0].epoch < pair[1].epoch && pair[0].base <= pair[1].base));
    }
    store.close().expect("nothing failed");
}

fn main() {
    if let Some(folder) = std::env::var_os(CHILD) {
        child(Path::new(&folder));
        return;
    }
    let rounds = std::env::var("SYNCBRIDGE_KILLS").map_or(10, |rounds| rounds.parse().expect("a number"));
    let folder = tempfile::tempdir().expect("a folder");
    let program = std::env::current_exe().expect("this program");
    let mut durable = vec![0; SESSIONS];
    let last_epoch = AtomicU64::new(0);
    let mut seen = 0u64;
    for round in 0..rounds {
        let mut child =
            Command::new(&program).env(CHILD, folder.path()).stdout(Stdio::piped()).spawn().expect("starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        // Some kills come early, some after roll-overs and flushes.
        let wanted = 1 + (round * 7919) % 6000;
        for count in 0.. {
            if count == wanted {
                child.kill().expect("killed");
            }
            // After the kill, what the pipe still holds counts: it was said.
            let Some(line) = lines.next() else { break };
            let line = line.expect("readable");
            let Some((session, version)) = line.split_once(' ') else { break };
            let session: usize = session.parse().expect("a number");
            durable[session] = version.parse::<u64>().expect("a number").max(durable[session]);
            seen += 1;
        }
        let status = child.wait().expect("ended");
        assert!(!status.success(), "killed, not ended: {status}");
        check(folder.path(), &durable, &last_epoch);
    }
    println!("{rounds} kills, {seen} durable commits, none lost");
}
