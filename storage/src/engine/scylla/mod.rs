//! The engine over a database that speaks CQL: ScyllaDB or Apache Cassandra. For more servers than one, and for data that
//! must outlive a machine.
//!
//! What a commit promises is promised by the database, not by this process: each batch is conditional on where its
//! partition stands, so whatever another server did in between is noticed, and only what the database says it applied is
//! told as durable. `storage/DESIGN.md` says how each promise is kept. Never writes without a condition (but for its own
//! sign of life), never sets a timestamp.

mod chart;
mod core;
mod database;
pub mod faults;
mod known;
mod lanes;
mod lease;
mod read;
mod rows;
mod schema;
mod seal;
pub mod tools;
mod transaction;

use std::{future::Future, sync::Arc, time::Duration};

use ::scylla::{
    client::{execution_profile::ExecutionProfile, session::Session, session_builder::SessionBuilder},
    policies::retry::FallthroughRetryPolicy,
    statement::{Consistency, SerialConsistency},
};
use bytes::Bytes;
pub use schema::FORMAT;
use tokio::runtime::{Handle, Runtime};

use self::{
    core::Core,
    database::{Database, Failure, Pauses, Place, Value, nonce},
    lease::Lease,
    rows::broken,
};
use super::{Clock, Engine, Scanned, Sink, Stats, system_clock};
use crate::{Commit, Error, StoredDelta, StoredSession, Table, Taken, defaults::SCANNED_AT_ONCE};

/// Flushes under way at a time, of all sessions: a database that takes 12 ms for each then does 10,000 a second. More would
/// only make each wait in the database instead of in its lane, where what comes meanwhile joins it.
const IN_FLIGHT: usize = 128;

/// How long a server's sessions are left alone after it was last heard of.
const LEASE: Duration = Duration::from_secs(10);

/// A request without an answer for so long has none. Longer than the database's own limits, so that it says itself why.
const REQUEST: Duration = Duration::from_secs(5);

/// [`Engine::close`] gives up when nothing became durable for so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Buckets of a table that a scan reads at a time.
const BUCKETS_AT_ONCE: usize = 32;

/// Largest commit, bytes: the database takes no change of more than half a segment of its commit log, which is 16 MiB
/// unless it is configured otherwise, and its consensus writes each twice into one.
pub const COMMIT_BYTES: usize = 7 << 20;

/// Where the database is and how it is used.
#[derive(Clone)]
pub struct Options {
    /// `HOST:PORT` of some of its nodes; they know the others.
    pub contact_points: Vec<String>,
    /// The keyspace. Made by [`migrate`] if it is missing, with one replica; make it yourself for more.
    pub keyspace: String,
    /// User and password, if it wants any.
    pub credentials: Option<(String, String)>,
    /// TLS to its nodes.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// What other servers tell clients to reach this one by.
    pub address: String,
    /// How long this server's sessions are left alone after it was last heard of. At least a second.
    pub lease: Duration,
    /// Flushes under way at a time.
    pub in_flight: usize,
    /// How long [`Engine::close`] waits for the next commit to end before it gives up.
    pub patience: Duration,
    /// The time.
    pub clock: Clock,
    /// For tests.
    pub faults: Option<Arc<dyn faults::Faults>>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            contact_points: vec!["127.0.0.1:9042".into()],
            keyspace: "syncbridge".into(),
            credentials: None,
            tls: None,
            address: String::new(),
            lease: LEASE,
            in_flight: IN_FLIGHT,
            patience: PATIENCE,
            clock: system_clock(),
            faults: None,
        }
    }
}

/// The engine.
pub struct Scylla {
    core: Arc<Core>,
    threads: Threads,
}

/// The engine's threads. They end without being waited for: what they still do was told to nobody.
struct Threads(Option<Runtime>);

