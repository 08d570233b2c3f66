//! What holds for every request, whichever route it is for: names, sizes, times, compression, origins, methods.

use std::io::Read as _;

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use hyper::Method;
use serde_json::json;

use crate::{
    host::Host,
    raw::{self, Raw},
};

const DESCRIPTION: &str = "/api/v1/openapi.json";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    std::io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_request_keeps_the_name_that_its_client_gives_it_and_an_error_always_has_one() {
    let host = Host::new();
    let http = host.user("ann");
    let named = http.send(Method::GET, DESCRIPTION, &[("x-request-id", "trace-7/a")], "").await;
    assert_eq!((named.status.as_u16(), named.header("x-request-id")), (200, Some("trace-7/a")));
    let unnamed = http.send(Method::GET, DESCRIPTION, &[], "").await;
    assert_eq!(unnamed.header("x-request-id"), None, "nobody asked for one");

    let named = http.send(Method::GET, "/api/v1/sessions/no", &[("x-request-id", "trace-8")], "").await;
    assert_eq!(
        (named.expect(404)["requestId"].as_str(), named.header("x-request-id")),
        (Some("trace-8"), Some("trace-8"))
    );
    let long = "x".repeat(129);
    for insane in ["a b", "\"quoted\"", "<script>", &long] {
        let answer = http.send(Method::GET, "/api/v1/sessions/no", &[("x-request-id", insane)], "").await;
        let problem = answer.expect(404);
        let made = problem["requestId"].as_str().unwrap();
        assert_ne!(made, insane);
        assert_eq!(answer.header("x-request-id"), Some(made));
    }
}

#[tokio::test]
async fn what_is_no_route_and_what_is_no_method_is_a_problem_that_says_what_there_is() {
    let host = Host::new();
    let http = host.user("ann");
    for path in
        ["/nowhere", "/api", "/api/v1", "/api/v1/sessions/a/b/c/d", "/api/v2/sessions", "/api/v1/sessions/a%2Fb/c/d"]
    {
        let answer = http.send(Method::GET, path, &[], "").await;
        answer.expect(404);
        assert_eq!(answer.code(), "not_found", "{path}");
    }
    let answer = http.send(Method::PATCH, DESCRIPTION, &[], "").await;
    answer.expect(405);
    assert_eq!((&*answer.code(), answer.header("allow")), ("method_not_allowed", Some("GET,HEAD")));
    let answer = http.send(Method::from_bytes(b"BREW").unwrap(), "/health", &[], "").await;
    answer.expect(405);
    let answer = http.send(Method::OPTIONS, DESCRIPTION, &[], "").await;
    answer.expect(204);
    assert_eq!(answer.header("allow"), Some("GET,HEAD,OPTIONS"));
    http.send(Method::OPTIONS, "/nowhere", &[], "").await.expect(404);
}

#[tokio::test]
async fn head_is_get_without_its_body() {
    let host = Host::new();
    let http = host.user("ann");
    let get = http.send(Method::GET, DESCRIPTION, &[], "").await;
    let head = http.send(Method::HEAD, DESCRIPTION, &[], "").await;
    assert_eq!((head.status, head.body.len()), (get.status, 0));
    for name in ["content-length", "content-type", "etag", "vary"] {
        assert_eq!(head.header(name), get.header(name), "{name}");
        assert!(get.header(name).is_some(), "{name}");
    }
    let gone = http.send(Method::HEAD, "/nowhere", &[], "").await;
    assert_eq!((gone.status.as_u16(), gone.body.len()), (404, 0));
}

#[tokio::test]
async fn answers_are_compressed_for_whoever_takes_it_and_only_when_they_are_long() {
    let host = Host::new();
    let http = host.user("ann");
    let plain = http.send(Method::GET, DESCRIPTION, &[], "").await;
    assert_eq!((plain.header("content-encoding"), plain.header("vary")), (None, Some("accept-encoding")));
    let short = http.send(Method::GET, DESCRIPTION, &[("accept-encoding", "br;q=1, gzip;q=0.8")], "").await;
    assert_eq!((short.header("content-encoding"), short.header("vary")), (Some("gzip"), Some("accept-encoding")));
    assert!(short.body.len() * 3 < plain.body.len(), "{} of {}", short.body.len(), plain.body.len());
    let mut inflated = Vec::new();
    GzDecoder::new(&short.body[..]).read_to_end(&mut inflated).unwrap();
    assert_eq!(inflated, plain.body);
    let refused = http.send(Method::GET, DESCRIPTION, &[("accept-encoding", "gzip;q=0")], "").await;
    assert_eq!(refused.header("content-encoding"), None);
    let little = http.send(Method::GET, "/health", &[("accept-encoding", "gzip")], "").await;
    assert_eq!((little.header("content-encoding"), little.header("vary")), (None, None));
}

