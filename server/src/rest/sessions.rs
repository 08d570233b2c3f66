//! Sessions: make, list, read, replace, change, delete. What changes a document goes to the session's core as an
//! [`Op`]; every answer is given once the change is durable.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use syncbridge_codec::{
    ErrorCode,
    message::{self, Durability, Position, Update},
};
use syncbridge_document::{Limits, Value};
use syncbridge_storage::Table;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{
    Api, BASE, Caller, IdempotencyKey, Json, Path, Problem, Query, Raw, Route,
    etag::{self, Conditions},
    members::MemberRole,
    page::{Page, Wanted},
};
use crate::{
    auth::access::Operation,
    defaults,
    hub::{self, Fault, Shown, Updated, off_shard},
    session::{Base, Keyed, Op, Target, membership, work},
    snapshot::Scope,
};

/// The media type of RFC 6902.
const JSON_PATCH: &str = "application/json-patch+json";
/// The media type of RFC 7396.
const MERGE_PATCH: &str = "application/merge-patch+json";

/// The routes of this file.
pub fn routes() -> Vec<Route> {
    vec![routes!(create, list), routes!(read, replace, patch, delete)]
}

/// What happens to updates that clash.
#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConflictPolicy {
    /// The later one counts.
    #[default]
    LastWriterWins,
    /// The later one is refused.
    Reject,
    /// Objects are merged key by key.
    Merge,
}

/// Which devices may write.
#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DevicePolicy {
    /// All.
    #[default]
    Many,
    /// The active one.
    Exclusive,
    /// The active one, and it is asked before another becomes active.
    Ask,
}

/// A session's policies.
#[derive(Debug, Clone, Copy, Default, Deserialize, Serialize, ToSchema)]
#[serde(default)]
pub struct Policy {
    /// What happens to updates that clash.
    conflict: ConflictPolicy,
    /// Which devices may write.
    devices: DevicePolicy,
}

impl From<ConflictPolicy> for message::ConflictPolicy {
    fn from(policy: ConflictPolicy) -> Self {
        match policy {
            ConflictPolicy::LastWriterWins => Self::LastWriterWins,
            ConflictPolicy::Reject => Self::Reject,
            ConflictPolicy::Merge => Self::Merge,
        }
    }
}

impl From<DevicePolicy> for message::DevicePolicy {
    fn from(policy: DevicePolicy) -> Self {
        match policy {
            DevicePolicy::Many => Self::Many,
            DevicePolicy::Exclusive => Self::Exclusive,
            DevicePolicy::Ask => Self::Ask,
        }
    }
}

/// A session that is to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"sessionId": "shopping", "state": {"list": ["bread"]}, "policy": {"conflict": "merge", "devices": "many"}}))]
struct NewSession {
    /// Its id: 1 to 128 of `A-Z a-z 0-9 . _ ~ : @ -`. Without one it gets 128 random bits.
    session_id: Option<String>,
    /// Its document: any JSON value.
    #[schema(value_type = serde_json::Value)]
    state: Box<RawValue>,
    /// Its policies.
    #[serde(default)]
    policy: Policy,
}

/// A session that was made.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Made<'a> {
    /// Its id.
    session_id: &'a str,
    /// 1.
    version: u64,
    /// Grows each time a process takes the session.
    epoch: u64,
    /// Its document.
    #[schema(value_type = serde_json::Value)]
    state: &'a RawValue,
}

/// What is recorded of a session that was made under an idempotency key. (The state is in the request.)
#[derive(Debug, Deserialize, Serialize)]
struct Identity {
    id: String,
    epoch: u64,
}

