//! Servers to be tested, inside this process, and the way of devices to them over each link.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use parking_lot::Mutex;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use syncbridge::{
    app::{Server, Stopped},
    auth::{KEY_FILE, SigningKey},
    config::{Config, Engine},
};
use syncbridge_codec::{
    handshake,
    message::{self, Message},
};

use crate::{
    http,
    wire::{Via, Wire, websocket},
};

/// The links of a scenario, and the servers that it started.
pub struct Net {
    /// What the device that writes (that was there first) is connected by.
    pub one: Via,
    /// What the device that watches (that comes later) is connected by.
    pub other: Via,
    hosts: Mutex<Vec<Host>>,
}

/// One server, which may be started again on the same data.
#[derive(Clone)]
pub struct Host(Arc<Inner>);

struct Inner {
    running: Mutex<Option<Server>>,
    /// Where it listened last.
    listened: Mutex<SocketAddr>,
    config: Config,
    folder: tempfile::TempDir,
    /// The next shard that a connection in memory goes to.
    next_shard: AtomicUsize,
    /// Connections that were left without a word.
    graveyard: Mutex<Vec<Wire>>,
}

/// Who connects, and with what.
#[derive(Debug, Clone)]
pub struct Who {
    pub user: String,
    pub device: String,
    pub incarnation: u128,
    pub scope: message::Scope,
    pub resume: Vec<message::Cursor>,
    pub notices: bool,
    pub durable: bool,
}

/// A device of a user, as a new client.
pub fn who(user: &str, device: &str) -> Who {
    Who {
        user: user.to_owned(),
        device: device.to_owned(),
        incarnation: fastrand::u128(..),
        scope: message::Scope::default(),
        resume: Vec::new(),
        notices: false,
        durable: false,
    }
}

impl Who {
    /// With a place in a session's state.
    pub fn at(mut self, session: &str, at: &message::Position) -> Self {
        let kind = message::TopicKind::State;
        self.resume.push(message::Cursor { kind, topic: session.into(), epoch: at.epoch, seq: at.version });
        self
    }
}

/// Runs a scenario over these links, and stops what it started: nothing accepted may be lost.
#[expect(clippy::needless_pass_by_value, reason = "scenarios are written where they are run")]
pub fn run(one: Via, other: Via, scenario: impl AsyncFn(&Net)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let net = Net { one, other, hosts: Mutex::default() };
        tokio::time::timeout(Duration::from_mins(2), scenario(&net)).await.expect("the scenario comes to an end");
        let hosts = std::mem::take(&mut *net.hosts.lock());
        for host in hosts {
            host.0.graveyard.lock().clear();
            if host.0.running.lock().is_some() {
                host.stop().await;
            }
        }
    });
}

/// Runs a scenario over every link and every pair of different ones, all at the same time: for those that mostly wait.
pub fn run_together(scenario: impl Fn(Via, Via) + Sync) {
    use Via::{Memory, Quic, Tls, WebSocket, WebTransport};
    let same = [Quic, WebTransport, WebSocket, Tls, Memory].map(|via| (via, via));
    let different =
        [(Quic, WebSocket), (WebSocket, Quic), (Memory, Quic), (WebSocket, Memory), (WebTransport, WebSocket)];
    let scenario = &scenario;
    std::thread::scope(|scope| {
        for (one, other) in same.into_iter().chain(different) {
            scope.spawn(move || scenario(one, other));
        }
    });
}

impl Net {
    /// A server with its documents in memory.
    pub fn host(&self) -> Host {
        self.host_with(|_| {})
    }

    /// A server with its documents on disk.
    pub fn durable_host(&self) -> Host {
        self.host_with(|config| config.storage.engine = Engine::Embedded)
    }

    /// A server with changed settings.
    pub fn host_with(&self, change: impl FnOnce(&mut Config)) -> Host {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = Config {
            listen: "127.0.0.1:0".parse().expect("an address"),
            admin: "127.0.0.1:0".parse().expect("an address"),
            data: folder.path().to_owned(),
            shards: 2,
            ..Config::default()
        };
        config.storage.engine = Engine::Memory;
        // The machine may be busy with other tests: what a disk is given in time is not the question here.
        config.persist.busy_age_ms = 1_000;
        if [self.one, self.other].contains(&Via::Tls) {
            let key = rcgen::KeyPair::generate().expect("a key");
            let params = rcgen::CertificateParams::new(["localhost".to_owned()]).expect("a name");
            let certificate = params.self_signed(&key).expect("a certificate");
            let (cert, private) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
            std::fs::write(&cert, certificate.pem()).expect("a file");
            std::fs::write(&private, key.serialize_pem()).expect("a file");
            (config.tls.cert, config.tls.key) = (Some(cert), Some(private));
        }
        change(&mut config);
        let server = Server::start(config.clone()).expect("a server");
        let host = Host(Arc::new(Inner {
            listened: Mutex::new(server.listen),
            running: Mutex::new(Some(server)),
            config,
            folder,
            next_shard: AtomicUsize::new(0),
            graveyard: Mutex::default(),
        }));
        self.hosts.lock().push(host.clone());
        host
    }
}

impl Host {
    fn with<R>(&self, ask: impl FnOnce(&Server) -> R) -> R {
        ask(self.0.running.lock().as_ref().expect("a running server"))
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.with(|server| server.listen)
    }

