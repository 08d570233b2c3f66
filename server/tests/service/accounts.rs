//! Accounts and devices over REST: who is let in, with what, and when that ends.

use std::net::SocketAddr;

use serde_json::{Value, json};
use syncbridge::{auth::keys, config::Engine};

use crate::{
    host::Host,
    http::Http,
    support::{
        http::metric,
        until,
        wire::{End, Via, Wire, hello},
    },
};

const PASSWORD: &str = "correct horse";

async fn register(host: &Host, email: &str) -> Value {
    host.http().post("/auth/register", json!({"email": email, "password": PASSWORD, "name": "Ann"})).await.expect(201)
}

async fn login(host: &Host, more: Value) -> Value {
    let mut body = json!({"email": "ann@example.com", "password": PASSWORD});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    host.http().post("/auth/login", body).await.expect(200)
}

fn text<'a>(of: &'a Value, name: &str) -> &'a str {
    of[name].as_str().unwrap_or_else(|| panic!("{name} in {of}"))
}

fn with(host: &Host, tokens: &Value) -> Http {
    host.http().with(text(tokens, "accessToken"))
}

#[tokio::test]
async fn who_registers_signs_in_refreshes_and_signs_out() {
    let host = Host::new();
    let registered = register(&host, "Ann@Example.com").await;
    assert_eq!(registered["user"]["email"], "ann@example.com");
    assert_eq!(registered["expiresIn"], 900);
    let me = with(&host, &registered).get("/auth/me").await.expect(200);
    assert_eq!(me, registered["user"]);

    let tokens = login(&host, json!({})).await;
    assert_eq!(tokens["user"], me);
    let refresh = json!({"refreshToken": tokens["refreshToken"]});
    for _ in 0..3 {
        let again = host.http().post("/auth/refresh", refresh.clone()).await.expect(200);
        assert_eq!(again["refreshToken"], tokens["refreshToken"], "a plain login's stays");
        assert_eq!(with(&host, &again).get("/auth/me").await.expect(200), me);
    }
    host.http().post("/auth/logout", refresh.clone()).await.expect(204);
    assert_eq!(host.http().post("/auth/refresh", refresh.clone()).await.code(), "invalid_credentials");
    assert_eq!(with(&host, &tokens).get("/auth/me").await.code(), "unauthenticated");
    host.http().post("/auth/logout", refresh).await.expect(204);
    with(&host, &registered).get("/auth/me").await.expect(200);
}

async fn refresh(host: &Host, tokens: &Value) -> crate::http::Answer {
    host.http().post("/auth/refresh", json!({"refreshToken": tokens["refreshToken"]})).await
}

async fn logout(host: &Host, tokens: &Value) {
    host.http().post("/auth/logout", json!({"refreshToken": tokens["refreshToken"]})).await.expect(204);
}

/// A native connection with these tokens.
async fn connected(address: SocketAddr, via: Via, tokens: &Value, device: &str) -> Wire {
    let hello = hello(text(tokens, "accessToken"), device, fastrand::u128(..), Vec::new());
    Wire::greeted(via, address, hello).await.0
}

/// How often argon2 has run.
async fn hashed_by(admin: SocketAddr) -> u64 {
    metric(admin, "syncbridge_passwords_hashed_total").await as u64
}

/// Whether the connection has been ended by now, with `unauthenticated`.
async fn is_ended(wire: &mut Wire) {
    let (_, end) = wire.ended().await;
    assert!(matches!(end, End::WebSocket(4200) | End::Quic(200)), "{end:?}");
}

#[tokio::test]
async fn one_address_has_one_account_also_when_many_register_it_at_once() {
    let host = Host::with(|config| config.auth.password_threads = 2);
    let http = host.http();
    let tries = (0..20).map(|n| {
        let spelled = if n % 2 == 0 { "ann@example.com" } else { "ANN@example.com " };
        let body = json!({"email": spelled, "password": format!("password {n}"), "name": "Ann"});
        let http = http.clone();
        async move { http.post("/auth/register", body).await.status.as_u16() }
    });
    let answers = futures_util::future::join_all(tries).await;
    assert_eq!(answers.iter().filter(|status| **status == 201).count(), 1, "{answers:?}");
    assert_eq!(answers.iter().filter(|status| **status == 409).count(), 19, "{answers:?}");
}

