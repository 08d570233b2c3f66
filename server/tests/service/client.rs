//! The story again through the Rust client, over each of its transports: no HTTP library anywhere.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use serde_json::json;
use syncbridge_client::{
    ChangeKind, Changes, Client, Config, ConflictPolicy, DevicePolicy, Error, ErrorCode, Login, NewAccount, Paging,
    Patch, Phase, Role, Transport, Value,
    core::Times,
    service::{NewSnapshot, Presence, Transport as By},
};

use tokio::{
    net::{TcpListener, TcpStream},
    sync::broadcast,
};

use crate::{host::Host, support::within};

const PASSWORD: &str = "correct horse battery";

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Trip {
    days: u64,
    list: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    place: Option<String>,
}

fn config(host: &Host, device: &str, transport: Transport) -> Config {
    Config::new(host.server().listen.to_string(), device).transport(transport)
}

fn somebody(name: &str) -> NewAccount {
    NewAccount { email: format!("{name}@example.org"), password: PASSWORD.into(), name: Some(name.into()) }
}

fn login(name: &str) -> Login {
    Login { email: format!("{name}@example.org"), password: PASSWORD.into(), rotate: false }
}

/// A client on a device where this account, which is made when it is missing, is signed in.
async fn signed_in(host: &Host, name: &str, device: &str, transport: Transport) -> Client {
    let client = Client::signed_out(config(host, device, transport)).unwrap();
    let registered = within("registering", client.account().register(&somebody(name))).await;
    assert!(registered.is_ok() || code(&registered) == ErrorCode::AlreadyExists, "{registered:?}");
    within("signing in", client.account().login(&login(name))).await.unwrap();
    client
}

