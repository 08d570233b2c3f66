//! Which devices are attached. A device that comes back within the grace period was never gone; a connection that is
//! silent for too long is gone even when nobody said so. Never knows what a connection is.

use std::collections::BTreeMap;

use bytestring::ByteString;
use syncbridge_codec::message::{Attached, DeviceJoined, DeviceLeft, Transport};

use super::{
    defaults::{Bounds, PRESENCE_CONNECTIONS, PRESENCE_DEVICES},
    effect::{ConnId, Now},
};

/// User and device.
type Key = (ByteString, ByteString);

/// The devices attached to a session, and the count of notices about them.
#[derive(Debug)]
pub struct Presence {
    devices: BTreeMap<Key, Device>,
    conns: BTreeMap<ConnId, Conn>,
    seq: u64,
    grace_ms: u64,
    ttl_ms: u64,
    /// No deadline lies before this; `None`: there is none.
    next: Option<u64>,
    /// The earliest call that was asked for and has not come.
    asked: Option<u64>,
}

#[derive(Debug)]
struct Device {
    transport: Transport,
    conns: usize,
    /// When the last connection went.
    gone_ms: Option<u64>,
}

#[derive(Debug)]
struct Conn {
    device: Key,
    seen_ms: u64,
}

/// A device that counts as attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// It, and what it is or was connected by.
    pub device: Attached,
    /// Whether it is connected; else it went less than the grace period ago.
    pub connected: bool,
    /// When it was last heard of, milliseconds since 1970.
    pub seen_ms: u64,
}

/// Something that the others are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A device came.
    Joined(DeviceJoined),
    /// A device is gone.
    Left(DeviceLeft),
}

impl Presence {
    /// Nobody, yet.
    pub fn new(bounds: &Bounds) -> Self {
        Self {
            devices: BTreeMap::new(),
            conns: BTreeMap::new(),
            seq: 0,
            grace_ms: bounds.presence_grace_ms,
            ttl_ms: bounds.presence_ttl_ms,
            next: None,
            asked: None,
        }
    }

    /// The place of the last notice.
    pub fn seq(&self) -> u64 {
        self.seq
    }

    /// The place of a notice that is told now.
    pub fn next_seq(&mut self) -> u64 {
        self.seq += 1;
        self.seq
    }

    /// The devices that count as attached.
    pub fn list(&self) -> Vec<Attached> {
        self.devices.iter().map(|(key, device)| attached(key, device.transport)).collect()
    }

    /// The same, with when each was last heard of.
    pub fn seen(&self, now: Now) -> Vec<Present> {
        let mut heard = BTreeMap::<&Key, u64>::new();
        for conn in self.conns.values() {
            let latest = heard.entry(&conn.device).or_default();
            *latest = (*latest).max(conn.seen_ms);
        }
        self.devices
            .iter()
            .map(|(key, device)| {
                let seen_ms = device.gone_ms.or_else(|| heard.get(key).copied()).unwrap_or(now.mono_ms);
                let ago_ms = now.mono_ms.saturating_sub(seen_ms);
                Present {
                    device: attached(key, device.transport),
                    connected: device.conns > 0,
                    seen_ms: now.wall_ms.saturating_sub(ago_ms),
                }
            })
            .collect()
    }

    /// Whether this device counts as attached.
    pub fn has(&self, user: &str, device: &str) -> bool {
        self.devices.keys().any(|(of, id)| **of == *user && **id == *device)
    }

    /// A connection of a device attaches. Devices and connections beyond the bounds are served and not told of.
    pub fn attach(
        &mut self,
        session: &ByteString,
        conn: ConnId,
        (user, device): (ByteString, ByteString),
        transport: Transport,
        mono_ms: u64,
    ) -> Option<Notice> {
        if self.touch(conn, mono_ms) {
            return None;
        }
        let key = (user, device);
        let known = self.devices.contains_key(&key);
        if !known && self.devices.len() >= PRESENCE_DEVICES {
            return None;
        }
        let device = self.devices.entry(key.clone()).or_insert(Device { transport, conns: 0, gone_ms: Some(mono_ms) });
        if device.conns >= PRESENCE_CONNECTIONS {
            return None;
        }
        device.conns += 1;
        device.gone_ms = None;
        device.transport = transport;
        self.conns.insert(conn, Conn { device: key.clone(), seen_ms: mono_ms });
        self.due(mono_ms.saturating_add(self.ttl_ms));
        (!known).then(|| {
            self.seq += 1;
            let device = attached(&key, transport);
            Notice::Joined(DeviceJoined { session: session.clone(), seq: self.seq, device })
        })
    }

