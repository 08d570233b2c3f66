//! What nobody should send, to every route that the OpenAPI document describes and to the listener itself: nothing makes
//! a 5xx, every refusal is a problem with a known code, and the server neither grows nor stops.

use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

use serde_json::{Value, json};
use syncbridge_codec::ErrorCode;

use crate::{
    raw::{Raw, Told},
    support::{
        http::get,
        server::{Server, Setup},
        within,
    },
};

/// Longer than this no request may take, however busy the machine is with other tests.
const TIME: Duration = Duration::from_secs(10);
/// More than this the server may not have grown by in the end: the largest bodies that are read at once, parsed, and
/// what the allocator keeps of them.
const GROWTH: u64 = 192 << 20;

/// An operation of the document.
#[derive(Debug, Clone)]
struct Operation {
    method: String,
    path: String,
    /// Media types of its body with an example of each.
    bodies: Vec<(String, Value)>,
    /// Names of its parameters in headers and in the query.
    headers: Vec<String>,
    query: Vec<String>,
}

/// One connection at a time to a server that may end it after any answer.
struct Attacker {
    address: SocketAddr,
    token: String,
    raw: Option<Raw>,
    codes: BTreeSet<&'static str>,
    asked: usize,
}

impl Attacker {
    async fn ask(&mut self, operation: &Operation, path: &str, headers: &[(&str, &[u8])], body: &[u8]) -> Told {
        let mut request = format!("{} {path} HTTP/1.1\r\nhost: x\r\n", operation.method).into_bytes();
        for (name, value) in headers {
            request.extend_from_slice(name.as_bytes());
            request.extend_from_slice(b": ");
            request.extend_from_slice(value);
            request.extend_from_slice(b"\r\n");
        }
        if !headers.iter().any(|(name, _)| *name == "authorization") {
            request.extend_from_slice(format!("authorization: Bearer {}\r\n", self.token).as_bytes());
        }
        if !headers.iter().any(|(name, _)| *name == "content-length") {
            request.extend_from_slice(format!("content-length: {}\r\n", body.len()).as_bytes());
        }
        request.extend_from_slice(b"\r\n");
        request.extend_from_slice(body);
        let what = String::from_utf8_lossy(&request[..request.len().min(600)]).into_owned();
        let answered = tokio::time::timeout(TIME, async {
            let mut raw = match self.raw.take() {
                Some(raw) => raw,
                None => Raw::connect(self.address).await,
            };
            // The server may answer before it has read everything.
            raw.try_send(&request).await;
            (raw.answer().await, raw)
        });
        let Ok((Some(told), raw)) = answered.await else { panic!("no answer to {what}") };
        self.check(&told, &what);
        if told.header("connection").as_deref() != Some("close") {
            self.raw = Some(raw);
        }
        self.asked += 1;
        told
    }

    fn check(&self, told: &Told, what: &str) {
        assert!(told.status < 500, "{told:?} to {what}");
        if told.status >= 400 {
            let code = told.code();
            assert!(self.codes.contains(&*code), "{code} to {what}");
            let problem: Value = serde_json::from_slice(&told.body).unwrap();
            assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem} to {what}");
            assert!(told.body.len() < 4_096, "an answer of {} bytes to {what}", told.body.len());
        }
    }

    /// What the others need: a session, whatever was done to it.
    async fn restore(&mut self) {
        let make = Operation {
            method: "POST".into(),
            path: String::new(),
            bodies: Vec::new(),
            headers: Vec::new(),
            query: Vec::new(),
        };
        let body = br#"{"sessionId":"s","state":{"list":[1,2,3],"text":"x"}}"#;
        let made = self.ask(&make, "/api/v1/sessions", &[("content-type", b"application/json")], body).await;
        assert!([201, 409].contains(&made.status), "{made:?}");
    }
}

