//! Where one frame ends and the next begins: `length | type | body`, both numbers QUIC varints, `length` counting type
//! and body. The same frames travel on QUIC streams and inside WebSocket binary messages.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::{error::ProtocolError, varint};

/// One frame: a type and a body that is not decoded yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The type's number; `message::Message::KINDS` lists the known ones.
    pub kind: u64,
    /// The body; shares memory with what the decoder was given.
    pub body: Bytes,
}

/// Cuts a stream of bytes, in any chunking, into frames. Holds at most one unfinished frame.
///
/// Whole frames inside one chunk share its memory; only a frame that lies across chunks is copied.
#[derive(Debug)]
pub struct Decoder {
    max: usize,
    /// The chunk being read. Never holds an unfinished frame's beginning while `partial` is in use.
    chunk: Bytes,
    /// The beginning of a frame that needs more bytes than were there.
    partial: BytesMut,
    failed: Option<ProtocolError>,
}

impl Decoder {
    /// A decoder that takes frames of at most `max` bytes (type + body).
    pub fn new(max: usize) -> Self {
        Self { max, chunk: Bytes::new(), partial: BytesMut::new(), failed: None }
    }

    /// Gives the decoder more bytes. Call [`Decoder::next_frame`] until it says `None` before giving more.
    pub fn push(&mut self, chunk: Bytes) {
        if self.chunk.is_empty() {
            self.chunk = chunk;
        } else {
            let mut joined = BytesMut::with_capacity(self.chunk.len() + chunk.len());
            joined.put_slice(&self.chunk);
            joined.put_slice(&chunk);
            self.chunk = joined.freeze();
        }
    }

    /// Bytes held of a frame that is not whole.
    pub fn buffered(&self) -> usize {
        self.chunk.len() + self.partial.len()
    }

    /// The next whole frame; `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`ProtocolError`] when the peer broke framing; the same error again on each later call.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, ProtocolError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.try_next().inspect_err(|error| {
            self.failed = Some(error.clone());
            self.chunk = Bytes::new();
            self.partial = BytesMut::new();
        })
    }

    fn try_next(&mut self) -> Result<Option<Frame>, ProtocolError> {
        if self.partial.is_empty() {
            if let Some(total) = frame_size(&self.chunk, self.max)?
                && self.chunk.len() >= total
            {
                return split(self.chunk.split_to(total)).map(Some);
            }
            self.partial.extend_from_slice(&self.chunk);
            self.chunk = Bytes::new();
            return Ok(None);
        }
        // The head is at most 8 bytes: top it up alone until the size is known, then copy what the frame still lacks.
        loop {
            let missing = match frame_size(&self.partial, self.max)? {
                Some(total) if self.partial.len() >= total => {
                    let frame = self.partial.split_to(total).freeze();
                    self.partial = BytesMut::new();
                    return split(frame).map(Some);
                }
                Some(total) => total - self.partial.len(),
                None => 1,
            };
            let take = missing.min(self.chunk.len());
            if take == 0 {
                return Ok(None);
            }
            self.partial.extend_from_slice(&self.chunk[..take]);
            self.chunk.advance(take);
        }
    }
}

/// Whole size (length field included) of the frame at the front of `buf`; `None` when the length is not all there.
///
/// # Errors
/// [`ProtocolError::FrameTooLarge`] and [`ProtocolError::MalformedFrame`], as soon as the length is known.
pub fn frame_size(buf: &[u8], max: usize) -> Result<Option<usize>, ProtocolError> {
    let Some((length, head)) = varint::read(buf) else { return Ok(None) };
    if length == 0 {
        return Err(ProtocolError::MalformedFrame { length });
    }
    match usize::try_from(length) {
        Ok(body) if body <= max => Ok(Some(head + body)),
        _ => Err(ProtocolError::FrameTooLarge { length, max }),
    }
}

/// Splits one whole frame into type and body.
fn split(mut frame: Bytes) -> Result<Frame, ProtocolError> {
    let (length, head) = varint::read(&frame).ok_or(ProtocolError::MalformedFrame { length: 0 })?;
    frame.advance(head);
    let (kind, size) = varint::read(&frame).ok_or(ProtocolError::MalformedFrame { length })?;
    frame.advance(size);
    Ok(Frame { kind, body: frame })
}

/// Appends the head of a frame whose type is `kind` and whose body has `body` bytes.
pub fn write_head(out: &mut impl BufMut, kind: u64, body: usize) {
    varint::write(out, (varint::size(kind) + body) as u64);
    varint::write(out, kind);
}

/// Whole size of a frame whose type is `kind` and whose body has `body` bytes.
pub const fn encoded_size(kind: u64, body: usize) -> usize {
    let content = varint::size(kind) + body;
    varint::size(content as u64) + content
}
