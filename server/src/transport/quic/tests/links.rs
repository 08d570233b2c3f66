//! One link: its streams, its order, its end; and who is let in.

use std::{
    collections::VecDeque,
    future::poll_fn,
    task::{Context, Waker},
};

use bytes::Bytes;
use quinn::{ConnectionError, VarInt};
use syncbridge_codec::{ErrorCode, message::Class};

use super::harness::{
    Relay, Server, Setup, client, client_config, config, connect, exchange, stream_open, until, within,
};
use crate::transport::{
    quic::{Accepted, Gate, LinkError, accept, bind},
    tls::Fingerprint,
};

fn start() -> (tempfile::TempDir, Server, quinn::Endpoint) {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &Setup::default());
    let endpoint = client(server.fingerprint);
    (folder, server, endpoint)
}

async fn assert_refused(connection: &quinn::Connection, server: &Server, code: ErrorCode) {
    match within(connection.closed()).await {
        ConnectionError::ApplicationClosed(close) => assert_eq!(close.error_code, VarInt::from_u32(code as u32)),
        other => panic!("{other:?}"),
    }
    until(|| server.last().ended.is_some()).await;
    assert!(matches!(server.last().ended, Some(Err(LinkError::Refused { code: told, .. })) if told == code));
}

#[tokio::test]
async fn control_and_session_are_streams_of_their_own_and_the_largest_frame_passes_both_ways() {
    let (_folder, server, endpoint) = start();
    let connection = connect(&endpoint, server.address).await;
    let (mut control, mut control_in) = connection.open_bi().await.unwrap();
    let (mut session, mut session_in) = connection.open_bi().await.unwrap();
    exchange(&mut control, &mut control_in, b"hello").await;
    session.write_chunk(stream_open(1)).await.unwrap();
    let frame: Vec<u8> = (0..syncbridge_codec::MAX_CLIENT_FRAME / 4).flat_map(|at| (at as u32).to_be_bytes()).collect();
    let mut echoed = vec![0; frame.len()];
    let (sent, read) =
        within(async { tokio::join!(session.write_all(&frame), session_in.read_exact(&mut echoed)) }).await;
    sent.unwrap();
    read.unwrap();
    assert!(echoed == frame);
    exchange(&mut control, &mut control_in, b"still here").await;
}

#[tokio::test]
async fn what_is_for_the_session_stream_waits_until_the_client_has_opened_it() {
    let (_folder, server, endpoint) = start();
    let connection = connect(&endpoint, server.address).await;
    let (mut control, mut control_in) = connection.open_bi().await.unwrap();
    control.write_all(b"session:early").await.unwrap();
    until(|| server.links.lock().first().is_some_and(|link| link.confirmed_at_first.is_some())).await;
    // The second stream alone is not enough: it has no class before StreamOpen is whole.
    let (mut session, mut session_in) = connection.open_bi().await.unwrap();
    let open = stream_open(1);
    session.write_all(&open[..1]).await.unwrap();
    exchange(&mut control, &mut control_in, b"ping").await;
    session.write_all(&open[1..]).await.unwrap();
    let mut text = [0; 13];
    within(session_in.read_exact(&mut text)).await.unwrap();
    assert_eq!(&text, b"session:early");
}

