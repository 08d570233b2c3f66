//! QUIC: two streams on a socket of its own, which can fall silent as a phone in a tunnel does.

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use quinn::{
    AsyncUdpSocket, Connection, ConnectionError, Endpoint, EndpointConfig, ReadError, RecvStream, Runtime as _,
    SendStream, TokioRuntime, UdpPoller, VarInt, ZeroRttAccepted, crypto::rustls::QuicClientConfig, udp,
};
use syncbridge_codec::{
    ALPN, ErrorCode, Message,
    message::{Class, StreamOpen},
};

use super::End;

/// Small, so that a reader that does not read stops the server soon.
const WINDOW: u32 = 64 << 10;

pub struct Link {
    pub endpoint: Endpoint,
    pub connection: Connection,
    silent: Arc<AtomicBool>,
    send: [SendStream; 2],
    receive: [Option<RecvStream>; 2],
}

impl Link {
    pub async fn connect(server: SocketAddr, roots: rustls::RootCertStore) -> Self {
        let (endpoint, silent) = endpoint();
        let connecting = endpoint.connect_with(config(roots), server, "localhost").expect("an attempt");
        let connection = connecting.await.expect("a QUIC connection");
        Self::open(endpoint, connection, silent).await
    }

    /// Both streams of a connection.
    async fn open(endpoint: Endpoint, connection: Connection, silent: Arc<AtomicBool>) -> Self {
        let (control_send, control_receive) = connection.open_bi().await.expect("the control stream");
        let (mut session_send, session_receive) = connection.open_bi().await.expect("the session stream");
        session_send.write_chunk(Message::from(StreamOpen::SESSION).to_frame()).await.expect("room for StreamOpen");
        let send = [control_send, session_send];
        Self { endpoint, connection, silent, send, receive: [Some(control_receive), Some(session_receive)] }
    }

    /// From now on nothing goes out and nothing comes in.
    pub fn fall_silent(&self) {
        self.silent.store(true, Relaxed);
    }

    pub async fn send(&mut self, class: Class, frame: Bytes) -> Result<(), End> {
        let sent = self.send[usize::from(class == Class::Session)].write_chunk(frame).await;
        match sent {
            Ok(()) => Ok(()),
            Err(_) => Err(self.end().await),
        }
    }

    /// Cancel-safe.
    pub async fn receive(&mut self) -> Result<(Class, Bytes), End> {
        loop {
            let is_over = self.receive.iter().all(Option::is_none);
            let [control, session] = &mut self.receive;
            let (class, read) = tokio::select! {
                read = next(control), if control.is_some() => (Class::Control, read),
                read = next(session), if session.is_some() => (Class::Session, read),
                end = closed(&self.connection), if is_over => return Err(end),
            };
            match read {
                Ok(Some(bytes)) => return Ok((class, bytes)),
                // What the other stream holds is still to be read.
                Ok(None) => self.receive[usize::from(class == Class::Session)] = None,
                Err(_) => return Err(self.end().await),
            }
        }
    }

    async fn end(&self) -> End {
        closed(&self.connection).await
    }

    pub async fn close(self) {
        self.connection.close(VarInt::from_u32(0), b"");
        self.endpoint.wait_idle().await;
    }
}

/// A device that comes again with what it kept of TLS, and speaks before the handshake is done.
pub struct Returning {
    config: quinn::ClientConfig,
    server: SocketAddr,
}

impl Returning {
    pub fn new(server: SocketAddr, roots: rustls::RootCertStore) -> Self {
        Self { config: config(roots), server }
    }

    /// A connection, and whether what is said on it at once was taken; `None`: there was nothing to come again with.
    pub async fn connect(&self) -> (Link, Option<ZeroRttAccepted>) {
        let (endpoint, silent) = endpoint();
        let connecting = endpoint.connect_with(self.config.clone(), self.server, "localhost").expect("an attempt");
        let (connection, early) = match connecting.into_0rtt() {
            Ok((connection, accepted)) => (connection, Some(accepted)),
            Err(connecting) => (connecting.await.expect("a QUIC connection"), None),
        };
        (Link::open(endpoint, connection, silent).await, early)
    }
}

fn config(roots: rustls::RootCertStore) -> quinn::ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.enable_early_data = true;
    with_small_windows(QuicClientConfig::try_from(tls).expect("a suite for QUIC"))
}

/// A configuration whose reader stops the server soon.
pub fn with_small_windows(tls: QuicClientConfig) -> quinn::ClientConfig {
    let mut transport = quinn::TransportConfig::default();
    transport.stream_receive_window(VarInt::from_u32(WINDOW));
    let mut config = quinn::ClientConfig::new(Arc::new(tls));
    config.transport_config(Arc::new(transport));
    config
}

/// A socket of its own, and what makes it fall silent.
pub fn endpoint() -> (Endpoint, Arc<AtomicBool>) {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a UDP socket");
    let inner = TokioRuntime.wrap_udp_socket(socket).expect("a socket of tokio");
    let silent = Arc::new(AtomicBool::new(false));
    let socket = Arc::new(Socket { inner, silent: Arc::clone(&silent) });
    let runtime = Arc::new(TokioRuntime);
    let endpoint = Endpoint::new_with_abstract_socket(EndpointConfig::default(), None, socket, runtime);
    (endpoint.expect("an endpoint"), silent)
}

async fn next(stream: &mut Option<RecvStream>) -> Result<Option<Bytes>, ReadError> {
    match stream {
        Some(stream) => Ok(stream.read_chunk(WINDOW as usize, true).await?.map(|chunk| chunk.bytes)),
        None => std::future::pending().await,
    }
}

async fn closed(connection: &Connection) -> End {
    let patience = tokio::time::timeout(Duration::from_secs(20), connection.closed());
    match patience.await.expect("streams end because the connection does") {
        ConnectionError::ApplicationClosed(close) => {
            End { code: u32::try_from(close.error_code.into_inner()).ok(), text: close.to_string() }
        }
        // Both ends give a silent connection up by themselves, and have nobody left to tell.
        ConnectionError::TimedOut => End { code: Some(ErrorCode::TimedOut as u32), text: "timed out".to_owned() },
        other => End { code: None, text: other.to_string() },
    }
}

/// A socket that can be made to lose everything.
struct Socket {
    inner: Arc<dyn AsyncUdpSocket>,
    silent: Arc<AtomicBool>,
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("silent", &self.silent).finish_non_exhaustive()
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &udp::Transmit<'_>) -> io::Result<()> {
        if self.silent.load(Relaxed) { Ok(()) } else { self.inner.try_send(transmit) }
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [io::IoSliceMut<'_>],
        meta: &mut [udp::RecvMeta],
    ) -> Poll<io::Result<usize>> {
        loop {
            let received = ready!(self.inner.poll_recv(cx, buffers, meta))?;
            if !self.silent.load(Relaxed) {
                return Poll::Ready(Ok(received));
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    // What the kernel joins must fit, or it is lost.
    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}
