//! Damage in the part of the log that the index does not have: exactly what was in the groups that cannot be read is refused,
//! and everything else is served.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use syncbridge_storage::{
    Engine, Error, Outcome, Table, Write,
    engine::embedded::{
        Embedded, Options,
        tools::{Finding, Harm, Offline},
    },
};

use crate::{
    suite::{START_MS, bytes, checkpoint, create, delta, put, recorder::Recorder},
    truth::{self, Numbers, commit, copy},
};

const GROUPS: usize = 160;
const NAMES: usize = 30;
const START: usize = 8192;

/// One segment has all.
fn options() -> Options {
    Options { segment_bytes: 256 << 10, ..truth::options() }
}

fn open(folder: &Path) -> Result<(Embedded, Arc<Recorder>), Error> {
    let sink: Arc<Recorder> = Arc::default();
    Ok((Embedded::open(folder, options(), sink.clone())?, sink))
}

/// A session or a user's row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Session(String),
    Row(String),
}

/// A store of which the index knows nothing but `old-…`, and what stands where in its log.
struct Logged {
    folder: tempfile::TempDir,
    /// The segment, its bytes, and of each of its groups: start, end, what it touched.
    segment: PathBuf,
    bytes: Vec<u8>,
    groups: Vec<(usize, usize, Vec<What>)>,
    /// Everything there is, and at which version or with which value.
    all: Vec<(What, u64)>,
}

fn session(number: usize) -> String {
    format!("session-{number}")
}

/// Commits one by one, so that each is a group.
fn logged() -> Logged {
    let live = tempfile::tempdir().expect("a folder");
    let store = open(live.path()).expect("opens");
    for number in 0..4 {
        let name = format!("old-{number}");
        assert_eq!(commit(&store, number, vec![create(&name, 1), put(Table::Token, &name, "1")]), Outcome::Committed);
    }
    drop(store);
    let store = open(live.path()).expect("opens");
    let logs = fs::read_dir(live.path().join("log")).expect("there").map(|entry| entry.expect("readable").path());
    let segment = logs.filter(|path| path.extension().is_some_and(|extension| extension == "log")).max().expect("one");
    let (mut numbers, mut versions) = (Numbers(17), [0u64; NAMES]);
    let (mut groups, mut rows) = (Vec::<(usize, usize, Vec<What>)>::new(), std::collections::BTreeMap::new());
    for ticket in 100..100 + GROUPS as u64 {
        let number = numbers.below(NAMES);
        let (epoch, name) = (store.0.epoch(), session(number));
        versions[number] += 1;
        let version = versions[number];
        let mut touched = vec![What::Session(name.clone())];
        let mut writes = vec![match version {
            1 => create(&name, epoch),
            // A commit that makes no version is missed as well.
            _ if version % 5 == 0 => {
                versions[number] -= 1;
                checkpoint(&name, epoch, version - 1)
            }
            _ => delta(&name, epoch, version),
        }];
        if numbers.below(3) == 0 {
            let key = format!("row-{}", numbers.below(NAMES));
            writes.push(put(Table::Token, &key, &ticket.to_string()));
            touched.push(What::Row(key.clone()));
            rows.insert(key, ticket);
        }
        if ticket == 120 {
            // Larger than two pages.
            writes.push(put(Table::User, "large", &"x".repeat(10_000)));
        }
        assert_eq!(commit(&store, ticket, writes), Outcome::Committed);
        let start = groups.last().map_or(START, |(_, end, _)| *end);
        let end = START + usize::try_from(store.0.stats().log_bytes).expect("small");
        groups.push((start, end, touched));
    }
    let bytes = fs::read(&segment).expect("readable");
    let folder = tempfile::tempdir().expect("a folder");
    copy(live.path(), folder.path());
    let segment = segment.strip_prefix(live.path()).expect("in it").to_path_buf();
    let sessions = (0..NAMES).map(|number| (What::Session(session(number)), versions[number]));
    let old = (0..4).flat_map(|number| {
        [What::Session(format!("old-{number}")), What::Row(format!("old-{number}"))].map(|what| (what, 1))
    });
    let all = sessions.filter(|(_, version)| *version > 0).chain(old);
    let all = all.chain(rows.into_iter().map(|(key, ticket)| (What::Row(key), ticket))).collect();
    Logged { folder, segment, bytes, groups, all }
}

impl Logged {
    /// A copy in which this is the segment.
    fn with(&self, bytes: &[u8]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        copy(self.folder.path(), folder.path());
        fs::write(folder.path().join(&self.segment), bytes).expect("written");
        folder
    }

