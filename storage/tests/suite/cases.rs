//! The cases. Each takes a fresh store.

use std::collections::BTreeMap;

use syncbridge_storage::{
    Applied, Commit, DEDUP_WINDOW, EPOCHS_KEPT, EpochStart, Outcome, Table, Write,
    defaults::{DELTA_BYTES_MAX, DELTAS_KEPT, INCARNATION_IDLE_MS, INCARNATIONS_KEPT, INCARNATIONS_LEFT},
};

use super::{Fixture, bytes, change, checkpoint, create, delta, delta_by, op, put, put_new};

use Outcome::{Committed, Disowned, Exists, Fenced};

fn versions(store: &Fixture, session: &str, after: u64, max_bytes: usize) -> Option<Vec<u64>> {
    let deltas = store.engine().deltas(session, after, max_bytes).expect("readable")?;
    for delta in &deltas {
        assert_eq!(delta.change, change(delta.version));
    }
    Some(deltas.iter().map(|delta| delta.version).collect())
}

fn get(store: &Fixture, table: Table, key: &str) -> Option<String> {
    let row = store.engine().get(table, key.as_bytes(), store.now()).expect("readable");
    row.map(|value| String::from_utf8(value.to_vec()).expect("text"))
}

fn scan(store: &Fixture, table: Table, prefix: &str, after: Option<&str>, limit: usize) -> Vec<String> {
    let after = after.map(str::as_bytes);
    let rows = store.engine().scan(table, prefix.as_bytes(), after, limit, store.now()).expect("readable");
    rows.iter().map(|(key, _)| String::from_utf8(key.to_vec()).expect("text")).collect()
}

pub fn a_new_store_has_nothing(store: &mut Fixture) {
    assert_eq!(store.engine().load("s").expect("readable"), None);
    assert_eq!(store.engine().deltas("s", 0, 1000).expect("readable"), None);
    assert_eq!(get(store, Table::User, "u"), None);
    assert_eq!(scan(store, Table::User, "", None, 10), Vec::<String>::new());
    assert_eq!(store.engine().stats().commits, 0);
}

pub fn commits_end_in_the_order_of_submit(store: &mut Fixture) {
    let mut tickets = vec![store.submit(vec![create("s", 1)])];
    for version in 2..500 {
        // Every third is fenced: outcomes of all kinds stay in order.
        let version = if version % 3 == 0 { 1 } else { version - version / 3 };
        tickets.push(store.submit(vec![delta("s", 1, version)]));
    }
    let last = *tickets.last().expect("there are some");
    store.sink.wait(last);
    assert_eq!(store.sink.order(), tickets);
}

pub fn a_created_session_loads_at_version_one(store: &mut Fixture) {
    let made = Write::Create {
        session: "s".into(),
        epoch: 7,
        meta: bytes("meta"),
        document: bytes("{}"),
        op: Some(op("u", 1, 4)),
    };
    assert_eq!(store.commit(vec![made]), Committed);
    let session = store.engine().load("s").expect("readable").expect("made");
    assert_eq!((session.epoch, session.version, session.document_version), (7, 1, 1));
    assert_eq!((session.meta, session.document), (bytes("meta"), bytes("{}")));
    assert_eq!(session.deltas, []);
    assert_eq!(session.epochs, [EpochStart { epoch: 7, base: 0 }]);
    assert_eq!(session.incarnations.len(), 1);
    assert_eq!(session.incarnations[0].answers, [(4, bytes("answer 4"))]);
}

pub fn a_taken_session_id_is_exists_and_nothing_of_the_commit_is_written(store: &mut Fixture) {
    assert_eq!(store.commit(vec![create("s", 1)]), Committed);
    let before = store.engine().load("s").expect("readable");
    assert_eq!(store.commit(vec![put(Table::User, "u", "1"), create("s", 2)]), Exists);
    assert_eq!(get(store, Table::User, "u"), None);
    assert_eq!(store.engine().load("s").expect("readable"), before);
}

pub fn deltas_load_in_order_behind_the_document(store: &mut Fixture) {
    store.commit(vec![create("s", 1)]);
    for version in 2..=40 {
        assert_eq!(store.commit(vec![delta("s", 1, version)]), Committed);
    }
    let session = store.engine().load("s").expect("readable").expect("made");
    assert_eq!((session.version, session.document_version), (40, 1));
    let loaded: Vec<_> =
        session.deltas.iter().map(|delta| (delta.version, delta.epoch, delta.change.clone())).collect();
    assert_eq!(loaded, (2..=40).map(|version| (version, 1, change(version))).collect::<Vec<_>>());
}

