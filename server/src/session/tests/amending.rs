//! Members, policies and a session's end: in force at once, told once the store has it.

use super::*;
use crate::session::amend::Untold;

const CALL: ConnId = ConnId(900);

fn changed(user: &str, role: Option<message::Role>) -> Untold {
    Untold::AccessChanged { user: user.into(), role }
}

#[test]
fn a_change_of_members_is_in_force_at_once_and_told_when_it_is_durable() {
    let mut room = Room::new("{}");
    let mut meta = room.core.meta().clone();
    meta.set_member(&"bob".into(), Some(message::Role::Viewer));
    let mut out = Vec::new();
    room.core.amend(meta, Vec::new(), vec![changed("bob", Some(message::Role::Viewer))], CALL, &mut out);
    room.settle(&mut out);
    assert!(out.is_empty(), "nothing is told before it is durable");
    assert_eq!(room.core.meta().role("bob"), Some(message::Role::Viewer));
    let effects = room.commit();
    let [Effect::Event { topic: TopicKind::Notice, frame, .. }, Effect::Answer { conn: CALL, .. }, ..] = &effects[..]
    else {
        panic!("first everybody, then who asked: {effects:?}")
    };
    let Message::AccessChanged(told) = decode(frame) else { panic!("who may what") };
    assert_eq!((&*told.user, told.role), ("bob", Some(message::Role::Viewer)));
    room.crash();
    assert_eq!(room.core.meta().role("bob"), Some(message::Role::Viewer));
}

#[test]
fn who_is_removed_is_told_last_and_before_the_others() {
    let mut room = Room::new("{}");
    let mut meta = room.core.meta().clone();
    meta.set_member(&"bob".into(), None);
    room.core.amend(meta, Vec::new(), vec![changed("bob", None)], CALL, &mut Vec::new());
    let mut out = Vec::new();
    room.core.committed(2, &mut out);
    let [Effect::Removed { user, last }, Effect::Event { frame, .. }, ..] = &out[..] else { panic!("{out:?}") };
    assert_eq!((&**user, last), ("bob", frame));
}

#[test]
fn what_was_not_durable_is_not_in_force_after_a_crash() {
    let mut room = Room::new("{}");
    let mut meta = room.core.meta().clone();
    meta.set_member(&"bob".into(), Some(message::Role::Owner));
    let mut out = Vec::new();
    room.core.amend(meta, Vec::new(), Vec::new(), CALL, &mut out);
    room.settle(&mut out);
    room.crash();
    assert_eq!(room.core.meta().role("bob"), None);
}

#[test]
fn a_session_that_is_deleted_is_gone_at_once_and_its_subscribers_hear_of_it_when_it_is_durable() {
    let mut room = Room::new("{}");
    let mut out = Vec::new();
    room.core.delete(Vec::new(), CALL, &mut out);
    room.settle(&mut out);
    assert!(out.is_empty() && room.core.is_deleted());
    let effects = room.commit();
    let [Effect::Deleted { frame }, Effect::Answer { conn: CALL, .. }, ..] = &effects[..] else {
        panic!("first everybody, then who asked: {effects:?}")
    };
    assert!(matches!(decode(frame), Message::SessionDeleted(_)));
    assert_eq!(room.store.crash(), None);
}

#[test]
fn one_that_is_made_again_knows_no_place_of_the_one_that_was_deleted() {
    let first = epoch::of_process(7);
    let before = Epochs::first(first + 3);
    let restarted = Epochs::restore(&[storage::EpochStart { epoch: first + 4, base: 0 }], 20, epoch::of_process(8));
    let again = Epochs::first(first + 4);
    for version in [1, 2, 20] {
        let place = Position { epoch: before.current(), version };
        assert_eq!(again.place(&place, 20), Place::Unknown);
        assert_eq!(restarted.place(&place, 20), Place::Unknown);
        let place = Position { epoch: again.current(), version };
        assert_eq!(restarted.place(&place, 20), Place::Kept(version), "its own places are kept");
    }
    assert!(epoch::of_process(1 << 20) + epoch::DELETIONS < 1 << 53, "JSON keeps it");
}