#[tokio::test]
async fn what_cannot_be_an_account_is_a_400_that_names_the_field() {
    let host = Host::new();
    let good = json!({"email": "ann@example.com", "password": PASSWORD, "name": "Ann"});
    for (name, value) in [
        ("email", json!("ann")),
        ("email", json!("a@b@c")),
        ("email", json!(format!("{}@x", "a".repeat(300)))),
        ("email", json!(7)),
        ("email", json!(null)),
        ("password", json!("short")),
        ("password", json!("x".repeat(1_025))),
        ("password", json!(["x"])),
        ("name", json!("")),
        ("name", json!("a\u{0}b")),
        ("name", json!("n".repeat(257))),
    ] {
        let mut body = good.clone();
        body[name] = value;
        let answer = host.http().post("/auth/register", body).await;
        answer.expect(400);
        assert!(answer.json()["detail"].as_str().unwrap().contains(name), "{answer:?}");
    }
    let mut without_name = good;
    without_name.as_object_mut().unwrap().remove("name");
    assert_eq!(host.http().post("/auth/register", without_name).await.expect(201)["user"]["name"], "ann");
}

#[tokio::test]
async fn an_unknown_address_and_a_wrong_password_are_the_same_answer_and_each_costs_argon2_once() {
    let host = Host::new();
    register(&host, "ann@example.com").await;
    let admin = host.server().admin;
    let hashed = || hashed_by(admin);
    let before = hashed().await;
    let mut answers = Vec::new();
    for (email, password) in
        [("ann@example.com", "wrong horse"), ("bob@example.com", PASSWORD), ("ann@example.com", "")]
    {
        let answer = host.http().post("/auth/login", json!({"email": email, "password": password})).await;
        answer.expect(401);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        let mut problem = answer.json();
        problem.as_object_mut().unwrap().remove("requestId");
        answers.push(problem);
    }
    assert!(answers.iter().all(|problem| *problem == answers[0]), "{answers:?}");
    assert_eq!(hashed().await - before, 3);
    // The right one was right a moment ago (it was registered): argon2 is not run again, and a wrong one still pays.
    login(&host, json!({})).await;
    assert_eq!(hashed().await - before, 3);
    host.http().post("/auth/login", json!({"email": "ann@example.com", "password": "wrong again"})).await.expect(401);
    assert_eq!(hashed().await - before, 4);
}

#[tokio::test]
async fn failed_logins_are_limited_by_account_and_by_address_and_good_ones_are_not() {
    let host = Host::with(|config| {
        config.limits.login_failures_per_account = 3;
        config.limits.login_failures_per_address = 5;
        config.limits.registrations_per_address = 2;
    });
    register(&host, "ann@example.com").await;
    let fail =
        async |email: &str| host.http().post("/auth/login", json!({"email": email, "password": "wrong horse"})).await;
    for _ in 0..10 {
        login(&host, json!({})).await;
    }
    for _ in 0..3 {
        fail("ann@example.com").await.expect(401);
    }
    let limited = fail("ANN@example.com").await;
    limited.expect(429);
    assert_eq!(limited.code(), "rate_limited");
    let seconds: u64 = limited.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=20).contains(&seconds), "{seconds}");
    // Also with the right password, or guessing would be free.
    let right = json!({"email": "ann@example.com", "password": PASSWORD});
    host.http().post("/auth/login", right).await.expect(429);
    for _ in 0..2 {
        fail("bob@example.com").await.expect(401);
    }
    fail("cid@example.com").await.expect(429);

    register(&host, "dan@example.com").await;
    let third = json!({"email": "eve@example.com", "password": PASSWORD, "name": "Eve"});
    assert_eq!(host.http().post("/auth/register", third).await.code(), "rate_limited");
}

