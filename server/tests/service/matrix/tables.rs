//! What ought to be, written by hand from the contract and by nothing that the server decides with.

/// What somebody is to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    Owner = 0,
    Editor = 1,
    Viewer = 2,
    /// Whoever is no member, whatever they were.
    Outsider = 3,
}

/// What an operation that was let in leaves behind, and has to be put right before the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mend {
    Nothing,
    /// Who asked is no member any more.
    Member,
    /// The session has lost a snapshot.
    Snapshot,
    /// The session is gone.
    Session,
}

/// A route, and what each column is told: a status, or the code of the refusal; empty: they are not asked, for it would
/// use up what the others need.
pub struct Route {
    pub name: &'static str,
    pub method: &'static str,
    /// `{s}` is the session, `{mine}` another one, of the asker's own; `{snapshot}` one of `{s}`, `{foreign}` one of a
    /// session that is nobody's of them, `{none}` one that never was; `{me}` is the asker.
    pub path: &'static str,
    /// The media type; empty: JSON.
    pub media: &'static str,
    pub header: (&'static str, &'static str),
    pub body: &'static str,
    pub told: [&'static str; 4],
    /// Whether it writes to the document: under `exclusive` and `ask` only the active device does.
    pub writes: bool,
    pub mend: Mend,
}

const fn route(name: &'static str, method: &'static str, path: &'static str, body: &'static str) -> Route {
    let told = [""; 4];
    Route { name, method, path, media: "", header: ("", ""), body, told, writes: false, mend: Mend::Nothing }
}

impl Route {
    const fn told(self, owner: &'static str, editor: &'static str, viewer: &'static str) -> Self {
        Self { told: [owner, editor, viewer, "not_found"], ..self }
    }

    /// Everybody is told the same, member or not.
    const fn all(self, told: &'static str) -> Self {
        Self { told: [told; 4], ..self }
    }

    const fn writes(self) -> Self {
        Self { writes: true, ..self }
    }

    const fn media(self, media: &'static str) -> Self {
        Self { media, ..self }
    }

    const fn header(self, name: &'static str, value: &'static str) -> Self {
        Self { header: (name, value), ..self }
    }

