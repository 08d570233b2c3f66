//! An accepted QUIC connection as what a shard drives: chunks in with their class, chunks out by class, by polling and
//! without a task of its own. Cuts no frames; of the messages it knows only `StreamOpen`. Where the client speaks HTTP/3,
//! a session of WebTransport lies around the same two streams.

use std::{
    collections::VecDeque,
    fmt,
    net::SocketAddr,
    pin::{Pin, pin},
    task::{Context, Poll, Waker, ready},
};

use bytes::{Bytes, BytesMut};
use quinn::{Connection, ConnectionError, ReadError, RecvStream, SendStream, VarInt, WriteError, ZeroRttAccepted};
use syncbridge_codec::{
    Decoder, ErrorCode,
    frame::frame_size,
    message::{Class, StreamOpen, Transport},
};

use super::{
    accepted::is_complete,
    admission::Place,
    arrivals::{self, Arrivals, Opened},
};
use crate::transport::{
    path::Probe,
    webtransport::{self, Session},
};

/// Largest `StreamOpen` that is read: today's has 3 bytes, the rest is room for fields to come.
const MAX_STREAM_OPEN: usize = 128;
/// `StreamOpen.class` of the session stream.
const SESSION_CLASS: u8 = 1;

/// Why a link ended before both sides were done with it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LinkError {
    /// The connection is gone: closed with an error by the client, timed out, reset, or broken on the transport level.
    #[error("{0}")]
    Lost(ConnectionError),
    /// The client ended the session of WebTransport, with this code.
    #[error("the client ended the session with code {0}")]
    Ended(u32),
    /// The client opened a stream that may not be. It was told, and the connection is closed.
    #[error("{text}")]
    Refused {
        /// What the client was told.
        code: ErrorCode,
        /// The same for people.
        text: String,
    },
    /// The client gave up a stream it sends on.
    #[error("the client broke off a stream: {0}")]
    Read(ReadError),
    /// The client does not take a stream of ours any more.
    #[error("the client takes no more on a stream: {0}")]
    Write(WriteError),
}

impl From<ConnectionError> for LinkError {
    fn from(error: ConnectionError) -> Self {
        Self::Lost(error)
    }
}

impl From<ReadError> for LinkError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::ConnectionLost(error) => Self::Lost(error),
            error => Self::Read(error),
        }
    }
}

impl From<WriteError> for LinkError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::ConnectionLost(error) => Self::Lost(error),
            error => Self::Write(error),
        }
    }
}

/// One of the client's streams.
struct Stream {
    send: SendStream,
    /// `None` when the client has finished its side and all is read.
    recv: Option<RecvStream>,
}

impl Stream {
    /// The next bytes; `None` when there are no more.
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, ReadError>> {
        let Some(recv) = &mut self.recv else { return Poll::Ready(Ok(None)) };
        // The future holds nothing between polls: quinn keeps the waker by stream.
        let chunk = ready!(pin!(recv.read_chunk(usize::MAX, true)).poll(cx))?;
        if chunk.is_none() {
            self.recv = None;
        }
        Poll::Ready(Ok(chunk.map(|chunk| chunk.bytes)))
    }
}

/// A client's connection. Dropping it closes the connection with code 0.
pub struct QuicLink {
    connection: Connection,
    /// What lies around the streams, when the client speaks HTTP/3.
    session_around: Option<Box<Session>>,
    /// The streams of the client, waited for all the time: a stream too many must be noticed. `None` when the
    /// connection is gone.
    arrivals: Option<Arrivals>,
    control: Option<Stream>,
    session: Option<Stream>,
    /// What is read of the session stream's `StreamOpen`; `None` when it is whole.
    announcement: Option<BytesMut>,
    /// What came behind `StreamOpen` in the chunk that ended it, and is not handed out yet.
    behind_announcement: Bytes,
    /// Resolves when the handshake is complete or has failed; `None` after that.
    handshake: Option<ZeroRttAccepted>,
    confirmed: bool,
    /// Held until `confirmed`.
    place: Option<Place>,
    /// Who wants to send on a stream that the client has not opened yet.
    writer: Option<Waker>,
    /// The session stream is not read yet.
    session_held: bool,
}

