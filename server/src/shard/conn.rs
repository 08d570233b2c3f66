//! What a shard keeps of one connection: its protocol machine, what it has to be sent first, and its subscriptions.

use std::{collections::VecDeque, os::fd::RawFd, sync::Arc, task::Waker};

use bytes::{Buf, Bytes, BytesMut};
use slab::Slab;
use syncbridge_codec::{
    Decoder, ErrorCode,
    message::{Class, Transport},
    websocket::{self, Opcode},
};
use tokio::io::DuplexStream;

use super::{flat::Flat, job::CatchUp, routed::UnderWay};
use crate::{
    connection::{self, Command},
    defaults::WAITING_BYTES,
    fanout::{Form, Ring, TopicId},
    hub::Session,
    session::ConnId,
    transport::{Link as _, path::Probe, pipe::Pipe},
};

/// A connection that comes to a shard from outside its own listeners.
pub struct Adopted {
    /// Its bytes.
    pub link: Pipe<DuplexStream>,
}

impl std::fmt::Debug for Adopted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Adopted").field("transport", &self.link.transport()).finish()
    }
}

/// How a connection ends: with an error, or with nothing wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The client wanted it.
    Done,
    /// For this reason.
    Fault(ErrorCode),
}

impl Ending {
    /// The number in `Close`, and QUIC's application code.
    pub const fn code(self) -> u32 {
        match self {
            Self::Done => 0,
            Self::Fault(code) => code as u32,
        }
    }

    /// The WebSocket close code.
    pub const fn websocket(self) -> u16 {
        match self {
            Self::Done => 1000,
            Self::Fault(code) => code.close_code(),
        }
    }

    /// The close code in flat JSON: that of HTTP, in the range that applications have. Nobody who was let in ends with
    /// 4401 but for want of that.
    pub const fn json(self, let_in: bool) -> u16 {
        match self {
            Self::Done => 1000,
            Self::Fault(ErrorCode::ServerDraining) => 4_000 + ErrorCode::ServerDraining.http_status(),
            Self::Fault(_) if !let_in => 4_000 + ErrorCode::Unauthenticated.http_status(),
            Self::Fault(code) => 4_000 + code.http_status(),
        }
    }
}

/// How frames are put on the link, and taken off it.
#[derive(Debug)]
pub enum Framing {
    /// One pipe of WebSocket messages.
    WebSocket(websocket::Parser),
    /// One pipe of frames.
    Pipe(Decoder),
    /// Two QUIC streams of frames: control, session.
    Streams(Box<[Decoder; 2]>),
    /// One pipe of WebSocket messages that are flat JSON.
    Json(Box<Flat>),
}

impl Framing {
    /// The complete wire bytes of a payload in this connection's form.
    pub fn wire(&self, payload: Bytes) -> Bytes {
        let opcode = match self {
            Self::WebSocket(_) => Opcode::Binary,
            Self::Json(_) => Opcode::Text,
            Self::Pipe(_) | Self::Streams(_) => return payload,
        };
        let mut out = BytesMut::with_capacity(websocket::header_size(payload.len()) + payload.len());
        websocket::write_frame(&mut out, opcode, &payload);
        out.freeze()
    }

    /// Whether the link takes the ring's contiguous WebSocket bytes.
    pub const fn is_websocket(&self) -> bool {
        matches!(self, Self::WebSocket(_) | Self::Json(_))
    }

    /// Which ring's bytes it takes.
    pub const fn form(&self) -> Form {
        match self {
            Self::Json(_) => Form::Json,
            _ => Form::Native,
        }
    }

    /// What flat JSON keeps.
    pub fn flat(&mut self) -> Option<&mut Flat> {
        match self {
            Self::Json(flat) => Some(flat),
            _ => None,
        }
    }
}

/// What goes out before anything of a ring does.
#[derive(Debug, Default)]
pub struct Outbox {
    /// The rest of a frame of which something was sent already. Nothing may come before it.
    cut: Bytes,
    queue: VecDeque<Waiting>,
    bytes: usize,
    /// What QUIC was given and has not sent yet.
    handed: Option<Box<Handed>>,
}

/// Whole frames that wait.
#[derive(Debug)]
struct Waiting {
    class: Class,
    /// The state topic of the session that they tell of, if they tell of one.
    of: Option<TopicId>,
    wire: Bytes,
}

/// What lies in a QUIC link's queue of the session stream, frame by frame, and what of it is not to be sent any more.
#[derive(Debug, Default)]
struct Handed {
    /// Of which session, and how long it was: the link shortens a frame of which something was sent.
    frames: VecDeque<(Option<TopicId>, usize)>,
    revoked: Vec<TopicId>,
    all: bool,
}

