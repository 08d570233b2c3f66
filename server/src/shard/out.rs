//! What goes out: first what connections have of their own, then the rings' rolling sweep. No await, no allocation for
//! a delivery, and no look at a connection while its socket takes everything.

use std::{collections::VecDeque, io};

use bytes::Bytes;

use super::core::{Shard, Wire};
use crate::defaults::SEND_BYTES;

/// What a visit of a slot came to, when it was not a plain send.
enum Visit {
    /// The socket took part of it.
    Cut(u32, usize),
    /// The socket took nothing.
    Blocked(u32),
}

impl Shard {
    /// Sends what is to be sent: connections' own output, then at most `budget` slots of the rings, so that readers
    /// run in between and the sweep goes on with what they publish. Whether more is to be done.
    pub fn flush(&mut self, wire: &mut impl Wire, budget: usize) -> bool {
        while let Some(index) = self.dirty.pop() {
            let Some(conn) = self.conns.get_mut(index as usize) else { continue };
            conn.dirty = false;
            if conn.fd < 0 || conn.blocked {
                conn.wake();
            } else {
                self.flush_conn(index, wire);
            }
        }
        self.sweep(wire, budget) || !self.dirty.is_empty()
    }

    fn sweep(&mut self, wire: &mut impl Wire, budget: usize) -> bool {
        let mut left = budget;
        while let Some(ring) = self.due.front().copied() {
            match self.sweep_ring(ring, wire, &mut left) {
                Some(Visit::Cut(conn, sent)) => self.cut(conn, ring, sent),
                Some(Visit::Blocked(conn)) => self.block(conn),
                None if self.rings[ring as usize].is_due() => {
                    // The budget is used up; a topic that is never quiet must not keep the others waiting.
                    self.due.rotate_left(1);
                    return true;
                }
                None => {
                    self.rings[ring as usize].settle();
                    self.due.pop_front();
                }
            }
        }
        false
    }

