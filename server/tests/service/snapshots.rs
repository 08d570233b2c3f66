//! Snapshots: made, listed, read, restored, removed; what they cost, how many there may be and how long.

use std::collections::HashSet;

use hyper::Method;
use serde_json::{Value, json};
use syncbridge_codec::{
    Message,
    message::{self, Delta},
};

use crate::{
    host::Host,
    http::Http,
    support::{
        http::metric,
        until,
        wire::{Via, Wire, hello},
    },
};

/// A device of a user that is subscribed to a session which it has just made.
async fn owner(host: &Host, session: &str, state: &Value) -> Wire {
    let hello = hello(&host.token("ann", None), "phone", fastrand::u128(..), Vec::new());
    let (mut wire, _) = Wire::greeted(Via::WebSocket, host.server().listen, hello).await;
    let state = state.to_string().into_bytes().into();
    wire.send(message::Create { counter: 1, session: session.into(), state, ..Default::default() });
    wire.wait_for(|message| matches!(message, Message::Created(_)).then_some(())).await;
    wire.send(message::Subscribe { id: 1, session: session.into(), ..Default::default() });
    wire.wait_for(|message| matches!(message, Message::Reset(_)).then_some(())).await;
    wire
}

async fn edit(wire: &mut Wire, counter: u64, version: u64, operations: Value) {
    let operations = operations.to_string().into_bytes().into();
    let base = message::Position { epoch: 1, version };
    let durability = message::Durability::Durable;
    wire.send(message::Update {
        counter,
        session: "s".into(),
        base,
        operations,
        durability,
        ..message::Update::default()
    });
    wire.wait_for(|message| match message {
        Message::Accepted(accepted) => accepted.durable.then_some(()),
        Message::Error(error) => panic!("{error:?}"),
        _ => None,
    })
    .await;
}

async fn next_delta(wire: &mut Wire) -> Delta {
    wire.wait_for(|message| if let Message::Delta(delta) = message { Some(delta) } else { None }).await
}

