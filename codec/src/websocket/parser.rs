//! From a peer's bytes to its messages. Whole frames are unmasked where they lie and handed out borrowed; memory is
//! taken only for a frame or message that is unfinished when the bytes end, and given back when it is whole.

use super::{Error, Event, Opcode, apply_mask, encode::MAX_CONTROL};
use crate::frame::grown;

/// Longest header a client writes: two bytes, eight of length, four of mask.
const MAX_CLIENT_HEADER: usize = 14;

/// Cuts a peer's bytes into messages. Sits in every idle connection, so it is 24 bytes there and nothing behind them.
#[derive(Debug)]
pub struct Parser {
    max: usize,
    carry: Option<Box<Carry>>,
    /// Whether the peer masks: a client does, a server must not (RFC 6455 §5.1).
    masked: bool,
    end: End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// More may come.
    Open,
    /// The peer said close: whatever follows is not read.
    Closed,
    /// The peer broke the rules.
    Failed(Failure),
}

/// [`Error`] without its figures, to stay small: what is said again when a failed parser is pushed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    Protocol,
    NotUtf8,
    TooBig,
}

/// What is unfinished. At most one of each, since a control frame may come between the fragments of a message.
#[derive(Debug, Default)]
struct Carry {
    /// The beginning of a header.
    head: Head,
    /// The frame whose payload is being read.
    frame: Option<Open>,
    /// The message whose fragments are being read, `Text` or `Binary`.
    message: Option<Opcode>,
    /// The payload so far of `message`.
    data: Vec<u8>,
    /// How much of `data` is known to be UTF-8, when it has to be.
    utf8: usize,
    /// The payload so far of an unfinished control frame.
    control: Vec<u8>,
}

#[derive(Debug, Default)]
struct Head {
    bytes: [u8; MAX_CLIENT_HEADER],
    len: usize,
}

/// A frame whose header has been read.
#[derive(Debug, Clone, Copy)]
struct Open {
    opcode: Opcode,
    fin: bool,
    mask: [u8; 4],
    /// Payload bytes read.
    read: u64,
    /// Payload bytes in all.
    len: u64,
}

impl Parser {
    /// For a server: reads a client's masked frames, and takes messages of at most `max` bytes.
    pub const fn new(max: usize) -> Self {
        Self { max, carry: None, masked: true, end: End::Open }
    }

    /// For a client: reads a server's unmasked frames.
    pub const fn for_client(max: usize) -> Self {
        Self { max, carry: None, masked: false, end: End::Open }
    }

    /// Bytes held back of what is unfinished. 0 means that no memory is held at all.
    pub fn buffered(&self) -> usize {
        self.carry.as_ref().map_or(0, |carry| {
            let frame = carry.frame.is_some() || carry.message.is_some();
            // An unfinished frame without a payload byte yet still counts, so that 0 says idle.
            (carry.head.len + carry.data.len() + carry.control.len()).max(usize::from(frame))
        })
    }

