//! Who is signed in: the tokens, when they are renewed, and what a connection says before `Hello`. Never draws or checks
//! a token.

use bytes::Bytes;
use bytestring::ByteString;
use serde::{Deserialize, Serialize};
use syncbridge_codec::{
    ErrorCode,
    message::{self, Header, Method},
};

use super::{
    Config, Core, Disconnect, Event, Link, Purpose, Request, RequestError,
    request::{self, Failure, failures},
};
use crate::{defaults, error::ServerError};

/// What lets a device in, and who it is then. Whoever has it can sign in: keep it where passwords are.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tokens {
    /// The access token.
    #[serde(rename = "accessToken")]
    pub access: String,
    /// The refresh token. With rotation each renewal brings another one, and the one before must not be used again.
    #[serde(rename = "refreshToken")]
    pub refresh: String,
    /// Seconds that the access token is good for, from when it was made.
    #[serde(default)]
    pub expires_in: u64,
    /// Who is let in.
    pub user: User,
    /// The device that they are made for, if for one.
    #[serde(rename = "deviceId", default)]
    pub device: Option<String>,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").field("user", &self.user).field("device", &self.device).finish_non_exhaustive()
    }
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The id.
    pub id: String,
    /// The e-mail address; `None`: the user has no account.
    #[serde(default)]
    pub email: Option<String>,
    /// What they are called.
    #[serde(default)]
    pub name: String,
}

/// See the file's head.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) signed_in: bool,
    refresh: Option<ByteString>,
    user: Option<ByteString>,
    /// The access token is not good any more, or will not be for long.
    must_renew: bool,
    /// The tokens are new and no connection has been welcomed with them.
    is_fresh: bool,
    renew_at: Option<u64>,
    /// The request that renews.
    renewing: Option<u64>,
}

impl Account {
    pub(super) fn new(config: &Config) -> Self {
        let Config { signed_in, token, refresh, .. } = config;
        let must_renew = token.is_empty() && refresh.is_some();
        Self { must_renew, ..Self::of(*signed_in, refresh.clone()) }
    }

    const fn of(signed_in: bool, refresh: Option<ByteString>) -> Self {
        Self { signed_in, refresh, user: None, must_renew: false, is_fresh: false, renew_at: None, renewing: None }
    }
}

impl Core {
    /// Asks by a route of REST; `Event::Answered` answers. As soon as there is a connection and somebody is signed in, for
    /// what needs that. Answers come in no order.
    ///
    /// # Errors
    /// [`RequestError::SignedOut`], [`RequestError::TooMany`], [`RequestError::TooLarge`].
    pub fn request(&mut self, request: Request, now: u64) -> Result<u64, RequestError> {
        if request.purpose == Purpose::Work && !self.account.signed_in {
            return Err(RequestError::SignedOut);
        }
        if request.purpose == Purpose::Work && matches!(self.link, Link::Offline { retry_at: None }) {
            return Err(RequestError::Offline);
        }
        let (bytes, max) = (request.frame_size(), self.max_frame());
        if bytes > max {
            return Err(RequestError::TooLarge { bytes, max });
        }
        let id = self.next_id();
        self.asked.push(id, request, self.config.limits.requests, self.config.limits.request_bytes)?;
        self.proceed(now);
        Ok(id)
    }

    /// Nobody waits for this request any more. What was sent may have its effect all the same.
    pub fn cancel(&mut self, request: u64, now: u64) {
        self.asked.remove(request);
        self.proceed(now);
    }

    /// Whether somebody is signed in, or is to be with the token that the core was made with.
    pub const fn is_signed_in(&self) -> bool {
        self.account.signed_in
    }

    /// Takes another access token, for the next connection. It is not renewed.
    pub fn set_token(&mut self, token: impl Into<ByteString>) {
        self.config.token = token.into();
        self.account = Account { user: self.account.user.take(), ..Account::of(true, None) };
    }

