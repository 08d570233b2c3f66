//! Where a request comes from when proxies stand between: the nearest address in `X-Forwarded-For` that is no trusted
//! proxy's. What lies beyond it was written by somebody who is not trusted.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderName};

use crate::config::Networks;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

impl Networks {
    /// The client of a request whose connection comes from `peer`.
    pub(super) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !self.has(peer) {
            return peer;
        }
        let mut nearest = peer;
        for value in headers.get_all(FORWARDED_FOR).iter().rev() {
            for hop in value.to_str().unwrap_or_default().rsplit(',') {
                // A proxy that we trust wrote something that is no address: what it knows ends here.
                let Some(address) = address(hop.trim()) else { return nearest };
                nearest = address;
                if !self.has(address) {
                    return nearest;
                }
            }
        }
        nearest
    }
}

/// An address, with or without a port, as proxies write it.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let address: IpAddr = bare.parse().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip())).ok()?;
    Some(address.to_canonical())
}
