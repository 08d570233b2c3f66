//! The OpenAPI document and the page that shows it, both served from memory and without a token. The page is whole: it
//! loads nothing from anywhere else, and its policy lets it load nothing else.

use axum::{
    Router,
    http::{HeaderMap, HeaderValue, header},
    routing::get,
};
use bytes::Bytes;
use utoipa::openapi::OpenApi;

use super::BASE;
use crate::pages::file::{Caching, File};

/// What the page may do: its own script, style and requests, nothing else.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// The routes of this file, and their paths.
pub fn routes(description: &OpenApi) -> (Router, Vec<String>) {
    // A description that cannot be written is no reason not to serve; the golden file's test would have failed.
    let json = description.to_json().unwrap_or_default();
    let files: [(&str, &str, Bytes); 4] = [
        ("/openapi.json", "application/json", json.into()),
        ("/docs", "text/html; charset=utf-8", include_str!("docs/index.html").into()),
        ("/docs/docs.css", "text/css; charset=utf-8", include_str!("docs/docs.css").into()),
        ("/docs/docs.js", "text/javascript; charset=utf-8", include_str!("docs/docs.js").into()),
    ];
    let mut router = Router::new();
    let mut paths = Vec::new();
    for (path, kind, bytes) in files {
        let path = format!("{BASE}{path}");
        let file = File::new(kind, bytes, Caching::Revalidate, [(header::CONTENT_SECURITY_POLICY, POLICY)]);
        router = router.route(&path, get(async move |headers: HeaderMap| file.answer(&headers)));
        paths.push(path);
    }
    (router, paths)
}
