//! The upgrade from HTTP to WebSocket (RFC 6455 §4.2): which requests ask for one, and how they are answered. What comes
//! after it is the codec's.

use axum::{body::Body, response::IntoResponse as _};
use hyper::{
    Response, StatusCode,
    header::{self, HeaderMap, HeaderValue},
};
use syncbridge_codec::{ErrorCode, WEBSOCKET_SUBPROTOCOL, websocket::accept_key};

use crate::rest::Problem;

/// What an upgrade is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// `/ws` with our subprotocol.
    Frames,
    /// `/echo`.
    Echo,
}

/// What the upgrade of a path would be for; `None`: the path is another's.
pub fn wanted(path: &str, echo: bool) -> Option<Wanted> {
    match path {
        "/ws" => Some(Wanted::Frames),
        "/echo" if echo => Some(Wanted::Echo),
        _ => None,
    }
}

/// The answer that makes a connection a WebSocket.
///
/// # Errors
/// The answer that refuses: the request is no upgrade that we take.
pub fn accept(headers: &HeaderMap, wanted: &Wanted) -> Result<Response<Body>, Response<Body>> {
    let key = upgrade_key(headers, *wanted == Wanted::Echo).map_err(|(status, text)| {
        let mut response = Problem::new(ErrorCode::InvalidRequest, text).with_status(status).into_response();
        if status == StatusCode::UPGRADE_REQUIRED {
            let headers = response.headers_mut();
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        response
    })?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    if let Ok(accept) = HeaderValue::from_str(&accept_key(&key)) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    if *wanted == Wanted::Frames {
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
        return Err((StatusCode::UPGRADE_REQUIRED, "this is a WebSocket endpoint"));
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err((StatusCode::UPGRADE_REQUIRED, "WebSocket version 13 is spoken here (RFC 6455)"));
    }
    if !any_protocol && !has(header::SEC_WEBSOCKET_PROTOCOL, WEBSOCKET_SUBPROTOCOL) {
        return Err((StatusCode::BAD_REQUEST, "the subprotocol syncbridge.v1 has to be offered"));
    }
    headers
        .get(header::SEC_WEBSOCKET_KEY)
        .and_then(|key| key.to_str().ok())
        .filter(|key| key.len() == 24)
        .map(str::to_owned)
        .ok_or((StatusCode::BAD_REQUEST, "Sec-WebSocket-Key is missing or is not 16 bytes in base64"))
}
