//! What comes in on a connection: bytes to frames to messages to its protocol machine.

use bytes::Bytes;
use syncbridge_codec::{ErrorCode, Message, frame, message::Class, websocket};

use super::{
    conn::{Conn, Ending, Framing, class_index},
    core::Shard,
};
use crate::connection::Step;

impl Shard {
    /// Takes bytes of a WebSocket link or of a pipe. They are unmasked in place.
    pub fn receive(&mut self, index: u32, bytes: &mut [u8]) {
        let Some(conn) = self.conns.get_mut(index as usize) else { return };
        if conn.closing.is_some() {
            return;
        }
        conn.core.alive(self.now);
        match &mut conn.framing {
            Framing::WebSocket(_) | Framing::Json(_) => self.receive_websocket(index, bytes),
            Framing::Pipe(decoder) => {
                decoder.push(Bytes::copy_from_slice(bytes));
                self.receive_frames(index, None);
            }
            Framing::Streams(_) => debug_assert!(false, "streams come in chunks"),
        }
    }

    /// Takes a chunk of one of the two streams.
    pub fn receive_chunk(&mut self, index: u32, class: Class, chunk: Bytes) {
        let Some(conn) = self.conns.get_mut(index as usize) else { return };
        if conn.closing.is_some() {
            return;
        }
        conn.core.alive(self.now);
        let Framing::Streams(decoders) = &mut conn.framing else { return };
        decoders[class_index(class)].push(chunk);
        self.receive_frames(index, Some(class));
    }

    pub(super) fn receive_frames(&mut self, index: u32, class: Option<Class>) {
        loop {
            let Some(conn) = self.conns.get_mut(index as usize) else { return };
            if conn.closing.is_some() {
                return;
            }
            let decoder = match (&mut conn.framing, class) {
                (Framing::Pipe(decoder), _) => decoder,
                (Framing::Streams(decoders), Some(class)) => &mut decoders[class_index(class)],
                _ => return,
            };
            match decoder.next_frame().and_then(|frame| frame.map(Message::decode).transpose()) {
                Ok(None) => break,
                Ok(Some(None)) => {}
                Ok(Some(Some(message))) => self.take(index, message, class),
                Err(error) => {
                    self.refuse(index, error.code(), &error.to_string());
                }
            }
        }
        self.run(index);
    }

    pub(super) fn receive_websocket(&mut self, index: u32, bytes: &mut [u8]) {
        let Some(parser) = self.conns.get_mut(index as usize).and_then(parser) else { return };
        // The parser leaves the connection while it runs, so that what it reads can act on the shard.
        let mut parser = std::mem::replace(parser, websocket::Parser::new(0));
        let max = self.shared.bounds.max_client_frame;
        let result = parser.push(bytes, &mut |event| match event {
            websocket::Event::Text(text) if self.is_json(index) => self.take_text(index, text),
            websocket::Event::Binary(_) if self.is_json(index) => {
                self.broken(index, None, ErrorCode::MalformedMessage, "flat JSON comes in text messages");
            }
            websocket::Event::Binary(payload) => {
                for frame in frame::Frames::new(Bytes::copy_from_slice(payload), max) {
                    match frame.and_then(Message::decode) {
                        Ok(None) => {}
                        Ok(Some(message)) => self.take(index, message, None),
                        Err(error) => return self.refuse(index, error.code(), &error.to_string()),
                    }
                }
            }
            websocket::Event::Text(_) => {
                self.end(index, ErrorCode::MalformedWebSocket, "this subprotocol has binary messages only");
            }
            websocket::Event::Ping(payload) => {
                if let Some(conn) = self.conns.get_mut(index as usize) {
                    let mut pong = bytes::BytesMut::new();
                    websocket::write_pong(&mut pong, payload);
                    conn.outbox.push(Class::Control, pong.freeze());
                    self.mark(index);
                }
            }
            websocket::Event::Pong(_) => {}
            websocket::Event::Close { code, .. } => self.end_websocket(index, Ending::Done, code, ""),
        });
        if let Some(conn) = self.conns.get_mut(index as usize) {
            if let Some(place) = self::parser(conn) {
                *place = parser;
            }
            if let Err(error) = result {
                let ending = Ending::Fault(ErrorCode::MalformedWebSocket);
                self.end_websocket(index, ending, Some(error.close_code()), &error.to_string());
            }
        }
        self.run(index);
    }

    fn is_json(&self, index: u32) -> bool {
        self.conns.get(index as usize).is_some_and(|conn| conn.core.is_json())
    }

    /// One message of a connection.
    pub(super) fn take(&mut self, index: u32, message: Message, class: Option<Class>) {
        self.counts.received += 1;
        let Some(conn) = self.conns.get_mut(index as usize).filter(|conn| conn.closing.is_none()) else { return };
        match conn.core.receive(message, class) {
            Ok(Step::Nothing) => {}
            Ok(Step::Reply(reply)) => self.say(index, &reply),
            Ok(Step::Do(command)) => {
                conn.todo.push_back(command);
                // In order, at once: later messages of this read see what this one did.
                self.run(index);
            }
            Err(error) => {
                self.refuse(index, error.code(), &error.to_string());
            }
        }
    }
}

/// The parser of a link that is a WebSocket.
fn parser(conn: &mut Conn) -> Option<&mut websocket::Parser> {
    match &mut conn.framing {
        Framing::WebSocket(parser) => Some(parser),
        Framing::Json(flat) => Some(&mut flat.parser),
        Framing::Pipe(_) | Framing::Streams(_) => None,
    }
}
