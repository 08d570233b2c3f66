//! One shard, sans-IO: its connections, its rings, what comes in and what goes out next. The runtime (`driver.rs`) and
//! the simulation drive the same code; only they know sockets and clocks.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    os::fd::RawFd,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use slab::Slab;
use syncbridge_codec::{Decoder, ErrorCode, handshake, message::Transport, websocket};

use super::{
    conn::{Adopted, Conn, Ending, Framing, Outbox},
    flat::Flat,
    held::Held,
    inbox::Inbox,
    job::Job,
    routed::{Asked, UnderWay},
    survey::Begun,
    wheel::Wheel,
};
use crate::{
    admin::{Metrics, metrics},
    connection::{self, Identity, Timing},
    fanout::{Form, Ring, TopicId},
    hub::{Hub, Session},
    session::{ConnId, Now},
    transport::{self as link, path::Probe},
};

/// The beginning of a subscription, in its place among the events.
#[derive(Debug)]
pub struct Activation {
    /// The connection.
    pub conn: ConnId,
    /// The session.
    pub session: Arc<Session>,
    /// Native frames that come first.
    pub prelude: Vec<Bytes>,
    /// When notices are wanted: the list of devices if it is, then what waits for an answer.
    pub notices: Option<Vec<Bytes>>,
    /// Whether events have to wait for a snapshot that is still being encoded.
    pub held: bool,
    /// Whether every `Durable` is wanted.
    pub durable: bool,
}

/// Where a shard's bytes go: `send` of the fast path. Never blocks.
pub trait Wire {
    /// Writes what the socket takes of `bytes`: how many.
    ///
    /// # Errors
    /// `WouldBlock` when it takes nothing now; anything else means that the connection is gone.
    fn send(&mut self, fd: RawFd, bytes: &[u8]) -> std::io::Result<usize>;
}

/// How a connection looks to its shard when it comes.
#[derive(Debug)]
pub struct Arrival {
    /// What it runs over.
    pub transport: Transport,
    /// Where it comes from.
    pub peer: IpAddr,
    /// The socket that the sweep may write to; negative when only the connection's own task may.
    pub fd: RawFd,
    /// How frames are put.
    pub framing: link::Framing,
    /// Who knows how the way to the client is.
    pub probe: Probe,
    /// What comes is no replay; false during QUIC 0-RTT, until [`Shard::confirm`].
    pub confirmed: bool,
    /// Who it speaks for, when the upgrade said so (flat JSON).
    pub identity: Option<Identity>,
}

/// Checks the credentials of a `Hello`: who it is, or what it is refused with.
pub type Authenticate = dyn Fn(&handshake::Request, Now) -> Result<Identity, (ErrorCode, String)> + Send + Sync;

/// What shards of a server share.
#[derive(Clone)]
pub struct Shared {
    /// The live sessions.
    pub hub: Arc<Hub>,
    /// Checks a `Hello`'s credentials.
    pub authenticate: Arc<Authenticate>,
    /// Timings of connections.
    pub timing: Timing,
    /// Bounds of connections.
    pub bounds: Bounds,
    /// Where things are counted.
    pub metrics: Arc<Metrics>,
}

/// Bounds of a shard's connections; `defaults.rs` has the arithmetic.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Largest frame that a client may send, bytes.
    pub max_client_frame: usize,
    /// Largest frame that the server sends, bytes.
    pub max_server_frame: usize,
    /// Largest document, bytes.
    pub max_document: usize,
    /// Subscriptions of a connection.
    pub max_subscriptions: usize,
    /// Bytes that a subscriber may lag behind in one topic before it is reset.
    pub max_lag: usize,
    /// Bytes of cut frames that a shard keeps for slow connections.
    pub max_cut: usize,
}

/// What the hot path counts, without atomics; [`Shard::report`] hands it on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// Messages received.
    pub received: u64,
    /// Events appended to rings.
    pub events: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// System calls that sent them.
    pub sends: u64,
    /// Events handed to subscribers.
    pub deliveries: u64,
    /// Times a socket took less than there was.
    pub slow: u64,
}

