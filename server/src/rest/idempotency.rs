//! `Idempotency-Key`: a request that comes again has its effect once, and gets the recorded answer. What changes a
//! document is recorded by the session's core (`session/keyed.rs`); this file has the header, and [`Once`] for every
//! other effect: one request of a key at a time, the record in one commit with the effect, which is made only if there is
//! none yet: so servers that share a store have it once too. Both share rows and rules:
//! kept for 7 days, another body under the same key is 422. Refusals are not recorded: what comes again is judged anew.

use std::{path::Path, sync::Arc};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    hkdf,
};
use axum::{extract::FromRequestParts, http::request::Parts};
use bytes::Bytes;
use dashmap::DashMap;
use syncbridge_codec::ErrorCode;
use syncbridge_storage::{Table, Write};
use tokio::sync::Mutex;

use super::{Api, Caller, Problem};
use crate::{
    defaults,
    hub::{Fault, off_shard},
    secret,
    session::{Keyed, Now, keyed::Recorded},
};

/// The file in the data folder that recorded answers with secrets in them are sealed with.
const SECRET_FILE: &str = "answers.key";

/// The request's `Idempotency-Key`, if it has one: 1 to 255 visible ASCII characters (400 otherwise).
#[derive(Debug, Clone)]
pub struct IdempotencyKey(Option<String>);

impl FromRequestParts<Api> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Api) -> Result<Self, Problem> {
        let mut keys = parts.headers.get_all("idempotency-key").iter();
        let key = match (keys.next(), keys.next()) {
            (None, _) => return Ok(Self(None)),
            (Some(key), None) => key.to_str().ok().filter(|key| (1..=defaults::IDEMPOTENCY_KEY).contains(&key.len())),
            (Some(_), Some(_)) => None,
        };
        key.map(|key| Self(Some(key.to_owned()))).ok_or_else(|| {
            let most = defaults::IDEMPOTENCY_KEY;
            Problem::new(ErrorCode::InvalidRequest, format!("Idempotency-Key is one value of 1 to {most} characters"))
        })
    }
}

impl IdempotencyKey {
    /// The request, when it has a key. `route` is the method and the path without [`BASE`](super::BASE); `body` is all
    /// that is asked, in parts.
    pub fn keyed(&self, caller: &Caller, route: &str, body: &[&[u8]]) -> Option<Keyed> {
        self.0.as_ref().map(|key| Keyed::new(&caller.user, &caller.device, route, key, body))
    }

    /// The same for an answer that holds secrets: it is recorded such that it can be read with the very same request
    /// only.
    pub fn sealed(&self, caller: &Caller, route: &str, body: &[&[u8]]) -> Option<Sealed> {
        let (key, keyed) = (self.0.as_ref()?, self.keyed(caller, route, body)?);
        Some(Sealed { keyed, key: key.clone(), body: body.concat() })
    }
}

/// An idempotent request whose answer holds secrets.
#[derive(Debug)]
pub struct Sealed {
    keyed: Keyed,
    /// What the client sent, of which the store has hashes only.
    key: String,
    body: Vec<u8>,
}

/// How an answer is recorded.
enum How {
    NotAtAll,
    Plain(Keyed),
    Sealed(Keyed, Arc<RandomizedNonceKey>),
}

impl How {
    /// Once for the effect, and once for who looks what became of it.
    fn twice(self) -> (Self, Self) {
        match self {
            Self::NotAtAll => (Self::NotAtAll, Self::NotAtAll),
            Self::Plain(keyed) => (Self::Plain(keyed), Self::Plain(keyed)),
            Self::Sealed(keyed, key) => (Self::Sealed(keyed, Arc::clone(&key)), Self::Sealed(keyed, key)),
        }
    }
}

/// What an effect takes with it: how its answer is recorded.
pub struct Record {
    how: How,
    wall_ms: u64,
}

impl Record {
    /// The row that records `answer`, for the effect's own commit; nothing when the request has no key.
    ///
    /// # Errors
    /// [`Problem`] when it cannot be sealed.
    pub fn writes(&self, answer: &[u8]) -> Result<Vec<Write>, Problem> {
        Ok(match &self.how {
            How::NotAtAll => Vec::new(),
            How::Plain(keyed) => vec![once(keyed.row(0, answer, self.wall_ms))],
            How::Sealed(keyed, key) => {
                let mut sealed = answer.to_vec();
                let nonce = key
                    .seal_in_place_append_tag(Aad::from(keyed.key), &mut sealed)
                    .map_err(|_| Problem::new(ErrorCode::Internal, "the answer cannot be sealed"))?;
                sealed.extend_from_slice(nonce.as_ref());
                vec![once(keyed.row(0, &sealed, self.wall_ms))]
            }
        })
    }
}

/// Idempotent requests under way. At most one entry for each request that is.
pub struct Once {
    under_way: DashMap<[u8; 32], Arc<Mutex<()>>>,
    secret: [u8; 32],
}

impl Once {
    /// One that seals with the secret of a data folder, which is made when it is missing.
    ///
    /// # Errors
    /// What the file system says.
    pub fn with_data_folder(folder: &Path) -> std::io::Result<Self> {
        Ok(Self { under_way: DashMap::new(), secret: secret::random(&folder.join(SECRET_FILE))? })
    }

