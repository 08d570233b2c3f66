//! Another device becomes active: who is fenced when, who is asked, what is told after the commit. At the end all of it
//! in any order, under a random number generator.

use std::collections::BTreeSet;

use fastrand::Rng;

use super::*;
use crate::session::handoff::{Handoff, Refusal};

impl Client {
    fn device_of(&self) -> DeviceOf {
        DeviceOf { user: self.user.clone(), device: self.device.clone() }
    }
}

/// Of the connections that the service waits by.
const CALL: ConnId = ConnId(900);

fn handoff(id: &'static str, to: &Client) -> Handoff {
    Handoff { id: ByteString::from_static(id), to: to.device_of(), unasked: None }
}

fn room(devices: DevicePolicy) -> Room {
    Room::with(r#"{"a":0}"#, ConflictPolicy::LastWriterWins, devices)
}

impl Room {
    fn hand_off(&mut self, handoff: &Handoff) -> Result<Vec<Effect>, Refusal> {
        let mut out = Vec::new();
        self.core.hand_off(handoff, Vec::new(), CALL, &mut out)?;
        self.settle(&mut out);
        Ok(out)
    }

    fn ask(&mut self, handoff: &Handoff) -> Result<message::HandoffRequested, Refusal> {
        let mut out = Vec::new();
        self.core.ask_handoff(handoff, CALL, 5_000, &mut out)?;
        match notices(&out).remove(0) {
            Message::HandoffRequested(requested) => Ok(requested),
            other => panic!("{other:?}"),
        }
    }

    /// What whoever asked is told of an answer.
    fn answer(&mut self, client: &Client, handoff: &Handoff, accept: bool) -> Result<bool, ErrorCode> {
        let mut out = Vec::new();
        let answer = message::HandoffAnswer { handoff: handoff.id.clone(), accept };
        self.core.answer_handoff(&client.user, &client.device, &answer, &mut out)?;
        match told(&out, CALL).as_slice() {
            [Message::HandoffAnswer(answer)] => Ok(answer.accept),
            other => panic!("{other:?}"),
        }
    }

    fn active(&self) -> Option<DeviceOf> {
        self.core.meta().active.clone()
    }
}

fn notices(effects: &[Effect]) -> Vec<Message> {
    let frames = effects.iter().filter_map(|effect| match effect {
        Effect::Event { topic: TopicKind::Notice, frame, .. } => Some(frame),
        _ => None,
    });
    frames.map(decode).collect()
}

#[test]
fn a_handoff_is_told_to_everybody_and_then_to_who_waits_and_only_once_it_is_durable() {
    let mut room = room(DevicePolicy::Many);
    let [old, new] = [0, 1].map(Client::new);
    let effects = room.hand_off(&handoff("h", &new)).unwrap();
    assert!(effects.is_empty(), "{effects:?}");
    assert_eq!(room.active(), Some(new.device_of()), "in force at once");
    let effects = room.commit();
    let [Message::HandoffCompleted(completed)] = &notices(&effects)[..] else { panic!("{effects:?}") };
    assert_eq!(completed.from.as_deref(), Some(&*old.device));
    assert_eq!((&*completed.device, &*completed.user), (&*new.device, &*new.user));
    assert_eq!(&*completed.handoff, "h");
    assert!(matches!(told(&effects, CALL)[..], [Message::Durable(_)]));
    let place = |wanted: fn(&Effect) -> bool| effects.iter().position(wanted);
    assert!(
        place(|effect| matches!(effect, Effect::Event { .. }))
            < place(|effect| matches!(effect, Effect::Answer { .. }))
    );
}

#[test]
fn under_many_every_device_goes_on_writing() {
    let mut room = room(DevicePolicy::Many);
    let [old, new] = [0, 1].map(Client::new);
    room.hand_off(&handoff("h", &new)).unwrap();
    accepted(&room.send(&old, &op(2, 1, &set("/a", "1"))));
    accepted(&room.send(&new, &op(1, 2, &set("/a", "2"))));
    let nobody = Client { device: "".into(), ..Client::new(2) };
    accepted(&room.send(&nobody, &op(1, 3, &set("/a", "3"))));
}

#[test]
fn under_exclusive_the_fence_stands_before_the_commit_and_holds_back_all_but_the_new_device() {
    let mut room = room(DevicePolicy::Exclusive);
    let [old, new] = [0, 1].map(Client::new);
    let nobody = Client { device: "".into(), ..Client::new(0) };
    let bystander = Client::new(2);
    assert_eq!(error(&room.send(&new, &op(1, 1, &set("/a", "1")))), "not_active");
    accepted(&room.send(&old, &op(2, 1, &set("/a", "2"))));
    room.hand_off(&handoff("h", &new)).unwrap();
    assert_eq!(error(&room.send(&old, &op(3, 2, &set("/a", "3")))), "not_active");
    for fenced in [&bystander, &Client { incarnation: 77, ..nobody }] {
        assert_eq!(error(&room.send(fenced, &op(1, 2, &set("/a", "4")))), "not_active");
    }
    accepted(&room.send(&new, &op(2, 2, &set("/a", "5"))));
    assert_eq!(room.json(), r#"{"a":5}"#);
}

#[test]
fn a_write_that_was_accepted_before_the_fence_keeps_its_answer_after_it() {
    let mut room = room(DevicePolicy::Exclusive);
    let [old, new] = [0, 1].map(Client::new);
    let write = op(2, 1, &set("/a", "1"));
    accepted(&room.send(&old, &write));
    room.hand_off(&handoff("h", &new)).unwrap();
    assert!(!accepted(&room.send(&old, &write)).changed, "a resend is told what became of it");
    assert_eq!(error(&room.send(&old, &Update { after: Some(2), ..op(3, 2, &set("/a", "2")) })), "not_active");
}

#[test]
fn work_that_was_off_the_shard_when_the_fence_came_is_not_applied() {
    let mut room = room(DevicePolicy::Exclusive);
    let [old, new] = [0, 1].map(Client::new);
    let large = Op::from(op(2, 1, &set("/a", &format!("\"{}\"", "x".repeat(100_000)))));
    let mut out = Vec::new();
    let preparation = room.core.update(&old.writer(), &large, room.now, &mut out).expect("work for off the shard");
    room.hand_off(&handoff("h", &new)).unwrap();
    let prepared = preparation.run(|_| Ok(None));
    assert!(room.core.update_prepared(&old.writer(), &large, prepared, room.now, &mut out).is_none());
    assert_eq!(error(&told(&out, old.conn)[0]), "not_active");
    assert_eq!(room.json(), r#"{"a":0}"#);
}

#[test]
fn a_process_that_dies_before_the_commit_comes_back_with_the_old_device_active() {
    let mut room = room(DevicePolicy::Exclusive);
    let [old, new] = [0, 1].map(Client::new);
    room.hand_off(&handoff("h", &new)).unwrap();
    room.crash();
    assert_eq!(room.active(), Some(old.device_of()));
    accepted(&room.send(&old, &op(2, 1, &set("/a", "1"))));
    room.hand_off(&handoff("h", &new)).unwrap();
    room.commit();
    room.crash();
    assert_eq!(room.active(), Some(new.device_of()));
    assert_eq!(error(&room.send(&old, &op(3, 2, &set("/a", "2")))), "not_active");
}

#[test]
fn under_ask_nothing_moves_before_the_active_device_said_yes() {
    let mut room = room(DevicePolicy::Ask);
    let [old, new, other] = [0, 1, 2].map(Client::new);
    let handoff = handoff("h", &new);
    assert_eq!(room.hand_off(&handoff), Err(Refusal::Unasked));
    let requested = room.ask(&handoff).unwrap();
    assert_eq!((&*requested.device, &*requested.user, requested.expires_ms), (&*new.device, &*new.user, 5_000));
    assert_eq!(room.hand_off(&handoff), Err(Refusal::Unasked), "asked is not answered");
    for somebody in [&new, &other, &Client { user: "user7".into(), ..old.clone() }] {
        assert_eq!(room.answer(somebody, &handoff, true), Err(ErrorCode::NotActive));
    }
    accepted(&room.send(&old, &op(2, 1, &set("/a", "1"))));
    assert_eq!(room.answer(&old, &handoff, true), Ok(true));
    accepted(&room.send(&old, &op(3, 2, &set("/a", "2"))));
    room.hand_off(&handoff).unwrap();
    assert_eq!(error(&room.send(&old, &op(4, 3, &set("/a", "3")))), "not_active");
    assert_eq!(room.answer(&old, &handoff, true), Err(ErrorCode::NotFound), "there is nothing to answer any more");
}

#[test]
fn a_no_ends_the_question_and_the_first_answer_counts() {
    let mut room = room(DevicePolicy::Ask);
    let [old, new] = [0, 1].map(Client::new);
    let (first, second) = (handoff("h1", &new), handoff("h2", &new));
    room.ask(&first).unwrap();
    room.ask(&second).unwrap();
    assert_eq!(room.core.open_questions().len(), 2);
    assert_eq!(room.answer(&old, &first, false), Ok(false));
    assert_eq!(room.answer(&old, &first, true), Err(ErrorCode::NotFound));
    assert_eq!(room.hand_off(&first), Err(Refusal::Unasked));
    assert_eq!(room.answer(&old, &second, true), Ok(true));
    assert_eq!(room.answer(&old, &second, false), Err(ErrorCode::NotFound));
    assert!(room.core.open_questions().is_empty());
    room.hand_off(&second).unwrap();
}

#[test]
fn a_yes_is_good_for_as_long_as_who_said_it_is_active() {
    let mut room = room(DevicePolicy::Ask);
    let [old, new, third] = [0, 1, 2].map(Client::new);
    let (slow, fast) = (handoff("slow", &new), handoff("fast", &third));
    for handoff in [&slow, &fast] {
        room.ask(handoff).unwrap();
        room.answer(&old, handoff, true).unwrap();
    }
    room.hand_off(&fast).unwrap();
    assert_eq!(room.hand_off(&slow), Err(Refusal::Unasked));
    room.ask(&slow).unwrap();
    assert_eq!(room.answer(&old, &slow, true), Err(ErrorCode::NotActive));
    assert_eq!(room.answer(&third, &slow, true), Ok(true));
    room.hand_off(&slow).unwrap();
    assert_eq!(room.active(), Some(new.device_of()));
}

#[test]
fn nobody_is_asked_where_there_is_nobody_to_ask_or_the_asker_is_the_one() {
    let mut core = room(DevicePolicy::Ask);
    let [old, new] = [0, 1].map(Client::new);
    core.hand_off(&handoff("itself", &old)).unwrap();
    core.hand_off(&Handoff { unasked: Some(old.device_of()), ..handoff("h", &new) }).unwrap();
    assert_eq!(core.hand_off(&Handoff { unasked: Some(old.device_of()), ..handoff("h", &old) }), Err(Refusal::Unasked));
    let meta = Meta { active: None, ..core.core.meta().clone() };
    core.core.amend(meta, Vec::new(), Vec::new(), CALL, &mut Vec::new());
    core.hand_off(&handoff("nobody", &old)).unwrap();
}

#[test]
fn the_questions_are_bounded_and_one_that_is_withdrawn_makes_room() {
    let mut room = room(DevicePolicy::Ask);
    let new = Client::new(1);
    let ids: Vec<String> = (0..=defaults::HANDOFF_QUESTIONS).map(|number| number.to_string()).collect();
    let handoffs: Vec<_> = ids.into_iter().map(|id| Handoff { id: id.into(), ..handoff("", &new) }).collect();
    let (last, others) = handoffs.split_last().unwrap();
    for handoff in others {
        room.ask(handoff).unwrap();
    }
    assert!(matches!(room.ask(last), Err(Refusal::Full)));
    room.ask(&others[0]).unwrap();
    room.core.withdraw_handoff(&others[0].id);
    room.ask(last).unwrap();
}

// The simulation.

const DEVICES: u64 = 5;
const STEPS: usize = 600;
const SEEDS: u64 = 300;

/// What the outside may rely on, kept beside the core.
struct World {
    rng: Rng,
    room: Room,
    policy: DevicePolicy,
    clients: Vec<(Client, u64)>,
    /// The device that is active now, and the one that was when the last durable commit was made.
    active: DeviceOf,
    durable: DeviceOf,
    /// Moves that are not durable: (commits before it are) the device.
    moving: Vec<DeviceOf>,
    /// Handoffs under way: to whom, and who said yes.
    under_way: Vec<(Handoff, Option<DeviceOf>)>,
    next: u64,
    seen: BTreeSet<&'static str>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let policy = [DevicePolicy::Exclusive, DevicePolicy::Ask][rng.usize(..2)];
        let room = room(policy);
        let active = room.active().expect("who made it");
        Self {
            rng,
            room,
            policy,
            clients: (0..DEVICES).map(|number| (Client::new(number), 2)).collect(),
            durable: active.clone(),
            active,
            moving: Vec::new(),
            under_way: Vec::new(),
            next: 0,
            seen: BTreeSet::new(),
        }
    }

    fn write(&mut self) {
        let at = self.rng.usize(..self.clients.len());
        let (client, counter) = self.clients[at].clone();
        self.clients[at].1 += 1;
        let before = self.room.version();
        let mut write = op(counter, before, &set("/a", &self.rng.u16(..).to_string()));
        write.base.epoch = self.room.epoch;
        let answer = self.room.send(&client, &write);
        let may = client.device_of() == self.active;
        if may {
            self.seen.insert("wrote");
            accepted(&answer);
        } else {
            self.seen.insert("fenced");
            assert_eq!(error(&answer), "not_active");
            assert_eq!(self.room.version(), before, "a fenced write is never applied");
        }
    }

    fn begin(&mut self) {
        if self.under_way.len() >= 4 {
            return;
        }
        let to = self.clients[self.rng.usize(..self.clients.len())].0.clone();
        self.next += 1;
        let handoff = Handoff { id: self.next.to_string().into(), ..handoff("", &to) };
        if self.policy == DevicePolicy::Ask {
            self.room.ask(&handoff).unwrap();
        }
        self.under_way.push((handoff, None));
    }

    fn answer(&mut self) {
        if self.under_way.is_empty() || self.policy != DevicePolicy::Ask {
            return;
        }
        let at = self.rng.usize(..self.under_way.len());
        let client = self.clients[self.rng.usize(..self.clients.len())].0.clone();
        let accept = self.rng.u8(..4) > 0;
        let (handoff, said) = self.under_way[at].clone();
        let result = self.room.answer(&client, &handoff, accept);
        if said.is_some() {
            assert_eq!(result, Err(ErrorCode::NotFound));
        } else if client.device_of() != self.active {
            self.seen.insert("not yours to answer");
            assert_eq!(result, Err(ErrorCode::NotActive));
        } else if accept {
            assert_eq!(result, Ok(true));
            self.under_way[at].1 = Some(client.device_of());
        } else {
            self.seen.insert("declined");
            assert_eq!(result, Ok(false));
            self.under_way.remove(at);
        }
    }

    fn finish(&mut self) {
        if self.under_way.is_empty() {
            return;
        }
        let at = self.rng.usize(..self.under_way.len());
        let (handoff, said) = self.under_way[at].clone();
        let consented = said.as_ref() == Some(&self.active) || handoff.to == self.active;
        if let Ok(effects) = self.room.hand_off(&handoff) {
            assert!(self.policy == DevicePolicy::Exclusive || consented, "moved without the active device's word");
            assert!(notices(&effects).is_empty(), "told before it is durable");
            self.seen.insert("moved");
            self.active = handoff.to.clone();
            self.moving.push(handoff.to);
            self.under_way.remove(at);
            return;
        }
        assert!(self.policy == DevicePolicy::Ask && !consented);
        if said.is_some() {
            // The service asks again.
            self.seen.insert("asked again");
            self.room.ask(&handoff).unwrap();
            self.under_way[at].1 = None;
        }
    }

    fn commit(&mut self) {
        let Some(number) = self.room.store.commit() else { return };
        let mut out = Vec::new();
        self.room.core.committed(number, &mut out);
        for notice in notices(&out) {
            let Message::HandoffCompleted(completed) = notice else { panic!("{notice:?}") };
            let moved = self.moving.remove(0);
            assert_eq!((&*completed.user, &*completed.device), (&*moved.user, &*moved.device), "told in their order");
            self.durable = moved;
        }
    }

    fn crash(&mut self) {
        self.seen.insert(if self.moving.is_empty() { "crash" } else { "crash in a move" });
        self.room.crash();
        self.moving.clear();
        self.under_way.clear();
        self.active = self.durable.clone();
        // Every client comes back as one that begins anew, so that no resend of what was lost mixes in.
        for (client, counter) in &mut self.clients {
            client.incarnation += 1_000;
            *counter = 1;
        }
    }
}

#[test]
fn whatever_happens_one_device_is_active_and_nothing_of_another_is_applied() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    let seeds = match number("SESSION_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SESSION_SEEDS").unwrap_or(SEEDS),
    };
    let mut seen = BTreeSet::new();
    for seed in seeds {
        let mut world = World::new(seed);
        for step in 0..STEPS {
            match world.rng.u8(..100) {
                0..=39 => world.write(),
                40..=54 => world.begin(),
                55..=69 => world.answer(),
                70..=79 => world.finish(),
                80..=97 => world.commit(),
                _ => world.crash(),
            }
            assert_eq!(world.room.active().as_ref(), Some(&world.active), "SESSION_SEED={seed}, step {step}");
        }
        seen.extend(world.seen);
    }
    let all =
        ["wrote", "fenced", "moved", "declined", "asked again", "not yours to answer", "crash", "crash in a move"];
    assert_eq!(seen, BTreeSet::from(all), "all of it is to happen");
}
