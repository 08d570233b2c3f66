//! One session as the client sees it: the server's state at a place, the own ops on top, the subscription that brings
//! the rest. Never sends, never waits: the core asks it what to send and tells it what came.

use bytes::Bytes;
use bytestring::ByteString;
use syncbridge_codec::{
    ErrorCode, Message,
    message::{
        self, Accepted, Attached, Conflict, Created, Cursor, Delta, Durability, Origin, Position, Reset, ResetReason,
        Resumed, TopicKind,
    },
};
use syncbridge_document::{Patch, Value};

use super::{
    apply,
    event::{Fault, SessionEvent},
    queue::{Body, Op, Progress, Queue},
    snapshot::Assembly,
    unsent::Unsent,
};
use crate::error::{Refusal, ServerError};

/// Where the subscription stands on the present connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subscription {
    /// None is asked for.
    Idle,
    /// Asked for with a `Subscribe`; what comes before its answer belongs to an earlier subscription.
    Asked {
        /// The request.
        id: u64,
    },
    /// Asked for with a cursor in `Hello`.
    Resuming,
    /// A snapshot comes in parts.
    Loading,
    /// Events come.
    Live,
    /// Its end is asked for.
    Leaving {
        /// The request.
        id: u64,
    },
}

/// The server's state.
#[derive(Debug, Clone)]
pub(super) struct Replica {
    pub(super) document: Value,
    pub(super) at: Position,
}

/// The optimistic document: the server's state with the own ops on top.
#[derive(Debug, Default)]
struct View {
    document: Option<Value>,
    stale: bool,
    /// Grows whenever the document may have changed.
    revision: u64,
}

#[expect(clippy::struct_excessive_bools, reason = "they are independent of each other")]
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: ByteString,
    pub(super) subscription: Subscription,
    /// The application wants it; else it is left as soon as its queue is empty.
    pub(super) wanted: bool,
    pub(super) replica: Option<Replica>,
    /// The replica proved wrong: the next subscription asks for a snapshot.
    pub(super) distrusted: bool,
    /// When the subscription was asked for, or its end.
    pub(super) asked_at: u64,
    pub(super) queue: Queue,
    /// Own updates that another device's being active kept from being applied.
    pub(super) unsent: Unsent,
    /// Nothing is sent before this time: the server was busy.
    pub(super) retry_at: Option<u64>,
    /// Busy answers in a row.
    pub(super) busy_rounds: u32,
    /// Another server has it, as this connection's said last.
    pub(super) is_away: bool,
    /// Whether the core has it in its list of sessions with something to send.
    pub(super) is_listed: bool,
    assembly: Option<(Assembly, ResetReason, Option<u64>)>,
    view: View,
    presence: Presence,
}

#[derive(Debug, Default)]
pub(super) struct Presence {
    seq: u64,
    pub(super) devices: Vec<Attached>,
    pub(super) active_device: Option<ByteString>,
}

type Events = Vec<SessionEvent>;

impl Session {
    pub(super) fn new(id: ByteString, queue: Queue) -> Self {
        Self {
            id,
            subscription: Subscription::Idle,
            wanted: true,
            replica: None,
            distrusted: false,
            asked_at: 0,
            queue,
            unsent: Unsent::default(),
            retry_at: None,
            busy_rounds: 0,
            is_away: false,
            is_listed: false,
            assembly: None,
            view: View { stale: true, ..View::default() },
            presence: Presence::default(),
        }
    }

    /// The optimistic document; `None` before the first state.
    pub(super) fn document(&mut self) -> Option<&Value> {
        if self.view.stale {
            self.view.stale = false;
            self.view.document = self.base_document().cloned();
            if let Some(document) = &mut self.view.document {
                for op in self.queue.iter_mut().filter(|op| op.is_overlay()) {
                    if let Body::Update(update) = &op.body {
                        op.skipped = apply::apply(document, &update.patch, update.lenient).is_err();
                    }
                }
            }
        }
        self.view.document.as_ref()
    }

    pub(super) const fn revision(&self) -> u64 {
        self.view.revision
    }

    pub(super) fn presence(&self) -> &Presence {
        &self.presence
    }

