//! What is asked of a session by no connection, and waited for: an update, a change of who may do what, its end. The
//! same commands as every connection's, through [`Calls`](super::Calls).

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use syncbridge_codec::{
    ErrorCode, Message,
    message::{self, Accepted, Conflict},
};
use syncbridge_storage::Write;

use super::{Fault, Hub, Session};
use crate::{
    auth::access::Operation,
    connection::Identity,
    defaults,
    session::{Meta, Now, Op, Present, amend::Untold, epoch, membership},
};

/// What became of an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Updated {
    /// It was applied.
    Accepted(Accepted),
    /// It was refused because of what came in between.
    Conflict(Conflict),
}

impl Hub {
    /// Waits until new work is taken: a stall of the disk is over soon, and who asks by REST does not ask again.
    ///
    /// # Errors
    /// [`Fault`]: the server goes down, the store failed, or it is behind for longer than [`defaults::ASK_BUSY`].
    pub(crate) async fn caught_up(&self, clock: fn() -> Now) -> Result<(), Fault> {
        let deadline = tokio::time::Instant::now() + defaults::ASK_BUSY;
        loop {
            match self.accepting(clock()) {
                Err(Fault { code: ErrorCode::Busy, retry_after_ms: Some(ms), .. })
                    if tokio::time::Instant::now() < deadline && !self.is_draining() =>
                {
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                }
                result => return result,
            }
        }
    }

    /// Changes a document and waits for the answer that `op.update.durability` asks for. When the server is busy it is tried
    /// again for a while.
    ///
    /// # Errors
    /// [`Fault`]: refused, or still busy.
    pub async fn ask_update(
        self: &Arc<Self>,
        session: &Arc<Session>,
        who: &Identity,
        op: &Op,
        clock: fn() -> Now,
    ) -> Result<Updated, Fault> {
        let deadline = clock().mono_ms + defaults::ms(defaults::ASK_BUSY);
        loop {
            match self.ask_update_once(session, who, op, clock).await {
                Err(Fault { code: ErrorCode::Busy, retry_after_ms: Some(ms), .. })
                    if clock().mono_ms + ms < deadline && !self.is_draining() =>
                {
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                }
                result => return result,
            }
        }
    }

    async fn ask_update_once(
        self: &Arc<Self>,
        session: &Arc<Session>,
        who: &Identity,
        op: &Op,
        clock: fn() -> Now,
    ) -> Result<Updated, Fault> {
        let call = self.calls().begin();
        let mut preparation = self.update(session, call.conn, who, op, clock())?;
        while let Some(work) = preparation {
            let hub = Arc::clone(self);
            let prepared = off_shard(move || hub.prepare(work, clock())).await?;
            preparation = self.update_prepared(session, call.conn, who, op, prepared, clock())?;
        }
        match call.await? {
            Message::Accepted(accepted) => Ok(Updated::Accepted(accepted)),
            Message::Conflict(conflict) => Ok(Updated::Conflict(conflict)),
            other => {
                tracing::error!(message = other.name(), "an update was answered with something else");
                Err(Fault::new(ErrorCode::Internal, "the update was answered with something else"))
            }
        }
    }

    /// Makes a session, in one commit with what `more` says for it. Resolves when it is durable.
    ///
    /// # Errors
    /// [`Fault`]: the id is taken or none, the state is no document, or the user has too many sessions.
    pub async fn ask_create(
        self: &Arc<Self>,
        who: &Arc<Identity>,
        create: message::Create,
        now: Now,
        more: impl FnOnce(&message::Created) -> Vec<Write> + Send + 'static,
    ) -> Result<message::Created, Fault> {
        let call = self.calls().begin();
        let (hub, who, conn) = (Arc::clone(self), Arc::clone(who), call.conn);
        off_shard(move || hub.create_with(conn, &who, &create, now, more)).await??;
        match call.await? {
            Message::Created(created) => Ok(created),
            other => {
                tracing::error!(message = other.name(), "a create was answered with something else");
                Err(Fault::new(ErrorCode::Internal, "the create was answered with something else"))
            }
        }
    }

    /// Changes what a session is besides its document: `change` gets its meta, under the session's lock, and says what is
    /// committed with it and told after it. Resolves when that is durable.
    ///
    /// # Errors
    /// [`Fault`]: the asker may not, or what `change` says; then nothing has changed.
    pub async fn ask_amend(
        &self,
        session: &Arc<Session>,
        who: &Identity,
        operation: Operation,
        now: Now,
        change: impl FnOnce(&mut Meta) -> Result<(Vec<Write>, Vec<Untold>), Fault>,
    ) -> Result<(), Fault> {
        self.accepting(now)?;
        let call = self.calls().begin();
        self.run(session, now, |live, out| {
            Self::check(who, operation, session, live)?;
            let mut meta = live.core.meta().clone();
            let (writes, notices) = change(&mut meta)?;
            live.core.amend(meta, writes, notices, call.conn, out);
            Ok(())
        })?;
        call.await.map(drop)
    }

    /// Deletes a session with the rows of its members, in one commit with `writes`. Resolves when that is durable.
    ///
    /// # Errors
    /// [`Fault`]: the asker may not.
    pub async fn ask_delete(
        self: &Arc<Self>,
        session: &Arc<Session>,
        who: &Identity,
        now: Now,
        writes: Vec<Write>,
    ) -> Result<(), Fault> {
        let maker = self.look(session, who, Operation::Delete, |meta| Arc::clone(&meta.owner))?;
        let (hub, user) = (Arc::clone(self), Arc::clone(&maker));
        off_shard(move || hub.quotas.know(&user, hub.bounds.max_sessions, &**hub.engine(), now)).await??;
        self.accepting(now)?;
        let call = self.calls().begin();
        self.run(session, now, |live, out| {
            Self::check(who, Operation::Delete, session, live)?;
            // Before the id is free: what is made of it then is at an epoch above all of this one's.
            if self.deletions.fetch_add(1, Ordering::AcqRel) >= epoch::DELETIONS {
                self.deletions.fetch_sub(1, Ordering::AcqRel);
                return Err(Fault::new(ErrorCode::Internal, "no more sessions can be deleted before a restart"));
            }
            let mut all = membership::deleted(&session.id, live.core.meta());
            all.extend(writes);
            live.core.delete(all, call.conn, out);
            Ok(())
        })?;
        call.await?;
        self.quotas.give_back(&maker);
        Ok(())
    }

    /// Looks at what a session is besides its document, for somebody who may do `operation`.
    ///
    /// # Errors
    /// [`Fault`]: they may not.
    pub fn look<T>(
        &self,
        session: &Arc<Session>,
        who: &Identity,
        operation: Operation,
        look: impl FnOnce(&Meta) -> T,
    ) -> Result<T, Fault> {
        let live = session.live.lock();
        Self::check(who, operation, session, &live)?;
        Ok(look(live.core.meta()))
    }

    /// The devices that are attached to a session, and whether each is the active one, by user and device.
    ///
    /// # Errors
    /// [`Fault`]: the asker may not see them.
    pub fn attendance(&self, session: &Arc<Session>, who: &Identity, now: Now) -> Result<Vec<(Present, bool)>, Fault> {
        let live = session.live.lock();
        Self::check(who, Operation::ListDevices, session, &live)?;
        Ok(live.core.attendance(now))
    }
}

/// Runs what blocks or takes long off the shard.
///
/// # Errors
/// [`Fault`] when it panics.
pub async fn off_shard<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!(%error, "work off a shard failed");
        Fault::new(ErrorCode::Internal, "work off the shard failed")
    })
}