impl Outbox {
    /// Appends complete wire bytes that tell of no session.
    pub fn push(&mut self, class: Class, wire: Bytes) {
        self.push_of(None, class, wire);
    }

    /// Appends complete wire bytes; `of`: the state topic of the session that they tell of.
    pub fn push_of(&mut self, of: Option<TopicId>, class: Class, wire: Bytes) {
        self.bytes += wire.len();
        self.queue.push_back(Waiting { class, of, wire });
    }

    /// Drops what waits and tells of this session, but for the rest of a frame of which something was sent.
    pub fn revoke(&mut self, of: TopicId) {
        self.queue.retain(|waiting| waiting.of != Some(of));
        self.bytes = self.queue.iter().map(|waiting| waiting.wire.len()).sum();
        if let Some(handed) = &mut self.handed {
            handed.revoked.push(of);
        }
    }

    /// Takes what was revoked out of a QUIC link's queue of the session stream.
    pub fn take_back(&mut self, queue: &mut VecDeque<Bytes>) {
        let Some(handed) = &mut self.handed else { return };
        while handed.frames.len() > queue.len() {
            handed.frames.pop_front();
        }
        if handed.all || !handed.revoked.is_empty() {
            let keep = |at: usize, frame: &Bytes, (of, length): &(Option<TopicId>, usize)| {
                let begun = at == 0 && frame.len() < *length;
                begun || !(handed.all || of.is_some_and(|of| handed.revoked.contains(&of)))
            };
            let kept: Vec<bool> =
                queue.iter().zip(&handed.frames).enumerate().map(|(at, (frame, of))| keep(at, frame, of)).collect();
            let (mut in_queue, mut in_frames) = (kept.iter().copied(), kept.iter().copied());
            queue.retain(|_| in_queue.next().unwrap_or(true));
            handed.frames.retain(|_| in_frames.next().unwrap_or(true));
            (handed.revoked, handed.all) = (Vec::new(), false);
        }
        if queue.is_empty() {
            self.handed = None;
        }
    }

    fn hand(&mut self, of: Option<TopicId>, frame: &Bytes) {
        self.handed.get_or_insert_default().frames.push_back((of, frame.len()));
    }

    /// Bytes that wait.
    pub const fn bytes(&self) -> usize {
        self.bytes + self.cut.len()
    }

    /// Bytes of a frame that was cut.
    pub const fn cut_bytes(&self) -> usize {
        self.cut.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.cut.is_empty() && self.queue.is_empty()
    }

    /// Drops what waits, but for the rest of a frame of which something was sent.
    pub fn clear(&mut self) {
        (self.queue, self.bytes) = (VecDeque::new(), 0);
        if let Some(handed) = &mut self.handed {
            handed.all = true;
        }
    }

    fn pop(&mut self) -> Option<Waiting> {
        let waiting = self.queue.pop_front()?;
        self.bytes -= waiting.wire.len();
        if self.queue.is_empty() {
            // An idle connection holds no queue.
            self.queue = VecDeque::new();
        }
        Some(waiting)
    }

    /// `sent` bytes of `waiting` went out, not all: keeps what its frame lacks, and puts the frames behind that back.
    fn keep_rest(&mut self, waiting: Waiting, sent: usize, websocket: bool) {
        let Waiting { class, of, mut wire } = waiting;
        let end = if websocket { frame_end(&wire, sent) } else { wire.len() };
        let behind = wire.split_off(end);
        self.cut = wire.split_off(sent);
        if !behind.is_empty() {
            self.bytes += behind.len();
            self.queue.push_front(Waiting { class, of, wire: behind });
        }
    }
}

/// One topic of a subscription.
#[derive(Debug)]
pub struct Sub {
    /// The topic.
    pub topic: TopicId,
    /// Its session.
    pub session: Arc<Session>,
    /// The topic's place among the shard's rings; `None` after the connection lagged, until it is reset.
    pub ring: Option<(u32, u32)>,
    /// The snapshot that it begins with is still being encoded: nothing of the ring may go out yet.
    pub held: bool,
    /// Whether every `Durable` is wanted.
    pub durable: bool,
    /// Answers that belong behind the snapshot which is still to come (`held`, or `ring` is `None`). At most one for each
    /// request under way, and a connection with something waiting is not read from.
    pub behind: Vec<Bytes>,
    /// The newest `Durable` that was not sent; an older one in its place is of no use.
    pub durable_due: Option<Bytes>,
}

