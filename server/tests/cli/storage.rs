//! `syncbridge storage …` with the real binary, on stores that the real server wrote.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Output,
};

use serde_json::{Value, json};

use crate::{
    stderr, stdout,
    support::server::{Server, Setup},
    syncbridge,
};

/// A data folder, and who works on it.
struct Place {
    _folder: tempfile::TempDir,
    data: PathBuf,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let data = folder.path().join("data");
        Self { _folder: folder, data }
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.data.with_file_name(name)
    }

    /// A server that has these sessions, each with its document.
    fn serving(&self, sessions: &[(&str, Value)]) -> Server {
        let server = Setup::new(&self.data).start();
        for (name, document) in sessions {
            let made = ask(&server, &["create", name, "--state", &document.to_string()]);
            assert!(made.status.success(), "{}", stderr(&made));
        }
        server
    }
}

/// A command of a client of this server.
fn ask(server: &Server, arguments: &[&str]) -> Output {
    let token = server.setup.token("ann", &[]);
    let address = server.clients.to_string();
    let reach = ["--server", &address, "--token", &token, "--pin", &server.fingerprint];
    syncbridge(&[arguments, &reach].concat())
}

fn document(server: &Server, session: &str) -> Value {
    let got = ask(server, &["get", session]);
    assert!(got.status.success(), "{}", stderr(&got));
    serde_json::from_str(&stdout(&got)).expect("JSON")
}

fn storage(data: &Path, arguments: &[&str]) -> Output {
    syncbridge(&[&["storage"], arguments, &["--data", data.to_str().expect("text")]].concat())
}

/// Stops it as an operator does.
fn stop(server: Server) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    server.terminate();
    assert!(runtime.block_on(server.ended()).success());
}

#[test]
fn no_command_works_on_a_store_that_a_server_has_open_nor_where_there_is_none() {
    let place = Place::new();
    let server = place.serving(&[]);
    for command in ["check", "repair", "export", "stats"] {
        let refused = storage(&place.data, &[command]);
        assert_eq!(refused.status.code(), Some(1), "{command}: {}", stderr(&refused));
        assert!(stderr(&refused).contains("in use by another process"), "{}", stderr(&refused));
        assert!(stderr(&refused).contains("hint: a server has it open"), "{}", stderr(&refused));
    }
    server.kill();
    let whole = storage(&place.data, &["check"]);
    assert!(whole.status.success(), "free once the server is gone: {}", stderr(&whole));
    let nowhere = storage(&place.beside("nowhere"), &["check"]);
    assert_eq!(nowhere.status.code(), Some(2), "{}", stderr(&nowhere));
    assert!(!place.beside("nowhere").exists(), "a look makes nothing");
}

