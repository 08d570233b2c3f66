//! The OpenAPI document and the page that shows it, both served from memory and without a token. The page is whole: it
//! loads nothing from anywhere else, and its policy lets it load nothing else.

use axum::{
    Router,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use bytes::Bytes;
use utoipa::openapi::OpenApi;

use super::BASE;

/// What the page may do: its own script, style and requests, nothing else.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// A file that never changes while the server runs.
#[derive(Clone)]
struct File {
    kind: HeaderValue,
    tag: HeaderValue,
    bytes: Bytes,
}

impl File {
    fn new(kind: &'static str, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let tag = format!("\"{:08x}-{:x}\"", crc32c::crc32c(&bytes), bytes.len());
        let tag = HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\""));
        Self { kind: HeaderValue::from_static(kind), tag, bytes }
    }

    /// The file, or that it is still the same.
    fn answer(&self, headers: &HeaderMap) -> Response {
        let known = headers.get(header::IF_NONE_MATCH) == Some(&self.tag);
        let mut response =
            if known { StatusCode::NOT_MODIFIED.into_response() } else { self.bytes.clone().into_response() };
        let headers = response.headers_mut();
        if !known {
            headers.insert(header::CONTENT_TYPE, self.kind.clone());
        }
        headers.insert(header::ETAG, self.tag.clone());
        // Asked again each time, answered with the file only when it is another: a new server shows a new page at once.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        response
    }
}

/// The routes of this file, and their paths.
pub fn routes(description: &OpenApi) -> (Router, Vec<String>) {
    // A description that cannot be written is no reason not to serve; the golden file's test would have failed.
    let json = description.to_json().unwrap_or_default();
    let files = [
        ("/openapi.json", File::new("application/json", json)),
        ("/docs", File::new("text/html; charset=utf-8", include_str!("docs/index.html"))),
        ("/docs/docs.css", File::new("text/css; charset=utf-8", include_str!("docs/docs.css"))),
        ("/docs/docs.js", File::new("text/javascript; charset=utf-8", include_str!("docs/docs.js"))),
    ];
    let mut router = Router::new();
    let mut paths = Vec::new();
    for (path, file) in files {
        let path = format!("{BASE}{path}");
        router = router.route(&path, get(async move |headers: HeaderMap| file.answer(&headers)));
        paths.push(path);
    }
    (router, paths)
}
