//! Limits, silence and going down: how connections end, and what holds when they do.

use syncbridge_codec::{
    ErrorCode,
    message::{self, Message},
};

use crate::net::{Net, who};

scenarios! {
    pairs: [
        a_server_that_goes_down_says_so_and_loses_nothing_that_it_accepted
    ]
    links: [
        a_connection_has_as_many_subscriptions_as_welcome_says
        a_user_has_so_many_connections_and_no_more
    ]
    together: [
        a_connection_that_falls_silent_is_ended_in_time_and_one_that_speaks_is_not
        a_connection_that_does_not_say_hello_is_ended_in_time
    ]
}

async fn a_connection_has_as_many_subscriptions_as_welcome_says(net: &Net) {
    let host = net.host();
    let mut wire = host.link(net.one).await;
    assert_eq!(host.greet(&mut wire, &who("ann", "phone")).await.max_subscriptions, 1_000, "the default");
    wire.close().await;

    let limit = 40;
    let host = net.host_with(|config| config.limits.subscriptions = limit);
    let mut wire = host.link(net.one).await;
    let welcome = host.greet(&mut wire, &who("ann", "phone")).await;
    assert_eq!(welcome.max_subscriptions as usize, limit);
    for n in 0..=limit {
        wire.create(&format!("s{n}"), "{}").await;
    }
    for n in 0..limit {
        wire.subscribe(&format!("s{n}")).await;
    }
    let (id, last) = (wire.request(), format!("s{limit}"));
    wire.send(message::Subscribe { id, session: last.clone().into(), ..Default::default() }).await;
    let Message::Error(error) = wire.session().await else { panic!("no Error") };
    assert_eq!((error.code, error.answers), (ErrorCode::LimitReached as u32, Some(id)));
    // Asking again for one that it has is none more, and giving one up makes room.
    wire.subscribe("s7").await;
    wire.send(message::Unsubscribe { id: 1, session: "s3".into() }).await;
    assert!(matches!(wire.session().await, Message::Unsubscribed(_)));
    wire.subscribe(&last).await;
}

async fn a_user_has_so_many_connections_and_no_more(net: &Net) {
    let host = net.host_with(|config| config.limits.connections_per_user = 3);
    let mut wires = Vec::new();
    for device in ["a", "b", "c"] {
        wires.push(host.join(net.one, &who("ann", device)).await);
    }
    let mut fourth = host.link(net.one).await;
    fourth.send(host.hello(&who("ann", "d"))).await;
    let end = fourth.ended().await;
    assert_eq!(end.code, ErrorCode::LimitReached as u32);
    host.join(net.one, &who("bob", "a")).await.close().await;
    // When the server has noticed that one is gone, there is room for another.
    wires.pop().expect("three of them").close().await;
    loop {
        let mut again = host.link(net.one).await;
        again.send(host.hello(&who("ann", "d"))).await;
        match again.control().await {
            Message::Welcome(_) => break,
            Message::Refused(refused) => assert_eq!(refused.code, ErrorCode::LimitReached as u32),
            other => panic!("{other:?}"),
        }
    }
}

async fn a_connection_that_falls_silent_is_ended_in_time_and_one_that_speaks_is_not(net: &Net) {
    let host = net.host_with(|config| config.connection.heartbeat_ms = 500);
    let mut silent = host.join(net.one, &who("ann", "phone")).await;
    let mut speaking = host.join(net.other, &who("ann", "laptop")).await;
    let keeping = async {
        loop {
            speaking.send(message::Ping { nonce: 5 }).await;
            assert_eq!(speaking.control().await, message::Pong { nonce: 5 }.into());
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        end = silent.ended() => assert_eq!(end.code, ErrorCode::TimedOut as u32),
        () = keeping => {}
    }
    speaking.create("s", "{}").await;
}

async fn a_connection_that_does_not_say_hello_is_ended_in_time(net: &Net) {
    let host = net.host_with(|config| config.limits.handshake_seconds = 1);
    let mut wire = host.link(net.one).await;
    // Being there is not saying who one is.
    wire.send(message::Ping { nonce: 1 }).await;
    assert_eq!(wire.control().await, message::Pong { nonce: 1 }.into());
    assert_eq!(wire.ended().await.code, ErrorCode::TimedOut as u32);
}

async fn a_server_that_goes_down_says_so_and_loses_nothing_that_it_accepted(net: &Net) {
    let host = net.durable_host();
    let me = who("ann", "phone");
    let mut writer = host.join(net.one, &me).await;
    let mut watcher = host.join(net.other, &who("ann", "laptop")).await;
    writer.create("s", r#"{"l":[]}"#).await;
    let mut seen = watcher.subscribe("s").await;
    for _ in 0..50 {
        let update = writer.update("s", r#"[{"op":"add","path":"/l/-","value":1}]"#);
        writer.send(update).await;
    }
    // At least one is under way when it goes down.
    watcher.follow_to(&mut seen, 2).await;
    let (stopped, written, watched) = tokio::join!(host.stop(), writer.ended(), watcher.ended());
    assert!(stopped.all_told);
    let accepted = written.session.iter().filter(|said| matches!(said, Message::Accepted(_))).count();
    for said in &written.session {
        match said {
            Message::Accepted(_) => {}
            // Updates that came too late were not applied, and may be sent again.
            Message::Error(error) => assert!(error.retryable, "{error:?}"),
            other => panic!("{other:?}"),
        }
    }
    for end in [&written, &watched] {
        let Some(Message::Draining(draining)) = end.control.first() else { panic!("not told: {end:?}") };
        assert!(draining.reconnect_after_ms > 0);
        assert_eq!(end.code, ErrorCode::ServerDraining as u32);
    }
    host.start();
    let mut again = host.join(net.other, &who("ann", "tablet")).await;
    let there = again.subscribe("s").await;
    let list = there.value.get("l").and_then(syncbridge_document::Value::as_array).expect("a list").len();
    assert_eq!(list as u64 + 1, there.at.version, "each once");
    assert!(list >= accepted, "{accepted} were accepted, {list} are there");
}
