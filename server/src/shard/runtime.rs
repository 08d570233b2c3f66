//! A shard's thread: its runtime, its listeners, the flusher, the clock. Everything that the sans-IO [`Shard`] must not
//! know is here.

use std::{
    cell::RefCell,
    future::poll_fn,
    net::{IpAddr, TcpListener},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::Router;
use bytes::Bytes;
use syncbridge_codec::ErrorCode;
use tokio::{net::TcpStream, task::spawn_local, time::timeout};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use super::{
    core::{Shard, Shared},
    flat::nobody,
    flush::Sockets,
    inbox::Inbox,
    routed::Asked,
    task::Task,
};
use crate::{
    config, defaults,
    rest::{Problem, frame::Frame, native},
    session::Now,
    transport::{
        http::{self, Http, Open},
        origin::Pages,
        pipe::{Pipe, Stream},
        quic::{self, Accepted, Streams},
        websocket::Wanted,
        webtransport::Door,
    },
};

/// What one shard is made of; made on the main thread, goes to the shard's.
pub struct Parts {
    /// Its number.
    pub index: usize,
    /// The processor that it is pinned to, if it is.
    pub processor: Option<usize>,
    /// What shards share.
    pub shared: Shared,
    /// Its inbox.
    pub inbox: Arc<Inbox>,
    /// Its listener.
    pub tcp: TcpListener,
    /// TLS on TCP, when a certificate is configured.
    pub tls: Option<TlsAcceptor>,
    /// Its QUIC socket.
    pub quic: quic::Socket,
    /// Whose pages may open a WebSocket.
    pub pages: Arc<Pages>,
    /// Who gets a session of WebTransport on it.
    pub door: Door,
    /// What answers HTTP.
    pub router: Router,
    /// The paths of its routes, for counting.
    pub templates: Arc<[String]>,
    /// How HTTP is had from outside.
    pub http: config::Http,
    /// Whether `/echo` is there.
    pub echo: bool,
    /// Time for a TLS handshake, and for the head of a request.
    pub handshake: Duration,
    /// The clock.
    pub clock: fn() -> Now,
    /// Set when the server goes down: nothing new is accepted; the shard ends when its connections have.
    pub draining: tokio::sync::watch::Receiver<bool>,
}

/// What the tasks of one shard share.
pub struct Local {
    shard: RefCell<Shard>,
    /// Where every connection reads; lent for one read.
    pub scratch: RefCell<Vec<u8>>,
    /// A connection ended, or there was none to end.
    pub gone: tokio::sync::Notify,
    /// Connections that speak HTTP, and are none of the shard's yet.
    http: Rc<Open>,
    clock: fn() -> Now,
    frame: Rc<Frame>,
    blocking: tokio::runtime::Handle,
}

impl Local {
    /// Does something with the shard at the present time, and sees to what that left to be done.
    pub fn with<R>(&self, act: impl FnOnce(&mut Shard) -> R) -> R {
        let mut shard = self.shard.borrow_mut();
        shard.set_now((self.clock)());
        let result = act(&mut shard);
        if shard.has_work() {
            shard.inbox().nudge();
        }
        result
    }

    /// Runs what may block off the shard; the connection goes on when it is done.
    fn start_jobs(self: &Rc<Self>) {
        while let Some((id, who, job)) = self.with(Shard::next_job) {
            let hub = Arc::clone(&self.shard.borrow().shared().hub);
            let clock = self.clock;
            let running = self.blocking.spawn_blocking(move || job.run(&hub, id, &who, clock()));
            let local = Rc::clone(self);
            spawn_local(async move {
                match running.await {
                    Ok(done) => local.with(|shard| shard.finish(id, done)),
                    Err(error) => {
                        tracing::error!(%error, "work off a shard failed");
                        local.with(|shard| shard.abandon(id));
                    }
                }
            });
        }
    }

    /// Looks after the updates that wait for the disk, until none does.
    fn watch_held(self: &Rc<Self>) {
        if self.with(Shard::watch_held) {
            let local = Rc::clone(self);
            spawn_local(async move {
                loop {
                    tokio::time::sleep(defaults::BUSY_RETRY).await;
                    if !local.with(Shard::retry_held) {
                        break;
                    }
                }
            });
        }
    }

    /// Has REST's routes answer what connections ask of them, each in a task that ends with its connection.
    fn start_asked(self: &Rc<Self>) {
        while let Some(asked) = self.with(Shard::next_asked) {
            let local = Rc::clone(self);
            spawn_local(Box::pin(async move {
                let Asked { conn, key, request, caller, peer, ended } = asked;
                let max = local.shard.borrow().shared().bounds.max_server_frame;
                tokio::select! {
                    biased;
                    _ = ended => {}
                    response = native::answer(&local.frame, request, caller, peer, max) => {
                        local.with(|shard| shard.answer_asked(conn, key, response));
                    }
                }
            }));
        }
    }

    /// One turn of the flusher: what is told, then what goes out; some of what operators look over.
    fn turn(self: &Rc<Self>, cx: &Context<'_>) {
        let more = self.with(|shard| {
            shard.inbox().begin_drain(cx.waker());
            let told = shard.drain_inbox(defaults::INBOX_TURN);
            let due = shard.flush(&mut Sockets, defaults::SWEEP);
            let looking = shard.look_on();
            told || due || looking
        });
        while let Some(adopted) = self.with(Shard::next_adopted) {
            let local = Rc::clone(self);
            spawn_local(Task::new(local, adopted.link, Vec::new()));
        }
        self.start_jobs();
        self.start_asked();
        self.watch_held();
        if self.shard.borrow().is_over() {
            // Nobody was connected when the server went down: no connection's end will say so.
            self.gone.notify_one();
        }
        if more {
            // Readers run before the next turn, and what they publish extends the sweep.
            cx.waker().wake_by_ref();
        }
    }
}

/// Runs a shard on this thread until the server goes down and its last connection has ended.
///
/// # Errors
/// What the system says when the runtime or a socket cannot be had.
pub fn run(parts: Parts) -> std::io::Result<()> {
    if let Some(processor) = parts.processor {
        super::pin::pin(processor);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(defaults::BLOCKING_THREADS)
        .thread_name(format!("shard-{}-work", parts.index))
        .build_local(tokio::runtime::LocalOptions::default())?;
    runtime.block_on(serve(parts, runtime.handle().clone()))
}

async fn serve(parts: Parts, blocking: tokio::runtime::Handle) -> std::io::Result<()> {
    let Parts {
        index, shared, inbox, tcp, tls, quic, pages, door, router, echo, handshake, clock, mut draining, ..
    } = parts;
    let frame = Rc::new(Frame::new(router, &parts.http, &parts.templates, &shared.metrics));
    let local = Rc::new(Local {
        shard: RefCell::new(Shard::new(index, shared, Arc::clone(&inbox), clock())),
        scratch: RefCell::new(vec![0; defaults::READ_BYTES]),
        gone: tokio::sync::Notify::new(),
        http: Rc::default(),
        clock,
        frame: Rc::clone(&frame),
        blocking,
    });
    let flusher = Rc::clone(&local);
    spawn_local(poll_fn(move |cx: &mut Context<'_>| -> Poll<()> {
        flusher.turn(cx);
        Poll::Pending
    }));
    inbox.nudge();

    let listener = tokio::net::TcpListener::from_std(tcp)?;
    match tls {
        None => {
            let http = http(&local, frame, pages, echo, handshake, draining.clone());
            spawn_local(accept_plain(listener, http, draining.clone()))
        }
        Some(tls) => {
            let http = http(&local, frame, pages, echo, handshake, draining.clone());
            spawn_local(accept_tls(listener, tls, http, draining.clone()))
        }
    };
    let endpoint = quic.into_endpoint()?;
    spawn_local(accept_quic(Rc::clone(&local), endpoint.clone(), door, draining.clone()));

    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    let mut presence = tokio::time::interval(defaults::PRESENCE_TICK);
    let mut unload = tokio::time::interval(defaults::UNLOAD_TICK);
    loop {
        tokio::select! {
            _ = seconds.tick() => {
                local.with(Shard::tick);
                local.shard.borrow().report(busy());
            }
            // One shard looks after the sessions, which belong to none.
            _ = unload.tick(), if index == 0 => {
                let hub = Arc::clone(&local.shard.borrow().shared().hub);
                hub.unload_idle(clock());
            }
            _ = presence.tick(), if index == 0 => {
                let hub = Arc::clone(&local.shard.borrow().shared().hub);
                hub.tick(clock());
            }
            _ = draining.wait_for(|draining| *draining) => break,
        }
    }
    // Going down: connections were told by the inbox; each ends when it has read that, or when its time is over.
    loop {
        let gone = local.gone.notified();
        if local.shard.borrow().is_over() && inbox.is_empty() && local.http.is_none() {
            break;
        }
        tokio::select! {
            () = gone => {}
            () = local.http.ended.notified() => {}
            _ = seconds.tick() => local.with(Shard::tick),
        }
    }
    // Handshakes that are not through belong to nobody yet; their peers are told and not waited for long.
    endpoint.close((ErrorCode::ServerDraining as u32).into(), b"the server is going down");
    if timeout(Duration::from_millis(defaults::LINGER_MS), endpoint.wait_idle()).await.is_err() {
        tracing::debug!("some QUIC peers did not answer the end of their connection");
    }
    local.shard.borrow().report(busy());
    Ok(())
}

/// How long this thread's runtime has worked since it began.
fn busy() -> Duration {
    tokio::runtime::Handle::current().metrics().worker_total_busy_duration(0)
}

type Draining = tokio::sync::watch::Receiver<bool>;

/// The next connection and where it comes from; `None` when the server goes down.
async fn next(listener: &tokio::net::TcpListener, draining: &mut Draining) -> Option<(TcpStream, IpAddr)> {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = draining.wait_for(|draining| *draining) => return None,
        };
        match accepted {
            Ok((stream, peer)) => {
                // Events go out when they are there, not when there are more.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "a connection ended before it was served");
                    continue;
                }
                return Some((stream, peer.ip().to_canonical()));
            }
            Err(error) => {
                // Out of descriptors, mostly: wait for some to be closed instead of spinning.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(defaults::ACCEPT_PAUSE).await;
            }
        }
    }
}

