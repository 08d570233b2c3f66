//! One client: the real sans-IO core of `clients/rust`, its end of a link, and what it was told. Every event of the core
//! is held against what it was told before and against the store's books.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, Bytes, BytesMut};
use fastrand::Rng;
use syncbridge_client::{
    Patch, Position, ResetReason, Value,
    core::{After, Config, Core, Disconnect, Event, Fault, LinkCommand, OnConflict, SessionEvent, Times},
    core::{UpdateDurability, UpdateOptions},
};
use syncbridge_codec::{
    message::Class,
    websocket::{self, Opcode},
};

use super::{
    clock,
    net::Net,
    store::Books,
    trace::{self, Ear},
};

const CLASSES: [Class; 2] = [Class::Control, Class::Session];
/// Bytes that a client leaves on their way before it hands over more.
const UP_BYTES: usize = 8 << 10;

/// How far an own update has come, as its application knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    Open,
    Accepted(u64),
    Durable,
    Refused,
    /// It was accepted, a crash lost it, and the client was told so.
    Lost,
    /// It was accepted, and then the client left the session: nobody would have told it.
    Unwatched,
}

#[derive(Debug, Clone)]
pub struct Op {
    pub marker: u64,
    pub fate: Fate,
    pub durability: UpdateDurability,
}

/// What a client knows of a session.
#[derive(Debug, Default)]
pub struct Known {
    pub wanted: bool,
    /// Where the events told that the server's state stands.
    pub have: Option<Position>,
    /// It was left at some time: a first state may come again.
    may_begin_anew: bool,
    /// The server was restarted with everything durable: whatever the client had is still true.
    must_resume: bool,
    pub ops: BTreeMap<u64, Op>,
    markers: u64,
}

pub struct Peer {
    pub name: usize,
    pub core: Core,
    pub link: Option<usize>,
    /// What came of an unfinished WebSocket message.
    partial: BytesMut,
    /// It makes a link at this time.
    pub connect_at: Option<u64>,
    /// It does nothing until then.
    pub asleep_until: u64,
    pub known: BTreeMap<String, Known>,
    /// No link is stuck and nobody sleeps: silence is a mistake.
    pub expects_answers: bool,
    /// It was made.
    pub was_silenced: bool,
    /// What happened at all.
    pub seen: BTreeSet<&'static str>,
    config: Config,
    gets: u64,
    ears: [Ear; 4],
}

impl Peer {
    pub fn new(name: usize, user: &'static str, rng: &mut Rng) -> Self {
        let mut config = Config::new(format!("device-{name}"), 1 + name as u128);
        config.token = user.into();
        config.notices = rng.bool();
        config.durable = rng.bool();
        config.times =
            Times { backoff_base: 10, backoff_cap: 200, stable_after: 300, handshake: 1_000, answer: 2_000, pong: 300 };
        Self {
            name,
            core: Core::new(config.clone(), rng.u64(..)),
            link: None,
            partial: BytesMut::new(),
            connect_at: None,
            asleep_until: 0,
            known: BTreeMap::new(),
            expects_answers: false,
            was_silenced: false,
            seen: BTreeSet::new(),
            config,
            gets: 0,
            ears: Default::default(),
        }
    }

    fn fail(&self, session: &str, what: &str) -> ! {
        panic!("client {} in {session}: {what}; it has {:?}", self.name, self.known.get(session).map(|k| &k.have))
    }

    // What the application does.

    pub fn create(&mut self, session: &str, state: Value, policy: syncbridge_client::ConflictPolicy) {
        let devices = syncbridge_client::DevicePolicy::Many;
        let counter = self.core.create(session, state, policy, devices).expect("a new session");
        let known = self.known.entry(session.to_owned()).or_default();
        known.wanted = true;
        let op = Op { marker: 0, fate: Fate::Open, durability: UpdateDurability::Durable };
        known.ops.insert(counter, op);
    }

