//! 0-RTT: on any shard, held back until it is proved to be no replay, and harmless when it is not taken.

use quinn::{ReadError, WriteError};

use super::harness::{Relay, Server, Setup, client, connect, exchange, until, within};

/// Connects once so that the client has tickets. Tickets come after the handshake; what is read after them proves it.
async fn get_tickets(endpoint: &quinn::Endpoint, server: &Server) -> usize {
    let connection = connect(endpoint, server.address).await;
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    exchange(&mut send, &mut recv, b"tickets").await;
    let shard = server.last().shard;
    connection.close(0u32.into(), b"");
    shard
}

#[tokio::test]
async fn early_data_is_answered_on_whatever_shard_it_comes_to() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &Setup::default());
    let endpoint = client(server.fingerprint);
    let mut shard = get_tickets(&endpoint, &server).await;
    let (mut same, mut other) = (0, 0);
    while same < 2 || other < 2 {
        assert!(same + other < 64, "{same} on the same shard, {other} on another");
        let connecting = endpoint.connect(server.address, "localhost").unwrap();
        let (connection, accepted) = connecting.into_0rtt().expect("the client has a ticket");
        let (mut send, mut recv) = connection.open_bi().await.unwrap();
        exchange(&mut send, &mut recv, b"early").await;
        assert!(within(accepted).await, "the early data was refused");
        // The next ticket comes when the handshake is complete, before this.
        exchange(&mut send, &mut recv, b"late").await;
        let now = server.last().shard;
        if now == shard {
            same += 1;
        } else {
            other += 1;
        }
        shard = now;
        connection.close(0u32.into(), b"");
    }
}

#[tokio::test]
async fn early_data_is_readable_before_the_handshake_is_confirmed_and_marked_so() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &Setup::default());
    let relay = Relay::start(server.address);
    let endpoint = client(server.fingerprint);
    get_tickets(&endpoint, &server).await;
    let links = server.links.lock().len();

    relay.hold(true);
    let connecting = endpoint.connect(relay.address, "localhost").unwrap();
    let (connection, accepted) = connecting.into_0rtt().expect("the client has a ticket");
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.write_all(b"early").await.unwrap();
    // The client hears nothing, so it cannot confirm; the server has read its words all the same.
    until(|| server.links.lock().get(links).is_some_and(|link| link.confirmed_at_first.is_some())).await;
    assert_eq!(server.last().confirmed_at_first, Some(false));
    assert!(!server.last().confirmed);
    assert_eq!(server.gates.iter().map(crate::transport::quic::Gate::running).sum::<usize>(), 1);

    relay.hold(false);
    let mut echoed = [0; 5];
    within(recv.read_exact(&mut echoed)).await.unwrap();
    assert_eq!(&echoed, b"early");
    assert!(within(accepted).await);
    until(|| server.last().confirmed).await;
    assert_eq!(server.gates.iter().map(crate::transport::quic::Gate::running).sum::<usize>(), 0);
}

#[tokio::test]
async fn early_data_that_a_restarted_server_cannot_take_is_sent_again_on_the_same_connection() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &Setup::default());
    let endpoint = client(server.fingerprint);
    get_tickets(&endpoint, &server).await;
    let address = server.address;
    drop(server);
    let server = Server::start(folder.path(), &Setup { address, ..Setup::default() });

    let connecting = endpoint.connect(address, "localhost").unwrap();
    let (connection, accepted) = connecting.into_0rtt().expect("the client has a ticket");
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    send.write_all(b"early").await.unwrap();
    assert!(!within(accepted).await, "the server cannot know the ticket");
    assert_eq!(within(recv.read(&mut [0; 5])).await, Err(ReadError::ZeroRttRejected));
    assert_eq!(within(send.write(b"late")).await, Err(WriteError::ZeroRttRejected));

    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    exchange(&mut send, &mut recv, b"again").await;
    assert_eq!(server.last().confirmed_at_first, Some(true));
    assert_eq!(server.links.lock().len(), 1);
}
