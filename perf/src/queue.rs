//! How much lies in the system's queues of a TCP connection on this machine: tells a server that is blocked from one
//! whose bytes the sockets still took.

use std::{fs, net::SocketAddr};

use crate::error::{Context, Result};

/// Bytes from `server` that its socket has not sent and those that `client` has not read. IPv4 only.
///
/// # Errors
/// The system's, when its table cannot be read.
pub fn queued(client: SocketAddr, server: SocketAddr) -> Result<u64> {
    let table = fs::read_to_string("/proc/net/tcp").context("reading /proc/net/tcp")?;
    let (client, server) = (endpoint(client), endpoint(server));
    let sum = table.lines().filter_map(|line| {
        let (local, remote, unsent, unread) = row(line)?;
        if (local, remote) == (server.as_str(), client.as_str()) {
            return Some(unsent);
        }
        ((local, remote) == (client.as_str(), server.as_str())).then_some(unread)
    });
    Ok(sum.sum())
}

/// An address as the table writes it: the IPv4 address as a number of the machine's byte order, and the port.
fn endpoint(address: SocketAddr) -> String {
    let ip = match address {
        SocketAddr::V4(v4) => u32::from_ne_bytes(v4.ip().octets()),
        SocketAddr::V6(_) => 0,
    };
    format!("{ip:08X}:{:04X}", address.port())
}

/// Local and remote endpoint, unsent and unread bytes of a row.
fn row(line: &str) -> Option<(&str, &str, u64, u64)> {
    let mut fields = line.split_whitespace().skip(1);
    let (local, remote) = (fields.next()?, fields.next()?);
    let (unsent, unread) = fields.nth(1)?.split_once(':')?;
    Some((local, remote, u64::from_str_radix(unsent, 16).ok()?, u64::from_str_radix(unread, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        net::{TcpListener, TcpStream},
    };

    use super::queued;

    #[test]
    fn what_is_not_read_is_counted() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let server = listener.local_addr().expect("an address");
        let client = TcpStream::connect(server).expect("connected");
        let (mut accepted, _) = listener.accept().expect("accepted");
        accepted.write_all(&[0; 1000]).expect("written");
        assert_eq!(queued(client.local_addr().expect("an address"), server).expect("readable"), 1000);
    }
}
