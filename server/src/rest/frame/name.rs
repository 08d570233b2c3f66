//! What a request is called: what its client calls it, or a name made here. A name that nobody asks for is never written.

use std::{cell::Cell, fmt};

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// Where a request's name stands, in requests and in answers.
pub const HEADER: HeaderName = HeaderName::from_static("x-request-id");
/// Longest name that is taken over: a UUID has 36, a W3C trace parent 55.
const LONGEST: usize = 128;

/// A request's name.
#[derive(Debug, Clone)]
pub enum Name {
    /// By the client; it is told in the answer.
    Given(HeaderValue),
    /// Of this process, and which of its requests.
    Made(u64, u64),
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Given(name) => f.write_str(name.to_str().unwrap_or_default()),
            Self::Made(series, number) => write!(f, "{series:016x}-{number:x}"),
        }
    }
}

/// Makes names: a series that is drawn, so that two shards or two runs never have the same, and a number.
#[derive(Debug)]
pub struct Names {
    series: u64,
    next: Cell<u64>,
}

impl Default for Names {
    fn default() -> Self {
        Self { series: fastrand::u64(..), next: Cell::new(0) }
    }
}

impl Names {
    /// The name of a request with these headers.
    pub fn of(&self, headers: &HeaderMap) -> Name {
        match headers.get(HEADER).filter(|name| sane(name.as_bytes())) {
            Some(name) => Name::Given(name.clone()),
            None => Name::Made(self.series, self.next.replace(self.next.get() + 1)),
        }
    }
}

/// Whether a name can stand in a log, a header and JSON without doing harm there.
fn sane(name: &[u8]) -> bool {
    (1..=LONGEST).contains(&name.len())
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._:/+=@~".contains(byte))
}