fn operations(document: &Value) -> Vec<Operation> {
    let mut all = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let of = |place: &str| {
                let parameters = operation["parameters"].as_array().into_iter().flatten();
                let here = parameters.filter(|parameter| parameter["in"] == place);
                here.map(|parameter| parameter["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
            };
            let contents = operation["requestBody"]["content"].as_object().into_iter().flatten();
            all.push(Operation {
                method: method.to_uppercase(),
                path: path.clone(),
                bodies: contents.map(|(kind, content)| (kind.clone(), example(document, content))).collect(),
                headers: of("header"),
                query: of("query"),
            });
        }
    }
    all
}

fn example(document: &Value, content: &Value) -> Value {
    let schema = &content["schema"];
    // A body that may be left out is a choice of two.
    let schema = schema["oneOf"].as_array().into_iter().flatten().find(|one| one["type"] != "null").unwrap_or(schema);
    let schema = match schema["$ref"].as_str() {
        Some(to) => document.pointer(&to[1..]).unwrap(),
        None => schema,
    };
    [&content["example"], &schema["example"], &schema["examples"][0]]
        .into_iter()
        .find(|value| !value.is_null())
        .cloned()
        .unwrap_or_else(|| json!({"state": {}}))
}

/// The path with something in the place of its parameters.
fn fill(path: &str, with: &str) -> String {
    let mut filled = String::new();
    for (index, part) in path.split('{').enumerate() {
        match part.split_once('}') {
            Some((_, rest)) if index > 0 => {
                filled.push_str(with);
                filled.push_str(rest);
            }
            _ => filled.push_str(part),
        }
    }
    filled
}

/// Paths that no client should make; all of them can stand in a request line.
fn paths() -> Vec<String> {
    let mut all: Vec<_> = [
        "s",
        "%00",
        "%ff%fe",
        "%zz",
        "%",
        "%2",
        "..",
        "%2e%2e",
        ".",
        "a%2Fb",
        "a%5Cb",
        "%20",
        "%0d%0aX:y",
        "{}",
        "{id}",
        "null",
        "%C0%AF",
        "%F0%9F%92%A9",
        "%25%32%65",
        "'%22--",
        "a;b",
        "a,b",
        "~",
        "@",
        "-1",
        "18446744073709551616",
        "%E2%80%AE",
        "\u{fc}",
        "%ED%A0%80",
    ]
    .map(str::to_owned)
    .into();
    all.extend([128, 129, 5_000].map(|length| "x".repeat(length)));
    all.push("%41".repeat(129));
    all
}

/// What is written in the place of any header's or parameter's value.
fn values() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = [
        &b""[..],
        b" ",
        b"\"",
        b"\"\"",
        b"*",
        b"W/",
        b"W/\"1.1\"",
        b"\"1.1",
        b"\"99999999999999999999.1\"",
        b"\"-1.1\"",
        b"\"1.1\",,\"2.2\",",
        b"-1",
        b"0",
        b"1e9",
        b"99999999999999999999",
        b"NaN",
        b"\xff\xfe",
        b"\xc3\xa9",
        b"a\tb",
        b"%00",
        b"AAAA",
        b"____",
        b"eyJhIjoxfQ",
        b"null",
        b"true",
        b"{}",
        b"a=b;c",
        b"../..",
        b"<script>",
        b"Bearer",
        b"Basic YTpi",
        b"Bearer a.b.c",
        b"Bearer  ",
        b"Bearer \xff",
        b"gzip",
        b"chunked",
    ]
    .map(<[u8]>::to_vec)
    .into();
    all.extend([300, 8_000].map(|length| vec![b'x'; length]));
    all
}

