//! What a page needs to open a session of WebTransport here. Opens none.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use axum::{
    extract::State,
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use syncbridge_codec::WEBSOCKET_SUBPROTOCOL;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::{Api, Route, place, time::rfc3339};
use crate::transport::{
    tls::{Fingerprint, ShortLived},
    webtransport::PATH,
};

/// The routes of this file.
pub fn routes() -> Vec<Route> {
    vec![routes!(webtransport)]
}

/// What the server has for it.
#[derive(Debug)]
pub struct Offer {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Certificates that browsers trust by their hash; `None` when one is configured, which they trust as any other.
    pub browsers: Option<Arc<ShortLived>>,
}

impl Offer {
    /// Where a page that was asked for as `localhost` opens its session. Browsers try IPv6 for that name, and for QUIC they
    /// try nothing else when nobody answers there. Only where the certificate's names do not matter.
    pub fn loopback(&self) -> Option<Ipv4Addr> {
        (self.browsers.is_some() && self.listen.is_ipv4()).then_some(Ipv4Addr::LOCALHOST)
    }
}

/// How a page opens a session of WebTransport.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = WebTransport)]
struct Told {
    /// For `new WebTransport(url, …)`.
    url: String,
    /// For its option `protocols`, if the browser has that.
    protocols: [&'static str; 1],
    /// For its option `serverCertificateHashes`: the certificate that is served now, and the next one. Empty: the
    /// certificate is one that browsers trust, and the option must not be there.
    server_certificate_hashes: Vec<Hash>,
    /// When the next certificate is served, and the list another (RFC 3339, UTC).
    #[serde(skip_serializing_if = "Option::is_none")]
    changes_at: Option<String>,
}

/// The hash of a certificate.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CertificateHash)]
struct Hash {
    /// Always `sha-256`.
    algorithm: &'static str,
    /// 64 hexadecimal digits; the option takes them as bytes.
    value: String,
}

/// Where sessions of WebTransport are opened, and by which hashes a browser knows the server when no certificate is
/// configured.
#[utoipa::path(get, path = "/webtransport", responses((status = 200, body = Told)), security(()))]
async fn webtransport(State(api): State<Api>, headers: HeaderMap) -> Response {
    let offer = &api.webtransport;
    let published = offer.browsers.as_ref().map(|browsers| browsers.published());
    let hash = |hash: &Fingerprint| Hash { algorithm: "sha-256", value: hash.to_string() };
    let told = Told {
        url: url(&place::base(&api, &headers), offer.loopback()),
        protocols: [WEBSOCKET_SUBPROTOCOL],
        changes_at: published.as_ref().map(|published| rfc3339(published.changes_at * 1_000)),
        server_certificate_hashes: published.iter().flat_map(|published| &published.hashes).map(hash).collect(),
    };
    ([(header::CACHE_CONTROL, "no-cache")], axum::Json(told)).into_response()
}

/// The session's URL at a server whose pages are at `base`: HTTP/3 is on the same number. `loopback`: see
/// [`Offer::loopback`].
fn url(base: &str, loopback: Option<Ipv4Addr>) -> String {
    let (scheme, rest) = base.split_once("://").unwrap_or(("https", base));
    let authority = rest.split('/').next().unwrap_or_default();
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let port = port.or((scheme == "http").then_some("80"));
    let loopback = loopback.filter(|_| host.eq_ignore_ascii_case("localhost")).map(|address| address.to_string());
    let host = loopback.as_deref().unwrap_or(host);
    let colon = if port.is_some() { ":" } else { "" };
    format!("https://{host}{colon}{}{PATH}", port.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sessions_are_where_the_page_is_and_always_over_tls() {
        for (base, expected) in [
            ("http://10.0.0.1:7400", "https://10.0.0.1:7400/wt"),
            ("https://sync.example", "https://sync.example/wt"),
            ("https://sync.example/below", "https://sync.example/wt"),
            ("http://sync.example", "https://sync.example:80/wt"),
            ("http://[::1]:7400", "https://[::1]:7400/wt"),
            ("https://[::1]", "https://[::1]/wt"),
            ("http://localhost:7400", "https://localhost:7400/wt"),
        ] {
            assert_eq!(url(base, None), expected);
        }
    }

    #[test]
    fn a_page_at_localhost_opens_its_session_at_an_address_where_names_do_not_matter() {
        let offer = |listen: &str, browsers| Offer { listen: listen.parse().unwrap(), browsers };
        let folder = tempfile::tempdir().unwrap();
        let hashes = Some(Arc::new(ShortLived::load_or_create(folder.path(), 1_800_000_000).unwrap()));
        for (listen, browsers, expected) in [
            ("127.0.0.1:7400", hashes.clone(), "https://127.0.0.1:7400/wt"),
            ("0.0.0.0:7400", hashes.clone(), "https://127.0.0.1:7400/wt"),
            ("[::]:7400", hashes, "https://localhost:7400/wt"),
            ("127.0.0.1:7400", None, "https://localhost:7400/wt"),
        ] {
            let offer = offer(listen, browsers);
            assert_eq!(url("http://localhost:7400", offer.loopback()), expected, "{listen}");
            assert_eq!(url("http://10.0.0.1:7400", offer.loopback()), "https://10.0.0.1:7400/wt", "{listen}");
        }
    }
}
