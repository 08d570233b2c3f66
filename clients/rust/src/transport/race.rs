//! Which transport and which address: all that could do are started one after the other, the first that stands wins.

use std::{
    collections::BTreeMap,
    future::Future,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::time::Instant;

use super::{ConnectError, Link, Transport, Trust, Via, quic, websocket};
use crate::defaults;

/// Addresses of one name that are tried.
const ADDRESSES: usize = 4;

/// Servers that are tried.
const TARGETS: usize = 16;

/// Addresses of which the socket and the tickets are kept.
const DIALERS: usize = 8;

/// Where a server is: `HOST:PORT`, `ws://HOST:PORT` or `wss://HOST:PORT`.
///
/// QUIC is always encrypted. WebSocket is too, unless the server is on this machine or `ws://` says otherwise: a token
/// must not go out in the clear because somebody blocks UDP.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    host: String,
    port: u16,
    tls: Option<bool>,
}

/// A text that names no server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no server: write HOST:PORT, ws://HOST:PORT or wss://HOST:PORT")]
pub struct TargetError(String);

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let error = || TargetError(text.to_owned());
        let (tls, rest) = match text.split_once("://") {
            None => (None, text),
            Some(("ws", rest)) => (Some(false), rest),
            Some(("wss", rest)) => (Some(true), rest),
            Some(_) => return Err(error()),
        };
        let (host, port) = rest.trim_end_matches('/').rsplit_once(':').ok_or_else(error)?;
        let port = port.parse().map_err(|_| error())?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let is_fine = match bare {
            Some(bare) => bare.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte)),
        };
        if !is_fine {
            return Err(error());
        }
        Ok(Self { host: bare.unwrap_or(host).to_owned(), port, tls })
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Several servers, between commas: each has what the others have.
///
/// # Errors
/// [`TargetError`] for the first that is none, or when there is none.
pub(crate) fn targets(text: &str) -> Result<Vec<Target>, TargetError> {
    text.split(',').take(TARGETS).map(|one| one.trim().parse()).collect()
}

/// Makes links to one server, or to one of several. Keeps what makes the next one faster: the sockets, the tickets for 0-RTT, what won.
#[derive(Debug)]
pub struct Connector {
    targets: Vec<Target>,
    transport: Transport,
    trust: Trust,
    max_frame: usize,
    dialers: Mutex<BTreeMap<SocketAddr, Arc<quic::Dialer>>>,
    /// When WebSocket last won a race, so that it goes first for a while.
    websocket_won: Mutex<Option<Instant>>,
}

type Attempt = Pin<Box<dyn Future<Output = Result<Link, ConnectError>> + Send>>;

impl Connector {
    /// A connector to any of these servers; nothing is sent yet.
    pub fn new(targets: Vec<Target>, transport: Transport, trust: Trust, max_frame: usize) -> Self {
        Self { targets, transport, trust, max_frame, dialers: Mutex::default(), websocket_won: Mutex::default() }
    }

    /// A link, to `elsewhere` if a server named another one and it is there; else to one of its own.
    ///
    /// # Errors
    /// [`ConnectError`] when no transport and no address would do.
    pub async fn connect(&self, elsewhere: Option<&str>) -> Result<Link, ConnectError> {
        if let Some(other) = elsewhere.and_then(|text| self.believed(text)) {
            let patience = Duration::from_millis(defaults::ELSEWHERE_MS);
            if let Ok(Ok(link)) = tokio::time::timeout(patience, self.reach(&[other])).await {
                return Ok(link);
            }
        }
        self.reach(&self.targets).await
    }

    /// Another server, as one of ours named it. It is followed if it is one of those that this client was told of, or has
    /// to prove that it is one of ours: by the pinned certificate, or by being on this very machine.
    fn believed(&self, text: &str) -> Option<Target> {
        let other: Target = text.parse().ok()?;
        if let Some(known) = self.targets.iter().find(|known| (&known.host, known.port) == (&other.host, other.port)) {
            return Some(known.clone());
        }
        let is_local = || other.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        let proves = match self.trust {
            Trust::Pin(_) => true,
            Trust::Loopback => is_local(),
            Trust::FirstUse(_) => false,
        };
        let tls = other.tls.or_else(|| self.targets.first()?.tls);
        proves.then_some(Target { tls, ..other })
    }