/// What ends a commit of an older epoch: where other processes share the store, it says that one of them has the session.
fn outdated(store: &Fixture) -> Outcome {
    if store.engine().is_shared() { Disowned } else { Fenced }
}

pub fn a_delta_of_an_older_epoch_is_fenced(store: &mut Fixture) {
    store.commit(vec![create("s", 1)]);
    assert_eq!(store.commit(vec![delta("s", 1, 2)]), Committed);
    assert_eq!(store.commit(vec![delta("s", 3, 3)]), Committed);
    assert_eq!(store.commit(vec![delta("s", 2, 4)]), outdated(store));
    let session = store.engine().load("s").expect("readable").expect("made");
    assert_eq!((session.version, session.epoch), (3, 3));
    assert_eq!(session.epochs, [EpochStart { epoch: 1, base: 0 }, EpochStart { epoch: 3, base: 2 }]);
}

pub fn a_delta_that_does_not_follow_the_newest_version_is_fenced(store: &mut Fixture) {
    store.commit(vec![create("s", 1)]);
    assert_eq!(store.commit(vec![delta("s", 1, 1)]), Fenced);
    assert_eq!(store.commit(vec![delta("s", 1, 3)]), Fenced);
    assert_eq!(store.commit(vec![delta("s", 1, 2)]), Committed);
    assert_eq!(store.commit(vec![delta("s", 1, 2)]), Fenced);
    assert_eq!(versions(store, "s", 1, 1000), Some(vec![2]));
}

pub fn writes_to_a_session_that_is_gone_are_fenced(store: &mut Fixture) {
    let write_all = |store: &mut Fixture| {
        let meta = Write::Meta { session: "s".into(), epoch: 9, meta: bytes("m") };
        let delete = Write::DeleteSession { session: "s".into(), epoch: 9 };
        for write in [delta("s", 9, 2), checkpoint("s", 9, 1), meta, delete] {
            assert_eq!(store.commit(vec![write]), Fenced);
        }
        assert_eq!(store.engine().load("s").expect("readable"), None);
    };
    write_all(store);
    store.commit(vec![create("s", 1)]);
    assert_eq!(store.commit(vec![Write::DeleteSession { session: "s".into(), epoch: 1 }]), Committed);
    write_all(store);
    store.restart();
    write_all(store);
}

pub fn every_fenced_write_is_fenced_by_an_older_epoch(store: &mut Fixture) {
    store.commit(vec![create("s", 5)]);
    let meta = Write::Meta { session: "s".into(), epoch: 4, meta: bytes("m") };
    let delete = Write::DeleteSession { session: "s".into(), epoch: 4 };
    for write in [delta("s", 4, 2), checkpoint("s", 4, 1), meta, delete] {
        assert_eq!(store.commit(vec![write]), outdated(store));
    }
    // A newer epoch takes over with any of them.
    assert_eq!(store.commit(vec![Write::Meta { session: "s".into(), epoch: 6, meta: bytes("m") }]), Committed);
    assert_eq!(store.commit(vec![delta("s", 5, 2)]), outdated(store));
    assert_eq!(store.engine().load("s").expect("readable").expect("made").epoch, 6);
}

pub fn a_commit_is_all_or_nothing(store: &mut Fixture) {
    store.commit(vec![create("a", 1)]);
    let writes = vec![delta("a", 1, 2), create("b", 1), put(Table::Device, "d", "1"), delta("a", 0, 3)];
    assert_eq!(store.commit(writes), Fenced);
    assert_eq!(store.engine().load("a").expect("readable").expect("made").version, 1);
    assert_eq!(store.engine().load("b").expect("readable"), None);
    assert_eq!(get(store, Table::Device, "d"), None);
    // And what was not written does not stand in the way.
    assert_eq!(store.commit(vec![delta("a", 1, 2), create("b", 1)]), Committed);
}

