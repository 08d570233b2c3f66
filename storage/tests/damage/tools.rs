//! `check`, `repair`, `export`, `import`, `stats` and `backup`.

use std::{collections::BTreeSet, fs, path::Path};

use syncbridge_storage::{
    Engine, Error, Outcome, Table,
    engine::embedded::{
        Embedded,
        tools::{Entry, Finding, Harm, Import, Offline},
    },
};

use crate::{
    suite::{START_MS, create, delta},
    truth::{Numbers, SESSIONS, Truth, commit, copy, files, made, name, open, options},
};

fn check(folder: &Path) -> (u64, Vec<Finding>) {
    let mut findings = Vec::new();
    let whole = Offline::lock(folder).expect("free").check(&mut |finding| findings.push(finding)).expect("read");
    (whole, findings)
}

fn harmful(folder: &Path) -> Vec<Finding> {
    check(folder).1.into_iter().filter(|finding| finding.harm > Harm::None).collect()
}

fn exported(folder: &Path) -> (u64, Vec<Entry>) {
    let mut entries = Vec::new();
    let epoch = Offline::export(folder, options(), |entry| {
        entries.push(entry);
        Ok::<_, Error>(())
    });
    (epoch.expect("everything is there"), entries)
}

#[test]
fn a_whole_store_is_found_whole_and_a_repair_changes_nothing_of_it() {
    for clean in [true, false] {
        let folder = tempfile::tempdir().expect("a folder");
        let truth = made(folder.path(), clean);
        let (whole, findings) = check(folder.path());
        assert_eq!(findings, Vec::new());
        // After a kill the log knows of some that the index does not.
        assert!(if clean { whole == SESSIONS as u64 } else { whole > 0 }, "{whole}");
        let done = Offline::lock(folder.path()).expect("free").repair(options()).expect("repaired");
        assert_eq!((done.lost, done.aside), (Vec::new(), Vec::new()));
        assert_eq!(Truth::of(&open(folder.path()).expect("opens").0), truth);
    }
}

#[test]
fn no_tool_works_on_a_store_that_is_open_and_none_makes_a_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path()).expect("opens");
    assert!(matches!(Offline::lock(folder.path()), Err(Error::Locked { .. })));
    let export = Offline::export(folder.path(), options(), |_| Ok::<_, Error>(()));
    assert!(matches!(export, Err(Error::Locked { .. })));
    assert!(matches!(Import::begin(folder.path()), Err(Error::Locked { .. })));
    drop(store);
    assert!(matches!(Import::begin(folder.path()), Err(Error::Io { .. })), "there is a store");
    let empty = tempfile::tempdir().expect("a folder");
    assert!(matches!(Offline::lock(empty.path()), Err(Error::Io { .. })));
    assert_eq!(fs::read_dir(empty.path()).expect("there").count(), 0);
}

#[test]
fn whatever_byte_changed_a_repaired_store_is_whole_and_what_it_lost_is_named() {
    for clean in [true, false] {
        let folder = tempfile::tempdir().expect("a folder");
        let truth = made(folder.path(), clean);
        let mut numbers = Numbers(23);
        let (mut lossless, mut right) = (0, 0);
        for file in files(folder.path()) {
            let place = file.strip_prefix(folder.path()).expect("in it");
            let bytes = fs::read(&file).expect("readable");
            let end = bytes.iter().rposition(|byte| *byte != 0).map_or(bytes.len(), |last| last + 1);
            for time in 0..25 {
                let at = numbers.below(end);
                let what = format!("{} byte {at}", place.display());
                let hurt = tempfile::tempdir().expect("a folder");
                copy(folder.path(), hurt.path());
                let mut changed = bytes.clone();
                // More than one byte of the log cannot be put right.
                for at in at..(at + if time % 2 == 0 { 1 } else { 3 }).min(changed.len()) {
                    changed[at] ^= u8::try_from(1 + numbers.below(255)).expect("a byte");
                }
                fs::write(hurt.path().join(place), &changed).expect("written");

                let found = check(hurt.path()).1;
                let done = Offline::lock(hurt.path()).expect("free").repair(options()).expect("repaired");
                right += usize::from(!done.put_right.is_empty());
                if !done.lost.is_empty() || !done.put_right.is_empty() {
                    assert!(!done.aside.is_empty(), "{what}: {:?}", done.lost);
                    assert!(!found.is_empty(), "{what}: check found nothing; {:?}", done.lost);
                    for aside in &done.aside {
                        assert!(fs::metadata(aside).expect("kept").len() > 0);
                    }
                }
                assert_eq!(harmful(hurt.path()), Vec::new(), "{what}");
                let (store, _) = open(hurt.path()).unwrap_or_else(|error| panic!("{what}: {error}"));
                let mut missing = 0;
                for (name, truth) in &truth.sessions {
                    let found = store.load(name).unwrap_or_else(|error| panic!("{what}: {name}: {error}"));
                    if found.as_ref() != Some(truth) {
                        missing += 1;
                        let named = done.lost.iter().any(|lost| lost.contains(&format!("session {name:?}")));
                        // Of a group of the log that cannot be read nobody knows whose it was.
                        assert!(named || place.starts_with("log"), "{what}: {name} is gone: {:?}", done.lost);
                    }
                }
                let rows = store.scan(Table::User, b"", None, usize::MAX, START_MS).expect("readable");
                missing += usize::from(rows != truth.rows);
                assert!(missing == 0 || !done.lost.is_empty(), "{what}: {missing} gone without a word");
                lossless += usize::from(missing == 0);
            }
        }
        assert!(lossless > 50, "most changes cost nothing: {lossless}");
        assert!(clean || right > 0, "a changed byte of the log is put right");
    }
}

