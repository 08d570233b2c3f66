//! The registry of everything that is said: every message's number, direction, transport class and fields, in one file.
//!
//! Even numbers must be understood; odd ones may be skipped by who does not know them. Numbers are never reused. A
//! message grows only at its end: fields after `appended` may be missing (they take their default) and bytes after the
//! last known field are ignored. Records (below) are closed and never grow.

use bytes::{BufMut, Bytes, BytesMut};
use bytestring::ByteString;

use crate::{
    error::{ErrorCode, ProtocolError},
    frame::{self, Frame},
    inspect::{Declaration, Field, Node},
    wire::{Reader, Value, record, tag},
};

/// Who sends a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Client to server.
    ToServer,
    /// Server to client.
    ToClient,
    /// Either.
    Both,
}

/// Which QUIC stream carries a message. WebSocket carries both classes in one order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// The control stream: the first the client opens.
    Control,
    /// The session stream: everything whose order inside a session counts.
    Session,
}

tag! {
    /// What a connection is for.
    ScopeKind {
        /// Everything of one user.
        User = 0,
        /// One session.
        Session = 1,
        /// A worker.
        Machine = 2,
    }
}

tag! {
    /// Which kind of topic a cursor points into.
    TopicKind {
        /// A session's state: `seq` is the version.
        State = 0,
        /// A session's notices: presence, handoff, access.
        Notice = 1,
    }
}

tag! {
    /// When an update is answered.
    Durability {
        /// As soon as it is applied; no `Durable` follows.
        Accepted = 0,
        /// As soon as it is applied; a cumulative `Durable` follows.
        Notify = 1,
        /// `Accepted` is withheld until storage holds it.
        Durable = 2,
    }
}

tag! {
    /// What happens to an update whose base is old and whose paths overlap newer ones.
    ConflictPolicy {
        /// It is applied on top of what is there.
        LastWriterWins = 0,
        /// Objects merge key by key, all else as `LastWriterWins`.
        Merge = 1,
        /// It is refused with `Conflict`.
        Reject = 2,
    }
}

tag! {
    /// Which devices of a user may write.
    DevicePolicy {
        /// All.
        Many = 0,
        /// Only the active one.
        Exclusive = 1,
        /// Only the active one, which confirms a handoff.
        Ask = 2,
    }
}

tag! {
    /// Why a subscriber gets a snapshot and not the events it lacks.
    ResetReason {
        /// It asked without a cursor.
        Initial = 0,
        /// The cursor lies beyond what its epoch made durable: those versions were lost in a crash.
        Lost = 1,
        /// The events after the cursor are no longer kept.
        TooOld = 2,
        /// The subscriber was too slow and gets the newest state in place of every delta.
        Lagged = 3,
        /// The cursor's epoch was never this session's (it was deleted and made again, or the cursor is made up).
        UnknownEpoch = 4,
    }
}

tag! {
    /// What a connection runs over, as other devices are told.
    Transport {
        /// QUIC.
        Quic = 0,
        /// WebSocket, binary frames.
        WebSocket = 1,
        /// WebSocket, flat JSON.
        Json = 2,
        /// WebTransport.
        WebTransport = 3,
        /// Inside one process, for tests.
        Memory = 4,
    }
}

tag! {
    /// What a request does, as in HTTP.
    Method {
        /// Reads.
        Get = 0,
        /// Makes something, or has something done.
        Post = 1,
        /// Replaces.
        Put = 2,
        /// Changes a part.
        Patch = 3,
        /// Removes.
        Delete = 4,
    }
}

tag! {
    /// What a user is to a session. Each may do what the ones before it may.
    Role {
        /// Reads it.
        Viewer = 0,
        /// Changes it, and moves it between devices.
        Editor = 1,
        /// Decides who else may, and deletes it.
        Owner = 2,
    }
}

record! {
    /// A field beside the body of a request or response, as in HTTP.
    Header {
        /// Its name, in small letters.
        name: ByteString,
        /// Its value.
        value: ByteString,
    }
}

