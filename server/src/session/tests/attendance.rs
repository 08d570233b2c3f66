//! Presence: who is told of whom, and when.

use super::*;

fn at(mono_ms: u64) -> Now {
    Now { mono_ms, wall_ms: 0 }
}

fn attach(room: &mut Room, conn: u64, device: &str, mono_ms: u64) -> Vec<Message> {
    let mut out = Vec::new();
    room.core.attach(ConnId(conn), "ann", device, Transport::Quic, at(mono_ms), &mut out);
    notices(&out)
}

fn tick(room: &mut Room, mono_ms: u64) -> (Vec<Message>, Option<u64>) {
    let mut out = Vec::new();
    let next = room.core.tick(at(mono_ms), &mut out);
    (notices(&out), next)
}

fn notices(effects: &[Effect]) -> Vec<Message> {
    effects
        .iter()
        .map(|effect| match effect {
            Effect::Event { topic: TopicKind::Notice, frame, origin: None, .. } => decode(frame),
            other => panic!("no notice: {other:?}"),
        })
        .collect()
}

fn devices(room: &Room) -> Vec<String> {
    room.core.presence().devices.iter().map(|attached| attached.device.to_string()).collect()
}

#[test]
fn a_device_joins_once_however_many_connections_it_has() {
    let mut room = Room::new("{}");
    let joined = attach(&mut room, 1, "phone", 0);
    assert!(
        matches!(&joined[..], [Message::DeviceJoined(joined)] if joined.seq == 1 && joined.device.device == "phone")
    );
    assert!(attach(&mut room, 2, "phone", 0).is_empty());
    assert!(matches!(&attach(&mut room, 3, "desk", 0)[..], [Message::DeviceJoined(joined)] if joined.seq == 2));
    assert_eq!(devices(&room), ["desk", "phone"]);
    assert_eq!(room.core.presence().seq, 2);
}

#[test]
fn a_device_has_left_when_its_last_connection_is_gone_for_the_grace_period() {
    let mut room = Room::new("{}");
    attach(&mut room, 1, "phone", 0);
    attach(&mut room, 2, "phone", 0);
    room.core.detach(ConnId(1), at(1_000));
    assert_eq!(tick(&mut room, 20_000).0, []);
    room.core.forget(ConnId(2), at(20_000));
    assert_eq!(tick(&mut room, 20_000).1, Some(20_000 + defaults::PRESENCE_GRACE_MS));
    assert_eq!(tick(&mut room, 20_000 + defaults::PRESENCE_GRACE_MS - 1).0, []);
    assert_eq!(devices(&room), ["phone"]);
    let (left, next) = tick(&mut room, 20_000 + defaults::PRESENCE_GRACE_MS);
    assert!(matches!(&left[..], [Message::DeviceLeft(left)] if left.seq == 2 && left.device == "phone"));
    assert_eq!(next, None);
    assert!(devices(&room).is_empty());
}

#[test]
fn a_device_that_comes_back_within_the_grace_period_was_never_gone() {
    let mut room = Room::new("{}");
    attach(&mut room, 1, "phone", 0);
    room.core.detach(ConnId(1), at(1_000));
    assert!(attach(&mut room, 2, "phone", 1_000 + defaults::PRESENCE_GRACE_MS - 1).is_empty());
    assert_eq!(tick(&mut room, 1_000 + defaults::PRESENCE_GRACE_MS).0, []);
    assert_eq!(devices(&room), ["phone"]);
}

#[test]
fn a_connection_that_is_silent_too_long_is_gone_and_one_that_is_heard_of_is_not() {
    let mut room = Room::new("{}");
    attach(&mut room, 1, "phone", 0);
    attach(&mut room, 2, "desk", 0);
    room.core.touch(ConnId(2), at(50_000));
    let silent = defaults::PRESENCE_TTL_MS;
    assert_eq!(tick(&mut room, silent).1, Some(silent + defaults::PRESENCE_GRACE_MS));
    let (left, _) = tick(&mut room, silent + defaults::PRESENCE_GRACE_MS);
    assert!(matches!(&left[..], [Message::DeviceLeft(left)] if left.device == "phone"));
    assert_eq!(devices(&room), ["desk"]);
}

#[test]
fn devices_beyond_the_bound_are_served_but_not_told_of() {
    let mut room = Room::new("{}");
    for conn in 0..defaults::PRESENCE_DEVICES as u64 {
        assert_eq!(attach(&mut room, conn, &format!("d{conn}"), 0).len(), 1);
    }
    assert!(attach(&mut room, 5_000, "late", 0).is_empty());
    assert_eq!(devices(&room).len(), defaults::PRESENCE_DEVICES);
    room.core.detach(ConnId(5_000), at(1));
    assert!(!room.core.is_quiet());
}

#[test]
fn a_session_is_quiet_when_nobody_is_attached_and_nothing_waits() {
    let mut room = Room::new("{}");
    assert!(room.core.is_quiet());
    attach(&mut room, 1, "phone", 0);
    assert!(!room.core.is_quiet());
    room.core.detach(ConnId(1), at(0));
    tick(&mut room, defaults::PRESENCE_GRACE_MS);
    assert!(room.core.is_quiet());
    room.update(&Client::new(1), &op(1, 1, &set("/a", "1")));
    assert!(!room.core.is_quiet());
    room.commit();
    assert!(room.core.is_quiet());
}

#[test]
fn the_caller_has_no_more_timers_than_it_needs_and_never_one_too_few() {
    let mut room = Room::new("{}");
    let mut timers = Vec::new();
    let mut left = Vec::new();
    for now in (0..400_000_u64).step_by(500) {
        let turn = now / 500;
        // The connections of a device take over from one another, the last stays silent; every change brings a tick.
        let change = turn % 7 == 0 && now < 100_000;
        if change {
            attach(&mut room, turn, "phone", now);
            room.core.detach(ConnId(turn.saturating_sub(7)), at(now));
        }
        let waiting = timers.len();
        timers.retain(|timer| *timer > now);
        for _ in 0..waiting - timers.len() + usize::from(change) {
            let (notices, next) = tick(&mut room, now);
            left.extend(notices);
            timers.extend(next);
        }
        assert!(timers.len() <= 2, "{timers:?}");
    }
    assert!(timers.is_empty());
    assert!(matches!(&left[..], [Message::DeviceLeft(_)]), "{left:?}");
    assert!(room.core.is_quiet());
}

#[test]
fn who_is_attached_is_listed_with_when_they_were_last_heard_of() {
    let mut room = Room::new("{}");
    attach(&mut room, 1, "phone", 1_000);
    attach(&mut room, 2, "phone", 1_000);
    attach(&mut room, 3, "desk", 1_000);
    room.core.touch(ConnId(2), at(4_000));
    room.core.detach(ConnId(3), at(3_000));
    let now = Now { mono_ms: 5_000, wall_ms: 1_000_000 };
    let present: Vec<_> = room
        .core
        .attendance(now)
        .into_iter()
        .map(|(present, active)| (present.device.device.to_string(), present.connected, present.seen_ms, active))
        .collect();
    assert_eq!(present, [("desk".to_owned(), false, 998_000, false), ("phone".to_owned(), true, 999_000, false)]);
}
