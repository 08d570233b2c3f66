//! What the writer and the others are told, where in the order, and when.

use super::*;

fn durables(effects: &[Effect], conn: u64) -> Vec<u64> {
    let told = told(effects, ConnId(conn));
    told.iter()
        .filter_map(|message| match message {
            Message::Durable(durable) => Some(durable.at.version),
            _ => None,
        })
        .collect()
}

#[test]
fn accepted_stands_in_place_of_the_writers_own_event() {
    let mut room = Room::new("{}");
    let client = Client::new(1);
    let sent = op(1, 1, &set("/a", "1"));
    let effects = room.update(&client, &sent);
    let [Effect::Event { topic: TopicKind::State, seq: 2, origin: Some((conn, answer)), frame, withheld: None }] =
        &effects[..]
    else {
        panic!("one event: {effects:?}");
    };
    assert_eq!(*conn, client.conn);
    let answer = decode(answer);
    let answer = accepted(&answer);
    assert_eq!((answer.counter, answer.at.version, answer.durable, answer.changed), (1, 2, false, true));
    assert_eq!(answer.operations, None, "what was applied is what was sent");
    let Message::Delta(delta) = decode(frame) else { panic!("a Delta") };
    assert_eq!((delta.operations, &*delta.device), (sent.operations, "device1"));
    assert_eq!(delta.origin, message::Origin { incarnation: 1, counter: 1 });
    assert_eq!(delta.time_ms, room.now.wall_ms);
}

#[test]
fn an_answer_that_must_be_durable_is_withheld_and_the_writer_gets_its_own_event_in_order() {
    let mut room = Room::new("{}");
    let client = Client::new(1);
    let effects = room.update(&client, &durable(op(1, 1, &set("/a", "1"))));
    assert!(told(&effects, client.conn).is_empty());
    assert!(
        matches!(&effects[..], [Effect::Event { origin: None, withheld: Some(conn), seq: 2, .. }] if *conn == client.conn)
    );
    let effects = room.commit();
    let answers = told(&effects, client.conn);
    assert_eq!(answers.len(), 1);
    assert_eq!((accepted(&answers[0]).durable, accepted(&answers[0]).at.version), (true, 2));
    assert!(accepted(&answers[0]).changed);
}

#[test]
fn an_answer_waits_for_its_own_commit_and_not_for_an_earlier_one() {
    let mut room = Room::new("{}");
    room.update(&Client::new(1), &durable(op(1, 1, &set("/a", "1"))));
    room.update(&Client::new(2), &durable(op(1, 1, &set("/b", "1"))));
    let mut out = Vec::new();
    let number = room.store.commit().expect("two are under way");
    room.core.committed(number, &mut out);
    assert_eq!((told(&out, ConnId(1)).len(), told(&out, ConnId(2)).len()), (1, 0));
    assert_eq!(room.core.durable(), 2);
    assert_eq!(told(&room.commit(), ConnId(2)).len(), 1);
}

#[test]
fn a_resend_that_must_be_durable_is_withheld_until_the_first_is() {
    let mut room = Room::new("{}");
    let client = Client::new(1);
    room.send(&client, &op(1, 1, &set("/a", "1")));
    let again = durable(op(1, 1, &set("/a", "1")));
    assert!(room.update(&client.on(5), &again).is_empty());
    let answers = told(&room.commit(), ConnId(5));
    assert_eq!((accepted(&answers[0]).durable, accepted(&answers[0]).changed), (true, false));
    assert!(accepted(&room.send(&client.on(6), &again)).durable, "now at once");
}

#[test]
fn an_update_that_changed_nothing_but_must_be_durable_waits_until_that_is_recorded() {
    let mut room = Room::new("{}");
    room.send(&Client::new(1), &op(1, 1, &set("/a", "1")));
    let client = Client::new(2);
    assert!(room.update(&client, &durable(op(1, 2, &set("/a", "1")))).is_empty());
    let mut out = Vec::new();
    room.core.committed(room.store.commit().unwrap(), &mut out);
    assert!(told(&out, client.conn).is_empty(), "only the change is durable");
    let answers = told(&room.commit(), client.conn);
    assert_eq!((accepted(&answers[0]).changed, accepted(&answers[0]).at.version), (false, 2));
}

#[test]
fn durable_is_cumulative_one_for_each_connection_that_asked() {
    let mut room = Room::new("{}");
    let notify =
        |counter| Update { durability: Durability::Notify, ..op(counter, 1, &set(&format!("/k{counter}"), "1")) };
    for counter in 1..=5 {
        assert!(!accepted(&room.send(&Client::new(1), &notify(counter))).durable);
    }
    room.send(&Client::new(2), &notify(6));
    room.send(&Client::new(3), &op(1, 1, &set("/x", "1")));
    let mut last = 0;
    while let Some(number) = room.store.commit() {
        last = number;
    }
    let mut out = Vec::new();
    room.core.committed(last, &mut out);
    assert_eq!((durables(&out, 1), durables(&out, 2), durables(&out, 3)), (vec![8], vec![8], vec![]));
    assert!(out.iter().any(|effect| matches!(effect, Effect::Durable { version: 8, .. })), "for who wants every one");
    room.core.committed(last, &mut out);
    assert_eq!(durables(&out, 1), [8], "once");
}

