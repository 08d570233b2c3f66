//! How clients speak to a server: connecting, publishing, and telling deliveries in what comes back. The load client
//! knows nothing of any protocol but through [`Dialect`].

mod handshake;
mod native;
mod scan;

pub use handshake::Handshake;
pub use native::Native;

use std::net::{SocketAddr, TcpStream};

use crate::error::Result;

/// What one scenario talks about. Each user has one of his own under that name; load runs on the first user's.
#[derive(Debug, Clone)]
pub struct Topic {
    /// Its name on the server.
    pub name: String,
    /// Size of one event as receivers get it, in bytes; as near as the dialect can come.
    pub event_bytes: usize,
}

/// Who a connection is.
#[derive(Debug, Clone, Copy)]
pub struct Role {
    /// Its number, different for each connection of a scenario.
    pub number: u32,
    /// The user it signs in as, for servers that limit what one user may have.
    pub user: u32,
    /// Bytes of receive buffer asked of the system, when the scenario cares.
    pub receive_buffer: Option<usize>,
}

/// A connection that is subscribed, still in blocking mode.
#[derive(Debug)]
pub struct Opened {
    /// The socket.
    pub stream: TcpStream,
    /// Bytes that came after the last answer and were not read.
    pub rest: Vec<u8>,
    /// The last event that the subscription has; the next is this + 1.
    pub at: Place,
    /// The longest silence that the server wants from a client, in milliseconds; 0: any.
    pub heartbeat_ms: u32,
}

/// A place in a topic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// The epoch that `seq` is counted in.
    pub epoch: u64,
    /// The event.
    pub seq: u64,
}

/// What a connection heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Another connection's event.
    Event {
        /// Its place in the topic.
        seq: u64,
        /// The number of the connection that published it.
        publisher: u32,
        /// That connection's count of publishes.
        counter: u64,
    },
    /// The connection's own event, at its place in the topic.
    Own {
        /// Its place in the topic.
        seq: u64,
        /// The connection's count of publishes.
        counter: u64,
    },
    /// The topic's state in place of all events up to `seq`.
    Snapshot {
        /// The last event contained.
        seq: u64,
    },
}

/// A protocol, from the client's side. Knows no sockets after [`Dialect::open`] and keeps no state of a connection.
pub trait Dialect {
    /// Makes a user's topic on a server that has none yet.
    ///
    /// # Errors
    /// When the server refuses.
    fn create(&self, server: SocketAddr, user: u32) -> Result<()>;

    /// Connects, signs in and subscribes; blocks.
    ///
    /// # Errors
    /// When the server refuses or does not answer.
    fn open(&self, server: SocketAddr, role: &Role) -> Result<Opened>;

    /// Appends one publish by connection `number` of the first user: its `counter`th, counted from 1, when the topic
    /// stands at `at`.
    fn publish(&self, number: u32, counter: u64, at: Place, out: &mut Vec<u8>);

    /// Appends what keeps an idle connection alive.
    fn heartbeat(&self, out: &mut Vec<u8>);

    /// Takes whole messages off the front of `bytes`, appends what they say to `heard` and what must be answered to
    /// `replies`; how many bytes were taken.
    ///
    /// # Errors
    /// When the server broke the protocol, refused something, or closed.
    fn hear(&self, bytes: &[u8], heard: &mut Vec<Heard>, replies: &mut Vec<u8>) -> Result<usize>;
}