pub fn a_commit_sees_its_own_earlier_writes(store: &mut Fixture) {
    let writes = vec![create("s", 1), delta("s", 1, 2), delta("s", 1, 3), checkpoint("s", 1, 3)];
    assert_eq!(store.commit(writes), Committed);
    assert_eq!(store.engine().load("s").expect("readable").expect("made").document_version, 3);
    let twice = vec![put_new(Table::User, "u", "1", None), put_new(Table::User, "u", "2", None)];
    assert_eq!(store.commit(twice), Exists);
    let again = vec![
        put(Table::User, "u", "1"),
        Write::Remove { table: Table::User, key: bytes("u") },
        put_new(Table::User, "u", "2", None),
    ];
    assert_eq!(store.commit(again), Committed);
    assert_eq!(get(store, Table::User, "u").as_deref(), Some("2"));
}

pub fn meta_replaces_meta(store: &mut Fixture) {
    store.commit(vec![create("s", 1), delta("s", 1, 2)]);
    assert_eq!(store.commit(vec![Write::Meta { session: "s".into(), epoch: 1, meta: bytes("new") }]), Committed);
    let session = store.engine().load("s").expect("readable").expect("made");
    assert_eq!((session.meta, session.version), (bytes("new"), 2));
}

pub fn a_checkpoint_is_where_loading_starts_and_older_deltas_stay_readable(store: &mut Fixture) {
    store.commit(vec![create("s", 1)]);
    for version in 2..=10 {
        store.commit(vec![delta("s", 1, version)]);
    }
    assert_eq!(store.commit(vec![checkpoint("s", 1, 7)]), Committed);
    for _ in 0..2 {
        let session = store.engine().load("s").expect("readable").expect("made");
        assert_eq!((session.version, session.document_version), (10, 7));
        assert_eq!(session.document, bytes("{\"at\":7}"));
        assert_eq!(session.deltas.iter().map(|delta| delta.version).collect::<Vec<_>>(), [8, 9, 10]);
        assert_eq!(versions(store, "s", 1, 10_000), Some((2..=10).collect()));
        store.restart();
    }
}

pub fn a_checkpoint_of_a_version_that_is_not_made_is_fenced_and_an_older_one_changes_nothing(store: &mut Fixture) {
    store.commit(vec![create("s", 1), delta("s", 1, 2), delta("s", 1, 3)]);
    assert_eq!(store.commit(vec![checkpoint("s", 1, 4)]), Fenced);
    assert_eq!(store.commit(vec![checkpoint("s", 1, 3)]), Committed);
    assert_eq!(store.commit(vec![checkpoint("s", 1, 2)]), Committed);
    assert_eq!(store.engine().load("s").expect("readable").expect("made").document_version, 3);
}

pub fn deleting_removes_everything_and_the_id_can_be_made_again(store: &mut Fixture) {
    for round in 0..3 {
        let deltas = (2..50).map(|version| delta_by("s", 1, version, op("u", 1, version)));
        assert_eq!(store.commit(std::iter::once(create("s", 1)).chain(deltas).collect()), Committed);
        if round == 1 {
            store.restart();
        }
        assert_eq!(store.commit(vec![Write::DeleteSession { session: "s".into(), epoch: 1 }]), Committed);
        assert_eq!(store.engine().load("s").expect("readable"), None);
        assert_eq!(versions(store, "s", 1, 1000), None);
    }
    let both = vec![create("s", 1), Write::DeleteSession { session: "s".into(), epoch: 1 }, create("s", 2)];
    assert_eq!(store.commit(both), Committed);
    store.restart();
    let session = store.engine().load("s").expect("readable").expect("made");
    assert_eq!((session.version, session.epoch, session.deltas.len(), session.incarnations.len()), (1, 2, 0, 0));
}

pub fn catch_up_is_in_order_and_bounded_by_bytes(store: &mut Fixture) {
    store.commit(vec![create("s", 1)]);
    for version in 2..=100 {
        if version == 60 {
            store.restart();
        }
        store.commit(vec![delta("s", 1, version)]);
    }
    assert_eq!(versions(store, "s", 50, 100_000), Some((51..=100).collect()));
    assert_eq!(versions(store, "s", 55, 3 * change(56).len()), Some(vec![56, 57, 58]));
    assert_eq!(versions(store, "s", 58, 3 * change(56).len()), Some(vec![59, 60, 61]));
    assert_eq!(versions(store, "s", 70, 0), Some(vec![71]), "at least one");
    assert_eq!(versions(store, "s", 100, 1000), Some(vec![]));
    assert_eq!(versions(store, "s", 5000, 1000), Some(vec![]));
}

