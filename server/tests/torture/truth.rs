//! What was heard of a session, by anyone, and what has to be true because of it. Independent of any client's
//! bookkeeping: it takes messages and documents, nothing else.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use syncbridge_codec::message::{Delta, Position};

use crate::shim::Shim;

/// Says how far the server's trace is; always 0 where nothing is traced.
#[derive(Debug, Clone, Default)]
pub struct Clock(pub Option<Arc<Shim>>);

impl Clock {
    /// What is heard now was said when no more than this many records were in the trace.
    pub fn position(&self) -> u64 {
        self.0.as_ref().map_or(0, |shim| shim.position())
    }
}

/// What is known of one version.
#[derive(Debug, Clone)]
pub struct Told {
    pub marker: String,
    /// By the server's clock; `None` when only an `Accepted` told of it.
    pub time_ms: Option<u64>,
    /// The place in the trace at which it was heard first.
    pub heard: u64,
}

/// Everything that was heard of one session. Every version but the first appends one unique marker to `/log`.
#[derive(Debug, Default)]
pub struct Truth {
    pub id: String,
    /// The epoch in which `told` was heard.
    pub epoch: u64,
    pub told: BTreeMap<u64, Told>,
    /// The newest version that anyone was told to be durable.
    pub durable: u64,
    /// The newest version that anyone heard of.
    pub newest: u64,
    /// The last version that survived the last kill.
    pub kept: u64,
    /// When which version was told to be durable: `durable`, and how it came to be.
    confirmed: Vec<(u64, u64)>,
    clock: Clock,
}

impl Truth {
    /// A session that was just made.
    pub fn new(id: String, epoch: u64, clock: Clock) -> Self {
        Self { id, epoch, durable: 1, newest: 1, kept: 1, clock, ..Self::default() }
    }

    /// What was known of it at this place in the trace: everything heard later is forgotten.
    pub fn until(&self, position: u64) -> Self {
        let told: BTreeMap<u64, Told> =
            self.told.iter().filter(|(_, told)| told.heard <= position).map(|(at, told)| (*at, told.clone())).collect();
        let confirmed: Vec<(u64, u64)> =
            self.confirmed.iter().filter(|(heard, _)| *heard <= position).copied().collect();
        let durable = confirmed.iter().map(|(_, version)| *version).max().unwrap_or(1);
        let newest = told.last_key_value().map_or(1, |(version, _)| *version).max(durable);
        Self {
            id: self.id.clone(),
            epoch: self.epoch,
            told,
            durable,
            newest,
            kept: self.kept,
            confirmed,
            clock: Clock::default(),
        }
    }

    fn hear(&mut self, at: &Position, marker: &str, time_ms: Option<u64>) {
        assert_eq!(at.epoch, self.epoch, "{}: version {} of another epoch", self.id, at.version);
        self.newest = self.newest.max(at.version);
        let known = self.told.entry(at.version).or_insert_with(|| Told {
            marker: marker.to_owned(),
            time_ms,
            heard: self.clock.position(),
        });
        assert_eq!(known.marker, marker, "{}: two stories of version {}", self.id, at.version);
        known.time_ms = known.time_ms.or(time_ms);
    }

    /// Somebody got this change; live, or replayed from an earlier epoch.
    pub fn delta(&mut self, delta: &Delta) {
        let marker = marker(&delta.operations);
        if delta.at.epoch == self.epoch {
            self.hear(&delta.at, &marker, Some(delta.time_ms));
        } else {
            let known = self.told.get(&delta.at.version).map(|told| told.marker.as_str());
            assert!(delta.at.epoch < self.epoch && delta.at.version <= self.kept, "{}: {:?}", self.id, delta.at);
            assert!(known.is_none_or(|known| known == marker), "{}: {:?} changed in the restart", self.id, delta.at);
        }
    }

    /// A writer was told that its update made this version.
    pub fn accepted(&mut self, at: &Position, marker: &str, durable: bool) {
        self.hear(at, marker, None);
        if durable {
            self.durable(at);
        }
    }