    /// Visits slots of one ring until one needs its connection, the budget is used up (`left` is 0) or none is due.
    fn sweep_ring(&mut self, ring: u32, wire: &mut impl Wire, left: &mut usize) -> Option<Visit> {
        let ring = &mut self.rings[ring as usize];
        while *left > 0 {
            let (slot, bytes) = ring.next_due()?;
            if slot.fd < 0 {
                if !bytes.is_empty() {
                    // QUIC, TLS and memory links write for themselves.
                    self.conns[slot.conn as usize].wake();
                    *left -= 1;
                }
                continue;
            }
            if slot.slow || bytes.is_empty() {
                continue;
            }
            *left -= 1;
            self.counts.sends += 1;
            match wire.send(slot.fd, bytes) {
                Ok(sent) => {
                    self.counts.sent_bytes += sent as u64;
                    if sent < bytes.len() {
                        return Some(Visit::Cut(slot.conn, sent));
                    }
                    slot.cursor += sent as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Some(Visit::Blocked(slot.conn)),
                // The reader sees the same end of the connection, and has it removed.
                Err(_) => slot.slow = true,
            }
        }
        None
    }

    /// The sweep's send ended inside what the slot lacks: keeps the rest of the frame, and leaves the connection to its
    /// own task.
    pub(super) fn cut(&mut self, conn: u32, ring: u32, sent: usize) {
        let slot = self.conns[conn as usize]
            .subs
            .iter()
            .filter_map(|sub| sub.ring)
            .find(|(of, _)| *of == ring)
            .map(|(_, slot)| slot);
        if let Some(slot) = slot {
            self.conns[conn as usize].outbox.consume_bytes(&mut self.rings[ring as usize], slot, sent);
        }
        self.block(conn);
    }

    /// The socket takes nothing more now: from here on the connection's own task writes, when it does.
    pub(super) fn block(&mut self, index: u32) {
        let conn = &mut self.conns[index as usize];
        conn.blocked = true;
        self.counts.slow += 1;
        conn.set_slow(&mut self.rings, true);
        conn.wake();
        let cut = conn.outbox.cut_bytes();
        self.cut_bytes = self.cut_bytes + cut - conn.cut_counted;
        conn.cut_counted = cut;
        if self.cut_bytes > self.shared.bounds.max_cut {
            self.close_worst();
        }
    }

    /// Frames cut for slow connections take too much memory: the connection with the largest goes.
    pub(super) fn close_worst(&mut self) {
        let worst = self.conns.iter().max_by_key(|(_, conn)| conn.outbox.cut_bytes()).map(|(index, _)| index as u32);
        if let Some(index) = worst {
            tracing::warn!(connection = self.conns[index as usize].id.0, "closed: it holds most of what is cut");
            self.abort(index);
        }
    }

    /// Sends a connection's own output until nothing is left or the socket takes no more.
    pub(super) fn flush_conn(&mut self, index: u32, wire: &mut impl Wire) {
        let Some(was_read) = self.conns.get(index as usize).map(super::conn::Conn::wants_read) else { return };
        loop {
            let mut scratch = std::mem::take(&mut self.scratch);
            scratch.clear();
            let conn = &mut self.conns[index as usize];
            conn.gather(&self.rings, &mut scratch, SEND_BYTES);
            if scratch.is_empty() {
                self.scratch = scratch;
                if self.drained(index) {
                    continue;
                }
                // Its task is not the one that runs here, as it is where it asks for its output itself: it has to hear
                // that it may read again, or that all is said and it can close.
                if let Some(conn) = self.conns.get_mut(index as usize)
                    && (conn.closing.is_some() || (!was_read && conn.wants_read()))
                {
                    conn.wake();
                }
                return;
            }
            let result = wire.send(conn.fd, &scratch);
            let len = scratch.len();
            self.scratch = scratch;
            match result {
                Ok(sent) => {
                    self.counts.sent_bytes += sent as u64;
                    self.conns[index as usize].consume(&mut self.rings, sent);
                    if sent < len {
                        return self.block(index);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return self.block(index),
                // The reader sees the same end of the connection, and has it removed.
                Err(_) => return,
            }
        }
    }

    /// Everything was sent: the sweep may come again, and what waited for it goes on. Whether there is more to send.
    pub(super) fn drained(&mut self, index: u32) -> bool {
        let conn = &mut self.conns[index as usize];
        conn.blocked = false;
        self.cut_bytes -= std::mem::take(&mut conn.cut_counted);
        conn.set_slow(&mut self.rings, false);
        let due: Vec<Bytes> =
            conn.subs.iter_mut().filter(|sub| !sub.held).filter_map(|sub| sub.durable_due.take()).collect();
        for frame in due {
            conn.send(syncbridge_codec::message::Class::Session, frame);
        }
        self.go_on(index);
        let more = self.conns.get(index as usize).is_some_and(|conn| !conn.outbox.is_empty());
        if more {
            self.conns[index as usize].set_slow(&mut self.rings, true);
        }
        more
    }

    /// For a link that is one pipe of bytes and writes for itself: what goes out next, about [`SEND_BYTES`]. Follow it
    /// with [`Shard::sent`]. Empty when there is nothing.
    pub fn output(&mut self, index: u32, out: &mut Vec<u8>) {
        loop {
            let Some(conn) = self.conns.get(index as usize) else { return };
            conn.gather(&self.rings, out, SEND_BYTES);
            if !out.is_empty() || !self.drained(index) {
                return;
            }
        }
    }

    /// `sent` bytes of the last [`Shard::output`] went out.
    pub fn sent(&mut self, index: u32, sent: usize) {
        self.counts.sends += 1;
        self.counts.sent_bytes += sent as u64;
        if let Some(conn) = self.conns.get_mut(index as usize) {
            conn.consume(&mut self.rings, sent);
        }
    }

    /// For QUIC: takes what was revoked since out of the session stream's queue.
    pub fn take_back(&mut self, index: u32, session: &mut VecDeque<Bytes>) {
        if let Some(conn) = self.conns.get_mut(index as usize) {
            conn.outbox.take_back(session);
        }
    }

    /// For QUIC: moves what goes out next into the streams' queues, about [`SEND_BYTES`]. Whether it moved anything.
    pub fn output_frames(&mut self, index: u32, streams: &mut [VecDeque<Bytes>; 2]) -> bool {
        loop {
            let Some(conn) = self.conns.get_mut(index as usize) else { return false };
            conn.take_frames(&mut self.rings, streams, SEND_BYTES);
            if streams.iter().any(|queue| !queue.is_empty()) {
                self.counts.sends += 1;
                return true;
            }
            if !self.drained(index) {
                return false;
            }
        }
    }
}
