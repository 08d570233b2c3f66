//! A family: one login, and every token that comes of it. What it is, how it is kept, and what the use of a refresh token
//! makes of it. Knows no store, no clock and nothing of who waits for the answer.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use syncbridge_codec::wire::{Reader, Value as _, WireError};
use syncbridge_storage::{Table, Write};

use crate::{defaults, session::Now};

/// What a row of [`Table::Token`] is, by its key's first byte.
const ROW: u8 = b'f';

/// A family's name: 128 random bits, in text 32 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FamilyId(pub u128);

impl FamilyId {
    /// The name that a token carries.
    pub fn parse(text: &str) -> Option<Self> {
        let plain = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        if plain { u128::from_str_radix(text, 16).ok().map(Self) } else { None }
    }
}

impl std::fmt::Display for FamilyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// One login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    /// Its name.
    pub id: FamilyId,
    /// The device that signed in; empty: none was named.
    pub device: Arc<str>,
    /// SHA-256 of the refresh token that is good.
    pub current: [u8; 32],
    /// Each use gives a new refresh token.
    pub rotating: bool,
    /// When it began, milliseconds since 1970.
    pub created_ms: u64,
    /// When its end was last put off, milliseconds since 1970.
    pub slid_ms: u64,
    /// The longest life of an access token that was made of it, in seconds: so long its revocation is remembered.
    pub access_ttl: u64,
}

/// What a refresh token is worth to its family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Worth {
    /// It is the one that is good, and stays it.
    Good {
        /// Its family's row has to be written again: its end is put off, or its access tokens live longer than before.
        write: bool,
    },
    /// It is the one that is good, for this one time: a new one takes its place.
    Once,
    /// It was good once. Somebody has a copy, so nobody can be let in by the family any more.
    Stolen,
}

impl Family {
    /// What the token with this digest is worth at `now`; `rotate`: every family rotates, by configuration.
    pub fn worth(&self, digest: &[u8; 32], rotate: bool, access_ttl: u64, now: Now) -> Worth {
        if self.current != *digest {
            Worth::Stolen
        } else if self.rotating || rotate {
            Worth::Once
        } else {
            let slide = now.wall_ms.saturating_sub(self.slid_ms) >= defaults::ms(defaults::FAMILY_SLIDE);
            Worth::Good { write: slide || access_ttl > self.access_ttl }
        }
    }

    /// The same, used at `now`.
    #[must_use]
    pub fn used(self, access_ttl: u64, now: Now) -> Self {
        Self { slid_ms: now.wall_ms, access_ttl: access_ttl.max(self.access_ttl), ..self }
    }

    /// Keeps it, until it has not been used for the time that families live.
    pub fn put(&self, user: &str) -> Write {
        let mut value = BytesMut::new();
        ByteString::from(&*self.device).write(&mut value);
        Bytes::copy_from_slice(&self.current).write(&mut value);
        self.rotating.write(&mut value);
        self.created_ms.write(&mut value);
        self.slid_ms.write(&mut value);
        self.access_ttl.write(&mut value);
        // `slid_ms` lags behind the last use by up to the time between two writes.
        let lives = defaults::ms(defaults::FAMILY_TTL) + defaults::ms(defaults::FAMILY_SLIDE);
        Write::Put {
            table: Table::Token,
            key: Self::key(user, self.id),
            value: value.freeze(),
            expires_at_ms: Some(self.slid_ms + lives),
            if_absent: false,
        }
    }

    /// Lets go of one.
    pub fn remove(user: &str, id: FamilyId) -> Write {
        Write::Remove { table: Table::Token, key: Self::key(user, id) }
    }

    /// Until when it has to be remembered that it ended at `now`, Unix seconds: as long as its access tokens can live.
    pub const fn remembered(&self, access_ttl: u64, now: Now) -> u64 {
        let longest = if self.access_ttl > access_ttl { self.access_ttl } else { access_ttl };
        now.wall_ms / 1_000 + longest
    }

    /// The key of its row.
    pub fn key(user: &str, id: FamilyId) -> Bytes {
        [&Self::prefix(user)[..], &id.0.to_be_bytes()].concat().into()
    }

    /// What the keys of all of a user's families begin with. (No user's id has control characters.)
    pub fn prefix(user: &str) -> Bytes {
        [&[ROW], user.as_bytes(), &[0]].concat().into()
    }

    /// Reads a row.
    ///
    /// # Errors
    /// [`WireError`] when it is none.
    pub fn decode(key: &[u8], value: Bytes) -> Result<Self, WireError> {
        let id = key.last_chunk().ok_or(WireError::Truncated)?;
        let from = &mut Reader::new(value);
        Ok(Self {
            id: FamilyId(u128::from_be_bytes(*id)),
            device: Arc::from(&*ByteString::read(from)?),
            current: Bytes::read(from)?.as_ref().try_into().map_err(|_| WireError::OutOfRange)?,
            rotating: bool::read(from)?,
            created_ms: u64::read(from)?,
            slid_ms: u64::read(from)?,
            access_ttl: u64::read(from)?,
        })
    }
}
