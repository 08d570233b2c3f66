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
use syncbridge_storage::{Engine, Error, Table, Write};

use super::{Actor, family::FamilyId};
use crate::defaults;

/// What a row of [`Table::Token`] is, by its key's first byte.
const FAMILY_ROW: u8 = b'r';
const DEVICE_ROW: u8 = b'd';

/// See the file's head.
#[derive(Debug, Default)]
pub struct Revoked {
    /// Unix seconds until which the family has to be remembered.
    families: RwLock<HashMap<FamilyId, u64>>,
    devices: RwLock<HashMap<Arc<str>, Removed>>,
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
    /// [`Error`] when the store cannot be read or holds what no server wrote.
    pub fn load(engine: &dyn Engine, now_ms: u64) -> Result<Self, Error> {
        let loaded = Self::default();
        // What cannot be read ends more than it would have to, never less.
        each(engine, FAMILY_ROW, now_ms, |key, value| {
            let Some(id) = key.last_chunk() else { return Err(damaged(key)) };
            let until = u64::read(&mut Reader::new(value));
            loaded.fence(FamilyId(u128::from_be_bytes(*id)), until.unwrap_or(u64::MAX));
            Ok(())
        })?;
        each(engine, DEVICE_ROW, now_ms, |key, value| {
            let Ok(user) = std::str::from_utf8(&key[1..]) else { return Err(damaged(key)) };
            let removed = Removed::decode(value);
            let all = Removed { at: BTreeMap::new(), all: now_ms / 1_000 };
            loaded.devices.write().insert(user.into(), removed.unwrap_or(all));
            Ok(())
        })?;
        Ok(loaded)
    }

    /// Learns what other servers revoked since, where they share a store: the logins and the devices that are over by that.
    /// Blocks.
    ///
    /// # Errors
    /// As [`Revoked::load`].
    pub fn learn(&self, engine: &dyn Engine, now_ms: u64) -> Result<Learned, Error> {
        let Self { families, devices } = Self::load(engine, now_ms)?;
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
                Some(family) => self.families.read().contains_key(&family),
                None => true,
            },
            (None, Some(device)) if actor.expires_at.is_some() => {
                let devices = self.devices.read();
                devices.get(&*actor.user).is_some_and(|removed| {
                    actor.issued_at <= removed.all || removed.at.get(&**device).is_some_and(|at| actor.issued_at <= *at)
                })
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

fn damaged(key: &[u8]) -> Error {
    Error::Damaged { what: format!("the revocation {}", key.escape_ascii()) }
}

/// Goes through all rows of one kind.
fn each(
    engine: &dyn Engine,
    row: u8,
    now_ms: u64,
    mut see: impl FnMut(&[u8], Bytes) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut after: Option<Bytes> = None;
    loop {
        let rows = engine.scan(Table::Token, &[row], after.as_deref(), defaults::SCAN, now_ms)?;
        let last = rows.last().map(|(key, _)| key.clone());
        let whole = rows.len() == defaults::SCAN;
        for (key, value) in rows {
            see(&key, value)?;
        }
        match last {
            Some(last) if whole => after = Some(last),
            _ => return Ok(()),
        }
    }
}
