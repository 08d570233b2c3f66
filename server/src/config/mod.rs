//! Everything that can be configured: one struct, filled from a TOML file, the environment, `--set` and flags.
//! The sentences here are the ones that `syncbridge config print` and docs/CONFIG.md show. Reads no file by itself
//! (`load.rs`) and starts nothing.
//!
//! A new setting is one line here, and its number one line in `defaults.rs`.

mod http;
mod load;
mod print;
mod setting;
mod storage;

use std::{net::SocketAddr, path::PathBuf};

pub use http::{Networks, Origins, PublicUrl};
pub use load::{Loaded, Origin, Problem, Sources};
pub use print::{markdown, toml};
#[cfg(test)]
pub(crate) use setting::Value;
pub use setting::{Fault, Setting};
use setting::{Node, Place, settings};
pub use storage::{Advertise, ContactPoints, Engine};

use crate::defaults::{self, ms};

/// What the environment variable of every setting begins with.
pub const PREFIX: &str = "SYNCBRIDGE_";

settings! {
    /// The whole configuration.
    Config {
        /// Where clients connect: TCP (HTTP, WebSocket) and UDP (QUIC) on the same number.
        listen: SocketAddr = defaults::LISTEN;
        /// Where operators connect: metrics, health. Whoever reaches it may read everything it shows.
        admin: SocketAddr = defaults::ADMIN;
        /// The data folder: sessions, keys. Made with mode 0700 when it is missing.
        data: PathBuf = PathBuf::from(defaults::DATA);
        /// Development profile: clients without credentials are let in, sessions that do not exist are made and open
        /// to everybody. Refused unless every listener is on loopback.
        open: bool = false;
        /// Adds `/echo`, a raw WebSocket echo for protocol test suites. Refused unless every listener is on loopback.
        echo: bool = false;
        /// Threads that serve connections, each with its own sockets; 0 means one for each core.
        shards: usize = 0, 0..=defaults::MAX_SHARDS as u64;
        /// What is logged, and how much.
        log: Log;
        /// Where sessions are kept.
        storage: Storage;
        /// Several servers on one store.
        cluster: Cluster;
        /// The certificate of the public listener.
        tls: Tls;
        /// HTTP from outside.
        http: Http;
        /// Accounts and tokens.
        auth: Auth;
        /// What one client, one user and one document may cost.
        limits: Limits;
        /// Links to clients.
        connection: Connection;
        /// Who is attached to a session.
        presence: Presence;
        /// Moving a session to another device.
        handoff: Handoff;
        /// Events on their way to subscribers.
        fanout: Fanout;
        /// Commits on their way to storage.
        persist: Persist;
        /// Documents kept as they were.
        snapshots: Snapshots;
        /// The operators' console.
        console: Console;
        /// Going down.
        drain: Drain;
    }
}

settings! {
    /// What is logged, and how much.
    Log {
        /// A level (`error`, `warn`, `info`, `debug`, `trace`), or levels by module such as `info,syncbridge::hub=debug`.
        filter: String = "info".to_owned();
    }
}

settings! {
    /// Where sessions are kept.
    Storage {
        /// `embedded` keeps them in the data folder, `scylla` (or `cassandra`) in a database that speaks CQL, `memory`
        /// nowhere: they end with the process.
        engine: Engine = Engine::Embedded;
        /// The database of `engine = "scylla"`.
        cassandra: Cassandra;
    }
}

settings! {
    /// The database of `engine = "scylla"`.
    Cassandra {
        /// Some of its nodes; they know the others.
        contact_points: ContactPoints = ContactPoints::default();
        /// Its keyspace: 1 to 48 lowercase letters, digits and `_`. `syncbridge storage migrate` makes it, with one
        /// replica; make it yourself before that for more.
        keyspace: String = "syncbridge".to_owned();
        /// The user, when `password_file` is given.
        user: String = String::new();
        /// A file with the user's password.
        password_file: Option<PathBuf> = None;
        /// A PEM file with the certificates by which its nodes are known. Without one, the connection is plain.
        ca: Option<PathBuf> = None;
        /// Seconds for which other servers leave this one's sessions alone after it was last heard of.
        lease_seconds: u64 = defaults::LEASE.as_secs(), 1..=600;
    }
}

