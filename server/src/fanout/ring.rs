//! One topic's events on one shard, as the bytes that go out, and the slots of who is subscribed there.
//!
//! The log is one contiguous buffer of WebSocket messages (header, and native frame or JSON text), so that everything a subscriber
//! lacks is one slice: `log[cursor..end]`. Forms that are not bytes of a WebSocket (QUIC) take the frames instead.
//! Offsets are absolute: they count from the ring's beginning and never shrink when the log's head is let go.

use std::{collections::VecDeque, os::fd::RawFd};

use bytes::Bytes;
use syncbridge_codec::websocket;

use super::Form;

/// A subscription of a connection of this shard. Dense: the sweep reads nothing else of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// The socket that a sweep may write to directly; negative: the connection writes for itself.
    pub fd: RawFd,
    /// The connection's place in its shard.
    pub conn: u32,
    /// Absolute offset of the first byte that it was not given; always a frame's beginning.
    pub cursor: u64,
    /// The connection has something to send first (a cut frame, an answer): the sweep passes it by.
    pub slow: bool,
}

#[derive(Debug)]
struct Entry {
    /// Absolute offset behind it.
    end: u64,
    seq: u64,
    frame: Bytes,
}

/// See the file's head.
#[derive(Debug)]
pub struct Ring {
    opcode: websocket::Opcode,
    log: Vec<u8>,
    /// Absolute offset of `log[0]`.
    base: u64,
    entries: VecDeque<Entry>,
    slots: Vec<Slot>,
    /// Where the sweep goes on, and how many slots it has yet to visit.
    sweep_at: usize,
    sweep_left: usize,
    /// The end when the last sweep was through: what came since, nobody could have taken yet.
    settled: u64,
}

impl Ring {
    /// An empty ring, of events in this form.
    pub const fn new(form: Form) -> Self {
        Self {
            opcode: match form {
                Form::Native => websocket::Opcode::Binary,
                Form::Json => websocket::Opcode::Text,
            },
            log: Vec::new(),
            base: 0,
            entries: VecDeque::new(),
            slots: Vec::new(),
            sweep_at: 0,
            sweep_left: 0,
            settled: 0,
        }
    }

    /// Absolute offset behind the newest event.
    pub fn end(&self) -> u64 {
        self.base + self.log.len() as u64
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.log.len()
    }

    /// The subscriptions.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// One subscription.
    pub fn slot_mut(&mut self, index: u32) -> &mut Slot {
        &mut self.slots[index as usize]
    }

    /// Appends an event and makes every slot due for a visit: the sweep goes on from where it stands, once around.
    pub fn push(&mut self, seq: u64, frame: Bytes) {
        websocket::write_header(&mut self.log, self.opcode, frame.len());
        self.log.extend_from_slice(&frame);
        self.entries.push_back(Entry { end: self.end(), seq, frame });
        self.sweep_left = self.slots.len();
    }

    /// Adds a subscription that has everything up to here; its index.
    pub fn subscribe(&mut self, fd: RawFd, conn: u32, slow: bool) -> u32 {
        self.slots.push(Slot { fd, conn, cursor: self.end(), slow });
        if self.sweep_left > 0 {
            // The circle is longer now: the sweep may reach the newcomer where it would have begun anew.
            self.sweep_left = self.slots.len();
        }
        (self.slots.len() - 1) as u32
    }

    /// Removes a subscription. The last one takes its index: the connection of that one, if it moved.
    pub fn unsubscribe(&mut self, index: u32) -> Option<u32> {
        self.slots.swap_remove(index as usize);
        if self.sweep_left > 0 {
            // The one that moved may lie behind the sweep now, unvisited.
            self.sweep_left = self.slots.len();
        }
        self.slots.get(index as usize).map(|moved| moved.conn)
    }

    /// Whether slots wait for the sweep.
    pub fn is_due(&self) -> bool {
        self.sweep_left > 0
    }

    /// The next slot that the sweep has to visit, with what it lacks. `None`: the sweep is through.
    pub fn next_due(&mut self) -> Option<(&mut Slot, &[u8])> {
        if self.sweep_left == 0 {
            return None;
        }
        self.sweep_left -= 1;
        if self.sweep_at >= self.slots.len() {
            self.sweep_at = 0;
        }
        let slot = &mut self.slots[self.sweep_at];
        self.sweep_at += 1;
        let from = (slot.cursor - self.base) as usize;
        Some((slot, &self.log[from..]))
    }

