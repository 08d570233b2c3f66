//! A connection on which every frame can be seen and every byte can be wrong: the codec on a socket, and nothing of the
//! client. Sending never waits: a task of the connection's own writes.

use std::{collections::VecDeque, net::SocketAddr, sync::Arc};

use bytes::{Buf as _, Bytes, BytesMut};
use quinn::{Connection, ConnectionError, Endpoint, RecvStream, SendStream, crypto::rustls::QuicClientConfig};
use rustls::{
    DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use syncbridge_codec::{
    ALPN, Decoder, Message, handshake,
    message::{Class, Cursor, Direction, Hello, Scope, StreamOpen, Welcome},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream, tcp::OwnedReadHalf},
    sync::mpsc,
};

/// What a connection runs over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    Quic,
    WebSocket,
}

impl Via {
    pub const BOTH: [Self; 2] = [Self::Quic, Self::WebSocket];

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Quic => Self::WebSocket,
            Self::WebSocket => Self::Quic,
        }
    }
}

/// What comes in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    Message(Message),
    Ended(End),
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// QUIC, by the peer's application.
    Quic(u64),
    /// WebSocket, with this close code.
    WebSocket(u16),
    /// Without a word.
    Broken(String),
}

enum Out {
    Bytes(Class, Bytes),
    /// Ends the sending side.
    Finish,
}

/// See the file's head.
pub struct Wire {
    pub via: Via,
    out: mpsc::UnboundedSender<Out>,
    incoming: Incoming,
    /// Came before `Welcome`, on the other stream.
    held: VecDeque<Message>,
    ended: Option<End>,
    tasks: tokio::task::JoinSet<()>,
}

enum Incoming {
    WebSocket { socket: OwnedReadHalf, bytes: BytesMut, decoder: Decoder },
    Quic { connection: Connection, streams: Box<[(Option<RecvStream>, Decoder); 2]>, endpoint: Endpoint },
}

/// Larger than anything a server with default limits sends.
const MAX_FRAME: usize = 8 << 20;

impl Wire {
    /// Connects; nothing is said yet.
    pub async fn connect(via: Via, address: SocketAddr) -> Self {
        super::within("connecting", async {
            match via {
                Via::Quic => {
                    let wire = Self::quic(address).await;
                    // The server learns of the stream by its first frame, and answers cursors on it.
                    wire.send(StreamOpen::SESSION);
                    wire
                }
                Via::WebSocket => Self::websocket(address, None).await,
            }
        })
        .await
    }

    /// Connects by QUIC without opening the session stream.
    pub async fn connect_without_session_stream(address: SocketAddr) -> Self {
        super::within("connecting", Self::quic(address)).await
    }

    /// Connects by WebSocket; the kernel keeps little of what is not read.
    pub async fn connect_with_small_buffer(address: SocketAddr) -> Self {
        super::within("connecting", Self::websocket(address, Some(4 << 10))).await
    }

    /// Connects and says `Hello`; the `Welcome`.
    pub async fn greeted(via: Via, address: SocketAddr, hello: Hello) -> (Self, Welcome) {
        let mut wire = Self::connect(via, address).await;
        let welcome = wire.greet(hello).await;
        (wire, welcome)
    }

    /// Says `Hello`; the `Welcome`.
    pub async fn greet(&mut self, hello: Hello) -> Welcome {
        self.send(hello);
        let mut held = VecDeque::new();
        loop {
            match self.message().await {
                Message::Welcome(welcome) => {
                    self.held = held;
                    return welcome;
                }
                // The two streams of QUIC have no order between them.
                early if self.via == Via::Quic && early.class() == Class::Session => held.push_back(early),
                other => panic!("not welcome: {other:?}"),
            }
        }
    }

