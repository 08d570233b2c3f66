//! The client over real sockets on loopback, against the model server behind quinn and tokio-websockets.

mod model;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use model::Server;
use serde::{Deserialize, Serialize};
use syncbridge_client::{
    ChangeKind, Client, Config, Error, ErrorCode, Fingerprint, OnConflict, Patch, Phase, ResetReason, SessionHandle,
    Transport, Trust, UpdateOptions, Value, Via, core::Times,
};
use syncbridge_codec::{ALPN, message::Class};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::watch,
    task::JoinSet,
};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Todo {
    items: Vec<String>,
    #[serde(default)]
    done: u32,
}

fn todo(items: &[&str]) -> Todo {
    Todo { items: items.iter().map(ToString::to_string).collect(), done: 0 }
}

/// What is served.
#[derive(Debug, Clone, Copy)]
struct Serve {
    quic: bool,
    tls: bool,
}

const ALL: Serve = Serve { quic: true, tls: false };

struct Identity {
    certificate: rustls::pki_types::CertificateDer<'static>,
    key: Vec<u8>,
}

impl Identity {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate");
        Self { certificate: made.cert.der().clone(), key: made.signing_key.serialize_der() }
    }

    fn config(&self, alpn: &[u8]) -> rustls::ServerConfig {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(self.key.clone());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![self.certificate.clone()], key.into())
            .expect("a key that fits");
        config.alpn_protocols = vec![alpn.to_vec()];
        if alpn == ALPN {
            config.max_early_data_size = u32::MAX;
        }
        config
    }

    fn quic(&self) -> quinn::ServerConfig {
        let crypto = quinn::crypto::rustls::QuicServerConfig::try_from(self.config(ALPN)).expect("TLS 1.3");
        quinn::ServerConfig::with_crypto(Arc::new(crypto))
    }
}

/// The model, shared by its connections; the number grows with everything that happens.
struct Model {
    server: Mutex<Server>,
    news: watch::Sender<u64>,
    early: AtomicUsize,
}

impl Model {
    fn act<T>(&self, act: impl FnOnce(&mut Server) -> T) -> T {
        let outcome = act(&mut self.server.lock().expect("no test panics inside"));
        self.news.send_modify(|news| *news += 1);
        outcome
    }

    /// What the model says next to one connection; `None` when it has ended it.
    async fn says(&self, id: u64, class: Class) -> Option<Bytes> {
        let mut news = self.news.subscribe();
        loop {
            let (bytes, is_there) = {
                let mut server = self.server.lock().expect("no test panics inside");
                (server.output(id, class), server.is_connected(id))
            };
            if !bytes.is_empty() {
                return Some(bytes);
            }
            if !is_there || news.changed().await.is_err() {
                return None;
            }
        }
    }
}

struct TestServer {
    model: Arc<Model>,
    identity: Identity,
    address: SocketAddr,
    endpoint: Option<quinn::Endpoint>,
    /// Aborted on drop.
    _tasks: JoinSet<()>,
}

impl TestServer {
    async fn start(serve: Serve) -> Self {
        let model =
            Model { server: Mutex::new(Server::new(1)), news: watch::Sender::new(0), early: AtomicUsize::new(0) };
        let (model, identity) = (Arc::new(model), Identity::new());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut tasks = JoinSet::new();
        let acceptor = serve.tls.then(|| tokio_rustls::TlsAcceptor::from(Arc::new(identity.config(b"http/1.1"))));
        tasks.spawn(serve_tcp(listener, acceptor, Arc::clone(&model)));
        let endpoint =
            serve.quic.then(|| quinn::Endpoint::server(identity.quic(), address).expect("the same UDP port"));
        if let Some(endpoint) = &endpoint {
            tasks.spawn(serve_quic(endpoint.clone(), Arc::clone(&model)));
        }
        Self { model, identity, address, endpoint, _tasks: tasks }
    }

    /// The process ends, and another one takes over that knows nothing of its QUIC tickets.
    fn restart(&self) {
        if let Some(endpoint) = &self.endpoint {
            endpoint.set_server_config(Some(self.identity.quic()));
        }
        self.model.act(Server::restart);
    }

