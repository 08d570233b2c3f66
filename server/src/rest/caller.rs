//! Who makes a request: whoever the bearer token names, or the connection's own user and device when the request came
//! over a live connection.

use std::{ops::Deref, sync::Arc};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};
use syncbridge_codec::ErrorCode;

use super::{Api, Problem};
use crate::connection::Identity;

/// The identity that a request is made with. Requests that come over a live connection carry it as an extension;
/// nothing that comes by HTTP can.
#[derive(Debug, Clone)]
pub struct Caller(pub Arc<Identity>);

impl Deref for Caller {
    type Target = Identity;

    fn deref(&self) -> &Identity {
        &self.0
    }
}

const SCHEME: &[u8] = b"bearer ";

/// The token of the `Authorization` header, if there is one (RFC 6750 §2.1).
pub fn bearer(headers: &HeaderMap) -> Option<Result<&str, Problem>> {
    let value = headers.get(header::AUTHORIZATION)?.as_bytes();
    let token = value
        .split_at_checked(SCHEME.len())
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(SCHEME))
        .and_then(|(_, token)| std::str::from_utf8(token.trim_ascii()).ok())
        .filter(|token| !token.is_empty());
    Some(token.ok_or_else(|| Problem::new(ErrorCode::Unauthenticated, "Authorization is not `Bearer TOKEN`")))
}

impl FromRequestParts<Api> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        if let Some(caller) = parts.extensions.get::<Self>() {
            return Ok(caller.clone());
        }
        let token = bearer(&parts.headers).transpose()?.unwrap_or_default();
        let actor = api
            .authenticator
            .authenticate(token, (api.clock)().wall_ms / 1_000)
            .map_err(|denied| Problem::new(denied.code(), denied.to_string()))?;
        Ok(Self(Arc::new(Identity {
            user: actor.user,
            device: actor.device.unwrap_or_else(|| "".into()),
            // Two requests are two writers: each may clash with the other.
            incarnation: fastrand::u128(..),
            session: None,
            family: actor.family,
        })))
    }
}