#[tokio::test]
async fn without_limits_nobody_is_sent_away() {
    let host = Host::with(|config| {
        config.limits.enabled = false;
        config.limits.login_failures_per_account = 1;
    });
    for _ in 0..5 {
        let body = json!({"email": "bob@example.com", "password": "wrong horse"});
        host.http().post("/auth/login", body).await.expect(401);
    }
}

#[tokio::test]
async fn a_rotating_login_gives_a_new_token_each_time_and_an_old_one_ends_it() {
    let host = Host::new();
    register(&host, "ann@example.com").await;
    let first = login(&host, json!({"rotateRefresh": true, "deviceId": "phone"})).await;
    let second = refresh(&host, &first).await.expect(200);
    assert_ne!(first["refreshToken"], second["refreshToken"]);
    let third = refresh(&host, &second).await.expect(200);
    let mut link = connected(host.server().listen, Via::WebSocket, &third, "phone").await;
    with(&host, &third).get("/auth/me").await.expect(200);

    assert_eq!(refresh(&host, &first).await.code(), "invalid_credentials");
    is_ended(&mut link).await;
    assert_eq!(refresh(&host, &third).await.code(), "invalid_credentials", "the newest is over too");
    with(&host, &third).get("/auth/me").await.expect(401);
}

#[tokio::test]
async fn of_many_uses_of_one_rotating_token_at_once_exactly_one_gets_the_next() {
    let host = Host::new();
    register(&host, "ann@example.com").await;
    for _ in 0..5 {
        let tokens = login(&host, json!({"rotateRefresh": true})).await;
        let all = futures_util::future::join_all((0..8).map(|_| refresh(&host, &tokens))).await;
        let good: Vec<_> = all.iter().filter(|answer| answer.status == 200).collect();
        assert_eq!(good.len(), 1);
        assert!(all.iter().all(|answer| answer.status == 200 || answer.status == 401));
        // The others held a copy of a token that was used: nobody is let in by this login any more.
        refresh(&host, &good[0].json()).await.expect(401);
    }
}

#[tokio::test]
async fn configuration_can_have_every_login_rotate() {
    let host = Host::with(|config| config.auth.rotate_refresh = true);
    let tokens = register(&host, "ann@example.com").await;
    let next = refresh(&host, &tokens).await.expect(200);
    assert_ne!(next["refreshToken"], tokens["refreshToken"]);
    refresh(&host, &tokens).await.expect(401);
}

#[tokio::test]
async fn a_login_from_the_same_device_takes_the_place_of_the_former_one_and_others_stay() {
    let host = Host::new();
    register(&host, "ann@example.com").await;
    let desk = login(&host, json!({"deviceId": "desk"})).await;
    let former = login(&host, json!({"deviceId": "phone"})).await;
    let mut link = connected(host.server().listen, Via::WebSocket, &former, "phone").await;
    let mut other = connected(host.server().listen, Via::WebSocket, &desk, "desk").await;
    let newer = login(&host, json!({"deviceId": "phone"})).await;
    is_ended(&mut link).await;
    with(&host, &former).get("/auth/me").await.expect(401);
    refresh(&host, &former).await.expect(401);
    for tokens in [&desk, &newer] {
        with(&host, tokens).get("/auth/me").await.expect(200);
        refresh(&host, tokens).await.expect(200);
    }
    other.send(syncbridge_codec::message::Ping { nonce: 7 });
    other.wait_for(|message| matches!(message, syncbridge_codec::Message::Pong(_)).then_some(())).await;
}

#[tokio::test]
async fn a_user_has_a_hundred_logins_and_one_more_ends_the_oldest() {
    let host = Host::with(|config| config.open = true);
    let first = login(&host, json!({"deviceId": "0"})).await;
    let second = login(&host, json!({"deviceId": "1"})).await;
    for n in 2..100 {
        login(&host, json!({"deviceId": n.to_string()})).await;
    }
    refresh(&host, &first).await.expect(200);
    login(&host, json!({"deviceId": "100"})).await;
    refresh(&host, &first).await.expect(401);
    with(&host, &first).get("/auth/me").await.expect(401);
    refresh(&host, &second).await.expect(200);
}

