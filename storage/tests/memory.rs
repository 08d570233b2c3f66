//! The memory engine: the shared suite, and what only it can do.

mod suite;

use std::sync::Arc;

use suite::{Fixture, create, delta, recorder::Recorder};
use syncbridge_storage::{Commit, Engine, Outcome, engine::memory::Memory};

fn fixture() -> Fixture {
    let kept: std::cell::RefCell<Option<Memory>> = std::cell::RefCell::new(None);
    Fixture::new(Box::new(move |_, sink, clock| {
        // A handle that is never used otherwise carries the store from one opening to the next.
        let next = match &*kept.borrow() {
            None => Memory::open_at(sink, clock),
            Some(last) => last.reopen_running(sink),
        };
        *kept.borrow_mut() = Some(next.handle());
        Box::new(next)
    }))
}

engine_suite!(fixture);

fn manual() -> (Memory, Arc<Recorder>) {
    let sink: Arc<Recorder> = Arc::default();
    (Memory::manual(sink.clone(), Arc::new(|| 0)), sink)
}

#[test]
fn a_manual_store_completes_only_what_it_is_told_to() {
    let (store, sink) = manual();
    for ticket in 1..=5 {
        let write = if ticket == 1 { create("s", 1) } else { delta("s", 1, ticket) };
        store.submit(Commit { ticket, writes: vec![write] });
    }
    assert_eq!((store.pending(), store.stats().queued), (5, 5));
    assert!(sink.order().is_empty());
    assert_eq!(store.load("s").expect("readable"), None);
    assert_eq!(store.commit_next(3), 3);
    assert_eq!(sink.order(), [1, 2, 3]);
    assert_eq!(store.load("s").expect("readable").expect("made").version, 3);
    assert_eq!(store.commit_next(9), 2);
    assert_eq!(store.commit_next(9), 0);
}

#[test]
fn a_crash_loses_what_was_not_completed_and_begins_an_epoch() {
    let (store, sink) = manual();
    store.submit(Commit { ticket: 1, writes: vec![create("s", 1)] });
    store.commit_next(1);
    store.submit(Commit { ticket: 2, writes: vec![delta("s", 1, 2)] });
    let epoch = store.crash();
    assert_eq!((epoch, store.epoch(), store.pending()), (2, 2, 0));
    assert_eq!(store.commit_next(9), 0);
    assert_eq!(sink.outcome(2), None);
    assert_eq!(store.load("s").expect("readable").expect("made").version, 1);
    store.submit(Commit { ticket: 3, writes: vec![delta("s", 2, 2)] });
    store.commit_next(1);
    assert_eq!(sink.outcome(3), Some(Outcome::Committed));
}

#[test]
fn a_store_that_was_opened_again_refuses_the_old_handle() {
    let (old, old_sink) = manual();
    old.submit(Commit { ticket: 1, writes: vec![create("s", 1)] });
    old.commit_next(1);
    old.submit(Commit { ticket: 2, writes: vec![delta("s", 1, 2)] });
    let sink: Arc<Recorder> = Arc::default();
    let new = old.reopen(sink.clone());
    assert_eq!(new.epoch(), 2);
    assert_eq!(new.load("s").expect("readable").expect("made").version, 1);
    old.submit(Commit { ticket: 3, writes: vec![delta("s", 1, 2)] });
    old.commit_next(9);
    assert_eq!(old_sink.poisoned().len(), 1);
    assert_eq!(old_sink.order(), [1]);
}

#[test]
fn poison_drops_what_waits_and_refuses_the_rest() {
    let (store, sink) = manual();
    store.submit(Commit { ticket: 1, writes: vec![create("s", 1)] });
    store.poison("the disk is gone");
    assert_eq!(sink.wait_for_poison(1), ["the store is closed after an earlier failure: the disk is gone"]);
    store.submit(Commit { ticket: 2, writes: vec![create("t", 1)] });
    assert_eq!(store.commit_next(9), 0);
    assert_eq!(sink.poisoned().len(), 2);
    assert!(store.close().is_err());
}
