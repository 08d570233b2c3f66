//! The step from format 1 to 2 of a store: what had no checksum of ours gets one, the rows of tables and the columns of
//! sessions. No server lives meanwhile. Never writes over anything but what it has just read.

use bytes::Bytes;
use scylla::{
    client::session::Session,
    deserialize::row::DeserializeRow,
    response::PagingState,
    serialize::row::SerializeRow,
    statement::{Consistency, prepared::PreparedStatement},
};

use super::{
    database::{Failure, Value, applied, in_keyspace},
    known::ttl,
    rows::{Column, open_column, open_row, seal_column, seal_row},
};
use crate::engine::{embedded::encoding::table, system_clock};

/// Rows that are read at a time.
const PAGE: i32 = 256;

/// Partition, key, value and expiry of a row; without a key, only the partition's own columns are there.
type Row = (i8, i16, Option<Bytes>, Option<Bytes>, Option<i64>);

/// Id, life, meta and epochs of a session.
type Columns = (String, Option<i64>, Option<Bytes>, Option<Bytes>);

/// Seals everything. What is sealed already, by a try that was cut off, stays as it is: a value without a checksum looks
/// like one with it once in 2^32.
pub(super) async fn all(session: &Session, keyspace: &str) -> Result<(), Failure> {
    let servers = session.query_unpaged(in_keyspace(keyspace, "SELECT id FROM ks.servers LIMIT 1"), ()).await?;
    if servers.into_rows_result()?.rows_num() > 0 {
        let cause = "a server lives: stop all of them; one that was killed is over when its lease is";
        return Err(Failure::Permanent(cause.into()));
    }
    let sealing = Sealing { session, keyspace };
    let rows = sealing.rows().await?;
    let sessions = sealing.sessions().await?;
    tracing::info!(rows, sessions, "rows and sessions have checksums");
    Ok(())
}

struct Sealing<'a> {
    session: &'a Session,
    keyspace: &'a str,
}

impl Sealing<'_> {
    async fn prepare(&self, text: &str) -> Result<PreparedStatement, Failure> {
        let mut statement = self.session.prepare(in_keyspace(self.keyspace, text)).await?;
        statement.set_consistency(Consistency::Quorum);
        statement.set_page_size(PAGE);
        Ok(statement)
    }

    /// One page, and where the next begins.
    async fn page<R>(
        &self,
        statement: &PreparedStatement,
        at: PagingState,
    ) -> Result<(Vec<R>, Option<PagingState>), Failure>
    where
        R: for<'f> DeserializeRow<'f, 'f>,
    {
        let (page, next) = self.session.execute_single_page(statement, &(), at).await?;
        let rows = page.into_rows_result()?;
        let rows = rows.rows::<R>().map_err(Failure::from)?.collect::<Result<Vec<_>, _>>().map_err(Failure::from)?;
        let next = match next.into_paging_control_flow() {
            std::ops::ControlFlow::Break(()) => None,
            std::ops::ControlFlow::Continue(next) => Some(next),
        };
        Ok((rows, next))
    }

    /// Writes if nobody wrote since it was read.
    async fn write(&self, statement: &PreparedStatement, values: impl SerializeRow) -> Result<(), Failure> {
        if applied(self.session.execute_unpaged(statement, values).await?)? {
            return Ok(());
        }
        Err(Failure::Permanent("somebody writes to the store meanwhile: stop all servers and begin again".into()))
    }

    async fn rows(&self) -> Result<u64, Failure> {
        let read = self.prepare("SELECT tab, bucket, key, value, expires FROM ks.rows").await?;
        let seal = "UPDATE ks.rows USING TTL ? SET value = ?, expires = ? \
                    WHERE tab = ? AND bucket = ? AND key = ? IF value = ?";
        let seal = self.prepare(seal).await?;
        let (mut sealed, mut state) = (0, Some(PagingState::start()));
        while let Some(at) = state {
            let (rows, next) = self.page::<Row>(&read, at).await?;
            state = next;
            for (tab, bucket, key, value, expires) in rows {
                let (Some(of), Some(key), Some(value)) = (table(tab.cast_unsigned()), key, value) else { continue };
                let at = expires.map(i64::cast_unsigned);
                if open_row(of, &key, at, &value).is_some() {
                    continue;
                }
                let new = Value::Blob(seal_row(of, &key, at, &value));
                let left = Value::Int(ttl(at, system_clock()()));
                let (tab, bucket, key) = (Value::Tiny(tab), Value::Small(bucket), Value::Blob(key));
                self.write(&seal, (left, new, Value::option(at), tab, bucket, key, Value::Blob(value))).await?;
                sealed += 1;
            }
        }
        Ok(sealed)
    }

    async fn sessions(&self) -> Result<u64, Failure> {
        let read = self.prepare("SELECT DISTINCT id, life, meta, epochs FROM ks.sessions").await?;
        let seal = "UPDATE ks.sessions SET meta = ?, epochs = ? WHERE id = ? IF life = ? AND epochs = ?";
        let seal = self.prepare(seal).await?;
        let (mut sealed, mut state) = (0, Some(PagingState::start()));
        while let Some(at) = state {
            let (sessions, next) = self.page::<Columns>(&read, at).await?;
            state = next;
            for (id, life, meta, epochs) in sessions {
                let (Some(life), Some(epochs)) = (life, epochs) else { continue };
                // Both are written at once.
                if open_column(Column::Epochs, &id, &epochs).is_some() {
                    continue;
                }
                let meta = Value::Blob(seal_column(Column::Meta, &id, &meta.unwrap_or_default()));
                let new = Value::Blob(seal_column(Column::Epochs, &id, &epochs));
                let id = Value::Text(id.as_str().into());
                self.write(&seal, (meta, new, id, Value::Big(life), Value::Blob(epochs))).await?;
                sealed += 1;
            }
        }
        Ok(sealed)
    }
}