/// Bodies that no route takes, or that try to cost much.
fn bodies() -> Vec<Vec<u8>> {
    let nested = |open: &str, close: &str, levels: usize| format!("{}{}", open.repeat(levels), close.repeat(levels));
    let many = (0..20_000).map(|n| format!("\"k{n}\":{n}")).collect::<Vec<_>>().join(",");
    let mut all: Vec<Vec<u8>> = [
        &b""[..],
        b" ",
        b"null",
        b"true",
        b"0",
        b"-",
        b"\"x\"",
        b"[]",
        b"{}",
        b"{",
        b"}",
        b"[1,",
        b"{\"state\"",
        b"{\"state\":",
        b"{\"state\":1",
        b"{\"state\":1}}",
        b"{\"state\":1,}",
        b"{state:1}",
        b"{'state':1}",
        b"{\"state\":undefined}",
        b"{\"state\":01}",
        b"{\"state\":1e400}",
        b"{\"state\":-1e400}",
        b"{\"state\":1e-400}",
        b"{\"state\":+1}",
        b"{\"state\":.5}",
        b"{\"state\":0x10}",
        b"{\"state\":\"\xff\"}",
        b"{\"state\":\"\xed\xa0\x80\"}",
        b"\xff\xfe{\x00}\x00",
        b"\xef\xbb\xbf{}",
        b"{\"state\":\"\\ud800\"}",
        b"{\"state\":\"\\u0000\"}",
        b"{\"\\u0000\":1}",
        b"{\"state\":\"\x01\"}",
        b"{\"state\":\"\\x\"}",
        b"{\"a\":1,\"a\":2}",
        b"{\"state\":1,\"state\":2}",
        b"\0\0\0\0",
        b"<xml/>",
        b"a=b&c=d",
        b"{\"__proto__\":{\"x\":1},\"constructor\":1}",
        b"[[],{}]",
        b"[null]",
        b"[{\"op\":\"add\"}]",
        b"[{\"op\":\"remove\",\"path\":\"\"}]",
        b"[{\"op\":\"add\",\"path\":\"/a~2b\",\"value\":1}]",
        b"[{\"op\":\"move\",\"from\":\"\",\"path\":\"/list\"}]",
        b"[{\"op\":\"test\",\"path\":\"/text\",\"value\":\"y\"}]",
        b"[{\"op\":\"replace\",\"path\":\"/list/99999999999999999999\",\"value\":1}]",
        b"[{\"op\":\"burn\",\"path\":\"/list\"}]",
        b"[{\"op\":\"add\",\"path\":\"/list/-1\",\"value\":1}]",
        b"[{\"op\":1,\"path\":[],\"value\":{}}]",
    ]
    .map(<[u8]>::to_vec)
    .into();
    let doubling = (0..40).map(|_| r#"{"op":"copy","from":"/list","path":"/list/-"}"#).collect::<Vec<_>>().join(",");
    let pointer = "/a".repeat(500);
    all.extend(
        [
            nested("[", "]", 100),
            nested("[", "]", 100_000),
            nested("{\"a\":", "}", 50_000),
            format!("{{\"state\":{}}}", nested("[", "]", 66)),
            format!("{{\"state\":{}}}", nested("{\"a\":", "}", 10_000)),
            format!("{{\"state\":{}}}", "9".repeat(100_000)),
            format!("{{\"state\":0.{}1}}", "0".repeat(100_000)),
            format!("{{\"state\":\"{}\"}}", "x".repeat(2 << 20)),
            format!("{{\"state\":\"{}\"}}", "\\u0000".repeat(150_000)),
            format!("{{{many}}}"),
            format!("{{{many},\"k7\":0}}"),
            format!("[{doubling}]"),
            format!("[{{\"op\":\"add\",\"path\":\"{pointer}\",\"value\":1}}]"),
            format!("[{}]", vec![r#"{"op":"test","path":"/text","value":"x"}"#; 1_001].join(",")),
            format!("[{}]", "1,".repeat(400_000) + "1"),
        ]
        .map(String::into_bytes),
    );
    all
}

/// An example with one of its members, at any depth, made wrong in every way.
fn mutations(example: &Value) -> Vec<Value> {
    let wrong = || {
        vec![
            json!(null),
            json!(true),
            json!(-1),
            json!(0),
            json!(1.5),
            json!(u64::MAX),
            json!(1e308),
            json!(""),
            json!(" "),
            json!("\u{0}"),
            json!("\u{202e}x"),
            json!("x".repeat(10_000)),
            json!("\u{1f4a9}".repeat(100)),
            json!([]),
            json!({}),
            json!([[[[]]]]),
            json!({"": {"": 1}}),
            json!(".."),
            json!("a/b"),
            json!("null"),
        ]
    };
    let mut all = Vec::new();
    if let Value::Object(members) = example {
        for (name, value) in members {
            let replaced = wrong().into_iter().chain(mutations(value)).map(|value| {
                let mut changed = members.clone();
                changed.insert(name.clone(), value);
                Value::Object(changed)
            });
            all.extend(replaced);
            let mut without = members.clone();
            without.remove(name);
            all.push(Value::Object(without));
        }
        let mut more = members.clone();
        more.insert("unheardOf".to_owned(), json!([1, 2, 3]));
        all.push(Value::Object(more));
    }
    all
}

async fn attacked() -> (tempfile::TempDir, Server, Attacker, Vec<Operation>) {
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup::new(&folder.path().join("data")).set("storage.engine", "memory").set("limits.enabled", "false");
    let server = setup.start();
    let token = setup.token("ann", &[]);
    let (status, document) = get(server.clients, "/api/v1/openapi.json").await;
    assert_eq!(status, 200);
    let operations = operations(&serde_json::from_str(&document).unwrap());
    let codes = ErrorCode::ALL.iter().map(|code| code.name()).collect();
    let attacker = Attacker { address: server.clients, token, raw: None, codes, asked: 0 };
    (folder, server, attacker, operations)
}

/// Shows that it is there still, and has not grown.
async fn survived(server: &Server, before: u64, attacker: &Attacker) {
    assert_eq!(get(server.clients, "/ready").await.0, 200, "after {} requests: {}", attacker.asked, server.setup.log());
    let after = server.resident();
    assert!(after < before + GROWTH, "from {before} to {after} bytes in {} requests", attacker.asked);
    let log = server.setup.log();
    assert!(!log.contains("panicked"), "{log}");
    println!("{} requests, {} KiB more memory", attacker.asked, after.saturating_sub(before) / 1_024);
}

#[tokio::test]
async fn no_path_query_or_header_makes_any_route_fail() {
    let (_folder, server, mut attacker, operations) = attacked().await;
    let before = server.resident();
    for operation in &operations {
        attacker.restore().await;
        let good = fill(&operation.path, "s");
        let body = operation.bodies.first().map(|(_, example)| example.to_string().into_bytes()).unwrap_or_default();
        let kind = operation.bodies.first().map_or(&b"application/json"[..], |(kind, _)| kind.as_bytes());
        if good != operation.path {
            for path in paths() {
                attacker.ask(operation, &fill(&operation.path, &path), &[("content-type", kind)], &body).await;
            }
        }
        for query in
            ["?", "?=", "?&&", "?a", "?%zz=%", "?%00", "?limit=1&limit=2", "?cursor=&limit=", "?a[]=1", "?q=%ff"]
        {
            attacker.ask(operation, &format!("{good}{query}"), &[("content-type", kind)], &body).await;
        }
        for name in &operation.query {
            for value in
                ["", "-1", "0", "1.5", "99999999999999999999", "x", "%00", "%ff", "AAAA", "%22", "null", "true"]
            {
                attacker.ask(operation, &format!("{good}?{name}={value}"), &[("content-type", kind)], &body).await;
            }
        }
        let usual = [
            "authorization",
            "content-type",
            "content-encoding",
            "accept",
            "accept-encoding",
            "x-request-id",
            "x-forwarded-for",
            "origin",
            "expect",
            "if-modified-since",
            "range",
            "connection",
            "cookie",
            "upgrade",
            "sec-websocket-key",
        ];
        let own: Vec<_> = operation.headers.iter().map(|name| name.to_lowercase()).collect();
        for name in usual.into_iter().chain(own.iter().map(|name| &**name)) {
            for value in values() {
                let mut headers = vec![(name, &value[..])];
                if name != "content-type" {
                    headers.push(("content-type", kind));
                }
                attacker.ask(operation, &good, &headers, &body).await;
            }
        }
    }
    survived(&server, before, &attacker).await;
}

#[tokio::test]
async fn no_body_makes_any_route_fail() {
    let (_folder, server, mut attacker, operations) = attacked().await;
    let before = server.resident();
    let bodies = bodies();
    for operation in operations.iter().filter(|operation| operation.method != "GET") {
        attacker.restore().await;
        let good = fill(&operation.path, "s");
        let json = ("application/json".to_owned(), json!({"state": {}}));
        let kinds = if operation.bodies.is_empty() { std::slice::from_ref(&json) } else { &operation.bodies[..] };
        for (kind, example) in kinds {
            for body in &bodies {
                attacker.ask(operation, &good, &[("content-type", kind.as_bytes())], body).await;
            }
            for changed in mutations(example) {
                let body = changed.to_string();
                attacker.ask(operation, &good, &[("content-type", kind.as_bytes())], body.as_bytes()).await;
            }
            // The right body, called something else.
            for other in [
                "text/plain",
                "application/xml",
                "application/json; charset=utf-7",
                "application/json-seq",
                "/",
                "\u{fc}",
            ] {
                let body = example.to_string();
                attacker.ask(operation, &good, &[("content-type", other.as_bytes())], body.as_bytes()).await;
            }
        }
    }
    survived(&server, before, &attacker).await;
}

#[tokio::test]
async fn every_path_refuses_the_methods_that_it_does_not_have() {
    let (_folder, server, mut attacker, operations) = attacked().await;
    let before = server.resident();
    let paths: BTreeSet<_> = operations.iter().map(|operation| operation.path.clone()).collect();
    for path in paths {
        let has = |method: &str| operations.iter().any(|one| one.path == path && one.method == method);
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "CONNECT", "PROPFIND", "get"] {
            if has(method) {
                continue;
            }
            let operation = Operation {
                method: method.to_owned(),
                path: path.clone(),
                bodies: Vec::new(),
                headers: Vec::new(),
                query: Vec::new(),
            };
            // What follows CONNECT is no path (RFC 9112 §3.2.3), so hyper has its own word on it.
            let target = fill(&path, "s");
            let told = attacker.ask(&operation, &target, &[], b"").await;
            let refused = if method == "CONNECT" { vec![400, 404, 405] } else { vec![405] };
            assert!(refused.contains(&told.status), "{method} {target}: {told:?}");
            if told.status == 405 {
                let allow = told.header("allow").unwrap_or_default();
                let named = ["GET", "POST", "PUT", "PATCH", "DELETE"].into_iter().filter(|method| has(method));
                assert!(
                    named.clone().count() > 0 && named.clone().all(|method| allow.contains(method)),
                    "{target}: {allow}"
                );
            }
        }
    }
    survived(&server, before, &attacker).await;
}

#[tokio::test]
async fn bodies_that_end_early_or_never_end_no_other_request() {
    let folder = tempfile::tempdir().unwrap();
    let setup = Setup::new(&folder.path().join("data")).set("storage.engine", "memory").set("limits.body_seconds", 1);
    let server = setup.start();
    let token = setup.token("ann", &[]);
    let (_, document) = get(server.clients, "/api/v1/openapi.json").await;
    let mut waiting = Vec::new();
    for operation in operations(&serde_json::from_str(&document).unwrap()) {
        let Some((kind, _)) = operation.bodies.first() else { continue };
        let path = fill(&operation.path, "s");
        let head = format!(
            "{} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-type: {kind}\r\n",
            operation.method
        );
        for rest in ["content-length: 50\r\n\r\n{\"st", "transfer-encoding: chunked\r\n\r\n4\r\n{\"st\r\n"] {
            for ends in [true, false] {
                let mut raw = Raw::connect(server.clients).await;
                raw.send(format!("{head}{rest}")).await;
                if ends {
                    raw.finish().await;
                }
                waiting.push((format!("{head}{rest}"), ends, raw));
            }
        }
    }
    assert!(waiting.len() > 20);
    for (what, ends, mut raw) in waiting {
        match raw.answer().await {
            Some(told) => assert!((400..500).contains(&told.status) && !told.code().is_empty(), "{told:?} to {what}"),
            // Who has hung up cannot be told.
            None => assert!(ends, "nothing is said to {what}"),
        }
        assert!(raw.ended().await, "{what}");
    }
    assert_eq!(get(server.clients, "/ready").await.0, 200);
}

#[tokio::test]
async fn what_is_not_http_is_told_so_and_the_connection_ends() {
    let (_folder, server, attacker, _) = attacked().await;
    let before = server.resident();
    let long = |length: usize| "x".repeat(length);
    let health = "GET /health HTTP/1.1\r\nhost: x\r\n";
    let post = format!(
        "POST /api/v1/sessions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n",
        attacker.token
    );
    let many = (0..200).map(|n| format!("x-{n}: y\r\n")).collect::<String>();
    let cases: Vec<(Vec<u8>, &[u16])> = vec![
        (b"\0\0\0\0\0\0\0\0\r\n\r\n".to_vec(), &[400]),
        (b"hello\r\n\r\n".to_vec(), &[400]),
        (b"GET\r\n\r\n".to_vec(), &[400]),
        (b"GET / HTTP/9.9\r\nhost: x\r\n\r\n".to_vec(), &[400]),
        (b"GET  /health HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(), &[400]),
        (b"GET /health HTTP/1.1 x\r\nhost: x\r\n\r\n".to_vec(), &[400]),
        (b"GET /a b HTTP/1.1\r\nhost: x\r\n\r\n".to_vec(), &[400]),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), &[400]),
        // A TLS client where TLS is not spoken.
        ([&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], &[7; 300]].concat(), &[400]),
        (format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", long(70_000)).into(), &[414]),
        (format!("{health}x: {}\r\n\r\n", long(500_000)).into(), &[431]),
        (format!("{health}{many}\r\n").into(), &[431]),
        (format!("{health}{}: y\r\n\r\n", long(70_000)).into(), &[400, 431]),
        (format!("{health}x y: z\r\n\r\n").into(), &[400]),
        (format!("{health}x : z\r\n\r\n").into(), &[400]),
        (format!("{health} folded\r\n\r\n").into(), &[400]),
        (format!("{health}: z\r\n\r\n").into(), &[400]),
        (format!("{health}x: a\0b\r\n\r\n").into(), &[400]),
        (format!("{health}x: a\rb\r\n\r\n").into(), &[400]),
        // Nobody says, or two say, whom it is for (RFC 9112 §3.2).
        (b"GET /health HTTP/1.1\r\n\r\n".to_vec(), &[400]),
        (format!("{health}host: y\r\n\r\n").into(), &[400]),
        // Two lengths: whoever stands before us may have taken the other (RFC 9112 §6.3).
        (format!("{post}content-length: 2\r\ncontent-length: 40\r\n\r\n{{}}").into(), &[400]),
        (format!("{post}content-length: 2, 40\r\n\r\n{{}}").into(), &[400]),
        (format!("{post}content-length: -2\r\n\r\n{{}}").into(), &[400]),
        (format!("{post}content-length: +2\r\n\r\n{{}}").into(), &[400]),
        (format!("{post}content-length: 0x2\r\n\r\n{{}}").into(), &[400]),
        (format!("{post}content-length: 99999999999999999999\r\n\r\n{{}}").into(), &[400]),
        (format!("{post}transfer-encoding: gzip\r\n\r\n{{}}").into(), &[400]),
        (format!("{post}transfer-encoding: chunked, identity\r\n\r\n0\r\n\r\n").into(), &[400]),
        (format!("{post}transfer-encoding: xchunked\r\n\r\n0\r\n\r\n").into(), &[400]),
        (
            post.replace("1.1", "1.0")
                .into_bytes()
                .into_iter()
                .chain(*b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n")
                .collect(),
            &[400],
        ),
        (format!("{post}transfer-encoding: chunked\r\n\r\nzz\r\n").into(), &[400]),
        (format!("{post}transfer-encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFFF\r\n").into(), &[400]),
        (format!("{post}transfer-encoding: chunked\r\n\r\n2\r\n{{}}xx\r\n0\r\n\r\n").into(), &[400]),
        (format!("{post}transfer-encoding: chunked\r\n\r\n2;{}\r\n{{}}\r\n0\r\n\r\n", long(100_000)).into(), &[400]),
        (
            format!(
                "{post}transfer-encoding: chunked\r\n\r\n0\r\n{}\r\n",
                format!("x: {}\r\n", long(1_000)).repeat(200)
            )
            .into(),
            &[400],
        ),
    ];
    for (bytes, statuses) in cases {
        let what = String::from_utf8_lossy(&bytes[..bytes.len().min(300)]).into_owned();
        let mut raw = Raw::connect(server.clients).await;
        raw.try_send(&bytes).await;
        let told = raw.answer().await.unwrap_or_else(|| panic!("nothing is said to {what}"));
        assert!(statuses.contains(&told.status), "{told:?} to {what}");
        attacker.check(&told, &what);
        // However the rest is read, it is not read as another request.
        raw.finish().await;
        assert!(raw.ended().await, "more is said to {what}");
    }
    survived(&server, before, &attacker).await;
}

#[tokio::test]
async fn a_request_hidden_behind_two_lengths_is_never_answered() {
    let (_folder, server, attacker, _) = attacked().await;
    let post = format!(
        "POST /api/v1/sessions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n",
        attacker.token
    );
    let hidden = "GET /health HTTP/1.1\r\nhost: x\r\n\r\n";
    for lengths in
        ["content-length: 5\r\ntransfer-encoding: chunked\r\n", "transfer-encoding: chunked\r\ncontent-length: 5\r\n"]
    {
        let mut raw = Raw::connect(server.clients).await;
        raw.send(format!("{post}{lengths}\r\n0\r\n\r\n{hidden}")).await;
        let told = raw.answer().await.expect("an answer");
        assert_eq!((told.status, &*told.code()), (400, "invalid_json"), "a body of no chunks is empty");
        raw.finish().await;
        assert!(raw.ended().await, "what is hidden behind {lengths:?} is a request");
    }
}

#[tokio::test]
async fn a_client_that_reads_nothing_and_many_that_say_nothing_do_not_stop_the_others() {
    let (_folder, server, mut attacker, _) = attacked().await;
    let before = server.resident();
    let mut silent = Vec::new();
    for n in 0..500 {
        let mut raw = Raw::connect(server.clients).await;
        raw.send(&"GET /api/v1/openapi.json HTTP/1.1\r\nhost: x\r\n"[..n % 40]).await;
        silent.push(raw);
    }
    // Asks for far more than the kernel takes, and reads nothing: the server stops reading it.
    let mut greedy = Raw::connect(server.clients).await;
    let ask = "GET /api/v1/openapi.json HTTP/1.1\r\nhost: x\r\n\r\n".repeat(50);
    for _ in 0..200 {
        if tokio::time::timeout(Duration::from_millis(20), greedy.try_send(&ask)).await.is_err() {
            break;
        }
    }
    within("the others are served", async {
        for _ in 0..20 {
            attacker.restore().await;
        }
    })
    .await;
    survived(&server, before, &attacker).await;
}