    pub fn subscribe(&mut self, session: &str) {
        self.core.subscribe(session, clock::now().mono_ms).expect("few sessions");
        self.known.entry(session.to_owned()).or_default().wanted = true;
    }

    pub fn unsubscribe(&mut self, session: &str) {
        let Some(known) = self.known.get_mut(session).filter(|known| known.wanted) else { return };
        known.wanted = false;
        known.may_begin_anew = true;
        known.must_resume = false;
        for op in known.ops.values_mut() {
            if op.durability == UpdateDurability::Accepted && matches!(op.fate, Fate::Open | Fate::Accepted(_)) {
                // Whatever is heard of it later, nobody tells when it is lost.
                op.fate = if op.fate == Fate::Open { Fate::Open } else { Fate::Unwatched };
            }
        }
        self.core.unsubscribe(session, clock::now().mono_ms);
    }

    pub fn get(&mut self, session: &str) {
        if self.core.get(session).is_ok() {
            self.gets += 1;
        }
    }

    /// Changes the document somehow. `lists`: it has the shape that [`super::world`] makes; else anything goes.
    pub fn edit(&mut self, session: &str, lists: bool, rng: &mut Rng) {
        let name = self.name;
        let Some(known) = self.known.get_mut(session).filter(|known| known.wanted) else { return };
        let marker = known.markers + 1;
        let mut patch = Patch::new();
        let key = rng.u8(0..4);
        let mut counts = true;
        if lists {
            patch = match rng.u8(0..100) {
                0..=44 => patch,
                45..=59 => patch.add(format!("/k/{key}"), format!("{name}.{marker}")),
                60..=69 => patch.add("/all/-", format!("{name}.{marker}")),
                70..=74 => patch.add("/array/0", marker).remove("/array/4"),
                75..=79 => patch.replace("/k", Value::from_members([("merged", Value::from(marker))])),
                80..=82 => patch.move_(format!("/k/{key}"), format!("/k/{}", rng.u8(0..4))),
                83..=87 => patch.remove(format!("/k/{key}")),
                88 if rng.u8(0..4) == 0 => patch.add("/big", "x".repeat(rng.usize(60_000..80_000))),
                88..=92 => patch.add("/big", ""),
                _ => {
                    counts = false;
                    patch.add(format!("/k/{key}"), "the same")
                }
            };
            if counts {
                patch = patch.add(format!("/log/{name}/-"), marker);
            }
        } else {
            patch = patch.add(format!("/of/{name}/{marker}"), marker);
        }
        let options = UpdateOptions {
            durability: [UpdateDurability::Accepted, UpdateDurability::Notify, UpdateDurability::Durable]
                [rng.usize(0..3)],
            on_conflict: [OnConflict::Reject, OnConflict::SessionPolicy, OnConflict::Merge][rng.usize(0..3)],
            after: match rng.u8(0..8) {
                0 => After::All,
                1 => After::Nothing,
                2 => After::Op(rng.u64(1..=known.ops.keys().last().copied().unwrap_or(1))),
                _ => After::Overlapping,
            },
            lenient: !lists,
        };
        // What cannot be done is said at once and changes nothing.
        if let Ok(counter) = self.core.update(session, patch, &options) {
            if counts {
                known.markers = marker;
            }
            let op = Op { marker: if counts { marker } else { 0 }, fate: Fate::Open, durability: options.durability };
            assert!(known.ops.insert(counter, op).is_none(), "a counter is used once");
        }
    }

    /// The process ends and another begins with what was written down.
    pub fn reincarnate(&mut self, net: &mut Net, rng: &mut Rng) {
        self.drop_link(net);
        let export = self.core.export();
        self.core = Core::import(self.config.clone(), rng.u64(..), &export).expect("what was exported");
        self.connect_at = None;
        self.gets = 0;
        self.seen.insert("reincarnated");
        for (session, known) in &mut self.known {
            if self.core.server_state(session).is_none() {
                known.may_begin_anew = true;
            }
        }
    }

