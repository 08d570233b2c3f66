//! Snapshots of a session: make, list, read, restore, remove.

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::IntoResponse,
};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use syncbridge_codec::{
    ErrorCode,
    message::{Durability, Update},
};
use syncbridge_document::{Limits, Value};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Api, Caller, Json, Path, Problem, Query, sessions::find, time::rfc3339};
use crate::{
    auth::{self, access::Operation},
    defaults,
    hub::{Fault, Moment, Updated, off_shard},
    session::{
        op::{Base, Op, Target},
        work::invalid_code,
    },
    snapshot::{About, Id, New, Scope},
};

/// The routes of this file.
pub fn routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(make))
        .routes(routes!(list))
        .routes(routes!(read, remove))
        .routes(routes!(restore))
}

/// What is to be kept.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Wanted {
    /// Any JSON value. Without it, the session's document as it is.
    #[schema(value_type = Option<Object>)]
    #[serde(default, deserialize_with = "present")]
    state: Option<Box<RawValue>>,
    /// What is said about it.
    #[serde(default)]
    metadata: Option<Metadata>,
}

/// `null` is a state like any other; only no state at all is none.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(from).map(Some)
}

/// What is said about a snapshot.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    /// What it is called: one line, at most 256 bytes. A snapshot with a label does not give way to newer ones.
    #[serde(default)]
    label: Option<String>,
    /// The device that it was made on, when the token names none.
    #[serde(default)]
    device_id: Option<String>,
}

/// A snapshot that was made.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Made {
    /// Its id.
    snapshot_id: String,
    /// The version that the session had.
    version: u64,
    /// RFC 3339, UTC.
    created_at: String,
}

/// A snapshot.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Snapshot {
    /// Its id.
    snapshot_id: String,
    /// The version that the session had.
    version: u64,
    /// RFC 3339, UTC.
    created_at: String,
    /// When it goes; RFC 3339, UTC.
    expires_at: String,
    /// Bytes of its state as JSON text.
    size: u64,
    /// What it is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    /// Who made it.
    user_id: String,
    /// On which device.
    #[serde(skip_serializing_if = "Option::is_none")]
    device_id: Option<String>,
    /// What was kept; in an answer for this one only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    state: Option<Box<RawValue>>,
}

impl Snapshot {
    fn of(id: Id, about: About, state: Option<Box<RawValue>>) -> Self {
        Self {
            snapshot_id: id.to_string(),
            version: about.version,
            created_at: rfc3339(about.created_ms),
            expires_at: rfc3339(about.expires_ms),
            size: about.root.size,
            label: about.label,
            user_id: about.user.to_string(),
            device_id: (!about.device.is_empty()).then(|| about.device.to_string()),
            state,
        }
    }
}

/// Snapshots, the newest first.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Snapshots {
    items: Vec<Snapshot>,
    /// `cursor` of the next page; absent on the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

/// Which part of a list.
#[derive(Debug, Deserialize)]
struct Paging {
    /// `nextCursor` of the page before.
    cursor: Option<String>,
    /// How many; 50 unless it says otherwise, at most 500.
    limit: Option<usize>,
}

/// What became of a restore.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Restored {
    /// The session's version now.
    version: u64,
}

