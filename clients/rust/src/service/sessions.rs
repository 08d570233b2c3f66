//! Sessions as wholes, without a subscription: every change is answered once it is durable. (What is live is
//! [`Client::session`]; one is made by [`Client::create`] and read once by [`Client::get`].)

use serde::{Deserialize, Serialize};
use syncbridge_codec::message::{Method, Position, Role, Transport};
use syncbridge_document::{Patch, Value};

use super::{
    Page, Paging,
    call::{Call, RoleName, place, segment},
};
use crate::{client::Client, error::Error};

/// See [`Client::sessions`].
#[derive(Debug, Clone, Copy)]
pub struct Sessions<'a> {
    pub(crate) client: &'a Client,
}

/// A session of a list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Listed {
    /// Its id.
    #[serde(rename = "sessionId")]
    pub id: String,
    /// What the user may.
    #[serde(with = "RoleName")]
    pub role: Role,
}

/// A device that is attached to a session.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PresentDevice {
    /// Its id.
    pub device_id: String,
    /// Its user.
    pub user_id: String,
    /// Whether it is there.
    pub presence: Presence,
    /// What it is, or was, connected by.
    #[serde(with = "TransportName")]
    pub transport: Transport,
    /// When it was last heard of (RFC 3339, UTC).
    pub last_seen_at: String,
    /// Whether it is the active one.
    pub active: bool,
}

/// Whether a device is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Presence {
    /// It is connected.
    Online,
    /// Its connection went a moment ago, and it may come back unnoticed.
    Away,
}

/// A transport's name in REST.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase", remote = "Transport")]
enum TransportName {
    Quic,
    WebSocket,
    Json,
    WebTransport,
    Memory,
}

impl Sessions<'_> {
    /// The sessions that the user is a member of, by id.
    ///
    /// # Errors
    /// [`Error::Server`], [`Error::SignedOut`].
    pub async fn list(&self, paging: &Paging) -> Result<Page<Listed>, Error> {
        Call::new(Method::Get, paging.of("/sessions")).read(self.client).await
    }

    /// Replaces a document; everybody else is told what differs. `if_at`: only if it stands there.
    ///
    /// # Errors
    /// [`Error::Server`] (`precondition_failed`, `not_found`, `forbidden`, `not_active`, `document_too_large`),
    /// [`Error::Json`], [`Error::SignedOut`].
    pub async fn put<T: Serialize>(&self, id: &str, state: &T, if_at: Option<&Position>) -> Result<Position, Error> {
        let state = Value::from_serialize(state).map_err(|error| Error::Json(error.to_string()))?;
        let mut body = br#"{"state":"#.to_vec();
        state.write_json(&mut body);
        body.push(b'}');
        self.change(Method::Put, id, "application/json", body, if_at).await
    }

    /// Changes a document by a JSON Patch (RFC 6902): all of it or nothing.
    ///
    /// # Errors
    /// [`Error::Server`], as [`Sessions::put`] and `test_failed`, `path_not_found`.
    pub async fn patch(&self, id: &str, patch: &Patch, if_at: Option<&Position>) -> Result<Position, Error> {
        self.change(Method::Patch, id, "application/json-patch+json", patch.to_json(), if_at).await
    }

    /// Changes a document by a JSON Merge Patch (RFC 7396).
    ///
    /// # Errors
    /// As [`Sessions::put`].
    pub async fn merge<T: Serialize>(&self, id: &str, patch: &T, if_at: Option<&Position>) -> Result<Position, Error> {
        let patch = Value::from_serialize(patch).map_err(|error| Error::Json(error.to_string()))?;
        self.change(Method::Patch, id, "application/merge-patch+json", patch.to_json(), if_at).await
    }

    /// Deletes a session. Its subscribers are told, and its id is free again.
    ///
    /// # Errors
    /// [`Error::Server`] (`not_found`, `forbidden`), [`Error::SignedOut`].
    pub async fn delete(&self, id: &str) -> Result<(), Error> {
        Call::new(Method::Delete, route(id)).send(self.client).await.map(drop)
    }

    /// The devices that are attached to a session, by user and device.
    ///
    /// # Errors
    /// [`Error::Server`] (`not_found`), [`Error::SignedOut`].
    pub async fn devices(&self, id: &str, paging: &Paging) -> Result<Page<PresentDevice>, Error> {
        Call::new(Method::Get, paging.of(&format!("{}/devices", route(id)))).read(self.client).await
    }

    async fn change(
        &self,
        method: Method,
        id: &str,
        media_type: &'static str,
        body: Vec<u8>,
        if_at: Option<&Position>,
    ) -> Result<Position, Error> {
        let call = Call::new(method, route(id)).once()?.if_match(if_at).body(media_type, body);
        place(&call.send(self.client).await?)
    }
}

/// The route of a session.
pub(super) fn route(id: &str) -> String {
    format!("/sessions/{}", segment(id))
}
