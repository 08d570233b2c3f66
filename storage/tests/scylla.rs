//! The engine over CQL, against a real Cassandra: the shared suite, and what only it can do.

mod suite;

use suite::{Fixture, cassandra::Keyspace};
use syncbridge_storage::engine::scylla::{Options, Scylla};

fn fixture() -> Fixture {
    let keyspace = Keyspace::new();
    Fixture::new(Box::new(move |old, sink, clock| {
        drop(old);
        let options = Options { clock, ..keyspace.0.clone() };
        Box::new(Scylla::open(&options, sink).expect("opens"))
    }))
}

engine_suite!(fixture);
