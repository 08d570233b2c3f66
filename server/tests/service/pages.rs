//! The pages: what is served where, how long it may be kept, and what it may do.

use http::{Method, StatusCode};
use hyper::http;

use crate::{
    host::Host,
    http::{Answer, Http},
    raw::Raw,
};

const PAGES: [&str; 3] = ["/", "/home", "/handoff"];

async fn get(http: &Http, path: &str, headers: &[(&str, &str)]) -> Answer {
    http.send(Method::GET, path, headers, "").await
}

/// The scripts and styles that a page names.
fn assets(page: &Answer) -> Vec<String> {
    let html = String::from_utf8(page.body.to_vec()).unwrap();
    let mut found: Vec<String> =
        html.split('"').filter(|part| part.starts_with("/assets/")).map(str::to_owned).collect();
    found.sort();
    found.dedup();
    assert!(!found.is_empty(), "{html}");
    found
}

fn is_script(path: &str) -> bool {
    std::path::Path::new(path).extension().is_some_and(|end| end == "js")
}

#[tokio::test]
async fn each_page_is_html_that_is_asked_for_again_and_sent_only_when_it_is_another() {
    let host = Host::new();
    let http = host.http();
    for path in PAGES {
        let page = get(&http, path, &[]).await;
        assert_eq!(page.status, 200, "{path}");
        assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
        assert_eq!(page.header("cache-control"), Some("no-cache"));
        assert!(page.body.starts_with(b"<!doctype html>"), "{path}");
        let tag = page.header("etag").unwrap();
        for known in [tag.to_owned(), format!("W/{tag}"), format!("\"other\", {tag}"), "*".to_owned()] {
            let again = get(&http, path, &[("if-none-match", &known)]).await;
            assert_eq!((again.status.as_u16(), again.body.len()), (304, 0), "{path} {known}");
            assert_eq!(again.header("etag"), Some(tag), "a browser keeps the headers of the newest answer");
            assert!(again.header("content-security-policy").is_some());
        }
        assert_eq!(get(&http, path, &[("if-none-match", "\"other\"")]).await.status, 200);
    }
}

#[tokio::test]
async fn assets_have_their_hash_in_their_name_and_are_kept_for_good() {
    let host = Host::new();
    let http = host.http();
    for path in PAGES {
        for asset in assets(&get(&http, path, &[]).await) {
            let answer = get(&http, &asset, &[]).await;
            assert_eq!(answer.status, 200, "{asset}");
            assert_eq!(answer.header("cache-control"), Some("public, max-age=31536000, immutable"), "{asset}");
            let kind = answer.header("content-type").unwrap();
            let wanted = if is_script(&asset) { "text/javascript; charset=utf-8" } else { "text/css; charset=utf-8" };
            assert_eq!(kind, wanted, "{asset}");
            let (name, _) = asset.rsplit_once('.').unwrap();
            assert_eq!(name.chars().rev().nth(8), Some('-'), "{asset} has no hash of eight letters at its end");
        }
    }
}

