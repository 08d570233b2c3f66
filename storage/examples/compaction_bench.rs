//! What the index costs behind the log: how long a durable commit takes while the index is being written, and how many bytes
//! reach the disk for each byte of updates:
//! `cargo run --release -p syncbridge-storage --example compaction_bench [FOLDER] [ROUNDS] [UPDATES A SECOND]`.
//!
//! A round is three slices of the same paced load, one after the other, so that what else the machine does hits all of them:
//! a raw append + fdatasync of as many bytes each millisecond, which is what the disk does by itself; a store that writes its
//! index only at the end; and a store that writes it as a server does, once in each slice at least. Updates are spread over
//! 1,000 sessions, 128 B and an answer each, with a checkpoint of 4 KiB for every hundredth. All figures are medians over
//! the rounds, and the ratios medians of each round's ratio.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use syncbridge_storage::{
    Applied, Commit, Engine, Error, Outcome, Sink, Ticket, Write,
    engine::embedded::{Embedded, Options},
};

const SESSIONS: u64 = 1000;
const UPDATE: usize = 128;
const ANSWER: usize = 16;
const CHECKPOINT: usize = 4 << 10;
const EVERY: u64 = 100;
/// Bytes that an update takes in the log, about.
const RAW_UPDATE: usize = 200;
/// Where the raw loop begins again.
const RAW_FILE: u64 = 32 << 20;

/// Notes how long each commit took.
#[derive(Default)]
struct Times {
    /// When each was submitted, in nanoseconds since `start`; 0: not timed.
    submitted: Mutex<std::collections::VecDeque<(Ticket, Instant)>>,
    took: Mutex<Vec<u64>>,
    done: AtomicU64,
    told: Condvar,
}

impl Sink for Times {
    fn completed(&self, ended: &[(Ticket, Outcome)]) {
        let now = Instant::now();
        let mut took = self.took.lock().expect("not poisoned");
        let mut submitted = self.submitted.lock().expect("not poisoned");
        for (ticket, outcome) in ended {
            assert_eq!(*outcome, Outcome::Committed);
            let (expected, at) = submitted.pop_front().expect("submitted");
            assert_eq!(expected, *ticket);
            took.push((now - at).as_nanos() as u64);
        }
        self.done.fetch_add(ended.len() as u64, Ordering::Release);
        self.told.notify_all();
    }

    fn poisoned(&self, error: &Error) {
        panic!("{error}");
    }
}

struct Bench {
    store: Embedded,
    sink: Arc<Times>,
    tickets: u64,
    versions: Vec<u64>,
    /// Bytes of changes, answers and checkpoints.
    useful: u64,
}

impl Bench {
    fn open(folder: &Path, options: Options) -> Self {
        let sink: Arc<Times> = Arc::default();
        let store = Embedded::open(folder, options, sink.clone()).expect("opens");
        let mut bench = Self { store, sink, tickets: 0, versions: vec![0; SESSIONS as usize], useful: 0 };
        for _ in 0..SESSIONS {
            bench.update();
        }
        bench.wait();
        bench.sink.took.lock().expect("not poisoned").clear();
        bench
    }

    fn update(&mut self) {
        self.tickets += 1;
        let number = self.tickets % SESSIONS;
        let version = &mut self.versions[number as usize];
        *version += 1;
        let (epoch, version) = (self.store.epoch(), *version);
        let session: Arc<str> = format!("session-{number}").into();
        let answer = Bytes::from_static(&[1; ANSWER]);
        let op = Some(Applied { user: "user".into(), incarnation: u128::from(number), counter: version, answer });
        let mut writes = Vec::with_capacity(2);
        if version == 1 {
            let document = Bytes::from_static(&[b'd'; CHECKPOINT]);
            writes.push(Write::Create { session, epoch, meta: Bytes::new(), document, op });
        } else {
            let change = Bytes::from_static(&[7; UPDATE]);
            writes.push(Write::Delta { session: session.clone(), epoch, version, change, op });
            if version.is_multiple_of(EVERY) {
                let document = Bytes::from_static(&[b'd'; CHECKPOINT]);
                writes.push(Write::Checkpoint { session, epoch, version, document });
                self.useful += CHECKPOINT as u64;
            }
        }
        self.useful += (UPDATE + ANSWER) as u64;
        self.sink.submitted.lock().expect("not poisoned").push_back((self.tickets, Instant::now()));
        self.store.submit(Commit { ticket: self.tickets, writes });
    }

    fn wait(&self) {
        let mut took = self.sink.took.lock().expect("not poisoned");
        while self.sink.done.load(Ordering::Acquire) < self.tickets {
            took = self.sink.told.wait(took).expect("not poisoned");
        }
    }