    /// What the groups touched of which a byte between these was changed; and what of that is refused: not a row that was
    /// written again.
    fn touched(&self, from: usize, to: usize) -> (BTreeSet<What>, BTreeSet<What>) {
        let hurt = self.groups.iter().filter(|(start, end, _)| *start < to && from < *end);
        let touched: BTreeSet<_> = hurt.flat_map(|(_, _, touched)| touched.clone()).collect();
        let mut refused = touched.clone();
        for (.., later) in self.groups.iter().filter(|(start, ..)| *start >= to) {
            refused.retain(|what| matches!(what, What::Session(_)) || !later.contains(what));
        }
        (touched, refused)
    }

    /// What is refused; panics when anything is answered and wrong.
    fn refused(&self, store: &Embedded) -> BTreeSet<What> {
        let mut refused = BTreeSet::new();
        for (what, truth) in &self.all {
            let found = match what {
                What::Session(name) => store.load(name).map(|found| found.map(|session| session.version)),
                What::Row(key) => store
                    .get(Table::Token, key.as_bytes(), START_MS)
                    .map(|row| row.map(|row| std::str::from_utf8(&row).expect("text").parse().expect("a number"))),
            };
            match found {
                Ok(found) => assert_eq!(found, Some(*truth), "{what:?}"),
                Err(Error::Damaged { what: said }) => {
                    let (What::Session(name) | What::Row(name)) = what;
                    assert!(said.contains(name.as_str()), "{said} does not name {name}");
                    refused.insert(what.clone());
                }
                Err(other) => panic!("{other}"),
            }
        }
        refused
    }
}

fn check(folder: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    let _whole = Offline::lock(folder).expect("free").check(&mut |found| findings.push(found)).expect("read");
    findings
}

/// The names in lines such as `session "a": …` and `row a of table Token: …`.
fn named<'a>(lines: impl Iterator<Item = &'a String>) -> BTreeSet<What> {
    lines
        .filter_map(|line| {
            let row = line.strip_prefix("row ").and_then(|rest| rest.split_once(" of table Token"));
            let session = line.strip_prefix("session \"").and_then(|rest| rest.split_once('"'));
            row.map(|(key, _)| What::Row(key.to_owned())).or(session.map(|(name, _)| What::Session(name.to_owned())))
        })
        .collect()
}

#[test]
fn what_is_lost_in_the_middle_of_the_log_is_refused_by_name_and_nothing_else() {
    let log = logged();
    let (last_start, ..) = *log.groups.last().expect("many");
    let mut numbers = Numbers(29);
    let (mut cases, mut most) = (0, 0);
    // A few bytes, a sector, a page; filled with zeros, or with something else.
    for (length, times) in [(2, 40), (16, 20), (512, 15), (4096, 15)] {
        for time in 0..times {
            let from = START + numbers.below(last_start - START - length);
            let from = if length == 4096 { from.next_multiple_of(4096).min(last_start - length) } else { from };
            let mut changed = log.bytes.clone();
            for byte in &mut changed[from..from + length] {
                *byte = if time % 3 == 0 { 0 } else { *byte ^ u8::try_from(1 + numbers.below(255)).expect("a byte") };
            }
            if changed == log.bytes {
                continue;
            }
            let hurt = log.with(&changed);
            let what = format!("{length} bytes at {from}");
            let found = check(hurt.path());
            let store = open(hurt.path()).unwrap_or_else(|error| panic!("{what}: {error}"));
            let refused = log.refused(&store.0);
            // Zeros where there were zeros but for one byte are one byte.
            if store.0.recovery().put_right.is_empty() {
                let (touched, expected) = log.touched(from, from + length);
                assert_eq!(refused, expected, "{what}");
                let recovery = store.0.recovery();
                assert_eq!(named(recovery.refused.iter()), touched, "{what}: {recovery:?}");
                let said: Vec<_> =
                    found.iter().filter(|found| found.harm == Harm::Some).map(|found| &found.what).collect();
                assert_eq!(named(said.into_iter()), touched, "{what}: {found:?}");
            }
            assert!(found.iter().all(|found| found.harm < Harm::All), "{what}: {found:?}");
            assert!(fs::read_dir(hurt.path().join("damaged")).expect("kept").count() > 0);
            // The others go on, and what was refused stays refused.
            assert_eq!(commit(&store, 1, vec![delta("old-0", store.0.epoch(), 2)]), Outcome::Committed);
            drop(store);
            let (store, _) = open(hurt.path()).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(store.load("old-0").expect("served").expect("there").version == 2);
            let mut again = log_without(&log, "old-0").refused(&store);
            assert!(!again.remove(&What::Session("old-0".to_owned())));
            assert_eq!(again, refused, "{what}: the second start");
            (cases, most) = (cases + 1, most.max(refused.len()));
        }
    }
    assert!(cases > 60 && most < 40, "{cases} {most}");
}

/// The same, but for one session.
fn log_without<'a>(log: &'a Logged, name: &str) -> Expected<'a> {
    Expected { log, but: What::Session(name.to_owned()) }
}

struct Expected<'a> {
    log: &'a Logged,
    but: What,
}