settings! {
    /// The certificate of the public listener.
    Tls {
        /// A PEM file with the certificate chain. Without one, TCP is plain, QUIC uses a self-signed certificate whose
        /// fingerprint is printed, and WebTransport a short-lived one whose hash `/api/v1/webtransport` tells.
        cert: Option<PathBuf> = None;
        /// A PEM file with the certificate's private key.
        key: Option<PathBuf> = None;
    }
}

settings! {
    /// HTTP from outside.
    Http {
        /// Where clients find the server, for links that it makes: in QR codes, in the OpenAPI document, for
        /// WebTransport. Empty: where the request came to.
        public_url: PublicUrl = PublicUrl::default();
        /// Origins whose pages may use the routes (CORS), and open a WebSocket or a session of WebTransport: a list between
        /// commas, or `*` for all, then without credentials of the browser. Empty: only pages of the server's own origin.
        cors_origins: Origins = Origins::default();
        /// Addresses and networks of proxies whose `X-Forwarded-For` is believed: a list between commas. Empty: it is
        /// ignored.
        trusted_proxies: Networks = Networks::default();
    }
}

settings! {
    /// Accounts and tokens.
    Auth {
        /// How long an access token is good for. There is no leeway when it ends.
        access_ttl_seconds: u64 = defaults::ACCESS_TTL.as_secs(), 1..=defaults::ACCESS_TTL_MAX.as_secs();
        /// Every use of a refresh token gives a new one, and the use of an old one ends the login; without this only for
        /// logins that ask for it with `rotateRefresh`.
        rotate_refresh: bool = false;
        /// Seconds for which a login that was right is remembered in memory, so that the same login again costs no
        /// argon2; 0: not at all.
        recent_login_seconds: u64 = defaults::RECENT_LOGIN.as_secs(), 0..=86_400;
        /// Threads that hash passwords; 0 means half as many as there are cores, at least one.
        password_threads: usize = 0, 0..=64;
        /// Passwords that may wait for them; more are answered `busy`.
        password_queue: usize = defaults::PASSWORD_QUEUE, 1..=65_536;
    }
}

settings! {
    /// What one client, one user and one document may cost.
    Limits {
        /// Whether rates are limited. Sizes, depths and counts always are.
        enabled: bool = true;
        /// Largest frame (type and body, bytes) that a client may send.
        max_client_frame: usize = syncbridge_codec::MAX_CLIENT_FRAME, 1_024..=16_777_216;
        /// Largest document, bytes of JSON text.
        max_document: usize = defaults::MAX_DOCUMENT, 1_024..=67_108_864;
        /// Deepest nesting of a document.
        json_depth: usize = defaults::JSON_DEPTH, 1..=127;
        /// Most parts of a JSON Pointer.
        pointer_parts: usize = defaults::POINTER_PARTS, 1..=128;
        /// Most operations of a patch.
        operations: usize = defaults::OPERATIONS, 1..=100_000;
        /// Sessions that one connection may subscribe to.
        subscriptions: usize = defaults::SUBSCRIPTIONS, 1..=1_000_000;
        /// Sessions that one user may have made.
        sessions_per_user: usize = defaults::SESSIONS_PER_USER, 1..=1_000_000;
        /// Members that one session may have.
        members: usize = defaults::MEMBERS, 1..=100_000;
        /// Connections that one user may have.
        connections_per_user: usize = defaults::CONNECTIONS_PER_USER, 1..=10_000_000;
        /// Devices that one user may have.
        devices_per_user: usize = defaults::DEVICES_PER_USER, 1..=1_000_000;
        /// Failed logins of one account in a minute; 0: as many as one likes.
        login_failures_per_account: u64 = defaults::LOGIN_FAILURES_PER_ACCOUNT, 0..=60_000;
        /// Failed logins from one address in a minute; 0: as many as one likes.
        login_failures_per_address: u64 = defaults::LOGIN_FAILURES_PER_ADDRESS, 0..=60_000;
        /// Registrations from one address in an hour; 0: as many as one likes.
        registrations_per_address: u64 = defaults::REGISTRATIONS_PER_ADDRESS, 0..=3_600_000;
        /// Failed attempts to complete a handoff, from one address and for one session, in a minute; 0: as many as one
        /// likes.
        handoff_failures: u64 = defaults::HANDOFF_FAILURES, 0..=60_000;
        /// Seconds from a connection's first byte to the end of its handshake.
        handshake_seconds: u64 = defaults::HANDSHAKE.as_secs(), 1..=300;
        /// Seconds from a flat JSON connection's first byte to its `auth`; the first message is due within
        /// `handshake_seconds`. No limit under `open`.
        auth_seconds: u64 = defaults::JSON_AUTH.as_secs(), 1..=3_600;
        /// Seconds for the head of an HTTP request.
        header_seconds: u64 = defaults::HTTP_HEADER.as_secs(), 1..=300;
        /// Seconds for the body of an HTTP request.
        body_seconds: u64 = defaults::HTTP_BODY.as_secs(), 1..=3_600;
        /// Largest body of an HTTP request, bytes, as sent and inflated.
        request_bytes: usize = defaults::REQUEST_BYTES, 1_024..=67_108_864;
    }
}

