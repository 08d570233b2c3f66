//! How fast commits become durable, against a raw preallocated append + fdatasync loop of the same bytes, in one run:
//! `cargo run --release -p syncbridge-storage --example commit_bench [FOLDER] [ROUNDS]`.
//!
//! The raw loop writes what the engine's groups weigh, as many updates a sync as there are writers, and one. A round
//! is a slice of each of a tenth of a second, one after the other, so that what else the machine does hits all of them;
//! the figures are medians over the rounds, and the ratios medians of each round's ratio.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use syncbridge_storage::{
    Applied, Commit, Engine, Error, Outcome, Sink, Ticket, Write,
    engine::embedded::{Embedded, Options},
};

const WRITERS: usize = 64;
const MANY: usize = 1000;
const UPDATE: usize = 128;
/// Bytes that one update of this bench takes in the log: change 128, op 34, names and lengths. Printed against what the
/// engine really wrote.
const RAW_UPDATE: usize = 178;

/// The raw file: made once, or its making would be measured in what comes after it.
struct Raw(File, u64);

impl Raw {
    fn make(folder: &Path, bytes: u64) -> Self {
        let path = folder.join("raw");
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).expect("made");
        for piece in 0..bytes >> 20 {
            file.write_all_at(&vec![0; 1 << 20], piece << 20).expect("filled");
        }
        file.sync_all().expect("synced");
        Self(file, bytes)
    }

    /// Updates a second, and the time of one sync.
    fn run(&self, updates: usize, time: Duration) -> (f64, Duration) {
        let group = vec![7u8; updates * RAW_UPDATE];
        let (mut at, mut syncs) = (0, 0u64);
        let start = Instant::now();
        while start.elapsed() < time {
            if at + group.len() as u64 > self.1 {
                at = 0;
            }
            self.0.write_all_at(&group, at).expect("written");
            self.0.sync_data().expect("synced");
            at += group.len() as u64;
            syncs += 1;
        }
        let spent = start.elapsed();
        (syncs as f64 * updates as f64 / spent.as_secs_f64(), spent / u32::try_from(syncs).expect("few"))
    }
}

/// Writers that live on threads of their own, as sessions do on shards: each shard submits for its writers, and is woken
/// once a batch with what ended.
struct Shards {
    inboxes: Vec<(Mutex<Vec<Ticket>>, Condvar)>,
}

impl Sink for Shards {
    fn completed(&self, ended: &[(Ticket, Outcome)]) {
        let mut woken = vec![false; self.inboxes.len()];
        for (ticket, outcome) in ended {
            assert_eq!(*outcome, Outcome::Committed);
            let shard = usize::try_from(*ticket).expect("small") % self.inboxes.len();
            self.inboxes[shard].0.lock().expect("not poisoned").push(*ticket);
            woken[shard] = true;
        }
        for (_, (_, told)) in woken.iter().zip(&self.inboxes).filter(|(woken, _)| **woken) {
            told.notify_one();
        }
    }

    fn poisoned(&self, error: &Error) {
        panic!("{error}");
    }
}

fn update(writer: u64, epoch: u64, version: u64) -> Write {
    let op = Some(Applied {
        user: "user".into(),
        incarnation: u128::from(writer),
        counter: version,
        answer: Bytes::from_static(b"answer"),
    });
    let session = format!("session-{writer}").into();
    if version == 1 {
        return Write::Create { session, epoch, meta: Bytes::new(), document: Bytes::from_static(b"{}"), op };
    }
    Write::Delta { session, epoch, version, change: Bytes::from_static(&[7; UPDATE]), op }
}

/// A store and the writers on it, which go on from slice to slice.
struct Bench {
    store: Embedded,
    sink: Arc<Shards>,
    versions: Vec<Mutex<u64>>,
}

/// What a slice showed.
struct Slice {
    rate: f64,
    a_sync: f64,
    bytes: f64,
    submit_ns: f64,
}

impl Bench {
    /// `shards` threads drive `writers` writers, each of which waits for its commit before it makes the next.
    fn open(folder: &Path, options: Options, shards: usize, writers: usize) -> Self {
        let sink = Arc::new(Shards { inboxes: (0..shards).map(|_| Default::default()).collect() });
        let store = Embedded::open(folder, options, sink.clone()).expect("opens");
        Self { store, sink, versions: (0..writers).map(|_| Mutex::new(0)).collect() }
    }

    fn slice(&self, time: Duration) -> Slice {
        let stop = AtomicBool::new(false);
        let (submitting, submits) = (AtomicU64::new(0), AtomicU64::new(0));
        let before = self.store.stats();
        let start = Instant::now();
        std::thread::scope(|scope| {
            for shard in 0..self.sink.inboxes.len() {
                let (stop, submitting, submits) = (&stop, &submitting, &submits);
                scope.spawn(move || self.shard(shard, stop, submitting, submits));
            }
            std::thread::sleep(time);
            stop.store(true, Ordering::Relaxed);
        });
        let spent = start.elapsed();
        let after = self.store.stats();
        let commits = (after.commits - before.commits) as f64;
        Slice {
            rate: commits / spent.as_secs_f64(),
            a_sync: commits / (after.syncs - before.syncs) as f64,
            bytes: (after.log_bytes - before.log_bytes) as f64 / commits,
            submit_ns: submitting.into_inner() as f64 / submits.into_inner() as f64,
        }
    }