    /// The server's state, or the first one of a session that is not made yet.
    fn base_document(&self) -> Option<&Value> {
        self.replica.as_ref().map(|replica| &replica.document).or_else(|| {
            self.queue.iter().find_map(|op| match &op.body {
                Body::Create { state, .. } => Some(state),
                Body::Update(_) | Body::GivenUp => None,
            })
        })
    }

    const fn touched(&mut self) {
        self.view.stale = true;
        self.view.revision += 1;
    }

    /// Adds an op that `document` (the view with it) already shows.
    pub(super) fn push(&mut self, body: Body, document: Value) -> u64 {
        let counter = self.queue.push(body);
        self.view = View { document: Some(document), stale: false, revision: self.view.revision + 1 };
        counter
    }

    /// Puts back what was exported.
    pub(super) fn restore(&mut self, replica: Option<Replica>, ops: impl IntoIterator<Item = Op>) {
        self.replica = replica;
        ops.into_iter().for_each(|op| self.queue.restore(op));
        self.touched();
    }

    /// What `Hello` resumes from.
    pub(super) fn cursor(&self) -> Option<Cursor> {
        let replica = self.replica.as_ref().filter(|_| !self.distrusted)?;
        let Position { epoch, version } = replica.at;
        Some(Cursor { kind: TopicKind::State, topic: self.id.clone(), epoch, seq: version })
    }

    /// What `Subscribe` says the client has.
    pub(super) fn have(&self) -> Option<Position> {
        self.replica.as_ref().filter(|_| !self.distrusted).map(|replica| replica.at.clone())
    }

    /// Whether the session waits to be made, so that there is nothing to subscribe to.
    pub(super) fn is_unmade(&self) -> bool {
        self.queue.iter().next().is_some_and(|op| matches!(op.body, Body::Create { .. }))
    }

    /// The connection is gone: everything unconfirmed is sent again on the next one, in order, with the same counters.
    pub(super) fn on_link_lost(&mut self) {
        self.retry_at = None;
        self.is_listed = false;
        self.is_away = false;
        self.begin_anew();
    }

    /// Another server has it: as if the link were lost, for this session.
    pub(super) fn on_moved(&mut self) {
        self.is_away = true;
        self.begin_anew();
    }

    fn begin_anew(&mut self) {
        self.subscription = Subscription::Idle;
        self.assembly = None;
        for op in self.queue.iter_mut() {
            op.confirmed = false;
            // The version that the answer named may be lost by now, without this client's cursor being so.
            if matches!(op.progress, Progress::Answered(_)) {
                (op.progress, op.durable) = (Progress::Pending, false);
            }
        }
        self.queue.rewind_all();
    }

    /// The next op to send at `now`, as a message.
    pub(super) fn next_message(&mut self, unconfirmed: usize) -> Option<Message> {
        if self.retry_at.is_some() {
            return None;
        }
        let live = self.subscription == Subscription::Live;
        let op = self.queue.next_to_send(live, unconfirmed)?;
        let (counter, session) = (op.counter, self.id.clone());
        let message = match &op.body {
            Body::Create { text, conflict, devices, .. } => Message::from(message::Create {
                counter,
                session,
                state: text.clone(),
                conflict: *conflict,
                devices: *devices,
            }),
            Body::Update(update) => {
                let base = update.base.clone().or_else(|| self.have())?;
                // One that was answered was applied: naming it would only ask the server to remember it for longer
                // than it promises.
                let after = update.after.filter(|on| self.queue.is_unanswered(*on));
                Message::from(message::Update {
                    counter,
                    session,
                    base,
                    operations: update.text.clone(),
                    durability: update.durability,
                    on_conflict: update.on_conflict,
                    after,
                    lenient: update.lenient,
                })
            }
            Body::GivenUp => Message::from(message::Update {
                counter,
                session,
                base: self.have()?,
                operations: Bytes::from_static(b"[]"),
                ..message::Update::default()
            }),
        };
        let named = if let Message::Update(update) = &message { update.after } else { None };
        if let Some(op) = self.queue.get_mut(counter)
            && let Body::Update(update) = &mut op.body
        {
            update.named = named;
        }
        self.queue.sent(counter);
        Some(message)
    }

    // What comes from the server, in its order.