    /// A connection detaches; the others are told by [`Presence::tick`], if its device does not come back.
    pub fn detach(&mut self, conn: ConnId, mono_ms: u64) {
        let Some(conn) = self.conns.remove(&conn) else { return };
        let Some(device) = self.devices.get_mut(&conn.device) else { return };
        device.conns -= 1;
        if device.conns == 0 {
            device.gone_ms = Some(mono_ms);
            self.due(mono_ms.saturating_add(self.grace_ms));
        }
    }

    /// A user's devices are gone, now and with all their connections.
    pub fn expel(&mut self, session: &ByteString, user: &str) -> Vec<Notice> {
        self.conns.retain(|_, conn| *conn.device.0 != *user);
        let seq = &mut self.seq;
        let mut notices = Vec::new();
        self.devices.retain(|(of, device), _| {
            let stays = **of != *user;
            if !stays {
                notices.push(left(session, seq, of, device));
            }
            stays
        });
        notices
    }

    /// A connection was heard of. Whether it is attached.
    pub fn touch(&mut self, conn: ConnId, mono_ms: u64) -> bool {
        let Some(conn) = self.conns.get_mut(&conn) else { return false };
        conn.seen_ms = conn.seen_ms.max(mono_ms);
        true
    }

    /// Devices whose time is over; and when to look again, unless a call that was asked for comes early enough: so the
    /// caller has no more timers than there were reasons for one, however often it asks.
    pub fn tick(&mut self, session: &ByteString, mono_ms: u64) -> (Vec<Notice>, Option<u64>) {
        if self.next.is_none_or(|next| mono_ms < next) {
            return (Vec::new(), self.ask(mono_ms));
        }
        let (grace_ms, ttl_ms) = (self.grace_ms, self.ttl_ms);
        let silent: Vec<_> = self
            .conns
            .iter()
            .filter(|(_, conn)| mono_ms >= conn.seen_ms.saturating_add(ttl_ms))
            .map(|(conn, _)| *conn)
            .collect();
        for conn in silent {
            self.detach(conn, mono_ms);
        }
        let mut notices = Vec::new();
        let seq = &mut self.seq;
        self.devices.retain(|(user, device), state| {
            let gone = state.gone_ms.is_some_and(|gone| mono_ms >= gone.saturating_add(grace_ms));
            if gone {
                notices.push(left(session, seq, user, device));
            }
            !gone
        });
        let gone = self.devices.values().filter_map(|device| Some(device.gone_ms?.saturating_add(grace_ms)));
        let silent = self.conns.values().map(|conn| conn.seen_ms.saturating_add(ttl_ms));
        self.next = gone.chain(silent).min();
        (notices, self.ask(mono_ms))
    }

    fn ask(&mut self, mono_ms: u64) -> Option<u64> {
        let next = self.next?;
        if self.asked.is_some_and(|asked| mono_ms < asked && asked <= next) {
            return None;
        }
        self.asked = Some(next);
        self.asked
    }

    /// Whether nobody is attached, not even within the grace period.
    pub fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }

    fn due(&mut self, at: u64) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }
}

/// The next notice: a device is gone.
fn left(session: &ByteString, seq: &mut u64, user: &ByteString, device: &ByteString) -> Notice {
    *seq += 1;
    Notice::Left(DeviceLeft { session: session.clone(), seq: *seq, device: device.clone(), user: user.clone() })
}

fn attached((user, device): &Key, transport: Transport) -> Attached {
    Attached { device: device.clone(), user: user.clone(), transport }
}
