//! The public HTTP routes, one file a resource. So far: whether the server lives and is ready.

use axum::{Router, routing::get};

use crate::admin::{self, Shown, health};

/// The routes of the public listener. Under `--open` it shows the metrics too.
pub fn router(shown: Shown, open: bool) -> Router {
    let mut routes = Router::new().route("/health", get(health::alive)).route("/ready", get(health::ready));
    if open {
        routes = routes.route("/metrics", get(admin::metrics));
    }
    routes.with_state(shown)
}
