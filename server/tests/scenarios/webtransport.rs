//! What is WebTransport's alone: the way into a session, certificates, and clients whose HTTP/3 is not what it should be.
//! That a session does what every link does is said by the other scenarios.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use quinn::{Connection, ConnectionError, Endpoint, RecvStream, SendStream, VarInt};
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use syncbridge_codec::{
    ALPN, ErrorCode, WEBSOCKET_SUBPROTOCOL,
    message::{Message, StreamOpen},
    varint,
};
use url::Url;
use web_transport_quinn::proto::{
    ConnectError, ConnectRequest, ConnectResponse, Settings, error_to_http3, http::StatusCode,
};

use crate::{
    net::{Host, Net, run, who},
    wire::{
        PATIENCE, Via, quic,
        webtransport::{self, hexadecimal},
    },
};

/// RFC 9114 §8.1.
const H3_REQUEST_REJECTED: u32 = 0x10b;
const H3_REQUEST_INCOMPLETE: u32 = 0x10d;
const H3_MESSAGE_ERROR: u32 = 0x10e;
/// Kinds of one-way streams.
const CONTROL: u64 = 0x00;
const QPACK_ENCODER: u64 = 0x02;
const SESSION_ONE_WAY: u64 = 0x54;

/// Runs with a server whose links nobody uses.
#[expect(clippy::needless_pass_by_value, reason = "as `run` takes it")]
fn with_host(scenario: impl AsyncFn(&Host)) {
    run(Via::Memory, Via::Memory, async |net: &Net| scenario(&net.host()).await);
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("it happens")
}

/// A connection on which HTTP/3 may be spoken however one likes.
struct Raw {
    connection: Connection,
    /// Held open.
    streams: Vec<SendStream>,
    _endpoint: Endpoint,
}

impl Raw {
    async fn new(host: &Host) -> Self {
        let (endpoint, _) = quic::endpoint();
        let config = webtransport::config(host.hashes().await, &[b"h3"]);
        let connecting = endpoint.connect_with(config, host.address(), "localhost").unwrap();
        Self { connection: within(connecting).await.unwrap(), streams: Vec::new(), _endpoint: endpoint }
    }

    /// With SETTINGS.
    async fn greeted(host: &Host) -> Self {
        let mut raw = Self::new(host).await;
        let mut settings = Settings::default();
        settings.enable_webtransport(1);
        let mut bytes = BytesMut::new();
        settings.encode(&mut bytes);
        raw.one_way(&bytes).await;
        raw
    }

    /// With a session: its CONNECT stream and its id.
    async fn in_session(host: &Host) -> (Self, SendStream, RecvStream, u64) {
        let raw = Self::greeted(host).await;
        let (send, recv, answer) = raw.request(&request(host, "/wt")).await;
        assert_eq!(answer.unwrap().status, StatusCode::OK);
        let id = VarInt::from(send.id()).into_inner();
        (raw, send, recv, id)
    }

    /// Opens a one-way stream that begins like this.
    async fn one_way(&mut self, bytes: &[u8]) {
        let mut stream = self.connection.open_uni().await.unwrap();
        stream.write_all(bytes).await.unwrap();
        self.streams.push(stream);
    }

    /// Opens a stream of a session.
    async fn stream(&self, session: u64) -> (SendStream, RecvStream) {
        let (mut send, recv) = self.connection.open_bi().await.unwrap();
        send.write_all(&integers(&[0x41, session])).await.unwrap();
        (send, recv)
    }

    async fn request(
        &self,
        request: &ConnectRequest,
    ) -> (SendStream, RecvStream, Result<ConnectResponse, ConnectError>) {
        let (mut send, mut recv) = self.connection.open_bi().await.unwrap();
        request.write(&mut send).await.unwrap();
        let answer = within(ConnectResponse::read(&mut recv)).await;
        (send, recv, answer)
    }

    /// The code that the server closes the connection with.
    async fn closed(&self) -> u64 {
        match within(self.connection.closed()).await {
            ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
            other => panic!("{other:?}"),
        }
    }
}

fn integers(values: &[u64]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for value in values {
        varint::write(&mut bytes, *value);
    }
    bytes
}

fn request(host: &Host, path: &str) -> ConnectRequest {
    ConnectRequest::new(Url::parse(&format!("https://{}{path}", host.address())).unwrap())
}

