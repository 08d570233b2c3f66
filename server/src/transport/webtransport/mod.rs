//! WebTransport: what lies around a [`QuicLink`] on a connection whose client speaks HTTP/3 (ALPN `h3`): the SETTINGS,
//! one CONNECT for one session, the head of each stream, the capsule that closes. Knows no frames of ours.
//!
//! Follows draft-ietf-webtrans-http3; of its versions those that browsers speak, as `web-transport-proto` has them. One
//! connection carries one session, and answers no other request.
//!
//! ```text
//! quic::Gate::admit -> Accepted::Http3(arrival) -> Door::admit -> QuicLink
//! ```

mod arrivals;
mod capsule;
mod door;
mod session;

pub use door::{Door, Refusal, Refused};
pub(super) use session::Session;

use quinn::{ReadExactError, RecvStream, VarInt};

/// ALPN of HTTP/3 (RFC 9114 §3.1).
pub const ALPN: &[u8] = b"h3";
/// Where sessions are.
pub const PATH: &str = "/wt";

/// RFC 9114 §8.1.
const H3_STREAM_CREATION_ERROR: VarInt = VarInt::from_u32(0x103);
const H3_MISSING_SETTINGS: VarInt = VarInt::from_u32(0x10a);
const H3_REQUEST_REJECTED: VarInt = VarInt::from_u32(0x10b);
const H3_REQUEST_INCOMPLETE: VarInt = VarInt::from_u32(0x10d);
const H3_MESSAGE_ERROR: VarInt = VarInt::from_u32(0x10e);
const H3_NO_ERROR: VarInt = VarInt::from_u32(0x100);
/// A stream of a session that there is not.
const WT_BUFFERED_STREAM_REJECTED: VarInt = VarInt::from_u32(0x3994_bd84);

/// The number of one of our errors among the codes of HTTP/3: how a connection ends that could not end its session.
pub(super) fn http3_code(code: u32) -> VarInt {
    VarInt::from_u64(web_transport_proto::error_to_http3(code)).unwrap_or(H3_NO_ERROR)
}

/// Whether a connection that was closed with this code ended in peace.
pub(super) fn is_peace(code: VarInt) -> bool {
    code == H3_NO_ERROR || web_transport_proto::error_from_http3(code.into_inner()) == Some(0)
}

/// The next integer of a stream (RFC 9000 §16), and not one byte more.
async fn varint(stream: &mut RecvStream) -> Result<u64, ReadExactError> {
    let mut bytes = [0; 8];
    stream.read_exact(&mut bytes[..1]).await?;
    let size = 1 << (bytes[0] >> 6);
    stream.read_exact(&mut bytes[1..size]).await?;
    // All its bytes are there.
    Ok(syncbridge_codec::varint::read(&bytes[..size]).map_or(0, |(value, _)| value))
}
