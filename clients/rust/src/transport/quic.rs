//! A link over QUIC: the control stream first, then the session stream. A connection that was had before goes on in
//! 0-RTT; when the server refuses that, what was said is said again on new streams, and nobody above notices.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use bytestring::ByteString;
use quinn::{
    AckFrequencyConfig, Connection, Endpoint, IdleTimeout, ReadError, RecvStream, SendStream, TransportConfig, VarInt,
    WriteError, ZeroRttAccepted, crypto::rustls::QuicClientConfig,
};
use syncbridge_codec::{
    ALPN, Message,
    message::{Class, StreamOpen},
};
use tokio::sync::mpsc;

use super::{Batch, ConnectError, Incoming, Link, Trust, Via, tls};
use crate::defaults;

/// What all QUIC links to one address share: the socket, and the configuration that keeps the tickets for 0-RTT.
#[derive(Debug)]
pub(super) struct Dialer {
    address: SocketAddr,
    name: String,
    endpoint: Endpoint,
    config: quinn::ClientConfig,
    /// The last 0-RTT connection was never confirmed: the next one waits for its handshake.
    doubted: Arc<AtomicBool>,
}

impl Dialer {
    /// A dialer for one address; `name` is HOST:PORT as the person wrote it.
    pub(super) fn new(address: SocketAddr, host: &str, name: &str, trust: &Trust) -> Result<Self, ConnectError> {
        let failed = |text: String| ConnectError::Quic(text);
        let tls = tls::client_config(trust, name, address.ip(), ALPN).map_err(|error| failed(error.to_string()))?;
        let crypto = QuicClientConfig::try_from(tls).map_err(|error| failed(error.to_string()))?;
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(transport_config()?));
        let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let endpoint = Endpoint::client(SocketAddr::new(any, 0)).map_err(|error| failed(error.to_string()))?;
        Ok(Self { address, name: host.to_owned(), endpoint, config, doubted: Arc::default() })
    }

    /// One connection. With a ticket it stands at once and is confirmed, or given up, later.
    pub(super) async fn connect(&self) -> Result<Link, ConnectError> {
        let failed = |text: String| ConnectError::Quic(text);
        let connecting = self
            .endpoint
            .connect_with(self.config.clone(), self.address, &self.name)
            .map_err(|error| failed(error.to_string()))?;
        let (connection, early) = if self.doubted.load(Ordering::Relaxed) {
            (connecting.await.map_err(|error| failed(error.to_string()))?, None)
        } else {
            match connecting.into_0rtt() {
                Ok((connection, accepted)) => (connection, Some(accepted)),
                Err(connecting) => (connecting.await.map_err(|error| failed(error.to_string()))?, None),
            }
        };
        if early.is_none() {
            self.doubted.store(false, Ordering::Relaxed);
        }
        let (control, control_batches) = mpsc::channel(1);
        let (session, session_batches) = mpsc::channel(1);
        let (to_driver, incoming) = mpsc::channel(defaults::INCOMING_CHUNKS);
        let mut tasks = tokio::task::JoinSet::new();
        let session_link = Streams {
            connection,
            control: control_batches,
            session: session_batches,
            incoming: to_driver,
            said_early: Mutex::new(None),
        };
        tasks.spawn(session_link.run(early, Arc::clone(&self.doubted)));
        Ok(Link { via: Via::Quic, control, session: Some(session), incoming, tasks })
    }

    /// Moves all connections to a new local port, as a phone that changes networks does.
    pub(super) fn rebind(&self) -> std::io::Result<()> {
        let any: IpAddr = match self.address {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        self.endpoint.rebind(std::net::UdpSocket::bind(SocketAddr::new(any, 0))?)
    }
}

fn transport_config() -> Result<TransportConfig, ConnectError> {
    let mut acks = AckFrequencyConfig::default();
    // Fewer acknowledgements for a stream of small events; measured in the project's facts on QUIC.
    acks.ack_eliciting_threshold(VarInt::from_u32(10)).max_ack_delay(Some(Duration::from_millis(25)));
    let idle = IdleTimeout::try_from(Duration::from_millis(defaults::QUIC_IDLE_MS))
        .map_err(|error| ConnectError::Quic(error.to_string()))?;
    let mut config = TransportConfig::default();
    config
        .keep_alive_interval(Some(Duration::from_millis(defaults::QUIC_KEEP_ALIVE_MS)))
        .max_idle_timeout(Some(idle))
        .ack_frequency_config(Some(acks))
        .stream_receive_window(VarInt::from_u32(defaults::QUIC_STREAM_WINDOW))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .max_concurrent_bidi_streams(VarInt::from_u32(0));
    Ok(config)
}

/// Why the streams of a link ended.
enum End {
    /// The server refused 0-RTT: the connection lives, the streams do not.
    ZeroRttRejected,
    Closed(Option<u32>, String),
}

impl From<WriteError> for End {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::ZeroRttRejected => Self::ZeroRttRejected,
            WriteError::Stopped(code) => Self::Closed(u32::try_from(code.into_inner()).ok(), error.to_string()),
            WriteError::ConnectionLost(error) => error.into(),
            WriteError::ClosedStream => Self::Closed(None, error.to_string()),
        }
    }
}

impl From<ReadError> for End {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::ZeroRttRejected => Self::ZeroRttRejected,
            ReadError::Reset(code) => Self::Closed(u32::try_from(code.into_inner()).ok(), error.to_string()),
            ReadError::ConnectionLost(error) => error.into(),
            ReadError::ClosedStream | ReadError::IllegalOrderedRead => Self::Closed(None, error.to_string()),
        }
    }
}

