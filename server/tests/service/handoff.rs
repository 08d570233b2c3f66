//! Handing a session from device to device: by code, token and request, over every transport, and what keeps anybody else
//! from it.

use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};
use syncbridge::config::Config;
use syncbridge_client::{ChangeKind, Changes, Client, ErrorCode, Patch, SessionHandle, Transport};

use crate::{
    host::Host,
    http::{Answer, Http},
    support::{self, within},
};

pub fn text(of: &Value, name: &str) -> String {
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
pub async fn phone(host: &Host, devices: &str) -> Http {
    let phone = signed_in(&host.http(), "ann@example.com", "phone").await;
    let session = json!({"sessionId": "s", "state": {"n": 0}, "policy": {"devices": devices}});
    phone.post("/sessions", session).await.expect(201);
    phone
}

pub async fn offer(http: &Http) -> Value {
    http.post("/sessions/s/handoff/code", json!({})).await.expect(201)
}

pub async fn complete(http: &Http, code: &str, device: &str) -> Answer {
    http.post("/handoff/complete", json!({"code": code, "deviceId": device})).await
}

pub async fn active(http: &Http) -> Value {
    http.get("/sessions/s").await.expect(200)["activeDeviceId"].clone()
}

/// The Rust client with the token of `http`.
pub async fn client(http: &Http, device: &str, transport: Transport) -> Client {
    let config = syncbridge_client::Config::new(http.address.to_string(), device)
        .token(http.token.clone().unwrap_or_default())
        .transport(transport);
    within("connecting", Client::connect(config)).await.unwrap()
}

pub async fn session(client: &Client) -> (SessionHandle<Value>, Changes) {
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

pub async fn completed(changes: &mut Changes) -> (Option<String>, String) {
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
    let answer = complete(&host.http(), &typed, "desk").await;
    let took: f64 = answer.header("server-timing").unwrap().strip_prefix("handoff;dur=").unwrap().parse().unwrap();
    assert!(took > 0.0 && took < 20_000.0, "{took} ms");
    let moved = answer.expect(200);
    assert_eq!((&moved["sessionId"], &moved["version"], &moved["state"]), (&json!("s"), &json!(1), &json!({"n": 0})));
    assert!(moved["epoch"].is_u64());
    let desk = host.http().with(text(&moved, "accessToken"));
    assert_eq!(active(&desk).await, "desk");
    desk.put("/sessions/s", json!({"state": {"n": 1}})).await.expect(200);
    phone.put("/sessions/s", json!({"state": {"n": 2}})).await.expect(200);
    let devices = desk.get("/devices").await.expect(200);
    let devices: Vec<_> = devices["items"].as_array().unwrap().iter().map(|device| text(device, "deviceId")).collect();
    assert_eq!(devices, ["desk", "phone"]);
    let refresh = json!({"refreshToken": moved["refreshToken"]});
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
    for body in [json!({}), json!({"code": code}), json!({"deviceId": "desk"}), json!({"code": 7, "deviceId": "desk"})]
    {
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
    let moved = complete(&host.http(), &text(&offer(&bob).await, "code"), "bobs").await.expect(200);
    assert_eq!(moved["user"]["userId"], "bob", "it signs in as its maker");
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

    let moved = complete(&host.http(), &text(&offer(&phone).await, "code"), "desk").await.expect(200);
    assert_eq!(moved["state"], json!({"n": 1}));
    assert_eq!(completed(&mut changes).await, (Some("phone".to_owned()), "desk".to_owned()));
    let late = old.update(set(2)).unwrap();
    assert_eq!(within("an answer", late.accepted()).await.unwrap_err().code(), Some(ErrorCode::NotActive));
    let unsent = old.unsent();
    assert_eq!((unsent.len(), &unsent[0].patch), (1, &set(2)));
    assert_eq!(phone.put("/sessions/s", json!({"state": {}})).await.code(), "not_active");

    let desk = host.http().with(text(&moved, "accessToken"));
    let (new, _) = session(&client(&desk, "desk", Transport::WebSocket).await).await;
    within("a write", new.update(set(3)).unwrap().durable()).await.unwrap();
    desk.patch("/sessions/s", json!([{"op": "add", "path": "/m", "value": 1}])).await.expect(200);

    // Back again, by request: what was kept can be sent now.
    let token = text(&offer(&desk).await, "token");
    let back = json!({"fromDeviceId": "desk", "toDeviceId": "phone", "handoffToken": token});
    let moved = phone.post("/sessions/s/handoff", back).await.expect(200);
    assert_eq!(moved["activeDeviceId"], "phone");
    completed(&mut changes).await;
    within("a resend", old.resend(unsent[0].counter).unwrap().durable()).await.unwrap();
    assert_eq!(phone.get("/sessions/s").await.expect(200)["state"], json!({"n": 2, "m": 1}));
    assert!(old.unsent().is_empty());
}

pub async fn user_of(http: &Http) -> String {
    text(&http.get("/auth/me").await.expect(200), "userId")
}

#[tokio::test]
async fn under_ask_the_active_device_decides_and_nobody_else() {
    let host = Host::new();
    let phone = phone(&host, "ask").await;
    let (old, mut changes) = session(&client(&phone, "phone", Transport::Quic).await).await;
    let other = signed_in(&host.http(), "ann@example.com", "tablet").await;
    let tablet = client(&other, "tablet", Transport::WebSocket).await;
    let (_keep, mut tablets) = session(&tablet).await;

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
    // Who comes while a question waits is asked too, and answers by flat JSON.
    let mut late = host.socket(phone.token.as_deref()).await;
    late.say(json!({"type": "subscribe", "sessionId": "s"})).await;
    assert_eq!(late.until("handoff_requested").await["handoffId"], json!(handoff));
    late.say(json!({"type": "handoff_answer", "handoffId": handoff, "accept": true})).await;
    assert_eq!(late.until("handoff_completed").await["deviceId"], "desk");
    asking.await.unwrap().expect(200);
    assert_eq!(completed(&mut changes).await, (Some("phone".to_owned()), "desk".to_owned()));
    let write = old.update(set(2)).unwrap();
    assert_eq!(within("an answer", write.accepted()).await.unwrap_err().code(), Some(ErrorCode::NotActive));
}

#[tokio::test]
async fn without_an_answer_in_time_the_session_stays_and_the_code_is_good_still() {
    let host = Host::with(|config| config.handoff.answer_seconds = 1);
    let phone = phone(&host, "ask").await;
    let (_keep, mut changes) = session(&client(&phone, "phone", Transport::Quic).await).await;
    let code = text(&offer(&phone).await, "code");
    assert_eq!(complete(&host.http(), &code, "desk").await.code(), "handoff_declined");
    assert_eq!(active(&phone).await, "phone");
    let (first, _) = requested(&mut changes).await;
    let phones = phone.clone();
    let accepting = tokio::spawn(async move {
        let (handoff, _) = requested(&mut changes).await;
        phones.post(&format!("/handoff/{handoff}/answer"), json!({"accept": true})).await.expect(204);
    });
    complete(&host.http(), &code, "desk").await.expect(200);
    accepting.await.unwrap();
    let late = phone.post(&format!("/handoff/{first}/answer"), json!({"accept": true})).await;
    assert_eq!(late.code(), "not_found", "there is nothing to answer any more");
}

#[tokio::test]
async fn a_device_that_gives_up_while_the_active_one_is_asked_takes_nothing() {
    let host = Host::new();
    let phone = phone(&host, "ask").await;
    let (_keep, mut changes) = session(&client(&phone, "phone", Transport::Quic).await).await;
    let code = text(&offer(&phone).await, "code");
    let (http, given) = (host.http(), code.clone());
    let asking = tokio::spawn(async move { complete(&http, &given, "desk").await });
    let (handoff, _) = requested(&mut changes).await;
    asking.abort();
    // Its connection is closed, and with it the question withdrawn.
    support::until("the question is withdrawn", async || {
        let answer = phone.post(&format!("/handoff/{handoff}/answer"), json!({"accept": true})).await;
        answer.status == 404 || active(&phone).await == "desk"
    })
    .await;
    // Whether the answer or the withdrawal was first: the code was moved by nobody, or by the one who asked.
    let still = active(&phone).await == "phone";
    let again = tokio::spawn({
        let (http, code) = (host.http(), code.clone());
        async move { complete(&http, &code, "desk").await }
    });
    if still {
        let (handoff, _) = requested(&mut changes).await;
        phone.post(&format!("/handoff/{handoff}/answer"), json!({"accept": true})).await.expect(204);
        again.await.unwrap().expect(200);
    } else {
        assert_eq!(again.await.unwrap().code(), "gone");
    }
}

#[tokio::test]
async fn an_active_device_that_was_removed_is_not_waited_for() {
    for devices in ["exclusive", "ask"] {
        let host = Host::new();
        let phone = phone(&host, devices).await;
        let desk = signed_in(&host.http(), "ann@example.com", "desk").await;
        desk.delete("/devices/phone").await.expect(204);
        assert_eq!(desk.put("/sessions/s", json!({"state": 1})).await.code(), "not_active");
        let code = text(&offer(&desk).await, "code");
        complete(&host.http(), &code, "desk").await.expect(200);
        phone.get("/sessions/s").await.expect(401);
    }
}

#[tokio::test]
async fn of_a_hundred_completions_of_one_code_exactly_one_succeeds() {
    for devices in ["many", "exclusive"] {
        let host = Host::durable();
        let phone = phone(&host, devices).await;
        let offered = offer(&phone).await;
        let secrets = [text(&offered, "code"), text(&offered, "token")];
        let attempts = (0..100).map(|number| {
            let (http, secret) = (host.http(), secrets[number % 2].clone());
            tokio::spawn(async move { complete(&http, &secret, &format!("desk{number}")).await })
        });
        let attempts: Vec<_> = attempts.collect();
        let mut won = Vec::new();
        for attempt in attempts {
            let answer = attempt.await.unwrap();
            match answer.status.as_u16() {
                200 => won.push(text(&answer.json(), "deviceId")),
                410 => assert_eq!(answer.code(), "gone"),
                _ => panic!("{answer:?}"),
            }
        }
        assert_eq!(won.len(), 1, "{won:?}");
        assert_eq!(active(&phone).await, json!(won[0]));
    }
}

#[tokio::test]
async fn five_devices_at_once_each_become_active_in_one_order_that_everybody_sees() {
    let host = Host::durable();
    let phone = phone(&host, "exclusive").await;
    let (_keep, mut changes) = session(&client(&phone, "phone", Transport::Quic).await).await;
    let mut devices = Vec::new();
    for number in 0..5 {
        let (http, code) = (host.http(), text(&offer(&phone).await, "code"));
        devices.push(tokio::spawn(async move {
            complete(&http, &code, &format!("desk{number}")).await.expect(200);
        }));
    }
    for device in devices {
        device.await.unwrap();
    }
    let mut last = "phone".to_owned();
    for _ in 0..5 {
        let (from, to) = completed(&mut changes).await;
        assert_eq!(from.as_deref(), Some(&*last));
        last = to;
    }
    assert_eq!(active(&phone).await, json!(last));
}

#[tokio::test]
async fn a_code_that_has_expired_is_gone() {
    let host = Host::with(|config| config.handoff.ttl_seconds = 1);
    let phone = phone(&host, "many").await;
    let code = text(&offer(&phone).await, "code");
    tokio::time::sleep(Duration::from_millis(1_010)).await;
    let late = complete(&host.http(), &code, "desk").await;
    assert_eq!((late.status.as_u16(), &*late.code()), (410, "gone"));
    assert_eq!(active(&phone).await, "phone");
}

#[tokio::test]
async fn a_code_dies_with_its_makers_device_and_stays_dead_when_the_id_is_used_again() {
    let host = Host::new();
    let phone = phone(&host, "many").await;
    let code = text(&offer(&phone).await, "code");
    let desk = signed_in(&host.http(), "ann@example.com", "desk").await;
    desk.delete("/devices/phone").await.expect(204);
    assert_eq!(complete(&host.http(), &code, "tv").await.code(), "gone");
    desk.post("/devices", json!({"deviceId": "phone"})).await.expect(201);
    assert_eq!(complete(&host.http(), &code, "tv").await.code(), "gone");
    let of_desk = text(&offer(&desk).await, "code");
    complete(&host.http(), &of_desk, "tv").await.expect(200);
}

#[tokio::test]
async fn a_code_dies_with_its_makers_membership_and_stays_dead_when_they_come_back() {
    let host = Host::new();
    let phone = phone(&host, "many").await;
    let bob = host.user("bob");
    let role = |role| phone.put("/sessions/s/members", json!({"userId": "bob", "role": role}));
    role("editor").await.expect(200);
    let code = text(&offer(&bob).await, "code");
    phone.delete("/sessions/s/members/bob").await.expect(204);
    assert_eq!(complete(&host.http(), &code, "tv").await.code(), "gone");
    role("editor").await.expect(200);
    assert_eq!(complete(&host.http(), &code, "tv").await.code(), "gone");
    let code = text(&offer(&bob).await, "code");
    role("viewer").await.expect(200);
    assert_eq!(complete(&host.http(), &code, "tv").await.code(), "gone");
    assert_eq!(active(&phone).await, "phone");
}

#[tokio::test]
async fn a_code_dies_with_its_session_and_stays_dead_when_the_id_is_used_again() {
    let mut host = Host::durable();
    let phone = phone(&host, "many").await;
    let code = text(&offer(&phone).await, "code");
    phone.delete("/sessions/s").await.expect(204);
    assert_eq!(complete(&host.http(), &code, "tv").await.code(), "gone");
    phone.post("/sessions", json!({"sessionId": "s", "state": 1})).await.expect(201);
    assert_eq!(complete(&host.http(), &code, "tv").await.code(), "gone");
    host.restart().await;
    assert_eq!(complete(&host.http(), &code, "tv").await.code(), "gone");
}

#[tokio::test]
async fn guessing_is_heard_ten_times_a_minute_and_counts_for_no_one_else() {
    let host = Host::new();
    let phone = phone(&host, "many").await;
    let code = text(&offer(&phone).await, "code");
    for number in 0..10 {
        complete(&host.http(), &format!("AAAAA-AAAA{number}"), "desk").await.expect(404);
    }
    let refused = complete(&host.http(), &code, "desk").await;
    assert_eq!((refused.status.as_u16(), &*refused.code()), (429, "rate_limited"));
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=6).contains(&wait), "{wait}");
    assert_eq!(active(&phone).await, "phone");

    for lift in [|config: &mut Config| config.limits.enabled = false, |config: &mut Config| config.open = true] {
        let host = Host::with(lift);
        for number in 0..30 {
            complete(&host.http(), &format!("AAAAA-AAA{number:02}"), "desk").await.expect(404);
        }
    }
}

#[tokio::test]
async fn many_right_attempts_are_no_guesses() {
    let host = Host::new();
    let phone = phone(&host, "many").await;
    for _ in 0..15 {
        let code = text(&offer(&phone).await, "code");
        complete(&host.http(), &code, "desk").await.expect(200);
        complete(&host.http(), &code, "desk").await.expect(410);
    }
}

#[tokio::test]
async fn codes_outlive_a_restart_the_used_as_used_and_none_is_stored_readable() {
    let mut host = Host::durable();
    let phone = phone(&host, "exclusive").await;
    let [good, used] = [offer(&phone).await, offer(&phone).await];
    complete(&host.http(), &text(&used, "code"), "desk").await.expect(200);
    host.restart().await;
    assert_eq!(complete(&host.http(), &text(&used, "token"), "tv").await.code(), "gone");
    let moved = complete(&host.http(), &text(&good, "code"), "tv").await.expect(200);
    assert_eq!(active(&host.http().with(text(&moved, "accessToken"))).await, "tv");
    for offered in [&good, &used] {
        for secret in [text(offered, "code"), text(offered, "code").replace('-', ""), text(offered, "token")] {
            assert!(!host.stores(secret.as_bytes()), "{secret} lies in the data folder");
        }
    }
}

#[tokio::test]
async fn a_request_moves_the_session_when_its_token_is_good_for_it() {
    let host = Host::new();
    let phone = phone(&host, "exclusive").await;
    phone.post("/sessions", json!({"sessionId": "t", "state": 1})).await.expect(201);
    let token = text(&offer(&phone).await, "token");
    let to = |session: &str, from: &str, to: &str, token: &str| {
        let body = json!({"fromDeviceId": from, "toDeviceId": to, "handoffToken": token});
        let (phone, path) = (phone.clone(), format!("/sessions/{session}/handoff"));
        async move { phone.post(&path, body).await }
    };
    assert_eq!(to("nowhere", "phone", "desk", &token).await.code(), "not_found");
    assert_eq!(to("t", "phone", "desk", &token).await.code(), "not_found", "a token of another session");
    assert_eq!(to("s", "phone", "desk", "nonsense").await.code(), "not_found");
    assert_eq!(to("s", "tablet", "desk", &token).await.code(), "invalid_field");
    assert_eq!(to("s", "phone", "", &token).await.code(), "invalid_field");
    phone.post("/sessions/s/handoff", json!({"handoffToken": token})).await.expect(400);
    host.user("eve")
        .post("/sessions/s/handoff", json!({"fromDeviceId": "phone", "toDeviceId": "x", "handoffToken": token}))
        .await
        .expect(404);
    assert_eq!(active(&phone).await, "phone");
    let moved = to("s", "phone", "desk", &token).await.expect(200);
    assert_eq!((&moved["sessionId"], &moved["activeDeviceId"]), (&json!("s"), &json!("desk")));
    assert_eq!(to("s", "desk", "tv", &token).await.code(), "gone");
}

#[tokio::test]
async fn guesses_for_one_session_are_counted_wherever_they_come_from() {
    let host = Host::with(|config| config.set("http.trusted_proxies", "127.0.0.1").unwrap());
    let phone = phone(&host, "many").await;
    let guess = |from: String| {
        let body = json!({"fromDeviceId": "phone", "toDeviceId": "desk", "handoffToken": "AAAAA-AAAAA"}).to_string();
        let phone = phone.clone();
        async move {
            let headers = [("content-type", "application/json"), ("x-forwarded-for", &*from)];
            phone.send(Method::POST, "/api/v1/sessions/s/handoff", &headers, body).await
        }
    };
    for number in 0..10 {
        guess(format!("192.0.2.{number}")).await.expect(404);
    }
    assert_eq!(guess("192.0.2.99".to_owned()).await.code(), "rate_limited");
}

#[tokio::test]
async fn under_open_a_trial_token_is_good_every_time_whichever_device_is_active() {
    let host = Host::with(|config| config.open = true);
    let http = host.http();
    for number in 0..30 {
        let to = format!("device-{}", number % 5);
        let body = json!({"fromDeviceId": "device-9", "toDeviceId": to, "handoffToken": "test-token-1"});
        let moved = http.post("/sessions/test-session/handoff", body).await.expect(200);
        assert_eq!(moved["activeDeviceId"], json!(to));
    }
    let body = json!({"fromDeviceId": "a", "toDeviceId": "b", "handoffToken": "test-token-1"});
    Host::new().user("ann").post("/sessions/test-session/handoff", body.clone()).await.expect(404);
    let strict = Host::new();
    let phone = phone(&strict, "many").await;
    assert_eq!(phone.post("/sessions/s/handoff", body).await.code(), "not_found");
}

#[tokio::test]
async fn a_server_that_is_killed_has_moved_the_session_and_used_the_code_or_done_neither() {
    let folder = tempfile::tempdir().unwrap();
    let setup = support::server::Setup::with_lasting_port(&folder.path().join("data"));
    let mut server = setup.start();
    let http = Http::new(server.clients);
    let account = json!({"email": "ann@example.com", "password": "correct horse", "name": "Ann"});
    http.post("/auth/register", account).await.expect(201);
    let mut phone = signed_in(&http, "ann@example.com", "phone").await;
    phone
        .post("/sessions", json!({"sessionId": "s", "state": 0, "policy": {"devices": "exclusive"}}))
        .await
        .expect(201);
    let mut before = "phone".to_owned();
    let (mut moved, mut stayed) = (0, 0);
    for round in 0..40_u64 {
        let code = text(&offer(&phone).await, "code");
        let to = format!("desk{round}");
        let attempt = tokio::spawn({
            let (http, code, to) = (http.clone(), code.clone(), to.clone());
            async move { http.try_post("/handoff/complete", json!({"code": code, "deviceId": to})).await }
        });
        tokio::time::sleep(Duration::from_micros(200 * (round % 12))).await;
        server.kill();
        let told = attempt.await.unwrap().is_some_and(|answer| answer.status == 200);
        server = setup.start();
        phone = signed_in(&http, "ann@example.com", "phone").await;
        let now = text(&phone.get("/sessions/s").await.expect(200), "activeDeviceId");
        let again = complete(&http, &code, &to).await;
        if now == to {
            moved += 1;
            assert_eq!(again.code(), "gone", "round {round}");
        } else {
            stayed += 1;
            assert_eq!(now, before, "round {round}");
            assert!(!told, "round {round}: told before it was durable");
            again.expect(200);
        }
        before = to;
        if moved >= 2 && stayed >= 2 {
            return;
        }
    }
    panic!("{moved} moved, {stayed} stayed: the kills came too early or too late");
}