    pub(super) fn on_resumed(&mut self, message: &Resumed, events: &mut Events) -> Result<(), Fault> {
        if !self.answers(message.id) {
            return Ok(());
        }
        let Some(replica) = self.replica.as_mut().filter(|_| !self.distrusted) else {
            return Err(self.gap(1, message.after + 1));
        };
        let have = replica.at.version;
        if message.after != have {
            return Err(self.gap(have + 1, message.after + 1));
        }
        // The server takes the client's place for one of this epoch's line.
        replica.at.epoch = replica.at.epoch.max(message.epoch);
        let at = replica.at.clone();
        self.is_away = false;
        self.subscription = Subscription::Live;
        events.push(SessionEvent::Resumed { at, version: message.version });
        Ok(())
    }

    pub(super) fn on_reset(&mut self, message: Reset, max: u64, events: &mut Events) -> Result<(), Fault> {
        let by_itself = message.id.is_none() && matches!(self.subscription, Subscription::Live | Subscription::Loading);
        if !by_itself && !self.answers(message.id) {
            return Ok(());
        }
        if let Some(text) = message.state {
            return self.load(message.at, &text, message.reason, message.last_kept, events);
        }
        self.subscription = Subscription::Loading;
        self.assembly = Some((Assembly::new(message.at, max), message.reason, message.last_kept));
        Ok(())
    }

    /// Whether an answer with this id is the one that is waited for. Others belong to an earlier subscription.
    fn answers(&self, answer: Option<u64>) -> bool {
        match self.subscription {
            Subscription::Asked { id } => answer == Some(id),
            Subscription::Resuming => answer.is_none(),
            _ => false,
        }
    }

    pub(super) const fn is_loading(&self) -> bool {
        self.assembly.is_some()
    }

    pub(super) fn on_snapshot_begin(&mut self, at: &Position, size: u64) -> Result<(), Fault> {
        self.assembly.as_mut().map_or(Ok(()), |(assembly, ..)| assembly.begin(at, size))
    }

    pub(super) fn on_snapshot_part(&mut self, offset: u64, part: &[u8]) -> Result<(), Fault> {
        self.assembly.as_mut().map_or(Ok(()), |(assembly, ..)| assembly.part(offset, part))
    }

    pub(super) fn on_snapshot_end(&mut self, checksum: u32, events: &mut Events) -> Result<(), Fault> {
        let Some((assembly, reason, last_kept)) = self.assembly.take() else { return Ok(()) };
        let (at, text) = assembly.end(checksum)?;
        self.load(at, &text, reason, last_kept, events)
    }

    /// Replaces the server's state, and works out which own ops the new one contains.
    fn load(
        &mut self,
        at: Position,
        text: &[u8],
        reason: ResetReason,
        last_kept: Option<u64>,
        events: &mut Events,
    ) -> Result<(), Fault> {
        let document = apply::parse_document(text).map_err(|text| Fault::Diverged {
            session: self.id.clone(),
            version: at.version,
            text,
        })?;
        // What the server kept of the line of versions that the client knew.
        let kept = match reason {
            ResetReason::Lost => last_kept.unwrap_or(0),
            ResetReason::UnknownEpoch => 0,
            ResetReason::Initial | ResetReason::TooOld | ResetReason::Lagged => at.version,
        };
        if reason == ResetReason::UnknownEpoch {
            self.forget_confirmed(events);
        }
        let known_epoch = self.replica.as_ref().map_or(at.epoch, |replica| replica.at.epoch);
        for op in self.queue.iter_mut() {
            if let Progress::Answered(version) | Progress::Contained(version) = op.progress
                && version > kept
            {
                (op.progress, op.durable) = (Progress::Pending, false);
            }
            if let Body::Update(update) = &mut op.body
                && let Some(base) = &mut update.base
                && reason == ResetReason::Lost
                && base.version > kept
            {
                // Made for a state that the server no longer knows: what both know is the best base that is left, and
                // the server checks everything since.
                *base = if last_kept.is_some() { Position { epoch: known_epoch, version: kept } } else { at.clone() };
            }
        }
        self.replica = Some(Replica { document, at: at.clone() });
        self.distrusted = false;
        self.is_away = false;
        self.subscription = Subscription::Live;
        self.assembly = None;
        self.touched();
        // In this connection too: an answer that was on its way may have been conflated away with the events.
        self.queue.rewind_all();
        events.push(SessionEvent::Reset { reason, at, last_kept });
        self.settle(events);
        Ok(())
    }

