//! Packets reach the shard that holds their connection, from whatever address they come.

use std::net::UdpSocket;

use quinn::{Connection, ConnectionError, Endpoint};

use super::harness::{IDLE, Server, Setup, client, connect, exchange, stream_open, until, within};

/// Bytes between two changes of address.
const STRETCH: usize = 256 << 10;

/// The `n`-th stretch of bytes, all of which can be told apart.
fn stretch(n: usize) -> Vec<u8> {
    (0..STRETCH / 8).flat_map(|at| (n * STRETCH + at).to_be_bytes()).collect()
}

/// Streams through the echo and changes the client's port in mid-stream, until `enough`; checks each byte.
async fn stream_and_migrate(endpoint: &Endpoint, connection: &Connection, mut enough: impl FnMut(usize) -> bool) {
    let (_control, _) = connection.open_bi().await.unwrap();
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.write_chunk(stream_open(1)).await.unwrap();
    let mut moves = 0;
    while !enough(moves) {
        assert!(moves < 200, "the client's packets never landed on another shard's socket");
        let text = stretch(moves);
        let mut echoed = vec![0; STRETCH];
        // Half is under way when the address changes.
        let (to_send, to_read) = (&text, &mut echoed);
        let (sent_all, read_all) = within(async {
            tokio::join!(
                async {
                    send.write_all(&to_send[..STRETCH / 2]).await?;
                    endpoint.rebind(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
                    send.write_all(&to_send[STRETCH / 2..]).await
                },
                recv.read_exact(to_read)
            )
        })
        .await;
        sent_all.unwrap();
        read_all.unwrap();
        assert!(echoed == text, "bytes changed after {moves} moves");
        moves += 1;
    }
}

#[tokio::test]
async fn a_client_that_changes_its_port_lives_by_hand_over_alone_and_loses_no_byte() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &Setup { kernel_steering: false, ..Setup::default() });
    let endpoint = client(server.fingerprint);
    let connection = connect(&endpoint, server.address).await;
    let (mut last, mut hopped, mut straight) = (server.hops(), 0, 0);
    stream_and_migrate(&endpoint, &connection, |_| {
        // A port leads to the connection's own shard or to the other; the client must have been at both kinds.
        let now = server.hops();
        if now > last {
            hopped += 1;
        } else {
            straight += 1;
        }
        last = now;
        hopped >= 6 && straight >= 3
    })
    .await;
    assert!(connection.close_reason().is_none());
    assert_eq!(server.links.lock().len(), 1);
}

#[tokio::test]
async fn a_client_that_changes_its_port_lives_by_kernel_steering_without_a_hop() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &Setup::default());
    let endpoint = client(server.fingerprint);
    // Connections on both shards, each of which takes every port that the client has.
    for _ in 0..4 {
        let connection = connect(&endpoint, server.address).await;
        // By the kernel's own hash, 12 ports would all lead to one of two sockets once in 2,048 runs.
        stream_and_migrate(&endpoint, &connection, |moves| moves == 12).await;
        assert!(connection.close_reason().is_none());
    }
    assert_eq!(server.hops(), 0);
}

#[tokio::test]
async fn connections_spread_over_the_shards() {
    for kernel_steering in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let server = Server::start(folder.path(), &Setup { kernel_steering, ..Setup::default() });
        let endpoint = client(server.fingerprint);
        let mut connections = Vec::new();
        for _ in 0..64 {
            let connection = connect(&endpoint, server.address).await;
            let (mut send, mut recv) = connection.open_bi().await.unwrap();
            exchange(&mut send, &mut recv, b"hello").await;
            connections.push((connection, send, recv));
        }
        let first = server.links.lock().iter().filter(|link| link.shard == 0).count();
        // Fewer than 8 of 64 fair throws: once in 10^10.
        assert!((8..=56).contains(&first), "{first} of 64 on the first shard");
        assert_eq!(kernel_steering, server.hops() == 0);
    }
}

#[tokio::test]
async fn one_shard_needs_no_steering() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &Setup { shards: 1, ..Setup::default() });
    let endpoint = client(server.fingerprint);
    let connection = connect(&endpoint, server.address).await;
    stream_and_migrate(&endpoint, &connection, |moves| moves == 3).await;
    assert_eq!(server.hops(), 0);
}

#[tokio::test]
async fn after_a_crash_and_restart_an_old_connection_is_reset_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &Setup::default());
    let (address, fingerprint) = (server.address, server.fingerprint);
    let mut clients = Vec::new();
    for _ in 0..8 {
        let endpoint = client(fingerprint);
        let connection = connect(&endpoint, address).await;
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        exchange(&mut send, &mut recv, b"hello").await;
        clients.push((endpoint, connection, send, recv));
    }
    drop(server);
    assert!(clients.iter().all(|(_, connection, ..)| connection.close_reason().is_none()), "a crash tells nobody");

    // Also with another number of shards: an id that was one shard's may be another's now, but always somebody's.
    for shards in [2, 3] {
        let restarted = Server::start(folder.path(), &Setup { address, shards, ..Setup::default() });
        let (_endpoint, connection, mut send, _recv) = clients.pop().unwrap();
        let (_endpoint2, connection2, mut send2, _recv2) = clients.pop().unwrap();
        let begun = std::time::Instant::now();
        send.write_all(b"are you there?").await.unwrap();
        send2.write_all(b"and you?").await.unwrap();
        assert_eq!(within(connection.closed()).await, ConnectionError::Reset);
        assert_eq!(within(connection2.closed()).await, ConnectionError::Reset);
        assert!(begun.elapsed() < IDLE / 10, "{:?}", begun.elapsed());
        drop(restarted);
    }
}

#[tokio::test]
async fn a_shard_never_resets_what_belongs_to_another() {
    // The one shard has a connection; the other gets all its packets and must keep silent but hand them over.
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &Setup { kernel_steering: false, shards: 3, ..Setup::default() });
    let endpoint = client(server.fingerprint);
    let connection = connect(&endpoint, server.address).await;
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    let start = server.hops();
    for round in 0..60 {
        exchange(&mut send, &mut recv, format!("round {round}").as_bytes()).await;
        endpoint.rebind(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
    }
    until(|| server.hops() > start).await;
    assert!(connection.close_reason().is_none());
}
