//! The public HTTP routes, one file a resource. Everything here maps onto the same commands as the native protocol and
//! adds no rule: who may do what is answered by `auth/access.rs`, what happens to a session by its core.
//!
//! A new resource is one file with a `routes()` and one line in [`router`]; its description in the OpenAPI document comes
//! from the code.

mod body;
mod caller;
pub mod frame;
mod json;
pub mod native;
mod params;
mod problem;
mod sessions;
pub mod time;
mod whole;

use std::{net::IpAddr, sync::Arc};

use axum::{Router, middleware, routing::get};
pub use body::{Json, Raw};
pub use caller::{Caller, bearer};
pub use params::{Path, Query};
pub use problem::Problem;
use syncbridge_codec::ErrorCode;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use crate::{
    admin::{self, Shown, health},
    auth::Authenticator,
    config::Config,
    hub::Hub,
    session::Now,
};

/// Where the routes stand.
pub const BASE: &str = "/api/v1";

/// What the routes are made of.
pub struct Parts {
    /// The live sessions.
    pub hub: Arc<Hub>,
    /// Checks tokens.
    pub authenticator: Arc<Authenticator>,
    /// The configuration.
    pub config: Arc<Config>,
    /// The clock.
    pub clock: fn() -> Now,
}

/// [`Parts`], shared by all requests.
pub type Api = Arc<Parts>;

/// Where a request comes from, as a request extension: the peer's address, or the one that a trusted proxy names.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

#[derive(OpenApi)]
#[openapi(info(title = "SyncBridge", description = "One live session on all of a person's devices."))]
struct Description;

/// The routes of the public listener, and their paths. Under `--open` it shows the metrics too.
pub fn router(api: Api, shown: Shown) -> (Router, Arc<[String]>) {
    let (routes, description) = described().split_for_parts();
    let operators_own = ["/health", "/ready", "/metrics"].map(str::to_owned);
    let templates = description.paths.paths.into_keys().chain(operators_own).collect();
    let open = api.config.open;
    let routes = routes
        .with_state(api)
        .layer(middleware::from_fn(whole::whole))
        .merge(operators(shown, open))
        .method_not_allowed_fallback(async || {
            let what = "this route exists, but not with this method; `Allow` names those it has";
            Problem::new(ErrorCode::MethodNotAllowed, what)
        })
        .fallback(async || {
            let what = format!("there is no such route; {BASE}/openapi.json describes those there are");
            Problem::new(ErrorCode::NotFound, what)
        });
    (routes, templates)
}

/// What operators see of the public listener.
pub fn operators(shown: Shown, open: bool) -> Router {
    let mut routes = Router::new().route("/health", get(health::alive)).route("/ready", get(health::ready));
    if open {
        routes = routes.route("/metrics", get(admin::metrics));
    }
    routes.with_state(shown)
}

/// Every route that the OpenAPI document describes.
fn described() -> OpenApiRouter<Api> {
    let resources = OpenApiRouter::new().merge(sessions::routes());
    OpenApiRouter::with_openapi(Description::openapi()).nest(BASE, resources)
}
