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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_client_is_the_nearest_address_that_is_no_trusted_proxy() {
        let mut config = Config::default();
        config.set("http.trusted_proxies", "10.0.0.0/8, ::1").unwrap();
        let trusted = config.http.trusted_proxies;
        for (peer, forwarded, client) in [
            ("10.0.0.1", &["1.2.3.4"][..], "1.2.3.4"),
            ("10.0.0.1", &[], "10.0.0.1"),
            // Whoever is no proxy of ours says nothing of others.
            ("192.0.2.7", &["1.2.3.4"], "192.0.2.7"),
            // What the client wrote itself stands to the left of what our proxies wrote.
            ("10.0.0.1", &["6.6.6.6, 1.2.3.4, 10.0.0.2"], "1.2.3.4"),
            ("10.0.0.1", &["6.6.6.6", "1.2.3.4", "10.0.0.2"], "1.2.3.4"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
            ("10.0.0.1", &["1.2.3.4, unknown, 10.0.0.2"], "10.0.0.2"),
            ("::1", &["[2001:db8::1]:4711"], "2001:db8::1"),
            ("::1", &["1.2.3.4:80"], "1.2.3.4"),
            ("::1", &["::ffff:1.2.3.4"], "1.2.3.4"),
        ] {
            let mut headers = HeaderMap::new();
            for value in forwarded {
                headers.append(FORWARDED_FOR, value.parse().unwrap());
            }
            let found = trusted.client(peer.parse().unwrap(), &headers);
            assert_eq!(found, client.parse::<IpAddr>().unwrap(), "{peer} {forwarded:?}");
        }
    }
}
