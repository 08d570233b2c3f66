//! The command line as a person meets it: what is printed where, exit codes, and sentences that help. Needs no server.

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
    let later = syncbridge(&["serve", "--storage", "scylla", "--data", &data]);
    assert_eq!(later.status.code(), Some(2));
    assert!(stderr(&later).contains("comes with a later release"), "{}", stderr(&later));
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
    for word in ["serve", "create", "get", "watch", "update", "token", "rotate-key", "config", "Exit codes:"] {
        assert!(help.contains(word), "{word} is not in\n{help}");
    }
}

#[test]
fn the_token_of_the_environment_is_never_printed_by_help() {
    let help = with_environment(&["get", "--help"], &[("SYNCBRIDGE_TOKEN", "a-secret")]);
    assert!(!stdout(&help).contains("a-secret"), "{}", stdout(&help));
}