impl Threads {
    fn start() -> Result<Self, Error> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("cql").enable_all().build();
        runtime
            .map(|runtime| Self(Some(runtime)))
            .map_err(|source| Error::Io { what: "start the database's threads".into(), source })
    }

    fn handle(&self) -> Result<&Handle, Error> {
        let handle = self.0.as_ref().map(Runtime::handle);
        handle.ok_or_else(|| Error::Poisoned { cause: "the store was closed".into() })
    }

    /// Runs something and waits for it, wherever blocking is allowed, be it on a thread that runs another runtime.
    fn block<T: Send>(&self, work: impl Future<Output = Result<T, Failure>> + Send, what: &str) -> Result<T, Error> {
        let handle = self.handle()?;
        let ended = std::thread::scope(|scope| scope.spawn(|| handle.block_on(work)).join());
        ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic)).map_err(|failure| failure.into_error(what))
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

async fn connect(options: &Options) -> Result<Session, Failure> {
    // Nothing is sent twice but what this engine knows to be the same twice.
    let profile = ExecutionProfile::builder()
        .consistency(Consistency::Quorum)
        .serial_consistency(Some(SerialConsistency::Serial))
        .request_timeout(Some(REQUEST))
        .retry_policy(Arc::new(FallthroughRetryPolicy::new()))
        .build();
    let mut builder = SessionBuilder::new()
        .known_nodes(&options.contact_points)
        .default_execution_profile_handle(profile.into_handle())
        .keyspaces_to_fetch([&options.keyspace])
        .tls_context(options.tls.clone());
    if let Some((user, password)) = &options.credentials {
        builder = builder.user(user, password);
    }
    builder.build().await.map_err(|error| Failure::Transient(error.to_string()))
}

/// True for what may be a keyspace's name: it goes into statements as it is.
fn is_name(keyspace: &str) -> bool {
    (1..=48).contains(&keyspace.len())
        && keyspace.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Makes or raises the schema; the format before (0: there was none) and after. Run it with one server at a time; what is
/// cut off can be run again.
///
/// # Errors
/// [`Error`] when the database is away or refuses, or its schema is newer than this program.
pub fn migrate(options: &Options) -> Result<(u32, u32), Error> {
    let keyspace = options.keyspace.as_str();
    let work = async {
        if !is_name(keyspace) {
            return Err(Failure::Permanent(format!(
                "`{keyspace}` is no keyspace: 1 to 48 lowercase letters, digits and `_`"
            )));
        }
        let session = connect(options).await?;
        let known = session
            .query_unpaged("SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?", (keyspace,))
            .await?;
        if known.into_rows_result()?.rows_num() == 0 {
            let make = format!(
                "CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = \
                 {{'class': 'NetworkTopologyStrategy', 'replication_factor': 1}}"
            );
            session.query_unpaged(schema::patient(make), ()).await?;
        }
        schema::migrate(&session, keyspace).await
    };
    Threads::start()?.block(work, "make the schema")
}

/// Removes the keyspace with everything in it.
///
/// # Errors
/// [`Error`] when the database is away or refuses.
pub fn destroy(options: &Options) -> Result<(), Error> {
    let work = async {
        if !is_name(&options.keyspace) {
            return Err(Failure::Permanent(format!("`{}` is no keyspace", options.keyspace)));
        }
        let session = connect(options).await?;
        let remove = schema::patient(format!("DROP KEYSPACE IF EXISTS {}", options.keyspace));
        session.query_unpaged(remove, ()).await?;
        Ok(())
    };
    Threads::start()?.block(work, "remove the keyspace")
}

/// Gives up when the database does not answer for as long as one request may take: somebody waits. What is cut off in
/// the middle applies or does not; whoever asks next reads which.
async fn in_time<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let late = |_| Err(Failure::Transient(format!("no answer within {REQUEST:?}")));
    tokio::time::timeout(REQUEST, work).await.unwrap_or_else(late)
}

