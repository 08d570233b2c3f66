//! Links: bytes of frames to a server and back, over QUIC, `WebSocket` or memory, behind one shape. Never looks into a
//! frame, except that QUIC's second stream begins with `StreamOpen`.

mod memory;
mod quic;
mod race;
mod tls;
mod websocket;

use bytes::Bytes;
use bytestring::ByteString;
use syncbridge_codec::message::Class;
use tokio::sync::mpsc;

pub use memory::{MemoryLink, memory};
pub use race::{Connector, Target, TargetError};
pub use tls::{Fingerprint, FingerprintError, Trust};

/// What to connect by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Transport {
    /// QUIC first, `WebSocket` a moment later or when QUIC fails; what won is remembered.
    #[default]
    Auto,
    /// QUIC only.
    Quic,
    /// `WebSocket` only.
    WebSocket,
}

/// What a link runs over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Via {
    /// QUIC.
    Quic,
    /// `WebSocket`.
    WebSocket,
    /// Inside one process, for tests.
    Memory,
}

impl std::fmt::Display for Via {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Quic => "quic",
            Self::WebSocket => "websocket",
            Self::Memory => "memory",
        })
    }
}

/// What a link brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// Bytes of the streams of this class, in any chunking. `WebSocket` brings all as `Control`.
    Bytes(Class, Bytes),
    /// The link is over.
    Closed {
        /// The protocol's number that it was ended with, if there was one.
        code: Option<u32>,
        /// For people.
        text: ByteString,
    },
}

/// One link. Its tasks end when it is dropped.
#[derive(Debug)]
pub struct Link {
    via: Via,
    control: mpsc::Sender<Batch>,
    /// `None`: one stream carries both classes, in the order in which they are handed over.
    session: Option<mpsc::Sender<Batch>>,
    incoming: mpsc::Receiver<Incoming>,
    /// Aborted on drop.
    _tasks: tokio::task::JoinSet<()>,
}

/// What is handed to a link at once.
#[derive(Debug)]
pub(crate) enum Batch {
    /// Frames, to be written in this order.
    Frames(Vec<Bytes>),
    /// A last frame; then the link is ended with this code and text.
    End { last: Bytes, code: u32, text: ByteString },
}

impl Link {
    /// What it runs over.
    pub const fn via(&self) -> Via {
        self.via
    }

    /// The next thing that it brings. Cancel-safe.
    pub(crate) async fn next(&mut self) -> Incoming {
        let closed = || Incoming::Closed { code: None, text: ByteString::from_static("the link is closed") };
        self.incoming.recv().await.unwrap_or_else(closed)
    }

    /// Waits until the stream of this class takes a batch. Cancel-safe.
    pub(crate) async fn ready(&self, class: Class) -> Option<mpsc::Permit<'_, Batch>> {
        self.sender(class).reserve().await.ok()
    }

    const fn sender(&self, class: Class) -> &mpsc::Sender<Batch> {
        match (class, &self.session) {
            (Class::Session, Some(session)) => session,
            _ => &self.control,
        }
    }

    /// Ends the link, with a last frame if it goes out at once, without holding up the caller.
    pub(crate) fn end(self, last: Bytes, code: u32, text: ByteString) {
        if self.control.try_send(Batch::End { last, code, text }).is_err() {
            return;
        }
        let Self { mut _tasks, incoming, control, session, .. } = self;
        drop((control, session, incoming));
        tokio::spawn(async move {
            let grace = std::time::Duration::from_millis(crate::defaults::END_MS);
            // Whether all was said in time or not, the link is over.
            let _ = tokio::time::timeout(grace, async { while _tasks.join_next().await.is_some() {} }).await;
        });
    }
}

/// Why no link could be made.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ConnectError {
    /// The server's address cannot be found.
    #[error("{host} has no address: {text}")]
    Resolve {
        /// The name.
        host: String,
        /// What the resolver said.
        text: String,
    },
    /// QUIC could not be had.
    #[error("QUIC: {0}")]
    Quic(String),
    /// `WebSocket` could not be had.
    #[error("WebSocket: {0}")]
    WebSocket(String),
    /// Neither could be had.
    #[error("{0}; {1}")]
    Both(Box<ConnectError>, Box<ConnectError>),
    /// The configuration cannot work.
    #[error("{0}")]
    Config(String),
}