#[tokio::test]
async fn what_is_sent_is_shared_with_quic_until_it_is_acknowledged_never_copied() {
    let folder = tempfile::tempdir().unwrap();
    let (config, fingerprint) = config(folder.path(), false);
    let socket = bind("127.0.0.1:0".parse().unwrap(), 1, &config).unwrap().remove(0);
    let address = socket.local_addr().unwrap();
    let endpoint = socket.into_endpoint().unwrap();
    let client = client(fingerprint);
    let serve = async { accept(endpoint.accept().await.unwrap()).await.unwrap() };
    let (accepted, connection) = within(async { tokio::join!(serve, connect(&client, address)) }).await;
    let Accepted::Native(mut link) = accepted else { panic!("{accepted:?}") };
    let (mut control, mut control_in) = connection.open_bi().await.unwrap();
    control.write_all(b"x").await.unwrap();
    within(poll_fn(|cx| link.poll_recv(cx))).await.unwrap();

    let chunks: Vec<Bytes> = (0..3).map(|fill| Bytes::from(vec![fill; 200 << 10])).collect();
    let mut queue: VecDeque<Bytes> = chunks.iter().cloned().collect();
    let sent = within(async {
        tokio::join!(poll_fn(|cx| link.poll_send(cx, Class::Control, &mut queue)), async {
            let mut echoed = vec![0; 3 * (200 << 10)];
            control_in.read_exact(&mut echoed).await.unwrap();
            echoed
        })
    });
    // The first chunk is QUIC's as soon as it is taken: this very memory, until the client has it.
    let mut sent = std::pin::pin!(sent);
    assert!(sent.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert!(!chunks[0].is_unique());
    let (result, echoed) = sent.await;
    result.unwrap();
    assert!(echoed == chunks.concat());
    until(|| chunks.iter().all(Bytes::is_unique)).await;
}

#[tokio::test]
async fn a_second_stream_that_is_not_announced_as_session_is_refused() {
    let mut ping = bytes::BytesMut::new();
    syncbridge_codec::message::Ping { nonce: 7 }.write_frame(&mut ping);
    for (bytes, code) in [
        (stream_open(2), ErrorCode::UnexpectedMessage),
        (ping.freeze(), ErrorCode::UnexpectedMessage),
        (Bytes::from_static(&[0]), ErrorCode::MalformedFrame),
        (Bytes::from_static(&[0x7f, 0xff]), ErrorCode::FrameTooLarge),
        (Bytes::from_static(&[0x01, 0x0e]), ErrorCode::MalformedMessage),
    ] {
        let (_folder, server, endpoint) = start();
        let connection = connect(&endpoint, server.address).await;
        let (mut control, mut control_in) = connection.open_bi().await.unwrap();
        exchange(&mut control, &mut control_in, b"hello").await;
        let (mut session, _session_in) = connection.open_bi().await.unwrap();
        session.write_all(&bytes).await.unwrap();
        assert_refused(&connection, &server, code).await;
    }
}

#[tokio::test]
async fn a_third_stream_is_refused() {
    let (_folder, server, endpoint) = start();
    let connection = connect(&endpoint, server.address).await;
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(connection.open_bi().await.unwrap());
    }
    // Using the third opens the other two as well.
    streams[2].0.write_all(b"x").await.unwrap();
    assert_refused(&connection, &server, ErrorCode::UnexpectedMessage).await;
}

#[tokio::test]
async fn a_one_way_stream_is_refused() {
    let (_folder, server, endpoint) = start();
    let connection = connect(&endpoint, server.address).await;
    let mut one_way = connection.open_uni().await.unwrap();
    one_way.write_all(b"x").await.unwrap();
    assert_refused(&connection, &server, ErrorCode::UnexpectedMessage).await;
}

#[tokio::test]
async fn datagrams_are_ignored() {
    let (_folder, server, endpoint) = start();
    let connection = connect(&endpoint, server.address).await;
    let (mut control, mut control_in) = connection.open_bi().await.unwrap();
    for _ in 0..100 {
        connection.send_datagram_wait(Bytes::from_static(&[7; 1000])).await.unwrap();
    }
    exchange(&mut control, &mut control_in, b"still here").await;
}

#[tokio::test]
async fn when_a_client_finishes_it_gets_everything_before_the_connection_closes() {
    let (_folder, server, endpoint) = start();
    let connection = connect(&endpoint, server.address).await;
    let (mut control, mut control_in) = connection.open_bi().await.unwrap();
    let (mut session, mut session_in) = connection.open_bi().await.unwrap();
    let text = vec![42; 300 << 10];
    session.write_chunk(stream_open(1)).await.unwrap();
    let wrote = async {
        control.write_all(b"bye").await.unwrap();
        control.finish().unwrap();
        session.write_all(&text).await.unwrap();
        session.finish().unwrap();
    };
    let (_wrote, read) = within(async { tokio::join!(wrote, session_in.read_to_end(1 << 20)) }).await;
    let read = read.unwrap();
    assert!(read == text, "{} bytes came, beginning with {:?}", read.len(), &read[..read.len().min(16)]);
    assert_eq!(within(control_in.read_to_end(100)).await.unwrap(), b"bye");
    within(connection.closed()).await;
    until(|| server.last().ended.is_some()).await;
    assert!(matches!(server.last().ended, Some(Ok(()))), "{:?}", server.last().ended);
}

