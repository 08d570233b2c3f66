//! What two servers on one store have in common besides sessions, over the REST API of both: accounts, handoff codes,
//! effects of an `Idempotency-Key`, logins and devices that are over. `docs/CLUSTER.md` says so in its table.

use std::path::Path;

use futures_util::future::join;
use hyper::Method;
use serde_json::{Value, json};

use crate::{
    ALONE,
    rest::{Answer, Http},
    support::{
        cassandra::Keyspace,
        server::{Server, Setup},
        wire::{End, Via, Wire, hello},
        within,
    },
};

const PASSWORD: &str = "correct horse";
/// What of a data folder every server has to have, as `docs/CLUSTER.md` lists it.
const SECRETS: [&str; 4] = ["signing-key.pem", "refresh-key", "handoff.key", "answers.key"];

/// Two servers, set up as `docs/CLUSTER.md` says.
struct Pair {
    servers: [Server; 2],
    setups: [Setup; 2],
    _folder: tempfile::TempDir,
    _keyspace: Keyspace,
}

impl Pair {
    fn start() -> Self {
        let (folder, keyspace) = (tempfile::tempdir().expect("a folder"), Keyspace::new().migrated());
        let setup = |name: &str| {
            let data = folder.path().join(name);
            std::fs::create_dir(&data).expect("a folder");
            let lasting = keyspace.of(Setup::with_lasting_port(&data));
            lasting.set("storage.cassandra.lease_seconds", 2).set("limits.enabled", false)
        };
        let setups = [setup("a"), setup("b")];
        let first = setups[0].start();
        for name in SECRETS {
            copy(&setups[0].data, &setups[1].data, name);
        }
        let second = setups[1].start();
        Self { servers: [first, second], setups, _folder: folder, _keyspace: keyspace }
    }

    /// A client of each, who is nobody.
    fn http(&self) -> [Http; 2] {
        [0, 1].map(|n: usize| Http::new(self.servers[n].clients))
    }

    /// A client of each, with this token.
    fn with(&self, tokens: &Value) -> [Http; 2] {
        self.http().map(|http| http.with(text(tokens, "accessToken")))
    }
}

fn copy(from: &Path, to: &Path, name: &str) {
    std::fs::copy(from.join(name), to.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
}

fn text<'a>(of: &'a Value, name: &str) -> &'a str {
    of[name].as_str().unwrap_or_else(|| panic!("{name} in {of}"))
}

async fn register(http: &Http, email: &str) -> Answer {
    http.post("/auth/register", json!({"email": email, "password": PASSWORD, "name": "Ann"})).await
}

async fn login(http: &Http, email: &str, device: &str) -> Value {
    let body = json!({"email": email, "password": PASSWORD, "deviceId": device});
    http.post("/auth/login", body).await.expect(200)
}

/// A request below the API's root with an `Idempotency-Key`.
async fn keyed(http: &Http, method: Method, path: &str, key: &str, body: &Value) -> Answer {
    let kind = if method == Method::PATCH { "application/json-patch+json" } else { "application/json" };
    let headers = [("content-type", kind), ("idempotency-key", key)];
    http.send(method, &format!("/api/v1{path}"), &headers, body.to_string()).await
}