    /// The session was deleted and made again: what the old one had confirmed went with it.
    fn forget_confirmed(&mut self, events: &mut Events) {
        let confirmed = self.queue.iter().filter(|op| op.progress != Progress::Pending);
        for counter in confirmed.map(|op| op.counter).collect::<Vec<_>>() {
            let text = "the session was deleted and made again";
            let refusal = Refusal::Error(ServerError::of(ErrorCode::NotFound, text));
            let patch = self.queue.remove(counter).and_then(|op| op.update().map(|update| update.patch.clone()));
            events.push(SessionEvent::Refused { counter, patch, refusal });
        }
    }

    pub(super) fn on_delta(&mut self, message: Delta, incarnation: u128, events: &mut Events) -> Result<(), Fault> {
        match self.subscription {
            Subscription::Live => {}
            // Left over from an earlier subscription of this connection.
            Subscription::Idle | Subscription::Asked { .. } | Subscription::Leaving { .. } => return Ok(()),
            Subscription::Resuming | Subscription::Loading => return Err(self.early(message.at.version)),
        }
        let patch = apply::parse(&message.operations).map_err(|text| self.diverged(message.at.version, text))?;
        let own = message.origin.incarnation == incarnation;
        let op = if own { Some(message.origin.counter) } else { None };
        self.advance(&message.at, &patch, op)?;
        let Delta { at, device, origin, time_ms, .. } = message;
        events.push(SessionEvent::Changed { at: at.clone(), patch, device, origin, own, time_ms });
        if let Some(counter) = op {
            self.contain(counter, at.version, events);
        }
        self.settle(events);
        Ok(())
    }

    /// Takes the server's state from one version to the next.
    fn advance(&mut self, at: &Position, patch: &Patch, own: Option<u64>) -> Result<(), Fault> {
        let Some(have) = self.replica.as_ref().map(|replica| replica.at.version) else {
            return Err(self.gap(1, at.version));
        };
        if at.version <= have {
            return Err(Fault::Duplicate { session: self.id.clone(), have, got: at.version });
        }
        if at.version != have + 1 {
            return Err(self.gap(have + 1, at.version));
        }
        let Some(replica) = &mut self.replica else { return Ok(()) };
        if let Err(text) = apply::apply_delta(&mut replica.document, patch) {
            return Err(self.diverged(at.version, text));
        }
        replica.at = Position { epoch: replica.at.epoch.max(at.epoch), version: at.version };
        // The first op of the overlay, applied as it was sent: the optimistic document is the same before and after.
        let first = self.queue.iter().find(|op| op.is_overlay());
        let unchanged = first.is_some_and(|op| {
            Some(op.counter) == own && !op.skipped && op.update().is_some_and(|update| update.patch == *patch)
        });
        if !unchanged {
            self.touched();
        }
        Ok(())
    }

    pub(super) fn on_accepted(
        &mut self,
        message: Accepted,
        incarnation: u128,
        events: &mut Events,
    ) -> Result<(), Fault> {
        let Accepted { counter, at, durable, operations, changed, .. } = message;
        self.busy_rounds = 0;
        let Some(op) = self.queue.get(counter) else { return Ok(()) };
        if matches!(op.body, Body::GivenUp) && !changed {
            self.queue.remove(counter);
            return Ok(());
        }
        let withheld = op.durability() == Durability::Durable;
        let have = self.replica.as_ref().map_or(0, |replica| replica.at.version);
        if changed && !withheld && self.subscription == Subscription::Live && at.version > have {
            let patch = match (&operations, op.update()) {
                (Some(text), _) => apply::parse(text).map_err(|text| self.diverged(at.version, text))?,
                (None, Some(update)) => update.patch.clone(),
                (None, None) => return Ok(()),
            };
            self.advance(&at, &patch, Some(counter))?;
            let origin = Origin { incarnation, counter };
            let device = ByteString::new();
            events.push(SessionEvent::Changed { at: at.clone(), patch, device, origin, own: true, time_ms: 0 });
        }
        if let Some(op) = self.queue.get_mut(counter) {
            op.confirmed = true;
            op.durable |= durable;
        }
        let have = self.replica.as_ref().map_or(0, |replica| replica.at.version);
        if at.version <= have {
            self.contain(counter, at.version, events);
        } else if let Some(op) = self.queue.get_mut(counter)
            && op.progress == Progress::Pending
        {
            // Its `Delta` is still on its way (the subscription is catching up, or is not there).
            op.progress = Progress::Answered(at.version);
            events.push(SessionEvent::Accepted { counter, at });
        }
        self.settle(events);
        Ok(())
    }

