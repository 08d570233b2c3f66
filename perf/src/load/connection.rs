//! One connection of the load client: its socket, its unfinished bytes in both directions, where it stands.

use std::{
    mem,
    net::TcpStream,
    os::fd::{AsFd, BorrowedFd},
};

use rustix::{
    event::epoll::{self, EventData, EventFlags},
    fd::OwnedFd,
    io::Errno,
    net::{RecvFlags, SendFlags},
};

use crate::{
    dialect::{Dialect, Heard, Opened},
    error::{Context, Error, Result},
};

/// Bytes that a client may have to write at most; more means that the server does not read.
const MAX_UNSENT: usize = 4 << 20;

/// A connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// A message that is not whole yet.
    carry: Vec<u8>,
    /// What is to be written.
    pub out: Vec<u8>,
    /// Whether the socket did not take all of `out`.
    blocked: bool,
    /// The last event that it has.
    pub at: u64,
    /// Its publishes so far.
    pub published: u64,
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Connection {
    /// Takes over an opened connection.
    ///
    /// # Errors
    /// The system's.
    pub fn new(opened: Opened) -> Result<Self> {
        opened.stream.set_nonblocking(true).context("making a connection non-blocking")?;
        Ok(Self {
            stream: opened.stream,
            carry: opened.rest,
            out: Vec::new(),
            blocked: false,
            at: opened.at.seq,
            published: 0,
        })
    }

    /// Reads once, and tells what was heard; the number of bytes read.
    ///
    /// # Errors
    /// When the server closed or broke the protocol.
    pub fn read(&mut self, dialect: &dyn Dialect, scratch: &mut [u8], heard: &mut Vec<Heard>) -> Result<usize> {
        let size = match rustix::net::recv(&self.stream, &mut *scratch, RecvFlags::DONTWAIT) {
            Ok((0, _)) => return Err(Error::Server("closed a connection".into())),
            Ok((size, _)) => size,
            Err(Errno::AGAIN | Errno::INTR) => return Ok(0),
            Err(error) => return Err(error).context("reading"),
        };
        if self.carry.is_empty() {
            let taken = dialect.hear(&scratch[..size], heard, &mut self.out)?;
            self.carry.extend_from_slice(&scratch[taken..size]);
        } else {
            self.carry.extend_from_slice(&scratch[..size]);
            let taken = dialect.hear(&self.carry, heard, &mut self.out)?;
            self.carry.drain(..taken);
        }
        Ok(size)
    }

    /// Writes what is to be written, as far as the socket takes it; `key` is the connection's in `epoll`.
    ///
    /// # Errors
    /// When the connection is broken, or the server reads too slowly.
    pub fn write(&mut self, epoll: &OwnedFd, key: u64) -> Result<()> {
        let out = mem::take(&mut self.out);
        let sent = match rustix::net::send(&self.stream, &out, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(sent) => sent,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(error) => return Err(error).context("writing"),
        };
        self.out = out;
        self.out.drain(..sent);
        if self.out.len() > MAX_UNSENT {
            return Err(Error::Stalled(format!("the server does not read: {} bytes wait", self.out.len())));
        }
        let blocked = !self.out.is_empty();
        if blocked != self.blocked {
            self.blocked = blocked;
            let flags = if blocked { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN };
            epoll::modify(epoll, &self.stream, EventData::new_u64(key), flags).context("watching a connection")?;
        }
        Ok(())
    }
}
