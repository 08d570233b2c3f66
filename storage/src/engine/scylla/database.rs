//! The driver, and the one way in which this engine writes: a batch in one partition, conditional on the partition's
//! head. Knows CQL; knows nothing of commits.
//!
//! Every batch names the head that it follows and sets a random one of its own. So one that was sent twice, or arrives
//! late, applies at most once; and after an answer that never came, the head tells whether it did.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use scylla::{
    client::session::Session,
    cluster::metadata::ColumnType,
    errors::{DbError, ExecutionError, PrepareError, RequestAttemptError},
    response::query_result::QueryResult,
    serialize::{
        SerializationError,
        value::SerializeValue,
        writers::{CellWriter, WrittenCellProof},
    },
    statement::{
        Consistency,
        batch::{Batch, BatchType},
        prepared::PreparedStatement,
    },
    value::{CqlValue, Row},
};

use super::faults;
use crate::{Error, Table};

/// A random name: of a flush, a transaction, a server.
pub(super) type Nonce = [u8; 16];

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Place {
    /// A session's.
    Session(Arc<str>),
    /// Some rows' of a table.
    Rows(Table, u16),
}

/// Buckets of each table. A full scan asks them all; a bucket of a table with 100 GB has 400 MB.
pub(super) const BUCKETS: u16 = 256;

/// Bytes of a key that say in which bucket it is, unless a zero byte ends them before: with its user's id and a zero, or
/// its session's id with its length in front, a key is where the others of that user or session are.
const BUCKET_KEY: usize = 18;

/// What of a key says where it is; all keys that begin with `prefix` are there too if this is `Ok`.
fn bucket_key(prefix: &[u8]) -> Result<&[u8], &[u8]> {
    let reach = &prefix[..prefix.len().min(BUCKET_KEY)];
    match reach.iter().skip(1).position(|byte| *byte == 0) {
        Some(zero) => Ok(&reach[..zero + 2]),
        None if reach.len() == BUCKET_KEY => Ok(reach),
        None => Err(reach),
    }
}

fn bucket(of: &[u8]) -> u16 {
    u16::try_from(crc32c::crc32c(of) % u32::from(BUCKETS)).unwrap_or(0)
}

impl Place {
    /// Where a row is.
    pub fn of_row(table: Table, key: &[u8]) -> Self {
        let (Ok(of) | Err(of)) = bucket_key(key);
        Self::Rows(table, bucket(of))
    }

    /// The buckets in which keys with this prefix are: all, or one.
    pub fn buckets(prefix: &[u8]) -> std::ops::Range<u16> {
        match bucket_key(prefix) {
            Ok(of) => bucket(of)..bucket(of) + 1,
            Err(_) => 0..BUCKETS,
        }
    }

    /// The id of a session; of rows none.
    pub fn id(&self) -> &str {
        match self {
            Self::Session(id) => id,
            Self::Rows(..) => "",
        }
    }

    /// Its partition key.
    pub fn key(&self) -> Vec<Value> {
        match self {
            Self::Session(id) => vec![Value::Text(id.clone())],
            Self::Rows(table, bucket) => vec![Value::Tiny(*table as i8), Value::Small(bucket.cast_signed())],
        }
    }
}

/// A value for a statement.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Tiny(i8),
    Small(i16),
    Int(i32),
    Big(i64),
    Blob(Bytes),
    Text(Arc<str>),
}

impl Value {
    /// A number that counts up; CQL's are signed, and keep all 64 bits.
    pub const fn number(number: u64) -> Self {
        Self::Big(number.cast_signed())
    }

    pub fn nonce(nonce: Option<Nonce>) -> Self {
        nonce.map_or(Self::Null, |nonce| Self::Blob(Bytes::copy_from_slice(&nonce)))
    }

    pub fn option(number: Option<u64>) -> Self {
        number.map_or(Self::Null, Self::number)
    }

    fn size(&self) -> usize {
        match self {
            Self::Null | Self::Tiny(_) | Self::Small(_) | Self::Int(_) | Self::Big(_) => 8,
            Self::Blob(bytes) => bytes.len(),
            Self::Text(text) => text.len(),
        }
    }
}

