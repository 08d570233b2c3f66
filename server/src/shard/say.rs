//! What the server says to one connection, and how it ends one.

use bytes::Bytes;
use syncbridge_codec::{
    ErrorCode, Message,
    message::{self, Class},
    websocket,
};

use super::core::Shard;
use crate::{connection::Command, hub::Fault};

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

    pub(super) fn answer_command(&mut self, index: u32, command: &Command, fault: Fault) {
        match command {
            Command::Get(get) => self.answer_fault(index, fault, Some(get.id), None, &get.session),
            Command::Subscribe(subscribe) => {
                self.answer_fault(index, fault, Some(subscribe.id), None, &subscribe.session);
            }
            Command::Resume(subscribe) => self.answer_fault(index, fault, None, None, &subscribe.session),
            Command::Update(update) => {
                self.answer_fault(index, fault, None, Some(update.counter), &update.session);
            }
            Command::Create(_) | Command::Unsubscribe(_) | Command::Hello(_) | Command::Close => {}
        }
    }

    pub(super) fn answer_fault(
        &mut self,
        index: u32,
        fault: Fault,
        answers: Option<u64>,
        op: Option<u64>,
        session: &bytestring::ByteString,
    ) {
        let mut error = message::Error::new(fault.code, fault.text);
        (error.answers, error.op, error.session) = (answers, op, Some(session.clone()));
        error.retry_after_ms = fault.retry_after_ms;
        self.say(index, &error.into());
    }

    /// Ends a connection for a fault of the peer; one that was not let in yet is told by `Refused`.
    pub(super) fn refuse(&mut self, index: u32, code: ErrorCode, text: &str) {
        if self.conns.get(index as usize).is_some_and(|conn| conn.closing.is_none() && !conn.core.is_ready()) {
            self.say(index, &message::Refused::new(code, text).into());
        }
        self.end(index, code, text);
    }

    /// Ends a connection: says why, then closes as soon as that is sent.
    pub fn end(&mut self, index: u32, code: ErrorCode, text: &str) {
        let Some(conn) = self.conns.get_mut(index as usize) else { return };
        if conn.closing.is_some() {
            return;
        }
        let close = message::Close { code: code as u32, text: text.into() };
        conn.send(Class::Control, Message::from(close).to_frame());
        self.end_websocket(index, code.close_code(), text);
        if let Some(conn) = self.conns.get_mut(index as usize) {
            conn.closing = Some(code);
        }
        // Who does not read that it is to go is dropped.
        let (generation, deadline) = ((self.conns[index as usize].id.0 >> 32) as u32 & 0x00ff_ffff, self.now.mono_ms);
        self.wheel.set(index, generation, deadline + crate::defaults::LINGER_MS);
    }

    pub(super) fn end_websocket(&mut self, index: u32, close_code: u16, text: &str) {
        let Some(conn) = self.conns.get_mut(index as usize) else { return };
        if conn.framing.is_websocket() {
            let mut close = bytes::BytesMut::new();
            websocket::write_close(&mut close, Some(close_code), text);
            conn.outbox.push(Class::Control, close.freeze());
        }
        conn.closing.get_or_insert(ErrorCode::MalformedWebSocket);
        self.mark(index);
        if let Some(conn) = self.conns.get_mut(index as usize) {
            conn.wake();
        }
    }

    pub(super) fn drain_conn(&mut self, index: u32, frame: Bytes) {
        if let Some(conn) = self.conns.get_mut(index as usize) {
            conn.send(Class::Control, frame);
            self.end(index, ErrorCode::ServerDraining, "the server is going down");
        }
    }
}