fn http<S: Stream>(
    local: &Rc<Local>,
    frame: Rc<Frame>,
    pages: Arc<Pages>,
    echo: bool,
    header_timeout: Duration,
    draining: Draining,
) -> Rc<Http<S>> {
    let open = Rc::clone(&local.http);
    let local = Rc::clone(local);
    let (authenticate, clock) = (Arc::clone(&local.shard.borrow().shared().authenticate), local.clock);
    let known = Box::new(move |token: &str| {
        authenticate(&nobody(token), clock()).map_err(|(code, text)| Problem::new(code, text))
    });
    let upgraded = Box::new(move |wanted, stream, peer, already: Bytes| match wanted {
        Wanted::Frames => {
            spawn_local(Task::new(Rc::clone(&local), Pipe::websocket(stream, peer), already.to_vec()));
        }
        Wanted::Json(identity) => {
            spawn_local(Task::new(Rc::clone(&local), Pipe::json(stream, peer, identity), already.to_vec()));
        }
        Wanted::Echo => {
            spawn_local(super::echo::run(stream, already));
        }
    });
    Rc::new(Http { frame, echo, header_timeout, draining, open, pages, known, upgraded })
}

async fn accept_plain(listener: tokio::net::TcpListener, http: Rc<Http<TcpStream>>, mut draining: Draining) {
    while let Some((stream, peer)) = next(&listener, &mut draining).await {
        spawn_local(http::serve(stream, peer, Rc::clone(&http)));
    }
}