    fn config(&self, device: &str, transport: Transport) -> Config {
        let config = Config::new(self.address.to_string(), device).transport(transport);
        // Tests break links faster than a good connection is known to be one.
        let times = Times { backoff_cap: 200, ..Times::default() };
        Config { times, ..config.trust(Trust::Pin(self.fingerprint())) }
    }

    fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.identity.certificate)
    }

    /// Breaks every connection.
    fn cut(&self) {
        self.model.act(|server| (0..1_000).for_each(|id| server.disconnect(id)));
    }
}

async fn serve_tcp(listener: TcpListener, acceptor: Option<tokio_rustls::TlsAcceptor>, model: Arc<Model>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (model, acceptor) = (Arc::clone(&model), acceptor.clone());
        connections.spawn(async move {
            match acceptor {
                None => serve_websocket(stream, model).await,
                // A client that believes in another certificate goes away here.
                Some(acceptor) => match acceptor.accept(stream).await {
                    Ok(stream) => serve_websocket(stream, model).await,
                    Err(error) => eprintln!("TLS: {error}"),
                },
            }
        });
    }
}

async fn serve_websocket<S: AsyncRead + AsyncWrite + Unpin>(stream: S, model: Arc<Model>) {
    let builder = tokio_websockets::ServerBuilder::new()
        .add_header("sec-websocket-protocol".parse().expect("a name"), "syncbridge.v1".parse().expect("a value"));
    let Ok((_, socket)) = builder.expect("a header").accept(stream).await else { return };
    let (mut sink, mut stream) = socket.split();
    let id = model.act(|server| server.connect(false));
    let read = async {
        while let Some(Ok(message)) = stream.next().await {
            if message.is_binary() {
                let bytes = Bytes::from(message.into_payload());
                model.act(|server| {
                    server.bytes(id, Class::Control, bytes);
                    server.commit();
                });
            }
        }
    };
    let write = async {
        while let Some(bytes) = model.says(id, Class::Control).await {
            if sink.send(tokio_websockets::Message::binary(bytes)).await.is_err() {
                return;
            }
        }
    };
    tokio::select! { () = read => {}, () = write => {} }
    model.act(|server| server.disconnect(id));
}

async fn serve_quic(endpoint: quinn::Endpoint, model: Arc<Model>) {
    let mut connections = JoinSet::new();
    while let Some(incoming) = endpoint.accept().await {
        let model = Arc::clone(&model);
        connections.spawn(async move {
            let Ok(connecting) = incoming.accept() else { return };
            let Ok((connection, _)) = connecting.into_0rtt() else { return };
            let Ok((mut control_out, mut control_in)) = connection.accept_bi().await else { return };
            model.early.fetch_add(usize::from(control_in.is_0rtt()), Ordering::Relaxed);
            let id = model.act(|server| server.connect(true));
            let control = async {
                while let Ok(Some(chunk)) = control_in.read_chunk(1 << 16, true).await {
                    model.act(|server| server.bytes(id, Class::Control, chunk.bytes));
                }
            };
            let session = async {
                let Ok((mut session_out, mut session_in)) = connection.accept_bi().await else { return };
                let read = async {
                    while let Ok(Some(chunk)) = session_in.read_chunk(1 << 16, true).await {
                        model.act(|server| {
                            server.bytes(id, Class::Session, chunk.bytes);
                            server.commit();
                        });
                    }
                };
                let write = async {
                    while let Some(bytes) = model.says(id, Class::Session).await {
                        if session_out.write_chunk(bytes).await.is_err() {
                            return;
                        }
                    }
                };
                tokio::select! { () = read => {}, () = write => {} }
            };
            let write = async {
                while let Some(bytes) = model.says(id, Class::Control).await {
                    if control_out.write_chunk(bytes).await.is_err() {
                        return;
                    }
                }
            };
            tokio::select! { () = control => {}, () = session => {}, () = write => {} }
            model.act(|server| server.disconnect(id));
            // What was said last is to arrive before the end does.
            let _ = control_out.finish();
            let _ = tokio::time::timeout(Duration::from_millis(200), control_out.stopped()).await;
            connection.close(0_u32.into(), b"");
        });
    }
}

/// No test waits longer.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), what).await.expect("within twenty seconds")
}