/// See the file's head.
#[expect(clippy::struct_excessive_bools, reason = "they are independent of each other")]
#[derive(Debug)]
pub struct Conn {
    /// Its name in the process.
    pub id: ConnId,
    /// The socket that the sweep may write to; negative when only the connection's own task may.
    pub fd: RawFd,
    /// Who knows how the way to the client is.
    pub probe: Probe,
    /// Its protocol machine.
    pub core: connection::Core,
    /// How frames are put.
    pub framing: Framing,
    /// What goes out first.
    pub outbox: Outbox,
    /// Its subscriptions: a session's state, and its notices right behind it if they are wanted.
    pub subs: Vec<Sub>,
    /// Sessions that another server took while it was subscribed: no update to one is taken before it subscribes again.
    pub moved: Vec<Arc<str>>,
    /// What it asked for and was not done yet: a job is running, and order holds.
    pub todo: VecDeque<Command>,
    /// Whether something of it runs off the shard.
    pub busy: bool,
    /// What REST's routes are answering it. All of it ends with the connection.
    pub under_way: UnderWay,
    /// What it catches up with from the store.
    pub catch_up: Option<Box<CatchUp>>,
    /// What came is no replay. False during QUIC 0-RTT only.
    pub confirmed: bool,
    /// Its bytes in the shard's count of cut frames.
    pub cut_counted: usize,
    /// Its link is to be dropped without a word more.
    pub aborted: bool,
    /// Its socket takes nothing now: its own task alone writes, when it does.
    pub blocked: bool,
    /// It is on the shard's list of connections with something to send.
    pub dirty: bool,
    /// How it ends as soon as everything is sent. From then on nothing more is queued.
    pub closing: Option<Ending>,
    /// When it is dropped although it has not read why it ends.
    pub close_by_ms: Option<u64>,
    /// When its time is looked at next.
    pub check_ms: u64,
    /// Its own task.
    pub waker: Option<Waker>,
}

impl Conn {
    /// Queues what a native frame says for this connection; one that ends gets nothing more.
    pub fn send(&mut self, class: Class, frame: Bytes) {
        let payload = match self.framing.flat() {
            None => Some(frame),
            Some(flat) => flat.text(&frame),
        };
        if let Some(payload) = payload {
            self.send_payload(class, payload);
        }
    }

    /// [`Conn::send`] of what tells of the session with this state topic.
    pub fn send_of(&mut self, of: TopicId, class: Class, frame: Bytes) {
        let payload = match self.framing.flat() {
            None => Some(frame),
            Some(flat) => flat.text(&frame),
        };
        if let Some(payload) = payload {
            self.send_payload_of(of, class, payload);
        }
    }

    /// Queues what is in the connection's own form already.
    pub fn send_payload(&mut self, class: Class, payload: Bytes) {
        if self.closing.is_none() {
            let wire = self.framing.wire(payload);
            self.outbox.push(class, wire);
        }
    }

    /// [`Conn::send_payload`] of what tells of the session with this state topic.
    pub fn send_payload_of(&mut self, of: TopicId, class: Class, payload: Bytes) {
        if self.closing.is_none() {
            let wire = self.framing.wire(payload);
            self.outbox.push_of(Some(of), class, wire);
        }
    }

    /// The subscription of a topic.
    pub fn sub_mut(&mut self, topic: TopicId) -> Option<&mut Sub> {
        self.subs.iter_mut().find(|sub| sub.topic == topic)
    }

    /// Whether it is subscribed to a session.
    pub fn subscribes(&self, session: &Arc<Session>) -> bool {
        self.subs.iter().any(|sub| Arc::ptr_eq(&sub.session, session))
    }

    /// Whether it is read from: not while something of it runs, nor while it does not read what it is sent.
    pub fn wants_read(&self) -> bool {
        !self.busy
            && self.catch_up.is_none()
            && self.closing.is_none()
            && self.todo.is_empty()
            && self.outbox.bytes() < WAITING_BYTES
    }

    /// Wakes the connection's own task.
    pub fn wake(&mut self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// Keeps the sweep away from this connection's slots, or lets it come.
    pub fn set_slow(&self, rings: &mut Slab<Ring>, slow: bool) {
        for sub in &self.subs {
            if let Some((ring, slot)) = sub.ring {
                rings[ring as usize].slot_mut(slot).slow = slow || sub.held || self.closing.is_some();
            }
        }
    }

    /// The (ring, slot)s whose events may go out.
    fn flowing(&self) -> impl Iterator<Item = (u32, u32)> + use<'_> {
        let ending = self.closing.is_some();
        self.subs.iter().filter(move |sub| !sub.held && !ending).filter_map(|sub| sub.ring)
    }

