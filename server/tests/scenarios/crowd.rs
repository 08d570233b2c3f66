//! Many at once: every device sees one and the same order, wherever it is connected.

use syncbridge_codec::{
    ErrorCode,
    message::{self, Message},
};

use crate::{
    net::{Host, Net, who},
    wire::Via,
};

/// Follows a session to this version: each version's position and operations.
async fn watch(host: &Host, via: Via, shard: usize, device: String, last: u64) -> (Vec<message::Delta>, String) {
    let mut wire = host.link_to(via, shard).await;
    host.greet(&mut wire, &who("ann", &device)).await;
    let mut seen = wire.subscribe("s").await;
    let mut deltas = Vec::new();
    while seen.at.version < last {
        match wire.follow(&mut seen).await {
            Message::Delta(delta) => deltas.push(delta),
            other => panic!("no Delta but {other:?}"),
        }
    }
    (deltas, seen.json())
}

/// Changes the session that often, each change sent when the last one was answered.
async fn write(host: &Host, via: Via, shard: usize, device: String, times: u64) {
    let mut wire = host.link_to(via, shard).await;
    host.greet(&mut wire, &who("ann", &device)).await;
    wire.settle("s").await;
    for n in 0..times {
        let update = wire.update("s", &format!(r#"[{{"op":"add","path":"/l/-","value":"{device} {n}"}}]"#));
        let answer = wire.ask(update).await;
        assert!(matches!(answer, Message::Accepted(_)), "{answer:?}");
    }
}

#[test]
fn sixteen_writers_on_all_links_and_shards_make_one_order_for_every_watcher() {
    crate::net::run(Via::Memory, Via::Memory, async |net: &Net| {
        let host = net.host_with(|config| {
            // Nobody falls behind here: each watcher has to see each version.
            config.fanout.ring_bytes = 16 << 20;
        });
        let links = [Via::Quic, Via::WebTransport, Via::WebSocket, Via::Memory];
        let (writers, each) = (16, 25);
        let last = 1 + writers * each;
        host.join(Via::Memory, &who("ann", "maker")).await.create("s", r#"{"l":[]}"#).await;
        let watching = futures_util::future::join_all((0..8).map(|n| {
            let (host, via) = (host.clone(), links[n % links.len()]);
            tokio::spawn(async move { watch(&host, via, n, format!("watcher {n}"), last).await })
        }));
        let writing = futures_util::future::join_all((0..writers as usize).map(|n| {
            let (host, via) = (host.clone(), links[n % links.len()]);
            tokio::spawn(async move { write(&host, via, n, format!("writer {n}"), each).await })
        }));
        let (watched, written) = tokio::join!(watching, writing);
        for writer in written {
            writer.expect("a writer");
        }
        let watched: Vec<_> = watched.into_iter().map(|watcher| watcher.expect("a watcher")).collect();
        let (_, state) = &watched[0];
        let longest = watched.iter().map(|(deltas, _)| deltas).max_by_key(|deltas| deltas.len()).expect("eight");
        for (deltas, text) in &watched {
            // Who came late begins later; from there on all is the same.
            assert!(longest.ends_with(deltas), "one order for all");
            assert_eq!(text, state);
        }
        let times = |text: &str| state.matches(text).count();
        assert_eq!(times("writer"), (writers * each) as usize, "each update is there once");
        assert_eq!(times("\"writer 7 "), each as usize);
    });
}

#[test]
fn clients_on_two_shards_see_one_order() {
    crate::net::run(Via::Memory, Via::Memory, async |net: &Net| {
        let host = net.host();
        let (mut one, mut other) = (host.link_to(Via::Memory, 0).await, host.link_to(Via::Memory, 1).await);
        let (first, second) =
            (host.greet(&mut one, &who("ann", "phone")).await, host.greet(&mut other, &who("ann", "laptop")).await);
        assert_ne!(first.connection, second.connection);
        one.create("s", r#"{"l":[]}"#).await;
        let (mut ones, mut others) = (one.subscribe("s").await, other.subscribe("s").await);
        for n in 0..100 {
            for (wire, replica) in [(&mut one, &mut ones), (&mut other, &mut others)] {
                let append = format!(r#"[{{"op":"add","path":"/l/-","value":{n}}}]"#);
                let update = message::Update { base: replica.at.clone(), ..wire.update("s", &append) };
                wire.send(update).await;
            }
            // Both are under way before either is read: which came first is the server's to say, to both the same.
            for (wire, replica) in [(&mut one, &mut ones), (&mut other, &mut others)] {
                wire.follow_to(replica, 3 + 2 * n).await;
            }
            assert_eq!(ones.json(), others.json());
        }
    });
}

#[test]
fn a_connection_ends_when_it_says_what_it_may_not_and_the_others_go_on() {
    for via in [Via::Quic, Via::WebTransport, Via::WebSocket, Via::Memory] {
        crate::net::run(via, via, async |net: &Net| {
            let host = net.host();
            let mut good = host.join(net.one, &who("ann", "phone")).await;
            good.create("s", r#"{"n":0}"#).await;
            let mut bad = host.join(net.other, &who("bob", "laptop")).await;
            bad.send(host.hello(&who("bob", "laptop"))).await;
            assert_eq!(bad.ended().await.code, ErrorCode::UnexpectedMessage as u32);
            good.write("s", r#"[{"op":"replace","path":"/n","value":1}]"#).await;
        });
    }
}
