//! What write-behind is worth on a CQL database: 1,000 sessions with ten updates each on their way, which the engine puts
//! into a batch a session, against the same engine with one update a session on its way, which is one conditional write
//! an update; both with the answer of each update. In one run, in slices one after the other:
//! `cargo run -p syncbridge-storage --example cql_bench HOST:PORT [ROUNDS]` (`scripts/cassandra start` prints one).

use std::{
    sync::{Arc, Condvar, Mutex},
    time::Instant,
};

use bytes::Bytes;
use syncbridge_storage::{
    Applied, Commit, Engine, Error, Outcome, Sink, Ticket, Write,
    engine::scylla::{self, Options, Scylla},
};

const SESSIONS: usize = 1_000;
const UPDATE: usize = 128;

/// Counts what became durable.
#[derive(Default)]
struct Count {
    durable: Mutex<u64>,
    told: Condvar,
}

impl Sink for Count {
    fn completed(&self, ended: &[(Ticket, Outcome)]) {
        assert!(ended.iter().all(|(_, outcome)| *outcome == Outcome::Committed));
        *self.durable.lock().expect("not poisoned") += ended.len() as u64;
        self.told.notify_all();
    }

    fn poisoned(&self, error: &Error) {
        panic!("{error}");
    }
}

impl Count {
    fn wait(&self, until: u64) {
        let durable = self.durable.lock().expect("not poisoned");
        drop(self.told.wait_while(durable, |durable| *durable < until).expect("not poisoned"));
    }
}

struct Bench {
    store: Scylla,
    count: Arc<Count>,
    versions: Vec<u64>,
    submitted: u64,
}

impl Bench {
    fn submit(&mut self, session: usize) {
        let name: Arc<str> = format!("session-{session}").into();
        self.versions[session] += 1;
        let (epoch, version) = (self.store.epoch(), self.versions[session]);
        let op = Some(Applied {
            user: "user".into(),
            incarnation: 1,
            counter: version,
            answer: Bytes::from_static(&[7; 12]),
        });
        let change = Bytes::from_static(&[b'x'; UPDATE]);
        let write = if version == 1 {
            Write::Create { session: name, epoch, meta: Bytes::new(), document: Bytes::from_static(b"{}"), op }
        } else {
            Write::Delta { session: name, epoch, version, change, op }
        };
        self.submitted += 1;
        self.store.submit(Commit { ticket: self.submitted, writes: vec![write] });
    }

    /// One slice: updates a second, and batches an update.
    fn slice(&mut self, each: usize) -> (f64, f64) {
        let (began, batches, from) = (Instant::now(), self.store.stats().syncs, self.submitted);
        for _ in 0..each {
            (0..SESSIONS).for_each(|session| self.submit(session));
        }
        self.count.wait(self.submitted);
        let updates = (self.submitted - from) as f64;
        (updates / began.elapsed().as_secs_f64(), (self.store.stats().syncs - batches) as f64 / updates)
    }
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

#[allow(dead_code, reason = "a test runs `compare` in short form")]
fn main() {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().expect("HOST:PORT of a database");
    let rounds = arguments.next().map_or(7, |rounds| rounds.parse().expect("a number of rounds"));
    let options = Options { contact_points: vec![address], keyspace: "cql_bench".into(), ..Options::default() };
    scylla::destroy(&options).expect("nothing of an earlier run is left");
    scylla::migrate(&options).expect("the schema is made");
    compare(&options, rounds, 10);
    scylla::destroy(&options).expect("removed");
}

/// Runs the rounds and prints the figures.
pub fn compare(options: &Options, rounds: usize, each: usize) {
    let count = Arc::<Count>::default();
    let store = Scylla::open(options, count.clone()).expect("opens");
    let mut bench = Bench { store, count, versions: vec![0; SESSIONS], submitted: 0 };
    bench.slice(2);
    let (mut behind, mut single, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (many, batches) = bench.slice(each);
        let (one, alone) = bench.slice(1);
        println!(
            "write-behind {many:>7.0}/s, {batches:.2} batches an update; one write an update {one:>6.0}/s, {alone:.2}"
        );
        behind.push(many);
        single.push(one);
        ratios.push(many / one);
    }
    bench.store.close().expect("nothing failed");
    println!("median: {:.0}/s against {:.0}/s, {:.1} × (bar 5)", median(behind), median(single), median(ratios));
}
