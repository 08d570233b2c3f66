//! A session's way from one device to another. The device that takes it without being signed in does so with
//! [`Account::take_over`](super::Account::take_over).

use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use syncbridge_codec::message::{Method, Position};
use syncbridge_document::Value;

use super::{
    call::{Call, document},
    sessions::route,
};
use crate::{client::Client, error::Error};

/// See [`Client::handoff`].
#[derive(Debug, Clone, Copy)]
pub struct Handoff<'a> {
    pub(crate) client: &'a Client,
    pub(crate) session: &'a str,
}

/// What another device needs to take a session over. Code and token are one use together, and sign in as their maker.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Offer {
    /// For people: case, spaces and hyphens do not count.
    pub code: String,
    /// For links.
    pub token: String,
    /// When both expire (RFC 3339, UTC).
    pub expires_at: String,
    /// The link that the QR code shows.
    pub url: String,
    /// The link as a QR code: an SVG element.
    pub qr_svg: String,
}

impl std::fmt::Debug for Offer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Offer").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

/// A session that moved.
#[derive(Debug, Clone, PartialEq)]
pub struct Moved {
    /// Its id, for [`Client::session`].
    pub session: String,
    /// Where it stood.
    pub at: Position,
    /// The document in that moment.
    pub state: Value,
    /// The device that is active now.
    pub active_device: String,
}

/// The same, as it is answered.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MovedText {
    session_id: String,
    version: u64,
    epoch: u64,
    state: Box<RawValue>,
    active_device_id: String,
}

impl MovedText {
    pub(super) fn moved(self) -> Result<Moved, Error> {
        let Self { session_id, version, epoch, state, active_device_id } = self;
        let at = Position { epoch, version };
        Ok(Moved { session: session_id, at, state: document(&state)?, active_device: active_device_id })
    }
}

impl Handoff<'_> {
    /// Offers the session to another device, for this long: 30 to 900 seconds, 300 without it.
    ///
    /// # Errors
    /// [`Error::Server`] (`not_found`, `forbidden`, `invalid_field`), [`Error::Disconnected`], [`Error::SignedOut`].
    pub async fn offer(&self, lives: Option<Duration>) -> Result<Offer, Error> {
        let body = serde_json::json!({ "ttlSeconds": lives.map(|lives| lives.as_secs()) });
        let path = format!("{}/handoff/code", route(self.session));
        // The link leads back to where the server was reached, unless it knows its name.
        let host = self.client.keep.shared.authority.clone();
        Call::new(Method::Post, path).header("host", host).json(&body)?.read(self.client).await
    }

    /// Makes this client's device the active one, with a code or token that was offered. `from`: the device that is.
    ///
    /// # Errors
    /// [`Error::Server`] (`not_found`, `invalid_request`, `gone`, `handoff_declined`, `rate_limited`),
    /// [`Error::Disconnected`], [`Error::SignedOut`].
    pub async fn take(&self, from: &str, code: &str) -> Result<Moved, Error> {
        let to = self.client.keep.shared.lock().core.config().device.to_string();
        let body = serde_json::json!({ "fromDeviceId": from, "toDeviceId": to, "handoffToken": code });
        let call = Call::new(Method::Post, format!("{}/handoff", route(self.session))).json(&body)?;
        call.read::<MovedText>(self.client).await?.moved()
    }
}
