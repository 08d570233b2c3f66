//! A connection over WebSocket that is used blocking, one step after the other: before load begins, and where there is
//! no load.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use bytes::Bytes;
use rustix::net::{AddressFamily, SocketType, sockopt};
use syncbridge_codec::{Frame, Message, websocket::accept_key};

use crate::{
    dialect::scan::first_frame,
    error::{Context, Error, Result},
    wire::{http, websocket},
};

/// The server may take so long to answer a step of connecting.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A connection that is used blocking, one step after the other.
pub struct Handshake {
    pub stream: TcpStream,
    /// What was read and not used yet.
    pub read: Vec<u8>,
}

impl Handshake {
    fn fill(&mut self) -> Result<()> {
        let mut chunk = [0; 4096];
        match self.stream.read(&mut chunk).context("waiting for the server's answer")? {
            0 => Err(Error::Server("closed while connecting".into())),
            size => {
                self.read.extend_from_slice(&chunk[..size]);
                Ok(())
            }
        }
    }

    /// Connects, and has the connection upgraded to a WebSocket of the native protocol.
    pub fn upgrade(server: SocketAddr, receive_buffer: Option<usize>) -> Result<Self> {
        Self::upgrade_by(http::upgrade_request, server, receive_buffer)
    }

    /// The same of the flat JSON form.
    pub fn upgrade_flat(server: SocketAddr) -> Result<Self> {
        Self::upgrade_by(http::plain_upgrade_request, server, None)
    }

    fn upgrade_by(
        request: fn(&str, &str) -> String,
        server: SocketAddr,
        receive_buffer: Option<usize>,
    ) -> Result<Self> {
        let mut new = Self { stream: connect(server, receive_buffer)?, read: Vec::new() };
        let key = http::new_key();
        new.stream.write_all(request(&server.to_string(), &key).as_bytes()).context("asking for the upgrade")?;
        let size = loop {
            match http::head_size(&new.read) {
                Some(size) => break size,
                None if new.read.len() > http::MAX_HEAD => {
                    return Err(Error::Server("answered the upgrade with an endless head".into()));
                }
                None => new.fill()?,
            }
        };
        let head = String::from_utf8_lossy(&new.read[..size]).into_owned();
        if !head.starts_with("HTTP/1.1 101") || http::header(&head, "sec-websocket-accept") != Some(&accept_key(&key)) {
            return Err(Error::Server(format!("refused the upgrade: {head}")));
        }
        new.read.drain(..size);
        Ok(new)
    }

    /// Sends a message of its own.
    pub fn send(&mut self, message: impl Into<Message>) -> Result<()> {
        let mut out = Vec::new();
        websocket::write_masked(&mut out, websocket::BINARY, &message.into().to_frame());
        self.stream.write_all(&out).context("writing to the server")
    }

    /// Sends a text message.
    pub fn say(&mut self, text: &str) -> Result<()> {
        let mut out = Vec::new();
        websocket::write_masked(&mut out, websocket::TEXT, text.as_bytes());
        self.stream.write_all(&out).context("writing to the server")
    }

    /// The next text message.
    pub fn next_text(&mut self) -> Result<Vec<u8>> {
        loop {
            let Some(head) =
                websocket::read_head(&self.read)?.filter(|head| self.read.len() >= head.size + head.payload)
            else {
                self.fill()?;
                continue;
            };
            let payload = self.read[head.size..head.size + head.payload].to_vec();
            self.read.drain(..head.size + head.payload);
            match head.opcode {
                websocket::TEXT => return Ok(payload),
                websocket::PING => {
                    let mut out = Vec::new();
                    websocket::write_masked(&mut out, websocket::PONG, &payload);
                    self.stream.write_all(&out).context("writing to the server")?;
                }
                websocket::PONG => {}
                opcode => return Err(Error::Server(format!("sent opcode {opcode} among text messages"))),
            }
        }
    }

    /// The next native message; frames of one WebSocket message are taken one by one.
    pub fn next(&mut self) -> Result<Message> {
        loop {
            let Some(head) =
                websocket::read_head(&self.read)?.filter(|head| self.read.len() >= head.size + head.payload)
            else {
                self.fill()?;
                continue;
            };
            let payload = Bytes::copy_from_slice(&self.read[head.size..head.size + head.payload]);
            if head.opcode != websocket::BINARY {
                return Err(Error::Server(format!("sent opcode {} while connecting", head.opcode)));
            }
            let (kind, body, taken) = first_frame(&payload)?;
            let frame = Frame { kind, body: payload.slice_ref(body) };
            // What follows in the same message stays, under a head of its own.
            let mut rest = Vec::new();
            if taken < payload.len() {
                websocket::write_head(&mut rest, websocket::BINARY, payload.len() - taken, None);
                rest.extend_from_slice(&payload[taken..]);
            }
            self.read.splice(..head.size + head.payload, rest);
            if let Some(message) = Message::decode(frame).map_err(|error| Error::Server(format!("sent {error}")))? {
                return Ok(message);
            }
        }
    }
}

fn connect(server: SocketAddr, receive_buffer: Option<usize>) -> Result<TcpStream> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).context("making a socket")?;
    if let Some(size) = receive_buffer {
        // Before connecting: the window that is announced first comes from it.
        sockopt::set_socket_recv_buffer_size(&socket, size).context("setting the receive buffer")?;
    }
    rustix::net::connect(&socket, &server).context(format!("connecting to {server}"))?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true).context("setting TCP_NODELAY")?;
    stream.set_read_timeout(Some(ANSWER_WITHIN)).context("setting a time limit")?;
    Ok(stream)
}