    const fn mend(self, mend: Mend) -> Self {
        Self { mend, ..self }
    }
}

const NO: &str = "forbidden";
const NONE: &str = "not_found";
const PATCH: &str = "application/json-patch+json";
const MERGE: &str = "application/merge-patch+json";

/// Every route that touches a session or what belongs to one. What takes a right away stands last.
pub const ROUTES: &[Route] = &[
    route("read", "GET", "/sessions/{s}", "").told("200", "200", "200"),
    route("read what one has", "GET", "/sessions/{s}", "").header("if-none-match", "*").told("304", "304", "304"),
    route("replace", "PUT", "/sessions/{s}", r#"{"state":{"n":2}}"#).writes().told("200", "200", NO),
    route("replace an old version", "PUT", "/sessions/{s}", r#"{"state":{"n":3}}"#)
        .header("if-match", "\"1.999999\"")
        .writes()
        .told("precondition_failed", "precondition_failed", NO),
    route("replace once", "PUT", "/sessions/{s}", r#"{"state":{"n":4}}"#)
        .header("idempotency-key", "the same")
        .writes()
        .told("200", "200", NO),
    route("patch", "PATCH", "/sessions/{s}", r#"[{"op":"add","path":"/n","value":5}]"#)
        .media(PATCH)
        .writes()
        .told("200", "200", NO),
    route("merge", "PATCH", "/sessions/{s}", r#"{"n":6}"#).media(MERGE).writes().told("200", "200", NO),
    route("patch with another type", "PATCH", "/sessions/{s}", r#""n""#).media("text/plain").told(
        "unsupported_media_type",
        "unsupported_media_type",
        NO,
    ),
    route("make again", "POST", "/sessions", r#"{"sessionId":"{s}","state":{}}"#).all("already_exists"),
    route("snapshot", "POST", "/sessions/{s}/snapshot", "").told("201", "201", NO),
    route("snapshot a state", "POST", "/sessions/{s}/snapshot", r#"{"state":{"n":7}}"#).told("201", "201", NO),
    route("list snapshots", "GET", "/sessions/{s}/snapshots", "").told("200", "200", "200"),
    route("read a snapshot", "GET", "/sessions/{s}/snapshots/{snapshot}", "").told("200", "200", "200"),
    route("read no snapshot", "GET", "/sessions/{s}/snapshots/{none}", "").told(NONE, NONE, NONE),
    route("read another's snapshot", "GET", "/sessions/{s}/snapshots/{foreign}", "").told(NONE, NONE, NONE),
    route("read a snapshot through one's own session", "GET", "/sessions/{mine}/snapshots/{snapshot}", "").all(NONE),
    route("restore", "POST", "/sessions/{s}/snapshots/{snapshot}/restore", "").writes().told("200", "200", NO),
    route("restore another's", "POST", "/sessions/{s}/snapshots/{foreign}/restore", "").told(NONE, NONE, NO),
    route("restore into one's own session", "POST", "/sessions/{mine}/snapshots/{snapshot}/restore", "").all(NONE),
    route("remove another's snapshot", "DELETE", "/sessions/{s}/snapshots/{foreign}", "").told(NONE, NONE, NO),
    route("remove a snapshot through one's own session", "DELETE", "/sessions/{mine}/snapshots/{snapshot}", "")
        .all(NONE),
    route("remove a snapshot", "DELETE", "/sessions/{s}/snapshots/{snapshot}", "")
        .told("204", "204", NO)
        .mend(Mend::Snapshot),
    route("list the devices", "GET", "/sessions/{s}/devices", "").told("200", "200", "200"),
    route("offer a handoff", "POST", "/sessions/{s}/handoff/code", "").told("201", "201", NO),
    route("take with a code that is none", "POST", "/sessions/{s}/handoff", TAKE_NOTHING).told(NONE, NONE, NO),
    // Who may would use it up.
    Route {
        told: ["", "", NO, NONE],
        ..route("take with a token that is good", "POST", "/sessions/{s}/handoff", TAKE)
    },
    route("take one's own with another's token", "POST", "/sessions/{mine}/handoff", TAKE).all(NONE),
    route("answer a handoff that is none", "POST", "/handoff/nobody-asked/answer", r#"{"accept":true}"#).all(NONE),
    route("complete what is none", "POST", "/handoff/complete", r#"{"code":"AAAAAAAAAA","deviceId":"x"}"#).all(NONE),
    route("list the members", "GET", "/sessions/{s}/members", "").told("200", "200", "200"),
    route("make oneself an owner", "PUT", "/sessions/{s}/members", r#"{"userId":"{me}","role":"owner"}"#)
        .told("200", NO, NO),
    route("let somebody in", "PUT", "/sessions/{s}/members", r#"{"userId":"newcomer","role":"viewer"}"#)
        .told("200", NO, NO),
    route("let nobody in", "PUT", "/sessions/{s}/members", r#"{"email":"nobody@example.com","role":"viewer"}"#)
        .told(NONE, NO, NO),
    route("show somebody out", "DELETE", "/sessions/{s}/members/newcomer", "").told("204", NO, NO),
    route("leave", "DELETE", "/sessions/{s}/members/{me}", "").told("204", "204", "204").mend(Mend::Member),
    route("delete", "DELETE", "/sessions/{s}", "").told("204", NO, NO).mend(Mend::Session),
];

const TAKE_NOTHING: &str = r#"{"fromDeviceId":"desk","toDeviceId":"other","handoffToken":"AAAAAAAAAA"}"#;
const TAKE: &str = r#"{"fromDeviceId":"desk","toDeviceId":"other","handoffToken":"{token}"}"#;

/// A route that touches what is a user's own; who asks has it, or asks for another's by its id.
pub const OWN: &[(&str, &str, &str, &str, &str)] = &[
    ("who am I", "GET", "/auth/me", "", "200"),
    ("my sessions", "GET", "/sessions", "", "200"),
    ("my devices", "GET", "/devices", "", "200"),
    ("a device of mine", "POST", "/devices", r#"{"deviceId":"new"}"#, "201"),
    ("remove a device of mine", "DELETE", "/devices/new", "", "204"),
    ("remove another's device", "DELETE", "/devices/only-the-keepers", "", "not_found"),
    ("remove no device", "DELETE", "/devices/nobody-has-this", "", "not_found"),
    (
        "another password without the old one",
        "POST",
        "/auth/password",
        r#"{"currentPassword":"not this one","newPassword":"correct horse 2"}"#,
        "invalid_credentials",
    ),
];

/// A message of the live protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Live {
    Create,
    Get,
    Subscribe,
    /// Subscribe with a cursor.
    Resume,
    Unsubscribe,
    Update,
    UpdateDurably,
    /// An update that cannot be applied.
    UpdateWrongly,
    AnswerHandoff,
}

impl Live {
    /// The operation of its patch.
    pub const fn operation(self) -> &'static str {
        if matches!(self, Self::UpdateWrongly) { "sing" } else { "add" }
    }

    pub const fn writes(self) -> bool {
        matches!(self, Self::Update | Self::UpdateDurably | Self::UpdateWrongly)
    }
}

/// Every message that touches a session, and what each column is told.
pub const LIVE: &[(Live, [&str; 4])] = &[
    (Live::Create, ["already_exists"; 4]),
    (Live::Get, ["read", "read", "read", NONE]),
    (Live::Subscribe, ["begun", "begun", "begun", NONE]),
    (Live::Resume, ["begun", "begun", "begun", NONE]),
    (Live::Unsubscribe, ["not_subscribed"; 4]),
    (Live::Update, ["written", "written", NO, NONE]),
    (Live::UpdateDurably, ["written", "written", NO, NONE]),
    (Live::UpdateWrongly, ["invalid_patch", "invalid_patch", NO, NONE]),
    (Live::AnswerHandoff, [NONE; 4]),
];
