//! Maps by what users choose, such as the names of sessions, on the way of every commit: keyed at random by the system, so
//! that nobody can choose names that meet, and several times faster than the standard library's. Never a checksum, and never
//! written down.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
    sync::LazyLock,
};

use foldhash::{
    SharedSeed,
    fast::{FoldHasher, SeedableRandomState},
};

pub(super) type Map<K, V> = HashMap<K, V, Keyed>;
pub(super) type Set<K> = HashSet<K, Keyed>;

/// Of this process. (foldhash's own would be of addresses and the time.)
static SEED: LazyLock<SharedSeed> = LazyLock::new(|| SharedSeed::from_u64(random()));

/// A number that nobody can guess.
pub(super) fn random() -> u64 {
    RandomState::new().hash_one(0)
}

/// What a map hashes with; each map differently.
#[derive(Clone, Debug)]
pub(super) struct Keyed(SeedableRandomState);

impl Default for Keyed {
    fn default() -> Self {
        Self(SeedableRandomState::with_seed(random(), &SEED))
    }
}

impl BuildHasher for Keyed {
    type Hasher = FoldHasher<'static>;

    fn build_hasher(&self) -> FoldHasher<'static> {
        self.0.build_hasher()
    }
}