    /// After anything that changes who is signed in, or what is asked for before `Hello`.
    pub(super) fn proceed(&mut self, now: u64) {
        let (signing, wanted) = (self.asked.any(Purpose::SignIn), self.asks_as_nobody());
        match &mut self.link {
            Link::On(connection) if connection.greeted => {
                if signing {
                    self.hang_up(0, ByteString::from_static("signing in"));
                    self.reset_link();
                    self.link = Link::Offline { retry_at: Some(now) };
                    self.events.push_back(Event::Disconnected { reason: Disconnect::SigningIn, retry_at: now });
                } else {
                    self.send_requests();
                }
            }
            Link::On(_) if wanted => self.send_requests(),
            Link::On(_) if self.account.signed_in => {
                if self.account.must_renew {
                    self.renew();
                } else {
                    self.greet(now);
                }
            }
            Link::On(_) => {
                self.hang_up(0, ByteString::new());
                self.reset_link();
                self.link = Link::Offline { retry_at: None };
                self.events.push_back(Event::SignedOut { error: None });
            }
            Link::Offline { retry_at } if wanted => *retry_at = Some(now),
            Link::Offline { .. } | Link::Connecting => {}
        }
    }

    /// Whether something waits that is asked by nobody.
    pub(super) fn asks_as_nobody(&self) -> bool {
        self.asked.any(Purpose::SignIn) || self.asked.any(Purpose::SignOut)
    }

    /// Sends what may be sent now. What is the user's waits for `Welcome`: a server that refuses the token drops it.
    fn send_requests(&mut self) {
        let Link::On(connection) = &self.link else { return };
        let (greeted, welcome) = (connection.greeted, connection.established.is_some());
        let may = |purpose| match purpose {
            Purpose::Work => welcome,
            Purpose::SignIn => !greeted,
            Purpose::SignOut => true,
        };
        let requests = self.asked.send(defaults::REQUESTS_UNDER_WAY, may);
        self.control.extend(requests.into_iter().map(Into::into));
    }

    /// The connection is welcomed with the tokens.
    pub(super) fn on_signed_in(&mut self, user: ByteString) {
        self.account.is_fresh = false;
        self.account.user = Some(user);
        self.send_requests();
    }

    /// The access token ends soon, or has ended.
    pub(super) fn check_tokens(&mut self, now: u64) {
        if self.account.renew_at.is_some_and(|at| at <= now) {
            self.account.renew_at = None;
            self.account.must_renew = true;
            if self.is_connected() {
                self.renew();
            }
        }
    }

    /// When [`Core::check_tokens`] has something to do. Without a connection it waits for the next.
    pub(super) fn check_tokens_at(&self) -> Option<u64> {
        self.account.renew_at.filter(|_| self.is_connected())
    }

    fn renew(&mut self) {
        let Some(refresh) = self.account.refresh.clone().filter(|_| self.account.renewing.is_none()) else { return };
        let id = self.next_id();
        self.account.renewing = Some(id);
        let body = serde_json::json!({ "refreshToken": &*refresh }).to_string();
        let request = message::Request {
            id,
            method: Method::Post,
            path: ByteString::from_static("/auth/refresh"),
            headers: vec![json_header()],
            body: body.into(),
        };
        self.control.push_back(request.into());
    }

    pub(super) fn on_response(&mut self, now: u64, response: message::Response) {
        let id = response.id;
        if self.account.renewing == Some(id) {
            self.account.renewing = None;
            return self.on_renewed(now, request::outcome(response));
        }
        let Some((purpose, mut answer)) = self.asked.answer(response) else { return };
        match (purpose, &answer) {
            (Purpose::SignIn, Ok(response)) => match serde_json::from_slice(&response.body) {
                Ok(tokens) => self.adopt(now, tokens),
                Err(error) => {
                    let error = ServerError::of(ErrorCode::Internal, format!("tokens that cannot be read: {error}"));
                    answer = Err(Failure::Server(error));
                }
            },
            (Purpose::SignOut, Ok(_)) => self.sign_out(None),
            _ => {}
        }
        self.events.push_back(Event::Answered { request: id, answer });
        self.proceed(now);
    }