async fn make(http: &Http, body: Value) -> String {
    let made = http.post("/sessions/s/snapshot", body).await.expect(201);
    made["snapshotId"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_snapshot_keeps_the_document_and_a_restore_is_a_change_that_everybody_sees() {
    let host = Host::new();
    let before = json!({"title": "plan", "done": [1, 2, 3], "n": 18_446_744_073_709_551_615_u64});
    let mut wire = owner(&host, "s", &before).await;
    let http = host.user("ann");
    let body = json!({"metadata": {"label": "before lunch", "deviceId": "desk"}});
    let made = http.post("/sessions/s/snapshot", body).await;
    let location = made.header("location").unwrap().to_owned();
    let made = made.expect(201);
    assert_eq!(made["version"], 1);
    let id = made["snapshotId"].as_str().unwrap();
    assert!(location.ends_with(&format!("/sessions/s/snapshots/{id}")));

    edit(&mut wire, 2, 1, json!([{"op": "replace", "path": "/title", "value": "lunch"}])).await;
    edit(&mut wire, 3, 2, json!([{"op": "add", "path": "/done/-", "value": 4}])).await;
    let read = http.get(&format!("/sessions/s/snapshots/{id}")).await.expect(200);
    assert_eq!((&read["state"], &read["version"]), (&before, &json!(1)));
    assert_eq!(
        (&read["label"], &read["deviceId"], &read["userId"]),
        (&json!("before lunch"), &json!("desk"), &json!("ann"))
    );
    assert_eq!(read["createdAt"], made["createdAt"]);

    let restored = http.post(&format!("/sessions/s/snapshots/{id}/restore"), Value::Null).await.expect(200);
    assert_eq!(restored, json!({"version": 4}));
    let delta = next_delta(&mut wire).await;
    assert_eq!(delta.at.version, 4);
    let operations: Value = serde_json::from_slice(&delta.operations).unwrap();
    assert!(operations.as_array().unwrap().iter().all(|one| one["path"] != ""), "the difference only: {operations}");
    assert_eq!(http.get("/sessions/s").await.expect(200)["state"], before);
    // What the document is already changes nothing.
    let restored = http.post(&format!("/sessions/s/snapshots/{id}/restore"), Value::Null).await.expect(200);
    assert_eq!(restored, json!({"version": 4}));
}

#[tokio::test]
async fn a_given_state_is_kept_in_place_of_the_document_and_null_is_a_state() {
    let host = Host::new();
    let _wire = owner(&host, "s", &json!({"n": 1})).await;
    let http = host.user("ann");
    for state in [json!({"other": [true]}), json!(null), json!("text"), json!(0.5)] {
        let id = make(&http, json!({"state": state})).await;
        assert_eq!(http.get(&format!("/sessions/s/snapshots/{id}")).await.expect(200)["state"], state);
    }
    assert_eq!(http.get("/sessions/s").await.expect(200)["version"], 1, "the session is as it was");
    let id = make(&http, Value::Null).await;
    assert_eq!(http.get(&format!("/sessions/s/snapshots/{id}")).await.expect(200)["state"], json!({"n": 1}));
}

#[tokio::test]
async fn the_list_is_paged_the_newest_first_and_what_is_removed_is_gone() {
    let host = Host::new();
    let _wire = owner(&host, "s", &json!({})).await;
    let http = host.user("ann");
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(make(&http, json!({"metadata": {"label": format!("{n}")}})).await);
        // Ids of one millisecond have no order.
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    ids.reverse();
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = http.get(&format!("/sessions/s/snapshots?limit=2{cursor}")).await.expect(200);
        let items = page["items"].as_array().unwrap();
        assert!(items.iter().all(|item| item.get("state").is_none() && item["size"] == 2));
        seen.extend(items.iter().map(|item| item["snapshotId"].as_str().unwrap().to_owned()));
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ids);
    http.delete(&format!("/sessions/s/snapshots/{}", ids[1])).await.expect(204);
    for gone in [
        http.delete(&format!("/sessions/s/snapshots/{}", ids[1])).await,
        http.get(&format!("/sessions/s/snapshots/{}", ids[1])).await,
    ] {
        gone.expect(404);
        assert_eq!(gone.code(), "not_found");
    }
    assert_eq!(http.get("/sessions/s/snapshots").await.expect(200)["items"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn what_cannot_be_is_refused_by_name() {
    let host = Host::with(|config| config.limits.max_document = 2_000);
    let _wire = owner(&host, "s", &json!({})).await;
    let http = host.user("ann");
    let long = "x".repeat(300);
    for (body, status, code) in [
        (json!({"metadata": {"label": long}}), 400, "invalid_field"),
        (json!({"metadata": {"label": "two\nlines"}}), 400, "invalid_field"),
        (json!({"metadata": {"deviceId": ""}}), 400, "invalid_field"),
        (json!({"metadata": {"deviceId": long}}), 400, "invalid_field"),
        (json!({"metadata": 7}), 400, "invalid_request"),
        (json!([]), 400, "invalid_request"),
        (json!("s"), 400, "invalid_request"),
        (json!({"state": "x".repeat(3_000)}), 422, "document_too_large"),
    ] {
        let answer = http.post("/sessions/s/snapshot", body.clone()).await;
        answer.expect(status);
        assert_eq!(answer.code(), code, "{body}");
    }
    for query in ["limit=0", "limit=x", "cursor=x", "cursor=eA"] {
        let answer = http.get(&format!("/sessions/s/snapshots?{query}")).await;
        answer.expect(400);
        assert_eq!(answer.code(), "invalid_request", "{query}");
    }
    for id in ["x", "0", &"0".repeat(32), &"G".repeat(32), &"a".repeat(400)] {
        for answer in [
            http.get(&format!("/sessions/s/snapshots/{id}")).await,
            http.delete(&format!("/sessions/s/snapshots/{id}")).await,
            http.post(&format!("/sessions/s/snapshots/{id}/restore"), Value::Null).await,
        ] {
            answer.expect(404);
        }
    }
    // To strangers, and without a token, nothing of it is there.
    let id = make(&http, Value::Null).await;
    for path in ["/snapshots", &format!("/snapshots/{id}"), &format!("/snapshots/{id}/restore"), "/snapshot"] {
        let posts = path.ends_with("restore") || path.ends_with("snapshot");
        for (who, status) in [(host.user("bob"), 404), (host.http(), 401)] {
            let path = format!("/sessions/s{path}");
            let answer = if posts { who.post(&path, json!({})).await } else { who.get(&path).await };
            answer.expect(status);
        }
    }
}

#[tokio::test]
async fn the_oldest_gives_way_and_labelled_ones_after_all_others() {
    let host = Host::with(|config| config.snapshots.per_session = 3);
    let _wire = owner(&host, "s", &json!({})).await;
    let http = host.user("ann");
    let label = |label: &str| json!({"metadata": {"label": label}});
    let first = make(&http, label("a")).await;
    for _ in 0..10 {
        make(&http, Value::Null).await;
    }
    let items = http.get("/sessions/s/snapshots").await.expect(200)["items"].clone();
    assert_eq!(items.as_array().unwrap().len(), 3);
    assert_eq!(items[2]["snapshotId"], first);
    make(&http, label("b")).await;
    make(&http, label("c")).await;
    make(&http, Value::Null).await;
    make(&http, label("d")).await;
    let items = http.get("/sessions/s/snapshots").await.expect(200)["items"].clone();
    let labels: Vec<_> = items.as_array().unwrap().iter().map(|item| item["label"].clone()).collect();
    assert_eq!(labels, ["d", "c", "b"], "the one without a label was the next to go, and before it the oldest");
    http.get(&format!("/sessions/s/snapshots/{first}")).await.expect(404);
}

#[tokio::test]
async fn however_many_are_made_at_once_so_many_stay_as_there_may_be() {
    let mut host = Host::with(|config| {
        config.snapshots.per_session = 10;
        config.storage.engine = syncbridge::config::Engine::Embedded;
    });
    let wire = owner(&host, "s", &json!({})).await;
    drop(wire);
    let http = host.user("ann");
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..40 {
        let http = http.clone();
        tasks.spawn(async move {
            let body = json!({"metadata": {"label": format!("{n}")}});
            http.post("/sessions/s/snapshot", body).await.status.as_u16()
        });
    }
    let statuses = tasks.join_all().await;
    assert!(statuses.iter().filter(|status| **status == 201).count() >= 10, "{statuses:?}");
    assert!(statuses.iter().all(|status| [201, 429].contains(status)), "{statuses:?}");
    // A process that has not counted them yet comes to the same.
    host.restart().await;
    let http = host.user("ann");
    let newest = make(&http, json!({"metadata": {"label": "one more"}})).await;
    let items = http.get("/sessions/s/snapshots").await.expect(200)["items"].clone();
    assert_eq!(items[0]["snapshotId"], newest);
    let ids: HashSet<_> = items.as_array().unwrap().iter().map(|item| item["snapshotId"].to_string()).collect();
    assert_eq!(ids.len(), 10);
    for id in ids {
        http.get(&format!("/sessions/s/snapshots/{}", id.trim_matches('"'))).await.expect(200);
    }
}

#[tokio::test]
async fn a_snapshot_is_gone_when_its_time_is_over() {
    let host = Host::with(|config| config.snapshots.ttl_seconds = 1);
    let _wire = owner(&host, "s", &json!({})).await;
    let http = host.user("ann");
    let id = make(&http, Value::Null).await;
    http.get(&format!("/sessions/s/snapshots/{id}")).await.expect(200);
    let (http, path) = (&http, &format!("/sessions/s/snapshots/{id}"));
    until("the snapshot's end", || async { http.get(path).await.status == 404 }).await;
    assert_eq!(http.get("/sessions/s/snapshots").await.expect(200)["items"], json!([]));
}

/// What a snapshot of a document of 1 MiB costs. docs/SNAPSHOTS.md has the figures that this prints.
#[tokio::test]
async fn an_unchanged_document_costs_a_few_bytes_and_an_edit_the_chunks_it_touched() {
    let host = Host::durable();
    let mut rng = fastrand::Rng::with_seed(7);
    let items: Vec<Value> = (0..6_700)
        .map(|n| {
            let text: String = (0..120).map(|_| rng.alphanumeric()).collect();
            json!({"id": n, "done": rng.bool(), "text": text})
        })
        .collect();
    let document = json!({"title": "a list", "items": items});
    let size = document.to_string().len();
    assert!((1_000_000..1_100_000).contains(&size), "{size}");
    let mut wire = owner(&host, "s", &document).await;
    let http = host.user("ann");
    let admin = host.server().admin;
    let cost = async |before: f64| (metric(admin, "syncbridge_storage_log_bytes_total").await - before) as usize;
    let now = || metric(admin, "syncbridge_storage_log_bytes_total");

    let before = now().await;
    make(&http, Value::Null).await;
    let first = cost(before).await;
    // Each group of the log names what those just before it touched: they are to be somebody else's.
    let others = async || {
        for _ in 0..2 {
            http.post("/sessions", json!({"state": {"text": "x".repeat(16 << 10)}})).await.expect(201);
        }
    };
    others().await;
    let before = now().await;
    make(&http, Value::Null).await;
    let unchanged = cost(before).await;
    edit(&mut wire, 2, 1, json!([{"op": "replace", "path": "/items/3000/done", "value": "maybe"}])).await;
    others().await;
    let before = now().await;
    let id = make(&http, Value::Null).await;
    let edited = cost(before).await;
    println!("a document of {size} bytes; bytes of log: first {first}, unchanged {unchanged}, one field {edited}");
    assert!(first < size + size / 20, "{first}");
    assert!(unchanged < 512, "{unchanged}");
    assert!(edited < size / 20, "{edited}");
    let read = http.get(&format!("/sessions/s/snapshots/{id}")).await.expect(200);
    assert_eq!(read["state"]["items"][3000]["done"], "maybe");
}

#[tokio::test]
async fn a_request_that_comes_again_under_its_key_makes_and_restores_once() {
    let host = Host::new();
    let mut wire = owner(&host, "s", &json!({"n": 0})).await;
    let http = host.user("ann");
    let headers = [("content-type", "application/json"), ("idempotency-key", "once")];
    let path = "/api/v1/sessions/s/snapshot";
    let body = json!({"metadata": {"label": "a"}}).to_string();
    let first = http.send(Method::POST, path, &headers, body.clone()).await;
    let again = http.send(Method::POST, path, &headers, body).await;
    assert_eq!(first.expect(201), again.expect(201));
    assert_eq!(first.header("location"), again.header("location"));
    let other = http.send(Method::POST, path, &headers, r#"{"metadata":{"label":"b"}}"#).await;
    other.expect(422);
    assert_eq!(other.code(), "id_mismatch");
    assert_eq!(http.get("/sessions/s/snapshots").await.expect(200)["items"].as_array().unwrap().len(), 1);

    let id = first.json()["snapshotId"].as_str().unwrap().to_owned();
    let path = format!("/api/v1/sessions/s/snapshots/{id}/restore");
    edit(&mut wire, 2, 1, json!([{"op": "replace", "path": "/n", "value": 1}])).await;
    let headers = [("idempotency-key", "restore")];
    assert_eq!(http.send(Method::POST, &path, &headers, "").await.expect(200), json!({"version": 3}));
    edit(&mut wire, 3, 3, json!([{"op": "replace", "path": "/n", "value": 2}])).await;
    assert_eq!(http.send(Method::POST, &path, &headers, "").await.expect(200), json!({"version": 3}));
    assert_eq!(http.get("/sessions/s").await.expect(200)["state"], json!({"n": 2}));
}

#[tokio::test]
async fn a_session_that_is_made_again_has_none_of_the_former_ones_snapshots() {
    let host = Host::new();
    let http = host.user("ann");
    http.post("/sessions", json!({"sessionId": "s", "state": {"secret": 1}})).await.expect(201);
    let id = make(&http, Value::Null).await;
    http.delete("/sessions/s").await.expect(204);
    host.user("bob").post("/sessions", json!({"sessionId": "s", "state": {}})).await.expect(201);
    let bob = host.user("bob");
    assert_eq!(bob.get("/sessions/s/snapshots").await.expect(200)["items"], json!([]));
    bob.get(&format!("/sessions/s/snapshots/{id}")).await.expect(404);
    bob.post(&format!("/sessions/s/snapshots/{id}/restore"), Value::Null).await.expect(404);
    bob.delete(&format!("/sessions/s/snapshots/{id}")).await.expect(404);
}

#[tokio::test]
async fn the_same_is_asked_over_live_connections() {
    let host = Host::new();
    let _wire = owner(&host, "s", &json!({"n": 1})).await;
    for via in Via::BOTH {
        let hello = hello(&host.token("ann", None), "desk", fastrand::u128(..), Vec::new());
        let (mut wire, _) = Wire::greeted(via, host.server().listen, hello).await;
        let header = message::Header { name: "content-type".into(), value: "application/json".into() };
        let request = message::Request {
            id: 5,
            method: message::Method::Post,
            path: "/sessions/s/snapshot".into(),
            headers: vec![header],
            body: r#"{"metadata":{"label":"from the desk"}}"#.into(),
        };
        wire.send(request);
        let Message::Response(made) = wire.message().await else { panic!("no Response") };
        assert_eq!((made.id, made.status), (5, 201));
        let made: Value = serde_json::from_slice(&made.body).unwrap();
        let path = format!("/sessions/s/snapshots/{}", made["snapshotId"].as_str().unwrap());
        wire.send(message::Request { id: 6, path: path.into(), ..message::Request::default() });
        let Message::Response(read) = wire.message().await else { panic!("no Response") };
        let read: Value = serde_json::from_slice(&read.body).unwrap();
        assert_eq!((&read["state"], &read["deviceId"]), (&json!({"n": 1}), &json!("desk")));
    }
}
