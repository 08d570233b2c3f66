//! Requests that come by no live connection (REST): each has a [`ConnId`] of its own, and what the session's core answers
//! to that goes to whoever waits for it. So REST uses the same commands as every connection, and adds none.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use dashmap::DashMap;
use syncbridge_codec::{ErrorCode, Message, frame::Frames};
use tokio::sync::oneshot;

use super::Fault;
use crate::{
    session::ConnId,
    shard::{conn_id, shard_of},
};

/// The shard that calls pretend to live on; there are at most `defaults::MAX_SHARDS` real ones, below it.
const SHARD: usize = 255;

/// The calls under way.
#[derive(Debug, Default)]
pub struct Calls {
    next: AtomicU64,
    waiting: DashMap<ConnId, oneshot::Sender<Bytes>>,
}

/// A call under way: resolves to what its session answers. Dropping it forgets the answer, never the effect.
#[derive(Debug)]
pub struct Call {
    /// What the session's core knows it by.
    pub conn: ConnId,
    answer: oneshot::Receiver<Bytes>,
    calls: Arc<Calls>,
}

impl Calls {
    /// Begins a call.
    pub fn begin(self: &Arc<Self>) -> Call {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let conn = conn_id(SHARD, (number >> 32) as u32, number as u32);
        let (sender, answer) = oneshot::channel();
        self.waiting.insert(conn, sender);
        Call { conn, answer, calls: Arc::clone(self) }
    }

    /// Whether this is a call and no connection.
    pub const fn has(conn: ConnId) -> bool {
        shard_of(conn) == SHARD
    }

    /// The answer of a call, if somebody still waits for it.
    pub(super) fn answer(&self, conn: ConnId, frame: Bytes) {
        if let Some((_, waiting)) = self.waiting.remove(&conn) {
            // Who does not wait any more does not want to know.
            drop(waiting.send(frame));
        }
    }
}

impl Future for Call {
    type Output = Result<Message, Fault>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer).poll(cx).map(|frame| {
            let lost = || Fault::new(ErrorCode::Internal, "the session left this server before it answered");
            let frame = Frames::new(frame.map_err(|_| lost())?, usize::MAX).next().ok_or_else(lost)?;
            match frame.and_then(Message::decode) {
                Ok(Some(Message::Error(error))) => Err(Fault {
                    code: ErrorCode::from_number(error.code).unwrap_or(ErrorCode::Internal),
                    text: error.text.to_string(),
                    retry_after_ms: error.retry_after_ms,
                    address: Some(error.address).filter(|address| !address.is_empty()),
                }),
                Ok(Some(message)) => Ok(message),
                _ => Err(lost()),
            }
        })
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.calls.waiting.remove(&self.conn);
    }
}
