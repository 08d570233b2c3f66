//! redb against fjall as the index behind the log, on what a flush really writes: heads, runs of deltas, incarnations and
//! runs of answers, in one batch that is durable at its end.
//! `cargo run --release -p syncbridge-storage --example index_compare [FOLDER]`.
//!
//! Two layouts: `apart` has a table for each kind of row; `together` has one, in which all rows of a session are
//! neighbours. Two patterns: `hot` is 64 sessions with 800 updates each in a flush; `cold` is one update each for 5,000 of 200,000
//! sessions, chosen anew each time. What is read is a whole session's rows, as `load` does.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use fjall::{KeyspaceCreateOptions, PersistMode};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;
const NAMES: [&str; 4] = ["sessions", "deltas", "incarnations", "answers"];
const TABLES: [Definition; 4] = [
    TableDefinition::new(NAMES[0]),
    TableDefinition::new(NAMES[1]),
    TableDefinition::new(NAMES[2]),
    TableDefinition::new(NAMES[3]),
];
const CACHE: usize = 64 << 20;

/// One row: table, key, value, and whether a flush reads it before.
type Row = (usize, Vec<u8>, Vec<u8>, bool);

trait Store {
    /// Reads what a flush reads (a head and an incarnation a session), writes the rows, durable at its end.
    fn flush(&self, rows: &[Row]);
    /// Reads all rows of a session; returns their bytes.
    fn load(&self, session: &[u8]) -> usize;
}

struct Redb(Database);

impl Store for Redb {
    fn flush(&self, rows: &[Row]) {
        let mut transaction = self.0.begin_write().expect("begins");
        transaction.set_quick_repair(true);
        {
            let mut tables: Vec<_> =
                TABLES.iter().map(|table| transaction.open_table(*table).expect("opens")).collect();
            for (table, key, value, read) in rows {
                if *read {
                    drop(tables[*table].get(key.as_slice()).expect("readable"));
                }
                tables[*table].insert(key.as_slice(), value.as_slice()).expect("inserted");
            }
        }
        transaction.commit().expect("committed");
    }

    fn load(&self, session: &[u8]) -> usize {
        let transaction = self.0.begin_read().expect("begins");
        let end = [session, &[0xFF; 17]].concat();
        TABLES
            .iter()
            .map(|table| {
                let table = transaction.open_table(*table).expect("opens");
                let range = table.range::<&[u8]>(session..end.as_slice()).expect("readable");
                range.map(|row| row.expect("readable").1.value().len()).sum::<usize>()
            })
            .sum()
    }
}

struct Fjall(fjall::Database, Vec<fjall::Keyspace>);

impl Store for Fjall {
    fn flush(&self, rows: &[Row]) {
        let mut batch = self.0.batch().durability(Some(PersistMode::SyncData));
        for (table, key, value, read) in rows {
            if *read {
                drop(self.1[*table].get(key).expect("readable"));
            }
            batch.insert(&self.1[*table], key.as_slice(), value.as_slice());
        }
        batch.commit().expect("committed");
    }

    fn load(&self, session: &[u8]) -> usize {
        let end = [session, &[0xFF; 17]].concat();
        self.1
            .iter()
            .map(|keyspace| {
                keyspace
                    .range(session..end.as_slice())
                    .map(|row| row.into_inner().expect("readable").1.len())
                    .sum::<usize>()
            })
            .sum()
    }
}

fn session(number: u64) -> Vec<u8> {
    // Names are not in the order in which sessions are made.
    format!("session-{:016x}", number.wrapping_mul(0x9E37_79B9_7F4A_7C15)).into_bytes()
}

/// The rows of one session's updates in flush `flush`.
fn rows(layout: &str, number: u64, flush: u64, updates: usize, out: &mut Vec<Row>) {
    let name = session(number);
    let mut push = |table: usize, key: &[&[u8]], value: usize| {
        let kind = [table as u8];
        let kind: &[u8] = if layout == "together" { &kind } else { &[] };
        let key = [&[name.as_slice(), kind], key].concat().concat();
        out.push((
            if layout == "together" { 0 } else { table },
            key,
            vec![table as u8; value],
            table.is_multiple_of(2),
        ));
    };
    push(0, &[], 96);
    let mut left = updates * 132;
    let mut run = 0u8;
    while left > 0 {
        let bytes = left.min(64 << 10);
        push(1, &[&flush.to_be_bytes(), &[run]], bytes);
        left -= bytes;
        run += 1;
    }
    push(2, &[&[7; 16]], 20);
    push(3, &[&[7; 16], &flush.to_be_bytes()], updates.min(1024) * 16);
}

