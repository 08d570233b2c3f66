//! SyncBridge's wire protocol: bytes to frames, frames to messages, and back.
//!
//! This crate never performs I/O, never reads a clock and knows no runtime. `proto-spec/` is the authority; every rule
//! here has its sentence there and its vector in `proto-spec/vectors/`.
//!
//! Read in this order: [`varint`], [`frame`] (where one frame ends), [`wire`] (how a value is laid out), [`message`]
//! (the registry of everything that is said), [`error`] (who is at fault), [`handshake`], [`websocket`], [`json`].
#![forbid(unsafe_code)]

pub mod error;
pub mod frame;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod handshake;
pub mod id;
pub mod inspect;
pub mod json;
pub mod message;
pub mod varint;
pub mod websocket;
pub mod wire;

pub use error::{Blame, ErrorCode, ProtocolError};
pub use frame::{Decoder, Frame};
pub use message::Message;

/// The one protocol version this crate speaks; `Hello` carries the range a client can speak.
pub const PROTOCOL_VERSION: u32 = 1;
/// ALPN of the native protocol on QUIC.
pub const ALPN: &[u8] = b"syncbridge/1";
/// WebSocket subprotocol whose binary messages carry whole frames.
pub const WEBSOCKET_SUBPROTOCOL: &str = "syncbridge.v1";
/// Largest frame (type + body, in bytes) a client may send: 1 MiB.
pub const MAX_CLIENT_FRAME: usize = 1 << 20;
/// States above this many bytes travel as `SnapshotBegin`, `SnapshotPart`…, `SnapshotEnd`; no part is larger.
pub const SNAPSHOT_PART: usize = 64 << 10;
