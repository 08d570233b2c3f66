//! The floor's topics: who subscribes, and the events that are not sent yet. One flush sends each subscriber all of
//! them at once; flushing after each event is what makes the floor unbatched.

use std::{collections::HashMap, mem};

use bytes::Bytes;
use bytestring::ByteString;
use rustix::fd::OwnedFd;
use syncbridge_codec::{
    Message,
    message::{Accepted, Delta, Origin, Position, Reset, ResetReason, Subscribe, Update},
};

use crate::floor::{Connections, connection::write_message};

/// All topics, in the order they were first addressed.
#[derive(Debug, Default)]
pub struct Topics {
    by_name: HashMap<ByteString, usize>,
    all: Vec<Topic>,
    /// Topics with events to send.
    dirty: Vec<usize>,
}

#[derive(Debug)]
struct Topic {
    version: u64,
    subscribers: Vec<usize>,
    /// Whole WebSocket messages, one an event.
    log: Vec<u8>,
    events: Vec<Event>,
}

/// An event in the log, which ends at `end`; its author gets `accepted` in its place.
#[derive(Debug)]
struct Event {
    end: usize,
    author: usize,
    accepted: Vec<u8>,
}

impl Topics {
    fn index(&mut self, name: &ByteString) -> usize {
        if let Some(index) = self.by_name.get(name) {
            return *index;
        }
        let index = self.all.len();
        self.all.push(Topic { version: 1, subscribers: Vec::new(), log: Vec::new(), events: Vec::new() });
        self.by_name.insert(name.clone(), index);
        index
    }

    /// Subscribes a connection; the answer to it.
    pub fn subscribe(&mut self, slot: usize, subscribe: Subscribe) -> Vec<u8> {
        let index = self.index(&subscribe.session);
        let topic = &mut self.all[index];
        topic.subscribers.push(slot);
        let reset = Reset {
            id: Some(subscribe.id),
            session: subscribe.session,
            reason: ResetReason::Initial,
            at: Position { epoch: 1, version: topic.version },
            last_kept: None,
            state: Some(Bytes::from_static(b"{}")),
        };
        let mut out = Vec::new();
        write_message(&mut out, &Message::from(reset));
        out
    }

    /// Ends all subscriptions of a connection.
    pub fn leave(&mut self, slot: usize) {
        for topic in &mut self.all {
            topic.subscribers.retain(|subscriber| *subscriber != slot);
        }
    }

    /// Appends an event to its topic's log.
    pub fn publish(&mut self, slot: usize, update: Update, (device, incarnation): (ByteString, u128)) {
        let index = self.index(&update.session);
        let topic = &mut self.all[index];
        topic.version += 1;
        let at = Position { epoch: 1, version: topic.version };
        let accepted = Accepted {
            counter: update.counter,
            session: update.session.clone(),
            at: at.clone(),
            durable: false,
            operations: None,
            changed: true,
        };
        let delta = Delta {
            session: update.session,
            at,
            operations: update.operations,
            device,
            origin: Origin { incarnation, counter: update.counter },
            // As many bytes as a clock's.
            time_ms: u64::MAX,
        };
        if topic.events.is_empty() {
            self.dirty.push(index);
        }
        write_message(&mut topic.log, &Message::from(delta));
        let mut own = Vec::new();
        write_message(&mut own, &Message::from(accepted));
        topic.events.push(Event { end: topic.log.len(), author: slot, accepted: own });
    }

    /// Sends every subscriber all events that it lacks, in one `send`.
    pub fn flush(&mut self, connections: &mut Connections, epoll: &OwnedFd) {
        for index in mem::take(&mut self.dirty) {
            let topic = &mut self.all[index];
            for slot in &topic.subscribers {
                let Some(connection) = connections.get_mut(*slot) else { continue };
                if topic.events.iter().any(|event| event.author == *slot) {
                    connection.send(epoll, *slot, &topic.seen_by(*slot));
                } else {
                    connection.send(epoll, *slot, &topic.log);
                }
            }
            topic.log.clear();
            topic.events.clear();
        }
    }
}

impl Topic {
    /// The log as the author of some of its events gets it.
    fn seen_by(&self, author: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.log.len());
        let mut start = 0;
        for event in &self.events {
            out.extend_from_slice(if event.author == author { &event.accepted } else { &self.log[start..event.end] });
            start = event.end;
        }
        out
    }
}
