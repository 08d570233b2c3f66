//! Which pages of other origins may use the routes (Fetch §3.2, CORS). Off unless origins are configured. Where every
//! origin may, no credentials of the browser's are allowed; tokens travel in `Authorization`, which is not one.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header},
};

use crate::config::Origins;

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
const HEADERS: HeaderValue = HeaderValue::from_static(
    "authorization, content-type, content-encoding, idempotency-key, if-match, if-none-match, x-request-id",
);
const EXPOSED: HeaderValue = HeaderValue::from_static("etag, location, retry-after, x-request-id");
/// Seconds that a browser may keep a preflight's answer: changing the setting takes a restart, of which it learns then.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// See the file's head.
#[derive(Debug)]
pub struct Cors(Origins);

impl Cors {
    /// For these origins.
    pub fn new(origins: &Origins) -> Self {
        Self(origins.clone())
    }

    /// The origin that a request comes from, when it may.
    pub fn origin(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        if self.0.is_none() {
            return None;
        }
        let origin = headers.get(header::ORIGIN)?;
        origin.to_str().is_ok_and(|text| self.0.has(text)).then(|| origin.clone())
    }

    /// The answer to a preflight, if the request is one.
    pub fn preflight(request: &Request<Body>) -> Option<Response<Body>> {
        let asks = request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if request.method() != Method::OPTIONS || !asks {
            return None;
        }
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        Some(response)
    }

    /// Says in an answer that this origin may read it; and that the answer depends on the origin, where it does.
    pub fn allow(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        if self.0.is_none() {
            return;
        }
        if !self.0.is_any() {
            headers.append(header::VARY, HeaderValue::from_static("origin"));
        }
        let Some(origin) = origin else { return };
        if self.0.is_any() {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        } else {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
}
