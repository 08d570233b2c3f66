//! A store whose contents are known, and what may be answered of it once it is damaged.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use syncbridge_storage::{
    Commit, Engine, Error, Outcome, StoredDelta, StoredSession, Table, Write,
    engine::embedded::{Embedded, Options},
};

use crate::suite::{START_MS, checkpoint, create, delta_by, op, put, recorder::Recorder};

pub const SESSIONS: usize = 120;

pub fn options() -> Options {
    Options {
        segment_bytes: 64 << 10,
        flush_after: Duration::from_hours(1),
        clock: Arc::new(|| START_MS),
        ..Options::default()
    }
}

pub fn open(folder: &Path) -> Result<(Embedded, Arc<Recorder>), Error> {
    let sink: Arc<Recorder> = Arc::default();
    Ok((Embedded::open(folder, options(), sink.clone())?, sink))
}

pub fn commit((store, sink): &(Embedded, Arc<Recorder>), ticket: u64, writes: Vec<Write>) -> Outcome {
    store.submit(Commit { ticket, writes });
    sink.wait(ticket)
}

pub fn name(session: usize) -> String {
    format!("session-{session}")
}

/// A generator of numbers that is the same on every run.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).expect("below a usize")
    }
}

/// Everything that can be read of a store.
#[derive(Debug, PartialEq)]
pub struct Truth {
    pub sessions: BTreeMap<String, StoredSession>,
    pub catch_up: BTreeMap<String, Vec<StoredDelta>>,
    pub rows: Vec<(bytes::Bytes, bytes::Bytes)>,
}

impl Truth {
    pub fn of(store: &Embedded) -> Self {
        let names = (0..SESSIONS).map(name);
        Self {
            sessions: names
                .clone()
                .map(|name| (name.clone(), store.load(&name).expect("read").expect("there")))
                .collect(),
            catch_up: names
                .map(|name| (name.clone(), store.deltas(&name, 1, usize::MAX).expect("read").expect("kept")))
                .collect(),
            rows: store.scan(Table::User, b"", None, usize::MAX, START_MS).expect("read"),
        }
    }

    /// How many sessions are refused in `store`; panics when anything is answered and wrong.
    pub fn refused(&self, store: &Embedded, what: &str) -> usize {
        let mut refused = 0;
        for (name, truth) in &self.sessions {
            match store.load(name) {
                Ok(found) => assert_eq!(found.as_ref(), Some(truth), "{what}: {name}"),
                Err(Error::Damaged { what: said }) => {
                    assert!(!said.is_empty());
                    refused += 1;
                }
                Err(other) => panic!("{what}: {name}: {other}"),
            }
            match store.deltas(name, 1, usize::MAX) {
                Ok(found) => assert_eq!(found.as_ref(), Some(&self.catch_up[name]), "{what}: {name}"),
                Err(Error::Damaged { .. }) => {}
                Err(other) => panic!("{what}: {name}: {other}"),
            }
        }
        match store.load("a session that never was") {
            Ok(None) | Err(Error::Damaged { .. }) => {}
            other => panic!("{what}: {other:?}"),
        }
        match store.scan(Table::User, b"", None, usize::MAX, START_MS) {
            Ok(found) => assert_eq!(found, self.rows, "{what}"),
            Err(Error::Damaged { .. }) => {}
            Err(other) => panic!("{what}: {other}"),
        }
        for (key, value) in &self.rows {
            match store.get(Table::User, key, START_MS) {
                Ok(found) => assert_eq!(found.as_ref(), Some(value), "{what}"),
                Err(Error::Damaged { .. }) => {}
                Err(other) => panic!("{what}: {other}"),
            }
        }
        refused
    }
}

pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("there") {
        let path = entry.expect("readable").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &target);
        } else if path.extension().is_none_or(|extension| extension != "new") {
            fs::copy(&path, &target).expect("copied");
        }
    }
}

/// A store with sessions of different sizes, of which the index has the older half; and what is in it. Left as it is after a
/// clean end, or as a kill leaves it.
pub fn made(folder: &Path, clean: bool) -> Truth {
    let live = tempfile::tempdir().expect("a folder");
    let mut ticket = 0;
    let mut numbers = Numbers(11);
    let mut versions = [0; SESSIONS];
    let mut truth = None;
    for round in 0..2 {
        let store = open(live.path()).expect("opens");
        for _ in 0..400 {
            let session = numbers.below(SESSIONS);
            let epoch = store.0.epoch();
            let mut writes = Vec::new();
            if versions[session] == 0 {
                writes.push(create(&name(session), epoch));
                versions[session] = 1;
            }
            versions[session] += 1;
            let version = versions[session];
            writes.push(delta_by(&name(session), epoch, version, op("u", session as u128, version)));
            if version % 3 == 0 {
                writes.push(checkpoint(&name(session), epoch, version));
            }
            if version % 4 == 0 {
                writes.push(put(Table::User, &format!("user-{session}"), &version.to_string()));
            }
            ticket += 1;
            assert_eq!(commit(&store, ticket, writes), Outcome::Committed);
        }
        if round == 1 {
            assert!(versions.iter().all(|version| *version > 0), "some were never made: choose another seed");
            truth = Some(Truth::of(&store.0));
            if !clean {
                copy(live.path(), folder);
                continue;
            }
        }
        store.0.close().expect("nothing failed");
    }
    if clean {
        copy(live.path(), folder);
    }
    truth.expect("made")
}

pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("there") {
        let path = entry.expect("readable").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found.retain(|path| path.metadata().expect("there").len() > 0);
    found
}
