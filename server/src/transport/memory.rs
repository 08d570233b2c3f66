//! A link inside the process, for tests: the same frames over a pipe in memory, no sockets, the same shard.

use tokio::io::{DuplexStream, duplex};

use super::pipe::Pipe;

/// Bytes that one direction holds before the writer has to wait: a socket's default.
const CAPACITY: usize = 64 << 10;

/// (the server's end, the client's end).
pub fn pair() -> (Pipe<DuplexStream>, DuplexStream) {
    let (server, client) = duplex(CAPACITY);
    (Pipe::frames(server), client)
}