/// The next epoch, which no process had before.
async fn next_epoch(db: &Database) -> Result<u64, Failure> {
    let mut pauses = Pauses::new();
    loop {
        let rows = db.run(&db.statements.epoch, vec![]).await?.into_rows_result()?;
        let last = rows.maybe_first_row::<(Option<i64>,)>()?.and_then(|(epoch,)| epoch);
        let (statement, next, values) = match last {
            None => (&db.statements.first_epoch, 1, vec![]),
            Some(last) => (&db.statements.next_epoch, last + 1, vec![Value::Big(last + 1), Value::Big(last)]),
        };
        // An answer that does not come may be a number that nobody uses.
        if db.run_once(statement, values).await? {
            return Ok(next.cast_unsigned());
        }
        pauses.wait().await;
    }
}

impl Scylla {
    /// Opens the store; the schema must be there ([`migrate`]).
    ///
    /// # Errors
    /// [`Error`] when the database is away, refuses, or has another schema.
    pub fn open(options: &Options, sink: Arc<dyn Sink>) -> Result<Self, Error> {
        let threads = Threads::start()?;
        let handle = threads.handle()?.clone();
        let work = async {
            if !is_name(&options.keyspace) {
                return Err(Failure::Permanent(format!("`{}` is no keyspace", options.keyspace)));
            }
            let missing = || {
                Failure::Permanent(format!(
                    "keyspace `{}` has no schema yet: run `syncbridge storage migrate`",
                    options.keyspace
                ))
            };
            let session = connect(options).await?;
            match schema::format(&session, &options.keyspace).await {
                Ok(Some(FORMAT)) => {}
                Ok(Some(found)) if found < FORMAT => {
                    return Err(Failure::Permanent(format!(
                        "keyspace `{}` has format {found}, and this program reads {FORMAT}: stop every server and run \
                         `syncbridge storage migrate`",
                        options.keyspace
                    )));
                }
                Ok(Some(found)) => return Err(Failure::Store(Error::Format { found, known: FORMAT })),
                Ok(None) | Err(Failure::Permanent(_)) => return Err(missing()),
                Err(failure) => return Err(failure),
            }
            let db = Database::new(session, &options.keyspace, options.faults.clone()).await?;
            if db.run(&db.statements.importing, vec![]).await?.into_rows_result()?.rows_num() > 0 {
                let cause = "an import into it was cut short: remove the keyspace and begin again".to_owned();
                return Err(Failure::Store(Error::Refused { what: "open the store".into(), cause }));
            }
            let epoch = next_epoch(&db).await?;
            let lease = Lease::new(options.address.clone(), options.lease.max(Duration::from_secs(1)));
            let core = Core::new(
                db,
                (nonce(), epoch),
                options.clock.clone(),
                (lease, options.patience),
                sink,
                options.in_flight.max(1),
                handle,
            );
            core.renew().await?;
            Ok(Arc::new(core))
        };
        let core = threads.block(work, "open the store")?;
        let keeper = core.clone();
        threads.handle()?.spawn(async move { keeper.keep_lease().await });
        let tidier = core.clone();
        threads.handle()?.spawn(async move { tidier.keep_tidy().await });
        Ok(Self { core, threads })
    }

    /// Runs a read on the engine's threads and waits for it; so it may be called wherever blocking is allowed.
    fn wait<T: Send + 'static>(
        &self,
        what: &str,
        work: impl Future<Output = Result<T, Failure>> + Send + 'static,
    ) -> Result<T, Error> {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        // Who waits is there until the answer is.
        self.threads.handle()?.spawn(async move { drop(sender.send(work.await)) });
        let ended = receiver.recv().map_err(|_| Error::Poisoned { cause: "the store was closed".into() })?;
        ended.map_err(|failure| failure.into_error(what))
    }
}

impl Scylla {
    /// At most `limit` rows behind `after`, in key order; those that are damaged without a value.
    fn rows(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        now_ms: u64,
    ) -> Result<Vec<(Bytes, Option<Bytes>)>, Error> {
        let core = self.core.clone();
        let (prefix, after) = (prefix.to_vec(), after.map(<[u8]>::to_vec));
        self.wait("read rows", async move {
            use futures_util::stream::{StreamExt as _, TryStreamExt as _};
            let (core, prefix, after) = (&core, &prefix[..], after.as_deref());
            let read = |bucket| async move { core.db.scan_bucket((table, bucket), prefix, after, limit, now_ms).await };
            let buckets = futures_util::stream::iter(Place::buckets(prefix));
            let parts: Vec<_> = buckets.map(read).buffer_unordered(BUCKETS_AT_ONCE).try_collect().await?;
            let mut rows: Vec<_> = parts.into_iter().flatten().collect();
            rows.sort_unstable();
            rows.truncate(limit);
            Ok(rows)
        })
    }
}

