//! The real Cassandra that `scripts/cassandra` starts, and a keyspace on it that is gone afterwards.

use std::process::Command;

use syncbridge_storage::engine::scylla::{self, Options};

use super::server::Setup;

/// Runs `scripts/cassandra`; what it prints.
pub fn script(command: &str, environment: &[(&str, &str)]) -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/cassandra");
    let environment = environment.iter().copied();
    let ended = Command::new(script).arg(command).envs(environment).output().expect("scripts/cassandra can be run");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "this test needs a real Cassandra; scripts/cassandra {command} says: {said}");
    String::from_utf8_lossy(&ended.stdout).trim().to_owned()
}

/// A keyspace of its own. It is left to the test to make the schema.
pub struct Keyspace(pub Options);

impl Keyspace {
    /// On the instance that all tests share.
    pub fn new() -> Self {
        Self::at(&script("start", &[]))
    }

    /// On the instance at this address.
    pub fn at(address: &str) -> Self {
        Self(Options {
            contact_points: vec![address.to_owned()],
            keyspace: format!("server{:016x}", fastrand::u64(..)),
            ..Options::default()
        })
    }

    /// Makes the schema.
    pub fn migrated(self) -> Self {
        assert_eq!(scylla::migrate(&self.0).expect("the schema is made"), (0, scylla::FORMAT));
        self
    }

    /// A server with its store here.
    pub fn of(&self, setup: Setup) -> Setup {
        setup
            .set("storage.engine", "cassandra")
            .set("storage.cassandra.contact_points", &self.0.contact_points[0])
            .set("storage.cassandra.keyspace", &self.0.keyspace)
    }
}

impl Drop for Keyspace {
    fn drop(&mut self) {
        if let Err(error) = scylla::destroy(&self.0) {
            eprintln!("{} stays: {error}", self.0.keyspace);
        }
    }
}