    /// From here on nothing that it has of this epoch may be called lost. (What it has of an older one may have been
    /// lost in a crash that it has not heard of yet.)
    pub fn must_resume(&mut self, epoch: u64) {
        for (session, known) in &mut self.known {
            let state = self.core.server_state(session);
            known.must_resume = known.wanted && state.is_some_and(|(_, at)| at.epoch == epoch);
        }
    }

    // Its link.

    pub fn drop_link(&mut self, net: &mut Net) {
        self.partial.clear();
        self.ears = Default::default();
        if let Some(id) = self.link.take()
            && let Some(link) = net.get(id)
        {
            (link.client_gone, link.released) = (true, true);
            link.flag.raise();
            net.tidy(id);
        }
    }

    /// Takes in, gives out, and looks at the clock. Whether anything came.
    pub fn pump(&mut self, net: &mut Net, books: &Books, rng: &mut Rng) -> bool {
        let now = clock::now().mono_ms;
        if self.core.poll_timeout().is_some_and(|at| at <= now) {
            self.core.handle_timeout(now);
        }
        self.commands(net, rng);
        let came = self.receive(net, rng);
        self.commands(net, rng);
        self.transmit(net, rng);
        self.events(books);
        came
    }

    fn commands(&mut self, net: &mut Net, rng: &mut Rng) {
        while let Some(command) = self.core.poll_command() {
            match command {
                LinkCommand::Connect { .. } => self.connect_at = Some(clock::now().mono_ms + rng.u64(0..20)),
                LinkCommand::Disconnect { last, .. } => {
                    if rng.bool() {
                        self.put(net, 0, &last, rng);
                    }
                    self.drop_link(net);
                }
            }
        }
    }

    fn put(&mut self, net: &mut Net, stream: usize, frame: &Bytes, rng: &mut Rng) {
        self.ears[2 + stream].hear(&format!("client {} -> ", self.name), frame);
        let Some(link) = self.link.and_then(|id| net.get(id)).filter(|link| !link.client_gone) else { return };
        if link.kind.is_websocket() {
            websocket::write_client_frame(&mut link.up[0], Opcode::Binary, rng.u32(..).to_ne_bytes(), frame);
        } else {
            link.up[stream].extend_from_slice(frame);
        }
        link.flag.raise();
    }

    fn transmit(&mut self, net: &mut Net, rng: &mut Rng) {
        let Some(id) = self.link else { return };
        let now = clock::now().mono_ms;
        for (class_index, class) in CLASSES.into_iter().enumerate() {
            while let Some(link) = net.get(id) {
                let stream = class_index.min(link.kind.streams() - 1);
                if link.up[stream].len() > UP_BYTES || (class == Class::Session && rng.u8(0..8) == 0) {
                    break;
                }
                let Some(frame) = self.core.poll_transmit(now, class) else { break };
                self.put(net, stream, &frame, rng);
            }
        }
    }

    fn receive(&mut self, net: &mut Net, rng: &mut Rng) -> bool {
        let now = clock::now().mono_ms;
        let Some(id) = self.link else { return false };
        let Some(link) = net.get(id) else { return false };
        if link.stuck {
            return false;
        }
        let mut came = false;
        for _ in 0..2 {
            let Some(link) = self.link.and_then(|id| net.get(id)) else { return came };
            let stream = rng.usize(0..link.kind.streams());
            let size = link.down[stream].len();
            if size == 0 {
                continue;
            }
            came = true;
            let size = if rng.u8(0..4) > 0 { size } else { rng.usize(1..=size) };
            let bytes = link.down[stream].split_to(size).freeze();
            link.flag.raise();
            if link.kind.is_websocket() {
                self.partial.extend_from_slice(&bytes);
                self.messages(net);
            } else {
                self.ears[stream].hear(&format!("client {} <- ", self.name), &bytes);
                self.core.handle_bytes(now, CLASSES[stream], bytes);
            }
        }
        if self.link == Some(id) && net.get(id).is_some_and(|link| link.is_at_end()) {
            let code = net.get(id).and_then(|link| link.server_shut).filter(|_| rng.bool());
            self.drop_link(net);
            self.core.handle_disconnected(now, code.filter(|code| *code != 0), "the link ended");
            came = true;
        }
        came
    }