/// Who is refused gets this status.
async fn refused(host: &Host, request: &ConnectRequest, status: StatusCode) {
    let raw = Raw::greeted(host).await;
    match raw.request(request).await.2 {
        Err(ConnectError::WrongStatus(Some(told)) | ConnectError::ErrorStatus(told)) => assert_eq!(told, status),
        other => panic!("{other:?}"),
    }
    raw.closed().await;
}

#[test]
fn who_may_not_have_a_session_is_told_why_and_the_connection_ends() {
    with_host(async |host| {
        let with = |name: &'static str, value: &str| {
            request(host, "/wt").with_header(name.parse().unwrap(), value.parse().unwrap())
        };
        refused(host, &request(host, "/"), StatusCode::NOT_FOUND).await;
        refused(host, &request(host, "/wt/more"), StatusCode::NOT_FOUND).await;
        refused(host, &with("origin", "https://evil.example"), StatusCode::FORBIDDEN).await;
        refused(host, &with("origin", "null"), StatusCode::FORBIDDEN).await;
        refused(host, &request(host, "/wt").with_protocol("chat"), StatusCode::BAD_REQUEST).await;
    });
}

#[test]
fn pages_of_the_server_itself_and_clients_that_are_no_pages_get_a_session() {
    with_host(async |host| {
        let own = format!("http://{}", host.address());
        let both = ["chat".to_owned(), WEBSOCKET_SUBPROTOCOL.to_owned()];
        for (request, protocol) in [
            (request(host, "/wt"), None),
            (request(host, "/wt?x=1"), None),
            (request(host, "/wt").with_header("origin".parse().unwrap(), own.parse().unwrap()), None),
            (request(host, "/wt").with_protocols(both), Some(WEBSOCKET_SUBPROTOCOL)),
        ] {
            let raw = Raw::greeted(host).await;
            let (_send, _recv, answer) = raw.request(&request).await;
            assert_eq!(answer.unwrap().protocol.as_deref(), protocol, "{request:?}");
        }
    });
}

#[test]
fn a_request_that_is_no_webtransport_or_too_long_is_answered() {
    with_host(async |host| {
        // QPACK's static table: `:method: GET`, `:scheme: https`, `:path: /`; `:authority` with a literal value.
        let get = [&[0, 0, 0xd1, 0xd7, 0xc1, 0x50, 1][..], b"a"].concat();
        for (head, status) in [(get, "501"), (vec![0; 17 << 10], "431")] {
            let raw = Raw::greeted(host).await;
            let (mut send, mut recv) = raw.connection.open_bi().await.unwrap();
            let mut frame = integers(&[0x1, head.len() as u64]);
            frame.extend(head);
            // The answer may come before all of it was sent.
            let _sent = send.write_all(&frame).await;
            let answer = within(recv.read_to_end(1 << 10)).await.unwrap();
            assert!(answer.windows(3).any(|three| three == status.as_bytes()), "{status}: {answer:?}");
            raw.closed().await;
        }
    });
}

#[test]
fn a_client_whose_http3_is_broken_is_closed_with_the_code_for_that() {
    with_host(async |host| {
        // A frame that may not come first, on either stream.
        let mut raw = Raw::new(host).await;
        raw.one_way(&integers(&[CONTROL, 0x7, 1, 0])).await;
        assert_eq!(raw.closed().await, 0x10a, "H3_MISSING_SETTINGS");
        let raw = Raw::greeted(host).await;
        let (mut send, _recv) = raw.connection.open_bi().await.unwrap();
        send.write_all(&integers(&[0x0, 1, 0])).await.unwrap();
        assert_eq!(raw.closed().await, u64::from(H3_MESSAGE_ERROR));
        // A one-way stream of no session, before there is one.
        let mut raw = Raw::new(host).await;
        raw.one_way(&integers(&[SESSION_ONE_WAY, 0])).await;
        assert_eq!(raw.closed().await, 0x103, "H3_STREAM_CREATION_ERROR");
    });
}

