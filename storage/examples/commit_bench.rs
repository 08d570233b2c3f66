//! How fast commits become durable, against two loops that write the same bytes to the same disk in the same run:
//! `cargo run --release -p syncbridge-storage --example commit_bench [FOLDER] [ROUNDS] [WRITERS]`.
//!
//! * *raw*: a preallocated append + fdatasync, as many updates a sync as there are writers, and nothing else. It has no
//!   writers: it is what the disk gives.
//! * *raw group commit*: the same writers on the same threads as the engine has, each waiting for its update; one thread
//!   writes and syncs what they handed it, and tells them as the engine does. No index, no judging, no checksum: it is what
//!   is left for a store.
//!
//! A round is a slice of each of a tenth of a second, one after the other, so that what else the machine does hits all of
//! them; the figures are medians over the rounds, and the ratios medians of each round's ratio. With `WRITERS` only what has
//! that many is measured.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use syncbridge_storage::{
    Applied, Commit, Engine, Error, Outcome, Sink, Ticket, Write,
    engine::embedded::{Embedded, Options},
};

/// (writers, threads that they are on)
const CASES: [(usize, usize); 4] = [(1, 1), (64, 1), (64, 64), (1000, 1)];
const UPDATE: usize = 128;
/// Bytes that one update of this bench takes in the log: change 128, op 34, names and lengths. Printed against what the
/// engine really wrote.
const RAW_UPDATE: usize = 178;
/// One submit in so many is timed: reading the clock costs as much as a submit.
const TIMED: u64 = 61;

/// The raw file: made once, or its making would be measured in what comes after it.
struct Raw {
    file: File,
    bytes: u64,
}

impl Raw {
    fn make(path: &Path, bytes: u64) -> Self {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path).expect("made");
        for piece in 0..bytes >> 20 {
            file.write_all_at(&vec![0; 1 << 20], piece << 20).expect("filled");
        }
        file.sync_all().expect("synced");
        Self { file, bytes }
    }

    /// Appends a group, durably; from the start of the file again when it is full.
    fn append(&self, group: &[u8], at: &mut u64) {
        if *at + group.len() as u64 > self.bytes {
            *at = 0;
        }
        self.file.write_all_at(group, *at).expect("written");
        self.file.sync_data().expect("synced");
        *at += group.len() as u64;
    }

    /// Updates a second of the raw loop.
    fn rate(&self, updates: usize, time: Duration) -> f64 {
        let group = vec![7u8; updates * RAW_UPDATE];
        let (mut at, mut syncs) = (0, 0u64);
        let start = Instant::now();
        while start.elapsed() < time {
            self.append(&group, &mut at);
            syncs += 1;
        }
        syncs as f64 * updates as f64 / start.elapsed().as_secs_f64()
    }
}

/// Where threads with writers on them wait for what ended, as shards do for their sessions: each is woken once a batch.
struct Inboxes(Vec<(Mutex<Vec<Ticket>>, Condvar)>);

impl Inboxes {
    fn new(threads: usize) -> Self {
        Self((0..threads).map(|_| Default::default()).collect())
    }

    fn tell(&self, ended: impl Iterator<Item = Ticket>) {
        let mut ended = ended.peekable();
        while let Some(thread) = ended.peek().map(|ticket| self.of(*ticket)) {
            let (inbox, told) = &self.0[thread];
            let mut inbox = inbox.lock().expect("not poisoned");
            let slept = inbox.is_empty();
            while let Some(ticket) = ended.next_if(|ticket| self.of(*ticket) == thread) {
                inbox.push(ticket);
            }
            drop(inbox);
            if slept {
                told.notify_one();
            }
        }
    }

    fn of(&self, ticket: Ticket) -> usize {
        usize::try_from(ticket).expect("small") % self.0.len()
    }

    /// The tickets that ended, at least one, into `ended`, which is empty.
    fn wait(&self, thread: usize, ended: &mut Vec<Ticket>) {
        let (inbox, told) = &self.0[thread];
        let mut inbox = inbox.lock().expect("not poisoned");
        while inbox.is_empty() {
            inbox = told.wait(inbox).expect("not poisoned");
        }
        std::mem::swap(&mut *inbox, ended);
    }
}

impl Sink for Inboxes {
    fn completed(&self, ended: &[(Ticket, Outcome)]) {
        self.tell(ended.iter().map(|(ticket, outcome)| {
            assert_eq!(*outcome, Outcome::Committed);
            *ticket
        }));
    }

    fn poisoned(&self, error: &Error) {
        panic!("{error}");
    }
}

/// One writer: what its next update is made of.
struct Writer {
    session: Arc<str>,
    user: Arc<str>,
    version: u64,
}

/// What a slice showed.
#[derive(Default)]
struct Slice {
    rate: f64,
    a_sync: f64,
    bytes: f64,
    submit_ns: f64,
}