/// Keeps a session's document as it is, or the state that is given.
#[utoipa::path(
    post,
    path = "/sessions/{id}/snapshot",
    params(("id" = String, Path, description = "The session's id.")),
    request_body = Option<Wanted>,
    responses(
        (status = 201, body = Made),
        (status = 404, body = Problem, description = "No such session, or none that the caller may see."),
        (status = 422, body = Problem, description = "The state is larger than a document may be."),
        (status = 429, body = Problem, description = "The session has as many labelled snapshots as it may."),
    ),
)]
async fn make(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    wanted: Option<Json<Wanted>>,
) -> Result<impl IntoResponse, Problem> {
    let Wanted { state, metadata } = wanted.map(|Json(wanted)| wanted).unwrap_or_default();
    let Metadata { label, device_id } = metadata.unwrap_or_default();
    let label = label.filter(|label| !label.is_empty());
    if label.as_ref().is_some_and(|label| label.len() > defaults::LABEL || label.chars().any(char::is_control)) {
        let what = format!("metadata.label: at most {} bytes without control characters", defaults::LABEL);
        return Err(Problem::new(ErrorCode::InvalidField, what));
    }
    if device_id.as_ref().is_some_and(|device| !auth::is_id(device)) {
        let what = format!("metadata.deviceId: 1 to {} bytes without control characters", defaults::MAX_ID);
        return Err(Problem::new(ErrorCode::InvalidField, what));
    }
    let session = find(&api, &caller, &id, Operation::Snapshot).await?;
    let Moment { at, document, born } = api.hub.moment(&session, &caller, Operation::Snapshot)?;
    let document = match state {
        None => document,
        Some(state) => {
            let limits = limits(&api);
            off_shard(move || parse(state.get().as_bytes(), &limits)).await??
        }
    };
    let device =
        if caller.device.is_empty() { device_id.as_deref().unwrap_or("").into() } else { caller.device.clone() };
    let new = New { document, version: at.version, label, user: caller.user.clone(), device };
    let (snapshot, about) = api.snapshots.make(&Scope::new(&id, born), new).await?;
    let body =
        Made { snapshot_id: snapshot.to_string(), version: about.version, created_at: rfc3339(about.created_ms) };
    let location = HeaderValue::from_str(&format!("{}/sessions/{id}/snapshots/{snapshot}", super::BASE))
        .map_err(|_| Problem::new(ErrorCode::Internal, "an id is not what a path takes"))?;
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], axum::Json(body)))
}

/// A session's snapshots.
#[utoipa::path(
    get,
    path = "/sessions/{id}/snapshots",
    params(
        ("id" = String, Path, description = "The session's id."),
        ("cursor" = Option<String>, Query, description = "`nextCursor` of the page before."),
        ("limit" = Option<usize>, Query, description = "How many; 50 unless it says otherwise, at most 500."),
    ),
    responses(
        (status = 200, body = Snapshots),
        (status = 404, body = Problem, description = "No such session, or none that the caller may see."),
    ),
)]
async fn list(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    Query(Paging { cursor, limit }): Query<Paging>,
) -> Result<axum::Json<Snapshots>, Problem> {
    let invalid = |text: String| Problem::new(ErrorCode::InvalidRequest, text);
    let limit = limit.unwrap_or(defaults::PAGE);
    if !(1..=defaults::PAGE_MAX).contains(&limit) {
        return Err(invalid(format!("limit: 1 to {}", defaults::PAGE_MAX)));
    }
    let after = cursor.map(|cursor| cursor.parse()).transpose();
    let after = after.map_err(|()| invalid("cursor: not one that a list gave".to_owned()))?;
    let scope = scope(&api, &caller, &id, Operation::ReadSnapshots).await?;
    let page = api.snapshots.list(&scope, after, limit).await?;
    let items = page.items.into_iter().map(|(id, about)| Snapshot::of(id, about, None)).collect();
    Ok(axum::Json(Snapshots { items, next_cursor: page.next.map(|id| id.to_string()) }))
}

/// A snapshot with its state.
#[utoipa::path(
    get,
    path = "/sessions/{id}/snapshots/{snapshot}",
    params(
        ("id" = String, Path, description = "The session's id."),
        ("snapshot" = String, Path, description = "The snapshot's id."),
    ),
    responses(
        (status = 200, body = Snapshot),
        (status = 404, body = Problem, description = "No such snapshot, or no such session that the caller may see."),
    ),
)]
async fn read(
    State(api): State<Api>,
    caller: Caller,
    Path((id, name)): Path<(String, String)>,
) -> Result<axum::Json<Snapshot>, Problem> {
    let scope = scope(&api, &caller, &id, Operation::ReadSnapshots).await?;
    let (snapshot, about, text) = stored(&api, &scope, &name).await?;
    Ok(axum::Json(Snapshot::of(snapshot, about, Some(raw(text)?))))
}

