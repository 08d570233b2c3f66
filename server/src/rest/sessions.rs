//! Sessions: make, list, read, replace, change, delete.

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::value::RawValue;
use syncbridge_codec::{ErrorCode, message::Position};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Api, Caller, Path, Problem};
use crate::{
    auth::access::Operation,
    hub::{Fault, off_shard},
};

/// The routes of this file.
pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(read))
}

/// A session.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Session {
    /// Its id.
    session_id: String,
    /// 1 when it was made, one more with each change.
    version: u64,
    /// Grows each time a process takes the session.
    epoch: u64,
    /// The document: any JSON value.
    #[schema(value_type = Object)]
    state: Box<RawValue>,
    /// The device that is active, if one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    active_device_id: Option<String>,
}

/// The session's entity tag: `"EPOCH.VERSION"`.
fn etag(at: &Position) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{}.{}\"", at.epoch, at.version)).expect("digits, a dot and quotes")
}

/// A session's document.
#[utoipa::path(
    get,
    path = "/sessions/{id}",
    responses(
        (status = 200, body = Session),
        (status = 304, description = "`If-None-Match` names the current version."),
        (status = 404, body = Problem, description = "No such session, or none that the caller may see."),
    ),
    params(("id" = String, Path, description = "The session's id.")),
)]
async fn read(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let session = find(&api, &caller, &id, Operation::Get).await?;
    let (at, document, active) = api.hub.read(&session, &caller)?;
    let tag = etag(&at);
    if headers.get(header::IF_NONE_MATCH) == Some(&tag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, tag)]).into_response());
    }
    let state = raw(document.to_json())?;
    let body = Session {
        session_id: id,
        version: at.version,
        epoch: at.epoch,
        state,
        active_device_id: active.map(|device| device.to_string()),
    };
    Ok(([(header::ETAG, tag)], axum::Json(body)).into_response())
}

/// A document's text, as it goes into an answer.
pub(super) fn raw(text: Vec<u8>) -> Result<Box<RawValue>, Problem> {
    let text = String::from_utf8(text).map_err(|error| error.to_string());
    text.and_then(|text| RawValue::from_string(text).map_err(|error| error.to_string())).map_err(|error| {
        tracing::error!(error, "a document is not JSON");
        Problem::new(ErrorCode::Internal, "the document cannot be written")
    })
}

/// The session that a route addresses: in memory, or read from the store off the shard.
pub(super) async fn find(
    api: &Api,
    caller: &Caller,
    id: &str,
    operation: Operation,
) -> Result<std::sync::Arc<crate::hub::Session>, Problem> {
    if let Some(session) = api.hub.find(id) {
        return Ok(session);
    }
    let (hub, who, name, now) = (api.hub.clone(), caller.clone(), id.to_owned(), (api.clock)());
    off_shard(move || hub.load_or_open(&name, &who, operation, now)).await??.ok_or_else(|| Fault::not_found(id).into())
}