#[tokio::test]
async fn signing_out_closes_live_connections_before_it_is_answered() {
    let host = Host::new();
    register(&host, "ann@example.com").await;
    let address = host.server().listen;
    for via in Via::BOTH {
        let (mine, others) = (login(&host, json!({"deviceId": "phone"})).await, login(&host, json!({})).await);
        let mut links = Vec::new();
        for _ in 0..10 {
            links.push(connected(address, via, &mine, "phone").await);
        }
        let mut other = connected(address, via, &others, "desk").await;
        logout(&host, &mine).await;
        for link in &mut links {
            is_ended(link).await;
        }
        with(&host, &mine).get("/auth/me").await.expect(401);
        let mut late = Wire::connect(via, address).await;
        late.send(hello(text(&mine, "accessToken"), "phone", 1, Vec::new()));
        let (refused, _) = late.ended().await;
        assert!(format!("{refused:?}").contains("200"), "{refused:?}");
        other.send(syncbridge_codec::message::Ping { nonce: 7 });
        other.wait_for(|message| matches!(message, syncbridge_codec::Message::Pong(_)).then_some(())).await;
    }
}

#[tokio::test]
async fn a_removed_device_has_no_tokens_no_logins_and_no_links() {
    let host = Host::new();
    register(&host, "ann@example.com").await;
    let (phone, desk) =
        (login(&host, json!({"deviceId": "phone"})).await, login(&host, json!({"deviceId": "desk"})).await);
    let user = text(&phone["user"], "userId").to_owned();
    let by_hand = host.http().with(host.token(&user, Some("phone")));
    by_hand.get("/auth/me").await.expect(200);
    let mut link = connected(host.server().listen, Via::Quic, &phone, "phone").await;
    let listed = with(&host, &desk).get("/devices").await.expect(200);
    let ids: Vec<_> = listed["items"].as_array().unwrap().iter().map(|device| text(device, "deviceId")).collect();
    assert_eq!(ids, ["desk", "phone"]);

    with(&host, &desk).delete("/devices/phone").await.expect(204);
    is_ended(&mut link).await;
    with(&host, &phone).get("/auth/me").await.expect(401);
    refresh(&host, &phone).await.expect(401);
    by_hand.get("/auth/me").await.expect(401);
    with(&host, &desk).delete("/devices/phone").await.expect(404);
    assert_eq!(with(&host, &desk).get("/devices").await.expect(200)["items"].as_array().unwrap().len(), 1);
    // It may come back, as a new device.
    let again = login(&host, json!({"deviceId": "phone"})).await;
    with(&host, &again).get("/auth/me").await.expect(200);
}

#[tokio::test]
async fn what_was_revoked_stays_so_over_a_restart_and_what_was_not_does_too() {
    let mut host = Host::durable();
    register(&host, "ann@example.com").await;
    let (over, stays) =
        (login(&host, json!({"deviceId": "phone"})).await, login(&host, json!({"deviceId": "desk"})).await);
    let gone = login(&host, json!({"deviceId": "watch"})).await;
    let by_hand = host.token(text(&gone["user"], "userId"), Some("watch"));
    logout(&host, &over).await;
    with(&host, &stays).delete("/devices/watch").await.expect(204);
    host.restart().await;
    for token in [text(&over, "accessToken"), text(&gone, "accessToken"), &by_hand] {
        host.http().with(token).get("/auth/me").await.expect(401);
    }
    for tokens in [&over, &gone] {
        refresh(&host, tokens).await.expect(401);
    }
    with(&host, &stays).get("/auth/me").await.expect(200);
    refresh(&host, &stays).await.expect(200);
    login(&host, json!({})).await;
}

