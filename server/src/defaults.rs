//! Every bound and every time of the server, each with its arithmetic. Nothing else in the server writes such a number.
//! What an operator may change has a setting of the same name in `config/`; the rest is fixed here.
//!
//! Bounds of the protocol itself (a client's largest frame, a snapshot's part) are in `syncbridge_codec`, those of the
//! dedup window and the kept epochs in `syncbridge_storage`: both ends or all engines have to agree on them.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

/// 1,024 bytes.
pub const KIB: usize = 1 << 10;
/// 1,024 KiB.
pub const MIB: usize = 1 << 20;

// ---- where it listens and keeps things -----------------------------------------------------------------------------

/// TCP and UDP for clients: loopback, so that nothing is exposed before somebody says so.
pub const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7400);
/// TCP for operators; shows and does more than clients may see, so it stays on loopback unless it is moved.
pub const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 7401);
/// The data folder, relative to where the server is started: visible, named after what made it, in `.gitignore`.
pub const DATA: &str = "syncbridge-data";

// ---- shards --------------------------------------------------------------------------------------------------------

/// The shard is the first byte of a QUIC connection id modulo the number of shards, so 256 is the most there can be.
pub const MAX_SHARDS: usize = 256;
/// Items (events, answers, new connections) that wait in one shard's inbox before who pushes has to wait or drop.
/// An item is a pointer and a tag (≤64 B) and a shard drains all of it every turn: 65,536 × 64 B = 4 MiB a shard.
pub const SHARD_INBOX: usize = 65_536;

// ---- the operators' console ----------------------------------------------------------------------------------------

/// Connections that a shard looks at in one turn for the console: at some 150 ns each, 0.3 ms.
pub const SURVEY_STEP: usize = 2_048;
/// How long the console waits for every shard.
pub const SURVEY_WAIT: Duration = Duration::from_secs(5);
/// Rows of one of its lists: some 500 bytes each, 100 KiB.
pub const CONSOLE_ROWS: usize = 200;
/// The longest profile that is taken, seconds: 12,000 samples of a thread.
pub const PROFILE_SECONDS: u64 = 60;
/// One of which nobody said how long, seconds.
pub const PROFILE_USUAL_SECONDS: u64 = 5;

// ---- documents and updates -----------------------------------------------------------------------------------------

/// Largest document, bytes of JSON text. Held about three times at most (document, form on the wire, checkpoint being
/// written): 4 MiB × 3 = 12 MiB for the largest session.
pub const MAX_DOCUMENT: usize = 4 * MIB;

/// The largest document that the CQL engine takes: a commit of at most 7 MiB holds it with the session's meta (1,000
/// members × ~150 B) and the answer, and a snapshot of it as rows.
pub const MAX_DOCUMENT_CQL: usize = 6 * MIB;

/// How long other servers leave a server's sessions alone after it was last heard of. It says that it lives every third of
/// that, so two signs may be lost.
pub const LEASE: Duration = Duration::from_secs(10);
/// Levels of nesting: a parser's frame on the stack is ≤512 B, so 64 levels are 32 KiB of a 2 MiB stack.
pub const JSON_DEPTH: usize = 64;
/// Parts of one JSON Pointer: a path cannot lead deeper than a document is.
pub const POINTER_PARTS: usize = 64;
/// Operations of one patch: 1,000 × 4 µs for the costliest (a copy inside a small document) keeps a shard ≤4 ms.
pub const OPERATIONS: usize = 1_000;

// ---- connections ---------------------------------------------------------------------------------------------------

