//! Making sessions, and who may do what to them.

use bytes::Bytes;
use syncbridge_codec::{
    ErrorCode,
    message::{self, DevicePolicy, Message, Scope, ScopeKind},
};

use crate::{
    net::{Net, who},
    wire::{Wire, create},
};

scenarios! {
    pairs: [
        only_the_active_device_writes_under_the_exclusive_policy
        strangers_read_the_same_bytes_for_a_session_that_exists_and_for_one_that_does_not
    ]
    links: [
        a_session_is_made_once_and_its_id_is_taken
        the_server_makes_an_id_when_it_is_given_none
        ids_and_states_that_cannot_be_are_refused_by_name
        a_connection_for_one_session_can_use_no_other
        the_device_of_the_token_beats_the_one_that_is_claimed
        who_has_no_good_token_is_refused
    ]
}

async fn refusal(wire: &mut Wire, create: message::Create) -> message::Error {
    wire.send(create).await;
    match wire.session().await {
        Message::Error(error) => error,
        other => panic!("no Error but {other:?}"),
    }
}

async fn a_session_is_made_once_and_its_id_is_taken(net: &Net) {
    let host = net.host();
    let me = who("ann", "phone");
    let mut one = host.join(net.one, &me).await;
    let made = one.create_as(create("s", r#"{"n":0}"#)).await;
    assert_eq!(made, one.create_as(create("s", r#"{"n":0}"#)).await, "sent again, answered again");
    let taken = refusal(&mut one, message::Create { counter: 2, ..create("s", "{}") }).await;
    assert_eq!((taken.code, taken.op), (ErrorCode::AlreadyExists as u32, Some(2)));
    for user in ["ann", "bob"] {
        let mut other = host.join(net.other, &who(user, "laptop")).await;
        let taken = refusal(&mut other, create("s", "{}")).await;
        assert_eq!((taken.code, taken.op), (ErrorCode::AlreadyExists as u32, Some(1)), "{user}");
    }
    assert_eq!(one.subscribe("s").await.json(), r#"{"n":0}"#);
}

async fn the_server_makes_an_id_when_it_is_given_none(net: &Net) {
    let host = net.host();
    let mut wire = host.join(net.one, &who("ann", "phone")).await;
    let mut ids = Vec::new();
    for counter in 1..=2 {
        wire.send(message::Create { counter, ..create("", "{}") }).await;
        let Message::Created(created) = wire.session().await else { panic!("no Created") };
        assert_eq!((created.counter, created.version), (counter, 1));
        assert!(created.session.len() >= 22, "128 random bits: {}", created.session);
        assert_eq!(wire.subscribe(&created.session).await.json(), "{}");
        ids.push(created.session);
    }
    assert_ne!(ids[0], ids[1]);
}

async fn ids_and_states_that_cannot_be_are_refused_by_name(net: &Net) {
    let host = net.host();
    let mut wire = host.join(net.one, &who("ann", "phone")).await;
    for id in [".", "..", "a b", "a/b", "ä", &"x".repeat(129)] {
        let error = refusal(&mut wire, create(id, "{}")).await;
        assert_eq!((error.code, error.op), (ErrorCode::InvalidSessionId as u32, Some(1)), "{id}");
    }
    for state in ["", "{", "nope", "{} {}", &"[".repeat(100)] {
        let error = refusal(&mut wire, create("s", state)).await;
        assert_eq!((error.code, error.op), (ErrorCode::InvalidJson as u32, Some(1)), "{state}");
    }
    wire.create_as(message::Create { counter: 2, ..create(&"x".repeat(128), "null") }).await;
}

async fn strangers_read_the_same_bytes_for_a_session_that_exists_and_for_one_that_does_not(net: &Net) {
    let host = net.host();
    let mut stranger = host.join(net.other, &who("bob", "laptop")).await;
    let mut answers = Vec::new();
    for _ in 0..2 {
        let mut told = Vec::new();
        let session = || "secret".into();
        let have = Some(message::Position { epoch: 1, version: 1 });
        for question in [
            Message::from(message::Get { id: 1, session: session() }),
            message::Subscribe { id: 2, session: session(), ..Default::default() }.into(),
            message::Subscribe { id: 3, session: session(), have, ..Default::default() }.into(),
            message::Update { counter: 1, session: session(), operations: Bytes::from("[]"), ..Default::default() }
                .into(),
            message::Unsubscribe { id: 4, session: session() }.into(),
        ] {
            stranger.send(question).await;
            told.push(stranger.session().await.to_frame());
        }
        answers.push(told);
        if answers.len() == 1 {
            let mut owner = host.join(net.one, &who("ann", "phone")).await;
            owner.create("secret", "{}").await;
            owner.subscribe("secret").await;
            host.lose(owner);
        }
    }
    assert_eq!(answers[0], answers[1]);
}

async fn a_connection_for_one_session_can_use_no_other(net: &Net) {
    let host = net.host();
    let mut owner = host.join(net.one, &who("ann", "phone")).await;
    owner.create("s", "{}").await;
    owner.create("t", "{}").await;
    let scope = Scope { kind: ScopeKind::Session, id: "s".into() };
    let mut wire = host.join(net.other, &crate::net::Who { scope, ..who("ann", "laptop") }).await;
    assert_eq!(wire.subscribe("s").await.json(), "{}");
    wire.send(message::Get { id: 9, session: "t".into() }).await;
    let Message::Error(error) = wire.session().await else { panic!("no Error") };
    assert_eq!((error.code, error.answers), (ErrorCode::Forbidden as u32, Some(9)));
    let update = wire.update("t", "[]");
    let Message::Error(error) = wire.ask(update).await else { panic!("no Error") };
    assert_eq!((error.code, error.op), (ErrorCode::Forbidden as u32, Some(1)));
    wire.write("s", r#"[{"op":"add","path":"/x","value":1}]"#).await;
}

async fn only_the_active_device_writes_under_the_exclusive_policy(net: &Net) {
    let host = net.host();
    let mut active = host.join(net.one, &who("ann", "phone")).await;
    let mut other = host.join(net.other, &who("ann", "laptop")).await;
    let made = message::Create { devices: DevicePolicy::Exclusive, ..create("s", r#"{"n":0}"#) };
    active.create_as(made).await;
    active.counter("s");
    let mut seen = other.subscribe("s").await;
    let update =
        message::Update { base: seen.at.clone(), ..other.update("s", r#"[{"op":"replace","path":"/n","value":1}]"#) };
    let Message::Error(error) = other.ask(update).await else { panic!("no Error") };
    assert_eq!((error.code, error.op), (ErrorCode::NotActive as u32, Some(1)));
    active.write("s", r#"[{"op":"replace","path":"/n","value":2}]"#).await;
    other.follow_to(&mut seen, 2).await;
    let id = other.request();
    other.send(message::Get { id, session: "s".into() }).await;
    let Message::Document(document) = other.session().await else { panic!("no Document") };
    assert_eq!(document.active_device.as_deref(), Some("phone"));
}

async fn the_device_of_the_token_beats_the_one_that_is_claimed(net: &Net) {
    let host = net.host();
    let me = who("ann", "claimed");
    let mut wire = host.link(net.one).await;
    wire.send(message::Hello { token: host.token("ann", Some("phone")).into(), ..host.hello(&me) }).await;
    let Message::Welcome(welcome) = wire.control().await else { panic!("no Welcome") };
    assert_eq!((&*welcome.user, &*welcome.device), ("ann", "phone"));
    wire.create("s", r#"{"n":0}"#).await;
    let mut watcher = host.join(net.other, &who("ann", "laptop")).await;
    let mut seen = watcher.subscribe("s").await;
    wire.write("s", r#"[{"op":"replace","path":"/n","value":1}]"#).await;
    let Message::Delta(delta) = watcher.follow(&mut seen).await else { panic!("no Delta") };
    assert_eq!(&*delta.device, "phone");
}

async fn who_has_no_good_token_is_refused(net: &Net) {
    let host = net.host();
    for token in [String::new(), "nonsense".to_owned(), host.token("ann", None).replace('.', ".x")] {
        let mut wire = host.link(net.one).await;
        wire.send(message::Hello { token: token.into(), ..host.hello(&who("ann", "phone")) }).await;
        // What was asked along with it is not answered.
        wire.send(message::Get { id: 1, session: "s".into() }).await;
        let end = wire.ended().await;
        assert_eq!((end.code, end.session), (ErrorCode::Unauthenticated as u32, Vec::new()));
        assert!(matches!(end.control.as_slice(), [Message::Refused(_)] | [Message::Refused(_), Message::Close(_)]));
    }
}