/// Drives writers on `inboxes`' threads, each of which waits for its update before it makes the next; returns updates a
/// second, and nanoseconds of a submit.
fn drive(
    inboxes: &Inboxes,
    writers: &[Mutex<Vec<Writer>>],
    time: Duration,
    submit: impl Fn(Ticket, &mut Writer) + Sync,
) -> (f64, f64) {
    let stop = AtomicBool::new(false);
    let start = Instant::now();
    let sums = std::thread::scope(|scope| {
        let spawn = |thread| {
            let (stop, submit) = (&stop, &submit);
            scope.spawn(move || drive_thread(inboxes, thread, &writers[thread], stop, submit))
        };
        let threads: Vec<_> = (0..writers.len()).map(spawn).collect();
        std::thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
        let sums = threads.into_iter().map(|thread| thread.join().expect("no panic"));
        sums.fold((0, Duration::ZERO, 0), |all, one| (all.0 + one.0, all.1 + one.1, all.2 + one.2))
    });
    let (updates, submitting, timed) = sums;
    (updates as f64 / start.elapsed().as_secs_f64(), submitting.as_nanos() as f64 / timed as f64)
}

/// Returns the updates that ended, and the time of those submits that were timed, and how many these were.
fn drive_thread(
    inboxes: &Inboxes,
    thread: usize,
    writers: &Mutex<Vec<Writer>>,
    stop: &AtomicBool,
    submit: &impl Fn(Ticket, &mut Writer),
) -> (u64, Duration, u64) {
    let mut writers = writers.lock().expect("not poisoned");
    let threads = inboxes.0.len();
    let mut ended: Vec<Ticket> = (0..writers.len()).map(|writer| (writer * threads + thread) as u64).collect();
    let (mut made, mut open, mut submitting, mut timed) = (0u64, 0, Duration::ZERO, 0);
    loop {
        if !stop.load(Ordering::Relaxed) {
            open += ended.len();
            for ticket in ended.drain(..) {
                let writer = &mut writers[usize::try_from(ticket).expect("small") / threads];
                writer.version += 1;
                if made.is_multiple_of(TIMED) {
                    let before = Instant::now();
                    submit(ticket, writer);
                    submitting += before.elapsed();
                    timed += 1;
                } else {
                    submit(ticket, writer);
                }
                made += 1;
            }
        }
        ended.clear();
        if open == 0 {
            return (made, submitting, timed);
        }
        inboxes.wait(thread, &mut ended);
        open -= ended.len();
    }
}

/// Writers for each of the threads.
fn writers(writers: usize, threads: usize) -> Vec<Mutex<Vec<Writer>>> {
    let writer = |number| Writer {
        session: format!("session-{number}").into(),
        user: format!("user-{number}").into(),
        version: 0,
    };
    (0..threads).map(|thread| Mutex::new((thread..writers).step_by(threads).map(writer).collect())).collect()
}

/// A store and the writers on it, which go on from slice to slice.
struct Bench {
    store: Embedded,
    sink: Arc<Inboxes>,
    writers: Vec<Mutex<Vec<Writer>>>,
}

impl Bench {
    fn open(folder: &Path, options: Options, (count, threads): (usize, usize)) -> Self {
        let sink = Arc::new(Inboxes::new(threads));
        let store = Embedded::open(folder, options, sink.clone()).expect("opens");
        Self { store, sink, writers: writers(count, threads) }
    }

    fn slice(&self, time: Duration) -> Slice {
        let before = self.store.stats();
        let (rate, submit_ns) =
            drive(&self.sink, &self.writers, time, |ticket, writer| self.store.submit(self.commit(ticket, writer)));
        let after = self.store.stats();
        let commits = (after.commits - before.commits) as f64;
        Slice {
            rate,
            a_sync: commits / (after.syncs - before.syncs) as f64,
            bytes: (after.log_bytes - before.log_bytes) as f64 / commits,
            submit_ns,
        }
    }

    fn commit(&self, ticket: Ticket, writer: &Writer) -> Commit {
        let (epoch, version, session) = (self.store.epoch(), writer.version, writer.session.clone());
        let answer = Bytes::from_static(b"answer");
        let op = Some(Applied { user: writer.user.clone(), incarnation: u128::from(ticket), counter: version, answer });
        let write = if version == 1 {
            Write::Create { session, epoch, meta: Bytes::new(), document: Bytes::from_static(b"{}"), op }
        } else {
            Write::Delta { session, epoch, version, change: Bytes::from_static(&[7; UPDATE]), op }
        };
        Commit { ticket, writes: vec![write] }
    }
}

/// What waits for the raw group commit's thread.
#[derive(Default)]
struct Handed {
    updates: Vec<(Ticket, [u8; RAW_UPDATE])>,
    over: bool,
}