/// From the first byte to `Hello` (and a TLS or WebSocket handshake before it): three round trips of a slow mobile link
/// (1 s each) with two retransmissions after 1 s and 2 s are 6 s.
pub const HANDSHAKE: Duration = Duration::from_secs(10);
/// From the first byte of a flat JSON connection to its `auth`: a person signs in on the page that has opened it already.
pub const JSON_AUTH: Duration = Duration::from_mins(1);
/// Messages of a flat JSON connection that are none, less those that are, before it is closed: who is merely newer or
/// older than this server goes on, who sends rubbish does not.
pub const JSON_ERRORS: u32 = 64;
/// Updates with an `id` that one flat JSON connection may have unanswered: 1,024 × (256 + 32 B) = 288 KiB at the worst.
pub const JSON_UNANSWERED: usize = 1_024;
/// Head of an HTTP request. Same arithmetic as [`HANDSHAKE`].
pub const HTTP_HEADER: Duration = Duration::from_secs(10);
/// Bytes of a request's head above which it is refused (431). hyper looks after each read, and reads no more than this at
/// once: so twice as much is never taken. The longest address that it takes (64 KiB, else 414) fits.
pub const HTTP_HEAD: usize = 128 * KIB;
/// Body of an HTTP request: 1 MiB at 50 KiB/s, a bad mobile link, are 21 s.
pub const HTTP_BODY: Duration = Duration::from_secs(30);
/// Longest body of an HTTP request, as sent and inflated: what a native client may put into one frame.
pub const REQUEST_BYTES: usize = MIB;
/// Answers from this length on are compressed for who takes that: below, they fit into one packet anyway.
pub const GZIP_FROM: u64 = 1_024;
/// Work on more bytes than this (JSON to read, text to compress) leaves the shard: at 200 MB/s and more, 64 KiB take
/// ≤0.33 ms.
pub const ON_SHARD_BYTES: usize = 64 * KIB;
/// `Welcome.heartbeat_ms`: both say something at least this often. Home routers forget a UDP flow after 30 s (RFC 4787
/// allows no less than 120 s, many do it all the same), so below that; a link is dead after three of them: 60 s.
pub const HEARTBEAT: Duration = Duration::from_secs(20);
/// For `Hello` after the answer to a request that was under way when [`HANDSHAKE`] was over: the client says it at once,
/// so this is one slow round trip.
pub const HELLO_AFTER_ANSWER: Duration = Duration::from_secs(2);
/// Requests of one native connection that REST's routes answer at the same time: a browser has 6 to a server, a page
/// that loads everything about a session asks for a handful. 16 × (1 MiB asked + 4 MiB answered) = 80 MiB is the most
/// that one connection can make the server hold; what comes beyond waits in the client.
pub const REQUESTS_UNDER_WAY: usize = 16;
/// Headers of one such request: six have a meaning.
pub const REQUEST_HEADERS: usize = 64;
/// Subscriptions of one connection: a slot is ≤64 B, so 1,000 are 64 KiB.
pub const SUBSCRIPTIONS: usize = 1_000;
/// Sessions that one user may have made: two rows of about 100 bytes each in the store beside the session itself.
pub const SESSIONS_PER_USER: usize = 10_000;
/// Members of one session: a row of about 100 bytes each, and as much in the session's meta, which is written whole with
/// each change of a member: 100 KiB.
pub const MEMBERS: usize = 1_000;
/// Users whose sessions are counted in memory, about 150 bytes each: 10 MiB. Beyond, those go who made none lately.
pub const QUOTA_USERS: usize = 65_536;
/// A count that nobody used for so long has nothing under way to the disk.
pub const QUOTA_IDLE: Duration = Duration::from_mins(1);
/// Bytes of sessions above 64 KiB that are kept as REST shows them, all together: 16 of the largest.
pub const LARGE_VIEWS_BYTES: usize = 64 * MIB;
/// Items that one page of a list has at most, some 100 to 300 bytes each: 300 KiB.
pub const PAGE_MAX: usize = 1_000;
/// Items of a page when the client does not say.
pub const PAGE: usize = 100;
/// Longest `Idempotency-Key` and `id`, bytes: a UUID has 36.
pub const IDEMPOTENCY_KEY: usize = 255;
/// Connections of one user: at ≤1.5 KiB each idle (DESIGN §5.4), 1,000 are 1.5 MiB.
pub const CONNECTIONS_PER_USER: usize = 1_000;
/// Bytes that wait for one connection before it is no longer read from: it gets no more answers until it reads some.
/// 10,000 stuck connections × 64 KiB = 640 MiB is the worst case; healthy ones hold nothing.
pub const WAITING_BYTES: usize = 64 * KIB;
/// Catching up from the store goes on when a connection has no more than this waiting: the next read is then done
/// while the last of this one is sent.
pub const CATCH_UP_BELOW: usize = 16 * KIB;
/// Bytes of changes that one read of the store brings: what a slow client is given at a time.
pub const CATCH_UP_BYTES: usize = 64 * KIB;
/// Bytes that one send of a connection's own output carries at most: what a socket buffer takes at once.
pub const SEND_BYTES: usize = 64 * KIB;
/// Sends of one turn of the sweep; readers run in between (64 halves the latency of one frozen batch, facts/fanout.md).
pub const SWEEP: usize = 64;
/// Inbox items of one turn: 4,096 at 1 µs are 4 ms.
pub const INBOX_TURN: usize = 4_096;
/// Bytes that one read takes, in a buffer that all connections of a shard share: what a socket buffer usually holds.
pub const READ_BYTES: usize = 64 * KIB;
/// Threads of a shard for work that may block: reads of the store wait for the disk, encoding and large patches for a
/// core.
pub const BLOCKING_THREADS: usize = 4;
/// How often the presence timers are looked at; the grace period is seconds.
pub const PRESENCE_TICK: Duration = Duration::from_millis(250);
/// How often sessions are looked for that nobody uses.
pub const UNLOAD_TICK: Duration = Duration::from_secs(5);
/// Largest message that `/echo` returns: the largest case of the protocol suites.
pub const ECHO_MESSAGE: usize = 16 * MIB;
/// How long a device may be away before the others are told that it left: a page reload takes 1–3 s, a phone that
/// changes networks 1–4 s.
pub const PRESENCE_GRACE: Duration = Duration::from_secs(5);

