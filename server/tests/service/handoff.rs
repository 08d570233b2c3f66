//! Handing a session from device to device: by code, token and request, over every transport, and what keeps anybody else
//! from it.

use std::{sync::Arc, time::Duration};

use hyper::Method;
use serde_json::{Value, json};
use syncbridge::config::Config;
use syncbridge_client::{ChangeKind, Changes, Client, ErrorCode, Patch, SessionHandle, Transport};

use crate::{
    host::Host,
    http::{Answer, Http},
    support::{self, within},
};

fn text(of: &Value, name: &str) -> String {
    of[name].as_str().unwrap_or_else(|| panic!("{name} in {of}")).to_owned()
}

/// A user who is signed in from a device.
async fn signed_in(http: &Http, email: &str, device: &str) -> Http {
    let account = json!({"email": email, "password": "correct horse", "name": "Ann"});
    let registered = http.post("/auth/register", account.clone()).await;
    assert!(registered.status == 201 || registered.status == 409, "{registered:?}");
    let login = json!({"email": email, "password": "correct horse", "deviceId": device});
    http.with(text(&http.post("/auth/login", login).await.expect(200), "accessToken"))
}

/// Ann on her phone, with a session `s` of this device policy that the phone made.
async fn phone(host: &Host, devices: &str) -> Http {
    let phone = signed_in(&host.http(), "ann@example.com", "phone").await;
    let session = json!({"sessionId": "s", "state": {"n": 0}, "policy": {"devices": devices}});
    phone.post("/sessions", session).await.expect(201);
    phone
}

async fn offer(http: &Http) -> Value {
    http.post("/sessions/s/handoff/code", json!({})).await.expect(201)
}

async fn complete(http: &Http, code: &str, device: &str) -> Answer {
    http.post("/handoff/complete", json!({"code": code, "deviceId": device})).await
}

async fn active(http: &Http) -> Value {
    http.get("/sessions/s").await.expect(200)["activeDeviceId"].clone()
}

/// The Rust client with the token of `http`.
async fn client(http: &Http, device: &str, transport: Transport) -> Client {
    let config = syncbridge_client::Config::new(http.address.to_string(), device)
        .token(http.token.clone().unwrap_or_default())
        .transport(transport);
    within("connecting", Client::connect(config)).await.unwrap()
}

async fn session(client: &Client) -> (SessionHandle<Value>, Changes) {
    let session = within("subscribing", client.session("s")).await.unwrap();
    let changes = session.changes().unwrap();
    (session, changes)
}

async fn until<T>(changes: &mut Changes, what: &str, wanted: impl Fn(&ChangeKind) -> Option<T>) -> T {
    within(what, async {
        loop {
            if let Some(found) = wanted(&changes.next().await.expect("it goes on").kind) {
                return found;
            }
        }
    })
    .await
}

async fn requested(changes: &mut Changes) -> (String, String) {
    until(changes, "HandoffRequested", |kind| match kind {
        ChangeKind::HandoffRequested { handoff, device, .. } => Some((handoff.clone(), device.clone())),
        _ => None,
    })
    .await
}

async fn completed(changes: &mut Changes) -> (Option<String>, String) {
    until(changes, "HandoffCompleted", |kind| match kind {
        ChangeKind::HandoffCompleted { from, device, .. } => Some((from.clone(), device.clone())),
        _ => None,
    })
    .await
}

fn set(n: u32) -> Patch {
    Patch::new().add("/n", n)
}

#[tokio::test]
async fn a_code_signs_the_other_device_in_and_makes_it_the_active_one() {
    let host = Host::new();
    let phone = phone(&host, "many").await;
    assert_eq!(active(&phone).await, "phone");
    let offered = offer(&phone).await;
    let (code, token) = (text(&offered, "code"), text(&offered, "token"));
    assert!(code.len() == 11 && code.as_bytes()[5] == b'-', "{code}");
    assert_eq!(token.len(), 43);
    assert!(text(&offered, "qrSvg").starts_with("<svg "));
    assert_eq!(text(&offered, "url"), format!("http://{}/handoff#{token}", phone.address));
    let expires = text(&offered, "expiresAt");
    assert!(expires.ends_with('Z') && expires.len() == 24, "{expires}");

    let typed = format!(" {} ", code.to_lowercase().replace('-', " ").replace('0', "o").replace('1', "l"));
    let taken = complete(&host.http(), &typed, "desk").await.expect(200);
    assert_eq!((&taken["sessionId"], &taken["version"], &taken["state"]), (&json!("s"), &json!(1), &json!({"n": 0})));
    assert!(taken["epoch"].is_u64());
    let desk = host.http().with(text(&taken, "accessToken"));
    assert_eq!(active(&desk).await, "desk");
    desk.put("/sessions/s", json!({"state": {"n": 1}})).await.expect(200);
    phone.put("/sessions/s", json!({"state": {"n": 2}})).await.expect(200);
    let devices = desk.get("/devices").await.expect(200);
    let devices: Vec<_> = devices["items"].as_array().unwrap().iter().map(|device| text(device, "deviceId")).collect();
    assert_eq!(devices, ["desk", "phone"]);
    let refresh = json!({"refreshToken": taken["refreshToken"]});
    host.http().post("/auth/refresh", refresh).await.expect(200);
}

