//! The composition root: the one place that wires the parts, starts them in order and stops them in order.

mod accounts;
mod banner;
mod console;
mod database;
mod handoff;
mod status;

use std::{
    net::{SocketAddr, TcpListener},
    process::ExitCode,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use bytestring::ByteString;
pub use database::options as cql_options;
use status::Running;
use syncbridge_codec::{ErrorCode, Message, handshake, message};
use syncbridge_document::Limits;
use syncbridge_storage::engine::{
    Engine,
    embedded::{self, Embedded},
    memory::Memory,
};
use tokio::sync::watch;

use crate::{
    admin::{self, Metrics, Shown},
    auth::{Authenticator, KeyError, Keys, Revoked},
    config::{self, Config},
    connection::{Identity, Timing},
    control::{self, Control},
    data, defaults, hub,
    hub::Hub,
    persist::{self, Persist},
    rest, session,
    session::Now,
    shard::{
        self, clock,
        conn::Adopted,
        core::{Bounds, Shared},
        inbox::{Inbox, Item},
        runtime::Parts,
    },
    snapshot::{self, Snapshots},
    transport::{memory, origin, quic, tcp, tls, webtransport},
};

/// Why the server did not start, or how it failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration contradicts itself.
    #[error("{0}")]
    Config(String),
    /// The data folder cannot be had.
    #[error("the data folder")]
    Data(#[source] std::io::Error),
    /// The store cannot be opened.
    #[error(transparent)]
    Storage(#[from] syncbridge_storage::Error),
    /// The signing key cannot be had.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The certificate cannot be had.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// A listener cannot be bound, or a thread not started.
    #[error("{what}")]
    Start {
        /// What was being done.
        what: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

fn starting<T>(what: impl Into<String>, result: std::io::Result<T>) -> Result<T, Error> {
    result.map_err(|source| Error::Start { what: what.into(), source })
}

/// A running server.
pub struct Server {
    /// Where clients connect: TCP and UDP.
    pub listen: SocketAddr,
    /// Where operators connect.
    pub admin: SocketAddr,
    /// SHA-256 of the certificate, for clients to pin.
    pub fingerprint: tls::Fingerprint,
    /// Its epoch.
    pub epoch: u64,
    config: Arc<Config>,
    hub: Arc<Hub>,
    persist: Arc<Persist>,
    inboxes: Vec<Arc<Inbox>>,
    draining: watch::Sender<bool>,
    shards: Vec<JoinHandle<std::io::Result<()>>>,
    drain_asked: Arc<tokio::sync::Notify>,
    admin_stop: watch::Sender<bool>,
    admin_thread: Option<JoinHandle<()>>,
    control: Option<control::Stop>,
}

/// How a stop went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopped {
    /// Everything that was accepted is durable.
    pub all_durable: bool,
    /// Every client was told and its link closed in time.
    pub all_told: bool,
    /// What the store failed with, if it did.
    pub failure: Option<String>,
}

/// Runs a server until SIGTERM or SIGINT, then stops it. Says on stdout what listens where and what to try next.
///
/// # Errors
/// [`Error`] when it does not start.
pub fn serve(config: Config) -> Result<ExitCode, Error> {
    let runtime = starting("the main runtime", tokio::runtime::Builder::new_current_thread().enable_all().build())?;
    let (mut terminate, mut interrupt) = runtime.block_on(async {
        use tokio::signal::unix::{SignalKind, signal};
        Ok::<_, Error>((
            starting("SIGTERM", signal(SignalKind::terminate()))?,
            starting("SIGINT", signal(SignalKind::interrupt()))?,
        ))
    })?;
    let server = Server::start(config)?;
    banner::print(&server);
    let drain_asked = Arc::clone(&server.drain_asked);
    runtime.block_on(async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = drain_asked.notified() => {}
        }
    });
    tracing::info!("going down: clients are told, what was accepted is made durable");
    // A second signal ends the wait at once; what is lost then was never called durable.
    std::thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
        tracing::error!("stopped by a second signal before everything was durable");
        std::process::exit(1);
    });
    let stopped = server.stop();
    if let Some(cause) = &stopped.failure {
        tracing::error!(cause, "the store failed: accepted updates are lost");
    } else if !stopped.all_durable {
        tracing::error!("accepted updates did not become durable in time and are lost");
    }
    if !stopped.all_told {
        tracing::warn!("some clients did not read in time that the server goes down");
    }
    Ok(if stopped.all_durable && stopped.failure.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Server {
    /// Starts everything; ready when it returns.
    ///
    /// # Errors
    /// [`Error`].
    pub fn start(config: Config) -> Result<Self, Error> {
        if let Some((path, why)) = config.conflicts().into_iter().next() {
            return Err(Error::Config(format!("{path}: {why}")));
        }
        raise_descriptor_limit();
        data::create(&config.data).map_err(Error::Data)?;
        let count = config.shard_count();
        let metrics = Metrics::new(count);
        let persist = Persist::new(
            persist::Bounds {
                busy_age_ms: config.busy_age_ms(),
                max_queued: config.persist.queue,
                max_bytes: config.persist.queue_bytes,
            },
            clock::now,
            Arc::clone(&metrics),
        );
        let sink: Arc<dyn syncbridge_storage::Sink> = persist.clone();
        let mut embedded = None;
        let engine: Arc<dyn Engine> = match config.storage.engine {
            config::Engine::Embedded => {
                let folder = config.data.join(data::STORE);
                let store = Arc::new(Embedded::open(&folder, embedded::Options::default(), sink)?);
                embedded.insert(store).clone()
            }
            config::Engine::Memory => Arc::new(Memory::open(sink)),
            config::Engine::Scylla => database::open(&config, sink)?,
        };
        persist.attach(engine);
        let control = match Control::bind(&config.data, embedded.as_ref()) {
            Ok((requests, stop)) => {
                // Never waited for: what it is making when the server ends has no name yet, or is a profile.
                spawn("control", move || requests.serve())?;
                Some(stop)
            }
            // Not every file system takes a socket, and sessions can be served without.
            Err(error) => {
                tracing::warn!(%error, "no control socket: `storage backup` and `profile` cannot ask this server");
                None
            }
        };

        let files = config.tls.cert.as_ref().zip(config.tls.key.as_ref());
        let files = files.map(|(certificate, key)| tls::Files { certificate: certificate.clone(), key: key.clone() });
        let identity = tls::Identity::load_or_create(&config.data, files.as_ref())?;
        // Browsers trust a configured certificate as any other; one that pins itself must be short-lived for them.
        let browsers = match files {
            Some(_) => None,
            None => Some(Arc::new(tls::ShortLived::load_or_create(&config.data, clock::now().wall_ms / 1_000)?)),
        };
        let quic_config = quic::Config {
            keys: quic::Keys::load_or_create(&config.data).map_err(Error::Data)?,
            tls: tls::quic_config(&identity, browsers.clone(), defaults::TLS_SESSIONS)?,
            idle_timeout: Duration::from_millis(3 * config.connection.heartbeat_ms),
            kernel_steering: true,
        };
        let acceptor = match files {
            Some(_) => Some(tokio_rustls::TlsAcceptor::from(tls::tcp_config(&identity)?)),
            None => None,
        };
        let (tcp, quic) = bind_both(config.listen, count, &quic_config)?;
        let listen = starting("the listener's address", tcp[0].local_addr())?;
        let admin_listener = starting(format!("binding {}", config.admin), tcp::bind(config.admin, 1))?.remove(0);
        let admin = starting("the admin listener's address", admin_listener.local_addr())?;

        let inboxes: Vec<Arc<Inbox>> = (0..count).map(|_| Arc::default()).collect();
        let (hub, checkpoints) =
            Hub::new(&persist, inboxes.clone(), config.open, hub_bounds(&config), Arc::clone(&metrics));
        let epoch = hub.epoch();
        let writer = Arc::clone(&persist);
        spawn("checkpoints", move || Hub::write_checkpoints(&writer, &checkpoints, clock::now))?;

        if hub.shares_store() {
            let hub = Arc::downgrade(&hub);
            spawn("ownership", move || Hub::keep_ownership(&hub))?;
        }

        let config = Arc::new(config);
        let now_ms = clock::now().wall_ms;
        let revoked = Revoked::load(&**persist.engine(), now_ms)?;
        let keys = Keys::create_or_load(&config.data, now_ms / 1_000)?;
        let authenticator = Arc::new(Authenticator::new(keys, revoked, config.open));
        let (accounts, devices) = accounts::make(&config, &hub, &authenticator, &metrics)?;
        let handoffs = handoff::make(&config, &hub, &accounts, &devices, clock::now)?;
        let steering = quic[0].steering();
        let status = Arc::new(Running::new(Arc::clone(&hub), Arc::clone(&persist), steering, config.open, clock::now));
        let shown = Shown { metrics: Arc::clone(&metrics), status };
        let shared = Shared {
            hub: Arc::clone(&hub),
            authenticate: authenticate(Arc::clone(&authenticator), Arc::clone(&metrics)),
            timing: Timing {
                hello_ms: config.limits.handshake_seconds * 1_000,
                auth_ms: (!config.open).then_some(config.limits.auth_seconds * 1_000),
                heartbeat_ms: config.connection.heartbeat_ms,
            },
            bounds: shard_bounds(&config),
            metrics,
        };
        let api = Arc::new(rest::Parts {
            hub: Arc::clone(&hub),
            authenticator: Arc::clone(&authenticator),
            accounts,
            devices: Arc::clone(&devices),
            handoffs,
            snapshots: Snapshots::new(Arc::clone(&hub), snapshot_bounds(&config), clock::now),
            config: Arc::clone(&config),
            once: rest::idempotency::Once::with_data_folder(&config.data).map_err(Error::Data)?,
            webtransport: rest::webtransport::Offer { listen, browsers: browsers.clone() },
            clock: clock::now,
        });
        let (router, templates) = rest::router(api, shown.clone());
        let (draining, drained) = watch::channel(false);
        let header_limit = Duration::from_secs(config.limits.header_seconds);
        let pages = Arc::new(origin::Pages::new(&config.http));
        let door = webtransport::Door::new(Arc::clone(&pages), header_limit);
        let processors = shard::pin::allowed();
        let mut shards = Vec::with_capacity(count);
        for (index, (tcp, quic)) in tcp.into_iter().zip(quic).enumerate() {
            let parts = Parts {
                index,
                // As many shards as processors: each has its own. Otherwise the system places them better.
                processor: (processors.len() == count).then(|| processors[index]),
                shared: shared.clone(),
                inbox: Arc::clone(&inboxes[index]),
                tcp,
                tls: acceptor.clone(),
                quic,
                pages: Arc::clone(&pages),
                door: door.clone(),
                router: router.clone(),
                templates: Arc::clone(&templates),
                http: config.http.clone(),
                echo: config.echo,
                handshake: header_limit,
                clock: clock::now,
                draining: drained.clone(),
            };
            shards.push(spawn(&format!("shard-{index}"), move || shard::runtime::run(parts))?);
        }
        // It ends with the shards, and is waited for like one: what it writes last is still to be written.
        shards.push({
            let (config, hub, drained) = (Arc::clone(&config), Arc::clone(&hub), drained.clone());
            spawn("accounts", move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(async {
                    let accounts =
                        accounts::look_after(&config, &hub, &authenticator, &devices, clock::now, drained.clone());
                    tokio::join!(accounts, rotate_certificates(browsers.as_deref(), clock::now, drained));
                });
                Ok(())
            })?
        });
        let (admin_stop, stopped) = watch::channel(false);
        let drain_asked = Arc::new(tokio::sync::Notify::new());
        let console = console::make(&config, listen, epoch, shown.clone(), &hub, &drain_asked)?;
        let router = admin::router(shown).merge(admin::console::routes(console));
        let admin_thread = spawn("admin", move || serve_admin(admin_listener, &router, stopped))?;
        Ok(Self {
            listen,
            admin,
            fingerprint: identity.fingerprint(),
            epoch,
            config,
            hub,
            persist,
            inboxes,
            draining,
            shards,
            drain_asked,
            admin_stop,
            admin_thread: Some(admin_thread),
            control,
        })
    }

    /// The configuration that it runs with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// A connection inside the process, to one of the shards: frames without WebSocket around them. For tests.
    pub fn connect(&self, shard: usize) -> tokio::io::DuplexStream {
        let (link, client) = memory::pair();
        self.inboxes[shard % self.inboxes.len()].push(Item::Adopt(Box::new(Adopted { link })));
        client
    }

    /// Stops: nothing new is accepted, what was accepted becomes durable, every client is told when to come back and its
    /// link is closed. Blocks, at most for `drain.deadline_ms`.
    pub fn stop(mut self) -> Stopped {
        let deadline = Instant::now() + Duration::from_millis(self.config.drain.deadline_ms);
        if let Some(control) = self.control.take() {
            control.stop();
        }
        self.hub.drain();
        self.draining.send_replace(true);
        let flushed = self.persist.flush(deadline);
        let told = Message::from(message::Draining {
            reconnect_after_ms: defaults::DRAIN_RETRY_MS,
            window_ms: self.config.drain.window_ms,
            address: ByteString::new(),
        });
        for inbox in &self.inboxes {
            inbox.push(Item::Drain(told.to_frame()));
        }
        let all_told = join_until(std::mem::take(&mut self.shards), deadline);
        self.admin_stop.send_replace(true);
        if let Some(thread) = self.admin_thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the admin listener's thread came to a bad end");
        }
        self.hub.end_ownership();
        // Whatever was this server's is free from here on.
        let closed = self.persist.engine().close();
        let failure = self.persist.failure().or_else(|| closed.err().map(|error| error.to_string()));
        Stopped { all_durable: flushed && failure.is_none(), all_told, failure }
    }
}

