//! Bytes that change while the store is down.

use std::{collections::BTreeMap, fs};

use syncbridge_storage::Error;

use crate::truth::{Numbers, SESSIONS, copy, files, made, open};

/// What happened to a store in which bytes were changed.
#[derive(Default, Debug)]
struct Tally {
    right: usize,
    /// Some sessions refused, and how many at most.
    contained: usize,
    most: usize,
    /// Everything refused.
    refused: usize,
}

/// Changes one byte at a time, `times` in each file, and looks at what opens.
fn change_bytes(clean: bool, times: usize, seed: u64) -> BTreeMap<String, Tally> {
    let folder = tempfile::tempdir().expect("a folder");
    let truth = made(folder.path(), clean);
    let mut numbers = Numbers(seed);
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    for file in files(folder.path()) {
        let place = file.strip_prefix(folder.path()).expect("in it");
        let bytes = fs::read(&file).expect("readable");
        // Where something is written; zeros beyond are nobody's, but are tried, too.
        let end = bytes.iter().rposition(|byte| *byte != 0).map_or(bytes.len(), |last| last + 1);
        for time in 0..times {
            let at = match time % 10 {
                0 => numbers.below(bytes.len()),
                // The end of what is written: in a log, the last group.
                1..=3 => end - 1 - numbers.below(end.min(160)),
                _ => numbers.below(end),
            };
            let change = u8::try_from(1 + numbers.below(255)).expect("a byte");
            let what = format!("{} byte {at} ^ {change:#04x}", place.display());
            let hurt = tempfile::tempdir().expect("a folder");
            copy(folder.path(), hurt.path());
            let mut changed = bytes.clone();
            changed[at] ^= change;
            fs::write(hurt.path().join(place), changed).expect("written");
            let kind = place.extension().map_or("store", |extension| extension.to_str().expect("text"));
            let tally = tallies.entry(kind.to_owned()).or_default();
            match open(hurt.path()) {
                Ok((store, _)) => {
                    let refused = truth.refused(&store, &what);
                    tally.most = tally.most.max(refused);
                    *(if refused == 0 { &mut tally.right } else { &mut tally.contained }) += 1;
                    drop(store);
                    // What was refused stays refused, and what was right stays right.
                    if refused > 0 {
                        let (store, _) = open(hurt.path()).unwrap_or_else(|error| panic!("{what}: {error}"));
                        assert_eq!(truth.refused(&store, &what), refused, "{what}: the second start");
                    }
                }
                Err(Error::Damaged { what: said }) => {
                    assert!(said.contains(hurt.path().to_str().expect("text")), "{what} names no file: {said}");
                    tally.refused += 1;
                }
                Err(other) => panic!("{what}: {other}"),
            }
        }
    }
    println!("{tallies:#?}");
    tallies
}

#[test]
fn a_changed_byte_in_any_file_of_a_closed_store_is_harmless_or_refused_by_name() {
    let tallies = change_bytes(true, 130, 5);
    let index = &tallies["redb"];
    // One page of many holds the list of tables, and one the roots.
    assert!(index.refused * 20 <= index.right + index.contained, "{index:?}");
    assert!(index.contained > 0 && index.most < SESSIONS / 4, "{index:?}");
}

#[test]
fn a_changed_byte_in_any_file_of_a_killed_store_is_harmless_or_refused_by_name() {
    change_bytes(false, 130, 7);
}