pub fn catch_up_from_before_what_is_kept_is_none(store: &mut Fixture) {
    store.commit(vec![create("s", 1), delta("s", 1, 2)]);
    assert_eq!(versions(store, "s", 0, 1000), None, "version 1 was made by no delta");
    assert_eq!(versions(store, "s", 1, 1000), Some(vec![2]));
    assert_eq!(versions(store, "other", 1, 1000), None);
}

pub fn retention_keeps_a_thousand_versions_and_bounds_the_rest(store: &mut Fixture) {
    store.commit(vec![create("s", 1)]);
    let pad = 64;
    let mut version = 1;
    for round in 0..8 {
        let mut writes = Vec::new();
        for _ in 0..500 {
            version += 1;
            let change = format!("{version:0pad$}").into();
            writes.push(Write::Delta { session: "s".into(), epoch: 1, version, change, op: None });
        }
        writes.push(checkpoint("s", 1, version - 100));
        assert_eq!(store.commit(writes), Committed);
        if round % 2 == 0 {
            store.restart();
        }
        let kept_from = (version - 100).saturating_sub(DELTAS_KEPT).max(1);
        let kept = store.engine().deltas("s", kept_from, usize::MAX).expect("readable").expect("kept");
        let made: Vec<_> = kept.iter().map(|delta| delta.version).collect();
        assert_eq!(made, (kept_from + 1..=version).collect::<Vec<_>>());
        for delta in &kept {
            assert_eq!(delta.change, format!("{:0pad$}", delta.version));
        }
    }
    store.restart();
    assert_eq!(store.engine().deltas("s", 1, 1000).expect("readable"), None, "the oldest are let go");
}

pub fn retention_is_bounded_in_bytes(store: &mut Fixture) {
    store.commit(vec![create("s", 1)]);
    let piece = DELTA_BYTES_MAX / 8;
    for version in 2..=20 {
        let change = vec![b'x'; piece].into();
        let write = Write::Delta { session: "s".into(), epoch: 1, version, change, op: None };
        assert_eq!(store.commit(vec![write, checkpoint("s", 1, version)]), Committed);
    }
    store.restart();
    assert!(store.engine().deltas("s", 1, 1000).expect("readable").is_none(), "more than the bound is let go");
    assert!(store.engine().deltas("s", 14, usize::MAX).expect("readable").is_some_and(|kept| kept.len() == 6));
}

pub fn epoch_starts_are_kept_and_bounded(store: &mut Fixture) {
    store.commit(vec![create("s", 1)]);
    let epochs = EPOCHS_KEPT as u64 + 20;
    for epoch in 2..=epochs {
        store.submit(vec![delta("s", epoch, epoch)]);
        if epoch == 100 {
            store.restart();
        }
    }
    store.restart();
    let session = store.engine().load("s").expect("readable").expect("made");
    assert_eq!(session.epochs.len(), EPOCHS_KEPT);
    let expected: Vec<_> = (21..=epochs).map(|epoch| EpochStart { epoch, base: epoch - 1 }).collect();
    assert_eq!(session.epochs, expected);
}

pub fn answers_are_kept_with_the_effect_and_bounded(store: &mut Fixture) {
    store.commit(vec![create("s", 1)]);
    let last = DEDUP_WINDOW as u64 * 3;
    for version in 2..=last {
        store.submit(vec![delta_by("s", 1, version, op("u", 1, version))]);
        if version % 500 == 0 {
            store.restart();
        }
    }
    let quiet = delta_by("s", 1, last + 1, op("u", 2, 9));
    assert_eq!(store.commit(vec![quiet]), Committed);
    for _ in 0..2 {
        let session = store.engine().load("s").expect("readable").expect("made");
        assert_eq!(session.incarnations.len(), 2);
        let (busy, quiet) = (&session.incarnations[0], &session.incarnations[1]);
        assert_eq!((busy.user.as_ref(), busy.incarnation, busy.high_water), ("u", 1, last));
        let expected: Vec<_> =
            (last - DEDUP_WINDOW as u64 + 1..=last).map(|n| (n, bytes(&format!("answer {n}")))).collect();
        assert_eq!(busy.answers, expected);
        assert_eq!((quiet.high_water, quiet.answers.len()), (9, 1));
        store.restart();
    }
}