#[tokio::test]
async fn a_client_that_goes_with_code_0_is_done_and_one_that_goes_with_another_is_an_error() {
    for code in [0u32, 7] {
        let (_folder, server, endpoint) = start();
        let connection = connect(&endpoint, server.address).await;
        let (mut control, mut control_in) = connection.open_bi().await.unwrap();
        exchange(&mut control, &mut control_in, b"hello").await;
        connection.close(code.into(), b"");
        until(|| server.last().ended.is_some()).await;
        match server.last().ended.unwrap() {
            Ok(()) => assert_eq!(code, 0),
            Err(LinkError::Lost(ConnectionError::ApplicationClosed(close))) => {
                assert_ne!(code, 0);
                assert_eq!(close.error_code, code.into());
            }
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_client_that_breaks_off_a_stream_ends_its_link() {
    let (_folder, server, endpoint) = start();
    let connection = connect(&endpoint, server.address).await;
    let (mut control, mut control_in) = connection.open_bi().await.unwrap();
    exchange(&mut control, &mut control_in, b"hello").await;
    control.reset(9u32.into()).unwrap();
    until(|| server.last().ended.is_some()).await;
    assert!(matches!(server.last().ended, Some(Err(LinkError::Read(quinn::ReadError::Reset(_))))));
}

#[tokio::test]
async fn a_client_pins_the_certificate_and_meets_no_other() {
    let (_folder, server, mut endpoint) = start();
    let wrong = Fingerprint([7; 32]);
    endpoint.set_default_client_config(client_config(wrong, syncbridge_codec::ALPN));
    let failed = within(endpoint.connect(server.address, "localhost").unwrap()).await.unwrap_err();
    assert!(matches!(failed, ConnectionError::TransportError(_)), "{failed:?}");
    // The name does not matter to who pins.
    endpoint.set_default_client_config(client_config(server.fingerprint, syncbridge_codec::ALPN));
    within(endpoint.connect(server.address, "any.example").unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_client_of_another_protocol_is_turned_away_in_the_handshake() {
    let (_folder, server, mut endpoint) = start();
    endpoint.set_default_client_config(client_config(server.fingerprint, b"hq-interop"));
    let failed = within(endpoint.connect(server.address, "localhost").unwrap()).await.unwrap_err();
    assert!(matches!(failed, ConnectionError::ConnectionClosed(_)), "{failed:?}");
    assert!(server.links.lock().is_empty());
}

#[tokio::test]
async fn many_half_open_connections_make_the_next_prove_their_address_and_all_get_in() {
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup { shards: 1, gate: || Gate::new(4, 100), ..Setup::default() };
    let server = Server::start(folder.path(), &setup);
    let relay = Relay::start(server.address);
    let endpoint = client(server.fingerprint);
    relay.hold(true);
    let connecting: Vec<_> = (0..20).map(|_| endpoint.connect(relay.address, "localhost").unwrap()).collect();
    until(|| server.gates[0].running() == 4).await;
    // A client that is not behind the relay shows that the server has worked through the 20 and lets others in, by a
    // Retry that they do not notice.
    let other = client(server.fingerprint);
    let connection = connect(&other, server.address).await;
    let (mut control, mut control_in) = connection.open_bi().await.unwrap();
    exchange(&mut control, &mut control_in, b"hello").await;
    assert_eq!(server.gates[0].running(), 4);
    relay.hold(false);
    for connecting in connecting {
        within(connecting).await.unwrap();
    }
    until(|| server.gates[0].running() == 0).await;
}

#[tokio::test]
async fn when_every_place_is_taken_clients_are_refused_until_one_is_free() {
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup { shards: 1, gate: || Gate::new(2, 2), ..Setup::default() };
    let server = Server::start(folder.path(), &setup);
    let relay = Relay::start(server.address);
    let held = client(server.fingerprint);
    relay.hold(true);
    let connecting: Vec<_> = (0..2).map(|_| held.connect(relay.address, "localhost").unwrap()).collect();
    until(|| server.gates[0].running() == 2).await;
    let other = client(server.fingerprint);
    let failed = within(other.connect(server.address, "localhost").unwrap()).await.unwrap_err();
    assert!(matches!(failed, ConnectionError::ConnectionClosed(_)), "{failed:?}");
    relay.hold(false);
    for connecting in connecting {
        within(connecting).await.unwrap();
    }
    until(|| server.gates[0].running() == 0).await;
    connect(&other, server.address).await;
}
