//! Every bound and every time of the client, with its reason. Never read from the environment: `Config` overrides them.

/// First pause before reconnecting, in milliseconds: long enough that a restarting server is not hammered, short enough
/// that a person does not notice a single lost connection.
pub const BACKOFF_BASE_MS: u64 = 100;
/// Longest pause before reconnecting: with 100,000 clients that is 3,300 attempts a second at a server that is away.
pub const BACKOFF_CAP_MS: u64 = 30_000;
/// A connection that lived this long was a good one: the next loss starts from the shortest pause again.
pub const STABLE_AFTER_MS: u64 = 5_000;
/// Time for `Welcome` after the link stands; the server gives a `Hello` the same time.
pub const HANDSHAKE_MS: u64 = 10_000;
/// Time for the answer to a `Subscribe` or a resumed cursor, before the connection is given up as stuck.
pub const ANSWER_MS: u64 = 30_000;
/// Time for any byte after a `Ping` that was sent into silence.
pub const PONG_MS: u64 = 10_000;
/// First pause after `Busy` without a time of its own; doubled each round up to [`BUSY_CAP_MS`].
pub const BUSY_BASE_MS: u64 = 20;
/// Longest pause after `Busy` without a time of its own.
pub const BUSY_CAP_MS: u64 = 5_000;
/// Updates of one session that may wait: an hour offline at two or three a second.
pub const QUEUE_OPS: usize = 10_000;
/// Bytes of patches of one session that may wait: 10,000 updates of 800 bytes.
pub const QUEUE_BYTES: usize = 8 << 20;
/// Updates of one session that are sent and not known durable. The server keeps the last 1,024 answers of an
/// incarnation (fewer when hundreds write to one session); what is sent again after a crash must lie inside that window.
pub const UNCONFIRMED_OPS: usize = 512;
/// Sessions that one client subscribes to; the server's own default limit of a connection.
pub const SESSIONS: usize = 1_000;
/// Documents that are asked for with `Get` and not answered.
pub const GETS: usize = 1_024;
/// Requests by routes of REST that are not answered: a page of an application asks for a handful.
pub const REQUESTS: usize = 256;
/// Bytes of them: 16 of the largest that a server takes.
pub const REQUEST_BYTES: usize = 16 << 20;
/// Requests that are sent and not answered: as many as a server answers at once. One more would hold up the updates
/// behind it.
pub const REQUESTS_UNDER_WAY: usize = 16;
/// Access tokens are renewed a fifth of their life before their end, at most this long: 14 of 15 minutes.
pub const RENEW_EARLY_MS: u64 = 60_000;
/// Time between two attempts to renew tokens on a connection that works without.
pub const RENEW_AGAIN_MS: u64 = 10_000;
/// Largest frame taken from the server: its document cap of 4 MiB twice over.
pub const MAX_SERVER_FRAME: usize = 8 << 20;
/// Largest document taken from the server in parts.
pub const MAX_DOCUMENT: u64 = 64 << 20;
/// What the head, the session's id and the other fields of an `Update` take besides its operations, at most.
pub const UPDATE_OVERHEAD: usize = 512;
/// Events that wait for one slow reader of `changes()`; then it gets `Lagged` and goes on with the newest.
pub const CHANGES: usize = 1_024;
/// Chunks of at most 64 KiB that wait between a link and the driver: 2 MiB.
pub const INCOMING_CHUNKS: usize = 32;
/// Bytes of frames that are handed to a link in one batch.
pub const BATCH_BYTES: usize = 64 << 10;
/// WebSocket starts this long after QUIC, or at once when QUIC has failed.
pub const RACE_DELAY_MS: u64 = 200;
/// One attempt to reach a server by one transport.
pub const CONNECT_MS: u64 = 10_000;
/// How long another server that one of ours named is tried before those that this client was told of: several times a
/// handshake around the world.
pub const ELSEWHERE_MS: u64 = 2_000;
/// A 0-RTT connection whose handshake is not confirmed within this time is given up.
pub const EARLY_CONFIRM_MS: u64 = 3_000;
/// How long WebSocket, having won while QUIC failed, is tried first.
pub const REMEMBER_MS: u64 = 600_000;
/// QUIC keep-alive: below the server's idle timeout of 30 s and the 30 s of common NAT bindings.
pub const QUIC_KEEP_ALIVE_MS: u64 = 10_000;
/// QUIC idle timeout.
pub const QUIC_IDLE_MS: u64 = 30_000;
/// For the last frames of a link that is ended.
pub const END_MS: u64 = 1_000;
/// QUIC: receive window of a stream, bytes. A 4 MiB snapshot at 100 ms round trip still comes in half a second.
pub const QUIC_STREAM_WINDOW: u32 = 1 << 20;