    /// Runs `effect` unless its request was carried out before; the answer, new or recorded. The effect commits
    /// [`Record::writes`] of the answer that it returns together with whatever it does, and returns when that is durable.
    ///
    /// # Errors
    /// [`Problem`]: the effect's own, 422 when the key was used for another request, or the store cannot be read.
    pub async fn run<F, Fut>(&self, api: &Api, keyed: Option<Keyed>, effect: F) -> Result<Bytes, Problem>
    where
        F: FnOnce(Record) -> Fut,
        Fut: Future<Output = Result<Bytes, Problem>>,
    {
        self.carry_out(api, keyed.map_or(How::NotAtAll, How::Plain), effect).await
    }

    /// [`Once::run`] for an answer that holds secrets.
    ///
    /// # Errors
    /// As [`Once::run`].
    pub async fn run_sealed<F, Fut>(&self, api: &Api, sealed: Option<Sealed>, effect: F) -> Result<Bytes, Problem>
    where
        F: FnOnce(Record) -> Fut,
        Fut: Future<Output = Result<Bytes, Problem>>,
    {
        let how = match sealed {
            None => How::NotAtAll,
            Some(sealed) => How::Sealed(sealed.keyed, Arc::new(self.sealing_key(&sealed)?)),
        };
        self.carry_out(api, how, effect).await
    }

    async fn carry_out<F, Fut>(&self, api: &Api, how: How, effect: F) -> Result<Bytes, Problem>
    where
        F: FnOnce(Record) -> Fut,
        Fut: Future<Output = Result<Bytes, Problem>>,
    {
        let now = (api.clock)();
        let keyed = match &how {
            How::NotAtAll => return effect(Record { how, wall_ms: now.wall_ms }).await,
            How::Plain(keyed) | How::Sealed(keyed, _) => *keyed,
        };
        let turn = Turn::of(&self.under_way, keyed.key);
        let _mine = turn.lock.lock().await;
        if let Some(row) = Self::row(api, &keyed, now).await? {
            return recorded(&row, &keyed, &how);
        }
        let (how, again) = how.twice();
        let answer = effect(Record { how, wall_ms: now.wall_ms }).await;
        match answer {
            // Another server may have carried it out at the same time: then this one's commit was refused.
            Err(problem) if api.hub.shares_store() => match Self::row(api, &keyed, now).await? {
                Some(row) => recorded(&row, &keyed, &again),
                None => Err(problem),
            },
            answer => answer,
        }
    }

    async fn row(api: &Api, keyed: &Keyed, now: Now) -> Result<Option<Bytes>, Problem> {
        let (hub, key) = (Arc::clone(&api.hub), keyed.key);
        let row = off_shard(move || hub.engine().get(Table::Idempotency, &key, now.wall_ms)).await?;
        Ok(row.map_err(|error| Fault::unreadable(&error))?)
    }

    /// The key of one request's answer: of the server's secret and of what only the client knows.
    fn sealing_key(&self, sealed: &Sealed) -> Result<RandomizedNonceKey, Problem> {
        let failed = |_| Problem::new(ErrorCode::Internal, "no key can be derived");
        let mut key = [0; 32];
        hkdf::Salt::new(hkdf::HKDF_SHA256, &self.secret)
            .extract(&[&(sealed.key.len() as u64).to_le_bytes()[..], sealed.key.as_bytes(), &sealed.body].concat())
            .expand(&[b"syncbridge recorded answer"], hkdf::HKDF_SHA256)
            .and_then(|derived| derived.fill(&mut key))
            .and_then(|()| RandomizedNonceKey::new(&AES_256_GCM, &key))
            .map_err(failed)
    }
}

/// The same row, if there is none of its key.
fn once(row: Write) -> Write {
    match row {
        Write::Put { table, key, value, expires_at_ms, .. } => {
            Write::Put { table, key, value, expires_at_ms, if_absent: true }
        }
        other => other,
    }
}

/// The recorded answer.
fn recorded(row: &Bytes, keyed: &Keyed, how: &How) -> Result<Bytes, Problem> {
    let damaged = || {
        tracing::error!("a recorded answer cannot be read");
        Problem::new(ErrorCode::Internal, "the recorded answer cannot be read")
    };
    let recorded = Recorded::read(row).map_err(|_| damaged())?;
    if recorded.body != keyed.body {
        return Err(Problem::new(ErrorCode::IdMismatch, "the Idempotency-Key was used for another request"));
    }
    let How::Sealed(_, key) = how else { return Ok(recorded.answer) };
    let (sealed, nonce) = recorded.answer.split_last_chunk::<NONCE_LEN>().ok_or_else(damaged)?;
    let mut opened = sealed.to_vec();
    let length = key.open_in_place(Nonce::from(nonce), Aad::from(keyed.key), &mut opened).map_err(|_| damaged())?.len();
    opened.truncate(length);
    Ok(opened.into())
}

/// One request's turn among those of its key.
struct Turn<'a> {
    all: &'a DashMap<[u8; 32], Arc<Mutex<()>>>,
    key: [u8; 32],
    lock: Arc<Mutex<()>>,
}

impl<'a> Turn<'a> {
    fn of(all: &'a DashMap<[u8; 32], Arc<Mutex<()>>>, key: [u8; 32]) -> Self {
        let lock = Arc::clone(&all.entry(key).or_default());
        Self { all, key, lock }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // The map's own and this one: nobody else waits.
        self.all.remove_if(&self.key, |_, lock| Arc::strong_count(lock) <= 2);
    }
}
