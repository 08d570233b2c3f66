//! Links: bytes of frames to a server and back, over QUIC, WebSocket or memory, behind one shape. Never looks into a
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

use crate::defaults;

pub use memory::{MemoryLink, memory};
pub(crate) use race::targets;
pub use race::{Connector, Target, TargetError};
pub use tls::{Fingerprint, FingerprintError, Trust};

/// What to connect by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Transport {
    /// QUIC first, WebSocket a moment later or when QUIC fails; what won is remembered.
    #[default]
    Auto,
    /// QUIC only.
    Quic,
    /// WebSocket only.
    WebSocket,
}

/// What a link runs over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Via {
    /// QUIC.
    Quic,
    /// WebSocket.
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
    /// Bytes of the streams of this class, in any chunking. WebSocket brings all as `Control`.
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
    pub(crate) via: Via,
    pub(crate) control: mpsc::Sender<Batch>,
    /// `None`: one stream carries both classes, in the order in which they are handed over.
    pub(crate) session: Option<mpsc::Sender<Batch>>,
    pub(crate) incoming: mpsc::Receiver<Incoming>,
    pub(crate) tasks: tokio::task::JoinSet<()>,
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

    /// Ends the link, with a last frame if it goes out within [`defaults::END_MS`].
    pub(crate) async fn end(mut self, last: Bytes, code: u32, text: ByteString) {
        let goodbye = async {
            if self.control.send(Batch::End { last, code, text }).await.is_ok() {
                // Nobody reads any more; a full channel must not keep the tasks from ending.
                self.incoming.close();
                while self.tasks.join_next().await.is_some() {}
            }
        };
        let grace = std::time::Duration::from_millis(defaults::END_MS);
        if tokio::time::timeout(grace, goodbye).await.is_err() {
            tracing::debug!("the link took no last frame in time");
        }
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
    /// WebSocket could not be had.
    #[error("WebSocket: {0}")]
    WebSocket(String),
    /// Neither could be had.
    #[error("{0}; {1}")]
    Both(Box<ConnectError>, Box<ConnectError>),
    /// The configuration cannot work.
    #[error("{0}")]
    Config(String),
}