#[test]
fn what_is_exported_is_served_after_an_import_elsewhere() {
    let place = Place::new();
    let server = place.serving(&[("one", json!({"n": 1})), ("two", json!({"text": "é\n\"x\""}))]);
    let changed = ask(&server, &["update", "one", "--patch", r#"[{"op":"replace","path":"/n","value":2}]"#]);
    assert!(changed.status.success(), "{}", stderr(&changed));
    // Killed: what only the log has is exported, too.
    server.kill();

    let figures = storage(&place.data, &["stats", "--json"]);
    let figures: Value = serde_json::from_str(&stdout(&figures)).expect("one JSON object");
    assert!(figures["log"]["uncoveredGroups"].as_u64() > Some(0), "{figures}");
    let (file, other) = (place.beside("all.jsonl"), place.beside("other"));
    let file = file.to_str().expect("text");
    let out = storage(&place.data, &["export", file]);
    assert!(out.status.success(), "{}", stderr(&out));
    let exported = fs::read_to_string(file).expect("written");
    assert!(exported.starts_with("{\"syncbridge\":\"export\",\"version\":1}\n"), "{exported}");
    assert!(exported.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));

    let cut = place.beside("cut.jsonl");
    let lines: Vec<_> = exported.lines().collect();
    fs::write(&cut, lines[..lines.len() - 1].join("\n")).expect("written");
    let half = place.beside("half");
    let refused = storage(&half, &["import", cut.to_str().expect("text")]);
    assert_eq!(refused.status.code(), Some(2), "{}", stderr(&refused));
    assert!(stderr(&refused).contains("cut short"), "{}", stderr(&refused));
    assert_eq!(storage(&half, &["check"]).status.code(), Some(2), "half a store is none");

    let done = storage(&other, &["import", file]);
    assert!(done.status.success(), "{}", stderr(&done));
    assert_eq!(storage(&other, &["import", file]).status.code(), Some(5), "there is a store by now");
    let again = storage(&other, &["export"]);
    let entries =
        |text: &str| text.lines().filter(|line| !line.contains("\"end\"")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(entries(&stdout(&again)), entries(&exported));

    let server = Setup::new(&other).start();
    assert_eq!(document(&server, "one"), json!({"n": 2}));
    assert_eq!(document(&server, "two"), json!({"text": "é\n\"x\""}));
}

#[test]
fn a_backup_of_a_running_server_is_a_data_folder_that_a_server_starts_on() {
    let place = Place::new();
    let server = place.serving(&[("demo", json!({"n": 1}))]);
    let copy = place.beside("copy");
    let done = storage(&place.data, &["backup", copy.to_str().expect("text"), "--json"]);
    assert!(done.status.success(), "{}", stderr(&done));
    let said: Value = serde_json::from_str(&stdout(&done)).expect("one JSON object");
    assert_eq!((&said["sessions"], &said["epoch"]), (&json!(1), &json!(1)), "{said}");
    assert!(said["group"].as_u64() > Some(0), "the version that it is consistent at: {said}");
    // What comes later is not in it.
    let later = ask(&server, &["update", "demo", "--patch", r#"[{"op":"replace","path":"/n","value":2}]"#]);
    assert!(later.status.success(), "{}", stderr(&later));
    let taken = storage(&place.data, &["backup", copy.to_str().expect("text")]);
    assert_eq!(taken.status.code(), Some(5), "{}", stderr(&taken));

    let whole = storage(&copy, &["check"]);
    assert!(whole.status.success(), "{}{}", stdout(&whole), stderr(&whole));
    let restored = Setup::new(&copy).start();
    assert_eq!(restored.fingerprint, server.fingerprint, "the keys are there, too");
    assert_eq!(document(&restored, "demo"), json!({"n": 1}));
    assert_eq!(document(&server, "demo"), json!({"n": 2}), "and serving went on");
    server.kill();
    let nobody = storage(&place.data, &["backup", place.beside("late").to_str().expect("text")]);
    assert_eq!(nobody.status.code(), Some(6), "{}", stderr(&nobody));
}

#[test]
fn a_damaged_session_is_named_and_refused_while_others_are_served_until_a_repair_says_what_is_lost() {
    let place = Place::new();
    let bad = json!({"text": "THE-DAMAGED-DOCUMENT"});
    stop(place.serving(&[("good", json!({"n": 1})), ("ill", bad), ("well", json!({"n": 3}))]));
    let index = place.data.join("store/index.redb");
    let mut bytes = fs::read(&index).expect("readable");
    let places: Vec<_> = (0..bytes.len()).filter(|at| bytes[*at..].starts_with(b"THE-DAMAGED")).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at] ^= 0x20;
    }
    fs::write(&index, bytes).expect("written");

    let found = storage(&place.data, &["check"]);
    assert_eq!(found.status.code(), Some(7), "{}{}", stdout(&found), stderr(&found));
    assert!(stdout(&found).contains("session \"ill\""), "{}", stdout(&found));
    assert_eq!(storage(&place.data, &["check"]).stdout, found.stdout, "a look changes nothing");
    assert_eq!(storage(&place.data, &["export"]).status.code(), Some(7), "half of it is not everything");

    let server = Setup::new(&place.data).start();
    assert_eq!(document(&server, "good"), json!({"n": 1}));
    assert_eq!(document(&server, "well"), json!({"n": 3}));
    let refused = ask(&server, &["get", "ill"]);
    assert!(!refused.status.success());
    assert!(stderr(&refused).contains("session_damaged"), "{}", stderr(&refused));
    let changed = ask(&server, &["update", "good", "--patch", r#"[{"op":"replace","path":"/n","value":2}]"#]);
    assert!(changed.status.success(), "{}", stderr(&changed));
    stop(server);

    let repaired = storage(&place.data, &["repair", "--json"]);
    assert!(repaired.status.success(), "{}", stderr(&repaired));
    let said: Value = serde_json::from_str(&stdout(&repaired)).expect("one JSON object");
    assert!(said["lost"].to_string().contains("ill"), "{said}");
    assert!(!said["lost"].to_string().contains("good"), "{said}");
    assert!(Path::new(said["aside"][0].as_str().expect("a path")).exists(), "{said}");
    let whole = storage(&place.data, &["check"]);
    assert!(whole.status.success(), "{}", stdout(&whole));
    let server = Setup::new(&place.data).start();
    assert_eq!(document(&server, "good"), json!({"n": 2}));
    assert_eq!(document(&server, "well"), json!({"n": 3}));
    assert_eq!(ask(&server, &["get", "ill"]).status.code(), Some(4), "gone, and said so");
}