    async fn quic(address: SocketAddr) -> Self {
        let endpoint = endpoint();
        let connection = endpoint.connect(address, "localhost").expect("fits").await.expect("a connection");
        let (mut control_out, control_in) = connection.open_bi().await.expect("a stream");
        let (mut session_out, session_in) = connection.open_bi().await.expect("a stream");
        let (out, mut batches) = mpsc::unbounded_channel();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            while let Some(item) = batches.recv().await {
                let stream: &mut SendStream = match &item {
                    Out::Bytes(Class::Control, _) => &mut control_out,
                    _ => &mut session_out,
                };
                // Who sends to a peer that is gone learns of it by reading.
                let sent = match item {
                    Out::Bytes(_, bytes) => stream.write_all_chunks(&mut [bytes]).await,
                    Out::Finish => break,
                };
                if sent.is_err() {
                    break;
                }
            }
            let _gone = (control_out.finish(), session_out.finish());
        });
        let streams = Box::new([control_in, session_in].map(|stream| (Some(stream), Decoder::new(MAX_FRAME))));
        Self {
            via: Via::Quic,
            out,
            incoming: Incoming::Quic { connection, streams, endpoint },
            held: VecDeque::new(),
            ended: None,
            tasks,
        }
    }

    async fn websocket(address: SocketAddr, buffer: Option<u32>) -> Self {
        let (socket, bytes) = upgrade(address, buffer).await;
        let (read, mut write) = socket.into_split();
        let (out, mut batches) = mpsc::unbounded_channel();
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move {
            let mut buffer = BytesMut::new();
            let mut open = true;
            while let (true, Some(item)) = (open, batches.recv().await) {
                let mut next = Some(item);
                while let Some(item) = next.take() {
                    match item {
                        Out::Bytes(_, bytes) => buffer.extend_from_slice(&bytes),
                        Out::Finish => open = false,
                    }
                    next = batches.try_recv().ok();
                }
                if write.write_all_buf(&mut buffer).await.is_err() {
                    break;
                }
            }
            let _gone = write.shutdown().await;
        });
        let decoder = Decoder::new(MAX_FRAME);
        Self {
            via: Via::WebSocket,
            out,
            incoming: Incoming::WebSocket { socket: read, bytes, decoder },
            held: VecDeque::new(),
            ended: None,
            tasks,
        }
    }

    /// Sends a message on the stream that it belongs to.
    pub fn send(&self, message: impl Into<Message>) {
        let message = message.into();
        self.send_on(message.class(), &message.to_frame());
    }

    /// Sends these bytes as frames, on this stream; in a WebSocket message of their own.
    pub fn send_on(&self, class: Class, bytes: &[u8]) {
        let bytes = match self.via {
            Via::Quic => Bytes::copy_from_slice(bytes),
            Via::WebSocket => websocket_frame(0x82, bytes),
        };
        self.send_raw(class, bytes);
    }

    /// Sends bytes as they are.
    pub fn send_raw(&self, class: Class, bytes: impl Into<Bytes>) {
        // The writer ends when the peer is gone; reading tells.
        let _gone = self.out.send(Out::Bytes(class, bytes.into()));
    }

    /// Ends the sending side.
    pub fn finish(&self) {
        let _gone = self.out.send(Out::Finish);
    }

    /// The next message, or the end. Cancel-safe.
    pub async fn next(&mut self) -> Heard {
        if let Some(message) = self.held.pop_front() {
            return Heard::Message(message);
        }
        if let Some(end) = &self.ended {
            return Heard::Ended(end.clone());
        }
        let heard = match &mut self.incoming {
            Incoming::WebSocket { socket, bytes, decoder } => next_websocket(socket, bytes, decoder).await,
            Incoming::Quic { connection, streams, .. } => next_quic(connection, streams).await,
        };
        match heard {
            Ok(message) => Heard::Message(message),
            Err(end) => {
                self.ended = Some(end.clone());
                Heard::Ended(end)
            }
        }
    }

    /// The next message, which must come.
    pub async fn message(&mut self) -> Message {
        match super::within("a message", self.next()).await {
            Heard::Message(message) => message,
            Heard::Ended(end) => panic!("a message should have come, the connection ended: {end:?}"),
        }
    }

    /// The next message that `wanted` takes; others are skipped.
    pub async fn wait_for<T>(&mut self, mut wanted: impl FnMut(Message) -> Option<T>) -> T {
        loop {
            if let Some(found) = wanted(self.message().await) {
                return found;
            }
        }
    }

    /// Reads until the end: what was said last, and how it ended.
    pub async fn ended(&mut self) -> (Option<Message>, End) {
        super::within("the end", async {
            let mut last = None;
            loop {
                match self.next().await {
                    Heard::Message(message) => last = Some(message),
                    Heard::Ended(end) => return (last, end),
                }
            }
        })
        .await
    }

    /// Opens one more QUIC stream; bidirectional or not.
    pub async fn another_stream(&self, bidirectional: bool, first: &[u8]) {
        let Incoming::Quic { connection, .. } = &self.incoming else { panic!("only QUIC has streams") };
        let opened = async {
            let mut stream = if bidirectional { connection.open_bi().await?.0 } else { connection.open_uni().await? };
            stream.write_all(first).await.map_err(|_| ConnectionError::LocallyClosed)
        };
        // A server may allow none, and then this waits: the caller looks at what the connection does.
        let _refused = tokio::time::timeout(std::time::Duration::from_millis(200), opened).await;
    }

    /// Moves a QUIC connection to another local port.
    pub fn rebind(&self) {
        let Incoming::Quic { endpoint, .. } = &self.incoming else { panic!("only QUIC moves") };
        endpoint.rebind(std::net::UdpSocket::bind("127.0.0.1:0").expect("a port")).expect("moves");
    }
}

/// A `Hello` of this crate's version.
pub fn hello(token: &str, device: &str, incarnation: u128, resume: Vec<Cursor>) -> Hello {
    let hello = handshake::Client::hello(token.into(), device.into(), incarnation, Scope::default(), resume);
    Hello { resume_durable: true, ..hello }
}