#[track_caller]
fn code<T: std::fmt::Debug>(result: &Result<T, Error>) -> ErrorCode {
    result.as_ref().expect_err("a refusal").code().unwrap_or_else(|| panic!("{result:?} has no code"))
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

async fn phase(client: &Client, what: &str, wanted: impl Fn(&Phase) -> bool) {
    let mut status = client.status();
    within(what, status.wait_for(|status| wanted(&status.phase))).await.unwrap();
}

async fn story(transport: Transport) {
    let host = Host::durable();
    // Ann registers, and signs in on her phone.
    let phone = Client::signed_out(config(&host, "phone", transport)).unwrap();
    phase(&phone, "nobody", |phase| *phase == Phase::SignedOut { error: None }).await;
    assert!(matches!(phone.account().me().await, Err(Error::Request(_))), "nobody is signed in");
    let ann = within("registering", phone.account().register(&somebody("ann"))).await.unwrap();
    assert_eq!(ann.email.as_deref(), Some("ann@example.org"));
    assert_eq!(code(&phone.account().register(&somebody("ann")).await), ErrorCode::AlreadyExists);
    let wrong = Login { password: "wrong horse battery".into(), ..login("ann") };
    assert_eq!(code(&phone.account().login(&wrong).await), ErrorCode::InvalidCredentials);
    assert_eq!(phone.account().me().await.unwrap(), ann, "who was signed in still is");
    assert_eq!(within("signing in", phone.account().login(&login("ann"))).await.unwrap(), ann);
    let devices = phone.devices().list(&Paging::default()).await.unwrap();
    assert_eq!(devices.items.iter().map(|device| &*device.id).collect::<Vec<_>>(), ["phone"]);
    phone.devices().register("watch", "Ann's watch", "wear").await.unwrap();
    let first = phone.devices().list(&Paging { cursor: None, limit: Some(1) }).await.unwrap();
    let second = phone.devices().list(&first.next(Some(1)).unwrap()).await.unwrap();
    assert_eq!((&*second.items[0].name, second.next(None)), ("Ann's watch", None));
    phone.devices().remove("watch").await.unwrap();
    assert_eq!(code(&phone.devices().remove("watch").await), ErrorCode::NotFound);

    // She makes a session and works in it.
    let packed = Trip { days: 2, list: vec!["tent".into()], place: None };
    let trip = phone.create(Some("trip"), &packed).await.unwrap();
    let mut changes = trip.changes().unwrap();
    assert_eq!(code(&signed_in(&host, "eve", "desk", transport).await.get("trip").await), ErrorCode::NotFound);
    let read = phone.get("trip").await.unwrap();
    assert_eq!(read.at.version, 1);
    let more = Trip { days: 3, list: vec!["tent".into(), "stove".into()], place: None };
    let at = phone.sessions().put("trip", &more, Some(&read.at)).await.unwrap();
    assert_eq!(at.version, 2);
    let stale = phone.sessions().put("trip", &packed, Some(&read.at)).await;
    assert_eq!(code(&stale), ErrorCode::PreconditionFailed);
    let patch = Patch::new().test("/days", 3.0).add("/list/-", "rope");
    assert_eq!(phone.sessions().patch("trip", &patch, None).await.unwrap().version, 3);
    let clash = phone.sessions().patch("trip", &Patch::new().test("/days", 9), None).await;
    assert_eq!(code(&clash), ErrorCode::TestFailed);
    let at = phone.sessions().merge("trip", &json!({"place": "north"}), None).await.unwrap();
    assert_eq!(at.version, 4);
    while trip.position().unwrap().version < 4 {
        within("its own subscription sees it", changes.next()).await.unwrap();
    }
    assert_eq!(trip.state().unwrap().place.as_deref(), Some("north"));
    trip.update_with(|trip| trip.days = 4).unwrap().durable().await.unwrap();
    let sessions = phone.sessions().list(&Paging::default()).await.unwrap();
    assert_eq!((&*sessions.items[0].id, sessions.items[0].role), ("trip", Role::Owner));

    // A snapshot, a mistake, and back.
    let snapshots = phone.snapshots("trip");
    let kept = snapshots.make(&NewSnapshot { label: Some("packed".into()), state: None }).await.unwrap();
    assert_eq!(kept.version, 5);
    phone.sessions().put("trip", &Trip::default(), None).await.unwrap();
    let listed = snapshots.list(&Paging::default()).await.unwrap();
    assert_eq!((&listed.items[0].id, listed.items[0].label.as_deref()), (&kept.id, Some("packed")));
    let (snapshot, state) = snapshots.get(&kept.id).await.unwrap();
    assert_eq!((snapshot, state.deserialize::<Trip>().unwrap().days), (listed.items[0].clone(), 4));
    assert_eq!(snapshots.restore(&kept.id).await.unwrap().version, 7);
    let restored = phone.get("trip").await.unwrap();
    assert_eq!((restored.at.version, restored.value), (7, state));
    snapshots.remove(&kept.id).await.unwrap();
    assert_eq!(code(&snapshots.restore(&kept.id).await), ErrorCode::NotFound);

    // Bob is a stranger, then he shares it, then no more.
    let tablet = signed_in(&host, "bob", "tablet", transport).await;
    assert_eq!(code(&tablet.get("trip").await), ErrorCode::NotFound);
    phone.members("trip").set("bob@example.org", Role::Viewer).await.unwrap();
    let seen = within("sharing", tablet.session::<Value>("trip")).await.unwrap();
    let mut bobs = seen.changes().unwrap();
    let write = Patch::new().add("/bob", 1);
    assert_eq!(code(&tablet.sessions().patch("trip", &write, None).await), ErrorCode::Forbidden);
    let bob = phone.members("trip").set("bob@example.org", Role::Editor).await.unwrap();
    until(&mut bobs, "a role", |kind| matches!(kind, ChangeKind::AccessChanged { .. }).then_some(())).await;
    tablet.sessions().patch("trip", &write, None).await.unwrap();
    assert_eq!(phone.members("trip").list().await.unwrap().len(), 2);
    phone.members("trip").remove(&bob.user_id).await.unwrap();
    until(&mut bobs, "no role", |kind| matches!(kind, ChangeKind::Ended { .. }).then_some(())).await;
    assert_eq!(code(&tablet.get("trip").await), ErrorCode::NotFound);

    // Over to the laptop, where nobody is signed in.
    let offer = phone.handoff("trip").offer(None).await.unwrap();
    assert!(offer.qr_svg.contains("<svg") && offer.expires_at.ends_with('Z'), "{offer:?}");
    let laptop = Client::signed_out(config(&host, "laptop", transport)).unwrap();
    assert_eq!(code(&laptop.account().take_over("AAAAA-AAAAA").await), ErrorCode::NotFound);
    let typed = offer.code.to_lowercase().replace('-', " ").replace('0', "o");
    let moved = within("taking over", laptop.account().take_over(&typed)).await.unwrap();
    assert_eq!((&*moved.session, &*moved.active_device), ("trip", "laptop"));
    assert_eq!(moved.state.deserialize::<Trip>().unwrap().days, 4);
    let now = until(&mut changes, "HandoffCompleted", |kind| match kind {
        ChangeKind::HandoffCompleted { device, .. } => Some(device.clone()),
        _ => None,
    });
    assert_eq!(now.await, "laptop");
    let other = Client::signed_out(config(&host, "other", transport)).unwrap();
    assert_eq!(code(&other.account().take_over(&typed).await), ErrorCode::Gone);
    assert_eq!(laptop.account().me().await.unwrap(), ann, "it signs in as who offered it");
    let there = within("going on", laptop.session::<Trip>(&moved.session)).await.unwrap();
    there.update_with(|trip| trip.days = 5).unwrap().durable().await.unwrap();

    // The phone logs out: its tokens are worth nothing, and nothing of it is left on the server.
    let tokens = phone.tokens().borrow().clone().unwrap();
    within("logging out", phone.account().logout()).await.unwrap();
    phase(&phone, "signed out", |phase| matches!(phase, Phase::SignedOut { .. })).await;
    assert!(matches!(phone.account().logout().await, Err(Error::SignedOut)));
    let again = Client::connect(config(&host, "phone", transport).tokens(tokens)).await;
    assert_eq!(code(&again), ErrorCode::InvalidCredentials, "neither the access nor the refresh token is good");

    // The laptop ends it.
    let mut last = there.changes().unwrap();
    laptop.sessions().delete("trip").await.unwrap();
    until(&mut last, "Deleted", |kind| matches!(kind, ChangeKind::Deleted).then_some(())).await;
    assert_eq!(code(&laptop.get("trip").await), ErrorCode::NotFound);
}

#[tokio::test]
async fn the_story_is_the_same_through_the_rust_client_over_quic() {
    story(Transport::Quic).await;
}

#[tokio::test]
async fn the_story_is_the_same_through_the_rust_client_over_websocket() {
    story(Transport::WebSocket).await;
}

/// A way to a server that can be cut, and can lead to another one.
struct Way {
    address: SocketAddr,
    target: Arc<Mutex<SocketAddr>>,
    cut: broadcast::Sender<()>,
}

impl Way {
    async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (target, cut) = (Arc::new(Mutex::new(target)), broadcast::Sender::new(1));
        let (leads, cuts) = (Arc::clone(&target), cut.clone());
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let (target, mut cut) = (*leads.lock().unwrap(), cuts.subscribe());
                tokio::spawn(async move {
                    let Ok(mut server) = TcpStream::connect(target).await else { return };
                    tokio::select! {
                        // Either side may end it.
                        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                        _ = cut.recv() => {}
                    }
                });
            }
        });
        Self { address, target, cut }
    }

    fn cut(&self) {
        // Nobody may be connected.
        let _ = self.cut.send(());
    }
}

