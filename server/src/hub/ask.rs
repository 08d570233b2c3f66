//! What is asked of a session by no connection, and waited for: an update, a change of who may do what, its end. The
//! same commands as every connection's, through [`Calls`](super::Calls).

use std::{sync::Arc, time::Duration};

use syncbridge_codec::{
    ErrorCode, Message,
    message::{Accepted, Conflict},
};
use syncbridge_storage::Write;

use super::{Fault, Hub, Session};
use crate::{
    auth::access::Operation,
    connection::Identity,
    defaults,
    session::{Meta, Now, Op, amend::Untold},
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

    /// Deletes a session, in one commit with `writes`. Resolves when that is durable.
    ///
    /// # Errors
    /// [`Fault`]: the asker may not.
    pub async fn ask_delete(
        &self,
        session: &Arc<Session>,
        who: &Identity,
        now: Now,
        writes: impl FnOnce(&Meta) -> Vec<Write>,
    ) -> Result<(), Fault> {
        self.accepting(now)?;
        let call = self.calls().begin();
        self.run(session, now, |live, out| {
            Self::check(who, Operation::Delete, session, live)?;
            let writes = writes(live.core.meta());
            live.core.delete(writes, call.conn, out);
            Ok(())
        })?;
        call.await.map(drop)
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
