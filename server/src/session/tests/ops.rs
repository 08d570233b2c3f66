//! An op is applied once, in its client's order, and what is told of it stays told.

use super::*;

const DAY: u64 = 24 * 60 * MINUTE;

#[test]
fn a_resend_is_not_applied_again_and_gets_the_version_that_it_made() {
    let mut room = Room::new(r#"{"n":[]}"#);
    let client = Client::new(1);
    let first = op(1, 1, &set("/n/-", "1"));
    assert_eq!(accepted(&room.send(&client, &first)).at.version, 2);
    room.send(&client, &op(2, 2, &set("/n/-", "2")));
    let effects = room.update(&client.on(77), &first);
    let again = told(&effects, ConnId(77));
    assert_eq!((accepted(&again[0]).at.version, accepted(&again[0]).changed), (2, false));
    assert!(deltas(&effects).is_empty());
    assert_eq!((room.json().as_str(), room.version()), (r#"{"n":[1,2]}"#, 3));
}

#[test]
fn a_resend_after_a_crash_is_not_applied_again_when_the_first_was_durable() {
    let mut room = Room::new(r#"{"n":[]}"#);
    let client = Client::new(1);
    let update = op(1, 1, &set("/n/-", "1"));
    room.send(&client, &update);
    room.commit();
    room.crash();
    let again = room.send(&client, &update);
    assert_eq!((accepted(&again).at.clone(), accepted(&again).changed), (Position { epoch: 2, version: 2 }, false));
    assert!(accepted(&again).durable);
    assert_eq!(room.json(), r#"{"n":[1]}"#);
}

#[test]
fn a_resend_of_an_update_that_a_crash_lost_is_applied() {
    let mut room = Room::new(r#"{"n":[]}"#);
    let client = Client::new(1);
    let update = op(1, 1, &set("/n/-", "1"));
    room.send(&client, &update);
    room.crash();
    assert_eq!(room.json(), r#"{"n":[]}"#);
    assert!(accepted(&room.send(&client, &update)).changed);
    assert_eq!(room.json(), r#"{"n":[1]}"#);
}

#[test]
fn a_resend_of_an_update_that_changed_nothing_changes_nothing_even_after_a_crash() {
    let mut room = Room::new(r#"{"a":1}"#);
    let client = Client::new(1);
    let nothing = op(1, 1, &set("/a", "1"));
    let answer = room.send(&client, &nothing);
    assert_eq!((accepted(&answer).at.version, accepted(&answer).changed), (1, false));
    room.send(&Client::new(2), &op(1, 1, &set("/a", "2")));
    room.commit();
    room.crash();
    assert_eq!(accepted(&room.send(&client, &nothing)).at.version, 1);
    assert_eq!(room.json(), r#"{"a":2}"#);
}

#[test]
fn the_same_incarnation_number_of_another_user_is_another_client() {
    let mut room = Room::new(r#"{"n":[]}"#);
    let (one, other) = (Client::new(1), Client { user: "mallory".into(), ..Client::new(1) });
    room.send(&one, &op(1, 1, &set("/n/-", "1")));
    assert!(accepted(&room.send(&other, &op(1, 1, &set("/n/-", "2")))).changed);
    assert_eq!(room.json(), r#"{"n":[1,2]}"#);
}

#[test]
fn a_counter_below_the_window_is_expired_and_never_applied() {
    let mut room = Room::new(r#"{"n":0}"#);
    let client = Client::new(1);
    let window = syncbridge_storage::DEDUP_WINDOW as u64;
    for counter in 1..=window + 5 {
        room.send(&client, &op(counter, 1, &set("/n", &counter.to_string())));
    }
    let (version, json) = (room.version(), room.json());
    for counter in 1..=5 {
        assert_eq!(error(&room.send(&client, &op(counter, 1, &set("/n", "0")))), "op_expired");
    }
    assert_eq!(accepted(&room.send(&client, &op(6, 1, &set("/n", "0")))).at.version, 7);
    assert_eq!((room.version(), room.json()), (version, json));
}

#[test]
fn an_incarnation_that_was_idle_for_thirty_days_is_closed_also_after_a_restart() {
    let mut room = Room::new("{}");
    let client = Client::new(1);
    room.send(&client, &op(1, 1, &set("/a", "1")));
    room.commit();
    room.now.wall_ms += 29 * DAY;
    assert!(accepted(&room.send(&client, &op(2, 1, &set("/a", "2")))).changed);
    room.commit();
    room.now.wall_ms += 30 * DAY;
    for _ in 0..2 {
        assert_eq!(error(&room.send(&client, &op(2, 1, &set("/a", "2")))), "op_expired");
        assert_eq!(error(&room.send(&client, &op(3, 1, &set("/a", "3")))), "op_expired");
        room.crash();
    }
    assert!(accepted(&room.send(&Client::new(2), &op(1, 1, &set("/a", "3")))).changed);
}

#[test]
fn the_longest_idle_incarnation_gives_way_in_memory_and_in_the_store() {
    let mut room = Room::new("{}");
    for client in 1..=defaults::INCARNATIONS as u64 {
        room.now.wall_ms += if client < 5 { MINUTE } else { 0 };
        room.update(&Client::new(client), &op(1, 1, &set("/a", &client.to_string())));
    }
    room.commit();
    // Client 0 made the session, and is the one that gave way.
    assert!(!room.store.has_op("user0", 0, 1));
    room.now.wall_ms += MINUTE;
    room.update(&Client::new(1), &op(2, 1, &set("/a", "0")));
    room.update(&Client::new(900_000), &op(1, 1, &set("/a", "1")));
    room.commit();
    assert!(room.store.has_op("user1", 1, 2), "client 1 had just been here");
    assert!(!room.store.has_op("user2", 2, 1), "client 2 was idle for longest");
    assert_eq!(room.core.ops.len(), defaults::INCARNATIONS);
}

#[test]
fn a_refusal_stays_the_same_when_the_op_comes_again() {
    let mut room = Room::new(r#"{"a":1}"#);
    let client = Client::new(1);
    let update = op(1, 1, r#"[{"op":"test","path":"/a","value":2}]"#);
    let first = room.send(&client, &update);
    assert_eq!(error(&first), "test_failed");
    room.send(&Client::new(2), &op(1, 1, &set("/a", "2")));
    assert_eq!(room.send(&client.on(9), &update), first);
    assert_eq!(room.version(), 2);
}

#[test]
fn refusals_are_kept_within_their_bytes_and_older_ones_are_expired_but_never_applied() {
    let mut room = Room::new("{}");
    let client = Client::new(1);
    let path = "x".repeat(400);
    let update = |counter| op(counter, 1, &format!(r#"[{{"op":"remove","path":"/{path}"}}]"#));
    for counter in 1..=1_000 {
        assert_eq!(error(&room.send(&client, &update(counter))), "path_not_found");
    }
    assert_eq!(error(&room.send(&client, &update(1_000))), "path_not_found");
    assert_eq!(error(&room.send(&client, &op(1, 1, &set("/a", "1")))), "op_expired");
    assert_eq!(room.json(), "{}");
}

#[test]
fn a_chain_of_ops_fails_whole() {
    let mut room = Room::new("{}");
    let client = Client::new(1);
    let after = |counter, after| Update { after: Some(after), ..op(counter, 1, &set("/a", &counter.to_string())) };
    assert_eq!(error(&room.send(&client, &op(1, 1, r#"[{"op":"remove","path":"/no"}]"#))), "path_not_found");
    assert_eq!(error(&room.send(&client, &after(2, 1))), "dependency_refused");
    assert_eq!(error(&room.send(&client, &after(3, 2))), "dependency_refused");
    assert!(accepted(&room.send(&client, &op(4, 1, &set("/a", "4")))).changed);
    assert!(accepted(&room.send(&client, &after(5, 4))).changed);
    assert_eq!(room.json(), r#"{"a":5}"#);
}

#[test]
fn an_op_may_build_on_one_that_changed_nothing_and_on_none_that_a_crash_lost() {
    let mut room = Room::new(r#"{"a":1}"#);
    let client = Client::new(1);
    let after = |counter, after| Update { after: Some(after), ..op(counter, 1, &set("/a", "7")) };
    room.send(&client, &op(1, 1, &set("/a", "1")));
    assert!(accepted(&room.send(&client, &after(2, 1))).changed);
    room.commit();
    room.send(&client, &op(3, 1, &set("/a", "3")));
    room.crash();
    assert_eq!(error(&room.send(&client, &after(4, 3))), "dependency_refused");
}

#[test]
fn an_op_that_builds_on_itself_or_on_a_later_one_is_invalid() {
    let mut room = Room::new("{}");
    let after = |counter, after| Update { after: Some(after), ..op(counter, 1, &set("/a", "1")) };
    assert_eq!(error(&room.send(&Client::new(1), &after(1, 1))), "invalid_field");
    assert_eq!(error(&room.send(&Client::new(1), &after(2, 3))), "invalid_field");
    assert!(accepted(&room.send(&Client::new(1), &op(0, 1, "[]"))).at.version == 1, "counter 0 is nobody's op");
}

#[test]
fn after_busy_no_later_op_is_applied_before_the_one_that_was_told_to_come_again() {
    let mut room = Room::new(r#"{"n":[]}"#);
    let client = Client::new(1);
    let update = |counter: u64| op(counter, 1, &set("/n/-", &counter.to_string()));
    assert_eq!(error(&room.busy(&client, &update(1))), "busy");
    assert_eq!(error(&room.send(&client, &update(2))), "busy");
    assert_eq!(error(&room.send(&client, &update(3))), "busy");
    assert!(accepted(&room.send(&Client::new(2), &update(1))).changed, "other clients go on");
    assert!(accepted(&room.send(&client, &update(1))).changed);
    // Late copies of 3, from a connection that is dying, must not overtake 2.
    assert_eq!(error(&room.send(&client, &update(3))), "busy");
    assert!(accepted(&room.send(&client, &update(2))).changed);
    assert!(accepted(&room.send(&client, &update(3))).changed);
    assert!(accepted(&room.send(&client, &update(4))).changed);
    assert_eq!(room.json(), r#"{"n":[1,1,2,3,4]}"#);
}

#[test]
fn an_op_that_was_answered_in_an_earlier_life_of_the_server_is_not_waited_for() {
    let mut room = Room::new("{}");
    let client = Client::new(1);
    let update = |counter: u64| op(counter, 1, &set("/a", &counter.to_string()));
    // The client heard the answers to 2 and 3, and a crash then lost them: it sends 1 and 4 again, and never 2 and 3.
    room.busy(&client, &update(1));
    assert_eq!(error(&room.send(&client, &update(4))), "busy");
    assert!(accepted(&room.send(&client, &update(1))).changed);
    assert!(accepted(&room.send(&client, &update(4))).changed);
}

#[test]
fn an_op_that_was_told_to_come_again_is_given_up_by_an_empty_patch_under_its_counter() {
    let mut room = Room::new("{}");
    let client = Client::new(1);
    room.busy(&client, &op(5, 1, &set("/a", "1")));
    assert_eq!(error(&room.send(&client, &op(6, 1, &set("/a", "2")))), "busy");
    assert!(!accepted(&room.send(&client, &op(5, 1, "[]"))).changed);
    assert!(accepted(&room.send(&client, &op(6, 1, &set("/a", "2")))).changed);
    assert!(accepted(&room.send(&client, &op(7, 1, &set("/a", "3")))).changed);
}

#[test]
fn a_lower_op_than_the_one_that_was_told_to_come_again_is_taken() {
    let mut room = Room::new("{}");
    let client = Client::new(1);
    let first = op(1, 1, &set("/a", "1"));
    room.send(&client, &first);
    room.busy(&client, &op(3, 1, &set("/a", "3")));
    assert!(!accepted(&room.send(&client, &first)).changed);
    assert!(accepted(&room.send(&client, &op(2, 1, &set("/a", "2")))).changed);
    assert_eq!(error(&room.send(&client, &op(4, 1, &set("/a", "4")))), "busy");
    assert!(accepted(&room.send(&client, &op(3, 1, &set("/a", "3")))).changed);
}

#[test]
fn an_op_that_was_refused_for_good_is_no_more_in_the_way_of_later_ones() {
    let mut room = Room::new("{}");
    let client = Client::new(1);
    let wrong = op(1, 1, r#"[{"op":"remove","path":"/no"}]"#);
    room.busy(&client, &wrong);
    assert_eq!(error(&room.send(&client, &wrong)), "path_not_found");
    assert!(accepted(&room.send(&client, &op(2, 1, &set("/a", "2")))).changed);
}

#[test]
fn a_busy_server_answers_what_it_has_answered_before() {
    let mut room = Room::new("{}");
    let client = Client::new(1);
    let update = op(1, 1, &set("/a", "1"));
    room.send(&client, &update);
    assert_eq!(accepted(&room.busy(&client, &update)).at.version, 2);
    assert!(accepted(&room.send(&client, &op(2, 1, &set("/a", "2")))).changed);
}

#[test]
fn a_session_of_which_too_much_waits_for_the_disk_is_busy_until_it_is_durable() {
    let mut room = Room::new("{}");
    let client = Client::new(1);
    let large = format!("\"{}\"", "x".repeat(60_000));
    let mut counter = 0;
    let busy = loop {
        counter += 1;
        let value = if counter % 2 == 0 { &large } else { "0" };
        match room.send(&client, &op(counter, 1, &set("/a", value))) {
            Message::Accepted(_) => assert!(counter < 1_000, "it has a bound"),
            busy => break busy,
        }
    };
    assert_eq!(error(&busy), "busy");
    assert!(room.core.acks.under_way().1 < defaults::UNCOMMITTED_BYTES + 100_000);
    room.commit();
    assert!(accepted(&room.send(&client, &op(counter, 1, &set("/a", "1")))).changed);
}