#[tokio::test]
async fn code_and_token_are_one_use_together_and_nothing_wrong_burns_them() {
    let host = Host::with(|config| config.limits.enabled = false);
    let phone = phone(&host, "many").await;
    let offered = offer(&phone).await;
    let (code, token) = (text(&offered, "code"), text(&offered, "token"));
    for wrong in ["", "ABCDE", "UUUUU-UUUUU", "AAAAA-AAAAA", &token[1..], &"A".repeat(100_000)] {
        assert_eq!(complete(&host.http(), wrong, "desk").await.code(), "not_found", "{wrong:.20}");
    }
    for body in [json!({}), json!({"code": code}), json!({"deviceId": "desk"}), json!({"code": 7, "deviceId": "desk"})] {
        host.http().post("/handoff/complete", body).await.expect(400);
    }
    for device in ["", "two\nlines", &"x".repeat(129)] {
        assert_eq!(complete(&host.http(), &code, device).await.code(), "invalid_field");
    }
    host.http().post("/handoff/complete", json!({"token": token, "deviceId": "desk"})).await.expect(200);
    for presented in [&code, &token] {
        let again = complete(&host.http(), presented, "desk").await;
        assert_eq!((again.status.as_u16(), &*again.code()), (410, "gone"));
    }
    for ttl in [json!(29), json!(901), json!(-1), json!("300"), json!(1e30)] {
        phone.post("/sessions/s/handoff/code", json!({"ttlSeconds": ttl})).await.expect(400);
    }
    phone.post("/sessions/s/handoff/code", json!({"ttlSeconds": 30})).await.expect(201);
    phone.call(Method::POST, "/sessions/s/handoff/code", &Value::Null).await.expect(201);
}

#[tokio::test]
async fn strangers_and_viewers_give_no_codes_out() {
    let host = Host::new();
    let phone = phone(&host, "many").await;
    let bob = host.user("bob");
    let code = "/sessions/s/handoff/code";
    let stranger = bob.post(code, json!({})).await;
    let missing = bob.post("/sessions/t/handoff/code", json!({})).await;
    stranger.expect(404);
    assert_eq!(text(&stranger.json(), "detail").replace("\"s\"", "\"t\""), text(&missing.json(), "detail"));
    phone.put("/sessions/s/members", json!({"userId": "bob", "role": "viewer"})).await.expect(200);
    bob.post(code, json!({})).await.expect(403);
    host.http().post(code, json!({})).await.expect(401);
    phone.put("/sessions/s/members", json!({"userId": "bob", "role": "editor"})).await.expect(200);
    let taken = complete(&host.http(), &text(&offer(&bob).await, "code"), "bobs").await.expect(200);
    assert_eq!(taken["user"]["userId"], "bob", "it signs in as its maker");
    assert_eq!(active(&bob).await, "bobs");
}