pub fn an_op_that_changed_nothing_keeps_its_answer_and_makes_no_version(store: &mut Fixture) {
    let nothing = |epoch, counter| Write::Op { session: "s".into(), epoch, op: op("u", 1, counter) };
    assert_eq!(store.commit(vec![nothing(1, 1)]), Fenced, "there is no session");
    store.commit(vec![create("s", 2), delta_by("s", 2, 2, op("u", 1, 1))]);
    assert_eq!(store.commit(vec![nothing(2, 2)]), Committed);
    assert_eq!(store.commit(vec![nothing(1, 3)]), outdated(store));
    assert_eq!(store.commit(vec![delta_by("s", 2, 3, op("u", 1, 4))]), Committed);
    assert_eq!(store.commit(vec![nothing(3, 5)]), Committed, "a newer epoch takes over");
    for _ in 0..3 {
        let session = store.engine().load("s").expect("readable").expect("made");
        assert_eq!((session.version, session.epoch, session.deltas.len()), (3, 3, 2));
        assert_eq!(session.epochs, [EpochStart { epoch: 2, base: 0 }, EpochStart { epoch: 3, base: 3 }]);
        let counters: Vec<_> = session.incarnations[0].answers.iter().map(|(counter, _)| *counter).collect();
        assert_eq!((counters, session.incarnations[0].high_water), (vec![1, 2, 4, 5], 5));
        store.restart();
    }
}

pub fn a_forgotten_incarnation_is_gone_and_may_begin_again(store: &mut Fixture) {
    let forget = |epoch, incarnation| Write::Forget { session: "s".into(), epoch, user: "u".into(), incarnation };
    let kept = |store: &Fixture| {
        let session = store.engine().load("s").expect("readable").expect("made");
        let of = |kept: &syncbridge_storage::Incarnation| {
            (kept.incarnation, kept.answers.iter().map(|(counter, _)| *counter).collect::<Vec<_>>())
        };
        session.incarnations.iter().map(of).collect::<Vec<_>>()
    };
    assert_eq!(store.commit(vec![forget(1, 1)]), Fenced, "there is no session");
    store.commit(vec![create("s", 2), delta_by("s", 2, 2, op("u", 1, 1)), delta_by("s", 2, 3, op("u", 2, 1))]);
    store.restart();
    assert_eq!(store.commit(vec![delta_by("s", 2, 4, op("u", 1, 2))]), Committed);
    assert_eq!(store.commit(vec![forget(1, 1)]), Fenced);
    assert_eq!(store.commit(vec![forget(2, 9)]), Committed, "none is there to forget");
    assert_eq!(kept(store), [(1, vec![1, 2]), (2, vec![1])]);
    assert_eq!(store.commit(vec![forget(2, 1)]), Committed);
    for _ in 0..2 {
        assert_eq!(kept(store), [(2, vec![1])]);
        store.restart();
    }
    // Forgotten and begun again, in one flush.
    store.commit(vec![delta_by("s", 2, 5, op("u", 2, 2)), forget(2, 2), delta_by("s", 2, 6, op("u", 2, 7))]);
    for _ in 0..2 {
        assert_eq!(kept(store), [(2, vec![7])]);
        assert_eq!(store.engine().load("s").expect("readable").expect("made").version, 6);
        store.restart();
    }
}

pub fn idle_incarnations_are_dropped(store: &mut Fixture) {
    store.commit(vec![create("s", 1), delta_by("s", 1, 2, op("u", 1, 1))]);
    store.pass(INCARNATION_IDLE_MS / 2);
    store.commit(vec![delta_by("s", 1, 3, op("u", 2, 1))]);
    store.pass(INCARNATION_IDLE_MS / 2);
    let kept = |store: &Fixture| {
        let session = store.engine().load("s").expect("readable").expect("made");
        session.incarnations.iter().map(|kept| kept.incarnation).collect::<Vec<_>>()
    };
    assert_eq!(kept(store), [1, 2], "30 days are not over");
    store.pass(1);
    assert_eq!(kept(store), [2]);
    store.commit(vec![delta_by("s", 1, 4, op("v", 3, 1))]);
    store.restart();
    assert_eq!(kept(store), [2, 3]);
}

