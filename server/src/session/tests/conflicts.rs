//! Which version an update was made for, who may write, and what happens when others came in between.

use super::*;

fn with(policy: ConflictPolicy, document: &str) -> Room {
    Room::with(document, policy, DevicePolicy::Many)
}

fn asking(policy: ConflictPolicy, update: Update) -> Update {
    Update { on_conflict: Some(policy), ..update }
}

fn paths(message: &Message) -> Vec<String> {
    match message {
        Message::Conflict(conflict) => conflict.paths.iter().map(ToString::to_string).collect(),
        other => panic!("no conflict: {other:?}"),
    }
}

const ALL: [ConflictPolicy; 3] = [ConflictPolicy::LastWriterWins, ConflictPolicy::Merge, ConflictPolicy::Reject];

#[test]
fn an_update_of_an_older_version_is_applied_when_nothing_it_touches_was_touched_since() {
    for policy in ALL {
        let mut room = with(policy, r#"{"a":{},"b":{}}"#);
        room.send(&Client::new(1), &op(1, 1, &set("/a/x", "1")));
        let answer = room.send(&Client::new(2), &op(1, 1, &set("/b/y", "2")));
        assert!(accepted(&answer).changed);
        assert_eq!(room.json(), r#"{"a":{"x":1},"b":{"y":2}}"#);
    }
}

#[test]
fn the_last_writer_wins_unless_the_session_says_otherwise() {
    let mut room = with(ConflictPolicy::LastWriterWins, r#"{"a":{"x":1}}"#);
    room.send(&Client::new(1), &op(1, 1, &set("/a", r#"{"y":2}"#)));
    let answer = room.send(&Client::new(2), &op(1, 1, &set("/a", r#"{"z":3}"#)));
    assert!(accepted(&answer).changed);
    assert_eq!(room.json(), r#"{"a":{"z":3}}"#);
}

#[test]
fn under_merge_objects_that_clash_merge_and_everybody_is_told_what_was_applied() {
    let mut room = with(ConflictPolicy::Merge, r#"{"a":{"x":1}}"#);
    room.send(&Client::new(1), &op(1, 1, &set("/a", r#"{"y":2}"#)));
    let client = Client::new(2);
    let effects = room.update(&client, &op(1, 1, &set("/a", r#"{"z":3}"#)));
    assert_eq!(room.json(), r#"{"a":{"y":2,"z":3}}"#);
    let applied = accepted(&told(&effects, client.conn)[0]).operations.clone().expect("it differs from what was sent");
    assert_eq!(deltas(&effects)[0].operations, applied);
}

#[test]
fn under_reject_a_clash_is_refused_with_its_paths_and_changes_nothing() {
    let mut room = with(ConflictPolicy::Reject, r#"{"a":1,"b":1}"#);
    room.send(&Client::new(1), &op(1, 1, &set("/a", "2")));
    let conflict = room.send(&Client::new(2), &op(1, 1, &set("/a", "3")));
    assert_eq!(paths(&conflict), ["/a"]);
    let Message::Conflict(conflict) = conflict else { unreachable!("it was one") };
    assert_eq!(conflict.at, Position { epoch: 1, version: 2 });
    assert_eq!((room.version(), room.json().as_str()), (2, r#"{"a":2,"b":1}"#));
}

#[test]
fn an_update_may_be_stricter_than_the_session_and_never_laxer() {
    for (session, update, refused) in [
        (ConflictPolicy::LastWriterWins, ConflictPolicy::Reject, true),
        (ConflictPolicy::Merge, ConflictPolicy::Reject, true),
        (ConflictPolicy::Reject, ConflictPolicy::LastWriterWins, true),
        (ConflictPolicy::Reject, ConflictPolicy::Merge, true),
        (ConflictPolicy::Merge, ConflictPolicy::LastWriterWins, false),
    ] {
        let mut room = with(session, r#"{"a":{}}"#);
        room.send(&Client::new(1), &op(1, 1, &set("/a", r#"{"x":1}"#)));
        let answer = room.send(&Client::new(2), &asking(update, op(1, 1, &set("/a", r#"{"y":2}"#))));
        assert_eq!(matches!(answer, Message::Conflict(_)), refused, "{session:?}, {update:?}");
        if session == ConflictPolicy::Merge && !refused {
            assert_eq!(room.json(), r#"{"a":{"x":1,"y":2}}"#, "merged, though the update asked for less");
        }
    }
}

#[test]
fn array_indexes_that_shifted_are_a_conflict_under_every_policy_and_appends_never_are() {
    for policy in ALL {
        let mut room = with(policy, r#"{"n":[1,2,3]}"#);
        room.send(&Client::new(1), &op(1, 1, r#"[{"op":"remove","path":"/n/0"}]"#));
        let clash = room.send(&Client::new(2), &op(1, 1, r#"[{"op":"remove","path":"/n/1"}]"#));
        assert_eq!(paths(&clash), ["/n"]);
        let inside = room.send(&Client::new(2), &op(2, 1, r#"[{"op":"replace","path":"/n/1","value":9}]"#));
        assert_eq!(paths(&inside), ["/n/1"]);
        assert!(accepted(&room.send(&Client::new(2), &op(3, 1, &set("/n/-", "4")))).changed);
        assert!(accepted(&room.send(&Client::new(3), &op(1, 1, &set("/n/-", "5")))).changed);
        assert_eq!(room.json(), r#"{"n":[2,3,4,5]}"#);
    }
}

#[test]
fn an_append_goes_to_the_end_of_whatever_array_is_there_and_is_not_undone_by_an_older_replacement() {
    for policy in ALL {
        let mut room = with(policy, r#"{"o":{"n":[1,2,3]}}"#);
        room.send(&Client::new(1), &op(1, 1, r#"[{"op":"replace","path":"/o/n","value":[]}]"#));
        assert!(accepted(&room.send(&Client::new(2), &op(1, 1, &set("/o/n/-", "4")))).changed);
        assert_eq!(room.json(), r#"{"o":{"n":[4]}}"#);
        let undoes = room.send(&Client::new(3), &op(1, 2, r#"[{"op":"replace","path":"/o/n","value":[5]}]"#));
        assert_eq!(matches!(undoes, Message::Conflict(_)), policy == ConflictPolicy::Reject, "{policy:?}");
        room.send(&Client::new(1), &op(2, room.version(), r#"[{"op":"remove","path":"/o/n"}]"#));
        assert_eq!(error(&room.send(&Client::new(2), &op(2, 1, &set("/o/n/-", "6")))), "path_not_found");
    }
}

#[test]
fn a_replacement_around_a_changed_array_may_win_but_an_index_into_a_replaced_one_never_does() {
    let mut room = with(ConflictPolicy::LastWriterWins, r#"{"o":{"n":[1,2,3]}}"#);
    room.send(&Client::new(1), &op(1, 1, r#"[{"op":"remove","path":"/o/n/0"}]"#));
    assert!(
        accepted(&room.send(&Client::new(2), &op(1, 1, r#"[{"op":"replace","path":"/o","value":{"n":[7]}}]"#))).changed
    );
    let stale = room.send(&Client::new(3), &op(1, 2, r#"[{"op":"remove","path":"/o/n/0"}]"#));
    assert_eq!(error(&stale), "conflict");
}

#[test]
fn what_one_incarnation_changed_is_never_in_its_own_way() {
    for policy in ALL {
        let mut room = with(policy, r#"{"n":[1,2,3],"a":1}"#);
        let client = Client::new(1);
        for counter in 1..=3 {
            let update = op(counter, 1, r#"[{"op":"remove","path":"/n/0"}]"#);
            assert!(accepted(&room.send(&client, &update)).changed);
        }
        let other = Client { user: "somebody else".into(), ..client.clone() };
        let clash = room.send(&other, &op(4, 1, &set("/n/0", "9")));
        assert_eq!(error(&clash), "conflict", "the same number of another user is another incarnation");
    }
}

#[test]
fn a_conflict_names_at_most_sixteen_paths_and_of_long_ones_an_ancestor() {
    let long = "x".repeat(300);
    let mut room = with(ConflictPolicy::Reject, &format!(r#"{{"deep":{{"er":{{"{long}":1}}}}}}"#));
    let other = Client::new(1);
    for counter in 1..=20 {
        room.send(&other, &op(counter, counter, &set(&format!("/k{counter}"), "1")));
    }
    room.send(&other, &op(21, 21, &set(&format!("/deep/er/{long}"), "2")));
    let each: Vec<String> = (1..=20).map(|key| format!(r#"{{"op":"add","path":"/k{key}","value":2}}"#)).collect();
    let all = room.send(&Client::new(2), &op(1, 1, &format!("[{}]", each.join(","))));
    assert_eq!(paths(&all).len(), defaults::CONFLICT_PATHS);
    let deep = room.send(&Client::new(2), &op(2, 21, &set(&format!("/deep/er/{long}"), "3")));
    assert_eq!(paths(&deep), ["/deep/er"]);
}

#[test]
fn an_update_that_lost_its_ground_to_others_is_a_conflict_and_not_its_own_mistake() {
    let mut room = with(ConflictPolicy::LastWriterWins, r#"{"a":{"x":1},"b":1}"#);
    room.send(&Client::new(1), &op(1, 1, r#"[{"op":"remove","path":"/a"}]"#));
    let lost = room.send(&Client::new(2), &op(1, 1, r#"[{"op":"replace","path":"/a/x","value":2}]"#));
    assert_eq!(paths(&lost), ["/a/x"]);
    let mistake = room.send(&Client::new(2), &op(2, 1, r#"[{"op":"replace","path":"/no","value":2}]"#));
    assert_eq!(error(&mistake), "path_not_found");
}

#[test]
fn a_base_older_than_what_is_remembered_overlaps_everything() {
    let mut room = with(ConflictPolicy::LastWriterWins, r#"{"a":0,"n":[1],"other":0}"#);
    let busy = Client::new(1);
    for counter in 1..=defaults::TOUCHES_VERSIONS as u64 + 1 {
        room.send(&busy, &op(counter, counter, &set("/a", &counter.to_string())));
    }
    let client = Client::new(2);
    let strict = |counter, version| asking(ConflictPolicy::Reject, op(counter, version, &set("/other", "1")));
    assert_eq!(error(&room.send(&client, &strict(1, 1))), "conflict");
    assert!(accepted(&room.send(&client, &strict(2, 2))).changed);
    assert!(accepted(&room.send(&client, &op(3, 1, &set("/other", "2")))).changed);
    assert_eq!(error(&room.send(&client, &op(4, 1, r#"[{"op":"remove","path":"/n/0"}]"#))), "conflict");
    let append = asking(ConflictPolicy::Reject, op(5, 1, &set("/n/-", "2")));
    assert!(accepted(&room.send(&client, &append)).changed);
}

#[test]
fn touched_paths_are_kept_within_their_bytes() {
    let mut room = with(ConflictPolicy::Reject, r#"{"other":0}"#);
    let long = "x".repeat(1_000);
    for counter in 1..=300 {
        room.send(&Client::new(1), &op(counter, counter, &set(&format!("/{long}"), &counter.to_string())));
    }
    assert_eq!(error(&room.send(&Client::new(2), &op(1, 1, &set("/other", "1")))), "conflict");
    assert!(accepted(&room.send(&Client::new(2), &op(2, 200, &set("/other", "1")))).changed);
}

#[test]
fn touched_paths_of_what_is_replayed_are_known_after_a_restart() {
    let mut room = with(ConflictPolicy::Reject, r#"{"a":1,"b":1}"#);
    room.send(&Client::new(1), &op(1, 1, &set("/a", "2")));
    room.commit();
    room.crash();
    assert_eq!(paths(&room.send(&Client::new(2), &op(1, 1, &set("/a", "3")))), ["/a"]);
    assert!(accepted(&room.send(&Client::new(2), &op(2, 1, &set("/b", "3")))).changed);
    assert!(accepted(&room.send(&Client::new(1), &op(2, 1, &set("/a", "4")))).changed, "its own change");
}

#[test]
fn a_base_of_an_older_epoch_counts_up_to_where_the_next_began_and_beyond_it_overlaps_everything() {
    let mut room = with(ConflictPolicy::Reject, r#"{"a":1,"b":1,"c":1}"#);
    room.send(&Client::new(1), &op(1, 1, &set("/a", "2")));
    room.commit();
    room.send(&Client::new(1), &op(2, 2, &set("/a", "3")));
    room.crash();
    room.send(&Client::new(3), &Update { base: Position { epoch: 2, version: 2 }, ..op(1, 0, &set("/c", "2")) });
    let client = Client::new(2);
    assert!(accepted(&room.send(&client, &op(1, 2, &set("/a", "5")))).changed);
    assert_eq!(error(&room.send(&client, &op(2, 3, &set("/b", "5")))), "conflict", "version 3 of epoch 1 was lost");
}

#[test]
fn a_version_that_the_session_has_not_reached_is_ahead_and_version_0_is_none() {
    let mut room = with(ConflictPolicy::LastWriterWins, "{}");
    let client = Client::new(1);
    assert_eq!(error(&room.send(&client, &op(1, 2, &set("/a", "1")))), "version_ahead");
    let newer = Update { base: Position { epoch: 2, version: 1 }, ..op(2, 1, &set("/a", "1")) };
    assert_eq!(error(&room.send(&client, &newer)), "version_ahead");
    assert_eq!(error(&room.send(&client, &op(3, 0, &set("/a", "1")))), "invalid_field");
}

#[test]
fn only_the_active_device_writes_where_one_writer_is_allowed() {
    for (devices, fenced) in [(DevicePolicy::Many, false), (DevicePolicy::Exclusive, true), (DevicePolicy::Ask, true)] {
        let mut room = Room::with("{}", ConflictPolicy::LastWriterWins, devices);
        let active = Client::new(0);
        assert!(accepted(&room.send(&active, &op(2, 1, &set("/a", "1")))).changed);
        let desk = Client { device: "desk".into(), incarnation: 9, ..active };
        let answer = room.send(&desk, &op(1, 1, &set("/a", "2")));
        assert_eq!(matches!(answer, Message::Error(_)), fenced, "{devices:?}");
        if fenced {
            assert_eq!(error(&answer), "not_active");
            assert_eq!(room.send(&desk, &op(1, 1, &set("/a", "2"))), answer);
        }
    }
}

#[test]
fn what_is_refused_says_by_its_name_what_is_wrong_and_leaves_the_document_as_it_was() {
    let mut room = with(ConflictPolicy::LastWriterWins, r#"{"a":[1]}"#);
    let client = Client::new(1);
    let deep = format!("{}1{}", "[".repeat(64), "]".repeat(64));
    let cases = [
        ("invalid_json", "[".to_owned()),
        ("invalid_patch", r#"{"op":"add"}"#.to_owned()),
        ("invalid_patch", r#"[{"op":"jump","path":"/a"}]"#.to_owned()),
        ("invalid_patch", r#"[{"op":"remove","path":""}]"#.to_owned()),
        ("invalid_json", set("/a", &deep)),
        ("path_not_found", r#"[{"op":"add","path":"/b","value":1},{"op":"remove","path":"/x"}]"#.to_owned()),
        ("test_failed", r#"[{"op":"add","path":"/b","value":1},{"op":"test","path":"/a","value":2}]"#.to_owned()),
    ];
    for (counter, (name, operations)) in (1..).zip(cases) {
        assert_eq!(error(&room.send(&client, &op(counter, 1, &operations))), name, "{operations}");
    }
    assert_eq!((room.version(), room.json().as_str()), (1, r#"{"a":[1]}"#));
}

#[test]
fn the_text_of_an_error_quotes_no_more_than_its_bound() {
    let mut room = with(ConflictPolicy::LastWriterWins, "{}");
    let update = op(1, 1, &format!(r#"[{{"op":"remove","path":"/{}"}}]"#, "ü".repeat(5_000)));
    match room.send(&Client::new(1), &update) {
        Message::Error(error) => assert!(error.text.len() <= defaults::ERROR_TEXT_BYTES, "{}", error.text.len()),
        other => panic!("{other:?}"),
    }
}
