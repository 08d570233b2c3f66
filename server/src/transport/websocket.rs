//! HTTP on a shard: hyper reads the request and does the upgrade, axum's router answers everything else, and after the
//! upgrade nothing of either is left: the raw stream goes to a fresh task with what hyper had already read.

use std::{convert::Infallible, future::Future, net::IpAddr, pin::Pin, rc::Rc};

use axum::{Router, body::Body};
use bytes::Bytes;
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{self, HeaderMap, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use syncbridge_codec::{WEBSOCKET_SUBPROTOCOL, websocket::accept_key};
use tower_service::Service;

use super::pipe::{Pipe, Stream};
use crate::rest::Peer;

/// What a connection's requests are served with.
pub struct Http<S> {
    /// Everything but upgrades.
    pub router: Router,
    /// Whether `/echo` is there, for protocol suites.
    pub echo: bool,
    /// Time for the head of a request.
    pub header_timeout: std::time::Duration,
    /// Takes a WebSocket with the bytes that hyper has read beyond the request.
    pub upgraded: Box<dyn Fn(Upgraded<S>)>,
}

/// What an upgrade was for.
pub enum Upgraded<S> {
    /// `/ws` with our subprotocol.
    Frames(Pipe<S>, Bytes),
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
    let key = match upgrade_key(request.headers(), echo) {
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
        } else {
            Upgraded::Frames(Pipe::websocket(stream, peer), parts.read_buf)
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
    if !echo {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(WEBSOCKET_SUBPROTOCOL));
    }
    Ok(response)
}

/// The request's `Sec-WebSocket-Key`, when it is an upgrade that we take (RFC 6455 §4.2.1).
fn upgrade_key(headers: &HeaderMap, any_protocol: bool) -> Result<String, (StatusCode, &'static str)> {
    let has = |name, word: &str| {
        headers.get_all(name).iter().any(|value| {
            value.to_str().is_ok_and(|text| text.split(',').any(|part| part.trim().eq_ignore_ascii_case(word)))
        })
    };
    if !has(header::CONNECTION, "upgrade") || !has(header::UPGRADE, "websocket") {
        return Err((StatusCode::UPGRADE_REQUIRED, "this is a WebSocket endpoint\n"));
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err((StatusCode::UPGRADE_REQUIRED, "WebSocket version 13 is spoken here (RFC 6455)\n"));
    }
    if !any_protocol && !has(header::SEC_WEBSOCKET_PROTOCOL, WEBSOCKET_SUBPROTOCOL) {
        return Err((StatusCode::BAD_REQUEST, "the subprotocol syncbridge.v1 has to be offered\n"));
    }
    headers
        .get(header::SEC_WEBSOCKET_KEY)
        .and_then(|key| key.to_str().ok())
        .filter(|key| key.len() == 24)
        .map(str::to_owned)
        .ok_or((StatusCode::BAD_REQUEST, "Sec-WebSocket-Key is missing or is not 16 bytes in base64\n"))
}
