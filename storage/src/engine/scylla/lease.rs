//! Who owns a session. A server says that it lives by a row that the database lets go when it is not renewed in time; a
//! session's partition names its owner and a fence, its epoch, which only grows. Whoever takes a session raises the fence
//! by a conditional write, and from then on the database refuses what the former owner still has on its way. The row's
//! time only decides *when* a session may be taken: clocks and pauses cannot make two servers write.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use super::{
    core::Core,
    database::{Failure, Nonce, Pauses, Place, Value},
    known::Part,
};
use crate::{Error, Taken};

/// This server's own lease.
pub(super) struct Lease {
    /// What others are told to reach this server by.
    pub address: String,
    pub length: Duration,
    began: Instant,
    /// Until when it is valid, in milliseconds since `began`.
    until_ms: AtomicU64,
    /// Times it was over before it was renewed.
    lapses: AtomicU64,
    /// Whether it was given up: held while the database is told either, so that it is never renewed after that.
    over: tokio::sync::Mutex<bool>,
}

impl Lease {
    pub fn new(address: String, length: Duration) -> Self {
        Self {
            address,
            length,
            began: Instant::now(),
            until_ms: AtomicU64::new(0),
            lapses: AtomicU64::new(0),
            over: tokio::sync::Mutex::new(false),
        }
    }

    pub fn is_valid(&self) -> bool {
        self.began.elapsed().as_millis() < u128::from(self.until_ms.load(Ordering::Acquire))
    }

    pub fn lapses(&self) -> u64 {
        self.lapses.load(Ordering::Acquire)
    }

    /// Renewed by a request that was sent at `sent`.
    fn renewed(&self, sent: Instant) {
        let until = sent.duration_since(self.began) + self.length;
        // Counted before it is valid again, so that nobody sees it valid and misses that it was not. The first is no lapse.
        if self.until_ms.load(Ordering::Acquire) > 0 && !self.is_valid() {
            self.lapses.fetch_add(1, Ordering::AcqRel);
        }
        self.until_ms.store(u64::try_from(until.as_millis()).unwrap_or(u64::MAX), Ordering::Release);
    }
}

impl Core {
    /// Says that this server lives; `false` when it gave up its lease.
    pub(super) async fn renew(&self) -> Result<bool, Failure> {
        let over = self.lease.over.lock().await;
        if *over {
            return Ok(false);
        }
        let sent = Instant::now();
        let values = vec![
            Value::nonce(Some(self.me)),
            Value::Text(self.lease.address.as_str().into()),
            Value::number(self.epoch),
            // The database counts whole seconds, from when it gets to it: never less than this server believes.
            Value::Int(i32::try_from(self.lease.length.as_secs() + 1).unwrap_or(i32::MAX)),
        ];
        self.db.run(&self.db.statements.live, values).await?;
        self.lease.renewed(sent);
        Ok(true)
    }

    /// Renews the lease for as long as the engine is open.
    pub(super) async fn keep_lease(&self) {
        let mut pauses = Pauses::new();
        let mut told = false;
        loop {
            match self.renew().await {
                Ok(false) => return,
                Ok(true) => {
                    if std::mem::take(&mut told) {
                        tracing::info!("the lease is renewed again");
                    }
                    pauses = Pauses::new();
                    tokio::time::sleep(self.lease.length / 3).await;
                }
                Err(failure) => {
                    if !self.lease.is_valid() && !std::mem::replace(&mut told, true) {
                        tracing::error!(?failure, "the lease is over: other servers may take this one's sessions");
                    }
                    pauses.wait().await;
                }
            }
        }
    }

    /// Says that this server is gone, so that nobody has to wait for its lease to end.
    pub(super) async fn leave(&self) -> Result<(), Failure> {
        let mut over = self.lease.over.lock().await;
        *over = true;
        self.lease.until_ms.store(0, Ordering::Release);
        self.db.run(&self.db.statements.leave, vec![Value::nonce(Some(self.me))]).await?;
        Ok(())
    }

    /// The address of a server that lives.
    async fn address(&self, server: Nonce) -> Result<Option<String>, Failure> {
        let rows =
            self.db.run(&self.db.statements.server, vec![Value::nonce(Some(server))]).await?.into_rows_result()?;
        Ok(rows.maybe_first_row::<(Option<String>,)>()?.map(|(address,)| address.unwrap_or_default()))
    }

    pub(super) async fn is_alive(&self, server: Nonce) -> Result<bool, Failure> {
        Ok(server == self.me || self.address(server).await?.is_some())
    }

    /// As [`crate::Engine::take`].
    pub(super) async fn take(&self, session: &str, at_least: u64) -> Result<Taken, Failure> {
        let place = Place::Session(session.into());
        let mut held = self.hold(std::slice::from_ref(&place)).await;
        let mut pauses = Pauses::new();
        loop {
            let mut known = self.read(&place).await?;
            let Some(chart) = known.chart() else {
                return Err(Failure::Store(Error::Damaged { what: format!("{place:?} is no session") }));
            };
            let (owner, fence) = (chart.owner, chart.fence);
            if chart.live.is_none() {
                return Ok(Taken::Owned { epoch: at_least });
            }
            if let (Some(owner), Some(fence)) = (owner, fence) {
                if owner == self.me && fence >= at_least {
                    return Ok(Taken::Owned { epoch: fence });
                }
                // One that was reached where this server is now is gone, however it ended: no two have one address.
                if owner != self.me
                    && let Some(address) = self.address(owner).await?
                    && (address.is_empty() || address != self.lease.address)
                {
                    return Ok(Taken::Held { address });
                }
            }
            // Above all that anybody has written or owned.
            let epoch = at_least.max(fence.map_or(0, |fence| fence + 1));
            known.own(Some(self.me), Some(epoch));
            if known.flip(&self.db, &place, Part::Mark(None), (self.clock)()).await? {
                tracing::info!(session, epoch, "took the session");
                if let Some((_, slot)) = held.first_mut() {
                    **slot = Some(known);
                }
                return Ok(Taken::Owned { epoch });
            }
            pauses.wait().await;
        }
    }

    /// As [`crate::Engine::release`].
    pub(super) async fn release(&self, session: &str) -> Result<(), Failure> {
        let place = Place::Session(session.into());
        let mut held = self.hold(std::slice::from_ref(&place)).await;
        let mut pauses = Pauses::new();
        loop {
            let mut known = self.read(&place).await?;
            let Some(chart) = known.chart() else { return Ok(()) };
            let (owner, fence) = (chart.owner, chart.fence);
            if owner != Some(self.me) {
                return Ok(());
            }
            known.own(None, fence);
            if known.flip(&self.db, &place, Part::Mark(None), (self.clock)()).await? {
                if let Some((_, slot)) = held.first_mut() {
                    **slot = Some(known);
                }
                return Ok(());
            }
            pauses.wait().await;
        }
    }
}
