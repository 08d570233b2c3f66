//! What ends access tokens before their time: logins that are over, devices that were removed. In memory, so that every
//! token can be asked about; each entry is also a row of the store, read at start. An entry lives as long as an access
//! token that it concerns can.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use parking_lot::RwLock;
use syncbridge_codec::wire::{Reader, Value as _, WireError};
use syncbridge_storage::{Engine, Error, Scanned, Table, Write};

use super::{Actor, family::FamilyId};
use crate::defaults;

/// What a row of [`Table::Token`] is, by its key's first byte.
const FAMILY_ROW: u8 = b'r';
const DEVICE_ROW: u8 = b'd';
/// Bytes of a family's key.
const FAMILY_KEY: usize = 17;

/// See the file's head.
#[derive(Debug, Default)]
pub struct Revoked {
    /// Unix seconds until which the family has to be remembered.
    families: RwLock<HashMap<FamilyId, u64>>,
    devices: RwLock<HashMap<Arc<str>, Removed>>,
    /// What the store has lost.
    lost: RwLock<Lost>,
}

/// Families and users of whose revocations nobody knows any more: every token of theirs that was made until the start is
/// over, and they sign in again.
#[derive(Debug, Default)]
struct Lost {
    /// Unix seconds of the start.
    until: u64,
    /// First and last.
    families: Vec<(FamilyId, FamilyId)>,
    /// First, and last or all behind it.
    users: Vec<(Bytes, Option<Bytes>)>,
}

impl Lost {
    fn family(&self, family: FamilyId) -> bool {
        self.families.iter().any(|(first, last)| (*first..=*last).contains(&family))
    }

    fn user(&self, user: &str) -> bool {
        self.users.iter().any(|(first, last)| {
            user.as_bytes() >= &first[..] && last.as_ref().is_none_or(|last| user.as_bytes() <= &last[..])
        })
    }
}

/// What another server revoked.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// Logins that are over.
    pub families: Vec<FamilyId>,
    /// Devices that were removed, with their users.
    pub devices: Vec<(Arc<str>, Arc<str>)>,
}

/// A user's removed devices, for tokens that came of no login: those have no family to be revoked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Removed {
    /// When each was removed, Unix seconds.
    at: BTreeMap<Arc<str>, u64>,
    /// Of devices that there is no room for: any device's tokens made until then are over.
    all: u64,
}

impl Revoked {
    /// What the store remembers at `now` (milliseconds since 1970). Blocks.
    ///
    /// # Errors
    /// [`Error`] when the store cannot be read at all.
    pub fn load(engine: &dyn Engine, now_ms: u64) -> Result<Self, Error> {
        let loaded = Self::default();
        let mut lost = Lost { until: now_ms / 1_000, ..Lost::default() };
        // What cannot be read ends more than it would have to, never less.
        engine.scan_readable(Table::Token, &[FAMILY_ROW], now_ms, &mut |found| match found {
            Scanned::Row(key, value) => match key.last_chunk().filter(|_| key.len() == FAMILY_KEY) {
                Some(id) => {
                    let until = u64::read(&mut Reader::new(value));
                    loaded.fence(FamilyId(u128::from_be_bytes(*id)), until.unwrap_or(u64::MAX));
                }
                None => tracing::error!(key = %key.escape_ascii(), "a revocation of nobody's is ignored"),
            },
            Scanned::Unreadable { from, to } => {
                let last = to.map_or(u128::MAX, |to| number(&to));
                lost.families.push((FamilyId(number(&from)), FamilyId(last)));
            }
        })?;
        engine.scan_readable(Table::Token, &[DEVICE_ROW], now_ms, &mut |found| match found {
            Scanned::Row(key, value) => match std::str::from_utf8(&key[1..]) {
                Ok(user) => {
                    let removed = Removed::decode(value);
                    let all = Removed { at: BTreeMap::new(), all: now_ms / 1_000 };
                    loaded.devices.write().insert(user.into(), removed.unwrap_or(all));
                }
                Err(_) => tracing::error!(key = %key.escape_ascii(), "a removed device of nobody's is ignored"),
            },
            Scanned::Unreadable { from, to } => {
                let part = |key: Bytes| key.slice(key.len().min(1)..);
                lost.users.push((part(from), to.map(part)));
            }
        })?;
        if !lost.families.is_empty() || !lost.users.is_empty() {
            let (families, users) = (&lost.families, &lost.users);
            tracing::error!(?families, ?users, "revocations are damaged: whoever they may concern signs in again");
        }
        *loaded.lost.write() = lost;
        Ok(loaded)
    }

