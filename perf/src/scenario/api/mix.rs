//! The contract's mix of requests, and the one request of the comparison with a bare server.

use fastrand::Rng;
use serde_json::json;

use crate::{
    http::{Answer, Asked, Script, request},
    scenario::api::users::{User, state},
};

/// The routes, with their share in twentieths.
const ROUTES: [(&str, usize); 5] = [("login", 4), ("get session", 8), ("snapshot", 3), ("devices", 3), ("refresh", 2)];
const NAMES: [&str; 5] = [ROUTES[0].0, ROUTES[1].0, ROUTES[2].0, ROUTES[3].0, ROUTES[4].0];

/// 20 % login, 40 % get session, 15 % snapshot, 15 % devices, 10 % refresh, in an order that is shuffled every twenty
/// requests, of one user after the other.
pub struct Mix {
    users: Vec<User>,
    rng: Rng,
    /// The routes of the next requests.
    coming: Vec<usize>,
    asked: usize,
    snapshot: String,
}

impl Mix {
    /// The same order for the same users, each time.
    pub fn new(users: Vec<User>) -> Self {
        let snapshot = json!({ "state": state(), "metadata": { "deviceId": "perf" } }).to_string();
        Self { users, rng: Rng::with_seed(1), coming: Vec::new(), asked: 0, snapshot }
    }

    /// The first user.
    pub fn first(&self) -> &User {
        &self.users[0]
    }
}

impl Script for Mix {
    fn kinds(&self) -> &'static [&'static str] {
        &NAMES
    }

    fn next(&mut self, out: &mut Vec<u8>) -> Asked {
        if self.coming.is_empty() {
            self.coming.extend(ROUTES.iter().enumerate().flat_map(|(kind, (_, share))| [kind].repeat(*share)));
            self.rng.shuffle(&mut self.coming);
        }
        let kind = self.coming.pop().unwrap_or_default();
        let number = self.asked % self.users.len();
        self.asked += 1;
        let user = &self.users[number];
        let token = Some(user.access.as_str());
        match kind {
            0 => request::write(out, "POST", &"auth/login", None, Some(&user.login)),
            1 => request::write(out, "GET", &format_args!("sessions/{}", user.session), token, None),
            2 => {
                let path = format_args!("sessions/{}/snapshot", user.session);
                request::write(out, "POST", &path, token, Some(&self.snapshot));
            }
            3 => request::write(out, "GET", &"devices", token, None),
            _ => {
                let body = json!({ "refreshToken": user.refresh }).to_string();
                request::write(out, "POST", &"auth/refresh", None, Some(&body));
            }
        }
        Asked { kind, user: number }
    }

    fn answered(&mut self, asked: Asked, answer: &Answer<'_>) -> bool {
        if !answer.is_success() {
            return false;
        }
        let json = answer.json();
        match asked.kind {
            0 | 4 => self.users[asked.user].take_tokens(&json),
            1 => json["sessionId"] == self.users[asked.user].session.as_str() && json["state"].is_object(),
            2 => json["snapshotId"].is_string(),
            _ => json["items"].is_array(),
        }
    }
}

/// The same `GET` over and over, whose answer must be the same as well.
pub struct Same {
    request: Vec<u8>,
    body: Vec<u8>,
}

impl Same {
    /// The request that reads a user's session, and what it is answered.
    pub fn reading(user: &User) -> Self {
        let mut request = Vec::new();
        let path = format_args!("sessions/{}", user.session);
        request::write(&mut request, "GET", &path, Some(&user.access), None);
        Self { request, body: Vec::new() }
    }

    /// The request.
    pub fn request(&self) -> &[u8] {
        &self.request
    }

    /// From now on, answers must have this body.
    pub fn expect(&mut self, body: &[u8]) {
        self.body = body.to_vec();
    }
}

impl Script for Same {
    fn kinds(&self) -> &'static [&'static str] {
        &["get session"]
    }

    fn next(&mut self, out: &mut Vec<u8>) -> Asked {
        out.extend_from_slice(&self.request);
        Asked { kind: 0, user: 0 }
    }

    fn answered(&mut self, _: Asked, answer: &Answer<'_>) -> bool {
        answer.status == 200 && answer.body == self.body
    }
}
