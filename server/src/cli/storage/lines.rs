//! An entry of a store as one line of JSON, and back. The first line names the form and its version, the last one counts, so
//! that a file that was cut short is none. Bytes are base64; a document and changes that are UTF-8 stay readable.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::{Value, json};
use syncbridge_storage::{EpochStart, StoredDelta, Table, engine::embedded::tools::Entry};

/// The version of the form; raised when a program of before could misread it.
pub const VERSION: u64 = 1;

const TABLES: [(Table, &str); 9] = [
    (Table::User, "user"),
    (Table::Credential, "credential"),
    (Table::Device, "device"),
    (Table::Token, "token"),
    (Table::Snapshot, "snapshot"),
    (Table::Chunk, "chunk"),
    (Table::Membership, "membership"),
    (Table::Handoff, "handoff"),
    (Table::Idempotency, "idempotency"),
];

/// The first line.
pub fn first() -> Value {
    json!({"syncbridge": "export", "version": VERSION})
}

/// The last line, after so many entries, of a store whose last epoch was this.
pub fn last(entries: u64, epoch: u64) -> Value {
    json!({"end": {"entries": entries, "epoch": epoch}})
}

/// What a line is.
#[derive(Debug, PartialEq)]
pub enum Line {
    /// A piece of the store.
    Entry(Entry),
    /// The last line.
    Last {
        /// Entries before it.
        entries: u64,
        /// The store's last epoch.
        epoch: u64,
    },
}

/// Bytes as text where they are text, else as `{"base64": …}`.
fn bytes(bytes: &[u8]) -> Value {
    std::str::from_utf8(bytes).map_or_else(|_| json!({"base64": STANDARD.encode(bytes)}), Value::from)
}

fn from_bytes(value: &Value) -> Option<Bytes> {
    match value {
        Value::String(text) => Some(Bytes::copy_from_slice(text.as_bytes())),
        value => STANDARD.decode(value.get("base64")?.as_str()?).ok().map(Bytes::from),
    }
}

/// An entry as a line.
pub fn line(entry: &Entry) -> Value {
    match entry {
        Entry::Session { id, epoch, version, document_version, document, meta, epochs, swept_ms } => {
            let epochs: Vec<_> = epochs.iter().map(|start| json!([start.epoch, start.base])).collect();
            json!({"session": {
                "id": id, "epoch": epoch, "version": version, "documentVersion": document_version,
                "document": bytes(document), "meta": bytes(meta), "epochs": epochs, "sweptMs": swept_ms,
            }})
        }
        Entry::Deltas(deltas) => {
            let first = deltas.first().map_or(0, |delta| delta.version);
            let changes: Vec<_> = deltas.iter().map(|delta| json!([delta.epoch, bytes(&delta.change)])).collect();
            json!({"deltas": {"first": first, "changes": changes}})
        }
        Entry::Client { user, incarnation, high_water, last_ms } => json!({"client": {
            "user": user, "incarnation": incarnation.to_string(), "highWater": high_water, "lastMs": last_ms,
        }}),
        Entry::Answers { user, incarnation, run, answers } => {
            let answers: Vec<_> = answers.iter().map(|(counter, answer)| json!([counter, bytes(answer)])).collect();
            json!({"answers": {
                "user": user, "incarnation": incarnation.to_string(), "run": run, "answers": answers,
            }})
        }
        Entry::Row { table, key, value, expires_at_ms } => {
            let name = TABLES.iter().find(|(number, _)| number == table).map(|(_, name)| *name);
            json!({"row": {"table": name, "key": bytes(key), "value": bytes(value), "expiresAtMs": expires_at_ms}})
        }
    }
}

/// True of the first line of this version.
pub fn is_first(line: &str) -> bool {
    serde_json::from_str::<Value>(line).is_ok_and(|line| line == first())
}

