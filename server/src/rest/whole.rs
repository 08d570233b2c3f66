//! A request that changes something is carried out to its end, also when whoever asked is gone by then: a handler that
//! is dropped between two steps would leave its effect half done (committed and never told, revoked and still connected).
//! Reads end with who asked.

use axum::{
    extract::Request,
    middleware::Next,
    response::{IntoResponse, Response},
};
use syncbridge_codec::ErrorCode;

use super::Problem;

/// Runs what changes something in a task of its own.
pub async fn whole(request: Request, next: Next) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    match tokio::spawn(next.run(request)).await {
        Ok(response) => response,
        Err(error) => {
            tracing::error!(%error, "a request came to a bad end");
            Problem::new(ErrorCode::Internal, "the server failed to do what was asked").into_response()
        }
    }
}