    /// WebSocket messages of the server.
    fn messages(&mut self, net: &mut Net) {
        let now = clock::now().mono_ms;
        while let Some((opcode, payload)) = message(&mut self.partial) {
            match opcode {
                2 => {
                    self.ears[0].hear(&format!("client {} <- ", self.name), &payload);
                    self.core.handle_bytes(now, Class::Control, payload);
                }
                8 => {
                    let code = payload.get(..2).map(|code| u16::from_be_bytes([code[0], code[1]]));
                    self.drop_link(net);
                    let code = code.and_then(|code| u32::from(code).checked_sub(4000));
                    self.core.handle_disconnected(now, code, "closed by the server");
                    return;
                }
                other => panic!("client {}: a server sends no opcode {other}", self.name),
            }
        }
    }

    // What it is told.

    fn events(&mut self, books: &Books) {
        while let Some(event) = self.core.poll_event() {
            trace::say(|| format!("client {} event {event:?}", self.name));
            match event {
                Event::Session { session, event } => self.session_event(&session, event, books),
                Event::Disconnected { reason: Disconnect::Fault(fault), .. } => match fault {
                    Fault::Unanswered { .. } => {
                        self.was_silenced = self.expects_answers;
                        self.seen.insert("unanswered");
                    }
                    other => panic!("client {}: the server broke the protocol: {other}", self.name),
                },
                Event::Disconnected { reason: Disconnect::Silent, .. } => {
                    self.was_silenced = self.expects_answers;
                    self.seen.insert("silent");
                }
                Event::Draining { .. } => {
                    self.seen.insert("draining");
                }
                Event::Stopped { error } => panic!("client {}: stopped: {error}", self.name),
                Event::Document { .. } | Event::GetFailed { .. } => self.gets -= 1,
                Event::SignedIn { .. } | Event::SignedOut { .. } | Event::Answered { .. } => {
                    panic!("client {}: it asked for nothing by REST's routes", self.name)
                }
                Event::Connected { .. } | Event::Disconnected { .. } | Event::Warning { .. } => {}
            }
        }
        let stats = self.core.stats();
        let wrong = (stats.gaps, stats.duplicates, stats.divergences);
        assert_eq!(wrong, (0, 0, 0), "client {}: gaps, duplicates, divergences", self.name);
    }

    fn session_event(&mut self, session: &str, event: SessionEvent, books: &Books) {
        let durable = books.durable(session);
        let mut known = self.known.remove(session).unwrap_or_default();
        let result = self.check(session, &mut known, event, durable, books);
        self.known.insert(session.to_owned(), known);
        if let Err(what) = result {
            self.fail(session, &what);
        }
    }

