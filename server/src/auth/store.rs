//! Rows of accounts, devices and logins: reading them as what they are, and committing them. Everything here that is not
//! `async` blocks; whoever calls it is off the shard.

use std::sync::Arc;

use bytes::Bytes;
use syncbridge_codec::{ErrorCode, wire::WireError};
use syncbridge_storage::{Engine, Error, Outcome, Scanned, Table, Write};

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

/// The same of a login, where one that cannot be read is as good as over: its user signs in again.
pub(super) fn login(engine: &Arc<dyn Engine>, key: &[u8], now_ms: u64) -> Result<Option<Family>, Fault> {
    match engine.get(Table::Token, key, now_ms) {
        Err(Error::Damaged { what }) => {
            tracing::error!(what, "a damaged login is taken for one that is over");
            Ok(None)
        }
        Err(error) => Err(Fault::unreadable(&error)),
        Ok(None) => Ok(None),
        Ok(Some(value)) => Family::decode(key, value).map(Some).map_err(|error| damaged(Table::Token, key, error)),
    }
}

/// A user's logins that are not over and can be read.
pub(super) async fn families(hub: &Arc<Hub>, user: &str, now: Now) -> Result<Vec<Family>, Fault> {
    let (hub, prefix) = (Arc::clone(hub), Family::prefix(user));
    off_shard(move || {
        let (mut families, mut broken) = (Vec::new(), None);
        let read = hub.engine().scan_readable(Table::Token, &prefix, now.wall_ms, &mut |found| match found {
            Scanned::Row(key, value) => match Family::decode(&key, value) {
                Ok(family) => families.push(family),
                Err(error) => broken = Some(damaged(Table::Token, &key, error)),
            },
            Scanned::Unreadable { from, .. } => {
                tracing::error!(key = %from.escape_ascii(), "a damaged login is taken for one that is over");
            }
        });
        read.map_err(|error| Fault::unreadable(&error))?;
        broken.map_or(Ok(families), Err)
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