    async fn reach(&self, targets: &[Target]) -> Result<Link, ConnectError> {
        let mut attempts = Vec::new();
        let mut unknown = None;
        for target in targets {
            let addresses = match resolve(target).await {
                Ok(addresses) => addresses,
                Err(error) => {
                    unknown = unknown.or(Some(error));
                    continue;
                }
            };
            for address in addresses {
                match self.transport {
                    Transport::Quic => attempts.push(self.quic(target, address)),
                    Transport::WebSocket => attempts.push(self.websocket(target, address)),
                    Transport::Auto if self.prefers_websocket() => {
                        attempts.extend([self.websocket(target, address), self.quic(target, address)]);
                    }
                    Transport::Auto => attempts.extend([self.quic(target, address), self.websocket(target, address)]),
                }
            }
        }
        if let (true, Some(error)) = (attempts.is_empty(), unknown) {
            return Err(error);
        }
        let link = staggered(attempts, Duration::from_millis(defaults::RACE_DELAY_MS)).await?;
        let won = (link.via() == Via::WebSocket).then(Instant::now);
        let mut websocket_won = self.websocket_won.lock().unwrap_or_else(PoisonError::into_inner);
        // The time of the first win counts, so that QUIC gets its chance again.
        *websocket_won = won.map(|now| websocket_won.unwrap_or(now));
        Ok(link)
    }

    /// Moves the QUIC connections to new local ports, as a phone that changes networks does.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn rebind(&self) -> std::io::Result<()> {
        let dialers = self.dialers.lock().unwrap_or_else(PoisonError::into_inner);
        dialers.values().try_for_each(|dialer| dialer.rebind())
    }

    fn prefers_websocket(&self) -> bool {
        let mut won = self.websocket_won.lock().unwrap_or_else(PoisonError::into_inner);
        if won.is_some_and(|at| at.elapsed() > Duration::from_millis(defaults::REMEMBER_MS)) {
            *won = None;
        }
        won.is_some()
    }

    fn quic(&self, target: &Target, address: SocketAddr) -> Attempt {
        let dialer = self.dialer(target, address);
        Box::pin(async move {
            let late = || ConnectError::Quic(format!("{address} does not answer"));
            let patience = Duration::from_millis(defaults::CONNECT_MS);
            tokio::time::timeout(patience, dialer?.connect()).await.unwrap_or_else(|_| Err(late()))
        })
    }

    fn dialer(&self, target: &Target, address: SocketAddr) -> Result<Arc<quic::Dialer>, ConnectError> {
        let mut dialers = self.dialers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(dialer) = dialers.get(&address) {
            return Ok(Arc::clone(dialer));
        }
        if dialers.len() >= DIALERS {
            dialers.pop_first();
        }
        let dialer = Arc::new(quic::Dialer::new(address, &target.host, &target.to_string(), &self.trust)?);
        dialers.insert(address, Arc::clone(&dialer));
        Ok(dialer)
    }

    fn websocket(&self, target: &Target, address: SocketAddr) -> Attempt {
        let dial = websocket::Dial {
            address,
            host: target.host.clone(),
            name: target.to_string(),
            tls: target.tls.unwrap_or(!address.ip().is_loopback()),
            trust: self.trust.clone(),
            // A message holds whole frames; the server batches at most this much more into one.
            max_message: self.max_frame + defaults::BATCH_BYTES,
        };
        Box::pin(async move {
            let late = || ConnectError::WebSocket(format!("{address} does not answer"));
            let patience = Duration::from_millis(defaults::CONNECT_MS);
            tokio::time::timeout(patience, websocket::connect(dial)).await.unwrap_or_else(|_| Err(late()))
        })
    }
}

async fn resolve(target: &Target) -> Result<Vec<SocketAddr>, ConnectError> {
    let failed = |text: String| ConnectError::Resolve { host: target.host.clone(), text };
    if let Ok(ip) = target.host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, target.port)]);
    }
    let found = tokio::net::lookup_host((target.host.as_str(), target.port)).await;
    let mut addresses: Vec<_> = found.map_err(|error| failed(error.to_string()))?.collect();
    // `localhost` is both; the server listens on 127.0.0.1 unless told otherwise.
    addresses.sort_by_key(|address| address.ip().is_loopback() && address.is_ipv6());
    addresses.truncate(ADDRESSES);
    if addresses.is_empty() { Err(failed("no address".to_owned())) } else { Ok(addresses) }
}

