//! One connection of the floor: its upgrade, its frames, and the bytes that its socket did not take.

use std::{
    mem,
    net::TcpStream,
    os::fd::{AsFd, BorrowedFd},
};

use bytes::Bytes;
use bytestring::ByteString;
use rustix::{
    event::epoll::{self, EventData, EventFlags},
    fd::OwnedFd,
    io::Errno,
    net::{RecvFlags, SendFlags},
};
use syncbridge_codec::{
    Decoder, Message,
    message::{Created, Pong, Subscribe, Update, Welcome},
};

use crate::wire::{http, websocket};

/// Unsent bytes kept for one connection; it is closed above. The floor has no better answer to a reader that is too slow.
const MAX_UNSENT: usize = 64 << 20;
/// Largest frame taken from a client.
const MAX_FRAME: usize = syncbridge_codec::MAX_CLIENT_FRAME;

/// What a connection wants of the floor.
#[derive(Debug)]
pub enum Request {
    /// To be sent these bytes.
    Reply(Vec<u8>),
    /// To be subscribed.
    Subscribe(Subscribe),
    /// To publish.
    Update(Update),
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    upgraded: bool,
    broken: bool,
    /// A request or frame that is not whole yet.
    carry: Vec<u8>,
    /// What the socket did not take; the connection is watched for writability while there is some.
    unsent: Vec<u8>,
    device: ByteString,
    incarnation: u128,
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Connection {
    /// One that was just accepted.
    pub const fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            upgraded: false,
            broken: false,
            carry: Vec::new(),
            unsent: Vec::new(),
            device: ByteString::from_static(""),
            incarnation: 0,
        }
    }

    /// Device and incarnation, as `Hello` said.
    pub fn author(&self) -> (ByteString, u128) {
        (self.device.clone(), self.incarnation)
    }

    /// Whether it has to be closed.
    pub const fn is_broken(&self) -> bool {
        self.broken
    }

    /// Reads what is there; false when the connection is at its end.
    pub fn read(&mut self, scratch: &mut [u8], requests: &mut Vec<Request>) -> bool {
        let size = match rustix::net::recv(&self.stream, &mut *scratch, RecvFlags::DONTWAIT) {
            Ok((0, _)) => return false,
            Ok((size, _)) => size,
            Err(Errno::AGAIN | Errno::INTR) => return true,
            Err(_) => return false,
        };
        if self.carry.is_empty() {
            let used = self.take(&mut scratch[..size], requests);
            used.map(|used| self.carry.extend_from_slice(&scratch[used..size])).is_some()
        } else {
            let mut carry = mem::take(&mut self.carry);
            carry.extend_from_slice(&scratch[..size]);
            let used = self.take(&mut carry, requests);
            used.map(|used| self.carry.extend_from_slice(&carry[used..])).is_some()
        }
    }

    /// Takes whole requests off `bytes`; how many bytes, or `None` when the client is at fault or leaves.
    fn take(&mut self, bytes: &mut [u8], requests: &mut Vec<Request>) -> Option<usize> {
        let mut taken = 0;
        if !self.upgraded {
            let Some(size) = http::head_size(bytes) else { return (bytes.len() <= http::MAX_HEAD).then_some(0) };
            requests.push(Request::Reply(self.upgrade(&bytes[..size])));
            taken = size;
        }
        while let Some(head) = websocket::read_head(&bytes[taken..]).ok()? {
            let start = taken + head.size;
            let Some(payload) = bytes.get_mut(start..start + head.payload) else { break };
            websocket::apply_mask(payload, head.mask?);
            match head.opcode {
                websocket::BINARY => self.frames(payload, requests)?,
                _ => return None,
            }
            taken = start + head.payload;
        }
        Some(taken)
    }

    /// The answer to an HTTP request: the upgrade, or health.
    fn upgrade(&mut self, head: &[u8]) -> Vec<u8> {
        let head = String::from_utf8_lossy(head);
        match http::header(&head, "sec-websocket-key") {
            Some(key) => {
                self.upgraded = true;
                http::upgrade_response(key).into_bytes()
            }
            None => b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_vec(),
        }
    }

    fn frames(&mut self, payload: &[u8], requests: &mut Vec<Request>) -> Option<()> {
        let mut decoder = Decoder::new(MAX_FRAME);
        decoder.push(Bytes::copy_from_slice(payload));
        while let Some(frame) = decoder.next_frame().ok()? {
            match Message::decode(frame).ok()?? {
                Message::Hello(hello) => {
                    self.device = hello.device;
                    self.incarnation = hello.incarnation;
                    requests.push(reply(Welcome {
                        version: syncbridge_codec::PROTOCOL_VERSION,
                        epoch: 1,
                        heartbeat_ms: 20_000,
                        ..Welcome::default()
                    }));
                }
                Message::Create(create) => requests.push(reply(Created {
                    counter: create.counter,
                    session: create.session,
                    epoch: 1,
                    version: 1,
                })),
                Message::Ping(ping) => requests.push(reply(Pong { nonce: ping.nonce })),
                Message::Subscribe(subscribe) => requests.push(Request::Subscribe(subscribe)),
                Message::Update(update) => requests.push(Request::Update(update)),
                _ => return None,
            }
        }
        Some(())
    }

    /// Sends `bytes`, after what is still unsent.
    pub fn send(&mut self, epoll: &OwnedFd, slot: usize, bytes: &[u8]) {
        if self.unsent.is_empty() {
            let sent = self.try_send(bytes);
            if sent == bytes.len() || self.broken {
                return;
            }
            self.unsent.extend_from_slice(&bytes[sent..]);
            self.watch(epoll, slot, EventFlags::IN | EventFlags::OUT);
        } else {
            self.unsent.extend_from_slice(bytes);
            // The hang-up that this brings is the event by which the connection is closed.
            if self.unsent.len() > MAX_UNSENT {
                self.fail();
            }
        }
    }

    /// Sends what is still unsent; called when the socket takes more.
    pub fn write_rest(&mut self, epoll: &OwnedFd, slot: usize) {
        let unsent = mem::take(&mut self.unsent);
        let sent = self.try_send(&unsent);
        if sent == unsent.len() {
            self.watch(epoll, slot, EventFlags::IN);
        } else {
            self.unsent = unsent;
            self.unsent.drain(..sent);
        }
    }

    fn try_send(&mut self, bytes: &[u8]) -> usize {
        match rustix::net::send(&self.stream, bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(sent) => sent,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(_) => {
                self.fail();
                0
            }
        }
    }

    fn fail(&mut self) {
        self.broken = true;
        // Fails only when the connection is gone, which epoll reports as well.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }

    fn watch(&mut self, epoll: &OwnedFd, slot: usize, flags: EventFlags) {
        if epoll::modify(epoll, &self.stream, EventData::new_u64(slot as u64), flags).is_err() {
            self.fail();
        }
    }
}

fn reply(message: impl Into<Message>) -> Request {
    let mut out = Vec::new();
    write_message(&mut out, &message.into());
    Request::Reply(out)
}

/// Appends a WebSocket message that holds one native frame.
pub fn write_message(out: &mut Vec<u8>, message: &Message) {
    websocket::write_head(out, websocket::BINARY, message.frame_size(), None);
    message.write_frame(out);
}