impl SerializeValue for Value {
    fn serialize<'b>(
        &self,
        typ: &ColumnType,
        writer: CellWriter<'b>,
    ) -> Result<WrittenCellProof<'b>, SerializationError> {
        match self {
            Self::Null => Ok(writer.set_null()),
            Self::Tiny(value) => value.serialize(typ, writer),
            Self::Small(value) => value.serialize(typ, writer),
            Self::Int(value) => value.serialize(typ, writer),
            Self::Big(value) => value.serialize(typ, writer),
            Self::Blob(value) => value.serialize(typ, writer),
            Self::Text(value) => value.as_ref().serialize(typ, writer),
        }
    }
}

/// Why a statement came to nothing.
#[derive(Debug)]
pub(super) enum Failure {
    /// The database is away, slow or overloaded: it may work later. Whether a write was applied is not known.
    Transient(String),
    /// It never will: the statement, the schema or the rights are wrong.
    Permanent(String),
    /// What was read is not what this engine writes.
    Store(Error),
}

impl Failure {
    /// As the engine's users see it.
    pub fn into_error(self, what: &str) -> Error {
        match self {
            Self::Transient(cause) => Error::Unavailable { what: what.to_owned(), cause },
            Self::Permanent(cause) => Error::Refused { what: what.to_owned(), cause },
            Self::Store(error) => error,
        }
    }
}

fn is_permanent(error: &RequestAttemptError) -> bool {
    match error {
        RequestAttemptError::SerializationError(_) | RequestAttemptError::CqlRequestSerialization(_) => true,
        RequestAttemptError::DbError(error, _) => matches!(
            error,
            DbError::SyntaxError
                | DbError::Invalid
                | DbError::AlreadyExists { .. }
                | DbError::FunctionFailure { .. }
                | DbError::AuthenticationError
                | DbError::Unauthorized
                | DbError::ConfigError
                | DbError::ProtocolError
        ),
        _ => false,
    }
}

impl From<ExecutionError> for Failure {
    fn from(error: ExecutionError) -> Self {
        let permanent = match &error {
            ExecutionError::BadQuery(_) => true,
            ExecutionError::LastAttemptError(error)
            | ExecutionError::PrepareError(PrepareError::AllAttemptsFailed { first_attempt: error }) => {
                is_permanent(error)
            }
            _ => false,
        };
        if permanent { Self::Permanent(error.to_string()) } else { Self::Transient(error.to_string()) }
    }
}

impl From<PrepareError> for Failure {
    fn from(error: PrepareError) -> Self {
        ExecutionError::PrepareError(error).into()
    }
}

/// Answers of another form than the statement has.
macro_rules! unexpected {
    ($($error:ty),*) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::Store(Error::Damaged { what: format!("an answer of the database: {error}") })
            }
        })*
    };
}

unexpected!(
    scylla::errors::IntoRowsResultError,
    scylla::errors::RowsError,
    scylla::errors::MaybeFirstRowError,
    scylla::errors::DeserializationError
);

/// True when a conditional statement was applied.
pub(super) fn applied(result: QueryResult) -> Result<bool, Failure> {
    let rows = result.into_rows_result()?;
    let first = rows.maybe_first_row::<Row>()?.and_then(|row| row.columns.into_iter().next().flatten());
    match first {
        Some(CqlValue::Boolean(applied)) => Ok(applied),
        other => Err(Failure::Store(Error::Damaged {
            what: format!("the answer to a conditional statement begins with {other:?}"),
        })),
    }
}

/// Replaces `ks.` in front of a table: names with their keyspace mean the same on every connection.
pub(super) fn in_keyspace(keyspace: &str, statement: &str) -> String {
    statement.replace(" ks.", &format!(" {keyspace}."))
}

