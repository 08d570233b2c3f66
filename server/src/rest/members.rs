//! Who may do what with a session. A change is in force at once, on live connections too: the session's own rules see it
//! under its lock, then it becomes durable, then whoever was removed is taken off every shard's topics, and only then is
//! the change answered.

use std::sync::Arc;

use axum::{extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};
use syncbridge_codec::{ErrorCode, id, message::Role};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{Api, Caller, Json, Path, Problem, Route, sessions::find};
use crate::{
    auth::{access::Operation, user::Email},
    hub,
};

/// The routes of this file.
pub fn routes() -> Vec<Route> {
    vec![routes!(list, set), routes!(remove)]
}

/// What a member may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MemberRole {
    /// Everything, also to say who may do what, and to delete.
    Owner,
    /// Read, change, hand off, make and restore snapshots.
    Editor,
    /// Read.
    Viewer,
}

impl From<MemberRole> for Role {
    fn from(role: MemberRole) -> Self {
        match role {
            MemberRole::Owner => Self::Owner,
            MemberRole::Editor => Self::Editor,
            MemberRole::Viewer => Self::Viewer,
        }
    }
}

impl From<Role> for MemberRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Owner => Self::Owner,
            Role::Editor => Self::Editor,
            Role::Viewer => Self::Viewer,
        }
    }
}

/// The members of a session.
#[derive(Debug, Serialize, ToSchema)]
struct Members {
    /// They, by user id.
    items: Vec<Member>,
}

/// A member of a session.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct Member {
    /// The user.
    user_id: String,
    /// Their e-mail; `null` for a user without an account.
    email: Option<String>,
    /// What they may.
    role: MemberRole,
}

/// Who is to be a member. One of `email` and `userId` says who.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(example = json!({"email": "ben@example.com", "role": "editor"}))]
struct NewMember {
    /// The user's e-mail.
    email: Option<String>,
    /// The user's id.
    user_id: Option<String>,
    /// What they may.
    role: MemberRole,
}

/// The members of a session.
#[utoipa::path(
    get,
    path = "/sessions/{id}/members",
    params(("id" = String, Path, description = "The session's id.")),
    responses(
        (status = 200, body = inline(Members)),
        (status = 404, body = Problem, description = "No such session, or none that the caller may see."),
    ),
)]
async fn list(State(api): State<Api>, caller: Caller, Path(id): Path<String>) -> Result<axum::Json<Members>, Problem> {
    let session = find(&api, &caller, &id, Operation::ListMembers).await?;
    let members = api.hub.look(&session, &caller, Operation::ListMembers, |meta| {
        meta.members.iter().map(|(user, member)| (Arc::clone(user), member.role)).collect::<Vec<_>>()
    })?;
    let users: Vec<_> = members.iter().map(|(user, _)| Arc::clone(user)).collect();
    let emails = api.accounts.emails(users).await?;
    let items = members.into_iter().zip(emails).map(|((user, role), email)| Member {
        user_id: user.to_string(),
        email: email.map(|email| email.to_string()),
        role: role.into(),
    });
    Ok(axum::Json(Members { items: items.collect() }))
}

/// Makes somebody a member of a session, or changes their role. For owners.
///
/// An e-mail that nobody has an account of is 404, as registering with it would tell too. A user id is taken as it is:
/// one that nobody has does nothing.
#[utoipa::path(
    put,
    path = "/sessions/{id}/members",
    params(("id" = String, Path, description = "The session's id.")),
    request_body = inline(NewMember),
    responses(
        (status = 200, body = inline(Member)),
        (status = 403, body = Problem, description = "The caller is no owner."),
        (status = 404, body = Problem, description = "No such session, or none that the caller may see; or nobody has that e-mail."),
        (status = 409, body = Problem, description = "The last owner stays one."),
        (status = 429, body = Problem, description = "The session has too many members."),
    ),
)]
async fn set(
    State(api): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
    Json(new): Json<NewMember>,
) -> Result<axum::Json<Member>, Problem> {
    let session = find(&api, &caller, &id, Operation::SetMember).await?;
    let user = match (new.email, new.user_id) {
        (None, Some(user)) if id::is_device(&user) => api.accounts.user(&user.into()).await?,
        (None, Some(_)) => return Err(Problem::new(ErrorCode::InvalidRequest, "`userId` is no user's id")),
        (Some(email), None) => {
            let nobody = || Problem::new(ErrorCode::NotFound, "nobody has an account with this e-mail");
            let email = Email::parse(&email).ok_or_else(nobody)?;
            api.accounts.by_email(&email).await?.ok_or_else(nobody)?
        }
        _ => return Err(Problem::new(ErrorCode::InvalidRequest, "one of `email` and `userId` says who")),
    };
    let role = Role::from(new.role);
    api.hub.caught_up(api.clock).await?;
    api.hub.set_member(&session, &caller, hub::Who::Other(Arc::clone(&user.id)), Some(role), (api.clock)()).await?;
    let email = user.email.map(|email| email.to_string());
    Ok(axum::Json(Member { user_id: user.id.to_string(), email, role: new.role }))
}

/// Ends somebody's membership: an owner anybody's, everybody their own.
#[utoipa::path(
    delete,
    path = "/sessions/{id}/members/{userId}",
    params(
        ("id" = String, Path, description = "The session's id."),
        ("userId" = String, Path, description = "The user's id."),
    ),
    responses(
        (status = 204),
        (status = 403, body = Problem, description = "The caller is no owner, and it is somebody else's."),
        (status = 404, body = Problem, description = "No such session, or none that the caller may see; or no such member."),
        (status = 409, body = Problem, description = "The last owner stays."),
    ),
)]
async fn remove(
    State(api): State<Api>,
    caller: Caller,
    Path((id, user)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let (whose, operation) = if *user == *caller.user {
        (hub::Who::Oneself, Operation::Leave)
    } else {
        (hub::Who::Other(user.into()), Operation::SetMember)
    };
    let session = find(&api, &caller, &id, operation).await?;
    api.hub.caught_up(api.clock).await?;
    api.hub.set_member(&session, &caller, whose, None, (api.clock)()).await?;
    Ok(StatusCode::NO_CONTENT)
}
