//! `syncbridge storage stats`.

use std::process::ExitCode;

use serde_json::{Value, json};
use syncbridge_storage::engine::{embedded::tools::Offline, scylla};

use super::{Where, failure};
use crate::cli::{Failure, print};

/// Runs it.
///
/// # Errors
/// [`Failure`].
pub fn run(options: &Where) -> Result<ExitCode, Failure> {
    if let Some(database) = options.database()? {
        return in_database(options, &database);
    }
    let figures = Offline::lock(&options.store()?).map_err(failure)?.stats().map_err(failure)?;
    if options.json {
        let tables: serde_json::Map<String, Value> = figures
            .tables
            .iter()
            .map(|table| (table.name.clone(), json!({"rows": table.rows, "bytes": table.bytes})))
            .collect();
        let all = json!({
            "epoch": figures.epoch,
            "sessions": figures.sessions,
            "tables": tables,
            "index": {"bytes": figures.index_bytes, "garbage": figures.index_garbage},
            "log": {
                "segments": figures.log_segments,
                "bytes": figures.log_bytes,
                "covered": figures.log_covered,
                "uncoveredGroups": figures.log_groups,
                "spareBytes": figures.spare_bytes,
            },
            "damagedBytes": figures.aside_bytes,
        });
        print(format_args!("{all}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut lines = vec![format!("{} sessions, epoch {}", figures.sessions, figures.epoch)];
    let (index, garbage) = (figures.index_bytes, figures.index_garbage);
    lines.push(format!("index      {index:>14} bytes, of which {garbage} are free"));
    for table in &figures.tables {
        lines.push(format!("  {:<10} {:>12} bytes {:>12} rows", table.name, table.bytes, table.rows));
    }
    lines.push(format!(
        "log        {:>14} bytes in {} segments, {} groups that the index does not have; {} bytes spare",
        figures.log_bytes, figures.log_segments, figures.log_groups, figures.spare_bytes
    ));
    lines.push(format!("damaged    {:>14} bytes put aside", figures.aside_bytes));
    print(format_args!("{}\n", lines.join("\n")))?;
    Ok(ExitCode::SUCCESS)
}

fn in_database(options: &Where, database: &scylla::Options) -> Result<ExitCode, Failure> {
    let store = scylla::tools::Offline::open(database).map_err(failure)?;
    let figures = store.stats();
    store.close().map_err(failure)?;
    let figures = figures.map_err(failure)?;
    if options.json {
        let tables: serde_json::Map<String, Value> = figures
            .tables
            .iter()
            .map(|(table, rows, bytes)| (format!("{table:?}").to_lowercase(), json!({"rows": rows, "bytes": bytes})))
            .collect();
        let all = json!({
            "epoch": figures.epoch,
            "sessions": figures.sessions,
            "tables": tables,
            "transactions": figures.transactions,
        });
        print(format_args!("{all}\n"))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut lines = vec![format!("{} sessions, epoch {}", figures.sessions, figures.epoch)];
    for (table, rows, bytes) in &figures.tables {
        lines.push(format!("  {:<11} {bytes:>12} bytes {rows:>12} rows", format!("{table:?}").to_lowercase()));
    }
    lines.push(format!("{} commits of several partitions on record", figures.transactions));
    print(format_args!("{}\n", lines.join("\n")))?;
    Ok(ExitCode::SUCCESS)
}