/// TCP and UDP on the same number. With port 0 the UDP side may find TCP's choice taken: then once more.
fn bind_both(
    address: SocketAddr,
    shards: usize,
    config: &quic::Config,
) -> Result<(Vec<TcpListener>, Vec<quic::Socket>), Error> {
    let mut tries = if address.port() == 0 { 16 } else { 1 };
    loop {
        tries -= 1;
        let tcp = starting(format!("binding {address} (TCP)"), tcp::bind(address, shards))?;
        let bound = starting("the listener's address", tcp[0].local_addr())?;
        match quic::bind(bound, shards, config) {
            Ok(quic) => return Ok((tcp, quic)),
            Err(error) if tries > 0 && error.kind() == std::io::ErrorKind::AddrInUse => {}
            Err(error) => return starting(format!("binding {bound} (UDP)"), Err(error)),
        }
    }
}

fn hub_bounds(config: &Config) -> hub::Bounds {
    let limits = &config.limits;
    hub::Bounds {
        unload_after_ms: defaults::UNLOAD_AFTER.as_millis() as u64,
        max_inbox: defaults::SHARD_INBOX,
        max_sessions: limits.sessions_per_user,
        max_members: limits.members,
        max_connections: u32::try_from(limits.connections_per_user).unwrap_or(u32::MAX),
        session: session::Bounds {
            document: Limits {
                depth: limits.json_depth,
                pointer_parts: limits.pointer_parts,
                operations: limits.operations,
                document_bytes: limits.max_document,
                ..Limits::default()
            },
            presence_grace_ms: config.presence.grace_ms,
            presence_ttl_ms: 4 * config.connection.heartbeat_ms + defaults::PRESENCE_TTL_SLACK_MS,
            ..session::Bounds::default()
        },
    }
}

