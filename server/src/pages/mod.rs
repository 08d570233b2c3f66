//! The pages that people use (sign in, home, handoff) and the operators' console, served from memory: what web/ builds is
//! inside the program. They speak to the server by REST and `/ws` like every other client; nothing here knows a session or
//! a token.

pub mod file;

use std::net::Ipv4Addr;

use axum::{
    Router,
    http::{HeaderMap, HeaderName, HeaderValue, header},
    routing::get,
};
use file::{Caching, File};

/// What web/ built: paths in web/dist, and what lies there.
const BUILT: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/pages.rs"));

/// Where files lie whose names hold a hash of what is in them.
const ASSETS: &str = "assets/";

/// What a page may do, but for the hosts that it may connect to: run and show what this server sends, and talk to this
/// server. `connect-src 'self'` takes in `ws:`, `wss:` and WebTransport on the same host and port (CSP3 §6.7.2.8). Images as data: the QR code. No string becomes
/// markup or code: trusted types are required, and none can be made.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self' data:; \
     manifest-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'; connect-src 'self'";
/// The name of this machine that a page may have been asked for by.
const LOCALHOST: &str = "localhost";
/// Which of the browser's powers a page has: the camera, for codes that another screen shows.
const POWERS: HeaderValue = HeaderValue::from_static("camera=(self), microphone=(), geolocation=()");
const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// The one page that is the operators'.
const CONSOLE: &str = "console.html";

/// Whom pages are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// People: the public listener.
    People,
    /// Operators: the admin listener, whose `/` is the console.
    Operators,
}

/// The routes of these pages, and their templates: every asset is counted as one route.
///
/// `loopback`: where a page that was asked for as `localhost` is told to open its session of WebTransport, when not there.
pub fn routes(whom: For, loopback: Option<Ipv4Addr>) -> (Router, Vec<String>) {
    let mut router = Router::new();
    let mut templates = vec![format!("/{ASSETS}{{file}}")];
    for (name, bytes) in BUILT {
        let path = match *name {
            CONSOLE if whom == For::People => continue,
            CONSOLE => "/".to_owned(),
            page if whom == For::Operators && kind(page) == HTML => continue,
            "index.html" => "/".to_owned(),
            name => format!("/{}", name.strip_suffix(".html").unwrap_or(name)),
        };
        let hashed = name.starts_with(ASSETS);
        if !hashed {
            templates.push(path.clone());
        }
        let caching = if hashed { Caching::Forever } else { Caching::Revalidate };
        let file = File::new(kind(name), *bytes, caching, headers());
        router = router.route(
            &path,
            get(async move |headers: HeaderMap| {
                let mut response = file.answer(&headers);
                if let Some(policy) = loopback.and_then(|address| beside(&headers, address)) {
                    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
                }
                response
            }),
        );
    }
    (router, templates)
}

/// What every answer of a page says about what may be done with it.
fn headers() -> Vec<(HeaderName, HeaderValue)> {
    vec![
        (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
        (PERMISSIONS_POLICY, POWERS),
        (OPENER_POLICY, HeaderValue::from_static("same-origin")),
        (RESOURCE_POLICY, HeaderValue::from_static("same-origin")),
    ]
}

/// The policy of a page at `localhost`, which is another host than `address` to a browser.
fn beside(headers: &HeaderMap, address: Ipv4Addr) -> Option<HeaderValue> {
    let host = headers.get(header::HOST)?.to_str().ok()?;
    let (name, port) = host.split_once(':').unwrap_or((host, "80"));
    let port: u16 = port.parse().ok()?;
    let source = format!("{POLICY} https://{address}:{port}");
    name.eq_ignore_ascii_case(LOCALHOST).then(|| HeaderValue::from_str(&source).ok()).flatten()
}

const HTML: &str = "text/html; charset=utf-8";

/// The media type that a file's name stands for. A name that is not known is bytes, which no browser runs.
fn kind(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, end)| end) {
        Some("html") => HTML,
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("woff2") => "font/woff2",
        Some("webmanifest") => "application/manifest+json",
        Some("txt") => "text/plain; charset=utf-8",
        Some("png") => "image/png",
        _ => "application/octet-stream",
    }
}