/// A connection's presence outlives its link by this much: a shard looks at its connections once a second, so what it
/// heard is passed on up to a second late; twice that, for a shard that is busy. Without it, heartbeats of less than a
/// second would declare devices gone that are there.
pub const PRESENCE_TTL_SLACK_MS: u64 = 2_000;

// ---- fan-out -------------------------------------------------------------------------------------------------------

/// Events kept for each topic and shard, bytes of frames: about 500 events of 128 bytes, so a subscriber may fall 0.5 s
/// behind at 1,000 events/s before it is given the newest state instead. 10,000 busy sessions × 64 KiB = 640 MiB.
pub const RING_BYTES: usize = 64 * KIB;

// ---- persisting ----------------------------------------------------------------------------------------------------

/// New updates get `Busy` when the oldest one that is not durable is this old. Newest accepted and newest durable must
/// lie ≤50 ms apart: 25 ms of queueing, and as much for the fsync that is already running.
pub const BUSY_AGE: Duration = Duration::from_millis(25);
/// The same where the store is a database: a commit there is four turns between its nodes, and may meet a pause of their
/// garbage collection, which Cassandra by its own setting keeps below 300 ms. At 25 ms each of them would refuse the
/// updates of everybody; 500 ms let one pass. That much more is lost when this process is killed (never what was durable).
pub const BUSY_AGE_DATABASE: Duration = Duration::from_millis(500);
/// `Busy.retry_after_ms` at most: a database that was away for a minute need not be asked for every few milliseconds, and
/// one that is back is used within a second.
pub const BUSY_RETRY_MOST: Duration = Duration::from_secs(1);
/// When to try again what the store could not be read for: it was tried for seconds already.
pub const STORE_RETRY_MS: u64 = 1_000;
/// A server whose oldest commit waits for this long is not ready: longer than a stall of a disk or a database that runs.
pub const READY_AGE: Duration = Duration::from_secs(2);

