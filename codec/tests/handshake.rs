//! Both ends of the handshake against each other, and each against a peer that breaks the rules.

use syncbridge_codec::{
    Decoder, ErrorCode, Message, PROTOCOL_VERSION, ProtocolError,
    handshake::{Answer, Client, Error, Grant, Limits, MAX_AGENT, MAX_RESUME, MAX_TOKEN, Request, Server, Step},
    message::{
        self, Class, Close, Cursor, Direction, Hello, Ping, Pong, Refused, Scope, ScopeKind, StreamOpen, TopicKind,
        Welcome,
    },
};

const LIMITS: Limits = Limits {
    max_client_frame: 1 << 20,
    max_server_frame: (4 << 20) + (64 << 10),
    max_document: 4 << 20,
    max_subscriptions: 1_000,
    heartbeat_ms: 15_000,
};

fn cursor(topic: impl Into<String>, kind: TopicKind) -> Cursor {
    Cursor { kind, topic: topic.into().into(), epoch: 3, seq: 9 }
}

fn hello() -> Hello {
    let resume = vec![cursor("todo", TopicKind::State), cursor("todo", TopicKind::Notice)];
    Client::hello("a.b.c".into(), "phone".into(), 7, Scope::default(), resume)
}

fn decide(hello: Hello) -> Result<Box<Request>, Error> {
    match Server::new().receive(hello.into())? {
        Step::Decide(request) => Ok(request),
        other => panic!("{other:?} is no answer to Hello"),
    }
}

fn grant() -> Grant {
    Grant {
        connection: 12,
        epoch: 3,
        server_time_ms: 1_700_000_000_000,
        user: "ann".into(),
        device: "phone".into(),
        limits: LIMITS,
    }
}

#[test]
fn both_ends_understand_each_other_over_the_wire() {
    let (mut server, mut client) = (Server::new(), Client::new());
    let (mut to_server, mut to_client) = (Decoder::new(1 << 20), Decoder::new(1 << 20));
    to_server.push(Message::from(hello()).to_frame());
    let message = Message::decode(to_server.next_frame().unwrap().unwrap()).unwrap().unwrap();
    let Step::Decide(request) = server.receive(message).unwrap() else { panic!("Hello is to be decided on") };
    assert!(server.is_done());
    assert_eq!((request.version, &*request.token, &*request.device), (PROTOCOL_VERSION, "a.b.c", "phone"));
    assert_eq!((request.incarnation, request.resume.len()), (7, 2));

    to_client.push(Message::from(request.welcome(grant())).to_frame());
    let message = Message::decode(to_client.next_frame().unwrap().unwrap()).unwrap().unwrap();
    let Answer::Welcome(established) = client.receive(message).unwrap() else { panic!("Welcome is expected") };
    assert!(client.is_done());
    assert_eq!(established.limits, LIMITS);
    assert_eq!((established.connection, &*established.user, &*established.device), (12, "ann", "phone"));
}

#[test]
fn a_refusal_reaches_the_client_with_its_reason() {
    let mut client = Client::new();
    let refused = Refused::new(ErrorCode::TokenExpired, "sign in again");
    assert_eq!(client.receive(refused.clone().into()), Ok(Answer::Refused(refused)));
    assert!(client.is_done());
}

#[test]
fn a_ping_is_answered_before_hello_and_before_welcome() {
    let ping = Ping { nonce: 5 };
    assert_eq!(Server::new().receive(ping.clone().into()), Ok(Step::Reply(Pong { nonce: 5 })));
    assert_eq!(Client::new().receive(ping.into()), Ok(Answer::Reply(Pong { nonce: 5 })));
    let answer = Pong { nonce: 5 };
    assert_eq!(Client::new().receive(answer.clone().into()), Ok(Answer::Pong(answer)));
}

#[test]
fn requests_may_come_before_hello_and_end_nothing() {
    let request = message::Request { id: 3, path: "/auth/login".into(), ..Default::default() };
    let mut server = Server::new();
    assert_eq!(server.receive(request.clone().into()), Ok(Step::Ask(request)));
    assert!(!server.is_done());
    assert!(matches!(server.receive(hello().into()), Ok(Step::Decide(_))));
}

#[test]
fn either_end_may_leave_before_the_handshake_is_done() {
    let close = Close { code: 0, text: "never mind".into() };
    assert_eq!(Server::new().receive(close.clone().into()), Ok(Step::Closed(close.clone())));
    assert_eq!(Client::new().receive(close.clone().into()), Ok(Answer::Closed(close)));
}

#[test]
fn nothing_else_may_come_first() {
    let refused_by_server = |message: Message| Server::new().receive(message).unwrap_err();
    for message in [Message::from(Pong::default()), StreamOpen::SESSION.into(), Welcome::default().into()] {
        let error = refused_by_server(message);
        assert_eq!(error.code(), ErrorCode::UnexpectedMessage, "{error}");
        assert_eq!(error.refused().name, "unexpected_message");
    }
    let refused_by_client = |message: Message| Client::new().receive(message).unwrap_err();
    for message in [Message::from(message::Delta::default()), hello().into()] {
        assert_eq!(refused_by_client(message).code(), ErrorCode::UnexpectedMessage);
    }
}

