//! `syncbridge storage check`.

use std::process::ExitCode;

use serde_json::json;
use syncbridge_storage::engine::{
    embedded::tools::{Finding, Harm, Offline},
    scylla,
};

use super::{Where, failure};
use crate::cli::{End, Failure, print};

/// Runs it: 0 when the store is whole, 7 when something of it is damaged.
///
/// # Errors
/// [`Failure`].
pub fn run(options: &Where) -> Result<ExitCode, Failure> {
    if let Some(database) = options.database()? {
        return in_database(options, &database);
    }
    let store = Offline::lock(&options.store()?).map_err(failure)?;
    let (mut worst, mut findings, mut unheard) = (Harm::None, 0u64, Ok(()));
    let mut tell = |Finding { harm, what }: Finding| {
        worst = worst.max(harm);
        findings += 1;
        let consequence = match harm {
            Harm::None => "harmless",
            Harm::Some => "refused",
            Harm::All => "no start",
        };
        let line = if options.json {
            json!({"harm": consequence, "what": what}).to_string()
        } else {
            format!("{consequence}: {what}")
        };
        if unheard.is_ok() {
            unheard = print(format_args!("{line}\n"));
        }
    };
    let whole = store.check(&mut tell).map_err(failure)?;
    unheard?;
    if options.json {
        print(format_args!("{}\n", json!({"findings": findings, "wholeSessions": whole})))?;
    } else if findings == 0 {
        print(format_args!("whole: {whole} sessions, and everything beside them\n"))?;
    } else {
        print(format_args!("{whole} sessions are whole\n"))?;
    }
    Ok(ExitCode::from(if worst == Harm::None { End::Done } else { End::Damaged } as u8))
}

/// Of a store in a CQL database, every session is read and compared with its checksums.
fn in_database(options: &Where, database: &scylla::Options) -> Result<ExitCode, Failure> {
    let store = scylla::tools::Offline::open(database).map_err(failure)?;
    let (mut findings, mut unheard) = (0u64, Ok(()));
    let mut tell = |what: String| {
        findings += 1;
        let line = if options.json {
            json!({"harm": "refused", "what": what}).to_string()
        } else {
            format!("refused: {what}")
        };
        if unheard.is_ok() {
            unheard = print(format_args!("{line}\n"));
        }
    };
    let whole = store.check(&mut tell);
    store.close().map_err(failure)?;
    let whole = whole.map_err(failure)?;
    unheard?;
    if options.json {
        print(format_args!("{}\n", json!({"findings": findings, "wholeSessions": whole})))?;
    } else {
        print(format_args!("{whole} sessions are whole\n"))?;
    }
    Ok(ExitCode::from(if findings == 0 { End::Done } else { End::Damaged } as u8))
}