/// When to ask another server, or the same one again, for a session that this one does not have: a lease is 10 s, and most
/// who ask are sent to its owner at once.
pub const MOVED_RETRY_MS: u64 = 1_000;
/// When to try again while a server does not know whether a session is still its own, or who has it: it looks every
/// [`OWNERSHIP_CHECK`], and a look is a few milliseconds.
pub const OWNERSHIP_RETRY_MS: u64 = 100;
/// How often a server looks whether its lease was over for a moment.
pub const OWNERSHIP_CHECK: Duration = Duration::from_millis(50);
/// Sessions that a server asks the store about at a time when its lease was over: 10,000 at 3 ms each are then 2 s.
pub const OWNERSHIP_THREADS: usize = 16;
/// Commits that wait: the log takes about 650,000 small ones a second, 16,250 in [`BUSY_AGE`]; the next power of two.
pub const PERSIST_QUEUE: usize = 16_384;
/// Bytes of commits that wait. A disk of 1 GB/s writes 25 MB in [`BUSY_AGE`]; a few documents of 4 MiB more must fit.
pub const PERSIST_QUEUE_BYTES: usize = 64 * MIB;
/// `Busy.retry_after_ms`: one age limit later the queue has been written or the disk is stuck anyway.
pub const BUSY_RETRY: Duration = BUSY_AGE;

/// Documents that wait to be written behind the log. Each shares its structure with the live one, so they are cheap;
/// 64 is more than become due while one is encoded.
pub const CHECKPOINT_QUEUE: usize = 64;
/// How long a REST request is tried again inside the server while the disk is behind: a stall of a disk is over by then,
/// and a person still waits.
pub const ASK_BUSY: Duration = Duration::from_secs(2);
/// When to try again while the server goes down: its successor is up by then.
pub const DRAIN_RETRY_MS: u64 = 1_000;
/// When to try again after a shard's inbox was full: 65,536 items at 1 µs each are 66 ms.
pub const INBOX_RETRY_MS: u64 = 100;
/// When to try again after the store failed: an operator has to restart the server first.
pub const FAILED_RETRY_MS: u64 = 10_000;
/// How long a connection that was told to go may take to read that: a retransmission on a slow link.
pub const LINGER_MS: u64 = 3_000;
/// How long an HTTP connection that we end may take to read the last answer; what it sends meanwhile is dropped.
pub const LINGER: Duration = Duration::from_millis(LINGER_MS);
/// An HTTP client that takes no byte of its answer for so long is gone: as long as a body may take to come.
pub const WRITE_STALL: Duration = HTTP_BODY;
/// A session that nobody uses leaves memory after this long: longer than a reconnect, a reload or a handoff takes.
pub const UNLOAD_AFTER: Duration = Duration::from_mins(1);
/// Pause after an accept failed, for want of descriptors mostly: spinning would not bring any back.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// TLS sessions kept for resumption and 0-RTT: some 0.4 KiB each, 4 MiB for 10,000 clients.
pub const TLS_SESSIONS: usize = 10_000;
/// What a frame may have beside a whole document: ids, patches around it.
pub const FRAME_ABOVE_DOCUMENT: usize = 64 * KIB;
/// Frames cut for slow connections, bytes a shard: 64 of the largest client frames.
pub const MAX_CUT_BYTES: usize = 64 * MIB;

// ---- snapshots -----------------------------------------------------------------------------------------------------

/// How long a snapshot is kept: what went wrong on a Monday is noticed by the next one.
pub const SNAPSHOT_TTL: Duration = Duration::from_hours(7 * 24);
/// Snapshots of one session. Each that is all different costs a whole document: 100 × 4 MiB = 400 MiB at the most; small
/// changes cost some KiB each.
pub const SNAPSHOTS_PER_SESSION: usize = 100;
/// Sessions whose snapshots are counted in memory: 4,096 × 100 × 40 B = 16 MiB. Beyond, those are let go that nobody is
/// using, and counted again.
pub const SNAPSHOT_LEDGER: usize = 4_096;
/// Longest label, bytes: a line for people.
pub const LABEL: usize = 256;

// ---- tokens --------------------------------------------------------------------------------------------------------