#[test]
fn hello_and_its_answer_come_once() {
    let mut server = Server::new();
    server.receive(hello().into()).unwrap();
    assert_eq!(server.receive(hello().into()).unwrap_err().code(), ErrorCode::UnexpectedMessage);
    let mut client = Client::new();
    let welcome = decide(hello()).unwrap().welcome(grant());
    client.receive(welcome.clone().into()).unwrap();
    assert_eq!(client.receive(welcome.into()).unwrap_err().code(), ErrorCode::UnexpectedMessage);
    assert_eq!(client.receive(Refused::default().into()).unwrap_err().code(), ErrorCode::UnexpectedMessage);
}

#[test]
fn the_version_is_negotiated() {
    let offers = |min_version, max_version| decide(Hello { min_version, max_version, ..hello() });
    assert_eq!(offers(0, 9).unwrap().version, PROTOCOL_VERSION);
    for (min, max) in [(2, 9), (0, 0), (9, 0)] {
        assert_eq!(offers(min, max).unwrap_err(), ProtocolError::UnsupportedVersion { min, max }.into());
    }
    let welcome = Welcome { version: 2, ..decide(hello()).unwrap().welcome(grant()) };
    assert_eq!(Client::new().receive(welcome.into()).unwrap_err().code(), ErrorCode::UnsupportedVersion);
}

#[test]
fn unknown_capabilities_are_ignored() {
    assert_eq!(decide(Hello { capabilities: u64::MAX, ..hello() }).unwrap().capabilities, 0);
    let welcome = Welcome { capabilities: u64::MAX, ..decide(hello()).unwrap().welcome(grant()) };
    let Ok(Answer::Welcome(established)) = Client::new().receive(welcome.into()) else { panic!("a Welcome") };
    assert_eq!(established.capabilities, 0);
}

#[test]
fn the_fields_of_hello_are_bounded() {
    let scope = |kind, id: &str| Scope { kind, id: id.to_owned().into() };
    let code = |hello| decide(hello).unwrap_err().code();
    for device in [String::new(), "x".repeat(129), "two\nlines".into()] {
        assert_eq!(code(Hello { device: device.into(), ..hello() }), ErrorCode::InvalidField);
    }
    assert_eq!(code(Hello { token: "x".repeat(MAX_TOKEN + 1).into(), ..hello() }), ErrorCode::InvalidField);
    for agent in ["x".repeat(MAX_AGENT + 1), "\x1b[2J".into()] {
        assert_eq!(code(Hello { agent: agent.into(), ..hello() }), ErrorCode::InvalidField);
    }
    assert_eq!(code(Hello { scope: scope(ScopeKind::User, "ann"), ..hello() }), ErrorCode::InvalidField);
    assert_eq!(code(Hello { scope: scope(ScopeKind::Machine, ""), ..hello() }), ErrorCode::InvalidField);
    assert_eq!(code(Hello { scope: scope(ScopeKind::Session, ".."), ..hello() }), ErrorCode::InvalidSessionId);
    assert_eq!(code(Hello { resume: vec![cursor("a/b", TopicKind::State)], ..hello() }), ErrorCode::InvalidSessionId);
    let twice = vec![cursor("a", TopicKind::State), cursor("a", TopicKind::State)];
    assert_eq!(code(Hello { resume: twice, ..hello() }), ErrorCode::InvalidField);
    for good in [scope(ScopeKind::Session, "todo"), scope(ScopeKind::Machine, "worker 1")] {
        assert_eq!(decide(Hello { scope: good.clone(), ..hello() }).unwrap().scope, good);
    }
}

#[test]
fn a_thousand_cursors_are_taken_and_one_more_is_not() {
    let cursors = |count| (0..count).map(|n| cursor(format!("s{n}"), TopicKind::State)).collect::<Vec<_>>();
    assert_eq!(decide(Hello { resume: cursors(MAX_RESUME), ..hello() }).unwrap().resume.len(), MAX_RESUME);
    let error = decide(Hello { resume: cursors(MAX_RESUME + 1), ..hello() }).unwrap_err();
    assert_eq!(error.code(), ErrorCode::LimitReached);
}

#[test]
fn a_client_refuses_limits_it_cannot_work_with() {
    let good = decide(hello()).unwrap().welcome(grant());
    for bad in [
        Welcome { max_client_frame: 100, ..good.clone() },
        Welcome { max_server_frame: 0, ..good.clone() },
        Welcome { heartbeat_ms: 0, ..good.clone() },
    ] {
        assert_eq!(Client::new().receive(bad.into()).unwrap_err().code(), ErrorCode::InvalidField);
    }
}

#[test]
fn directions_and_classes_are_checked() {
    let expected_from = |message: &Message, sender| message.expect_from(sender).is_ok();
    for (message, to_server, to_client) in [
        (Message::from(hello()), true, false),
        (Welcome::default().into(), false, true),
        (Ping::default().into(), true, true),
    ] {
        assert_eq!(expected_from(&message, Direction::ToServer), to_server);
        assert_eq!(expected_from(&message, Direction::ToClient), to_client);
    }
    let ping = Message::from(Ping::default());
    assert!(ping.expect_on(Class::Control).is_ok());
    let error = ping.expect_on(Class::Session).unwrap_err();
    assert_eq!(error.to_string(), "Ping may not come on the session stream");
    assert_eq!(error.code(), ErrorCode::UnexpectedMessage);
    assert!(Message::from(StreamOpen::SESSION).expect_on(Class::Control).is_err());
    assert_eq!(StreamOpen::SESSION.opens(), Ok(Class::Session));
    assert_eq!(StreamOpen { class: 9 }.opens().unwrap_err().code(), ErrorCode::UnexpectedMessage);
}
