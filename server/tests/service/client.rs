//! The story again through the Rust client, over each of its transports: no HTTP library anywhere.

use serde::{Deserialize, Serialize};
use serde_json::json;
use syncbridge_client::{
    ChangeKind, Changes, Client, Config, Error, ErrorCode, Login, NewAccount, Paging, Patch, Phase, Role, Transport,
    Value, service::NewSnapshot,
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