impl From<quinn::ConnectionError> for End {
    fn from(error: quinn::ConnectionError) -> Self {
        let code = match &error {
            quinn::ConnectionError::ApplicationClosed(close) => u32::try_from(close.error_code.into_inner()).ok(),
            _ => None,
        };
        Self::Closed(code, error.to_string())
    }
}

struct Streams {
    connection: Connection,
    control: mpsc::Receiver<Batch>,
    session: mpsc::Receiver<Batch>,
    incoming: mpsc::Sender<Incoming>,
    /// What was said, by stream, while 0-RTT may still be refused; `None` afterwards. That is what the core says within
    /// one round trip, mostly a `Hello`.
    said_early: Mutex<Option<[Vec<Bytes>; 2]>>,
}

impl Streams {
    async fn run(mut self, early: Option<ZeroRttAccepted>, doubted: Arc<AtomicBool>) {
        let incoming = self.incoming.clone();
        let (code, text) = match self.serve(early, &doubted).await {
            End::ZeroRttRejected => (None, "0-RTT was refused twice".to_owned()),
            End::Closed(code, text) => (code, text),
        };
        // Nobody listens when the client has ended the link by itself.
        let _ = incoming.send(Incoming::Closed { code, text: ByteString::from(text) }).await;
    }

    async fn serve(&mut self, early: Option<ZeroRttAccepted>, doubted: &AtomicBool) -> End {
        let Some(accepted) = early else { return self.streams([Vec::new(), Vec::new()]).await };
        *self.said_early.get_mut().unwrap_or_else(PoisonError::into_inner) = Some([Vec::new(), Vec::new()]);
        let confirm = tokio::time::timeout(Duration::from_millis(defaults::EARLY_CONFIRM_MS), accepted);
        tokio::pin!(confirm);
        let connection = self.connection.clone();
        let Self { control, session, incoming, said_early, .. } = self;
        let said_early = &*said_early;
        let outcome = {
            let nothing = [Vec::new(), Vec::new()];
            let mut streams = std::pin::pin!(streams(&connection, control, session, incoming, said_early, nothing));
            tokio::select! {
                outcome = &mut confirm => match outcome {
                    Ok(true) => {
                        *said_early.lock().unwrap_or_else(PoisonError::into_inner) = None;
                        return streams.await;
                    }
                    outcome => outcome,
                },
                end = &mut streams => match end {
                    End::ZeroRttRejected => confirm.await,
                    end @ End::Closed(..) => return end,
                },
            }
        };
        if outcome.is_err() {
            doubted.store(true, Ordering::Relaxed);
            self.connection.close(VarInt::from_u32(0), b"");
            return End::Closed(None, "the server did not confirm the connection".to_owned());
        }
        // The old streams are gone, and what they carried was not taken by the server.
        let said = said_early.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
        self.streams(said).await
    }

    async fn streams(&mut self, first: [Vec<Bytes>; 2]) -> End {
        let Self { connection, control, session, incoming, said_early } = self;
        streams(connection, control, session, incoming, said_early, first).await
    }
}

/// Opens both streams, says `first` on them, and then carries bytes until something ends.
async fn streams(
    connection: &Connection,
    control: &mut mpsc::Receiver<Batch>,
    session: &mut mpsc::Receiver<Batch>,
    incoming: &mpsc::Sender<Incoming>,
    said_early: &Mutex<Option<[Vec<Bytes>; 2]>>,
    [first_control, first_session]: [Vec<Bytes>; 2],
) -> End {
    let carry = async {
        let (mut control_out, control_in) = connection.open_bi().await?;
        let (mut session_out, session_in) = connection.open_bi().await?;
        control_out.write_all_chunks(&mut first_control.clone()).await?;
        session_out.write_chunk(Message::from(StreamOpen { class: 1 }).to_frame()).await?;
        session_out.write_all_chunks(&mut first_session.clone()).await?;
        tokio::try_join!(
            write(connection, control_out, control, said_early, 0),
            write(connection, session_out, session, said_early, 1),
            read(control_in, Class::Control, incoming),
            read(session_in, Class::Session, incoming),
        )
    };
    match carry.await {
        Ok((never, ..)) => match never {},
        Err(end) => end,
    }
}

async fn write(
    connection: &Connection,
    mut stream: SendStream,
    batches: &mut mpsc::Receiver<Batch>,
    said_early: &Mutex<Option<[Vec<Bytes>; 2]>>,
    index: usize,
) -> Result<Infallible, End> {
    while let Some(batch) = batches.recv().await {
        match batch {
            Batch::Frames(mut frames) => {
                if let Some(said) = &mut *said_early.lock().unwrap_or_else(PoisonError::into_inner) {
                    said[index].extend(frames.iter().cloned());
                }
                stream.write_all_chunks(&mut frames).await?;
            }
            Batch::End { last, code, text } => {
                stream.write_chunk(last).await?;
                // Closing at once would take the last frame with it; the owner of the link bounds this wait.
                if stream.finish().is_ok() {
                    let _ = stream.stopped().await;
                }
                connection.close(VarInt::from_u32(code), text.as_bytes());
                return Err(End::Closed(None, "ended by this client".to_owned()));
            }
        }
    }
    // The link was dropped without a word.
    connection.close(VarInt::from_u32(0), b"");
    Err(End::Closed(None, "ended by this client".to_owned()))
}

async fn read(mut stream: RecvStream, class: Class, incoming: &mpsc::Sender<Incoming>) -> Result<Infallible, End> {
    while let Some(chunk) = stream.read_chunk(defaults::BATCH_BYTES, true).await? {
        if incoming.send(Incoming::Bytes(class, chunk.bytes)).await.is_err() {
            return Err(End::Closed(None, "ended by this client".to_owned()));
        }
    }
    Err(End::Closed(None, "the server ended a stream".to_owned()))
}
