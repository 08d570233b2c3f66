//! Who somebody is, and what they may do. [`Authenticator`] answers the first question from a token, [`access::may`]
//! the second, and nothing else in the server answers either. Never reads a clock: `now` is passed in.

pub mod access;
pub mod accounts;
mod cache;
pub mod device;
pub mod devices;
pub mod family;
mod key;
pub mod keys;
pub mod limit;
pub mod passwords;
pub mod recent;
pub mod refresh;
mod revoked;
pub mod seen;
mod store;
mod token;
pub mod tokens;
pub mod turns;
pub mod user;

use std::sync::Arc;

use cache::Cache;
pub use key::{KeyError, SigningKey};
pub use keys::{Jwks, Keys};
use parking_lot::RwLock;
pub use revoked::Revoked;
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
    pub user: Arc<str>,
    /// The device that the token was made for; it beats the one that a client names.
    pub device: Option<Arc<str>>,
    /// The login that the token came of, if it came of one.
    pub family: Option<Arc<str>>,
    /// Unix seconds from which on the token is no longer good; `None` for development users.
    pub expires_at: Option<u64>,
    /// Unix seconds when the token was made; 0 for development users.
    pub issued_at: u64,
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
    /// It would still be good, had its login not ended, or its device not been removed.
    #[error("the token was revoked: its login is over, or its device was removed")]
    Revoked,
}

impl Denied {
    /// What the client is told.
    pub const fn code(self) -> ErrorCode {
        match self {
            Self::Missing | Self::Invalid(_) | Self::Revoked => ErrorCode::Unauthenticated,
            Self::Expired => ErrorCode::TokenExpired,
        }
    }
}

/// Checks tokens. Shared by all shards.
#[derive(Debug)]
pub struct Authenticator {
    keyring: RwLock<Arc<Keyring>>,
    revoked: Revoked,
    open: bool,
}

/// The keys, and the tokens that were checked with them: when the keys are others, none of those counts any more.
#[derive(Debug)]
struct Keyring {
    keys: Keys,
    verified: Cache,
}

impl Keyring {
    fn new(keys: Keys) -> Arc<Self> {
        Arc::new(Self { keys, verified: Cache::new(defaults::TOKEN_CACHE) })
    }
}

impl Authenticator {
    /// One that knows the keys and what was revoked; `open` lets those in who have no token, or a placeholder.
    pub fn new(keys: Keys, revoked: Revoked, open: bool) -> Self {
        Self { keyring: RwLock::new(Keyring::new(keys)), revoked, open }
    }

    /// Takes other keys from here on; the same ones change nothing.
    pub fn take_keys(&self, keys: Keys) {
        if !self.keyring().keys.same(&keys) {
            tracing::info!(kid = keys.current.id, former = keys.former.len(), "tokens are signed with another key");
            *self.keyring.write() = Keyring::new(keys);
        }
    }

    fn keyring(&self) -> Arc<Keyring> {
        Arc::clone(&self.keyring.read())
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
        let Keyring { keys, verified } = &*self.keyring();
        let actor = match verified.get(token) {
            Some(known) if known.expires_at.is_some_and(|end| now >= end) => return Err(Denied::Expired),
            Some(known) => known,
            None => {
                let actor = token::verify(token, keys, now)?;
                verified.insert(token, actor.clone());
                actor
            }
        };
        if self.revoked.ends(&actor) { Err(Denied::Revoked) } else { Ok(actor) }
    }

    /// What ends tokens before their time.
    pub const fn revoked(&self) -> &Revoked {
        &self.revoked
    }

    /// The key to make tokens with.
    pub fn key(&self) -> SigningKey {
        self.keyring().keys.current.clone()
    }

    /// The public keys, for others who check tokens.
    pub fn public_keys(&self, now: u64) -> Jwks {
        self.keyring().keys.public(now)
    }
}

fn development_user(name: &str) -> Actor {
    let user = if name.is_empty() { DEVELOPMENT_USER.into() } else { format!("{DEVELOPMENT_USER}-{name}").into() };
    Actor { user, device: None, family: None, expires_at: None, issued_at: 0 }
}

fn is_placeholder_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

/// Whether a user or device may be called this: 1–128 bytes without control characters.
pub fn is_id(id: &str) -> bool {
    (1..=defaults::MAX_ID).contains(&id.len()) && !id.chars().any(char::is_control)
}

#[cfg(test)]
mod family_tests;
#[cfg(test)]
mod tests;
