//! Settings of HTTP that are lists: origins, networks. Each is text between commas.

use std::{fmt::Write as _, net::IpAddr};

use super::setting::Value;

/// Origins whose pages may use the routes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins(Vec<String>);

impl Origins {
    /// Whether no other origin may.
    pub const fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether every origin may.
    pub fn is_any(&self) -> bool {
        self.0.iter().any(|origin| origin == "*")
    }

    /// Whether this one may.
    pub fn has(&self, origin: &str) -> bool {
        self.0.iter().any(|known| known == "*" || known.eq_ignore_ascii_case(origin))
    }
}

impl Value for Origins {
    const KIND: &'static str = "origins between commas such as https://app.example.com, or *";
    const QUOTED: bool = true;

    fn parse(text: &str) -> Result<Self, Option<String>> {
        let origins: Vec<_> = items(text).map(str::to_owned).collect();
        match origins.iter().find(|origin| *origin != "*" && !is_origin(origin)) {
            Some(wrong) => Err(Some(format!("{wrong:?} is not scheme://host[:port]"))),
            None if origins.len() > 1 && origins.iter().any(|origin| origin == "*") => {
                Err(Some("`*` stands alone".to_owned()))
            }
            None => Ok(Self(origins)),
        }
    }

    fn text(&self) -> Option<String> {
        Some(self.0.join(", "))
    }
}

pub(super) fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// RFC 6454 §6.2: what a browser sends in `Origin`.
fn is_origin(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, host)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
            && !host.is_empty()
            && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._:[]".contains(c))
    })
}

/// Networks of addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<(IpAddr, u8)>);

impl Networks {
    /// Whether an address is in one of them.
    pub fn has(&self, address: IpAddr) -> bool {
        self.0.iter().any(|(network, bits)| match (network, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                same(network.to_bits().into(), address.to_bits().into(), 32, *bits)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => same(network.to_bits(), address.to_bits(), 128, *bits),
            _ => false,
        })
    }
}

/// Whether the first `bits` of `of` bits are the same.
fn same(one: u128, other: u128, of: u8, bits: u8) -> bool {
    (one ^ other).checked_shr(u32::from(of - bits)).unwrap_or_default() == 0
}

impl Value for Networks {
    const KIND: &'static str = "addresses or networks between commas such as 10.0.0.0/8, ::1";
    const QUOTED: bool = true;

    fn parse(text: &str) -> Result<Self, Option<String>> {
        items(text)
            .map(|item| {
                let (address, bits) =
                    item.split_once('/').map_or((item, None), |(address, bits)| (address, Some(bits)));
                let address = address.parse::<IpAddr>().map_err(|_| format!("{item:?} is no address"))?;
                let most = if address.is_ipv4() { 32 } else { 128 };
                let bits = bits.map_or(Some(most), |bits| bits.parse().ok().filter(|bits| *bits <= most));
                Ok((address, bits.ok_or_else(|| format!("{item:?} has more bits than an address"))?))
            })
            .collect::<Result<_, String>>()
            .map(Self)
            .map_err(Some)
    }

    fn text(&self) -> Option<String> {
        let mut text = String::new();
        for (index, (address, bits)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            // Writing into a String cannot fail.
            let _ = write!(text, "{comma}{address}/{bits}");
        }
        Some(text)
    }
}

/// Where the server is found from outside; empty: where it listens.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PublicUrl(String);

impl PublicUrl {
    /// Without a `/` at its end; `None` when it is not configured.
    pub fn get(&self) -> Option<&str> {
        (!self.0.is_empty()).then_some(&*self.0)
    }
}

impl Value for PublicUrl {
    const KIND: &'static str = "a URL such as https://sync.example.com";
    const QUOTED: bool = true;

    fn parse(text: &str) -> Result<Self, Option<String>> {
        let text = text.trim_end_matches('/');
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let host = rest.and_then(|rest| rest.split('/').next());
        let good = host.is_some_and(|host| !host.is_empty())
            && text.chars().all(|c| c.is_ascii_graphic() && !"?#\"<>\\".contains(c));
        if good || text.is_empty() { Ok(Self(text.to_owned())) } else { Err(None) }
    }

    fn text(&self) -> Option<String> {
        Some(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_a_network_when_its_first_bits_are() {
        let networks = Networks::parse("10.0.0.0/8, 192.168.1.7, fd00::/8").expect("networks");
        for (address, inside) in [
            ("10.255.0.1", true),
            ("11.0.0.1", false),
            ("192.168.1.7", true),
            ("192.168.1.8", false),
            ("fd12::1", true),
            ("fe80::1", false),
        ] {
            assert_eq!(networks.has(address.parse().expect("an address")), inside, "{address}");
        }
        assert!(Networks::parse("0.0.0.0/0").expect("a network").has(IpAddr::from([1, 2, 3, 4])));
        for wrong in ["10.0.0.0/33", "10.0.0/8", "example.com", "::1/129"] {
            assert!(Networks::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(Networks::parse(&networks.text().expect("text")).expect("networks"), networks);
    }

    #[test]
    fn origins_are_what_a_browser_sends_or_all_of_them() {
        let origins = Origins::parse("https://a.example, http://localhost:3000").expect("origins");
        assert!(origins.has("http://localhost:3000") && !origins.has("http://localhost") && !origins.is_any());
        assert!(Origins::parse("*").expect("all").has("https://anybody.example"));
        assert!(Origins::parse("").expect("none").is_none());
        for wrong in ["a.example", "https://a.example/", "https://a.example/x", "*, https://a.example", "null"] {
            assert!(Origins::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_public_url_is_http_and_has_no_slash_at_its_end() {
        assert_eq!(PublicUrl::parse("https://a.example/x/").expect("a URL").get(), Some("https://a.example/x"));
        assert_eq!(PublicUrl::parse("").expect("none").get(), None);
        for wrong in ["a.example", "ftp://a.example", "https://", "https://a.example/?q", "https://a b"] {
            assert!(PublicUrl::parse(wrong).is_err(), "{wrong}");
        }
    }
}
