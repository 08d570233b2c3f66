//! Who goes on where it was, from where, and who starts anew.

use super::*;

const NONE: [u64; 0] = [];

/// Something that is done to stored data, which must be noticed.
type Harm = fn(&mut StoredSession);

fn at(epoch: u64, version: u64) -> Position {
    Position { epoch, version }
}

fn write(room: &mut Room, client: &Client, counters: std::ops::RangeInclusive<u64>) {
    for counter in counters {
        let update = op(counter, 1, &set(&format!("/k{}", counter % 7), &counter.to_string()));
        assert!(accepted(&room.send(client, &update)).changed);
    }
}

/// Follows `resume` to its end, reading the store where it says so; the versions that come.
fn versions(room: &Room, have: &Position) -> Vec<u64> {
    let version_of = |frame: &Bytes| match decode(frame) {
        Message::Delta(delta) => delta.at.version,
        other => panic!("{other:?} is no Delta"),
    };
    match room.core.resume(Some(have)) {
        Resume::Live { after, frames } => {
            assert_eq!(after, have.version);
            frames.iter().map(version_of).collect()
        }
        Resume::Store { after, until } => {
            let stored = room.store.changes(after, until);
            let mut read: Vec<_> =
                stored.into_iter().map(|change| version_of(&Change::stored_frame(change).unwrap())).collect();
            read.extend(versions(room, &at(have.epoch, until - 1)));
            read
        }
        Resume::Reset { reason, .. } => panic!("reset: {reason:?}"),
    }
}

fn reset(room: &Room, have: Option<&Position>) -> (ResetReason, Option<u64>) {
    match room.core.resume(have) {
        Resume::Reset { reason, last_kept } => (reason, last_kept),
        other => panic!("not reset: {other:?}"),
    }
}

#[test]
fn every_version_after_a_cursor_comes_once_whether_it_lies_in_memory_or_in_the_store() {
    let mut room = Room::new("{}");
    let client = Client::new(1);
    write(&mut room, &client, 1..=1_500);
    room.commit();
    write(&mut room, &client, 1_501..=1_510);
    assert!(matches!(room.core.resume(Some(&at(1, 1))), Resume::Store { after: 1, until } if until > 2));
    assert!(matches!(room.core.resume(Some(&at(1, 1_505))), Resume::Live { .. }));
    for have in [1, 2, 700, 1_400, 1_505, 1_510] {
        assert_eq!(versions(&room, &at(1, have)), (have + 1..=1_511).collect::<Vec<_>>());
    }
    assert_eq!(versions(&room, &at(1, 1_511)), NONE);
}

#[test]
fn a_change_that_is_not_durable_stays_in_memory_however_much_there_is() {
    let mut room = Room::new("{}");
    let client = Client::new(1);
    let large = format!("\"{}\"", "x".repeat(10_000));
    for counter in 1..=20 {
        room.update(&client, &op(counter, 1, &set(&format!("/k{counter}"), &large)));
    }
    assert_eq!(versions(&room, &at(1, 1)).len(), 20);
    assert!(matches!(room.core.resume(Some(&at(1, 1))), Resume::Live { .. }));
    room.commit();
    assert!(matches!(room.core.resume(Some(&at(1, 1))), Resume::Store { .. }));
    assert!(room.core.log.bytes() <= defaults::LOG_KEPT_BYTES);
}

#[test]
fn who_asks_without_a_cursor_starts_from_a_snapshot() {
    let room = Room::new("{}");
    assert_eq!(reset(&room, None), (ResetReason::Initial, None));
    assert_eq!(reset(&room, Some(&at(1, 0))), (ResetReason::Initial, None));
}

#[test]
fn a_clean_restart_resets_nobody() {
    let mut room = Room::new("{}");
    write(&mut room, &Client::new(1), 1..=5);
    room.commit();
    for _ in 0..3 {
        room.crash();
        assert_eq!(versions(&room, &at(1, 2)), [3, 4, 5, 6]);
        assert_eq!(versions(&room, &at(room.epoch, 6)), NONE);
    }
    write(&mut room, &Client::new(1), 6..=6);
    assert_eq!(versions(&room, &at(1, 6)), [7]);
}