    /// The replica contains this op from `version` on.
    fn contain(&mut self, counter: u64, version: u64, events: &mut Events) {
        let at = self.place(version);
        let Some(op) = self.queue.get_mut(counter) else { return };
        let told = op.progress == Progress::Answered(version) || op.progress == Progress::Contained(version);
        let was_overlay = op.is_overlay();
        (op.progress, op.confirmed) = (Progress::Contained(version), true);
        if !told {
            events.push(SessionEvent::Accepted { counter, at });
        }
        // `advance` left the view alone only where this op's leaving the overlay changes nothing.
        if was_overlay && op.skipped {
            self.touched();
        }
    }

    /// Moves ops on whose `Delta` has come, and lets go of those that need nothing more.
    fn settle(&mut self, events: &mut Events) {
        let Some(have) = self.replica.as_ref().map(|replica| replica.at.version) else { return };
        let mut done = Vec::new();
        let mut changed = false;
        for op in self.queue.iter_mut() {
            if let Progress::Answered(version) = op.progress
                && version <= have
            {
                op.progress = Progress::Contained(version);
                changed = true;
            }
            if let Progress::Contained(version) = op.progress
                && (op.durable || op.durability() == Durability::Accepted)
            {
                done.push((op.counter, version, op.durable));
            }
        }
        if changed {
            self.touched();
        }
        for (counter, version, durable) in done {
            self.queue.remove(counter);
            if durable {
                events.push(SessionEvent::Durable { counter, at: self.place(version) });
            }
        }
    }

    fn place(&self, version: u64) -> Position {
        Position { epoch: self.replica.as_ref().map_or(0, |replica| replica.at.epoch), version }
    }

    pub(super) fn on_durable(&mut self, at: Position, events: &mut Events) {
        for op in self.queue.iter_mut().filter(|op| op.confirmed) {
            if let Progress::Answered(version) | Progress::Contained(version) = op.progress
                && version <= at.version
            {
                op.durable = true;
            }
        }
        events.push(SessionEvent::DurableUpTo { at });
        self.settle(events);
    }

    pub(super) fn on_created(&mut self, message: &Created, events: &mut Events) {
        let Some(op) = self.queue.get(message.counter) else { return };
        let Body::Create { state, .. } = &op.body else { return };
        let at = Position { epoch: message.epoch, version: message.version };
        if message.version == 1 && self.replica.is_none() {
            self.replica = Some(Replica { document: state.clone(), at: at.clone() });
        }
        self.queue.remove(message.counter);
        for op in self.queue.iter_mut() {
            if let Body::Update(update) = &mut op.body {
                update.base.get_or_insert_with(|| at.clone());
            }
        }
        self.touched();
        events.push(SessionEvent::Created { counter: message.counter, at: at.clone() });
        // A session is durable before its making is answered.
        events.push(SessionEvent::Durable { counter: message.counter, at });
    }

    pub(super) fn on_conflict(&mut self, message: Conflict, events: &mut Events) {
        self.busy_rounds = 0;
        self.refuse(message.counter, &Refusal::Conflict { at: message.at, paths: message.paths }, events);
    }

