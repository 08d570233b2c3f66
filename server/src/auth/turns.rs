//! One at a time for each user: whatever reads a user's logins or devices and writes what follows from them, takes the
//! user's turn first and keeps it until that is durable. Users share turns by a stripe, so there is nothing to clean up;
//! nobody may hold the turns of two users at once.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use tokio::sync::{Mutex, OwnedMutexGuard};

/// So many that two users who are busy at the same time seldom share one: 1,024 × 64 B = 64 KiB.
const STRIPES: usize = 1_024;

/// See the file's head.
#[derive(Debug)]
pub struct Turns {
    stripes: Vec<Arc<Mutex<()>>>,
    hasher: RandomState,
}

/// A user's turn, until it is dropped.
pub type Turn = OwnedMutexGuard<()>;

impl Default for Turns {
    fn default() -> Self {
        Self { stripes: (0..STRIPES).map(|_| Arc::default()).collect(), hasher: RandomState::new() }
    }
}

impl Turns {
    /// Waits for the user's turn.
    pub async fn of(&self, user: &str) -> Turn {
        let stripe = self.hasher.hash_one(user) as usize % STRIPES;
        Arc::clone(&self.stripes[stripe]).lock_owned().await
    }
}
