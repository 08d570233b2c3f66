//! Rows of accounts, devices and logins: reading them as what they are, and committing them. Everything here that is not
//! `async` blocks; whoever calls it is off the shard.

use std::sync::Arc;

use bytes::Bytes;
use syncbridge_codec::{ErrorCode, wire::WireError};
use syncbridge_storage::{Engine, Outcome, Table, Write};

use super::family::Family;
use crate::{
    defaults,
    hub::{Fault, Hub, off_shard},
    session::Now,
};

/// A row.
pub(super) fn get<T>(
    engine: &Arc<dyn Engine>,
    table: Table,
    key: impl AsRef<[u8]>,
    now_ms: u64,
    decode: impl FnOnce(&[u8], Bytes) -> Result<T, WireError>,
) -> Result<Option<T>, Fault> {
    let key = key.as_ref();
    match engine.get(table, key, now_ms).map_err(|error| Fault::unreadable(&error))? {
        None => Ok(None),
        Some(value) => decode(key, value).map(Some).map_err(|error| damaged(table, key, error)),
    }
}

/// At most `limit` rows of a prefix, after a key.
pub(super) fn scan<T>(
    engine: &Arc<dyn Engine>,
    table: Table,
    prefix: &[u8],
    after: Option<&Bytes>,
    limit: usize,
    now_ms: u64,
    decode: impl Fn(&[u8], Bytes) -> Result<T, WireError>,
) -> Result<Vec<T>, Fault> {
    let rows = engine
        .scan(table, prefix, after.map(|key| &key[..]), limit, now_ms)
        .map_err(|error| Fault::unreadable(&error))?;
    rows.into_iter().map(|(key, value)| decode(&key, value).map_err(|error| damaged(table, &key, error))).collect()
}

/// How many rows a prefix has; `most` stands for all that is more.
pub(super) fn count(
    engine: &Arc<dyn Engine>,
    table: Table,
    prefix: &[u8],
    most: usize,
    now_ms: u64,
) -> Result<usize, Fault> {
    engine.scan(table, prefix, None, most, now_ms).map(|rows| rows.len()).map_err(|error| Fault::unreadable(&error))
}

/// A user's logins that are not over.
pub(super) async fn families(hub: &Arc<Hub>, user: &str, now: Now) -> Result<Vec<Family>, Fault> {
    let (hub, prefix) = (Arc::clone(hub), Family::prefix(user));
    off_shard(move || {
        let most = 2 * defaults::FAMILIES_PER_USER;
        scan(hub.engine(), Table::Token, &prefix, None, most, now.wall_ms, Family::decode)
    })
    .await?
}

/// Commits what belongs to no session: how it ended, once it is durable.
pub(super) async fn commit_or_exists(hub: &Arc<Hub>, writes: Vec<Write>, now: Now) -> Result<Outcome, Fault> {
    hub.persist().commit(writes, now).await.ok_or_else(|| {
        let mut fault = Fault::new(ErrorCode::StorageFailed, "the store failed");
        fault.retry_after_ms = Some(defaults::FAILED_RETRY_MS);
        fault
    })
}

/// The same for writes that nothing can be in the way of.
pub(super) async fn commit(hub: &Arc<Hub>, writes: Vec<Write>, now: Now) -> Result<(), Fault> {
    if writes.is_empty() {
        return Ok(());
    }
    match commit_or_exists(hub, writes, now).await? {
        Outcome::Committed => Ok(()),
        outcome => {
            tracing::error!(?outcome, "a commit of rows that nothing is in the way of was refused");
            Err(Fault::new(ErrorCode::Internal, "the change was refused by the store"))
        }
    }
}

fn damaged(table: Table, key: &[u8], error: WireError) -> Fault {
    tracing::error!(?table, key = %key.escape_ascii(), %error, "a row in the store cannot be read");
    Fault::new(ErrorCode::Internal, "a row in the store cannot be read")
}