#[tokio::test]
async fn devices_are_registered_changed_listed_in_pages_and_bounded() {
    let host = Host::with(|config| config.limits.devices_per_user = 5);
    let ann = host.user("ann");
    let made = ann.post("/devices", json!({"deviceId": "d0", "name": "Phone", "platform": "ios"})).await.expect(201);
    assert_eq!((text(&made, "deviceId"), text(&made, "name"), text(&made, "platform")), ("d0", "Phone", "ios"));
    let changed = ann.post("/devices", json!({"deviceId": "d0", "name": "Old phone"})).await.expect(201);
    assert_eq!((text(&changed, "name"), text(&changed, "platform")), ("Old phone", "ios"));
    assert_eq!(changed["createdAt"], made["createdAt"]);
    for n in 1..4 {
        ann.post("/devices", json!({"deviceId": format!("d{n}")})).await.expect(201);
    }
    let drawn = ann.post("/devices", json!({})).await.expect(201);
    assert_eq!(text(&drawn, "deviceId").len(), 32);
    assert_eq!(ann.post("/devices", json!({"deviceId": "one too many"})).await.code(), "limit_reached");
    for bad in [json!(""), json!("x".repeat(129)), json!("a\u{0}b")] {
        ann.post("/devices", json!({"deviceId": bad})).await.expect(400);
    }

    let mut seen = Vec::new();
    let mut cursor = String::new();
    for page in 0.. {
        let listed = ann.get(&format!("/devices?limit=2&cursor={cursor}")).await.expect(200);
        seen.extend(listed["items"].as_array().unwrap().iter().map(|device| text(device, "deviceId").to_owned()));
        let Some(next) = listed["nextCursor"].as_str() else {
            assert_eq!(page, 2);
            break;
        };
        next.clone_into(&mut cursor);
    }
    let mut expected: Vec<_> = ["d0", "d1", "d2", "d3", text(&drawn, "deviceId")].map(str::to_owned).into();
    expected.sort();
    assert_eq!(seen, expected);
    for bad in ["/devices?limit=0", "/devices?limit=x", "/devices?cursor=%21"] {
        ann.get(bad).await.expect(400);
    }
    assert_eq!(host.user("bob").get("/devices").await.expect(200), json!({"items": [], "nextCursor": null}));
    host.user("bob").delete("/devices/d0").await.expect(404);
}

#[tokio::test]
async fn a_device_that_connects_is_seen_and_under_open_an_unknown_one_comes_into_being() {
    let host = Host::new();
    let ann = host.user("ann");
    let made = ann.post("/devices", json!({"deviceId": "phone"})).await.expect(201);
    let tokens = json!({"accessToken": host.token("ann", None)});
    let seen = async || ann.get("/devices").await.expect(200)["items"].clone();
    for device in ["phone", "unknown"] {
        drop(connected(host.server().listen, Via::WebSocket, &tokens, device).await);
    }
    until("it was seen later than it was made", async || {
        seen().await[0]["lastSeenAt"].as_str() > made["createdAt"].as_str()
    })
    .await;
    assert_eq!(seen().await.as_array().unwrap().len(), 1, "an unknown device is not made");

    let host = Host::with(|config| config.open = true);
    let tokens = json!({"accessToken": "test-token-3"});
    let _link = connected(host.server().listen, Via::WebSocket, &tokens, "unknown").await;
    let http = host.http().with("test-token-3");
    // It is written down beside the welcome, not before it.
    until("it is listed", async || http.get("/devices").await.expect(200)["items"][0].is_object()).await;
    assert_eq!(http.get("/devices").await.expect(200)["items"][0]["deviceId"], "unknown");
}