    /// Submits at this rate, in helpings of a millisecond; returns how long each commit took.
    fn slice(&mut self, time: Duration, rate: u64) -> Vec<u64> {
        let start = Instant::now();
        let mut made = 0;
        while start.elapsed() < time {
            let due = (start.elapsed().as_secs_f64() * rate as f64) as u64;
            while made < due {
                self.update();
                made += 1;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        self.wait();
        std::mem::take(&mut *self.sink.took.lock().expect("not poisoned"))
    }
}

/// Bytes that this process has written. (Not `write_bytes`, which counts a file's whole large folio for each small write.)
fn written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    let line = io.lines().find_map(|line| line.strip_prefix("wchar: "));
    line.and_then(|bytes| bytes.parse().ok()).unwrap_or(0)
}

/// The raw loop: how long each update waited for its sync.
fn raw(file: &File, time: Duration, rate: u64) -> Vec<u64> {
    let (start, mut made, mut at, mut took) = (Instant::now(), 0, 0, Vec::new());
    while start.elapsed() < time {
        let due = (start.elapsed().as_secs_f64() * rate as f64) as u64;
        let (count, before) = (due - made, Instant::now());
        let group = vec![7u8; count as usize * RAW_UPDATE];
        file.write_all_at(&group, at).expect("written");
        file.sync_data().expect("synced");
        at = (at + group.len() as u64) % RAW_FILE;
        took.extend(std::iter::repeat_n(before.elapsed().as_nanos() as u64, count as usize));
        made = due;
        std::thread::sleep(Duration::from_millis(1));
    }
    took
}

fn raw_file(folder: &Path) -> File {
    let path = folder.join("raw");
    let file = File::options().read(true).write(true).create_new(true).open(path).expect("made");
    for piece in 0..(2 * RAW_FILE) >> 20 {
        file.write_all_at(&vec![0; 1 << 20], piece << 20).expect("filled");
    }
    file.sync_all().expect("synced");
    file
}

fn at(sorted: &[u64], part: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * part).round() as usize).map_or(0.0, |ns| *ns as f64 / 1000.0)
}

/// How long the commits of a slice took, in microseconds.
struct Quantiles {
    p50: f64,
    p99: f64,
    p999: f64,
    most: f64,
}

impl Quantiles {
    fn of(mut took: Vec<u64>) -> Self {
        took.sort_unstable();
        let [p50, p99, p999, most] = [0.5, 0.99, 0.999, 1.0].map(|part| at(&took, part));
        Self { p50, p99, p999, most }
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
    let mut number =
        |usual: u64| arguments.next().map_or(usual, |number| number.to_string_lossy().parse().expect("a number"));
    let (rounds, rate) = (number(8), number(20_000));
    let folder = tempfile::tempdir_in(folder).expect("a folder");
    compare(folder.path(), rounds, Duration::from_millis(2500), rate, &Options::default());
}

/// Runs the rounds and prints the figures.
pub fn compare(folder: &Path, rounds: u64, time: Duration, rate: u64, options: &Options) {
    let never = Options { flush_bytes: usize::MAX, backlog_bytes: usize::MAX, ..options.clone() };
    let never = Options { flush_after: Duration::from_hours(24), ..never };
    let mut quiet = Bench::open(&folder.join("quiet"), never);
    let mut busy = Bench::open(&folder.join("busy"), options.clone());
    let raw_file = raw_file(folder);
    let mut slices: [Vec<Quantiles>; 3] = Default::default();
    let (mut disk, useful, log) = (0, busy.useful, busy.store.stats().log_bytes);
    for _ in 0..rounds {
        slices[0].push(Quantiles::of(raw(&raw_file, time, rate)));
        slices[1].push(Quantiles::of(quiet.slice(time, rate)));
        let before = written();
        slices[2].push(Quantiles::of(busy.slice(time, rate)));
        disk += written() - before;
    }
    // What is still in memory belongs to it.
    let before = written();
    let (useful, log) = (busy.useful - useful, busy.store.stats().log_bytes - log);
    busy.store.close().expect("nothing failed");
    disk += written() - before;
    for (name, slices) in ["raw", "index not written", "index written"].iter().zip(&slices) {
        let all = |figure: fn(&Quantiles) -> f64| median(slices.iter().map(figure));
        println!(
            "{name}, {rate} updates/s: p50 {:.0} us, p99 {:.0}, p99.9 {:.0}, most {:.0}; p99.9 is {:.1} x p50 (bar 10)",
            all(|slice| slice.p50),
            all(|slice| slice.p99),
            all(|slice| slice.p999),
            all(|slice| slice.most),
            all(|slice| slice.p999 / slice.p50),
        );
    }
    let [bare, without, with] = &slices;
    let against = |other: &[Quantiles]| median(with.iter().zip(other).map(|(with, other)| with.p999 / other.p999));
    println!(
        "p99.9 with the index written: {:.2} x raw, {:.2} x index not written (medians of {rounds} rounds)",
        against(bare),
        against(without)
    );
    let amplification = disk as f64 / useful as f64;
    println!(
        "bytes written for each of updates: {amplification:.2}, of which the log {:.2}",
        log as f64 / useful as f64
    );
    quiet.store.close().expect("nothing failed");
    drop((quiet, busy));
    let bytes = std::fs::metadata(folder.join("busy/index.redb")).expect("there").len();
    let begin = Instant::now();
    let sink: Arc<Times> = Arc::default();
    let store = Embedded::open(&folder.join("busy"), options.clone(), sink).expect("opens");
    println!("start, which reads an index of {} MiB: {} ms", bytes >> 20, begin.elapsed().as_millis());
    let mut took: Vec<u64> = (0..SESSIONS)
        .map(|number| {
            let begin = Instant::now();
            let found = store.load(&format!("session-{number}")).expect("readable");
            assert!(found.is_some());
            begin.elapsed().as_nanos() as u64
        })
        .collect();
    took.sort_unstable();
    let [p50, p95, most] = [0.5, 0.95, 1.0].map(|part| at(&took, part));
    println!("cold load of a session after a start: p50 {p50:.0} us, p95 {p95:.0} (bar 5000), most {most:.0}");
    store.close().expect("nothing failed");
}
