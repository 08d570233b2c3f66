//! One round of every fault: sessions, writers and observers that work until the server is gone, and after its next start
//! the comparison of what is there with what was said. What ends the server is the caller's.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use syncbridge_codec::{
    ErrorCode, Message,
    message::{Create, Get},
};
use syncbridge_storage::DEDUP_WINDOW;
use tokio::{
    sync::{Barrier, watch},
    task::JoinHandle,
};

use crate::{
    observer::Observer,
    support::{
        server::{Server, Setup},
        wire::{Via, Wire, hello},
        within,
    },
    truth::{Clock, Truth, Window, log},
    writer::{Answer, Lane, Mode, Round, Writer},
};

/// Updates after which an event that has not come is one that never comes.
pub const ENOUGH: u64 = 20_000;

const SESSIONS: usize = 3;
const WRITERS: usize = 6;

/// What happened in all rounds of a fault.
#[derive(Debug, Default)]
pub struct Tally {
    pub rounds: usize,
    pub updates: usize,
    pub accepted: usize,
    pub durable: usize,
    pub lost: u64,
    pub rounds_that_lost: usize,
    /// Rounds in which what is lost was accepted over more than the promised 50 ms.
    pub rounds_beyond: usize,
    pub window: Window,
    pub applied_again: usize,
    pub answered_again: usize,
    pub resumed: u64,
    pub reset: u64,
    pub lagged: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rounds, updates, accepted, durable, lost, rounds_that_lost, rounds_beyond, window, .. } = self;
        let Self { applied_again, answered_again, resumed, reset, lagged, .. } = self;
        // Durable losses and double applications are asserted: a report with others is never printed.
        write!(
            to,
            "rounds={rounds} updates={updates} accepted={accepted} durable={durable} lost_accepted={lost} \
             rounds_that_lost={rounds_that_lost} lost_durable=0 twice=0; sent again: {applied_again} applied, \
             {answered_again} recognised; cursors: {resumed} resumed, {reset} reset as lost, {lagged} lagged; longest \
             from the oldest lost to the newest accepted {} ms (over 50 in {rounds_beyond} rounds), from the newest that \
             survived {} ms",
            window.lost_ms, window.apart_ms
        )
    }
}

/// Who works, and what they know.
#[derive(Debug)]
pub struct Crew {
    pub truths: Arc<Mutex<Vec<Truth>>>,
    pub writers: Vec<Writer>,
    pub observers: Vec<Observer>,
    pub clock: Clock,
    /// Whether the server's stamps say how far updates were apart.
    pub trusts_stamps: bool,
}

/// A running round.
pub struct Stage {
    pub round: Round,
    pub control: Wire,
    pub epoch: u64,
    die: watch::Sender<bool>,
    listening: Vec<JoinHandle<Observer>>,
    writing: Vec<JoinHandle<Writer>>,
}

impl Crew {
    /// Nobody yet.
    pub fn new(clock: Clock) -> Self {
        Self { truths: Arc::default(), writers: Vec::new(), observers: Vec::new(), clock, trusts_stamps: true }
    }

    /// New sessions, which are durable when this returns, and who will work in them.
    pub async fn begin(&mut self, name: &str, server: &Server, token: &str, tally: &mut Tally) -> Stage {
        let mut stage = self.enter(server, token).await;
        self.rest(tally);
        let mut made = Vec::new();
        for session in 0..SESSIONS {
            made.push(create(&mut stage.control, format!("set{name}.{session}"), &self.clock).await);
        }
        *self.truths.lock().expect("not poisoned") = made;
        self.writers = (0..WRITERS).map(|index| writer(name, index)).collect();
        self.observers = vec![Observer::new("o1", Via::Quic, true), Observer::new("o2", Via::WebSocket, false)];
        self.listen(&mut stage).await;
        stage
    }

    /// After a restart: all that was said is held against what is there, observers go on, and everything is sent again.
    pub async fn go_on(&mut self, server: &Server, token: &str, tally: &mut Tally) -> Stage {
        let mut stage = self.enter(server, token).await;
        self.verify(&mut stage, tally).await;
        self.listen(&mut stage).await;
        self.truths.lock().expect("not poisoned").iter_mut().for_each(|truth| truth.go_on(&self.clock));
        self.writers = resend(std::mem::take(&mut self.writers), &stage.round, &mut stage.control, tally).await;
        stage
    }

