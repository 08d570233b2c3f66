//! What lives as long as one connection: the handshake's state, the decoders of its streams, signs of life. Never
//! anything that a reconnect must keep.

use bytes::Bytes;
use syncbridge_codec::{
    Decoder, Message, ProtocolError,
    handshake::{self, Established},
    message::{Class, Direction},
};

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    control: Decoder,
    session: Decoder,
    pub(super) handshake: handshake::Client,
    /// Whether `Hello` went out.
    pub(super) greeted: bool,
    /// `None` until `Welcome`.
    pub(super) established: Option<Established>,
    pub(super) since: u64,
    last_heard: u64,
    last_said: u64,
    /// When a `Ping` went out into silence.
    pinged: Option<u64>,
    nonce: u64,
}

/// What the clock asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pulse {
    Fine,
    /// Send a `Ping` with this nonce.
    Ping(u64),
    /// Nothing came for too long.
    Dead,
}

impl Connection {
    pub(super) fn new(now: u64, max_frame: usize) -> Self {
        Self {
            control: Decoder::new(max_frame),
            session: Decoder::new(max_frame),
            handshake: handshake::Client::new(),
            greeted: false,
            established: None,
            since: now,
            last_heard: now,
            last_said: now,
            pinged: None,
            nonce: 0,
        }
    }

    pub(super) fn heard(&mut self, now: u64, class: Class, bytes: Bytes) {
        self.last_heard = now;
        self.pinged = None;
        self.decoder(class).push(bytes);
    }

    pub(super) const fn said(&mut self, now: u64) {
        self.last_said = now;
    }

    /// The next message of a stream; unknown ones that may be skipped are skipped.
    pub(super) fn next_message(&mut self, class: Class) -> Result<Option<Message>, ProtocolError> {
        while let Some(frame) = self.decoder(class).next_frame()? {
            if let Some(message) = Message::decode(frame)? {
                message.expect_from(Direction::ToClient)?;
                // A link with one stream brings everything as control.
                if class == Class::Session {
                    message.expect_on(class)?;
                }
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    const fn decoder(&mut self, class: Class) -> &mut Decoder {
        match class {
            Class::Control => &mut self.control,
            Class::Session => &mut self.session,
        }
    }

    /// Silence after which a `Ping` is due: a quarter is left for the way and for a late timer. Before `Hello` an answer is
    /// waited for as long as the server lives; `None`: only for so long.
    fn interval(&self, handshake: u64) -> Option<u64> {
        if !self.greeted {
            return Some(handshake / 2);
        }
        let heartbeat = self.established.as_ref()?.limits.heartbeat_ms;
        // Even a server that asks for more gets no storm of pings.
        Some(u64::from(heartbeat.max(100)) * 3 / 4)
    }

    /// When [`Connection::pulse`] has something to say.
    pub(super) fn pulse_at(&self, handshake: u64, pong: u64) -> u64 {
        match (self.interval(handshake), self.pinged) {
            (None, _) => self.since + handshake,
            (Some(interval), None) => self.last_heard.min(self.last_said) + interval,
            (Some(interval), Some(at)) => (at + pong).min(self.last_said + interval),
        }
    }

    /// Whether the connection lives and whether something has to be said.
    pub(super) fn pulse(&mut self, now: u64, handshake: u64, pong: u64) -> Pulse {
        let Some(interval) = self.interval(handshake) else {
            return if now >= self.since + handshake { Pulse::Dead } else { Pulse::Fine };
        };
        if self.pinged.is_some_and(|at| now >= at + pong) {
            return Pulse::Dead;
        }
        if now < self.last_said + interval && (self.pinged.is_some() || now < self.last_heard + interval) {
            return Pulse::Fine;
        }
        self.pinged.get_or_insert(now);
        self.last_said = now;
        self.nonce += 1;
        Pulse::Ping(self.nonce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connected(heartbeat_ms: u32) -> Connection {
        let mut connection = Connection::new(0, 1024);
        connection.greeted = true;
        let limits = handshake::Limits {
            max_client_frame: 1 << 20,
            max_server_frame: 1 << 20,
            max_document: 1 << 20,
            max_subscriptions: 1,
            heartbeat_ms,
        };
        connection.established = Some(Established {
            version: 1,
            capabilities: 0,
            connection: 1,
            epoch: 1,
            server_time_ms: 0,
            user: "u".into(),
            device: "d".into(),
            limits,
        });
        connection
    }

    #[test]
    fn a_quiet_link_is_pinged_within_the_heartbeat_and_given_up_when_nothing_answers() {
        let mut connection = connected(1_000);
        assert_eq!(connection.pulse_at(10, 400), 750);
        assert_eq!(connection.pulse(749, 10, 400), Pulse::Fine);
        assert_eq!(connection.pulse(750, 10, 400), Pulse::Ping(1));
        assert_eq!(connection.pulse_at(10, 400), 1_150);
        assert_eq!(connection.pulse(1_150, 10, 400), Pulse::Dead);
    }

    #[test]
    fn a_client_that_only_listens_still_speaks_within_every_heartbeat() {
        let mut connection = connected(1_000);
        let mut said = 0;
        for now in (0..10_000).step_by(50) {
            connection.heard(now, Class::Session, Bytes::new());
            match connection.pulse(now, 10, 400) {
                Pulse::Ping(_) => {
                    assert!(now - said <= 1_000, "silent from {said} to {now}");
                    said = now;
                }
                pulse => assert_eq!(pulse, Pulse::Fine),
            }
        }
        assert!(said > 8_000);
    }

    #[test]
    fn a_client_that_only_speaks_still_notices_a_dead_link() {
        let mut connection = connected(1_000);
        for now in (0..3_000).step_by(10) {
            connection.said(now);
            if connection.pulse(now, 10, 400) == Pulse::Dead {
                assert!(now <= 1_200, "noticed only at {now}");
                return;
            }
        }
        panic!("never noticed");
    }

    #[test]
    fn a_server_that_never_welcomes_is_given_up_after_the_handshake_time() {
        let mut connection = Connection::new(5, 1024);
        connection.greeted = true;
        assert_eq!(connection.pulse_at(100, 1), 105);
        assert_eq!(connection.pulse(104, 100, 1), Pulse::Fine);
        assert_eq!(connection.pulse(105, 100, 1), Pulse::Dead);
    }
}