/// Makes a session.
#[utoipa::path(
    post,
    path = "/sessions",
    params(("Idempotency-Key" = Option<String>, Header, description = "A resend has no further effect.")),
    request_body = inline(NewSession),
    responses(
        (status = 201, body = inline(Made), headers(("ETag" = String), ("Location" = String))),
        (status = 409, body = Problem, description = "The id is taken."),
        (status = 422, body = Problem, description = "The document is too large; or the key was used for another request."),
        (status = 429, body = Problem, description = "The user has too many sessions."),
    ),
)]
async fn create(
    State(api): State<Api>,
    caller: Caller,
    key: IdempotencyKey,
    Json(new): Json<NewSession>,
) -> Result<Response, Problem> {
    let NewSession { session_id, state, policy } = new;
    if session_id.as_ref().is_some_and(String::is_empty) {
        return Err(invalid_id());
    }
    let policies = [hub::conflict_name(policy.conflict.into()), hub::devices_name(policy.devices.into())];
    let id = session_id.unwrap_or_default();
    let asked = [id.as_bytes(), state.get().as_bytes(), policies[0].as_bytes(), policies[1].as_bytes()];
    let keyed = key.keyed(&caller, "POST sessions", &asked);
    let create = message::Create {
        counter: 0,
        session: id.into(),
        state: Bytes::copy_from_slice(state.get().as_bytes()),
        conflict: policy.conflict.into(),
        devices: policy.devices.into(),
    };
    let made = api.once.run(&api, keyed, async |record| {
        let answer = |created: &message::Created| {
            let made = Identity { id: created.session.to_string(), epoch: created.epoch };
            serde_json::to_vec(&made).unwrap_or_default()
        };
        let writes = move |created: &message::Created| record.writes(&answer(created)).unwrap_or_default();
        api.hub.caught_up(api.clock).await?;
        let created = api.hub.ask_create(&caller.0, create, (api.clock)(), writes).await?;
        Ok(answer(&created).into())
    });
    let made: Identity = serde_json::from_slice(&made.await?).map_err(|error| {
        tracing::error!(%error, "what was recorded of a session's making cannot be read");
        Problem::new(ErrorCode::Internal, "the recorded answer cannot be read")
    })?;
    let at = Position { epoch: made.epoch, version: 1 };
    let location = HeaderValue::from_str(&format!("{BASE}/sessions/{}", made.id)).map_err(|_| invalid_id())?;
    let body = Made { session_id: &made.id, version: at.version, epoch: at.epoch, state: &state };
    let headers = [(header::ETAG, etag::of(&at)), (header::LOCATION, location)];
    Ok((StatusCode::CREATED, headers, axum::Json(body)).into_response())
}

/// A session of a list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Item {
    /// Its id.
    session_id: String,
    /// What the user may.
    role: MemberRole,
}

/// The sessions that the user is a member of, by id.
#[utoipa::path(get, path = "/sessions", params(Wanted), responses((status = 200, body = inline(Page<Item>))))]
async fn list(
    State(api): State<Api>,
    caller: Caller,
    Query(wanted): Query<Wanted>,
) -> Result<axum::Json<Page<Item>>, Problem> {
    let (after, limit) = (wanted.after()?, wanted.limit()?);
    let prefix = membership::of_user(&caller.user);
    let after = after.map(|after| [&prefix[..], after.as_bytes()].concat());
    let (hub, now, of) = (Arc::clone(&api.hub), (api.clock)(), prefix.clone());
    // One more than are shown says whether there are more.
    let rows = off_shard(move || hub.engine().scan(Table::Membership, &of, after.as_deref(), limit + 1, now.wall_ms));
    let rows = rows.await?.map_err(|error| Fault::unreadable(&error))?;
    let mut items = Vec::with_capacity(rows.len());
    for (key, row) in rows {
        let found = membership::session_of(&prefix, &key).zip(membership::Membership::read(row).ok());
        let Some((session, membership)) = found else {
            tracing::error!(?key, "a membership cannot be read");
            return Err(Problem::new(ErrorCode::Internal, "a membership cannot be read"));
        };
        items.push(Item { session_id: session.to_owned(), role: membership.role.into() });
    }
    Ok(axum::Json(Page::of(items, limit, |item| &item.session_id, |item| item)))
}

/// A session. (Described here, written by `hub/view.rs`.)
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
    #[schema(value_type = serde_json::Value)]
    state: Box<RawValue>,
    /// The device that is active; `null`: none is.
    active_device_id: Option<String>,
    /// Its policies.
    policy: Policy,
}

/// A session's document.
#[utoipa::path(
    get,
    path = "/sessions/{id}",
    responses(
        (status = 200, body = Session, headers(("ETag" = String))),
        (status = 304, description = "`If-None-Match` names the current version."),
        (status = 404, body = Problem, description = "No such session, or none that the caller may see."),
    ),
    params(
        ("id" = String, Path, description = "The session's id."),
        ("If-None-Match" = Option<String>, Header, description = "Entity tags, or `*`."),
    ),
)]
async fn read(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    conditions: Conditions,
) -> Result<Response, Problem> {
    let session = find(&api, &caller, &id, Operation::Get).await?;
    let view = match api.hub.view(&session, &caller, |at| conditions.none_match(at))? {
        Shown::Ready(view) => view,
        Shown::Same(at) => return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag::of(&at))]).into_response()),
        Shown::Large(large) => {
            let hub = Arc::clone(&api.hub);
            off_shard(move || hub.render(large)).await?
        }
    };
    let mut response = Response::new(view.body.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(header::ETAG, view.tag);
    Ok(response)
}