#[test]
fn what_is_exported_and_imported_is_equal() {
    for clean in [true, false] {
        let (from, to) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let truth = made(from.path(), clean);
        let (epoch, entries) = exported(from.path());
        let mut import = Import::begin(to.path()).expect("empty");
        for entry in &entries {
            import.put(entry.clone()).expect("fits");
        }
        import.finish(epoch).expect("finished");
        assert_eq!(harmful(to.path()), Vec::new());
        assert_eq!(exported(to.path()).1, entries);
        let (store, _) = open(to.path()).expect("opens");
        assert_eq!(Truth::of(&store), truth);
        assert!(store.epoch() > epoch + 1000, "cursors of the other store are none of this one's");
    }
}

#[test]
fn what_does_not_fit_together_is_not_imported() {
    let folder = tempfile::tempdir().expect("a folder");
    let truth_folder = tempfile::tempdir().expect("a folder");
    made(truth_folder.path(), true);
    let (_, entries) = exported(truth_folder.path());
    let mut import = Import::begin(folder.path()).expect("empty");
    let part = entries.iter().find(|entry| matches!(entry, Entry::Deltas(_))).expect("one").clone();
    assert!(matches!(import.put(part), Err(Error::Damaged { .. })), "before any session");
    let mut refused = 0;
    for left_out in 0..entries.len().min(200) {
        let folder = tempfile::tempdir().expect("a folder");
        let mut import = Import::begin(folder.path()).expect("empty");
        let rest = entries.iter().enumerate().filter(|(at, _)| *at != left_out).map(|(_, entry)| entry.clone());
        let done = rest.map(|entry| import.put(entry)).collect::<Result<Vec<()>, _>>();
        refused += usize::from(done.is_err() || import.finish(1).is_err());
    }
    assert!(refused > 50, "{refused}");
}

#[test]
fn the_figures_are_what_is_there() {
    let folder = tempfile::tempdir().expect("a folder");
    made(folder.path(), true);
    let figures = Offline::lock(folder.path()).expect("free").stats().expect("counted");
    assert_eq!((figures.sessions, figures.epoch, figures.log_groups, figures.aside_bytes), (SESSIONS as u64, 2, 0, 0));
    assert!(figures.log_segments >= 1 && figures.log_bytes >= 64 << 10, "{figures:?}");
    let tables: u64 = figures.tables.iter().map(|table| table.bytes).sum();
    assert_eq!(figures.index_bytes, tables + figures.index_garbage);
    let names: BTreeSet<_> = figures.tables.iter().map(|table| table.name.as_str()).collect();
    assert!(["sessions", "documents", "rows", "expiry"].iter().all(|name| names.contains(name)), "{names:?}");
}

#[test]
fn a_backup_of_a_store_at_work_is_all_commits_up_to_one_and_none_after() {
    let (folder, copies) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let store = open(folder.path()).expect("opens");
    // In each commit, one change of each of two sessions: a copy that is not of one moment has more of one.
    assert_eq!(commit(&store, 1, vec![create("a", 1), create("z", 1)]), Outcome::Committed);
    let (mut version, mut at_least) = (1, Vec::new());
    std::thread::scope(|scope| {
        let backups = scope.spawn(|| {
            (0..5)
                .map(|number| store.0.backup(&copies.path().join(number.to_string())).expect("copied"))
                .collect::<Vec<_>>()
        });
        while !backups.is_finished() || version < 50 {
            version += 1;
            assert_eq!(
                commit(&store, version, vec![delta("a", 1, version), delta("z", 1, version)]),
                Outcome::Committed
            );
            at_least.push(version);
        }
        let backups = backups.join().expect("no panic");
        assert!(backups.windows(2).all(|pair| pair[0].group <= pair[1].group));
        assert!(backups.iter().all(|backup| backup.sessions == 2 && backup.damaged.is_empty()));
    });
    let mut last = 0;
    let mut epochs = BTreeSet::new();
    for number in 0..5 {
        let copy = copies.path().join(number.to_string());
        assert_eq!(harmful(&copy), Vec::new());
        let restored = open(&copy).expect("a server starts on it");
        let [a, z] = ["a", "z"].map(|name| restored.0.load(name).expect("read").expect("there").version);
        assert_eq!(a, z);
        assert!(a >= last && a <= version);
        last = a;
        let epoch = restored.0.epoch();
        epochs.insert(epoch);
        assert_eq!(commit(&restored, 1, vec![delta("a", epoch, a + 1)]), Outcome::Committed);
    }
    assert_eq!(epochs.len(), 5, "no two copies begin the same epoch");
    assert!(store.0.backup(&copies.path().join("0")).is_err(), "there is one already");
    let after = store.0.backup(&copies.path().join("after")).expect("copied");
    drop(store);
    let restored: Embedded = open(&copies.path().join("after")).expect("opens").0;
    assert_eq!(restored.load("z").expect("read").expect("there").version, version, "{after:?}: all that was completed");
    assert!(restored.load(&name(0)).expect("read").is_none());
}