fn snapshot_bounds(config: &Config) -> snapshot::Bounds {
    snapshot::Bounds { ttl_ms: config.snapshots.ttl_seconds * 1_000, max: config.snapshots.per_session }
}

fn shard_bounds(config: &Config) -> Bounds {
    Bounds {
        max_client_frame: config.limits.max_client_frame,
        max_server_frame: config.limits.max_document + defaults::FRAME_ABOVE_DOCUMENT,
        max_document: config.limits.max_document,
        max_subscriptions: config.limits.subscriptions,
        max_lag: config.fanout.ring_bytes,
        max_cut: defaults::MAX_CUT_BYTES,
    }
}

/// Who comes, from the token and what the client says of itself.
fn authenticate(authenticator: Arc<Authenticator>, metrics: Arc<Metrics>) -> Arc<shard::core::Authenticate> {
    Arc::new(move |hello: &handshake::Request, now: Now| {
        if hello.scope.kind == message::ScopeKind::Machine {
            return Err((ErrorCode::Forbidden, "connections of machines come with a later release".to_owned()));
        }
        let actor = authenticator.authenticate(&hello.token, now.wall_ms / 1_000).map_err(|denied| {
            metrics.denied.increment();
            (denied.code(), denied.to_string())
        })?;
        let device = actor.device.unwrap_or_else(|| (&*hello.device).into());
        let session = (hello.scope.kind == message::ScopeKind::Session).then(|| (&*hello.scope.id).into());
        Ok(Identity { user: actor.user, device, incarnation: hello.incarnation, session, family: actor.family })
    })
}

