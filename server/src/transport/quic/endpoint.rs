//! One UDP port, one socket and one quinn endpoint a shard. Bound on the main thread, run on the shards' own.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr, UdpSocket},
    path::Path,
    sync::Arc,
    time::Duration,
};

use aws_lc_rs::{hkdf, hmac};
use quinn::{
    AsyncUdpSocket, Endpoint, EndpointConfig, Runtime, ServerConfig, TokioRuntime, ValidationTokenConfig,
    crypto::rustls::QuicServerConfig,
};
use socket2::{Domain, Protocol, SockAddr, Type};

use super::{
    cid, settings,
    socket::{SteeredSocket, Steering},
    steer,
};
use crate::secret;

/// Socket buffers, bytes: bursts of a whole shard pass through one socket. The kernel grants up to
/// `net.core.rmem_max` and `wmem_max`.
const SOCKET_BUFFER: usize = 2 << 20;

/// The secrets of the endpoint, kept in the data folder. All shards have the same, and so does the server after a
/// restart: an old connection is then ended by a stateless reset in one round trip, not by its timeout.
#[derive(Clone)]
pub struct Keys {
    reset: [u8; 64],
    token: [u8; 64],
}

impl Keys {
    /// Reads `reset_key` and `token_key` in `folder`, or makes them.
    ///
    /// # Errors
    /// See [`secret::random`].
    pub fn load_or_create(folder: &Path) -> io::Result<Self> {
        Ok(Self {
            reset: secret::random(&folder.join("reset_key"))?,
            token: secret::random(&folder.join("token_key"))?,
        })
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

/// What all shards' endpoints have in common.
#[derive(Debug, Clone)]
pub struct Config {
    /// The endpoint's secrets.
    pub keys: Keys,
    /// From [`crate::transport::tls::quic_config`].
    pub tls: Arc<rustls::ServerConfig>,
    /// A connection ends after this much silence (the lower of ours and the client's).
    pub idle_timeout: Duration,
    /// Whether the kernel is asked to bring packets to the right shard. Without, every packet that it misplaces takes a
    /// hop inside the server; nothing else changes.
    pub kernel_steering: bool,
}

/// A shard's bound socket with all that its endpoint needs. Made on the main thread, goes to the shard's.
#[derive(Debug)]
pub struct Socket {
    udp: UdpSocket,
    shard: usize,
    steering: Arc<Steering>,
    endpoint: EndpointConfig,
    server: ServerConfig,
}

/// Binds `shards` sockets to one address (port 0: one free port for all) and asks the kernel to steer between them.
///
/// All of them must be served, and none may be closed before the process ends: the kernel's order would change.
///
/// # Errors
/// [`io::ErrorKind::AddrInUse`] when another server has the port, even one that would share it;
/// [`io::ErrorKind::InvalidInput`] for 0 or more than 256 shards; whatever else the system says.
pub fn bind(address: SocketAddr, shards: usize, config: &Config) -> io::Result<Vec<Socket>> {
    if shards == 0 || shards > cid::MAX_SHARDS {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{shards} shards; 1 to 256 can be had")));
    }
    let sockets = bind_all(address, shards)?;
    if shards > 1
        && config.kernel_steering
        && let Err(error) = steer::attach(&sockets[0], shards)
    {
        tracing::warn!(%error, "the kernel does not steer QUIC packets; the shards hand them over");
    }
    let crypto = Arc::new(QuicServerConfig::try_from(Arc::clone(&config.tls)).map_err(io::Error::other)?);
    let token_key = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&config.keys.token);
    let mut server = ServerConfig::new(crypto, Arc::new(token_key));
    // Whether clients get tokens that prove their address later would depend on quinn's features, which other crates may
    // switch on. They get none: a Retry costs them one round trip, and only while handshakes are many.
    let mut tokens = ValidationTokenConfig::default();
    tokens.sent(0);
    server
        .transport_config(settings::transport(config.idle_timeout)?)
        .validation_token_config(tokens)
        .migration(true)
        .max_incoming(settings::MAX_INCOMING)
        .incoming_buffer_size(settings::INCOMING_BUFFER)
        .incoming_buffer_size_total(settings::INCOMING_BUFFER_TOTAL);
    let mut endpoint = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &config.keys.reset)));
    endpoint.min_reset_interval(settings::MIN_RESET_INTERVAL);

    let steering = Arc::new(Steering::new(shards));
    let each = sockets.into_iter().enumerate().map(|(shard, udp)| {
        let mut endpoint = endpoint.clone();
        endpoint.cid_generator(move || Box::new(cid::Generator::new(shard, shards)));
        Socket { udp, shard, steering: Arc::clone(&steering), endpoint, server: server.clone() }
    });
    Ok(each.collect())
}