    /// The bytes behind `cursor`.
    pub fn bytes_after(&self, cursor: u64) -> &[u8] {
        &self.log[(cursor - self.base) as usize..]
    }

    /// The frames behind `cursor`, as (offset behind it, frame).
    pub fn frames_after(&self, cursor: u64) -> impl Iterator<Item = (u64, &Bytes)> {
        let from = self.entries.partition_point(|entry| entry.end <= cursor);
        self.entries.range(from..).map(|entry| (entry.end, &entry.frame))
    }

    /// After a send that ended at absolute offset `sent`: the end of the frame that it cut, or `sent` itself.
    pub fn frame_end(&self, sent: u64) -> u64 {
        if sent == self.base {
            return sent;
        }
        let index = self.entries.partition_point(|entry| entry.end < sent);
        self.entries.get(index).map_or(sent, |entry| entry.end)
    }

    /// The bytes from `from` to `to`, both absolute.
    pub fn range(&self, from: u64, to: u64) -> &[u8] {
        &self.log[(from - self.base) as usize..(to - self.base) as usize]
    }

    /// (first, last) seq behind `cursor`.
    pub fn seqs_after(&self, cursor: u64) -> Option<(u64, u64)> {
        let from = self.entries.partition_point(|entry| entry.end <= cursor);
        Some((self.entries.get(from)?.seq, self.entries.back()?.seq))
    }

    /// A sweep is through: everybody could have taken what is here.
    pub fn settle(&mut self) {
        self.settled = self.end();
        self.trim();
    }

    /// Lets go what every slot has been given.
    pub fn trim(&mut self) {
        let end = self.end();
        // The usual case costs one pass over dense slots only while somebody is behind; otherwise the first look ends it.
        let keep = self.slots.iter().map(|slot| slot.cursor).min().unwrap_or(end);
        if keep == end {
            self.log.clear();
            self.base = end;
            self.entries.clear();
            self.log.shrink_to(LOG_KEPT);
        } else if (keep - self.base) as usize > self.log.len() / 2 {
            self.log.drain(..(keep - self.base) as usize);
            self.base = keep;
            while self.entries.front().is_some_and(|entry| entry.end <= keep) {
                self.entries.pop_front();
            }
        }
    }

    /// Whether somebody lags by more than `max_bytes`.
    pub fn overfull(&self, max_bytes: usize) -> bool {
        self.log.len() > max_bytes
    }

    /// The slots that lag: more than `max_bytes` lie behind the first event that they lack, and had their time. So one
    /// event may be of any size, and who was quick so far is not blamed for what came a moment ago.
    pub fn lagging(&self, max_bytes: usize) -> impl Iterator<Item = Slot> + '_ {
        self.slots.iter().copied().filter(move |slot| {
            let first = self.entries.partition_point(|entry| entry.end <= slot.cursor);
            self.entries.get(first).is_some_and(|entry| entry.end + (max_bytes as u64) < self.settled)
        })
    }
}

