//! What is the same for every request that comes by HTTP, around the routes: what it is called, where it comes from, who
//! may ask across origins, compression, counting, and that whatever went wrong is told as a problem. One function in place
//! of a stack of middleware, so that what a request does not ask for costs it nothing. Knows no route.

mod cors;
mod gzip;
mod name;
mod proxies;
mod whole;

use std::{cell::RefCell, net::IpAddr, sync::Arc, time::Instant};

use axum::{
    Router,
    body::Body,
    http::{HeaderValue, Method, Request, Response, StatusCode, header},
};
use cors::Cors;
pub use gzip::accepted as takes_gzip;
use name::{Name, Names};
use syncbridge_codec::ErrorCode;
use tower_service::Service as _;
use tracing::Instrument as _;

use super::{Peer, Problem, problem::MEDIA_TYPE};
use crate::{
    admin::{Metrics, requests::Requests},
    config,
};

/// The frame of one shard's requests.
pub struct Frame {
    router: RefCell<Router>,
    names: Names,
    cors: Cors,
    proxies: config::Networks,
    counts: Arc<Requests>,
}

impl Frame {
    /// Around these routes, of which `templates` are counted by name.
    pub fn new(router: Router, settings: &config::Http, templates: &Arc<[String]>, metrics: &Metrics) -> Self {
        Self {
            router: RefCell::new(router),
            names: Names::default(),
            cors: Cors::new(&settings.cors_origins),
            proxies: settings.trusted_proxies.clone(),
            counts: metrics.requests(templates),
        }
    }

    /// Answers a request that came over a connection from `peer`.
    pub async fn answer(&self, mut request: Request<Body>, peer: IpAddr) -> Response<Body> {
        let began = Instant::now();
        let route = self.counts.route(request.uri().path());
        let method = request.method().clone();
        let headers = request.headers();
        let name = self.names.of(headers);
        let origin = self.cors.origin(headers);
        let gzip = gzip::accepted(headers);
        let peer = self.proxies.client(peer, headers);
        let preflight = origin.as_ref().and_then(|_| Cors::preflight(&request));
        request.extensions_mut().insert(Peer(peer));

        let mut response = match preflight {
            Some(response) => response,
            None => self.routed(request, &name).await,
        };
        let status = response.status();
        if method == Method::OPTIONS && status == StatusCode::METHOD_NOT_ALLOWED {
            response = options(&response);
        } else if status.is_client_error() || status.is_server_error() {
            response = told(response, &name, &method);
        } else if gzip::worth_it(&response) {
            response = gzip::compressed(response, gzip && method != Method::HEAD).await;
        }
        if let Name::Given(name) = name {
            response.headers_mut().insert(name::HEADER, name);
        }
        self.cors.allow(origin.as_ref(), response.headers_mut());
        self.counts.observe(route, &method, response.status(), began.elapsed());
        response
    }

    async fn routed(&self, request: Request<Body>, name: &Name) -> Response<Body> {
        let span = tracing::enabled!(tracing::Level::DEBUG).then(
            || tracing::debug_span!("request", id = %name, method = %request.method(), path = request.uri().path()),
        );
        // The router is ready whenever it is asked (axum); it is not borrowed while it answers.
        let answer = whole::answer(request.method().is_safe(), self.router.borrow_mut().call(request));
        match span {
            Some(span) => answer.instrument(span).await,
            None => answer.await,
        }
    }
}

/// What can be done with a route, in place of the refusal that names it.
fn options(refusal: &Response<Body>) -> Response<Body> {
    let mut allow = refusal.headers().get(header::ALLOW).map_or_else(Vec::new, |allow| allow.as_bytes().to_vec());
    if !allow.is_empty() {
        allow.push(b',');
    }
    allow.extend_from_slice(b"OPTIONS");
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    if let Ok(allow) = HeaderValue::from_bytes(&allow) {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

/// An error as a problem that says what its request is called in the log.
fn told(mut response: Response<Body>, name: &Name, method: &Method) -> Response<Body> {
    let status = response.status();
    let problem = response.extensions_mut().remove::<Problem>();
    let problem = problem.or_else(|| {
        let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        // Readiness says why not in words of its own; everything else that is not ours is axum's.
        kind.is_none_or(|kind| !kind.starts_with("application/")).then(|| of_status(status))
    });
    let Some(problem) = problem else { return response };
    let text = name.to_string();
    if status.is_server_error() {
        tracing::warn!(request = text, %method, %status, code = problem.error().name(), detail = problem.detail(), "a request failed");
    }
    let body = problem.of_request(&text).to_json();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    headers.insert(header::CONTENT_LENGTH, body.len().into());
    if let Ok(name) = HeaderValue::from_str(&text) {
        headers.insert(name::HEADER, name);
    }
    *response.body_mut() = if *method == Method::HEAD { Body::empty() } else { body.into() };
    response
}

/// The problem that a status alone stands for.
fn of_status(status: StatusCode) -> Problem {
    let code = match status {
        StatusCode::NOT_FOUND => ErrorCode::NotFound,
        StatusCode::METHOD_NOT_ALLOWED => ErrorCode::MethodNotAllowed,
        StatusCode::REQUEST_TIMEOUT => ErrorCode::TimedOut,
        StatusCode::PAYLOAD_TOO_LARGE => ErrorCode::PayloadTooLarge,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => ErrorCode::UnsupportedMediaType,
        _ if status.is_client_error() => ErrorCode::InvalidRequest,
        _ => ErrorCode::Internal,
    };
    Problem::new(code, status.canonical_reason().unwrap_or("the request was refused")).with_status(status)
}