impl fmt::Debug for QuicLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuicLink").field("remote", &self.remote_address()).finish_non_exhaustive()
    }
}

impl QuicLink {
    /// The streams of a client that speaks nothing but frames; `place` is held until the handshake is complete.
    pub(super) fn native(connection: Connection, handshake: ZeroRttAccepted, place: Option<Place>) -> Self {
        let arrivals = arrivals::plain(&connection);
        Self { handshake: Some(handshake), confirmed: false, place, ..Self::new(connection, arrivals) }
    }

    /// The streams of an open session of WebTransport, which `arrivals` brings.
    pub(in crate::transport) fn webtransport(connection: Connection, arrivals: Arrivals, around: Session) -> Self {
        Self { session_around: Some(Box::new(around)), ..Self::new(connection, arrivals) }
    }

    fn new(connection: Connection, arrivals: Arrivals) -> Self {
        Self {
            connection,
            session_around: None,
            arrivals: Some(arrivals),
            control: None,
            session: None,
            announcement: Some(BytesMut::new()),
            behind_announcement: Bytes::new(),
            handshake: None,
            confirmed: true,
            place: None,
            writer: None,
            session_held: false,
        }
    }

    /// What other devices are told that it runs over.
    pub const fn transport(&self) -> Transport {
        if self.session_around.is_some() { Transport::WebTransport } else { Transport::Quic }
    }

