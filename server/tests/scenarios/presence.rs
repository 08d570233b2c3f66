//! Who is there: joining, leaving, and not being gone before the grace period is over.

use std::time::Duration;

use syncbridge_codec::message::{self, Message};

use crate::{
    net::{Net, who},
    wire::{Via, Wire},
};

scenarios! {
    pairs: [
        a_device_that_subscribes_is_told_to_the_others_once
        a_device_that_comes_back_on_another_link_within_the_grace_period_was_never_gone
    ]
    links: []
    together: [
        a_device_that_does_not_come_back_has_left
        a_device_that_vanishes_without_a_word_is_taken_over_by_its_next_connection
    ]
}

/// How often who is there says something: well below three heartbeats of 600 ms.
const SIGN_OF_LIFE: Duration = Duration::from_millis(200);

/// Subscribes with notices: the devices that are there, and the number of the last notice.
async fn attend(wire: &mut Wire, session: &str) -> message::Presence {
    let id = wire.request();
    wire.send(message::Subscribe { id, session: session.into(), notices: true, ..Default::default() }).await;
    assert!(matches!(wire.session().await, Message::Reset(_)));
    match wire.session().await {
        Message::Presence(presence) => presence,
        other => panic!("no Presence but {other:?}"),
    }
}

fn device(name: &str, via: Via) -> message::Attached {
    message::Attached { device: name.into(), user: "ann".into(), transport: via.transport() }
}

async fn joined(wire: &mut Wire) -> (u64, message::Attached) {
    match wire.session().await {
        Message::DeviceJoined(joined) => (joined.seq, joined.device),
        other => panic!("no DeviceJoined but {other:?}"),
    }
}

async fn a_device_that_subscribes_is_told_to_the_others_once(net: &Net) {
    let host = net.host();
    let mut one = host.join(net.one, &who("ann", "phone")).await;
    one.create("s", "{}").await;
    let alone = attend(&mut one, "s").await;
    assert_eq!(alone.devices, [device("phone", net.one)]);
    let mut other = host.join(net.other, &who("ann", "laptop")).await;
    let both = attend(&mut other, "s").await;
    let mut devices = both.devices.clone();
    devices.sort_by(|a, b| b.device.cmp(&a.device));
    assert_eq!(devices, [device("phone", net.one), device("laptop", net.other)]);
    assert_eq!(joined(&mut one).await, (alone.seq + 1, device("laptop", net.other)));

    // A second connection of a device that is there is no news; another device is.
    let mut second = host.join(net.one, &who("ann", "laptop")).await;
    attend(&mut second, "s").await;
    let mut third = host.join(net.one, &who("ann", "tablet")).await;
    attend(&mut third, "s").await;
    for wire in [&mut one, &mut other] {
        assert_eq!(joined(wire).await, (alone.seq + 2, device("tablet", net.one)));
    }
}

async fn a_device_that_comes_back_on_another_link_within_the_grace_period_was_never_gone(net: &Net) {
    let host = net.host_with(|config| config.presence.grace_ms = 600_000);
    let mut watcher = host.join(net.one, &who("ann", "phone")).await;
    watcher.create("s", "{}").await;
    attend(&mut watcher, "s").await;
    let me = who("ann", "laptop");
    let mut first = host.join(net.one, &me).await;
    attend(&mut first, "s").await;
    let (seq, _) = joined(&mut watcher).await;
    first.close().await;
    let mut second = host.join(net.other, &me).await;
    let devices = attend(&mut second, "s").await.devices;
    assert_eq!(devices.len(), 2, "{devices:?}");
    // Notices are numbered without a gap: had it left and joined, the next one would not be the next one.
    let mut third = host.join(net.other, &who("ann", "tablet")).await;
    attend(&mut third, "s").await;
    assert_eq!(joined(&mut watcher).await, (seq + 1, device("tablet", net.other)));
}

async fn a_device_that_does_not_come_back_has_left(net: &Net) {
    let host = net.host_with(|config| config.presence.grace_ms = 100);
    let mut watcher = host.join(net.one, &who("ann", "phone")).await;
    watcher.create("s", "{}").await;
    attend(&mut watcher, "s").await;
    let mut leaver = host.join(net.other, &who("ann", "laptop")).await;
    attend(&mut leaver, "s").await;
    let (seq, _) = joined(&mut watcher).await;
    leaver.close().await;
    let left = message::DeviceLeft { session: "s".into(), seq: seq + 1, device: "laptop".into(), user: "ann".into() };
    assert_eq!(watcher.session().await, left.into());
    // Unsubscribing is leaving as well.
    let mut leaver = host.join(net.other, &who("ann", "laptop")).await;
    attend(&mut leaver, "s").await;
    assert_eq!(joined(&mut watcher).await.0, seq + 2);
    let id = leaver.request();
    leaver.send(message::Unsubscribe { id, session: "s".into() }).await;
    assert!(matches!(leaver.session().await, Message::Unsubscribed(_)));
    let Message::DeviceLeft(left) = watcher.session().await else { panic!("no DeviceLeft") };
    assert_eq!((left.seq, &*left.device), (seq + 3, "laptop"));
}

async fn a_device_that_vanishes_without_a_word_is_taken_over_by_its_next_connection(net: &Net) {
    let host = net.host_with(|config| {
        config.connection.heartbeat_ms = 600;
        config.presence.grace_ms = 100;
    });
    let mut watcher = host.join(net.one, &who("ann", "phone")).await;
    watcher.create("s", r#"{"n":0}"#).await;
    attend(&mut watcher, "s").await;
    let me = who("ann", "laptop");
    let mut first = host.join(net.one, &me).await;
    attend(&mut first, "s").await;
    joined(&mut watcher).await;
    let update = first.update("s", r#"[{"op":"replace","path":"/n","value":1}]"#);
    let update = message::Update { base: first.head("s"), ..update };
    // Its last words, of which nobody knows whether they were heard.
    first.send(update.clone()).await;
    assert!(matches!(watcher.session().await, Message::Delta(_)));
    host.lose(first);

    // It goes on at once: what it sends again is not applied again, and what it adds is.
    let mut second = host.join(net.other, &me).await;
    attend(&mut second, "s").await;
    second.send(update).await;
    let Message::Accepted(answer) = second.session().await else { panic!("no Accepted") };
    assert_eq!((answer.at.version, answer.changed), (2, false));
    // Both that are there say something now and then; the lost connection ends and is no news, for its device is there.
    while host.metric("syncbridge_connections_closed_total").await == 0 {
        for wire in [&mut watcher, &mut second] {
            wire.send(message::Ping { nonce: 1 }).await;
            assert!(matches!(wire.control().await, Message::Pong(_)));
        }
        tokio::time::sleep(SIGN_OF_LIFE).await;
    }
    assert_eq!(watcher.settle("s").await, []);
    // Then this one vanishes too.
    host.lose(second);
    loop {
        watcher.send(message::Ping { nonce: 2 }).await;
        assert!(matches!(watcher.control().await, Message::Pong(_)));
        match watcher.settle("s").await.as_slice() {
            [] => {}
            [Message::DeviceLeft(left)] => break assert_eq!(&*left.device, "laptop"),
            other => panic!("{other:?}"),
        }
        tokio::time::sleep(SIGN_OF_LIFE).await;
    }
}
