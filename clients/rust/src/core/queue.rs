//! The own ops of one session: those that wait, those that are sent, and those that are applied but not known durable,
//! in counter order. Decides what is sent next and which ops fail together; never looks at the server's state.

use std::collections::VecDeque;

use bytes::Bytes;
use syncbridge_codec::message::{ConflictPolicy, DevicePolicy, Durability, Position};
use syncbridge_document::{Patch, Touches, Value};

/// How far an op has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// Not answered.
    Pending,
    /// Answered as applied at this version, which the client's copy has not reached: its `Delta` is still to come.
    Answered(u64),
    /// Applied at this version, which the client's copy contains.
    Contained(u64),
}

/// A change of the document.
#[derive(Debug, Clone)]
pub(super) struct Update {
    pub(super) patch: Patch,
    /// The patch as it is sent.
    pub(super) text: Bytes,
    pub(super) touches: Touches,
    /// The place it was made for; `None` until the session, made offline, has a place.
    pub(super) base: Option<Position>,
    pub(super) durability: Durability,
    pub(super) on_conflict: Option<ConflictPolicy>,
    pub(super) lenient: bool,
    /// The op it builds on.
    pub(super) after: Option<u64>,
    /// Further ops it builds on. The wire names only one, so this update is held until they are answered.
    pub(super) awaits: Vec<u64>,
    /// What it was said to build on when it was last sent: what was answered by then is not named, so the server takes
    /// the update whatever becomes of that since.
    pub(super) named: Option<u64>,
}

#[derive(Debug, Clone)]
pub(super) enum Body {
    Create {
        state: Value,
        text: Bytes,
        conflict: ConflictPolicy,
        devices: DevicePolicy,
    },
    Update(Box<Update>),
    /// An update that was refused here because one it builds on was. If its counter was not answered, an empty patch goes
    /// out under it: a server that told it, or an earlier one, to come again waits for it before it takes a later one.
    GivenUp,
}

#[derive(Debug, Clone)]
pub(super) struct Op {
    pub(super) counter: u64,
    pub(super) body: Body,
    pub(super) progress: Progress,
    /// The server of the present connection has said that it knows it. Until then a `Durable` says nothing about it: the
    /// version that an earlier server named may be another one by now.
    pub(super) confirmed: bool,
    /// Storage holds it; it leaves the queue as soon as the client's copy contains it.
    pub(super) durable: bool,
    /// It does not apply to the newest state, so the optimistic document is shown without it. The server decides.
    pub(super) skipped: bool,
}

impl Op {
    pub(super) const fn update(&self) -> Option<&Update> {
        match &self.body {
            Body::Update(update) => Some(update),
            Body::Create { .. } | Body::GivenUp => None,
        }
    }

    pub(super) fn durability(&self) -> Durability {
        match &self.body {
            Body::Create { .. } => Durability::Durable,
            Body::Update(update) => update.durability,
            Body::GivenUp => Durability::Accepted,
        }
    }

    /// Whether the optimistic document shows it on top of the server's state.
    pub(super) const fn is_overlay(&self) -> bool {
        matches!(self.body, Body::Update(_)) && !matches!(self.progress, Progress::Contained(_))
    }