#[tokio::test]
async fn what_is_asked_while_the_connection_breaks_again_and_again_is_done_once() {
    let host = Host::new();
    let way = Way::to(host.server().listen).await;
    // It comes back at once, so that it is cut more often.
    let times = Times { backoff_cap: 100, ..Times::default() };
    let config = Config { times, ..Config::new(format!("ws://{}", way.address), "phone") };
    let client = Client::signed_out(config).unwrap();
    client.account().register(&somebody("ann")).await.unwrap();
    drop(client.create(Some("s"), &json!({"list": []})).await.unwrap());
    let asking: Vec<_> = (0..90)
        .map(|n| {
            let client = client.clone();
            tokio::spawn(async move {
                client.sessions().patch("s", &Patch::new().add("/list/-", n), None).await.unwrap();
                client.snapshots("s").make(&NewSnapshot { label: Some(format!("{n}")), state: None }).await.unwrap();
            })
        })
        .collect();
    for (n, asked) in asking.into_iter().enumerate() {
        within("an answer", asked).await.unwrap();
        if n % 10 == 0 {
            way.cut();
        }
    }
    let mut list: Vec<u64> = client.get("s").await.unwrap().value.deserialize::<serde_json::Value>().unwrap()["list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n.as_u64().unwrap())
        .collect();
    list.sort_unstable();
    assert!(list.into_iter().eq(0..90), "each once");
    let kept = client.snapshots("s").list(&Paging { cursor: None, limit: Some(1_000) }).await.unwrap().items;
    assert_eq!(kept.len(), 90, "each once");
    assert!(client.stats().connections > 3, "{:?}", client.stats());
}

#[tokio::test]
async fn tokens_are_renewed_by_themselves_in_both_modes_and_the_client_comes_back_with_them() {
    for rotate in [false, true] {
        let mut host = Host::with(|config| {
            config.storage.engine = syncbridge::config::Engine::Embedded;
            config.auth.access_ttl_seconds = 2;
        });
        let way = Way::to(host.server().listen).await;
        let client = Client::signed_out(Config::new(format!("ws://{}", way.address), "phone")).unwrap();
        client.account().register(&somebody("ann")).await.unwrap();
        client.account().login(&Login { rotate, ..login("ann") }).await.unwrap();
        let mut tokens = client.tokens();
        let first = tokens.borrow_and_update().clone().unwrap();
        within("a renewal", tokens.changed()).await.unwrap();
        let second = tokens.borrow_and_update().clone().unwrap();
        assert_ne!(first.access, second.access);
        assert_eq!(first.refresh == second.refresh, !rotate);
        // Another server on the same data: nobody asks for a password.
        host.restart().await;
        *way.target.lock().unwrap() = host.server().listen;
        way.cut();
        client.reconnect();
        assert_eq!(within("coming back", client.account().me()).await.unwrap(), first.user);
        client.close().await;
        // The next run of the program goes on with what was kept, long after the access token has ended.
        let kept = client.tokens().borrow().clone().unwrap();
        tokio::time::sleep(Duration::from_secs(3)).await;
        let next = Client::connect(Config::new(format!("ws://{}", way.address), "phone").tokens(kept));
        assert_eq!(within("the next run", next).await.unwrap().account().me().await.unwrap(), first.user);
        if rotate {
            // The first refresh token was used: whoever comes with it ends the login.
            let stolen = Config::new(host.server().listen.to_string(), "phone").tokens(first);
            let stolen = Config { transport: Transport::WebSocket, ..stolen };
            assert_eq!(code(&within("a thief", Client::connect(stolen)).await), ErrorCode::InvalidCredentials);
        }
    }
}

#[tokio::test]
async fn under_ask_a_device_where_nobody_is_signed_in_waits_for_the_person_at_the_active_one() {
    let host = Host::with(|config| config.limits.handshake_seconds = 1);
    let phone = signed_in(&host, "ann", "phone", Transport::Quic).await;
    let (session, made) =
        phone.create_queued(Some("s"), &json!({}), ConflictPolicy::default(), DevicePolicy::Ask).unwrap();
    made.durable().await.unwrap();
    let mut changes = session.changes().unwrap();
    for (transport, accept) in [(Transport::Quic, false), (Transport::WebSocket, true)] {
        let laptop = Client::signed_out(config(&host, "laptop", transport)).unwrap();
        let code_ = phone.handoff("s").offer(Some(Duration::from_mins(1))).await.unwrap().code;
        let taking = tokio::spawn({
            let laptop = laptop.clone();
            async move { laptop.account().take_over(&code_).await }
        });
        let asked = until(&mut changes, "HandoffRequested", |kind| match kind {
            ChangeKind::HandoffRequested { handoff, .. } => Some(handoff.clone()),
            _ => None,
        });
        let handoff = asked.await;
        // Longer than an idle connection may take to say Hello.
        tokio::time::sleep(Duration::from_secs(3)).await;
        phone.answer_handoff(&handoff, accept).unwrap();
        let taken = within("an answer", taking).await.unwrap();
        if accept {
            assert_eq!(taken.unwrap().active_device, "laptop");
            let there = within("going on", laptop.session::<Value>("s")).await.unwrap();
            there.update(Patch::new().add("/here", true)).unwrap().durable().await.unwrap();
        } else {
            assert_eq!(code(&taken), ErrorCode::HandoffDeclined);
            assert!(!laptop.tokens().borrow().is_some());
        }
    }
}

async fn there(client: &Client) -> Vec<(String, By, Presence, bool)> {
    let there = client.sessions().devices("s", &Paging::default()).await.unwrap().items.into_iter();
    there.map(|device| (device.device_id, device.transport, device.presence, device.active)).collect()
}

#[tokio::test]
async fn the_devices_of_a_session_are_told_with_transport_presence_and_last_sight_over_a_restart() {
    let mut host = Host::with(|config| {
        config.storage.engine = syncbridge::config::Engine::Embedded;
        config.presence.grace_ms = 300;
    });
    let phone = signed_in(&host, "ann", "phone", Transport::Quic).await;
    let tablet = signed_in(&host, "ann", "tablet", Transport::WebSocket).await;
    let watch = signed_in(&host, "ann", "watch", Transport::WebSocket).await;
    let session = phone.create(Some("s"), &json!({})).await.unwrap();
    let mut changes = session.changes().unwrap();
    // Who is there before the phone has subscribed does not join for it.
    within("the phone is there", async { while there(&phone).await.is_empty() {} }).await;
    let theirs = within("subscribing", tablet.session::<Value>("s")).await.unwrap();
    let token = watch.tokens().borrow().clone().unwrap().access;
    let mut flat = host.socket(Some(&token)).await;
    flat.say(json!({"type": "subscribe", "sessionId": "s"})).await;
    flat.until("state_sync").await;
    // In whichever order they came.
    let mut missing = vec!["tablet", "watch"];
    while !missing.is_empty() {
        let joined = until(&mut changes, "DeviceJoined", |kind| match kind {
            ChangeKind::DeviceJoined(device) => missing.iter().position(|name| device.device == **name),
            _ => None,
        });
        let joined = joined.await;
        missing.remove(joined);
    }
    let code = phone.handoff("s").offer(None).await.unwrap().code;
    tablet.handoff("s").take("phone", &code).await.unwrap();
    let name = |name: &str, by, active| (name.to_owned(), by, Presence::Online, active);
    let all = [name("phone", By::Quic, false), name("tablet", By::WebSocket, true), name("watch", By::Json, false)];
    assert_eq!(there(&phone).await, all);

    // Away for less than the grace period: nobody is told. Longer: it left.
    let seen = |devices: Vec<syncbridge_client::service::Device>| {
        devices.into_iter().find(|device| device.id == "tablet").unwrap().last_seen_at
    };
    let before = seen(phone.devices().list(&Paging::default()).await.unwrap().items);
    drop(theirs);
    tablet.close().await;
    let gone = until(&mut changes, "DeviceLeft", |kind| match kind {
        ChangeKind::DeviceJoined(device) => panic!("{device:?} was never gone"),
        ChangeKind::DeviceLeft { device, .. } => Some(device.clone()),
        _ => None,
    });
    assert_eq!(gone.await, "tablet");
    assert_eq!(there(&phone).await, [all[0].clone(), all[2].clone()]);
    phone.close().await;
    host.restart().await;
    let again = signed_in(&host, "ann", "desk", Transport::Quic).await;
    let after = seen(again.devices().list(&Paging::default()).await.unwrap().items);
    assert!(after > before, "it was seen until it went: {before} {after}");
    let later = seen(again.devices().list(&Paging::default()).await.unwrap().items);
    assert_eq!(after, later);
    assert_eq!(there(&again).await, [], "nobody has come back");
}