#[test]
fn who_does_not_ask_for_a_session_in_time_is_closed() {
    run(Via::Memory, Via::Memory, async |net: &Net| {
        let host = net.host_with(|config| config.limits.header_seconds = 1);
        let silent = Raw::new(&host).await;
        let only_greeted = Raw::greeted(&host).await;
        let slow = Raw::greeted(&host).await;
        let (mut send, _recv) = slow.connection.open_bi().await.unwrap();
        send.write_all(&integers(&[0x1, 100])).await.unwrap();
        for raw in [silent, only_greeted, slow] {
            assert_eq!(raw.closed().await, u64::from(H3_REQUEST_INCOMPLETE));
        }
    });
}

#[test]
fn a_session_has_twostreams_and_no_other() {
    with_host(async |host| {
        let wrong = error_to_http3(ErrorCode::UnexpectedMessage as u32);
        let (raw, _send, _recv, id) = Raw::in_session(host).await;
        let mut streams = Vec::new();
        for _ in 0..3 {
            streams.push(raw.stream(id).await);
        }
        assert_eq!(raw.closed().await, wrong, "a third stream");
        for kind in [SESSION_ONE_WAY, CONTROL] {
            let (mut raw, _send, _recv, id) = Raw::in_session(host).await;
            raw.one_way(&integers(&[kind, id])).await;
            assert_eq!(raw.closed().await, wrong, "one way, {kind:#x}");
        }
    });
}

#[test]
fn other_requests_on_the_connection_are_turned_down_and_the_session_goes_on() {
    with_host(async |host| {
        let (mut raw, _send, _recv, id) = Raw::in_session(host).await;
        let (mut control, mut control_in) = raw.stream(id).await;
        for _ in 0..20 {
            let (mut second, mut answer) = raw.connection.open_bi().await.unwrap();
            request(host, "/wt").write(&mut second).await.unwrap();
            let end = within(answer.read_to_end(1)).await.unwrap_err();
            let rejected = quinn::ReadError::Reset(VarInt::from_u32(H3_REQUEST_REJECTED));
            assert_eq!(end, quinn::ReadToEndError::Read(rejected));
            // A stream of a session that there is not.
            let (_send, mut answer) = raw.stream(id + 4).await;
            assert!(matches!(
                within(answer.read_to_end(1)).await.unwrap_err(),
                quinn::ReadToEndError::Read(quinn::ReadError::Reset(_))
            ));
            // One of a kind that is there to be ignored: it is stopped, which gives room for the next.
            let mut reserved = raw.connection.open_uni().await.unwrap();
            reserved.write_all(&integers(&[0x21, 7])).await.unwrap();
            assert!(within(reserved.stopped()).await.unwrap().is_some());
        }
        // What comes on streams that say nothing to us stays where it is.
        raw.one_way(&integers(&[QPACK_ENCODER])).await;
        let mut encoder = raw.streams.pop().unwrap();
        let writing = tokio::spawn(async move { encoder.write_all(&vec![0; 4 << 20]).await });
        while raw.connection.stats().frame_tx.stream_data_blocked == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(raw.connection.stats().udp_tx.bytes < 1 << 20, "{:?}", raw.connection.stats().udp_tx);
        // The session is still one.
        control.write_all(&Message::from(host.hello(&who("ann", "phone"))).to_frame()).await.unwrap();
        let welcome = within(control_in.read_chunk(1 << 10, true)).await.unwrap().unwrap();
        assert!(welcome.bytes.len() > 20);
        drop(raw);
        writing.abort();
    });
}

