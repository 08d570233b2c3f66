//! Bytes that change while the store is down.

use std::{collections::BTreeMap, fs, path::Path};

use syncbridge_storage::Error;

use crate::truth::{Numbers, SESSIONS, Truth, copy, files, made, open};

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

impl Tally {
    /// Looks at what opens when this file of a store is changed.
    fn open(&mut self, folder: &Path, truth: &Truth, place: &Path, changed: &[u8], what: &str) {
        let hurt = tempfile::tempdir().expect("a folder");
        copy(folder, hurt.path());
        fs::write(hurt.path().join(place), changed).expect("written");
        match open(hurt.path()) {
            Ok((store, _)) => {
                let refused = truth.refused(&store, what);
                self.most = self.most.max(refused);
                *(if refused == 0 { &mut self.right } else { &mut self.contained }) += 1;
                drop(store);
                // What was refused stays refused, and what was right stays right.
                if refused > 0 {
                    let (store, _) = open(hurt.path()).unwrap_or_else(|error| panic!("{what}: {error}"));
                    assert_eq!(truth.refused(&store, what), refused, "{what}: the second start");
                }
            }
            Err(Error::Damaged { what: said }) => {
                assert!(said.contains(hurt.path().to_str().expect("text")), "{what} names no file: {said}");
                self.refused += 1;
            }
            Err(other) => panic!("{what}: {other}"),
        }
    }
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
            let kind = place.extension().map_or("store", |extension| extension.to_str().expect("text"));
            let mut changed = bytes.clone();
            changed[at] ^= change;
            let what = format!("{} byte {at} ^ {change:#04x}", place.display());
            tallies.entry(kind.to_owned()).or_default().open(folder.path(), &truth, place, &changed, &what);
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

/// Where redb says which commit is the newest and where its trees begin: little, and everything hangs on it.
#[test]
fn a_changed_byte_in_the_header_of_the_index_is_harmless_or_refused_by_name() {
    for clean in [true, false] {
        let folder = tempfile::tempdir().expect("a folder");
        let truth = made(folder.path(), clean);
        let place = Path::new("index.redb");
        let bytes = fs::read(folder.path().join(place)).expect("readable");
        let (mut tally, mut numbers) = (Tally::default(), Numbers(3));
        // What is not written twice: sizes and flags; then the two slots.
        for at in (0..64).chain((64..320).step_by(if clean { 3 } else { 5 })) {
            // Of the flags, each by itself.
            let masks = if at == 9 { vec![1, 2, 4, 3, 5, 7] } else { vec![1 + numbers.below(255)] };
            for change in masks {
                let mut changed = bytes.clone();
                changed[at] ^= u8::try_from(change).expect("a byte");
                tally.open(folder.path(), &truth, place, &changed, &format!("byte {at} ^ {change:#04x}"));
            }
        }
        println!("{tally:?}");
        assert!(tally.right > tally.contained + tally.refused, "{tally:?}");
    }
}
