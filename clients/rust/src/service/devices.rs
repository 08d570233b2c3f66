//! The user's devices.

use serde::Deserialize;
use syncbridge_codec::message::Method;

use super::{
    Page, Paging,
    call::{Call, segment},
};
use crate::{client::Client, error::Error};

/// See [`Client::devices`].
#[derive(Debug, Clone, Copy)]
pub struct Devices<'a> {
    pub(crate) client: &'a Client,
}

/// A device of the user.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Device {
    /// Its id, unique among the user's devices.
    #[serde(rename = "deviceId")]
    pub id: String,
    /// What a person calls it; may be empty.
    pub name: String,
    /// What it runs on, as it says itself; may be empty.
    pub platform: String,
    /// When it was registered (RFC 3339, UTC).
    pub created_at: String,
    /// When it last signed in, connected or disconnected (RFC 3339, UTC).
    pub last_seen_at: String,
}

impl Devices<'_> {
    /// The user's devices, by id.
    ///
    /// # Errors
    /// [`Error::Server`], [`Error::SignedOut`].
    pub async fn list(&self, paging: &Paging) -> Result<Page<Device>, Error> {
        Call::new(Method::Get, paging.of("/devices")).read(self.client).await
    }

    /// Registers a device, or says something new of it.
    ///
    /// # Errors
    /// [`Error::Server`] (`invalid_field`, `limit_reached`), [`Error::SignedOut`].
    pub async fn register(&self, id: &str, name: &str, platform: &str) -> Result<Device, Error> {
        let body = serde_json::json!({ "deviceId": id, "name": name, "platform": platform });
        Call::new(Method::Post, "/devices").json(&body)?.repeatable().read(self.client).await
    }

    /// Removes a device. Its tokens, its logins and its connections have ended when this returns.
    ///
    /// # Errors
    /// [`Error::Server`] (`not_found`), [`Error::SignedOut`].
    pub async fn remove(&self, id: &str) -> Result<(), Error> {
        Call::new(Method::Delete, format!("/devices/{}", segment(id))).send(self.client).await.map(drop)
    }
}
