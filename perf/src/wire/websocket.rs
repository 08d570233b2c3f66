//! RFC 6455 framing on slices, both directions. Never fragments, never keeps state.

use crate::error::{Error, Result};

/// Opcode of a text message.
pub const TEXT: u8 = 0x1;
/// Opcode of a binary message.
pub const BINARY: u8 = 0x2;
/// Opcode of a close.
pub const CLOSE: u8 = 0x8;
/// Opcode of a ping.
pub const PING: u8 = 0x9;
/// Opcode of a pong.
pub const PONG: u8 = 0xA;
/// Largest payload taken: the server's frame cap is a document (4 MiB) and 64 KiB.
pub const MAX_PAYLOAD: usize = 8 << 20;

/// The head of one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// What the payload is.
    pub opcode: u8,
    /// The masking key, from clients only.
    pub mask: Option<[u8; 4]>,
    /// Bytes of the head itself.
    pub size: usize,
    /// Bytes of payload after it.
    pub payload: usize,
}

/// Reads the head at the front of `buf`; `None` when it is not all there.
///
/// # Errors
/// [`Error::Server`] for fragments, reserved bits and payloads above [`MAX_PAYLOAD`].
pub fn read_head(buf: &[u8]) -> Result<Option<Head>> {
    let [first, second, rest @ ..] = buf else { return Ok(None) };
    if first & 0xf0 != 0x80 {
        return Err(Error::Server(format!("sent a WebSocket frame that begins with {first:#04x}")));
    }
    let (payload, extended) = match second & 0x7f {
        126 => match rest.first_chunk::<2>() {
            Some(length) => (u64::from(u16::from_be_bytes(*length)), 2),
            None => return Ok(None),
        },
        127 => match rest.first_chunk::<8>() {
            Some(length) => (u64::from_be_bytes(*length), 8),
            None => return Ok(None),
        },
        short => (u64::from(short), 0),
    };
    let payload = usize::try_from(payload)
        .ok()
        .filter(|payload| *payload <= MAX_PAYLOAD)
        .ok_or_else(|| Error::Server(format!("sent a WebSocket payload of {payload} bytes")))?;
    let (mask, masked) = if second & 0x80 == 0 {
        (None, 0)
    } else {
        match rest[extended..].first_chunk::<4>() {
            Some(key) => (Some(*key), 4),
            None => return Ok(None),
        }
    };
    Ok(Some(Head { opcode: first & 0x0f, mask, size: 2 + extended + masked, payload }))
}

/// Appends the head of an unfragmented frame.
pub fn write_head(out: &mut Vec<u8>, opcode: u8, payload: usize, mask: Option<[u8; 4]>) {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    out.push(0x80 | opcode);
    if payload < 126 {
        out.push(masked | payload as u8);
    } else if let Ok(payload) = u16::try_from(payload) {
        out.push(masked | 0x7e);
        out.extend_from_slice(&payload.to_be_bytes());
    } else {
        out.push(masked | 0x7f);
        out.extend_from_slice(&(payload as u64).to_be_bytes());
    }
    if let Some(key) = mask {
        out.extend_from_slice(&key);
    }
}

/// Appends a client's frame, masked with a key drawn for it.
pub fn write_masked(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    let key = fastrand::u32(..).to_ne_bytes();
    write_head(out, opcode, payload.len(), Some(key));
    let start = out.len();
    out.extend_from_slice(payload);
    apply_mask(&mut out[start..], key);
}

/// Masks or unmasks in place.
pub fn apply_mask(bytes: &mut [u8], key: [u8; 4]) {
    for (byte, key) in bytes.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::{BINARY, Head, apply_mask, read_head, write_head, write_masked};

    #[test]
    fn every_length_form_is_read_as_it_was_written_and_never_early() {
        for payload in [0, 1, 125, 126, 127, 65_535, 65_536] {
            for mask in [None, Some([1, 2, 3, 4])] {
                let mut out = Vec::new();
                write_head(&mut out, BINARY, payload, mask);
                let head = Head { opcode: BINARY, mask, size: out.len(), payload };
                assert_eq!(read_head(&out).expect("valid"), Some(head));
                for cut in 0..out.len() {
                    assert_eq!(read_head(&out[..cut]).expect("valid"), None);
                }
            }
        }
    }

    #[test]
    fn a_masked_frame_unmasks_to_what_was_written() {
        let mut out = Vec::new();
        write_masked(&mut out, BINARY, b"hello there");
        let head = read_head(&out).expect("valid").expect("whole");
        let mut payload = out.split_off(head.size);
        apply_mask(&mut payload, head.mask.expect("clients mask"));
        assert_eq!(payload, b"hello there");
    }

    #[test]
    fn fragments_and_reserved_bits_are_refused() {
        read_head(&[0x02, 0]).expect_err("a fragment");
        read_head(&[0xC2, 0]).expect_err("a reserved bit");
    }
}
