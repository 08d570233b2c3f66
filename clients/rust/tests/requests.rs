//! Requests and logins, message by message: this file plays the server.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use bytes::Bytes;
use serde_json::json;
use syncbridge_client::{
    ErrorCode, RequestError,
    core::{Config, Core, Disconnect, Event, Failure, Limits, LinkCommand, Purpose, Request},
};
use syncbridge_codec::{
    Decoder, Message,
    message::{self, Class, Method, Response, Welcome},
};

struct Peer {
    core: Core,
    now: u64,
}

fn work(method: Method, path: &str, repeatable: bool) -> Request {
    let (headers, body) = (Vec::new(), Bytes::new());
    Request { method, path: path.to_owned().into(), headers, body, purpose: Purpose::Work, repeatable }
}

fn of(purpose: Purpose, path: &str) -> Request {
    Request { purpose, ..work(Method::Post, path, false) }
}

fn tokens(user: &str, access: &str, refresh: &str) -> Bytes {
    let user = json!({"id": user, "userId": user, "name": "Ann"});
    json!({"accessToken": access, "refreshToken": refresh, "expiresIn": 900, "user": user}).to_string().into()
}

fn problem(code: ErrorCode) -> (u32, Bytes) {
    let body = json!({"code": code.name(), "detail": "no", "retryable": code.retryable(), "retryAfterMs": 7_000});
    (u32::from(code.http_status()), body.to_string().into())
}

impl Peer {
    fn new(config: Config) -> Self {
        Self { core: Core::new(config, 1), now: 0 }
    }

    fn signed_out() -> Self {
        let mut peer = Self::new(Config { signed_in: false, ..Config::new("phone", 7) });
        assert!(matches!(peer.events()[..], [Event::SignedOut { error: None }]));
        assert_eq!(peer.core.poll_timeout(), None, "nothing connects");
        peer
    }

    /// Welcomed, with an access token and perhaps a refresh token.
    fn signed_in(refresh: Option<&str>) -> Self {
        let mut peer = Self::new(Config {
            token: "old".into(),
            refresh: refresh.map(|refresh| refresh.to_owned().into()),
            ..Config::new("phone", 7)
        });
        peer.dial();
        assert_eq!(peer.says(), ["Hello old"]);
        peer.welcome("ann");
        peer.events();
        peer
    }

    /// The link that the core asks for stands.
    fn dial(&mut self) {
        self.call();
        self.core.handle_connected(self.now);
    }

    fn call(&mut self) {
        self.now = self.core.poll_timeout().expect("an attempt").max(self.now);
        self.core.handle_timeout(self.now);
        let commands: Vec<_> = std::iter::from_fn(|| self.core.poll_command()).collect();
        assert!(matches!(commands.last(), Some(LinkCommand::Connect { .. })), "{commands:?}");
    }

    fn breaks(&mut self) {
        self.core.handle_disconnected(self.now, None, "broken");
    }

    fn hears(&mut self, message: impl Into<Message>) {
        self.core.handle_bytes(self.now, Class::Control, message.into().to_frame());
    }

    fn welcome(&mut self, user: &str) {
        self.hears(Welcome {
            version: 1,
            max_client_frame: 1 << 20,
            max_server_frame: 1 << 20,
            max_document: 1 << 20,
            max_subscriptions: 10,
            heartbeat_ms: 20_000,
            user: user.to_owned().into(),
            ..Welcome::default()
        });
    }

    fn answers(&mut self, id: u64, (status, body): (u32, Bytes)) {
        self.hears(Response { id, status, headers: Vec::new(), body });
    }

    fn messages(&mut self) -> Vec<Message> {
        let mut decoder = Decoder::new(1 << 20);
        let mut said = Vec::new();
        for class in [Class::Control, Class::Session] {
            while let Some(frame) = self.core.poll_transmit(self.now, class) {
                decoder.push(frame);
                said.push(Message::decode(decoder.next_frame().unwrap().unwrap()).unwrap().unwrap());
            }
        }
        said
    }

