//! One shard and plain sockets that are told one message at a time and write down every send: for rules about what
//! exactly goes out, to whom and when.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::fd::RawFd,
    sync::Arc,
};

use bytes::{Bytes, BytesMut};
use fastrand::Rng;
use syncbridge::shard::core::Wire;
use syncbridge_codec::{
    Message, frame, handshake,
    message::{Position, Scope, Subscribe, Update},
    websocket::{self, Opcode},
};

use super::{
    clock,
    net::Kind,
    server::{Server, Setting},
    store::Books,
};

/// Sockets that take everything, but for those that take nothing.
#[derive(Debug, Default)]
pub struct Sockets {
    pub blocked: BTreeSet<RawFd>,
    /// The sends of each.
    pub sent: BTreeMap<RawFd, Vec<Vec<u8>>>,
}

impl Wire for Sockets {
    fn send(&mut self, fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
        if self.blocked.contains(&fd) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.sent.entry(fd).or_default().push(bytes.to_vec());
        Ok(bytes.len())
    }
}

pub struct Desk {
    pub server: Server,
    pub sockets: Sockets,
    /// The place of each socket's connection.
    places: BTreeMap<RawFd, u32>,
    counters: BTreeMap<(RawFd, String), u64>,
    rng: Rng,
}

impl Desk {
    pub fn new(max_lag: usize) -> Self {
        clock::reset();
        let setting = Setting { shards: 1, max_lag, log_kept_bytes: 4 << 10, max_cut: 64 << 20 };
        Self {
            server: Server::first(setting, &Arc::<Books>::default()),
            sockets: Sockets::default(),
            places: BTreeMap::new(),
            counters: BTreeMap::new(),
            rng: Rng::with_seed(1),
        }
    }

    /// A connection of this socket that was let in.
    pub fn connect(&mut self, fd: RawFd) {
        let arrival = Kind::Socket.arrival(fd as usize, true);
        let place = self.server.shard(0).open(&arrival);
        self.places.insert(fd, place);
        let device = format!("device-{fd}").into();
        let hello = handshake::Client::hello("person".into(), device, 1 + fd as u128, Scope::default(), Vec::new());
        self.say(fd, hello);
    }

    pub fn place(&self, fd: RawFd) -> u32 {
        self.places[&fd]
    }

    /// The connection is gone.
    pub fn remove(&mut self, fd: RawFd) {
        let place = self.places.remove(&fd).expect("a connection");
        self.server.shard(0).remove(place);
    }

    /// The client says something.
    pub fn say(&mut self, fd: RawFd, message: impl Into<Message>) {
        let mut bytes = BytesMut::new();
        websocket::write_client_frame(&mut bytes, Opcode::Binary, [1, 2, 3, 4], &message.into().to_frame());
        let place = self.place(fd);
        self.server.shard(0).receive(place, &mut bytes);
    }

    pub fn subscribe(&mut self, fd: RawFd, session: &str, notices: bool, durable: bool) {
        self.say(fd, Subscribe { id: 1, session: session.into(), have: None, notices, durable });
    }

    /// The client changes something, with `bytes` of text.
    pub fn update(&mut self, fd: RawFd, session: &str, bytes: usize) {
        let counter = self.counters.entry((fd, session.to_owned())).or_default();
        *counter += 1;
        let operations = format!(r#"[{{"op":"add","path":"/x","value":"{fd}.{counter}{}"}}]"#, "x".repeat(bytes));
        let base = Position { epoch: 1, version: 1 };
        let (counter, operations) = (*counter, Bytes::from(operations));
        self.say(fd, Update { counter, session: session.into(), base, operations, ..Update::default() });
    }

    /// One turn of the flusher.
    pub fn turn(&mut self, budget: usize) -> bool {
        let told = self.server.drain_inbox(0, usize::MAX);
        self.server.flush(0, &mut self.sockets, budget) || told
    }

    /// Everything that can be done is done.
    pub fn settle(&mut self) {
        loop {
            let turned = self.turn(usize::MAX);
            let worked = self.server.work(&mut self.rng);
            let committed = self.server.store.complete(usize::MAX);
            if !turned && !worked && committed == 0 && self.server.is_idle() {
                return;
            }
        }
    }

    /// What a socket that can be written to again is sent, as its connection's task does it.
    pub fn drain(&mut self, fd: RawFd) {
        let place = self.place(fd);
        loop {
            let mut bytes = Vec::new();
            self.server.shard(0).output(place, &mut bytes);
            if bytes.is_empty() {
                return;
            }
            self.server.shard(0).sent(place, bytes.len());
            self.sockets.sent.entry(fd).or_default().push(bytes);
        }
    }

    /// The messages that a socket was sent so far; it forgets them.
    pub fn heard(&mut self, fd: RawFd) -> Vec<Message> {
        let bytes = self.sockets.sent.remove(&fd).unwrap_or_default().concat();
        let mut partial = BytesMut::from(&bytes[..]);
        let mut messages = Vec::new();
        while let Some((opcode, payload)) = super::peer::message(&mut partial) {
            if opcode == 2 {
                for frame in frame::Frames::new(payload, 8 << 20) {
                    messages.extend(Message::decode(frame.expect("a whole frame")).expect("a message"));
                }
            }
        }
        assert!(partial.is_empty(), "half a message was left");
        messages
    }
}