#[tokio::test]
async fn under_exclusive_the_old_device_is_fenced_and_keeps_what_it_could_not_write() {
    let host = Host::new();
    let phone = phone(&host, "exclusive").await;
    let quic = client(&phone, "phone", Transport::Quic).await;
    let (old, mut changes) = session(&quic).await;
    within("a write", old.update(set(1)).unwrap().durable()).await.unwrap();
    // The phone's token names the phone; one without a device names none.
    let nobody = host.http().with(host.token(&user_of(&phone).await, None));
    let refused = nobody.put("/sessions/s", json!({"state": {"n": 9}})).await;
    assert_eq!((refused.status.as_u16(), &*refused.code()), (409, "not_active"));

    let taken = complete(&host.http(), &text(&offer(&phone).await, "code"), "desk").await.expect(200);
    assert_eq!(taken["state"], json!({"n": 1}));
    assert_eq!(completed(&mut changes).await, (Some("phone".to_owned()), "desk".to_owned()));
    let late = old.update(set(2)).unwrap();
    assert_eq!(within("an answer", late.accepted()).await.unwrap_err().code(), Some(ErrorCode::NotActive));
    let unsent = old.unsent();
    assert_eq!((unsent.len(), &unsent[0].patch), (1, &set(2)));
    assert_eq!(phone.put("/sessions/s", json!({"state": {}})).await.code(), "not_active");

    let desk = host.http().with(text(&taken, "accessToken"));
    let (new, _) = session(&client(&desk, "desk", Transport::WebSocket).await).await;
    within("a write", new.update(set(3)).unwrap().durable()).await.unwrap();
    desk.patch("/sessions/s", json!([{"op": "add", "path": "/m", "value": 1}])).await.expect(200);

    // Back again, by request: what was kept can be sent now.
    let token = text(&offer(&desk).await, "token");
    let back = json!({"fromDeviceId": "desk", "toDeviceId": "phone", "handoffToken": token});
    let taken = phone.post("/sessions/s/handoff", back).await.expect(200);
    assert_eq!(taken["activeDeviceId"], "phone");
    completed(&mut changes).await;
    within("a resend", old.resend(unsent[0].counter).unwrap().durable()).await.unwrap();
    assert_eq!(phone.get("/sessions/s").await.expect(200)["state"], json!({"n": 2, "m": 1}));
    assert!(old.unsent().is_empty());
}

async fn user_of(http: &Http) -> String {
    text(&http.get("/auth/me").await.expect(200), "userId")
}

#[tokio::test]
async fn under_ask_the_active_device_decides_and_nobody_else() {
    let host = Host::new();
    let phone = phone(&host, "ask").await;
    let (old, mut changes) = session(&client(&phone, "phone", Transport::Quic).await).await;
    let other = signed_in(&host.http(), "ann@example.com", "tablet").await;
    let tablet = client(&other, "tablet", Transport::WebSocket).await;
    let (_, mut tablets) = session(&tablet).await;

    let no = text(&offer(&phone).await, "code");
    let (http, code) = (host.http(), no.clone());
    let asking = tokio::spawn(async move { complete(&http, &code, "desk").await });
    let (handoff, device) = requested(&mut changes).await;
    assert_eq!(device, "desk");
    assert_eq!(requested(&mut tablets).await.0, handoff);
    // Neither another device, nor a call without one, nor a stranger; over no transport.
    tablet.answer_handoff(&handoff, true).unwrap();
    let answer = format!("/handoff/{handoff}/answer");
    let yes = json!({"accept": true});
    assert_eq!(other.post(&answer, yes.clone()).await.code(), "not_active");
    assert_eq!(host.user(&user_of(&phone).await).post(&answer, yes.clone()).await.code(), "not_active");
    assert_eq!(host.user("eve").post(&answer, yes.clone()).await.code(), "not_found");
    within("a write", old.update(set(1)).unwrap().durable()).await.unwrap();
    phone.post(&answer, json!({"accept": false})).await.expect(204);
    let declined = asking.await.unwrap();
    assert_eq!((declined.status.as_u16(), &*declined.code()), (409, "handoff_declined"));
    assert_eq!(active(&phone).await, "phone");
    assert_eq!(complete(&host.http(), &no, "desk").await.code(), "gone", "who was refused does not ask again");
    assert_eq!(phone.post(&answer, yes).await.code(), "not_found");

    let code = text(&offer(&phone).await, "code");
    let http = host.http();
    let asking = tokio::spawn(async move { complete(&http, &code, "desk").await });
    let (handoff, _) = requested(&mut changes).await;
    // Who comes while a question waits is asked too.
    let late = client(&phone, "phone", Transport::WebSocket).await;
    let (_, mut lates) = session(&late).await;
    drop(lates.next().now_or_never_requested(&handoff).await);
    late.answer_handoff(&handoff, true).unwrap();
    asking.await.unwrap().expect(200);
    assert_eq!(completed(&mut changes).await, (Some("phone".to_owned()), "desk".to_owned()));
    let write = old.update(set(2)).unwrap();
    assert_eq!(within("an answer", write.accepted()).await.unwrap_err().code(), Some(ErrorCode::NotActive));
}