/// A document that takes the place of a session's.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(example = json!({"state": {"list": ["bread", "milk"]}}))]
struct Replacement {
    /// The document: any JSON value.
    #[schema(value_type = serde_json::Value)]
    state: Box<RawValue>,
}

/// Where a session stands after a change.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Changed {
    /// The version that the change made, or found when it changed nothing.
    version: u64,
}

/// Replaces a session's document. Everybody else is told what differs.
#[utoipa::path(
    put,
    path = "/sessions/{id}",
    params(
        ("id" = String, Path, description = "The session's id."),
        ("If-Match" = Option<String>, Header, description = "Entity tags; the document must stand at one of them."),
        ("Idempotency-Key" = Option<String>, Header, description = "A resend has no further effect."),
    ),
    request_body = inline(Replacement),
    responses(
        (status = 200, body = inline(Changed), headers(("ETag" = String))),
        (status = 403, body = Problem, description = "The caller's role does not allow it."),
        (status = 404, body = Problem, description = "No such session, or none that the caller may see."),
        (status = 409, body = Problem, description = "Another device is active."),
        (status = 412, body = Problem, description = "`If-Match` names no current version."),
        (status = 422, body = Problem, description = "The document is too large; or the key was used for another request."),
    ),
)]
async fn replace(
    State(api): State<Api>,
    caller: Caller,
    key: IdempotencyKey,
    Path(id): Path<String>,
    conditions: Conditions,
    Json(Replacement { state }): Json<Replacement>,
) -> Result<Response, Problem> {
    let session = find(&api, &caller, &id, Operation::Update).await?;
    let base = conditions.base()?;
    let text = Bytes::from(<Box<str>>::from(state).into_string());
    let keyed = key.keyed(&caller, &format!("PUT sessions/{id}"), &[conditions.text(), &text]);
    let value = document(&api, text).await?;
    change(&api, &caller, &session, keyed, Some(Target::Whole(value)), Bytes::new(), base).await
}

/// Changes a session's document, by a JSON Patch (RFC 6902) or a JSON Merge Patch (RFC 7396). All of it or nothing.
#[utoipa::path(
    patch,
    path = "/sessions/{id}",
    params(
        ("id" = String, Path, description = "The session's id."),
        ("If-Match" = Option<String>, Header, description = "Entity tags; the document must stand at one of them."),
        ("Idempotency-Key" = Option<String>, Header, description = "A resend has no further effect."),
    ),
    request_body(content(
        (Vec<serde_json::Value> = "application/json-patch+json", example = json!([{"op": "add", "path": "/list/-", "value": "milk"}])),
        (serde_json::Value = "application/merge-patch+json", example = json!({"title": "for Sunday"})),
    )),
    responses(
        (status = 200, body = inline(Changed), headers(("ETag" = String))),
        (status = 400, body = Problem, description = "It is no patch."),
        (status = 403, body = Problem, description = "The caller's role does not allow it."),
        (status = 404, body = Problem, description = "No such session, or none that the caller may see."),
        (status = 409, body = Problem, description = "A `test` failed; or another device is active."),
        (status = 412, body = Problem, description = "`If-Match` names no current version."),
        (status = 415, body = Problem, description = "It is of neither type."),
        (status = 422, body = Problem, description = "A path cannot be followed; the document would be too large; or the key was used for another request."),
    ),
)]
async fn patch(
    State(api): State<Api>,
    caller: Caller,
    key: IdempotencyKey,
    Path(id): Path<String>,
    conditions: Conditions,
    body: Raw,
) -> Result<Response, Problem> {
    let session = find(&api, &caller, &id, Operation::Update).await?;
    let base = conditions.base()?;
    let asked = [conditions.text(), body.media_type.as_bytes(), &body.bytes];
    let keyed = key.keyed(&caller, &format!("PATCH sessions/{id}"), &asked);
    match &*body.media_type {
        JSON_PATCH => change(&api, &caller, &session, keyed, None, body.bytes, base).await,
        MERGE_PATCH => {
            let target = Target::Merge(document(&api, body.bytes).await?);
            change(&api, &caller, &session, keyed, Some(target), Bytes::new(), base).await
        }
        _ => {
            let accepted = HeaderValue::from_static("application/json-patch+json, application/merge-patch+json");
            let problem = body.unsupported("application/json-patch+json or application/merge-patch+json");
            Ok(([(header::HeaderName::from_static("accept-patch"), accepted)], problem).into_response())
        }
    }
}