    /// What the client says, in a word or two.
    fn says(&mut self) -> Vec<String> {
        let said = self.messages().into_iter();
        said.map(|message| match message {
            Message::Hello(hello) => format!("Hello {}", hello.token),
            Message::Request(request) => request.path.to_string(),
            other => other.name().to_owned(),
        })
        .collect()
    }

    /// The id of the only request that it sends.
    fn asks(&mut self, path: &str) -> u64 {
        match &self.messages()[..] {
            [Message::Request(request)] if *request.path == *path => request.id,
            other => panic!("{other:?}"),
        }
    }

    fn request(&mut self, request: Request) -> u64 {
        self.core.request(request, self.now).unwrap()
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.core.poll_event()).collect()
    }

    /// The answers to requests: the status, or the failure's text.
    fn answered(&mut self) -> Vec<(u64, Result<u32, Failure>)> {
        let events = self.events().into_iter();
        events
            .filter_map(|event| match event {
                Event::Answered { request, answer } => Some((request, answer.map(|answer| answer.status))),
                _ => None,
            })
            .collect()
    }
}

#[test]
fn what_is_the_users_waits_for_the_welcome_and_is_answered_in_any_order() {
    let mut peer = Peer::new(Config { token: "t".into(), ..Config::new("phone", 7) });
    let first = peer.request(work(Method::Get, "/a", true));
    peer.dial();
    assert_eq!(peer.says(), ["Hello t"], "a server that refuses the token would drop it");
    peer.welcome("ann");
    let second = peer.request(work(Method::Get, "/b", true));
    assert_eq!(peer.says(), ["/a", "/b"]);
    peer.events();
    peer.answers(second, (204, Bytes::new()));
    peer.answers(first, (200, Bytes::new()));
    assert_eq!(peer.answered(), [(second, Ok(204)), (first, Ok(200))]);
    peer.answers(first, (200, Bytes::new()));
    assert_eq!(peer.answered(), [], "an answer that nobody waits for is nothing");
}

#[test]
fn a_problem_is_an_error_with_its_stable_code_and_the_time_to_try_again() {
    let mut peer = Peer::signed_in(None);
    let id = peer.request(work(Method::Get, "/a", true));
    peer.answers(id, problem(ErrorCode::RateLimited));
    let answered = peer.answered();
    let [(_, Err(Failure::Server(error)))] = &answered[..] else { panic!("{answered:?}") };
    assert_eq!((error.code(), error.retryable), (Some(ErrorCode::RateLimited), true));
    assert_eq!((&*error.text, error.retry_after_ms), ("no", Some(7_000)));
    let id = peer.request(work(Method::Get, "/a", true));
    peer.answers(id, (502, Bytes::from_static(b"<html>")));
    let answered = peer.answered();
    let [(_, Err(Failure::Server(error)))] = &answered[..] else { panic!("{answered:?}") };
    assert_eq!((&*error.name, error.code()), ("status_502", None), "even what is no problem says something");
}

#[test]
fn after_a_lost_connection_what_is_repeatable_is_sent_again_and_the_rest_has_failed() {
    let mut peer = Peer::signed_in(None);
    let get = peer.request(work(Method::Get, "/get", true));
    let post = peer.request(work(Method::Post, "/post", false));
    let delete = peer.request(work(Method::Delete, "/delete", true));
    assert_eq!(peer.says().len(), 3);
    peer.breaks();
    let later = peer.request(work(Method::Post, "/later", false));
    assert_eq!(peer.answered(), [(post, Err(Failure::Disconnected))], "it may have been carried out");
    peer.dial();
    peer.welcome("ann");
    assert_eq!(peer.says(), ["Hello old", "/get", "/delete", "/later"], "what was never sent is sent");
    peer.answers(get, problem(ErrorCode::NotFound));
    peer.answers(delete, problem(ErrorCode::NotFound));
    peer.answers(later, (201, Bytes::new()));
    let answered = peer.answered();
    assert!(matches!(answered[0], (id, Err(Failure::Server(_))) if id == get));
    assert_eq!(answered[1..], [(delete, Ok(204)), (later, Ok(201))], "the first sending has removed it");
}

