//! Which pages may open a WebSocket, or a session of WebTransport: the same-origin policy covers neither. A browser says
//! whose page it is and lets the server decide; who is no browser says nothing, or whatever it likes: this keeps pages of
//! strangers out, and nobody else.

use hyper::header::{self, HeaderMap, HeaderValue};

use crate::config::{Http, Origins};

/// See the file's head.
#[derive(Debug)]
pub struct Pages {
    origins: Origins,
    /// The origin of `http.public_url`.
    own: Option<String>,
}

impl Pages {
    /// Our own pages, and those of `http.cors_origins`.
    pub fn new(config: &Http) -> Self {
        Self { origins: config.cors_origins.clone(), own: config.public_url.get().map(origin_of).map(str::to_owned) }
    }

    /// Whether pages of `origin` may, at a server that they call `authority` (`host:port`).
    ///
    /// Our own pages are at the same host and port, whatever the scheme: HTTP and HTTP/3 are served on one number. The
    /// names of loopback are one host: a page at `localhost` has to call `127.0.0.1` where IPv6 does not listen.
    pub fn may(&self, origin: &str, authority: &str) -> bool {
        let host = origin.split_once("://").map_or("", |(_, host)| host);
        self.origins.has(origin)
            || (!host.is_empty()
                && (same_host(host, authority)
                    || self.own.as_deref().is_some_and(|own| own.eq_ignore_ascii_case(origin))))
    }

    /// Whether who sends these headers may: a page that may, or no page. More than one `Origin` is no browser's doing.
    pub fn admit(&self, headers: &HeaderMap) -> bool {
        let mut origins = headers.get_all(header::ORIGIN).iter();
        let authority = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        match (origins.next().map(HeaderValue::to_str), origins.next()) {
            (None, _) => true,
            (Some(Ok(origin)), None) => self.may(origin, authority),
            (Some(_), _) => false,
        }
    }
}

/// Scheme, host and port of a URL.
fn origin_of(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    url[host..].find('/').map_or(url, |end| &url[..host + end])
}

fn same_host(one: &str, other: &str) -> bool {
    let (one, other) = (parts(one), parts(other));
    one.1 == other.1 && (one.0.eq_ignore_ascii_case(other.0) || (is_loopback(one.0) && is_loopback(other.0)))
}

/// Host and port.
fn parts(authority: &str) -> (&str, &str) {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (host, port),
        _ => (authority, ""),
    }
}

fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host == "127.0.0.1" || host == "[::1]"
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::{Config, PublicUrl, Value};

    fn pages(origins: &str, public_url: &str) -> Pages {
        let mut config = Config::default().http;
        config.cors_origins = Origins::parse(origins).unwrap();
        config.public_url = PublicUrl::parse(public_url).unwrap();
        Pages::new(&config)
    }

    #[test]
    fn pages_of_the_server_itself_may_and_others_may_not() {
        let pages = pages("", "");
        for (origin, authority, may) in [
            ("http://10.0.0.1:7400", "10.0.0.1:7400", true),
            ("https://a.example:7400", "A.example:7400", true),
            ("http://a.example:7401", "a.example:7400", false),
            ("http://b.example:7400", "a.example:7400", false),
            ("http://a.example.evil.example:7400", "a.example:7400", false),
            ("http://localhost:7400", "127.0.0.1:7400", true),
            ("http://127.0.0.1:7400", "[::1]:7400", true),
            ("http://localhost:5173", "127.0.0.1:7400", false),
            ("http://localhost.evil.example:7400", "127.0.0.1:7400", false),
            ("null", "127.0.0.1:7400", false),
            ("", "", false),
        ] {
            assert_eq!(pages.may(origin, authority), may, "{origin} at {authority}");
        }
    }

    #[test]
    fn pages_of_the_public_url_and_of_configured_origins_may() {
        let some = pages("https://app.example", "https://sync.example/below");
        assert!(some.may("https://sync.example", "10.0.0.1:7400"));
        assert!(some.may("https://app.example", "10.0.0.1:7400"));
        assert!(!some.may("http://app.example", "10.0.0.1:7400"));
        for origin in ["https://anybody.example", "file://", "null"] {
            assert!(pages("*", "").may(origin, "10.0.0.1:7400"), "{origin}");
        }
    }

    #[test]
    fn who_names_no_origin_is_no_page_and_who_names_two_is_not_let_in() {
        let pages = pages("", "");
        let may = |origins: &[&'static str]| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("a.example:7400"));
            for origin in origins {
                headers.append(header::ORIGIN, HeaderValue::from_static(origin));
            }
            pages.admit(&headers)
        };
        assert!(may(&[]) && may(&["http://a.example:7400"]));
        assert!(!may(&["http://b.example:7400"]) && !may(&[""]) && !may(&["null"]));
        assert!(!may(&["http://a.example:7400", "http://a.example:7400"]));
    }
}