    /// In new sessions when there is a name for them, else in those of the round before.
    pub async fn take_stage(
        &mut self,
        new: Option<impl AsRef<str>>,
        server: &Server,
        token: &str,
        tally: &mut Tally,
    ) -> Stage {
        match new {
            Some(name) => self.begin(name.as_ref(), server, token, tally).await,
            None => self.go_on(server, token, tally).await,
        }
    }

    /// True when somebody has written so much that the store will soon not know all of their answers any more: what is
    /// sent again after that is refused.
    pub fn has_written_much(&self) -> bool {
        self.writers.iter().flat_map(|writer| &writer.lanes).any(|lane| lane.ops.len() > DEDUP_WINDOW / 2)
    }

    /// After the last round: one more start, in which nobody works, for what that round left to be compared.
    pub async fn finish(mut self, setup: &Setup, token: &str, tally: &mut Tally) {
        let server = setup.start();
        let stage = self.go_on(&server, token, tally).await;
        server.kill();
        self.end(stage).await;
        self.rest(tally);
    }

    /// Observers have seen enough of these sessions.
    pub fn rest(&mut self, tally: &mut Tally) {
        for observer in self.observers.drain(..) {
            tally.reset += observer.lost;
            tally.resumed += observer.resumed;
            tally.lagged += observer.lagged;
        }
    }

    async fn enter(&self, server: &Server, token: &str) -> Stage {
        let (die, dead) = watch::channel(false);
        let round = Round {
            address: server.clients,
            token: token.to_owned(),
            truths: Arc::clone(&self.truths),
            answered: Arc::new(AtomicU64::new(0)),
            connected: Arc::new(Barrier::new(WRITERS)),
            dead,
            clock: self.clock.clone(),
            may_fail: false,
        };
        let hello = hello(token, "control", 7, Vec::new());
        let (control, welcome) = Wire::greeted(Via::WebSocket, server.clients, hello).await;
        let epoch = welcome.epoch;
        for truth in self.truths.lock().expect("not poisoned").iter() {
            assert!(epoch > truth.epoch, "epoch {epoch} after {}", truth.epoch);
        }
        Stage { round, control, epoch, die, listening: Vec::new(), writing: Vec::new() }
    }

    async fn listen(&mut self, stage: &mut Stage) {
        for observer in self.observers.drain(..) {
            let connected = observer.connect(&stage.round).await;
            stage.listening.push(tokio::spawn(connected.run(stage.round.clone())));
        }
    }

    /// Everybody writes.
    pub fn load(&mut self, stage: &mut Stage) {
        let load = |writer: Writer| {
            let via = writer.via;
            tokio::spawn(writer.run(via, Mode::Load, stage.round.clone()))
        };
        stage.writing = self.writers.drain(..).map(load).collect();
    }

    /// The server is gone: takes what lies in the sockets, and everybody back.
    pub async fn end(&mut self, stage: Stage) {
        stage.die.send_replace(true);
        for task in stage.writing {
            self.writers.push(within("a writer ends", task).await.expect("a writer"));
        }
        for task in stage.listening {
            self.observers.push(within("an observer ends", task).await.expect("an observer"));
        }
    }

    /// What they knew at this place in the trace.
    pub fn until(&self, position: u64) -> Self {
        let truths = self.truths.lock().expect("not poisoned").iter().map(|truth| truth.until(position)).collect();
        let writers = self.writers.iter().cloned().map(|mut writer| {
            writer.lanes = writer.lanes.into_iter().map(|lane| lane.until(position)).collect();
            writer
        });
        Self {
            truths: Arc::new(Mutex::new(truths)),
            writers: writers.collect(),
            observers: self.observers.iter().map(|observer| observer.clone().until(position)).collect(),
            clock: Clock::default(),
            trusts_stamps: self.trusts_stamps,
        }
    }

