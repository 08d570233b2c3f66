//! How fast commits become durable, against a raw preallocated append + fdatasync loop of the same bytes, in one run and
//! interleaved: `cargo run --release -p syncbridge-storage --example commit_bench [FOLDER] [SECONDS]`.
//!
//! The raw loop writes what the engine's groups weigh, 64 updates a sync for the first figure, one for the second.

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

const WRITERS: u64 = 64;
const UPDATE: usize = 128;
/// Bytes that one update of this bench takes in the log: change 128, op 34, names and lengths. Printed against what the
/// engine really wrote.
const RAW_UPDATE: usize = 178;
const SEGMENT: u64 = 64 << 20;

/// The raw file: made once, or its making would be measured in what comes after it.
struct Raw(File);

impl Raw {
    fn make(folder: &Path) -> Self {
        let path = folder.join("raw");
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&path).expect("made");
        for piece in 0..SEGMENT >> 20 {
            file.write_all_at(&vec![0; 1 << 20], piece << 20).expect("filled");
        }
        file.sync_all().expect("synced");
        Self(file)
    }

    /// Updates a second, and the time of one sync.
    fn run(&self, updates: usize, time: Duration) -> (f64, Duration) {
        let group = vec![7u8; updates * RAW_UPDATE];
        let (mut at, mut syncs) = (0, 0u64);
        let start = Instant::now();
        while start.elapsed() < time {
            if at + group.len() as u64 > SEGMENT {
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

struct Figures {
    rate: f64,
    mean: Duration,
    submit: Duration,
    a_sync: f64,
    bytes: f64,
}

/// `shards` threads drive `writers` writers, each of which waits for its commit before it makes the next.
fn engine(folder: &Path, shards: usize, writers: u64, time: Duration) -> Figures {
    let sink = Arc::new(Shards { inboxes: (0..shards).map(|_| Default::default()).collect() });
    let store = Embedded::open(&folder.join("engine"), Options::default(), sink.clone()).expect("opens");
    let stop = AtomicBool::new(false);
    let (spent_submitting, submits) = (AtomicU64::new(0), AtomicU64::new(0));
    let start = Instant::now();
    std::thread::scope(|scope| {
        for shard in 0..shards {
            let (store, sink, stop) = (&store, &sink, &stop);
            let (spent_submitting, submits) = (&spent_submitting, &submits);
            scope.spawn(move || {
                let mine: Vec<u64> = (0..writers).filter(|writer| writer % shards as u64 == shard as u64).collect();
                let mut versions = vec![0u64; usize::try_from(writers).expect("small")];
                for writer in &mine {
                    let stored = store.load(&format!("session-{writer}")).expect("readable");
                    versions[usize::try_from(*writer).expect("small")] = stored.map_or(0, |stored| stored.version);
                }
                let mut ended = mine.clone();
                let mut open = 0;
                loop {
                    for writer in ended.drain(..) {
                        if stop.load(Ordering::Relaxed) {
                            continue;
                        }
                        let version = &mut versions[usize::try_from(writer).expect("small")];
                        *version += 1;
                        let commit = Commit { ticket: writer, writes: vec![update(writer, store.epoch(), *version)] };
                        let before = Instant::now();
                        store.submit(commit);
                        spent_submitting.fetch_add(before.elapsed().as_nanos() as u64, Ordering::Relaxed);
                        submits.fetch_add(1, Ordering::Relaxed);
                        open += 1;
                    }
                    if open == 0 {
                        return;
                    }
                    let (inbox, told) = &sink.inboxes[shard];
                    let mut inbox = inbox.lock().expect("not poisoned");
                    while inbox.is_empty() {
                        inbox = told.wait(inbox).expect("not poisoned");
                    }
                    std::mem::swap(&mut *inbox, &mut ended);
                    open -= ended.len();
                }
            });
        }
        std::thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
    });
    let spent = start.elapsed();
    let stats = store.stats();
    store.close().expect("nothing failed");
    let rate = stats.commits as f64 / spent.as_secs_f64();
    Figures {
        rate,
        mean: Duration::from_secs_f64(writers as f64 / rate),
        submit: Duration::from_nanos(spent_submitting.into_inner() / submits.into_inner().max(1)),
        a_sync: stats.commits as f64 / stats.syncs as f64,
        bytes: stats.log_bytes as f64 / stats.commits as f64,
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let mut arguments = std::env::args_os().skip(1);
    let folder = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let seconds: f64 = arguments.next().map_or(1.0, |seconds| seconds.to_string_lossy().parse().expect("seconds"));
    let time = Duration::from_secs_f64(seconds);
    let folder = tempfile::tempdir_in(folder).expect("a folder");
    let raw = Raw::make(folder.path());
    let (mut ratios, mut single, mut threads) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=5 {
        let (raw_rate, _) = raw.run(WRITERS as usize, time);
        let many = engine(folder.path(), 1, WRITERS, time);
        let many_threads = engine(folder.path(), WRITERS as usize, WRITERS, time);
        let (_, raw_sync) = raw.run(1, time);
        let one = engine(folder.path(), 1, 1, time);
        println!(
            "round {round}: raw {raw_rate:.0}/s, engine {:.0}/s ({:.1} a sync, {:.0} B each, submit {} ns), \
             {WRITERS} threads {:.0}/s; one sync {:.1} us, one writer {:.1} us",
            many.rate,
            many.a_sync,
            many.bytes,
            many.submit.as_nanos(),
            many_threads.rate,
            raw_sync.as_secs_f64() * 1e6,
            one.mean.as_secs_f64() * 1e6,
        );
        ratios.push(many.rate / raw_rate);
        threads.push(many_threads.rate / raw_rate);
        single.push(one.mean.as_secs_f64() / raw_sync.as_secs_f64());
    }
    println!("64 writers on one shard: {:.2} x raw (bar 0.4)", median(ratios));
    println!("64 writers on 64 threads: {:.2} x raw", median(threads));
    println!("one writer: {:.2} x one fdatasync (bar 1.5)", median(single));
}
