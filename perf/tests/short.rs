//! Every scenario in its short form, the floor on both sides: the machinery works, and nothing is lost on the way.

use std::{fs, process::Command};

/// Runs the harness; its JSON.
fn perf(arguments: &[&str]) -> serde_json::Value {
    let folder = tempfile::tempdir().expect("a folder");
    let json = folder.path().join("result.json");
    let output = Command::new(env!("CARGO_BIN_EXE_syncbridge-perf"))
        .args(arguments)
        .arg("--json")
        .arg(&json)
        .output()
        .expect("the harness starts");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&fs::read(json).expect("a result")).expect("JSON")
}

#[test]
fn fanout_delivers_everything_to_everybody_in_every_workload() {
    let result = perf(&["fanout", "--short", "--workload", "one,sixteen,publishers,steady"]);
    let workloads = result["result"]["workloads"].as_array().expect("workloads");
    assert_eq!(workloads.len(), 4);
    for workload in workloads {
        let crowd = &workload["workload"]["crowd"];
        let receivers =
            crowd["publishers"].as_u64().expect("a number") + crowd["subscribers"].as_u64().expect("a number");
        for peer in workload["peers"].as_array().expect("peers") {
            let round = &peer["rounds"][0];
            let (published, deliveries) = (round["published"].as_u64(), round["deliveries"].as_u64());
            assert!(published > Some(0));
            assert_eq!(deliveries, published.map(|published| published * receivers));
            assert!(round["server_cpu_us"].as_f64() > Some(0.0));
        }
    }
}

#[test]
fn idle_measures_a_slope_over_the_connections_added() {
    let result = perf(&["idle", "--short"]);
    for peer in result["result"]["peers"].as_array().expect("peers") {
        assert!(peer["resident_all"].as_u64() > Some(0));
        assert!(peer["connect_cpu_us"].as_f64() > Some(0.0));
    }
}

#[test]
fn slow_blocks_the_server_and_the_sleeper_catches_up() {
    let result = perf(&["slow", "--short"]);
    for peer in result["result"]["peers"].as_array().expect("peers") {
        let sleeper = &peer["with"][0]["sleeper"];
        assert_eq!(sleeper["blocked"], true, "the sockets took it all: {sleeper}");
        assert!(sleeper["events"].as_u64() > Some(0));
        assert!(peer["without"][0]["sleeper"].is_null());
    }
}

#[test]
fn what_cannot_be_measured_is_refused_with_a_reason() {
    for (arguments, reason) in [
        (vec!["idle", "--transport", "quic"], "WebSocket"),
        (vec!["fanout", "--workload", "nine"], "no workload"),
        (vec!["fanout", "--short", "--server-bin", "/nonexistent/syncbridge"], "/nonexistent/syncbridge"),
        (vec!["fanout", "--short", "--server-bin", "/bin/false"], "ended before it was ready"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_syncbridge-perf")).args(&arguments).output().expect("it starts");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(reason), "{arguments:?}: {text}");
    }
}
