//! The schema, as steps that are numbered and never changed afterwards: a new need is a new step. Making and raising it is
//! an operator's act (`syncbridge storage migrate`); opening the store only looks whether it is the one this program knows.

use std::time::Duration;

use scylla::{client::session::Session, statement::Statement};

use super::{
    database::{Failure, applied, in_keyspace},
    seal,
};
use crate::Error;

/// The schema that this program reads and writes.
pub const FORMAT: u32 = 2;

/// What a step does. All of it may run twice: a migration that was cut off is begun again.
enum Step {
    /// Statements.
    Run(&'static [&'static str]),
    /// Every row, and every session's columns, get their checksums ([`seal`]).
    Seal,
}

/// Step `n` (from 1) makes format `n`.
///
/// A session is one partition, so that one conditional batch changes it as a whole. Its rows belong to a `life`, a random
/// number of the session's making: what a delete of one life and the making of the next write in one batch has one
/// timestamp, and a delete wins against such an insert.
const STEPS: [Step; FORMAT as usize] = [
    Step::Run(&[
        "CREATE TABLE IF NOT EXISTS ks.sessions (\
        id text, \
        head blob static, txn blob static, fence bigint static, owner blob static, \
        life bigint static, epoch bigint static, version bigint static, epochs blob static, meta blob static, \
        document blob static, document_version bigint static, \
        of_life bigint, kind tinyint, name blob, number bigint, \
        low bigint, high bigint, count int, at bigint, value blob, \
        PRIMARY KEY (id, of_life, kind, name, number))",
        "CREATE TABLE IF NOT EXISTS ks.rows (\
        tab tinyint, bucket smallint, head blob static, txn blob static, key blob, value blob, expires bigint, \
        PRIMARY KEY ((tab, bucket), key))",
        "CREATE TABLE IF NOT EXISTS ks.transactions (id blob PRIMARY KEY, state tinyint, at bigint, writes blob)",
        "CREATE TABLE IF NOT EXISTS ks.servers (id blob PRIMARY KEY, address text, epoch bigint)",
    ]),
    Step::Seal,
];

/// Where the format and the last epoch are kept; made first, so not a step.
const NUMBERS: &str = "CREATE TABLE IF NOT EXISTS ks.numbers (name text PRIMARY KEY, number bigint)";

/// A migration that says nothing for this long is dead, and another may begin.
const MIGRATION_LEASE: Duration = Duration::from_mins(2);

/// How long one statement may take: a schema is agreed upon by all nodes, which takes seconds on a busy one.
const PATIENCE: Duration = Duration::from_mins(1);

/// A statement about the schema, with the time it may need.
pub(super) fn patient(statement: String) -> Statement {
    let mut statement = Statement::new(statement);
    statement.set_request_timeout(Some(PATIENCE));
    statement
}

/// Makes or raises the schema in a keyspace; the format before (0: there was none) and after.
pub(super) async fn migrate(session: &Session, keyspace: &str) -> Result<(u32, u32), Failure> {
    let run = async |statement: &str| session.query_unpaged(patient(in_keyspace(keyspace, statement)), ()).await;
    run(NUMBERS).await?;
    let lock = format!(
        "INSERT INTO ks.numbers (name, number) VALUES ('migrating', 1) IF NOT EXISTS USING TTL {}",
        MIGRATION_LEASE.as_secs()
    );
    if !applied(run(&lock).await?)? {
        return Err(Failure::Permanent("another migration is under way; if it died, wait two minutes".into()));
    }
    let before = format(session, keyspace).await?.unwrap_or(0);
    if before > FORMAT {
        return Err(Failure::Store(Error::Format { found: before, known: FORMAT }));
    }
    for (number, step) in (1..=FORMAT).zip(STEPS).filter(|(number, _)| *number > before) {
        match step {
            Step::Run(statements) => {
                for statement in statements {
                    run(statement).await?;
                }
            }
            // A new keyspace has nothing yet.
            Step::Seal if before == 0 => {}
            Step::Seal => seal::all(session, keyspace).await?,
        }
        run(&format!("UPDATE ks.numbers SET number = {number} WHERE name = 'format' IF number != {number}")).await?;
        tracing::info!(number, "the schema was raised");
    }
    run("DELETE FROM ks.numbers WHERE name = 'migrating' IF EXISTS").await?;
    Ok((before, FORMAT))
}

/// The format that the keyspace has; `None` when it has none.
pub(super) async fn format(session: &Session, keyspace: &str) -> Result<Option<u32>, Failure> {
    let ask = in_keyspace(keyspace, "SELECT number FROM ks.numbers WHERE name = 'format'");
    let rows = session.query_unpaged(ask, ()).await?;
    let found = rows.into_rows_result()?.maybe_first_row::<(Option<i64>,)>()?.and_then(|(number,)| number);
    Ok(found.and_then(|number| u32::try_from(number).ok()))
}