/// How long an access token is good for: what is stolen with one ends a quarter of an hour later by itself, and a client
/// that refreshes in time costs the server one signature (25 µs) for it.
pub const ACCESS_TTL: Duration = Duration::from_mins(15);
/// The longest an access token may be made for: a year.
pub const ACCESS_TTL_MAX: Duration = Duration::from_hours(365 * 24);
/// Longest token that is looked at, bytes. Ours are about 300; a user id of 128 bytes and a device id of 128 make 700.
pub const MAX_TOKEN: usize = 4 * KIB;
/// Verified tokens remembered: checking an Ed25519 signature takes some 50 µs, finding one here well below 0.1 µs.
/// Two generations of 8,192 × about 600 B = 10 MiB at most.
pub const TOKEN_CACHE: usize = 8_192;
/// Longest user or device id, bytes.
pub const MAX_ID: usize = 128;
/// Longest refresh token, characters: 80 B and a user's id of 128 B in base64url are 278.
pub const MAX_REFRESH_TOKEN: usize = 278;
/// A login that is not used for so long is over.
pub const FAMILY_TTL: Duration = Duration::from_hours(30 * 24);
/// How often the use of a refresh token that stays the same is written down at most: a commit an hour and login, and a
/// login may live that much longer than [`FAMILY_TTL`].
pub const FAMILY_SLIDE: Duration = Duration::from_hours(1);
/// Logins of one user; one more ends the oldest. Each row is some 150 B.
pub const FAMILIES_PER_USER: usize = 100;
/// Logins that were ended lately (by another, by hand) and are remembered while an access token of theirs may live.
/// 1,048,576 × about 40 B (a hash map's load included) = 42 MiB at most; 1,165 a second for 15 min.
pub const REVOKED_FAMILIES: usize = 1 << 20;
/// When to try again when there is no more room for those.
pub const REVOKED_RETRY_MS: u64 = 10_000;
/// Removed devices of one user that are remembered one by one, for tokens that came of no login and live up to a year:
/// 100 × at most 136 B are 13 KiB of a row.
pub const REMOVED_DEVICES: usize = 100;
/// Rows that are read at a time where all have to be.
pub const SCAN: usize = 1_024;

// ---- accounts ------------------------------------------------------------------------------------------------------

/// Longest e-mail address, bytes: what a path of 256 leaves (RFC 5321 §4.5.3.1.3).
pub const MAX_EMAIL: usize = 254;
/// Longest name of a user or device, bytes: no address's beginning is longer.
pub const MAX_NAME: usize = 256;
/// Shortest password, bytes (NIST SP 800-63B §3.1.1.2 asks for at least 8 characters).
pub const MIN_PASSWORD: usize = 8;
/// Longest password, bytes: argon2 reads it once, so it costs nothing; the bound is for the request.
pub const MAX_PASSWORD: usize = 1_024;
/// Memory of one argon2id run, KiB, and passes over it: the least that OWASP's password storage sheet asks for. About
/// 25 ms of a core.
pub const PASSWORD_MEMORY_KIB: u32 = 19 * 1_024;
/// See [`PASSWORD_MEMORY_KIB`].
pub const PASSWORD_PASSES: u32 = 2;
/// Passwords that wait for a thread: at 25 ms each and one thread the last is through after 3.2 s, which a person waits.
pub const PASSWORD_QUEUE: usize = 128;
/// When to come back when that is full: half of it is done by then.
pub const PASSWORD_RETRY_MS: u64 = 2_000;
/// By how much the threads that hash passwords are nicer than the shards: each step is a factor of 1.25, so a shard that
/// shares their processor gets nine tenths of it.
pub const PASSWORD_NICE: i32 = 10;
/// How long a login that was right is remembered, so that the same login again costs no argon2.
pub const RECENT_LOGIN: Duration = Duration::from_mins(10);
/// Logins remembered: two generations of 16,384 × about 250 B = 8 MiB at most.
pub const RECENT_LOGINS: usize = 16_384;
/// Failed logins of one account in a minute: a person mistypes a few times; a guesser gets 14,400 a day out of 10^14
/// passwords of 8 letters and digits.
pub const LOGIN_FAILURES_PER_ACCOUNT: u64 = 10;
/// Failed logins from one address in a minute: an office behind one address mistypes more often.
pub const LOGIN_FAILURES_PER_ADDRESS: u64 = 60;
/// Registrations from one address in an hour, for the same office.
pub const REGISTRATIONS_PER_ADDRESS: u64 = 60;
/// Accounts or addresses that one limit counts: 65,536 × about 40 B = 2.5 MiB. When there are more, those with the fewest
/// failures are forgotten.
pub const LIMITED_KEYS: usize = 65_536;
/// Sightings of devices that wait to be written down: 65,536 × about 120 B = 8 MiB.
pub const SEEN_PENDING: usize = 65_536;
/// How often they are: a commit every ten seconds at most, and a list shows its own user's at once.
pub const SEEN_EVERY: Duration = Duration::from_secs(10);
/// How often it is looked whether somebody exchanged the signing key: some small files are read.
pub const KEYS_EVERY: Duration = Duration::from_secs(2);
/// How often a server that shares its store reads what the others revoked: 512 small reads, so 50 a second. For so long a
/// token that another server ended is still good here.
pub const LEARN_EVERY: Duration = Duration::from_secs(10);
/// How often revocations are looked through for those that concern no token any more.
pub const FORGET_EVERY: Duration = Duration::from_mins(1);
/// How often it is looked whether it is time for the browsers' next certificate: it may be late by so much, and each is
/// valid for two days longer than it is served. Often, because a machine that slept wakes up late.
pub const CERTIFICATES_EVERY: Duration = Duration::from_mins(1);
/// For how long others may keep our public keys: a new one is asked for when a token names it, so an hour would do; a
/// dropped one is gone after that long.
pub const JWKS_MAX_AGE: Duration = Duration::from_mins(5);
/// Devices of one user: a list of all of them is some 200 KB.
pub const DEVICES_PER_USER: usize = 1_000;

