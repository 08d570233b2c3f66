//! The floor: the least a fan-out server can do on this machine. One thread, level-triggered epoll, `send`. It speaks
//! the protocol that the load client hears, and never stores, checks rights, patches documents or remembers answers.

mod connection;
mod topic;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::fd::AsFd,
};

use rustix::{
    event::epoll::{self, CreateFlags, EventData, EventFlags},
    io::Errno,
};

use crate::{
    error::{Context, Result},
    floor::{
        connection::{Connection, Request},
        topic::Topics,
    },
};

/// What is put into one `send`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// One event, as soon as it was read.
    Each,
    /// All that one turn made ready for the connection, at the end of the turn.
    Coalesced,
}

impl Mode {
    /// As on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Each => "each",
            Self::Coalesced => "coalesced",
        }
    }
}

/// The listener's key in epoll; connections have their slots.
const LISTENER: u64 = u64::MAX;
/// Events taken from epoll in a turn.
const TURN: usize = 1024;
/// Read from a connection in one system call.
const SCRATCH: usize = 64 << 10;

/// Serves until it is killed.
///
/// # Errors
/// The system's, when it cannot listen or wait.
pub fn serve(listen: SocketAddr, mode: Mode) -> Result<()> {
    let listener = TcpListener::bind(listen).context(format!("listening on {listen}"))?;
    listener.set_nonblocking(true).context("making the listener non-blocking")?;
    let epoll = epoll::create(CreateFlags::CLOEXEC).context("making an epoll")?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN).context("watching the listener")?;
    let mut floor = Floor { epoll, listener, mode, connections: Connections::default(), topics: Topics::default() };
    let mut events = Vec::with_capacity(TURN);
    let mut scratch = vec![0; SCRATCH];
    loop {
        events.clear();
        match epoll::wait(&floor.epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error).context("waiting for events"),
        }
        for event in &events {
            match event.data.u64() {
                LISTENER => floor.accept()?,
                slot => floor.ready(slot as usize, event.flags, &mut scratch),
            }
        }
        floor.topics.flush(&mut floor.connections, &floor.epoll);
    }
}

/// All connections, by slot; slots are used again.
#[derive(Debug, Default)]
pub struct Connections {
    slots: Vec<Option<Connection>>,
    free: Vec<usize>,
}

impl Connections {
    fn insert(&mut self, connection: Connection) -> usize {
        if let Some(slot) = self.free.pop() {
            self.slots[slot] = Some(connection);
            return slot;
        }
        self.slots.push(Some(connection));
        self.slots.len() - 1
    }

    fn get_mut(&mut self, slot: usize) -> Option<&mut Connection> {
        self.slots.get_mut(slot)?.as_mut()
    }

    fn remove(&mut self, slot: usize) {
        if self.slots.get_mut(slot).and_then(Option::take).is_some() {
            self.free.push(slot);
        }
    }
}

struct Floor {
    epoll: rustix::fd::OwnedFd,
    listener: TcpListener,
    mode: Mode,
    connections: Connections,
    topics: Topics,
}

impl Floor {
    fn accept(&mut self) -> Result<()> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    let set = stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true));
                    // A connection that is gone already is not worth a word; it is closed by being dropped.
                    if set.is_err() {
                        continue;
                    }
                    let slot = self.connections.insert(Connection::new(stream));
                    if let Some(connection) = self.connections.get_mut(slot) {
                        let data = EventData::new_u64(slot as u64);
                        epoll::add(&self.epoll, connection.as_fd(), data, EventFlags::IN)
                            .context("watching a connection")?;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => return Err(error).context("accepting"),
            }
        }
    }

    fn ready(&mut self, slot: usize, flags: EventFlags, scratch: &mut [u8]) {
        let Some(connection) = self.connections.get_mut(slot) else { return };
        if flags.contains(EventFlags::OUT) {
            connection.write_rest(&self.epoll, slot);
        }
        let mut requests = Vec::new();
        let open = !flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR)
            || connection.read(scratch, &mut requests);
        for request in requests {
            self.answer(slot, request);
        }
        if !open || self.connections.get_mut(slot).is_some_and(|connection| connection.is_broken()) {
            self.topics.leave(slot);
            self.connections.remove(slot);
        }
    }

    fn answer(&mut self, slot: usize, request: Request) {
        match request {
            Request::Reply(bytes) => {
                if let Some(connection) = self.connections.get_mut(slot) {
                    connection.send(&self.epoll, slot, &bytes);
                }
            }
            Request::Subscribe(subscribe) => {
                let reset = self.topics.subscribe(slot, subscribe);
                if let Some(connection) = self.connections.get_mut(slot) {
                    connection.send(&self.epoll, slot, &reset);
                }
            }
            Request::Update(update) => {
                let Some(connection) = self.connections.get_mut(slot) else { return };
                let author = connection.author();
                self.topics.publish(slot, update, author);
                if self.mode == Mode::Each {
                    self.topics.flush(&mut self.connections, &self.epoll);
                }
            }
        }
    }
}