    /// Nothing was called durable, so nothing can be asked of how much is lost.
    pub fn forgives(&mut self) {
        self.trusts_stamps = false;
        self.truths.lock().expect("not poisoned").iter_mut().for_each(Truth::forgive);
        for lane in self.writers.iter_mut().flat_map(|writer| &mut writer.lanes) {
            lane.answers.values_mut().for_each(|answer| answer.durable = false);
        }
    }

    /// What is there after the fault, against what anybody was told before it.
    async fn verify(&self, stage: &mut Stage, tally: &mut Tally) {
        let mut lost = 0;
        tally.rounds += 1;
        for session in 0..SESSIONS {
            let id = self.truths.lock().expect("not poisoned")[session].id.clone();
            let (found_epoch, version, log) = look(&mut stage.control, &id).await.expect("it was made durably");
            assert_eq!(found_epoch, stage.epoch);
            lost += self.truths.lock().expect("not poisoned")[session].check(stage.epoch, version, &log);
            let places: BTreeMap<&str, u64> = log.iter().map(String::as_str).zip(2..).collect();
            for lane in self.writers.iter().flat_map(|writer| &writer.lanes).filter(|lane| lane.session == session) {
                tally.updates += lane.ops.len();
                tally.accepted += lane.answers.len();
                for op in &lane.ops {
                    let Some(answer) = lane.answers.get(&op.counter) else { continue };
                    if answer.durable {
                        tally.durable += 1;
                        assert_eq!(places.get(op.marker.as_str()), Some(&answer.version), "{id}: {op:?} was durable");
                    }
                }
                // One client's updates are applied in its order: what survived of them is the front.
                let survived: Vec<bool> = lane.ops.iter().map(|op| places.contains_key(op.marker.as_str())).collect();
                assert!(survived.is_sorted_by(|earlier, later| earlier >= later), "{id}: a later update overtook");
            }
        }
        let window = Window::of(&self.truths.lock().expect("not poisoned"));
        tally.rounds_beyond += usize::from(self.trusts_stamps && window.lost_ms > 50);
        // A thread of a starved server may stand still between an update's stamp and its place in the queue: on a busy
        // machine that is one round in many.
        assert!(
            tally.rounds_beyond <= 1 + tally.rounds / 10,
            "lost updates were accepted over {} ms, and over more than 50 in {} of {} rounds",
            window.lost_ms,
            tally.rounds_beyond,
            tally.rounds
        );
        tally.window.lost_ms = tally.window.lost_ms.max(window.lost_ms);
        tally.window.apart_ms = tally.window.apart_ms.max(window.apart_ms);
        tally.lost += lost;
        tally.rounds_that_lost += usize::from(lost > 0);
    }
}

impl Stage {
    /// True when a writer has ended.
    pub fn anyone_left(&self) -> bool {
        self.writing.iter().any(JoinHandle::is_finished)
    }

    /// Waits until this many more updates are answered, or a writer ended by itself: it has found something, or the
    /// server is gone.
    pub async fn answered(&self, more: u64) {
        let wanted = self.round.answered.load(Relaxed) + more;
        while self.round.answered.load(Relaxed) < wanted && !self.writing.iter().any(JoinHandle::is_finished) {
            tokio::task::yield_now().await;
        }
    }
}

/// A session that is durable when this returns; a disk that is behind is asked again.
async fn create(control: &mut Wire, id: String, clock: &Clock) -> Truth {
    loop {
        control.send(Create {
            counter: 1,
            session: id.as_str().into(),
            state: r#"{"log":[]}"#.into(),
            ..Create::default()
        });
        let answer = control
            .wait_for(|message| match message {
                Message::Created(created) => Some(Ok(created)),
                Message::Error(error) => Some(Err(error)),
                _ => None,
            })
            .await;
        match answer {
            Ok(created) => return Truth::new(id, created.epoch, clock.clone()),
            Err(error) => {
                assert_eq!(error.code, ErrorCode::Busy as u32, "{error:?}");
                tokio::time::sleep(Duration::from_millis(error.retry_after_ms.expect("said with busy"))).await;
            }
        }
    }
}