#[tokio::test]
async fn a_body_may_be_compressed_and_is_bounded_in_both_forms() {
    let host = Host::with(|config| config.limits.request_bytes = 64 << 10);
    let http = host.user("ann");
    let post = async |headers: &[(&str, &str)], body: Vec<u8>| {
        let headers = [&[("content-type", "application/json")][..], headers].concat();
        http.send(Method::POST, "/api/v1/sessions", &headers, body).await
    };
    let body = json!({"sessionId": "zipped", "state": {"text": "x".repeat(50_000)}}).to_string();
    post(&[("content-encoding", "gzip")], gzip(body.as_bytes())).await.expect(201);
    post(&[("content-encoding", "identity")], b"{\"sessionId\":\"plain\",\"state\":1}".to_vec()).await.expect(201);

    let bomb = json!({"state": "x".repeat(10 << 20)}).to_string();
    let answer = post(&[("content-encoding", "gzip")], gzip(bomb.as_bytes())).await;
    answer.expect(413);
    assert_eq!(answer.code(), "payload_too_large");
    for (coding, body, status) in [
        ("br", vec![1, 2, 3], 415),
        ("gzip, gzip", gzip(body.as_bytes()), 415),
        ("gzip", b"{}".to_vec(), 400),
        ("gzip", gzip(body.as_bytes())[..40].to_vec(), 400),
    ] {
        post(&[("content-encoding", coding)], body).await.expect(status);
    }
    let answer = post(&[], vec![b' '; (64 << 10) + 1]).await;
    answer.expect(413);
    assert_eq!(answer.code(), "payload_too_large");
}

#[tokio::test]
async fn a_body_that_does_not_say_how_long_it_is_ends_at_the_limit_too() {
    let host = Host::with(|config| config.limits.request_bytes = 64 << 10);
    let token = host.token("ann", None);
    let mut raw = Raw::connect(host.server().listen).await;
    raw.send(raw::head("POST", "/api/v1/sessions", &token, "transfer-encoding: chunked\r\n")).await;
    // Whether the server still reads it or not: the answer arrives.
    for _ in 0..64 {
        let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
        if !raw.try_send(chunk).await {
            break;
        }
    }
    let answer = raw.answer().await.expect("an answer");
    assert_eq!((answer.status, &*answer.code()), (413, "payload_too_large"));
    assert!(raw.ended().await);
}