impl Socket {
    /// The address that was bound, the same for all shards.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }

    /// The shard whose socket this is.
    pub fn shard(&self) -> usize {
        self.shard
    }

    /// The shards' inboxes, for their figures; the same for all sockets of one `bind`.
    pub fn steering(&self) -> Arc<Steering> {
        Arc::clone(&self.steering)
    }

    /// Starts the endpoint. Call it inside the shard's tokio runtime: the endpoint's work is done there.
    ///
    /// # Errors
    /// What the system says.
    pub fn into_endpoint(self) -> io::Result<Endpoint> {
        let runtime = Arc::new(TokioRuntime);
        let plain = runtime.wrap_udp_socket(self.udp)?;
        let socket: Arc<dyn AsyncUdpSocket> = if self.steering.shards() == 1 {
            plain
        } else {
            Arc::new(SteeredSocket::new(plain, self.shard, self.steering))
        };
        Endpoint::new_with_abstract_socket(self.endpoint, Some(self.server), socket, runtime)
    }
}

/// The first socket binds alone, so that a port in use is an error even when its owner would share it; only then it
/// allows sharing and the others follow. The kernel numbers the group's sockets in this order.
pub(super) fn bind_all(address: SocketAddr, shards: usize) -> io::Result<Vec<UdpSocket>> {
    let first = unbound(address)?;
    first.bind(&address.into())?;
    let bound = first.local_addr()?;
    if shards > 1 {
        first.set_reuse_port(true)?;
    }
    let mut sockets = vec![first.into()];
    for _ in 1..shards {
        sockets.push(bind_shared(address, &bound)?);
    }
    Ok(sockets)
}

fn bind_shared(address: SocketAddr, bound: &SockAddr) -> io::Result<UdpSocket> {
    let socket = unbound(address)?;
    socket.set_reuse_port(true)?;
    socket.bind(bound)?;
    Ok(socket.into())
}

fn unbound(address: SocketAddr) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if let IpAddr::V6(ip) = address.ip() {
        // `[::]` is everything, IPv4 included; a single IPv6 address is itself.
        socket.set_only_v6(!ip.is_unspecified())?;
    }
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_second_server_on_the_port_gets_an_error_even_though_the_first_shares_it_with_itself() {
        for shards in [1, 2] {
            let first = bind_all("127.0.0.1:0".parse().unwrap(), shards).unwrap();
            let address = first[0].local_addr().unwrap();
            for others in [1, 2] {
                let error = bind_all(address, others).unwrap_err();
                assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
            }
            drop(first);
            bind_all(address, shards).unwrap();
        }
    }

    #[test]
    fn all_sockets_have_one_address_also_when_the_system_chooses_the_port() {
        let sockets = bind_all("127.0.0.1:0".parse().unwrap(), 3).unwrap();
        let addresses: Vec<_> = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
        assert!(addresses.iter().all(|address| *address == addresses[0] && address.port() != 0), "{addresses:?}");
    }

    #[test]
    fn every_address_includes_ipv4() {
        let sockets = bind_all("[::]:0".parse().unwrap(), 2).unwrap();
        steer::attach(&sockets[0], 2).unwrap();
        let port = sockets[0].local_addr().unwrap().port();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        for shard in [0, 1] {
            client.send_to(&[0x40, shard, 0, 0], ("127.0.0.1", port)).unwrap();
            assert_eq!(sockets[usize::from(shard)].recv(&mut [0; 8]).unwrap(), 4);
        }
    }
}
