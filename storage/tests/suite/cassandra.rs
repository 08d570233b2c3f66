//! A real Cassandra for tests, and a keyspace of it that is gone afterwards.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::{process::Command, sync::OnceLock};

use syncbridge_storage::engine::scylla::{self, Options};

/// Where the database is; `scripts/cassandra` starts it when it does not run. It is left running for the next test.
pub fn address() -> &'static str {
    static ADDRESS: OnceLock<String> = OnceLock::new();
    ADDRESS.get_or_init(|| script("start", &[]))
}

/// Runs `scripts/cassandra`; what it prints.
pub fn script(command: &str, environment: &[(&str, &str)]) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/cassandra");
    let environment = environment.iter().copied();
    let ended = Command::new(script).arg(command).envs(environment).output().expect("scripts/cassandra can be run");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "these tests need a real Cassandra; scripts/cassandra {command} says: {said}");
    String::from_utf8_lossy(&ended.stdout).trim().to_owned()
}

/// A keyspace of its own, with the schema in it; removed when it is dropped.
pub struct Keyspace(pub Options);

impl Keyspace {
    pub fn empty() -> Self {
        Self::at(address())
    }

    fn at(address: &str) -> Self {
        let mut random = [0; 8];
        getrandom::fill(&mut random).expect("random numbers");
        let keyspace = format!("t{:016x}", u64::from_le_bytes(random));
        Self(Options { contact_points: vec![address.to_owned()], keyspace, ..Options::default() })
    }

    pub fn new() -> Self {
        Self::new_at(address())
    }

    pub fn new_at(address: &str) -> Self {
        let made = Self::at(address);
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
