//! Taking back what somebody may: an item in every shard's inbox, in order with the events there. Each shard ends what
//! the revocation names, with everything of it that was not delivered, and acknowledges; who revoked waits for all.

use std::sync::Arc;

use bytes::Bytes;

use super::{Hub, Session, gather::Gather};
use crate::{connection::Identity, shard::inbox::Item};

/// What is taken back.
#[derive(Debug)]
pub enum Revoked {
    /// The connections of one login, and of the access tokens that come of it.
    Family {
        /// The user.
        user: Arc<str>,
        /// The login.
        family: Arc<str>,
    },
    /// The same, when it was another server that ended it, and the user is not known: a login's name is drawn at random.
    Login(Arc<str>),
    /// The connections of one device.
    Device {
        /// The user.
        user: Arc<str>,
        /// The device.
        device: Arc<str>,
    },
    /// A user's subscriptions to a session; the connections stay.
    Member {
        /// The session.
        session: Arc<Session>,
        /// The user.
        user: Arc<str>,
        /// The last that they are told of it: a whole native frame.
        last: Bytes,
    },
    /// Nothing: who waits for it knows that every shard has seen what came before it.
    Nothing,
}

/// A [`Revoked`] on its way through the shards.
#[derive(Debug)]
pub struct Revocation {
    /// What is taken back.
    pub what: Revoked,
    through: Gather<()>,
}

impl Revocation {
    /// Whether a connection is one that ends. Subscriptions ([`Revoked::Member`]) are looked for one by one.
    pub fn ends(&self, who: &Identity) -> bool {
        match &self.what {
            Revoked::Family { user, family } => who.user == *user && who.family.as_ref() == Some(family),
            Revoked::Login(family) => who.family.as_ref() == Some(family),
            Revoked::Device { user, device } => who.user == *user && who.device == *device,
            Revoked::Member { .. } | Revoked::Nothing => false,
        }
    }

    /// A shard is through with it. The last one lets go who waits.
    pub fn acknowledge(&self) {
        self.through.hand_in(());
    }
}

impl Hub {
    /// Takes something back on every shard. Whatever is told after it resolved is told without those that it ended. (A
    /// shard that is gone for the end of the process ends the wait too.)
    pub fn revoke(&self, what: Revoked) -> impl Future<Output = ()> + Send + use<> {
        let (through, done) = Gather::new(self.inboxes.len());
        let revocation = Arc::new(Revocation { what, through });
        for inbox in &self.inboxes {
            inbox.push(Item::Revoke(Arc::clone(&revocation)));
        }
        async move {
            let _ = done.await;
        }
    }
}
