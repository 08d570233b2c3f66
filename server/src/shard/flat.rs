//! A connection that speaks flat JSON: what it keeps beside every other connection, how its messages become commands and
//! how native frames become its text. The rules are the commands'; here is only what JSON leaves out or calls otherwise.

use std::collections::BTreeMap;

use bytes::Bytes;
use syncbridge_codec::{
    ErrorCode, Message, handshake,
    json::{self, Incoming},
    message::{self, Class},
    websocket,
};

use super::core::Shard;
use crate::{
    connection::{Command, Identity, Step},
    defaults::{JSON_ERRORS, JSON_UNANSWERED},
    fanout,
    session::{Keyed, Op},
};

/// Numbers from here on name answers, not ops: no client counts so far.
const TAG: u64 = 1 << 63;

/// What a connection of flat JSON keeps.
#[derive(Debug)]
pub struct Flat {
    /// Its framing.
    pub parser: websocket::Parser,
    /// The clients' own `id`s of what is not answered yet, by the number that names it in its answer.
    ids: BTreeMap<u64, Box<str>>,
    next: u64,
    /// Until when an update waits for the disk; 0: none does.
    pub(super) waits_until_ms: u64,
    /// Messages that were none, less those that were.
    errors: u32,
    /// Nobody signed in: under `--open` it is the shared development user.
    implied: bool,
}

impl Flat {
    /// A connection that begins.
    pub const fn new(parser: websocket::Parser) -> Self {
        Self { parser, ids: BTreeMap::new(), next: TAG, waits_until_ms: 0, errors: 0, implied: false }
    }

    /// A number that names what is asked in its answer: 0 when the client has no `id` for it.
    fn tag(&mut self, id: Option<&str>) -> u64 {
        let Some(id) = id else { return 0 };
        self.next += 1;
        self.ids.insert(self.next, id.into());
        self.next
    }

    /// The client's `id`, and 0 in place of the number that named it here.
    fn untag(&mut self, number: &mut u64) -> Option<Box<str>> {
        if *number < TAG {
            return None;
        }
        let id = self.ids.remove(number);
        *number = 0;
        id
    }

    /// The text that says a native frame; `None` for what is not said in this form.
    pub fn text(&mut self, frame: &Bytes) -> Option<Bytes> {
        let mut message = fanout::message(frame)?;
        let mut code = None;
        let id = match &mut message {
            // The link's own close says it.
            Message::Close(_) => return None,
            Message::Accepted(accepted) => self.untag(&mut accepted.counter),
            Message::Created(created) => self.untag(&mut created.counter),
            Message::Conflict(conflict) => {
                // A conflict names at least one path; without any, the update was made for a version that is to come.
                code = Some(if conflict.paths.is_empty() { "\"version_ahead\"" } else { "\"conflict\"" });
                self.untag(&mut conflict.counter)
            }
            Message::Error(error) => {
                error.answers = error.answers.filter(|id| *id > 0);
                let id = error.op.as_mut().and_then(|op| self.untag(op));
                error.op = error.op.filter(|op| *op > 0);
                id
            }
            _ => None,
        };
        let beside: Vec<_> =
            id.as_deref().map(|id| ("id", id)).into_iter().chain(code.map(|code| ("code", code))).collect();
        Some(json::encode(&message, &beside))
    }
}

