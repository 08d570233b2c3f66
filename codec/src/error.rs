//! Every error of the protocol: a number, a stable name, who is at fault, whether trying again can help.
//! The names are the same in Rust, TypeScript, REST and `proto-spec/errors.md`; numbers are never reused.

use crate::wire::WireError;

/// Who has to change something for the error to go away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Blame {
    /// The peer broke the protocol, or sent a value that can never be right (1xx).
    Peer,
    /// The peer asked for what it may not have, or lost a race (2xx).
    Refused,
    /// The server is busy; the same request will do later (3xx).
    Busy,
    /// The server failed (5xx).
    Server,
}

macro_rules! errors {
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $name:literal, retryable: $retryable:literal, fatal: $fatal:literal;)*) => {
        /// An error of the protocol. `as u32` is its number.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum ErrorCode { $($(#[$doc])* $variant = $code,)* }
        impl ErrorCode {
            /// Every code, in number order.
            pub const ALL: &[Self] = &[$(Self::$variant),*];
            /// The stable name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
            /// Whether the same request may succeed later.
            pub const fn retryable(self) -> bool {
                match self { $(Self::$variant => $retryable,)* }
            }
            /// Whether the connection is closed after it.
            pub const fn fatal(self) -> bool {
                match self { $(Self::$variant => $fatal,)* }
            }
            /// The code with this number, if this version knows it.
            pub const fn from_number(number: u32) -> Option<Self> {
                match number { $($code => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

errors! {
    /// A frame's length or type cannot be read, or a length is 0.
    MalformedFrame = 100, "malformed_frame", retryable: false, fatal: true;
    /// A frame is longer than the receiver said it takes.
    FrameTooLarge = 101, "frame_too_large", retryable: false, fatal: true;
    /// A type that is not ignorable and not known.
    UnknownMessage = 102, "unknown_message", retryable: false, fatal: true;
    /// A body that is not what its type says.
    MalformedMessage = 103, "malformed_message", retryable: false, fatal: true;
    /// A message in a state, a direction or on a stream where it may not be.
    UnexpectedMessage = 104, "unexpected_message", retryable: false, fatal: true;
    /// No protocol version in common.
    UnsupportedVersion = 105, "unsupported_version", retryable: false, fatal: true;
    /// WebSocket framing was broken (RFC 6455).
    MalformedWebSocket = 106, "malformed_websocket", retryable: false, fatal: true;
    /// No `Hello` within the time for it, or silence for too long.
    TimedOut = 107, "timed_out", retryable: true, fatal: true;
    /// A session id that no session can have.
    InvalidSessionId = 110, "invalid_session_id", retryable: false, fatal: false;
    /// Text that should be JSON is not, or is too deep.
    InvalidJson = 111, "invalid_json", retryable: false, fatal: false;
    /// A patch that is not a JSON Patch, or has too many operations.
    InvalidPatch = 112, "invalid_patch", retryable: false, fatal: false;
    /// A patch whose path cannot be followed in the document.
    PathNotFound = 113, "path_not_found", retryable: false, fatal: false;
    /// A `test` operation that failed.
    TestFailed = 114, "test_failed", retryable: false, fatal: false;
    /// The document would exceed its cap.
    DocumentTooLarge = 115, "document_too_large", retryable: false, fatal: false;
    /// A base version that the session has not reached.
    VersionAhead = 116, "version_ahead", retryable: false, fatal: false;
    /// A device id, agent or other field that is empty, too long or has characters that it may not have.
    InvalidField = 117, "invalid_field", retryable: false, fatal: false;
    /// No token, or one that is not valid.
    Unauthenticated = 200, "unauthenticated", retryable: false, fatal: true;
    /// The token was valid once.
    TokenExpired = 201, "token_expired", retryable: false, fatal: true;
    /// A member without the right to do this.
    Forbidden = 202, "forbidden", retryable: false, fatal: false;
    /// No such thing, or none that the asker may see.
    NotFound = 203, "not_found", retryable: false, fatal: false;
    /// The id is taken.
    AlreadyExists = 204, "already_exists", retryable: false, fatal: false;
    /// Only the active device may write.
    NotActive = 205, "not_active", retryable: false, fatal: false;
    /// The update builds on one that was refused.
    DependencyRefused = 206, "dependency_refused", retryable: false, fatal: false;
    /// The operation is older than the window in which its answer is kept.
    OpExpired = 207, "op_expired", retryable: false, fatal: false;
    /// Not subscribed to that session.
    NotSubscribed = 208, "not_subscribed", retryable: false, fatal: false;
    /// One of the limits named in `Welcome` is reached.
    LimitReached = 209, "limit_reached", retryable: false, fatal: false;
    /// A newer connection with the same key took this one's place.
    Replaced = 210, "replaced", retryable: false, fatal: true;
    /// The same id was used for another request.
    IdMismatch = 211, "id_mismatch", retryable: false, fatal: false;
    /// Too much is waiting to be written; `retry_after_ms` says when to try again.
    Busy = 300, "busy", retryable: true, fatal: false;
    /// The server is going down; `Draining` says where and when to come back.
    ServerDraining = 301, "draining", retryable: true, fatal: true;
    /// Too many tries.
    RateLimited = 302, "rate_limited", retryable: true, fatal: false;
    /// The client does not read what it is sent.
    TooSlow = 303, "too_slow", retryable: true, fatal: true;
    /// A fault of the server.
    Internal = 500, "internal", retryable: true, fatal: false;
    /// The store failed; nothing more is accepted until the operator has looked.
    StorageFailed = 501, "storage_failed", retryable: true, fatal: false;
    /// This session's stored data is damaged; others are not.
    SessionDamaged = 502, "session_damaged", retryable: false, fatal: false;
}

impl ErrorCode {
    /// Who has to change something.
    pub const fn blame(self) -> Blame {
        match self as u32 {
            0..=199 => Blame::Peer,
            200..=299 => Blame::Refused,
            300..=399 => Blame::Busy,
            _ => Blame::Server,
        }
    }

    /// The WebSocket close code: 4000 + the number (44xx is never ours: the flat JSON form uses it).
    /// On QUIC the application error code is the number itself.
    pub const fn close_code(self) -> u16 {
        4000 + self as u16
    }
}

impl std::fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The peer broke the protocol. The connection ends with [`ProtocolError::code`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// A length of 0, or a type that does not fit in the frame.
    #[error("a frame of {length} bytes holds no whole type")]
    MalformedFrame {
        /// The frame's announced length.
        length: u64,
    },
    /// A frame longer than the receiver takes.
    #[error("a frame of {length} bytes; at most {max} are taken")]
    FrameTooLarge {
        /// The frame's announced length.
        length: u64,
        /// The receiver's cap.
        max: usize,
    },
    /// A type that must be understood and is not.
    #[error("message type {kind:#x} is not known")]
    UnknownMessage {
        /// The frame's type.
        kind: u64,
    },
    /// A body that is not what its type says.
    #[error("{name}: {source}")]
    MalformedMessage {
        /// The message's name.
        name: &'static str,
        /// What is wrong.
        source: WireError,
    },
    /// A message that may not come here or now.
    #[error("{name} may not come {when}")]
    UnexpectedMessage {
        /// The message's name.
        name: &'static str,
        /// The state the peer should have known of, as "before Hello".
        when: &'static str,
    },
    /// No version in common.
    #[error("protocol versions {min} to {max} are offered; version {} is spoken here", crate::PROTOCOL_VERSION)]
    UnsupportedVersion {
        /// Lowest version the peer offers.
        min: u32,
        /// Highest version the peer offers.
        max: u32,
    },
}

impl ProtocolError {
    /// The code that the peer is told.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::MalformedFrame { .. } => ErrorCode::MalformedFrame,
            Self::FrameTooLarge { .. } => ErrorCode::FrameTooLarge,
            Self::UnknownMessage { .. } => ErrorCode::UnknownMessage,
            Self::MalformedMessage { .. } => ErrorCode::MalformedMessage,
            Self::UnexpectedMessage { .. } => ErrorCode::UnexpectedMessage,
            Self::UnsupportedVersion { .. } => ErrorCode::UnsupportedVersion,
        }
    }
}