/// A line that is not the first; `None` when it is none.
pub fn read(line: &str) -> Option<Line> {
    let line: Value = serde_json::from_str(line).ok()?;
    let (kind, body) = line.as_object().filter(|object| object.len() == 1)?.iter().next()?;
    let number = |name: &str| body.get(name)?.as_u64();
    let text = |name: &str| Some(body.get(name)?.as_str()?.to_owned());
    let data = |name: &str| from_bytes(body.get(name)?);
    let list = |name: &str| body.get(name)?.as_array();
    let pair = |pair: &Value| Some((pair.get(0)?.as_u64()?, pair.get(1)?.clone()));
    let incarnation = || body.get("incarnation")?.as_str()?.parse().ok();
    Some(Line::Entry(match kind.as_str() {
        "end" => return Some(Line::Last { entries: number("entries")?, epoch: number("epoch")? }),
        "session" => {
            let starts = list("epochs")?.iter().map(|start| {
                let (epoch, base) = pair(start)?;
                Some(EpochStart { epoch, base: base.as_u64()? })
            });
            Entry::Session {
                id: text("id")?,
                epoch: number("epoch")?,
                version: number("version")?,
                document_version: number("documentVersion")?,
                document: data("document")?,
                meta: data("meta")?,
                epochs: starts.collect::<Option<_>>()?,
                swept_ms: number("sweptMs")?,
            }
        }
        "deltas" => {
            let deltas = list("changes")?.iter().zip(number("first")?..).map(|(change, version)| {
                let (epoch, change) = pair(change)?;
                Some(StoredDelta { version, epoch, change: from_bytes(&change)? })
            });
            Entry::Deltas(deltas.collect::<Option<_>>()?)
        }
        "client" => Entry::Client {
            user: text("user")?,
            incarnation: incarnation()?,
            high_water: number("highWater")?,
            last_ms: number("lastMs")?,
        },
        "answers" => {
            let answers = list("answers")?.iter().map(|answer| {
                let (counter, answer) = pair(answer)?;
                Some((counter, from_bytes(&answer)?))
            });
            Entry::Answers {
                user: text("user")?,
                incarnation: incarnation()?,
                run: number("run")?,
                answers: answers.collect::<Option<_>>()?,
            }
        }
        "row" => {
            let name = text("table")?;
            Entry::Row {
                table: TABLES.iter().find(|(_, known)| *known == name)?.0,
                key: data("key")?,
                value: data("value")?,
                expires_at_ms: match body.get("expiresAtMs")? {
                    Value::Null => None,
                    at => Some(at.as_u64()?),
                },
            }
        }
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries() -> Vec<Entry> {
        let odd = Bytes::from_static(b"\xff\0\n\"");
        vec![
            Entry::Session {
                id: "démo".into(),
                epoch: 3,
                version: u64::MAX,
                document_version: 7,
                document: Bytes::from_static(b"{\"a\": \"\\u00e9\"}"),
                meta: odd.clone(),
                epochs: vec![EpochStart { epoch: 1, base: 0 }, EpochStart { epoch: 3, base: 9 }],
                swept_ms: 5,
            },
            Entry::Deltas(vec![
                StoredDelta { version: 8, epoch: 3, change: odd.clone() },
                StoredDelta { version: 9, epoch: 3, change: Bytes::new() },
            ]),
            Entry::Client { user: "u".into(), incarnation: u128::MAX, high_water: 4, last_ms: 6 },
            Entry::Answers { user: "u".into(), incarnation: 1, run: 2, answers: vec![(4, odd.clone())] },
            Entry::Row { table: Table::Chunk, key: odd.clone(), value: odd, expires_at_ms: Some(0) },
            Entry::Row { table: Table::User, key: Bytes::new(), value: Bytes::new(), expires_at_ms: None },
        ]
    }

    #[test]
    fn every_entry_is_one_line_and_reads_back_as_it_was() {
        for entry in entries() {
            let text = line(&entry).to_string();
            assert!(!text.contains('\n'));
            assert_eq!(read(&text), Some(Line::Entry(entry)));
        }
        assert_eq!(read(&last(4, 9).to_string()), Some(Line::Last { entries: 4, epoch: 9 }));
        assert!(is_first(&first().to_string()));
    }

    #[test]
    fn every_table_has_a_name_of_its_own() {
        for (table, _) in TABLES {
            let entry = Entry::Row { table, key: Bytes::new(), value: Bytes::new(), expires_at_ms: None };
            assert_eq!(read(&line(&entry).to_string()), Some(Line::Entry(entry)));
        }
    }

    #[test]
    fn what_is_no_entry_is_refused() {
        for text in ["", "{}", "[]", "{\"session\":{}}", "{\"row\":{\"table\":\"no\"}}", "{\"a\":1,\"end\":{}}"] {
            assert_eq!(read(text), None, "{text}");
        }
        for entry in entries() {
            let text = line(&entry).to_string();
            assert_eq!(read(&text[..text.len() - 1]), None);
        }
        assert!(!is_first("{\"syncbridge\":\"export\",\"version\":2}"));
    }
}
