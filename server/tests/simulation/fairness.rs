//! The rolling sweep: nobody waits for somebody else's turn to come again and again.

use std::{collections::BTreeMap, os::fd::RawFd};

use super::desk::Desk;

const SUBSCRIBERS: RawFd = 100;
const BUDGET: usize = 10;

fn desk() -> Desk {
    let mut desk = Desk::new(1 << 20);
    for fd in 0..SUBSCRIBERS {
        desk.connect(fd);
        desk.subscribe(fd, "busy", false, false);
        desk.settle();
    }
    desk.connect(SUBSCRIBERS);
    desk.subscribe(SUBSCRIBERS, "quiet", false, false);
    // Writes, and reads nothing.
    desk.connect(SUBSCRIBERS + 1);
    desk.settle();
    desk.sockets.sent.clear();
    desk
}

#[test]
fn in_a_topic_that_is_never_quiet_every_subscriber_is_served_once_around() {
    let mut desk = desk();
    let mut last: BTreeMap<RawFd, usize> = (0..SUBSCRIBERS).map(|fd| (fd, 0)).collect();
    let around = SUBSCRIBERS as usize / BUDGET;
    for turn in 1..=200 {
        desk.update(SUBSCRIBERS + 1, "busy", 20);
        desk.server.store.complete(usize::MAX);
        desk.turn(BUDGET);
        for fd in std::mem::take(&mut desk.sockets.sent).into_keys().filter(|fd| *fd < SUBSCRIBERS) {
            last.insert(fd, turn);
        }
        let longest = last.values().map(|served| turn - served).max().unwrap_or(0);
        assert!(longest <= around, "turn {turn}: somebody was not served for {longest} turns");
    }
}

#[test]
fn a_topic_that_is_never_quiet_keeps_no_other_waiting() {
    let mut desk = desk();
    for _ in 0..50 {
        for _ in 0..2 {
            desk.update(SUBSCRIBERS + 1, "busy", 20);
        }
        desk.update(SUBSCRIBERS + 1, "quiet", 20);
        desk.server.store.complete(usize::MAX);
        desk.sockets.sent.clear();
        // The busy topic's share of one turn, and its own.
        for _ in 0..2 {
            desk.update(SUBSCRIBERS + 1, "busy", 20);
            desk.turn(BUDGET);
        }
        assert!(desk.sockets.sent.contains_key(&SUBSCRIBERS), "the quiet topic's event is still not out");
    }
}
