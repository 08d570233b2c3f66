//! WebSocket, plain or over TLS: whole frames in binary messages.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use syncbridge_codec::{WEBSOCKET_SUBPROTOCOL, frame};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpSocket, TcpStream},
};
use tokio_websockets::{ClientBuilder, Limits, Message, WebSocketStream};

use super::{End, MAX_FRAME};

/// Small, so that a reader that does not read stops the server soon.
const RECEIVE_BUFFER: u32 = 64 << 10;

pub trait Pipe: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Pipe for T {}

pub struct Link {
    socket: WebSocketStream<Box<dyn Pipe>>,
}

/// A TCP connection to the server, with a small receive buffer.
pub async fn tcp(server: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(RECEIVE_BUFFER).expect("a small buffer");
    let stream = socket.connect(server).await.expect("a TCP connection");
    stream.set_nodelay(true).expect("no delay");
    stream
}

/// The same inside TLS.
pub async fn tls(server: SocketAddr, roots: rustls::RootCertStore) -> tokio_rustls::client::TlsStream<TcpStream> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS 1.3")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = "localhost".try_into().expect("a name");
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    connector.connect(name, tcp(server).await).await.expect("a TLS connection")
}

/// A WebSocket on this pipe.
pub async fn upgrade(pipe: Box<dyn Pipe>, path: &str, max_message: usize) -> WebSocketStream<Box<dyn Pipe>> {
    let header = "sec-websocket-protocol".parse().expect("a header");
    let (socket, response) = ClientBuilder::from_uri(format!("ws://localhost{path}").parse().expect("a URI"))
        .limits(Limits::default().max_payload_len(Some(max_message)))
        .add_header(header, WEBSOCKET_SUBPROTOCOL.parse().expect("a value"))
        .expect("a header that is free")
        .connect_on(pipe)
        .await
        .expect("an upgrade");
    if path == "/ws" {
        assert_eq!(response.headers()["sec-websocket-protocol"], WEBSOCKET_SUBPROTOCOL);
    }
    socket
}

impl Link {
    pub async fn connect(pipe: Box<dyn Pipe>) -> Self {
        Self { socket: upgrade(pipe, "/ws", MAX_FRAME + 8).await }
    }

    pub async fn send(&mut self, frame: Bytes) -> Result<(), End> {
        self.socket.send(Message::binary(frame)).await.map_err(|error| End { code: None, text: error.to_string() })
    }

    /// Cancel-safe.
    pub async fn receive(&mut self) -> Result<Bytes, End> {
        loop {
            let message = match self.socket.next().await {
                Some(Ok(message)) => message,
                Some(Err(error)) => return Err(End { code: None, text: error.to_string() }),
                None => return Err(End { code: None, text: "end of file".to_owned() }),
            };
            if let Some((code, text)) = message.as_close() {
                let code = u32::from(u16::from(code));
                let code = if code == 1000 { 0 } else { code.checked_sub(4000).unwrap_or(code) };
                return Err(End { code: Some(code), text: text.to_owned() });
            }
            assert!(!message.is_text(), "the server speaks binary: {message:?}");
            if message.is_binary() {
                let bytes = Bytes::from(message.into_payload());
                let whole = frame::Frames::new(bytes.clone(), MAX_FRAME).all(|frame| frame.is_ok());
                assert!(whole && !bytes.is_empty(), "a message holds whole frames");
                return Ok(bytes);
            }
        }
    }

    pub async fn close(mut self) {
        // The server may have ended it already.
        let _ = self.socket.close().await;
    }
}