impl Shard {
    /// One text message of a connection.
    pub(super) fn take_text(&mut self, index: u32, text: &str) {
        let Some(conn) = self.conns.get_mut(index as usize).filter(|conn| conn.closing.is_none()) else { return };
        conn.core.spoke();
        let incoming = match Incoming::scan(text) {
            Ok(incoming) => incoming,
            Err(error) => return self.broken(index, None, error.code(), &error.to_string()),
        };
        if let Some(number) = incoming.heartbeat() {
            // Whatever number it is, it comes back as it was written; a `Pong` has whole ones only.
            self.counts.received += 1;
            let answer = format!(r#"{{"type":"heartbeat_ack","timestamp":{number}}}"#);
            return self.say_text(index, answer.into());
        }
        let id = match incoming.id() {
            Ok(id) => id,
            Err(error) => return self.broken(index, None, error.code(), &error.to_string()),
        };
        let message = incoming.message().map_err(|error| (error.code(), error.to_string())).and_then(|message| {
            let sender = message.expect_from(message::Direction::ToServer);
            sender.map(|()| message).map_err(|error| (error.code(), error.to_string()))
        });
        match message {
            Ok(message) => self.take_json(index, message, &incoming, id),
            Err((code, text)) => self.broken(index, id, code, &text),
        }
    }

    fn take_json(&mut self, index: u32, message: Message, incoming: &Incoming<'_>, id: Option<&str>) {
        self.counts.received += 1;
        let Some(conn) = self.conns.get_mut(index as usize) else { return };
        let Some(flat) = conn.framing.flat() else { return };
        let step = match conn.core.receive(message, None) {
            Ok(step) => step,
            Err(error) => return self.broken(index, id, error.code(), &error.to_string()),
        };
        flat.errors = flat.errors.saturating_sub(1);
        let mut command = match step {
            Step::Nothing => return,
            Step::Reply(reply) => return self.say(index, &reply),
            Step::Do(command) => command,
        };
        let unanswered = flat.ids.len() >= JSON_UNANSWERED;
        match &mut command {
            Command::Update(_, _) | Command::Create(_) if unanswered => {
                return self.complain(index, id, ErrorCode::Busy, "too much of this connection is not answered yet");
            }
            Command::Update(update, tag) => {
                if update.counter >= TAG || (update.counter > 0 && id.is_some()) {
                    let text = "`counter` is below 2^63, and excludes `id`";
                    return self.broken(index, id, ErrorCode::InvalidField, text);
                }
                *tag = flat.tag(id);
            }
            // Without a counter it is an op of this connection alone.
            Command::Create(create) if create.counter == 0 => create.counter = flat.tag(Some(id.unwrap_or("null"))),
            Command::Subscribe(subscription) => {
                // What no client had to know of before is told to who asks for it.
                let named = id.is_some();
                subscription.id = subscription.id.filter(|_| named);
                subscription.resumed = named;
                subscription.list = incoming.raw("notices") == Some("true");
            }
            _ => {}
        }
        conn.todo.push_back(command);
        // In order, at once: later messages of this read see what this one did.
        self.run(index);
    }

    /// A message that is none, or may not come. The connection lives, unless there are too many of them.
    pub(super) fn broken(&mut self, index: u32, id: Option<&str>, code: ErrorCode, text: &str) {
        self.complain(index, id, code, text);
        let Some(conn) = self.conns.get_mut(index as usize) else { return };
        let Some(flat) = conn.framing.flat() else { return };
        flat.errors += 1;
        if flat.errors > JSON_ERRORS {
            self.end(index, ErrorCode::MalformedMessage, "too many messages that are none");
        }
    }

    fn complain(&mut self, index: u32, id: Option<&str>, code: ErrorCode, text: &str) {
        self.metrics().refused.of(code).increment();
        let error = message::Error::new(code, text);
        let beside = id.map(|id| ("id", id));
        self.say_text(index, json::encode(&error.into(), beside.as_slice()));
    }

    fn say_text(&mut self, index: u32, text: Bytes) {
        if let Some(conn) = self.conns.get_mut(index as usize) {
            conn.send_payload(Class::Control, text);
            self.mark(index);
        }
    }

    /// An update, with what flat JSON adds: its `id` makes it idempotent.
    pub(super) fn op(&mut self, index: u32, update: message::Update, tag: u64, who: &Identity) -> Op {
        let id =
            self.conns.get_mut(index as usize).and_then(|conn| conn.framing.flat()).and_then(|flat| flat.ids.get(&tag));
        let keyed = id.map(|id| {
            let route = format!("state_update {}", update.session);
            let how = [update.lenient.into(), update.on_conflict.map_or(u8::MAX, |policy| policy as u8)];
            // Not the version: who sends it again may have read on in between.
            Keyed::new(&who.user, &who.device, &route, id, &[&update.operations, &how])
        });
        Op { keyed, tag, ..Op::from(update) }
    }

    /// `version_ahead` is a conflict in this form: with where the session stands, so that the client can go on.
    pub(super) fn ahead(&mut self, index: u32, frame: Bytes) -> Bytes {
        if !self.conns[index as usize].core.is_json() {
            return frame;
        }
        let Some(Message::Error(message::Error { code, op: Some(counter), session: Some(session), .. })) =
            fanout::message(&frame)
        else {
            return frame;
        };
        let found = (code == ErrorCode::VersionAhead as u32).then(|| self.shared.hub.find(&session)).flatten();
        found.map_or(frame, |found| {
            let at = self.shared.hub.position(&found);
            Message::from(message::Conflict { counter, session, at, paths: Vec::new() }).to_frame()
        })
    }

    /// Something is asked without `auth`. Under `--open` the connection is the shared development user's from here on;
    /// whether it is anybody's now.
    pub(super) fn imply(&mut self, index: u32) -> bool {
        let Some(conn) = self.conns.get_mut(index as usize).filter(|conn| conn.core.is_json()) else { return false };
        if self.shared.timing.auth_ms.is_some() {
            return false;
        }
        let id = conn.id;
        let Ok(identity) = (self.shared.authenticate)(&nobody(""), self.now) else { return false };
        if self.shared.hub.connected(&identity.user).is_err() {
            return false;
        }
        self.let_in(index, identity);
        if let Some(flat) = self.by_id(id).and_then(|(_, conn)| conn.framing.flat()) {
            flat.implied = true;
        }
        true
    }

    /// The connection, which the hub has counted, speaks for `identity` from here on.
    pub(super) fn let_in(&mut self, index: u32, mut identity: Identity) {
        let Some(conn) = self.conns.get_mut(index as usize) else { return };
        if conn.core.is_json() && identity.incarnation == 0 {
            // Its own changes are never in each other's way; nobody else has this number.
            identity.incarnation = u128::from(self.shared.hub.epoch()) << 64 | u128::from(conn.id.0);
        }
        if conn.confirmed {
            self.shared.hub.take_over(&identity, conn.id);
            self.shared.hub.seen().note(&identity, self.now);
        }
        conn.core.welcome(identity);
        let deadline = conn.core.deadline_ms(self.shared.timing);
        self.look_at(index, deadline);
    }

    /// `auth` on a connection that speaks for somebody already: by its `Authorization` header, or under `--open`.
    /// `Err`: it is refused.
    pub(super) fn sign_in_again(&mut self, index: u32, hello: &handshake::Request) -> Result<(), (ErrorCode, String)> {
        let known = if hello.token.is_empty() { None } else { Some((self.shared.authenticate)(hello, self.now)?) };
        let Some(conn) = self.conns.get_mut(index as usize) else { return Ok(()) };
        let (id, fresh) = (conn.id, conn.subs.is_empty() && conn.catch_up.is_none());
        let implied = conn.framing.flat().is_some_and(|flat| flat.implied);
        let Some(current) = conn.core.identity().cloned() else { return Ok(()) };
        let next = match known {
            Some(known) if known.user != current.user => {
                if !(implied && fresh) {
                    let text = "this connection speaks for another user already".to_owned();
                    return Err((ErrorCode::Unauthenticated, text));
                }
                known
            }
            Some(known) if current.device.is_empty() && fresh => known,
            None if current.device.is_empty() && fresh => {
                Identity { device: (&*hello.device).into(), ..current.clone() }
            }
            _ => return Ok(()),
        };
        self.shared.hub.connected(&next.user).map_err(|fault| (fault.code, fault.text))?;
        self.shared.hub.disconnected(&current, id);
        self.let_in(index, next);
        Ok(())
    }
}

/// Who comes with this token and says nothing of itself.
pub fn nobody(token: &str) -> handshake::Request {
    handshake::Request {
        version: syncbridge_codec::PROTOCOL_VERSION,
        capabilities: 0,
        token: token.into(),
        device: bytestring::ByteString::new(),
        incarnation: 0,
        scope: message::Scope::default(),
        resume: Vec::new(),
        resume_notices: false,
        resume_durable: false,
        agent: bytestring::ByteString::new(),
    }
}
