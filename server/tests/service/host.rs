//! A server in this process, and the ways to it.

use std::time::{Duration, SystemTime};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use syncbridge::{
    app::Server,
    auth::{KEY_FILE, SigningKey},
    config::{Config, Engine},
};
use tokio::net::TcpStream;
use tokio_websockets::{ClientBuilder, MaybeTlsStream, Message, WebSocketStream};

use crate::{http::Http, support::within};

/// A running server with its data folder.
pub struct Host {
    server: Option<Server>,
    config: Config,
    folder: tempfile::TempDir,
}

impl Host {
    /// One that keeps its sessions in memory.
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    /// One that keeps its sessions on disk.
    pub fn durable() -> Self {
        Self::with(|config| config.storage.engine = Engine::Embedded)
    }

    /// One with other settings; in memory unless they say otherwise.
    pub fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config {
            listen: "127.0.0.1:0".parse().unwrap(),
            admin: "127.0.0.1:0".parse().unwrap(),
            data: folder.path().to_owned(),
            shards: 2,
            ..Config::default()
        };
        config.storage.engine = Engine::Memory;
        // The machine may be busy with other tests: what a disk is given in time is not the question here.
        config.persist.busy_age_ms = 1_000;
        change(&mut config);
        let server = Some(Server::start(config.clone()).unwrap());
        Self { server, config, folder }
    }

    /// The server.
    pub fn server(&self) -> &Server {
        self.server.as_ref().expect("a running server")
    }

    /// A client that is not signed in.
    pub fn http(&self) -> Http {
        Http::new(self.server().listen)
    }

    /// A client with a token that the server's key signed, as `syncbridge token` makes it.
    pub fn user(&self, user: &str) -> Http {
        self.http().with(self.token(user, None))
    }

    /// Such a token.
    pub fn token(&self, user: &str, device: Option<&str>) -> String {
        let key = SigningKey::create_or_load(&self.folder.path().join(KEY_FILE)).unwrap();
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        key.issue(user, device, None, Duration::from_hours(1), now).unwrap()
    }

    /// A stock WebSocket on `/ws`, flat JSON, with this token in its header.
    pub async fn socket(&self, token: Option<&str>) -> Socket {
        Socket::connect(self.server().listen, token).await.expect("an upgrade")
    }

    /// Whether these bytes stand in any file of the data folder.
    pub fn stores(&self, bytes: &[u8]) -> bool {
        let mut folders = vec![self.folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
                let kind = entry.file_type().unwrap();
                if kind.is_dir() {
                    folders.push(entry.path());
                } else if kind.is_file()
                    && std::fs::read(entry.path()).unwrap().windows(bytes.len()).any(|window| window == bytes)
                {
                    return true;
                }
            }
        }
        false
    }

    /// Stops it in good order: nothing accepted may be lost.
    pub async fn stop(&mut self) {
        let server = self.server.take().expect("a running server");
        let stopped = tokio::task::spawn_blocking(|| server.stop()).await.unwrap();
        assert!(stopped.all_durable && stopped.failure.is_none(), "{stopped:?}");
    }

    /// Its data folder.
    pub fn folder(&self) -> &std::path::Path {
        self.folder.path()
    }

    /// Stops it and starts it again on the same data.
    pub async fn restart(&mut self) {
        self.restart_with(|_| {}).await;
    }

    /// The same, with other settings from there on.
    pub async fn restart_with(&mut self, change: impl FnOnce(&mut Config)) {
        self.stop().await;
        change(&mut self.config);
        self.server = Some(Server::start(self.config.clone()).unwrap());
    }
}

/// A WebSocket that speaks flat JSON.
pub struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    /// Connects.
    ///
    /// # Errors
    /// The status that the upgrade was refused with, as text.
    pub async fn connect(address: std::net::SocketAddr, token: Option<&str>) -> Result<Self, String> {
        let mut builder = ClientBuilder::new().uri(&format!("ws://{address}/ws")).unwrap();
        if let Some(token) = token {
            let value = format!("Bearer {token}").parse().unwrap();
            builder = builder.add_header(hyper::header::AUTHORIZATION, value).unwrap();
        }
        let connecting = within("a WebSocket", builder.connect()).await;
        connecting.map(|(socket, _)| Self(socket)).map_err(|error| error.to_string())
    }

    /// Sends one message.
    pub async fn say(&mut self, message: Value) {
        self.say_text(&message.to_string()).await;
    }

    /// Sends this text.
    pub async fn say_text(&mut self, text: &str) {
        self.0.send(Message::text(text.to_owned())).await.expect("sent");
    }

    /// Sends one message, or finds that the connection has ended.
    pub async fn say_if_open(&mut self, message: Value) {
        let _ended = self.0.send(Message::text(message.to_string())).await;
    }

    /// Sends a binary message.
    pub async fn say_binary(&mut self, bytes: &[u8]) {
        self.0.send(Message::binary(bytes.to_vec())).await.expect("sent");
    }

    /// The next message; `Err`: the close code that ended the connection, 1006 when there was none.
    pub async fn next(&mut self) -> Result<Value, u16> {
        self.next_text().await.map(|text| serde_json::from_str(&text).unwrap())
    }

    /// The text of the next message, or the close code.
    pub async fn next_text(&mut self) -> Result<String, u16> {
        loop {
            match within("a message", self.0.next()).await {
                Some(Ok(message)) if message.is_text() => return Ok(message.as_text().unwrap().to_owned()),
                Some(Ok(message)) if message.is_close() => return Err(message.as_close().unwrap().0.into()),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return Err(1006),
            }
        }
    }

    /// The next message of this type; others are passed over.
    pub async fn until(&mut self, kind: &str) -> Value {
        loop {
            let message = self.next().await.unwrap_or_else(|code| panic!("closed with {code} before {kind}"));
            if message["type"] == kind {
                return message;
            }
        }
    }
}
