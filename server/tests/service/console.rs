//! The operators' console against the real binary: what it shows, to whom it listens, and that what it does is done.

use std::io::Read as _;

use hyper::Method;
use pprof::protos::Message as _;
use serde_json::{Value, json};

use crate::{
    host::Socket,
    http::Http,
    support::server::{Server, Setup},
};

const TOKEN: &str = "an operator's secret";

/// A server with a console that may act, and its admin listener.
fn server(more: impl FnOnce(Setup) -> Setup) -> (tempfile::TempDir, Setup, Server, Http) {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, format!("{TOKEN}\n")).unwrap();
    let setup = Setup::new(&folder.path().join("data")).set("console.token_file", token.display());
    let setup = more(setup.set("persist.busy_age_ms", 1_000));
    let server = setup.start();
    let admin = Http::new(server.admin);
    (folder, setup, server, admin)
}

async fn show(admin: &Http, path: &str) -> Value {
    admin.send(Method::GET, path, &[], "").await.expect(200)
}

/// A phone of this user, subscribed to the session.
async fn phone(http: &Http, token: &str, session: &str) -> Socket {
    let mut socket = Socket::connect(http.address, None).await.unwrap();
    socket.say(json!({"type": "auth", "token": token, "deviceId": "phone"})).await;
    assert_eq!(socket.next().await.unwrap()["type"], "auth_ok");
    socket.say(json!({"type": "subscribe", "sessionId": session})).await;
    socket.until("state_sync").await;
    socket
}

#[tokio::test]
async fn operators_see_who_is_connected_to_what_and_find_them() {
    let (_folder, setup, server, admin) = server(|setup| setup);
    let token = setup.token("ann", &[]);
    let http = Http::new(server.clients).with(&*token);
    http.post("/sessions", json!({"sessionId": "trip", "state": {"secret": "tent"}})).await.expect(201);
    let mut phone = phone(&http, &token, "trip").await;
    http.put("/sessions/trip", json!({"state": {"secret": "stove"}})).await.expect(200);
    phone.until("state_delta").await;

    let seen = show(&admin, "/api/connections").await;
    let row = &seen["connections"][0];
    assert_eq!((&row["user"], &row["device"], &row["transport"]), (&json!("ann"), &json!("phone"), &json!("json")));
    assert_eq!((&row["sessions"], &row["scope"]), (&json!(["trip"]), &json!("user")));
    assert_eq!((&row["lagEvents"], &row["blocked"], &row["why"]), (&json!(0), &json!(false), &json!([])));
    assert!(row["rttMs"].as_f64().is_some_and(|rtt| rtt > 0.0), "{row}");
    assert_eq!(seen["counts"], json!([{"transport": "json", "scope": "user", "count": 1}]));
    for (text, found) in [("ann", 1), ("phon", 1), ("trip", 1), ("json", 1), ("127.0", 1), ("bob", 0)] {
        let seen = show(&admin, &format!("/api/connections?search={text}")).await;
        assert_eq!(
            (&seen["matching"], seen["connections"].as_array().map(Vec::len)),
            (&json!(found), Some(found)),
            "{text}"
        );
    }
    let sessions = show(&admin, "/api/sessions?search=tri").await;
    assert_eq!((&sessions["matching"], &sessions["sessions"][0]["id"]), (&json!(1), &json!("trip")));
    assert_eq!((&sessions["sessions"][0]["version"], &sessions["sessions"][0]["subscribers"]), (&json!(2), &json!(1)));
    let overview = show(&admin, "/api/overview").await;
    assert_eq!((&overview["sessions"], &overview["complaints"]), (&json!(1), &json!([])));
    let open: u64 = overview["transports"].as_array().unwrap().iter().map(|kind| kind["open"].as_u64().unwrap()).sum();
    assert_eq!(open, 1, "{overview}");
    for shown in [seen, sessions, overview] {
        let text = shown.to_string();
        assert!(!text.contains("stove") && !text.contains(&token), "no document and no token: {text}");
    }
    // Nothing of it is public.
    http.send(Method::GET, "/api/overview", &[], "").await.expect_status(404);
}

#[tokio::test]
async fn a_client_that_does_not_read_comes_first_and_is_told_why() {
    let (_folder, setup, server, admin) = server(|setup| {
        // What is not read is the question, not the disk, which other tests need.
        setup.set("fanout.ring_bytes", 64 << 20).set("storage.engine", "memory")
    });
    let token = setup.token("ann", &[]);
    let http = Http::new(server.clients).with(&*token);
    http.post("/sessions", json!({"sessionId": "trip", "state": {}})).await.expect(201);
    let mut good = phone(&http, &token, "trip").await;
    let reading = tokio::spawn(async move { while good.next().await.is_ok() {} });
    let mut bad = Socket::connect(server.clients, None).await.unwrap();
    bad.say(json!({"type": "auth", "token": token, "deviceId": "lazy"})).await;
    bad.say(json!({"type": "subscribe", "sessionId": "trip"})).await;
    bad.until("state_sync").await;
    // It reads nothing any more; what the sockets take is some MiB.
    let text = "x".repeat(512 << 10);
    let seen = loop {
        http.put("/sessions/trip", json!({"state": {"text": text, "n": fastrand::u64(..)}})).await.expect(200);
        let patch = json!([{"op": "add", "path": "/text", "value": format!("{}{text}", fastrand::u64(..))}]);
        http.patch("/sessions/trip", patch).await.expect(200);
        let seen = show(&admin, "/api/connections").await;
        if seen["connections"][0]["blocked"] == true && seen["connections"][0]["device"] == "lazy" {
            break seen;
        }
    };
    let row = &seen["connections"][0];
    assert_eq!(row["device"], "lazy");
    assert!(row["lagEvents"].as_u64().unwrap() + row["waitingBytes"].as_u64().unwrap() > 0, "{row}");
    assert!(row["socketBytes"].as_u64().unwrap() > 0, "{row}");
    assert!(row["why"][0].as_str().unwrap().contains("does not read"), "{row}");
    reading.abort();
}

