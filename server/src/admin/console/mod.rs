//! What the operators' console asks: figures of this moment, connections and sessions, and what may be done about them.
//! Everybody who reaches the admin listener may look; to act takes the token of `console.token_file`. Never shows a
//! document or a token.

mod figures;

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::{Path, Query, Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use syncbridge_codec::{ErrorCode, message::ScopeKind};
use tokio::sync::Notify;

use super::{Shown, metrics::Label as _};
use crate::{
    defaults::{CONSOLE_ROWS, PROFILE_SECONDS, PROFILE_USUAL_SECONDS, SURVEY_WAIT},
    hub::{
        Hub,
        survey::{Described, ShardSurvey, Wanted},
    },
    pages,
    profile::{Format, Profile, Sampling},
    rest::bearer,
    session::ConnId,
};

/// What the console works on.
pub struct Console {
    /// Figures.
    pub shown: Shown,
    /// Connections and sessions.
    pub hub: Arc<Hub>,
    /// What is told of the server itself: its name, where it listens, what it stores in.
    pub about: Value,
    /// SHA-256 of the token that lets act; without one nobody may.
    pub token: Option<[u8; 32]>,
    /// Told when somebody wants the server to go down.
    pub drain: Arc<Notify>,
}

impl Console {
    /// What [`Console::token`] is of a token.
    pub fn digest(token: &str) -> [u8; 32] {
        Sha256::digest(token).into()
    }

    fn may_act(&self, headers: &HeaderMap) -> Result<(), Refused> {
        let Some(expected) = self.token else {
            return Err(Refused(
                StatusCode::FORBIDDEN,
                "this console only shows: set `console.token_file` to let it act",
            ));
        };
        // Digests are compared, so how long it takes says nothing of the token.
        match bearer(headers) {
            Some(Ok(token)) if Self::digest(token) == expected => Ok(()),
            _ => Err(Refused(StatusCode::UNAUTHORIZED, "this takes the token of `console.token_file`")),
        }
    }
}

type Shared = Arc<Console>;

/// A request that is not answered.
#[derive(Debug)]
struct Refused(StatusCode, &'static str);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        (self.0, Json(json!({"error": self.1}))).into_response()
    }
}

/// The routes.
pub fn routes(console: Console) -> Router {
    let console = Arc::new(console);
    let acting = Router::new()
        .route("/api/connections/{id}/disconnect", post(disconnect))
        .route("/api/drain", post(drain))
        .route("/api/profile", post(take_stacks))
        .route("/debug/pprof/profile", get(take_file))
        .layer(middleware::from_fn_with_state(Arc::clone(&console), only_with_token));
    Router::new()
        .route("/api/overview", get(overview))
        .route("/api/connections", get(connections))
        .route("/api/sessions", get(sessions))
        .merge(acting)
        .with_state(console)
        .merge(pages::routes(pages::For::Operators, None).0)
}

async fn only_with_token(State(console): State<Shared>, request: Request, next: Next) -> Result<Response, Refused> {
    console.may_act(request.headers())?;
    Ok(next.run(request).await)
}

/// Figures are of one moment: nobody keeps them.
fn of_now(value: Value) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(value)).into_response()
}

async fn overview(State(console): State<Shared>) -> Response {
    of_now(figures::all(&console))
}

/// What is searched for, and how much of it is wanted.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Search {
    search: String,
    limit: Option<usize>,
}

impl Search {
    fn limit(&self) -> usize {
        self.limit.unwrap_or(CONSOLE_ROWS).clamp(1, CONSOLE_ROWS)
    }
}

async fn connections(State(console): State<Shared>, Query(search): Query<Search>) -> Result<Response, Refused> {
    let limit = search.limit();
    let survey = console.hub.survey(Wanted { text: search.search, limit });
    let found = tokio::time::timeout(SURVEY_WAIT, survey).await.ok().flatten();
    let busy = Refused(StatusCode::SERVICE_UNAVAILABLE, "the shards do not answer: they are busy, or gone");
    let shards = found.ok_or(busy)?;
    let mut rows: Vec<&Described> = shards.iter().flat_map(|shard| &shard.connections).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.trouble()));
    rows.truncate(limit);
    let rows: Vec<Value> = rows.into_iter().map(row).collect();
    let matching: usize = shards.iter().map(|shard| shard.matching).sum();
    let counts: Vec<Value> = counts(&shards);
    let by_shard: Vec<Value> = shards
        .iter()
        .map(|shard| {
            json!({
                "shard": shard.shard,
                "connections": shard.counts.iter().map(|(_, _, count)| count).sum::<usize>(),
                "blocked": shard.blocked,
                "behind": shard.behind,
                "inbox": shard.inbox,
                "ringBytes": shard.ring_bytes,
                "cutBytes": shard.cut_bytes,
            })
        })
        .collect();
    Ok(of_now(json!({"matching": matching, "counts": counts, "shards": by_shard, "connections": rows})))
}

fn counts(shards: &[ShardSurvey]) -> Vec<Value> {
    let mut all: Vec<((_, ScopeKind), usize)> = Vec::new();
    for (transport, scope, count) in shards.iter().flat_map(|shard| &shard.counts) {
        match all.iter_mut().find(|(kind, _)| *kind == (*transport, *scope)) {
            Some((_, sum)) => *sum += count,
            None => all.push(((*transport, *scope), *count)),
        }
    }
    let count = |((transport, scope), count): ((syncbridge_codec::message::Transport, _), usize)| json!({"transport": transport.label(), "scope": scope_name(scope), "count": count});
    all.into_iter().map(count).collect()
}

const fn scope_name(scope: ScopeKind) -> &'static str {
    match scope {
        ScopeKind::User => "user",
        ScopeKind::Session => "session",
        ScopeKind::Machine => "machine",
    }
}

