//! Snapshots of a session: make, list, read, restore, remove.

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use syncbridge_codec::ErrorCode;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{
    Api, BASE, Caller, IdempotencyKey, Json, Path, Problem, Query, Route,
    page::{self, Page},
    sessions::{Changed, change, document, find},
    time::rfc3339,
};
use crate::{
    auth::{self, access::Operation},
    defaults,
    hub::Moment,
    session::{Base, Target},
    snapshot::{About, Id, New, Scope},
};

/// The routes of this file.
pub fn routes() -> Vec<Route> {
    vec![routes!(make), routes!(list), routes!(read, remove), routes!(restore)]
}

/// What is to be kept.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = NewSnapshot, example = json!({"metadata": {"label": "before the demo", "deviceId": "phone"}}))]
struct Wanted {
    /// Any JSON value. Without it, the session's document as it is.
    #[schema(value_type = Option<serde_json::Value>)]
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
#[schema(as = SnapshotMetadata)]
struct Metadata {
    /// What it is called: one line, at most 256 bytes. A snapshot with a label gives way to newer ones after all
    /// that have none.
    #[serde(default)]
    label: Option<String>,
    /// The device that it was made on, when the token names none.
    #[serde(default)]
    device_id: Option<String>,
}

/// A snapshot that was made.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MadeSnapshot)]
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
    #[schema(value_type = Option<serde_json::Value>)]
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
        (status = 429, body = Problem, description = "As many of the session are being made as it may have."),
    ),
)]
async fn make(
    State(api): State<Api>,
    caller: Caller,
    key: IdempotencyKey,
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
    let said = |text: &Option<String>| text.as_ref().map_or_else(String::new, |text| format!("={text}"));
    let (state_text, label_text, device_text) =
        (state.as_ref().map_or("", |state| state.get()), said(&label), said(&device_id));
    let asked = [state_text.as_bytes(), label_text.as_bytes(), device_text.as_bytes()];
    let keyed = key.keyed(&caller, &format!("POST sessions/{id}/snapshot"), &asked);
    let made = api.once.run(&api, keyed, async |record| {
        let Moment { at, document: current, born } = api.hub.moment(&session, &caller, Operation::Snapshot)?;
        let kept = match state {
            None => current,
            Some(state) => document(&api, Bytes::from(Box::<str>::from(state).into_boxed_bytes())).await?,
        };
        let device = match &device_id {
            Some(device) if caller.device.is_empty() => device.as_str().into(),
            _ => caller.device.clone(),
        };
        let new = New { document: kept, version: at.version, label, user: caller.user.clone(), device };
        let answer = |id: Id, about: &About| {
            let (version, created_at) = (about.version, rfc3339(about.created_ms));
            serde_json::to_vec(&Made { snapshot_id: id.to_string(), version, created_at }).unwrap_or_default()
        };
        let also = |id, about: &About| record.writes(&answer(id, about)).unwrap_or_default();
        let (id, about) = api.snapshots.make(&Scope::new(&session.id, born), new, also).await?;
        Ok(answer(id, &about).into())
    });
    let made: Made = serde_json::from_slice(&made.await?).map_err(|error| {
        tracing::error!(%error, "what was recorded of a snapshot's making cannot be read");
        Problem::new(ErrorCode::Internal, "the recorded answer cannot be read")
    })?;
    let location = HeaderValue::from_str(&format!("{BASE}/sessions/{id}/snapshots/{}", made.snapshot_id))
        .map_err(|_| Problem::new(ErrorCode::Internal, "an id is not what a path takes"))?;
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], axum::Json(made)))
}

/// A session's snapshots.
#[utoipa::path(
    get,
    path = "/sessions/{id}/snapshots",
    params(("id" = String, Path, description = "The session's id."), page::Wanted),
    responses(
        (status = 200, body = inline(Page<Snapshot>)),
        (status = 404, body = Problem, description = "No such session, or none that the caller may see."),
    ),
)]
async fn list(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    Query(wanted): Query<page::Wanted>,
) -> Result<axum::Json<Page<Snapshot>>, Problem> {
    let (after, limit) = (wanted.after()?, wanted.limit()?);
    let after = after.map(|after| after.parse()).transpose();
    let after = after.map_err(|()| Problem::new(ErrorCode::InvalidRequest, "`cursor` is none that was given out"))?;
    let scope = scope(&api, &caller, &id, Operation::ReadSnapshots).await?;
    // One more than are shown says whether there are more.
    let found = api.snapshots.list(&scope, after, limit + 1).await?;
    let items = found.into_iter().map(|(id, about)| Snapshot::of(id, about, None)).collect();
    Ok(axum::Json(Page::of(items, limit, |item: &Snapshot| &item.snapshot_id, |item| item)))
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
        (status = 200, body = Changed),
        (status = 404, body = Problem, description = "No such snapshot, or no such session that the caller may see."),
        (status = 409, body = Problem, description = "Another device is the active one, and only that may write."),
    ),
)]
async fn restore(
    State(api): State<Api>,
    caller: Caller,
    key: IdempotencyKey,
    Path((id, name)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let session = find(&api, &caller, &id, Operation::Update).await?;
    let born = api.hub.look(&session, &caller, Operation::Update, |meta| meta.born)?;
    let (_, _, text) = stored(&api, &Scope::new(&id, born), &name).await?;
    let target = Target::Whole(document(&api, text.into()).await?);
    let keyed = key.keyed(&caller, &format!("POST sessions/{id}/snapshots/{name}/restore"), &[]);
    change(&api, &caller, &session, keyed, Some(target), Bytes::new(), Base::Now).await
}

/// Where a session's snapshots are, for who may do `operation` to them.
async fn scope(api: &Api, caller: &Caller, id: &str, operation: Operation) -> Result<Scope, Problem> {
    let session = find(api, caller, id, operation).await?;
    Ok(Scope::new(id, api.hub.look(&session, caller, operation, |meta| meta.born)?))
}

async fn stored(api: &Api, scope: &Scope, name: &str) -> Result<(Id, About, Vec<u8>), Problem> {
    let id = name.parse().map_err(|()| unknown(name))?;
    let (about, text) = api.snapshots.read(scope, id).await?.ok_or_else(|| unknown(name))?;
    Ok((id, about, text))
}

fn unknown(name: &str) -> Problem {
    Problem::new(ErrorCode::NotFound, format!("there is no snapshot {name:?} of this session"))
}

/// A document's text, as it goes into an answer.
fn raw(text: Vec<u8>) -> Result<Box<RawValue>, Problem> {
    let text = String::from_utf8(text).map_err(|error| error.to_string());
    text.and_then(|text| RawValue::from_string(text).map_err(|error| error.to_string())).map_err(|error| {
        tracing::error!(error, "a document is not JSON");
        Problem::new(ErrorCode::Internal, "the document cannot be written")
    })
}