    fn on_renewed(&mut self, now: u64, answer: Result<request::Response, Failure>) {
        let error = match answer {
            Ok(response) => match serde_json::from_slice(&response.body) {
                Ok(tokens) => {
                    self.adopt(now, tokens);
                    return self.proceed(now);
                }
                Err(error) => ServerError::of(ErrorCode::Internal, format!("tokens that cannot be read: {error}")),
            },
            Err(Failure::Server(error)) => error,
            Err(Failure::Disconnected | Failure::SignedOut) => return,
        };
        if matches!(error.code(), Some(ErrorCode::InvalidCredentials | ErrorCode::Unauthenticated)) {
            self.sign_out(Some(error));
            return self.proceed(now);
        }
        if self.is_connected() {
            // The present connection goes on; the next one needs the tokens.
            self.account.renew_at = Some(now + error.retry_after_ms.unwrap_or(defaults::RENEW_AGAIN_MS));
        } else {
            self.hang_up(0, ByteString::new());
            let retry_after = error.retry_after_ms;
            self.lost(now, Disconnect::Server(error), retry_after);
        }
    }

    /// The tokens are these from here on.
    fn adopt(&mut self, now: u64, tokens: Tokens) {
        let user = ByteString::from(tokens.user.id.as_str());
        if self.account.user.as_ref().is_some_and(|former| *former != user) {
            self.forget_sessions(&ServerError::of(ErrorCode::Unauthenticated, "another user has signed in"));
        }
        self.config.token = tokens.access.as_str().into();
        let life = tokens.expires_in.saturating_mul(1_000);
        let early = (life / 5).min(defaults::RENEW_EARLY_MS);
        self.account = Account {
            user: Some(user),
            is_fresh: true,
            renew_at: (life > 0).then(|| now.saturating_add(life - early)),
            ..Account::of(true, Some(tokens.refresh.as_str().into()))
        };
        self.events.push_back(Event::SignedIn { tokens: Box::new(tokens) });
    }

    /// Nobody is signed in any more. The sessions stay, for when the same user signs in again.
    fn sign_out(&mut self, error: Option<ServerError>) {
        self.config.token = ByteString::new();
        self.account = Account { user: self.account.user.take(), ..Account::of(false, None) };
        let failure = error.clone().map_or(Failure::SignedOut, Failure::Server);
        let failed = self.asked.fail(|purpose| purpose == Purpose::Work);
        self.events.extend(failures(failed, &failure));
        if !matches!(self.link, Link::Offline { .. }) {
            self.hang_up(0, ByteString::from_static("signed out"));
            self.reset_link();
        }
        self.link = Link::Offline { retry_at: None };
        self.events.push_back(Event::SignedOut { error });
    }

    /// The server does not take the token (any more). Whether that is dealt with here.
    pub(super) fn on_unauthenticated(&mut self, now: u64) -> bool {
        if self.asked.is_signing_out() {
            // The login's connections are closed before its end is answered: this is the answer.
            let done = self.asked.fail(|purpose| purpose == Purpose::SignOut);
            let response = request::Response { status: 204, headers: Vec::new(), body: Bytes::new() };
            let answered = |request| Event::Answered { request, answer: Ok(response.clone()) };
            self.events.extend(done.into_iter().map(answered));
            self.sign_out(None);
            self.proceed(now);
            return true;
        }
        if self.account.refresh.is_none() || self.account.is_fresh {
            return false;
        }
        self.account.must_renew = true;
        self.lost(now, Disconnect::SigningIn, None);
        true
    }

    /// The connection is gone, or none could be made: what does not wait for another is answered.
    pub(super) fn fail_requests(&mut self, attempt_failed: bool) {
        self.account.renewing = None;
        let mut failed = self.asked.on_link_lost();
        if attempt_failed {
            failed.extend(self.asked.fail(|purpose| purpose != Purpose::Work));
        }
        self.events.extend(failures(failed, &Failure::Disconnected));
    }
}

/// Says that a body is JSON.
fn json_header() -> Header {
    Header { name: ByteString::from_static("content-type"), value: ByteString::from_static("application/json") }
}
