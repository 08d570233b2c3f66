//! The public HTTP routes, one file a resource. Everything here maps onto the same commands as the native protocol and
//! adds no rule: who may do what is answered by `auth/access.rs`, what happens to a session by its core.
//!
//! A new resource is one file with a `routes()` and one line in [`described`]; its description in the OpenAPI document comes
//! from the code.

mod attendance;
pub mod auth;
mod body;
mod caller;
mod description;
mod devices;
mod docs;
pub mod etag;
pub mod frame;
mod handoff;
pub mod idempotency;
mod json;
mod keys;
mod members;
pub mod native;
pub mod page;
mod params;
mod place;
mod problem;
mod sessions;
mod snapshots;
pub mod time;
pub mod webtransport;

use std::{net::IpAddr, sync::Arc};

use axum::{Router, routing::get};
pub use body::{Json, Raw};
pub use caller::{Caller, bearer};
pub use idempotency::IdempotencyKey;
pub use params::{Path, Query};
pub use problem::Problem;
use syncbridge_codec::ErrorCode;
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use crate::{
    admin::{self, Shown, health},
    auth::{Authenticator, accounts::Accounts, devices::Devices},
    config::Config,
    handoff::Handoffs,
    hub::Hub,
    pages,
    session::Now,
    snapshot::Snapshots,
};

/// Where the routes stand.
pub const BASE: &str = "/api/v1";

/// What the routes are made of.
pub struct Parts {
    /// The live sessions.
    pub hub: Arc<Hub>,
    /// Documents kept as they were.
    pub snapshots: Snapshots,
    /// Checks tokens.
    pub authenticator: Arc<Authenticator>,
    /// Accounts: who may come in.
    pub accounts: Arc<Accounts>,
    /// Users' devices.
    pub devices: Arc<Devices>,
    /// Sessions on their way from one device to another.
    pub handoffs: Arc<Handoffs>,
    /// The configuration.
    pub config: Arc<Config>,
    /// Requests that have their effect once.
    pub once: idempotency::Once,
    /// What pages are told of WebTransport.
    pub webtransport: webtransport::Offer,
    /// The clock.
    pub clock: fn() -> Now,
}

/// [`Parts`], shared by all requests.
pub type Api = Arc<Parts>;

/// Where a request comes from, as a request extension: the peer's address, or the one that a trusted proxy names.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// The routes of the public listener, and their paths. Under `--open` it shows the metrics too.
pub fn router(api: Api, shown: Shown) -> (Router, Arc<[String]>) {
    let (routes, description) = described().split_for_parts();
    let operators_own = ["/health", "/ready", "/metrics"].map(str::to_owned);
    let description = description::complete(description, api.config.http.public_url.get());
    let (docs, docs_own) = docs::routes(&description);
    let (pages, pages_own) = pages::routes(pages::For::People, api.webtransport.loopback());
    let templates = description.paths.paths.into_keys().chain(operators_own).chain(docs_own).chain(pages_own).collect();
    let open = api.config.open;
    let routes = routes
        .with_state(api)
        .merge(docs)
        .merge(pages)
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

/// The methods of one path, and their descriptions.
type Route = UtoipaMethodRouter<Api>;

/// Every route that the OpenAPI document describes. Their whole paths go into one router: axum's `nest` would rewrite the
/// address of each request.
fn described() -> OpenApiRouter<Api> {
    let resources = [
        attendance::routes(),
        auth::routes(),
        devices::routes(),
        handoff::routes(),
        keys::routes(),
        sessions::routes(),
        members::routes(),
        snapshots::routes(),
        webtransport::routes(),
    ];
    let based = resources.into_iter().flatten().map(|(schemas, mut described, methods)| {
        let paths = std::mem::take(&mut described.paths);
        described.paths = paths.into_iter().map(|(path, item)| (format!("{BASE}{path}"), item)).collect();
        (schemas, described, methods)
    });
    let router = OpenApiRouter::with_openapi(description::empty());
    based.chain(keys::well_known()).fold(router, OpenApiRouter::routes)
}

/// An id of 128 random bits, for what the client gave none.
fn drawn_id() -> Result<String, Problem> {
    let mut bits = [0; 16];
    getrandom::fill(&mut bits).map_err(|error| {
        tracing::error!(%error, "the system gives no randomness");
        Problem::new(ErrorCode::Internal, "the system gives no randomness")
    })?;
    Ok(format!("{:032x}", u128::from_be_bytes(bits)))
}
