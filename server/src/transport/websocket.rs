//! HTTP on a shard: hyper reads the request and does the upgrade, axum's router answers everything else, and after the
//! upgrade nothing of either is left: the raw stream goes to a fresh task with what hyper had already read.

use std::{convert::Infallible, future::Future, net::IpAddr, pin::Pin, rc::Rc};

use axum::{Router, body::Body, response::IntoResponse as _};
use bytes::Bytes;
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderMap, HeaderName, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use syncbridge_codec::{WEBSOCKET_SUBPROTOCOL, websocket::accept_key};
use tower_service::Service;

use super::pipe::{Pipe, Stream};
use crate::{
    connection::Identity,
    rest::{Peer, Problem, bearer},
};

/// What a connection's requests are served with.
pub struct Http<S> {
    /// Everything but upgrades.
    pub router: Router,
    /// Whether `/echo` is there, for protocol suites.
    pub echo: bool,
    /// Time for the head of a request.
    pub header_timeout: std::time::Duration,
    /// Who comes with a token.
    pub known: Box<Known>,
    /// Takes a WebSocket with the bytes that hyper has read beyond the request.
    pub upgraded: Box<dyn Fn(Upgraded<S>)>,
}

/// Who comes with a token, or why they are not let in.
pub type Known = dyn Fn(&str) -> Result<Identity, Problem>;

/// What an upgrade was for.
pub enum Upgraded<S> {
    /// `/ws`, in frames or flat JSON.
    Link(Pipe<S>, Bytes),
    /// `/echo`.
    Echo(S, Bytes),
}

/// Serves one connection until it ends or is upgraded. The future is boxed by hyper's size: it lives as long as HTTP is
/// spoken and not longer.
pub fn serve<S: Stream + Send>(stream: S, peer: IpAddr, http: Rc<Http<S>>) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move {
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(http.header_timeout);
        let service = service_fn(move |request| answer(request, peer, Rc::clone(&http)));
        let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
        if let Err(error) = connection.await {
            // The peer's doing: a reset, a timeout, bytes that are not HTTP.
            tracing::debug!(%error, "an HTTP connection ended");
        }
    })
}

async fn answer<S: Stream + Send>(
    mut request: Request<Incoming>,
    peer: IpAddr,
    http: Rc<Http<S>>,
) -> Result<Response<Body>, Infallible> {
    let path = request.uri().path();
    let echo = http.echo && path == "/echo";
    if path != "/ws" && !echo {
        request.extensions_mut().insert(Peer(peer));
        return http.router.clone().call(request).await;
    }
    let key = match upgrade_key(request.headers()) {
        Ok(key) => key,
        Err((status, text)) => {
            let mut response = Response::new(Body::from(text));
            *response.status_mut() = status;
            if status == StatusCode::UPGRADE_REQUIRED {
                let headers = response.headers_mut();
                headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            }
            return Ok(response);
        }
    };
    let is_native = has(request.headers(), header::SEC_WEBSOCKET_PROTOCOL, WEBSOCKET_SUBPROTOCOL);
    // A native client says who it is in `Hello`.
    let identity = match bearer(request.headers()) {
        Some(token) if !is_native && !echo => match token.and_then(|token| (http.known)(token)) {
            Ok(identity) => Some(Box::new(identity)),
            Err(problem) => return Ok(problem.into_response()),
        },
        _ => None,
    };
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::task::spawn_local(Box::pin(async move {
        let stream = match upgrade.await {
            Ok(stream) => stream,
            Err(error) => return tracing::debug!(%error, "an upgrade failed"),
        };
        let Ok(parts) = stream.downcast::<TokioIo<S>>() else {
            return tracing::error!("an upgraded connection is not what was served");
        };
        let stream = parts.io.into_inner();
        (http.upgraded)(if echo {
            Upgraded::Echo(stream, parts.read_buf)
        } else if is_native {
            Upgraded::Link(Pipe::websocket(stream, peer), parts.read_buf)
        } else {
            Upgraded::Link(Pipe::json(stream, peer, identity), parts.read_buf)
        });
    }));
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    if let Ok(accept) = HeaderValue::from_str(&accept_key(&key)) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    if is_native && !echo {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(WEBSOCKET_SUBPROTOCOL));
    }
    Ok(response)
}

/// Whether a header lists this word.
fn has(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    headers.get_all(name).iter().any(|value| {
        value.to_str().is_ok_and(|text| text.split(',').any(|part| part.trim().eq_ignore_ascii_case(word)))
    })
}

/// The request's `Sec-WebSocket-Key`, when it is an upgrade that we take (RFC 6455 §4.2.1).
fn upgrade_key(headers: &HeaderMap) -> Result<String, (StatusCode, &'static str)> {
    if !has(headers, header::CONNECTION, "upgrade") || !has(headers, header::UPGRADE, "websocket") {
        return Err((StatusCode::UPGRADE_REQUIRED, "this is a WebSocket endpoint\n"));
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err((StatusCode::UPGRADE_REQUIRED, "WebSocket version 13 is spoken here (RFC 6455)\n"));
    }
    headers
        .get(header::SEC_WEBSOCKET_KEY)
        .and_then(|key| key.to_str().ok())
        .filter(|key| key.len() == 24)
        .map(str::to_owned)
        .ok_or((StatusCode::BAD_REQUEST, "Sec-WebSocket-Key is missing or is not 16 bytes in base64\n"))
}
