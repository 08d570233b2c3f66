//! Which server has a session, where several share one store. One is taken before it is loaded, given up when it leaves
//! memory, and looked at again after this server's lease was over for a moment. The store refuses whoever is not the owner
//! all the same: this is for telling clients early, and where to go. With a store of its own a server has everything, and
//! nothing here costs anything.

use std::{
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use bytestring::ByteString;
use parking_lot::{Condvar, Mutex};
use syncbridge_codec::ErrorCode;
use syncbridge_storage::Taken;

use super::{Fault, Hub, Session};
use crate::{
    auth::access::{self, Decision, Operation, Resource},
    connection::Identity,
    defaults,
    session::Meta,
};

/// Where a session was found.
#[derive(Debug)]
pub(super) enum Found {
    /// In this server's memory now.
    Here(Arc<Session>),
    /// With another server, that one reaches there, if it says where.
    Elsewhere(ByteString),
    /// Nowhere: there is none.
    Nowhere,
}

/// What a server knows of whose its sessions are.
#[derive(Debug, Default)]
pub(super) struct Ownership {
    /// [`syncbridge_storage::Engine::lapses`] when the sessions in memory were last known to be this server's.
    known_at: AtomicU64,
    /// Sessions that left memory and are still this server's.
    given_up: Mutex<Vec<Arc<str>>>,
    something: Condvar,
    over: AtomicBool,
}

impl Fault {
    /// Another server has the session.
    pub(crate) fn moved(address: Option<ByteString>) -> Self {
        let address = address.filter(|address| !address.is_empty());
        // Without an address the next answer will have one, or the session itself.
        let retry_after_ms =
            Some(if address.is_some() { defaults::MOVED_RETRY_MS } else { defaults::OWNERSHIP_RETRY_MS });
        Self { retry_after_ms, address, ..Self::new(ErrorCode::Moved, "another server has the session") }
    }
}

impl Hub {
    /// Whether the store is shared, so that somebody has to [`Hub::keep_ownership`].
    pub const fn shares_store(&self) -> bool {
        self.ownership.is_some()
    }

    /// Whether what is in memory is this server's, as far as it can know.
    pub fn is_certain(&self) -> bool {
        let Some(ownership) = &self.ownership else { return true };
        let engine = self.engine();
        engine.is_owner() && engine.lapses() == ownership.known_at.load(Ordering::Acquire)
    }

    /// Whether a change may be taken, as far as ownership goes.
    ///
    /// # Errors
    /// [`Fault`]: not before that is known.
    pub(super) fn certain(&self) -> Result<(), Fault> {
        if self.is_certain() {
            return Ok(());
        }
        Err(Fault::busy("whether the session is still this server's is not known", defaults::OWNERSHIP_RETRY_MS))
    }

    /// Makes a session this server's, before it is loaded.
    pub(super) fn take(&self, id: &str) -> Result<Taken, Fault> {
        if self.ownership.is_none() {
            // Loading it again begins no epoch.
            return Ok(Taken::Owned { epoch: self.epoch() });
        }
        self.engine().take(id, self.epoch_now()).map_err(|error| Fault::unreadable_session(&error))
    }

    /// What somebody is told who asks for a session that another server has: where it is, if they may know that it is
    /// there at all; `None`: as if there were none.
    pub(super) fn elsewhere(
        &self,
        id: &str,
        who: &Identity,
        operation: Operation,
        address: ByteString,
    ) -> Result<Option<Fault>, Fault> {
        // Not more of it: the other server may be writing to it without a pause, of which nothing whole can be read.
        let meta = self.engine().meta(id).map_err(|error| Fault::unreadable_session(&error))?;
        let Some(meta) = meta else { return Ok(None) };
        let meta = Meta::decode(meta).map_err(|error| {
            tracing::error!(session = id, %error, "a stored session cannot be read");
            Fault::new(ErrorCode::SessionDamaged, error.to_string())
        })?;
        let decision = access::may(&who.user, operation, Resource::Session(&meta));
        let may_know = matches!(decision, Decision::Allowed | Decision::Forbidden);
        Ok(may_know.then(|| Fault::moved(Some(address))))
    }

    /// A session left memory: others need not wait for this server any more. Does not block.
    pub(super) fn give_up(&self, id: &Arc<str>) {
        if let Some(ownership) = &self.ownership {
            ownership.given_up.lock().push(Arc::clone(id));
            ownership.something.notify_one();
        }
    }

    /// Gives up what leaves memory, and looks at everything again after the lease was over, until
    /// [`Hub::end_ownership`]. Blocks: has a thread of its own.
    pub fn keep_ownership(hub: &Weak<Self>) {
        while let Some(hub) = hub.upgrade() {
            let Some(ownership) = hub.ownership.as_ref().filter(|of| !of.over.load(Ordering::Acquire)) else { return };
            let given_up = {
                let mut given_up = ownership.given_up.lock();
                if given_up.is_empty() {
                    ownership.something.wait_for(&mut given_up, defaults::OWNERSHIP_CHECK);
                }
                std::mem::take(&mut *given_up)
            };
            each(&given_up, |id| hub.release(id));
            hub.look_again(ownership);
        }
    }

    /// Ends [`Hub::keep_ownership`]. What it has not given up by then is free when the store is closed.
    pub fn end_ownership(&self) {
        if let Some(ownership) = &self.ownership {
            ownership.over.store(true, Ordering::Release);
            ownership.something.notify_one();
        }
    }

    fn release(&self, id: &str) {
        let _stripe = self.stripe(id);
        // It may be back by now.
        if self.find(id).is_none()
            && let Err(error) = self.engine().release(id)
        {
            tracing::warn!(session = id, %error, "an unused session stays this server's");
        }
    }

    /// After the lease was over for a moment: whose are the sessions in memory?
    fn look_again(&self, ownership: &Ownership) {
        let engine = self.engine();
        let lapses = engine.lapses();
        if lapses == ownership.known_at.load(Ordering::Acquire) || !engine.is_owner() {
            return;
        }
        let sessions: Vec<_> = self.sessions.iter().map(|entry| Arc::clone(entry.value())).collect();
        tracing::warn!(sessions = sessions.len(), "the lease was over for a while: looking whose the sessions are");
        let unknown = AtomicBool::new(false);
        each(&sessions, |session| {
            let epoch = session.live.lock().core.position().epoch;
            match engine.take(&session.id, epoch) {
                Ok(Taken::Owned { epoch: now }) if now == epoch => {}
                // Somebody had it, and nobody has: it is this server's again, and to be loaded anew.
                Ok(Taken::Owned { .. }) => self.leave(session, &Fault::moved(None)),
                Ok(Taken::Held { address }) => self.leave(session, &Fault::moved(Some(address.into()))),
                Err(error) => {
                    tracing::warn!(session = &*session.id, %error, "whose a session is cannot be read");
                    unknown.store(true, Ordering::Release);
                }
            }
        });
        if !unknown.load(Ordering::Acquire) {
            ownership.known_at.store(lapses, Ordering::Release);
        }
    }
}

/// Does something that waits for the store with each, a few at a time.
fn each<T: Sync>(all: &[T], work: impl Fn(&T) + Sync) {
    let share = all.len().div_ceil(defaults::OWNERSHIP_THREADS).max(1);
    thread::scope(|scope| {
        for some in all.chunks(share) {
            scope.spawn(|| some.iter().for_each(&work));
        }
    });
}

#[cfg(test)]
#[path = "ownership_tests.rs"]
mod tests;
