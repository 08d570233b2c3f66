//! The devices that are attached to a session: who is there, by what, and which of them is active. A user's own devices,
//! attached or not, are `devices.rs`'s.

use axum::extract::State;
use serde::Serialize;
use syncbridge_codec::message;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{
    Api, Caller, Path, Problem, Query, Route,
    page::{Page, Wanted},
    sessions::find,
    time::rfc3339,
};
use crate::{auth::access::Operation, session::Present};

/// The routes of this file.
pub fn routes() -> Vec<Route> {
    vec![routes!(attached)]
}

/// What a device is connected by.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = DeviceTransport)]
#[allow(clippy::enum_variant_names, reason = "it is called that")]
enum Transport {
    /// The native protocol over QUIC.
    Quic,
    /// The native protocol over a WebSocket.
    WebSocket,
    /// Flat JSON over a WebSocket.
    Json,
    /// The native protocol over `WebTransport`.
    WebTransport,
    /// Inside the server's own process.
    Memory,
}

impl From<message::Transport> for Transport {
    fn from(transport: message::Transport) -> Self {
        match transport {
            message::Transport::Quic => Self::Quic,
            message::Transport::WebSocket => Self::WebSocket,
            message::Transport::Json => Self::Json,
            message::Transport::WebTransport => Self::WebTransport,
            message::Transport::Memory => Self::Memory,
        }
    }
}

/// Whether a device is there.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = DevicePresence)]
enum Presence {
    /// It is connected.
    Online,
    /// Its connection went a moment ago; the others are told when it does not come back within the grace period.
    Away,
}

/// A device that is attached to a session.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AttachedDevice)]
struct Attached {
    /// Its id, unique among its user's devices.
    device_id: String,
    /// Whose it is.
    user_id: String,
    /// Whether it is there.
    presence: Presence,
    /// What it is, or was, connected by.
    transport: Transport,
    /// When it was last heard of (RFC 3339, UTC).
    last_seen_at: String,
    /// Whether it is the session's active device.
    active: bool,
}

impl From<(Present, bool)> for Attached {
    fn from((Present { device, connected, seen_ms }, active): (Present, bool)) -> Self {
        Self {
            device_id: device.device.to_string(),
            user_id: device.user.to_string(),
            presence: if connected { Presence::Online } else { Presence::Away },
            transport: device.transport.into(),
            last_seen_at: rfc3339(seen_ms),
            active,
        }
    }
}

/// The devices that are attached to a session, by user and device.
#[utoipa::path(
    get,
    path = "/sessions/{id}/devices",
    params(("id" = String, Path, description = "The session's id."), Wanted),
    responses(
        (status = 200, body = inline(Page<Attached>)),
        (status = 404, body = Problem, description = "No such session, or none that the caller may see."),
    ),
)]
async fn attached(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<axum::Json<Page<Attached>>, Problem> {
    let (after, limit) = (wanted.after()?, wanted.limit()?);
    let session = find(&api, &caller, &id, Operation::ListDevices).await?;
    let attendance = api.hub.attendance(&session, &caller, (api.clock)())?;
    // Ids have no control characters, so keys have the order of (user, device).
    let keyed = attendance.into_iter().map(|one| (format!("{}\n{}", one.0.device.user, one.0.device.device), one));
    // One more than are shown says whether there are more.
    let found = keyed.filter(|(key, _)| after.as_ref().is_none_or(|after| key > after)).take(limit + 1).collect();
    Ok(axum::Json(Page::of(found, limit, |(key, _)| key, |(_, one)| one.into())))
}
