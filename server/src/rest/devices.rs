//! A user's devices: register, list, remove.

use axum::{extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use syncbridge_codec::ErrorCode;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{
    Api, Caller, Json, Path, Problem, Query, Route,
    page::{Page, Wanted},
    time::rfc3339,
};
use crate::auth::devices::{Listed, Said};

/// The routes of this file.
pub fn routes() -> Vec<Route> {
    vec![routes!(list, register), routes!(remove)]
}

/// A device of the caller.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Device {
    /// Its id, unique among the user's devices.
    device_id: String,
    /// What a person calls it; may be empty.
    name: String,
    /// What it runs on, as it says itself; may be empty.
    platform: String,
    /// When it was registered (RFC 3339, UTC).
    created_at: String,
    /// When it last signed in, connected or disconnected (RFC 3339, UTC).
    last_seen_at: String,
}

impl From<Listed> for Device {
    fn from(Listed { device, seen_ms }: Listed) -> Self {
        Self {
            device_id: device.id.to_string(),
            name: device.name.to_string(),
            platform: device.platform.to_string(),
            created_at: rfc3339(device.created_ms),
            last_seen_at: rfc3339(seen_ms),
        }
    }
}

/// What is said of a device.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = NewDevice, example = json!({"deviceId": "phone", "name": "Ann's phone", "platform": "android"}))]
struct Register {
    /// Its id, 1 to 128 bytes; without it the server makes one. One that is registered is changed.
    device_id: Option<String>,
    /// What a person calls it.
    name: Option<String>,
    /// What it runs on.
    platform: Option<String>,
}

/// Registers a device, or changes what is said of it.
#[utoipa::path(
    post,
    path = "/devices",
    request_body = Register,
    responses(
        (status = 201, body = Device),
        (status = 400, body = Problem, description = "A field cannot be."),
        (status = 429, body = Problem, description = "The user has too many devices."),
    ),
)]
async fn register(
    State(api): State<Api>,
    caller: Caller,
    Json(body): Json<Register>,
) -> Result<(StatusCode, axum::Json<Device>), Problem> {
    let id = match body.device_id {
        Some(id) => id,
        None => super::drawn_id()?,
    };
    let said = Said { name: body.name, platform: body.platform };
    let device = api.devices.register(&caller.user, &id, said, (api.clock)()).await?;
    Ok((StatusCode::CREATED, axum::Json(device.into())))
}

/// The caller's devices.
#[utoipa::path(get, path = "/devices", params(Wanted), responses((status = 200, body = Page<Device>)))]
async fn list(
    State(api): State<Api>,
    caller: Caller,
    Query(wanted): Query<Wanted>,
) -> Result<axum::Json<Page<Device>>, Problem> {
    let (after, limit) = (wanted.after()?, wanted.limit()?);
    let found = api.devices.list(&caller.user, after.as_deref(), limit + 1, (api.clock)()).await?;
    Ok(axum::Json(Page::of(found, limit, |listed| &listed.device.id, Device::from)))
}

/// Removes a device. Its tokens, its logins and its live connections have ended when this is answered.
#[utoipa::path(
    delete,
    path = "/devices/{id}",
    params(("id" = String, Path, description = "The device's id.")),
    responses(
        (status = 204, description = "It is gone."),
        (status = 404, body = Problem, description = "The caller has no such device."),
    ),
)]
async fn remove(State(api): State<Api>, caller: Caller, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    if !crate::auth::is_id(&id) {
        return Err(Problem::new(ErrorCode::NotFound, "no device has such an id"));
    }
    api.devices.remove(&caller.user, &id, (api.clock)()).await?;
    Ok(StatusCode::NO_CONTENT)
}
