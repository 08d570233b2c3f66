//! A shard's inbox: lock-free, written by whoever holds a session's lock, drained by the shard's flusher. The order in
//! it is the order in which the locks were held, so events of a topic lie in it in seq order.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use crossbeam_queue::SegQueue;
use futures_util::task::AtomicWaker;
use syncbridge_codec::ErrorCode;

use super::{conn::Adopted, core::Activation};
use crate::{
    fanout::{Event, TopicId},
    hub::{Revocation, survey::Survey},
    session::ConnId,
};

/// What a shard is told.
#[derive(Debug)]
pub enum Item {
    /// An event of a topic that connections of this shard subscribe to.
    Event(Arc<Event>),
    /// A subscription goes live: the events after this item are its events.
    Activate(Box<Activation>),
    /// A frame for one connection, behind every event of the topic so far.
    Answer(ConnId, TopicId, Bytes),
    /// A frame for the subscribers of a topic that asked to be told what is durable.
    Durable(TopicId, Bytes),
    /// Everything of this topic ends with this frame: its subscriptions are gone.
    End(TopicId, Bytes),
    /// The same, because another server has the session: what its subscribers' connections have on their way to it is not
    /// to be applied when it comes back.
    Moved(TopicId, Bytes),
    /// A connection ends.
    Close(ConnId, ErrorCode, &'static str),
    /// Something is taken back: end what it names, then acknowledge.
    Revoke(Arc<Revocation>),
    /// Operators look over the connections.
    Survey(Arc<Survey>),
    /// A new connection from outside the shard's own listeners.
    Adopt(Box<Adopted>),
    /// The server goes down: tell everybody, then end every connection.
    Drain(Bytes),
}

/// See the file's head.
#[derive(Debug, Default)]
pub struct Inbox {
    items: SegQueue<Item>,
    /// Whether the flusher was woken and has not yet begun to drain: at most one wake a batch.
    woken: AtomicBool,
    waker: AtomicWaker,
}

impl Inbox {
    /// Puts an item in and wakes the shard if nobody has yet.
    pub fn push(&self, item: Item) {
        self.items.push(item);
        self.nudge();
    }

    /// Wakes the shard if nobody has yet.
    pub fn nudge(&self) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }

    /// Items that wait.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The next item, if there is one.
    pub fn pop(&self) -> Option<Item> {
        self.items.pop()
    }

    /// The flusher calls this before it drains: a push after it wakes `waker` again.
    pub fn begin_drain(&self, waker: &std::task::Waker) {
        self.waker.register(waker);
        // A swap, not a store: it reads what the pusher's swap wrote, so the pusher's item is seen by the drain.
        self.woken.swap(false, Ordering::AcqRel);
    }
}
