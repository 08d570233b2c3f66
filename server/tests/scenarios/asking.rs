//! What REST's routes answer on a live connection, and before it says Hello.

use syncbridge_codec::{
    ErrorCode,
    message::{self, Header, Message, Method, Scope, ScopeKind},
};

use crate::{
    net::{Net, who},
    wire::Wire,
};

scenarios! {
    pairs: []
    links: [
        a_request_is_answered_as_by_http_with_the_connections_own_user
        what_needs_no_token_may_be_asked_before_hello_and_everything_else_is_refused_by_its_route
        a_connection_for_one_session_asks_of_no_other
        requests_that_cannot_be_are_answered_and_the_connection_goes_on
        many_requests_at_once_are_all_answered
    ]
    together: [
        asking_does_not_prolong_the_time_for_hello
    ]
}

fn get(path: &str) -> message::Request {
    message::Request { id: 7, method: Method::Get, path: path.into(), ..Default::default() }
}

fn header(name: &str, value: &str) -> Header {
    Header { name: name.into(), value: value.into() }
}

async fn ask(wire: &mut Wire, request: message::Request) -> message::Response {
    let id = request.id;
    wire.send(request).await;
    match wire.control().await {
        Message::Response(response) if response.id == id => response,
        other => panic!("no Response but {other:?}"),
    }
}

fn value<'a>(response: &'a message::Response, name: &str) -> Option<&'a str> {
    response.headers.iter().find(|header| header.name == *name).map(|header| &*header.value)
}

fn json(response: &message::Response) -> serde_json::Value {
    serde_json::from_slice(&response.body).expect("JSON")
}

#[track_caller]
fn is_problem(response: &message::Response, code: ErrorCode) {
    let problem = json(response);
    assert_eq!((response.status, &problem["code"]), (code.http_status().into(), &code.name().into()), "{problem}");
    assert_eq!(value(response, "content-type"), Some("application/problem+json"));
}

async fn a_request_is_answered_as_by_http_with_the_connections_own_user(net: &Net) {
    let host = net.host();
    let mut wire = host.join(net.one, &who("ann", "phone")).await;
    let at = wire.create("s", r#"{"n":1}"#).await;
    let response = ask(&mut wire, get("/sessions/s")).await;
    assert_eq!(response.status, 200);
    assert_eq!(json(&response)["state"], serde_json::json!({"n": 1}));
    let tag = format!("\"{}.{}\"", at.epoch, at.version);
    assert_eq!(value(&response, "etag"), Some(&*tag));

    let known = message::Request { headers: vec![header("if-none-match", &tag)], ..get("/sessions/s") };
    let response = ask(&mut wire, known).await;
    assert_eq!((response.status, response.body.len()), (304, 0));

    // The connection is who asks, whatever the request says of itself.
    let other = header("authorization", &format!("Bearer {}", host.token("bob", None)));
    let claimed = message::Request { headers: vec![other], ..get("/sessions/s") };
    assert_eq!(ask(&mut wire, claimed).await.status, 200);
    let mut stranger = host.join(net.other, &who("bob", "laptop")).await;
    is_problem(&ask(&mut stranger, get("/sessions/s")).await, ErrorCode::NotFound);
}

async fn what_needs_no_token_may_be_asked_before_hello_and_everything_else_is_refused_by_its_route(net: &Net) {
    let host = net.host();
    let mut owner = host.join(net.one, &who("ann", "phone")).await;
    owner.create("s", "{}").await;
    let mut wire = host.link(net.other).await;
    let refused = ask(&mut wire, get("/sessions/s")).await;
    is_problem(&refused, ErrorCode::Unauthenticated);
    assert!(value(&refused, "www-authenticate").is_some());
    let bearer = header("authorization", &format!("Bearer {}", host.token("ann", None)));
    let known = message::Request { headers: vec![bearer], ..get("/sessions/s") };
    assert_eq!(ask(&mut wire, known).await.status, 200);
    // The same connection then says Hello, and is somebody.
    host.greet(&mut wire, &who("ann", "laptop")).await;
    assert_eq!(ask(&mut wire, get("/sessions/s")).await.status, 200);
}

async fn a_connection_for_one_session_asks_of_no_other(net: &Net) {
    let host = net.host();
    let mut owner = host.join(net.one, &who("ann", "phone")).await;
    owner.create("s", "{}").await;
    owner.create("s2", "{}").await;
    let scope = Scope { kind: ScopeKind::Session, id: "s".into() };
    let mut wire = host.join(net.other, &crate::net::Who { scope, ..who("ann", "laptop") }).await;
    assert_eq!(ask(&mut wire, get("/sessions/s")).await.status, 200);
    for path in ["/sessions/s2", "/sessions", "/sessions/s/../s2", "/devices"] {
        let answered = ask(&mut wire, get(path)).await;
        assert!([403, 404].contains(&answered.status), "{path}: {answered:?}");
    }
}

async fn requests_that_cannot_be_are_answered_and_the_connection_goes_on(net: &Net) {
    let host = net.host();
    let mut wire = host.join(net.one, &who("ann", "phone")).await;
    wire.create("s", "{}").await;
    for path in ["", "sessions/s", "http://elsewhere/api/v1/sessions/s", "/sessions/a b", "/sessions/\u{7f}"] {
        is_problem(&ask(&mut wire, get(path)).await, ErrorCode::InvalidRequest);
    }
    for headers in [vec![header("if match", "x")], vec![header("if-match", "a\nb")], vec![header("x", "y"); 1_000]] {
        is_problem(
            &ask(&mut wire, message::Request { headers, ..get("/sessions/s") }).await,
            ErrorCode::InvalidRequest,
        );
    }
    for path in ["/nothing", "/../../health", "/sessions/s#x"] {
        let answered = ask(&mut wire, get(path)).await;
        assert!(answered.status == 404 || path.contains('#'), "{path}: {answered:?}");
    }
    assert_eq!(ask(&mut wire, get("/sessions/s")).await.status, 200);
}

async fn many_requests_at_once_are_all_answered(net: &Net) {
    let host = net.host();
    let mut wire = host.join(net.one, &who("ann", "phone")).await;
    wire.create("s", "{}").await;
    for id in 0..100 {
        wire.send(message::Request { id, ..get("/sessions/s") }).await;
    }
    let mut answered = Vec::new();
    for _ in 0..100 {
        let Message::Response(response) = wire.control().await else { panic!("no Response") };
        assert_eq!(response.status, 200);
        answered.push(response.id);
    }
    answered.sort_unstable();
    assert!(answered.into_iter().eq(0..100));
    wire.write("s", r#"[{"op":"add","path":"/n","value":1}]"#).await;
}

async fn asking_does_not_prolong_the_time_for_hello(net: &Net) {
    let host = net.host_with(|config| config.limits.handshake_seconds = 1);
    let mut wire = host.link(net.one).await;
    let began = std::time::Instant::now();
    let mut answered = 0;
    let code = loop {
        if wire.try_send(get("/sessions/s")).await.is_err() {
            break wire.ended().await.code;
        }
        match wire.try_control().await {
            Ok(Message::Response(response)) => answered += u32::from(response.status == 401),
            Ok(Message::Close(close)) => break close.code,
            other => panic!("neither an answer nor the end: {other:?}"),
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    assert_eq!(code, ErrorCode::TimedOut as u32);
    assert!(answered > 0 && began.elapsed().as_secs() < 10, "{answered} answers in {:?}", began.elapsed());
}
