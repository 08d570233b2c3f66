//! How a session comes into memory: made by a client, made by being addressed under `--open`, or read from the store.

use std::{
    hash::BuildHasher as _,
    sync::{Arc, atomic::Ordering},
};

use base64::Engine as _;
use parking_lot::{Mutex, MutexGuard};
use syncbridge_codec::{ErrorCode, message};
use syncbridge_document::Value;
use syncbridge_storage::{Taken, Write};

use super::{Fault, Hub, Interest, Live, STRIPES, Session, ownership::Found};
use crate::{
    auth::access::{self, Decision, Operation, Resource},
    connection::Identity,
    fanout::TopicId,
    session::{ConnId, Core, Meta, Now, Writer, membership, work},
};

impl Hub {
    pub(super) fn stripe(&self, id: &str) -> MutexGuard<'_, ()> {
        let hash = self.sessions.hasher().hash_one(id);
        self.stripes[(hash % STRIPES as u64) as usize].lock()
    }

    /// A session from the store. It is this server's from then on.
    pub(super) fn load_in_stripe(&self, id: &str, now: Now) -> Result<Found, Fault> {
        if let Some(session) = self.find(id) {
            return Ok(Found::Here(session));
        }
        let epoch = match self.take(id)? {
            Taken::Owned { epoch } => epoch,
            Taken::Held { address } => return Ok(Found::Elsewhere(address.into())),
        };
        let Some(stored) = self.engine().load(id).map_err(|error| Fault::unreadable_session(&error))? else {
            return Ok(Found::Nowhere);
        };
        let id: Arc<str> = id.into();
        let core = Core::restore(Arc::clone(&id), stored, epoch, self.bounds.session).map_err(|damaged| {
            tracing::error!(session = &*id, %damaged, "a stored session cannot be restored");
            Fault::new(ErrorCode::SessionDamaged, damaged.to_string())
        })?;
        let session = self.wrap(id, core, now);
        self.sessions.insert(Arc::clone(&session.id), Arc::clone(&session));
        Ok(Found::Here(session))
    }

    pub(super) fn wrap(&self, id: Arc<str>, core: Core, now: Now) -> Arc<Session> {
        Arc::new(Session {
            id,
            topic: TopicId(self.topics.fetch_add(2, Ordering::Relaxed)),
            live: Mutex::new(Live {
                core,
                interest: vec![Interest::default(); self.inboxes.len()],
                view: None,
                over: false,
                used_ms: now.mono_ms,
            }),
        })
    }

    /// Makes a session, or answers the resend of a `Create`. Blocks: never call it on a shard. The answer goes to the
    /// connection's inbox, once it is durable.
    ///
    /// # Errors
    /// [`Fault`] to answer at once.
    pub fn create(&self, conn: ConnId, who: &Identity, create: &message::Create, now: Now) -> Result<(), Fault> {
        self.create_with(conn, who, create, now, |_| Vec::new())
    }

    /// [`Hub::create`], in one commit with the writes that `more` says for the session's id and place.
    pub(super) fn create_with(
        &self,
        conn: ConnId,
        who: &Identity,
        create: &message::Create,
        now: Now,
        more: impl FnOnce(&message::Created) -> Vec<Write>,
    ) -> Result<(), Fault> {
        self.accepting(now)?;
        let id: Arc<str> = if create.session.is_empty() {
            random_id().into()
        } else {
            if !syncbridge_codec::id::is_session(&create.session) {
                return Err(Fault::new(
                    ErrorCode::InvalidSessionId,
                    "a session id is 1 to 128 of A-Z a-z 0-9 . _ ~ : @ - and neither . nor ..",
                ));
            }
            (&*create.session).into()
        };
        let writer = Writer { user: &who.user, device: &who.device, incarnation: who.incarnation, conn };
        let _stripe = self.stripe(&id);
        // Ids are global: that one is taken is said to strangers too, and nothing else of it; also to who made it and
        // may not see it any more.
        let taken = || Fault::new(ErrorCode::AlreadyExists, "the session's id is taken");
        match self.load_in_stripe(&id, now)? {
            Found::Here(session) => {
                return self.run(&session, now, |live, out| {
                    Self::check(who, Operation::Get, &session, live).map_err(|_| taken())?;
                    live.core.create_again(&writer, create, now, out);
                    Ok(())
                });
            }
            Found::Elsewhere(address) => {
                return Err(self.elsewhere(&id, who, Operation::Get, address)?.unwrap_or_else(taken));
            }
            Found::Nowhere => {}
        }
        let state = Value::parse(&create.state, &self.bounds.session.document)
            .map_err(|invalid| Fault::new(work::invalid_code(&invalid), invalid.to_string()))?;
        let meta = Meta::owned(&who.user, create.conflict, create.devices, &who.device, random());
        self.make(id, meta, state, &writer, create.counter, now, more)?;
        Ok(())
    }

    /// A session for somebody who addresses it. Under `--open` one that does not exist is made, empty, and open to every
    /// user. Blocks.
    ///
    /// # Errors
    /// [`Fault`] when the store cannot be read.
    pub fn load_or_open(
        &self,
        id: &str,
        who: &Identity,
        operation: Operation,
        now: Now,
    ) -> Result<Option<Arc<Session>>, Fault> {
        if let Some(session) = self.find(id) {
            return Ok(Some(session));
        }
        let _stripe = self.stripe(id);
        match self.load_in_stripe(id, now)? {
            Found::Here(session) => return Ok(Some(session)),
            Found::Elsewhere(address) => {
                return self.elsewhere(id, who, operation, address)?.map_or(Ok(None), Err);
            }
            Found::Nowhere => {}
        }
        let decision = access::may(&who.user, operation, Resource::Missing { open: self.open });
        if decision != Decision::AllowedOnceMade || !syncbridge_codec::id::is_session(id) {
            return Ok(None);
        }
        self.accepting(now)?;
        let meta = Meta::open(&who.user, random());
        // No connection waits for an answer, and counter 0 is nobody's op.
        let writer =
            Writer { user: &who.user, device: &who.device, incarnation: who.incarnation, conn: ConnId(u64::MAX) };
        self.make(id.into(), meta, Value::object(), &writer, 0, now, |_| Vec::new()).map(Some)
    }

    #[expect(clippy::too_many_arguments, reason = "all that a new session is made of, once")]
    fn make(
        &self,
        id: Arc<str>,
        meta: Meta,
        state: Value,
        writer: &Writer<'_>,
        counter: u64,
        now: Now,
        more: impl FnOnce(&message::Created) -> Vec<Write>,
    ) -> Result<Arc<Session>, Fault> {
        self.quotas.take(&meta.owner, self.bounds.max_sessions, &**self.engine(), now)?;
        let epoch = self.epoch_now();
        let mut rows = membership::made(&id, &meta);
        rows.extend(more(&message::Created { counter, session: (&*id).into(), epoch, version: 1 }));
        let mut out = Vec::new();
        let core = Core::create(
            Arc::clone(&id),
            epoch,
            meta,
            state,
            writer,
            counter,
            rows,
            now,
            self.bounds.session,
            &mut out,
        );
        let session = self.wrap(id, core, now);
        // Locked before it can be found, so that its first commit is queued before any other.
        let mut live = session.live.lock();
        self.sessions.insert(Arc::clone(&session.id), Arc::clone(&session));
        self.hand_out(&session, &mut live, &mut out, now);
        drop(live);
        Ok(session)
    }
}

/// A session id with 128 random bits.
fn random_id() -> String {
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random().to_be_bytes())
}

/// 128 random bits.
pub(crate) fn random() -> u128 {
    let mut bits = [0u8; 16];
    getrandom::fill(&mut bits).expect("the system has randomness");
    u128::from_be_bytes(bits)
}
