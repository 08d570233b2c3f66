//! The bytes of a CONNECT stream after its request (RFC 9297 §3.2): DATA frames, and in them capsules, of which one
//! counts here: the one that closes the session. Keeps two heads and nothing of what they announce.

use bytes::{BufMut as _, BytesMut};
use syncbridge_codec::varint;
use web_transport_proto::Capsule;

/// The frame that carries capsules (RFC 9114 §7.2.1).
const DATA: u64 = 0x0;
/// `CLOSE_WEBTRANSPORT_SESSION`: 32 bits of code, then text for people.
const CLOSE: u64 = 0x2843;
/// Bytes of the code.
const CODE: u64 = 4;

/// A capsule that closes a session and has no code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// A type and a length, as they come.
#[derive(Debug, Default)]
struct Head {
    bytes: [u8; 16],
    filled: usize,
}

impl Head {
    fn push(&mut self, byte: u8) -> Option<(u64, u64)> {
        // Two integers of 8 bytes at most: whole before it is full.
        self.bytes[self.filled] = byte;
        self.filled += 1;
        let have = &self.bytes[..self.filled];
        let (kind, size) = varint::read(have)?;
        let (length, _) = varint::read(&have[size..])?;
        self.filled = 0;
        Some((kind, length))
    }
}

/// See the file's head.
#[derive(Debug, Default)]
pub struct Reader {
    frame: Head,
    frame_left: u64,
    is_data: bool,
    capsule: Head,
    capsule_left: u64,
    /// Of the capsule that closes: the code as far as it is read, and how much of it is missing.
    code: Option<(u32, u64)>,
}

impl Reader {
    /// Reads on. The session's code when the peer closes it.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<Option<u32>, Malformed> {
        while let Some((&first, rest)) = bytes.split_first() {
            if self.frame_left == 0 {
                if let Some((kind, length)) = self.frame.push(first) {
                    (self.is_data, self.frame_left) = (kind == DATA, length);
                }
                bytes = rest;
                continue;
            }
            let (some, rest) = bytes.split_at(fitting(self.frame_left, bytes));
            self.frame_left -= some.len() as u64;
            if self.is_data
                && let Some(code) = self.capsules(some)?
            {
                return Ok(Some(code));
            }
            bytes = rest;
        }
        Ok(None)
    }

    fn capsules(&mut self, mut bytes: &[u8]) -> Result<Option<u32>, Malformed> {
        while let Some((&first, rest)) = bytes.split_first() {
            if self.capsule_left == 0 {
                if let Some((kind, length)) = self.capsule.push(first) {
                    self.capsule_left = length;
                    self.code = (kind == CLOSE).then_some((0, CODE));
                    if kind == CLOSE && length < CODE {
                        return Err(Malformed);
                    }
                }
                bytes = rest;
            } else if let Some((code, missing)) = &mut self.code {
                *code = (*code << 8) | u32::from(first);
                *missing -= 1;
                self.capsule_left -= 1;
                if *missing == 0 {
                    return Ok(Some(*code));
                }
                bytes = rest;
            } else {
                let skipped = fitting(self.capsule_left, bytes);
                self.capsule_left -= skipped as u64;
                bytes = &bytes[skipped..];
            }
        }
        Ok(None)
    }
}

/// How much of `bytes` belongs to what is `left`.
fn fitting(left: u64, bytes: &[u8]) -> usize {
    usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()))
}

/// The DATA frame that closes a session.
pub fn close(code: u32) -> BytesMut {
    let mut capsule = BytesMut::new();
    Capsule::CloseWebTransportSession { code, reason: String::new() }.encode(&mut capsule);
    let mut frame = BytesMut::new();
    varint::write(&mut frame, DATA);
    varint::write(&mut frame, capsule.len() as u64);
    frame.put(capsule);
    frame
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u64, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        varint::write(&mut frame, kind);
        varint::write(&mut frame, payload.len() as u64);
        frame.extend_from_slice(payload);
        frame
    }

    fn read_in_pieces(bytes: &[u8], piece: usize) -> Result<Option<u32>, Malformed> {
        let mut reader = Reader::default();
        for piece in bytes.chunks(piece) {
            if let Some(code) = reader.push(piece)? {
                return Ok(Some(code));
            }
        }
        Ok(None)
    }

    #[test]
    fn a_session_is_closed_with_its_code_however_the_bytes_are_cut_and_whatever_came_before() {
        let mut capsules = frame(0x17, b"");
        capsules.extend(frame(0x9999, &[7; 300]));
        capsules.extend(frame(CLOSE, b"\x01\x02\x03\x04gone"));
        for piece in 1..40 {
            for cut in 0..capsules.len() {
                let mut stream = frame(0x1, b"trailers");
                stream.extend(frame(DATA, b""));
                stream.extend(frame(DATA, &capsules[..cut]));
                stream.extend(frame(0x21, b"reserved"));
                stream.extend(frame(DATA, &capsules[cut..]));
                assert_eq!(read_in_pieces(&stream, piece), Ok(Some(0x0102_0304)), "{piece} {cut}");
            }
        }
    }

    #[test]
    fn what_we_close_with_is_read_as_that() {
        for code in [0, 10_001, u32::MAX] {
            assert_eq!(Reader::default().push(&close(code)), Ok(Some(code)));
        }
    }

    #[test]
    fn a_close_without_a_whole_code_is_malformed() {
        assert_eq!(Reader::default().push(&frame(DATA, &frame(CLOSE, b"\0\0\0"))), Err(Malformed));
    }

    #[test]
    fn lengths_of_any_size_are_announced_for_nothing() {
        let mut reader = Reader::default();
        let mut announced = Vec::new();
        varint::write(&mut announced, DATA);
        varint::write(&mut announced, varint::MAX);
        varint::write(&mut announced, 0x9999);
        varint::write(&mut announced, varint::MAX);
        assert_eq!(reader.push(&announced), Ok(None));
        for _ in 0..1_000 {
            assert_eq!(reader.push(&[0x28; 1_000]), Ok(None));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_the_same_in_one_piece_and_in_many(bytes: Vec<u8>, piece in 1usize..9) {
            prop_assert_eq!(Reader::default().push(&bytes), read_in_pieces(&bytes, piece));
        }
    }
}
