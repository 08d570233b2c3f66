//! A request that changes something is carried out to its end, also when whoever asked is gone by then: a handler that
//! is dropped between two steps would leave its effect half done (committed and never told, revoked and still connected).
//! Reads end with who asked.

use std::convert::Infallible;

use axum::{body::Body, http::Response, response::IntoResponse as _};
use syncbridge_codec::ErrorCode;

use crate::rest::Problem;

/// Awaits the routes' answer; unless the request is `safe` (RFC 9110 §9.2.1), in a task of its own.
pub async fn answer(
    safe: bool,
    routed: impl Future<Output = Result<Response<Body>, Infallible>> + Send + 'static,
) -> Response<Body> {
    if safe {
        let Ok(response) = routed.await;
        return response;
    }
    match tokio::spawn(routed).await {
        Ok(Ok(response)) => response,
        Err(error) => {
            tracing::error!(%error, "a request came to a bad end");
            Problem::new(ErrorCode::Internal, "the server failed to do what was asked").into_response()
        }
    }
}
