//! How the way to a client is, as the kernel or QUIC knows it: for operators who ask why a client is slow. Read when
//! somebody asks, never on the hot path. Its own module because it borrows descriptors that the links own.
#![allow(unsafe_code)]

use std::{mem, os::fd::RawFd, time::Duration};

/// Who knows how a connection's way is.
#[derive(Debug, Clone)]
pub enum Probe {
    /// Nobody.
    None,
    /// The kernel: a TCP socket that the link owns.
    Tcp(RawFd),
    /// QUIC. Dropped with the connection's place in its shard, before its link is.
    Quic(quinn::Connection),
}

/// What is known of a way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Path {
    /// Smoothed round-trip time.
    pub rtt: Option<Duration>,
    /// Packets (TCP: segments) that were sent.
    pub sent: u64,
    /// Packets that were lost (TCP: segments sent again).
    pub lost: u64,
    /// Bytes in the socket's send buffer: not sent, or not acknowledged. 0 over QUIC, which has none of its own.
    pub unsent_bytes: u64,
}

impl Probe {
    /// What is known now. Two system calls at most.
    pub fn path(&self) -> Path {
        match self {
            Self::None => Path::default(),
            Self::Tcp(fd) => tcp(*fd).unwrap_or_default(),
            Self::Quic(connection) => {
                let path = connection.stats().path;
                Path { rtt: Some(path.rtt), sent: path.sent_packets, lost: path.lost_packets, unsent_bytes: 0 }
            }
        }
    }
}

/// Nothing when the system does not say.
#[cfg(target_os = "linux")]
fn tcp(fd: RawFd) -> Option<Path> {
    let mut unsent: libc::c_int = 0;
    // SAFETY: a plain structure of integers, for which zeros are a value.
    let mut info: libc::tcp_info = unsafe { mem::zeroed() };
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the descriptor is the link's, which closes it after `Shard::remove` has dropped the probe, on this thread.
    // The kernel writes at most `length` bytes into the structure, and one integer into `unsent`.
    let answered = unsafe {
        libc::getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, (&raw mut info).cast(), &raw mut length) == 0
            && libc::ioctl(fd, libc::TIOCOUTQ, &raw mut unsent) == 0
    };
    answered.then(|| Path {
        rtt: (info.tcpi_rtt > 0).then(|| Duration::from_micros(info.tcpi_rtt.into())),
        sent: info.tcpi_segs_out.into(),
        lost: info.tcpi_total_retrans.into(),
        unsent_bytes: u64::try_from(unsent).unwrap_or_default(),
    })
}

#[cfg(not(target_os = "linux"))]
fn tcp(_: RawFd) -> Option<Path> {
    None
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{
        io::{Read as _, Write as _},
        net::{TcpListener, TcpStream},
        os::fd::AsRawFd as _,
    };

    use super::*;

    #[test]
    fn the_kernel_tells_the_round_trip_and_what_nobody_reads() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let probe = Probe::Tcp(server.as_raw_fd());
        server.write_all(b"hello").unwrap();
        client.read_exact(&mut [0; 5]).unwrap();
        let path = probe.path();
        assert!(path.rtt.is_some() && path.sent > 0, "{path:?}");

        server.set_nonblocking(true).unwrap();
        while server.write(&[0; 4_096]).is_ok() {}
        assert!(probe.path().unsent_bytes > 0, "{:?}", probe.path());
    }
}