async fn connected(client: &Client) -> Via {
    let mut status = client.status();
    let status = status.wait_for(|status| status.via().is_some()).await.expect("the driver runs");
    status.via().expect("just seen")
}

/// Waits until the typed view is as expected.
async fn sees(session: &SessionHandle<Todo>, expected: impl Fn(&Todo) -> bool) {
    let mut changes = session.changes().expect("subscribed");
    while !expected(&session.state().expect("a todo list")) {
        changes.next().await.expect("subscribed");
    }
}

async fn two_devices_share_a_session(serve: Serve, transport: Transport, via: Via, scheme: &str) {
    let server = TestServer::start(serve).await;
    let config = |device| Config { server: format!("{scheme}{}", server.address), ..server.config(device, transport) };
    let phone = Client::connect(config("phone")).await.expect("the phone connects");
    let desktop = Client::connect(config("desktop")).await.expect("the desktop connects");
    assert_eq!((connected(&phone).await, connected(&desktop).await), (via, via));

    let on_phone = phone.create(Some("todo"), &todo(&["bread"])).await.expect("made");
    let on_desktop = desktop.session::<Todo>("todo").await.expect("subscribed");
    assert_eq!(*on_desktop.state().expect("a list"), todo(&["bread"]));

    let update = on_phone.update_with(|todo| todo.items.push("milk".to_owned())).expect("it applies");
    assert_eq!(*on_phone.state().expect("a list"), todo(&["bread", "milk"]), "at once, before the server has it");
    sees(&on_desktop, |seen| *seen == todo(&["bread", "milk"])).await;
    assert_eq!(update.accepted().await.expect("accepted").version, 2);
    assert_eq!(update.durable().await.expect("durable").version, 2);

    let document = desktop.get("todo").await.expect("there");
    assert_eq!((document.at.version, document.value), (2, on_phone.document().expect("there")));
    let missing = desktop.get("nothing").await.expect_err("not there");
    assert_eq!(missing.code(), Some(ErrorCode::NotFound));
    let missing = desktop.session::<Todo>("nothing").await.expect_err("not there");
    assert_eq!(missing.code(), Some(ErrorCode::NotFound));
    let taken = desktop.create(Some("todo"), &todo(&[])).await.expect_err("taken");
    assert!(matches!(taken, Error::Request(_)), "{taken}");
    phone.close().await;
    desktop.close().await;
}

#[tokio::test]
async fn two_devices_share_a_session_over_quic() {
    soon(two_devices_share_a_session(ALL, Transport::Quic, Via::Quic, "")).await;
}

#[tokio::test]
async fn two_devices_share_a_session_over_websocket() {
    soon(two_devices_share_a_session(ALL, Transport::WebSocket, Via::WebSocket, "")).await;
}

#[tokio::test]
async fn two_devices_share_a_session_over_websocket_with_tls() {
    let serve = Serve { tls: true, ..ALL };
    soon(two_devices_share_a_session(serve, Transport::WebSocket, Via::WebSocket, "wss://")).await;
}

#[tokio::test]
async fn quic_wins_the_race_when_both_are_there() {
    soon(two_devices_share_a_session(ALL, Transport::Auto, Via::Quic, "")).await;
}

#[tokio::test]
async fn websocket_takes_over_when_udp_is_blocked() {
    let serve = Serve { quic: false, tls: false };
    soon(two_devices_share_a_session(serve, Transport::Auto, Via::WebSocket, "")).await;
}