#[test]
fn a_cursor_into_what_a_crash_lost_is_told_so_and_where_what_is_left_ends() {
    let mut room = Room::new("{}");
    let client = Client::new(1);
    write(&mut room, &client, 1..=5);
    room.commit();
    write(&mut room, &client, 6..=9);
    room.crash();
    assert_eq!(room.version(), 6);
    assert_eq!(reset(&room, Some(&at(1, 7))), (ResetReason::Lost, Some(6)));
    assert_eq!(versions(&room, &at(1, 6)), NONE);
    // The new epoch makes a version 7 of its own: the old one's stays lost.
    write(&mut room, &client, 6..=9);
    room.commit();
    assert_eq!(reset(&room, Some(&at(1, 7))), (ResetReason::Lost, Some(6)));
    assert_eq!(versions(&room, &at(2, 7)), [8, 9, 10]);
    room.crash();
    assert_eq!(reset(&room, Some(&at(1, 7))), (ResetReason::Lost, Some(6)));
    assert_eq!(versions(&room, &at(2, 10)), NONE);
}

#[test]
fn a_cursor_that_was_never_given_out_is_of_an_unknown_epoch() {
    let mut room = Room::new("{}");
    room.crash();
    assert_eq!(reset(&room, Some(&at(2, 99))), (ResetReason::UnknownEpoch, None));
    assert_eq!(reset(&room, Some(&at(3, 1))), (ResetReason::UnknownEpoch, None));
    assert_eq!(reset(&room, Some(&at(0, 99))), (ResetReason::UnknownEpoch, None));
}

#[test]
fn a_cursor_without_an_epoch_is_of_the_current_one() {
    let mut room = Room::new("{}");
    write(&mut room, &Client::new(1), 1..=3);
    assert_eq!(versions(&room, &at(0, 2)), [3, 4]);
}

#[test]
fn unloading_and_loading_again_begins_no_epoch() {
    let mut room = Room::new("{}");
    write(&mut room, &Client::new(1), 1..=5);
    room.commit();
    room.reload();
    assert_eq!(room.core.position(), at(1, 6));
    assert_eq!(versions(&room, &at(1, 3)), [4, 5, 6]);
}

#[test]
fn a_session_is_loaded_from_its_checkpoint_and_the_changes_since() {
    let mut room = Room::new("{}");
    let client = Client::new(1);
    write(&mut room, &client, 1..=700);
    assert_eq!(room.core.checkpoint_due().map(|_| ()), None);
    write(&mut room, &client, 701..=1_200);
    let (version, document) = room.core.checkpoint_due().expect("64 KiB of changes");
    room.core.checkpoint_taken();
    assert_eq!(room.core.checkpoint_due().map(|_| ()), None);
    room.store.submit(
        u64::MAX,
        vec![storage::Write::Checkpoint {
            session: "s".into(),
            epoch: 1,
            version,
            document: document.to_json().into(),
        }],
    );
    write(&mut room, &client, 1_201..=1_205);
    while room.store.commit().is_some() {}
    let before = room.json();
    room.crash();
    assert_eq!((room.version(), room.json()), (1_206, before));
    assert_eq!(versions(&room, &at(1, 1_200)), [1_201, 1_202, 1_203, 1_204, 1_205, 1_206]);
}

#[test]
fn what_does_not_fit_together_is_damaged_and_not_guessed_at() {
    let mut room = Room::new("{}");
    write(&mut room, &Client::new(1), 1..=5);
    room.commit();
    let good = room.store.crash().unwrap();
    let restore = |stored: StoredSession| Core::restore("s".into(), stored, 2, Bounds::default()).map(|_| ());
    assert_eq!(restore(good.clone()), Ok(()));
    let harms: [(&str, Harm); 8] = [
        ("document", |stored| stored.document = Bytes::from_static(b"{")),
        ("meta", |stored| stored.meta = Bytes::from_static(b"x")),
        ("is missing", |stored| drop(stored.deltas.remove(2))),
        ("ends at version", |stored| stored.version += 1),
        ("change 4", |stored| stored.deltas[2].change = Bytes::from_static(b"\x01a")),
        ("answers", |stored| stored.incarnations[0].answers[0].1 = Bytes::new()),
        ("epoch 3", |stored| stored.epoch = 3),
        ("change 2", |stored| stored.document = Bytes::from_static(b"7")),
    ];
    for (what, harm) in harms {
        let mut stored = good.clone();
        harm(&mut stored);
        let damaged = restore(stored).expect_err(what);
        assert!(damaged.to_string().contains(what), "{damaged} is about {what}");
    }
}