/// See the file's head.
pub struct Shard {
    pub(super) index: usize,
    pub(super) shared: Shared,
    pub(super) inbox: Arc<Inbox>,
    pub(super) conns: Slab<Conn>,
    pub(super) rings: Slab<Ring>,
    pub(super) topics: HashMap<(TopicId, Form), u32>,
    /// Connections with something to send first, each once.
    pub(super) dirty: Vec<u32>,
    /// Rings with slots to visit, each once; the sweep works on the first.
    pub(super) due: VecDeque<u32>,
    pub(super) wheel: Wheel,
    pub(super) generation: u32,
    /// Where a connection's output is put together before it is sent.
    pub(super) scratch: Vec<u8>,
    pub(super) cut_bytes: usize,
    pub(super) draining: Option<Bytes>,
    /// What has to be run off the shard.
    pub(super) jobs: VecDeque<(ConnId, u32, Job)>,
    /// Connections whose updates wait for the disk.
    pub(super) held: Held,
    /// What REST's routes have to answer.
    pub(super) asked: VecDeque<Asked>,
    /// Connections that came by the inbox.
    pub(super) adopted: Vec<Adopted>,
    /// What operators look over, the oldest first.
    pub(super) surveys: VecDeque<Begun>,
    pub(super) now: Now,
    pub(super) counts: Counts,
}

impl Shard {
    /// A shard without connections; `inbox` is the hub's for this index.
    pub fn new(index: usize, shared: Shared, inbox: Arc<Inbox>, now: Now) -> Self {
        Self {
            index,
            shared,
            inbox,
            conns: Slab::new(),
            rings: Slab::new(),
            topics: HashMap::new(),
            dirty: Vec::new(),
            due: VecDeque::new(),
            wheel: Wheel::new(now.mono_ms),
            generation: 0,
            scratch: Vec::new(),
            cut_bytes: 0,
            draining: None,
            jobs: VecDeque::new(),
            held: Held::default(),
            asked: VecDeque::new(),
            adopted: Vec::new(),
            surveys: VecDeque::new(),
            now,
            counts: Counts::default(),
        }
    }

    /// Where this shard's figures are counted.
    pub(super) fn metrics(&self) -> &metrics::Shard {
        &self.shared.metrics.shards[self.index]
    }

    /// Hands on what was counted, and how long the thread has worked. Call it about once a second, and at the end.
    pub fn report(&self, busy: Duration) {
        let (metrics, counts) = (self.metrics(), &self.counts);
        metrics.busy_us.set(busy.as_micros() as u64);
        metrics.received.set(counts.received);
        metrics.events.set(counts.events);
        metrics.sent_bytes.set(counts.sent_bytes);
        metrics.sends.set(counts.sends);
        metrics.deliveries.set(counts.deliveries);
        metrics.slow.set(counts.slow);
    }

    /// Sets the time: once a turn, before anything else.
    pub const fn set_now(&mut self, now: Now) {
        self.now = now;
    }

    /// Whether something waits to be sent or run.
    pub fn has_work(&self) -> bool {
        !(self.dirty.is_empty() && self.due.is_empty() && self.jobs.is_empty() && self.asked.is_empty())
            || self.held.is_unwatched()
    }

    /// Whether all that a connection is to be sent was handed to its link.
    pub fn is_sent(&self, index: u32) -> bool {
        self.conns.get(index as usize).is_none_or(|conn| conn.outbox.is_empty())
    }

    /// The next connection that came by the inbox.
    pub fn next_adopted(&mut self) -> Option<Adopted> {
        self.adopted.pop()
    }

    /// Looks at the connections whose time is over. Call it about once a second.
    pub fn tick(&mut self) {
        for (index, generation) in self.wheel.advance(self.now.mono_ms) {
            let Some(conn) = self.conns.get_mut(index as usize) else { continue };
            // A place that is used again, or one whose time was set anew since, has another entry in the wheel.
            if conn.id != super::conn_id(self.index, generation, index) || conn.check_ms > self.now.mono_ms {
                continue;
            }
            conn.check_ms = u64::MAX;
            let deadline = conn.close_by_ms.unwrap_or_else(|| conn.core.deadline_ms(self.shared.timing));
            if deadline > self.now.mono_ms {
                let id = conn.id;
                self.look_at(index, deadline);
                for session in self.sessions_of(index) {
                    self.shared.hub.touch(&session, id, self.now);
                }
            } else if conn.closing.is_some() {
                self.abort(index);
            } else if !conn.core.is_ready()
                && let Some(at_ms) = conn.under_way.holds(self.now.mono_ms)
            {
                self.look_at(index, at_ms);
            } else {
                self.end(index, ErrorCode::TimedOut, "nothing was heard for too long");
            }
        }
    }

    /// Has the connection's time looked at once `at_ms` has passed, unless that happens sooner anyway.
    pub(super) fn look_at(&mut self, index: u32, at_ms: u64) {
        if let Some(conn) = self.conns.get_mut(index as usize)
            && at_ms < conn.check_ms
        {
            conn.check_ms = at_ms;
            self.wheel.set(index, super::generation_of(conn.id), at_ms);
        }
    }

