//! Tokens that were found good, so that a reconnecting client does not cost a signature check. Holds good ones only,
//! compares the whole token, and says nothing about time: who asks looks at [`Actor::expires_at`].

use std::collections::HashMap;

use parking_lot::Mutex;

use super::Actor;

/// Where a token's signature begins to be hashed: its first characters are 96 bits that nobody can choose without the
/// key, and unlike the whole token they cost only some nanoseconds to hash.
type Key = [u8; 16];

/// A bounded map with two generations: when the young one is full, it becomes the old one, and what the old one held is
/// forgotten unless it was asked for meanwhile. Nothing is ever searched for what to forget.
#[derive(Debug)]
pub(super) struct Cache {
    generation: usize,
    maps: Mutex<Maps>,
}

#[derive(Debug, Default)]
struct Maps {
    young: HashMap<Key, Known>,
    old: HashMap<Key, Known>,
}

#[derive(Debug)]
struct Known {
    token: Box<str>,
    actor: Actor,
}

impl Cache {
    /// One that holds up to twice `generation` tokens.
    pub(super) fn new(generation: usize) -> Self {
        Self { generation, maps: Mutex::default() }
    }

    pub(super) fn get(&self, token: &str) -> Option<Actor> {
        let key = key(token)?;
        let mut maps = self.maps.lock();
        if let Some(known) = maps.young.get(&key) {
            return (*known.token == *token).then(|| known.actor.clone());
        }
        if *maps.old.get(&key)?.token != *token {
            return None;
        }
        let known = maps.old.remove(&key)?;
        let actor = known.actor.clone();
        self.keep(&mut maps, key, known);
        Some(actor)
    }

    pub(super) fn insert(&self, token: &str, actor: Actor) {
        let Some(key) = key(token) else { return };
        self.keep(&mut self.maps.lock(), key, Known { token: token.into(), actor });
    }

    fn keep(&self, maps: &mut Maps, key: Key, known: Known) {
        if maps.young.len() >= self.generation {
            maps.old = std::mem::take(&mut maps.young);
        }
        maps.young.insert(key, known);
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        let maps = self.maps.lock();
        maps.young.len() + maps.old.len()
    }
}

fn key(token: &str) -> Option<Key> {
    let signature = token.len() - token.bytes().rev().position(|byte| byte == b'.')?;
    token.as_bytes()[signature..].first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(n: usize) -> String {
        format!("head.claims.{n:016}rest")
    }

    fn actor(n: usize) -> Actor {
        Actor { user: n.to_string().into(), device: None, family: None, expires_at: Some(1), issued_at: 0 }
    }

    #[test]
    fn it_never_holds_more_than_two_generations_and_keeps_what_is_used() {
        let cache = Cache::new(8);
        cache.insert(&token(0), actor(0));
        for n in 1..1_000 {
            cache.insert(&token(n), actor(n));
            assert!(cache.len() <= 16, "{n}: {}", cache.len());
            assert_eq!(cache.get(&token(0)), Some(actor(0)), "used every time, forgotten after {n} others");
        }
        assert_eq!(cache.get(&token(500)), None, "never used again, so forgotten");
    }

    #[test]
    fn a_token_that_shares_the_beginning_of_a_signature_is_not_mistaken_for_the_known_one() {
        let cache = Cache::new(8);
        cache.insert(&token(1), actor(1));
        for other in [token(1).replace("head", "heaD"), token(1) + "x", token(1)[..30].to_owned()] {
            assert_eq!(cache.get(&other), None, "{other}");
        }
        assert_eq!(cache.get("no dots"), None);
        assert_eq!(cache.get("short.signature.x"), None);
        assert_eq!(cache.get(&token(1)), Some(actor(1)));
    }
}
