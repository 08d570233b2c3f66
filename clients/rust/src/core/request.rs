//! Requests by the routes of REST: which wait, which are sent, and which are sent again when a connection was lost. Knows
//! no route and reads no answer but the problems.

use std::collections::BTreeMap;

use bytes::Bytes;
use bytestring::ByteString;
use serde::Deserialize;
use syncbridge_codec::{
    ErrorCode,
    message::{self, Header, Method},
};

use super::{Event, RequestError};
use crate::error::ServerError;

/// A request by one of the routes of REST.
#[derive(Debug, Clone)]
pub struct Request {
    /// What it does.
    pub method: Method,
    /// The route and its query below `/api/v1`, as `/sessions/todo/snapshots?limit=5`.
    pub path: ByteString,
    /// As `content-type`, `if-match`, `idempotency-key`; names in small letters.
    pub headers: Vec<Header>,
    /// JSON text; empty when there is none.
    pub body: Bytes,
    /// What it is for.
    pub purpose: Purpose,
    /// Whether it may be sent again when the connection was lost before its answer came: twice has the effect of once.
    pub repeatable: bool,
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Something of the user who is signed in.
    Work,
    /// It brings tokens. It is made by nobody, before `Hello`: the server ends the connection of the login that the new
    /// one replaces before it answers. Not waited for longer than one attempt to connect.
    SignIn,
    /// It ends the login. Not waited for longer than one attempt to connect.
    SignOut,
}

/// What came back: a status of 2xx.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status of HTTP.
    pub status: u32,
    /// As `etag`, `location`.
    pub headers: Vec<Header>,
    /// JSON text; may be empty.
    pub body: Bytes,
}

impl Response {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| *header.name == *name).map(|header| &*header.value)
    }
}

/// Why a request brought nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The server said no.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The connection was lost, or could not be made, before the answer came. It may have been carried out.
    #[error("the connection was lost before the answer came")]
    Disconnected,
    /// Nobody is signed in.
    #[error("nobody is signed in")]
    SignedOut,
}

/// Everything that was asked and not answered.
#[derive(Debug, Default)]
pub(super) struct Requests {
    waiting: BTreeMap<u64, Waiting>,
    bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    request: Request,
    sent: bool,
    /// A former connection may have carried it out.
    again: bool,
}

impl Request {
    fn size(&self) -> usize {
        let headers: usize = self.headers.iter().map(|header| header.name.len() + header.value.len()).sum();
        self.path.len() + headers + self.body.len()
    }

    fn message(&self, id: u64) -> message::Request {
        let Self { method, path, headers, body, .. } = self.clone();
        message::Request { id, method, path, headers, body }
    }

    /// Size of its frame, bytes.
    pub(super) fn frame_size(&self) -> usize {
        self.message(u64::MAX).frame_size()
    }
}

impl Requests {
    /// Takes one more, within these bounds.
    pub(super) fn push(&mut self, id: u64, request: Request, most: usize, bytes: usize) -> Result<(), RequestError> {
        if self.waiting.len() >= most || self.bytes + request.size() > bytes {
            return Err(RequestError::TooMany(most));
        }
        self.bytes += request.size();
        self.waiting.insert(id, Waiting { request, sent: false, again: false });
        Ok(())
    }

    /// Takes one out: what it is for.
    pub(super) fn remove(&mut self, id: u64) -> Option<Purpose> {
        let Waiting { request, .. } = self.waiting.remove(&id)?;
        self.bytes -= request.size();
        Some(request.purpose)
    }

    /// Takes out the one that is answered: what it is for, and what the answer says.
    pub(super) fn answer(&mut self, response: message::Response) -> Option<(Purpose, Result<Response, Failure>)> {
        let Waiting { request, again, .. } = self.waiting.get(&response.id)?;
        // What is gone may be what the first of two sendings has removed.
        let removed = *again && request.method == Method::Delete;
        let id = response.id;
        let answer = match outcome(response) {
            Err(Failure::Server(error)) if removed && error.code() == Some(ErrorCode::NotFound) => {
                Ok(Response { status: 204, headers: Vec::new(), body: Bytes::new() })
            }
            answer => answer,
        };
        self.remove(id).map(|purpose| (purpose, answer))
    }

    /// Whether any of this purpose waits.
    pub(super) fn any(&self, purpose: Purpose) -> bool {
        self.waiting.values().any(|waiting| waiting.request.purpose == purpose)
    }

    /// Whether one that ends the login is sent.
    pub(super) fn is_signing_out(&self) -> bool {
        self.waiting.values().any(|waiting| waiting.sent && waiting.request.purpose == Purpose::SignOut)
    }

    /// Those to be sent now, so that at most `most` are under way; marked as sent.
    pub(super) fn send(&mut self, most: usize, may: impl Fn(Purpose) -> bool) -> Vec<message::Request> {
        let under_way = self.waiting.values().filter(|waiting| waiting.sent).count();
        let unsent = self.waiting.iter_mut().filter(|(_, waiting)| !waiting.sent && may(waiting.request.purpose));
        let now = unsent.take(most.saturating_sub(under_way)).map(|(id, waiting)| {
            waiting.sent = true;
            waiting.request.message(*id)
        });
        now.collect()
    }

    /// The connection is gone: what may be sent again waits for the next one, the rest fails.
    pub(super) fn on_link_lost(&mut self) -> Vec<u64> {
        for waiting in self.waiting.values_mut().filter(|waiting| waiting.sent && waiting.request.repeatable) {
            (waiting.sent, waiting.again) = (false, true);
        }
        self.take(|waiting| waiting.sent)
    }

    /// Takes out all of these purposes.
    pub(super) fn fail(&mut self, of: impl Fn(Purpose) -> bool) -> Vec<u64> {
        self.take(|waiting| of(waiting.request.purpose))
    }

    fn take(&mut self, which: impl Fn(&Waiting) -> bool) -> Vec<u64> {
        let ids: Vec<u64> = self.waiting.iter().filter(|(_, waiting)| which(waiting)).map(|(id, _)| *id).collect();
        for id in &ids {
            self.remove(*id);
        }
        ids
    }
}

/// A failure for each of these.
pub(super) fn failures(ids: Vec<u64>, failure: &Failure) -> impl Iterator<Item = Event> {
    ids.into_iter().map(|request| Event::Answered { request, answer: Err(failure.clone()) })
}

/// What a problem (RFC 9457) says.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Problem {
    code: String,
    title: String,
    detail: String,
    retryable: bool,
    retry_after_ms: Option<u64>,
}

/// The outcome that an answer tells of.
pub(super) fn outcome(response: message::Response) -> Result<Response, Failure> {
    let message::Response { status, headers, body, .. } = response;
    if (200..300).contains(&status) {
        return Ok(Response { status, headers, body });
    }
    // A server may say no in another way; the status says it all the same.
    let problem: Problem = serde_json::from_slice(&body).unwrap_or_default();
    let code = ErrorCode::ALL.iter().find(|code| code.name() == problem.code);
    let name = if problem.code.is_empty() { format!("status_{status}") } else { problem.code };
    let text = if problem.detail.is_empty() { problem.title } else { problem.detail };
    Err(Failure::Server(ServerError {
        number: code.map_or(0, |code| *code as u32),
        name: name.into(),
        text: text.into(),
        retryable: problem.retryable,
        retry_after_ms: problem.retry_after_ms,
    }))
}