#[tokio::test]
async fn a_body_of_another_type_is_415_and_json_that_is_wrong_says_where() {
    let host = Host::new();
    let http = host.user("ann");
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", "*/*", ""] {
        let answer = http.send(Method::POST, "/api/v1/sessions", &[("content-type", kind)], "{\"state\":1}").await;
        answer.expect(415);
        assert_eq!(answer.code(), "unsupported_media_type", "{kind}");
    }
    for kind in ["application/json; charset=utf-8", "Application/JSON", "application/vnd.api+json"] {
        http.send(Method::POST, "/api/v1/sessions", &[("content-type", kind)], "{\"state\":1}").await.expect(201);
    }
    for (body, code, said) in [
        (&br#"{"state":1,"state":2}"#[..], "invalid_json", "twice"),
        (br#"{"state":{"a":[{"b":1,"b":2}]}}"#, "invalid_json", "twice"),
        (br#"{"state":1e999}"#, "invalid_json", "out of range"),
        (br#"{"state":"#, "invalid_json", "column"),
        (b"{\"state\":\"\xff\"}", "invalid_json", "UTF-8"),
        (b"", "invalid_json", "empty"),
        (br#"{"state":1,"sessionId":7}"#, "invalid_request", "sessionId"),
        (b"[]", "invalid_request", ""),
    ] {
        let answer = http.send(Method::POST, "/api/v1/sessions", &[("content-type", "application/json")], body).await;
        assert_eq!(&*answer.code(), code, "{}", String::from_utf8_lossy(body));
        assert!(answer.expect(400)["detail"].as_str().unwrap().contains(said), "{:?}", answer.json());
    }
    let deep = format!("{{\"state\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let answer = http.send(Method::POST, "/api/v1/sessions", &[("content-type", "application/json")], deep).await;
    assert!(answer.expect(400)["detail"].as_str().unwrap().contains("deeper"), "{:?}", answer.json());
}

#[tokio::test]
async fn slow_heads_and_slow_bodies_are_408_and_end_the_connection() {
    let host = Host::with(|config| {
        config.limits.header_seconds = 1;
        config.limits.body_seconds = 1;
    });
    let token = host.token("ann", None);
    let address = host.server().listen;
    let mut waiting = Vec::new();
    for part in [
        String::new(),
        "GET /api/v1/sess".to_owned(),
        "GET /health HTTP/1.1\r\nhost: x\r\nx-slow: ".to_owned(),
        raw::head("POST", "/api/v1/sessions", &token, "content-length: 100\r\n"),
        raw::head("POST", "/api/v1/sessions", &token, "content-length: 100\r\n") + "{\"state\":",
        raw::head("POST", "/api/v1/sessions", &token, "transfer-encoding: chunked\r\n") + "5\r\n{\"sta",
        raw::head("POST", "/api/v1/sessions", &token, "transfer-encoding: chunked\r\n"),
    ] {
        let mut raw = Raw::connect(address).await;
        raw.send(&part).await;
        waiting.push((part, raw));
    }
    for (part, mut raw) in waiting {
        let answer = raw.answer().await.unwrap_or_else(|| panic!("nothing is said to {part:?}"));
        assert_eq!((answer.status, &*answer.code()), (408, "timed_out"), "{part:?}");
        assert!(raw.ended().await, "{part:?}");
    }
    // A connection that has had its answer and waits is ended without a word that nobody could place.
    let mut raw = Raw::connect(address).await;
    raw.send("GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(raw.answer().await.expect("an answer").status, 200);
    assert!(raw.answer().await.is_none());
}

#[tokio::test]
async fn pages_of_other_origins_may_ask_only_when_they_are_configured() {
    let closed = Host::new();
    let preflight = [("origin", "https://a.example"), ("access-control-request-method", "PUT")];
    let answer = closed.http().send(Method::OPTIONS, DESCRIPTION, &preflight, "").await;
    assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("access-control")), "{answer:?}");
    assert_eq!(
        closed.http().send(Method::GET, DESCRIPTION, &preflight, "").await.header("vary"),
        Some("accept-encoding")
    );

    let some = Host::with(|config| config.set("http.cors_origins", "https://a.example, https://b.example").unwrap());
    let answer = some.http().send(Method::OPTIONS, "/api/v1/sessions/any", &preflight, "").await;
    answer.expect(204);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://a.example"));
    assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
    assert!(answer.header("access-control-allow-methods").unwrap().contains("PATCH"));
    assert!(answer.header("access-control-allow-headers").unwrap().contains("idempotency-key"));
    let asked = some.http().send(Method::GET, "/api/v1/sessions/no", &[("origin", "https://b.example")], "").await;
    asked.expect(401);
    assert_eq!(asked.header("access-control-allow-origin"), Some("https://b.example"), "errors can be read as well");
    assert!(asked.header("access-control-expose-headers").unwrap().contains("etag"));
    for other in ["https://evil.example", "https://a.example.evil.example", "http://a.example", "null"] {
        let answer = some.http().send(Method::GET, "/health", &[("origin", other)], "").await;
        assert_eq!((answer.status.as_u16(), answer.header("access-control-allow-origin")), (200, None), "{other}");
        assert_eq!(answer.header("vary"), Some("origin"), "a cache has to know");
    }

    let all = Host::with(|config| config.set("http.cors_origins", "*").unwrap());
    let answer = all.http().send(Method::GET, "/health", &[("origin", "https://any.example")], "").await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    assert_eq!(answer.header("access-control-allow-credentials"), None, "the browser would refuse both together");
}

#[tokio::test]
async fn pages_of_other_origins_open_no_websocket_unless_they_are_configured() {
    async fn status(host: &Host, more: &str) -> u16 {
        let mut raw = Raw::connect(host.server().listen).await;
        let upgrade = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                       sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        raw.send(format!("GET /ws HTTP/1.1\r\nhost: a.example:7400\r\n{upgrade}{more}\r\n")).await;
        let told = raw.answer().await.expect("an answer");
        assert!(told.status == 101 || told.code() == "forbidden", "{told:?}");
        told.status
    }
    let frames = "sec-websocket-protocol: syncbridge.v1\r\n";
    let (ours, others) = ("origin: http://a.example:7400\r\n", "origin: https://evil.example\r\n");
    for open in [false, true] {
        let host = Host::with(|config| config.open = open);
        for (origin, expected) in [("", 101), (ours, 101), (others, 403), ("origin: null\r\n", 403)] {
            assert_eq!(status(&host, origin).await, expected, "flat JSON, {origin:?}, open: {open}");
            assert_eq!(status(&host, &format!("{frames}{origin}")).await, expected, "{origin:?}, open: {open}");
        }
        assert_eq!(status(&host, &format!("{ours}{others}")).await, 403, "a second origin hides behind the first");
    }
    let some = Host::with(|config| config.set("http.cors_origins", "https://evil.example").unwrap());
    assert_eq!(status(&some, others).await, 101);
    assert_eq!(status(&some, "origin: http://evil.example\r\n").await, 403);
    let all = Host::with(|config| config.set("http.cors_origins", "*").unwrap());
    assert_eq!(status(&all, "origin: null\r\n").await, 101);
}

#[tokio::test]
async fn the_page_is_whole_and_may_load_nothing_from_elsewhere() {
    let host = Host::new();
    let http = host.http();
    let page = http.send(Method::GET, "/api/v1/docs", &[], "").await;
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    for file in ["docs", "docs/docs.js", "docs/docs.css", "openapi.json"] {
        let path = format!("/api/v1/{file}");
        let answer = http.send(Method::GET, &path, &[], "").await;
        assert_eq!(answer.status, 200, "{path}");
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        if file != "openapi.json" {
            assert!(!text.contains("http://") && !text.contains("https://") && !text.contains("//cdn"), "{file}");
            assert!(!text.contains("innerHTML") && !text.contains(" style=") && !text.contains(" onclick"), "{file}");
        }
        let again = http.send(Method::GET, &path, &[("if-none-match", answer.header("etag").unwrap())], "").await;
        assert_eq!((again.status.as_u16(), again.body.len()), (304, 0), "{path}");
    }
}

#[tokio::test]
async fn what_was_asked_is_counted_by_route_method_and_status() {
    let host = Host::new();
    let http = host.user("ann");
    for id in ["a", "b", "c"] {
        http.get(&format!("/sessions/{id}")).await.expect(404);
    }
    for n in 0..5 {
        http.send(Method::GET, &format!("/made/up/{n}"), &[], "").await.expect(404);
    }
    let figures = crate::support::http::get(host.server().admin, "/metrics").await.1;
    for line in [
        r#"syncbridge_http_requests_total{route="/api/v1/sessions/{id}",method="GET",status="4xx"} 3"#,
        r#"syncbridge_http_requests_total{route="other",method="GET",status="4xx"} 5"#,
        r#"syncbridge_http_request_latency_seconds_count{route="/api/v1/sessions/{id}"} 3"#,
    ] {
        assert!(figures.lines().any(|found| found == line), "{line} is not in\n{figures}");
    }
    assert!(!figures.contains("/made/up"), "strangers make no labels");
}

#[tokio::test]
async fn a_server_that_goes_down_answers_what_was_asked_and_ends_connections_that_wait() {
    let mut host = Host::new();
    let token = host.token("ann", None);
    let address = host.server().listen;
    let mut idle = Raw::connect(address).await;
    idle.send("GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(idle.answer().await.expect("an answer").status, 200);
    let mut fresh = Raw::connect(address).await;
    let mut asking = Raw::connect(address).await;
    let body = r#"{"sessionId":"late","state":1}"#;
    let length = format!("expect: 100-continue\r\ncontent-length: {}\r\n", body.len());
    asking.send(raw::head("POST", "/api/v1/sessions", &token, &length)).await;
    // The server has begun with it once it asks for the body.
    assert_eq!(asking.answer().await.expect("an interim answer").status, 100);

    let stopping = async {
        host.stop().await;
    };
    let talking = async {
        // Both have nothing under way.
        assert!(idle.ended().await && fresh.ended().await);
        asking.send(body).await;
        let answer = asking.answer().await.expect("an answer");
        // Nothing new is accepted any more, and that is said as it should be.
        assert_eq!((answer.status, &*answer.code()), (503, "busy"));
        assert!(answer.header("retry-after").is_some());
        assert_eq!(answer.header("connection").as_deref(), Some("close"));
        assert!(asking.ended().await);
    };
    tokio::join!(stopping, talking);
}
