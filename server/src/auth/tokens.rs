//! What somebody gets who is let in: an access token, a refresh token, and who they are. One shape for every way of
//! signing in.

use std::sync::Arc;

use parking_lot::Mutex;
use serde::Serialize;
use utoipa::ToSchema;

use super::{family::FamilyId, turns::Turn, user::User};

/// Tokens, as they are answered.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tokens {
    /// The access token: a JWT for `Authorization: Bearer …`, `Hello` and `auth`.
    #[serde(rename = "accessToken")]
    pub access: String,
    /// The refresh token, opaque; whoever has it can sign in, so it is kept where passwords are.
    #[serde(rename = "refreshToken")]
    pub refresh: String,
    /// `Bearer`.
    pub token_type: &'static str,
    /// Seconds until the access token ends.
    pub expires_in: u64,
    /// Who was let in.
    pub user: Person,
    /// The device that they are made for.
    #[serde(rename = "deviceId", skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// The login that they came of.
    #[serde(skip)]
    pub(super) family: FamilyId,
    /// The logins that end with this one, and until when that has to be remembered (Unix seconds).
    #[serde(skip)]
    pub(super) ended: Vec<(FamilyId, u64)>,
    /// The user's turn, while what this login ends is not seen to.
    #[serde(skip)]
    pub(super) turn: Mutex<Option<Turn>>,
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Person {
    /// The user's id.
    pub user_id: String,
    /// The same, for clients that look for it here.
    pub id: String,
    /// The e-mail address in lower case; absent for users without an account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// What they are called.
    pub name: String,
}

impl From<&User> for Person {
    fn from(user: &User) -> Self {
        let text = |text: &Arc<str>| text.to_string();
        Self {
            user_id: text(&user.id),
            id: text(&user.id),
            email: user.email.as_ref().map(text),
            name: text(&user.name),
        }
    }
}

impl Tokens {
    /// The login that they came of.
    pub const fn family(&self) -> FamilyId {
        self.family
    }
}