/// Capacity that an empty log keeps: one turn's events of a busy topic, small enough for thousands of idle topics.
const LOG_KEPT: usize = 4 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(frames: &[&'static [u8]]) -> Ring {
        let mut ring = Ring::new(Form::Native);
        ring.subscribe(3, 0, false);
        for (index, frame) in frames.iter().enumerate() {
            ring.push(index as u64 + 1, Bytes::from_static(frame));
        }
        ring
    }

    #[test]
    fn a_subscriber_lacks_exactly_what_came_after_it() {
        let mut ring = ring(&[b"one"]);
        ring.subscribe(4, 1, false);
        ring.push(2, Bytes::from_static(b"two"));
        let (slot, bytes) = ring.next_due().unwrap();
        assert_eq!((slot.conn, bytes), (0, &b"\x82\x03one\x82\x03two"[..]));
        let (slot, bytes) = ring.next_due().unwrap();
        assert_eq!((slot.conn, bytes), (1, &b"\x82\x03two"[..]));
        assert!(ring.next_due().is_none());
    }

    #[test]
    fn a_push_in_mid_sweep_sends_the_sweep_once_around_from_where_it_stands() {
        let mut ring = ring(&[]);
        ring.subscribe(4, 1, false);
        ring.push(1, Bytes::from_static(b"a"));
        ring.next_due().unwrap().0.cursor = 3;
        ring.push(2, Bytes::from_static(b"b"));
        let order: Vec<(u32, usize)> =
            std::iter::from_fn(|| ring.next_due().map(|(slot, bytes)| (slot.conn, bytes.len()))).collect();
        assert_eq!(order, [(1, 6), (0, 3)]);
    }

    #[test]
    fn a_cut_is_found_at_every_byte() {
        let ring = ring(&[b"one", b"three"]);
        for sent in 0..=ring.end() {
            let expected = match sent {
                0 => 0,
                1..=5 => 5,
                _ => 12,
            };
            assert_eq!(ring.frame_end(sent), expected, "after {sent} bytes");
        }
    }

    #[test]
    fn trimming_keeps_what_the_slowest_lacks_and_nothing_when_nobody_lacks_anything() {
        let mut ring = ring(&[b"one", b"two", b"six"]);
        ring.subscribe(4, 1, false);
        ring.slot_mut(0).cursor = 10;
        ring.trim();
        assert_eq!((ring.bytes(), ring.bytes_after(10)), (5, &b"\x82\x03six"[..]));
        assert_eq!(ring.frames_after(10).map(|(end, _)| end).collect::<Vec<_>>(), [15]);
        ring.slot_mut(0).cursor = 15;
        ring.trim();
        assert_eq!((ring.bytes(), ring.end()), (0, 15));
    }

    #[test]
    fn one_event_of_any_size_is_no_lag_and_neither_is_what_just_came() {
        let mut ring = ring(&[]);
        let conns = |ring: &Ring| ring.lagging(100).map(|slot| slot.conn).collect::<Vec<_>>();
        ring.push(1, Bytes::from(vec![0; 5_000]));
        ring.push(2, Bytes::from(vec![0; 5_000]));
        assert_eq!(conns(&ring), [] as [u32; 0], "nobody had the time to take it");
        ring.trim();
        assert_eq!(conns(&ring), [] as [u32; 0], "letting go is not the end of a sweep");
        ring.slot_mut(0).cursor = ring.frame_end(1);
        ring.settle();
        assert_eq!(conns(&ring), [] as [u32; 0], "one event is never too much");
        ring.push(3, Bytes::from(vec![0; 500]));
        ring.settle();
        assert_eq!(conns(&ring), [0]);
    }

    #[test]
    fn a_newcomer_in_mid_sweep_takes_nobodys_turn() {
        let mut ring = ring(&[b"a"]);
        while ring.next_due().is_some() {}
        ring.push(2, Bytes::from_static(b"b"));
        ring.subscribe(4, 1, false);
        let visited: Vec<u32> = std::iter::from_fn(|| ring.next_due().map(|(slot, _)| slot.conn)).collect();
        assert!(visited.contains(&0), "{visited:?}");
    }

    #[test]
    fn a_slot_that_moves_behind_the_sweep_is_still_visited() {
        let mut ring = ring(&[]);
        for conn in 1..4 {
            ring.subscribe(4, conn, false);
        }
        ring.push(1, Bytes::from_static(b"a"));
        let mut visited: Vec<u32> = (0..2).filter_map(|_| ring.next_due().map(|(slot, _)| slot.conn)).collect();
        ring.unsubscribe(1);
        visited.extend(std::iter::from_fn(|| ring.next_due().map(|(slot, _)| slot.conn)));
        assert!([0, 2, 3].iter().all(|conn| visited.contains(conn)), "{visited:?}");
    }

    #[test]
    fn a_slot_that_took_a_removed_ones_place_is_named() {
        let mut ring = ring(&[]);
        ring.subscribe(4, 1, false);
        ring.subscribe(5, 2, false);
        assert_eq!(ring.unsubscribe(0), Some(2));
        assert_eq!(ring.unsubscribe(1), None);
        assert_eq!(ring.slots().len(), 1);
    }
}