/// A masked WebSocket frame; the mask is 0, which leaves the payload as it is. `head` is FIN, RSV and the opcode.
pub fn websocket_frame(head: u8, payload: &[u8]) -> Bytes {
    let mut frame = vec![head];
    match payload.len() {
        short @ 0..126 => frame.push(0x80 | short as u8),
        medium @ 126..0x1_0000 => {
            frame.push(0x80 | 0x7E);
            frame.extend_from_slice(&(medium as u16).to_be_bytes());
        }
        long => {
            frame.push(0x80 | 0x7F);
            frame.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame.into()
}

/// A TCP connection that was upgraded, and what came behind the answer.
async fn upgrade(address: SocketAddr, buffer: Option<u32>) -> (TcpStream, BytesMut) {
    let socket = TcpSocket::new_v4().expect("a socket");
    if let Some(bytes) = buffer {
        socket.set_recv_buffer_size(bytes).expect("a size");
    }
    let mut socket = socket.connect(address).await.expect("the listener answers");
    socket.set_nodelay(true).expect("a socket");
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: syncbridge.v1\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).await.expect("sent");
    let mut bytes = BytesMut::new();
    let head = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break bytes.split_to(at + 4);
        }
        assert!(socket.read_buf(&mut bytes).await.expect("answered") > 0, "no upgrade: {bytes:?}");
    };
    let head = String::from_utf8_lossy(&head).to_lowercase();
    assert!(head.starts_with("http/1.1 101"), "{head}");
    assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
    assert!(head.contains("sec-websocket-protocol: syncbridge.v1"), "{head}");
    (socket, bytes)
}

async fn next_websocket(
    socket: &mut OwnedReadHalf,
    bytes: &mut BytesMut,
    decoder: &mut Decoder,
) -> Result<Message, End> {
    loop {
        if let Some(message) = decode(decoder)? {
            return Ok(message);
        }
        if let Some((opcode, payload)) = take_frame(bytes) {
            match opcode {
                2 => decoder.push(payload),
                8 => {
                    return Err(End::WebSocket(
                        payload.get(..2).map_or(1005, |code| u16::from_be_bytes([code[0], code[1]])),
                    ));
                }
                9 | 10 => {}
                other => return Err(End::Broken(format!("the server sent opcode {other}"))),
            }
            continue;
        }
        match socket.read_buf(bytes).await {
            Ok(0) => return Err(End::Broken("the server closed the socket".to_owned())),
            Ok(_) => {}
            Err(error) => return Err(End::Broken(error.to_string())),
        }
    }
}

/// One whole frame of a server: not masked, not fragmented.
fn take_frame(bytes: &mut BytesMut) -> Option<(u8, Bytes)> {
    let (&head, &length) = (bytes.first()?, bytes.get(1)?);
    let (at, length) = match length {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?),
        short => (2, usize::from(short)),
    };
    if bytes.len() < at + length {
        return None;
    }
    assert_eq!(head & 0xF0, 0x80, "a server never fragments and uses no extension");
    bytes.advance(at);
    Some((head & 0x0F, bytes.split_to(length).freeze()))
}

async fn next_quic(connection: &Connection, streams: &mut [(Option<RecvStream>, Decoder); 2]) -> Result<Message, End> {
    loop {
        for (_, decoder) in streams.iter_mut() {
            if let Some(message) = decode(decoder)? {
                return Ok(message);
            }
        }
        let [(control, control_decoder), (session, session_decoder)] = streams;
        let (read, stream, decoder) = tokio::select! {
            biased;
            read = chunk(session), if session.is_some() => (read, session, session_decoder),
            read = chunk(control), if control.is_some() => (read, control, control_decoder),
            // Both streams are over, so the connection is about to be.
            error = connection.closed() => return Err(match error {
                ConnectionError::ApplicationClosed(close) => End::Quic(close.error_code.into_inner()),
                other => End::Broken(other.to_string()),
            }),
        };
        match read {
            Some(bytes) => decoder.push(bytes),
            None => *stream = None,
        }
    }
}

/// The next bytes of a stream; `None` when no more come.
async fn chunk(stream: &mut Option<RecvStream>) -> Option<Bytes> {
    let read = stream.as_mut()?.read_chunk(MAX_FRAME, true).await;
    read.ok().flatten().map(|chunk| chunk.bytes)
}

fn decode(decoder: &mut Decoder) -> Result<Option<Message>, End> {
    let broken = |error: syncbridge_codec::ProtocolError| End::Broken(format!("the server's frame: {error}"));
    while let Some(frame) = decoder.next_frame().map_err(broken)? {
        if let Some(message) = Message::decode(frame).map_err(broken)? {
            message.expect_from(Direction::ToClient).map_err(broken)?;
            return Ok(Some(message));
        }
    }
    Ok(None)
}

/// A socket of its own, with a configuration that believes any certificate.
pub fn endpoint() -> Endpoint {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
        .with_no_client_auth();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let crypto = QuicClientConfig::try_from(tls).expect("a QUIC suite");
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    let mut transport = quinn::TransportConfig::default();
    transport.keep_alive_interval(Some(std::time::Duration::from_secs(5)));
    config.transport_config(Arc::new(transport));
    let mut endpoint = Endpoint::client("127.0.0.1:0".parse().expect("an address")).expect("a socket");
    endpoint.set_default_client_config(config);
    endpoint
}

/// Believes any certificate; that pins are kept is tested with the client.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("QUIC has TLS 1.3".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