/// The raw group commit: what it takes to make updates of many writers durable, and no more.
struct RawGroups<'a> {
    raw: &'a Raw,
    handed: Mutex<Handed>,
    wake: Condvar,
    inboxes: Inboxes,
    writers: Vec<Mutex<Vec<Writer>>>,
}

impl<'a> RawGroups<'a> {
    fn new(raw: &'a Raw, (count, threads): (usize, usize)) -> Self {
        let (handed, wake, inboxes) = (Mutex::default(), Condvar::new(), Inboxes::new(threads));
        Self { raw, handed, wake, inboxes, writers: writers(count, threads) }
    }

    fn rate(&self, time: Duration) -> f64 {
        self.handed.lock().expect("not poisoned").over = false;
        std::thread::scope(|scope| {
            scope.spawn(|| self.run());
            let (rate, _) = drive(&self.inboxes, &self.writers, time, |ticket, _| self.hand(ticket));
            self.handed.lock().expect("not poisoned").over = true;
            self.wake.notify_one();
            rate
        })
    }

    fn hand(&self, ticket: Ticket) {
        let mut handed = self.handed.lock().expect("not poisoned");
        let slept = handed.updates.is_empty();
        handed.updates.push((ticket, [7; RAW_UPDATE]));
        drop(handed);
        if slept {
            self.wake.notify_one();
        }
    }

    fn run(&self) {
        let (mut updates, mut group, mut at) = (Vec::new(), Vec::new(), 0);
        loop {
            {
                let mut handed = self.handed.lock().expect("not poisoned");
                while handed.updates.is_empty() {
                    if handed.over {
                        return;
                    }
                    handed = self.wake.wait(handed).expect("not poisoned");
                }
                std::mem::swap(&mut handed.updates, &mut updates);
            }
            group.clear();
            for (_, update) in &updates {
                group.extend_from_slice(update);
            }
            self.raw.append(&group, &mut at);
            self.inboxes.tell(updates.drain(..).map(|(ticket, _)| ticket));
            // As the engine does: who was just told may have more for the next sync.
            std::thread::yield_now();
        }
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[allow(dead_code, reason = "a test runs `compare` in short form")]
fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let folder = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let mut number = || arguments.next().map(|number| number.to_string_lossy().parse().expect("a number"));
    let (rounds, only) = (number().unwrap_or(20), number());
    let folder = tempfile::tempdir_in(folder).expect("a folder");
    compare(folder.path(), rounds, Duration::from_millis(100), 64 << 20, only);
}

/// Runs the rounds and prints the figures.
pub fn compare(folder: &Path, rounds: usize, time: Duration, segment_bytes: u64, only: Option<usize>) {
    let raw = Raw::make(&folder.join("raw"), segment_bytes);
    let options = Options { segment_bytes, ..Options::default() };
    let cases = CASES.into_iter().filter(|(writers, _)| only.is_none_or(|only| *writers == only));
    let cases: Vec<_> = cases
        .map(|case| {
            let folder = folder.join(format!("{}-{}", case.0, case.1));
            (case, Bench::open(&folder, options.clone(), case), RawGroups::new(&raw, case))
        })
        .collect();
    let mut figures: Vec<Vec<(f64, f64, Slice)>> = cases.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for ((case, bench, groups), figures) in cases.iter().zip(&mut figures) {
            figures.push((raw.rate(case.0, time), groups.rate(time), bench.slice(time)));
        }
    }
    for (((writers, threads), ..), figures) in cases.iter().zip(&figures) {
        let all = |figure: fn(&(f64, f64, Slice)) -> f64| median(figures.iter().map(figure));
        println!("{writers} writers on {threads} threads");
        println!("   raw, {writers} updates of {RAW_UPDATE} B a sync: {:.0}/s", all(|(raw, ..)| *raw));
        println!(
            "   raw group commit: {:.0}/s, {:.2} x raw",
            all(|(_, groups, _)| *groups),
            all(|(raw, groups, _)| groups / raw)
        );
        println!(
            "   engine: {:.0}/s, {:.2} x raw (bar 0.5), {:.2} x raw group commit",
            all(|(.., engine)| engine.rate),
            all(|(raw, _, engine)| engine.rate / raw),
            all(|(_, groups, engine)| engine.rate / groups),
        );
        if *writers == 1 {
            println!(
                "   a commit {:.0} us, {:.2} x one raw append + fdatasync of {:.0} us (bar 1.5)",
                all(|(.., engine)| 1e6 / engine.rate),
                all(|(raw, _, engine)| raw / engine.rate),
                all(|(raw, ..)| 1e6 / raw),
            );
        }
        println!(
            "   {:.1} commits a sync, {:.0} B of log each, making and submitting one {:.0} ns",
            all(|(.., engine)| engine.a_sync),
            all(|(.., engine)| engine.bytes),
            all(|(.., engine)| engine.submit_ns),
        );
    }
    for (_, bench, _) in cases {
        bench.store.close().expect("nothing failed");
    }
}