impl Expected<'_> {
    fn refused(&self, store: &Embedded) -> BTreeSet<What> {
        let all = self.log.all.iter().filter(|(what, _)| *what != self.but).cloned().collect();
        let folder = tempfile::tempdir().expect("a folder");
        let rest = Logged { folder, segment: PathBuf::new(), bytes: Vec::new(), groups: Vec::new(), all };
        rest.refused(store)
    }
}

#[test]
fn a_row_whose_newest_change_is_lost_is_nobodys_and_a_list_with_it_is_refused() {
    let log = logged();
    let hurt_group =
        log.groups.iter().rev().skip(1).find(|(_, _, touched)| touched.len() == 2).expect("one with a row");
    let What::Row(key) = &hurt_group.2[1] else { panic!("a row") };
    let mut changed = log.bytes.clone();
    changed[hurt_group.0 + 60..hurt_group.1].fill(0xEE);
    let hurt = log.with(&changed);
    let store = open(hurt.path()).expect("contained");
    // What it was before may be a right that was taken away.
    assert!(matches!(store.0.get(Table::Token, key.as_bytes(), START_MS), Err(Error::Damaged { .. })));
    assert!(matches!(store.0.scan(Table::Token, key.as_bytes(), None, 9, START_MS), Err(Error::Damaged { .. })));
    assert_eq!(store.0.scan(Table::Token, b"old-", None, 9, START_MS).expect("served").len(), 4);
    let taken = Write::Put {
        table: Table::Token,
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: bytes("new"),
        expires_at_ms: None,
        if_absent: true,
    };
    assert_eq!(commit(&store, 1, vec![taken]), Outcome::Exists, "nobody knows that it is free");
    assert_eq!(commit(&store, 2, vec![put(Table::Token, key, "new")]), Outcome::Committed);
    drop(store);
    let store = open(hurt.path()).expect("opens");
    assert_eq!(store.0.get(Table::Token, key.as_bytes(), START_MS).expect("known again"), Some(bytes("new")));
    assert!(store.0.scan(Table::Token, b"row-", None, 99, START_MS).expect("whole again").len() > 5);
}

#[test]
fn a_session_that_is_refused_can_be_deleted_and_made_again() {
    let log = logged();
    let hurt_group = &log.groups[GROUPS / 2];
    let What::Session(name) = &hurt_group.2[0] else { panic!("a session") };
    let mut changed = log.bytes.clone();
    changed[hurt_group.0..hurt_group.1].fill(0);
    let hurt = log.with(&changed);
    let store = open(hurt.path()).expect("contained");
    let epoch = store.0.epoch();
    assert!(matches!(store.0.load(name), Err(Error::Damaged { .. })));
    assert!(matches!(store.0.deltas(name, 1, 9), Err(Error::Damaged { .. })));
    assert_eq!(commit(&store, 1, vec![create(name, epoch)]), Outcome::Exists);
    assert_eq!(commit(&store, 2, vec![delta(name, epoch, 9)]), Outcome::Fenced);
    let delete = Write::DeleteSession { session: name.as_str().into(), epoch };
    assert_eq!(commit(&store, 3, vec![delete]), Outcome::Committed);
    assert_eq!(commit(&store, 4, vec![create(name, epoch)]), Outcome::Committed);
    drop(store);
    assert_eq!(open(hurt.path()).expect("opens").0.load(name).expect("read").expect("there").version, 1);
}

#[test]
fn a_repair_after_a_start_on_a_damaged_log_leaves_what_was_before_it() {
    let log = logged();
    let (hurt_start, hurt_end, touched) = &log.groups[GROUPS - 20];
    let mut changed = log.bytes.clone();
    changed[*hurt_start..*hurt_end].fill(0);
    for start_first in [true, false] {
        let hurt = log.with(&changed);
        if start_first {
            drop(open(hurt.path()).expect("contained"));
        }
        let done = Offline::lock(hurt.path()).expect("free").repair(options()).expect("repaired");
        let lost = named(done.lost.iter());
        assert!(touched.iter().all(|what| lost.contains(what)), "{start_first}: {touched:?} in {:?}", done.lost);
        assert!(check(hurt.path()).is_empty(), "{start_first}: {:?}", check(hurt.path()));
        let (store, _) = open(hurt.path()).expect("whole");
        for (what, truth) in log.all.iter().filter(|(what, _)| !lost.contains(what)) {
            let What::Session(name) = what else { continue };
            assert_eq!(store.load(name).expect("read").expect("there").version, *truth, "{name}");
        }
        let What::Session(name) = &touched[0] else { panic!("a session") };
        let left = store.load(name).expect("whole, as of before").map(|session| session.version);
        assert!(left < log.all.iter().find(|(what, _)| what == &touched[0]).map(|(_, version)| *version), "{left:?}");
    }
}
