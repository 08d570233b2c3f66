//! Accounts: register, sign in, refresh, sign out, who am I; and the keys that access tokens are checked with.

use axum::{
    Extension,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use syncbridge_codec::ErrorCode;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{Api, Caller, Json, Peer, Problem, Route};
use crate::auth::{
    accounts::{Change, Login, Registration},
    family::FamilyId,
    tokens::{Person, Tokens},
    user::Email,
};

/// The routes of this file.
pub fn routes() -> Vec<Route> {
    vec![routes!(register), routes!(login), routes!(refresh), routes!(logout), routes!(me), routes!(change_password)]
}

/// Who registers.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = NewAccount, example = json!({"email": "ann@example.com", "password": "correct horse", "name": "Ann"}))]
struct Register {
    /// The e-mail address; case does not matter.
    email: String,
    /// 8 to 1,024 bytes.
    password: String,
    /// What to call them; without it, the address's beginning.
    name: Option<String>,
}

/// Who signs in.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"email": "ann@example.com", "password": "correct horse", "deviceId": "phone", "rotateRefresh": false}))]
struct SignIn {
    /// The e-mail address; case does not matter.
    email: String,
    /// The password.
    password: String,
    /// The device that signs in. It is registered, and an earlier login of it ends.
    device_id: Option<String>,
    /// Each use of the refresh token gives a new one, and the use of an old one ends the login.
    #[serde(default)]
    rotate_refresh: bool,
}

/// A refresh token.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RefreshToken, example = json!({"refreshToken": "sbr_…"}))]
struct Refresh {
    /// The token.
    refresh_token: String,
}

/// Another password.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"currentPassword": "correct horse", "newPassword": "correct horse battery"}))]
struct Passwords {
    /// The present one.
    current_password: String,
    /// The new one, 8 to 1,024 bytes.
    new_password: String,
}

/// Tokens are nobody's but the asker's (RFC 6749 §5.1).
fn told(status: StatusCode, tokens: Tokens) -> Response {
    (status, [(header::CACHE_CONTROL, "no-store")], axum::Json(tokens)).into_response()
}

fn address(text: &str) -> Result<Email, Problem> {
    Email::parse(text).ok_or_else(|| Problem::new(ErrorCode::InvalidField, "`email` is not an e-mail address"))
}

/// Makes an account and signs in.
#[utoipa::path(
    post,
    path = "/auth/register",
    request_body = Register,
    responses(
        (status = 201, body = Tokens),
        (status = 400, body = Problem, description = "A field is missing or cannot be."),
        (status = 409, body = Problem, description = "The e-mail address has an account."),
        (status = 429, body = Problem, description = "Too many registrations from this address; `Retry-After`."),
        (status = 503, body = Problem, description = "Too many passwords wait; `Retry-After`."),
    ),
    security(()),
)]
async fn register(
    State(api): State<Api>,
    Extension(Peer(peer)): Extension<Peer>,
    Json(body): Json<Register>,
) -> Result<Response, Problem> {
    let registration = Registration { email: address(&body.email)?, password: body.password, name: body.name };
    let tokens = api.accounts.register(registration, peer, (api.clock)()).await?;
    Ok(told(StatusCode::CREATED, tokens))
}

/// Signs in.
#[utoipa::path(
    post,
    path = "/auth/login",
    request_body = SignIn,
    responses(
        (status = 200, body = Tokens),
        (status = 400, body = Problem, description = "A field is missing or cannot be."),
        (status = 401, body = Problem, description = "The address or the password is wrong."),
        (status = 429, body = Problem, description = "Too many failures for this account or from this address; `Retry-After`."),
        (status = 503, body = Problem, description = "Too many passwords wait; `Retry-After`."),
    ),
    security(()),
)]
async fn login(
    State(api): State<Api>,
    Extension(Peer(peer)): Extension<Peer>,
    Json(body): Json<SignIn>,
) -> Result<Response, Problem> {
    let login = Login {
        email: address(&body.email)?,
        password: body.password,
        device: body.device_id,
        rotate: body.rotate_refresh,
    };
    let tokens = api.accounts.login(login, peer, (api.clock)()).await?;
    Ok(told(StatusCode::OK, tokens))
}

/// New tokens for a refresh token.
#[utoipa::path(
    post,
    path = "/auth/refresh",
    request_body = Refresh,
    responses(
        (status = 200, body = Tokens, description = "`refreshToken` is the one to use from here on: the same as before, or a new one when the login rotates."),
        (status = 401, body = Problem, description = "The token is not good, or not any more."),
    ),
    security(()),
)]
async fn refresh(State(api): State<Api>, Json(body): Json<Refresh>) -> Result<Response, Problem> {
    let tokens = api.accounts.refresh(&body.refresh_token, (api.clock)()).await?;
    Ok(told(StatusCode::OK, tokens))
}

/// Signs out: the refresh token, the access tokens that came of the login and its live connections have ended when this
/// is answered.
#[utoipa::path(
    post,
    path = "/auth/logout",
    request_body = Refresh,
    responses(
        (status = 204, description = "The login is over."),
        (status = 401, body = Problem, description = "The token was not made here."),
    ),
    security(()),
)]
async fn logout(State(api): State<Api>, Json(body): Json<Refresh>) -> Result<StatusCode, Problem> {
    api.accounts.logout(&body.refresh_token, (api.clock)()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Who the caller is.
#[utoipa::path(
    get,
    path = "/auth/me",
    responses((status = 200, body = Person), (status = 401, body = Problem)),
)]
async fn me(State(api): State<Api>, caller: Caller) -> Result<axum::Json<Person>, Problem> {
    Ok(axum::Json(Person::from(&api.accounts.user(&caller.user).await?)))
}

/// Changes the caller's password. All logins but the caller's own have ended when this is answered.
#[utoipa::path(
    post,
    path = "/auth/password",
    request_body = Passwords,
    responses(
        (status = 204, description = "The new password counts."),
        (status = 400, body = Problem, description = "The new password cannot be."),
        (status = 401, body = Problem, description = "The present password is another."),
        (status = 404, body = Problem, description = "The caller has no account."),
        (status = 429, body = Problem, description = "Too many failures; `Retry-After`."),
    ),
)]
async fn change_password(
    State(api): State<Api>,
    caller: Caller,
    Extension(Peer(peer)): Extension<Peer>,
    Json(body): Json<Passwords>,
) -> Result<StatusCode, Problem> {
    let change = Change {
        user: &caller.user,
        keep: caller.family.as_deref().and_then(FamilyId::parse),
        current: body.current_password,
        new: body.new_password,
    };
    api.accounts.change_password(change, peer, (api.clock)()).await?;
    Ok(StatusCode::NO_CONTENT)
}