async fn accept_tls(
    listener: tokio::net::TcpListener,
    tls: TlsAcceptor,
    http: Rc<Http<TlsStream<TcpStream>>>,
    mut draining: Draining,
) {
    while let Some((stream, peer)) = next(&listener, &mut draining).await {
        let (tls, http) = (tls.clone(), Rc::clone(&http));
        spawn_local(Box::pin(async move {
            match timeout(http.header_timeout, tls.accept(stream)).await {
                Ok(Ok(stream)) => {
                    spawn_local(http::serve(stream, peer, http));
                }
                Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                Err(_) => tracing::debug!("a TLS handshake took too long"),
            }
        }));
    }
}

async fn accept_quic(local: Rc<Local>, endpoint: quinn::Endpoint, door: Door, mut draining: Draining) {
    let gate = quic::Gate::default();
    loop {
        let incoming = tokio::select! {
            incoming = endpoint.accept() => incoming,
            _ = draining.wait_for(|draining| *draining) => None,
        };
        let Some(incoming) = incoming else { break };
        let Some(handshake) = gate.admit(incoming) else { continue };
        let (local, door) = (Rc::clone(&local), door.clone());
        spawn_local(Box::pin(async move {
            let link = match handshake.await {
                Ok(Accepted::Native(link)) => link,
                Ok(Accepted::Http3(arrival)) => match door.admit(arrival).await {
                    Ok(link) => link,
                    Err(refused) => {
                        local.with(|shard| shard.metrics().no_session.of(refused.reason()).increment());
                        return tracing::debug!(%refused, "no session of WebTransport");
                    }
                },
                Err(error) => return tracing::debug!(%error, "a QUIC handshake failed"),
            };
            spawn_local(Task::new(local, Streams::new(link), Vec::new()));
        }));
    }
    // Who comes now is refused at once instead of waiting for a timeout.
    while let Some(incoming) = endpoint.accept().await {
        incoming.refuse();
    }
}
