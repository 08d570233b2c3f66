//! What is asked over HTTP: health, readiness, and figures that move.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    net::{Net, run, who},
    wire::{PATIENCE, Via},
};

/// GET over a connection of its own: (status, body).
pub async fn get(server: SocketAddr, path: &str) -> (u16, String) {
    get_on(TcpStream::connect(server).await.unwrap(), server, path).await
}

/// GET over this connection.
pub async fn get_on(mut stream: impl AsyncRead + AsyncWrite + Unpin, server: SocketAddr, path: &str) -> (u16, String) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let (_, body) = answer.split_once("\r\n\r\n").expect("a body");
    (status, body.to_owned())
}

#[test]
fn health_and_readiness_are_said_on_both_listeners_and_figures_only_to_operators() {
    run(Via::Memory, Via::Memory, async |net: &Net| {
        let host = net.host();
        for (server, paths) in [(host.address(), ["/health", "/ready"]), (host.admin(), ["/healthz", "/readyz"])] {
            for path in paths {
                let (status, body) = get(server, path).await;
                assert_eq!(status, 200, "{path}: {body}");
            }
        }
        assert_eq!(get(host.address(), "/metrics").await.0, 404);
        assert_eq!(get(host.admin(), "/metrics").await.0, 200);
        assert_eq!(get(host.address(), "/nothing").await.0, 404);
    });
}

#[test]
fn the_figures_move_with_what_happens() {
    run(Via::Quic, Via::WebSocket, async |net: &Net| {
        let host = net.durable_host();
        let names = [
            "syncbridge_connections_opened_total",
            "syncbridge_messages_received_total",
            "syncbridge_sent_bytes_total",
            "syncbridge_events_total",
            "syncbridge_deliveries_total",
            "syncbridge_updates_accepted_total",
            "syncbridge_resets_total",
            "syncbridge_refused_total",
            "syncbridge_storage_commits_total",
            "syncbridge_storage_syncs_total",
            "syncbridge_sessions_live",
        ];
        let mut before = Vec::new();
        for name in names {
            before.push(host.metric(name).await);
        }
        let mut writer = host.join(net.one, &who("ann", "phone")).await;
        let mut watcher = host.join(net.other, &who("ann", "laptop")).await;
        writer.create("s", r#"{"n":0}"#).await;
        let mut seen = watcher.subscribe("s").await;
        for n in 1..=10 {
            writer.write("s", &format!(r#"[{{"op":"replace","path":"/n","value":{n}}}]"#)).await;
        }
        watcher.follow_to(&mut seen, 11).await;
        let update = writer.update("s", r#"[{"op":"remove","path":"/gone"}]"#);
        writer.ask(update).await;
        for (name, before) in names.into_iter().zip(before) {
            // What shards count is handed on once a second.
            let moves = async {
                while host.metric(name).await <= before {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            };
            assert!(tokio::time::timeout(PATIENCE, moves).await.is_ok(), "{name} does not move");
        }
        assert_eq!(host.metric("syncbridge_updates_accepted_total").await, 10);
        assert_eq!(host.metric("syncbridge_connections_opened_total").await, 2);
        assert_eq!(host.metric("syncbridge_events_total").await, 10);
    });
}
