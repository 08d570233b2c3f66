//! Whether the server lives and whether it should be sent clients. Asks [`Status`], decides nothing.

use axum::{Json, extract::State, http::StatusCode};
use serde_json::{Value, json};

use super::Shown;

/// How the server is, told by who knows (`app.rs` puts it together). Called by every scrape and probe: must not block.
pub trait Status: Send + Sync + std::fmt::Debug + 'static {
    /// Why clients should go elsewhere: still starting, draining, storage poisoned, shards that do not answer. None:
    /// send them.
    fn complaints(&self) -> Vec<String>;
    /// What an operator should know although the server works, `--open` for one.
    fn warnings(&self) -> Vec<String>;
    /// Figures of this moment.
    fn gauges(&self) -> Gauges;
}

/// Figures that are read and not counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Gauges {
    /// Sessions in memory.
    pub sessions: u64,
    /// Commits submitted and not durable.
    pub uncommitted: u64,
    /// Age of the oldest of them, milliseconds; 0 when there is none.
    pub oldest_uncommitted_ms: u64,
    /// Whether the store failed and takes nothing more.
    pub poisoned: bool,
    /// Whether it is known that the sessions in memory are this server's.
    pub ownership_known: bool,
    /// Whether the server is going down.
    pub draining: bool,
    /// The store's own figures.
    pub storage: syncbridge_storage::Stats,
    /// For each shard: QUIC packets that another shard's socket received for it (hops), and those of them that were
    /// dropped because its inbox was full.
    pub handovers: Vec<(u64, u64)>,
}

/// `/healthz` and `/health`: answers as long as the process can answer.
pub async fn alive() -> Json<Value> {
    Json(json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")}))
}

/// `/readyz` and `/ready`: 200, or 503 with the reasons.
pub async fn ready(State(shown): State<Shown>) -> (StatusCode, Json<Value>) {
    let complaints = shown.status.complaints();
    let warnings = shown.status.warnings();
    if complaints.is_empty() {
        (StatusCode::OK, Json(json!({"status": "ready", "warnings": warnings})))
    } else {
        let body = json!({"status": "not_ready", "reasons": complaints, "warnings": warnings});
        (StatusCode::SERVICE_UNAVAILABLE, Json(body))
    }
}