    fn check(
        &mut self,
        session: &str,
        known: &mut Known,
        event: SessionEvent,
        durable: u64,
        books: &Books,
    ) -> Result<(), String> {
        let told = format!("{event:?}");
        let rule = |holds: bool, what: &str| if holds { Ok(()) } else { Err(format!("{what}: {told}")) };
        match event {
            SessionEvent::Reset { reason, at, last_kept } => {
                let before = known.have.clone();
                match (&before, reason) {
                    (None, _) => rule(reason == ResetReason::Initial, "without a state only a first one comes")?,
                    (Some(_), ResetReason::Initial) => rule(known.may_begin_anew, "a first state came again")?,
                    (Some(have), ResetReason::Lost) => {
                        let kept = last_kept.ok_or("a loss names what was kept")?;
                        rule(!known.must_resume, "a clean restart loses nothing")?;
                        rule(kept < have.version, "nothing that the client had was lost")?;
                        rule(books.began_with(session, kept), "no process ever began with what it says was kept")?;
                        rule(at.epoch > have.epoch, "a loss comes with a new epoch")?;
                        for op in known.ops.values_mut() {
                            if op.durability == UpdateDurability::Accepted
                                && matches!(op.fate, Fate::Accepted(version) if version > kept)
                            {
                                op.fate = Fate::Lost;
                            }
                        }
                        self.seen.insert("lost");
                    }
                    (Some(have), ResetReason::Lagged) => {
                        rule(at.version >= have.version, "versions go back only after a loss")?;
                        self.seen.insert("lagged");
                    }
                    (Some(have), ResetReason::TooOld) => {
                        rule(at.version > have.version + 1_000, "what the store keeps is not too old")?;
                        self.seen.insert("too old");
                    }
                    (Some(_), ResetReason::UnknownEpoch) => rule(false, "no session was ever deleted")?,
                }
                if let Some(have) = before {
                    rule(at.epoch >= have.epoch, "epochs never go back")?;
                }
                (known.have, known.must_resume) = (Some(at), false);
                // One that came after it was left says nothing about the next time.
                known.may_begin_anew &= !known.wanted;
            }
            SessionEvent::Resumed { at, .. } => {
                let have = known.have.as_ref().ok_or("nothing to go on from")?;
                rule(at.version == have.version, "it goes on where it was")?;
                rule(at.epoch >= have.epoch, "epochs never go back")?;
                (known.have, known.must_resume) = (Some(at), false);
                self.seen.insert("resumed");
            }
            SessionEvent::Changed { at, .. } => {
                let have = known.have.as_mut().ok_or("a change without a state")?;
                rule(at.version == have.version + 1, "versions follow one another")?;
                *have = Position { epoch: have.epoch.max(at.epoch), version: at.version };
            }
            SessionEvent::Created { at, .. } => {
                if known.have.is_none() {
                    known.have = Some(at);
                }
            }
            SessionEvent::Accepted { counter, at } => {
                let op = known.ops.get_mut(&counter).ok_or("an op that was never made")?;
                let again = matches!(op.fate, Fate::Accepted(_) | Fate::Lost | Fate::Unwatched);
                rule(matches!(op.fate, Fate::Open) || again, "accepted after its end")?;
                // Of an op that is answered when durable this may come earlier: its change came as an event.
                let watched = known.wanted || op.durability != UpdateDurability::Accepted;
                op.fate = if watched { Fate::Accepted(at.version) } else { Fate::Unwatched };
            }
            SessionEvent::Durable { counter, at } => {
                let op = known.ops.get_mut(&counter).ok_or("an op that was never made")?;
                rule(at.version <= durable, "called durable, and is not")?;
                rule(op.fate != Fate::Refused, "durable after it was refused")?;
                op.fate = Fate::Durable;
            }
            SessionEvent::DurableUpTo { at } => rule(at.version <= durable, "called durable, and is not")?,
            SessionEvent::Refused { counter, .. } => {
                let op = known.ops.get_mut(&counter).ok_or("an op that was never made")?;
                rule(op.fate != Fate::Durable, "refused after it was durable")?;
                op.fate = Fate::Refused;
                self.seen.insert("refused");
            }
            SessionEvent::NoticesLagged => {
                self.seen.insert("notices lagged");
            }
            SessionEvent::Presence { .. }
            | SessionEvent::DeviceJoined(_)
            | SessionEvent::DeviceLeft { .. }
            | SessionEvent::HandoffRequested { .. }
            | SessionEvent::HandoffCompleted { .. }
            | SessionEvent::AccessChanged { .. } => {}
            SessionEvent::Deleted => rule(false, "nobody deleted a session")?,
            SessionEvent::Ended { .. } => rule(false, "nobody ended a session")?,
        }
        Ok(())
    }

