//! A native connection's `Request`, as the routes take it, and its answer as a `Response`. The connection's user and
//! device stand for the token; nothing here decides who may do what, and no route knows where a request came from.

use std::{net::IpAddr, sync::Arc};

use axum::{
    body::Body,
    http::{self, HeaderMap, HeaderName, HeaderValue, Method, Uri, header},
    response::{IntoResponse, Response},
};
use bytestring::ByteString;
use http_body_util::{BodyExt, Limited};
use syncbridge_codec::{ErrorCode, message};

use super::{BASE, Caller, Problem, frame::Frame};
use crate::{connection::Identity, defaults::REQUEST_HEADERS};

/// Headers of a `Request` that count. Without a connection's caller, `authorization` does too.
const ASKED: [HeaderName; 7] = [
    header::HOST,
    header::CONTENT_TYPE,
    header::ACCEPT,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    HeaderName::from_static("idempotency-key"),
    REQUEST_ID,
];
/// Headers of an answer that a `Response` has.
const ANSWERED: [HeaderName; 6] =
    [header::CONTENT_TYPE, header::ETAG, header::LOCATION, header::RETRY_AFTER, header::WWW_AUTHENTICATE, REQUEST_ID];
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Has the routes answer a request: made by `caller`, or before `Hello` by whom its own token names. The answer's `id`
/// is the request's; its frame has at most `max_frame` bytes.
pub async fn answer(
    frame: &Frame,
    request: message::Request,
    caller: Option<Arc<Identity>>,
    peer: IpAddr,
    max_frame: usize,
) -> message::Response {
    let id = request.id;
    let response = match to_http(request, caller) {
        Ok(request) => frame.answer(request, peer).await,
        Err(problem) => problem.into_response(),
    };
    if let Some(response) = to_native(id, response, max_frame).await {
        return response;
    }
    tracing::warn!(max_frame, "an answer does not fit in a frame");
    let problem = Problem::new(ErrorCode::LimitReached, "the answer is larger than a frame may be");
    let status = problem.error().http_status().into();
    // Without a limit nothing fails.
    let told = to_native(id, problem.into_response(), usize::MAX).await;
    told.unwrap_or_else(|| message::Response { id, status, ..message::Response::default() })
}

fn to_http(request: message::Request, caller: Option<Arc<Identity>>) -> Result<http::Request<Body>, Problem> {
    let invalid = |text| Problem::new(ErrorCode::InvalidRequest, text);
    let message::Request { method, path, headers, body, .. } = request;
    if !path.starts_with('/') {
        return Err(invalid("a path begins with `/`, and stands below /api/v1"));
    }
    let uri = Uri::try_from(format!("{BASE}{path}")).map_err(|_| invalid("the path is not percent-encoded"))?;
    if caller.as_ref().and_then(|caller| caller.session.as_deref()).is_some_and(|only| !is_below(&uri, only)) {
        return Err(Problem::new(ErrorCode::Forbidden, "this connection is for another session only"));
    }
    if headers.len() > REQUEST_HEADERS {
        return Err(invalid("too many headers"));
    }
    let mut map = HeaderMap::with_capacity(headers.len());
    for message::Header { name, value } in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid("a header's name is not one"))?;
        if ASKED.contains(&name) || (caller.is_none() && name == header::AUTHORIZATION) {
            let value = HeaderValue::from_maybe_shared(value.into_bytes());
            map.append(name, value.map_err(|_| invalid("a header's value has characters that it may not have"))?);
        }
    }
    let mut made = http::Request::new(Body::from(body));
    *made.method_mut() = match method {
        message::Method::Get => Method::GET,
        message::Method::Post => Method::POST,
        message::Method::Put => Method::PUT,
        message::Method::Patch => Method::PATCH,
        message::Method::Delete => Method::DELETE,
    };
    *made.uri_mut() = uri;
    *made.headers_mut() = map;
    if let Some(caller) = caller {
        // As by HTTP, two requests are two writers; and to its own connection, what one changes is not an op's answer.
        let identity = Identity { incarnation: fastrand::u128(..), ..Identity::clone(&caller) };
        made.extensions_mut().insert(Caller(Arc::new(identity)));
    }
    Ok(made)
}

/// Whether a route is one of the session's. Ids need no percent-encoding, so an encoded one is another's.
fn is_below(uri: &Uri, session: &str) -> bool {
    let rest = uri.path().strip_prefix(BASE).and_then(|path| path.strip_prefix("/sessions/"));
    rest.and_then(|rest| rest.strip_prefix(session)).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// `None` when the frame would have more than `max` bytes.
async fn to_native(id: u64, response: Response, max: usize) -> Option<message::Response> {
    let (head, body) = response.into_parts();
    let headers = ANSWERED
        .iter()
        .flat_map(|name| head.headers.get_all(name).iter().map(move |value| (name, value)))
        .filter_map(|(name, value)| {
            let value = ByteString::from(value.to_str().ok()?);
            Some(message::Header { name: name.as_str().into(), value })
        })
        .collect();
    // Our bodies are whole from the start: what fails is the limit.
    let body = Limited::new(body, max).collect().await.ok()?.to_bytes();
    let response = message::Response { id, status: head.status.as_u16().into(), headers, body };
    (response.frame_size() <= max).then_some(response)
}