#[tokio::test]
async fn no_page_may_run_or_load_what_is_not_this_servers_and_none_holds_script_or_style() {
    let host = Host::new();
    let http = host.http();
    for path in PAGES {
        let page = get(&http, path, &[]).await;
        let policy = page.header("content-security-policy").unwrap();
        for rule in [
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
        ] {
            assert!(policy.split(';').any(|part| part.trim() == rule), "{path}: {rule} in {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains('*') && !policy.contains("http"), "{policy}");
        // A handoff's token stands in an address.
        assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(page.header("cross-origin-opener-policy"), Some("same-origin"));
        let html = String::from_utf8(page.body.to_vec()).unwrap();
        assert!(!html.contains("<style") && !html.contains(" style="), "{path}");
        assert!(!html.contains(" onload") && !html.contains(" onclick") && !html.contains(" onerror"), "{path}");
        assert!(!html.contains("http:") && !html.contains("https:"), "{path}");
        assert!(
            html.split("<script")
                .skip(1)
                .all(|script| script.contains("src=\"/assets/") && script.contains("></script>"))
        );
    }
}

#[tokio::test]
async fn a_page_at_localhost_may_also_connect_where_it_is_told_to_open_its_session() {
    let host = Host::new();
    let asked_as = async |name: &str, path: &str| {
        let mut raw = Raw::connect(host.server().listen).await;
        raw.send(format!("GET {path} HTTP/1.1\r\nhost: {name}\r\n\r\n")).await;
        raw.answer().await.expect("an answer")
    };
    for path in PAGES {
        let page = asked_as("LocalHost:7999", path).await;
        let policy = page.header("content-security-policy").expect("a policy");
        assert!(policy.ends_with("; connect-src 'self' https://127.0.0.1:7999"), "{policy}");
        for other in ["localhost.evil.example:7999", "localhost:7999 https://evil.example", "x", "localhost:"] {
            let policy = asked_as(other, path).await.header("content-security-policy").expect("a policy");
            assert!(policy.ends_with("; connect-src 'self'"), "{other}: {policy}");
        }
    }
    let told = asked_as("localhost:7999", "/api/v1/webtransport").await;
    let told: serde_json::Value = serde_json::from_slice(&told.body).expect("JSON");
    assert_eq!(told["url"], "https://127.0.0.1:7999/wt");
}

#[tokio::test]
async fn what_is_text_comes_compressed_to_who_takes_that_and_each_form_has_its_own_tag() {
    let host = Host::new();
    let http = host.http();
    let asset = assets(&get(&http, "/home", &[]).await).into_iter().find(|path| is_script(path)).unwrap();
    let plain = get(&http, &asset, &[]).await;
    let gzip = get(&http, &asset, &[("accept-encoding", "br, gzip")]).await;
    assert_eq!((plain.header("content-encoding"), gzip.header("content-encoding")), (None, Some("gzip")));
    assert!(gzip.body.len() < plain.body.len());
    assert_eq!(gzip.header("content-length"), Some(&*gzip.body.len().to_string()));
    assert_ne!(plain.header("etag"), gzip.header("etag"));
    for answer in [&plain, &gzip] {
        let vary: Vec<_> = answer.headers.get_all("vary").iter().collect();
        assert_eq!(vary, ["accept-encoding"], "{asset}");
        let known = get(&http, &asset, &[("if-none-match", answer.header("etag").unwrap())]).await;
        assert_eq!(known.status, 304, "{asset}");
    }
    let refused = get(&http, &asset, &[("accept-encoding", "gzip;q=0")]).await;
    assert_eq!(refused.body, plain.body);
}

#[tokio::test]
async fn head_says_what_get_would_and_nothing_else_can_be_done_with_a_page() {
    let host = Host::new();
    let http = host.http();
    for path in PAGES {
        let page = get(&http, path, &[]).await;
        let head = http.send(Method::HEAD, path, &[], "").await;
        assert_eq!((head.status.as_u16(), head.body.len()), (200, 0), "{path}");
        for name in ["content-type", "content-length", "etag", "cache-control", "content-security-policy"] {
            assert_eq!(head.header(name), page.header(name), "{path} {name}");
        }
        for method in [Method::POST, Method::PUT, Method::DELETE] {
            let answer = http.send(method, path, &[], "").await;
            assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
            assert_eq!((&*answer.code(), answer.header("allow")), ("method_not_allowed", Some("GET,HEAD")));
        }
    }
}

#[tokio::test]
async fn what_is_no_page_and_no_asset_is_not_found() {
    let host = Host::new();
    let http = host.http();
    for path in [
        "/index.html",
        "/home/",
        "/home.html",
        "/assets/",
        "/assets/nothing.js",
        "/assets/../index.html",
        "/assets/%2e%2e/home",
    ] {
        let answer = get(&http, path, &[]).await;
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.code(), "not_found", "{path}");
    }
}

#[tokio::test]
async fn the_pages_and_all_assets_are_counted_as_four_routes() {
    let host = Host::new();
    let http = host.http();
    let page = get(&http, "/home", &[]).await;
    for asset in assets(&page) {
        get(&http, &asset, &[]).await;
    }
    get(&http, "/assets/made-up-by-a-stranger.js", &[]).await;
    let metrics = Http::new(host.server().admin).send(Method::GET, "/metrics", &[], "").await;
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    assert!(text.contains("\"/home\"") && text.contains("\"/assets/{file}\""), "{text}");
    assert!(!text.contains("made-up"));
}
