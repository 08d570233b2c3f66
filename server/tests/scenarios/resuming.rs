//! A device that comes back gets exactly what it missed, on whatever link it comes.

use syncbridge_codec::{
    ErrorCode,
    message::{self, Durability, Message, Position, ResetReason},
};

use crate::{
    net::{Host, Net, who},
    replica::Replica,
    wire::Wire,
};

scenarios! {
    pairs: [
        a_cursor_resumes_with_exactly_what_was_missed_on_another_link
        what_left_the_log_in_memory_comes_from_the_store
    ]
    links: [
        a_cursor_of_an_unknown_epoch_is_reset
        a_cursor_of_a_missing_session_is_an_error_and_the_connection_goes_on
        a_subscription_resumes_by_subscribe_too
        updates_that_stream_in_while_a_device_catches_up_leave_no_gap
    ]
    together: [
        a_clean_restart_resets_nobody
    ]
}

/// Takes `Resumed` and the events up to its version.
async fn resumed(wire: &mut Wire, replica: &mut Replica, id: Option<u64>) {
    let have = replica.at.version;
    let first = wire.follow(replica).await;
    let Message::Resumed(resumed) = first else { panic!("no Resumed but {first:?}") };
    assert_eq!((resumed.id, resumed.after), (id, have));
    wire.follow_to(replica, resumed.version).await;
}