    /// Where operators connect.
    pub fn admin(&self) -> SocketAddr {
        self.with(|server| server.admin)
    }

    /// SHA-256 of its certificate.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.with(|server| server.fingerprint.0)
    }

    /// The certificate that it is known by.
    pub fn roots(&self) -> rustls::RootCertStore {
        let file = self.0.config.tls.cert.clone().unwrap_or_else(|| self.0.folder.path().join("identity.pem"));
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(file).expect("a certificate")).expect("a root");
        roots
    }

    /// A token of this server.
    pub fn token(&self, user: &str, device: Option<&str>) -> String {
        let key = SigningKey::create_or_load(&self.0.folder.path().join(KEY_FILE)).expect("the server's key");
        let now = SystemTime::UNIX_EPOCH.elapsed().expect("a clock after 1970").as_secs();
        key.issue(user, device, None, Duration::from_hours(1), now).expect("a token")
    }

    /// A link on which nothing was said yet.
    pub async fn link(&self, via: Via) -> Wire {
        let shard = self.0.next_shard.fetch_add(1, Relaxed);
        self.link_to(via, shard).await
    }

    /// The same; one in memory goes to this shard.
    pub async fn link_to(&self, via: Via, shard: usize) -> Wire {
        match via {
            Via::Quic => Wire::quic(self.address(), self.roots()).await,
            Via::WebTransport => {
                let told = self.webtransport().await;
                let url = told["url"].as_str().expect("a URL");
                Wire::webtransport(self.address(), url, self.hashes().await).await
            }
            Via::WebSocket => Wire::websocket(Box::new(websocket::tcp(self.address()).await)).await,
            Via::Tls => Wire::websocket(Box::new(websocket::tls(self.address(), self.roots()).await)).await,
            Via::Memory => Wire::memory(self.with(|server| server.connect(shard))),
        }
    }

    /// What pages are told of WebTransport.
    pub async fn webtransport(&self) -> serde_json::Value {
        let (address, path) = (self.address(), "/api/v1/webtransport");
        let (status, text) = if self.is_tls() {
            http::get_on(websocket::tls(address, self.roots()).await, address, path).await
        } else {
            http::get(address, path).await
        };
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).expect("JSON")
    }

    /// The hashes of its certificates for browsers.
    pub async fn hashes(&self) -> Vec<String> {
        let told = self.webtransport().await;
        let hashes = told["serverCertificateHashes"].as_array().expect("a list");
        hashes.iter().map(|hash| hash["value"].as_str().expect("a hash").to_owned()).collect()
    }

    /// What a device says first.
    pub fn hello(&self, who: &Who) -> message::Hello {
        let token = self.token(&who.user, None).into();
        let (device, incarnation) = (who.device.clone().into(), who.incarnation);
        let hello = handshake::Client::hello(token, device, incarnation, who.scope.clone(), who.resume.clone());
        message::Hello { agent: "scenarios".into(), resume_notices: who.notices, resume_durable: who.durable, ..hello }
    }

    /// A device's connection, welcomed.
    pub async fn join(&self, via: Via, who: &Who) -> Wire {
        let mut wire = self.link(via).await;
        self.greet(&mut wire, who).await;
        wire
    }

    /// Says Hello and is welcomed.
    pub async fn greet(&self, wire: &mut Wire, who: &Who) -> message::Welcome {
        wire.send(self.hello(who)).await;
        match wire.control().await {
            Message::Welcome(welcome) => welcome,
            other => panic!("no Welcome but {other:?}"),
        }
    }

    /// The device vanishes without a word: nothing is said any more, and nothing is closed.
    pub fn lose(&self, wire: Wire) {
        wire.fall_silent();
        self.0.graveyard.lock().push(wire);
    }

    /// A figure as operators see it, all labels together.
    pub async fn metric(&self, name: &str) -> u64 {
        let (status, text) = http::get(self.admin(), "/metrics").await;
        assert_eq!(status, 200);
        let lines =
            text.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])));
        let values: Vec<f64> = lines.map(|line| line.rsplit(' ').next().unwrap().parse().expect("a number")).collect();
        assert!(!values.is_empty(), "{name} is not among the figures:\n{text}");
        values.iter().sum::<f64>() as u64
    }

    /// Stops it in good order.
    pub async fn stop(&self) -> Stopped {
        let server = self.0.running.lock().take().expect("a running server");
        let stopped = tokio::task::spawn_blocking(|| server.stop()).await.expect("a stop");
        assert!(stopped.all_durable && stopped.failure.is_none(), "{stopped:?}");
        stopped
    }

    /// Starts it again on the same data, where it happens to find a port.
    pub fn start(&self) {
        let server = Server::start(self.0.config.clone()).expect("a server");
        *self.0.listened.lock() = server.listen;
        *self.0.running.lock() = Some(server);
    }

    /// Starts it again on the same data and port.
    pub fn start_in_place(&self) {
        let listen = *self.0.listened.lock();
        let server = Server::start(Config { listen, ..self.0.config.clone() }).expect("a server");
        *self.0.running.lock() = Some(server);
    }

    /// Stops it in good order and starts it again.
    pub async fn restart(&self) {
        self.stop().await;
        self.start();
    }

    /// Whether TCP is inside TLS.
    pub fn is_tls(&self) -> bool {
        self.0.config.tls.cert.is_some()
    }
}
