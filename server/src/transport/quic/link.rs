//! An accepted QUIC connection as what a shard drives: chunks in with their class, chunks out by class, by polling and
//! without a task of its own. Cuts no frames; of the messages it knows only `StreamOpen`.

use std::{
    collections::VecDeque,
    fmt,
    net::SocketAddr,
    pin::{Pin, pin},
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use quinn::{
    Connection, ConnectionError, Incoming, ReadError, RecvStream, SendStream, VarInt, WriteError, ZeroRttAccepted,
    crypto::rustls::HandshakeData,
};
use syncbridge_codec::{
    Decoder, ErrorCode,
    frame::frame_size,
    message::{Class, StreamOpen},
};

use super::admission::Place;

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

/// Figures of a link, for the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkStats {
    /// Round trip, smoothed.
    pub rtt: Duration,
    /// Bytes that may be under way at once.
    pub congestion_window: u64,
    /// Packets sent.
    pub sent_packets: u64,
    /// Packets taken for lost.
    pub lost_packets: u64,
}

type Accepted = Result<(SendStream, RecvStream), ConnectionError>;

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
    /// The next stream of the client, asked for all the time: a stream too many must be noticed. `None` when the
    /// connection is gone.
    next_stream: Option<Pin<Box<dyn Future<Output = Accepted> + Send>>>,
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

/// Accepts a connection. Ready as soon as the client's first flight is read: what came as 0-RTT data can be read at
/// once, answers may be sent, and [`QuicLink::confirmed`] says when the client has proved that it is no replay.
///
/// # Errors
/// [`LinkError::Lost`] when the handshake fails.
pub fn accept(incoming: Incoming) -> impl Future<Output = Result<QuicLink, LinkError>> + Send + use<> {
    handshake(incoming, None)
}

/// As [`accept`]; `place` is given back with the end of the handshake. Begins at once: an `Incoming` is large, and the
/// future should not be, because it lies in the link's task for good.
pub(super) fn handshake(
    incoming: Incoming,
    place: Option<Place>,
) -> impl Future<Output = Result<QuicLink, LinkError>> + Send + use<> {
    let connecting = incoming.accept();
    async move {
        let mut connecting = connecting?;
        let data = connecting.handshake_data().await?;
        let protocol = data.downcast::<HandshakeData>().ok().and_then(|data| data.protocol);
        match connecting.into_0rtt() {
            Ok((connection, handshake)) => QuicLink::new(connection, protocol.as_deref(), handshake, place),
            // quinn lets a server go on before the end of the handshake, always.
            Err(connecting) => {
                drop(connecting);
                Err(LinkError::Lost(ConnectionError::LocallyClosed))
            }
        }
    }
}

fn next_stream(connection: &Connection) -> Pin<Box<dyn Future<Output = Accepted> + Send>> {
    let connection = connection.clone();
    Box::pin(async move { connection.accept_bi().await })
}

fn refuse(connection: &Connection, code: ErrorCode, text: String) -> LinkError {
    connection.close(VarInt::from_u32(code as u32), text.as_bytes());
    LinkError::Refused { code, text }
}

impl QuicLink {
    fn new(
        connection: Connection,
        protocol: Option<&[u8]>,
        handshake: ZeroRttAccepted,
        place: Option<Place>,
    ) -> Result<Self, LinkError> {
        if protocol != Some(syncbridge_codec::ALPN) {
            return Err(refuse(&connection, ErrorCode::UnsupportedVersion, "this is not spoken here".to_owned()));
        }
        Ok(Self {
            next_stream: Some(next_stream(&connection)),
            connection,
            control: None,
            session: None,
            announcement: Some(BytesMut::new()),
            behind_announcement: Bytes::new(),
            handshake: Some(handshake),
            confirmed: false,
            place,
            writer: None,
            session_held: false,
        })
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
        match error.or(lost.map(LinkError::Lost)) {
            Some(LinkError::Lost(ConnectionError::ApplicationClosed(close))) if close.error_code == 0u32.into() => {
                Poll::Ready(Ok(None))
            }
            Some(LinkError::Lost(ConnectionError::LocallyClosed)) => Poll::Ready(Ok(None)),
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

    /// Ends our side of both streams. The future is ready when the client has acknowledged every byte, or the
    /// connection is gone; a [`close`](QuicLink::close) before that may cost the client the last messages.
    pub fn finish(&mut self) -> impl Future<Output = ()> + Send + use<> {
        let mut acknowledged = Vec::new();
        for stream in [&mut self.control, &mut self.session].into_iter().flatten() {
            // An error says that the stream has ended already, which is as good.
            if stream.send.finish().is_ok() {
                acknowledged.push(stream.send.stopped());
            }
        }
        async move {
            for stream in acknowledged {
                // Stopped, acknowledged or lost: nothing more will get there.
                let _ended = stream.await;
            }
        }
    }

    /// Closes the connection now; what was not yet acknowledged may not arrive.
    pub fn close(&self, code: u32, text: &str) {
        self.connection.close(VarInt::from_u32(code), text.as_bytes());
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

    /// Figures for the console.
    pub fn stats(&self) -> LinkStats {
        let path = self.connection.stats().path;
        LinkStats {
            rtt: path.rtt,
            congestion_window: path.cwnd,
            sent_packets: path.sent_packets,
            lost_packets: path.lost_packets,
        }
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
        // It resolves when the connection is lost as well; keying material is there only after a whole handshake.
        self.confirmed = self.connection.close_reason().is_none()
            || self.connection.export_keying_material(&mut [0; 32], b"syncbridge handshake", &[]).is_ok();
    }

    /// Takes the streams that the client has opened. The result is the end of the connection, once it has come.
    fn poll_streams(&mut self, cx: &mut Context<'_>) -> Result<Option<ConnectionError>, LinkError> {
        while let Some(next) = &mut self.next_stream {
            let Poll::Ready(accepted) = next.as_mut().poll(cx) else { return Ok(None) };
            match accepted {
                Ok((send, recv)) => {
                    // Streams come in the order in which the client opened them, whatever the network does.
                    let stream = Some(Stream { send, recv: Some(recv) });
                    if self.control.is_none() {
                        self.control = stream;
                    } else if self.session.is_none() {
                        self.session = stream;
                    } else {
                        self.next_stream = None;
                        return Err(self.refuse(ErrorCode::UnexpectedMessage, "a third stream was opened"));
                    }
                    self.next_stream = Some(next_stream(&self.connection));
                    self.wake_writer();
                }
                Err(_) => self.next_stream = None,
            }
        }
        Ok(self.connection.close_reason())
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
        refuse(&self.connection, code, text.to_owned())
    }
}
