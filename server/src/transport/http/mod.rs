//! HTTP/1.1 on a shard: hyper reads requests, the frame of `rest/` answers them, and a WebSocket's upgrade ends it: the raw
//! stream goes on with what hyper had already read, and nothing of hyper is left.

mod stream;

use std::{
    cell::{Cell, RefCell},
    convert::Infallible,
    future::poll_fn,
    net::IpAddr,
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use hyper::{Request, Response, StatusCode, Version, body::Incoming, header, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use stream::Guarded;
use syncbridge_codec::ErrorCode;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::{Notify, watch},
    time::timeout,
};

use super::{
    origin::Pages,
    pipe::Stream,
    websocket::{self, Wanted},
};
use crate::{
    defaults,
    rest::{Problem, frame::Frame},
};

/// What a shard's connections are served with.
pub struct Http<S> {
    /// Everything but upgrades.
    pub frame: Rc<Frame>,
    /// Whether `/echo` is there, for protocol suites.
    pub echo: bool,
    /// Time for the head of a request.
    pub header_timeout: Duration,
    /// Set when the server goes down.
    pub draining: watch::Receiver<bool>,
    /// How many connections there are.
    pub open: Rc<Open>,
    /// Whose pages may open a WebSocket.
    pub pages: Arc<Pages>,
    /// Who comes with a token.
    pub known: Box<websocket::Known>,
    /// Takes a stream that was upgraded, where it comes from, and the bytes that hyper has read beyond the request.
    pub upgraded: Box<dyn Fn(Wanted, S, IpAddr, Bytes)>,
}

/// How many connections of a shard speak HTTP.
#[derive(Debug, Default)]
pub struct Open {
    count: Cell<usize>,
    /// One of them ended.
    pub ended: Notify,
}

impl Open {
    /// Whether there is none.
    pub const fn is_none(&self) -> bool {
        self.count.get() == 0
    }
}

/// Counts a connection for as long as it lives.
struct Counted(Rc<Open>);

impl Counted {
    fn new(open: &Rc<Open>) -> Self {
        open.count.set(open.count.get() + 1);
        Self(Rc::clone(open))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.count.set(self.0.count.get() - 1);
        self.0.ended.notify_one();
    }
}

/// What a connection's requests tell the connection.
#[derive(Default)]
struct State {
    /// There was a request.
    begun: Cell<bool>,
    /// The last answer ends the connection, though more may be on its way here.
    last: Cell<bool>,
    /// What the stream is to become.
    wanted: RefCell<Option<Wanted>>,
}

/// Serves one connection until it ends or is upgraded. The future is boxed by hyper's size: it lives as long as HTTP is
/// spoken and not longer.
pub fn serve<S: Stream>(stream: S, peer: IpAddr, http: Rc<Http<S>>) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move {
        let counted = Counted::new(&http.open);
        let state = Rc::new(State::default());
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(http.header_timeout)
            .max_buf_size(defaults::HTTP_HEAD)
            .writev(false);
        let answering = (Rc::clone(&http), Rc::clone(&state));
        let service = service_fn(move |request| {
            let (http, state) = (Rc::clone(&answering.0), Rc::clone(&answering.1));
            answer(request, peer, http, state)
        });
        let mut connection = builder.serve_connection(TokioIo::new(Guarded::new(stream)), service);
        let mut draining = http.draining.clone();
        let mut result = tokio::select! {
            biased;
            result = &mut connection => Some(result),
            _ = draining.wait_for(|draining| *draining) => None,
        };
        if result.is_none() {
            // The request under way is the last one. A connection that waits for another ends at once by itself; one that
            // never had any would not.
            Pin::new(&mut connection).graceful_shutdown();
            result = poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
                Poll::Ready(result) => Poll::Ready(Some(result)),
                Poll::Pending if state.begun.get() => Poll::Pending,
                Poll::Pending => Poll::Ready(None),
            })
            .await;
        }
        let parts = connection.into_parts();
        let Guarded { inner: mut stream, held_back, .. } = parts.io.into_inner();
        if let Some(wanted) = state.wanted.take() {
            drop(counted);
            return (http.upgraded)(wanted, stream, peer, parts.read_buf);
        }
        let problem = match &result {
            Some(Err(error)) => {
                // The peer's doing: a reset, a timeout, bytes that are not HTTP.
                tracing::debug!(%error, "an HTTP connection ended");
                // A connection that only waits for another request ends without a word.
                let waits = state.begun.get() && parts.read_buf.is_empty();
                unasked(error, held_back, http.header_timeout).filter(|_| !waits || held_back.is_some())
            }
            _ => None,
        };
        if problem.is_some() || state.last.get() {
            // How it ends is of no interest: the peer may be gone.
            let _ended = timeout(defaults::LINGER, end(&mut stream, problem)).await;
        }
    })
}

