//! One blocking connection, for what happens before the clock starts.

use std::{
    fmt::Display,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    time::Duration,
};

use serde_json::Value;

use crate::{
    error::{Context, Error, Result},
    http::{Answer, request},
    place::connect_from,
};

/// The server may take so long for one answer: a password is hashed on a machine that is busy.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// A connection that asks one thing after the other.
pub struct Caller {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Caller {
    /// Connects from a loopback address of its own, for servers that count by address.
    ///
    /// # Errors
    /// The system's.
    pub fn connect(from: Ipv4Addr, server: SocketAddr) -> Result<Self> {
        let stream = connect_from(from, server)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN)).context("setting a time limit")?;
        Ok(Self { stream, read: Vec::new() })
    }

    /// Asks, and hands what is answered to `then`.
    ///
    /// # Errors
    /// When the server closes, says nothing, or no HTTP.
    pub fn ask<T>(&mut self, bytes: &[u8], then: impl FnOnce(&Answer<'_>) -> T) -> Result<T> {
        self.stream.write_all(bytes).context("asking")?;
        loop {
            if let Some(answer) = Answer::read(&self.read)? {
                let (size, result) = (answer.size, then(&answer));
                self.read.drain(..size);
                return Ok(result);
            }
            let mut chunk = [0; 16 << 10];
            match self.stream.read(&mut chunk).context("waiting for an answer")? {
                0 => return Err(Error::Server("closed instead of answering".into())),
                size => self.read.extend_from_slice(&chunk[..size]),
            }
        }
    }

    /// Asks for what must succeed; the JSON of the answer.
    ///
    /// # Errors
    /// As [`Caller::ask`], and when the answer is no success.
    pub fn must(&mut self, method: &str, path: &dyn Display, token: Option<&str>, body: Option<&str>) -> Result<Value> {
        let mut bytes = Vec::new();
        request::write(&mut bytes, method, path, token, body);
        self.ask(&bytes, |answer| {
            if answer.is_success() {
                return Ok(answer.json());
            }
            Err(Error::Server(format!("answered {method} {path} with {}", answer.shown())))
        })?
    }
}