    /// Whether nothing is open: every wanted session is live, and no own update waits.
    pub fn is_settled(&mut self) -> bool {
        let core = &mut self.core;
        core.is_connected()
            && self.gets == 0
            && self.known.iter().all(|(session, known)| {
                let unconfirmed = core.unconfirmed(session) == 0;
                unconfirmed && (core.is_live(session) || !known.wanted)
            })
    }

    /// The rules for own updates, once all is settled and `document` is the session's.
    pub fn check_ops(&self, session: &str, document: &Value, lists: bool) {
        let Some(known) = self.known.get(session) else { return };
        let there: Vec<u64> = if lists {
            let list = document.pointer(&format!("/log/{}", self.name)).and_then(Value::as_array);
            list.expect("the list is there").iter().filter_map(Value::as_u64).collect()
        } else {
            let of = document.pointer(&format!("/of/{}", self.name)).and_then(Value::as_object);
            let mut all: Vec<u64> = of.into_iter().flatten().filter_map(|(_, marker)| marker.as_u64()).collect();
            all.sort_unstable();
            all
        };
        for pair in there.windows(2) {
            if pair[0] >= pair[1] {
                self.fail(session, &format!("{} before {}: applied twice, or not in order", pair[0], pair[1]));
            }
        }
        let there: BTreeSet<u64> = there.into_iter().collect();
        let mut made = BTreeSet::new();
        for (counter, op) in known.ops.iter().filter(|(_, op)| op.marker > 0) {
            made.insert(op.marker);
            let is_there = there.contains(&op.marker);
            let right = match op.fate {
                Fate::Durable => is_there,
                Fate::Refused | Fate::Lost => !is_there,
                Fate::Accepted(_) => is_there && op.durability == UpdateDurability::Accepted,
                Fate::Unwatched => true,
                Fate::Open => false,
            };
            if !right {
                self.fail(session, &format!("op {counter}: {op:?}, and in the document: {is_there}"));
            }
        }
        if let Some(stray) = there.iter().find(|marker| !made.contains(marker)) {
            self.fail(session, &format!("{stray} is in the document and was never made"));
        }
    }

    /// What was durable for its application is in `document`, whatever happens.
    pub fn check_durable(&self, session: &str, document: &Value, lists: bool) {
        let Some(known) = self.known.get(session) else { return };
        let place = if lists { format!("/log/{}", self.name) } else { format!("/of/{}", self.name) };
        let there: BTreeSet<u64> = match document.pointer(&place) {
            Some(found) if lists => found.as_array().into_iter().flatten().filter_map(Value::as_u64).collect(),
            Some(found) => found.as_object().into_iter().flatten().filter_map(|(_, m)| m.as_u64()).collect(),
            None => BTreeSet::new(),
        };
        let lost =
            known.ops.values().find(|op| op.fate == Fate::Durable && op.marker > 0 && !there.contains(&op.marker));
        if let Some(op) = lost {
            self.fail(session, &format!("{op:?} is lost"));
        }
    }
}

/// The next whole message: (opcode, payload). A server masks nothing and fragments nothing.
pub fn message(partial: &mut BytesMut) -> Option<(u8, Bytes)> {
    let (head, length) = match (*partial.get(1)?, partial.len()) {
        (126, have) if have >= 4 => (4, usize::from(u16::from_be_bytes([partial[2], partial[3]]))),
        (127, have) if have >= 10 => (10, u64::from_be_bytes(partial[2..10].try_into().expect("8 bytes")) as usize),
        (length @ 0..=125, _) => (2, usize::from(length)),
        (126 | 127, _) => return None,
        (length, _) => panic!("a server masked a message: {length}"),
    };
    if partial.len() < head + length {
        return None;
    }
    let opcode = partial[0] & 15;
    assert_eq!(partial[0] & 0xf0, 0x80, "one frame, no extension");
    partial.advance(head);
    Some((opcode, partial.split_to(length).freeze()))
}