    /// Learns what other servers revoked since, where they share a store: the logins and the devices that are over by that.
    /// Blocks.
    ///
    /// # Errors
    /// As [`Revoked::load`].
    pub fn learn(&self, engine: &dyn Engine, now_ms: u64) -> Result<Learned, Error> {
        // A shared store is a database, which loses no rows of its own.
        let Self { families, devices, lost: _ } = Self::load(engine, now_ms)?;
        let mut learned = Learned::default();
        for (family, until) in families.into_inner() {
            if self.families.write().insert(family, until).is_none() {
                learned.families.push(family);
            }
        }
        for (user, theirs) in devices.into_inner() {
            let mut devices = self.devices.write();
            let ours = devices.entry(Arc::clone(&user)).or_default();
            ours.all = ours.all.max(theirs.all);
            for (device, at) in theirs.at {
                if ours.at.get(&device).is_none_or(|known| *known < at) {
                    ours.at.insert(Arc::clone(&device), at);
                    learned.devices.push((Arc::clone(&user), device));
                }
            }
        }
        Ok(learned)
    }

    /// Whether the token that an actor came with was ended before its time.
    pub fn ends(&self, actor: &Actor) -> bool {
        match (&actor.family, &actor.device) {
            (Some(family), _) => match FamilyId::parse(family) {
                Some(family) => {
                    self.families.read().contains_key(&family) || {
                        let lost = self.lost.read();
                        actor.issued_at <= lost.until && lost.family(family)
                    }
                }
                None => true,
            },
            (None, Some(device)) if actor.expires_at.is_some() => {
                let devices = self.devices.read();
                let removed = devices.get(&*actor.user).is_some_and(|removed| {
                    actor.issued_at <= removed.all || removed.at.get(&**device).is_some_and(|at| actor.issued_at <= *at)
                });
                let lost = self.lost.read();
                removed || (actor.issued_at <= lost.until && lost.user(&actor.user))
            }
            (None, _) => false,
        }
    }

    /// Whether a login is over.
    pub fn is_over(&self, family: FamilyId) -> bool {
        self.families.read().contains_key(&family)
    }

    /// Whether one more login may be ended by another: the memory for it is bounded, and what a person ends by hand
    /// always has to fit.
    pub fn has_room(&self) -> bool {
        self.families.read().len() < defaults::REVOKED_FAMILIES
    }

    /// From here on no token of the family is good; remembered until `until` (Unix seconds).
    pub fn fence(&self, family: FamilyId, until: u64) {
        self.families.write().insert(family, until);
    }

    /// The row that remembers it.
    pub fn put(family: FamilyId, until: u64) -> Write {
        let mut value = BytesMut::new();
        until.write(&mut value);
        Write::Put {
            table: Table::Token,
            key: [&[FAMILY_ROW][..], &family.0.to_be_bytes()].concat().into(),
            value: value.freeze(),
            expires_at_ms: Some(until.saturating_mul(1_000)),
            if_absent: false,
        }
    }

    /// From here on no token is good that was made for this device until `now` (Unix seconds) and came of no login. The
    /// row that remembers it.
    pub fn fence_device(&self, user: &Arc<str>, device: &Arc<str>, now: u64) -> Write {
        let mut devices = self.devices.write();
        let removed = devices.entry(Arc::clone(user)).or_default();
        removed.at.insert(Arc::clone(device), now);
        while removed.at.len() > defaults::REMOVED_DEVICES {
            let oldest = removed.at.iter().min_by_key(|(_, at)| **at).map(|(device, at)| (Arc::clone(device), *at));
            if let Some((device, at)) = oldest {
                removed.at.remove(&device);
                removed.all = removed.all.max(at);
            }
        }
        Write::Put {
            table: Table::Token,
            key: [&[DEVICE_ROW], user.as_bytes()].concat().into(),
            value: removed.encode(),
            expires_at_ms: Some((now + defaults::ACCESS_TTL_MAX.as_secs()) * 1_000),
            if_absent: false,
        }
    }

    /// Forgets what concerns no token any more at `now` (Unix seconds).
    pub fn forget(&self, now: u64) {
        self.families.write().retain(|_, until| now < *until);
        let mut lost = self.lost.write();
        if now >= lost.until + defaults::ACCESS_TTL_MAX.as_secs() {
            *lost = Lost::default();
        }
        drop(lost);
        self.devices.write().retain(|_, removed| {
            let lives = |at: u64| now < at + defaults::ACCESS_TTL_MAX.as_secs();
            removed.at.retain(|_, at| lives(*at));
            !removed.at.is_empty() || lives(removed.all)
        });
    }
}

