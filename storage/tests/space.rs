//! A store that is used for a long time stays small: what retention lets go of is used again, and nothing grows with the
//! number of updates. Time is the test's own.

mod suite;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use suite::{START_MS, create, recorder::Recorder};
use syncbridge_storage::{
    Applied, Commit, Engine, Table, Write,
    engine::embedded::{Embedded, Options, tools::Offline},
};

const SEGMENT: u64 = 1 << 20;
const SECOND: u64 = 1000;
const HOUR: u64 = 3600 * SECOND;

/// A store whose clock the test moves.
struct Aging {
    folder: tempfile::TempDir,
    store: Option<Embedded>,
    sink: Arc<Recorder>,
    now_ms: Arc<AtomicU64>,
    ticket: u64,
}

impl Aging {
    fn new(flush_bytes: usize) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (sink, now_ms): (Arc<Recorder>, _) = (Arc::default(), Arc::new(AtomicU64::new(START_MS)));
        let clock = now_ms.clone();
        let options = Options {
            segment_bytes: SEGMENT,
            flush_bytes,
            // The writer waits for the index here, as it does in a server.
            backlog_bytes: 4 * flush_bytes,
            flush_after: Duration::from_hours(1),
            clock: Arc::new(move || clock.load(Ordering::Relaxed)),
            ..Options::default()
        };
        let store = Embedded::open(folder.path(), options, sink.clone()).expect("opens");
        Self { folder, store: Some(store), sink, now_ms, ticket: 0 }
    }

    fn now(&self) -> u64 {
        self.now_ms.load(Ordering::Relaxed)
    }

    fn pass(&self, ms: u64) {
        self.now_ms.fetch_add(ms, Ordering::Relaxed);
    }

    fn submit(&mut self, writes: Vec<Write>) {
        self.ticket += 1;
        self.store.as_ref().expect("open").submit(Commit { ticket: self.ticket, writes });
        // A server that is used waits now and then; the time of a commit is that at which it is written.
        if self.ticket.is_multiple_of(64) {
            self.sink.wait(self.ticket);
        }
    }

    fn wait(&self) {
        self.sink.wait(self.ticket);
    }

    fn size(&self) -> u64 {
        self.wait();
        bytes(self.folder.path())
    }

    /// Rows of tables of the index, once it has everything.
    fn rows<const N: usize>(mut self, tables: [&str; N]) -> [u64; N] {
        self.store.take().expect("open").close().expect("nothing failed");
        let figures = Offline::lock(self.folder.path()).expect("free").stats().expect("counted");
        let find = |table: &str| figures.tables.iter().find(|found| found.name == table);
        tables.map(|table| find(table).map_or(0, |found| found.rows))
    }
}

/// Bytes of all files in a folder; one that goes while this looks counts nothing.
fn bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).expect("there").filter_map(Result::ok);
    let sizes = entries.filter_map(|entry| {
        let found = entry.metadata().ok()?;
        Some(if found.is_dir() { bytes(&entry.path()) } else { found.len() })
    });
    sizes.sum()
}

fn row(table: Table, key: String, expires_at_ms: u64) -> Write {
    let value = vec![7; 100].into();
    Write::Put { table, key: key.into(), value, expires_at_ms: Some(expires_at_ms), if_absent: false }
}

