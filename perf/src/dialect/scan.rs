//! The few fields that the load client checks, read off a body without allocating: the client shares its core with
//! nobody, but at a quarter of a microsecond a delivery it must not become the slower side. Tests compare with the codec.

use syncbridge_codec::{frame, varint};

use crate::{
    error::{Error, Result},
    wire::websocket::MAX_PAYLOAD,
};

/// Type and body of the frame at the front of a WebSocket message, and its whole size.
pub fn first_frame(payload: &[u8]) -> Result<(u64, &[u8], usize)> {
    let broken = || Error::Server("sent a WebSocket message that does not hold whole frames".into());
    let total = frame::frame_size(payload, MAX_PAYLOAD)
        .map_err(|error| Error::Server(format!("sent {error}")))?
        .filter(|total| *total <= payload.len())
        .ok_or_else(broken)?;
    let (_, head) = varint::read(payload).ok_or_else(broken)?;
    let (kind, size) = varint::read(&payload[head..total]).ok_or_else(broken)?;
    Ok((kind, &payload[head + size..total], total))
}

/// Reads values of the wire's layout (`proto-spec/framing.md`) off a slice; `None` when they are not all there.
struct Scan<'a>(&'a [u8]);

impl<'a> Scan<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number; of 128-bit ones the low half.
    fn number(&mut self) -> Option<u64> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        let size = match first {
            251 => 2,
            252 => 4,
            253 => 8,
            254 => 16,
            255 => return None,
            small => return Some(u64::from(*small)),
        };
        let bytes = self.take(size)?;
        let mut low = [0; 8];
        let len = size.min(8);
        low[..len].copy_from_slice(&bytes[..len]);
        Some(u64::from_le_bytes(low))
    }

    fn skip_bytes(&mut self) -> Option<()> {
        let len = usize::try_from(self.number()?).ok()?;
        self.take(len).map(|_| ())
    }
}

/// What is read of a `Delta`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delta {
    pub version: u64,
    /// Low 64 bits of the origin's incarnation.
    pub incarnation: u64,
    pub counter: u64,
}

/// Scans the body of a `Delta`.
pub fn delta(body: &[u8]) -> Option<Delta> {
    let mut from = Scan(body);
    from.skip_bytes()?;
    from.number()?;
    let version = from.number()?;
    from.skip_bytes()?;
    from.skip_bytes()?;
    Some(Delta { version, incarnation: from.number()?, counter: from.number()? })
}

/// What is read of an `Accepted`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    pub version: u64,
    pub counter: u64,
    pub changed: bool,
}

/// Scans the body of an `Accepted`.
pub fn accepted(body: &[u8]) -> Option<Accepted> {
    let mut from = Scan(body);
    let counter = from.number()?;
    from.skip_bytes()?;
    from.number()?;
    let version = from.number()?;
    from.number()?;
    if from.number()? == 1 {
        from.skip_bytes()?;
    }
    let changed = !from.0.is_empty() && from.number()? == 1;
    Some(Accepted { version, counter, changed })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use syncbridge_codec::message::{self, Origin, Position};

    use super::{Accepted, Delta, accepted, delta};

    fn body(frame: &Bytes) -> Bytes {
        let mut decoder = syncbridge_codec::Decoder::new(1 << 20);
        decoder.push(frame.clone());
        decoder.next_frame().expect("valid").expect("whole").body
    }

    #[test]
    fn a_scan_reads_what_the_codec_wrote_and_never_past_the_end() {
        for number in [0, 250, 251, 65_536, 1 << 40] {
            let message = message::Delta {
                session: "a-session".into(),
                at: Position { epoch: number, version: number + 1 },
                operations: Bytes::from(vec![b'x'; 300]),
                device: "d".into(),
                origin: Origin { incarnation: (7 << 100) | u128::from(number), counter: number + 2 },
                time_ms: number,
            };
            let body = body(&message::Message::from(message).to_frame());
            assert_eq!(delta(&body), Some(Delta { version: number + 1, incarnation: number, counter: number + 2 }));
            for cut in 0..20 {
                assert_eq!(delta(&body[..cut]), None);
            }
        }
    }

    #[test]
    fn an_accepted_is_read_with_and_without_operations() {
        for operations in [None, Some(Bytes::from_static(b"[]"))] {
            let message = message::Accepted {
                counter: 9,
                session: "a-session".into(),
                at: Position { epoch: 1, version: 300 },
                durable: false,
                operations,
                changed: true,
            };
            let body = body(&message::Message::from(message).to_frame());
            assert_eq!(accepted(&body), Some(Accepted { version: 300, counter: 9, changed: true }));
        }
    }
}
