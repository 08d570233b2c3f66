//! What a core is told once: who it is and what its bounds are. Never a clock, never a source of randomness.

use bytestring::ByteString;
use syncbridge_codec::message::{ConflictPolicy, Durability};

use crate::defaults;

/// Who the client is and what its bounds are.
#[derive(Debug, Clone)]
pub struct Config {
    /// Whether somebody is signed in. Else nothing connects before a request signs somebody in.
    pub signed_in: bool,
    /// The access token; empty under `--open`, and with a refresh token, which then brings one.
    pub token: ByteString,
    /// The refresh token, with which the access token is renewed.
    pub refresh: Option<ByteString>,
    /// The device's id, 1–128 bytes, the same for as long as the installation lives.
    pub device: ByteString,
    /// Drawn at random when the queue of updates is new, kept as long as it is. With the session and a counter it is
    /// the identity of an op, so two cores that run at once must never share one.
    pub incarnation: u128,
    /// Name and version of the client, for people.
    pub agent: ByteString,
    /// Whether presence and other notices are wanted.
    pub notices: bool,
    /// Whether the server tells what is durable for every version, not for own updates only.
    pub durable: bool,
    /// Bounds.
    pub limits: Limits,
    /// Times.
    pub times: Times,
}

impl Config {
    /// The defaults, for this device and incarnation.
    pub fn new(device: impl Into<ByteString>, incarnation: u128) -> Self {
        Self {
            signed_in: true,
            token: ByteString::new(),
            refresh: None,
            device: device.into(),
            incarnation,
            agent: ByteString::from_static(concat!("syncbridge-client/", env!("CARGO_PKG_VERSION"))),
            notices: true,
            durable: false,
            limits: Limits::default(),
            times: Times::default(),
        }
    }
}

/// Bounds; see `defaults` for the reasons of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Updates of one session that may wait, those that are unsent included.
    pub queue_ops: usize,
    /// Bytes of their patches.
    pub queue_bytes: usize,
    /// Updates of one session that are sent and not known durable; at most [`defaults::UNCONFIRMED_OPS`].
    pub unconfirmed_ops: usize,
    /// Sessions.
    pub sessions: usize,
    /// Unanswered `Core::get`s.
    pub gets: usize,
    /// Unanswered `Core::request`s.
    pub requests: usize,
    /// Bytes of them.
    pub request_bytes: usize,
    /// Largest frame taken from the server, bytes.
    pub max_server_frame: usize,
    /// Largest document taken from the server, bytes of JSON.
    pub max_document: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue_ops: defaults::QUEUE_OPS,
            queue_bytes: defaults::QUEUE_BYTES,
            unconfirmed_ops: defaults::UNCONFIRMED_OPS,
            sessions: defaults::SESSIONS,
            gets: defaults::GETS,
            requests: defaults::REQUESTS,
            request_bytes: defaults::REQUEST_BYTES,
            max_server_frame: defaults::MAX_SERVER_FRAME,
            max_document: defaults::MAX_DOCUMENT,
        }
    }
}

/// Times in milliseconds; see `defaults` for the reasons of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// First pause before reconnecting.
    pub backoff_base: u64,
    /// Longest pause before reconnecting.
    pub backoff_cap: u64,
    /// A connection that lived this long was a good one.
    pub stable_after: u64,
    /// For `Welcome`.
    pub handshake: u64,
    /// For the answer to a subscription.
    pub answer: u64,
    /// For any byte after a `Ping`.
    pub pong: u64,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            backoff_base: defaults::BACKOFF_BASE_MS,
            backoff_cap: defaults::BACKOFF_CAP_MS,
            stable_after: defaults::STABLE_AFTER_MS,
            handshake: defaults::HANDSHAKE_MS,
            answer: defaults::ANSWER_MS,
            pong: defaults::PONG_MS,
        }
    }
}

/// How one update is sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpdateOptions {
    /// When it is answered. `Notify`, the default, keeps the update until it is durable and sends it again when the
    /// server lost it in a crash. With `Accepted` it is forgotten once accepted: cheaper, and a crash may lose it.
    pub durability: UpdateDurability,
    /// What happens when others changed the same paths in between.
    pub on_conflict: OnConflict,
    /// What it builds on.
    pub after: After,
    /// Whether `add` makes missing parents.
    pub lenient: bool,
}

/// See [`UpdateOptions::durability`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UpdateDurability {
    /// Answered when applied, forgotten then.
    Accepted,
    /// Answered when applied, kept and told when durable.
    #[default]
    Notify,
    /// Answered when durable.
    Durable,
}

impl UpdateDurability {
    /// Every choice, in the order in which exports number them.
    pub const ALL: &[Self] = &[Self::Accepted, Self::Notify, Self::Durable];
}

impl From<UpdateDurability> for Durability {
    fn from(durability: UpdateDurability) -> Self {
        match durability {
            UpdateDurability::Accepted => Self::Accepted,
            UpdateDurability::Notify => Self::Notify,
            UpdateDurability::Durable => Self::Durable,
        }
    }
}

/// See [`UpdateOptions::on_conflict`]. A client may be stricter than the session's policy, never laxer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// The update is refused: what the person saw when changing it is no longer there.
    #[default]
    Reject,
    /// What the session was made with.
    SessionPolicy,
    /// Objects merge key by key, all else as in `last_writer_wins`.
    Merge,
}

impl OnConflict {
    /// Every choice, in the order in which exports number them.
    pub const ALL: &[Self] = &[Self::Reject, Self::SessionPolicy, Self::Merge];
}

impl From<OnConflict> for Option<ConflictPolicy> {
    fn from(on_conflict: OnConflict) -> Self {
        match on_conflict {
            OnConflict::Reject => Some(ConflictPolicy::Reject),
            OnConflict::SessionPolicy => None,
            OnConflict::Merge => Some(ConflictPolicy::Merge),
        }
    }
}

/// Which earlier update has to succeed for this one to have a meaning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum After {
    /// Those unconfirmed own updates that touch the same paths. An unrelated one that fails does not take this with it.
    #[default]
    Overlapping,
    /// This one, and those that touch the same paths.
    Op(u64),
    /// Every unconfirmed own update of the session: they succeed or fail as one line.
    All,
    /// None.
    Nothing,
}