settings! {
    /// Links to clients.
    Connection {
        /// Milliseconds within which both ends say something. After three times as long in silence a link is dead.
        heartbeat_ms: u64 = ms(defaults::HEARTBEAT), 100..=600_000;
    }
}

settings! {
    /// Who is attached to a session.
    Presence {
        /// Milliseconds that a device may be away before the others are told that it left.
        grace_ms: u64 = ms(defaults::PRESENCE_GRACE), 0..=600_000;
    }
}

settings! {
    /// Moving a session to another device.
    Handoff {
        /// Seconds that a code and its token are good for when `ttlSeconds` (30 to 900) is not given.
        ttl_seconds: u64 = defaults::HANDOFF_TTL.as_secs(), 1..=defaults::HANDOFF_TTL_MAX.as_secs();
        /// Seconds that the active device has to let a session go, under the device policy `ask`.
        answer_seconds: u64 = defaults::HANDOFF_ANSWER.as_secs(), 1..=600;
    }
}

settings! {
    /// Events on their way to subscribers.
    Fanout {
        /// Bytes of events kept for each session and shard. A subscriber that falls further behind gets the newest
        /// state in place of every change.
        ring_bytes: usize = defaults::RING_BYTES, 4_096..=67_108_864;
    }
}

settings! {
    /// Several servers on one store (`storage.engine` `scylla`): docs/CLUSTER.md.
    Cluster {
        /// Where clients reach this server: other servers send them there when it has the session that they ask for. Empty:
        /// `listen`, if that is one address, else clients are sent nowhere and ask again.
        advertise: Advertise = Advertise::default();
    }
}

settings! {
    /// Commits on their way to storage.
    Persist {
        /// New updates are answered `busy` when the oldest one that is not durable is older than this many milliseconds:
        /// about so much of what was accepted, and not yet durable, is lost when the server is killed. 0: 25 with
        /// `storage.engine` `embedded` and `memory`, 500 with `scylla`, which lets a database's pauses pass.
        busy_age_ms: u64 = 0, 0..=10_000;
        /// Commits that may wait; more are answered `busy`.
        queue: usize = defaults::PERSIST_QUEUE, 1..=1_048_576;
        /// Bytes of commits that may wait; more are answered `busy`.
        queue_bytes: usize = defaults::PERSIST_QUEUE_BYTES, 65_536..=4_294_967_296;
    }
}

