//! RFC 6455 framing, sans-IO: which bytes are which message. Never sees a socket, never does the HTTP upgrade (hyper
//! does; [`accept_key`] is what it needs from here), never compresses: no extension is spoken, so RSV bits are refused.
//!
//! Written by hand because a ready-made context owns its buffers and answers pings into the middle of what the shard is
//! batching. Here nothing is written but into the caller's buffer, and nothing is held while a connection is idle.

use base64::{Engine, engine::general_purpose::STANDARD};

mod encode;
mod parser;

pub use encode::{
    MAX_CONTROL, MAX_HEADER, MAX_REASON, header_size, write_client_frame, write_close, write_frame, write_header,
    write_pong,
};
pub use parser::Parser;

/// What a frame is (RFC 6455 §5.2). Continuations are [`Parser`]'s own business.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// Goes on with a fragmented message.
    Continuation = 0x0,
    /// UTF-8.
    Text = 0x1,
    /// Bytes.
    Binary = 0x2,
    /// The last frame of a side.
    Close = 0x8,
    /// Asks for a pong.
    Ping = 0x9,
    /// Answers a ping, or nothing.
    Pong = 0xA,
}

impl Opcode {
    /// Whether it is a control frame: at most [`MAX_CONTROL`] bytes, never fragmented, allowed between fragments.
    pub const fn is_control(self) -> bool {
        self as u8 & 0x8 != 0
    }

    const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }
}

/// What a peer said. Borrowed from the bytes given to [`Parser::push`], or from what it had to keep of earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// A whole binary message.
    Binary(&'a [u8]),
    /// A whole text message.
    Text(&'a str),
    /// Answer with [`write_pong`] and the same bytes.
    Ping(&'a [u8]),
    /// The peer is there.
    Pong(&'a [u8]),
    /// The peer is leaving: answer with [`write_close`] and the same code, then end. The last event of a parser.
    Close {
        /// `None` when the peer gave none (1005 to an application; never on the wire).
        code: Option<u16>,
        /// For people.
        reason: &'a str,
    },
}

/// The peer broke RFC 6455, or a limit. Nothing more is read from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Framing that the RFC does not allow.
    #[error("{0}")]
    Protocol(&'static str),
    /// Text, or the reason of a close, that is not UTF-8.
    #[error("text is not UTF-8")]
    NotUtf8,
    /// A message above the receiver's cap, counted over its fragments.
    #[error("a message of at least {size} bytes; at most {max} are taken")]
    TooBig {
        /// Bytes announced so far.
        size: u64,
        /// The cap.
        max: usize,
    },
}

impl Error {
    /// The code for [`write_close`] (RFC 6455 §7.4.1).
    pub const fn close_code(self) -> u16 {
        match self {
            Self::Protocol(_) => 1002,
            Self::NotUtf8 => 1007,
            Self::TooBig { .. } => 1009,
        }
    }
}

/// The `Sec-WebSocket-Accept` that answers a `Sec-WebSocket-Key` (RFC 6455 §4.2.2).
pub fn accept_key(key: &str) -> String {
    let mut hash = sha1_smol::Sha1::new();
    hash.update(key.as_bytes());
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(hash.digest().bytes())
}

/// Masks, or unmasks, in place. `phase` is how many bytes of the payload came before these.
fn apply_mask(bytes: &mut [u8], mask: [u8; 4], phase: u64) {
    let mut mask = mask;
    mask.rotate_left((phase & 3) as usize);
    let wide = u64::from_ne_bytes([mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3]]);
    let (words, tail) = bytes.as_chunks_mut::<8>();
    for word in words {
        *word = (u64::from_ne_bytes(*word) ^ wide).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= key;
    }
}
