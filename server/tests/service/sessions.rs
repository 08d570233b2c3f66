//! Sessions over REST: every status code of every route, and what it leaves behind.

use hyper::Method;
use serde_json::{Value, json};

use crate::{
    host::Host,
    http::{Answer, Http},
};

const PATCH: (&str, &str) = ("content-type", "application/json-patch+json");
const MERGE: (&str, &str) = ("content-type", "application/merge-patch+json");
const JSON: (&str, &str) = ("content-type", "application/json");

async fn made(http: &Http, id: &str, state: Value) -> Value {
    http.post("/sessions", json!({"sessionId": id, "state": state})).await.expect(201)
}

async fn state(http: &Http, id: &str) -> Value {
    http.get(&format!("/sessions/{id}")).await.expect(200)["state"].clone()
}

/// A request below `/api/v1` with these headers.
async fn ask(http: &Http, method: Method, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    http.send(method, &format!("/api/v1{path}"), headers, body.to_owned()).await
}

#[tokio::test]
async fn a_session_is_made_read_replaced_patched_and_deleted() {
    let host = Host::new();
    let ann = host.user("ann");
    let made = ann.post("/sessions", json!({"sessionId": "todo", "state": {"items": ["milk"]}})).await;
    let body = made.expect(201);
    assert_eq!((&body["sessionId"], &body["version"]), (&json!("todo"), &json!(1)));
    assert_eq!(body["state"], json!({"items": ["milk"]}));
    assert_eq!(made.header("location"), Some("/api/v1/sessions/todo"));
    let tag = format!("\"{}.1\"", body["epoch"]);
    assert_eq!(made.header("etag"), Some(&*tag));

    let read = ann.get("/sessions/todo").await;
    assert_eq!(read.header("etag"), Some(&*tag));
    assert_eq!(read.header("content-type"), Some("application/json"));
    let read = read.expect(200);
    assert_eq!(read["state"], json!({"items": ["milk"]}));
    assert_eq!((&read["activeDeviceId"], &read["policy"]["devices"]), (&Value::Null, &json!("many")));

    let put = ann.put("/sessions/todo", json!({"state": {"items": ["milk", "eggs"]}})).await;
    assert_eq!(put.expect(200), json!({"version": 2}));
    assert_eq!(put.header("etag"), Some(&*tag.replace(".1\"", ".2\"")));
    let patched = ann.patch("/sessions/todo", json!([{"op": "add", "path": "/items/-", "value": "tea"}])).await;
    assert_eq!(patched.expect(200), json!({"version": 3}));
    let merged = ask(&ann, Method::PATCH, "/sessions/todo", &[MERGE], r#"{"title":"shop","none":null}"#).await;
    assert_eq!(merged.expect(200), json!({"version": 4}));
    assert_eq!(state(&ann, "todo").await, json!({"items": ["milk", "eggs", "tea"], "title": "shop"}));

    ann.delete("/sessions/todo").await.expect(204);
    ann.get("/sessions/todo").await.expect(404);
    ann.delete("/sessions/todo").await.expect(404);
    assert_eq!(ann.get("/sessions").await.expect(200), json!({"items": [], "nextCursor": null}));
}

#[tokio::test]
async fn any_json_value_is_a_state_and_integers_of_64_bits_are_kept() {
    let host = Host::new();
    let ann = host.user("ann");
    for (at, text) in
        ["null", "7", "\"x\"", "[]", "18446744073709551615", "-9223372036854775808", r#"{"a":[1,1.5,{"b":null}]}"#]
            .iter()
            .enumerate()
    {
        let body = format!(r#"{{"sessionId":"s{at}","state":{text}}}"#);
        ask(&ann, Method::POST, "/sessions", &[JSON], &body).await.expect(201);
        let read = ann.get(&format!("/sessions/s{at}")).await;
        let read = String::from_utf8(read.body.to_vec()).unwrap();
        assert!(read.contains(&format!(r#""state":{text},"#)), "{read}");
    }
}

#[tokio::test]
async fn an_id_is_taken_once_whoever_asks_and_one_that_no_session_can_have_is_refused() {
    let host = Host::new();
    let (ann, bob) = (host.user("ann"), host.user("bob"));
    made(&ann, "a:b@c~d.e_f-g", json!({})).await;
    for http in [&ann, &bob] {
        let taken = http.post("/sessions", json!({"sessionId": "a:b@c~d.e_f-g", "state": {}})).await;
        taken.expect(409);
        assert_eq!(taken.code(), "already_exists");
    }
    for id in ["", ".", "..", "a b", "a/b", "ä", &"x".repeat(129)] {
        let refused = ann.post("/sessions", json!({"sessionId": id, "state": {}})).await;
        refused.expect(400);
        assert_eq!(refused.code(), "invalid_session_id", "{id:?}");
    }
    // Decoded once: what comes of it is not decoded again.
    made(&ann, "A", json!(1)).await;
    assert_eq!(ann.get("/sessions/%41").await.expect(200)["sessionId"], "A");
    ann.get("/sessions/%2541").await.expect(400);
    ann.get("/sessions/a").await.expect(404);
    let made = ann.post("/sessions", json!({"state": 1})).await.expect(201);
    let id = made["sessionId"].as_str().unwrap();
    assert_eq!(id.len(), 22, "128 bits in base64");
    assert_eq!(state(&ann, id).await, json!(1));
}

#[tokio::test]
async fn what_cannot_be_a_session_is_refused_with_what_is_wrong() {
    let host = Host::with(|config| config.limits.max_document = 1_024);
    let ann = host.user("ann");
    let long = "x".repeat(2_000);
    for (body, status, code) in [
        ("{", 400, "invalid_json"),
        ("", 400, "invalid_json"),
        ("[]", 400, "invalid_request"),
        (r#"{"sessionId":"s"}"#, 400, "invalid_request"),
        (r#"{"sessionId":7,"state":1}"#, 400, "invalid_request"),
        (r#"{"state":1,"policy":{"conflict":"maybe"}}"#, 400, "invalid_request"),
        (&format!(r#"{{"state":{}{}}}"#, "[".repeat(70), "]".repeat(70)), 400, "invalid_json"),
        (&format!(r#"{{"state":"{long}"}}"#), 422, "document_too_large"),
    ] {
        let answer = ask(&ann, Method::POST, "/sessions", &[JSON], body).await;
        assert_eq!((answer.status.as_u16(), &*answer.code()), (status, code), "{body:.60}");
    }
    let text = ask(&ann, Method::POST, "/sessions", &[("content-type", "text/plain")], "{}").await;
    assert_eq!((text.status.as_u16(), &*text.code()), (415, "unsupported_media_type"));
    made(&ann, "s", json!({})).await;
    let answer = ann.put("/sessions/s", json!({"state": long})).await;
    assert_eq!((answer.status.as_u16(), &*answer.code()), (422, "document_too_large"));
    let answer = ann.patch("/sessions/s", json!([{"op": "add", "path": "/a", "value": long}])).await;
    assert_eq!((answer.status.as_u16(), &*answer.code()), (422, "document_too_large"));
    assert_eq!(state(&ann, "s").await, json!({}));
}

#[tokio::test]
async fn a_reader_who_has_the_version_gets_304_for_any_form_of_its_tag() {
    let host = Host::new();
    let ann = host.user("ann");
    made(&ann, "s", json!({"a": 1})).await;
    let tag = ann.get("/sessions/s").await.header("etag").unwrap().to_owned();
    for known in [tag.clone(), format!("W/{tag}"), format!("\"x\", {tag}"), "*".to_owned()] {
        let same = ask(&ann, Method::GET, "/sessions/s", &[("if-none-match", &known)], "").await;
        assert_eq!((same.status.as_u16(), same.body.len()), (304, 0), "{known}");
        assert_eq!(same.header("etag"), Some(&*tag));
    }
    for other in ["\"1.1\"", "7", "\"\""] {
        ask(&ann, Method::GET, "/sessions/s", &[("if-none-match", other)], "").await.expect(200);
    }
    ann.put("/sessions/s", json!({"state": {"a": 2}})).await.expect(200);
    let answer = ask(&ann, Method::GET, "/sessions/s", &[("if-none-match", &tag)], "").await;
    assert_eq!(answer.expect(200)["state"], json!({"a": 2}));
}

#[tokio::test]
async fn a_change_for_an_old_version_is_412_and_one_without_a_condition_replaces_what_is_there() {
    let host = Host::new();
    let ann = host.user("ann");
    made(&ann, "s", json!({"a": 1})).await;
    let tag = ann.get("/sessions/s").await.header("etag").unwrap().to_owned();
    let put = |condition: String, body: &'static str| {
        let ann = ann.clone();
        async move { ask(&ann, Method::PUT, "/sessions/s", &[JSON, ("if-match", &condition)], body).await }
    };
    put(tag.clone(), r#"{"state":{"a":2}}"#).await.expect(200);
    for old in [tag.clone(), "\"9.9\"".to_owned(), format!("W/{}", tag.replace(".1\"", ".2\""))] {
        let answer = put(old, r#"{"state":{"a":3}}"#).await;
        answer.expect(412);
        assert_eq!(answer.code(), "precondition_failed");
    }
    put("not a tag".to_owned(), r#"{"state":{"a":3}}"#).await.expect(400);
    put(format!("\"x\", {}", tag.replace(".1\"", ".2\"")), r#"{"state":{"a":3}}"#).await.expect(200);
    put("*".to_owned(), r#"{"state":{"a":4}}"#).await.expect(200);
    let conditions = [PATCH, ("if-match", &*tag)];
    ask(&ann, Method::PATCH, "/sessions/s", &conditions, r#"[{"op":"remove","path":"/a"}]"#).await.expect(412);
    ask(&ann, Method::PUT, "/sessions/s", &[JSON, ("if-none-match", "*")], r#"{"state":0}"#).await.expect(412);
    ann.put("/sessions/s", json!({"state": [1]})).await.expect(200);
    assert_eq!(state(&ann, "s").await, json!([1]));
}

#[tokio::test]
async fn what_changes_nothing_makes_no_version() {
    let host = Host::new();
    let ann = host.user("ann");
    made(&ann, "s", json!({"a": 1})).await;
    assert_eq!(ann.put("/sessions/s", json!({"state": {"a": 1}})).await.expect(200), json!({"version": 1}));
    assert_eq!(ann.patch("/sessions/s", json!([])).await.expect(200), json!({"version": 1}));
    assert_eq!(ask(&ann, Method::PATCH, "/sessions/s", &[MERGE], "{}").await.expect(200), json!({"version": 1}));
    assert_eq!(ann.put("/sessions/s", json!({"state": {"a": 1.0}})).await.expect(200)["version"], 2, "exactly");
}

#[tokio::test]
async fn json_patch_is_strict_and_each_fault_has_its_status() {
    let host = Host::new();
    let ann = host.user("ann");
    made(&ann, "s", json!({"a": {"b": 1}, "list": [1, 2]})).await;
    let many = json!(vec![json!({"op": "test", "path": "/a/b", "value": 1}); 1_001]).to_string();
    for (body, status, code) in [
        ("[", 400, "invalid_json"),
        ("{}", 400, "invalid_patch"),
        (r#"[{"op":"add"}]"#, 400, "invalid_patch"),
        (r#"[{"op":"fly","path":"/a"}]"#, 400, "invalid_patch"),
        (r#"[{"op":"add","path":"a","value":1}]"#, 400, "invalid_patch"),
        (&many, 400, "invalid_patch"),
        (r#"[{"op":"test","path":"/a/b","value":2}]"#, 409, "test_failed"),
        (r#"[{"op":"remove","path":"/x"}]"#, 422, "path_not_found"),
        (r#"[{"op":"add","path":"/x/y","value":1}]"#, 422, "path_not_found"),
        (r#"[{"op":"add","path":"/list/9","value":1}]"#, 422, "path_not_found"),
        // All or nothing.
        (r#"[{"op":"add","path":"/n","value":1},{"op":"remove","path":"/x"}]"#, 422, "path_not_found"),
    ] {
        let answer = ask(&ann, Method::PATCH, "/sessions/s", &[PATCH], body).await;
        assert_eq!((answer.status.as_u16(), &*answer.code()), (status, code), "{body:.80}");
    }
    for kind in ["application/json", "text/plain", ""] {
        let answer = ask(&ann, Method::PATCH, "/sessions/s", &[("content-type", kind)], "[]").await;
        assert_eq!((answer.status.as_u16(), &*answer.code()), (415, "unsupported_media_type"));
        assert!(answer.header("accept-patch").unwrap().contains("application/merge-patch+json"));
    }
    assert_eq!(ann.get("/sessions/s").await.expect(200)["version"], 1);
    let one = json!([{"op": "test", "path": "/a/b", "value": 1.0}, {"op": "add", "path": "/n", "value": 1}]);
    assert_eq!(ann.patch("/sessions/s", one).await.expect(200)["version"], 2, "1 equals 1.0");
}

#[tokio::test]
async fn lists_come_in_pages_in_order_and_only_to_members() {
    let host = Host::new();
    let (ann, bob) = (host.user("ann"), host.user("bob"));
    for number in 0..7 {
        made(&ann, &format!("s{number}"), json!(0)).await;
    }
    made(&bob, "other", json!(0)).await;
    let mut seen = Vec::new();
    let mut path = "/sessions?limit=3".to_owned();
    let mut pages = 0;
    loop {
        let page = ann.get(&path).await.expect(200);
        pages += 1;
        for item in page["items"].as_array().unwrap() {
            assert_eq!(item["role"], "owner");
            seen.push(item["sessionId"].as_str().unwrap().to_owned());
        }
        match page["nextCursor"].as_str() {
            Some(cursor) => path = format!("/sessions?limit=3&cursor={cursor}"),
            None => break,
        }
    }
    assert_eq!((pages, seen), (3, (0..7).map(|number| format!("s{number}")).collect::<Vec<_>>()));
    for query in ["limit=0", "limit=x", "limit=-1", "cursor=%21", "cursor=____"] {
        let answer = ann.get(&format!("/sessions?{query}")).await;
        assert_eq!((answer.status.as_u16(), &*answer.code()), (400, "invalid_request"), "{query}");
    }
    assert_eq!(ann.get("/sessions?limit=100000").await.expect(200)["items"].as_array().unwrap().len(), 7);
}

#[tokio::test]
async fn a_user_has_a_number_of_sessions_and_each_that_is_deleted_makes_room() {
    let mut host = Host::with(|config| {
        config.limits.sessions_per_user = 3;
        config.storage.engine = syncbridge::config::Engine::Embedded;
    });
    let ann = host.user("ann");
    for id in ["a", "b", "c"] {
        made(&ann, id, json!(0)).await;
    }
    let refused = ann.post("/sessions", json!({"state": 0})).await;
    refused.expect(429);
    assert_eq!(refused.code(), "limit_reached");
    made(&host.user("bob"), "d", json!(0)).await;
    host.user("bob").put("/sessions/d/members", json!({"userId": "ann", "role": "owner"})).await.expect(200);
    ann.delete("/sessions/b").await.expect(204);
    made(&ann, "b2", json!(0)).await;
    host.restart().await;
    let ann = host.user("ann");
    ann.post("/sessions", json!({"state": 0})).await.expect(429);
    ann.delete("/sessions/a").await.expect(204);
    made(&ann, "a2", json!(0)).await;
    ann.post("/sessions", json!({"state": 0})).await.expect(429);
    assert_eq!(ann.get("/sessions").await.expect(200)["items"].as_array().unwrap().len(), 4, "bob's counts for bob");
}

#[tokio::test]
async fn a_request_with_a_key_has_its_effect_once_also_after_a_restart_and_never_with_another_body() {
    let mut host = Host::durable();
    let ann = host.user("ann");
    let key = ("idempotency-key", "k-1");
    let post =
        |http: Http, body: &'static str| async move { ask(&http, Method::POST, "/sessions", &[JSON, key], body).await };
    let first = post(ann.clone(), r#"{"state":{"n":0}}"#).await;
    let id = first.expect(201)["sessionId"].as_str().unwrap().to_owned();
    assert_eq!(post(ann.clone(), r#"{"state":{"n":0}}"#).await.expect(201), first.expect(201));
    let other = post(ann.clone(), r#"{"state":{"n":1}}"#).await;
    assert_eq!((other.status.as_u16(), &*other.code()), (422, "id_mismatch"));
    assert_ne!(post(host.user("bob"), r#"{"state":{"n":0}}"#).await.expect(201)["sessionId"], id, "keys are per user");

    let path = format!("/sessions/{id}");
    let append = r#"[{"op":"add","path":"/list","value":[]}]"#;
    let again = r#"[{"op":"add","path":"/list/-","value":1}]"#;
    ask(&ann, Method::PATCH, &path, &[PATCH, ("idempotency-key", "p-1")], append).await.expect(200);
    for _ in 0..3 {
        let answer = ask(&ann, Method::PATCH, &path, &[PATCH, ("idempotency-key", "p-2")], again).await;
        assert_eq!(answer.expect(200)["version"], 3);
    }
    host.restart().await;
    let ann = host.user("ann");
    assert_eq!(post(ann.clone(), r#"{"state":{"n":0}}"#).await.expect(201), first.expect(201));
    let answer = ask(&ann, Method::PATCH, &path, &[PATCH, ("idempotency-key", "p-2")], again).await;
    assert_eq!(answer.expect(200)["version"], 3);
    let mismatch = ask(&ann, Method::PATCH, &path, &[PATCH, ("idempotency-key", "p-2")], append).await;
    assert_eq!((mismatch.status.as_u16(), &*mismatch.code()), (422, "id_mismatch"));
    let put = |body: &'static str| {
        let (ann, path) = (ann.clone(), path.clone());
        async move { ask(&ann, Method::PUT, &path, &[JSON, ("idempotency-key", "p-2")], body).await }
    };
    assert_eq!(put(r#"{"state":{"n":5}}"#).await.expect(200)["version"], 4, "another route is another request");
    ann.put(&path, json!({"state": {"n": 6}})).await.expect(200);
    assert_eq!(put(r#"{"state":{"n":5}}"#).await.expect(200)["version"], 4);
    assert_eq!(state(&ann, &id).await, json!({"n": 6}), "a resend changes nothing");
    for bad in ["", &"x".repeat(256)] {
        let answer = ask(&ann, Method::POST, "/sessions", &[JSON, ("idempotency-key", bad)], r#"{"state":0}"#).await;
        assert_eq!((answer.status.as_u16(), &*answer.code()), (400, "invalid_request"), "{bad:?}");
    }
}

#[tokio::test]
async fn of_concurrent_requests_with_one_key_exactly_one_has_an_effect() {
    let host = Host::durable();
    let ann = host.user("ann");
    made(&ann, "s", json!({"list": []})).await;
    let all = (0..60).map(|number| {
        let ann = ann.clone();
        tokio::spawn(async move {
            let key = ("idempotency-key", if number % 2 == 0 { "even" } else { "odd" });
            if number < 30 {
                let body = r#"[{"op":"add","path":"/list/-","value":1}]"#;
                ask(&ann, Method::PATCH, "/sessions/s", &[PATCH, key], body).await.expect(200)
            } else {
                ask(&ann, Method::POST, "/sessions", &[JSON, key], r#"{"state":0}"#).await.expect(201)
            }
        })
    });
    let mut answers = Vec::new();
    for one in all.collect::<Vec<_>>() {
        answers.push(one.await.unwrap());
    }
    assert_eq!(state(&ann, "s").await, json!({"list": [1, 1]}));
    for parity in 0..2 {
        assert!(answers[..30].iter().skip(parity).step_by(2).all(|answer| *answer == answers[parity]));
        assert!(answers[30..].iter().skip(parity).step_by(2).all(|answer| *answer == answers[30 + parity]));
    }
    assert_eq!(ann.get("/sessions").await.expect(200)["items"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_session_that_is_made_again_is_another_one() {
    let mut host = Host::durable();
    let ann = host.user("ann");
    let mut before = made(&ann, "s", json!({"n": 1})).await["epoch"].as_u64().unwrap();
    let keyed = [JSON, ("idempotency-key", "k")];
    ask(&ann, Method::PUT, "/sessions/s", &keyed, r#"{"state":{"n":2}}"#).await.expect(200);
    for round in 0..3 {
        if round == 2 {
            host.restart().await;
        }
        let ann = host.user("ann");
        ann.delete("/sessions/s").await.expect(204);
        let epoch = made(&ann, "s", json!({"n": 1})).await["epoch"].as_u64().unwrap();
        assert!(epoch > before && epoch < 1 << 53, "{epoch} after {before}");
        before = epoch;
        let put = ask(&ann, Method::PUT, "/sessions/s", &keyed, r#"{"state":{"n":2}}"#).await.expect(200);
        assert_eq!(
            (put["version"].clone(), state(&ann, "s").await),
            (json!(2), json!({"n": 2})),
            "it was new to this one"
        );
    }
}

#[tokio::test]
async fn a_large_document_is_replaced_by_what_differs_and_shown_whole() {
    let host = Host::new();
    let ann = host.user("ann");
    let mut document: Vec<Value> = (0..9_000).map(|number| json!({"id": number, "text": "0123456789"})).collect();
    made(&ann, "s", json!({"list": document})).await;
    document.insert(17, json!({"id": "new"}));
    document[4_000]["text"] = json!("changed");
    let whole = json!({"state": {"list": document}});
    assert_eq!(ann.put("/sessions/s", whole.clone()).await.expect(200)["version"], 2);
    for _cold_then_kept in 0..2 {
        assert_eq!(state(&ann, "s").await, whole["state"]);
    }
    let merged = ask(&ann, Method::PATCH, "/sessions/s", &[MERGE], &json!({"list": document[..2]}).to_string()).await;
    merged.expect(200);
    assert_eq!(state(&ann, "s").await, json!({"list": document[..2]}));
}

#[tokio::test]
async fn what_one_writer_replaces_while_others_patch_is_what_it_sent() {
    let host = Host::new();
    let ann = host.user("ann");
    let large: Vec<Value> = (0..4_000).map(|number| json!({"id": number, "text": "0123456789"})).collect();
    made(&ann, "s", json!({"list": large, "n": 0})).await;
    let others = (0..8).map(|number| {
        let ann = ann.clone();
        tokio::spawn(async move {
            for turn in 0..20 {
                let patch = json!([{"op": "add", "path": format!("/n{number}"), "value": turn}]);
                ann.patch("/sessions/s", patch).await.expect(200);
            }
        })
    });
    let others: Vec<_> = others.collect();
    for turn in 0..5 {
        let put = json!({"state": {"list": large, "put": turn}});
        let version = ann.put("/sessions/s", put.clone()).await.expect(200)["version"].as_u64().unwrap();
        let read = ann.get("/sessions/s").await.expect(200);
        assert!(read["version"].as_u64().unwrap() >= version);
        assert_eq!(read["state"]["put"], turn);
        assert_eq!(read["state"].get("n"), None, "it was replaced whole");
    }
    for other in others {
        other.await.unwrap();
    }
}

#[tokio::test]
async fn under_exclusive_only_the_active_device_writes() {
    let host = Host::new();
    let phone = host.http().with(host.token("ann", Some("phone")));
    let desk = host.http().with(host.token("ann", Some("desk")));
    let body = json!({"sessionId": "s", "state": 0, "policy": {"devices": "exclusive", "conflict": "reject"}});
    phone.post("/sessions", body).await.expect(201);
    let read = desk.get("/sessions/s").await.expect(200);
    assert_eq!(read["activeDeviceId"], "phone");
    assert_eq!(read["policy"], json!({"conflict": "reject", "devices": "exclusive"}));
    for other in [&desk, &host.user("ann")] {
        let refused = other.put("/sessions/s", json!({"state": 1})).await;
        refused.expect(409);
        assert_eq!(refused.code(), "not_active");
    }
    phone.put("/sessions/s", json!({"state": 2})).await.expect(200);
}

#[tokio::test]
async fn under_open_a_session_that_is_addressed_is_there() {
    let host = Host::with(|config| config.open = true);
    let (one, two) = (host.http().with("test-token-1"), host.http().with("test-token-2"));
    assert_eq!(one.get("/sessions/test-session").await.expect(200)["state"], json!({}));
    two.put("/sessions/test-session", json!({"state": {"n": 1}})).await.expect(200);
    assert_eq!(state(&host.http(), "test-session").await, json!({"n": 1}));
    one.patch("/sessions/fresh", json!([{"op": "add", "path": "/a", "value": 1}])).await.expect(200);
    one.get("/sessions/not%20one").await.expect(400);
}

#[tokio::test]
async fn strangers_get_the_same_bytes_whether_a_session_exists_or_not() {
    let host = Host::new();
    let (ann, eve) = (host.user("ann"), host.user("eve"));
    made(&ann, "one", json!({})).await;
    let requests: [(Method, &str, &[(&str, &str)], &str); 14] = [
        (Method::GET, "", &[], ""),
        (Method::GET, "", &[("if-none-match", "*")], ""),
        (Method::PUT, "", &[JSON], r#"{"state":1}"#),
        (Method::PUT, "", &[JSON, ("if-match", "\"1.1\"")], r#"{"state":1}"#),
        (Method::PUT, "", &[JSON, ("if-match", "x")], r#"{"state":1}"#),
        (Method::PUT, "", &[JSON], "{"),
        (Method::PATCH, "", &[PATCH], r#"[{"op":"add","path":"/a","value":1}]"#),
        (Method::PATCH, "", &[PATCH], "{"),
        (Method::PATCH, "", &[JSON], "{"),
        (Method::PATCH, "", &[MERGE], "[}"),
        (Method::DELETE, "", &[], ""),
        (Method::GET, "/members", &[], ""),
        (Method::PUT, "/members", &[JSON], r#"{"userId":"eve","role":"owner"}"#),
        (Method::DELETE, "/members/ann", &[], ""),
    ];
    for (method, tail, headers, body) in requests {
        let mut answers = Vec::new();
        for id in ["one", "two"] {
            let answer = ask(&eve, method.clone(), &format!("/sessions/{id}{tail}"), headers, body).await;
            let mut fields = answer.json();
            // Which request it was differs by nature.
            fields.as_object_mut().unwrap().remove("requestId");
            answers.push((answer.status, fields.to_string().replace(&format!("\\\"{id}\\\""), "ID")));
        }
        assert_eq!(answers[0], answers[1], "{method} {tail} {body}");
        assert!(answers[0].0 == 404 || body.starts_with('{') && body.len() == 1, "{method} {tail}: {answers:?}");
    }
    assert_eq!(state(&ann, "one").await, json!({}));
}