/// Removes a snapshot.
#[utoipa::path(
    delete,
    path = "/sessions/{id}/snapshots/{snapshot}",
    params(
        ("id" = String, Path, description = "The session's id."),
        ("snapshot" = String, Path, description = "The snapshot's id."),
    ),
    responses(
        (status = 204, description = "It is gone."),
        (status = 404, body = Problem, description = "No such snapshot, or no such session that the caller may see."),
    ),
)]
async fn remove(
    State(api): State<Api>,
    caller: Caller,
    Path((id, name)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let scope = scope(&api, &caller, &id, Operation::DeleteSnapshot).await?;
    let snapshot = name.parse().map_err(|()| unknown(&name))?;
    if api.snapshots.remove(&scope, snapshot).await? { Ok(StatusCode::NO_CONTENT) } else { Err(unknown(&name)) }
}

/// Makes a session's document what a snapshot holds. Everybody gets the difference, as with any other change.
#[utoipa::path(
    post,
    path = "/sessions/{id}/snapshots/{snapshot}/restore",
    params(
        ("id" = String, Path, description = "The session's id."),
        ("snapshot" = String, Path, description = "The snapshot's id."),
    ),
    responses(
        (status = 200, body = Restored),
        (status = 404, body = Problem, description = "No such snapshot, or no such session that the caller may see."),
        (status = 409, body = Problem, description = "Another device is the active one, and only that may write."),
    ),
)]
async fn restore(
    State(api): State<Api>,
    caller: Caller,
    Path((id, name)): Path<(String, String)>,
) -> Result<axum::Json<Restored>, Problem> {
    let session = find(&api, &caller, &id, Operation::Update).await?;
    let born = api.hub.moment(&session, &caller, Operation::Update)?.born;
    let (_, _, text) = stored(&api, &Scope::new(&id, born), &name).await?;
    let limits = limits(&api);
    let document = off_shard(move || parse(&text, &limits)).await??;
    let op = Op {
        update: Update { session: id.into(), durability: Durability::Durable, ..Update::default() },
        keyed: None,
        target: Some(Target::Whole(document)),
        base: Base::Now,
        tag: 0,
    };
    match api.hub.ask_update(&session, &caller, &op, api.clock).await? {
        Updated::Accepted(accepted) => Ok(axum::Json(Restored { version: accepted.at.version })),
        Updated::Conflict(_) => Err(Problem::new(ErrorCode::Conflict, "others changed the session at the same time")),
    }
}

/// Where a session's snapshots are, for who may do `operation` to them.
async fn scope(api: &Api, caller: &Caller, id: &str, operation: Operation) -> Result<Scope, Problem> {
    let session = find(api, caller, id, operation).await?;
    Ok(Scope::new(id, api.hub.moment(&session, caller, operation)?.born))
}

async fn stored(api: &Api, scope: &Scope, name: &str) -> Result<(Id, About, Vec<u8>), Problem> {
    let id = name.parse().map_err(|()| unknown(name))?;
    let (about, text) = api.snapshots.read(scope, id).await?.ok_or_else(|| unknown(name))?;
    Ok((id, about, text))
}

fn unknown(name: &str) -> Problem {
    Problem::new(ErrorCode::NotFound, format!("there is no snapshot {name:?} of this session"))
}

fn limits(api: &Api) -> Limits {
    let limits = &api.config.limits;
    Limits { depth: limits.json_depth, document_bytes: limits.max_document, ..Limits::default() }
}

fn parse(text: &[u8], limits: &Limits) -> Result<Value, Fault> {
    Value::parse(text, limits).map_err(|invalid| Fault::new(invalid_code(&invalid), invalid.to_string()))
}

/// A document's text, as it goes into an answer.
fn raw(text: Vec<u8>) -> Result<Box<RawValue>, Problem> {
    let text = String::from_utf8(text).map_err(|error| error.to_string());
    text.and_then(|text| RawValue::from_string(text).map_err(|error| error.to_string())).map_err(|error| {
        tracing::error!(error, "a document is not JSON");
        Problem::new(ErrorCode::Internal, "the document cannot be written")
    })
}
