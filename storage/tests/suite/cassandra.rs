//! A real Cassandra for tests, and a keyspace of it that is gone afterwards.

use std::{process::Command, sync::OnceLock};

use syncbridge_storage::engine::scylla::{self, Options};

/// Where the database is; `scripts/cassandra` starts it when it does not run. It is left running for the next test.
pub fn address() -> &'static str {
    static ADDRESS: OnceLock<String> = OnceLock::new();
    ADDRESS.get_or_init(|| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/cassandra");
        let started = Command::new(script).arg("start").output().expect("scripts/cassandra can be run");
        let said = String::from_utf8_lossy(&started.stderr);
        assert!(started.status.success(), "these tests need a real Cassandra, and it cannot be started: {said}");
        String::from_utf8_lossy(&started.stdout).trim().to_owned()
    })
}

/// A keyspace of its own, with the schema in it; removed when it is dropped.
pub struct Keyspace(pub Options);

impl Keyspace {
    pub fn empty() -> Self {
        let mut random = [0; 8];
        getrandom::fill(&mut random).expect("random numbers");
        let keyspace = format!("t{:016x}", u64::from_le_bytes(random));
        Self(Options { contact_points: vec![address().to_owned()], keyspace, ..Options::default() })
    }

    pub fn new() -> Self {
        let made = Self::empty();
        assert_eq!(scylla::migrate(&made.0).expect("the schema is made"), (0, scylla::FORMAT));
        made
    }
}

impl Drop for Keyspace {
    fn drop(&mut self) {
        if let Err(error) = scylla::destroy(&self.0) {
            eprintln!("{} stays: {error}", self.0.keyspace);
        }
    }
}
