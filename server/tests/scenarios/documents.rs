//! Large documents: in parts, whole, and within the cap.

use bytes::Bytes;
use syncbridge_codec::{
    ErrorCode, SNAPSHOT_PART,
    message::{self, Message},
};

use crate::{
    net::{Net, who},
    replica::Replica,
    wire::create,
};

scenarios! {
    pairs: [
        a_document_above_64_kib_comes_in_parts_with_its_checksum
        events_wait_for_the_end_of_a_document_in_parts
        an_update_of_almost_a_frame_reaches_the_other_device
    ]
    links: [
        a_document_above_the_cap_is_refused
    ]
}

async fn a_document_above_64_kib_comes_in_parts_with_its_checksum(net: &Net) {
    let host = net.host();
    let mut one = host.join(net.one, &who("ann", "phone")).await;
    let mut other = host.join(net.other, &who("ann", "laptop")).await;
    // At the border, right behind it, and many parts of it.
    for (index, size) in [SNAPSHOT_PART, SNAPSHOT_PART + 1, 900 << 10].into_iter().enumerate() {
        let session = format!("s{index}");
        let state = format!(r#"{{"t":"{}"}}"#, "y".repeat(size - 8));
        assert_eq!(state.len(), size);
        one.create(&session, &state).await;
        let seen = other.subscribe(&session).await;
        assert!(seen.json() == state && seen.at.version == 1);
        assert_eq!(seen.parts, if size > SNAPSHOT_PART { size.div_ceil(SNAPSHOT_PART) } else { 0 });
        let id = other.request();
        other.send(message::Get { id, session: session.clone().into() }).await;
        let Message::Document(document) = other.session().await else { panic!("no Document") };
        let mut got = Replica::new(&session);
        got.begin(&document.at, document.state.as_ref());
        while got.is_partial() {
            let part = other.session().await;
            got.take(&part, None);
        }
        assert!(got.json() == state);
    }
}

async fn events_wait_for_the_end_of_a_document_in_parts(net: &Net) {
    let host = net.host();
    let mut writer = host.join(net.one, &who("ann", "phone")).await;
    let filler = "z".repeat(800 << 10);
    writer.create("s", &format!(r#"{{"n":0,"t":"{filler}"}}"#)).await;
    let writing = async {
        for n in 1..=100 {
            writer.write("s", &format!(r#"[{{"op":"replace","path":"/n","value":{n}}}]"#)).await;
        }
    };
    let watching = async {
        for device in 0..5 {
            let mut watcher = host.join(net.other, &who("ann", &format!("laptop {device}"))).await;
            // A part that does not follow the last one, or an event in between, ends it here.
            let mut seen = watcher.subscribe("s").await;
            watcher.follow_to(&mut seen, 101).await;
            assert_eq!(seen.value.get("n").and_then(syncbridge_document::Value::as_u64), Some(100));
            watcher.close().await;
        }
    };
    tokio::join!(writing, watching);
}

async fn an_update_of_almost_a_frame_reaches_the_other_device(net: &Net) {
    let host = net.host();
    let mut writer = host.join(net.one, &who("ann", "phone")).await;
    let mut watcher = host.join(net.other, &who("ann", "laptop")).await;
    writer.create("s", "{}").await;
    let mut seen = watcher.subscribe("s").await;
    let value = "v".repeat(syncbridge_codec::MAX_CLIENT_FRAME - 200);
    writer.write("s", &format!(r#"[{{"op":"add","path":"/v","value":"{value}"}}]"#)).await;
    watcher.follow_to(&mut seen, 2).await;
    assert!(seen.json() == format!(r#"{{"v":"{value}"}}"#));
}

async fn a_document_above_the_cap_is_refused(net: &Net) {
    let host = net.host_with(|config| config.limits.max_document = 2_000);
    let mut wire = host.join(net.one, &who("ann", "phone")).await;
    wire.create("s", "{}").await;
    let large = format!(r#"{{"t":"{}"}}"#, "w".repeat(2_000));
    let update = wire.update("s", &format!(r#"[{{"op":"add","path":"/t","value":{large}}}]"#));
    let Message::Error(error) = wire.ask(update).await else { panic!("no Error") };
    assert_eq!(error.code, ErrorCode::DocumentTooLarge as u32);
    wire.send(message::Create { state: Bytes::from(large), ..create("t", "{}") }).await;
    let Message::Error(error) = wire.session().await else { panic!("no Error") };
    assert_eq!((error.code, error.op), (ErrorCode::DocumentTooLarge as u32, Some(1)));
    assert_eq!(wire.subscribe("s").await.json(), "{}");
}