    /// Copies what goes out next, about `max` bytes of it: the cut frame, the queue, then what the rings have.
    /// For links that are one pipe of bytes.
    pub fn gather(&self, rings: &Slab<Ring>, out: &mut Vec<u8>, max: usize) {
        let waiting = std::iter::once(&self.outbox.cut).chain(self.outbox.queue.iter().map(|waiting| &waiting.wire));
        for bytes in waiting {
            out.extend_from_slice(bytes);
            if out.len() >= max {
                return;
            }
        }
        for (ring, slot) in self.flowing() {
            let ring = &rings[ring as usize];
            let cursor = ring.slots()[slot as usize].cursor;
            if self.framing.is_websocket() {
                let bytes = ring.bytes_after(cursor);
                out.extend_from_slice(&bytes[..bytes.len().min(max - out.len().min(max))]);
            } else {
                for (_, frame) in ring.frames_after(cursor) {
                    if out.len() >= max {
                        break;
                    }
                    out.extend_from_slice(frame);
                }
            }
            if out.len() >= max {
                return;
            }
        }
    }

    /// `sent` bytes of what [`Conn::gather`] gave went out.
    pub fn consume(&mut self, rings: &mut Slab<Ring>, mut sent: usize) {
        let cut = sent.min(self.outbox.cut.len());
        self.outbox.cut.advance(cut);
        sent -= cut;
        if self.outbox.cut.is_empty() {
            self.outbox.cut = Bytes::new();
        }
        while sent > 0 {
            let Some(waiting) = self.outbox.pop() else { break };
            if sent < waiting.wire.len() {
                return self.outbox.keep_rest(waiting, sent, self.framing.is_websocket());
            }
            sent -= waiting.wire.len();
        }
        for index in 0..self.subs.len() {
            if sent == 0 {
                return;
            }
            let sub = &self.subs[index];
            let (false, Some((ring, slot))) = (sub.held || self.closing.is_some(), sub.ring) else { continue };
            let ring = &mut rings[ring as usize];
            sent = if self.framing.is_websocket() {
                self.outbox.consume_bytes(ring, slot, sent)
            } else {
                self.outbox.consume_frames(ring, slot, sent)
            };
        }
    }

    /// Moves what goes out next into the two streams' queues, about `max` bytes of it, without copying.
    pub fn take_frames(&mut self, rings: &mut Slab<Ring>, streams: &mut [VecDeque<Bytes>; 2], max: usize) {
        let mut taken = 0;
        if streams[class_index(Class::Session)].is_empty() {
            self.outbox.handed = None;
        }
        while taken < max {
            let Some(Waiting { class, of, wire }) = self.outbox.pop() else { break };
            taken += wire.len();
            if class == Class::Session {
                self.outbox.hand(of, &wire);
            }
            streams[class_index(class)].push_back(wire);
        }
        let ending = self.closing.is_some();
        for sub in self.subs.iter().filter(|sub| !sub.held && !ending) {
            let Some((ring, slot)) = sub.ring else { continue };
            if taken >= max || !self.outbox.is_empty() {
                return;
            }
            let ring = &mut rings[ring as usize];
            let mut cursor = ring.slots()[slot as usize].cursor;
            for (end, frame) in ring.frames_after(cursor) {
                if taken >= max {
                    break;
                }
                taken += frame.len();
                cursor = end;
                self.outbox.hand(Some(sub.session.state_topic()), frame);
                streams[class_index(Class::Session)].push_back(frame.clone());
            }
            ring.slot_mut(slot).cursor = cursor;
        }
    }

    /// Whether the others are told of its device: it names one, and what came is no replay.
    pub fn is_present(&self) -> bool {
        self.confirmed && self.core.identity().is_some_and(|who| !who.device.is_empty())
    }

    /// What the device is connected by.
    pub const fn transport(&self) -> Transport {
        self.core.transport()
    }
}

impl Outbox {
    /// A send of ring bytes reached `sent` bytes behind the slot's cursor: moves the cursor to a frame's end and keeps
    /// what the last frame still lacks. What is left of `sent` for other rings.
    pub fn consume_bytes(&mut self, ring: &mut Ring, slot: u32, sent: usize) -> usize {
        let cursor = ring.slots()[slot as usize].cursor;
        let available = (ring.end() - cursor) as usize;
        let taken = sent.min(available);
        let reached = cursor + taken as u64;
        let end = ring.frame_end(reached);
        if end > reached {
            self.cut = Bytes::copy_from_slice(ring.range(reached, end));
        }
        ring.slot_mut(slot).cursor = end;
        sent - taken
    }