/// The statements, each made ready once.
macro_rules! statements {
    ($($name:ident, $serial:literal, $text:literal;)*) => {
        /// The statements, each made ready once.
        pub(super) struct Statements {
            $(pub $name: PreparedStatement,)*
        }

        impl Statements {
            async fn prepare(session: &Session, keyspace: &str) -> Result<Self, Failure> {
                Ok(Self {
                    $($name: {
                        let mut statement = session.prepare(in_keyspace(keyspace, $text)).await?;
                        statement.set_consistency(if $serial { Consistency::Serial } else { Consistency::Quorum });
                        // Reads, and what puts the same again. A conditional write is judged by its head instead.
                        statement.set_is_idempotent($text.starts_with("SELECT"));
                        statement.set_page_size(256);
                        statement
                    },)*
                })
            }
        }
    };
}

statements! {
    flip_session, false,
        "UPDATE ks.sessions USING TTL ? SET head = ?, txn = ?, fence = ?, owner = ?, life = ?, epoch = ?, version = ? \
         WHERE id = ? IF head = ? AND fence = ?";
    set_meta, false, "UPDATE ks.sessions SET meta = ? WHERE id = ?";
    set_epochs, false, "UPDATE ks.sessions SET epochs = ? WHERE id = ?";
    set_document, false, "UPDATE ks.sessions SET document = ?, document_version = ? WHERE id = ?";
    insert, false,
        "INSERT INTO ks.sessions (id, of_life, kind, name, number, low, high, count, at, value) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    delete_rows, false,
        "DELETE FROM ks.sessions WHERE id = ? AND of_life = ? AND kind = ? AND name = ? AND number <= ?";
    delete_life, false, "DELETE FROM ks.sessions WHERE id = ? AND of_life = ?";
    flip_rows, false, "UPDATE ks.rows SET head = ?, txn = ? WHERE tab = ? AND bucket = ? IF head = ?";
    put, false, "INSERT INTO ks.rows (tab, bucket, key, value, expires) VALUES (?, ?, ?, ?, ?) USING TTL ?";
    remove, false, "DELETE FROM ks.rows WHERE tab = ? AND bucket = ? AND key = ?";
    session_head, true, "SELECT DISTINCT id, head FROM ks.sessions WHERE id = ?";
    session, true,
        "SELECT DISTINCT id, head, txn, fence, owner, life, epoch, version, epochs, document, document_version \
         FROM ks.sessions WHERE id = ?";
    session_meta, false, "SELECT DISTINCT id, meta FROM ks.sessions WHERE id = ?";
    session_index, false,
        "SELECT kind, name, number, low, high, count, at FROM ks.sessions WHERE id = ? AND of_life = ? AND kind = ?";
    session_rows, false,
        "SELECT name, number, low, high, count, at, value FROM ks.sessions WHERE id = ? AND of_life = ? AND kind = ?";
    document, false,
        "SELECT number, value FROM ks.sessions WHERE id = ? AND of_life = ? AND kind = ? AND name = ?";
    runs_after, false,
        "SELECT low, number, value FROM ks.sessions \
         WHERE id = ? AND of_life = ? AND kind = ? AND name = ? AND number > ?";
    rows_head, true, "SELECT DISTINCT tab, bucket, head, txn FROM ks.rows WHERE tab = ? AND bucket = ?";
    row, false, "SELECT value, expires FROM ks.rows WHERE tab = ? AND bucket = ? AND key = ?";
    presence, true, "SELECT value, expires FROM ks.rows WHERE tab = ? AND bucket = ? AND key = ?";
    scan_from, false, "SELECT key, value, expires FROM ks.rows WHERE tab = ? AND bucket = ? AND key >= ?";
    scan_after, false, "SELECT key, value, expires FROM ks.rows WHERE tab = ? AND bucket = ? AND key > ?";
    begin_transaction, false, "INSERT INTO ks.transactions (id, state, at, writes) VALUES (?, 0, ?, ?) IF NOT EXISTS";
    end_transaction, false, "UPDATE ks.transactions SET state = ? WHERE id = ? IF state = 0";
    transaction, true, "SELECT state, at, writes FROM ks.transactions WHERE id = ?";
    transactions, false, "SELECT id, at FROM ks.transactions";
    forget_transaction, false, "DELETE FROM ks.transactions WHERE id = ? IF state > 0";
    live, false, "INSERT INTO ks.servers (id, address, epoch) VALUES (?, ?, ?) USING TTL ?";
    leave, false, "DELETE FROM ks.servers WHERE id = ?";
    server, false, "SELECT address FROM ks.servers WHERE id = ?";
    servers, false, "SELECT id, address FROM ks.servers";
    lives, false, "SELECT DISTINCT id, life FROM ks.sessions";
    any_row, false, "SELECT tab FROM ks.rows LIMIT 1";
    importing, true, "SELECT number FROM ks.numbers WHERE name = 'importing'";
    begin_import, false, "INSERT INTO ks.numbers (name, number) VALUES ('importing', 1) IF NOT EXISTS";
    end_import, false, "DELETE FROM ks.numbers WHERE name = 'importing' IF EXISTS";
    first_epoch, false, "INSERT INTO ks.numbers (name, number) VALUES ('epoch', 1) IF NOT EXISTS";
    next_epoch, false, "UPDATE ks.numbers SET number = ? WHERE name = 'epoch' IF number = ?";
    epoch, true, "SELECT number FROM ks.numbers WHERE name = 'epoch'";
}