    /// Reads `bytes`, unmasking them in place, and hands out what they complete, in order. Any chunking gives the same
    /// events. After [`Event::Close`] nothing more is read.
    ///
    /// # Errors
    /// [`Error`] when the peer broke the rules; events before the fault have been handed out. From then on each call
    /// fails, and the memory is given back.
    pub fn push(&mut self, bytes: &mut [u8], on: &mut impl FnMut(Event<'_>)) -> Result<(), Error> {
        match self.end {
            End::Open => {}
            End::Closed => return Ok(()),
            End::Failed(failure) => return Err(failure.again(self.max)),
        }
        let result = self.read(bytes, on);
        if let Err(error) = result {
            self.end = End::Failed(error.into());
        }
        // What is finished is not kept: an idle connection holds nothing.
        if self.end != End::Open || self.carry.as_ref().is_some_and(|carry| carry.is_idle()) {
            self.carry = None;
        }
        result
    }

    fn read(&mut self, mut bytes: &mut [u8], on: &mut impl FnMut(Event<'_>)) -> Result<(), Error> {
        while self.end == End::Open {
            let frame = if let Some(frame) = self.carry.as_mut().and_then(|carry| carry.frame.take()) {
                frame
            } else {
                let Some((frame, rest)) = self.header(bytes)? else { return Ok(()) };
                bytes = rest;
                self.admit(frame)?;
                frame
            };
            let take = usize::try_from(frame.len - frame.read).map_or(bytes.len(), |left| left.min(bytes.len()));
            let (payload, rest) = bytes.split_at_mut(take);
            bytes = rest;
            if self.masked {
                apply_mask(payload, frame.mask, frame.read);
            }
            let before = frame.read;
            let frame = Open { read: before + take as u64, ..frame };
            if payload.is_empty() && frame.len > 0 {
                // Only the header is here: the frame may still come whole, and then nothing of it has to be kept.
            } else if frame.opcode.is_control() {
                self.control(frame, before, payload, on)?;
            } else {
                self.data(frame, before, payload, on)?;
            }
            if frame.read < frame.len {
                self.carry.get_or_insert_default().frame = Some(frame);
                return Ok(());
            }
        }
        Ok(())
    }

    /// Reads a header off the front of `bytes`; `None` when it is not all there, and then all of `bytes` is kept.
    fn header<'a>(&mut self, bytes: &'a mut [u8]) -> Result<Option<(Open, &'a mut [u8])>, Error> {
        if let Some(carry) = self.carry.as_deref_mut().filter(|carry| carry.head.len > 0) {
            // A header lies across chunks: it is at most 14 bytes, so it is topped up one by one.
            for at in 0..bytes.len() {
                carry.head.bytes[carry.head.len] = bytes[at];
                carry.head.len += 1;
                if let Some((frame, _)) = parse_header(&carry.head.bytes[..carry.head.len], self.masked)? {
                    carry.head.len = 0;
                    return Ok(Some((frame, &mut bytes[at + 1..])));
                }
            }
            return Ok(None);
        }
        if let Some((frame, size)) = parse_header(bytes, self.masked)? {
            return Ok(Some((frame, &mut bytes[size..])));
        }
        if !bytes.is_empty() {
            let head = &mut self.carry.get_or_insert_default().head;
            head.bytes[..bytes.len()].copy_from_slice(bytes);
            head.len = bytes.len();
        }
        Ok(None)
    }

    /// Whether this frame may come here, and is not too long. Decided before a byte of it is kept.
    fn admit(&self, frame: Open) -> Result<(), Error> {
        if frame.opcode.is_control() {
            return Ok(());
        }
        let open = self.carry.as_deref().filter(|carry| carry.message.is_some());
        let so_far = match (frame.opcode, open) {
            (Opcode::Continuation, Some(carry)) => carry.data.len() as u64,
            (Opcode::Continuation, None) => return Err(Error::Protocol("a continuation of nothing")),
            (_, Some(_)) => return Err(Error::Protocol("a new message inside a fragmented one")),
            (_, None) => 0,
        };
        let size = so_far.saturating_add(frame.len);
        if size > self.max as u64 { Err(Error::TooBig { size, max: self.max }) } else { Ok(()) }
    }

    fn control(
        &mut self,
        frame: Open,
        before: u64,
        payload: &[u8],
        on: &mut impl FnMut(Event<'_>),
    ) -> Result<(), Error> {
        if before == 0 && frame.read == frame.len {
            return self.finish_control(frame.opcode, payload, on);
        }
        let control = &mut self.carry.get_or_insert_default().control;
        control.extend_from_slice(payload);
        if frame.read == frame.len {
            let control = std::mem::take(control);
            return self.finish_control(frame.opcode, &control, on);
        }
        Ok(())
    }

    fn finish_control(&mut self, opcode: Opcode, payload: &[u8], on: &mut impl FnMut(Event<'_>)) -> Result<(), Error> {
        match opcode {
            Opcode::Ping => on(Event::Ping(payload)),
            Opcode::Close => {
                let event = close_event(payload)?;
                self.end = End::Closed;
                on(event);
            }
            _ => on(Event::Pong(payload)),
        }
        Ok(())
    }

    fn data(&mut self, frame: Open, before: u64, payload: &[u8], on: &mut impl FnMut(Event<'_>)) -> Result<(), Error> {
        let whole = before == 0 && frame.read == frame.len && frame.fin;
        if whole && frame.opcode != Opcode::Continuation {
            on(match frame.opcode {
                Opcode::Text => Event::Text(std::str::from_utf8(payload).map_err(|_| Error::NotUtf8)?),
                _ => Event::Binary(payload),
            });
            return Ok(());
        }
        let carry = self.carry.get_or_insert_default();
        let opcode = match frame.opcode {
            Opcode::Continuation => carry.message.unwrap_or(Opcode::Binary),
            first => first,
        };
        carry.message = Some(opcode);
        let left = usize::try_from(frame.len - frame.read).unwrap_or(usize::MAX);
        let bound =
            if frame.fin { carry.data.len().saturating_add(payload.len()).saturating_add(left) } else { self.max };
        carry.append(payload, bound);
        if opcode == Opcode::Text {
            carry.check_utf8()?;
        }
        if frame.read == frame.len && frame.fin {
            let data = std::mem::take(&mut carry.data);
            carry.utf8 = 0;
            carry.message = None;
            on(match opcode {
                // Looked at as it came; what can still be wrong is a last character that was cut short.
                Opcode::Text => Event::Text(std::str::from_utf8(&data).map_err(|_| Error::NotUtf8)?),
                _ => Event::Binary(&data),
            });
        }
        Ok(())
    }
}

impl Carry {
    fn is_idle(&self) -> bool {
        self.head.len == 0 && self.frame.is_none() && self.message.is_none()
    }

    /// Keeps `payload`. Memory grows with what has really arrived, and never beyond `bound`: what the message can still
    /// come to, which `admit` held to the cap.
    fn append(&mut self, payload: &[u8], bound: usize) {
        let needed = self.data.len() + payload.len();
        if needed > self.data.capacity() {
            let target = grown(self.data.capacity(), needed, bound);
            self.data.reserve_exact(target - self.data.len());
        }
        self.data.extend_from_slice(payload);
    }

    /// Looks at the bytes that are new, and again at the at most three of a character that was cut.
    fn check_utf8(&mut self) -> Result<(), Error> {
        match std::str::from_utf8(&self.data[self.utf8..]) {
            Ok(_) => self.utf8 = self.data.len(),
            Err(error) if error.error_len().is_none() => self.utf8 += error.valid_up_to(),
            Err(_) => return Err(Error::NotUtf8),
        }
        Ok(())
    }
}

impl Failure {
    const fn again(self, max: usize) -> Error {
        match self {
            Self::Protocol => Error::Protocol("the peer broke WebSocket framing before"),
            Self::NotUtf8 => Error::NotUtf8,
            Self::TooBig => Error::TooBig { size: max as u64 + 1, max },
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Protocol(_) => Self::Protocol,
            Error::NotUtf8 => Self::NotUtf8,
            Error::TooBig { .. } => Self::TooBig,
        }
    }
}

/// One header and its size; `None` when more bytes are needed. What can be refused by the first two bytes is.
fn parse_header(bytes: &[u8], masked: bool) -> Result<Option<(Open, usize)>, Error> {
    let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
    if first & 0x70 != 0 {
        return Err(Error::Protocol("a reserved bit is set and no extension was negotiated"));
    }
    let opcode = Opcode::from_bits(first & 0x0f).ok_or(Error::Protocol("an opcode that RFC 6455 does not know"))?;
    let fin = first & 0x80 != 0;
    let short = second & 0x7f;
    if opcode.is_control() && (!fin || usize::from(short) > MAX_CONTROL) {
        return Err(Error::Protocol("a control frame that is fragmented or longer than 125 bytes"));
    }
    if (second & 0x80 != 0) != masked {
        return Err(Error::Protocol(if masked {
            "a client's frame that is not masked"
        } else {
            "a server's frame that is masked"
        }));
    }
    let (len, rest) = match short {
        126 => {
            let Some((len, rest)) = rest.split_first_chunk() else { return Ok(None) };
            (u64::from(u16::from_be_bytes(*len)), rest)
        }
        127 => {
            let Some((len, rest)) = rest.split_first_chunk() else { return Ok(None) };
            (u64::from_be_bytes(*len), rest)
        }
        short => (u64::from(short), rest),
    };
    if (short == 126 && len < 126) || (short == 127 && (len <= 0xffff || len >> 63 != 0)) {
        return Err(Error::Protocol("a length that is not in its shortest form"));
    }
    let (mask, rest) = if masked {
        let Some((mask, rest)) = rest.split_first_chunk() else { return Ok(None) };
        (*mask, rest)
    } else {
        ([0; 4], rest)
    };
    Ok(Some((Open { opcode, fin, mask, read: 0, len }, bytes.len() - rest.len())))
}

/// RFC 6455 §7.1.5, §7.4: nothing, or a code that may stand on the wire and a reason.
fn close_event(payload: &[u8]) -> Result<Event<'_>, Error> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() {
            Ok(Event::Close { code: None, reason: "" })
        } else {
            Err(Error::Protocol("a close with half a code"))
        };
    };
    let code = u16::from_be_bytes(*code);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Error::Protocol("a close code that may not be sent"));
    }
    let reason = std::str::from_utf8(reason).map_err(|_| Error::NotUtf8)?;
    Ok(Event::Close { code: Some(code), reason })
}
