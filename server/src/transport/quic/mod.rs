//! QUIC: one quinn endpoint a shard, all on one UDP port, and each accepted connection as a [`QuicLink`].
//!
//! One rule says whose a packet is, in the kernel (`steer.rs`) and here (`socket.rs`): the first byte of its destination
//! connection id, modulo the shards. So a client may change its address at will: its packets reach the shard that holds
//! its connection. Nothing here reads a frame but the `StreamOpen` that names a stream.
//!
//! ```text
//! main thread          bind(address, shards, &config) -> Vec<Socket>
//! a shard's runtime    socket.into_endpoint() -> quinn::Endpoint; gate.admit(endpoint.accept().await) -> Accepted
//! ```

mod accepted;
mod admission;
pub(super) mod arrivals;
mod cid;
mod endpoint;
mod link;
mod settings;
mod socket;
mod steer;
mod streams;
#[cfg(test)]
mod tests;

pub use accepted::{Accepted, Http3Arrival, accept};
pub use admission::Gate;
pub use endpoint::{Config, Keys, Socket, bind};
pub use link::{LinkError, QuicLink};
pub use socket::{Handover, Steering};
pub use streams::Streams;