/// What is told of a request that could not be read.
fn unasked(error: &hyper::Error, held_back: Option<u16>, header_timeout: Duration) -> Option<Problem> {
    let invalid = |detail: &str| Problem::new(ErrorCode::InvalidRequest, detail);
    Some(match held_back {
        Some(414) => invalid("the address is too long").with_status(StatusCode::URI_TOO_LONG),
        Some(431) => {
            invalid("the head of the request is too long").with_status(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
        }
        None if error.is_timeout() => {
            let what = format!("the head of the request was not there within {} s", header_timeout.as_secs());
            Problem::new(ErrorCode::TimedOut, what)
        }
        None if !error.is_parse() => return None,
        _ => Problem::new(ErrorCode::InvalidRequest, format!("this is not HTTP/1.1: {error}")),
    })
}

/// Says what is wrong, ends our side, and reads what the peer still sends: to close with bytes unread would reset the
/// connection, and could take the answer back before it is read (RFC 9112 §9.6).
async fn end<S: Stream>(stream: &mut S, problem: Option<Problem>) -> std::io::Result<()> {
    if let Some(problem) = problem {
        stream.write_all(&problem.to_http()).await?;
    }
    stream.shutdown().await?;
    let mut rest = [0; 4 * defaults::KIB];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

async fn answer<S: Stream>(
    request: Request<Incoming>,
    peer: IpAddr,
    http: Rc<Http<S>>,
    state: Rc<State>,
) -> Result<Response<Body>, Infallible> {
    state.begun.set(true);
    let response = if let Err(problem) = addressed(&request) {
        problem.into()
    } else {
        respond(request, peer, &http, &state).await
    };
    state.last.set(response.headers().get(header::CONNECTION).is_some_and(|value| value == "close"));
    Ok(response)
}

/// Whether a request says whom it is for, once: 400 otherwise (RFC 9112 §3.2), and what follows it is not trusted.
fn addressed(request: &Request<Incoming>) -> Result<(), Problem> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(_), None) => Ok(()),
        (None, _) if request.version() != Version::HTTP_11 => Ok(()),
        (found, _) => {
            let what = if found.is_some() { "there is more than one `Host`" } else { "there is no `Host`" };
            Err(Problem::new(ErrorCode::InvalidRequest, what).last())
        }
    }
}

async fn respond<S: Stream>(request: Request<Incoming>, peer: IpAddr, http: &Http<S>, state: &State) -> Response<Body> {
    match websocket::wanted(request.uri().path(), request.headers(), http.echo) {
        None => http.frame.answer(request.map(Body::new), peer).await,
        Some(_) if *http.draining.borrow() => Problem::new(ErrorCode::ServerDraining, "the server is going down")
            .retry_after(defaults::DRAIN_RETRY_MS)
            .into(),
        Some(mut wanted) => match websocket::accept(request.headers(), &mut wanted, &http.pages, &http.known) {
            Ok(response) => {
                state.wanted.replace(Some(wanted));
                response
            }
            Err(refused) => refused,
        },
    }
}