// ---- handoff -------------------------------------------------------------------------------------------------------

/// How long a code and its token are good for whose maker does not say: to walk to the other device and type it.
pub const HANDOFF_TTL: Duration = Duration::from_mins(5);
/// The shortest that a maker may ask for: less is no time for a person.
pub const HANDOFF_TTL_MIN: Duration = Duration::from_secs(30);
/// The longest. An address finds one of 1,000 codes that live so long with 150 guesses × 1,000 / 2^50: once in 7.5 × 10^9.
pub const HANDOFF_TTL_MAX: Duration = Duration::from_mins(15);
/// How long a code that was used or has expired is told to be that, and not unknown.
pub const HANDOFF_GONE: Duration = Duration::from_mins(10);
/// Codes that are remembered, good ones and those that are gone: about 400 B each with their indexes, so 26 MiB. With
/// [`HANDOFF_GONE`] that is 72 handoffs a second before late comers are told that a code is unknown.
pub const HANDOFF_OFFERS: usize = 65_536;
/// Codes of one user that are good at a time; the oldest gives way. A person shows one on each of their devices.
pub const HANDOFF_OFFERS_OF_USER: usize = 64;
/// Failed attempts to complete a handoff in a minute, from one address and for one session, before none is heard.
pub const HANDOFF_FAILURES: u64 = 10;
/// A server that shares its store reads the offers of the others when somebody presents a code that it does not know, and
/// no more often than this: a guess costs a read of all of them.
pub const HANDOFF_LEARN: Duration = Duration::from_secs(1);
/// How long the active device has to let a session go (`ask`): a person looks at the other device and decides.
pub const HANDOFF_ANSWER: Duration = Duration::from_mins(1);

// ---- going down ----------------------------------------------------------------------------------------------------

/// Clients are told to come back at a random moment within this: 10,000 clients over 5 s are 2,000 handshakes a second,
/// one core's worth at ≤0.5 ms each.
pub const DRAIN_WINDOW: Duration = Duration::from_secs(5);
/// Everything accepted is durable and every link closed within this, or the process says what is lost and exits with
/// an error; below the 30 s after which Kubernetes and 90 s after which systemd kill.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(20);

/// Whole milliseconds of a constant above, for settings.
pub(crate) const fn ms(time: Duration) -> u64 {
    time.as_millis() as u64
}
