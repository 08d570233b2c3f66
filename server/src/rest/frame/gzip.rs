//! Compression of answers: gzip, for whoever takes it and for what it makes smaller. What is long is compressed off the
//! shard.

use std::io::Write as _;

use axum::{
    body::{Body, HttpBody as _},
    http::{HeaderMap, HeaderValue, Response, header},
};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http_body_util::BodyExt as _;

use crate::{
    defaults::{GZIP_FROM, ON_SHARD_BYTES},
    hub::off_shard,
};

/// Whether a client takes gzip (RFC 9110 §12.5.3).
pub fn accepted(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| {
            let mut parts = coding.split(';').map(str::trim);
            let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip") || name == "*");
            let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
            named && weight.is_none_or(|weight| weight.parse::<f32>().is_ok_and(|weight| weight > 0.0))
        })
}

/// Whether an answer is text that is long enough to be compressed. One that says what it varies by was looked at already.
pub fn worth_it(response: &Response<Body>) -> bool {
    // The answer to HEAD has no body any more, and says how long it was.
    let told = || response.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse::<u64>().ok();
    let length = response.body().size_hint().exact().max(told());
    length.is_some_and(|length| length >= GZIP_FROM)
        && !response.headers().contains_key(header::CONTENT_ENCODING)
        && !response.headers().contains_key(header::VARY)
        && response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).is_some_and(|kind| {
            let kind = kind.split(';').next().unwrap_or_default();
            kind.starts_with("text/") || kind.ends_with("json") || kind.ends_with("xml") || kind.ends_with("javascript")
        })
}

/// An answer that is [`worth_it`], compressed when its client takes that. Both forms say that they depend on that.
pub async fn compressed(mut response: Response<Body>, accepted: bool) -> Response<Body> {
    response.headers_mut().append(header::VARY, HeaderValue::from_static("accept-encoding"));
    if !accepted {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    // Its length is known, so all of it is there already.
    let Ok(body) = body.collect().await.map(http_body_util::Collected::to_bytes) else {
        return super::of_status(axum::http::StatusCode::INTERNAL_SERVER_ERROR).into();
    };
    let short = if body.len() <= ON_SHARD_BYTES {
        deflate(&body)
    } else {
        let body = body.clone();
        off_shard(move || deflate(&body)).await.ok().flatten()
    };
    let body = match short {
        Some(short) if short.len() < body.len() => {
            parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            parts.headers.remove(header::CONTENT_LENGTH);
            Bytes::from(short)
        }
        _ => body,
    };
    Response::from_parts(parts, body.into())
}

/// At the fastest level: on JSON it comes within a few per cent of the others at a fraction of their time.
fn deflate(body: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body).ok()?;
    encoder.finish().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn gzip_is_taken_when_it_is_named_and_not_refused() {
        for (values, takes) in [
            (&["gzip"][..], true),
            (&["deflate, GZip;q=0.5"], true),
            (&["br", "gzip"], true),
            (&["*"], true),
            (&["gzip;q=0"], false),
            (&["gzip; q=0.000"], false),
            (&["gzip;q=x"], false),
            (&["br"], false),
            (&[], false),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::ACCEPT_ENCODING, value.parse().unwrap());
            }
            assert_eq!(accepted(&headers), takes, "{values:?}");
        }
    }
}
