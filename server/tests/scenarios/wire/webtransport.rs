//! WebTransport, as a client has it that is no browser: the two streams of QUIC in a session of HTTP/3, by another
//! implementation than the server's.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use quinn::{ConnectionError, Endpoint, crypto::rustls::QuicClientConfig};
use rustls::{
    CertificateError, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{aws_lc_rs, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use sha2::{Digest, Sha256};
use syncbridge_codec::{
    ErrorCode, Message, WEBSOCKET_SUBPROTOCOL,
    message::{Class, StreamOpen},
};
use url::Url;
use web_transport_quinn::{
    ALPN, ReadError, RecvStream, SendStream, Session, SessionError, WebTransportError, proto::ConnectRequest,
};

use super::{End, quic};

/// Taken at once, of what a stream has.
const CHUNK: usize = 64 << 10;

pub struct Link {
    pub endpoint: Endpoint,
    session: Session,
    silent: Arc<AtomicBool>,
    send: [SendStream; 2],
    receive: [Option<RecvStream>; 2],
}

impl Link {
    /// `url`: of the session; `hashes`: of the certificates that are believed, in hexadecimal.
    pub async fn connect(server: SocketAddr, url: &str, hashes: Vec<String>) -> Self {
        let (endpoint, silent) = quic::endpoint();
        let connecting =
            endpoint.connect_with(config(hashes, &[ALPN.as_bytes()]), server, "localhost").expect("an attempt");
        let connection = connecting.await.expect("a QUIC connection");
        let request = ConnectRequest::new(Url::parse(url).expect("a URL")).with_protocol(WEBSOCKET_SUBPROTOCOL);
        let session = Session::connect(connection, request).await.expect("a session");
        assert_eq!(session.protocol(), Some(WEBSOCKET_SUBPROTOCOL));
        let (control_send, control_receive) = session.open_bi().await.expect("the control stream");
        let (mut session_send, session_receive) = session.open_bi().await.expect("the session stream");
        session_send.write_chunk(Message::from(StreamOpen::SESSION).to_frame()).await.expect("room for StreamOpen");
        let send = [control_send, session_send];
        Self { endpoint, session, silent, send, receive: [Some(control_receive), Some(session_receive)] }
    }

    /// From now on nothing goes out and nothing comes in.
    pub fn fall_silent(&self) {
        self.silent.store(true, Relaxed);
    }

    pub async fn send(&mut self, class: Class, frame: Bytes) -> Result<(), End> {
        match self.send[usize::from(class == Class::Session)].write_chunk(frame).await {
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
                end = closed(&self.session), if is_over => return Err(end),
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
        closed(&self.session).await
    }

    pub async fn close(self) {
        self.session.close(0, b"");
        self.session.closed().await;
        self.endpoint.wait_idle().await;
    }
}

async fn next(stream: &mut Option<RecvStream>) -> Result<Option<Bytes>, ReadError> {
    match stream {
        Some(stream) => Ok(stream.read_chunk(CHUNK, true).await?.map(|chunk| chunk.bytes)),
        None => std::future::pending().await,
    }
}

async fn closed(session: &Session) -> End {
    let patience = tokio::time::timeout(Duration::from_secs(20), session.closed());
    let ended = patience.await.expect("streams end because the session does");
    match ended {
        SessionError::WebTransportError(WebTransportError::Closed(code, text)) => End { code: Some(code), text },
        // Both ends give a silent connection up by themselves, and have nobody left to tell. Whichever way a connection
        // ends without a word from the peer, this client then says that it has closed it.
        SessionError::ConnectionError(ConnectionError::TimedOut | ConnectionError::LocallyClosed) => {
            End { code: Some(ErrorCode::TimedOut as u32), text: "timed out".to_owned() }
        }
        other => End { code: None, text: other.to_string() },
    }
}

/// A client that offers these protocols and believes certificates of these hashes, as a browser does that was given
/// `serverCertificateHashes`.
pub fn config(hashes: Vec<String>, protocols: &[&[u8]]) -> quinn::ClientConfig {
    client(Believes { hashes: Some(hashes), seen: Arc::default() }, protocols)
}

/// A client that believes any certificate, and leaves it in `seen`.
pub fn looking(seen: Seen, protocols: &[&[u8]]) -> quinn::ClientConfig {
    client(Believes { hashes: None, seen }, protocols)
}

fn client(believes: Believes, protocols: &[&[u8]]) -> quinn::ClientConfig {
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .expect("TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(believes))
        .with_no_client_auth();
    tls.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    quic::with_small_windows(QuicClientConfig::try_from(tls).expect("a suite for QUIC"))
}

/// The certificate that a server has shown.
pub type Seen = Arc<Mutex<Option<CertificateDer<'static>>>>;

#[derive(Debug)]
struct Believes {
    hashes: Option<Vec<String>>,
    seen: Seen,
}

impl ServerCertVerifier for Believes {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let hash = hexadecimal(&Sha256::digest(certificate));
        *self.seen.lock() = Some(certificate.clone().into_owned());
        if self.hashes.as_ref().is_none_or(|hashes| hashes.contains(&hash)) {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(CertificateError::UnknownIssuer.into())
        }
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
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &aws_lc_rs::default_provider().signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Bytes as two small letters or digits each.
pub fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
