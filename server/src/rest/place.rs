//! Where this server is for whoever asks: where the operator says, else where the request was sent to.

use axum::http::{HeaderMap, header};

use super::Api;

/// A URL without a `/` at its end.
pub fn base(api: &Api, headers: &HeaderMap) -> String {
    if let Some(url) = api.config.http.public_url.get() {
        return url.to_owned();
    }
    let scheme = if api.config.tls.cert.is_some() { "https" } else { "http" };
    let authority = |text: &&str| {
        (1..=255).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte))
    };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).filter(authority);
    host.map_or_else(|| format!("{scheme}://{}", api.config.listen), |host| format!("{scheme}://{host}"))
}
