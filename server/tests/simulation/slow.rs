//! One subscriber that never reads, and connections that come and go: what they cost, and that nobody else notices.

use std::os::fd::RawFd;

use fastrand::Rng;
use syncbridge_codec::{
    Message,
    message::{Reset, ResetReason},
};

use super::desk::Desk;

const SLOW: RawFd = 99;

enum Other {
    Absent,
    Reads,
    NeverReads,
}

/// What every socket but the slow one's is sent, send by send.
fn sends(seed: u64, other: &Other) -> Vec<(RawFd, Vec<Vec<u8>>)> {
    let mut rng = Rng::with_seed(seed);
    let mut desk = Desk::new(2_000);
    // In the midst of the others, so that the sweep meets it before some of them.
    for fd in (0..6).chain([SLOW]).chain(6..12).filter(|fd| *fd != SLOW || !matches!(other, Other::Absent)) {
        desk.connect(fd);
        for session in ["a", "b"] {
            desk.subscribe(fd, session, false, fd % 3 == 0);
            desk.settle();
        }
    }
    desk.sockets.sent.clear();
    if matches!(other, Other::NeverReads) {
        desk.sockets.blocked.insert(SLOW);
    }
    for _ in 0..600 {
        match rng.u8(0..8) {
            0..=4 => desk.update(rng.i32(0..12), if rng.bool() { "a" } else { "b" }, rng.usize(1..400)),
            5 => {
                desk.server.store.complete(rng.usize(1..4));
            }
            _ => while desk.turn(usize::MAX) {},
        }
    }
    desk.settle();
    desk.sockets.sent.into_iter().filter(|(fd, _)| *fd != SLOW).collect()
}

#[test]
fn a_link_that_is_blocked_changes_no_other_links_writes() {
    for seed in 0..20 {
        let alone = sends(seed, &Other::Absent);
        assert!(alone.iter().map(|(_, sends)| sends.len()).sum::<usize>() > 1_000);
        assert!(alone == sends(seed, &Other::Reads), "seed {seed}: one more subscriber is noticed");
        assert!(alone == sends(seed, &Other::NeverReads), "seed {seed}: one that never reads is noticed");
    }
}

#[test]
fn who_never_reads_holds_bounded_memory_and_is_told_the_newest_state_when_it_wakes() {
    const MAX_LAG: usize = 64 << 10;
    let mut desk = Desk::new(MAX_LAG);
    for fd in (0..99).chain([SLOW]) {
        desk.connect(fd);
        desk.subscribe(fd, "a", fd == SLOW, fd == SLOW);
        desk.settle();
    }
    desk.sockets.blocked.insert(SLOW);
    let mut most = 0;
    for update in 0..5_000 {
        // The slow one writes too: what it is answered counts as well.
        let fd = if update % 50 == 0 { SLOW } else { update % 99 };
        desk.update(fd, "a", 100);
        if update % 10 == 0 {
            desk.settle();
            desk.sockets.sent.clear();
        }
        let (rings, cut) = desk.server.shard(0).held_bytes();
        let place = desk.place(SLOW);
        let waiting = desk.server.shard(0).conn_mut(place).map_or(0, |conn| conn.outbox.bytes());
        most = most.max(rings + cut + waiting);
    }
    // The ring up to its bound, as much in front of it, and what came in one turn.
    assert!(most <= 3 * MAX_LAG, "{most} bytes were held for it");
    assert!(most >= MAX_LAG / 2, "only {most} bytes: it never lagged");
    desk.settle();
    desk.sockets.sent.clear();
    desk.sockets.blocked.clear();
    desk.drain(SLOW);
    desk.settle();
    let heard = desk.heard(SLOW);
    let reset = heard.iter().find_map(|message| match message {
        Message::Reset(Reset { reason: ResetReason::Lagged, at, .. }) => Some(at.version),
        _ => None,
    });
    assert_eq!(reset, Some(5_001), "version 1 and 5,000 updates");
    desk.update(0, "a", 1);
    desk.settle();
    let next = desk.heard(SLOW);
    assert!(
        next.iter().any(|message| matches!(message, Message::Delta(delta) if delta.at.version == 5_002)),
        "it is live again: {next:?}"
    );
    assert_eq!(desk.server.shard(0).held_bytes(), (0, 0));
}

#[test]
fn connections_with_a_thousand_subscriptions_come_and_go_and_leave_nothing_counted() {
    let mut rng = Rng::with_seed(7);
    let mut desk = Desk::new(64 << 10);
    for round in 0..6 {
        for fd in 0..3 {
            desk.connect(fd);
        }
        for number in 0..1_000 {
            for fd in 0..3 {
                desk.subscribe(fd, &format!("session-{number}"), number % 2 == 0, number % 3 == 0);
            }
            if rng.u8(0..50) == 0 {
                desk.turn(rng.usize(1..100));
                desk.server.work(&mut rng);
                desk.server.store.complete(usize::MAX);
            }
        }
        if round % 2 == 0 {
            desk.settle();
            let (state, notices, durable) = desk.server.hub.subscriptions();
            assert_eq!((state, notices, durable), (3_000, 1_500, 3 * 334));
        }
        // In the middle of whatever goes on.
        for fd in 0..3 {
            desk.remove(fd);
        }
        desk.settle();
        assert_eq!(desk.server.hub.subscriptions(), (0, 0, 0), "round {round}");
        assert_eq!(desk.server.shard(0).connections(), 0);
        assert_eq!(desk.server.shard(0).held_bytes(), (0, 0));
        desk.sockets.sent.clear();
    }
}
