//! RFC 6455 frames into a caller's buffer: unmasked as a server sends them, and masked for raw clients (tests, perf/).

use bytes::{BufMut, BytesMut};

use super::{Opcode, apply_mask};

/// Longest header a server writes: opcode, 127, eight bytes of length.
pub const MAX_HEADER: usize = 10;
/// Largest payload of a control frame.
pub const MAX_CONTROL: usize = 125;
/// Longest reason of a close: a control payload less the code.
pub const MAX_REASON: usize = MAX_CONTROL - 2;

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;

/// Bytes of the unmasked header of a payload of `len` bytes.
pub const fn header_size(len: usize) -> usize {
    match len {
        0..=125 => 2,
        126..=0xffff => 4,
        _ => 10,
    }
}

/// Appends the header of an unmasked, unfragmented frame whose payload of `len` bytes the caller appends next.
pub fn write_header(out: &mut impl BufMut, opcode: Opcode, len: usize) {
    put_header(out, opcode, len, 0);
}

fn put_header(out: &mut impl BufMut, opcode: Opcode, len: usize, masked: u8) {
    debug_assert!(!opcode.is_control() || len <= MAX_CONTROL, "a control frame has at most 125 bytes");
    out.put_u8(FIN | opcode as u8);
    match len {
        0..=125 => out.put_u8(masked + len as u8),
        126..=0xffff => {
            out.put_u8(masked + 126);
            out.put_u16(len as u16);
        }
        _ => {
            out.put_u8(masked + 127);
            out.put_u64(len as u64);
        }
    }
}

/// Appends a whole unmasked frame.
pub fn write_frame(out: &mut impl BufMut, opcode: Opcode, payload: &[u8]) {
    write_header(out, opcode, payload.len());
    out.put_slice(payload);
}

/// Appends the answer to a ping, which had at most [`MAX_CONTROL`] bytes or the parser would not have handed it out.
pub fn write_pong(out: &mut impl BufMut, payload: &[u8]) {
    write_frame(out, Opcode::Pong, &payload[..payload.len().min(MAX_CONTROL)]);
}

/// Appends a close. A reason longer than [`MAX_REASON`] is cut at a character; without a code there is no reason.
pub fn write_close(out: &mut impl BufMut, code: Option<u16>, reason: &str) {
    let Some(code) = code else {
        write_header(out, Opcode::Close, 0);
        return;
    };
    let reason = &reason[..reason.floor_char_boundary(MAX_REASON)];
    write_header(out, Opcode::Close, 2 + reason.len());
    out.put_u16(code);
    out.put_slice(reason.as_bytes());
}

/// Appends a whole frame as a client must send it. `mask` is drawn at random for each frame by who has something to
/// fear from intermediaries; tests and load tools may pass any.
pub fn write_client_frame(out: &mut BytesMut, opcode: Opcode, mask: [u8; 4], payload: &[u8]) {
    put_header(out, opcode, payload.len(), MASKED);
    out.put_slice(&mask);
    let start = out.len();
    out.put_slice(payload);
    apply_mask(&mut out[start..], mask, 0);
}