settings! {
    /// Documents kept as they were.
    Snapshots {
        /// Seconds that a snapshot is kept.
        ttl_seconds: u64 = defaults::SNAPSHOT_TTL.as_secs(), 1..=31_536_000;
        /// Snapshots that one session may have. The oldest without a label gives way to a new one; when all have a label,
        /// the oldest.
        per_session: usize = defaults::SNAPSHOTS_PER_SESSION, 1..=100_000;
    }
}

settings! {
    /// The operators' console, on the admin listener.
    Console {
        /// A file with the token that lets operators act in the console: end connections, take profiles, drain. Without one
        /// the console only shows.
        token_file: Option<PathBuf> = None;
    }
}

settings! {
    /// Going down.
    Drain {
        /// Milliseconds over which clients are asked to spread their return.
        window_ms: u64 = ms(defaults::DRAIN_WINDOW), 0..=600_000;
        /// Milliseconds within which everything accepted is durable and every link closed; else the process says what
        /// is lost and exits with an error.
        deadline_ms: u64 = ms(defaults::DRAIN_DEADLINE), 100..=600_000;
    }
}

impl Config {
    /// Every setting with its value in this configuration, in the order in which they are declared.
    pub fn settings(&self) -> Vec<Setting> {
        let mut all = Vec::new();
        self.visit(Place { path: String::new(), doc: &[], bounds: None }, &mut |setting| all.push(setting));
        all
    }

    /// Sets one setting by its path.
    ///
    /// # Errors
    /// [`Fault`]: there is none of that path, or it does not take that value.
    pub fn set(&mut self, path: &str, text: &str) -> Result<(), Fault> {
        Node::set(self, &path.split('.').collect::<Vec<_>>(), text, None)
    }

    /// The number of shards to start.
    pub fn shard_count(&self) -> usize {
        match self.shards {
            0 => std::thread::available_parallelism().map_or(1, usize::from).min(defaults::MAX_SHARDS),
            given => given,
        }
    }

    /// Age of the oldest commit that is not durable at which updates are `busy`, milliseconds.
    pub const fn busy_age_ms(&self) -> u64 {
        match (self.persist.busy_age_ms, self.storage.engine) {
            (0, Engine::Embedded | Engine::Memory) => ms(defaults::BUSY_AGE),
            (0, Engine::Scylla) => ms(defaults::BUSY_AGE_DATABASE),
            (given, _) => given,
        }
    }

    /// Where other servers send this one's clients; `None`: nowhere.
    pub fn advertised(&self) -> Option<String> {
        let listens = !self.listen.ip().is_unspecified() && self.listen.port() != 0;
        self.cluster.advertise.get().map(str::to_owned).or_else(|| listens.then(|| self.listen.to_string()))
    }

    /// What cannot be together, each as (the path to blame, why).
    pub fn conflicts(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        for (profile, on) in [("open", self.open), ("echo", self.echo)] {
            for (listener, at) in [("listen", self.listen), ("admin", self.admin)] {
                if on && !at.ip().to_canonical().is_loopback() {
                    found.push((
                        profile,
                        format!("is only for development: `{listener}` is {at}, and must then be on loopback (127.0.0.1 or [::1])"),
                    ));
                }
            }
        }
        if self.listen == self.admin && self.listen.port() != 0 {
            found.push(("admin", format!("is {}, which `listen` already has", self.admin)));
        }
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&self.log.filter) {
            found.push(("log.filter", format!("is no filter: {error}")));
        }
        if self.storage.engine == Engine::Scylla && self.limits.max_document > defaults::MAX_DOCUMENT_CQL {
            let most = defaults::MAX_DOCUMENT_CQL;
            found.push((
                "limits.max_document",
                format!("is above {most}, which is all that `storage.engine` scylla takes"),
            ));
        }
        match (&self.tls.cert, &self.tls.key) {
            (Some(_), None) => found.push(("tls.cert", "needs `tls.key` beside it".to_owned())),
            (None, Some(_)) => found.push(("tls.key", "needs `tls.cert` beside it".to_owned())),
            _ => {}
        }
        found
    }
}

#[cfg(test)]
mod tests;