/// A batch in one partition.
#[derive(Default)]
pub(super) struct Writes {
    statements: Vec<PreparedStatement>,
    values: Vec<Vec<Value>>,
    /// Bytes of the values.
    pub bytes: usize,
}

impl Writes {
    pub fn push(&mut self, statement: &PreparedStatement, values: Vec<Value>) {
        self.bytes += values.iter().map(Value::size).sum::<usize>();
        self.statements.push(statement.clone());
        self.values.push(values);
    }

    /// With the conditional statement in front.
    fn behind(&mut self, statement: &PreparedStatement, values: Vec<Value>) {
        self.bytes += values.iter().map(Value::size).sum::<usize>();
        self.statements.insert(0, statement.clone());
        self.values.insert(0, values);
    }
}

/// What a session's partition says of itself after a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Face {
    pub txn: Option<Nonce>,
    pub fence: Option<u64>,
    pub owner: Option<Nonce>,
    pub life: Option<i64>,
    pub epoch: Option<u64>,
    pub version: Option<u64>,
}

/// The head and fence that a batch follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Follows {
    pub head: Option<Nonce>,
    pub fence: Option<u64>,
}

/// The database.
pub(super) struct Database {
    pub session: Session,
    pub statements: Statements,
    faults: faults::Installed,
}

/// How long a deleted session's head is kept, so that a batch which was under way finds that it no longer follows. Far
/// longer than any database keeps a request waiting.
const TOMB: Duration = Duration::from_hours(24);

/// First pause before a statement is sent again; doubled up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(20);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How often rows of an import are sent before it is given up.
const INSERT_TRIES: u32 = 8;

/// The pauses between tries.
pub(super) struct Pauses(Duration);

impl Pauses {
    pub const fn new() -> Self {
        Self(PAUSE)
    }

    /// Waits a while, longer each time, never the same for two who wait.
    pub async fn wait(&mut self) {
        let spread = u64::from(nonce()[0]) + 128;
        let this = self.0.mul_f64(spread as f64 / 256.0);
        self.0 = (self.0 * 2).min(PAUSE_MAX);
        tokio::time::sleep(this).await;
    }
}

/// A new name.
pub(super) fn nonce() -> Nonce {
    let mut bytes = [0; 16];
    if let Err(error) = getrandom::fill(&mut bytes) {
        // Without random numbers two flushes could have one name, and one be taken for the other.
        panic!("the system has no random numbers: {error}");
    }
    bytes
}

impl Database {
    pub async fn new(session: Session, keyspace: &str, faults: faults::Installed) -> Result<Self, Failure> {
        let statements = Statements::prepare(&session, keyspace).await?;
        Ok(Self { session, statements, faults })
    }

    /// Where a test lets the server go away: never comes back then.
    pub async fn reached(&self, step: faults::Step) {
        if self.faults.as_ref().is_some_and(|faults| faults.dies_at(step)) {
            std::future::pending::<()>().await;
        }
    }

    /// A conditional statement that is not sent again by itself.
    pub async fn run_once(&self, statement: &PreparedStatement, values: Vec<Value>) -> Result<bool, Failure> {
        let answer = self.run(statement, values).await?;
        self.not_lost()?;
        applied(answer)
    }

