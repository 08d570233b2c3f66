//! The public keys of access tokens, where others look for them (RFC 7517, RFC 8615).

use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use utoipa_axum::routes;

use super::{Api, Route};
use crate::{auth::Jwks, defaults};

/// The route among the others.
pub fn routes() -> Vec<Route> {
    vec![routes!(public)]
}

/// The route at the server's root.
pub fn well_known() -> Vec<Route> {
    vec![routes!(well_known_public)]
}

/// The keys that access tokens are signed with; the first one signs now.
#[utoipa::path(get, path = "/auth/jwks", responses((status = 200, body = Jwks)), security(()))]
async fn public(State(api): State<Api>) -> Response {
    keys(&api)
}

/// The same, where other services look for it.
#[utoipa::path(get, path = "/.well-known/jwks.json", responses((status = 200, body = Jwks)), security(()))]
async fn well_known_public(State(api): State<Api>) -> Response {
    keys(&api)
}

fn keys(api: &Api) -> Response {
    let keys = api.authenticator.public_keys((api.clock)().wall_ms / 1_000);
    let kept = format!("public, max-age={}", defaults::JWKS_MAX_AGE.as_secs());
    ([(header::CACHE_CONTROL, kept)], axum::Json(keys)).into_response()
}
