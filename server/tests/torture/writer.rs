//! A client that keeps many updates in flight and writes down every answer. It knows the rules of resending (`busy` keeps
//! the order) and nothing else: no document, no state.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use syncbridge_codec::{
    ErrorCode, Message,
    message::{Durability, Position, Subscribe, Update},
};
use tokio::{
    sync::{Barrier, watch},
    time::Instant,
};

use crate::{
    support::wire::{Heard, Via, Wire, hello},
    truth::{Clock, Follow, Truth, append},
};

/// Updates in flight, a session.
const WINDOW: usize = 16;

/// An update that was made.
#[derive(Debug, Clone)]
pub struct Op {
    pub counter: u64,
    pub marker: String,
    pub durability: Durability,
    pub base: Position,
}

/// What `Accepted` said of an op.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    pub version: u64,
    pub durable: bool,
    pub changed: bool,
    /// The place in the trace at which it was heard.
    pub heard: u64,
}

/// What a writer does in one session.
#[derive(Debug, Clone)]
pub struct Lane {
    /// Its place in the truths.
    pub session: usize,
    /// What it made since the last kill that was looked at, ascending.
    pub ops: Vec<Op>,
    /// The answers that this connection got.
    pub answers: BTreeMap<u64, Answer>,
    /// The counter of the next op to be made.
    pub counter: u64,
    next: usize,
    in_flight: BTreeSet<u64>,
    again: BTreeSet<u64>,
    not_before: Instant,
    follow: Option<Follow>,
    base: Position,
}

impl Lane {
    /// In a session of which this incarnation has done nothing.
    pub fn new(session: usize) -> Self {
        Self {
            session,
            ops: Vec::new(),
            answers: BTreeMap::new(),
            counter: 1,
            next: 0,
            in_flight: BTreeSet::new(),
            again: BTreeSet::new(),
            not_before: Instant::now(),
            follow: None,
            base: Position::default(),
        }
    }

    fn op(&self, counter: u64) -> &Op {
        let first = self.ops.first().expect("an op is asked for").counter;
        &self.ops[usize::try_from(counter - first).expect("small")]
    }

    /// What it knew at this place in the trace.
    #[must_use]
    pub fn until(mut self, position: u64) -> Self {
        self.answers.retain(|_, answer| answer.heard <= position);
        self
    }

    fn is_done(&self) -> bool {
        self.next == self.ops.len() && self.in_flight.is_empty() && self.again.is_empty()
    }
}

/// One client incarnation.
#[derive(Debug, Clone)]
pub struct Writer {
    pub name: String,
    pub incarnation: u128,
    pub via: Via,
    pub subscribes: bool,
    pub lanes: Vec<Lane>,
}

/// What the writers of a round share.
#[derive(Clone)]
pub struct Round {
    pub address: SocketAddr,
    pub token: String,
    pub truths: Arc<Mutex<Vec<Truth>>>,
    /// Answers that all writers have got.
    pub answered: Arc<AtomicU64>,
    /// Nobody writes before everybody is connected, and nobody is killed before that.
    pub connected: Arc<Barrier>,
    /// Becomes true when the server is dead.
    pub dead: watch::Receiver<bool>,
    /// How far the trace is.
    pub clock: Clock,
    /// The store is to fail: who is refused for that stops writing.
    pub may_fail: bool,
}

/// Whether a writer makes new ops, or only sends those that it has once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Load,
    Resend,
}

impl Writer {
    /// Writes until the server is dead (load), or until every op is answered (resend). With every answer it got.
    pub async fn run(mut self, via: Via, mode: Mode, round: Round) -> Self {
        let hello = hello(&round.token, &self.name, self.incarnation, Vec::new());
        let (mut wire, _) = Wire::greeted(via, round.address, hello).await;
        round.connected.wait().await;
        for (lane, id) in self.lanes.iter_mut().zip(1..) {
            lane.answers.clear();
            lane.in_flight.clear();
            lane.again.clear();
            lane.follow = None;
            let truths = round.truths.lock().expect("not poisoned");
            let truth = &truths[lane.session];
            lane.base = Position { epoch: truth.epoch, version: truth.newest };
            if mode == Mode::Resend {
                lane.next = 0;
            } else {
                lane.ops.clear();
                lane.next = 0;
                if self.subscribes {
                    let session = truth.id.as_str().into();
                    wire.send(Subscribe { id, session, have: None, notices: false, durable: false });
                }
            }
        }
        let mut dead = round.dead.clone();
        loop {
            if mode == Mode::Resend && self.lanes.iter().all(Lane::is_done) {
                return self;
            }
            self.fill(&wire, mode, &round);
            let pause = self.lanes.iter().filter(|lane| !lane.again.is_empty() && lane.in_flight.is_empty());
            let pause = pause.map(|lane| lane.not_before).min();
            tokio::select! {
                biased;
                heard = wire.next() => match heard {
                    Heard::Message(Message::Error(error))
                        if round.may_fail && error.code == ErrorCode::StorageFailed as u32 => return self,
                    Heard::Message(message) => self.hear(message, mode, &round),
                    Heard::Ended(_) if mode == Mode::Load => return self,
                    Heard::Ended(end) => panic!("{} was to send its ops again: {end:?}", self.name),
                },
                _ = dead.wait_for(|dead| *dead) => return self,
                () = tokio::time::sleep_until(pause.unwrap_or_else(Instant::now)), if pause.is_some() => {}
            }
        }
    }

