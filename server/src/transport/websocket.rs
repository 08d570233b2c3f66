//! The upgrade from HTTP to WebSocket (RFC 6455 §4.2): which requests ask for one, and how they are answered. What comes
//! after it is the codec's.

use axum::{body::Body, response::IntoResponse};
use hyper::{
    Response, StatusCode,
    header::{self, HeaderMap, HeaderName, HeaderValue},
};
use syncbridge_codec::{ErrorCode, WEBSOCKET_SUBPROTOCOL, websocket::accept_key};

use super::origin::Pages;
use crate::{
    connection::Identity,
    rest::{Problem, bearer},
};

/// What an upgrade is for.
#[derive(Debug)]
pub enum Wanted {
    /// `/ws` with our subprotocol.
    Frames,
    /// `/ws` without it: flat JSON, from whom the request's own token names.
    Json(Option<Box<Identity>>),
    /// `/echo`.
    Echo,
}

/// Who comes with a token, or why they are not let in.
pub type Known = dyn Fn(&str) -> Result<Identity, Problem>;

/// What the upgrade of a path would be for; `None`: the path is another's.
pub fn wanted(path: &str, headers: &HeaderMap, echo: bool) -> Option<Wanted> {
    match path {
        "/ws" if has(headers, header::SEC_WEBSOCKET_PROTOCOL, WEBSOCKET_SUBPROTOCOL) => Some(Wanted::Frames),
        "/ws" => Some(Wanted::Json(None)),
        "/echo" if echo => Some(Wanted::Echo),
        _ => None,
    }
}

/// The answer that makes a connection a WebSocket. For flat JSON it finds out who comes, if the request says so; other
/// clients say it in `Hello`.
///
/// # Errors
/// The answer that refuses: the request is no upgrade that we take, it comes from a page that may not, or its token is not
/// good.
#[allow(clippy::result_large_err, reason = "both are an answer, which is sent at once")]
pub fn accept(
    headers: &HeaderMap,
    wanted: &mut Wanted,
    pages: &Pages,
    known: &Known,
) -> Result<Response<Body>, Response<Body>> {
    let key = upgrade_key(headers).map_err(|(status, text)| {
        let mut response = Problem::new(ErrorCode::InvalidRequest, text).with_status(status).into_response();
        if status == StatusCode::UPGRADE_REQUIRED {
            let headers = response.headers_mut();
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        response
    })?;
    if !pages.admit(headers) {
        let what = "pages of this origin may not; `http.cors_origins` names those that may beside the server's own";
        return Err(Problem::new(ErrorCode::Forbidden, what).into_response());
    }
    if let (Wanted::Json(identity), Some(token)) = (&mut *wanted, bearer(headers)) {
        *identity = Some(Box::new(token.and_then(known).map_err(IntoResponse::into_response)?));
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    if let Ok(accept) = HeaderValue::from_str(&accept_key(&key)) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    if matches!(wanted, Wanted::Frames) {
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
        return Err((StatusCode::UPGRADE_REQUIRED, "this is a WebSocket endpoint"));
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return Err((StatusCode::UPGRADE_REQUIRED, "WebSocket version 13 is spoken here (RFC 6455)"));
    }
    headers
        .get(header::SEC_WEBSOCKET_KEY)
        .and_then(|key| key.to_str().ok())
        .filter(|key| key.len() == 24)
        .map(str::to_owned)
        .ok_or((StatusCode::BAD_REQUEST, "Sec-WebSocket-Key is missing or is not 16 bytes in base64"))
}
