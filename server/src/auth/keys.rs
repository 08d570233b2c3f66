//! The keys of a server: one signs, those that signed before it still check until their tokens are over. They lie in the
//! data folder, `signing-key.pem` and beside it `signing-key.former.KID.UNTIL.pem` (`UNTIL` in Unix seconds);
//! `syncbridge rotate-key` exchanges them under a running server, which looks every few seconds.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::Serialize;
use utoipa::ToSchema;

use super::{
    KEY_FILE,
    key::{KeyError, SigningKey, generate},
};
use crate::{defaults, secret};

const FORMER: &str = "signing-key.former.";

/// See the file's head.
#[derive(Debug, Clone)]
pub struct Keys {
    /// Signs.
    pub current: SigningKey,
    /// Signed once; until when each still checks, Unix seconds.
    pub(super) former: Vec<(SigningKey, u64)>,
}

impl Keys {
    /// One that has never been exchanged.
    pub const fn only(current: SigningKey) -> Self {
        Self { current, former: Vec::new() }
    }

    /// The keys of a data folder at `now` (Unix seconds); one is made when there is none.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn create_or_load(folder: &Path, now: u64) -> Result<Self, KeyError> {
        let current = SigningKey::create_or_load(&folder.join(KEY_FILE))?;
        let mut former = Vec::new();
        for (path, until) in formers(folder)? {
            if now < until {
                let key = SigningKey::load(&path)?;
                if key.id != current.id {
                    former.push((key, until));
                }
            }
        }
        former.sort_by(|(one, _), (other, _)| one.id.cmp(&other.id));
        Ok(Self { current, former })
    }

    /// The key that a token names; tokens that name none were made with the current one.
    pub(super) fn named(&self, id: Option<&str>, now: u64) -> Option<&SigningKey> {
        match id {
            None => Some(&self.current),
            Some(id) if id == self.current.id => Some(&self.current),
            Some(id) => self.former.iter().find(|(key, until)| key.id == id && now < *until).map(|(key, _)| key),
        }
    }

    /// Whether these are the same keys.
    pub(super) fn same(&self, other: &Self) -> bool {
        let ids = |keys: &Self| keys.former.iter().map(|(key, until)| (key.id.clone(), *until)).collect::<Vec<_>>();
        self.current.id == other.current.id && ids(self) == ids(other)
    }

    /// What others need to check tokens themselves (RFC 7517, RFC 8037).
    pub fn public(&self, now: u64) -> Jwks {
        let former = self.former.iter().filter(|(_, until)| now < *until).map(|(key, _)| key);
        Jwks { keys: [&self.current].into_iter().chain(former).map(SigningKey::public).collect() }
    }
}

/// A set of public keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Jwks {
    /// The keys; the first one signs.
    pub keys: Vec<Jwk>,
}

/// A public key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Jwk {
    /// `OKP`: a key on an Edwards curve.
    pub kty: &'static str,
    /// `Ed25519`.
    pub crv: &'static str,
    /// `EdDSA`.
    pub alg: &'static str,
    /// `sig`.
    pub r#use: &'static str,
    /// Names the key in a token's head.
    pub kid: String,
    /// The public key, base64url.
    pub x: String,
}

/// Makes a new key that signs from here on. The former one checks what it signed until that is over; with `drop_former`
/// it and all before it are gone at once, with every token that they signed. The new key's id.
///
/// # Errors
/// [`KeyError`]; then the former key is still the current one.
pub fn rotate(folder: &Path, drop_former: bool, now: u64) -> Result<String, KeyError> {
    let path = folder.join(KEY_FILE);
    let former = SigningKey::create_or_load(&path)?;
    let pem = generate()?;
    let new = SigningKey::from_pem(pem.as_bytes())
        .map_err(|why| KeyError::NotAKey { path: path.display().to_string(), why })?;
    if !drop_former {
        // A second name for the same file: at no moment is there no current key.
        let until = now + defaults::ACCESS_TTL_MAX.as_secs();
        let kept = folder.join(format!("{FORMER}{}.{until}.pem", former.id));
        match fs::hard_link(&path, &kept) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error.into()),
            _ => {}
        }
    }
    secret::replace(&path, pem.as_bytes())?;
    for (path, until) in formers(folder)? {
        if drop_former || until <= now {
            fs::remove_file(path)?;
        }
    }
    fs::File::open(folder)?.sync_all()?;
    Ok(new.id)
}

/// The files of former keys, with the second in which each is over.
fn formers(folder: &Path) -> io::Result<Vec<(PathBuf, u64)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let until = name
            .to_str()
            .and_then(|name| name.strip_prefix(FORMER)?.strip_suffix(".pem"))
            .and_then(|name| name.rsplit_once('.'))
            .and_then(|(_, until)| until.parse().ok());
        if let Some(until) = until {
            found.push((entry.path(), until));
        }
    }
    Ok(found)
}
