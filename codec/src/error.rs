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
    ($($(#[$doc:meta])* $variant:ident = $code:literal, $name:literal, retryable: $retryable:literal, fatal: $fatal:literal, http: $http:literal;)*) => {
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
            /// The status of the HTTP response that says it.
            pub const fn http_status(self) -> u16 {
                match self { $(Self::$variant => $http,)* }
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
    MalformedFrame = 100, "malformed_frame", retryable: false, fatal: true, http: 400;
    /// A frame is longer than the receiver said it takes.
    FrameTooLarge = 101, "frame_too_large", retryable: false, fatal: true, http: 413;
    /// A type that is not ignorable and not known.
    UnknownMessage = 102, "unknown_message", retryable: false, fatal: true, http: 400;
    /// A body that is not what its type says.
    MalformedMessage = 103, "malformed_message", retryable: false, fatal: true, http: 400;
    /// A message in a state, a direction or on a stream where it may not be.
    UnexpectedMessage = 104, "unexpected_message", retryable: false, fatal: true, http: 400;
    /// No protocol version in common.
    UnsupportedVersion = 105, "unsupported_version", retryable: false, fatal: true, http: 400;
    /// WebSocket framing was broken (RFC 6455).
    MalformedWebSocket = 106, "malformed_websocket", retryable: false, fatal: true, http: 400;
    /// No `Hello` within the time for it, or silence for too long.
    TimedOut = 107, "timed_out", retryable: true, fatal: true, http: 408;
    /// A session id that no session can have.
    InvalidSessionId = 110, "invalid_session_id", retryable: false, fatal: false, http: 400;
    /// Text that should be JSON is not, or is too deep.
    InvalidJson = 111, "invalid_json", retryable: false, fatal: false, http: 400;
    /// A patch that is not a JSON Patch, or has too many operations.
    InvalidPatch = 112, "invalid_patch", retryable: false, fatal: false, http: 400;
    /// A patch whose path cannot be followed in the document.
    PathNotFound = 113, "path_not_found", retryable: false, fatal: false, http: 422;
    /// A `test` operation that failed.
    TestFailed = 114, "test_failed", retryable: false, fatal: false, http: 409;
    /// The document would exceed its cap.
    DocumentTooLarge = 115, "document_too_large", retryable: false, fatal: false, http: 422;
    /// A base version that the session has not reached.
    VersionAhead = 116, "version_ahead", retryable: false, fatal: false, http: 409;
    /// A device id, agent or other field that is empty, too long or has characters that it may not have.
    InvalidField = 117, "invalid_field", retryable: false, fatal: false, http: 400;
    /// A request whose body, query or header is not what its route takes.
    InvalidRequest = 118, "invalid_request", retryable: false, fatal: false, http: 400;
    /// A body larger than its route takes.
    PayloadTooLarge = 119, "payload_too_large", retryable: false, fatal: false, http: 413;
    /// A body of a type that its route does not take.
    UnsupportedMediaType = 120, "unsupported_media_type", retryable: false, fatal: false, http: 415;
    /// A route that exists, asked with a method that it does not have.
    MethodNotAllowed = 121, "method_not_allowed", retryable: false, fatal: false, http: 405;
    /// No token, or one that is not valid.
    Unauthenticated = 200, "unauthenticated", retryable: false, fatal: true, http: 401;
    /// The token was valid once.
    TokenExpired = 201, "token_expired", retryable: false, fatal: true, http: 401;
    /// A member without the right to do this.
    Forbidden = 202, "forbidden", retryable: false, fatal: false, http: 403;
    /// No such thing, or none that the asker may see.
    NotFound = 203, "not_found", retryable: false, fatal: false, http: 404;
    /// The id is taken.
    AlreadyExists = 204, "already_exists", retryable: false, fatal: false, http: 409;
    /// Only the active device may write.
    NotActive = 205, "not_active", retryable: false, fatal: false, http: 409;
    /// The update builds on one that was refused.
    DependencyRefused = 206, "dependency_refused", retryable: false, fatal: false, http: 409;
    /// The operation is older than the window in which its answer is kept.
    OpExpired = 207, "op_expired", retryable: false, fatal: false, http: 409;
    /// Not subscribed to that session.
    NotSubscribed = 208, "not_subscribed", retryable: false, fatal: false, http: 409;
    /// One of the limits named in `Welcome` is reached.
    LimitReached = 209, "limit_reached", retryable: false, fatal: false, http: 429;
    /// A newer connection with the same key took this one's place.
    Replaced = 210, "replaced", retryable: false, fatal: true, http: 409;
    /// The same id was used for another request.
    IdMismatch = 211, "id_mismatch", retryable: false, fatal: false, http: 422;
    /// An update was made for a version that others have changed since, at the same place.
    Conflict = 212, "conflict", retryable: false, fatal: false, http: 409;
    /// It was there once: a handoff's code that was used or has expired.
    Gone = 213, "gone", retryable: false, fatal: false, http: 410;
    /// `If-Match` names a version that is not the current one.
    PreconditionFailed = 214, "precondition_failed", retryable: false, fatal: false, http: 412;
    /// The active device did not let the session go, or said nothing in time.
    HandoffDeclined = 215, "handoff_declined", retryable: false, fatal: false, http: 409;
    /// An e-mail and password, or a refresh token, that do not let anybody in.
    InvalidCredentials = 216, "invalid_credentials", retryable: false, fatal: false, http: 401;
    /// The last owner of a session cannot leave it.
    LastOwner = 217, "last_owner", retryable: false, fatal: false, http: 409;
    /// Too much is waiting to be written; `retry_after_ms` says when to try again.
    Busy = 300, "busy", retryable: true, fatal: false, http: 503;
    /// The server is going down; `Draining` says where and when to come back.
    ServerDraining = 301, "draining", retryable: true, fatal: true, http: 503;
    /// Too many tries.
    RateLimited = 302, "rate_limited", retryable: true, fatal: false, http: 429;
    /// The client does not read what it is sent.
    TooSlow = 303, "too_slow", retryable: true, fatal: true, http: 408;
    /// Another server has the session; `Error.address` says which, as soon as it is known.
    Moved = 304, "moved", retryable: true, fatal: false, http: 503;
    /// A fault of the server.
    Internal = 500, "internal", retryable: true, fatal: false, http: 500;
    /// The store failed; nothing more is accepted until the operator has looked.
    StorageFailed = 501, "storage_failed", retryable: true, fatal: false, http: 503;
    /// This session's stored data is damaged; others are not.
    SessionDamaged = 502, "session_damaged", retryable: false, fatal: false, http: 500;
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