    fn shard(&self, shard: usize, stop: &AtomicBool, submitting: &AtomicU64, submits: &AtomicU64) {
        let shards = self.sink.inboxes.len();
        let mut ended: Vec<Ticket> =
            (0..self.versions.len()).filter(|writer| writer % shards == shard).map(|writer| writer as u64).collect();
        let mut open = 0;
        loop {
            for writer in ended.drain(..) {
                if stop.load(Ordering::Relaxed) {
                    continue;
                }
                let mut version = self.versions[usize::try_from(writer).expect("small")].lock().expect("not poisoned");
                *version += 1;
                let commit = Commit { ticket: writer, writes: vec![update(writer, self.store.epoch(), *version)] };
                let before = Instant::now();
                self.store.submit(commit);
                submitting.fetch_add(before.elapsed().as_nanos() as u64, Ordering::Relaxed);
                submits.fetch_add(1, Ordering::Relaxed);
                open += 1;
            }
            if open == 0 {
                return;
            }
            let (inbox, told) = &self.sink.inboxes[shard];
            let mut inbox = inbox.lock().expect("not poisoned");
            while inbox.is_empty() {
                inbox = told.wait(inbox).expect("not poisoned");
            }
            std::mem::swap(&mut *inbox, &mut ended);
            open -= ended.len();
        }
    }
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[allow(dead_code, reason = "a test runs `compare` in short form")]
fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let folder = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let rounds: usize = arguments.next().map_or(20, |rounds| rounds.to_string_lossy().parse().expect("rounds"));
    let folder = tempfile::tempdir_in(folder).expect("a folder");
    compare(folder.path(), rounds, Duration::from_millis(100), 64 << 20);
}

/// Runs the rounds and prints the figures.
pub fn compare(folder: &Path, rounds: usize, time: Duration, segment_bytes: u64) {
    let raw = Raw::make(folder, segment_bytes);
    let options = Options { segment_bytes, ..Options::default() };
    let open = |name: &str, shards, writers| Bench::open(&folder.join(name), options.clone(), shards, writers);
    let shard = open("shard", 1, WRITERS);
    let many = open("many", 1, MANY);
    let threads = open("threads", WRITERS, WRITERS);
    let one = open("one", 1, 1);
    let mut columns: [Vec<f64>; 14] = Default::default();
    for _ in 0..rounds {
        let (raw_rate, _) = raw.run(WRITERS, time);
        let on_shard = shard.slice(time);
        let on_threads = threads.slice(time);
        let (raw_many, _) = raw.run(MANY, time);
        let of_many = many.slice(time);
        let (_, raw_sync) = raw.run(1, time);
        let single = one.slice(time);
        let (raw_us, single_us) = (raw_sync.as_secs_f64() * 1e6, 1e6 / single.rate);
        let row = [
            raw_rate,
            on_shard.rate,
            on_shard.rate / raw_rate,
            on_threads.rate,
            on_threads.rate / raw_rate,
            raw_many,
            of_many.rate,
            of_many.rate / raw_many,
            raw_us,
            single_us,
            single_us / raw_us,
            on_shard.a_sync,
            on_shard.bytes,
            on_shard.submit_ns,
        ];
        for (column, value) in columns.iter_mut().zip(row) {
            column.push(value);
        }
    }
    let best = columns[2].iter().chain(&columns[7]).copied().fold(0.0, f64::max);
    let [raw_rate, on_shard, ratio, on_threads, threads_ratio, raw_many, of_many, many_ratio, rest @ ..] =
        columns.map(|column| median(&column));
    let [raw_us, single_us, single_ratio, a_sync, bytes, submit] = rest;
    println!("raw append + fdatasync, {WRITERS} updates of {RAW_UPDATE} B a sync: {raw_rate:.0}/s");
    println!("{WRITERS} writers on one shard: {on_shard:.0}/s, {ratio:.2} x raw (bar 0.5)");
    println!("   {a_sync:.1} commits a sync, {bytes:.0} B of log each, submit {submit:.0} ns");
    println!("{WRITERS} writers on {WRITERS} threads: {on_threads:.0}/s, {threads_ratio:.2} x raw");
    println!("raw, {MANY} updates a sync: {raw_many:.0}/s");
    println!(
        "{MANY} writers on one shard: {of_many:.0}/s, {many_ratio:.2} x raw (bar 0.5); best round of both {best:.2}"
    );
    println!("one raw append + fdatasync: {raw_us:.0} us");
    println!("one writer: {single_us:.0} us a commit, {single_ratio:.2} x one fdatasync (bar 1.5)");
    for bench in [shard, many, threads, one] {
        bench.store.close().expect("nothing failed");
    }
}
