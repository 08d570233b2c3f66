//! Logins that were right a short while ago, so that the same login again does not cost argon2. In memory only, under a
//! key of this process: what could be read out of a core dump is no password's hash that outlives the process. Says yes
//! or nothing; a login that it does not know is checked in full, so a wrong password always costs argon2.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
};

use aws_lc_rs::hmac;
use parking_lot::Mutex;

use super::user::{Email, User};
use crate::{defaults, session::Now};

/// A bounded map with two generations, as the one of verified tokens.
pub struct Recent {
    key: hmac::Key,
    ttl_ms: u64,
    changes: AtomicU64,
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
        Ok(Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, &key),
            ttl_ms,
            changes: AtomicU64::new(0),
            maps: Mutex::default(),
        })
    }

    /// The user, if this very login was right lately.
    pub fn find(&self, email: &Email, password: &str, now: Now) -> Option<User> {
        let maps = self.maps.lock();
        let known = maps.young.get(email).or_else(|| maps.old.get(email))?;
        let right = now.mono_ms < known.until_ms
            && hmac::verify(&self.key, &login(email, password), known.tag.as_ref()).is_ok();
        right.then(|| known.user.clone())
    }

    /// How many passwords have been changed so far. What was found right before a change may be wrong after it.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// The login was right at `now`, if no password was changed since there were `changes`.
    pub fn keep(&self, email: &Email, password: &str, user: &User, changes: u64, now: Now) {
        if self.ttl_ms == 0 {
            return;
        }
        let tag = hmac::sign(&self.key, &login(email, password));
        let known = Known { tag, user: user.clone(), until_ms: now.mono_ms + self.ttl_ms };
        let mut maps = self.maps.lock();
        if self.changes() != changes {
            return;
        }
        if maps.young.len() >= defaults::RECENT_LOGINS {
            maps.old = std::mem::take(&mut maps.young);
        }
        maps.old.remove(email);
        maps.young.insert(email.clone(), known);
    }

    /// The account's password is another one now.
    pub fn forget(&self, email: &Email) {
        let mut maps = self.maps.lock();
        self.changes.fetch_add(1, Ordering::AcqRel);
        maps.young.remove(email);
        maps.old.remove(email);
    }
}

/// No address has a control character, so two logins that differ are two texts.
fn login(email: &Email, password: &str) -> Vec<u8> {
    [email.text().as_bytes(), &[0], password.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(mono_ms: u64) -> Now {
        Now { mono_ms, wall_ms: 0 }
    }

    fn ann() -> (Email, User) {
        let email = Email::parse("ann@example.com").unwrap();
        let user = User { id: "7".into(), email: Some(email.text().clone()), name: "Ann".into(), created_ms: 0 };
        (email, user)
    }

    #[test]
    fn only_the_very_login_that_was_right_is_known_and_only_for_its_time() {
        let (recent, (email, user)) = (Recent::new(1_000).unwrap(), ann());
        recent.keep(&email, "secret", &user, 0, at(0));
        assert_eq!(recent.find(&email, "secret", at(999)), Some(user));
        assert_eq!(recent.find(&email, "Secret", at(1)), None);
        assert_eq!(recent.find(&Email::parse("bob@example.com").unwrap(), "secret", at(1)), None);
        assert_eq!(recent.find(&email, "secret", at(1_000)), None);
    }

    #[test]
    fn a_changed_password_is_forgotten_also_when_it_was_being_checked_meanwhile() {
        let (recent, (email, user)) = (Recent::new(1_000).unwrap(), ann());
        recent.keep(&email, "old", &user, recent.changes(), at(0));
        let before = recent.changes();
        recent.forget(&email);
        assert_eq!(recent.find(&email, "old", at(1)), None);
        recent.keep(&email, "old", &user, before, at(1));
        assert_eq!(recent.find(&email, "old", at(2)), None);
    }

    #[test]
    fn it_is_bounded() {
        let (recent, (_, user)) = (Recent::new(1_000).unwrap(), ann());
        for n in 0..3 * defaults::RECENT_LOGINS {
            recent.keep(&Email::parse(&format!("{n}@x")).unwrap(), "secret", &user, 0, at(0));
            let maps = recent.maps.lock();
            assert!(maps.young.len() + maps.old.len() <= 2 * defaults::RECENT_LOGINS);
        }
    }
}
