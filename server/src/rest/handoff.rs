//! Handoff: offer a session to another device, complete that there, let it go. What it does is `crate::handoff`'s.

use std::time::Instant;

use axum::{
    Extension,
    extract::State,
    http::{HeaderMap, HeaderName, StatusCode},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use syncbridge_codec::{ErrorCode, message::HandoffAnswer};
use syncbridge_document::Value;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{Api, Caller, Json, Path, Peer, Problem, Route, place, sessions, time::rfc3339};
use crate::{
    auth::{access::Operation, tokens::Tokens},
    defaults::ON_SHARD_BYTES,
    handoff::{Moved, qr},
    hub::off_shard,
};

/// The routes of this file.
pub fn routes() -> Vec<Route> {
    vec![routes!(offer), routes!(complete), routes!(take), routes!(answer)]
}

/// What is offered.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = HandoffOffer, example = json!({"ttlSeconds": 300}))]
struct Offer {
    /// How long code and token are good for: 30 to 900 seconds; 300 without it.
    ttl_seconds: Option<u64>,
}

/// An offer, as its maker is told once.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = HandoffCode)]
struct Offered {
    /// For people: case, spaces and hyphens do not count.
    code: String,
    /// For links. Code and token are one use together.
    token: String,
    /// When both expire (RFC 3339, UTC).
    expires_at: String,
    /// The link that the QR code shows: it ends in the token.
    url: String,
    /// The link as a QR code: an SVG element.
    qr_svg: String,
}

/// What is presented.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = HandoffComplete, example = json!({"code": "7K2M-9QXR-4T", "deviceId": "laptop"}))]
struct Complete {
    /// The code that a person typed; or
    code: Option<String>,
    /// the token of a link.
    token: Option<String>,
    /// The device that takes the session over.
    device_id: String,
}

/// A session that moved to the device that asked, with the tokens that let the device in.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = HandoffCompleted)]
struct Completed {
    #[serde(flatten)]
    taken: Taken,
    #[serde(flatten)]
    tokens: Tokens,
}

/// What is asked for with a code or token that somebody offered.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = HandoffTake, example = json!({"fromDeviceId": "phone", "toDeviceId": "laptop", "handoffToken": "7K2M9QXR4T"}))]
struct Take {
    /// The device that is active.
    from_device_id: String,
    /// The device of the caller that is to be.
    to_device_id: String,
    /// The token; a code will do.
    handoff_token: String,
}

/// A session that moved.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = HandoffTaken)]
struct Taken {
    /// Its id.
    session_id: String,
    /// 1 when it was made, one more with each change.
    version: u64,
    /// Grows each time a process takes the session.
    epoch: u64,
    /// The document in the moment in which it moved.
    #[schema(value_type = serde_json::Value)]
    state: Box<RawValue>,
    /// The device that is active.
    active_device_id: String,
}

/// What the active device says.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = HandoffAnswer, example = json!({"accept": true}))]
struct Answer {
    /// Whether the session may go.
    accept: bool,
}

/// Offers a session to another device: a code for people, a token for links, both good once.
#[utoipa::path(
    post,
    path = "/sessions/{id}/handoff/code",
    params(("id" = String, Path, description = "The session's id.")),
    request_body = inline(Option<Offer>),
    responses(
        (status = 201, body = Offered),
        (status = 400, body = Problem, description = "`ttlSeconds` is out of its range."),
        (status = 403, body = Problem, description = "The caller is a viewer."),
        (status = 404, body = Problem, description = "No such session, or none that the caller may see."),
    ),
)]
async fn offer(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Option<Json<Offer>>,
) -> Result<(StatusCode, axum::Json<Offered>), Problem> {
    let Offer { ttl_seconds } = body.map(|Json(offer)| offer).unwrap_or_default();
    let session = sessions::find(&api, &caller, &id, Operation::OfferHandoff).await?;
    let offered = api.handoffs.offer(&session, &caller, ttl_seconds).await?;
    let url = format!("{}/handoff#{}", place::base(&api, &headers), offered.token);
    let qr_svg = qr::svg(&url).map_err(|error| {
        tracing::error!(%error, "a handoff's link cannot be shown");
        Problem::new(ErrorCode::Internal, "the link is too long for a QR code")
    })?;
    let expires_at = rfc3339(offered.expires_ms);
    let body = Offered { code: offered.code, token: offered.token, expires_at, url, qr_svg };
    Ok((StatusCode::CREATED, axum::Json(body)))
}

