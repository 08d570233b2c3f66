//! How the server is, put together from the parts that know.

use std::sync::Arc;

use crate::{
    admin::{Gauges, health::Status},
    hub::Hub,
    persist::Persist,
    session::Now,
    transport::quic::Steering,
};

/// See the file's head.
pub struct Running {
    hub: Arc<Hub>,
    persist: Arc<Persist>,
    steering: Arc<Steering>,
    open: bool,
    clock: fn() -> Now,
}

impl Running {
    /// Of these parts.
    pub fn new(hub: Arc<Hub>, persist: Arc<Persist>, steering: Arc<Steering>, open: bool, clock: fn() -> Now) -> Self {
        Self { hub, persist, steering, open, clock }
    }
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("open", &self.open).finish_non_exhaustive()
    }
}

impl Status for Running {
    fn complaints(&self) -> Vec<String> {
        self.hub.complaints((self.clock)())
    }

    fn warnings(&self) -> Vec<String> {
        if self.open { vec!["--open: clients are let in without tokens".to_owned()] } else { Vec::new() }
    }

    fn gauges(&self) -> Gauges {
        let (uncommitted, oldest_uncommitted_ms) = self.persist.backlog((self.clock)());
        Gauges {
            sessions: self.hub.live() as u64,
            uncommitted: uncommitted as u64,
            oldest_uncommitted_ms,
            poisoned: self.persist.failure().is_some(),
            ownership_known: self.hub.is_certain(),
            draining: self.hub.is_draining(),
            storage: self.persist.engine().stats(),
            handovers: self.steering.handovers().iter().map(|shard| (shard.hops, shard.drops)).collect(),
        }
    }
}
