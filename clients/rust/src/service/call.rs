//! One request: what it is made of, and what is made of its answer.

use bytes::Bytes;
use bytestring::ByteString;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use syncbridge_codec::message::{Header, Method, Position, Role};
use syncbridge_document::{Limits, Value};

use crate::{
    client::{Client, random_id},
    core::{Purpose, Request, Response},
    error::Error,
};

/// A request that is being put together.
#[derive(Debug)]
pub(super) struct Call(Request);

impl Call {
    /// To this path, whose parts are [`segment`]s. `Get`, `Put` and `Delete` are repeatable by nature.
    pub(super) fn new(method: Method, path: impl Into<ByteString>) -> Self {
        let repeatable = matches!(method, Method::Get | Method::Put | Method::Delete);
        let path = path.into();
        Self(Request { method, path, headers: Vec::new(), body: Bytes::new(), purpose: Purpose::Work, repeatable })
    }

    pub(super) fn purpose(mut self, purpose: Purpose) -> Self {
        self.0.purpose = purpose;
        self
    }

    /// Twice has the effect of once.
    pub(super) fn repeatable(mut self) -> Self {
        self.0.repeatable = true;
        self
    }

    /// Has the server see to it that twice has the effect of once, and is answered the same.
    pub(super) fn once(self) -> Result<Self, Error> {
        Ok(self.header("idempotency-key", random_id()?).repeatable())
    }

    /// With this body.
    pub(super) fn json(self, body: &impl Serialize) -> Result<Self, Error> {
        let body = serde_json::to_vec(body).map_err(|error| Error::Json(error.to_string()))?;
        Ok(self.body("application/json", body))
    }

    pub(super) fn body(mut self, media_type: &'static str, body: impl Into<Bytes>) -> Self {
        self.0.body = body.into();
        self.header("content-type", media_type)
    }

    pub(super) fn if_match(self, at: Option<&Position>) -> Self {
        match at {
            Some(at) => self.header("if-match", format!("\"{}.{}\"", at.epoch, at.version)),
            None => self,
        }
    }

    pub(super) fn header(mut self, name: &'static str, value: impl Into<ByteString>) -> Self {
        self.0.headers.push(Header { name: ByteString::from_static(name), value: value.into() });
        self
    }

    /// Sends it; the answer's body.
    pub(super) async fn read<T: DeserializeOwned>(self, client: &Client) -> Result<T, Error> {
        read(&self.send(client).await?)
    }

    /// Sends it; the answer. Dropping the future gives it up.
    pub(super) async fn send(self, client: &Client) -> Result<Response, Error> {
        let shared = &client.keep.shared;
        let (waiting, answer) = {
            let mut state = shared.lock();
            if state.closing {
                return Err(Error::Closed);
            }
            let request = state.core.request(self.0, shared.now())?;
            (Waiting { client, request }, state.watch_request(request))
        };
        shared.wake.notify_one();
        let answer = answer.await.unwrap_or(Err(Error::Closed));
        drop(waiting);
        answer
    }
}

/// A request that somebody waits for.
struct Waiting<'a> {
    client: &'a Client,
    request: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let shared = &self.client.keep.shared;
        shared.lock().cancel(self.request, shared.now());
        shared.wake.notify_one();
    }
}

/// The body of an answer.
pub(super) fn read<T: DeserializeOwned>(response: &Response) -> Result<T, Error> {
    serde_json::from_slice(&response.body).map_err(|error| Error::Answer(error.to_string()))
}

/// The place that an answer's `ETag` names.
pub(super) fn place(response: &Response) -> Result<Position, Error> {
    let tag = response.header("etag").unwrap_or_default();
    let place = tag
        .trim_matches('"')
        .split_once('.')
        .and_then(|(epoch, version)| Some(Position { epoch: epoch.parse().ok()?, version: version.parse().ok()? }));
    place.ok_or_else(|| Error::Answer(format!("{tag:?} is no place")))
}

/// A document within an answer.
pub(super) fn document(text: &RawValue) -> Result<Value, Error> {
    Value::parse(text.get().as_bytes(), &Limits::trusted()).map_err(|error| Error::Answer(error.to_string()))
}

/// A part of a path, percent-encoded where it has to be (RFC 3986 §3.3).
pub(super) fn segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:@".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.extend([byte >> 4, byte & 15].map(|digit| char::from(b"0123456789ABCDEF"[usize::from(digit)])));
        }
    }
    encoded
}

/// A role's name in REST.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", remote = "Role")]
pub(super) enum RoleName {
    Viewer,
    Editor,
    Owner,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_stays_one_part_of_a_path_whatever_it_holds() {
        assert_eq!(segment("shopping-list_1.~:@"), "shopping-list_1.~:@");
        assert_eq!(segment("a/../b?c#d%e ü"), "a%2F..%2Fb%3Fc%23d%25e%20%C3%BC");
    }

    #[test]
    fn the_place_of_an_answer_is_read_from_its_tag_and_from_nothing_else() {
        let with = |tag: &str| Response {
            status: 200,
            headers: vec![Header { name: "etag".into(), value: tag.into() }],
            body: Bytes::new(),
        };
        assert_eq!(place(&with("\"7.3\"")).unwrap(), Position { epoch: 7, version: 3 });
        for tag in ["", "\"7\"", "\"7.x\"", "\"-1.3\"", "W/\"7.3\""] {
            assert!(place(&with(tag)).is_err(), "{tag}");
        }
    }
}
