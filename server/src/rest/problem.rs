//! What went wrong with a request, as RFC 9457 has it. Its `code` is the stable name of proto-spec/errors.md.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use syncbridge_codec::ErrorCode;
use utoipa::ToSchema;

use crate::hub::Fault;

/// What went wrong, as a person's program reads it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Problem {
    /// `about:blank`: `code` says which problem it is.
    r#type: &'static str,
    /// The status in words.
    title: &'static str,
    /// The status of the response.
    status: u16,
    /// For people.
    detail: String,
    /// The error's stable name (proto-spec/errors.md).
    code: &'static str,
    /// Whether the same request may succeed later.
    retryable: bool,
    /// When to try again; also in `Retry-After`, there in whole seconds.
    #[serde(skip_serializing_if = "Option::is_none", rename = "retryAfterMs")]
    retry_after_ms: Option<u64>,
    #[serde(skip)]
    error: ErrorCode,
}

impl Problem {
    /// A problem of this kind.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        let status = code.http_status();
        Self {
            r#type: "about:blank",
            title: StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Error"),
            status,
            detail: detail.into(),
            code: code.name(),
            retryable: code.retryable(),
            retry_after_ms: None,
            error: code,
        }
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, ms: u64) -> Self {
        self.retry_after_ms = Some(ms);
        self
    }

    /// Which error it is.
    pub const fn error(&self) -> ErrorCode {
        self.error
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        Self { retry_after_ms: fault.retry_after_ms, ..Self::new(fault.code, fault.text) }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = self.retry_after_ms;
        let mut response = (status, Json(self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(ms) = retry_after {
            headers.insert(header::RETRY_AFTER, ms.div_ceil(1_000).into());
        }
        response
    }
}
