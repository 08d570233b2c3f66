//! A subscriber that keeps its cursors over kills, as an application would: what a restart tells it is held against what
//! survived.

use syncbridge_codec::{
    Message,
    message::{Cursor, Position, ResetReason, Subscribe, TopicKind},
};

use crate::{
    support::wire::{Heard, Via, Wire, hello},
    truth::{Clock, Follow},
    writer::Round,
};

/// See the file's head.
#[derive(Debug, Clone)]
pub struct Observer {
    pub name: String,
    pub via: Via,
    /// Whether its cursors go in `Hello`, or each in a `Subscribe`.
    pub in_hello: bool,
    /// Its place in each session; `None` before it was subscribed.
    pub follows: Vec<Option<Follow>>,
    /// How often it was told that versions it had are lost.
    pub lost: u64,
    /// How often it went on without a reset.
    pub resumed: u64,
    /// How often it got the newest state because it was slow.
    pub lagged: u64,
    /// When it was where: (place in the trace, session, its place there).
    places: Vec<(u64, usize, Position)>,
}

/// An observer that is connected and knows where each session stands.
pub struct Connected {
    observer: Observer,
    wire: Wire,
}

impl Observer {
    /// One without a place.
    pub fn new(name: &str, via: Via, in_hello: bool) -> Self {
        Self {
            name: name.into(),
            via,
            in_hello,
            follows: Vec::new(),
            lost: 0,
            resumed: 0,
            lagged: 0,
            places: Vec::new(),
        }
    }

    /// As it was at this place in the trace.
    #[must_use]
    pub fn until(mut self, position: u64) -> Self {
        self.follows.fill(None);
        self.places.retain(|(heard, _, _)| *heard <= position);
        for (_, index, at) in &self.places {
            self.follows[*index] = Some(Follow { at: at.clone() });
        }
        self
    }

    fn is_at(&mut self, index: usize, at: Position, clock: &Clock) {
        self.places.push((clock.position(), index, at.clone()));
        self.follows[index] = Some(Follow { at });
    }

    /// Connects with its cursors: each is resumed if what it stands for survived, else reset with the reason `lost`.
    pub async fn connect(mut self, round: &Round) -> Connected {
        let sessions: Vec<(String, u64)> = {
            let truths = round.truths.lock().expect("not poisoned");
            truths.iter().map(|truth| (truth.id.clone(), truth.kept)).collect()
        };
        self.follows.resize_with(sessions.len(), || None);
        self.places.clear();
        let mut cursors = Vec::new();
        let mut requests = Vec::new();
        for (index, ((session, _), follow)) in sessions.iter().zip(&self.follows).enumerate() {
            let topic = session.as_str().into();
            match follow {
                Some(Follow { at }) if self.in_hello => {
                    cursors.push(Cursor { kind: TopicKind::State, topic, epoch: at.epoch, seq: at.version });
                }
                follow => {
                    let have = follow.as_ref().map(|follow| follow.at.clone());
                    requests.push(Subscribe { id: index as u64, session: topic, have, notices: false, durable: true });
                }
            }
        }
        let (mut wire, _) = Wire::greeted(self.via, round.address, hello(&round.token, &self.name, 1, cursors)).await;
        for request in requests {
            wire.send(request);
        }
        let mut waiting = sessions.len();
        while waiting > 0 {
            let message = wire.message().await;
            let place = |session: &str| sessions.iter().position(|(id, _)| id == session).expect("asked for");
            match &message {
                Message::Resumed(resumed) => {
                    waiting -= 1;
                    self.resumed += 1;
                    let index = place(&resumed.session);
                    let at = &self.follows[index].as_ref().expect("it had a cursor").at;
                    assert!(at.version <= sessions[index].1, "{}: {at:?} is lost, and was resumed", self.name);
                    assert_eq!(resumed.after, at.version);
                }
                Message::Reset(reset) => {
                    waiting -= 1;
                    let index = place(&reset.session);
                    let kept = sessions[index].1;
                    match &self.follows[index] {
                        None => assert_eq!(reset.reason, ResetReason::Initial),
                        Some(Follow { at }) => {
                            assert_eq!(reset.reason, ResetReason::Lost, "{}: at {at:?}, {kept} survived", self.name);
                            assert!(at.version > kept, "{}: {at:?} survived, and was reset", self.name);
                            assert_eq!(reset.last_kept, Some(kept));
                            self.lost += 1;
                        }
                    }
                    self.is_at(index, reset.at.clone(), &round.clock);
                }
                _ => self.hear(message, round),
            }
        }
        Connected { observer: self, wire }
    }

    fn hear(&mut self, message: Message, round: &Round) {
        let mut truths = round.truths.lock().expect("not poisoned");
        let place = |id: &str| truths.iter().position(|truth| truth.id == id).expect("subscribed");
        match message {
            Message::Delta(delta) => {
                let index = place(&delta.session);
                let follow = self.follows[index].as_ref().expect("subscribed");
                assert_eq!(delta.at.version, follow.at.version + 1, "{}: after {:?}", self.name, follow.at);
                // What is replayed has the epoch in which it was made; the place is one of the epoch of now.
                let at = Position { epoch: truths[index].epoch, version: delta.at.version };
                self.is_at(index, at, &round.clock);
                truths[index].delta(&delta);
            }
            Message::Durable(durable) => {
                let index = place(&durable.session);
                truths[index].durable(&durable.at);
            }
            Message::Reset(reset) => {
                assert_eq!(reset.reason, ResetReason::Lagged, "{}", self.name);
                let index = place(&reset.session);
                self.lagged += 1;
                self.is_at(index, reset.at, &round.clock);
            }
            Message::SnapshotBegin(_) | Message::SnapshotPart(_) | Message::SnapshotEnd(_) | Message::Ping(_) => {}
            other => panic!("{}: {other:?}", self.name),
        }
    }
}

impl Connected {
    /// Listens until the server is dead or the round is over.
    pub async fn run(self, round: Round) -> Observer {
        let Self { mut observer, mut wire } = self;
        let mut dead = round.dead.clone();
        loop {
            tokio::select! {
                biased;
                heard = wire.next() => match heard {
                    Heard::Message(message) => observer.hear(message, &round),
                    Heard::Ended(_) => return observer,
                },
                _ = dead.wait_for(|dead| *dead) => return observer,
            }
        }
    }
}