/// Writes this many deltas of some 200 bytes each.
async fn write(wire: &mut Wire, session: &str, count: u64) {
    let filler = "x".repeat(60);
    for n in 0..count {
        let update = wire.update(session, &format!(r#"[{{"op":"replace","path":"/n","value":"{n}{filler}"}}]"#));
        // The last one says when all of them are on the disk.
        let durability = if n + 1 == count { Durability::Durable } else { Durability::Accepted };
        let answer = wire.ask(message::Update { durability, ..update }).await;
        assert!(matches!(answer, Message::Accepted(_)), "{answer:?}");
    }
}

async fn a_cursor_resumes_with_exactly_what_was_missed_on_another_link(net: &Net) {
    let host = net.host();
    let mut writer = host.join(net.one, &who("ann", "phone")).await;
    writer.create("s", r#"{"n":0}"#).await;
    writer.create("t", r#"{"n":0}"#).await;
    let me = who("ann", "laptop");
    let mut before = host.join(net.one, &me).await;
    let mut seen = before.subscribe("s").await;
    write(&mut writer, "s", 5).await;
    before.follow_to(&mut seen, 6).await;
    before.close().await;
    write(&mut writer, "s", 7).await;

    let mut after = host.join(net.other, &me.clone().at("s", &seen.at)).await;
    resumed(&mut after, &mut seen, None).await;
    assert_eq!(seen.at.version, 13);
    write(&mut writer, "s", 2).await;
    after.follow_to(&mut seen, 15).await;
    after.close().await;

    // Nothing was missed: nothing comes but what is new.
    let mut again = host.join(net.one, &me.at("s", &seen.at)).await;
    resumed(&mut again, &mut seen, None).await;
    write(&mut writer, "s", 1).await;
    again.follow_to(&mut seen, 16).await;
    assert_eq!(seen.resets, [ResetReason::Initial]);
}

async fn what_left_the_log_in_memory_comes_from_the_store(net: &Net) {
    let host = net.durable_host();
    let mut writer = host.join(net.one, &who("ann", "phone")).await;
    writer.create("s", r#"{"n":0}"#).await;
    let me = who("ann", "laptop");
    let mut before = host.join(net.one, &me).await;
    let mut seen = before.subscribe("s").await;
    before.close().await;
    // 600 frames of some 150 bytes are more than the 64 KiB that are kept in memory, and fewer than the store keeps.
    write(&mut writer, "s", 600).await;
    let mut after = host.join(net.other, &me.at("s", &seen.at)).await;
    resumed(&mut after, &mut seen, None).await;
    assert_eq!((seen.at.version, seen.resets.as_slice()), (601, [ResetReason::Initial].as_slice()));
    write(&mut writer, "s", 1).await;
    after.follow_to(&mut seen, 602).await;
}

async fn a_clean_restart_resets_nobody(net: &Net) {
    let host = net.durable_host();
    let mut writer = host.join(net.one, &who("ann", "phone")).await;
    writer.create("s", r#"{"n":0}"#).await;
    let me = who("ann", "laptop");
    let mut before = host.join(net.one, &me).await;
    let mut seen = before.subscribe("s").await;
    write(&mut writer, "s", 3).await;
    before.follow_to(&mut seen, 4).await;
    before.close().await;
    write(&mut writer, "s", 3).await;
    writer.close().await;
    let epoch = seen.at.epoch;
    host.restart().await;

    let mut after = host.join(net.other, &me.clone().at("s", &seen.at)).await;
    resumed(&mut after, &mut seen, None).await;
    assert_eq!(seen.at.version, 7);
    assert!(seen.at.epoch > epoch, "another process has it now");
    let mut writer = host.join(net.one, &who("ann", "phone")).await;
    writer.settle("s").await;
    write(&mut writer, "s", 1).await;
    after.follow_to(&mut seen, 8).await;
    after.close().await;
    writer.close().await;
    let old = Position { epoch, version: 2 };
    host.restart().await;
    host.restart().await;

    // A place of three epochs ago is still true.
    let mut wire = host.join(net.one, &me.at("s", &old)).await;
    let Message::Resumed(resumed) = wire.session().await else { panic!("no Resumed") };
    assert_eq!((resumed.after, resumed.version), (2, 8));
    for version in 3..=8 {
        let Message::Delta(delta) = wire.session().await else { panic!("no Delta") };
        assert_eq!(delta.at.version, version);
    }
    assert_eq!(seen.resets, [ResetReason::Initial]);
}

async fn a_cursor_of_an_unknown_epoch_is_reset(net: &Net) {
    let host = net.host();
    let mut writer = host.join(net.one, &who("ann", "phone")).await;
    let made = writer.create("s", r#"{"n":0}"#).await;
    for at in [Position { epoch: made.epoch + 7, version: 1 }, Position { version: 99, ..made }] {
        let mut wire = host.join(net.other, &who("ann", "laptop").at("s", &at)).await;
        let mut seen = Replica::new("s");
        wire.follow(&mut seen).await;
        assert_eq!((seen.resets.as_slice(), seen.at.version), ([ResetReason::UnknownEpoch].as_slice(), 1));
        wire.close().await;
    }
}

async fn a_cursor_of_a_missing_session_is_an_error_and_the_connection_goes_on(net: &Net) {
    let host = net.host();
    let mut writer = host.join(net.one, &who("ann", "phone")).await;
    let made = writer.create("s", r#"{"n":0}"#).await;
    let me = who("ann", "laptop").at("gone", &made).at("s", &made);
    let mut wire = host.join(net.other, &me).await;
    let mut seen = Replica::kept("s", &made, r#"{"n":0}"#);
    let (mut errors, mut resumed) = (0, 0);
    for _ in 0..2 {
        match wire.session().await {
            Message::Error(error) => {
                assert_eq!((error.code, error.session.as_deref()), (ErrorCode::NotFound as u32, Some("gone")));
                assert_eq!(error.answers, None);
                errors += 1;
            }
            other => {
                seen.take(&other, None);
                resumed += 1;
            }
        }
    }
    assert_eq!((errors, resumed), (1, 1));
}

async fn a_subscription_resumes_by_subscribe_too(net: &Net) {
    let host = net.host();
    let mut writer = host.join(net.one, &who("ann", "phone")).await;
    let mut watcher = host.join(net.other, &who("ann", "laptop")).await;
    writer.create("s", r#"{"n":0}"#).await;
    let mut seen = watcher.subscribe("s").await;
    write(&mut writer, "s", 4).await;
    watcher.follow_to(&mut seen, 5).await;
    // Asking again moves the subscription: back, here.
    let mut old = Replica::kept("s", &Position { version: 2, ..seen.at.clone() }, r#"{"n":0}"#);
    let id = watcher.request();
    let have = Some(old.at.clone());
    watcher.send(message::Subscribe { id, session: "s".into(), have, ..Default::default() }).await;
    resumed(&mut watcher, &mut old, Some(id)).await;
    assert_eq!((old.at.version, old.json()), (5, seen.json()));
    write(&mut writer, "s", 1).await;
    watcher.follow_to(&mut old, 6).await;
    assert_eq!(watcher.settle("s").await, [], "each comes once, to one subscription");
}

/// A client that pours updates in without waiting for each answer.
async fn pour(host: &Host, net: &Net, count: u64) -> Wire {
    let mut writer = host.join(net.one, &who("ann", "phone")).await;
    writer.settle("s").await;
    write(&mut writer, "s", count).await;
    writer
}

async fn updates_that_stream_in_while_a_device_catches_up_leave_no_gap(net: &Net) {
    let host = net.durable_host();
    let mut maker = host.join(net.one, &who("ann", "tablet")).await;
    let made = maker.create("s", r#"{"n":0}"#).await;
    write(&mut maker, "s", 600).await;
    let catching_up = async {
        let mut versions = Vec::new();
        for _ in 0..3 {
            let mut seen = Replica::kept("s", &made, r#"{"n":0}"#);
            let mut wire = host.join(net.other, &who("ann", "laptop").at("s", &made)).await;
            resumed(&mut wire, &mut seen, None).await;
            versions.push(seen.at.version);
            wire.close().await;
        }
        versions
    };
    let (writer, versions) = tokio::join!(pour(&host, net, 300), catching_up);
    drop(writer);
    assert!(versions.iter().all(|version| *version >= 601));
}