/// Reads a document, off the shard when it is large.
pub(super) async fn document(api: &Api, text: Bytes) -> Result<Value, Problem> {
    let limits = *api.hub.limits();
    let read = move |text: &[u8], limits: &Limits| {
        Value::parse(text, limits).map_err(|invalid| Fault::new(work::invalid_code(&invalid), invalid.to_string()))
    };
    if text.len() <= defaults::ON_SHARD_BYTES {
        return Ok(read(&text, &limits)?);
    }
    Ok(off_shard(move || read(&text, &limits)).await??)
}

/// Changes a document; the answer, once that is durable.
pub(super) async fn change(
    api: &Api,
    caller: &Caller,
    session: &Arc<hub::Session>,
    keyed: Option<Keyed>,
    target: Option<Target>,
    operations: Bytes,
    base: Base,
) -> Result<Response, Problem> {
    let update = Update {
        session: session.id.as_ref().into(),
        operations,
        durability: Durability::Durable,
        ..Update::default()
    };
    let op = Op { update, keyed, target, base, tag: 0 };
    match api.hub.ask_update(session, caller, &op, api.clock).await? {
        Updated::Accepted(accepted) => {
            let body = Changed { version: accepted.at.version };
            Ok(([(header::ETAG, etag::of(&accepted.at))], axum::Json(body)).into_response())
        }
        Updated::Conflict(conflict) => {
            let paths = conflict.paths.iter().map(|path| &**path).collect::<Vec<_>>().join(", ");
            Err(Problem::new(ErrorCode::Conflict, format!("others have changed it at the same place: {paths}")))
        }
    }
}

/// Deletes a session. Its subscribers are told, and its id is free again.
#[utoipa::path(
    delete,
    path = "/sessions/{id}",
    params(("id" = String, Path, description = "The session's id.")),
    responses(
        (status = 204),
        (status = 403, body = Problem, description = "The caller's role does not allow it."),
        (status = 404, body = Problem, description = "No such session, or none that the caller may see."),
    ),
)]
async fn delete(State(api): State<Api>, caller: Caller, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    let session = find(&api, &caller, &id, Operation::Delete).await?;
    let born = api.hub.look(&session, &caller, Operation::Delete, |meta| meta.born)?;
    // What is made of it while this goes on expires by itself, and belongs to no session of this id that is made later.
    let writes = api.snapshots.removal(&Scope::new(&id, born)).await?;
    let now = (api.clock)();
    api.hub.caught_up(api.clock).await?;
    api.hub.ask_delete(&session, &caller, now, writes).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn invalid_id() -> Problem {
    Problem::new(
        ErrorCode::InvalidSessionId,
        "a session id is 1 to 128 of A-Z a-z 0-9 . _ ~ : @ - and neither . nor ..",
    )
}

/// The session that a route addresses, for a caller who may do `operation`: in memory, or read from the store off the
/// shard. Whoever may not see it gets what they would get if it did not exist.
pub(super) async fn find(
    api: &Api,
    caller: &Caller,
    id: &str,
    operation: Operation,
) -> Result<Arc<hub::Session>, Problem> {
    let session = match api.hub.find(id) {
        Some(session) => session,
        None if !syncbridge_codec::id::is_session(id) => return Err(invalid_id()),
        None => {
            let load = || {
                let (hub, who, name, now) = (Arc::clone(&api.hub), caller.clone(), id.to_owned(), (api.clock)());
                off_shard(move || hub.load_or_open(&name, &who, operation, now))
            };
            let found = match load().await? {
                // It would have been made, and nothing is while the disk is behind.
                Err(Fault { code: ErrorCode::Busy, .. }) => {
                    api.hub.caught_up(api.clock).await?;
                    load().await?
                }
                found => found,
            };
            found?.ok_or_else(|| Fault::not_found(id))?
        }
    };
    api.hub.look(&session, caller, operation, |_| ())?;
    Ok(session)
}
