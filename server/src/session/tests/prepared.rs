//! Work that is too much for the shard is done off it, and comes back.

use super::*;

fn large(counter: u64) -> Update {
    op(counter, 1, &set(&format!("/k{counter}"), &format!("\"{}\"", "x".repeat(defaults::APPLY_IN_PLACE_BYTES))))
}

fn begin(room: &mut Room, client: &Client, update: &Update) -> Preparation {
    let mut out = Vec::new();
    let preparation =
        room.core.update(&client.writer(), &update.clone().into(), room.now, &mut out).expect("work for off the shard");
    assert!(out.is_empty(), "nothing has happened yet");
    preparation
}

fn go_on(room: &mut Room, client: &Client, update: &Update, job: Preparation) -> (Option<Preparation>, Vec<Effect>) {
    let mut out = Vec::new();
    let again =
        room.core.update_prepared(&client.writer(), &update.clone().into(), job.run(|_| Ok(None)), room.now, &mut out);
    room.settle(&mut out);
    (again, out)
}

#[test]
fn a_patch_of_much_text_is_applied_off_the_shard_and_committed_when_the_version_is_the_same() {
    let mut room = Room::new("{}");
    let client = Client::new(1);
    let job = begin(&mut room, &client, &large(1));
    let (again, effects) = go_on(&mut room, &client, &large(1), job);
    assert!(again.is_none());
    assert_eq!(deltas(&effects)[0].operations, large(1).operations);
    assert!(accepted(&told(&effects, client.conn)[0]).changed);
    room.commit();
    let before = room.json();
    room.crash();
    assert_eq!(room.json(), before);
}

#[test]
fn no_later_op_of_the_same_client_overtakes_one_that_is_being_prepared() {
    let mut room = Room::new("{}");
    let client = Client::new(1);
    let job = begin(&mut room, &client, &large(1));
    let later = op(2, 1, &set("/a", "1"));
    assert_eq!(error(&room.send(&client, &later)), "busy");
    assert!(accepted(&room.send(&Client::new(2), &op(1, 1, "[]"))).counter == 1, "others go on");
    assert!(go_on(&mut room, &client, &large(1), job).0.is_none());
    assert!(accepted(&room.send(&client, &later)).changed);
}

#[test]
fn when_others_keep_changing_the_document_it_is_done_in_place_in_the_end() {
    let mut room = Room::new("{}");
    let (client, other) = (Client::new(1), Client::new(2));
    let mut job = begin(&mut room, &client, &large(1));
    for turn in 1.. {
        room.send(&other, &op(turn, 1, &set("/n", &turn.to_string())));
        let (again, effects) = go_on(&mut room, &client, &large(1), job);
        let Some(again) = again else {
            assert_eq!(turn, u64::from(defaults::PREPARE_TRIES));
            assert_eq!(deltas(&effects).len(), 1);
            break;
        };
        assert!(effects.is_empty());
        job = again;
    }
    assert!(room.json().starts_with(r#"{"k1":"xxx"#));
}

#[test]
fn what_is_prepared_is_judged_like_any_other_update_when_it_comes_back() {
    let mut room = Room::with(r#"{"k1":0}"#, ConflictPolicy::Reject, DevicePolicy::Many);
    let (client, other) = (Client::new(1), Client::new(2));
    room.send(&other, &op(1, 1, &set("/k1", "1")));
    let job = begin(&mut room, &client, &large(1));
    let (again, effects) = go_on(&mut room, &client, &large(1), job);
    assert!(again.is_none());
    assert_eq!(error(&told(&effects, client.conn)[0]), "conflict");
    assert_eq!(room.version(), 2);
}

#[test]
fn under_merge_what_was_prepared_and_clashes_is_merged_and_not_put_over_the_other() {
    let mut room = Room::with(r#"{"a":{}}"#, ConflictPolicy::Merge, DevicePolicy::Many);
    room.send(&Client::new(2), &op(1, 1, &set("/a", r#"{"x":1}"#)));
    let client = Client::new(1);
    let text = "y".repeat(defaults::APPLY_IN_PLACE_BYTES);
    let update = op(1, 1, &set("/a", &format!(r#"{{"y":"{text}"}}"#)));
    let job = begin(&mut room, &client, &update);
    assert!(go_on(&mut room, &client, &update, job).0.is_none());
    assert_eq!(room.json(), format!(r#"{{"a":{{"x":1,"y":"{text}"}}}}"#));
}

#[test]
fn a_short_patch_that_is_much_work_goes_off_the_shard_too_and_one_that_is_too_much_is_refused() {
    let items = vec!["0"; 400_000].join(",");
    let mut room = Room::new(&format!(r#"{{"n":[{items}]}}"#));
    let client = Client::new(1);
    let shifts = |count: usize| format!("[{}]", vec![r#"{"op":"remove","path":"/n/0"}"#; count].join(","));
    let update = op(1, 1, &shifts(20));
    let job = begin(&mut room, &client, &update);
    assert!(accepted(&told(&go_on(&mut room, &client, &update, job).1, client.conn)[0]).changed);
    let hostile = op(2, 2, &shifts(1_000));
    let job = begin(&mut room, &client, &hostile);
    assert_eq!(error(&told(&go_on(&mut room, &client, &hostile, job).1, client.conn)[0]), "invalid_patch");
    assert_eq!(room.version(), 2);
}

#[test]
fn a_patch_for_an_older_version_that_would_be_much_to_follow_goes_off_the_shard() {
    let text = "x".repeat(3 << 20);
    let mut room = Room::new(&format!(r#"{{"text":"{text}","a":1,"b":1}}"#));
    room.send(&Client::new(2), &op(1, 1, &set("/c", "1")));
    let client = Client::new(1);
    let two = r#"[{"op":"replace","path":"/a","value":2},{"op":"replace","path":"/b","value":2}]"#;
    let job = begin(&mut room, &client, &op(1, 1, two));
    assert!(accepted(&told(&go_on(&mut room, &client, &op(1, 1, two), job).1, client.conn)[0]).changed);
    assert!(accepted(&room.send(&client, &op(2, 3, two))).counter == 2, "the current version needs no following");
}

#[test]
fn a_text_that_is_no_patch_is_refused_wherever_it_is_read() {
    let mut room = Room::new("{}");
    let client = Client::new(1);
    let update = op(1, 1, &"nonsense".repeat(defaults::APPLY_IN_PLACE_BYTES + 1));
    let job = begin(&mut room, &client, &update);
    let (again, effects) = go_on(&mut room, &client, &update, job);
    assert!(again.is_none());
    assert_eq!(error(&told(&effects, client.conn)[0]), "invalid_json");
    assert!(accepted(&room.send(&client, &op(2, 1, &set("/a", "1")))).changed);
}

#[test]
fn the_same_op_prepared_twice_is_applied_once() {
    let mut room = Room::new("{}");
    let client = Client::new(1);
    let (first, second) = (begin(&mut room, &client, &large(1)), begin(&mut room, &client.on(9), &large(1)));
    assert!(go_on(&mut room, &client, &large(1), first).0.is_none());
    let (again, effects) = go_on(&mut room, &client.on(9), &large(1), second);
    assert!(again.is_none() && deltas(&effects).is_empty());
    assert_eq!(accepted(&told(&effects, ConnId(9))[0]).at.version, 2);
}