    fn fill(&mut self, wire: &Wire, mode: Mode, round: &Round) {
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            let send = |lane: &Lane, counter| {
                let op = lane.op(counter);
                wire.send(Update {
                    counter,
                    session: round.truths.lock().expect("not poisoned")[lane.session].id.as_str().into(),
                    base: op.base.clone(),
                    operations: append(&op.marker).into(),
                    durability: op.durability,
                    ..Update::default()
                });
            };
            if !lane.again.is_empty() {
                if lane.in_flight.is_empty() && lane.not_before <= Instant::now() {
                    lane.in_flight = std::mem::take(&mut lane.again);
                    for counter in &lane.in_flight {
                        send(lane, *counter);
                    }
                }
                continue;
            }
            while lane.in_flight.len() < WINDOW {
                if lane.next == lane.ops.len() {
                    if mode == Mode::Resend {
                        break;
                    }
                    let counter = lane.counter;
                    lane.counter += 1;
                    lane.ops.push(Op {
                        counter,
                        marker: format!("{}.{index}.{counter}", self.name),
                        durability: [Durability::Accepted, Durability::Notify, Durability::Durable]
                            [usize::try_from(counter % 3).expect("small")],
                        base: lane.base.clone(),
                    });
                }
                let counter = lane.ops[lane.next].counter;
                send(lane, counter);
                lane.in_flight.insert(counter);
                lane.next += 1;
            }
        }
    }

    fn lane(&mut self, id: &str, round: &Round) -> &mut Lane {
        let truths = round.truths.lock().expect("not poisoned");
        self.lanes.iter_mut().find(|lane| truths[lane.session].id == id).expect("a session it writes to")
    }

    fn hear(&mut self, message: Message, mode: Mode, round: &Round) {
        match message {
            Message::Accepted(accepted) => {
                round.answered.fetch_add(1, Relaxed);
                let lane = self.lane(&accepted.session, round);
                assert!(lane.in_flight.remove(&accepted.counter), "{accepted:?} answers nothing, or twice");
                let op = lane.op(accepted.counter);
                // Withheld answers come after their version.
                let withheld = op.durability == Durability::Durable;
                assert!(!withheld || accepted.durable, "{accepted:?} was to be withheld until durable");
                let truth = &mut round.truths.lock().expect("not poisoned")[lane.session];
                let marker = op.marker.clone();
                if accepted.changed {
                    if let (Some(follow), false) = (&mut lane.follow, withheld) {
                        follow.step(&accepted.at);
                    }
                    truth.accepted(&accepted.at, &marker, accepted.durable);
                } else {
                    assert_eq!(mode, Mode::Resend, "{accepted:?}: every marker is new");
                }
                if lane.base.version < accepted.at.version {
                    lane.base = accepted.at.clone();
                }
                let answer = Answer {
                    version: accepted.at.version,
                    durable: accepted.durable,
                    changed: accepted.changed,
                    heard: round.clock.position(),
                };
                lane.answers.insert(accepted.counter, answer);
            }
            Message::Error(error) => {
                assert_eq!(error.code, ErrorCode::Busy as u32, "{error:?}");
                let (session, counter) = (error.session.expect("said"), error.op.expect("said"));
                let lane = self.lane(&session, round);
                assert!(lane.in_flight.remove(&counter), "{counter} was not in flight");
                lane.again.insert(counter);
                let pause = Duration::from_millis(error.retry_after_ms.expect("said with busy"));
                lane.not_before = Instant::now() + pause;
            }
            Message::Reset(reset) => {
                let lane = self.lane(&reset.session, round);
                lane.follow = Some(Follow { at: reset.at });
            }
            Message::Delta(delta) => {
                let lane = self.lane(&delta.session, round);
                lane.follow.as_mut().expect("subscribed").step(&delta.at);
                round.truths.lock().expect("not poisoned")[lane.session].delta(&delta);
            }
            Message::Durable(durable) => {
                let lane = self.lane(&durable.session, round);
                round.truths.lock().expect("not poisoned")[lane.session].durable(&durable.at);
            }
            Message::SnapshotBegin(_) | Message::SnapshotPart(_) | Message::SnapshotEnd(_) | Message::Ping(_) => {}
            other => panic!("{}: {other:?}", self.name),
        }
    }
}
