//! Where one frame ends and the next begins: `length | type | body`, both numbers QUIC varints, `length` counting type
//! and body. The same frames travel on QUIC streams and inside WebSocket binary messages.

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes};

use crate::{error::ProtocolError, varint};

/// One frame: a type and a body that is not decoded yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The type's number; `message::Message::KINDS` lists the known ones.
    pub kind: u64,
    /// The body; shares memory with what the decoder was given.
    pub body: Bytes,
}

/// Cuts a stream of bytes, in any chunking, into frames. Holds at most one unfinished frame, and nothing between frames.
///
/// Whole frames inside one chunk share its memory; only a frame that lies across chunks is copied. So a body, and every
/// text and bytes field decoded from it, keeps its whole chunk alive: copy what is to be kept for long.
#[derive(Debug)]
pub struct Decoder {
    max: usize,
    /// The beginning of a frame that needs more bytes than were there; the chunks go on from its end.
    partial: Vec<u8>,
    /// The chunk being read, and those given before it was used up.
    chunk: Bytes,
    waiting: VecDeque<Bytes>,
    failed: Option<Box<ProtocolError>>,
}

impl Decoder {
    /// A decoder that takes frames of at most `max` bytes (type + body).
    pub const fn new(max: usize) -> Self {
        Self { max, partial: Vec::new(), chunk: Bytes::new(), waiting: VecDeque::new(), failed: None }
    }

    /// Changes the cap for the frames from here on, as a client does when `Welcome` names the server's.
    pub const fn set_max(&mut self, max: usize) {
        self.max = max;
    }

    /// Gives the decoder more bytes. Call [`Decoder::next_frame`] until it says `None` before giving more: what is given
    /// is held until then, however much it is.
    pub fn push(&mut self, chunk: Bytes) {
        if chunk.is_empty() || self.failed.is_some() {
            return;
        }
        if self.chunk.is_empty() {
            self.chunk = chunk;
        } else {
            self.waiting.push_back(chunk);
        }
    }

    /// Bytes held that are not handed out as frames yet.
    pub fn buffered(&self) -> usize {
        self.partial.len() + self.chunk.len() + self.waiting.iter().map(Bytes::len).sum::<usize>()
    }

    /// The next whole frame; `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`ProtocolError`] when the peer broke framing; the same error again on each later call.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, ProtocolError> {
        if let Some(error) = &self.failed {
            return Err(ProtocolError::clone(error));
        }
        self.try_next().inspect_err(|error| {
            *self = Self { failed: Some(Box::new(error.clone())), ..Self::new(self.max) };
        })
    }

    fn try_next(&mut self) -> Result<Option<Frame>, ProtocolError> {
        loop {
            if self.partial.is_empty()
                && let Some(total) = frame_size(&self.chunk, self.max)?
                && self.chunk.len() >= total
            {
                let frame = self.chunk.split_to(total);
                self.next_chunk();
                return split(frame).map(Some);
            }
            // The head is at most 8 bytes: it is topped up one by one until the size is known. Then what the frame still
            // lacks is copied, into memory that grows with what has come: a peer that announces much and sends little
            // costs little.
            let total = frame_size(&self.partial, self.max)?;
            let missing = total.map_or(1, |total| total - self.partial.len());
            let take = missing.min(self.chunk.len());
            if take == 0 {
                return Ok(None);
            }
            if let Some(total) = total
                && self.partial.len() + take > self.partial.capacity()
            {
                let target = grown(self.partial.capacity(), self.partial.len() + take, total);
                self.partial.reserve_exact(target - self.partial.len());
            }
            self.partial.extend_from_slice(&self.chunk[..take]);
            self.chunk.advance(take);
            self.next_chunk();
            if total == Some(self.partial.len()) {
                return split(Bytes::from(std::mem::take(&mut self.partial))).map(Some);
            }
        }
    }

    /// Lets go of a chunk that is used up, and takes the next.
    fn next_chunk(&mut self) {
        if self.chunk.is_empty() {
            self.chunk = self.waiting.pop_front().unwrap_or_default();
            if self.waiting.is_empty() {
                self.waiting = VecDeque::new();
            }
        }
    }
}

/// The next capacity of a buffer that must hold `needed` bytes now and will never hold more than `total`. It doubles, so
/// that growing is linear in all; the last step is taken early, so that old and new together stay below 1.5 × `total`.
pub(crate) fn grown(capacity: usize, needed: usize, total: usize) -> usize {
    let doubled = (capacity.saturating_mul(2)).max(needed);
    if doubled > total / 2 { total.max(needed) } else { doubled }
}

/// The frames of one WebSocket binary message, which holds whole ones and at least one.
#[derive(Debug)]
pub struct Frames {
    rest: Bytes,
    max: usize,
    begun: bool,
}

impl Frames {
    /// Cuts `message` into frames of at most `max` bytes (type + body).
    pub const fn new(message: Bytes, max: usize) -> Self {
        Self { rest: message, max, begun: false }
    }

    fn cut(&mut self) -> Result<Frame, ProtocolError> {
        let length = self.rest.len() as u64;
        split_first(&mut self.rest, self.max)?.ok_or(ProtocolError::MalformedFrame { length })
    }
}

impl Iterator for Frames {
    type Item = Result<Frame, ProtocolError>;

    /// The next frame. After an error there is none.
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() && self.begun {
            return None;
        }
        self.begun = true;
        Some(self.cut().inspect_err(|_| self.rest = Bytes::new()))
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

/// Takes the first frame off `bytes`, where frames come whole (a WebSocket message); `None` when it is not all there.
///
/// # Errors
/// As [`frame_size`], and [`ProtocolError::MalformedFrame`] when no whole type is in the frame.
pub fn split_first(bytes: &mut Bytes, max: usize) -> Result<Option<Frame>, ProtocolError> {
    match frame_size(bytes, max)? {
        Some(total) if bytes.len() >= total => split(bytes.split_to(total)).map(Some),
        _ => Ok(None),
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
