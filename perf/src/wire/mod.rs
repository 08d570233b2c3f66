//! What both ends of the harness say below the protocol: HTTP's upgrade and RFC 6455 frames. Written apart from the
//! server's own framing, so that a fault there is not mirrored here.

pub mod http;
pub mod websocket;
