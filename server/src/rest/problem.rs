//! What went wrong with a request, as RFC 9457 has it. Its `code` is the stable name of proto-spec/errors.md.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use syncbridge_codec::ErrorCode;
use utoipa::ToSchema;

use crate::hub::Fault;

/// RFC 9457 §3.
pub const MEDIA_TYPE: &str = "application/problem+json";

/// Longest text for people, bytes.
const DETAIL: usize = 1_024;

/// What went wrong, as a person's program reads it.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(example = json!({
    "type": "about:blank", "title": "Not Found", "status": 404, "detail": "there is no session \"shopping\" that you may see",
    "code": "not_found", "retryable": false, "requestId": "5f0c6a1e-2b"
}))]
pub struct Problem {
    /// `about:blank`: `code` says which problem it is.
    r#type: &'static str,
    /// The status in words.
    title: &'static str,
    /// The status of the response.
    status: u16,
    /// For people.
    #[schema(value_type = String)]
    detail: Box<str>,
    /// The error's stable name (proto-spec/errors.md).
    code: &'static str,
    /// Whether the same request may succeed later.
    retryable: bool,
    /// When to try again; also in `Retry-After`, there in whole seconds.
    #[serde(skip_serializing_if = "Option::is_none", rename = "retryAfterMs")]
    retry_after_ms: Option<u64>,
    /// With `moved`: HOST:PORT of the server that has the session, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    address: Option<Box<str>>,
    /// What the request is called in the server's log; also in `X-Request-Id`.
    #[serde(skip_serializing_if = "Option::is_none", rename = "requestId")]
    #[schema(value_type = Option<String>)]
    request_id: Option<Box<str>>,
    #[serde(skip)]
    error: ErrorCode,
    /// Whether the connection ends with it.
    #[serde(skip)]
    last: bool,
}

impl Problem {
    /// A problem of this kind.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        let status = code.http_status();
        let mut detail = detail.into();
        // It may repeat what came; nobody reads so much of it.
        if detail.len() > DETAIL {
            detail.truncate(detail.floor_char_boundary(DETAIL));
            detail.push('…');
        }
        Self {
            r#type: "about:blank",
            title: StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Error"),
            status,
            detail: detail.into(),
            code: code.name(),
            retryable: code.retryable(),
            retry_after_ms: None,
            address: None,
            request_id: None,
            error: code,
            last: matches!(code, ErrorCode::TimedOut | ErrorCode::PayloadTooLarge),
        }
    }

    /// The same problem with a status of HTTP's own, where the error's is less exact (414, 431).
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Self {
        self.status = status.as_u16();
        self.title = status.canonical_reason().unwrap_or(self.title);
        self
    }

    /// Ends the connection with it: the rest of the request is not read, so what follows it could not be understood.
    #[must_use]
    pub fn last(mut self) -> Self {
        self.last = true;
        self
    }

    /// Says what the request is called in the log.
    #[must_use]
    pub(super) fn of_request(mut self, id: &str) -> Self {
        self.request_id = Some(id.into());
        self
    }

    /// As the body of a response.
    pub fn to_json(&self) -> Vec<u8> {
        // Strings, numbers and booleans: nothing here can fail to be written.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, ms: u64) -> Self {
        self.retry_after_ms = Some(ms);
        self
    }

    /// As the whole answer to what was no request, after which the connection ends.
    pub fn to_http(&self) -> Vec<u8> {
        let body = self.to_json();
        let mut text = format!(
            "HTTP/1.1 {} {}\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            self.status,
            self.title,
            body.len()
        )
        .into_bytes();
        text.extend_from_slice(&body);
        text
    }

    /// What it says for people.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// Which error it is.
    pub const fn error(&self) -> ErrorCode {
        self.error
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Self {
        Self {
            retry_after_ms: fault.retry_after_ms,
            address: fault.address.as_deref().map(Into::into),
            ..Self::new(fault.code, fault.text)
        }
    }
}

impl From<Problem> for Response {
    fn from(problem: Problem) -> Self {
        problem.into_response()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = Response::new(self.to_json().into());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.last {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(ms) = self.retry_after_ms {
            headers.insert(header::RETRY_AFTER, ms.div_ceil(1_000).into());
        }
        // For the frame around the routes, which knows what the request is called.
        response.extensions_mut().insert(self);
        response
    }
}