#[test]
fn at_most_sixteen_are_under_way_and_all_that_wait_are_bounded() {
    let limits = Limits { requests: 20, request_bytes: 1_000, ..Limits::default() };
    let mut peer = Peer::signed_in(None);
    let ids: Vec<u64> = (0..20).map(|_| peer.request(work(Method::Get, "/a", true))).collect();
    assert_eq!(peer.says().len(), 16);
    peer.answers(ids[3], (200, Bytes::new()));
    peer.core.cancel(ids[17], peer.now);
    assert_eq!(peer.says().len(), 1);
    peer.answers(ids[4], (200, Bytes::new()));
    peer.answers(ids[5], (200, Bytes::new()));
    peer.answers(ids[6], (200, Bytes::new()));
    assert_eq!(peer.says().len(), 2, "one was given up");
    let mut peer = Peer::new(Config { limits, ..Config::new("phone", 7) });
    let body = Bytes::from(vec![b'x'; 400]);
    let large = || Request { body: body.clone(), ..work(Method::Put, "/a", true) };
    peer.request(large());
    peer.request(large());
    assert_eq!(peer.core.request(large(), 0), Err(RequestError::TooMany(20)));
    for _ in 0..18 {
        peer.request(work(Method::Get, "/a", true));
    }
    assert_eq!(peer.core.request(work(Method::Get, "/a", true), 0), Err(RequestError::TooMany(20)));
    let huge = Request { body: vec![0; 1 << 20].into(), ..work(Method::Put, "/a", true) };
    assert!(matches!(peer.core.request(huge, 0), Err(RequestError::TooLarge { .. })));
}

#[test]
fn somebody_signs_in_before_hello_and_goes_on_over_the_same_connection() {
    let mut peer = Peer::signed_out();
    assert_eq!(peer.core.request(work(Method::Get, "/a", true), 0), Err(RequestError::SignedOut));
    peer.core.subscribe("s", 0).unwrap();
    let login = peer.request(of(Purpose::SignIn, "/auth/login"));
    peer.dial();
    assert_eq!(peer.asks("/auth/login"), login);
    peer.answers(login, (200, tokens("ann", "a1", "r1")));
    assert_eq!(peer.says(), ["Hello a1", "Subscribe"]);
    let events = peer.events();
    assert!(matches!(&events[0], Event::SignedIn { tokens } if tokens.refresh == "r1"), "{events:?}");
    assert!(matches!(events[1], Event::Answered { request, answer: Ok(_) } if request == login));
    peer.welcome("ann");
    assert!(peer.core.is_connected());
}

#[test]
fn who_is_not_let_in_leaves_no_connection_behind() {
    let mut peer = Peer::signed_out();
    let login = peer.request(of(Purpose::SignIn, "/auth/login"));
    peer.dial();
    peer.says();
    peer.answers(login, problem(ErrorCode::InvalidCredentials));
    let events = peer.events();
    assert!(matches!(events[..], [Event::Answered { answer: Err(_), .. }, Event::SignedOut { error: None }]));
    assert!(matches!(peer.core.poll_command(), Some(LinkCommand::Disconnect { .. })));
    assert_eq!((peer.core.poll_timeout(), peer.core.is_signed_in()), (None, false));
    // And whom no server hears is told so, after one attempt.
    let login = peer.request(of(Purpose::SignIn, "/auth/login"));
    peer.call();
    peer.breaks();
    let events = peer.events();
    let answer = |event: &Event| matches!(event, Event::Answered { request, answer: Err(Failure::Disconnected) } if *request == login);
    assert!(answer(&events[0]) && matches!(events[1], Event::SignedOut { error: None }), "{events:?}");
    assert_eq!(peer.core.poll_timeout(), None);
}