/// What of an answer's time was the server's (W3C Server Timing), so that a client can tell it from its own.
const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Completes a handoff: signs the device in as the user who offered it, and makes it the session's active device. Needs
/// no token. `Server-Timing` says how many milliseconds it took, until it was durable and every connection told.
#[utoipa::path(
    post,
    path = "/handoff/complete",
    request_body = Complete,
    responses(
        (status = 200, body = Completed),
        (status = 400, body = Problem, description = "A field is missing, or cannot be."),
        (status = 404, body = Problem, description = "There is no such code or token."),
        (status = 409, body = Problem, description = "The active device did not let the session go."),
        (status = 410, body = Problem, description = "It was used, has expired, or lost what it was offered for."),
        (status = 429, body = Problem, description = "Too many attempts from this address failed."),
    ),
    security(()),
)]
async fn complete(
    State(api): State<Api>,
    Extension(Peer(address)): Extension<Peer>,
    Json(body): Json<Complete>,
) -> Result<([(HeaderName, String); 1], axum::Json<Completed>), Problem> {
    let began = Instant::now();
    let presented = body
        .token
        .as_ref()
        .or(body.code.as_ref())
        .ok_or_else(|| Problem::new(ErrorCode::InvalidRequest, "there is neither a `code` nor a `token`"))?;
    let (moved, tokens) = api.handoffs.complete(presented, &body.device_id, address).await?;
    let completed = Completed { taken: Taken::of(moved).await?, tokens };
    // Of a success only: how long a guess took says nothing to who made it.
    let timing = format!("handoff;dur={:.3}", began.elapsed().as_secs_f64() * 1e3);
    Ok(([(SERVER_TIMING, timing)], axum::Json(completed)))
}

/// Makes another device of the caller's the active one, with a code or token that was offered for the session.
#[utoipa::path(
    post,
    path = "/sessions/{id}/handoff",
    params(("id" = String, Path, description = "The session's id.")),
    request_body = Take,
    responses(
        (status = 200, body = Taken),
        (status = 400, body = Problem, description = "A field is missing or cannot be, or the session is active elsewhere."),
        (status = 404, body = Problem, description = "No such session that the caller may see, or no such token."),
        (status = 409, body = Problem, description = "The active device did not let the session go."),
        (status = 410, body = Problem, description = "It was used, has expired, or lost what it was offered for."),
        (status = 429, body = Problem, description = "Too many attempts, from this address or for this session, failed."),
    ),
)]
async fn take(
    State(api): State<Api>,
    caller: Caller,
    Extension(Peer(address)): Extension<Peer>,
    Path(id): Path<String>,
    Json(body): Json<Take>,
) -> Result<axum::Json<Taken>, Problem> {
    let session = sessions::find(&api, &caller, &id, Operation::TakeHandoff).await?;
    let Take { from_device_id: from, to_device_id: to, handoff_token: presented } = &body;
    let moved = api.handoffs.take(&session, &caller, from, to, presented, address).await?;
    Ok(axum::Json(Taken::of(moved).await?))
}

/// Lets a session go, or not: from its active device, under the device policy `ask`.
#[utoipa::path(
    post,
    path = "/handoff/{id}/answer",
    params(("id" = String, Path, description = "The handoff's id, as `handoff_requested` names it.")),
    request_body = Answer,
    responses(
        (status = 204, description = "It was told."),
        (status = 404, body = Problem, description = "No such handoff waits for an answer of the caller's."),
        (status = 409, body = Problem, description = "Another device is the active one."),
    ),
)]
async fn answer(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    Json(Answer { accept }): Json<Answer>,
) -> Result<StatusCode, Problem> {
    let answer = HandoffAnswer { handoff: id.into(), accept };
    api.hub.answer_handoff(&caller, &answer, (api.clock)())?;
    Ok(StatusCode::NO_CONTENT)
}

impl Taken {
    async fn of(moved: Moved) -> Result<Self, Problem> {
        let Moved { session, at, document, device } = moved;
        Ok(Self {
            session_id: session.to_string(),
            version: at.version,
            epoch: at.epoch,
            state: text(document).await?,
            active_device_id: device.to_string(),
        })
    }
}

/// A document, as it goes into an answer.
async fn text(document: Value) -> Result<Box<RawValue>, Problem> {
    let short = document.json_size() <= ON_SHARD_BYTES;
    let raw = move || {
        let text = String::from_utf8(document.to_json()).map_err(|error| error.to_string())?;
        RawValue::from_string(text).map_err(|error| error.to_string())
    };
    // What is short is written in less time than it takes to hand it over.
    let raw = if short { raw() } else { off_shard(raw).await? };
    raw.map_err(|error| {
        tracing::error!(error, "a document is not JSON");
        Problem::new(ErrorCode::Internal, "the document cannot be written")
    })
}
