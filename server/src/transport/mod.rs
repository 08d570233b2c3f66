//! Bytes in, bytes out: what carries frames between a client and a shard. Nothing here reads a frame's body, knows a
//! session or decides who may do what.

pub mod quic;
pub mod tls;