impl Removed {
    fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        self.all.write(&mut out);
        (self.at.len() as u64).write(&mut out);
        for (device, at) in &self.at {
            ByteString::from(&**device).write(&mut out);
            at.write(&mut out);
        }
        out.freeze()
    }

    fn decode(bytes: Bytes) -> Result<Self, WireError> {
        let from = &mut Reader::new(bytes);
        let (all, count) = (u64::read(from)?, u64::read(from)?);
        let at = (0..count)
            .map(|_| Ok((Arc::from(&*ByteString::read(from)?), u64::read(from)?)))
            .collect::<Result<_, WireError>>()?;
        Ok(Self { at, all })
    }
}

/// The family that a key, or a part of one, stands for.
fn number(key: &[u8]) -> u128 {
    let mut id = [0; 16];
    let part = key.get(1..FAMILY_KEY.min(key.len())).unwrap_or_default();
    id[..part.len()].copy_from_slice(part);
    u128::from_be_bytes(id)
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use syncbridge_storage::{
        Commit, Outcome, Sink, Ticket,
        engine::embedded::{Embedded, Options},
    };

    use super::*;

    struct Nobody;

    impl Sink for Nobody {
        fn completed(&self, _: &[(Ticket, Outcome)]) {}

        fn poisoned(&self, error: &Error) {
            panic!("{error}");
        }
    }

    const START: u64 = 1_800_000_000;

    fn open(folder: &Path) -> Embedded {
        let options = Options { clock: Arc::new(|| START * 1_000), ..Options::default() };
        Embedded::open(folder, options, Arc::new(Nobody)).expect("damage of a row stops nobody")
    }

    fn actor(user: &str, device: Option<&str>, family: Option<FamilyId>, issued_at: u64) -> Actor {
        Actor {
            user: user.into(),
            device: device.map(Into::into),
            family: family.map(|family| family.to_string().into()),
            expires_at: Some(START + 1_000),
            issued_at,
        }
    }

    /// Changes every place in the index that has these bytes.
    fn damage(folder: &Path, bytes: &[u8]) {
        let path = folder.join("index.redb");
        let mut index = fs::read(&path).expect("readable");
        let places: Vec<_> = (0..index.len() - bytes.len()).filter(|at| index[*at..].starts_with(bytes)).collect();
        assert!(!places.is_empty());
        for at in places {
            index[at] ^= 0x40;
        }
        fs::write(&path, index).expect("written");
    }

    #[test]
    fn a_damaged_revocation_stops_no_start_and_lets_nobody_in() {
        let folder = tempfile::tempdir().expect("a folder");
        let families = [1u128, 2, 3].map(|family| FamilyId(family << 120 | 0x1234_5678_9abc_def0));
        let store = open(folder.path());
        let revoked = Revoked::default();
        let mut writes: Vec<_> = families.iter().map(|family| Revoked::put(*family, START + 500)).collect();
        writes.extend(
            ["ann", "bob-of-the-damaged-row", "zoe"]
                .map(|user| revoked.fence_device(&user.into(), &"device".into(), START - 10)),
        );
        store.submit(Commit { ticket: 1, writes });
        store.close().expect("durable");
        drop(store);
        damage(folder.path(), &families[1].0.to_be_bytes());
        damage(folder.path(), b"bob-of-the-damaged-row");

        let store = open(folder.path());
        let revoked = Revoked::load(&store, START * 1_000).expect("the server starts");
        for family in families {
            assert!(revoked.ends(&actor("u", None, Some(family), START - 100)), "{family} was ended");
        }
        let other = FamilyId(9 << 120);
        assert!(!revoked.ends(&actor("u", None, Some(other), START - 100)), "far from what is damaged");
        // A login after the start whose number is among those that nobody knows of.
        let new = FamilyId(families[1].0 + 1);
        assert!(revoked.ends(&actor("u", None, Some(new), START)));
        assert!(!revoked.ends(&actor("u", None, Some(new), START + 1)), "who signs in again is in");

        for user in ["ann", "bob-of-the-damaged-row", "zoe"] {
            assert!(revoked.ends(&actor(user, Some("device"), None, START - 20)), "{user}'s device was removed");
        }
        assert!(revoked.ends(&actor("bob-of-the-damaged-row", Some("other"), None, START - 20)), "nobody knows which");
        assert!(!revoked.ends(&actor("bob-of-the-damaged-row", Some("other"), None, START + 1)));
        assert!(!revoked.ends(&actor("ann", Some("other"), None, START - 20)), "hers is whole");
        assert!(!revoked.ends(&actor("zz", Some("other"), None, START - 20)), "far from what is damaged");
        revoked.forget(START + defaults::ACCESS_TTL_MAX.as_secs());
        assert!(!revoked.ends(&actor("bob-of-the-damaged-row", Some("other"), None, START - 20)), "long expired");
    }
}
