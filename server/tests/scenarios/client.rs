//! The Rust client against the real server, end to end.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use syncbridge_client::{
    Client, Config, ErrorCode, Fingerprint, Patch, SessionHandle, Transport, Trust, UpdateOptions, Via as By,
};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use crate::{
    net::{Host, Net, run},
    wire::{PATIENCE, Via},
};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Todo {
    title: String,
    #[serde(default)]
    items: Vec<String>,
}

fn config(host: &Host, device: &str, transport: Transport) -> Config {
    let scheme = if host.is_tls() && transport != Transport::Quic { "wss://" } else { "" };
    Config::new(format!("{scheme}{}", host.address()), device)
        .token(host.token("ann", None))
        .transport(transport)
        .trust(Trust::Pin(Fingerprint(host.fingerprint())))
}

async fn sees(session: &SessionHandle<Todo>, what: impl Fn(&Todo) -> bool) {
    let mut changes = session.changes().unwrap();
    let seen = async {
        while !what(&session.state().unwrap()) {
            changes.next().await.expect("it goes on");
        }
    };
    tokio::time::timeout(PATIENCE, seen).await.expect("it is seen");
}

fn append(item: &str) -> Patch {
    Patch::new().add("/items/-", item)
}

fn each_link(scenario: impl AsyncFn(&Net, Transport)) {
    for (via, transport) in
        [(Via::Quic, Transport::Quic), (Via::WebSocket, Transport::WebSocket), (Via::Tls, Transport::WebSocket)]
    {
        run(via, via, async |net: &Net| scenario(net, transport).await);
    }
}

#[test]
fn two_devices_share_a_typed_session() {
    each_link(async |net, transport| {
        let host = net.durable_host();
        let phone = Client::connect(config(&host, "phone", transport)).await.unwrap();
        // The other one comes by whatever wins.
        let laptop = Client::connect(config(&host, "laptop", Transport::Auto)).await.unwrap();
        let made = phone.create(Some("todo"), &Todo { title: "milk".into(), items: Vec::new() }).await.unwrap();
        let seen = laptop.session::<Todo>("todo").await.unwrap();
        let update = made.update_with(|todo| todo.items.push("two litres".into())).unwrap();
        assert_eq!(made.state().unwrap().items, ["two litres"], "at once, before the server knows");
        sees(&seen, |todo| todo.items == ["two litres"]).await;
        let at = update.durable().await.unwrap();
        assert_eq!(at.version, 2);
        seen.update_with(|todo| todo.title = "bread".into()).unwrap();
        sees(&made, |todo| todo.title == "bread").await;
        assert_eq!(laptop.get("todo").await.unwrap().at.version, 3);
        let error = laptop.get("nothing").await.unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::NotFound));
        phone.close().await;
        laptop.close().await;
    });
}

#[test]
fn a_conflict_rolls_the_optimistic_view_back() {
    each_link(async |net, transport| {
        let host = net.host();
        let phone = Client::connect(config(&host, "phone", transport)).await.unwrap();
        let laptop = Client::connect(config(&host, "laptop", transport)).await.unwrap();
        let mine = phone.create(Some("s"), &Todo { title: "old".into(), ..Todo::default() }).await.unwrap();
        let theirs = laptop.session::<Todo>("s").await.unwrap();
        // Both change the same at the same time, as far as they know: the one that comes second loses.
        let updates = [
            mine.update(Patch::new().replace("/title", "mine")).unwrap(),
            theirs.update(Patch::new().replace("/title", "theirs")).unwrap(),
        ];
        let outcomes = [updates[0].accepted().await, updates[1].accepted().await];
        let won = match (&outcomes[0], &outcomes[1]) {
            (Ok(_), Err(_)) => "mine",
            (Err(_), Ok(_)) => "theirs",
            other => panic!("one of them: {other:?}"),
        };
        sees(&mine, |todo| todo.title == won).await;
        sees(&theirs, |todo| todo.title == won).await;
        phone.close().await;
        laptop.close().await;
    });
}

#[test]
fn what_is_done_while_the_server_is_away_is_sent_once_when_it_is_back() {
    for (via, transport) in [(Via::Quic, Transport::Quic), (Via::WebSocket, Transport::WebSocket)] {
        run(via, via, async |net: &Net| {
            let host = net.durable_host();
            let client = Client::connect(config(&host, "phone", transport)).await.unwrap();
            let session = client.create(Some("s"), &Todo::default()).await.unwrap();
            session.update(append("before")).unwrap().durable().await.unwrap();
            host.stop().await;
            let mut status = client.status();
            status.wait_for(|status| status.via().is_none()).await.unwrap();
            let updates: Vec<_> = (0..20)
                .map(|n| session.update_as(append(&n.to_string()), &UpdateOptions::default()).unwrap())
                .collect();
            assert_eq!(session.state().unwrap().items.len(), 21, "the view does not wait");
            host.start_in_place();
            client.reconnect();
            for update in updates {
                update.durable().await.unwrap();
            }
            let other = Client::connect(config(&host, "laptop", transport)).await.unwrap();
            let items = other.session::<Todo>("s").await.unwrap().state().unwrap().items.clone();
            let expected: Vec<String> =
                std::iter::once("before".to_owned()).chain((0..20).map(|n| n.to_string())).collect();
            assert_eq!(items, expected, "each once, in order");
            client.close().await;
            other.close().await;
        });
    }
}

/// TCP comes through, UDP is swallowed.
async fn without_udp(server: SocketAddr) -> (SocketAddr, UdpSocket) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let swallows = UdpSocket::bind(address).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut server = TcpStream::connect(server).await.unwrap();
                // Either side may end it.
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (address, swallows)
}

#[test]
fn where_udp_is_swallowed_websocket_takes_over() {
    run(Via::Memory, Via::Memory, async |net: &Net| {
        let host = net.host();
        let (address, _swallows) = without_udp(host.address()).await;
        let blocked = Config { server: address.to_string(), ..config(&host, "phone", Transport::Auto) };
        let client = Client::connect(blocked).await.unwrap();
        assert_eq!(client.status().borrow().via(), Some(By::WebSocket));
        let session = client.create(Some("s"), &Todo::default()).await.unwrap();
        let free = Client::connect(config(&host, "laptop", Transport::Quic)).await.unwrap();
        assert_eq!(free.status().borrow().via(), Some(By::Quic));
        free.session::<Todo>("s").await.unwrap().update(append("by QUIC")).unwrap().accepted().await.unwrap();
        sees(&session, |todo| todo.items == ["by QUIC"]).await;
        client.close().await;
        free.close().await;
    });
}

#[test]
fn a_client_that_moves_to_another_port_goes_on_without_a_gap() {
    run(Via::Quic, Via::Quic, async |net: &Net| {
        let host = net.host();
        let client = Client::connect(config(&host, "phone", Transport::Quic)).await.unwrap();
        let other = Client::connect(config(&host, "laptop", Transport::WebSocket)).await.unwrap();
        let session = client.create(Some("s"), &Todo::default()).await.unwrap();
        let theirs = other.session::<Todo>("s").await.unwrap();
        for n in 1..=8 {
            client.rebind().unwrap();
            theirs.update(append("there")).unwrap().accepted().await.unwrap();
            session.update(append("here")).unwrap().accepted().await.unwrap();
            sees(&session, |todo| todo.items.len() == 2 * n).await;
        }
        assert_eq!(host.metric("syncbridge_connections_opened_total").await, 2, "nobody had to come back");
        client.close().await;
        other.close().await;
    });
}
