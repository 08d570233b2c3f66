//! The people of the scenario: each signed up and signed in once, with a session of its own, before the clock starts.

use std::net::SocketAddr;

use serde_json::{Value, json};

use crate::{
    error::{Error, Result},
    http::Caller,
    place::source,
};

/// Registrations from one address: servers limit them, by default to 60 an hour.
const PER_ADDRESS: usize = 50;
/// The session that everybody reads under `--open`, as existing load scripts do.
const SHARED: &str = "test-session";

/// Somebody.
#[derive(Debug, Clone)]
pub struct User {
    /// The body of a login.
    pub login: String,
    /// The newest access token.
    pub access: String,
    /// The newest refresh token.
    pub refresh: String,
    /// The session that is read and saved.
    pub session: String,
}

impl User {
    /// Takes the tokens of an answer; whether it had any that are new.
    pub fn take_tokens(&mut self, answer: &Value) -> bool {
        if let Some(refresh) = answer["refreshToken"].as_str() {
            refresh.clone_into(&mut self.refresh);
        }
        let Some(access) = answer["accessToken"].as_str() else { return false };
        access.clone_into(&mut self.access);
        true
    }
}

/// What a session holds: about 1 KiB, as an application's settings and a list would be.
pub fn state() -> Value {
    let items: Vec<Value> = (0..8)
        .map(|at| json!({ "id": format!("item-{at}"), "title": "Something to be done", "done": at % 2 == 0 }))
        .collect();
    json!({ "title": "A plan", "items": items, "settings": { "theme": "dark", "columns": [1, 2, 3] }, "text": "x".repeat(300) })
}

/// Signs `count` people up (`open`: a first login does) and in, and makes their sessions.
///
/// # Errors
/// When the server refuses one.
pub fn gather(server: SocketAddr, count: usize, open: bool) -> Result<Vec<User>> {
    let mut callers = Vec::new();
    (0..count)
        .map(|number| {
            if number % PER_ADDRESS == 0 {
                callers.push(Caller::connect(source(callers.len()), server)?);
            }
            let caller = callers.last_mut().ok_or_else(|| Error::Unsupported("no users".into()))?;
            let (email, password) = (format!("user-{number}@example.com"), format!("a good password {number}"));
            if !open {
                let body = json!({ "email": email, "password": password, "name": format!("User {number}") });
                caller.must("POST", &"auth/register", None, Some(&body.to_string()))?;
            }
            let login = json!({ "email": email, "password": password }).to_string();
            let answer = caller.must("POST", &"auth/login", None, Some(&login))?;
            let session = if open { SHARED.to_owned() } else { format!("perf-{number}") };
            let mut user = User { login, access: String::new(), refresh: String::new(), session };
            if !user.take_tokens(&answer) || user.refresh.is_empty() {
                return Err(Error::Server(format!("signed somebody in without tokens: {answer}")));
            }
            if !open {
                let body = json!({ "sessionId": user.session, "state": state() }).to_string();
                caller.must("POST", &"sessions", Some(&user.access), Some(&body))?;
            } else if number == 0 {
                // Addressed and not made: so it is everybody's.
                let (path, body) = (format!("sessions/{SHARED}"), json!({ "state": state() }).to_string());
                caller.must("PUT", &path, Some(&user.access), Some(&body))?;
            }
            Ok(user)
        })
        .collect()
}