    fn size(&self) -> usize {
        match &self.body {
            Body::Create { text, .. } => text.len(),
            Body::Update(update) => update.text.len(),
            Body::GivenUp => 0,
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    ops: VecDeque<Op>,
    bytes: usize,
    /// Ops below this counter are sent on the present connection.
    send_next: u64,
    /// Counter of the newest op ever made.
    last: u64,
    /// The newest refused ops, so that nothing is built on them later; at most [`REFUSED`].
    refused: VecDeque<u64>,
}

/// Refused ops that are remembered: an application that builds on one does so at once or never.
const REFUSED: usize = 256;

impl Queue {
    /// A queue whose counters go on after `last`.
    pub(super) fn after(last: u64) -> Self {
        Self { last, ..Self::default() }
    }

    pub(super) const fn last(&self) -> u64 {
        self.last
    }

    pub(super) fn len(&self) -> usize {
        self.ops.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Op> {
        self.ops.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Op> {
        self.ops.iter_mut()
    }

    fn index(&self, counter: u64) -> Option<usize> {
        self.ops.binary_search_by_key(&counter, |op| op.counter).ok()
    }

    pub(super) fn get(&self, counter: u64) -> Option<&Op> {
        self.ops.get(self.index(counter)?)
    }

    pub(super) fn get_mut(&mut self, counter: u64) -> Option<&mut Op> {
        let index = self.index(counter)?;
        self.ops.get_mut(index)
    }

    /// Appends an op under the next counter.
    pub(super) fn push(&mut self, body: Body) -> u64 {
        self.last += 1;
        let op = Op {
            counter: self.last,
            body,
            progress: Progress::Pending,
            confirmed: false,
            durable: false,
            skipped: false,
        };
        self.restore(op);
        self.last
    }

    /// Puts an exported op back; its counter is above all others in the queue.
    pub(super) fn restore(&mut self, op: Op) {
        self.last = self.last.max(op.counter);
        self.bytes += op.size();
        self.ops.push_back(op);
    }

    pub(super) fn remove(&mut self, counter: u64) -> Option<Op> {
        let op = self.ops.remove(self.index(counter)?)?;
        self.bytes -= op.size();
        Some(op)
    }

    /// Every op is sent again on the next connection, with its counter.
    pub(super) const fn rewind_all(&mut self) {
        self.send_next = 0;
    }

    /// This op and all after it are sent again.
    pub(super) fn rewind(&mut self, counter: u64) {
        self.send_next = self.send_next.min(counter);
    }

    /// The next op to send, in counter order; `None` when all are sent or the next one has to wait.
    pub(super) fn next_to_send(&self, live: bool, unconfirmed: usize) -> Option<&Op> {
        let index = self.ops.partition_point(|op| op.counter < self.send_next);
        let op = self.ops.get(index)?;
        let ready = match &op.body {
            Body::Create { .. } => true,
            Body::GivenUp => live,
            Body::Update(update) => {
                live && index < unconfirmed && !update.awaits.iter().any(|on| self.is_unanswered(*on))
            }
        };
        ready.then_some(op)
    }

    pub(super) const fn sent(&mut self, counter: u64) {
        self.send_next = counter + 1;
    }

    /// Whether an op is in the queue and the server has not said what became of it.
    pub(super) fn is_unanswered(&self, counter: u64) -> bool {
        self.get(counter).is_some_and(|op| op.progress == Progress::Pending)
    }

    /// The ops that a new update builds on, given which of them it depends on directly: each newest one of an unrelated
    /// chain, newest first.
    pub(super) fn dependencies(&self, direct: impl Fn(&Update) -> bool) -> Vec<u64> {
        let mut heads: Vec<u64> = Vec::new();
        // Everything that some head already builds on, directly or not.
        let mut covered: Vec<u64> = Vec::new();
        for op in self.ops.iter().rev() {
            // A refused `Create` fails everything in its session by itself.
            let Some(update) = op.update() else { continue };
            let is_covered = covered.contains(&op.counter);
            let is_direct = direct(update);
            if is_direct && !is_covered {
                heads.push(op.counter);
            }
            if is_direct || is_covered {
                covered.extend(update.after.iter().chain(&update.awaits));
            }
        }
        heads
    }

    pub(super) fn was_refused(&self, counter: u64) -> bool {
        self.refused.contains(&counter)
    }

    /// Takes out the refused op and every op that builds on it, in counter order, each with the counter it failed on.
    pub(super) fn refuse(&mut self, counter: u64) -> Vec<(Op, Option<u64>)> {
        let Some(first) = self.remove(counter) else { return Vec::new() };
        let mut failed = vec![(first, None)];
        let mut refused = vec![counter];
        let mut index = self.ops.partition_point(|op| op.counter < counter);
        while let Some(op) = self.ops.get(index) {
            // What the server has applied stands, whatever it was built on; and what it was sent, but for what it was told.
            let sent = op.counter < self.send_next;
            let builds_on = |update: &Update| {
                let all = update.after.iter().chain(&update.awaits).filter(|_| !sent).copied();
                all.chain(update.named.filter(|_| sent)).find(|on| refused.contains(on))
            };
            let on = op.update().filter(|_| op.progress == Progress::Pending).and_then(builds_on);
            let counter = op.counter;
            let Some(on) = on else {
                index += 1;
                continue;
            };
            refused.push(counter);
            if let Some(op) = self.remove(counter) {
                failed.push((op, Some(on)));
            }
            let (progress, confirmed, durable, skipped) = (Progress::Pending, false, false, false);
            self.ops.insert(index, Op { counter, body: Body::GivenUp, progress, confirmed, durable, skipped });
            index += 1;
        }
        self.refused.extend(refused);
        let surplus = self.refused.len().saturating_sub(REFUSED);
        self.refused.drain(..surplus);
        failed
    }

    /// Takes out every op.
    pub(super) fn drain(&mut self) -> Vec<Op> {
        self.bytes = 0;
        self.ops.drain(..).collect()
    }
}
