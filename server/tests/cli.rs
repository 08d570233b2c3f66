//! The command line as a person meets it: what is printed where, exit codes, and sentences that help. Most of
//! it needs no server; where one is needed, it is the real binary too.

#[path = "cli/profile.rs"]
mod profile;
#[path = "cli/storage.rs"]
mod storage;
mod support;

use std::{
    net::TcpListener,
    process::{Command, Output},
};

/// Runs the binary without the variables of whoever runs the tests.
fn syncbridge(arguments: &[&str]) -> Output {
    with_environment(arguments, &[])
}

fn with_environment(arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_syncbridge"));
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SYNCBRIDGE_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).envs(variables.iter().copied()).output().expect("the binary runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// An address on which nobody listens: one that the kernel gave and got back.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address").to_string()
}

#[test]
fn a_token_is_all_that_stands_on_stdout_and_json_is_one_object() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data").display().to_string();
    let made = syncbridge(&["token", "ann", "--data", &data]);
    assert!(made.status.success(), "{}", stderr(&made));
    assert_eq!(stdout(&made).trim_end().split('.').count(), 3);
    assert!(stderr(&made).contains("made a new key"), "{}", stderr(&made));

    let again = syncbridge(&["token", "ann", "--device", "phone", "--ttl", "60", "--json", "--data", &data]);
    assert_eq!(stderr(&again), "", "the key is there by now");
    let object: serde_json::Value = serde_json::from_slice(&again.stdout).expect("one JSON object");
    assert_eq!((&object["user"], &object["device"]), (&"ann".into(), &"phone".into()));
    assert!(object["token"].is_string() && object["expiresAt"].is_u64());

    let wrong = syncbridge(&["token", "ann", "--ttl", "0", "--data", &data]);
    assert_eq!(wrong.status.code(), Some(2), "{}", stderr(&wrong));
}

#[test]
fn an_exchanged_key_signs_from_then_on_and_the_former_one_stays_beside_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data").display().to_string();
    let none = syncbridge(&["rotate-key", "--data", &data]);
    assert_eq!(none.status.code(), Some(2), "{}", stderr(&none));
    assert!(syncbridge(&["token", "ann", "--data", &data]).status.success());

    let key = || std::fs::read(folder.path().join("data/signing-key.pem")).expect("a key");
    let formers = || {
        let names = std::fs::read_dir(folder.path().join("data"))
            .expect("a folder")
            .map(|entry| entry.expect("an entry").file_name());
        names.filter(|name| name.to_string_lossy().starts_with("signing-key.former.")).count()
    };
    let first = key();
    let made = syncbridge(&["rotate-key", "--data", &data]);
    assert!(made.status.success(), "{}", stderr(&made));
    assert_eq!(stdout(&made).trim().len(), 16);
    assert_eq!((key() != first, formers()), (true, 1));
    let made = syncbridge(&["rotate-key", "--drop-former", "--json", "--data", &data]);
    assert!(made.status.success(), "{}", stderr(&made));
    assert_eq!(formers(), 0);
}

#[test]
fn a_wrong_setting_ends_serve_with_code_2_and_the_nearest_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data").display().to_string();
    for command in [vec!["serve"], vec![], vec!["config", "check"]] {
        let arguments = [command.as_slice(), &["--data", &data, "--set", "storage.engin=memory"]].concat();
        let wrong = syncbridge(&arguments);
        assert_eq!(wrong.status.code(), Some(2), "{command:?}");
        assert!(stderr(&wrong).contains("the nearest is `storage.engine`"), "{}", stderr(&wrong));
    }
    let unknown = syncbridge(&["serve", "--storage", "sqlite", "--data", &data]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(stderr(&unknown).contains("`embedded`, `memory`, `scylla` or `cassandra`"), "{}", stderr(&unknown));
    assert!(!folder.path().join("data").exists(), "nothing is made for a configuration that is wrong");
}