fn batches(layout: &str, pattern: &str, flushes: u64) -> Vec<Vec<Row>> {
    (0..flushes)
        .map(|flush| {
            let mut batch = Vec::new();
            if pattern == "hot" {
                for number in 0..64 {
                    rows(layout, number, flush, 800, &mut batch);
                }
            } else {
                let mut numbers: Vec<_> =
                    (0..5000u64).map(|n| (n + flush * 5000).wrapping_mul(7_368_787) % 200_000).collect();
                numbers.sort_by_key(|number| session(*number));
                numbers.dedup();
                for number in numbers {
                    rows(layout, number, flush, 1, &mut batch);
                }
            }
            batch.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
            batch
        })
        .collect()
}

/// CPU time of this process, all threads.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields: Vec<_> = stat.rsplit(')').next().expect("a name").split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().expect("a number") + fields[12].parse::<u64>().expect("a number");
    Duration::from_millis(ticks * 10)
}

fn written() -> u64 {
    let io = std::fs::read_to_string("/proc/self/io").expect("Linux");
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).expect("a field");
    line.parse().expect("a number")
}

fn disk(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = std::fs::read_dir(folder).expect("there").map(|entry| entry.expect("readable"));
    entries
        .map(|entry| {
            let data = entry.metadata().expect("there");
            if data.is_dir() { disk(&entry.path()) } else { data.blocks() * 512 }
        })
        .sum()
}

fn run(name: &str, layout: &str, pattern: &str, folder: &Path, store: impl Store) {
    let flushes = if pattern == "hot" { 30 } else { 60 };
    let updates: f64 = if pattern == "hot" { 64.0 * 800.0 } else { 5000.0 };
    let batches = batches(layout, pattern, flushes);
    let bytes: usize = batches.iter().flatten().map(|(_, key, value, _)| key.len() + value.len()).sum();
    let (start, cpu_before, written_before) = (Instant::now(), cpu(), written());
    let mut longest = Duration::ZERO;
    for batch in &batches {
        let begun = Instant::now();
        store.flush(batch);
        longest = longest.max(begun.elapsed());
    }
    let (spent, cpu_spent, written) = (start.elapsed(), cpu().saturating_sub(cpu_before), written() - written_before);
    let reads = 2000;
    let read_start = Instant::now();
    let mut read = 0;
    for n in 0..reads {
        read += store.load(&session(if pattern == "hot" { n % 64 } else { n * 7_368_787 % 200_000 }));
    }
    let load = read_start.elapsed() / u32::try_from(reads).expect("small");
    drop(store);
    println!(
        "{name:5} {layout:8} {pattern:4}: {:7.0} updates/s, CPU {:5.2} us an update, longest flush {:4.0} ms, written {:4.1} x, \
         on disk {:4.1} x, a load {:6.1} us ({} KiB)",
        updates * flushes as f64 / spent.as_secs_f64(),
        cpu_spent.as_secs_f64() * 1e6 / (updates * flushes as f64),
        longest.as_secs_f64() * 1e3,
        written as f64 / bytes as f64,
        disk(folder) as f64 / bytes as f64,
        load.as_secs_f64() * 1e6,
        (read / usize::try_from(reads).expect("small")) >> 10,
    );
}

fn main() {
    let folder = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    for pattern in ["hot", "cold"] {
        for layout in ["apart", "together"] {
            let folder = tempfile::tempdir_in(&folder).expect("a folder");
            let of = |name: &str| {
                let folder = folder.path().join(name);
                std::fs::create_dir(&folder).expect("made");
                folder
            };
            let path = of("redb");
            let database = Database::builder().set_cache_size(CACHE).create(path.join("index.redb")).expect("opens");
            run("redb", layout, pattern, &path, Redb(database));
            let path = of("fjall");
            let database = fjall::Database::builder(&path)
                .cache_size(CACHE as u64)
                .manual_journal_persist(true)
                .open()
                .expect("opens");
            let keyspaces = NAMES
                .iter()
                .map(|name| database.keyspace(name, KeyspaceCreateOptions::default).expect("opens"))
                .collect();
            run("fjall", layout, pattern, &path, Fjall(database, keyspaces));
        }
    }
}
