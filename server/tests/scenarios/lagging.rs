//! A device that does not read: it gets the newest state in place of every delta, and nobody else notices.

use syncbridge_codec::message::{Message, ResetReason};

use crate::net::{Net, who};

scenarios! {
    pairs: [
        a_reader_that_stops_is_reset_to_the_newest_state_and_is_right_again
    ]
    links: []
}

async fn a_reader_that_stops_is_reset_to_the_newest_state_and_is_right_again(net: &Net) {
    let host = net.host();
    let mut writer = host.join(net.one, &who("ann", "phone")).await;
    let mut sleeper = host.join(net.other, &who("ann", "laptop")).await;
    let mut reader = host.join(net.other, &who("ann", "tablet")).await;
    writer.create("s", r#"{"n":0}"#).await;
    let mut behind = sleeper.subscribe("s").await;
    let mut beside = reader.subscribe("s").await;
    // More than buffers of the system hold beside the server's own: 16 MiB.
    let filler = "x".repeat(50 << 10);
    let last = 330;
    for n in 1..=last {
        writer.write("s", &format!(r#"[{{"op":"replace","path":"/n","value":"{n}{filler}"}}]"#)).await;
        let Message::Delta(_) = reader.follow(&mut beside).await else { panic!("who reads gets every delta") };
    }
    assert_eq!(beside.at.version, last + 1);
    sleeper.follow_to(&mut behind, last + 1).await;
    assert_eq!(behind.json(), beside.json());
    assert_eq!(behind.resets[0], ResetReason::Initial);
    assert!(behind.resets.len() > 1, "it was told that it missed something");
    assert!(behind.resets[1..].iter().all(|reason| *reason == ResetReason::Lagged), "{:?}", behind.resets);
    // It is an ordinary subscriber again.
    writer.write("s", r#"[{"op":"replace","path":"/n","value":1}]"#).await;
    let Message::Delta(_) = sleeper.follow(&mut behind).await else { panic!("no Delta") };
    assert_eq!(behind.json(), r#"{"n":1}"#);
}