pub fn incarnations_are_bounded_and_the_longest_idle_go_first(store: &mut Fixture) {
    store.commit(vec![create("s", 1)]);
    let count = INCARNATIONS_KEPT as u64 + 1000;
    let mut last = 0;
    for n in 1..=count {
        store.pass(1);
        let made = delta_by("s", 1, n + 1, op("u", u128::from(n), 1));
        last = store.submit(vec![made]);
        if n % 2000 == 0 {
            // The clock must not run ahead of the engine's thread by more than the order needs.
            store.sink.wait(last);
        }
    }
    store.sink.wait(last);
    for _ in 0..2 {
        let session = store.engine().load("s").expect("readable").expect("made");
        let kept: Vec<_> = session.incarnations.iter().map(|kept| kept.incarnation).collect();
        assert!(kept.len() <= INCARNATIONS_KEPT && kept.len() >= INCARNATIONS_LEFT, "{}", kept.len());
        assert!(kept.contains(&u128::from(count)), "the newest stays");
        assert!(!kept.contains(&1), "the longest idle goes");
        store.restart();
    }
}

pub fn rows_are_set_replaced_and_removed(store: &mut Fixture) {
    store.commit(vec![put(Table::Token, "k", "1")]);
    assert_eq!(get(store, Table::Token, "k").as_deref(), Some("1"));
    store.restart();
    assert_eq!(get(store, Table::Token, "k").as_deref(), Some("1"));
    store.commit(vec![put(Table::Token, "k", "2")]);
    assert_eq!(get(store, Table::Token, "k").as_deref(), Some("2"));
    let remove = Write::Remove { table: Table::Token, key: bytes("k") };
    assert_eq!(store.commit(vec![remove.clone()]), Committed);
    assert_eq!(get(store, Table::Token, "k"), None);
    assert_eq!(store.commit(vec![remove]), Committed, "removing what is not there is fine");
    store.restart();
    assert_eq!(get(store, Table::Token, "k"), None);
}

pub fn an_absent_row_is_put_once(store: &mut Fixture) {
    assert_eq!(store.commit(vec![put_new(Table::Credential, "mail", "1", None)]), Committed);
    let second = vec![put(Table::User, "u", "2"), put_new(Table::Credential, "mail", "2", None)];
    assert_eq!(store.commit(second.clone()), Exists);
    assert_eq!(get(store, Table::User, "u"), None, "nothing of the commit is written");
    store.restart();
    assert_eq!(store.commit(second.clone()), Exists);
    store.commit(vec![Write::Remove { table: Table::Credential, key: bytes("mail") }]);
    assert_eq!(store.commit(second), Committed);
    // In one batch, too: the first of two that race wins.
    let first = store.submit(vec![put_new(Table::Credential, "race", "1", None)]);
    let second = store.submit(vec![put_new(Table::Credential, "race", "2", None)]);
    assert_eq!((store.sink.wait(first), store.sink.wait(second)), (Committed, Exists));
}

pub fn expired_rows_are_not_there_and_their_keys_are_free(store: &mut Fixture) {
    let soon = store.now() + 1000;
    store.commit(vec![
        put_new(Table::Handoff, "code", "1", Some(soon)),
        put_new(Table::Handoff, "later", "1", Some(soon + 1)),
    ]);
    for _ in 0..2 {
        let at = |now_ms| store.engine().get(Table::Handoff, b"code", now_ms).expect("readable");
        assert!(at(soon).is_some(), "gone only after its time");
        assert!(at(soon + 1).is_none());
        let seen = store.engine().scan(Table::Handoff, b"", None, 10, soon + 1).expect("readable");
        assert_eq!(seen.len(), 1);
        store.restart();
    }
    store.pass(1001);
    assert_eq!(store.commit(vec![put_new(Table::Handoff, "code", "2", Some(soon + 5000))]), Committed);
    store.restart();
    store.commit(vec![put(Table::User, "u", "1")]);
    store.restart();
    assert_eq!(get(store, Table::Handoff, "code").as_deref(), Some("2"), "the old expiry is not the new row's");
}

