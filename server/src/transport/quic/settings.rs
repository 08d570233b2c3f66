//! How quinn is tuned: every bound of a QUIC connection with its arithmetic. Reads no configuration.

use std::{io, sync::Arc, time::Duration};

use quinn::{AckFrequencyConfig, IdleTimeout, TransportConfig};

/// Streams a client may have open: control and session, with room to refuse more of them by name; with WebTransport the
/// one of its CONNECT. What quinn reserves for each, used or not, is most of what small settings save.
const STREAMS: u32 = 8;
/// One-way streams a client may have open. HTTP/3 needs three (RFC 9114 §6.2: control, and two of QPACK), and one more
/// may be of a kind that is there to be ignored. What a client will speak is not known when this is said to it: one
/// that speaks no HTTP/3 is refused when it opens any.
const ONE_WAY_STREAMS: u32 = 4;
/// Bytes a client may send on one stream before we have read them. Costs nothing while idle (RSS of 3,000 idle
/// connections: the same with 16 KiB). At 50 ms of round trip one
/// window a round trip makes 2.5 MiB/s, so the largest frame a client may send (1 MiB) takes 0.4 s.
const STREAM_WINDOW: u32 = 128 << 10;
/// The same for all streams of a connection together: two streams, so that neither blocks the other. With clients that
/// are not read (they are over their limits) this is the bound: 1,000 of them hold at most 256 MiB.
const RECEIVE_WINDOW: u32 = 2 * STREAM_WINDOW;
/// Bytes that we hold for a client until it acknowledges them. What lies here can no longer be conflated, so it is no
/// larger than it must be: 5 MiB/s at 50 ms, so a document of 4 MiB takes 0.8 s. The bytes are shared with the other
/// subscribers', not copied.
const SEND_WINDOW: u64 = 256 << 10;
/// A `ClientHello` is 0.3–2 KiB (post-quantum key share included); what comes out of order is kept up to this.
const CRYPTO_BUFFER: usize = 8 << 10;
/// Unreliable datagrams that came: the newest of one packet's size. WebTransport asks that they can be sent (a browser
/// opens no session otherwise); nobody reads them.
const DATAGRAM_IGNORED: usize = 1500;
/// Unreliable datagrams on their way out.
const DATAGRAM_BUFFER: usize = 16 << 10;
/// The client acknowledges every tenth packet at once and all within 25 ms. Of quinn's settings only this one and
/// segmentation offload (on as it comes) lower the CPU cost of a delivery.
const ACK_EVERY: u32 = 10;
const ACK_DELAY: Duration = Duration::from_millis(25);
/// Packets out of order by more than this are told at once, so that losses are repaired as before.
const ACK_REORDERING: u32 = 2;

/// First packets that wait until the accept loop takes them; beyond that they are dropped and clients send them again.
pub const MAX_INCOMING: usize = 1024;
/// What one of them may bring along (0-RTT data), and all together.
pub const INCOMING_BUFFER: u64 = 64 << 10;
/// 16 MiB a shard.
pub const INCOMING_BUFFER_TOTAL: u64 = 16 << 20;
/// Resets answer packets of connections that a restart has ended. Each is shorter than what it answers and costs one
/// HMAC; 1,000 a second and shard end 10,000 old connections within some seconds (quinn's 20 ms would take minutes).
pub const MIN_RESET_INTERVAL: Duration = Duration::from_millis(1);

/// The settings of every connection; the client keeps it alive, `idle` ends it in silence.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] for an `idle` that QUIC cannot express (2^62 ms).
pub fn transport(idle: Duration) -> io::Result<Arc<TransportConfig>> {
    let idle = IdleTimeout::try_from(idle).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(ACK_EVERY.into())
        .max_ack_delay(Some(ACK_DELAY))
        .reordering_threshold(ACK_REORDERING.into());
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(STREAMS.into())
        .max_concurrent_uni_streams(ONE_WAY_STREAMS.into())
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(None)
        .stream_receive_window(STREAM_WINDOW.into())
        .receive_window(RECEIVE_WINDOW.into())
        .send_window(SEND_WINDOW)
        .crypto_buffer_size(CRYPTO_BUFFER)
        .datagram_receive_buffer_size(Some(DATAGRAM_IGNORED))
        .datagram_send_buffer_size(DATAGRAM_BUFFER)
        .ack_frequency_config(Some(acks));
    Ok(Arc::new(transport))
}