    /// The next bytes from the client with the class of the stream that they came on; control goes first. `None` when
    /// the client is done: it has finished both streams, or closed the connection with code 0.
    ///
    /// Frames lie across chunks as it happens. Wakes also when [`QuicLink::confirmed`] becomes true.
    ///
    /// # Errors
    /// [`LinkError`]; what arrived before it has been returned by then.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<(Class, Bytes)>, LinkError>> {
        self.poll_handshake(cx);
        let lost = self.poll_streams(cx)?;
        let mut error = None;
        for class in [Class::Control, Class::Session] {
            if class == Class::Session && self.session_held {
                continue;
            }
            match self.poll_chunk(cx, class) {
                Poll::Ready(Ok(Some(chunk))) => return Poll::Ready(Ok(Some((class, chunk)))),
                Poll::Ready(Err(failed)) => error = error.or(Some(failed)),
                Poll::Ready(Ok(None)) | Poll::Pending => {}
            }
        }
        match error.or(lost) {
            Some(LinkError::Lost(ConnectionError::ApplicationClosed(close))) if self.is_peace(close.error_code) => {
                Poll::Ready(Ok(None))
            }
            Some(LinkError::Lost(ConnectionError::LocallyClosed) | LinkError::Ended(0)) => Poll::Ready(Ok(None)),
            Some(error) => Poll::Ready(Err(error)),
            None if self.client_has_finished() => Poll::Ready(Ok(None)),
            None => Poll::Pending,
        }
    }

    /// Sends the chunks of `queue` on the stream of `class`, in order, without copying them. Ready when all are
    /// handed to QUIC; what is not yet stays in `queue`. Waits for the client to open the stream, and notices that by
    /// itself: who sends may not want to receive before what it sends is gone.
    ///
    /// # Errors
    /// [`LinkError`]; `Lost` also when the client has closed the connection in peace.
    pub fn poll_send(
        &mut self,
        cx: &mut Context<'_>,
        class: Class,
        queue: &mut VecDeque<Bytes>,
    ) -> Poll<Result<(), LinkError>> {
        if queue.is_empty() {
            return Poll::Ready(Ok(()));
        }
        if class == Class::Session && self.announcement.is_some() {
            self.poll_streams(cx)?;
            self.poll_announcement(cx)?;
        }
        let open = class == Class::Control || self.announcement.is_none();
        let Some(stream) = self.stream(class).filter(|_| open) else {
            if let Some(error) = self.connection.close_reason() {
                return Poll::Ready(Err(error.into()));
            }
            self.writer = Some(cx.waker().clone());
            return Poll::Pending;
        };
        while !queue.is_empty() {
            // Never empty as long as the queue is not.
            let (chunks, _) = queue.as_mut_slices();
            // As in `Stream::poll_chunk`, the future holds nothing.
            let written = ready!(pin!(stream.send.write_chunks(chunks)).poll(cx))?;
            queue.drain(..written.chunks);
        }
        Poll::Ready(Ok(()))
    }

    /// Ends our side of both streams, and then the session around them with the error's number or 0. The future is ready
    /// when the client has acknowledged every byte, or the connection is gone; a [`close`](QuicLink::close) before that
    /// may cost the client the last messages.
    pub fn finish(&mut self, code: u32) -> impl Future<Output = ()> + Send + use<> {
        let mut acknowledged = Vec::new();
        for stream in [&mut self.control, &mut self.session].into_iter().flatten() {
            // An error says that the stream has ended already, which is as good.
            if stream.send.finish().is_ok() {
                acknowledged.push(stream.send.stopped());
            }
        }
        let around = self.session_around.as_mut().map(|session| session.finish(code));
        async move {
            for stream in acknowledged {
                // Stopped, acknowledged or lost: nothing more will get there.
                let _ended = stream.await;
            }
            if let Some(around) = around {
                around.await;
            }
        }
    }

    /// Closes the connection now; what was not yet acknowledged may not arrive.
    pub fn close(&self, code: u32, text: &str) {
        self.connection.close(self.wire_code(code), text.as_bytes());
    }

    /// The error's number as the connection's end says it.
    fn wire_code(&self, code: u32) -> VarInt {
        if self.session_around.is_some() { webtransport::http3_code(code) } else { VarInt::from_u32(code) }
    }

    /// Whether a client that closed the connection with this code had nothing to complain of.
    fn is_peace(&self, code: VarInt) -> bool {
        if self.session_around.is_some() { webtransport::is_peace(code) } else { code == VarInt::from_u32(0) }
    }

    /// Whether the session stream is left unread: its bytes may arrive before `Hello` does, and QUIC's flow control is
    /// what bounds them then.
    pub const fn hold_session(&mut self, held: bool) {
        self.session_held = held;
    }

    /// [`QuicLink::confirmed`], looked at now; wakes when it becomes true.
    pub fn poll_confirmed(&mut self, cx: &mut Context<'_>) -> bool {
        self.poll_handshake(cx);
        self.confirmed
    }

    /// Whether the handshake is complete. Until then all that was received may be the replay of an earlier first
    /// flight. Becomes true in [`QuicLink::poll_recv`], before the first chunk that came after it is returned.
    pub fn confirmed(&self) -> bool {
        self.confirmed
    }

    /// The client's address now; it changes when the client migrates.
    pub fn remote_address(&self) -> SocketAddr {
        self.connection.remote_address()
    }

    /// Knows how the way to the client is. It must be gone before the link is dropped, or the connection stays open.
    pub fn probe(&self) -> Probe {
        Probe::Quic(self.connection.clone())
    }

    fn stream(&mut self, class: Class) -> Option<&mut Stream> {
        match class {
            Class::Control => self.control.as_mut(),
            Class::Session => self.session.as_mut(),
        }
    }

    fn client_has_finished(&self) -> bool {
        let finished = |stream: &Option<Stream>| stream.as_ref().is_some_and(|stream| stream.recv.is_none());
        finished(&self.control) && finished(&self.session)
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) {
        let Some(handshake) = &mut self.handshake else { return };
        if Pin::new(handshake).poll(cx).is_pending() {
            return;
        }
        self.handshake = None;
        self.place = None;
        self.confirmed = is_complete(&self.connection);
    }

    /// Takes the streams that the client has opened. The result is the end of the connection, or of the session around
    /// it, once that has come.
    fn poll_streams(&mut self, cx: &mut Context<'_>) -> Result<Option<LinkError>, LinkError> {
        while let Some(arrivals) = &mut self.arrivals {
            let Poll::Ready(opened) = arrivals.as_mut().poll_next(cx) else { break };
            match opened {
                Some(Ok(Opened::Stream(send, recv))) => {
                    // Streams come in the order in which the client opened them, whatever the network does.
                    let stream = Some(Stream { send, recv: Some(recv) });
                    if self.control.is_none() {
                        self.control = stream;
                    } else if self.session.is_none() {
                        self.session = stream;
                    } else {
                        self.arrivals = None;
                        return Err(self.refuse(ErrorCode::UnexpectedMessage, "a third stream was opened"));
                    }
                    self.wake_writer();
                }
                Some(Ok(Opened::Unwanted(what))) => {
                    self.arrivals = None;
                    return Err(self.refuse(ErrorCode::UnexpectedMessage, what));
                }
                Some(Err(_)) | None => self.arrivals = None,
            }
        }
        if self.arrivals.is_none()
            && let Some(error) = self.connection.close_reason()
        {
            return Ok(Some(error.into()));
        }
        let ended = self.session_around.as_mut().map(|session| session.poll_ended(cx));
        Ok(match ended {
            Some(Poll::Ready(ended)) => Some(ended.map_or_else(|error| self.told(error), LinkError::Ended)),
            Some(Poll::Pending) | None => None,
        })
    }

    /// Tells the client what is wrong with it, if the error is one of its own.
    fn told(&self, error: LinkError) -> LinkError {
        match error {
            LinkError::Refused { code, text } => self.refuse(code, &text),
            error => error,
        }
    }

    /// Bytes of one stream; `None` when there is no such stream (yet, or any more).
    fn poll_chunk(&mut self, cx: &mut Context<'_>, class: Class) -> Poll<Result<Option<Bytes>, LinkError>> {
        if class == Class::Session {
            if self.announcement.is_some() {
                self.poll_announcement(cx)?;
            }
            if self.announcement.is_some() {
                return Poll::Pending;
            }
            if !self.behind_announcement.is_empty() {
                return Poll::Ready(Ok(Some(std::mem::take(&mut self.behind_announcement))));
            }
        }
        let Some(stream) = self.stream(class) else { return Poll::Ready(Ok(None)) };
        stream.poll_chunk(cx).map_err(LinkError::from)
    }

    /// Reads the session stream as far as its `StreamOpen`, and not further.
    fn poll_announcement(&mut self, cx: &mut Context<'_>) -> Result<(), LinkError> {
        while self.announcement.is_some()
            && let Some(stream) = &mut self.session
            && let Poll::Ready(Some(chunk)) = stream.poll_chunk(cx)?
        {
            self.behind_announcement = self.read_announcement(&chunk)?;
        }
        Ok(())
    }

    /// Reads the `StreamOpen` at the front of the session stream; returns what follows it.
    fn read_announcement(&mut self, chunk: &[u8]) -> Result<Bytes, LinkError> {
        let mut read = self.announcement.take().unwrap_or_default();
        read.extend_from_slice(chunk);
        let size = match frame_size(&read, MAX_STREAM_OPEN) {
            Ok(Some(size)) if size <= read.len() => size,
            Ok(_) => {
                self.announcement = Some(read);
                return Ok(Bytes::new());
            }
            Err(error) => return Err(self.refuse(error.code(), "the second stream does not begin with StreamOpen")),
        };
        let mut decoder = Decoder::new(MAX_STREAM_OPEN);
        decoder.push(read.split_to(size).freeze());
        let announced = match decoder.next_frame() {
            Ok(Some(frame)) if frame.kind == StreamOpen::KIND => StreamOpen::decode(frame.body),
            Ok(_) => {
                return Err(
                    self.refuse(ErrorCode::UnexpectedMessage, "the second stream does not begin with StreamOpen")
                );
            }
            Err(error) => Err(error),
        };
        match announced {
            Ok(StreamOpen { class: SESSION_CLASS }) => {
                self.wake_writer();
                Ok(read.freeze())
            }
            Ok(_) => Err(self.refuse(ErrorCode::UnexpectedMessage, "StreamOpen names a class that there is not")),
            Err(error) => Err(self.refuse(error.code(), &error.to_string())),
        }
    }

    fn wake_writer(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }

    fn refuse(&self, code: ErrorCode, text: &str) -> LinkError {
        self.close(code as u32, text);
        LinkError::Refused { code, text: text.to_owned() }
    }
}
