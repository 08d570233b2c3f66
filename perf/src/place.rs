//! Which core runs what. Processes inherit the core of the thread that starts them, so a server is started by a thread
//! that stands on the server's core and steps back to the client's.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use rustix::{
    net::{AddressFamily, SocketType},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

use crate::error::{Context, Error, Result};

/// Cores for server and client; `None`: wherever the system likes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Placement {
    /// The server's core.
    pub server: Option<usize>,
    /// The client's core.
    pub client: Option<usize>,
}

impl Placement {
    /// The server on the first core this process may use, the client on the second; nowhere in particular when there is
    /// only one.
    ///
    /// # Errors
    /// The system's, when the allowed cores cannot be read.
    pub fn pinned() -> Result<Self> {
        let allowed = sched_getaffinity(None).context("reading the allowed cores")?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core));
        match (cores.next(), cores.next()) {
            (Some(server), Some(client)) => Ok(Self { server: Some(server), client: Some(client) }),
            _ => Ok(Self::default()),
        }
    }

    /// Runs `start` on the server's core, then puts this thread on the client's.
    ///
    /// # Errors
    /// Those of `start`, or the system's.
    pub fn on_server_core<T>(self, start: impl FnOnce() -> Result<T>) -> Result<T> {
        pin(self.server)?;
        let started = start();
        pin(self.client)?;
        started
    }
}

fn pin(core: Option<usize>) -> Result<()> {
    let Some(core) = core else { return Ok(()) };
    let mut set = CpuSet::new();
    set.set(core);
    sched_setaffinity(None, &set).context(format!("pinning to core {core}"))
}

/// Lets this process, and those it starts, have `files` descriptors.
///
/// # Errors
/// [`Error::Unsupported`] when the hard limit is lower.
pub fn allow_descriptors(files: u64) -> Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= files) {
        return Ok(());
    }
    let maximum = limit.maximum.map(|maximum| maximum.max(files));
    // A privileged process may raise the hard limit too; others stop at it.
    if setrlimit(Resource::Nofile, Rlimit { current: Some(files), maximum }).is_ok() {
        return Ok(());
    }
    let hard = limit.maximum.unwrap_or(u64::MAX);
    if hard < files {
        return Err(Error::Unsupported(format!(
            "{files} descriptors are needed and {hard} allowed: raise `ulimit -Hn`"
        )));
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(files), maximum: limit.maximum })
        .context("raising RLIMIT_NOFILE")
}

/// Connects from `source`, an address of the loopback (127.0.0.0/8): one address has some 28,000 ports to connect from,
/// and servers count what they limit by address. `TCP_NODELAY` is set.
///
/// # Errors
/// The system's.
pub fn connect_from(source: Ipv4Addr, server: SocketAddr) -> Result<TcpStream> {
    let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).context("making a socket")?;
    rustix::net::bind(&socket, &SocketAddr::from((source, 0))).context(format!("binding to {source}"))?;
    rustix::net::connect(&socket, &server).context(format!("connecting to {server} from {source}"))?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true).context("setting TCP_NODELAY")?;
    Ok(stream)
}

/// The `index`th of the loopback's addresses, from 127.0.0.2 on.
pub fn source(index: usize) -> Ipv4Addr {
    let [_, b, c, d] = (index as u32 + 2).to_be_bytes();
    Ipv4Addr::new(127, b, c, d)
}