    fn not_lost(&self) -> Result<(), Failure> {
        match &self.faults {
            Some(faults) if faults.loses_answer() => Err(Failure::Transient("a test lost the answer".into())),
            _ => Ok(()),
        }
    }

    /// One statement.
    pub async fn run(&self, statement: &PreparedStatement, values: Vec<Value>) -> Result<QueryResult, Failure> {
        Ok(self.session.execute_unpaged(statement, values).await?)
    }

    /// The rows of one statement, of all pages; stops when `see` says `false`.
    pub async fn each<R>(
        &self,
        statement: &PreparedStatement,
        values: Vec<Value>,
        mut see: impl FnMut(R) -> bool + Send,
    ) -> Result<(), Failure>
    where
        R: for<'f> scylla::deserialize::row::DeserializeRow<'f, 'f>,
    {
        let mut at = scylla::response::PagingState::start();
        loop {
            let (page, next) = self.session.execute_single_page(statement, &values, at).await?;
            let rows = page.into_rows_result()?;
            for row in rows.rows::<R>().map_err(Failure::from)? {
                if !see(row?) {
                    return Ok(());
                }
            }
            match next.into_paging_control_flow() {
                std::ops::ControlFlow::Break(()) => return Ok(()),
                std::ops::ControlFlow::Continue(next) => at = next,
            }
        }
    }

    /// One page of rows, and where the next begins, if there is one.
    pub async fn page<R>(
        &self,
        statement: &PreparedStatement,
        at: scylla::response::PagingState,
    ) -> Result<(Vec<R>, Option<scylla::response::PagingState>), Failure>
    where
        R: for<'f> scylla::deserialize::row::DeserializeRow<'f, 'f>,
    {
        let (page, next) = self.session.execute_single_page(statement, &(), at).await?;
        let rows = page.into_rows_result()?;
        let rows = rows.rows::<R>().map_err(Failure::from)?.collect::<Result<Vec<_>, _>>().map_err(Failure::from)?;
        Ok((
            rows,
            match next.into_paging_control_flow() {
                std::ops::ControlFlow::Break(()) => None,
                std::ops::ControlFlow::Continue(next) => Some(next),
            },
        ))
    }

    /// Inserts of rows that nobody sees yet, all in one partition: the same if they are sent twice.
    pub async fn insert_all(&self, writes: Writes) -> Result<(), Failure> {
        if writes.statements.is_empty() {
            return Ok(());
        }
        let mut batch = Batch::new(BatchType::Unlogged);
        batch.set_consistency(Consistency::Quorum);
        for statement in writes.statements {
            batch.append_statement(statement);
        }
        let mut pauses = Pauses::new();
        for _ in 0..INSERT_TRIES {
            match self.session.batch(&batch, &writes.values).await.map_err(Failure::from) {
                Err(Failure::Transient(cause)) => tracing::debug!(cause, "an insert of rows has no answer"),
                ended => return ended.map(drop),
            }
            pauses.wait().await;
        }
        Err(Failure::Transient("rows could not be put in".into()))
    }

    /// The head that a partition has, with everything that was accepted for it before carried through.
    async fn head(&self, place: &Place) -> Result<Option<Nonce>, Failure> {
        let found = match place {
            Place::Session(_) => {
                let rows = self.run(&self.statements.session_head, place.key()).await?.into_rows_result()?;
                rows.maybe_first_row::<(String, Option<Bytes>)>()?.and_then(|(_, head)| head)
            }
            Place::Rows(..) => {
                let rows = self.run(&self.statements.rows_head, place.key()).await?.into_rows_result()?;
                rows.maybe_first_row::<(i8, i16, Option<Bytes>, Option<Bytes>)>()?.and_then(|(.., head, _)| head)
            }
        };
        found.map(|head| to_nonce(&head)).transpose()
    }