/// Starts the attempts in order, the next one after `delay` or as soon as one has failed. The first link wins, the
/// others are dropped; of the errors, the first and the last are told.
async fn staggered(attempts: Vec<Attempt>, delay: Duration) -> Result<Link, ConnectError> {
    let mut waiting = attempts.into_iter();
    let mut running = FuturesUnordered::new();
    let mut errors: Vec<ConnectError> = Vec::new();
    loop {
        if let Some(next) = waiting.next() {
            running.push(next);
        } else if running.is_empty() {
            break;
        }
        let more = waiting.len() > 0;
        tokio::select! {
            Some(outcome) = running.next() => match outcome {
                Ok(link) => return Ok(link),
                Err(error) => errors.push(error),
            },
            () = tokio::time::sleep(delay), if more => {}
        }
    }
    let last = errors.pop().unwrap_or_else(|| ConnectError::Config("there is nothing to try".to_owned()));
    Err(match errors.into_iter().next() {
        Some(first) => ConnectError::Both(Box::new(first), Box::new(last)),
        None => last,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_named_by_host_and_port_with_an_optional_websocket_scheme() {
        for text in ["127.0.0.1:7400", "[::1]:7400", "example.com:1", "ws://localhost:7400", "wss://a.b:443/"] {
            text.parse::<Target>().unwrap_or_else(|error| panic!("{error}"));
        }
        for text in ["", "host", ":7400", "host:", "host:99999", "http://host:1", "a b:1", "::1:7400", "[host]:1"] {
            assert!(text.parse::<Target>().is_err(), "{text} is none");
        }
        assert_eq!("wss://[::1]:7400".parse::<Target>().unwrap().to_string(), "[::1]:7400");
    }

    #[test]
    fn servers_stand_between_commas() {
        let found = targets("a.example:1, 127.0.0.1:2").unwrap();
        assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), ["a.example:1", "127.0.0.1:2"]);
        assert!(targets("").is_err() && targets("a:1,").is_err() && targets("a:1,b").is_err());
    }

    #[test]
    fn another_server_is_followed_when_it_is_known_or_has_to_prove_itself() {
        let pin = Trust::Pin("ab".repeat(32).parse().unwrap());
        let believes = |trust: Trust, text: &str| {
            let servers = targets("a.example:1, ws://b.example:2").unwrap();
            Connector::new(servers, Transport::Auto, trust, 1).believed(text)
        };
        for trust in [Trust::Loopback, Trust::FirstUse("known".into()), pin.clone()] {
            assert_eq!(believes(trust, "b.example:2"), "ws://b.example:2".parse().ok(), "as it was given");
        }
        assert!(believes(pin, "c.example:3").is_some());
        assert!(believes(Trust::Loopback, "127.0.0.1:3").is_some());
        assert_eq!(believes(Trust::Loopback, "c.example:3"), None);
        assert_eq!(believes(Trust::FirstUse("known".into()), "127.0.0.1:3"), None);
        assert_eq!(believes(Trust::Loopback, "nothing"), None);
    }

    fn failing(after: u64) -> Attempt {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(after)).await;
            Err(ConnectError::Quic("away".to_owned()))
        })
    }

    fn standing(after: u64) -> Attempt {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(after)).await;
            Ok(super::super::memory().0)
        })
    }

    #[tokio::test(start_paused = true)]
    async fn the_second_starts_at_once_when_the_first_fails() {
        let start = Instant::now();
        staggered(vec![failing(10), standing(20)], Duration::from_millis(200)).await.unwrap();
        assert_eq!(start.elapsed().as_millis(), 30);
    }

    #[tokio::test(start_paused = true)]
    async fn the_second_starts_after_the_delay_while_the_first_goes_on() {
        let start = Instant::now();
        staggered(vec![standing(100_000), standing(20)], Duration::from_millis(200)).await.unwrap();
        assert_eq!(start.elapsed().as_millis(), 220);
        let start = Instant::now();
        staggered(vec![standing(210), standing(20)], Duration::from_millis(200)).await.unwrap();
        assert_eq!(start.elapsed().as_millis(), 210);
    }

    #[tokio::test(start_paused = true)]
    async fn when_all_fail_the_error_names_both() {
        let error = staggered(vec![failing(1), failing(1)], Duration::from_millis(200)).await.unwrap_err();
        assert!(matches!(error, ConnectError::Both(..)), "{error}");
    }
}
