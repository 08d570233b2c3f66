//! Who somebody is, and what they may do. [`Authenticator`] answers the first question from a token, [`access::may`]
//! the second, and nothing else in the server answers either. Never reads a clock: `now` is passed in.

pub mod access;
mod cache;
mod key;
mod token;

use std::path::Path;

use bytestring::ByteString;
use cache::Cache;
pub use key::{KeyError, SigningKey};
use syncbridge_codec::ErrorCode;
pub use token::{Claims, IssueError};

use crate::defaults;

/// The signing key's file in the data folder.
pub const KEY_FILE: &str = "signing-key.pem";
/// The user of those who come without a token under `--open`.
pub const DEVELOPMENT_USER: &str = "dev";
/// `test-token-N` is the development user `dev-N` under `--open`.
const PLACEHOLDER_TOKEN: &str = "test-token-";

/// Somebody who is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The user's id, 1–128 bytes.
    pub user: ByteString,
    /// The device that the token was made for; it beats the one that a client names.
    pub device: Option<ByteString>,
    /// The login that the token came of, if it came of one.
    pub family: Option<ByteString>,
    /// Unix seconds from which on the token is no longer good; `None` for development users.
    pub expires_at: Option<u64>,
}

/// Why somebody is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// There is no token.
    #[error("a token is needed; `syncbridge token USER` makes one")]
    Missing,
    /// There is one, and this server did not make it, or not for this.
    #[error("the token is not valid here: {0}")]
    Invalid(&'static str),
    /// It was good once.
    #[error("the token has expired")]
    Expired,
}

impl Denied {
    /// What the client is told.
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Missing | Self::Invalid(_) => ErrorCode::Unauthenticated,
            Self::Expired => ErrorCode::TokenExpired,
        }
    }
}

/// Checks tokens. Shared by all shards.
#[derive(Debug)]
pub struct Authenticator {
    key: SigningKey,
    verified: Cache,
    open: bool,
}

impl Authenticator {
    /// One that knows the key; `open` lets those in who have no token, or a placeholder.
    pub fn new(key: SigningKey, open: bool) -> Self {
        Self { key, verified: Cache::new(defaults::TOKEN_CACHE), open }
    }

    /// One with the key of a data folder, which is made when it is missing.
    ///
    /// # Errors
    /// [`KeyError`] when the key cannot be read or made.
    pub fn with_data_folder(folder: &Path, open: bool) -> Result<Self, KeyError> {
        Ok(Self::new(SigningKey::create_or_load(&folder.join(KEY_FILE))?, open))
    }

    /// Who comes with this token (empty: none) at `now`, in Unix seconds.
    ///
    /// # Errors
    /// [`Denied`].
    pub fn authenticate(&self, token: &str, now: u64) -> Result<Actor, Denied> {
        if token.is_empty() {
            return if self.open { Ok(development_user("")) } else { Err(Denied::Missing) };
        }
        if self.open
            && let Some(name) = token.strip_prefix(PLACEHOLDER_TOKEN)
            && is_placeholder_name(name)
        {
            return Ok(development_user(name));
        }
        if token.len() > defaults::MAX_TOKEN {
            return Err(Denied::Invalid("it is too long"));
        }
        if let Some(known) = self.verified.get(token) {
            return if known.expires_at.is_none_or(|end| now < end) { Ok(known) } else { Err(Denied::Expired) };
        }
        let actor = self.key.verify(token, now)?;
        self.verified.insert(token, actor.clone());
        Ok(actor)
    }

    /// The key, to make tokens with.
    pub fn key(&self) -> &SigningKey {
        &self.key
    }
}

fn development_user(name: &str) -> Actor {
    let user = if name.is_empty() { DEVELOPMENT_USER.into() } else { format!("{DEVELOPMENT_USER}-{name}").into() };
    Actor { user, device: None, family: None, expires_at: None }
}

fn is_placeholder_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

/// Whether a user or device may be called this: 1–128 bytes without control characters.
pub fn is_id(id: &str) -> bool {
    (1..=defaults::MAX_ID).contains(&id.len()) && !id.chars().any(char::is_control)
}

#[cfg(test)]
mod tests;