    /// Applies a batch to a session if its partition still is at `follows`; `next` names it. `false`: it is not.
    pub async fn flip_session(
        &self,
        place: &Place,
        follows: Follows,
        next: Nonce,
        face: &Face,
        mut writes: Writes,
    ) -> Result<bool, Failure> {
        let gone = face.life.is_none() && face.txn.is_none() && face.fence.is_none();
        let mut values = vec![
            Value::Int(if gone { i32::try_from(TOMB.as_secs()).unwrap_or(i32::MAX) } else { 0 }),
            Value::nonce(Some(next)),
            Value::nonce(face.txn),
            Value::option(face.fence),
            Value::nonce(face.owner),
            face.life.map_or(Value::Null, Value::Big),
            Value::option(face.epoch),
            Value::option(face.version),
        ];
        values.extend(place.key());
        values.extend([Value::nonce(follows.head), Value::option(follows.fence)]);
        writes.behind(&self.statements.flip_session, values);
        self.conditional(place, follows.head, next, writes).await
    }

    /// Applies a batch to rows if their partition still is at `follows`.
    pub async fn flip_rows(
        &self,
        place: &Place,
        follows: Option<Nonce>,
        next: Nonce,
        txn: Option<Nonce>,
        mut writes: Writes,
    ) -> Result<bool, Failure> {
        let mut values = vec![Value::nonce(Some(next)), Value::nonce(txn)];
        values.extend(place.key());
        values.push(Value::nonce(follows));
        writes.behind(&self.statements.flip_rows, values);
        self.conditional(place, follows, next, writes).await
    }

    /// Sends a conditional batch until it is known how it ended.
    async fn conditional(
        &self,
        place: &Place,
        follows: Option<Nonce>,
        next: Nonce,
        writes: Writes,
    ) -> Result<bool, Failure> {
        let mut batch = Batch::new(BatchType::Unlogged);
        batch.set_consistency(Consistency::Quorum);
        for statement in writes.statements {
            batch.append_statement(statement);
        }
        let mut pauses = Pauses::new();
        loop {
            let answer = self.session.batch(&batch, &writes.values).await.map_err(Failure::from);
            match answer.and_then(|answer| self.not_lost().map(|()| answer)) {
                Ok(answer) => {
                    // Not applied may be because an earlier try was.
                    if applied(answer)? || self.known_head(place).await? == Some(next) {
                        return Ok(true);
                    }
                    return Ok(false);
                }
                Err(Failure::Transient(cause)) => {
                    tracing::debug!(cause, ?place, "a batch has no answer");
                    let head = self.known_head(place).await?;
                    if head == Some(next) {
                        return Ok(true);
                    }
                    if head != follows {
                        return Ok(false);
                    }
                    pauses.wait().await;
                }
                Err(failure) => return Err(failure),
            }
        }
    }

    /// [`Database::head`], asked until there is an answer.
    async fn known_head(&self, place: &Place) -> Result<Option<Nonce>, Failure> {
        let mut pauses = Pauses::new();
        loop {
            match self.head(place).await {
                Err(Failure::Transient(cause)) => {
                    tracing::debug!(cause, ?place, "the head has no answer");
                    pauses.wait().await;
                }
                known => return known,
            }
        }
    }
}

/// A name as it was read.
pub(super) fn to_nonce(bytes: &[u8]) -> Result<Nonce, Failure> {
    bytes.try_into().map_err(|_| Failure::Store(Error::Damaged { what: format!("a head of {} bytes", bytes.len()) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_with_one_prefix_are_where_a_scan_of_it_looks() {
        let keys: [&[u8]; 6] =
            [b"\x01ann\0phone", b"ann\0session", b"\0\x01sborn-born-born-bore", b"mail@example.com", b"u", b""];
        for key in keys {
            let Place::Rows(_, at) = Place::of_row(Table::Token, key) else { panic!("a row is in a table") };
            for cut in 0..=key.len() {
                assert!(Place::buckets(&key[..cut]).contains(&at), "{key:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn the_rows_of_one_user_and_of_one_session_are_in_one_bucket() {
        assert_eq!(Place::buckets(b"\x01ann\0").len(), 1);
        assert_eq!(Place::buckets(b"user-1\0").len(), 1);
        assert_eq!(Place::buckets(b"\0\x01s0123456789abcdef").len(), 1);
        assert_eq!(Place::buckets(b"\x02").len(), usize::from(BUCKETS));
    }
}
