//! What comes again under a client's own key is applied once, however its look into the store lies between commits and
//! crashes. At the end any order of all that, under a random number generator.

use std::collections::BTreeMap;

use fastrand::Rng;
use syncbridge_codec::message::Accepted;

use super::*;

/// An append of `item` under `key`.
fn append(key: &str, item: &str) -> Op {
    let operations = format!(r#"[{{"op":"add","path":"/list/-","value":"{item}"}}]"#);
    let keyed = Keyed::new("ann", "phone", "PATCH sessions/s", key, &[operations.as_bytes()]);
    Op { keyed: Some(keyed), base: Base::Now, ..Op::from(durable(op(0, 0, &operations))) }
}

impl Room {
    fn begin(&mut self, client: &Client, op: &Op) -> (Option<Preparation>, Vec<Effect>) {
        let mut out = Vec::new();
        let preparation = self.core.update(&client.writer(), op, self.now, &mut out);
        self.settle(&mut out);
        (preparation, out)
    }

    fn look(&self, preparation: Preparation) -> Prepared {
        preparation.run(|key| Ok(self.store.row(key)))
    }

    fn go_on(&mut self, client: &Client, op: &Op, prepared: Prepared) -> (Option<Preparation>, Vec<Effect>) {
        let mut out = Vec::new();
        let preparation = self.core.update_prepared(&client.writer(), op, prepared, self.now, &mut out);
        self.settle(&mut out);
        (preparation, out)
    }

    /// From its beginning to its end; what is told then or, `committed`, once it is durable.
    fn keyed(&mut self, client: &Client, op: &Op) -> Vec<Message> {
        let (mut preparation, mut effects) = self.begin(client, op);
        while let Some(work) = preparation.take() {
            let prepared = self.look(work);
            (preparation, effects) = self.go_on(client, op, prepared);
        }
        effects.extend(self.commit());
        told(&effects, client.conn)
    }
}

fn version(told: &[Message]) -> u64 {
    assert_eq!(told.len(), 1, "one answer: {told:?}");
    accepted(&told[0]).at.version
}

#[test]
fn a_resend_gets_the_recorded_answer_from_memory_from_the_store_and_after_a_crash() {
    let mut room = Room::new(r#"{"list":[]}"#);
    let client = Client::new(1);
    let once = append("k", "a");
    assert_eq!(version(&room.keyed(&client, &once)), 2);
    assert_eq!(version(&room.keyed(&client, &append("other", "b"))), 3);
    assert_eq!(version(&room.keyed(&client.on(9), &once)), 2);
    room.crash();
    assert_eq!(version(&room.keyed(&client, &once)), 2);
    assert_eq!(room.json(), r#"{"list":["a","b"]}"#);
}

#[test]
fn what_changed_nothing_is_recorded_too() {
    let mut room = Room::new(r#"{"list":[]}"#);
    let client = Client::new(1);
    let nothing = Op { update: durable(op(0, 0, "[]")), ..append("k", "a") };
    assert_eq!(version(&room.keyed(&client, &nothing)), 1);
    assert_eq!(version(&room.keyed(&client, &append("other", "b"))), 2);
    assert_eq!(version(&room.keyed(&client, &nothing)), 1);
}

#[test]
fn the_same_key_for_another_request_is_refused_wherever_it_is_known_from() {
    let mut room = Room::new(r#"{"list":[]}"#);
    let client = Client::new(1);
    let (first, other) = (append("k", "a"), append("k", "b"));
    let (work, _) = room.begin(&client, &first);
    let prepared = room.look(work.unwrap());
    room.go_on(&client, &first, prepared);
    let (work, effects) = room.begin(&client, &other);
    assert!(work.is_none());
    assert_eq!(error(&told(&effects, client.conn)[0]), "id_mismatch", "from memory");
    room.commit();
    room.crash();
    assert_eq!(error(&room.keyed(&client, &other)[0]), "id_mismatch", "from the store");
    assert_eq!(room.json(), r#"{"list":["a"]}"#);
}

#[test]
fn a_refusal_is_not_recorded() {
    let mut room = Room::new(r#"{"list":7}"#);
    let client = Client::new(1);
    let once = append("k", "a");
    assert_eq!(error(&room.keyed(&client, &once)[0]), "path_not_found");
    room.send(&Client::new(2), &op(1, 1, &set("/list", "[]")));
    assert_eq!(version(&room.keyed(&client, &once)), 3);
}

#[test]
fn of_two_that_looked_before_either_was_applied_the_second_finds_the_first() {
    let mut room = Room::new(r#"{"list":[]}"#);
    let (one, two) = (Client::new(1), Client::new(1).on(2));
    let op = append("k", "a");
    let (first, second) = (room.begin(&one, &op).0.unwrap(), room.begin(&two, &op).0.unwrap());
    let (first, second) = (room.look(first), room.look(second));
    assert!(room.go_on(&one, &op, first).0.is_none());
    room.commit();
    let (again, effects) = room.go_on(&two, &op, second);
    assert!(again.is_none() && deltas(&effects).is_empty());
    assert_eq!(version(&told(&effects, two.conn)), 2);
    room.keyed(&one, &append("later", "b"));
    assert_eq!(room.core.keyed.count(), 0, "nobody looks any more, and all of it is durable");
}

#[test]
fn what_was_recorded_of_an_earlier_session_of_this_id_is_not_about_this_one() {
    let mut room = Room::new(r#"{"list":[]}"#);
    let client = Client::new(1);
    room.keyed(&client, &append("k", "a"));
    let meta = Meta { born: 99, ..room.core.meta().clone() };
    room.core.amend(meta, Vec::new(), Vec::new(), ConnId(900), &mut Vec::new());
    assert_eq!(version(&room.keyed(&client, &append("k", "a"))), 3);
}

#[test]
fn a_store_that_cannot_be_read_is_said_and_nothing_is_applied() {
    let mut room = Room::new(r#"{"list":[]}"#);
    let client = Client::new(1);
    let op = append("k", "a");
    let work = room.begin(&client, &op).0.unwrap();
    let prepared = work.run(|_| Err(ErrorCode::StorageFailed));
    let (again, effects) = room.go_on(&client, &op, prepared);
    assert!(again.is_none());
    assert_eq!(error(&told(&effects, client.conn)[0]), "storage_failed");
    assert_eq!(room.version(), 1);
}

/// A request on its way.
struct Request {
    client: Client,
    op: Op,
    at: At,
}

enum At {
    Looking(Preparation),
    Looked(Prepared),
}

#[test]
fn whatever_the_order_of_looks_commits_and_crashes_each_key_has_its_effect_once() {
    for seed in 0..300 {
        let mut rng = Rng::with_seed(seed);
        let mut room = Room::new(r#"{"list":[]}"#);
        let mut requests: Vec<Request> = Vec::new();
        let mut answers: BTreeMap<usize, u64> = BTreeMap::new();
        let mut hear = |effects: &[Effect]| {
            for effect in effects {
                if let Effect::Answer { conn, frame } = effect
                    && let Message::Accepted(Accepted { at, durable: true, .. }) = decode(frame)
                {
                    let key = usize::try_from(conn.0 % 4).unwrap();
                    assert_eq!(*answers.entry(key).or_insert(at.version), at.version, "seed {seed}");
                }
            }
        };
        for step in 0..200 {
            let mut effects = Vec::new();
            match rng.u8(..20) {
                0..=5 => {
                    let key = rng.usize(..4);
                    // The connection says which key it asks for.
                    let client = Client::new(1).on(step * 4 + key as u64);
                    let op = append(&key.to_string(), &key.to_string());
                    let (work, told) = room.begin(&client, &op);
                    effects = told;
                    requests.extend(work.map(|work| Request { client, op, at: At::Looking(work) }));
                }
                6..=15 if !requests.is_empty() => {
                    let Request { client, op, at } = requests.swap_remove(rng.usize(..requests.len()));
                    match at {
                        At::Looking(work) => {
                            let at = At::Looked(room.look(work));
                            requests.push(Request { client, op, at });
                        }
                        At::Looked(prepared) => {
                            let (work, told) = room.go_on(&client, &op, prepared);
                            effects = told;
                            requests.extend(work.map(|work| Request { client, op, at: At::Looking(work) }));
                        }
                    }
                }
                16..=18 => {
                    if let Some(number) = room.store.commit() {
                        room.core.committed(number, &mut effects);
                    }
                }
                19 if rng.u8(..4) == 0 => {
                    room.crash();
                    requests.clear();
                }
                _ => {}
            }
            hear(&effects);
            let items: Vec<_> = room.core.document().get("list").unwrap().as_array().unwrap().to_vec();
            for key in 0..4 {
                let times = items.iter().filter(|item| item.as_str() == Some(&key.to_string())).count();
                assert!(times <= 1, "seed {seed}: key {key} had its effect {times} times");
            }
        }
        hear(&room.commit());
        for key in answers.keys() {
            assert!(room.json().contains(&format!("\"{key}\"")), "seed {seed}: key {key} was answered and is lost");
        }
        requests.clear();
        room.keyed(&Client::new(1), &append("last", "last"));
        room.keyed(&Client::new(1), &append("very last", "last"));
        assert!(room.core.keyed.count() <= 1, "seed {seed}: nothing stays in memory");
    }
}