#[tokio::test]
async fn to_act_takes_the_token_and_then_it_is_done() {
    let (_folder, setup, server, admin) = server(|setup| setup);
    let token = setup.token("ann", &[]);
    let http = Http::new(server.clients).with(&*token);
    http.post("/sessions", json!({"sessionId": "trip", "state": {}})).await.expect(201);
    let mut phone = phone(&http, &token, "trip").await;
    let id = show(&admin, "/api/connections").await["connections"][0]["id"].as_str().unwrap().to_owned();
    let disconnect = format!("/api/connections/{id}/disconnect");
    let acts = [&*disconnect, "/api/drain", "/api/profile?seconds=1"];
    for path in acts {
        admin.send(Method::POST, path, &[], "").await.expect(401);
        admin.with("another secret").send(Method::POST, path, &[], "").await.expect(401);
        admin.with(&*token).send(Method::POST, path, &[], "").await.expect(401);
        admin.with(TOKEN).send(Method::GET, path, &[], "").await.expect_status(405);
    }
    let operator = admin.with(TOKEN);
    operator.send(Method::POST, "/api/connections/zz/disconnect", &[], "").await.expect(400);
    let taken = operator.send(Method::POST, "/api/profile?seconds=1", &[], "").await.expect(200);
    assert_eq!(taken["seconds"], 1);
    operator.send(Method::POST, &disconnect, &[], "").await.expect_status(202);
    while phone.next().await.is_ok() {}
    // The client may know it before the server has forgotten the connection.
    while show(&admin, "/api/connections").await["matching"] != 0 {}

    operator.send(Method::POST, "/api/drain", &[], "").await.expect_status(202);
    assert!(server.ended().await.success(), "{}", setup.log());
}

/// What `/debug/pprof/profile` gives is what `go tool pprof` and its like read.
#[tokio::test]
async fn a_profile_is_a_file_for_tools_to_who_has_the_token() {
    let (_folder, _setup, server, admin) = server(|setup| setup);
    let path = "/debug/pprof/profile?seconds=1";
    admin.send(Method::GET, path, &[], "").await.expect(401);
    let operator = admin.with(TOKEN);
    operator.send(Method::GET, "/debug/pprof/profile?format=png", &[], "").await.expect(400);
    // The clock of samples stands while the server does nothing.
    let asking = tokio::spawn(async move {
        loop {
            Http::new(server.clients).send(Method::GET, "/api/v1/openapi.json", &[], "").await;
        }
    });
    let taken = operator.send(Method::GET, path, &[], "").await;
    assert_eq!((taken.status.as_u16(), taken.header("content-type")), (200, Some("application/octet-stream")));
    let profile = pprof::protos::Profile::decode(&*gunzip(&taken.body)).expect("a profile");
    let name = |id: i64| &*profile.string_table[usize::try_from(id).expect("a place")];
    assert_eq!(name(profile.sample_type[0].ty), "samples");
    assert!(!profile.sample.is_empty());
    assert!(profile.function.iter().any(|function| name(function.name).contains("syncbridge")));
    let drawn = operator.send(Method::GET, &format!("{path}&format=svg"), &[], "").await;
    assert_eq!((drawn.status.as_u16(), drawn.header("content-type")), (200, Some("image/svg+xml")));
    let drawn = String::from_utf8(drawn.body.to_vec()).expect("text");
    assert!(drawn.starts_with("<svg") && drawn.contains("shard-"), "{drawn}");
    asking.abort();
}

fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain).expect("gzip");
    plain
}

#[tokio::test]
async fn a_console_without_a_token_only_shows() {
    let folder = tempfile::tempdir().unwrap();
    let server = Setup::new(&folder.path().join("data")).start();
    let admin = Http::new(server.admin);
    assert_eq!(show(&admin, "/api/overview").await["mayAct"], false);
    for path in ["/api/connections/1/disconnect", "/api/drain", "/api/profile"] {
        admin.with(TOKEN).send(Method::POST, path, &[], "").await.expect(403);
    }
    admin.with(TOKEN).send(Method::GET, "/debug/pprof/profile", &[], "").await.expect(403);
    let page = admin.send(Method::GET, "/", &[], "").await;
    assert_eq!(page.status, 200);
    let text = String::from_utf8_lossy(&page.body).into_owned();
    assert!(text.contains("<title>Console"), "{text}");
    assert!(page.header("content-security-policy").unwrap().contains("default-src 'none'"));
    // It is the operators' alone, and theirs alone.
    Http::new(server.clients).send(Method::GET, "/console", &[], "").await.expect_status(404);
    admin.send(Method::GET, "/home", &[], "").await.expect_status(404);
}
