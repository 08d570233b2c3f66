//! A session's documents that were kept, and the way back to one.

use serde::Deserialize;
use serde_json::value::RawValue;
use syncbridge_codec::message::{Method, Position};
use syncbridge_document::Value;

use super::{
    Page, Paging,
    call::{Call, document, place, segment},
    sessions::route,
};
use crate::{client::Client, error::Error};

/// See [`Client::snapshots`].
#[derive(Debug, Clone, Copy)]
pub struct Snapshots<'a> {
    pub(crate) client: &'a Client,
    pub(crate) session: &'a str,
}

/// What is to be kept. The default: the document as it is, without a label.
#[derive(Debug, Clone, Default)]
pub struct NewSnapshot {
    /// What it is called: one line, at most 256 bytes. One with a label does not give way to newer ones.
    pub label: Option<String>,
    /// What to keep in place of the session's document.
    pub state: Option<Value>,
}

/// A snapshot that was made.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    /// Its id.
    #[serde(rename = "snapshotId")]
    pub id: String,
    /// The version that the session had.
    pub version: u64,
    /// RFC 3339, UTC.
    pub created_at: String,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// Its id.
    #[serde(rename = "snapshotId")]
    pub id: String,
    /// The version that the session had.
    pub version: u64,
    /// RFC 3339, UTC.
    pub created_at: String,
    /// When it goes; RFC 3339, UTC.
    pub expires_at: String,
    /// Bytes of its state as JSON text.
    pub size: u64,
    /// What it is called.
    pub label: Option<String>,
    /// Who made it.
    pub user_id: String,
    /// On which device.
    pub device_id: Option<String>,
}

#[derive(Deserialize)]
struct State {
    state: Box<RawValue>,
}

impl Snapshots<'_> {
    /// Keeps the session's document, or what is given.
    ///
    /// # Errors
    /// [`Error::Server`] (`not_found`, `forbidden`, `invalid_field`), [`Error::SignedOut`].
    pub async fn make(&self, new: &NewSnapshot) -> Result<Kept, Error> {
        let mut body = b"{".to_vec();
        if let Some(state) = &new.state {
            body.extend_from_slice(br#""state":"#);
            state.write_json(&mut body);
            body.push(b',');
        }
        let label = serde_json::json!({ "label": new.label });
        body.extend_from_slice(format!(r#""metadata":{label}}}"#).as_bytes());
        let call = Call::new(Method::Post, format!("{}/snapshot", route(self.session))).once()?;
        call.body("application/json", body).read(self.client).await
    }

    /// Those there are.
    ///
    /// # Errors
    /// [`Error::Server`] (`not_found`), [`Error::SignedOut`].
    pub async fn list(&self, paging: &Paging) -> Result<Page<Snapshot>, Error> {
        Call::new(Method::Get, paging.of(&format!("{}/snapshots", route(self.session)))).read(self.client).await
    }

    /// One of them, and what it holds.
    ///
    /// # Errors
    /// [`Error::Server`] (`not_found`), [`Error::SignedOut`].
    pub async fn get(&self, id: &str) -> Result<(Snapshot, Value), Error> {
        let response = Call::new(Method::Get, self.route(id)).send(self.client).await?;
        let State { state } = super::call::read(&response)?;
        Ok((super::call::read(&response)?, document(&state)?))
    }

    /// Makes the session's document what a snapshot holds; everybody gets the difference, as with any other change.
    ///
    /// # Errors
    /// [`Error::Server`] (`not_found`, `forbidden`, `not_active`), [`Error::SignedOut`].
    pub async fn restore(&self, id: &str) -> Result<Position, Error> {
        let call = Call::new(Method::Post, format!("{}/restore", self.route(id))).once()?;
        place(&call.send(self.client).await?)
    }

    /// Removes one.
    ///
    /// # Errors
    /// [`Error::Server`] (`not_found`, `forbidden`), [`Error::SignedOut`].
    pub async fn remove(&self, id: &str) -> Result<(), Error> {
        Call::new(Method::Delete, self.route(id)).send(self.client).await.map(drop)
    }

    fn route(&self, id: &str) -> String {
        format!("{}/snapshots/{}", route(self.session), segment(id))
    }
}