#[test]
fn what_was_applied_is_told_when_it_differs_from_what_was_sent() {
    let mut room = Room::new("{}");
    let client = Client::new(1);
    let effects = room.update(&client, &Update { lenient: true, ..op(1, 1, &set("/a/b/c", "1")) });
    let strict = set("/a", r#"{"b":{"c":1}}"#);
    assert_eq!(accepted(&told(&effects, client.conn)[0]).operations.as_deref(), Some(strict.as_bytes()));
    assert_eq!(deltas(&effects)[0].operations, strict.as_bytes());
    assert_eq!(error(&room.send(&client, &op(2, 1, &set("/x/y", "1")))), "path_not_found", "only when asked for");
}

#[test]
fn a_connection_that_is_gone_is_answered_no_more_and_the_others_are() {
    let mut room = Room::new("{}");
    room.update(&Client::new(1), &durable(op(1, 1, &set("/a", "1"))));
    room.update(&Client::new(2), &durable(op(1, 1, &set("/b", "1"))));
    room.core.forget(ConnId(1), room.now);
    let effects = room.commit();
    assert_eq!((told(&effects, ConnId(1)).len(), told(&effects, ConnId(2)).len()), (0, 1));
}

#[test]
fn when_storage_fails_everybody_who_waits_is_told() {
    let mut room = Room::new("{}");
    room.update(&Client::new(1), &durable(op(1, 1, &set("/a", "1"))));
    let mut out = Vec::new();
    room.core.abandon(ErrorCode::StorageFailed, &mut out);
    assert_eq!(error(&told(&out, ConnId(1))[0]), "storage_failed");
    assert!(matches!(&told(&out, ConnId(1))[0], Message::Error(error) if error.op == Some(1)));
}

fn make(counter: u64) -> (Core, Store, Vec<Effect>) {
    let (mut store, mut out) = (Store::default(), Vec::new());
    let maker = Client::new(1);
    let meta = Meta::owned(&maker.user, ConflictPolicy::Merge, DevicePolicy::Exclusive, &maker.device, 1);
    let now = Now { mono_ms: 0, wall_ms: MINUTE };
    let state = value(r#"{"a":1}"#);
    let core =
        Core::create("s".into(), 7, meta, state, &maker.writer(), counter, vec![], now, Bounds::default(), &mut out);
    out.retain(|effect| match effect {
        Effect::Commit { number, writes } => {
            store.submit(*number, writes.clone());
            false
        }
        _ => true,
    });
    (core, store, out)
}

fn created(effects: &[Effect], conn: u64) -> Vec<message::Created> {
    let told = told(effects, ConnId(conn));
    told.into_iter()
        .map(|message| match message {
            Message::Created(created) => created,
            other => panic!("not created: {other:?}"),
        })
        .collect()
}

#[test]
fn a_session_is_made_at_version_1_and_its_maker_told_once_that_is_durable() {
    let (mut core, mut store, mut out) = make(4);
    assert!(out.is_empty(), "nothing before it is durable");
    assert_eq!((core.position(), core.durable()), (Position { epoch: 7, version: 1 }, 0));
    core.committed(store.commit().unwrap(), &mut out);
    let expected = message::Created { counter: 4, session: "s".into(), epoch: 7, version: 1 };
    assert_eq!(created(&out, 1), [expected]);
    assert_eq!(core.durable(), 1);
    let restored = Core::restore("s".into(), store.crash().unwrap(), 8, Bounds::default()).unwrap();
    assert_eq!(restored.meta(), core.meta());
    assert_eq!(restored.document(), core.document());
}

#[test]
fn a_resend_of_create_is_answered_as_the_first_was_and_another_create_is_told_that_the_id_is_taken() {
    let (mut core, mut store, mut out) = make(4);
    let now = Now { mono_ms: 0, wall_ms: MINUTE };
    let (maker, other) = (Client::new(1), Client::new(2));
    let create = message::Create { counter: 4, session: "s".into(), ..message::Create::default() };
    core.create_again(&maker.on(10).writer(), &create, now, &mut out);
    assert!(out.is_empty(), "nothing before it is durable");
    core.create_again(&other.writer(), &create, now, &mut out);
    assert_eq!(error(&told(&out, ConnId(2))[0]), "already_exists");
    core.create_again(&maker.on(11).writer(), &message::Create { counter: 5, ..create.clone() }, now, &mut out);
    assert_eq!(error(&told(&out, ConnId(11))[0]), "already_exists");
    core.committed(store.commit().unwrap(), &mut out);
    assert_eq!((created(&out, 1).len(), created(&out, 10).len()), (1, 1));
    core.create_again(&maker.on(12).writer(), &create, now, &mut out);
    assert_eq!(created(&out, 12).len(), 1, "at once, when it is durable");
    assert_eq!(core.update(&maker.writer(), &op(4, 1, &set("/a", "2")).into(), now, &mut out).map(|_| ()), None);
    assert_eq!(core.position().version, 1, "the counter is taken");
}

#[test]
fn a_session_that_nobody_asked_for_is_made_without_an_op_or_an_answer() {
    let (mut core, mut store, mut out) = make(0);
    core.committed(store.commit().unwrap(), &mut out);
    assert!(told(&out, ConnId(1)).is_empty());
    assert!(!store.has_op("user1", 1, 0));
}