record! {
    /// What a connection is for. `id` is the session's or machine's and is empty for a user.
    Scope {
        /// The kind.
        kind: ScopeKind,
        /// The session's or machine's id.
        id: ByteString,
    }
}

record! {
    /// Where a client stands in a topic: it has everything up to and including `seq` of `epoch`.
    Cursor {
        /// The kind of topic.
        kind: TopicKind,
        /// The session's id.
        topic: ByteString,
        /// The epoch that `seq` was counted in.
        epoch: u64,
        /// The last event the client has.
        seq: u64,
    }
}

record! {
    /// A place in a session's state.
    Position {
        /// The epoch that the version was counted in; from a client, 0 means the current one.
        epoch: u64,
        /// The version.
        version: u64,
    }
}

record! {
    /// Who made a change: with (session, user) it is the identity of an op.
    Origin {
        /// The client's incarnation.
        incarnation: u128,
        /// The op's counter.
        counter: u64,
    }
}

record! {
    /// A device that is attached to a session.
    Attached {
        /// Its id.
        device: ByteString,
        /// Its user.
        user: ByteString,
        /// What it is connected by.
        transport: Transport,
    }
}

/// Every record and tag that messages are made of, by name.
pub const DECLARATIONS: &[(&str, Declaration)] = &[
    ("Scope", Declaration::Record(Scope::FIELDS)),
    ("Cursor", Declaration::Record(Cursor::FIELDS)),
    ("Position", Declaration::Record(Position::FIELDS)),
    ("Origin", Declaration::Record(Origin::FIELDS)),
    ("Attached", Declaration::Record(Attached::FIELDS)),
    ("Header", Declaration::Record(Header::FIELDS)),
    ("ScopeKind", Declaration::Tag(ScopeKind::VARIANTS)),
    ("TopicKind", Declaration::Tag(TopicKind::VARIANTS)),
    ("Durability", Declaration::Tag(Durability::VARIANTS)),
    ("ConflictPolicy", Declaration::Tag(ConflictPolicy::VARIANTS)),
    ("DevicePolicy", Declaration::Tag(DevicePolicy::VARIANTS)),
    ("ResetReason", Declaration::Tag(ResetReason::VARIANTS)),
    ("Transport", Declaration::Tag(Transport::VARIANTS)),
    ("Method", Declaration::Tag(Method::VARIANTS)),
    ("Role", Declaration::Tag(Role::VARIANTS)),
];

