//! One story, whole, against the real binary: two people, three devices, plain HTTP and a stock WebSocket library.

use hyper::Method;
use serde_json::{Value, json};

use crate::{
    host::Socket,
    http::Http,
    support::server::{Server, Setup},
};

/// A server on a fresh folder.
fn server() -> (tempfile::TempDir, Server) {
    let folder = tempfile::tempdir().unwrap();
    // The machine may be busy with other tests: what a disk is given in time is not the question here.
    let setup = Setup::new(&folder.path().join("data")).set("persist.busy_age_ms", 1_000);
    let server = setup.start();
    (folder, server)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// A WebSocket that is signed in by its first message.
async fn socket(http: &Http, token: &str, device: &str) -> Socket {
    let mut socket = Socket::connect(http.address, None).await.unwrap();
    socket.say(json!({"type": "heartbeat", "timestamp": 41})).await;
    assert_eq!(socket.next().await.unwrap(), json!({"type": "heartbeat_ack", "timestamp": 41}), "works before auth");
    socket.say(json!({"type": "auth", "token": token, "deviceId": device})).await;
    assert_eq!(socket.next().await.unwrap()["type"], "auth_ok");
    socket
}

#[tokio::test]
async fn a_session_lives_on_all_devices_of_its_people_from_registration_to_logout() {
    let (_folder, server) = server();
    let http = Http::new(server.clients);

    // Ann registers, and signs in on her phone.
    let account = json!({"email": "ann@example.org", "password": "correct horse battery", "name": "Ann"});
    let registered = http.post("/auth/register", account.clone()).await.expect(201);
    assert_eq!(registered["user"]["email"], "ann@example.org");
    assert!(registered["accessToken"].is_string() && registered["refreshToken"].is_string());
    assert_eq!(http.post("/auth/register", account).await.expect(409)["code"], "already_exists");
    let wrong = json!({"email": "ann@example.org", "password": "wrong horse battery"});
    http.post("/auth/login", wrong).await.expect(401);
    let login = json!({"email": "ann@example.org", "password": "correct horse battery", "deviceId": "phone"});
    let signed_in = http.post("/auth/login", login).await.expect(200);
    let (access, refresh) = (text(&signed_in["accessToken"]).to_owned(), text(&signed_in["refreshToken"]).to_owned());
    let ann = http.with(&*access);
    let refreshed = http.post("/auth/refresh", json!({"refreshToken": refresh})).await.expect(200);
    http.with(text(&refreshed["accessToken"])).get("/devices").await.expect(200);

    // She makes a session and works in it.
    let made =
        ann.post("/sessions", json!({"sessionId": "trip", "state": {"days": 2, "list": ["tent"]}})).await.expect(201);
    assert_eq!((&made["sessionId"], &made["version"]), (&json!("trip"), &json!(1)));
    ann.post("/sessions", json!({"sessionId": "trip", "state": {}})).await.expect(409);
    let read = ann.get("/sessions/trip").await;
    assert_eq!(read.expect(200)["state"], json!({"days": 2, "list": ["tent"]}));
    let tag = read.header("etag").unwrap().to_owned();
    assert_eq!(tag, format!("\"{}.1\"", made["epoch"]));
    let path = "/api/v1/sessions/trip";
    ann.send(Method::GET, path, &[("if-none-match", &tag)], "").await.expect(304);

    let mut phone = socket(&http, &access, "phone").await;
    phone.say(json!({"type": "subscribe", "sessionId": "trip"})).await;
    let sync = phone.until("state_sync").await;
    assert_eq!((&sync["version"], &sync["state"]), (&json!(1), &json!({"days": 2, "list": ["tent"]})));

    let put = ann.put("/sessions/trip", json!({"state": {"days": 3, "list": ["tent", "stove"]}})).await.expect(200);
    assert_eq!(put["version"], 2);
    let delta = phone.until("state_delta").await;
    assert_eq!((&delta["version"], delta["delta"]["operations"].as_array().map(Vec::len)), (&json!(2), Some(2)));
    let headers = [("if-match", &*tag), ("content-type", "application/json")];
    ann.send(Method::PUT, path, &headers, r#"{"state":{}}"#).await.expect(412);
    let patch =
        json!([{"op": "test", "path": "/days", "value": 3.0}, {"op": "add", "path": "/list/-", "value": "rope"}]);
    assert_eq!(ann.patch("/sessions/trip", patch).await.expect(200)["version"], 3);
    assert_eq!(phone.until("state_delta").await["version"], 3);
    let merge = [("content-type", "application/merge-patch+json")];
    ann.send(Method::PATCH, path, &merge, r#"{"days":null,"where":"north"}"#).await.expect(200);
    assert_eq!(phone.until("state_delta").await["version"], 4);
    let update = json!({
        "type": "state_update", "sessionId": "trip", "id": "u1", "durable": true,
        "delta": {"operations": [{"op": "add", "path": "/updates/1763726400000", "value": "hi"}], "version": 1},
    });
    phone.say(update.clone()).await;
    let ack = phone.until("state_ack").await;
    assert_eq!((&ack["id"], &ack["version"]), (&json!("u1"), &json!(5)));
    phone.say(update).await;
    assert_eq!(phone.until("state_ack").await["version"], 5, "a resend is answered, and applied once");

    // A snapshot, a mistake, and back.
    let metadata = json!({"metadata": {"label": "packed", "deviceId": "phone"}});
    let snapshot = ann.post("/sessions/trip/snapshot", metadata).await.expect(201);
    assert_eq!(snapshot["version"], 5);
    let packed = ann.get("/sessions/trip").await.expect(200)["state"].clone();
    ann.put("/sessions/trip", json!({"state": {}})).await.expect(200);
    let listed = ann.get("/sessions/trip/snapshots").await.expect(200);
    assert_eq!(listed["items"][0]["snapshotId"], snapshot["snapshotId"]);
    let id = text(&snapshot["snapshotId"]);
    ann.call(Method::POST, &format!("/sessions/trip/snapshots/{id}/restore"), &Value::Null).await.expect(200);
    let back = ann.get("/sessions/trip").await.expect(200);
    assert_eq!((&back["state"], &back["version"]), (&packed, &json!(7)));
    while phone.until("state_delta").await["version"] != 7 {}

    // Bob is a stranger, then he shares it, then no more.
    let bob = json!({"email": "bob@example.org", "password": "staple staple staple", "name": "Bob"});
    let bob_account = http.post("/auth/register", bob).await.expect(201);
    let bob = http.with(text(&bob_account["accessToken"]));
    let (taken, missing) = (bob.get("/sessions/trip").await, bob.get("/sessions/nope").await);
    assert_eq!((taken.status, missing.status), (404.try_into().unwrap(), 404.try_into().unwrap()));
    let share = |role: &str| json!({"email": "bob@example.org", "role": role});
    ann.put("/sessions/trip/members", share("viewer")).await.expect(200);
    bob.get("/sessions/trip").await.expect(200);
    bob.patch("/sessions/trip", json!([{"op": "add", "path": "/bob", "value": 1}])).await.expect(403);
    let mut tablet = socket(&http, text(&bob_account["accessToken"]), "tablet").await;
    tablet.say(json!({"type": "subscribe", "sessionId": "trip"})).await;
    tablet.until("state_sync").await;
    ann.put("/sessions/trip/members", share("editor")).await.expect(200);
    assert_eq!(tablet.until("access_changed").await["role"], "editor");
    bob.patch("/sessions/trip", json!([{"op": "add", "path": "/bob", "value": 1}])).await.expect(200);
    let members = ann.get("/sessions/trip/members").await.expect(200);
    assert_eq!(members["items"].as_array().map(Vec::len), Some(2));
    let bob_id = text(&bob_account["user"]["id"]).to_owned();
    ann.delete(&format!("/sessions/trip/members/{bob_id}")).await.expect(204);
    assert_eq!(tablet.until("access_changed").await["role"], Value::Null);
    bob.get("/sessions/trip").await.expect(404);

    // Over to the laptop.
    let offer = ann.post("/sessions/trip/handoff/code", json!({})).await.expect(201);
    assert!(text(&offer["qrSvg"]).contains("<svg") && text(&offer["expiresAt"]).ends_with('Z'), "{offer}");
    let typed = text(&offer["code"]).to_lowercase().replace('-', " ").replace('0', "o");
    http.post("/handoff/complete", json!({"code": "AAAAA-AAAAA", "deviceId": "laptop"})).await.expect(404);
    let moved = http.post("/handoff/complete", json!({"code": typed, "deviceId": "laptop"})).await.expect(200);
    assert_eq!((&moved["sessionId"], &moved["state"]["where"]), (&json!("trip"), &json!("north")));
    let completed = phone.until("handoff_completed").await;
    assert_eq!(completed["deviceId"], "laptop", "{completed}");
    http.post("/handoff/complete", json!({"code": typed, "deviceId": "other"})).await.expect(410);
    let laptop = http.with(text(&moved["accessToken"]));
    assert_eq!(laptop.get("/sessions/trip").await.expect(200)["activeDeviceId"], "laptop");
    let mut screen = socket(&http, text(&moved["accessToken"]), "laptop").await;
    screen.say(json!({"type": "subscribe", "sessionId": "trip"})).await;
    screen.until("state_sync").await;
    let devices = ann.get("/sessions/trip/devices").await.expect(200);
    let mut there: Vec<_> = devices["items"].as_array().unwrap().iter().map(|one| text(&one["deviceId"])).collect();
    there.sort_unstable();
    assert_eq!(there, ["laptop", "phone"], "{devices}");

    // The phone logs out: its connection is closed before that is answered, its tokens are worth nothing.
    http.with(&*access).post("/auth/logout", json!({"refreshToken": refresh})).await.expect(204);
    assert!(loop {
        if let Err(code) = phone.next().await {
            break code >= 4000;
        }
    });
    ann.get("/sessions/trip").await.expect(401);
    http.post("/auth/refresh", json!({"refreshToken": refresh})).await.expect(401);

    // The laptop ends it.
    laptop.delete("/sessions/trip").await.expect(204);
    assert_eq!(screen.until("session_deleted").await["sessionId"], "trip");
    laptop.get("/sessions/trip").await.expect(404);
}