#[test]
fn open_on_an_address_that_others_reach_is_refused() {
    for arguments in [["--listen", "0.0.0.0:0"], ["--admin", "0.0.0.0:0"]] {
        let refused = syncbridge(&[&["serve", "--open"], &arguments[..]].concat());
        assert_eq!(refused.status.code(), Some(2));
        assert!(stderr(&refused).contains("must then be on loopback"), "{}", stderr(&refused));
    }
    let refused = with_environment(&["serve"], &[("SYNCBRIDGE_OPEN", "true"), ("SYNCBRIDGE_LISTEN", "[::]:0")]);
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn the_printed_configuration_is_a_file_that_says_where_each_value_came_from() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = with_environment(&["config", "print", "--open"], &[("SYNCBRIDGE_SHARDS", "3")]);
    assert!(stdout(&first).contains("from: SYNCBRIDGE_SHARDS\nshards = 3\n"), "{}", stdout(&first));
    assert!(stdout(&first).contains("from: --open\nopen = true\n"), "{}", stdout(&first));
    let file = folder.path().join("syncbridge.toml");
    std::fs::write(&file, &first.stdout).expect("written");
    let file = file.display().to_string();
    let right = syncbridge(&["config", "check", "--config", &file]);
    assert!(right.status.success(), "{}", stderr(&right));
    let second = with_environment(&["config", "print"], &[("SYNCBRIDGE_CONFIG", &file)]);
    let values = |output: &Output| {
        let text = stdout(output);
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(values(&first), values(&second));
}

#[test]
fn a_server_that_is_not_there_is_code_6_with_a_way_to_start_one() {
    // At once, because QUIC waits for an answer that nobody gives.
    std::thread::scope(|scope| {
        for transport in ["auto", "quic", "ws"] {
            scope.spawn(move || {
                let lost = syncbridge(&["get", "demo", "--server", &nobody(), "--transport", transport]);
                assert_eq!(lost.status.code(), Some(6), "{transport}: {}", stderr(&lost));
                assert!(stderr(&lost).contains("is the server running?"), "{}", stderr(&lost));
                assert_eq!(stdout(&lost), "");
            });
        }
    });
}

#[test]
fn what_cannot_be_meant_is_code_2_before_any_connection_is_made() {
    let server = nobody();
    for (arguments, expected) in [
        (vec!["update", "demo", "--patch", "{\"op\":\"add\"}"], "a patch is a list of operations"),
        (vec!["update", "demo", "--patch", "[{\"op\":\"ad\",\"path\":\"/a\",\"value\":1}]"], "--patch: "),
        (vec!["create", "demo", "--state", "hello"], "text needs its quotes"),
        (vec!["get", "demo", "--pin", "abc"], "64 hexadecimal digits"),
        (vec!["get", "demo", "--device", ""], "1 to 128 bytes"),
        (vec!["get", "demo", "--transport", "carrier-pigeon"], "possible values: auto, quic, ws"),
        (vec!["handoff", "start", "../devices"], "no session can have this id"),
        (vec!["handoff", "complete", "7K2M9-QXR4T", "--device", "two\nlines"], "1 to 128 bytes"),
    ] {
        let wrong = syncbridge(&[arguments.as_slice(), &["--server", &server]].concat());
        assert_eq!(wrong.status.code(), Some(2), "{arguments:?}: {}", stderr(&wrong));
        assert!(stderr(&wrong).contains(expected), "{arguments:?}: {}", stderr(&wrong));
    }
    let wrong = syncbridge(&["get", "demo", "--server", "localhost"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(stderr(&wrong).contains("HOST:PORT"), "{}", stderr(&wrong));
}

#[test]
fn help_names_every_command_and_the_exit_codes() {
    let help = stdout(&syncbridge(&["--help"]));
    for word in [
        "serve",
        "create",
        "get",
        "watch",
        "update",
        "handoff",
        "token",
        "rotate-key",
        "storage",
        "config",
        "Exit codes:",
    ] {
        assert!(help.contains(word), "{word} is not in\n{help}");
    }
}

#[test]
fn the_token_of_the_environment_is_never_printed_by_help() {
    let help = with_environment(&["get", "--help"], &[("SYNCBRIDGE_TOKEN", "a-secret")]);
    assert!(!stdout(&help).contains("a-secret"), "{}", stdout(&help));
}

/// Runs the binary against a server, and takes one JSON object from its stdout.
fn asked(arguments: &[&str], server: &support::server::Server, token: &str) -> serde_json::Value {
    let address = server.clients.to_string();
    let done = with_environment(
        &[arguments, &["--json"]].concat(),
        &[("SYNCBRIDGE_SERVER", &address), ("SYNCBRIDGE_TOKEN", token)],
    );
    assert!(done.status.success(), "{arguments:?}: {}", stderr(&done));
    assert_eq!(stderr(&done), "", "{arguments:?}");
    serde_json::from_slice(&done.stdout).expect("one JSON object")
}

fn word<'a>(object: &'a serde_json::Value, name: &str) -> &'a str {
    object[name].as_str().unwrap_or_else(|| panic!("{name} in {object}"))
}

#[test]
fn a_session_goes_from_device_to_device_by_code_and_by_token_over_every_transport() {
    let folder = tempfile::tempdir().expect("a folder");
    let setup = support::server::Setup::new(&folder.path().join("data"));
    let server = setup.start();
    let mut token = setup.token("ann", &[]);
    asked(&["create", "demo", "--state", "{\"n\":1}", "--device", "device-0"], &server, &token);
    for (at, (transport, field)) in [("quic", "code"), ("ws", "token"), ("auto", "code")].into_iter().enumerate() {
        let (from, to) = (format!("device-{at}"), format!("device-{}", at + 1));
        let offered =
            asked(&["handoff", "start", "demo", "--device", &from, "--transport", transport], &server, &token);
        assert_eq!(word(&offered, "sessionId"), "demo");
        let link = format!("http://{}/handoff#{}", server.clients, word(&offered, "token"));
        assert_eq!(word(&offered, "url"), link);
        assert!(word(&offered, "expiresAt").ends_with('Z'), "{offered}");
        // Who completes has no token: it gets one.
        let complete = ["handoff", "complete", word(&offered, field), "--device", &to, "--transport", transport];
        let moved = asked(&complete, &server, "");
        assert_eq!((word(&moved, "sessionId"), &moved["version"]), ("demo", &1.into()));
        assert_eq!((word(&moved, "deviceId"), &moved["state"]), (&*to, &serde_json::json!({"n": 1})));
        assert!(!word(&moved, "refreshToken").is_empty());
        word(&moved, "accessToken").clone_into(&mut token);
        assert_eq!(word(&asked(&["get", "demo"], &server, &token), "activeDeviceId"), to);
    }
}

#[test]
fn people_get_code_link_and_a_qr_code_without_colours_and_are_told_what_is_wrong_with_a_code() {
    let folder = tempfile::tempdir().expect("a folder");
    let setup = support::server::Setup::new(&folder.path().join("data"));
    let server = setup.start();
    let (address, token) = (server.clients.to_string(), setup.token("ann", &[]));
    let run = |arguments: &[&str]| {
        with_environment(arguments, &[("SYNCBRIDGE_SERVER", &address), ("SYNCBRIDGE_TOKEN", &token)])
    };
    asked(&["create", "demo"], &server, &token);

    let offered = run(&["handoff", "start", "demo", "--ttl", "60"]);
    assert!(offered.status.success(), "{}", stderr(&offered));
    let shown = stdout(&offered);
    let (head, picture) = shown.split_once("\n\n").expect("a picture below the rest");
    let field = |name: &str| {
        let line = head.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name} in {head}")).trim().to_owned()
    };
    let (code, link) = (field("code"), field("link"));
    assert!(code.len() == 11 && field("expires").ends_with('Z'), "{head}");
    assert_eq!(picture, syncbridge::handoff::qr::half_blocks(&link).expect("a short link"));
    assert!(!shown.contains('\x1b'), "colours, and no terminal: {shown:?}");

    let moved = run(&["handoff", "complete", &code.to_lowercase().replace('-', " "), "--device", "laptop"]);
    assert!(moved.status.success(), "{}", stderr(&moved));
    let lines = stdout(&moved);
    assert!(lines.starts_with("session  demo at version 1, active on laptop\naccess   ey"), "{lines}");
    assert!(lines.contains("\nrefresh  "), "{lines}");

    let wrong = |arguments: &[&str], end: i32, said: &str| {
        let failed = run(arguments);
        assert_eq!(failed.status.code(), Some(end), "{arguments:?}: {}", stderr(&failed));
        assert!(stderr(&failed).contains(said), "{arguments:?}: {}", stderr(&failed));
        assert_eq!(stdout(&failed), "");
    };
    wrong(&["handoff", "complete", &code], 5, "a code is good once");
    wrong(&["handoff", "complete", "AAAAA-AAAAA"], 4, "look at the code again");
    // One token in 64 and as many ids begin with a hyphen: they are no options.
    wrong(&["handoff", "complete", "-2UbIyUORQKNrSShG-OI3Fe2mAdLI6wPmnLr_O6gfv0"], 4, "look at the code again");
    wrong(&["handoff", "start", "-nowhere", "--device", "-laptop"], 4, "syncbridge create");
    wrong(&["handoff", "start", "demo", "--ttl", "5"], 2, "ttlSeconds");
    wrong(&["handoff", "start", "nowhere"], 4, "syncbridge create");
    wrong(&["handoff", "start", "demo", "--token", "nonsense"], 3, "unauthenticated");
}