fn row(described: &Described) -> Value {
    let path = described.path;
    json!({
        // Larger than the integers that JSON's readers agree on.
        "id": format!("{:x}", described.id.0),
        "transport": described.transport.label(),
        "scope": scope_name(described.scope),
        "user": &*described.user,
        "device": &*described.device,
        "peer": described.peer.to_string(),
        "sessions": described.sessions.iter().map(|id| &**id).collect::<Vec<_>>(),
        "lagEvents": described.lag_events,
        "lagBytes": described.lag_bytes,
        "waitingBytes": described.waiting_bytes,
        "blocked": described.blocked,
        "catchingUp": described.catching_up,
        "busy": described.busy,
        "rttMs": path.rtt.map(|rtt| rtt.as_secs_f64() * 1e3),
        "sent": path.sent,
        "lost": path.lost,
        "socketBytes": path.unsent_bytes,
        "why": why(described),
    })
}

/// Why a client is slow, the most telling first. Empty: it is not.
fn why(described: &Described) -> Vec<&'static str> {
    let path = described.path;
    let loss = path.lost * 100 >= path.sent && path.lost >= 3;
    let far = path.rtt.is_some_and(|rtt| rtt >= Duration::from_millis(300));
    let reasons = [
        (described.blocked && !loss, "it does not read: its socket takes nothing"),
        (described.blocked && loss, "its network loses packets: its socket takes nothing"),
        (!described.blocked && loss, "its network loses packets"),
        (far, "it is far away: its round trip takes long"),
        (described.catching_up, "it catches up from the store"),
        (described.busy && described.waiting_bytes == 0, "what it asked for is being done"),
        (described.lag_events > 0, "it has not taken events"),
        (described.waiting_bytes > 0, "it has not taken answers"),
    ];
    reasons.into_iter().filter_map(|(holds, reason)| holds.then_some(reason)).collect()
}

async fn sessions(State(console): State<Shared>, Query(search): Query<Search>) -> Result<Response, Refused> {
    let limit = search.limit();
    let hub = Arc::clone(&console.hub);
    // All sessions are looked at: not on the thread that answers probes.
    let found = tokio::task::spawn_blocking(move || hub.survey_sessions(&search.search, limit)).await;
    let (matching, rows) = found.map_err(|error| {
        tracing::error!(%error, "the sessions could not be looked over");
        Refused(StatusCode::INTERNAL_SERVER_ERROR, "the sessions could not be looked over")
    })?;
    let rows: Vec<Value> = rows
        .into_iter()
        .map(|session| {
            json!({
                "id": &*session.id,
                "version": session.version,
                "epoch": session.epoch.to_string(),
                "bytes": session.bytes,
                "subscribers": session.subscribers,
                "usedMs": session.used_ms,
            })
        })
        .collect();
    Ok(of_now(json!({"matching": matching, "sessions": rows})))
}

async fn disconnect(State(console): State<Shared>, Path(id): Path<String>) -> Result<Response, Refused> {
    let id = u64::from_str_radix(&id, 16)
        .map_err(|_| Refused(StatusCode::BAD_REQUEST, "a connection's id is hexadecimal"))?;
    tracing::info!(connection = format!("{id:x}"), "an operator ends a connection");
    console.hub.disconnect(ConnId(id), ErrorCode::Replaced, "an operator ended the connection");
    Ok(StatusCode::ACCEPTED.into_response())
}

async fn drain(State(console): State<Shared>) -> StatusCode {
    tracing::info!("an operator wants the server to go down");
    console.drain.notify_one();
    StatusCode::ACCEPTED
}

/// How long a profile is taken, and as what it is wanted.
#[derive(Debug, Deserialize)]
struct Asked {
    seconds: Option<u64>,
    format: Option<String>,
}

impl Asked {
    /// Takes a profile and makes something of it, off the thread that answers probes.
    async fn take<T: Send + 'static>(
        &self,
        make: impl FnOnce(&Profile, Duration) -> Result<T, pprof::Error> + Send + 'static,
    ) -> Result<T, Refused> {
        let long = Duration::from_secs(self.seconds.unwrap_or(PROFILE_USUAL_SECONDS).clamp(1, PROFILE_SECONDS));
        let taken = async {
            let sampling = Sampling::begin()?;
            tokio::time::sleep(long).await;
            let done = tokio::task::spawn_blocking(move || make(&sampling.end()?, long)).await;
            done.map_err(|error| pprof::Error::IoError(std::io::Error::other(error)))?
        };
        taken.await.map_err(|error| {
            tracing::warn!(%error, "no profile");
            Refused(StatusCode::CONFLICT, "no profile: another one is being taken, or the system does not allow it")
        })
    }
}

/// For the page, which draws it.
async fn take_stacks(Query(asked): Query<Asked>) -> Result<Response, Refused> {
    asked.take(|profile, long| Ok(profile.json(long))).await.map(of_now)
}

/// For tools: where Go's servers have it, so that what reads theirs reads ours.
async fn take_file(Query(asked): Query<Asked>) -> Result<Response, Refused> {
    let wanted = Refused(StatusCode::BAD_REQUEST, "`format` is pprof or svg");
    let format = asked.format.as_deref().map_or(Some(Format::Pprof), Format::named).ok_or(wanted)?;
    let kind = match format {
        Format::Pprof => "application/octet-stream",
        Format::Svg => "image/svg+xml",
    };
    let file = asked.take(move |profile, _| profile.file(format)).await?;
    Ok(([(header::CACHE_CONTROL, "no-store"), (header::CONTENT_TYPE, kind)], file).into_response())
}
