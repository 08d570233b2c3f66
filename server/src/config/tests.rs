use std::path::Path;

use super::*;

fn sources() -> Sources {
    Sources::default()
}

fn with_file(text: &str) -> (tempfile::TempDir, Sources) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("syncbridge.toml");
    std::fs::write(&file, text).unwrap();
    (dir, Sources { file: Some(file), ..sources() })
}

fn problems(sources: &Sources) -> String {
    let problems = sources.load().expect_err("a problem");
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn later_sources_win_and_each_value_knows_where_it_came_from() {
    let (_dir, mut from) = with_file("shards = 1\n[limits]\nsubscriptions = 11\noperations = 12\njson_depth = 13\n");
    from.environment = vec![
        ("SYNCBRIDGE_LIMITS__OPERATIONS".into(), "22".into()),
        ("SYNCBRIDGE_LIMITS__JSON_DEPTH".into(), "23".into()),
        ("SYNCBRIDGE_LISTEN".into(), "127.0.0.1:1".into()),
    ];
    from.sets = vec!["limits.json_depth = 33".into(), "listen=127.0.0.1:2".into()];
    from.flags = vec![("--listen", "listen", "127.0.0.1:3".into())];
    let loaded = from.load().unwrap();
    let limits = &loaded.config.limits;
    assert_eq!((loaded.config.shards, limits.subscriptions, limits.operations, limits.json_depth), (1, 11, 22, 33));
    assert_eq!(loaded.config.listen, "127.0.0.1:3".parse().unwrap());
    assert_eq!(limits.pointer_parts, defaults::POINTER_PARTS);
    assert!(loaded.origin("limits.subscriptions").to_string().ends_with("syncbridge.toml:3"));
    assert_eq!(loaded.origin("limits.operations").to_string(), "SYNCBRIDGE_LIMITS__OPERATIONS");
    assert_eq!(loaded.origin("limits.json_depth"), &Origin::Set);
    assert_eq!(loaded.origin("listen"), &Origin::Flag("--listen"));
    assert_eq!(loaded.origin("admin"), &Origin::Default);
}

#[test]
fn an_unknown_key_is_an_error_that_names_the_nearest_one_whatever_the_source() {
    let (_dir, mut from) = with_file("open = false\n\n[limit]\nmax_document = 5000\n");
    from.environment = vec![("SYNCBRIDGE_LIMITS__ENABLE".into(), "false".into())];
    from.sets = vec!["storage.engin=memory".into(), "shard".into()];
    let all = problems(&from);
    assert!(
        all.contains(
            "syncbridge.toml:4: there is no setting `limit.max_document`; the nearest is `limits.max_document`"
        ),
        "{all}"
    );
    assert!(all.contains("the nearest is `SYNCBRIDGE_LIMITS__ENABLED`"), "{all}");
    assert!(all.contains("--set: there is no setting `storage.engin`; the nearest is `storage.engine`"), "{all}");
    assert!(all.contains("\"shard\" has no `=`"), "{all}");
}

#[test]
fn a_name_in_the_wrong_group_leads_to_the_right_group() {
    let from = Sources { sets: vec!["max_document=5000".into()], ..sources() };
    assert!(problems(&from).contains("the nearest is `limits.max_document`"));
}

#[test]
fn a_group_is_not_a_setting() {
    let from = Sources { sets: vec!["limits=5".into()], ..sources() };
    assert!(problems(&from).contains("`limits` is a group of settings; say which one, such as `limits.enabled`"));
    assert!(Config::default().set("open.now", "true").is_err());
}

#[test]
fn a_value_that_a_setting_does_not_take_is_an_error_that_says_what_it_takes() {
    for (set, expected) in [
        ("open=yes", "`open`: \"yes\" is not true or false"),
        ("shards=257", "`shards`: 257 is not between 0 and 256"),
        ("shards=-1", "`shards`: \"-1\" is not a whole number"),
        ("listen=7400", "is not an IP address and port such as 127.0.0.1:7400"),
        ("data=", "is not a path: it is empty"),
        ("storage.engine=sqlite", "is not `embedded`, `memory`, `scylla` or `cassandra`"),
        ("storage.cassandra.contact_points=db", "\"db\" is not HOST:PORT"),
    ] {
        let all = problems(&Sources { sets: vec![set.into()], ..sources() });
        assert!(all.contains(expected), "{set}: {all}");
    }
}

#[test]
fn a_broken_or_missing_file_is_named_with_its_line() {
    let (_dir, from) = with_file("open = false\nshards = = 3\n");
    assert!(problems(&from).contains("syncbridge.toml:2: is not TOML"), "{}", problems(&from));
    let missing = Sources { file: Some("/nowhere/syncbridge.toml".into()), ..sources() };
    assert!(problems(&missing).contains("/nowhere/syncbridge.toml: cannot be read"));
    let (_dir, list) = with_file("listen = [\"127.0.0.1:1\"]\n");
    assert!(problems(&list).contains("`listen`: no setting takes a list"));
}

#[test]
fn variables_of_the_command_line_and_of_kubernetes_are_not_settings() {
    let names =
        ["SYNCBRIDGE_TOKEN", "SYNCBRIDGE_CONFIG", "SYNCBRIDGE_SERVICE_HOST", "SYNCBRIDGE_PORT_7400_TCP", "PATH"];
    let environment = names.map(|name| (name.to_owned(), "x".to_owned())).to_vec();
    assert_eq!(Sources { environment, ..sources() }.load().unwrap().config, Config::default());
}

#[test]
fn open_and_echo_are_refused_unless_every_listener_is_on_loopback() {
    for profile in ["open", "echo"] {
        for listener in ["listen", "admin"] {
            for (address, allowed) in [
                ("127.0.0.1:9000", true),
                ("127.8.8.8:9000", true),
                ("[::1]:9000", true),
                ("[::ffff:127.0.0.1]:9000", true),
                ("0.0.0.0:9000", false),
                ("[::]:9000", false),
                ("192.168.0.2:9000", false),
            ] {
                let sets = vec![format!("{profile}=true"), format!("{listener}={address}")];
                let loaded = Sources { sets, ..sources() }.load();
                assert_eq!(loaded.is_ok(), allowed, "{profile} with {listener} on {address}");
            }
        }
    }
    let exposed = Sources { sets: vec!["listen=0.0.0.0:7400".into()], ..sources() };
    assert!(exposed.load().is_ok(), "without a development profile any address will do");
}

#[test]
fn a_certificate_needs_its_key_and_listeners_need_ports_of_their_own() {
    for set in ["tls.cert=a.pem", "tls.key=a.pem", "admin=127.0.0.1:7400", "log.filter=a=b=c"] {
        assert!(Sources { sets: vec![set.into()], ..sources() }.load().is_err(), "{set}");
    }
    let both = Sources { sets: vec!["tls.cert=a.pem".into(), "tls.key=b.pem".into()], ..sources() };
    assert!(both.load().is_ok());
    let any_port = Sources { sets: vec!["listen=127.0.0.1:0".into(), "admin=127.0.0.1:0".into()], ..sources() };
    assert!(any_port.load().is_ok());
}

#[test]
fn every_default_lies_within_its_bounds_and_every_setting_has_a_sentence() {
    let settings = Config::default().settings();
    assert!(settings.len() > 20);
    for setting in settings {
        assert!(setting.doc.concat().trim().ends_with('.'), "{}", setting.path);
        if let Some(value) = setting.value {
            assert_eq!(Config::default().set(&setting.path, &value), Ok(()), "{}", setting.path);
        }
    }
}

#[test]
fn what_is_printed_is_a_file_that_makes_the_same_configuration() {
    let sets = ["shards=3", "tls.cert=a \"b\".pem", "tls.key=k.pem", "log.filter=debug", "storage.engine=memory"];
    let loaded = Sources { sets: sets.map(String::from).to_vec(), ..sources() }.load().unwrap();
    let printed = toml(&loaded);
    assert!(printed.contains("# environment: SYNCBRIDGE_SHARDS; from: --set\nshards = 3\n"), "{printed}");
    let (_dir, from) = with_file(&printed);
    assert_eq!(from.load().unwrap().config, loaded.config);
    let (_dir, from) = with_file(&toml(&sources().load().unwrap()));
    assert_eq!(from.load().unwrap().config, Config::default());
}

#[test]
fn the_documentation_is_the_one_made_from_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/CONFIG.md");
    let written = std::fs::read_to_string(&path).expect("docs/CONFIG.md");
    let made = markdown();
    let differs = written.lines().zip(made.lines()).find(|(old, new)| old != new);
    assert!(written == made, "docs/CONFIG.md is old: run `just docs`. The first line that differs: {differs:#?}");
}