/// One update a second for a day: 86,400 changes and answers, a checkpoint of 16 KiB every 100, a new client every five
/// minutes, an idempotency key every second and a token every ten, kept an hour, and a row that is renewed every second.
#[test]
fn a_day_of_updates_to_one_session_stays_below_a_bound_that_does_not_grow() {
    // Changes: 1,000 versions × 100 B and a run of 64 KiB; answers: 288 clients × 300 × 60 B = 5 MiB (clients are kept for
    // 30 days); rows of an hour: 3,960 × 300 B = 1.2 MiB; the document. 7 MiB, twice for what a commit of redb replaces and
    // doubled by how redb grows its file: 28 MiB. The log: what is being written, what waits for the index, two to use
    // again, one in the making: 6 MiB.
    const BOUND: u64 = 34 << 20;
    let mut aging = Aging::new(256 << 10);
    aging.submit(vec![create("s", 1)]);
    let document = bytes::Bytes::from(vec![b'd'; 16 << 10]);
    let mut sizes = Vec::new();
    for second in 1..=24 * 3600u64 {
        aging.pass(SECOND);
        let (now, version) = (aging.now(), second + 1);
        let op = Applied {
            user: "user".into(),
            incarnation: u128::from(second / 300),
            counter: version,
            answer: vec![1; 40].into(),
        };
        let change = vec![b'c'; 100].into();
        let mut writes = vec![
            Write::Delta { session: "s".into(), epoch: 1, version, change, op: Some(op) },
            row(Table::Idempotency, format!("key-{second}"), now + HOUR),
            row(Table::Device, "seen".into(), now + 30 * 24 * HOUR),
        ];
        if second % 10 == 0 {
            writes.push(row(Table::Token, format!("token-{second}"), now + HOUR));
        }
        if second % 100 == 0 {
            let document = document.clone();
            writes.push(Write::Checkpoint { session: "s".into(), epoch: 1, version, document });
        }
        aging.submit(writes);
        if second % 3600 == 0 {
            sizes.push(aging.size());
        }
    }
    println!("bytes after each hour: {sizes:?}");
    assert!(sizes.iter().all(|size| *size < BOUND), "{sizes:?}");
    let store = aging.store.as_ref().expect("open");
    let log = store.stats().log_bytes;
    assert!(log > 40 << 20, "far more was written than is kept: {log}");
    // 1,000 versions behind the checkpoint, the hundred since, and the runs that are half over.
    let newest = store.load("s").expect("readable").expect("there").version;
    assert!(store.deltas("s", newest - 2500, 1000).expect("readable").is_none(), "older changes are let go");
    assert!(store.deltas("s", newest - 1000, 1000).expect("readable").is_some());
    // An entry a row: none for the times at which a renewed row would have expired.
    let expected = 3600 + 360 + 1;
    let [rows, entries] = aging.rows(["rows", "expiry"]);
    assert_eq!(entries, rows);
    assert!(rows <= expected + 20, "{rows} of {expected}");
}

/// More rows that expire in each flush than one flush used to remove.
#[test]
fn rows_that_expire_faster_than_a_flush_removes_do_not_pile_up() {
    let mut aging = Aging::new(8 << 20);
    for minute in 0..60 {
        for number in 0..3000 {
            let soon = aging.now() + 30 * SECOND;
            aging.submit(vec![row(Table::Handoff, format!("{minute}-{number}"), soon)]);
        }
        aging.pass(60 * SECOND);
    }
    aging.wait();
    // What the last flushes brought, of about 20,000 rows each.
    let [left] = aging.rows(["rows"]);
    assert!(left < 60_000, "{left} of 180,000");
}

/// Sessions that come and go leave nothing.
#[test]
fn deleted_sessions_give_their_space_back() {
    let mut aging = Aging::new(256 << 10);
    let document = bytes::Bytes::from(vec![b'd'; 64 << 10]);
    let mut sizes = Vec::new();
    for number in 0..400u64 {
        let session: Arc<str> = format!("s{number}").into();
        let made = Write::Create {
            session: session.clone(),
            epoch: 1,
            meta: "m".into(),
            document: document.clone(),
            op: None,
        };
        aging.submit(vec![made]);
        if let Some(old) = number.checked_sub(20) {
            aging.submit(vec![Write::DeleteSession { session: format!("s{old}").into(), epoch: 1 }]);
        }
        if number % 100 == 99 {
            sizes.push(aging.size());
        }
    }
    println!("bytes after each hundred: {sizes:?}");
    // 20 sessions of 64 KiB are 1.3 MiB; with what waits for the index (256 KiB), copies, and the log as above.
    assert!(sizes.iter().all(|size| *size < 16 << 20), "{sizes:?}");
    assert_eq!(aging.rows(["documents"]), [20]);
}
