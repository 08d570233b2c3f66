//! The operators' listener: the console, `/metrics`, `/healthz`, `/readyz`. Only routes and figures; who listens is wired in
//! `app.rs`. Never shows a document or a token.

pub mod console;
pub mod health;
pub mod metrics;
mod process;
pub mod requests;

use std::sync::Arc;

use axum::{Router, extract::State, http::header, response::IntoResponse, routing::get};
pub use console::Console;
pub use health::{Gauges, Status};
pub use metrics::Metrics;

/// What the routes here and in `rest/` show.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Counters and histograms.
    pub metrics: Arc<Metrics>,
    /// How the server is.
    pub status: Arc<dyn Status>,
}

/// The routes of the admin listener, but for those of the console.
pub fn router(shown: Shown) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .with_state(shown)
}

/// The figures in the `OpenMetrics` text format.
pub async fn metrics(State(shown): State<Shown>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], shown.metrics.text(&shown.status))
}

#[cfg(test)]
mod tests;
