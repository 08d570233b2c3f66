//! A file that never changes while the server runs: its bytes, plain and compressed, and what a browser is told about
//! keeping it. Knows no path.

use std::io::Write as _;

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};

use crate::rest::frame;

/// How long a browser may use a file without asking again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Caching {
    /// For good: its name changes with what is in it.
    Forever,
    /// It asks each time, and is sent the file only when it is another: a new server shows a new page at once.
    Revalidate,
}

/// A file with the headers that every answer with it has.
#[derive(Debug, Clone)]
pub struct File {
    plain: Form,
    /// Only when it is smaller.
    gzip: Option<Form>,
    kind: HeaderValue,
    headers: HeaderMap,
}

/// One encoding of a file, and its entity tag (RFC 9110 §8.8.3.3: each encoding has its own).
#[derive(Debug, Clone)]
struct Form {
    bytes: Bytes,
    tag: HeaderValue,
}

impl File {
    /// A file of this media type. Compressed here, once, as small as it gets.
    pub fn new(
        kind: &'static str,
        bytes: impl Into<Bytes>,
        caching: Caching,
        extra: impl IntoIterator<Item = (HeaderName, HeaderValue)>,
    ) -> Self {
        let bytes = bytes.into();
        let gzip = deflate(&bytes).filter(|gzip| gzip.len() < bytes.len());
        let tag = |coding: &str| {
            let tag = format!("\"{:08x}-{:x}{coding}\"", crc32c::crc32c(&bytes), bytes.len());
            HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\""))
        };
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CACHE_CONTROL,
            HeaderValue::from_static(match caching {
                Caching::Forever => "public, max-age=31536000, immutable",
                Caching::Revalidate => "no-cache",
            }),
        );
        if gzip.is_some() {
            headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        }
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.extend(extra);
        let gzip = gzip.map(|gzip| Form { bytes: gzip.into(), tag: tag("-gzip") });
        let plain = Form { tag: tag(""), bytes };
        Self { plain, gzip, kind: HeaderValue::from_static(kind), headers }
    }

    /// The file, or that it is still the same.
    pub fn answer(&self, asked: &HeaderMap) -> Response {
        let gzip = self.gzip.as_ref().filter(|_| frame::takes_gzip(asked));
        let form = gzip.unwrap_or(&self.plain);
        let mut response = if self.known(asked) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            let mut response = form.bytes.clone().into_response();
            response.headers_mut().insert(header::CONTENT_TYPE, self.kind.clone());
            if gzip.is_some() {
                response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
            response
        };
        let headers = response.headers_mut();
        headers.insert(header::ETAG, form.tag.clone());
        headers.extend(self.headers.clone());
        response
    }

    /// Whether `If-None-Match` names this file, in either encoding, or any (RFC 9110 §13.1.2: compared weakly).
    fn known(&self, asked: &HeaderMap) -> bool {
        let tags = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        tags.flat_map(|tags| tags.split(',')).map(str::trim).any(|tag| {
            let tag = tag.strip_prefix("W/").unwrap_or(tag);
            tag == "*" || [Some(&self.plain), self.gzip.as_ref()].into_iter().flatten().any(|form| form.tag == *tag)
        })
    }
}

fn deflate(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 2), Compression::best());
    encoder.write_all(bytes).ok()?;
    encoder.finish().ok()
}