pub fn scans_are_in_key_order_and_begin_after_a_key(store: &mut Fixture) {
    for key in ["b/2", "a/1", "b/1", "c/1", "b/3", "b"] {
        store.commit(vec![put(Table::Membership, key, "v")]);
    }
    for _ in 0..2 {
        assert_eq!(scan(store, Table::Membership, "b/", None, 10), ["b/1", "b/2", "b/3"]);
        assert_eq!(scan(store, Table::Membership, "b/", Some("b/1"), 10), ["b/2", "b/3"]);
        assert_eq!(scan(store, Table::Membership, "b/", Some("b/3"), 10), Vec::<String>::new());
        assert_eq!(scan(store, Table::Membership, "b/", Some("a"), 2), ["b/1", "b/2"]);
        assert_eq!(scan(store, Table::Membership, "b/", Some("z"), 2), Vec::<String>::new());
        assert_eq!(scan(store, Table::Membership, "", None, 10), ["a/1", "b", "b/1", "b/2", "b/3", "c/1"]);
        assert_eq!(scan(store, Table::Membership, "b/", None, 0), Vec::<String>::new());
        store.restart();
    }
    let high = Write::Put {
        table: Table::Membership,
        key: vec![0xFF, 0xFF].into(),
        value: bytes("v"),
        expires_at_ms: None,
        if_absent: false,
    };
    store.commit(vec![high]);
    store.restart();
    let rows = store.engine().scan(Table::Membership, &[0xFF], None, 10, store.now()).expect("readable");
    assert_eq!(rows.len(), 1);
}

pub fn scans_see_old_and_new_rows_as_one(store: &mut Fixture) {
    store.commit((0..10).map(|n| put(Table::Device, &format!("{n}"), "old")).collect());
    store.restart();
    store.commit(vec![
        Write::Remove { table: Table::Device, key: bytes("3") },
        put(Table::Device, "4", "new"),
        put(Table::Device, "45", "new"),
    ]);
    assert_eq!(scan(store, Table::Device, "", Some("1"), 4), ["2", "4", "45", "5"]);
    assert_eq!(get(store, Table::Device, "4").as_deref(), Some("new"));
}

pub fn tables_are_apart(store: &mut Fixture) {
    let tables = [
        Table::User,
        Table::Credential,
        Table::Device,
        Table::Token,
        Table::Snapshot,
        Table::Chunk,
        Table::Membership,
        Table::Handoff,
        Table::Idempotency,
    ];
    for table in tables {
        assert_eq!(store.commit(vec![put_new(table, "k", &format!("{table:?}"), None)]), Committed);
    }
    store.restart();
    for table in tables {
        assert_eq!(get(store, table, "k"), Some(format!("{table:?}")));
        assert_eq!(scan(store, table, "", None, 10), ["k"]);
    }
}

pub fn the_epoch_grows_with_every_open(store: &mut Fixture) {
    let mut last = store.engine().epoch();
    for _ in 0..5 {
        store.restart();
        assert!(store.engine().epoch() > last);
        last = store.engine().epoch();
    }
}

pub fn everything_completed_is_there_after_a_restart(store: &mut Fixture) {
    let mut tickets = Vec::new();
    for n in 0..50 {
        let name = format!("s{n}");
        tickets.push(store.submit(vec![create(&name, 1), put(Table::Membership, &name, "v")]));
        for version in 2..20 {
            tickets.push(store.submit(vec![delta_by(&name, 1, version, op("u", n, version))]));
        }
    }
    tickets.push(store.submit(vec![checkpoint("s7", 1, 19)]));
    let before: Vec<_> = {
        for ticket in tickets {
            assert_eq!(store.sink.wait(ticket), Committed);
        }
        (0..50).map(|n| store.engine().load(&format!("s{n}")).expect("readable")).collect()
    };
    assert!(before.iter().all(|session| session.as_ref().is_some_and(|session| session.version == 19)));
    for _ in 0..3 {
        store.restart();
        for (n, before) in before.iter().enumerate() {
            assert_eq!(&store.engine().load(&format!("s{n}")).expect("readable"), before);
        }
    }
}

pub fn close_makes_what_was_submitted_durable(store: &mut Fixture) {
    let tickets: Vec<_> = (0..200).map(|n| store.submit(vec![create(&format!("s{n}"), 1)])).collect();
    store.engine().close().expect("nothing failed");
    for ticket in tickets {
        assert_eq!(store.sink.outcome(ticket), Some(Committed), "told before close returned");
    }
    store.engine().close().expect("closing again is fine");
    store.restart();
    assert!(store.engine().load("s199").expect("readable").is_some());
}

pub fn a_closed_store_refuses_by_poison(store: &mut Fixture) {
    store.engine().close().expect("nothing failed");
    let late = store.submit(vec![create("s", 1)]);
    store.sink.wait_for_poison(1);
    assert_eq!(store.sink.outcome(late), None);
    assert_eq!(store.engine().stats().queued, 0);
    store.restart();
    assert_eq!(store.engine().load("s").expect("readable"), None);
}