    /// Somebody was told that everything up to here is durable.
    pub fn durable(&mut self, at: &Position) {
        assert_eq!(at.epoch, self.epoch);
        self.newest = self.newest.max(at.version);
        if at.version > self.durable {
            self.durable = at.version;
            self.confirmed.push((self.clock.position(), at.version));
        }
    }

    /// After a restart: holds what survived against what was said. How many accepted versions are lost.
    pub fn check(&mut self, epoch: u64, version: u64, log: &[String]) -> u64 {
        let Self { id, durable, newest, .. } = &*self;
        assert!(epoch > self.epoch, "{id}: the epoch grows with each owner");
        assert!(version >= *durable, "{id}: {durable} was called durable, {version} survived");
        assert_eq!(log.len() as u64, version - 1, "{id}: one marker a version");
        let mut found: HashMap<&str, u64> = HashMap::new();
        for (marker, at) in log.iter().zip(2..) {
            assert!(found.insert(marker, at).is_none(), "{id}: {marker} is there twice");
            if let Some(told) = self.told.get(&at) {
                assert_eq!(told.marker, *marker, "{id}: version {at} is not what was told");
            }
        }
        let lost = newest.saturating_sub(version);
        (self.epoch, self.kept) = (epoch, version);
        lost
    }

    /// Nothing of it was called durable.
    pub fn forgive(&mut self) {
        self.durable = 1;
        self.confirmed.clear();
    }

    /// From here on the new epoch's versions are heard, at places in this round's trace.
    pub fn go_on(&mut self, clock: &Clock) {
        self.clock = clock.clone();
        self.told.retain(|version, _| *version <= self.kept);
        (self.newest, self.durable) = (self.kept, self.kept);
        self.confirmed.clear();
    }
}

/// How far the kill reached, by the server's own times of acceptance.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Window {
    /// Milliseconds from the oldest lost to the newest accepted.
    pub lost_ms: u64,
    /// Milliseconds from the newest that survived to the newest accepted: the same, and the pause before it.
    pub apart_ms: u64,
}

impl Window {
    /// Of one kill, over all sessions. Call it between [`Truth::check`] and [`Truth::go_on`].
    pub fn of(truths: &[Truth]) -> Self {
        let times = |kept: bool| {
            truths.iter().flat_map(move |truth| {
                let told = truth.told.iter().filter(move |(version, _)| (**version <= truth.kept) == kept);
                told.filter_map(|(_, told)| told.time_ms)
            })
        };
        let newest = times(false).chain(times(true)).max().unwrap_or(0);
        Self {
            lost_ms: times(false).min().map_or(0, |oldest| newest - oldest),
            apart_ms: times(true).max().map_or(0, |kept| newest - kept),
        }
    }
}

/// The patch that appends a marker.
pub fn append(marker: &str) -> String {
    format!(r#"[{{"op":"add","path":"/log/-","value":"{marker}"}}]"#)
}

/// The marker in such a patch.
pub fn marker(operations: &[u8]) -> String {
    let patch: serde_json::Value = serde_json::from_slice(operations).expect("JSON");
    patch[0]["value"].as_str().expect("a marker").to_owned()
}

/// The markers of a document.
pub fn log(document: &[u8]) -> Vec<String> {
    let document: serde_json::Value = serde_json::from_slice(document).expect("JSON");
    let log = document["log"].as_array().expect("a log");
    log.iter().map(|marker| marker.as_str().expect("a marker").to_owned()).collect()
}

/// One connection's place in a session: every version once, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Follow {
    pub at: Position,
}

impl Follow {
    /// The next version.
    pub fn step(&mut self, at: &Position) {
        assert_eq!(at.version, self.at.version + 1, "after {:?} came {at:?}", self.at);
        assert!(at.epoch >= self.at.epoch, "after {:?} came {at:?}", self.at);
        self.at = at.clone();
    }
}