#[test]
fn a_server_on_a_cql_database_has_everything_that_was_durable_after_a_kill() {
    let folder = tempfile::tempdir().expect("a folder");
    let keyspace = support::cassandra::Keyspace::new();
    let data = folder.path().join("data");
    // Who comes back to an address is who was there: it need not wait until its lease of before is over.
    let setup = keyspace
        .of(support::server::Setup::with_lasting_port(&data))
        // Other tests keep this machine busy: what the database is late with is waited for.
        .set("persist.busy_age_ms", 1_000);
    let sets: Vec<&str> = setup.arguments.iter().map(String::as_str).collect();
    let data = data.display().to_string();

    let too_early = syncbridge(&[&["serve", "--data", &data, "--listen", "127.0.0.1:0"][..], &sets].concat());
    assert_eq!(too_early.status.code(), Some(1));
    assert!(stderr(&too_early).contains("run `syncbridge storage migrate`"), "{}", stderr(&too_early));
    let migrate = || syncbridge(&[&["storage", "migrate", "--data", &data][..], &sets].concat());
    let made = migrate();
    assert!(made.status.success(), "{}", stderr(&made));
    assert!(stdout(&made).contains("the schema is made, format 2"), "{}", stdout(&made));
    assert!(stdout(&migrate()).contains("nothing to do"));

    let server = setup.start();
    let token = setup.token("ann", &[]);
    asked(&["create", "demo", "--state", "{\"n\":0}", "--device", "phone"], &server, &token);
    for n in 1..=20 {
        let patch = format!("[{{\"op\":\"replace\",\"path\":\"/n\",\"value\":{n}}}]");
        asked(&["update", "demo", "--patch", &patch, "--device", "phone"], &server, &token);
    }
    let offered = asked(&["handoff", "start", "demo", "--device", "phone"], &server, &token);
    let before = asked(&["get", "demo", "--device", "phone"], &server, &token);
    assert_eq!((&before["version"], &before["state"]), (&21.into(), &serde_json::json!({"n": 20})));
    server.kill();

    let server = setup.start();
    let after = asked(&["get", "demo", "--device", "phone"], &server, &token);
    assert_eq!((&after["version"], &after["state"]), (&before["version"], &before["state"]));
    assert!(after["epoch"].as_u64() > before["epoch"].as_u64(), "another process, another epoch");
    let complete = ["handoff", "complete", word(&offered, "code"), "--device", "laptop"];
    let moved = asked(&complete, &server, "");
    assert_eq!(word(&moved, "deviceId"), "laptop");
    let again = with_environment(&complete, &[("SYNCBRIDGE_SERVER", &server.clients.to_string())]);
    assert_eq!(again.status.code(), Some(5), "a code is good once: {}", stderr(&again));
}