#[tokio::test]
async fn under_open_a_login_registers_an_unknown_address_and_a_wrong_password_is_still_wrong() {
    let host = Host::with(|config| config.open = true);
    let body = |password| json!({"email": "load-1@test", "password": password, "deviceId": "d"});
    let all = futures_util::future::join_all((0..10).map(|_| {
        let http = host.http();
        async move { http.post("/auth/login", body("pw")).await }
    }))
    .await;
    let users: Vec<_> = all.iter().map(|answer| answer.expect(200)["user"]["userId"].clone()).collect();
    assert!(users.iter().all(|user| *user == users[0]), "one account: {users:?}");
    host.http().post("/auth/login", body("other")).await.expect(401);
    let me = host.http().get("/auth/me").await.expect(200);
    assert_eq!(me["userId"], "dev");
    assert_eq!(host.http().with("test-token-4").get("/auth/me").await.expect(200)["userId"], "dev-4");
    host.http().with("nonsense").get("/auth/me").await.expect(401);
}

#[tokio::test]
async fn an_account_of_an_open_server_gets_a_dear_hash_with_its_first_real_login() {
    let mut host = Host::with(|config| {
        config.open = true;
        config.storage.engine = Engine::Embedded;
    });
    let body = json!({"email": "ann@example.com", "password": PASSWORD});
    host.http().post("/auth/login", body.clone()).await.expect(200);
    host.restart_with(|config| config.open = false).await;
    let hashed = async || hashed_by(host.server().admin).await;
    host.http().post("/auth/login", body.clone()).await.expect(200);
    assert_eq!(hashed().await, 2, "checked, and hashed anew");
    let mut host = host;
    host.restart().await;
    let hashed = async || hashed_by(host.server().admin).await;
    host.http().post("/auth/login", body).await.expect(200);
    assert_eq!(hashed().await, 1, "checked");
}

#[tokio::test]
async fn a_changed_password_ends_every_other_login_and_the_former_one_is_wrong_at_once() {
    let host = Host::new();
    register(&host, "ann@example.com").await;
    let (mine, other) = (login(&host, json!({})).await, login(&host, json!({"deviceId": "desk"})).await);
    let mut link = connected(host.server().listen, Via::WebSocket, &other, "desk").await;
    let change = |current: &str| json!({"currentPassword": current, "newPassword": "battery staple"});
    with(&host, &mine).post("/auth/password", change("wrong horse")).await.expect(401);
    with(&host, &mine)
        .post("/auth/password", json!({"currentPassword": PASSWORD, "newPassword": "short"}))
        .await
        .expect(400);
    with(&host, &mine).post("/auth/password", change(PASSWORD)).await.expect(204);
    is_ended(&mut link).await;
    refresh(&host, &other).await.expect(401);
    refresh(&host, &mine).await.expect(200);
    let former = json!({"email": "ann@example.com", "password": PASSWORD});
    host.http().post("/auth/login", former).await.expect(401);
    let new = json!({"email": "ann@example.com", "password": "battery staple"});
    host.http().post("/auth/login", new).await.expect(200);
    host.user("by-hand").post("/auth/password", change(PASSWORD)).await.expect(404);
}

#[tokio::test]
async fn the_public_keys_are_where_others_look_and_an_exchanged_key_signs_without_a_restart() {
    let host = Host::new();
    let tokens = register(&host, "ann@example.com").await;
    let known = async || {
        let answer = host.http().send(hyper::Method::GET, "/.well-known/jwks.json", &[], "").await;
        assert_eq!(answer.header("cache-control"), Some("public, max-age=300"));
        answer.expect(200)["keys"].as_array().unwrap().clone()
    };
    assert_eq!(known().await.len(), 1);
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let kid = keys::rotate(host.folder(), false, now).unwrap();
    until("the server has taken the new key", async || known().await[0]["kid"] == kid.as_str()).await;
    assert_eq!(known().await.len(), 2);
    assert_eq!(host.http().get("/auth/jwks").await.expect(200)["keys"], json!(known().await));
    with(&host, &tokens).get("/auth/me").await.expect(200);
    let newer = refresh(&host, &tokens).await.expect(200);
    with(&host, &newer).get("/auth/me").await.expect(200);
    assert_ne!(text(&newer, "accessToken").split('.').next(), text(&tokens, "accessToken").split('.').next());
}
