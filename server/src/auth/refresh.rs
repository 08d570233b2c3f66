//! Refresh tokens: opaque to clients, 256 secret bits, and a proof that this server made them. With the proof a former
//! token of a family is told from an invented one although only the current one's hash is kept; and an invented one
//! costs no read.
//!
//! In base64url: HMAC-SHA256 of the rest (32 bytes), secret (32), family (16), the user's id.

use std::{io, path::Path, sync::Arc};

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

use super::{family::FamilyId, is_id};
use crate::{defaults, secret};

/// The key's file in the data folder.
pub const FILE: &str = "refresh-key";

const SECRET_AT: usize = 32;
const FAMILY_AT: usize = SECRET_AT + 32;
const USER_AT: usize = FAMILY_AT + 16;

/// Makes refresh tokens, and knows those that were made with it.
pub struct RefreshKey(hmac::Key);

impl std::fmt::Debug for RefreshKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RefreshKey")
    }
}

/// A token that this server made; whether it is still good its family knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presented {
    /// Whom it was made for.
    pub user: Arc<str>,
    /// The login that it came of.
    pub family: FamilyId,
    /// Its SHA-256.
    pub digest: [u8; 32],
}

impl RefreshKey {
    /// The key in the data folder, made when it is missing.
    ///
    /// # Errors
    /// What the file system says.
    pub fn create_or_load(folder: &Path) -> io::Result<Self> {
        Ok(Self::new(&secret::random(&folder.join(FILE))?))
    }

    /// A key of these bytes.
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// A new token.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn make(&self, user: &str, family: FamilyId) -> io::Result<String> {
        let mut bytes = vec![0; USER_AT];
        getrandom::fill(&mut bytes[SECRET_AT..FAMILY_AT]).map_err(io::Error::other)?;
        bytes[FAMILY_AT..].copy_from_slice(&family.0.to_be_bytes());
        bytes.extend_from_slice(user.as_bytes());
        let proof = hmac::sign(&self.0, &bytes[SECRET_AT..]);
        bytes[..SECRET_AT].copy_from_slice(proof.as_ref());
        Ok(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// What a token says, if it was made with this key. Takes the same time whichever byte of the proof is wrong.
    pub fn read(&self, token: &str) -> Option<Presented> {
        if token.len() > defaults::MAX_REFRESH_TOKEN {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (proof, said) = bytes.split_at_checked(SECRET_AT)?;
        hmac::verify(&self.0, said, proof).ok()?;
        let family = bytes.get(FAMILY_AT..USER_AT)?.first_chunk()?;
        let user = std::str::from_utf8(bytes.get(USER_AT..)?).ok().filter(|user| is_id(user))?;
        Some(Presented { user: user.into(), family: FamilyId(u128::from_be_bytes(*family)), digest: digest(token) })
    }
}

/// What is kept of a token.
pub fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_whose_it_is_and_no_two_are_the_same() {
        let key = RefreshKey::new(&[7; 32]);
        let (one, other) = (key.make("ann", FamilyId(9)).unwrap(), key.make("ann", FamilyId(9)).unwrap());
        assert_ne!(one, other);
        let read = key.read(&one).unwrap();
        assert_eq!((&*read.user, read.family, read.digest), ("ann", FamilyId(9), digest(&one)));
        let longest = "u".repeat(defaults::MAX_ID);
        assert_eq!(&*key.read(&key.make(&longest, FamilyId(u128::MAX)).unwrap()).unwrap().user, longest);
    }

    #[test]
    fn a_token_that_was_changed_cut_or_made_elsewhere_is_no_token() {
        let key = RefreshKey::new(&[7; 32]);
        let token = key.make("ann", FamilyId(9)).unwrap();
        for cut in 0..token.len() {
            assert_eq!(key.read(&token[..cut]), None, "cut at {cut}");
        }
        for at in 0..token.len() {
            for other in *b"AZaz09-_=+/. \n" {
                let mut bytes = token.clone().into_bytes();
                bytes[at] = other;
                let changed = String::from_utf8(bytes).unwrap();
                assert!(changed == token || key.read(&changed).is_none(), "{changed}");
            }
        }
        assert_eq!(RefreshKey::new(&[8; 32]).read(&token), None);
        assert_eq!(key.read(&"A".repeat(1 << 20)), None);
    }
}