#[tokio::test]
async fn a_server_with_another_certificate_is_not_believed() {
    soon(async {
        let server = TestServer::start(Serve { quic: true, tls: true }).await;
        let other = Trust::Pin(Fingerprint([7; 32]));
        for (transport, scheme) in [(Transport::Quic, ""), (Transport::WebSocket, "wss://")] {
            let config = server.config("phone", transport).trust(other.clone());
            let config = Config { server: format!("{scheme}{}", server.address), ..config };
            let error = Client::connect(config).await.expect_err("another certificate");
            assert!(error.to_string().contains("pinned"), "{error}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_token_that_the_server_does_not_take_stops_the_client_until_it_has_another() {
    soon(async {
        let server = TestServer::start(ALL).await;
        server.model.act(|server| server.refusal = Some(ErrorCode::TokenExpired));
        for transport in [Transport::Quic, Transport::WebSocket] {
            let error = Client::connect(server.config("phone", transport)).await.expect_err("refused");
            assert_eq!(error.code(), Some(ErrorCode::TokenExpired), "{error}");
        }
        let client = Client::start(server.config("phone", Transport::Quic)).expect("a good configuration");
        let mut status = client.status();
        let stopped = |status: &syncbridge_client::Status| matches!(status.phase, Phase::Stopped { .. });
        status.wait_for(stopped).await.expect("the driver runs");
        server.model.act(|server| server.refusal = None);
        client.set_token("fresh");
        connected(&client).await;
    })
    .await;
}

async fn what_was_done_offline_is_sent_once(transport: Transport) {
    let server = TestServer::start(ALL).await;
    let client = Client::connect(server.config("phone", transport)).await.expect("connects");
    let session = client.create(Some("todo"), &todo(&[])).await.expect("made");
    for round in 0..5 {
        server.cut();
        let handles: Vec<_> = (0..4)
            .map(|n| {
                let patch = Patch::new().add("/items/-", Value::from(format!("{round}.{n}")));
                session.update(patch).expect("it applies")
            })
            .collect();
        for handle in handles {
            handle.durable().await.expect("durable in the end");
        }
    }
    let items: Vec<String> = (0..5).flat_map(|round| (0..4).map(move |n| format!("{round}.{n}"))).collect();
    assert_eq!(session.state().expect("a list").items, items);
    let server_has = server.model.act(|server| server.sessions["todo"].document().clone());
    assert_eq!(session.document().expect("there"), server_has);
    let stats = client.stats();
    assert!(stats.connections >= 2 && stats.resumed >= 1, "{stats:?}");
    assert_eq!((stats.faults, stats.resets), (0, 0), "{stats:?}");
}

#[tokio::test]
async fn what_was_done_offline_is_sent_once_over_quic() {
    soon(what_was_done_offline_is_sent_once(Transport::Quic)).await;
}

#[tokio::test]
async fn what_was_done_offline_is_sent_once_over_websocket() {
    soon(what_was_done_offline_is_sent_once(Transport::WebSocket)).await;
}

#[tokio::test]
async fn a_reconnect_says_hello_in_0_rtt_and_says_it_again_when_the_server_refuses_that() {
    soon(async {
        let server = TestServer::start(ALL).await;
        let client = Client::connect(server.config("phone", Transport::Quic)).await.expect("connects");
        let session = client.create(Some("todo"), &todo(&[])).await.expect("made");
        assert_eq!(server.model.early.load(Ordering::Relaxed), 0);
        server.cut();
        let update = session.update_with(|todo| todo.done = 1).expect("it applies");
        update.durable().await.expect("durable");
        assert!(server.model.early.load(Ordering::Relaxed) >= 1, "the second connection began in 0-RTT");

        // Another process knows nothing of the first one's tickets.
        let early = server.model.early.load(Ordering::Relaxed);
        server.restart();
        let update = session.update_with(|todo| todo.done = 2).expect("it applies");
        update.durable().await.expect("durable");
        assert_eq!(server.model.early.load(Ordering::Relaxed), early, "the early streams were refused");
        assert_eq!(
            server.model.act(|server| server.sessions["todo"].document().to_json()),
            br#"{"done":2,"items":[]}"#
        );
        assert_eq!(client.stats().faults, 0);
    })
    .await;
}

#[tokio::test]
async fn a_client_that_changes_its_address_keeps_its_connection() {
    soon(async {
        let server = TestServer::start(ALL).await;
        let client = Client::connect(server.config("phone", Transport::Quic)).await.expect("connects");
        let session = client.create(Some("todo"), &todo(&[])).await.expect("made");
        for n in 0..5 {
            client.rebind().expect("another port");
            session.update_with(|todo| todo.done = n).expect("it applies").durable().await.expect("durable");
        }
        assert_eq!(client.stats().connections, 1);
    })
    .await;
}

#[tokio::test]
async fn a_conflict_rolls_back_what_the_person_saw_and_says_so() {
    soon(async {
        let server = TestServer::start(ALL).await;
        let phone = Client::connect(server.config("phone", Transport::Quic)).await.expect("connects");
        let desktop = Client::connect(server.config("desktop", Transport::WebSocket)).await.expect("connects");
        let on_phone = phone.create(Some("todo"), &todo(&[])).await.expect("made");
        let on_desktop = desktop.session::<Todo>("todo").await.expect("subscribed");
        let mut changes = on_phone.changes().expect("subscribed");
        // The phone is away while the desktop writes.
        server.model.act(|server| server.busy_percent = 100);
        let mine = on_phone.update_with(|todo| todo.done = 1).expect("it applies");
        let more = on_phone.update_with(|todo| todo.done = 2).expect("it applies");
        server.model.act(|server| {
            server.busy_percent = 0;
            server.disconnect(1);
        });
        let theirs = on_desktop.update_with(|todo| todo.done = 7).expect("it applies");
        theirs.durable().await.expect("the desktop's is first, or the phone's was");
        let outcome = mine.accepted().await;
        let chained = more.accepted().await;
        assert_eq!(outcome.is_ok(), chained.is_ok(), "a chain fails whole");
        if outcome.is_err() {
            sees(&on_phone, |seen| seen.done == 7).await;
            while !matches!(changes.next().await.expect("subscribed").kind, ChangeKind::Refused { .. }) {}
        }
        let forced = UpdateOptions { on_conflict: OnConflict::SessionPolicy, ..UpdateOptions::default() };
        let forced = on_phone.update_with_as(|todo| todo.done = 9, &forced).expect("it applies");
        forced.durable().await.expect("the last writer wins");
        sees(&on_desktop, |seen| seen.done == 9).await;
    })
    .await;
}

#[tokio::test]
async fn what_a_crash_took_from_the_server_comes_back_from_the_client() {
    soon(async {
        let server = TestServer::start(ALL).await;
        let client = Client::connect(server.config("phone", Transport::Quic)).await.expect("connects");
        let session = client.create(Some("todo"), &todo(&[])).await.expect("made");
        let mut changes = session.changes().expect("subscribed");
        session.update_with(|todo| todo.items.push("kept".to_owned())).expect("fits").durable().await.expect("durable");
        // The last one is accepted, and dies before it is on disk.
        server.model.act(|server| {
            server.forget_disk = true;
        });
        let last = session.update_with(|todo| todo.items.push("lost".to_owned())).expect("it applies");
        last.accepted().await.expect("accepted");
        server.model.act(|server| {
            server.crash();
            server.forget_disk = false;
        });
        loop {
            if let ChangeKind::Reset { reason, last_kept } = changes.next().await.expect("subscribed").kind {
                assert_eq!((reason, last_kept), (ResetReason::Lost, Some(2)));
                break;
            }
        }
        last.durable().await.expect("applied once more");
        let items = server.model.act(|server| server.sessions["todo"].document().to_json());
        assert_eq!(items, br#"{"done":0,"items":["kept","lost"]}"#);
    })
    .await;
}

#[tokio::test]
async fn an_export_goes_on_in_another_client() {
    soon(async {
        let server = TestServer::start(ALL).await;
        let client = Client::connect(server.config("phone", Transport::Quic)).await.expect("connects");
        let session = client.create(Some("todo"), &todo(&[])).await.expect("made");
        // From here on the server takes nothing, so the update stays in the queue.
        server.model.act(|server| server.busy_percent = 100);
        session.update_with(|todo| todo.items.push("later".to_owned())).expect("it applies");
        client.close().await;
        let export = serde_json::to_string(&client.export()).expect("JSON");
        drop((session, client));
        server.model.act(|server| server.busy_percent = 0);
        let import = serde_json::from_str(&export).expect("an export");
        let config = Config { import: Some(import), ..server.config("phone", Transport::WebSocket) };
        let client = Client::start(config).expect("a good configuration");
        let session = client.session::<Todo>("todo").await.expect("imported");
        assert_eq!(session.state().expect("a list").items, ["later"], "before anything is sent");
        session.durable().await.expect("sent");
        let items = server.model.act(|server| server.sessions["todo"].document().to_json());
        assert_eq!(items, br#"{"done":0,"items":["later"]}"#);
    })
    .await;
}
