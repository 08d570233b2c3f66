//! Who may do what with a session. A change counts at once, on live connections too.

use serde::Deserialize;
use syncbridge_codec::message::{Method, Role};

use super::{
    call::{Call, RoleName, segment},
    sessions::route,
};
use crate::{client::Client, error::Error};

/// See [`Client::members`].
#[derive(Debug, Clone, Copy)]
pub struct Members<'a> {
    pub(crate) client: &'a Client,
    pub(crate) session: &'a str,
}

/// A member of a session.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// The user.
    pub user_id: String,
    /// Their e-mail; `None` for a user without an account.
    pub email: Option<String>,
    /// What they may.
    #[serde(with = "RoleName")]
    pub role: Role,
}

#[derive(Deserialize)]
struct Items {
    items: Vec<Member>,
}

impl Members<'_> {
    /// All of them, by user id.
    ///
    /// # Errors
    /// [`Error::Server`] (`not_found`), [`Error::SignedOut`].
    pub async fn list(&self) -> Result<Vec<Member>, Error> {
        Ok(Call::new(Method::Get, self.route()).read::<Items>(self.client).await?.items)
    }

    /// Makes somebody a member, or changes their role. For owners.
    ///
    /// # Errors
    /// [`Error::Server`] (`not_found`: no such session, or nobody has this e-mail; `forbidden`, `last_owner`),
    /// [`Error::SignedOut`].
    pub async fn set(&self, email: &str, role: Role) -> Result<Member, Error> {
        let role = match role {
            Role::Viewer => "viewer",
            Role::Editor => "editor",
            Role::Owner => "owner",
        };
        let body = serde_json::json!({ "email": email, "role": role });
        Call::new(Method::Put, self.route()).json(&body)?.read(self.client).await
    }

    /// Ends somebody's membership: an owner anybody's, everybody their own.
    ///
    /// # Errors
    /// [`Error::Server`] (`not_found`, `forbidden`, `last_owner`), [`Error::SignedOut`].
    pub async fn remove(&self, user_id: &str) -> Result<(), Error> {
        let path = format!("{}/{}", self.route(), segment(user_id));
        Call::new(Method::Delete, path).send(self.client).await.map(drop)
    }

    fn route(&self) -> String {
        format!("{}/members", route(self.session))
    }
}