#[test]
fn an_answer_before_hello_is_waited_for_as_long_as_the_server_lives() {
    let mut peer = Peer::signed_out();
    let handoff = peer.request(of(Purpose::SignIn, "/handoff/complete"));
    peer.dial();
    peer.says();
    while peer.now < 60_000 {
        peer.now = peer.core.poll_timeout().unwrap();
        peer.core.handle_timeout(peer.now);
        match &peer.messages()[..] {
            [Message::Ping(ping)] => peer.hears(message::Pong { nonce: ping.nonce }),
            other => panic!("{other:?}"),
        }
    }
    assert!(peer.events().is_empty());
    peer.answers(handoff, (200, tokens("ann", "a1", "r1")));
    assert_eq!(peer.says(), ["Hello a1"]);
    // A server that is gone is noticed.
    let login = peer.request(of(Purpose::SignIn, "/auth/login"));
    peer.dial();
    peer.says();
    peer.events();
    let asked = peer.now;
    while peer.answered() != [(login, Err(Failure::Disconnected))] {
        peer.now = peer.core.poll_timeout().unwrap();
        peer.core.handle_timeout(peer.now);
        peer.says();
        assert!(peer.now < asked + 30_000);
    }
}

#[test]
fn a_second_login_is_made_by_nobody_on_a_connection_of_its_own() {
    let mut peer = Peer::signed_in(Some("r1"));
    peer.core.subscribe("s", 0).unwrap();
    peer.says();
    let login = peer.request(of(Purpose::SignIn, "/auth/login"));
    assert_eq!(peer.says(), [""; 0], "the server would end this connection before it answers");
    assert!(matches!(peer.events()[..], [Event::Disconnected { reason: Disconnect::SigningIn, .. }]));
    peer.dial();
    assert_eq!(peer.asks("/auth/login"), login);
    peer.answers(login, (200, tokens("bob", "b1", "rb")));
    assert_eq!(peer.says(), ["Hello b1"], "the sessions of the former user are not the new one's");
    let events = peer.events();
    let ended = events.iter().any(|event| matches!(event, Event::Session { event, .. } if matches!(event, syncbridge_client::core::SessionEvent::Ended { .. })));
    assert!(ended, "{events:?}");
    // One that fails changes nothing.
    let login = peer.request(of(Purpose::SignIn, "/auth/login"));
    peer.dial();
    peer.says();
    peer.answers(login, problem(ErrorCode::InvalidCredentials));
    assert_eq!(peer.says(), ["Hello b1"]);
}