/// Sees to the browsers' certificates until the server goes down.
async fn rotate_certificates(
    browsers: Option<&tls::ShortLived>,
    clock: fn() -> Now,
    mut draining: watch::Receiver<bool>,
) {
    let Some(browsers) = browsers else { return };
    let mut every = tokio::time::interval(defaults::CERTIFICATES_EVERY);
    loop {
        tokio::select! {
            _ = every.tick() => match browsers.rotate(clock().wall_ms / 1_000) {
                Ok(true) => tracing::info!("browsers get their next certificate; the hash of the one after it is told"),
                Ok(false) => {}
                // The one that is served is valid for two more days.
                Err(error) => tracing::error!(%error, "the browsers' next certificate cannot be made"),
            },
            _ = draining.wait_for(|draining| *draining) => return,
        }
    }
}

fn spawn<T: Send + 'static>(name: &str, body: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>, Error> {
    starting(format!("the thread {name}"), std::thread::Builder::new().name(name.to_owned()).spawn(body))
}

/// The admin listener, on a thread of its own: it answers also when the shards are busy.
fn serve_admin(listener: TcpListener, router: &axum::Router, mut stopped: watch::Receiver<bool>) {
    let served = (|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            loop {
                let (stream, _) = tokio::select! {
                    accepted = listener.accept() => match accepted {
                        Ok(accepted) => accepted,
                        Err(error) => {
                            tracing::warn!(%error, "the admin listener cannot accept");
                            tokio::time::sleep(defaults::ACCEPT_PAUSE).await;
                            continue;
                        }
                    },
                    _ = stopped.wait_for(|stopped| *stopped) => return Ok(()),
                };
                let service = hyper_util::service::TowerToHyperService::new(router.clone());
                tokio::spawn(async move {
                    let connection = hyper::server::conn::http1::Builder::new()
                        .timer(hyper_util::rt::TokioTimer::new())
                        .header_read_timeout(defaults::HTTP_HEADER)
                        .serve_connection(hyper_util::rt::TokioIo::new(stream), service);
                    if let Err(error) = connection.await {
                        tracing::debug!(%error, "an admin connection ended");
                    }
                });
            }
        })
    })();
    if let Err::<(), std::io::Error>(error) = served {
        tracing::error!(%error, "the admin listener failed");
    }
}

/// Waits for the threads, until the deadline: whether all ended well before it.
fn join_until(threads: Vec<JoinHandle<std::io::Result<()>>>, deadline: Instant) -> bool {
    let (ended, ends) = std::sync::mpsc::channel();
    let count = threads.len();
    for thread in threads {
        let ended = ended.clone();
        // A thread that waits for a thread: joining has no timeout of its own.
        std::thread::spawn(move || {
            let well = match thread.join() {
                Ok(Ok(())) => true,
                Ok(Err(error)) => {
                    tracing::error!(%error, "a shard failed");
                    false
                }
                Err(_) => {
                    tracing::error!("a shard came to a bad end");
                    false
                }
            };
            // Nobody listens any more once the deadline is over.
            let _ = ended.send(well);
        });
    }
    (0..count).all(|_| {
        let left = deadline.saturating_duration_since(Instant::now());
        ends.recv_timeout(left).unwrap_or(false)
    })
}

/// A connection takes a descriptor: as many as the system allows without being asked for more.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let most = rustix::process::Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, most) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}