    /// An own op is refused for good, and with it what builds on it.
    pub(super) fn refuse(&mut self, counter: u64, refusal: &Refusal, events: &mut Events) {
        let Some(op) = self.queue.get(counter) else { return };
        if matches!(op.progress, Progress::Contained(_) | Progress::Answered(_))
            && refusal.code() == Some(ErrorCode::OpExpired)
        {
            // It was applied, and so long ago that its answer is gone: then it is durable as well.
            if let Some(op) = self.queue.get_mut(counter) {
                op.durable = true;
            }
            self.settle(events);
            return;
        }
        let failed = if matches!(op.body, Body::Create { .. }) {
            // Nothing in a session that is not made can be done.
            self.queue
                .drain()
                .into_iter()
                .map(|op| (op.counter != counter, op))
                .map(|(after, op)| (op, after.then_some(counter)))
                .collect()
        } else {
            self.queue.refuse(counter)
        };
        self.touched();
        for (op, on) in failed {
            // It was told when it was given up.
            if matches!(op.body, Body::GivenUp) {
                continue;
            }
            let counter = op.counter;
            if let (Some(ErrorCode::NotActive), Some(update)) = (refusal.code(), op.update()) {
                self.unsent.keep(counter, update);
            }
            let refusal = on.map_or_else(|| refusal.clone(), |on| Refusal::Dependency { on });
            let patch = op.update().map(|update| update.patch.clone());
            events.push(SessionEvent::Refused { counter, patch, refusal });
        }
    }

    /// The subscription is over; nothing of the queue can be answered any more.
    pub(super) fn end(&mut self, error: &ServerError, events: &mut Events) {
        for op in self.queue.drain().into_iter().filter(|op| !matches!(op.body, Body::GivenUp)) {
            let patch = op.update().map(|update| update.patch.clone());
            let refusal = Refusal::Error(error.clone());
            events.push(SessionEvent::Refused { counter: op.counter, patch, refusal });
        }
        self.touched();
        events.push(SessionEvent::Ended { error: error.clone() });
    }

    // Notices.

    pub(super) fn on_presence(&mut self, message: message::Presence, events: &mut Events) {
        let message::Presence { seq, devices, active_device, .. } = message;
        self.presence = Presence { seq, devices: devices.clone(), active_device: active_device.clone() };
        events.push(SessionEvent::Presence { devices, active_device });
    }

    pub(super) fn on_joined(&mut self, seq: u64, device: Attached, events: &mut Events) {
        if seq > self.presence.seq {
            self.presence.seq = seq;
            self.presence.devices.retain(|other| (&other.device, &other.user) != (&device.device, &device.user));
            self.presence.devices.push(device.clone());
            events.push(SessionEvent::DeviceJoined(device));
        }
    }

    pub(super) fn on_left(&mut self, message: message::DeviceLeft, events: &mut Events) {
        let message::DeviceLeft { seq, device, user, .. } = message;
        if seq > self.presence.seq {
            self.presence.seq = seq;
            self.presence.devices.retain(|other| (&other.device, &other.user) != (&device, &user));
            events.push(SessionEvent::DeviceLeft { device, user });
        }
    }

    pub(super) fn on_handoff_requested(&mut self, message: message::HandoffRequested, events: &mut Events) {
        let message::HandoffRequested { handoff, user, device, expires_ms, .. } = message;
        // Told again, with its place, to who comes while it waits for an answer: news all the same.
        self.presence.seq = self.presence.seq.max(message.seq);
        events.push(SessionEvent::HandoffRequested { handoff, user, device, expires_ms });
    }

    pub(super) fn on_handoff_completed(&mut self, message: message::HandoffCompleted, events: &mut Events) {
        let message::HandoffCompleted { seq, handoff, from, user, device, .. } = message;
        if seq > self.presence.seq {
            self.presence.seq = seq;
            self.presence.active_device = Some(device.clone());
            events.push(SessionEvent::HandoffCompleted { handoff, from, user, device });
        }
    }

    pub(super) fn on_access_changed(&mut self, message: message::AccessChanged, events: &mut Events) {
        let message::AccessChanged { seq, user, role, .. } = message;
        self.presence.seq = self.presence.seq.max(seq);
        events.push(SessionEvent::AccessChanged { user, role });
    }

    fn gap(&self, expected: u64, got: u64) -> Fault {
        Fault::Gap { session: self.id.clone(), expected, got }
    }

    fn early(&self, version: u64) -> Fault {
        self.diverged(version, "an event came before the state it belongs to".to_owned())
    }

    fn diverged(&self, version: u64, text: String) -> Fault {
        Fault::Diverged { session: self.id.clone(), version, text }
    }
}
