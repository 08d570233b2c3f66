//! Logins that were right a short while ago, so that the same login again does not cost argon2. In memory only, under a
//! key of this process: what could be read out of a core dump is no password's hash that outlives the process. Says yes
//! or nothing; a login that it does not know is checked in full, so a wrong password always costs argon2.

use std::collections::HashMap;

use aws_lc_rs::hmac;
use parking_lot::Mutex;

use super::user::{Email, User};
use crate::{defaults, session::Now};

/// A bounded map with two generations, as the one of verified tokens.
pub struct Recent {
    key: hmac::Key,
    ttl_ms: u64,
    maps: Mutex<Maps>,
}

#[derive(Default)]
struct Maps {
    young: HashMap<Email, Known>,
    old: HashMap<Email, Known>,
}

struct Known {
    tag: hmac::Tag,
    user: User,
    until_ms: u64,
}

impl Recent {
    /// One that remembers a login for `ttl_ms` milliseconds; 0: not at all.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn new(ttl_ms: u64) -> std::io::Result<Self> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(std::io::Error::other)?;
        Ok(Self { key: hmac::Key::new(hmac::HMAC_SHA256, &key), ttl_ms, maps: Mutex::default() })
    }

    /// The user, if this very login was right lately.
    pub fn find(&self, email: &Email, password: &str, now: Now) -> Option<User> {
        let maps = self.maps.lock();
        let known = maps.young.get(email).or_else(|| maps.old.get(email))?;
        let right = now.mono_ms < known.until_ms
            && hmac::verify(&self.key, &login(email, password), known.tag.as_ref()).is_ok();
        right.then(|| known.user.clone())
    }

    /// The login was right at `now`.
    pub fn keep(&self, email: &Email, password: &str, user: &User, now: Now) {
        if self.ttl_ms == 0 {
            return;
        }
        let tag = hmac::sign(&self.key, &login(email, password));
        let known = Known { tag, user: user.clone(), until_ms: now.mono_ms + self.ttl_ms };
        let mut maps = self.maps.lock();
        if maps.young.len() >= defaults::RECENT_LOGINS {
            maps.old = std::mem::take(&mut maps.young);
        }
        maps.old.remove(email);
        maps.young.insert(email.clone(), known);
    }

    /// The account's password is another one now.
    pub fn forget(&self, email: &Email) {
        let mut maps = self.maps.lock();
        maps.young.remove(email);
        maps.old.remove(email);
    }
}

/// No address has a control character, so two logins that differ are two texts.
fn login(email: &Email, password: &str) -> Vec<u8> {
    [email.text().as_bytes(), &[0], password.as_bytes()].concat()
}