macro_rules! messages {
    ($(
        $(#[$doc:meta])*
        $name:ident = $kind:literal, $direction:ident, $class:ident {
            $($(#[$field_doc:meta])* $field:ident: $type:ty,)*
            $(.. appended { $($(#[$tail_doc:meta])* $tail:ident: $tail_type:ty,)* })?
        }
    )*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, PartialEq, Eq, Default)]
            pub struct $name {
                $($(#[$field_doc])* pub $field: $type,)*
                $($($(#[$tail_doc])* pub $tail: $tail_type,)*)?
            }

            impl $name {
                /// The number in the frame's type field.
                pub const KIND: u64 = $kind;

                /// Its fields, in wire order.
                pub const FIELDS: &[Field] = &[
                    $(Field { name: stringify!($field), shape: stringify!($type), appended: false },)*
                    $($(Field { name: stringify!($tail), shape: stringify!($tail_type), appended: true },)*)?
                ];

                /// Exact size of the body in bytes.
                pub fn body_size(&self) -> usize {
                    0 $(+ self.$field.size())* $($(+ self.$tail.size())*)?
                }

                /// Whole size of the frame in bytes.
                pub fn frame_size(&self) -> usize {
                    frame::encoded_size($kind, self.body_size())
                }

                /// Appends the whole frame.
                pub fn write_frame(&self, out: &mut impl BufMut) {
                    frame::write_head(out, $kind, self.body_size());
                    $(self.$field.write(out);)*
                    $($(self.$tail.write(out);)*)?
                }

                /// Decodes a body.
                ///
                /// # Errors
                /// [`ProtocolError::MalformedMessage`] naming this message.
                pub fn decode(body: Bytes) -> Result<Self, ProtocolError> {
                    let mut from = Reader::new(body);
                    Self::read(&mut from)
                        .map_err(|source| ProtocolError::MalformedMessage { name: stringify!($name), source })
                }

                fn node(&self) -> Node {
                    Node::Record(vec![
                        $((stringify!($field), self.$field.node()),)*
                        $($((stringify!($tail), self.$tail.node()),)*)?
                    ])
                }

                fn read(from: &mut Reader) -> Result<Self, crate::wire::WireError> {
                    Ok(Self {
                        $($field: Value::read(from)?,)*
                        $($($tail: if from.is_empty() { Default::default() } else { Value::read(from)? },)*)?
                    })
                }
            }

            impl From<$name> for Message {
                fn from(message: $name) -> Self {
                    Self::$name(message)
                }
            }
        )*

        /// Any message.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Message { $($(#[$doc])* $name($name),)* }

        impl Message {
            /// (number, name, direction, class) of every message, in number order.
            pub const KINDS: &[(u64, &str, Direction, Class)] =
                &[$(($kind, stringify!($name), Direction::$direction, Class::$class)),*];

            /// The fields of every message, in the order of [`Message::KINDS`].
            pub const FIELDS: &[&[Field]] = &[$($name::FIELDS),*];

            /// Decodes a frame; `None` for a type that is not known and may be skipped.
            ///
            /// # Errors
            /// [`ProtocolError::UnknownMessage`] or [`ProtocolError::MalformedMessage`].
            pub fn decode(frame: Frame) -> Result<Option<Self>, ProtocolError> {
                match frame.kind {
                    $($kind => $name::decode(frame.body).map(|message| Some(Self::$name(message))),)*
                    kind if kind & 1 == 1 => Ok(None),
                    kind => Err(ProtocolError::UnknownMessage { kind }),
                }
            }

            /// Whole size of the frame in bytes.
            pub fn frame_size(&self) -> usize {
                match self { $(Self::$name(message) => message.frame_size(),)* }
            }

            /// Appends the whole frame.
            pub fn write_frame(&self, out: &mut impl BufMut) {
                match self { $(Self::$name(message) => message.write_frame(out),)* }
            }

            /// The fields' values, in wire order.
            pub fn node(&self) -> Node {
                match self { $(Self::$name(message) => message.node(),)* }
            }

            /// The message's name in proto-spec.
            pub const fn name(&self) -> &'static str {
                match self { $(Self::$name(_) => stringify!($name),)* }
            }

            /// The number in the frame's type field.
            pub const fn kind(&self) -> u64 {
                match self { $(Self::$name(_) => $kind,)* }
            }

            /// Who may send it.
            pub const fn direction(&self) -> Direction {
                match self { $(Self::$name(_) => Direction::$direction,)* }
            }

            /// Which stream carries it.
            pub const fn class(&self) -> Class {
                match self { $(Self::$name(_) => Class::$class,)* }
            }
        }
    };
}

messages! {
    /// The client's first message.
    Hello = 0x00, ToServer, Control {
        /// Lowest protocol version that the client speaks.
        min_version: u32,
        /// Highest protocol version that the client speaks.
        max_version: u32,
        /// Bits of `proto-spec/handshake.md`; unknown ones are ignored.
        capabilities: u64,
        /// The access token; empty under `--open` only.
        token: ByteString,
        /// The device's id, 1–128 bytes.
        device: ByteString,
        /// Drawn at random by the client, kept as long as its queue of updates.
        incarnation: u128,
        /// What the connection is for.
        scope: Scope,
        /// Topics to go on with.
        resume: Vec<Cursor>,
        .. appended {
            /// Name and version of the client, for people.
            agent: ByteString,
            /// Whether resumed sessions bring notices and cumulative `Durable`, as `Subscribe.notices` and `.durable`.
            resume_notices: bool,
            /// See `resume_notices`.
            resume_durable: bool,
        }
    }

    /// The server's answer to a `Hello` that it takes.
    Welcome = 0x02, ToClient, Control {
        /// The version that both speak from here on.
        version: u32,
        /// The capabilities that both have.
        capabilities: u64,
        /// The connection's id; names it in logs and metrics.
        connection: u64,
        /// The server's epoch.
        epoch: u64,
        /// Milliseconds since 1970; for display only, it orders nothing.
        server_time_ms: u64,
        /// The user that the token named.
        user: ByteString,
        /// Largest frame (type + body, bytes) that the server takes.
        max_client_frame: u64,
        /// Largest frame that the server sends.
        max_server_frame: u64,
        /// Largest document, bytes of JSON.
        max_document: u64,
        /// Sessions that one connection may subscribe to.
        max_subscriptions: u32,
        /// Say something at least this often; after three times as long in silence the server closes.
        heartbeat_ms: u32,
        .. appended {
            /// The device that the connection speaks for: the token's, else the one of `Hello`.
            device: ByteString,
        }
    }

    /// The server's answer to a `Hello` that it does not take. The connection ends.
    Refused = 0x04, ToClient, Control {
        /// The error's number.
        code: u32,
        /// Its stable name.
        name: ByteString,
        /// For people.
        text: ByteString,
        /// Whether trying again can help.
        retryable: bool,
        /// When to try again.
        retry_after_ms: Option<u64>,
    }

    /// Asks for a `Pong`; works before `Hello` too.
    Ping = 0x06, Both, Control {
        /// Comes back in the `Pong`.
        nonce: u64,
    }

    /// Answers a `Ping`.
    Pong = 0x08, Both, Control {
        /// The `Ping`'s.
        nonce: u64,
    }

    /// Something was not done. Fatal ones are followed by the end of the connection.
    Error = 0x0A, ToClient, Session {
        /// The error's number.
        code: u32,
        /// Its stable name.
        name: ByteString,
        /// For people.
        text: ByteString,
        /// Whether trying again can help.
        retryable: bool,
        /// The `id` of the request that it answers.
        answers: Option<u64>,
        /// The session that it is about.
        session: Option<ByteString>,
        /// The counter of the update that it answers.
        op: Option<u64>,
        /// When to try again.
        retry_after_ms: Option<u64>,
        .. appended {
            /// With `moved`: HOST:PORT of the server that has the session; empty: ask again here.
            address: ByteString,
        }
    }

    /// The server is going down: go on elsewhere, spread over the window.
    Draining = 0x0B, ToClient, Control {
        /// Reconnect no sooner than this.
        reconnect_after_ms: u64,
        /// Choose at random within this much more.
        window_ms: u64,
        /// HOST:PORT to go to; empty: the same.
        address: ByteString,
    }

    /// The last message of a connection, from who ends it.
    Close = 0x0C, Both, Control {
        /// The error's number; 0 when nothing is wrong.
        code: u32,
        /// For people.
        text: ByteString,
    }

    /// The first frame on every QUIC stream but the control stream. Never on WebSocket.
    StreamOpen = 0x0E, ToServer, Session {
        /// 1: session.
        class: u8,
    }

    /// Makes a session. It is an op: a resend is answered as the first was.
    Create = 0x10, ToServer, Session {
        /// The op's counter; the answer carries it.
        counter: u64,
        /// The id; empty: the server makes one with 128 random bits.
        session: ByteString,
        /// The first document: JSON text.
        state: Bytes,
        /// What happens to updates that clash.
        conflict: ConflictPolicy,
        /// Which devices may write.
        devices: DevicePolicy,
    }

    /// A session was made, and is durable.
    Created = 0x12, ToClient, Session {
        /// The op's counter.
        counter: u64,
        /// The session's id.
        session: ByteString,
        /// Its epoch.
        epoch: u64,
        /// Its version: 1, or the current one when it is a resend that is answered.
        version: u64,
    }

    /// Asks for a session's document once.
    Get = 0x14, ToServer, Session {
        /// Comes back in the answer.
        id: u64,
        /// The session's id.
        session: ByteString,
    }

    /// A session's document. Without `state` it follows in parts.
    Document = 0x16, ToClient, Session {
        /// The request's.
        id: u64,
        /// The session's id.
        session: ByteString,
        /// Where the document stands.
        at: Position,
        /// JSON text, when it has at most 64 KiB.
        state: Option<Bytes>,
        .. appended {
            /// The active device, if there is one.
            active_device: Option<ByteString>,
        }
    }

    /// Asks for a session's events from now on, or from a place on. Asking again moves the subscription.
    Subscribe = 0x18, ToServer, Session {
        /// Comes back in the answer.
        id: u64,
        /// The session's id.
        session: ByteString,
        /// What the client has already.
        have: Option<Position>,
        /// Whether presence and other notices are wanted.
        notices: bool,
        /// Whether cumulative `Durable` is wanted for every version, not only for own updates that asked.
        durable: bool,
    }

    /// The subscription goes on after the client's place: the events it lacks follow, then live ones.
    Resumed = 0x1A, ToClient, Session {
        /// The request's; `None` when it answers a cursor of `Hello`.
        id: Option<u64>,
        /// The session's id.
        session: ByteString,
        /// The epoch from here on.
        epoch: u64,
        /// The last version that the client has; the next event is this + 1.
        after: u64,
        /// The session's version at this moment.
        version: u64,
    }

    /// The subscription starts from a snapshot. Without `state` it follows in parts; events wait until the end of it.
    Reset = 0x1C, ToClient, Session {
        /// The request's; `None` when the server resets by itself or answers a cursor of `Hello`.
        id: Option<u64>,
        /// The session's id.
        session: ByteString,
        /// Why.
        reason: ResetReason,
        /// Where the snapshot stands.
        at: Position,
        /// With `Lost`: the last version of the cursor's epoch that was kept.
        last_kept: Option<u64>,
        /// JSON text, when it has at most 64 KiB.
        state: Option<Bytes>,
    }

    /// Ends a subscription.
    Unsubscribe = 0x1E, ToServer, Session {
        /// Comes back in the answer.
        id: u64,
        /// The session's id.
        session: ByteString,
    }

    /// Nothing more of that session comes after this.
    Unsubscribed = 0x20, ToClient, Session {
        /// The request's.
        id: u64,
        /// The session's id.
        session: ByteString,
    }

    /// Changes a session's document. Needs no subscription.
    Update = 0x22, ToServer, Session {
        /// The op's counter: 1, 2, … in the order the client made them, for one session and incarnation.
        counter: u64,
        /// The session's id.
        session: ByteString,
        /// The place that the operations were made for.
        base: Position,
        /// JSON Patch: the text of an array of operations.
        operations: Bytes,
        /// When it is answered.
        durability: Durability,
        /// Stricter than the session's policy, never laxer.
        on_conflict: Option<ConflictPolicy>,
        /// The counter of the update that this one builds on.
        after: Option<u64>,
        /// Whether `add` makes missing parents.
        lenient: bool,
    }

    /// An update was applied. Stands in the session's event order in place of the writer's own `Delta`, unless it was
    /// withheld until durable: then the `Delta` came in its order and this follows.
    Accepted = 0x24, ToClient, Session {
        /// The op's counter.
        counter: u64,
        /// The session's id.
        session: ByteString,
        /// The version that it made, and its epoch; the current one when it changed nothing.
        at: Position,
        /// Whether storage holds it.
        durable: bool,
        /// What was applied, when that differs from what was sent.
        operations: Option<Bytes>,
        .. appended {
            /// Whether a new version was made; false when the update changed nothing, or this answers a resend.
            changed: bool,
        }
    }

    /// An update was refused because of what came in between.
    Conflict = 0x26, ToClient, Session {
        /// The op's counter.
        counter: u64,
        /// The session's id.
        session: ByteString,
        /// Where the session stands.
        at: Position,
        /// JSON pointers of the paths that clash, at most 16.
        paths: Vec<ByteString>,
    }

    /// One change: the session's document went from `at.version - 1` to `at.version`.
    Delta = 0x28, ToClient, Session {
        /// The session's id.
        session: ByteString,
        /// The version that it made, and its epoch.
        at: Position,
        /// JSON Patch: the text of an array of operations.
        operations: Bytes,
        /// The device that made it.
        device: ByteString,
        /// The op that made it.
        origin: Origin,
        .. appended {
            /// When, in milliseconds since 1970; for display only.
            time_ms: u64,
        }
    }

    /// Everything of the session up to this place is durable.
    Durable = 0x2A, ToClient, Session {
        /// The session's id.
        session: ByteString,
        /// The place.
        at: Position,
    }

    /// A document follows in parts; it belongs to the `Reset` or `Document` just before.
    SnapshotBegin = 0x2C, ToClient, Session {
        /// The session's id.
        session: ByteString,
        /// Where the document stands.
        at: Position,
        /// Bytes of JSON text in all.
        size: u64,
    }

    /// At most 64 KiB of the document, in order.
    SnapshotPart = 0x2E, ToClient, Session {
        /// The session's id.
        session: ByteString,
        /// Bytes before this part.
        offset: u64,
        /// The bytes.
        bytes: Bytes,
    }

    /// The document is whole.
    SnapshotEnd = 0x30, ToClient, Session {
        /// The session's id.
        session: ByteString,
        /// CRC-32C of the whole text.
        checksum: u32,
    }

    /// Who is attached, at a place in the notices; comes after `Resumed` or `Reset` when notices are wanted.
    Presence = 0x33, ToClient, Session {
        /// The session's id.
        session: ByteString,
        /// The last notice that is contained.
        seq: u64,
        /// The devices, at most 1,000.
        devices: Vec<Attached>,
        .. appended {
            /// The active device, if there is one.
            active_device: Option<ByteString>,
        }
    }

    /// A device attached.
    DeviceJoined = 0x35, ToClient, Session {
        /// The session's id.
        session: ByteString,
        /// The notice's place.
        seq: u64,
        /// The device.
        device: Attached,
    }

    /// A device is gone, and did not come back within the grace period.
    DeviceLeft = 0x37, ToClient, Session {
        /// The session's id.
        session: ByteString,
        /// The notice's place.
        seq: u64,
        /// The device's id.
        device: ByteString,
        /// Its user.
        user: ByteString,
    }

    /// Notices were dropped because the client was too slow: ask again for what matters.
    Lagged = 0x38, ToClient, Session {
        /// The session's id.
        session: ByteString,
        /// The first notice that was dropped.
        from: u64,
        /// The last notice that was dropped.
        to: u64,
    }

    /// Asks for what is not part of the live session: accounts, lists, snapshots, handoffs, members. By the routes of
    /// REST and with their answers; the connection's user and device stand for the token. Requests are answered as they
    /// end, in no order. Those that need no token may come before `Hello`.
    Request = 0x3A, ToServer, Control {
        /// Comes back in the answer.
        id: u64,
        /// What is to be done.
        method: Method,
        /// The route and its query, below `/api/v1`, as `/sessions/todo/snapshots?limit=5`.
        path: ByteString,
        /// As `content-type`, `if-match`, `idempotency-key`.
        headers: Vec<Header>,
        /// JSON text; empty when there is none.
        body: Bytes,
    }

    /// Answers a `Request`.
    Response = 0x3C, ToClient, Control {
        /// The request's.
        id: u64,
        /// The status of HTTP.
        status: u32,
        /// As `content-type`, `etag`, `retry-after`.
        headers: Vec<Header>,
        /// JSON text: what was asked for, or a problem (RFC 9457); empty when there is none.
        body: Bytes,
    }

    /// A device wants to take the session over, and the active one is to say whether it may (policy `Ask`).
    HandoffRequested = 0x3D, ToClient, Session {
        /// The session's id.
        session: ByteString,
        /// The notice's place.
        seq: u64,
        /// Names the handoff in `HandoffAnswer`.
        handoff: ByteString,
        /// The user whose device wants it.
        user: ByteString,
        /// The device that wants it.
        device: ByteString,
        /// Without an answer by then, in milliseconds since 1970, it is refused.
        expires_ms: u64,
    }

    /// The active device says whether a handoff may be. What comes of it is told by `HandoffCompleted`, or by an `Error`
    /// when there is nothing to answer.
    HandoffAnswer = 0x3E, ToServer, Session {
        /// The handoff's.
        handoff: ByteString,
        /// Whether the session may go.
        accept: bool,
    }

    /// The session's active device is another one.
    HandoffCompleted = 0x3F, ToClient, Session {
        /// The session's id.
        session: ByteString,
        /// The notice's place.
        seq: u64,
        /// The handoff's.
        handoff: ByteString,
        /// The device that was active, if there was one.
        from: Option<ByteString>,
        /// The user of the device that is active now.
        user: ByteString,
        /// The device that is active now.
        device: ByteString,
    }

    /// The session was deleted, durably: its subscription is over.
    SessionDeleted = 0x40, ToClient, Session {
        /// The session's id.
        session: ByteString,
    }

    /// Somebody's role changed. Who has none any more gets this last, and its subscription is over.
    AccessChanged = 0x41, ToClient, Session {
        /// The session's id.
        session: ByteString,
        /// The notice's place.
        seq: u64,
        /// The user.
        user: ByteString,
        /// What they may now; absent: nothing.
        role: Option<Role>,
    }
}

impl Message {
    /// The whole frame.
    pub fn to_frame(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.frame_size());
        self.write_frame(&mut out);
        out.freeze()
    }
}

impl Message {
    /// Refuses what `sender`'s side may not say: a server passes `ToServer` for what clients sent, a client `ToClient`.
    ///
    /// # Errors
    /// [`ProtocolError::UnexpectedMessage`].
    pub const fn expect_from(&self, sender: Direction) -> Result<(), ProtocolError> {
        let when = match (sender, self.direction()) {
            (Direction::ToServer, Direction::ToClient) => "from a client",
            (Direction::ToClient, Direction::ToServer) => "from a server",
            _ => return Ok(()),
        };
        Err(ProtocolError::UnexpectedMessage { name: self.name(), when })
    }

    /// Refuses a message on a QUIC stream of another class. Links that carry both classes in one order never ask.
    ///
    /// # Errors
    /// [`ProtocolError::UnexpectedMessage`].
    pub const fn expect_on(&self, stream: Class) -> Result<(), ProtocolError> {
        let when = match (stream, self.class()) {
            (Class::Control, Class::Session) => "on the control stream",
            (Class::Session, Class::Control) => "on the session stream",
            _ => return Ok(()),
        };
        Err(ProtocolError::UnexpectedMessage { name: self.name(), when })
    }
}

impl StreamOpen {
    /// Opens the session stream.
    pub const SESSION: Self = Self { class: 1 };

    /// The class of the stream that it opens.
    ///
    /// # Errors
    /// [`ProtocolError::UnexpectedMessage`] for a class that this version does not know.
    pub const fn opens(&self) -> Result<Class, ProtocolError> {
        match self.class {
            1 => Ok(Class::Session),
            _ => Err(ProtocolError::UnexpectedMessage { name: "StreamOpen", when: "with an unknown class" }),
        }
    }
}

impl Close {
    /// A close because of an error.
    pub fn new(code: ErrorCode, text: impl Into<ByteString>) -> Self {
        Self { code: code as u32, text: text.into() }
    }
}

impl Error {
    /// An error with the code's own name, answering nothing in particular yet.
    pub fn new(code: ErrorCode, text: impl Into<ByteString>) -> Self {
        Self {
            code: code as u32,
            name: ByteString::from_static(code.name()),
            text: text.into(),
            retryable: code.retryable(),
            ..Self::default()
        }
    }
}

impl Refused {
    /// A refusal with the code's own name.
    pub fn new(code: ErrorCode, text: impl Into<ByteString>) -> Self {
        Self {
            code: code as u32,
            name: ByteString::from_static(code.name()),
            text: text.into(),
            retryable: code.retryable(),
            retry_after_ms: None,
        }
    }
}
