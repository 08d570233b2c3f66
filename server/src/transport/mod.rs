//! Bytes in, bytes out: what carries frames between a client and a shard. Nothing here reads a frame's body, knows a
//! session or decides who may do what.

pub mod http;
pub mod memory;
pub mod origin;
pub mod path;
pub mod pipe;
pub mod quic;
pub mod tcp;
pub mod tls;
pub mod websocket;
pub mod webtransport;

use std::{
    collections::VecDeque,
    io,
    net::IpAddr,
    os::fd::RawFd,
    task::{Context, Poll},
};

use bytes::Bytes;
use path::Probe;
use syncbridge_codec::message::{Class, Transport};

use crate::connection::Identity;

/// How frames are put on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// WebSocket binary messages on one pipe of bytes.
    WebSocket,
    /// WebSocket text messages of flat JSON on one pipe of bytes.
    Json,
    /// Frames on one pipe of bytes.
    Pipe,
    /// Frames on two streams: control, session.
    Streams,
}

/// What came.
#[derive(Debug)]
pub enum Received {
    /// So many bytes lie at the front of the scratch buffer.
    Bytes(usize),
    /// A chunk of one of the two streams.
    Chunk(Class, Bytes),
    /// Nothing more will come.
    End,
}

/// Where a link gets what it has to send: the connection's place in its shard.
pub trait Output {
    /// For links that are one pipe: appends what goes out next. Nothing: all is sent.
    fn bytes(&mut self, out: &mut Vec<u8>);
    /// So many of those bytes went out.
    fn sent(&mut self, bytes: usize);
    /// For links that are two streams: takes out of the session stream's queue what is not to be sent any more.
    fn take_back(&mut self, session: &mut VecDeque<Bytes>);
    /// For links that are two streams: moves what goes out next into their queues. Whether there was anything.
    fn frames(&mut self, streams: &mut [VecDeque<Bytes>; 2]) -> bool;
}

/// One connection's bytes. Driven by one task, which alone polls it.
pub trait Link: 'static {
    /// What other devices are told that it runs over.
    fn transport(&self) -> Transport;
    /// Where it comes from.
    fn peer(&self) -> IpAddr;
    /// How frames are put on it.
    fn framing(&self) -> Framing;
    /// A socket that takes complete bytes from anywhere on the shard's thread; -1 when only the link itself may write.
    fn direct(&self) -> RawFd {
        -1
    }
    /// Who knows how the way to the client is.
    fn probe(&self) -> Probe {
        Probe::None
    }
    /// Who it speaks for, when that was settled before it came.
    fn identity(&mut self) -> Option<Identity> {
        None
    }
    /// Whether what comes is no replay (false during QUIC 0-RTT).
    fn confirmed(&self) -> bool {
        true
    }
    /// [`Link::confirmed`], looked at now also while nothing is read; the link has the waker until it is true.
    fn poll_confirmed(&mut self, _cx: &mut Context<'_>) -> bool {
        true
    }
    /// The client was let in. A link of two streams does not read the session's before that: it may overtake `Hello`.
    fn admit(&mut self) {}
    /// What came. `scratch` is the shard's, lent for this call.
    ///
    /// # Errors
    /// The connection is gone.
    fn poll_receive(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<io::Result<Received>>;
    /// Sends all that `output` has. Ready when nothing is left; pending: the link has the waker.
    ///
    /// # Errors
    /// The connection is gone.
    fn poll_send(&mut self, cx: &mut Context<'_>, output: &mut dyn Output) -> Poll<io::Result<()>>;
    /// Ends the connection after all was sent, with the error's number or 0; ready when the peer can have read it all.
    fn poll_close(&mut self, cx: &mut Context<'_>, code: u32) -> Poll<()>;
    /// The connection is given up, with the error's number or 0, whatever was sent of it.
    fn abandon(&mut self, _code: u32) {}
}