impl Engine for Scylla {
    fn epoch(&self) -> u64 {
        self.core.epoch
    }

    fn submit(&self, commit: Commit) {
        self.core.submit(commit);
    }

    fn load(&self, session: &str) -> Result<Option<StoredSession>, Error> {
        let (core, place) = (self.core.clone(), Place::Session(session.into()));
        self.wait("load a session", async move {
            // So that no flush of this server comes between two of its reads.
            let _held = core.hold(std::slice::from_ref(&place)).await;
            while let Some(txn) = core.db.statics(&place).await?.face.txn {
                core.resolve(&place, txn).await?;
            }
            core.db.load(&place, (core.clock)()).await
        })
    }

    fn meta(&self, session: &str) -> Result<Option<Bytes>, Error> {
        let (core, place) = (self.core.clone(), Place::Session(session.into()));
        self.wait("read what is kept of a session", async move {
            while let Some(txn) = core.db.statics(&place).await?.face.txn {
                core.resolve(&place, txn).await?;
            }
            core.db.meta(&place).await
        })
    }

    fn deltas(&self, session: &str, after: u64, max_bytes: usize) -> Result<Option<Vec<StoredDelta>>, Error> {
        let (core, place) = (self.core.clone(), Place::Session(session.into()));
        self.wait("read a session's changes", async move { core.db.deltas(&place, after, max_bytes).await })
    }

    fn get(&self, table: Table, key: &[u8], now_ms: u64) -> Result<Option<Bytes>, Error> {
        let (core, key) = (self.core.clone(), key.to_vec());
        self.wait("read a row", async move { core.db.get(table, &key, now_ms).await })
    }

    fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        now_ms: u64,
    ) -> Result<Vec<(Bytes, Bytes)>, Error> {
        let rows = self.rows(table, prefix, after, limit, now_ms)?;
        rows.into_iter()
            .map(|(key, value)| value.map(|value| (key.clone(), value)).ok_or_else(|| broken(table, &key)))
            .collect()
    }

    fn scan_readable(
        &self,
        table: Table,
        prefix: &[u8],
        now_ms: u64,
        each: &mut dyn FnMut(Scanned),
    ) -> Result<(), Error> {
        let mut after: Option<Bytes> = None;
        loop {
            let rows = self.rows(table, prefix, after.as_deref(), SCANNED_AT_ONCE, now_ms)?;
            let last = rows.len() < SCANNED_AT_ONCE;
            for (key, value) in rows {
                after = Some(key.clone());
                each(match value {
                    Some(value) => Scanned::Row(key, value),
                    None => Scanned::Unreadable { to: Some([&key[..], &[0]].concat().into()), from: key },
                });
            }
            if last {
                return Ok(());
            }
        }
    }

    fn take(&self, session: &str, at_least: u64) -> Result<Taken, Error> {
        let (core, session) = (self.core.clone(), session.to_owned());
        self.wait("take a session", in_time(async move { core.take(&session, at_least).await }))
    }

    fn release(&self, session: &str) -> Result<(), Error> {
        let (core, session) = (self.core.clone(), session.to_owned());
        self.wait("release a session", in_time(async move { core.release(&session).await }))
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn is_owner(&self) -> bool {
        self.core.lease.is_valid()
    }

    fn lapses(&self) -> u64 {
        self.core.lease.lapses()
    }

    fn close(&self) -> Result<(), Error> {
        self.core.close(self.core.patience)?;
        let core = self.core.clone();
        self.wait("leave", async move { core.leave().await })
    }

    fn stats(&self) -> Stats {
        self.core.stats()
    }
}
