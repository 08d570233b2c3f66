//! Subscribing and updating: who is told what, and in which order.

use syncbridge_codec::{
    ErrorCode,
    message::{self, Durability, Message},
};

use crate::net::{Net, who};

scenarios! {
    pairs: [
        a_subscriber_gets_the_state_and_then_every_delta_in_order
        the_writer_gets_accepted_in_place_of_its_delta
        a_durable_update_is_seen_in_its_place_and_accepted_once_it_is_durable
        durable_is_cumulative_for_who_asked_for_it
    ]
    links: [
        nothing_of_a_session_comes_after_unsubscribed
        a_writer_need_not_subscribe
        an_update_that_changes_nothing_makes_no_version
        a_bad_update_is_refused_by_name_and_the_next_one_is_applied
    ]
}

async fn a_subscriber_gets_the_state_and_then_every_delta_in_order(net: &Net) {
    let host = net.host();
    let mut writer = host.join(net.one, &who("ann", "phone")).await;
    let mut watcher = host.join(net.other, &who("ann", "laptop")).await;
    let made = writer.create("s", r#"{"n":0}"#).await;
    assert_eq!(made.version, 1);
    let mut seen = watcher.subscribe("s").await;
    assert_eq!((seen.json().as_str(), &seen.at), (r#"{"n":0}"#, &made));
    for n in 1..=50 {
        writer.write("s", &format!(r#"[{{"op":"replace","path":"/n","value":{n}}}]"#)).await;
    }
    for n in 1..=50 {
        let Message::Delta(delta) = watcher.follow(&mut seen).await else { panic!("only deltas follow") };
        assert_eq!((delta.at.version, &*delta.device), (n + 1, "phone"));
        assert_eq!(seen.json(), format!(r#"{{"n":{n}}}"#));
    }
}

async fn the_writer_gets_accepted_in_place_of_its_delta(net: &Net) {
    let host = net.host();
    let mut writer = host.join(net.one, &who("ann", "phone")).await;
    let mut watcher = host.join(net.other, &who("ann", "laptop")).await;
    writer.create("s", r#"{"a":0,"b":0}"#).await;
    let mut mine = writer.subscribe("s").await;
    let mut theirs = watcher.subscribe("s").await;
    for n in 1..=20 {
        let (writer_sends, watcher_sends) = (
            message::Update {
                base: mine.at.clone(),
                ..writer.update("s", &format!(r#"[{{"op":"replace","path":"/a","value":{n}}}]"#))
            },
            message::Update {
                base: theirs.at.clone(),
                ..watcher.update("s", &format!(r#"[{{"op":"replace","path":"/b","value":{n}}}]"#))
            },
        );
        writer.send(writer_sends).await;
        watcher.send(watcher_sends).await;
        for (wire, replica) in [(&mut writer, &mut mine), (&mut watcher, &mut theirs)] {
            let mut kinds = [wire.follow(replica).await.name(), wire.follow(replica).await.name()];
            kinds.sort_unstable();
            assert_eq!(kinds, ["Accepted", "Delta"], "each reads its own answer once, and the other's delta once");
            assert_eq!(replica.json(), format!(r#"{{"a":{n},"b":{n}}}"#));
        }
    }
}

async fn a_durable_update_is_seen_in_its_place_and_accepted_once_it_is_durable(net: &Net) {
    let host = net.durable_host();
    let me = who("ann", "phone");
    let mut writer = host.join(net.one, &me).await;
    let mut watcher = host.join(net.other, &who("ann", "laptop")).await;
    writer.create("s", r#"{"n":0}"#).await;
    let mut mine = writer.subscribe("s").await;
    let mut theirs = watcher.subscribe("s").await;
    let update = message::Update {
        durability: Durability::Durable,
        ..writer.update("s", r#"[{"op":"replace","path":"/n","value":1}]"#)
    };
    let counter = update.counter;
    writer.send(update).await;
    let Message::Delta(delta) = writer.follow(&mut mine).await else { panic!("its place in the order comes first") };
    assert_eq!(delta.origin, message::Origin { incarnation: me.incarnation, counter });
    let Message::Accepted(accepted) = writer.follow(&mut mine).await else { panic!("and then the answer") };
    assert_eq!((accepted.counter, accepted.durable, &accepted.at), (counter, true, &delta.at));
    watcher.follow_to(&mut theirs, 2).await;

    // Who does not subscribe gets only the answer.
    let mut third = host.join(net.other, &who("ann", "tablet")).await;
    let update = message::Update {
        durability: Durability::Durable,
        base: delta.at,
        ..third.update("s", r#"[{"op":"replace","path":"/n","value":2}]"#)
    };
    let Message::Accepted(accepted) = third.ask(update).await else { panic!("no Accepted") };
    assert!(accepted.durable && accepted.at.version == 3);
    assert_eq!(third.settle("s").await, [], "nothing else was said");
}

async fn durable_is_cumulative_for_who_asked_for_it(net: &Net) {
    let host = net.durable_host();
    let mut writer = host.join(net.one, &who("ann", "phone")).await;
    let mut watcher = host.join(net.other, &who("ann", "laptop")).await;
    writer.create("s", r#"{"list":[]}"#).await;
    let id = watcher.request();
    let asked = message::Subscribe { id, session: "s".into(), durable: true, ..Default::default() };
    let mut seen = watcher.subscribe_as(asked).await;
    for _ in 0..10 {
        let update = message::Update {
            durability: Durability::Notify,
            ..writer.update("s", r#"[{"op":"add","path":"/list/-","value":1}]"#)
        };
        writer.send(update).await;
    }
    while seen.durable < 11 {
        watcher.follow(&mut seen).await;
        assert!(seen.durable <= 11, "nothing is durable that was not made");
    }
    watcher.follow_to(&mut seen, 11).await;
    let (mut accepted, mut durable) = (0, 0);
    while durable < 11 {
        match writer.session().await {
            Message::Accepted(_) => accepted += 1,
            Message::Durable(told) => {
                assert!(told.at.version > durable, "each says more than the last");
                durable = told.at.version;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(accepted == 10 && durable == 11, "who sent updates with Notify is told too");
}

async fn nothing_of_a_session_comes_after_unsubscribed(net: &Net) {
    let host = net.host();
    let mut writer = host.join(net.one, &who("ann", "phone")).await;
    let mut watcher = host.join(net.other, &who("ann", "laptop")).await;
    writer.create("s", r#"{"n":0}"#).await;
    let mut seen = watcher.subscribe("s").await;
    writer.write("s", r#"[{"op":"replace","path":"/n","value":1}]"#).await;
    watcher.follow_to(&mut seen, 2).await;
    let id = watcher.request();
    watcher.send(message::Unsubscribe { id, session: "s".into() }).await;
    assert_eq!(watcher.session().await, message::Unsubscribed { id, session: "s".into() }.into());
    writer.write("s", r#"[{"op":"replace","path":"/n","value":2}]"#).await;
    assert_eq!(watcher.settle("s").await, [], "no delta of what came later");

    watcher.send(message::Unsubscribe { id: id + 100, session: "s".into() }).await;
    let Message::Error(error) = watcher.session().await else { panic!("there is none") };
    assert_eq!((error.code, error.answers), (ErrorCode::NotSubscribed as u32, Some(id + 100)));
}

async fn a_writer_need_not_subscribe(net: &Net) {
    let host = net.host();
    let mut writer = host.join(net.one, &who("ann", "phone")).await;
    let made = writer.create("s", "{}").await;
    let accepted = writer.write("s", r#"[{"op":"add","path":"/x","value":1}]"#).await;
    assert_eq!((accepted.at.epoch, accepted.at.version, accepted.changed), (made.epoch, 2, true));
    assert_eq!(writer.settle("s").await, []);
}

async fn an_update_that_changes_nothing_makes_no_version(net: &Net) {
    let host = net.host();
    let mut writer = host.join(net.one, &who("ann", "phone")).await;
    let made = writer.create("s", r#"{"n":0}"#).await;
    let accepted = writer.write("s", "[]").await;
    assert_eq!((&accepted.at, accepted.changed), (&made, false));
    let accepted = writer.write("s", r#"[{"op":"test","path":"/n","value":0}]"#).await;
    assert_eq!((&accepted.at, accepted.changed), (&made, false));
}

async fn a_bad_update_is_refused_by_name_and_the_next_one_is_applied(net: &Net) {
    let host = net.host();
    let mut writer = host.join(net.one, &who("ann", "phone")).await;
    writer.create("s", r#"{"n":0}"#).await;
    for (operations, code) in [
        ("no json", ErrorCode::InvalidJson),
        (r#"{"op":"add"}"#, ErrorCode::InvalidPatch),
        (r#"[{"op":"fly","path":"/n"}]"#, ErrorCode::InvalidPatch),
        (r#"[{"op":"replace","path":"/missing","value":1}]"#, ErrorCode::PathNotFound),
        (r#"[{"op":"add","path":"/a/b","value":1}]"#, ErrorCode::PathNotFound),
        (r#"[{"op":"test","path":"/n","value":1}]"#, ErrorCode::TestFailed),
    ] {
        let update = writer.update("s", operations);
        let counter = update.counter;
        let Message::Error(error) = writer.ask(update).await else { panic!("{operations} was taken") };
        assert_eq!((error.code, &*error.name, error.op), (code as u32, code.name(), Some(counter)), "{operations}");
        assert_eq!(error.session.as_deref(), Some("s"));
    }
    let base = message::Position { version: 99, ..writer.head("s") };
    let ahead = message::Update { base, ..writer.update("s", r#"[{"op":"add","path":"/x","value":1}]"#) };
    let Message::Error(error) = writer.ask(ahead).await else { panic!("a base that is not there yet") };
    assert_eq!(error.code, ErrorCode::VersionAhead as u32);
    let lenient = message::Update { lenient: true, ..writer.update("s", r#"[{"op":"add","path":"/a/b","value":1}]"#) };
    let Message::Accepted(accepted) = writer.ask(lenient).await else { panic!("missing parents are made") };
    assert_eq!(accepted.at.version, 2);
}