/// True of an answer that says where the session is.
fn is_moved(answer: &Answer, to: &Server) -> bool {
    answer.status == 503 && answer.code() == "moved" && answer.json()["address"] == to.clients.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_has_one_account_also_when_two_servers_register_it_at_once() {
    let _alone = ALONE.lock().await;
    let pair = Pair::start();
    let [a, b] = pair.http();
    for round in 0..20 {
        let email = format!("ann-{round}@example.com");
        let (one, other) = join(register(&a, &email), register(&b, &email)).await;
        let mut statuses = [one.status.as_u16(), other.status.as_u16()];
        statuses.sort_unstable();
        assert_eq!(statuses, [201, 409], "{one:?} {other:?}");
        let made = if one.status == 201 { one } else { other }.json()["user"].clone();
        // Both know it, and it is the same.
        for server in [&a, &b] {
            assert_eq!(login(server, &email, "phone").await["user"], made);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handoff_code_of_one_server_is_good_once_on_both() {
    let _alone = ALONE.lock().await;
    let pair = Pair::start();
    let [a, b] = pair.http();
    register(&a, "ann@example.com").await.expect(201);
    let [phone_a, phone_b] = pair.with(&login(&a, "ann@example.com", "phone").await);
    let session = json!({"sessionId": "s", "state": {"n": 0}, "policy": {"devices": "many"}});
    phone_a.post("/sessions", session).await.expect(201);
    let complete = async |http: &Http, code: &str, device: &str| {
        http.post("/handoff/complete", json!({"code": code, "deviceId": device})).await
    };
    let offer = async |http: &Http| -> String {
        text(&http.post("/sessions/s/handoff/code", json!({})).await.expect(201), "code").to_owned()
    };

    // Both are asked at the same time: the session's owner does it, the other says who that is, or that it is done.
    for round in 0..10 {
        let code = offer(&phone_a).await;
        let (owner, other) = join(complete(&a, &code, "desk"), complete(&b, &code, "laptop")).await;
        let moved = owner.expect(200);
        assert_eq!((&moved["sessionId"], &moved["activeDeviceId"]), (&json!("s"), &json!("desk")), "round {round}");
        assert!(is_moved(&other, &pair.servers[0]) || other.status == 410, "round {round}: {other:?}");
        for server in [&a, &b] {
            let again = complete(server, &code, "laptop").await;
            assert_eq!((again.status.as_u16(), &*again.code()), (410, "gone"), "round {round}");
        }
        // What it gave is good on both.
        for desk in pair.with(&moved) {
            assert_eq!(desk.get("/auth/me").await.expect(200)["email"], "ann@example.com");
        }
    }

    // The owner stands still past its lease: the other, which has never heard of the code, takes the session and does it.
    let code = offer(&phone_a).await;
    pair.servers[0].pause();
    let moved = within("the other server completes it", async {
        loop {
            let answer = complete(&b, &code, "tablet").await;
            if !is_moved(&answer, &pair.servers[0]) {
                return answer.expect(200);
            }
        }
    })
    .await;
    assert_eq!(moved["state"], json!({"n": 0}));
    pair.servers[0].resume();
    // The one that made the code remembers it as good: the store says that it was used.
    let late = complete(&a, &code, "desk").await;
    assert_eq!((late.status.as_u16(), &*late.code()), (410, "gone"));
    assert_eq!(phone_b.get("/sessions/s").await.expect(200)["activeDeviceId"], "tablet");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_with_a_key_has_its_effect_once_whichever_server_is_asked() {
    let _alone = ALONE.lock().await;
    let mut pair = Pair::start();
    let [a, b] = pair.http();
    register(&a, "ann@example.com").await.expect(201);
    let [a, b] = {
        let tokens = login(&a, "ann@example.com", "phone").await;
        assert_eq!(
            pair.with(&tokens)[1].get("/auth/me").await.expect(200),
            login(&b, "ann@example.com", "x").await["user"]
        );
        pair.with(&tokens)
    };
    let listed = async |http: &Http| http.get("/sessions").await.expect(200)["items"].as_array().map_or(0, Vec::len);

    // One after the other, the second time at the other server.
    let body = json!({"state": {"list": []}});
    let first = keyed(&a, Method::POST, "/sessions", "make", &body).await.expect(201);
    assert_eq!(keyed(&b, Method::POST, "/sessions", "make", &body).await.expect(201), first);
    let other = keyed(&b, Method::POST, "/sessions", "make", &json!({"state": {}})).await;
    assert_eq!((other.status.as_u16(), &*other.code()), (422, "id_mismatch"));
    assert_eq!((listed(&a).await, listed(&b).await), (1, 1));

    // Both at once.
    for round in 0..20 {
        let key = format!("both-{round}");
        let (one, other) =
            join(keyed(&a, Method::POST, "/sessions", &key, &body), keyed(&b, Method::POST, "/sessions", &key, &body))
                .await;
        assert_eq!(one.expect(201), other.expect(201), "round {round}");
        assert_eq!(listed(&a).await, 2 + round, "round {round}");
    }

    // A change of a document is its owner's. When that is gone, the next one has its answers.
    let path = format!("/sessions/{}", text(&first, "sessionId"));
    let append = json!([{"op": "add", "path": "/list/-", "value": 1}]);
    let changed = keyed(&a, Method::PATCH, &path, "change", &append).await.expect(200);
    assert_eq!(changed["version"], 2);
    let elsewhere = keyed(&b, Method::PATCH, &path, "change", &append).await;
    assert!(is_moved(&elsewhere, &pair.servers[0]), "{elsewhere:?}");
    let [first, second] = pair.servers;
    first.terminate();
    assert_eq!(first.ended().await.code(), Some(0));
    assert_eq!(keyed(&b, Method::PATCH, &path, "change", &append).await.expect(200)["version"], changed["version"]);
    assert_eq!(b.get(&path).await.expect(200)["state"], json!({"list": [1]}));
    // And the one that comes back has what the other did meanwhile.
    let made = keyed(&b, Method::POST, "/sessions", "alone", &body).await.expect(201);
    pair.servers = [pair.setups[0].start(), second];
    assert_eq!(keyed(&a, Method::POST, "/sessions", "alone", &body).await.expect(201), made);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_is_over_and_a_device_that_was_removed_end_on_the_other_server_too() {
    let _alone = ALONE.lock().await;
    let pair = Pair::start();
    let [a, b] = pair.http();
    let user = register(&a, "ann@example.com").await.expect(201)["user"]["userId"].clone();
    let user = user.as_str().expect("an id");
    // A login that is ended; one whose device is removed; a token without a login for a device that is removed; and one
    // that nothing happens to.
    let logged = login(&a, "ann@example.com", "phone").await;
    let removed = login(&b, "ann@example.com", "desk").await;
    let bare = json!({"accessToken": pair.setups[0].token(user, &["--device", "desk"])});
    let stays = login(&a, "ann@example.com", "tablet").await;
    let connected = async |tokens: &Value, device: &str, via: Via| {
        let hello = hello(text(tokens, "accessToken"), device, fastrand::u128(..), Vec::new());
        Wire::greeted(via, pair.servers[1].clients, hello).await.0
    };
    let links = [
        connected(&logged, "phone", Via::WebSocket).await,
        connected(&removed, "desk", Via::Quic).await,
        connected(&bare, "desk", Via::WebSocket).await,
    ];
    let mut staying = connected(&stays, "tablet", Via::WebSocket).await;
    for tokens in [&logged, &removed, &bare, &stays] {
        for http in pair.with(tokens) {
            http.get("/auth/me").await.expect(200);
        }
    }

    a.post("/auth/logout", json!({"refreshToken": logged["refreshToken"]})).await.expect(204);
    pair.with(&stays)[0].delete("/devices/desk").await.expect(204);
    // A refresh asks the store, so it is over at once; what is good by its signature alone, when the other has read it.
    for tokens in [&logged, &removed] {
        let refresh = b.post("/auth/refresh", json!({"refreshToken": tokens["refreshToken"]})).await;
        assert_eq!((refresh.status.as_u16(), &*refresh.code()), (401, "invalid_credentials"));
    }
    for mut link in links {
        let (_, end) = link.ended().await;
        assert!(matches!(end, End::WebSocket(4200) | End::Quic(200)), "{end:?}");
    }
    for tokens in [&logged, &removed, &bare] {
        for http in pair.with(tokens) {
            assert_eq!(http.get("/auth/me").await.code(), "unauthenticated");
        }
    }
    // Whoever else is signed in stays so.
    for http in pair.with(&stays) {
        http.get("/auth/me").await.expect(200);
    }
    let ended = tokio::time::timeout(std::time::Duration::from_millis(200), staying.ended()).await;
    assert!(ended.is_err(), "{ended:?}");
    within("the device signs in again", login(&b, "ann@example.com", "desk")).await;
}
