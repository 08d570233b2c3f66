//! Bodies of requests: how much of them is read and for how long, what they are written in, and what is wrong with them.
//! Every route takes its body from here, so that a bad one is the same problem everywhere. Knows no route.

use std::io::Read as _;

use axum::{
    body::{Body, HttpBody as _},
    extract::{FromRequest, OptionalFromRequest, Request},
    http::{HeaderMap, header},
};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;
use syncbridge_codec::ErrorCode;

use super::{Api, Problem, json};
use crate::{config::Limits, defaults, hub::off_shard};

/// A JSON body. Its type is `application/json` or ends in `+json` (415 otherwise), it is at most `limits.request_bytes`
/// long (413), there within `limits.body_seconds` (408), JSON as [`json::check`] has it, and an object (400). Members that `T` does
/// not know are passed over: clients may be newer than the server.
///
/// `Option<Json<T>>` is `None` for a request without a body.
#[derive(Debug, Clone, Copy)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned + Send + 'static> FromRequest<Api> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let kind = media_type(&parts.headers);
        let is_json = kind.as_deref().is_some_and(|kind| kind == "application/json" || kind.ends_with("+json"));
        if !is_json {
            return Err(unsupported(kind.as_deref(), "application/json"));
        }
        let bytes = read(&parts.headers, body, &api.config.limits).await?;
        let value = parse(bytes.clone(), api.config.limits.json_depth).await?;
        // serde would take an array for a struct, its members in the order of ours.
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(Problem::new(ErrorCode::InvalidRequest, "the body is not an object"));
        }
        Ok(Self(value))
    }
}

impl<T: DeserializeOwned + Send + 'static> OptionalFromRequest<Api> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Option<Self>, Problem> {
        if request.body().is_end_stream() {
            return Ok(None);
        }
        <Self as FromRequest<Api>>::from_request(request, api).await.map(Some)
    }
}

/// A body of whatever type, whole, and that type: for routes that take several.
#[derive(Debug, Clone)]
pub struct Raw {
    /// Its media type in lower case, without parameters; empty when the request names none.
    pub media_type: String,
    /// What was sent, inflated.
    pub bytes: Bytes,
}

impl Raw {
    /// 415: the route does not take [`Raw::media_type`], but this.
    pub fn unsupported(&self, wanted: &str) -> Problem {
        unsupported(Some(&*self.media_type).filter(|kind| !kind.is_empty()), wanted)
    }

    /// Reads it as JSON, whatever its type is called.
    ///
    /// # Errors
    /// [`Problem`]: it is none, or not a `T`.
    pub async fn json<T: DeserializeOwned + Send + 'static>(self, api: &Api) -> Result<T, Problem> {
        parse(self.bytes, api.config.limits.json_depth).await
    }
}

impl FromRequest<Api> for Raw {
    type Rejection = Problem;

    async fn from_request(request: Request, api: &Api) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let media_type = media_type(&parts.headers).unwrap_or_default();
        let bytes = read(&parts.headers, body, &api.config.limits).await?;
        Ok(Self { media_type, bytes })
    }
}

/// The media type that a request names, in lower case, without parameters.
fn media_type(headers: &HeaderMap) -> Option<String> {
    let named = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let kind = named.split(';').next().unwrap_or_default().trim();
    (!kind.is_empty()).then(|| kind.to_ascii_lowercase())
}

fn unsupported(kind: Option<&str>, wanted: &str) -> Problem {
    let found = kind.map_or_else(|| "no Content-Type".to_owned(), |kind| format!("{kind:?}"));
    Problem::new(ErrorCode::UnsupportedMediaType, format!("this takes {wanted}, and the request has {found}"))
}

fn too_large(limit: usize) -> Problem {
    Problem::new(ErrorCode::PayloadTooLarge, format!("a body may have at most {limit} bytes"))
}

/// Reads a body whole, and inflates it when it is compressed; neither form may be longer than `limits.request_bytes`.
///
/// # Errors
/// [`Problem`]: 408, 413, 415, or 400 when it ends early or is not what its headers say.
pub async fn read(headers: &HeaderMap, body: Body, limits: &Limits) -> Result<Bytes, Problem> {
    let gzip = match headers.get(header::CONTENT_ENCODING).map(|value| value.to_str().unwrap_or("?").trim()) {
        None | Some("" | "identity") => false,
        Some(coding) if coding.eq_ignore_ascii_case("gzip") || coding.eq_ignore_ascii_case("x-gzip") => true,
        Some(coding) => {
            let what = format!("bodies may be compressed with gzip, and the request has {coding:?}");
            return Err(Problem::new(ErrorCode::UnsupportedMediaType, what));
        }
    };
    let time = std::time::Duration::from_secs(limits.body_seconds);
    let bytes = tokio::time::timeout(time, collect(body, limits.request_bytes)).await.map_err(|_| {
        let what = format!("the body was not there within {} s", limits.body_seconds);
        Problem::new(ErrorCode::TimedOut, what)
    })??;
    if !gzip {
        return Ok(bytes);
    }
    let limit = limits.request_bytes;
    off_shard(move || inflate(&bytes, limit)).await?
}

/// The whole body; at most `limit` bytes of it are ever kept.
async fn collect(mut body: Body, limit: usize) -> Result<Bytes, Problem> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(too_large(limit));
    }
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            // The innermost error is the reader's own words; the outer ones say that there was an error.
            let mut cause: &dyn std::error::Error = &error;
            while let Some(source) = cause.source() {
                cause = source;
            }
            Problem::new(ErrorCode::InvalidRequest, format!("the body cannot be read: {cause}")).last()
        })?;
        // Trailers say nothing that we would act on.
        let Ok(data) = frame.into_data() else { continue };
        if all.len() + data.len() > limit {
            return Err(too_large(limit));
        }
        if all.is_empty() && body.is_end_stream() {
            return Ok(data);
        }
        if all.is_empty() {
            all.reserve(announced.max(data.len()));
        }
        all.extend_from_slice(&data);
    }
    Ok(all.freeze())
}

fn inflate(bytes: &[u8], limit: usize) -> Result<Bytes, Problem> {
    let mut inflated = Vec::new();
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let read = flate2::read::MultiGzDecoder::new(bytes).take(most).read_to_end(&mut inflated);
    if inflated.len() > limit {
        return Err(too_large(limit));
    }
    match read {
        Ok(_) => Ok(inflated.into()),
        Err(error) => Err(Problem::new(ErrorCode::InvalidRequest, format!("the body is not gzip: {error}"))),
    }
}

/// Reads JSON, off the shard when there is much of it.
async fn parse<T: DeserializeOwned + Send + 'static>(bytes: Bytes, depth: usize) -> Result<T, Problem> {
    // A document's depth is the document's to judge; what stands around it here is an object, or an array of objects.
    let depth = depth + json::AROUND;
    if bytes.len() <= defaults::ON_SHARD_BYTES {
        json::parse(&bytes, depth)
    } else {
        off_shard(move || json::parse(&bytes, depth)).await?
    }
}
