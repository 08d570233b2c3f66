//! How many handshakes run at once, and when a client must first show that its address is its own. Knows no frames.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use quinn::Incoming;

use super::{
    accepted::{self, Accepted},
    link::LinkError,
};

/// Handshakes of a shard with clients whose address is not proved. Whoever sends first packets under false addresses
/// can hold these and no more (33 KiB as an idle connection and 8 of handshake data, × 256 = 10 MiB); everyone else then takes one round trip more, by a Retry
/// (RFC 9000 §8.1.2), which costs the server no memory.
const UNPROVED: usize = 256;
/// Handshakes of a shard in all: 2,048 × 41 KiB = 82 MiB. Beyond that clients are refused and come back later.
const HANDSHAKES: usize = 2048;

/// Counts a shard's handshakes that are not confirmed yet. Clones count together.
#[derive(Debug, Clone)]
pub struct Gate {
    running: Arc<Running>,
    most_unproved: usize,
    most: usize,
}

impl Default for Gate {
    fn default() -> Self {
        Self::new(UNPROVED, HANDSHAKES)
    }
}

#[derive(Debug, Default)]
struct Running {
    all: AtomicUsize,
    unproved: AtomicUsize,
}

/// A handshake's place, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    running: Arc<Running>,
    proved: bool,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.running.all.fetch_sub(1, Relaxed);
        if !self.proved {
            self.running.unproved.fetch_sub(1, Relaxed);
        }
    }
}

impl Gate {
    /// A gate with limits of its own: handshakes with clients of unproved address, and handshakes in all.
    pub fn new(most_unproved: usize, most: usize) -> Self {
        Self { running: Arc::default(), most_unproved, most }
    }

    /// Lets a client in: the handshake, as in [`accept`](super::accept). `None` when it was told to prove its address
    /// or to come back later.
    pub fn admit(
        &self,
        incoming: Incoming,
    ) -> Option<impl Future<Output = Result<Accepted, LinkError>> + Send + use<>> {
        let proved = incoming.remote_address_validated();
        if self.running.all.load(Relaxed) >= self.most {
            incoming.refuse();
            return None;
        }
        if !proved && self.running.unproved.load(Relaxed) >= self.most_unproved {
            // An address that is not proved may always be asked to prove it.
            if let Err(error) = incoming.retry() {
                error.into_incoming().refuse();
            }
            return None;
        }
        let place = self.enter(proved);
        Some(accepted::handshake(incoming, Some(place)))
    }

    fn enter(&self, proved: bool) -> Place {
        self.running.all.fetch_add(1, Relaxed);
        if !proved {
            self.running.unproved.fetch_add(1, Relaxed);
        }
        Place { running: Arc::clone(&self.running), proved }
    }

    /// Handshakes that are not confirmed yet, for metrics.
    pub fn running(&self) -> usize {
        self.running.all.load(Relaxed)
    }
}