    fn consume_frames(&mut self, ring: &mut Ring, slot: u32, mut sent: usize) -> usize {
        let mut cursor = ring.slots()[slot as usize].cursor;
        for (end, frame) in ring.frames_after(cursor) {
            if sent == 0 {
                break;
            }
            cursor = end;
            if sent < frame.len() {
                self.cut = frame.slice(sent..);
                sent = 0;
            } else {
                sent -= frame.len();
            }
        }
        ring.slot_mut(slot).cursor = cursor;
        sent
    }
}

/// Where the frame ends that the byte at `at` belongs to, in whole frames of a WebSocket server (RFC 6455 §5.2: not
/// masked).
fn frame_end(wire: &[u8], at: usize) -> usize {
    let mut end = 0;
    while end <= at {
        let length = match wire.get(end + 1) {
            Some(126) => {
                wire.get(end + 2..end + 4).map(|bytes| 4 + usize::from(u16::from_be_bytes([bytes[0], bytes[1]])))
            }
            Some(127) => wire
                .get(end + 2..end + 10)
                .and_then(|bytes| u64::from_be_bytes(bytes.try_into().ok()?).try_into().ok())
                .map(|length: usize| length.saturating_add(10)),
            Some(short) => Some(2 + usize::from(*short)),
            None => None,
        };
        end = length.and_then(|length| end.checked_add(length)).map_or(wire.len(), |end| end.min(wire.len()));
        if end == wire.len() {
            break;
        }
    }
    end
}

/// Which QUIC stream carries a class.
pub const fn class_index(class: Class) -> usize {
    match class {
        Class::Control => 0,
        Class::Session => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: TopicId = TopicId(2);
    const THERE: TopicId = TopicId(4);

    fn frames(sizes: &[usize]) -> Bytes {
        let mut wire = BytesMut::new();
        for size in sizes {
            websocket::write_frame(&mut wire, Opcode::Binary, &vec![7; *size]);
        }
        wire.freeze()
    }

    #[test]
    fn a_frame_ends_where_the_next_begins_whatever_its_length() {
        let sizes = [0, 1, 125, 126, 65_535, 65_536, 3];
        let wire = frames(&sizes);
        let mut begin = 0;
        for size in sizes {
            let end = begin + websocket::header_size(size) + size;
            for at in [begin, begin + 1, end - 1] {
                assert_eq!(frame_end(&wire, at), end, "{size} bytes, at {at}");
            }
            begin = end;
        }
        assert_eq!(begin, wire.len());
    }

    #[test]
    fn of_what_is_revoked_only_the_frame_that_was_begun_goes_out() {
        let mut outbox = Outbox::default();
        outbox.push_of(Some(HERE), Class::Session, frames(&[10, 20, 30]));
        outbox.push_of(Some(THERE), Class::Session, frames(&[40]));
        let first = outbox.pop().expect("pushed");
        outbox.keep_rest(first, 15, true);
        assert_eq!((outbox.cut_bytes(), outbox.bytes()), (22 + 12 - 15, 22 + 12 - 15 + 32 + 42));
        outbox.revoke(HERE);
        assert_eq!((outbox.cut_bytes(), outbox.bytes()), (19, 19 + 42));
        assert_eq!(outbox.pop().map(|waiting| waiting.of), Some(Some(THERE)));
    }

    #[test]
    fn what_is_revoked_is_taken_back_from_quic_but_for_a_frame_that_was_begun() {
        let mut outbox = Outbox::default();
        let frame = Bytes::from_static(b"0123456789");
        for of in [HERE, HERE, THERE, HERE] {
            outbox.hand(Some(of), &frame);
        }
        // One is gone, of the second a part.
        let mut queue = VecDeque::from([frame.slice(4..), frame.clone(), frame.clone()]);
        outbox.take_back(&mut queue);
        assert_eq!(queue.len(), 3);
        outbox.revoke(HERE);
        outbox.take_back(&mut queue);
        assert_eq!(queue, [frame.slice(4..), frame.clone()]);
        outbox.clear();
        outbox.take_back(&mut queue);
        assert_eq!(queue, [frame.slice(4..)], "all that was not begun");
        queue.clear();
        outbox.take_back(&mut queue);
        assert!(outbox.handed.is_none(), "an idle connection holds nothing");
    }
}