    /// Drops a connection's link without a word more.
    pub(super) fn abort(&mut self, index: u32) {
        if let Some(conn) = self.conns.get_mut(index as usize) {
            conn.aborted = true;
            conn.closing.get_or_insert(Ending::Fault(ErrorCode::TooSlow));
            conn.wake();
        }
    }

    /// What shards share.
    pub const fn shared(&self) -> &Shared {
        &self.shared
    }

    /// The shard's inbox.
    pub const fn inbox(&self) -> &Arc<Inbox> {
        &self.inbox
    }

    /// Whether the server goes down, everybody was told, and nobody is left.
    pub fn is_over(&self) -> bool {
        self.draining.is_some() && self.conns.is_empty()
    }

    /// Connections.
    pub fn connections(&self) -> usize {
        self.conns.len()
    }

    /// Bytes that are held for subscribers that have not taken them: (rings, frames that were cut).
    pub fn held_bytes(&self) -> (usize, usize) {
        (self.rings.iter().map(|(_, ring)| ring.bytes()).sum(), self.cut_bytes)
    }

    /// A connection by its place.
    pub fn conn_mut(&mut self, index: u32) -> Option<&mut Conn> {
        self.conns.get_mut(index as usize)
    }

    /// Takes a connection in; its place in the shard.
    pub fn open(&mut self, arrival: &Arrival) -> u32 {
        let max = self.shared.bounds.max_client_frame;
        // The frame's own head comes on top of the cap: 8 bytes of length.
        let framing = match arrival.framing {
            link::Framing::WebSocket => Framing::WebSocket(websocket::Parser::new(max + 8)),
            link::Framing::Json => Framing::Json(Box::new(Flat::new(websocket::Parser::new(max)))),
            link::Framing::Pipe => Framing::Pipe(Decoder::new(max)),
            link::Framing::Streams => Framing::Streams(Box::new([Decoder::new(max), Decoder::new(max)])),
        };
        self.generation = self.generation.wrapping_add(1);
        let entry = self.conns.vacant_entry();
        let index = entry.key() as u32;
        let core = connection::Core::new(arrival.transport, arrival.peer, self.now);
        let deadline = core.deadline_ms(self.shared.timing);
        entry.insert(Conn {
            id: super::conn_id(self.index, self.generation, index),
            fd: arrival.fd,
            probe: arrival.probe.clone(),
            core,
            framing,
            outbox: Outbox::default(),
            subs: Vec::new(),
            moved: Vec::new(),
            todo: VecDeque::new(),
            busy: false,
            under_way: UnderWay::default(),
            catch_up: None,
            confirmed: arrival.confirmed,
            cut_counted: 0,
            aborted: false,
            blocked: false,
            dirty: false,
            closing: None,
            close_by_ms: None,
            check_ms: u64::MAX,
            waker: None,
        });
        self.look_at(index, deadline);
        self.metrics().opened.of(arrival.transport).increment();
        if let Some(identity) = &arrival.identity {
            match self.shared.hub.connected(&identity.user) {
                Ok(()) => self.let_in(index, identity.clone()),
                Err(fault) => self.end(index, fault.code, &fault.text),
            }
        }
        if let Some(frame) = self.draining.clone() {
            self.drain_conn(index, frame);
        }
        index
    }

    /// The link is gone: forgets the connection and everything of it.
    pub fn remove(&mut self, index: u32) {
        // Subscriptions that lie in the inbox are the connection's too.
        self.drain_inbox(usize::MAX);
        if !self.conns.contains(index as usize) {
            return;
        }
        let sessions = self.sessions_of(index);
        for session in sessions {
            self.leave(index, &session, true);
        }
        let conn = self.conns.remove(index as usize);
        self.cut_bytes -= conn.cut_counted;
        self.dirty.retain(|dirty| *dirty != index);
        if let Some(identity) = conn.core.identity() {
            self.shared.hub.disconnected(identity, conn.id);
            self.shared.hub.seen().note(identity, self.now);
        }
        self.metrics().closed.of(conn.transport()).increment();
    }

    pub(super) fn sessions_of(&self, index: u32) -> Vec<Arc<Session>> {
        let mut sessions: Vec<Arc<Session>> = Vec::new();
        for sub in &self.conns[index as usize].subs {
            if !sessions.iter().any(|session| Arc::ptr_eq(session, &sub.session)) {
                sessions.push(Arc::clone(&sub.session));
            }
        }
        sessions
    }
}
