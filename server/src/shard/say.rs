//! What the server says to one connection, and how it ends one.

use bytes::Bytes;
use syncbridge_codec::{
    ErrorCode, Message, id,
    message::{self, Class},
    websocket,
};

use super::{conn::Ending, core::Shard, routed::UnderWay};
use crate::{connection::Command, hub::Fault, session::defaults::ERROR_TEXT_BYTES};

impl Shard {
    /// Queues a message of the server.
    pub(super) fn say(&mut self, index: u32, message: &Message) {
        if let Some(conn) = self.conns.get_mut(index as usize) {
            conn.send(message.class(), message.to_frame());
            self.mark(index);
        }
    }

    /// The connection has something to send: the sweep keeps off, and the flusher sees to it.
    pub(super) fn mark(&mut self, index: u32) {
        let Some(conn) = self.conns.get_mut(index as usize) else { return };
        conn.set_slow(&mut self.rings, true);
        if !conn.dirty {
            conn.dirty = true;
            self.dirty.push(index);
        }
    }

    pub(super) fn answer_command(&mut self, index: u32, command: &Command, fault: &Fault) {
        match command {
            Command::Get(get) => self.answer_fault(index, fault, Some(get.id), None, &get.session),
            Command::Subscribe(subscription) => {
                self.answer_fault(index, fault, subscription.id, None, &subscription.asked.session);
            }
            Command::Update(update, tag) => {
                let op = if update.counter > 0 { update.counter } else { *tag };
                self.answer_fault(index, fault, None, Some(op), &update.session);
            }
            Command::Create(create) => self.answer_fault(index, fault, None, Some(create.counter), &create.session),
            Command::Unsubscribe(unsubscribe) => {
                self.answer_fault(index, fault, Some(unsubscribe.id), None, &unsubscribe.session);
            }
            Command::AnswerHandoff(_) => self.say_fault(index, fault),
            Command::Hello(_) | Command::Request(_) | Command::Close => {}
        }
    }

    /// Tells a fault that answers nothing that could be named.
    pub(super) fn say_fault(&mut self, index: u32, fault: &Fault) {
        self.metrics().refused.of(fault.code).increment();
        let mut error = message::Error::new(fault.code, &*fault.text);
        error.retry_after_ms = fault.retry_after_ms;
        error.address = fault.address.clone().unwrap_or_default();
        self.say(index, &error.into());
    }

    pub(super) fn answer_fault(
        &mut self,
        index: u32,
        fault: &Fault,
        answers: Option<u64>,
        op: Option<u64>,
        session: &bytestring::ByteString,
    ) {
        self.metrics().refused.of(fault.code).increment();
        // No answer repeats whatever was sent in place of an id.
        let text = &fault.text[..fault.text.floor_char_boundary(ERROR_TEXT_BYTES)];
        let mut error = message::Error::new(fault.code, text);
        (error.answers, error.op) = (answers, op);
        error.session = Some(session.clone()).filter(|session| session.len() <= id::MAX_LEN);
        error.retry_after_ms = fault.retry_after_ms;
        error.address = fault.address.clone().unwrap_or_default();
        self.say(index, &error.into());
    }

    /// Ends a connection for a fault of the peer; one that was not let in yet is told by `Refused`.
    pub(super) fn refuse(&mut self, index: u32, code: ErrorCode, text: &str) {
        if self.conns.get(index as usize).is_some_and(|conn| conn.closing.is_none() && !conn.core.is_ready()) {
            self.say(index, &message::Refused::new(code, text).into());
        }
        self.end(index, code, text);
    }

    /// Ends a connection for a reason: says it, then closes as soon as that is sent.
    pub(super) fn end(&mut self, index: u32, code: ErrorCode, text: &str) {
        let ending = Ending::Fault(code);
        let json = self.conns.get(index as usize).filter(|conn| conn.core.is_json());
        let close_code = json.map_or_else(|| ending.websocket(), |conn| ending.json(conn.core.is_ready()));
        self.finish_with(index, ending, Some(close_code), text);
    }

    /// Ends a connection whose client said that it is done.
    pub(super) fn end_well(&mut self, index: u32) {
        self.finish_with(index, Ending::Done, Some(Ending::Done.websocket()), "");
    }

    /// Ends a WebSocket whose framing said so, with the close code of RFC 6455 that fits.
    pub(super) fn end_websocket(&mut self, index: u32, ending: Ending, close_code: Option<u16>, text: &str) {
        self.finish_with(index, ending, close_code, text);
    }

    fn finish_with(&mut self, index: u32, ending: Ending, close_code: Option<u16>, text: &str) {
        let Some(conn) = self.conns.get(index as usize) else { return };
        if conn.closing.is_some() {
            return;
        }
        // What was published before the end still goes out.
        let topics: Vec<_> = conn.subs.iter().filter(|sub| !sub.held).map(|sub| sub.topic).collect();
        for topic in topics {
            self.flush_ring_part(index, topic);
        }
        if let Ending::Fault(code) = ending {
            self.metrics().refused.of(code).increment();
        }
        let Some(conn) = self.conns.get_mut(index as usize) else { return };
        let close = message::Close { code: ending.code(), text: text.into() };
        conn.send(Class::Control, Message::from(close).to_frame());
        if conn.framing.is_websocket() {
            let mut close = bytes::BytesMut::new();
            websocket::write_close(&mut close, close_code, text);
            conn.outbox.push(Class::Control, close.freeze());
        }
        conn.closing = Some(ending);
        conn.under_way = UnderWay::default();
        // Who does not read that it is to go is dropped.
        let close_by = self.now.mono_ms + crate::defaults::LINGER_MS;
        conn.close_by_ms = Some(close_by);
        self.look_at(index, close_by);
        self.mark(index);
        if let Some(conn) = self.conns.get_mut(index as usize) {
            conn.wake();
        }
    }

    pub(super) fn drain_conn(&mut self, index: u32, frame: Bytes) {
        if let Some(conn) = self.conns.get_mut(index as usize) {
            // Before `Welcome` only `Refused` may be said; flat JSON has no such rule.
            if conn.core.is_ready() || conn.core.is_json() {
                conn.send(Class::Control, frame);
            }
            if conn.core.is_json() {
                return self.end(index, ErrorCode::ServerDraining, "the server is going down");
            }
            self.refuse(index, ErrorCode::ServerDraining, "the server is going down");
        }
    }
}