#[test]
fn tokens_are_renewed_before_they_end_on_the_connection_that_lives() {
    let mut peer = Peer::signed_out();
    let login = peer.request(of(Purpose::SignIn, "/auth/login"));
    peer.dial();
    peer.says();
    peer.answers(login, (200, tokens("ann", "a1", "r1")));
    peer.welcome("ann");
    peer.says();
    peer.events();
    let mut renewal = None;
    while renewal.is_none() {
        peer.now = peer.core.poll_timeout().unwrap();
        peer.core.handle_timeout(peer.now);
        for message in peer.messages() {
            match message {
                Message::Request(request) => renewal = Some(request),
                Message::Ping(ping) => peer.hears(message::Pong { nonce: ping.nonce }),
                other => panic!("{other:?}"),
            }
        }
    }
    let renewal = renewal.unwrap();
    assert_eq!((peer.now, &*renewal.path), (840_000, "/auth/refresh"), "a minute before the end");
    assert_eq!(renewal.body, r#"{"refreshToken":"r1"}"#);
    peer.answers(renewal.id, (200, tokens("ann", "a2", "r2")));
    assert!(matches!(&peer.events()[..], [Event::SignedIn { tokens }] if tokens.refresh == "r2"));
    assert_eq!(peer.says(), [""; 0], "the connection goes on");
    peer.breaks();
    peer.dial();
    assert_eq!(peer.says(), ["Hello a2"]);
}

#[test]
fn a_connection_refused_with_an_expired_token_is_followed_by_one_with_a_new_token() {
    for refusal in [ErrorCode::TokenExpired, ErrorCode::Unauthenticated] {
        let config = Config { token: "old".into(), refresh: Some("r1".into()), ..Config::new("phone", 7) };
        let mut peer = Peer::new(config);
        let get = peer.request(work(Method::Get, "/a", true));
        peer.dial();
        assert_eq!(peer.says(), ["Hello old"]);
        peer.hears(message::Refused::new(refusal, ""));
        peer.dial();
        let renewal = peer.asks("/auth/refresh");
        peer.answers(renewal, (200, tokens("ann", "a1", "r1")));
        assert_eq!(peer.says(), ["Hello a1"]);
        peer.welcome("ann");
        assert_eq!(peer.asks("/a"), get);
        peer.events();
        // A token that is new and refused is not renewed for ever.
        peer.breaks();
        peer.dial();
        peer.says();
        peer.hears(message::Refused::new(refusal, ""));
        peer.dial();
        let renewal = peer.asks("/auth/refresh");
        peer.answers(renewal, (200, tokens("ann", "a2", "r1")));
        peer.says();
        peer.hears(message::Refused::new(refusal, ""));
        let events = peer.events();
        assert!(matches!(events.last(), Some(Event::Stopped { .. })), "{events:?}");
    }
}

#[test]
fn a_login_that_is_over_signs_out_and_says_why() {
    let mut peer = Peer::signed_in(Some("r1"));
    let wait = peer.request(work(Method::Get, "/a", true));
    peer.says();
    peer.hears(message::Close::new(ErrorCode::Unauthenticated, "revoked"));
    peer.dial();
    let renewal = peer.asks("/auth/refresh");
    peer.events();
    peer.answers(renewal, problem(ErrorCode::InvalidCredentials));
    let events = peer.events();
    assert!(matches!(&events[0], Event::Answered { request, answer: Err(Failure::Server(_)) } if *request == wait));
    let Event::SignedOut { error: Some(error) } = &events[1] else { panic!("{events:?}") };
    assert_eq!(error.code(), Some(ErrorCode::InvalidCredentials));
    assert_eq!(peer.core.poll_timeout(), None);
}

#[test]
fn a_renewal_that_fails_for_now_is_tried_again() {
    let config = Config { refresh: Some("r1".into()), ..Config::new("phone", 7) };
    let mut peer = Peer::new(config);
    peer.dial();
    let renewal = peer.asks("/auth/refresh");
    peer.answers(renewal, problem(ErrorCode::Busy));
    let before = peer.now;
    peer.dial();
    assert!(peer.now >= before + 7_000, "not before the server says");
    let renewal = peer.asks("/auth/refresh");
    peer.breaks();
    peer.dial();
    peer.answers(renewal, (200, tokens("ann", "late", "r1")));
    assert_ne!(peer.says(), ["Hello late"], "an answer of another connection");
}

#[test]
fn signing_out_is_answered_by_the_answer_or_by_the_end_of_the_connection() {
    for by_answer in [true, false] {
        let mut peer = Peer::signed_in(Some("r1"));
        let other = peer.request(work(Method::Get, "/a", true));
        let logout = peer.request(of(Purpose::SignOut, "/auth/logout"));
        peer.says();
        if by_answer {
            peer.answers(logout, (204, Bytes::new()));
        } else {
            peer.hears(message::Close::new(ErrorCode::Unauthenticated, "revoked"));
        }
        let events = peer.events();
        let signed_out = events.iter().any(|event| matches!(event, Event::SignedOut { error: None }));
        assert!(signed_out && !peer.core.is_signed_in(), "{events:?}");
        let mut answered: Vec<_> = events
            .into_iter()
            .filter_map(|event| match event {
                Event::Answered { request, answer } => Some((request, answer.map(|answer| answer.status))),
                _ => None,
            })
            .collect();
        answered.sort_unstable_by_key(|(request, _)| *request);
        assert_eq!(answered, [(other, Err(Failure::SignedOut)), (logout, Ok(204))]);
        assert_eq!(peer.core.poll_timeout(), None);
    }
}
