//! Peers that break the protocol, or may not: each gets the error that the specification names and the close code that
//! belongs to it, and an honest client next to them is not disturbed.

mod support;

#[path = "hostile/honest.rs"]
mod honest;

use std::net::SocketAddr;

use bytes::Bytes;
use honest::Honest;
use support::{
    http::metric,
    server::{Server, Setup},
    until,
    wire::{End, Heard, Via, Wire, hello, websocket_frame},
    within,
};
use syncbridge_codec::{
    ErrorCode::{
        self, FrameTooLarge, MalformedFrame, MalformedMessage, MalformedWebSocket, UnexpectedMessage, UnknownMessage,
    },
    Message,
    message::{
        Class, Create, DevicePolicy, Get, Hello, Ping, Position, Scope, ScopeKind, StreamOpen, Subscribe, Update,
        Welcome,
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// A server, a token, and an honest client at work.
struct Stage {
    _folder: tempfile::TempDir,
    setup: Setup,
    server: Server,
    token: String,
    honest: Honest,
}

impl Stage {
    async fn new(settings: &[(&str, u64)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut setup = Setup::new(&folder.path().join("data"));
        for (path, value) in settings {
            setup = setup.set(path, value);
        }
        let token = setup.token("ann", &[]);
        let server = setup.start();
        let honest = Honest::start(server.clients, &setup.token("honest", &[])).await;
        Self { _folder: folder, setup, server, token, honest }
    }

    fn clients(&self) -> SocketAddr {
        self.server.clients
    }

    fn hello(&self) -> Hello {
        hello(&self.token, "phone", 5, Vec::new())
    }

    async fn welcome(&self, via: Via) -> Wire {
        Wire::greeted(via, self.clients(), self.hello()).await.0
    }

    async fn leave(self) {
        self.honest.finish().await;
        assert!(!self.setup.log().contains("panicked"), "{}", self.setup.log());
    }
}

/// The connection ends with this code: said in `Close` or `Error`, or in `Refused` before `Welcome`, and by the link.
async fn assert_ended(mut wire: Wire, code: ErrorCode, what: &str) {
    let mut said = None;
    let end = within(what, async {
        loop {
            match wire.next().await {
                Heard::Message(Message::Close(close)) => said = Some(close.code),
                Heard::Message(Message::Refused(refused)) => {
                    assert_eq!(refused.name, code.name(), "{what}");
                    assert_eq!(refused.retryable, code.retryable(), "{what}");
                    said = Some(refused.code);
                }
                Heard::Message(_) => {}
                Heard::Ended(end) => return end,
            }
        }
    })
    .await;
    let expected = match wire.via {
        Via::Quic => End::Quic(code as u64),
        Via::WebSocket => End::WebSocket(code.close_code()),
    };
    assert_eq!(end, expected, "{what}, by {:?}; it said {said:?}", wire.via);
    // What the QUIC layer itself refuses (a stream too many) ends the connection without a message.
    assert!(said.is_none_or(|said| said == code as u32), "{what}, by {:?}: said {said:?}", wire.via);
}

async fn assert_alive(wire: &mut Wire, what: &str) {
    wire.send(Ping { nonce: 77 });
    let answered = wire.wait_for(|message| match message {
        Message::Pong(pong) => Some(pong.nonce),
        _ => None,
    });
    assert_eq!(within(what, answered).await, 77);
}

fn frame(message: impl Into<Message>) -> Bytes {
    message.into().to_frame()
}

#[tokio::test]
async fn what_breaks_framing_or_the_registry_ends_the_connection_with_its_code() {
    let stage = Stage::new(&[]).await;
    let cases: &[(&str, Class, Bytes, ErrorCode)] = &[
        ("a length of 0", Class::Session, Bytes::from_static(&[0]), MalformedFrame),
        ("a type that does not fit", Class::Session, Bytes::from_static(&[1, 0x40]), MalformedFrame),
        ("one byte too long", Class::Session, Bytes::from_static(&[0x80, 0x10, 0, 1]), FrameTooLarge),
        ("the longest length", Class::Session, Bytes::from_static(&[0xFF; 8]), FrameTooLarge),
        ("an even type that is not known", Class::Control, Bytes::from_static(&[2, 0x40, 0x7E]), UnknownMessage),
        ("a Get without fields", Class::Session, Bytes::from_static(&[1, 0x14]), MalformedMessage),
        ("text that is not UTF-8", Class::Session, Bytes::from_static(&[5, 0x14, 1, 2, 0xFF, 0xFF]), MalformedMessage),
        ("garbage", Class::Control, Bytes::from_static(b"\xDE\xAD\xBE\xEF\xDE\xAD\xBE\xEF"), FrameTooLarge),
        ("a message that servers send", Class::Control, frame(Welcome::default()), UnexpectedMessage),
        ("a second Hello", Class::Control, frame(stage.hello()), UnexpectedMessage),
    ];
    for via in Via::BOTH {
        for (what, class, bytes, code) in cases {
            let wire = stage.welcome(via).await;
            wire.send_on(*class, bytes);
            assert_ended(wire, *code, what).await;
        }
        let mut wire = stage.welcome(via).await;
        wire.send_on(Class::Control, &[4, 0x40, 0x7F, 1, 2]);
        assert_alive(&mut wire, "an odd type that is not known is skipped").await;
    }
    stage.leave().await;
}

#[tokio::test]
async fn what_a_transport_does_not_allow_ends_the_connection_with_its_code() {
    let stage = Stage::new(&[]).await;
    for (what, bytes, code) in [
        ("a frame cut by the end of its message", websocket_frame(0x82, &[5, 6]), MalformedFrame),
        ("an empty message", websocket_frame(0x82, &[]), MalformedFrame),
        ("StreamOpen", websocket_frame(0x82, &frame(StreamOpen::SESSION)), UnexpectedMessage),
        ("text", websocket_frame(0x81, b"{}"), MalformedWebSocket),
    ] {
        let wire = stage.welcome(Via::WebSocket).await;
        wire.send_raw(Class::Control, bytes);
        assert_ended(wire, code, what).await;
    }
    let broken: &[(&str, Vec<u8>, u16)] = &[
        ("a frame without a mask", vec![0x82, 2, 1, 0x3F], 1002),
        ("a reserved bit", websocket_frame(0xC2, &[1, 0x3F]).to_vec(), 1002),
        ("a reserved opcode", websocket_frame(0x83, &[1, 0x3F]).to_vec(), 1002),
        ("a ping in fragments", websocket_frame(0x09, b"a").to_vec(), 1002),
        ("a ping above 125 bytes", websocket_frame(0x89, &[0; 126]).to_vec(), 1002),
        ("a continuation of nothing", websocket_frame(0x80, &[1]).to_vec(), 1002),
        ("a message inside a message", [websocket_frame(0x02, &[1]), websocket_frame(0x82, &[1])].concat(), 1002),
        ("a close code that may not be sent", websocket_frame(0x88, &[3, 0xED]).to_vec(), 1002),
        ("text that is not UTF-8", websocket_frame(0x81, &[0xFF]).to_vec(), 1007),
        ("a message above the cap", vec![0x82, 0xFF, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0], 1009),
        ("a length beyond 63 bits", vec![0x82, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 1002),
    ];
    for (what, bytes, code) in broken {
        let mut wire = stage.welcome(Via::WebSocket).await;
        wire.send_raw(Class::Control, bytes.clone());
        let (_, end) = wire.ended().await;
        assert_eq!(end, End::WebSocket(*code), "{what}");
    }

    for (what, class, bytes) in [
        ("a session's message on the control stream", Class::Control, frame(Get { id: 1, session: "s".into() })),
        ("a control message on the session stream", Class::Session, frame(Ping { nonce: 1 })),
        ("StreamOpen once more", Class::Session, frame(StreamOpen::SESSION)),
    ] {
        let wire = stage.welcome(Via::Quic).await;
        wire.send_raw(class, bytes);
        assert_ended(wire, UnexpectedMessage, what).await;
    }
    for (what, first) in [
        ("a session stream that begins with a request", frame(Get { id: 1, session: "s".into() })),
        ("a stream of a class that there is not", frame(StreamOpen { class: 9 })),
    ] {
        let mut wire = Wire::connect_without_session_stream(stage.clients()).await;
        wire.greet(stage.hello()).await;
        wire.send_raw(Class::Session, first);
        assert_ended(wire, UnexpectedMessage, what).await;
    }
    let wire = stage.welcome(Via::Quic).await;
    wire.another_stream(true, &frame(StreamOpen::SESSION)).await;
    assert_ended(wire, UnexpectedMessage, "a third stream").await;
    let wire = stage.welcome(Via::Quic).await;
    wire.another_stream(false, b"one way").await;
    assert_ended(wire, UnexpectedMessage, "a one-way stream").await;
    stage.leave().await;
}

#[tokio::test]
async fn who_may_not_is_refused_by_name_and_told_nothing_else() {
    let stage = Stage::new(&[]).await;
    let short = stage.setup.token("ann", &["--ttl", "1"]);
    let elsewhere = tempfile::tempdir().expect("a folder");
    let stranger = Setup::new(&elsewhere.path().join("data")).token("ann", &[]);
    let good = stage.hello();
    let token = |token: &str| Hello { token: token.into(), ..good.clone() };
    let forged = {
        let (head, signature) = stage.token.rsplit_once('.').expect("a JWT");
        let first = if signature.starts_with('A') { "B" } else { "A" };
        format!("{head}.{first}{}", &signature[1..])
    };
    let machine = Scope { kind: ScopeKind::Machine, id: "m".into() };
    let no_session = Scope { kind: ScopeKind::Session, id: "a/b".into() };
    let cases = [
        ("no token", token(""), ErrorCode::Unauthenticated),
        ("a token that is none", token("a.b.c"), ErrorCode::Unauthenticated),
        ("a token of another key", token(&stranger), ErrorCode::Unauthenticated),
        ("a token with another signature", token(&forged), ErrorCode::Unauthenticated),
        ("a token of 5,000 bytes", token(&"x".repeat(5_000)), ErrorCode::InvalidField),
        ("versions to come", Hello { min_version: 2, max_version: 9, ..good.clone() }, ErrorCode::UnsupportedVersion),
        ("no version at all", Hello { min_version: 1, max_version: 0, ..good.clone() }, ErrorCode::UnsupportedVersion),
        ("no device", Hello { device: "".into(), ..good.clone() }, ErrorCode::InvalidField),
        ("a device with a line end", Hello { device: "a\nb".into(), ..good.clone() }, ErrorCode::InvalidField),
        ("a machine", Hello { scope: machine, ..good.clone() }, ErrorCode::Forbidden),
        ("a scope that is no session", Hello { scope: no_session, ..good.clone() }, ErrorCode::InvalidSessionId),
    ];
    for via in Via::BOTH {
        for (what, hello, code) in &cases {
            let wire = Wire::connect(via, stage.clients()).await;
            wire.send(hello.clone());
            assert_ended(wire, *code, what).await;
        }
        for (what, class, message) in [
            ("a request before Hello", Class::Session, frame(Get { id: 1, session: "s".into() })),
            ("a Pong to no Ping", Class::Control, Bytes::from_static(&[2, 8, 1])),
        ] {
            if via == Via::Quic && class == Class::Session {
                // There it waits for Hello: the streams have no order between them.
                continue;
            }
            let wire = Wire::connect(via, stage.clients()).await;
            wire.send_on(class, &message);
            assert_ended(wire, UnexpectedMessage, what).await;
        }
        let mut wire = Wire::connect(via, stage.clients()).await;
        assert_alive(&mut wire, "a Ping before Hello is answered").await;
        wire.greet(good.clone()).await;

        // A token for one device speaks for that one, whatever Hello says.
        let bound = stage.setup.token("ann", &["--device", "tablet"]);
        let (_wire, welcome) = Wire::greeted(via, stage.clients(), token(&bound)).await;
        assert_eq!(welcome.device, "tablet");

        // Good until it expires; which is a second, and no event tells of it.
        until("the token expires", async || {
            let mut wire = Wire::connect(via, stage.clients()).await;
            wire.send(token(&short));
            matches!(wire.message().await, Message::Refused(_))
        })
        .await;
        let wire = Wire::connect(via, stage.clients()).await;
        wire.send(token(&short));
        assert_ended(wire, ErrorCode::TokenExpired, "a token that was good once").await;
    }
    // A session of somebody else is one that there is not.
    let mut wire = stage.welcome(Via::WebSocket).await;
    let mut answers = Vec::new();
    for session in [honest::SESSION, "there-is-none"] {
        wire.send(Get { id: 1, session: session.into() });
        wire.send(Subscribe { id: 2, session: session.into(), ..Subscribe::default() });
        for _ in 0..2 {
            let error = wire
                .wait_for(|message| match message {
                    Message::Error(error) => Some(error),
                    Message::Document(_) | Message::Reset(_) => panic!("{message:?}"),
                    _ => None,
                })
                .await;
            assert_eq!(error.code, ErrorCode::NotFound as u32);
            answers.push(error.text.replace(session, "…"));
        }
    }
    assert_eq!(answers[..2], answers[2..], "the answers tell the two apart");
    stage.leave().await;
}

#[tokio::test]
async fn patches_and_documents_beyond_the_bounds_are_refused_and_the_connection_goes_on() {
    let stage = Stage::new(&[]).await;
    let deep = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    for (via, mine) in Via::BOTH.into_iter().zip(["q", "w"]) {
        let mut wire = stage.welcome(via).await;
        let create = |counter: u64, session: &str, state: String| Create {
            counter,
            session: session.into(),
            state: state.into(),
            devices: DevicePolicy::Many,
            ..Create::default()
        };
        let answer = async |wire: &mut Wire| {
            wire.wait_for(|message| match message {
                Message::Error(error) => Some(ErrorCode::from_number(error.code)),
                Message::Created(_) | Message::Accepted(_) => Some(None),
                _ => None,
            })
            .await
        };
        for (what, message, code) in [
            ("a document 500,000 deep", create(1, "deep", deep(500_000)), ErrorCode::InvalidJson),
            ("a document that ends too soon", create(1, "cut", "{".to_owned()), ErrorCode::InvalidJson),
            ("no document", create(1, "none", String::new()), ErrorCode::InvalidJson),
            ("an id with a slash", create(1, "a/b", "{}".to_owned()), ErrorCode::InvalidSessionId),
        ] {
            wire.send(message);
            assert_eq!(answer(&mut wire).await, Some(code), "{what}");
        }
        let document = format!(r#"{{"a":[1,2,3],"text":"{}"}}"#, "x".repeat(100_000));
        wire.send(create(1, mine, document));
        assert_eq!(answer(&mut wire).await, None);
        let many = |count: usize| {
            let operations = vec![r#"{"op":"add","path":"/a/0","value":0}"#; count].join(",");
            format!("[{operations}]")
        };
        let doubling = {
            let first = r#"{"op":"add","path":"/c","value":{}}"#.to_owned();
            let copies = (0..40).map(|n| format!(r#"{{"op":"copy","from":"","path":"/c/{n}"}}"#));
            format!("[{}]", std::iter::once(first).chain(copies).collect::<Vec<_>>().join(","))
        };
        let cases = [
            ("no JSON", "nonsense".to_owned(), ErrorCode::InvalidPatch),
            ("an object", "{}".to_owned(), ErrorCode::InvalidPatch),
            ("100,000 levels", deep(100_000), ErrorCode::InvalidPatch),
            (
                "a value 100,000 deep",
                format!(r#"[{{"op":"add","path":"/d","value":{}}}]"#, deep(100_000)),
                ErrorCode::InvalidPatch,
            ),
            ("1,001 operations", many(1_001), ErrorCode::InvalidPatch),
            ("20,000 operations", many(20_000), ErrorCode::InvalidPatch),
            ("copies that double the document 40 times", doubling, ErrorCode::DocumentTooLarge),
            (
                "a path of 10,000 parts",
                format!(r#"[{{"op":"add","path":"{}","value":1}}]"#, "/a".repeat(10_000)),
                ErrorCode::InvalidPatch,
            ),
            ("a path to nowhere", r#"[{"op":"remove","path":"/no"}]"#.to_owned(), ErrorCode::PathNotFound),
            ("a test that fails", r#"[{"op":"test","path":"/a","value":1}]"#.to_owned(), ErrorCode::TestFailed),
        ];
        let (epoch, version) = {
            wire.send(Get { id: 1, session: mine.into() });
            wire.wait_for(|message| match message {
                Message::Document(document) => Some((document.at.epoch, document.at.version)),
                _ => None,
            })
            .await
        };
        for ((what, operations, code), counter) in cases.into_iter().zip(2..) {
            wire.send(Update {
                counter,
                session: mine.into(),
                base: Position { epoch, version },
                operations: operations.into(),
                ..Update::default()
            });
            let told = answer(&mut wire).await;
            assert!(
                told == Some(code) || (told == Some(ErrorCode::InvalidJson) && code == ErrorCode::InvalidPatch),
                "{what}: {told:?}"
            );
            assert_alive(&mut wire, what).await;
        }
        wire.send(Update {
            counter: 50,
            session: mine.into(),
            base: Position { epoch, version: 1_000_000 },
            operations: "[]".into(),
            ..Update::default()
        });
        assert_eq!(answer(&mut wire).await, Some(ErrorCode::VersionAhead));
    }
    stage.leave().await;
}

#[tokio::test]
async fn who_dawdles_is_sent_away_and_holds_nobody_up() {
    let stage = Stage::new(&[("limits.header_seconds", 1), ("limits.handshake_seconds", 1)]).await;
    let mut dawdlers = tokio::task::JoinSet::new();
    for index in 0..200 {
        let address = stage.clients();
        dawdlers.spawn(async move {
            let mut stream = TcpStream::connect(address).await.expect("the listener answers");
            // A head that never ends, byte by byte for as long as it is taken; some say nothing at all.
            let mut rest = &b"GET /ws HTTP/1.1\r\nHost: "[..index % 25];
            let mut answer = Vec::new();
            loop {
                tokio::select! {
                    read = stream.read_buf(&mut answer) => if read.map_or(true, |read| read == 0) { break },
                    () = tokio::time::sleep(std::time::Duration::from_millis(50)), if !rest.is_empty() => {
                        let sent = stream.write_all(&rest[..1]).await;
                        rest = &rest[1..];
                        if sent.is_err() { break }
                    }
                }
            }
        });
    }
    for via in Via::BOTH {
        let wire = Wire::connect(via, stage.clients()).await;
        assert_ended(wire, ErrorCode::TimedOut, "no Hello").await;
        let wire = Wire::connect(via, stage.clients()).await;
        let bytes = frame(stage.hello());
        wire.send_raw(Class::Control, bytes.slice(..bytes.len() / 2));
        let mut wire = wire;
        let (_, end) = wire.ended().await;
        match via {
            Via::Quic => assert_eq!(end, End::Quic(ErrorCode::TimedOut as u64)),
            // Without a WebSocket frame around it, it is no WebSocket.
            Via::WebSocket => assert!(matches!(end, End::WebSocket(_)), "{end:?}"),
        }
    }
    within("all dawdlers are sent away", async { while dawdlers.join_next().await.is_some() {} }).await;
    stage.leave().await;
}

#[tokio::test]
async fn ten_thousand_half_open_connections_that_end_at_once_leave_nothing_behind() {
    const HALF_OPEN: usize = 10_000;
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("the hard limit may be had");
    let room = limit.maximum.map_or(HALF_OPEN, |most| usize::try_from(most).expect("small").saturating_sub(200));
    assert!(room >= 1_000, "at least 1,200 open files have to be allowed: ulimit -Hn");
    let stage = Stage::new(&[]).await;
    let files = || metric(stage.server.admin, "process_open_fds");
    let before = files().await;
    let mut left = HALF_OPEN;
    while left > 0 {
        let now = left.min(room);
        left -= now;
        let mut held = Vec::with_capacity(now);
        for index in 0..now {
            let mut stream = TcpStream::connect(stage.clients()).await.expect("the listener answers");
            if index % 2 == 0 {
                stream.write_all(b"GET /ws HTTP/1.1\r\nHo").await.expect("sent");
            }
            held.push(stream);
        }
        until("they are taken", async || files().await >= before + now as f64 * 0.9).await;
        drop(held);
        until("they are gone", async || files().await <= before + 10.0).await;
    }
    let mut wire = stage.welcome(Via::WebSocket).await;
    assert_alive(&mut wire, "new clients are served").await;
    stage.leave().await;
}
