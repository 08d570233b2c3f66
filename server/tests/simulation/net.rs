//! Links between clients and shards: bytes that wait in either direction, a socket buffer that takes only so much, ends
//! that are noticed late. It never loses or reorders bytes inside one stream of a living link, as no transport does; the
//! two streams of a QUIC-like link overtake each other at will, and a link that breaks loses whatever was under way.

use std::{
    collections::VecDeque,
    io,
    os::fd::RawFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Wake, Waker},
};

use bytes::{Bytes, BytesMut};
use fastrand::Rng;
use syncbridge::{
    shard::core::{Arrival, Wire},
    transport::{Framing, path::Probe},
};
use syncbridge_codec::message::Transport;

/// What a link is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A plain TCP socket with WebSocket framing: the shard's sweep writes to it.
    Socket,
    /// WebSocket framing over something that writes for itself, as TLS does.
    Tls,
    /// Frames on one pipe.
    Pipe,
    /// Frames on two streams, as over QUIC.
    Streams,
}

impl Kind {
    pub const ALL: [Self; 4] = [Self::Socket, Self::Tls, Self::Pipe, Self::Streams];

    pub const fn streams(self) -> usize {
        if matches!(self, Self::Streams) { 2 } else { 1 }
    }

    pub const fn is_websocket(self) -> bool {
        matches!(self, Self::Socket | Self::Tls)
    }

    pub fn arrival(self, link: usize, confirmed: bool) -> Arrival {
        let (transport, framing) = match self {
            Self::Socket | Self::Tls => (Transport::WebSocket, Framing::WebSocket),
            Self::Pipe => (Transport::Memory, Framing::Pipe),
            Self::Streams => (Transport::Quic, Framing::Streams),
        };
        let fd = if self == Self::Socket { RawFd::try_from(link).expect("few links") } else { -1 };
        let peer = std::net::Ipv4Addr::LOCALHOST.into();
        let confirmed = confirmed || self != Self::Streams;
        Arrival { transport, peer, fd, framing, probe: Probe::None, confirmed, identity: None }
    }
}

/// Set by a waker; read by who polls.
#[derive(Debug, Default)]
pub struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Flag {
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }

    pub fn is_up(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// One link.
#[derive(Debug)]
pub struct Link {
    pub kind: Kind,
    /// Where the server's end is.
    pub shard: usize,
    pub index: u32,
    /// Bytes to the server, by stream.
    pub up: [BytesMut; 2],
    /// Bytes to the client, by stream.
    pub down: [BytesMut; 2],
    /// Bytes that may lie in each of `down`.
    pub room: usize,
    /// What a link of streams was given and could not put into `down` yet.
    pub queues: [VecDeque<Bytes>; 2],
    /// The server's end is closed: with this code.
    pub server_shut: Option<u32>,
    /// The server has forgotten it.
    pub server_gone: bool,
    /// The client's end is closed, or the link broke: nothing more comes from there, and nothing more is taken.
    pub client_gone: bool,
    /// It broke: the client notices when it has read what still came.
    pub broken: bool,
    /// The client has forgotten it.
    pub released: bool,
    /// Nothing gets through, and nobody notices.
    pub stuck: bool,
    /// When a QUIC-like link's handshake is confirmed, if it is not yet.
    pub confirm_at: Option<u64>,
    /// The server's task has something to look at.
    pub flag: Arc<Flag>,
}

impl Link {
    /// Whether the client finds nothing but the end.
    pub fn is_at_end(&self) -> bool {
        (self.broken || self.server_shut.is_some() || self.server_gone) && self.down.iter().all(BytesMut::is_empty)
    }

    /// For people.
    pub fn summary(&self) -> String {
        let sizes = |bytes: &[BytesMut; 2]| bytes.each_ref().map(BytesMut::len);
        let Self { kind, room, server_shut, server_gone, client_gone, broken, stuck, flag, .. } = self;
        let (up, down) = (sizes(&self.up), sizes(&self.down));
        format!(
            "{kind:?}: {up:?} up, {down:?} of {room} down, shut {server_shut:?}, ends gone {client_gone} {server_gone}, \
             broken {broken}, stuck {stuck}, woken {}",
            flag.is_up()
        )
    }

    pub fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.flag))
    }

    /// Breaks: of what is under way each end still gets a part, and then the end.
    pub fn cut(&mut self, rng: &mut Rng) {
        for bytes in self.up.iter_mut().chain(&mut self.down) {
            bytes.truncate(rng.usize(0..=bytes.len()));
        }
        self.stuck = false;
        (self.client_gone, self.broken) = (true, true);
        self.flag.raise();
    }
}

/// All links of a simulation; numbers are never used again.
#[derive(Debug)]
pub struct Net {
    links: Vec<Option<Box<Link>>>,
    /// First number that may still be in use.
    first: usize,
    rng: Rng,
}

impl Net {
    pub fn new(seed: u64) -> Self {
        Self { links: Vec::new(), first: 0, rng: Rng::with_seed(seed) }
    }

    /// A link that the server does not know yet.
    pub fn make(&mut self, kind: Kind, shard: usize, room: usize) -> usize {
        self.links.push(Some(Box::new(Link {
            kind,
            shard,
            index: u32::MAX,
            up: Default::default(),
            down: Default::default(),
            room,
            queues: Default::default(),
            server_shut: None,
            server_gone: false,
            client_gone: false,
            broken: false,
            released: false,
            stuck: false,
            confirm_at: None,
            flag: Arc::default(),
        })));
        self.links.len() - 1
    }

    pub fn get(&mut self, link: usize) -> Option<&mut Link> {
        self.links.get_mut(link)?.as_deref_mut()
    }

    /// The links that are left.
    pub fn ids(&mut self) -> impl Iterator<Item = usize> + use<> {
        while self.first < self.links.len() && self.links[self.first].is_none() {
            self.first += 1;
        }
        let left: Vec<usize> = (self.first..self.links.len()).filter(|link| self.links[*link].is_some()).collect();
        left.into_iter()
    }

    /// Forgets a link that both ends have let go.
    pub fn tidy(&mut self, link: usize) {
        if let Some(place) = self.links.get_mut(link)
            && place.as_ref().is_some_and(|link| link.released && link.server_gone)
        {
            *place = None;
        }
    }

    /// Puts bytes into a stream to the client, as a socket does: what there is room for, at times less.
    ///
    /// # Errors
    /// `WouldBlock`, or that the client is gone.
    pub fn write(&mut self, link: usize, stream: usize, bytes: &[u8]) -> io::Result<usize> {
        let rng = &mut self.rng;
        let Some(link) = self.links.get_mut(link).and_then(Option::as_deref_mut) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        if link.client_gone {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let free = link.room.saturating_sub(link.down[stream].len());
        let taken = match rng.u8(0..16) {
            0 => rng.usize(0..=bytes.len().min(free)),
            _ => bytes.len().min(free),
        };
        if taken < bytes.len() && free > taken {
            // A socket that was full for a moment.
            link.flag.raise();
        }
        if taken == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        link.down[stream].extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }
}

impl Wire for Net {
    fn send(&mut self, fd: RawFd, bytes: &[u8]) -> io::Result<usize> {
        self.write(fd as usize, 0, bytes)
    }
}
