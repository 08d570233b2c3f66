//! TCP listeners, one a shard, on one port.

use std::{
    io,
    net::{SocketAddr, TcpListener},
};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Connections that the kernel completes before a shard accepts them: a storm of 10,000 over two shards, rounded down
/// by the kernel to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Binds `shards` listeners to one address (port 0: one free port for all).
///
/// # Errors
/// [`io::ErrorKind::AddrInUse`] when another server has the port, even one that would share it.
pub fn bind(address: SocketAddr, shards: usize) -> io::Result<Vec<TcpListener>> {
    // The first is bound without sharing, so that another server on the port is an error and not a silent half.
    let first = socket(address)?;
    first.bind(&SockAddr::from(address))?;
    let bound = local(&first)?;
    let mut sockets = vec![first];
    if shards > 1 {
        sockets[0].set_reuse_port(true)?;
        for _ in 1..shards {
            let next = socket(bound)?;
            next.set_reuse_port(true)?;
            next.bind(&SockAddr::from(bound))?;
            sockets.push(next);
        }
    }
    for socket in &sockets {
        socket.listen(BACKLOG)?;
    }
    Ok(sockets.into_iter().map(TcpListener::from).collect())
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the connections of the process before it.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn local(socket: &Socket) -> io::Result<SocketAddr> {
    socket.local_addr()?.as_socket().ok_or_else(|| io::Error::other("a TCP socket has an address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_share_a_port_and_a_second_server_does_not() {
        let listeners = bind(([127, 0, 0, 1], 0).into(), 2).unwrap();
        let address = listeners[0].local_addr().unwrap();
        assert_eq!(listeners[1].local_addr().unwrap(), address);
        for shards in [1, 2] {
            assert_eq!(bind(address, shards).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        }
    }
}