fn writer(set: &str, index: usize) -> Writer {
    Writer {
        name: format!("w{set}.{index}"),
        incarnation: fastrand::u128(1..),
        via: Via::BOTH[index % 2],
        subscribes: index.is_multiple_of(3),
        // Each writes to two of the three; each is written to by four.
        lanes: vec![Lane::new(index % SESSIONS), Lane::new((index + 1) % SESSIONS)],
    }
}

/// A session's place and its markers; `None` when there is no such session.
pub async fn look(control: &mut Wire, id: &str) -> Option<(u64, u64, Vec<String>)> {
    control.send(Get { id: 1, session: id.into() });
    let mut at = None;
    let mut text = Vec::new();
    loop {
        match control.message().await {
            Message::Document(document) => {
                at = Some(document.at);
                if let Some(state) = document.state {
                    text = state.to_vec();
                    break;
                }
            }
            Message::SnapshotPart(part) => text.extend_from_slice(&part.bytes),
            Message::SnapshotEnd(_) => break,
            Message::Error(error) if error.code == ErrorCode::NotFound as u32 => return None,
            Message::Error(error) => panic!("{error:?}"),
            _ => {}
        }
    }
    let at = at.expect("a place");
    Some((at.epoch, at.version, log(&text)))
}

/// Every op of the last load is sent again with the same incarnation and counters, first on the other transport and then
/// on its own: what survived is recognised, what was lost is applied, and nothing ever twice.
async fn resend(mut writers: Vec<Writer>, round: &Round, control: &mut Wire, tally: &mut Tally) -> Vec<Writer> {
    let kept: Vec<u64> = round.truths.lock().expect("not poisoned").iter().map(|truth| truth.kept).collect();
    let mut first: Vec<Vec<BTreeMap<u64, Answer>>> = Vec::new();
    for turn in 0..2 {
        let sending: Vec<_> = writers
            .iter()
            .map(|writer| {
                let via = if turn == 0 { writer.via.other() } else { writer.via };
                tokio::spawn(writer.clone().run(via, Mode::Resend, round.clone()))
            })
            .collect();
        let mut answered = Vec::new();
        for task in sending {
            answered.push(within("all is answered", task).await.expect("a writer"));
        }
        for (before, after) in writers.iter().zip(&answered) {
            for (before, after) in before.lanes.iter().zip(&after.lanes) {
                for op in &before.ops {
                    let again = after.answers[&op.counter];
                    let survived = again.version <= kept[before.session];
                    if turn == 1 {
                        assert!(!again.changed, "{op:?} was applied twice: {again:?}");
                        continue;
                    }
                    assert_eq!(again.changed, !survived, "{op:?}: {again:?}");
                    if survived {
                        tally.answered_again += 1;
                    } else {
                        tally.applied_again += 1;
                    }
                    if let (Some(told), true) = (before.answers.get(&op.counter), survived) {
                        assert_eq!(told.version, again.version, "{op:?}: another answer than before");
                    }
                }
            }
        }
        if turn == 0 {
            first =
                answered.iter().map(|writer| writer.lanes.iter().map(|lane| lane.answers.clone()).collect()).collect();
            // The second turn is compared with the first.
            writers = answered;
        } else {
            for (writer, before) in answered.iter().zip(&first) {
                for (lane, before) in writer.lanes.iter().zip(before) {
                    for (counter, answer) in &lane.answers {
                        assert_eq!(answer.version, before[counter].version, "another answer than the first time");
                    }
                }
            }
            writers = answered;
        }
    }
    for (session, kept) in kept.iter().enumerate() {
        let id = round.truths.lock().expect("not poisoned")[session].id.clone();
        let (_, version, log) = look(control, &id).await.expect("there");
        let places: BTreeMap<&str, u64> = log.iter().map(String::as_str).zip(2..).collect();
        assert_eq!(places.len(), log.len(), "{id}: a marker is there twice");
        assert!(version >= *kept);
        for lane in writers.iter().flat_map(|writer| &writer.lanes).filter(|lane| lane.session == session) {
            for op in &lane.ops {
                assert_eq!(places.get(op.marker.as_str()), Some(&lane.answers[&op.counter].version), "{id}: {op:?}");
            }
        }
    }
    writers
}
