//! A link over one pipe of bytes: a TCP socket, TLS over one, or a pipe in memory.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
    os::fd::{AsRawFd as _, RawFd},
    pin::Pin,
    task::{Context, Poll, ready},
};

use syncbridge_codec::message::Transport;
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use super::{Framing, Link, Output, Received, path::Probe};
use crate::connection::Identity;

/// What a pipe is made of.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + 'static {
    /// The socket, when bytes written to it go out as they are.
    fn direct(&self) -> RawFd {
        -1
    }
    /// Who knows how its way is.
    fn probe(&self) -> Probe {
        Probe::None
    }
    /// How much is put together for one write.
    const WRITE_BYTES: usize = 64 << 10;
}

impl Stream for TcpStream {
    fn direct(&self) -> RawFd {
        self.as_raw_fd()
    }

    fn probe(&self) -> Probe {
        Probe::Tcp(self.as_raw_fd())
    }
}

impl Stream for TlsStream<TcpStream> {
    /// One TLS record: encrypting more than the socket takes would only keep it twice.
    const WRITE_BYTES: usize = 16 << 10;

    fn probe(&self) -> Probe {
        Probe::Tcp(self.as_raw_fd())
    }
}

impl Stream for DuplexStream {}

/// See the file's head.
pub struct Pipe<S> {
    stream: S,
    transport: Transport,
    peer: IpAddr,
    framing: Framing,
    identity: Option<Box<Identity>>,
    /// Our side is shut; what still comes is read and dropped until the peer ends too.
    shut: bool,
}

impl<S: Stream> Pipe<S> {
    /// A WebSocket from `peer`, after its upgrade.
    pub const fn websocket(stream: S, peer: IpAddr) -> Self {
        let (transport, framing) = (Transport::WebSocket, Framing::WebSocket);
        Self { stream, transport, peer, framing, identity: None, shut: false }
    }

    /// A WebSocket of flat JSON; `identity` is whom the upgrade's own token named.
    pub const fn json(stream: S, peer: IpAddr, identity: Option<Box<Identity>>) -> Self {
        Self { stream, transport: Transport::Json, peer, framing: Framing::Json, identity, shut: false }
    }

    /// Frames without WebSocket around them.
    pub const fn frames(stream: S) -> Self {
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        Self { stream, transport: Transport::Memory, peer, framing: Framing::Pipe, identity: None, shut: false }
    }
}

impl<S: Stream> Link for Pipe<S> {
    fn transport(&self) -> Transport {
        self.transport
    }

    fn peer(&self) -> IpAddr {
        self.peer
    }

    fn framing(&self) -> Framing {
        self.framing
    }

    fn identity(&mut self) -> Option<Identity> {
        self.identity.take().map(|identity| *identity)
    }

    fn direct(&self) -> RawFd {
        self.stream.direct()
    }

    fn probe(&self) -> Probe {
        self.stream.probe()
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> Poll<io::Result<Received>> {
        let mut buffer = ReadBuf::new(scratch);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(match buffer.filled().len() {
            0 => Received::End,
            read => Received::Bytes(read),
        }))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, output: &mut dyn Output) -> Poll<io::Result<()>> {
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            output.bytes(&mut bytes);
            if bytes.is_empty() {
                return Pin::new(&mut self.stream).poll_flush(cx);
            }
            let some = &bytes[..bytes.len().min(S::WRITE_BYTES)];
            let sent = ready!(Pin::new(&mut self.stream).poll_write(cx, some))?;
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            output.sent(sent);
        }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, _code: u32) -> Poll<()> {
        if !self.shut {
            // An error says that the connection is gone, which is what is wanted.
            let _gone = ready!(Pin::new(&mut self.stream).poll_shutdown(cx));
            self.shut = true;
        }
        // Closing a socket with unread bytes resets it, and the peer may lose what it was told last: read to its end.
        let mut waste = [0; 1024];
        loop {
            let mut buffer = ReadBuf::new(&mut waste);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {}
                _ => return Poll::Ready(()),
            }
        }
    }
}