pub fn many_threads_submit_and_each_session_keeps_its_order(store: &mut Fixture) {
    const THREADS: u64 = 8;
    const EACH: u64 = 500;
    let engine = store.engine();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                let name = format!("s{thread}");
                engine.submit(Commit { ticket: thread * EACH + 1, writes: vec![create(&name, 1)] });
                for version in 2..=EACH {
                    engine.submit(Commit { ticket: thread * EACH + version, writes: vec![delta(&name, 1, version)] });
                }
            });
        }
    });
    for ticket in 1..=THREADS * EACH {
        assert_eq!(store.sink.wait(ticket), Committed);
    }
    assert_eq!(store.engine().stats().commits, THREADS * EACH);
    assert_eq!(store.engine().stats().queued, 0);
}

/// A store as simple as can be, for comparison.
#[derive(Default)]
struct Model {
    sessions: BTreeMap<String, (u64, u64, Vec<Applied>)>,
    rows: BTreeMap<String, String>,
}

pub fn random_histories_match_a_model(store: &mut Fixture) {
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = move |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let mut model = Model::default();
    for step in 0..3000 {
        let name = format!("s{}", random(6));
        let (writes, expected) = match random(20) {
            0 => {
                let free = !model.sessions.contains_key(&name);
                if free {
                    model.sessions.insert(name.clone(), (1, 1, Vec::new()));
                }
                (vec![create(&name, 1)], if free { Committed } else { Exists })
            }
            1 => {
                let there = model.sessions.remove(&name);
                let delete = Write::DeleteSession { session: name.as_str().into(), epoch: 1 << 40 };
                (vec![delete], if there.is_some() { Committed } else { Fenced })
            }
            2..=4 => {
                let key = format!("k{}", random(10));
                let free = !model.rows.contains_key(&key);
                if free {
                    model.rows.insert(key.clone(), step.to_string());
                }
                (vec![put_new(Table::Chunk, &key, &step.to_string(), None)], if free { Committed } else { Exists })
            }
            5 => {
                let key = format!("k{}", random(10));
                model.rows.remove(&key);
                (vec![Write::Remove { table: Table::Chunk, key: bytes(&key) }], Committed)
            }
            6 => {
                let Some((epoch, version, _)) = model.sessions.get(&name) else { continue };
                (vec![checkpoint(&name, *epoch, random(*version) + 1)], Committed)
            }
            _ => {
                let Some((epoch, version, ops)) = model.sessions.get_mut(&name) else { continue };
                *epoch += u64::from(random(30) == 0);
                *version += 1;
                let by = op("u", u128::from(random(3)), *version);
                ops.push(by.clone());
                (vec![delta_by(&name, *epoch, *version, by)], Committed)
            }
        };
        assert_eq!(store.commit(writes), expected, "step {step}");
        if random(150) == 0 {
            store.restart();
        }
    }
    for n in 0..6 {
        let name = format!("s{n}");
        let found = store.engine().load(&name).expect("readable");
        let wanted = model.sessions.get(&name);
        assert_eq!(found.as_ref().map(|found| (found.epoch, found.version)), wanted.map(|(e, v, _)| (*e, *v)));
        let Some((found, (_, version, ops))) = found.zip(wanted) else { continue };
        assert_eq!(
            found.deltas.iter().map(|delta| delta.version).collect::<Vec<_>>(),
            (found.document_version + 1..=*version).collect::<Vec<_>>()
        );
        for kept in &found.incarnations {
            let made: Vec<_> = ops
                .iter()
                .filter(|by| by.incarnation == kept.incarnation)
                .map(|by| (by.counter, by.answer.clone()))
                .collect();
            assert_eq!(kept.answers, made);
        }
        let recorded: usize = found.incarnations.iter().map(|kept| kept.answers.len()).sum();
        assert_eq!(recorded, ops.len());
    }
    let rows = store.engine().scan(Table::Chunk, b"", None, 100, store.now()).expect("readable");
    let found: BTreeMap<String, String> = rows
        .iter()
        .map(|(key, value)| (String::from_utf8_lossy(key).into(), String::from_utf8_lossy(value).into()))
        .collect();
    assert_eq!(found, model.rows);
}