#[test]
fn whatever_comes_the_server_serves_the_others() {
    with_host(async |host| {
        let mut good = host.join(Via::WebTransport, &who("ann", "phone")).await;
        good.create("s", r#"{"n":0}"#).await;
        let seed = fastrand::u64(..);
        println!("seed {seed}");
        let mut random = fastrand::Rng::with_seed(seed);
        for n in 0..60 {
            let length = random.usize(1..200);
            let bytes: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(length).collect();
            let (raw, session) = match n % 3 {
                0 => (Raw::new(host).await, None),
                1 => (Raw::greeted(host).await, None),
                _ => {
                    let (raw, mut connect, recv, id) = Raw::in_session(host).await;
                    // On the CONNECT stream, where capsules are.
                    connect.write_all(&bytes).await.unwrap();
                    (raw, Some((connect, recv, id)))
                }
            };
            let garbage = async {
                raw.connection.open_uni().await?.write_all(&bytes).await?;
                let mut stream = session.as_ref().map_or_else(Vec::new, |(_, _, id)| integers(&[0x41, *id]));
                for _ in 0..2 {
                    let (mut out, _in) = raw.connection.open_bi().await?;
                    out.write_all(&stream).await?;
                    out.write_all(&bytes).await?;
                    stream.clear();
                }
                Ok::<_, std::io::Error>(())
            };
            // The server may close the connection on the way, for what came first.
            let _closed = within(garbage).await;
            good.write("s", &format!(r#"[{{"op":"replace","path":"/n","value":{n}}}]"#)).await;
        }
    });
}

/// The certificate that a client is shown that speaks these.
async fn shown(host: &Host, protocols: &[&[u8]]) -> (String, Vec<u8>) {
    let (endpoint, _) = quic::endpoint();
    let seen = Arc::new(parking_lot::Mutex::new(None));
    let config = webtransport::looking(Arc::clone(&seen), protocols);
    let connection = within(endpoint.connect_with(config, host.address(), "localhost").unwrap()).await.unwrap();
    let data = connection.handshake_data().unwrap().downcast::<quinn::crypto::rustls::HandshakeData>().unwrap();
    connection.close(VarInt::from_u32(0), b"");
    let certificate: CertificateDer<'static> = seen.lock().take().unwrap();
    let hash = hexadecimal(&Sha256::digest(&certificate));
    (hash, data.protocol.unwrap())
}

#[test]
fn browsers_are_shown_a_certificate_of_their_own_and_all_others_the_pinned_one() {
    with_host(async |host| {
        let pin = hexadecimal(&host.fingerprint());
        let hashes = host.hashes().await;
        assert_eq!(hashes.len(), 2);
        assert!(!hashes.contains(&pin) && hashes[0] != hashes[1]);
        assert_eq!(shown(host, &[b"h3"]).await, (hashes[0].clone(), b"h3".to_vec()));
        assert_eq!(shown(host, &[ALPN]).await, (pin.clone(), ALPN.to_vec()));
        assert_eq!(shown(host, &[b"h3", ALPN]).await, (pin, ALPN.to_vec()));
        // They outlive the server.
        host.restart().await;
        assert_eq!(host.hashes().await, hashes);
        assert_eq!(shown(host, &[b"h3"]).await.0, hashes[0]);
    });
}

#[test]
fn a_configured_certificate_is_for_browsers_too_and_needs_no_hashes() {
    run(Via::Tls, Via::Tls, async |net: &Net| {
        let host = net.host();
        let told = host.webtransport().await;
        assert_eq!(told["serverCertificateHashes"], serde_json::json!([]));
        assert_eq!(told["url"], format!("https://{}/wt", host.address()));
        assert!(told.get("changesAt").is_none(), "{told}");
        let pin = hexadecimal(&host.fingerprint());
        assert_eq!(shown(&host, &[b"h3"]).await.0, pin);
    });
}

#[test]
fn a_client_that_changes_its_address_keeps_its_session() {
    with_host(async |host| {
        let mut mover = host.join(Via::WebTransport, &who("ann", "phone")).await;
        mover.create("s", r#"{"n":0}"#).await;
        // By the kernel's own hash, each new port leads to the other of two shards every other time.
        for n in 1..=12 {
            mover.rebind();
            mover.write("s", &format!(r#"[{{"op":"replace","path":"/n","value":{n}}}]"#)).await;
        }
        mover.close().await;
    });
}

#[test]
fn a_session_that_a_client_ends_is_over_at_once_in_peace_or_not() {
    with_host(async |host| {
        for code in [Some(0), Some(7), None] {
            let (raw, mut send, _recv, id) = Raw::in_session(host).await;
            let (mut control, mut control_in) = raw.stream(id).await;
            control.write_all(&Message::from(host.hello(&who("ann", "phone"))).to_frame()).await.unwrap();
            let (mut session, _session_in) = raw.stream(id).await;
            session.write_chunk(Message::from(StreamOpen::SESSION).to_frame()).await.unwrap();
            within(control_in.read_chunk(1 << 10, true)).await.unwrap().unwrap();
            if let Some(code) = code {
                let capsule = [&integers(&[0x2843, 4]), &u32::to_be_bytes(code)[..]].concat();
                send.write_chunk(Bytes::from([integers(&[0x0, capsule.len() as u64]), capsule].concat()))
                    .await
                    .unwrap();
            }
            send.finish().unwrap();
            raw.closed().await;
        }
    });
}
