//! A link over WebSocket: both classes in one order, in binary messages of whole frames, plain or over TLS.

use std::{net::SocketAddr, sync::Arc};

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::ServerName;
use syncbridge_codec::{WEBSOCKET_SUBPROTOCOL, message::Class};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::mpsc,
};
use tokio_websockets::{ClientBuilder, CloseCode, Limits, Message, WebSocketStream, upgrade::Response};

use super::{Batch, ConnectError, Incoming, Link, Trust, Via, tls};
use crate::defaults;

/// The header that names the subprotocol.
const SUBPROTOCOL: &str = "sec-websocket-protocol";

/// Where and how to connect.
#[derive(Debug, Clone)]
pub(super) struct Dial {
    pub(super) address: SocketAddr,
    pub(super) host: String,
    /// HOST:PORT as the person wrote it.
    pub(super) name: String,
    pub(super) tls: bool,
    pub(super) trust: Trust,
    /// Largest message taken.
    pub(super) max_message: usize,
}

#[expect(clippy::needless_pass_by_value, reason = "errors come by value, as map_err passes them")]
fn failed(text: impl ToString) -> ConnectError {
    ConnectError::WebSocket(text.to_string())
}

/// One connection, upgraded.
pub(super) async fn connect(dial: Dial) -> Result<Link, ConnectError> {
    let tcp = TcpStream::connect(dial.address).await.map_err(failed)?;
    // Frames are batched above; waiting for more would only delay them.
    tcp.set_nodelay(true).map_err(failed)?;
    if dial.tls {
        let mut config = tls::client_config(&dial.trust, &dial.name, dial.address.ip(), b"http/1.1").map_err(failed)?;
        config.enable_early_data = false;
        let host = ServerName::try_from(dial.host.clone()).map_err(failed)?;
        let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(host, tcp).await.map_err(failed)?;
        upgrade(&dial, stream).await
    } else {
        upgrade(&dial, tcp).await
    }
}

async fn upgrade<S>(dial: &Dial, stream: S) -> Result<Link, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let scheme = if dial.tls { "wss" } else { "ws" };
    let uri = format!("{scheme}://{}/ws", dial.name).parse().map_err(failed)?;
    let (socket, response) = ClientBuilder::from_uri(uri)
        .limits(Limits::default().max_payload_len(Some(dial.max_message)))
        .add_header(SUBPROTOCOL.parse().map_err(failed)?, WEBSOCKET_SUBPROTOCOL.parse().map_err(failed)?)
        .map_err(failed)?
        .connect_on(stream)
        .await
        .map_err(failed)?;
    speaks_syncbridge(&response)?;
    let (control, batches) = mpsc::channel(1);
    let (to_driver, incoming) = mpsc::channel(defaults::INCOMING_CHUNKS);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(carry(socket, batches, to_driver));
    Ok(Link { via: Via::WebSocket, control, session: None, incoming, tasks })
}

fn speaks_syncbridge(response: &Response) -> Result<(), ConnectError> {
    match response.headers().get(SUBPROTOCOL) {
        Some(chosen) if chosen == WEBSOCKET_SUBPROTOCOL => Ok(()),
        _ => Err(failed(format!("the server does not speak {WEBSOCKET_SUBPROTOCOL}"))),
    }
}

async fn carry<S>(socket: WebSocketStream<S>, mut batches: mpsc::Receiver<Batch>, incoming: mpsc::Sender<Incoming>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sink, mut stream) = socket.split();
    let read = async {
        while let Some(message) = stream.next().await {
            let message = match message {
                Ok(message) => message,
                Err(error) => return (None, error.to_string()),
            };
            if let Some((code, text)) = message.as_close() {
                let code = u32::from(u16::from(code)).checked_sub(4000);
                return (code, format!("closed by the server: {text}"));
            }
            if message.is_binary() {
                let bytes = Bytes::from(message.into_payload());
                if incoming.send(Incoming::Bytes(Class::Control, bytes)).await.is_err() {
                    return (None, "ended by this client".to_owned());
                }
            }
        }
        (None, "the server closed the connection".to_owned())
    };
    let write = async {
        while let Some(batch) = batches.recv().await {
            let sent = match batch {
                Batch::Frames(frames) => sink.send(Message::binary(join(&frames))).await,
                Batch::End { last, code, text } => {
                    let _ = sink.send(Message::binary(last)).await;
                    let code = u16::try_from(code).ok().filter(|code| (1..=999).contains(code));
                    let code = code.and_then(|code| CloseCode::try_from(4000 + code).ok());
                    let reason: String = text.chars().take(40).collect();
                    let _ = sink.send(Message::close(Some(code.unwrap_or(CloseCode::NORMAL_CLOSURE)), &reason)).await;
                    let _ = sink.close().await;
                    return (None, "ended by this client".to_owned());
                }
            };
            if let Err(error) = sent {
                return (None, error.to_string());
            }
        }
        (None, "ended by this client".to_owned())
    };
    let (code, text) = tokio::select! {
        end = read => end,
        end = write => end,
    };
    // Nobody listens when the client has ended the link by itself.
    let _ = incoming.send(Incoming::Closed { code, text: ByteString::from(text) }).await;
}

/// Whole frames in one message.
fn join(frames: &[Bytes]) -> Bytes {
    match frames {
        [frame] => frame.clone(),
        frames => {
            let mut joined = BytesMut::with_capacity(frames.iter().map(Bytes::len).sum());
            for frame in frames {
                joined.extend_from_slice(frame);
            }
            joined.freeze()
        }
    }
}
