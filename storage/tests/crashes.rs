//! What a crash, a damaged file or a failing disk leaves: the promises of `DESIGN.md`, one test each.

mod suite;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use suite::{START_MS, change, create, delta, put, recorder::Recorder};
use syncbridge_storage::{
    Commit, Engine, Error, Outcome, StoredSession, Table, Write,
    engine::embedded::{
        Embedded, Options,
        faults::{Fault, Faults, Operation},
    },
};

/// Small segments, and an index that is written only at start and end.
fn options() -> Options {
    Options {
        segment_bytes: 16 << 10,
        flush_after: Duration::from_hours(1),
        clock: Arc::new(|| START_MS),
        ..Options::default()
    }
}

fn open_with(folder: &Path, options: Options) -> Result<(Embedded, Arc<Recorder>), Error> {
    let sink: Arc<Recorder> = Arc::default();
    Ok((Embedded::open(folder, options, sink.clone())?, sink))
}

fn open(folder: &Path) -> (Embedded, Arc<Recorder>) {
    open_with(folder, options()).expect("opens")
}

fn commit((store, sink): &(Embedded, Arc<Recorder>), ticket: u64, writes: Vec<Write>) -> Outcome {
    store.submit(Commit { ticket, writes });
    sink.wait(ticket)
}

/// The folder as a power loss at this moment would leave it, with everything that was written.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to.join("log")).expect("made");
    for name in ["store", "index.redb"] {
        fs::copy(from.join(name), to.join(name)).expect("copied");
    }
    for path in logs(from, "log").into_iter().chain(logs(from, "spare")) {
        fs::copy(&path, to.join("log").join(path.file_name().expect("a name"))).expect("copied");
    }
}

fn logs(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("log")).expect("there").map(|entry| entry.expect("readable").path());
    let mut paths: Vec<_> = entries.filter(|path| path.extension().is_some_and(|found| found == extension)).collect();
    paths.sort();
    paths
}

fn load(store: &Embedded, session: &str) -> StoredSession {
    let session = store.load(session).expect("readable").expect("there");
    let versions: Vec<_> = session.deltas.iter().map(|delta| delta.version).collect();
    assert_eq!(versions, (session.document_version + 1..=session.version).collect::<Vec<_>>(), "no gap");
    assert!(session.deltas.iter().all(|delta| delta.change == change(delta.version)));
    session
}

/// A log of several groups as a crash left it: versions 1 to 5 of one session, and where each group stands.
struct Crashed {
    folder: tempfile::TempDir,
    segment: PathBuf,
    bytes: Vec<u8>,
    /// Start and end of each group.
    groups: Vec<(usize, usize)>,
}

fn crashed() -> Crashed {
    let (live, folder) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let store = open(live.path());
    let segment = logs(live.path(), "log").pop().expect("one");
    let mut groups = Vec::new();
    let mut before = fs::read(&segment).expect("readable");
    for version in 1..=5 {
        // The last of two sessions, so that half a commit would show.
        let writes = if version == 1 {
            vec![create("s", 1), create("t", 1)]
        } else {
            vec![delta("s", 1, version), delta("t", 1, version), put(Table::User, "u", &version.to_string())]
        };
        assert_eq!(commit(&store, version, writes), Outcome::Committed);
        let after = fs::read(&segment).expect("readable");
        let start = groups.last().map_or(8192, |(_, end)| *end);
        let last = (0..after.len()).rposition(|at| after[at] != before[at]).expect("something was written");
        groups.push((start, (last + 1).next_multiple_of(8)));
        before = after;
    }
    copy(live.path(), folder.path());
    let segment = folder.path().join("log").join(segment.file_name().expect("a name"));
    Crashed { folder, segment, bytes: before, groups }
}

impl Crashed {
    /// Opens a copy in which the log is `bytes`.
    fn open_with(&self, bytes: &[u8]) -> Result<(Embedded, Arc<Recorder>), Error> {
        let folder = tempfile::tempdir().expect("a folder");
        copy(self.folder.path(), folder.path());
        fs::write(folder.path().join("log").join(self.segment.file_name().expect("a name")), bytes).expect("written");
        open_with(folder.path(), options())
    }

    fn recovered(&self, bytes: &[u8]) -> (u64, bool) {
        let (store, _) = self.open_with(bytes).expect("a torn end is no damage");
        let (one, other) = (load(&store, "s").version, load(&store, "t").version);
        assert_eq!(one, other, "a commit is there whole or not at all");
        let row = store.get(Table::User, b"u", 0).expect("readable").map(|row| row.to_vec());
        assert_eq!(row, Some(one.to_string().into_bytes()));
        (one, store.recovery().torn.is_some())
    }
}

#[test]
fn a_log_torn_at_any_byte_of_its_last_group_loses_that_group_and_nothing_else() {
    let log = crashed();
    let (start, end) = *log.groups.last().expect("five");
    assert_eq!(log.recovered(&log.bytes), (5, false));
    for cut in start..end {
        let mut torn = log.bytes.clone();
        torn[cut..].fill(0);
        let whole = torn == log.bytes;
        assert_eq!(log.recovered(&torn), (if whole { 5 } else { 4 }, !whole && cut > start), "zeros from byte {cut}");
    }
}

#[test]
fn a_log_that_ends_or_is_garbage_from_any_byte_of_its_last_group_loses_only_that() {
    let log = crashed();
    let (start, end) = *log.groups.last().expect("five");
    for cut in (start..end).step_by(3).chain([end - 1]) {
        let (version, _) = log.recovered(&log.bytes[..cut]);
        assert_eq!(version, 4, "the file ends at byte {cut}");
        let mut torn = log.bytes.clone();
        torn[cut..].fill(0xA5);
        assert_eq!(log.recovered(&torn), (4, true), "garbage from byte {cut}");
    }
    assert_eq!(log.recovered(&log.bytes[..end]), (5, false), "a file that ends behind the last group is whole");
}

#[test]
fn a_group_of_which_only_a_later_part_was_written_is_dropped() {
    let log = crashed();
    let (start, end) = *log.groups.last().expect("five");
    for hole in (start..end).step_by(8) {
        let mut torn = log.bytes.clone();
        torn[hole..hole + 8].fill(0);
        let whole = torn == log.bytes;
        assert_eq!(log.recovered(&torn).0, if whole { 5 } else { 4 }, "a hole at byte {hole}");
    }
}

#[test]
fn a_whole_older_group_behind_a_torn_one_is_never_read_as_new() {
    let log = crashed();
    let (start, end) = *log.groups.last().expect("five");
    let (older_start, older_end) = log.groups[3];
    // At the same place, as if the disk had kept what was there, and behind it.
    for place in [start, end] {
        let mut torn = log.bytes.clone();
        torn[start..end].fill(0);
        torn[start] = 1;
        let older = &log.bytes[older_start..older_end];
        torn[place..place + older.len()].copy_from_slice(older);
        assert_eq!(log.recovered(&torn), (4, true));
    }
}

#[test]
fn a_changed_byte_in_any_group_is_put_right_and_told() {
    let log = crashed();
    for (number, (start, end)) in log.groups.iter().enumerate() {
        for at in (*start..*end).step_by(if number == 4 { 1 } else { 3 }) {
            let mut damaged = log.bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            if number == 4 && damaged[at & !7..][..8] == [0; 8] {
                // As if it had never been written.
                assert_eq!(log.recovered(&damaged), (4, true), "byte {at}");
                continue;
            }
            let (store, _) = log.open_with(&damaged).expect("what it was is known");
            assert_eq!((load(&store, "s").version, load(&store, "t").version), (5, 5), "byte {at}");
            let recovery = store.recovery();
            let told = recovery.put_right.first().map_or("", String::as_str);
            if damaged[at & !7..][..8] == [0; 8] {
                // As if it had never been written, though it was: the group is lost, and who was in it is refused.
                continue;
            }
            assert!(told.contains(".log") && told.contains(&format!("byte {at}")), "byte {at}: {recovery:?}");
        }
    }
    for header in [20, 4096 + 20] {
        let mut damaged = log.bytes.clone();
        damaged[header] ^= 1;
        assert_eq!(log.recovered(&damaged), (5, false), "one of the segment's headers");
    }
}

/// What nobody can name stops the start: here, all of a segment whose headers are lost.
fn unnameable(log: &Crashed) -> Vec<u8> {
    let mut damaged = log.bytes.clone();
    damaged[20] ^= 1;
    damaged[4096 + 20] ^= 1;
    damaged
}

#[test]
fn a_refused_start_changes_nothing_that_a_repair_needs() {
    let log = crashed();
    let folder = tempfile::tempdir().expect("a folder");
    copy(log.folder.path(), folder.path());
    let segment = folder.path().join("log").join(log.segment.file_name().expect("a name"));
    let damaged = unnameable(&log);
    fs::write(&segment, &damaged).expect("written");
    for _ in 0..3 {
        let error = open_with(folder.path(), options()).map(drop).expect_err("durable commits are missing");
        assert!(matches!(error, Error::Damaged { .. }));
        assert!(error.to_string().contains(".log"), "names the file: {error}");
        assert!(fs::read(&segment).expect("readable") == damaged);
    }
    fs::write(&segment, &log.bytes).expect("written");
    assert_eq!(load(&open(folder.path()).0, "s").version, 5);
}

/// Writes so that segments are filled, covered and used again, and looks at what a crash after each batch would leave.
#[test]
fn used_again_segments_never_show_what_they_held_before() {
    let live = tempfile::tempdir().expect("a folder");
    let options = || Options { flush_bytes: 4 << 10, ..options() };
    let store = open_with(live.path(), options()).expect("opens");
    commit(&store, 1, vec![create("s", 1)]);
    let (mut version, mut copies) = (1, 0);
    for round in 0..60 {
        for _ in 0..20 {
            version += 1;
            assert_eq!(commit(&store, version, vec![delta("s", 1, version)]), Outcome::Committed);
        }
        if round % 3 != 0 {
            continue;
        }
        let after = tempfile::tempdir().expect("a folder");
        // The index thread may be at work: what it has is one moment, what the log has another, later one.
        let Some(()) = quiet_copy(live.path(), after.path()) else { continue };
        let (found, _) = open_with(after.path(), options()).expect("opens");
        assert_eq!(load(&found, "s").version, version);
        assert_eq!(found.recovery().torn, None);
        copies += 1;
    }
    assert!(copies > 3, "{copies} copies of one moment");
    assert!(logs(live.path(), "log").iter().all(|path| !path.ends_with("0000000000000001.log")), "they rolled over");
}

/// Copies a store that is at work, as of one moment: `None` when the index was written meanwhile.
fn quiet_copy(from: &Path, to: &Path) -> Option<()> {
    let index = fs::read(from.join("index.redb")).ok()?;
    let names = || (logs(from, "log"), logs(from, "spare"));
    let before = names();
    fs::create_dir_all(to.join("log")).ok()?;
    for path in before.0.iter().chain(&before.1).chain([&from.join("store")]) {
        fs::copy(path, to.join(path.strip_prefix(from).ok()?)).ok()?;
    }
    fs::write(to.join("index.redb"), &index).ok()?;
    (before == names() && index == fs::read(from.join("index.redb")).ok()?).then_some(())
}

#[test]
fn a_crash_after_any_number_of_opens_keeps_every_completed_commit() {
    let mut folder = tempfile::tempdir().expect("a folder");
    let (mut version, mut epoch) = (1, 0);
    for round in 0..15 {
        let store = open(folder.path());
        assert!(store.0.epoch() > epoch);
        epoch = store.0.epoch();
        if round == 0 {
            commit(&store, 1, vec![create("s", 1)]);
        }
        assert_eq!(load(&store.0, "s").version, version);
        for _ in 0..round {
            version += 1;
            assert_eq!(commit(&store, version, vec![delta("s", 1, version)]), Outcome::Committed);
        }
        let crashed = tempfile::tempdir().expect("a folder");
        copy(folder.path(), crashed.path());
        folder = crashed;
    }
    assert_eq!(version, 1 + 14 * 15 / 2);
}

#[test]
fn a_commit_larger_than_a_segment_is_kept() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path());
    let document = vec![b'7'; 100 << 10];
    let large =
        Write::Create { session: "s".into(), epoch: 1, meta: "m".into(), document: document.clone().into(), op: None };
    commit(&store, 1, vec![create("t", 1)]);
    commit(&store, 2, vec![large]);
    commit(&store, 3, vec![delta("s", 1, 2)]);
    let after = tempfile::tempdir().expect("a folder");
    copy(folder.path(), after.path());
    let (found, _) = open(after.path());
    let session = found.load("s").expect("readable").expect("there");
    assert_eq!((session.version, session.document.len()), (2, document.len()));
    assert!(found.load("t").expect("readable").is_some());
}

#[test]
fn a_folder_in_use_is_locked_and_free_after_close() {
    let folder = tempfile::tempdir().expect("a folder");
    let (store, _) = open(folder.path());
    assert!(matches!(open_with(folder.path(), options()).map(drop), Err(Error::Locked { .. })));
    store.close().expect("nothing failed");
    open(folder.path());
}

#[cfg(unix)]
#[test]
fn only_the_owner_may_read_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let store = open(&data);
    commit(&store, 1, vec![create("s", 1)]);
    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!((mode(&data), mode(&data.join("log"))), (0o700, 0o700));
    for name in ["store", "lock", "index.redb"] {
        assert_eq!(mode(&data.join(name)), 0o600, "{name}");
    }
    assert!(logs(&data, "log").iter().all(|path| mode(path) == 0o600));
}

#[test]
fn a_format_of_another_program_is_named_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    drop(open(folder.path()));
    let path = folder.path().join("store");
    let mut bytes = fs::read(&path).expect("readable");
    bytes[8] = 99;
    let sum = crc32c::crc32c(&bytes[..20]);
    bytes[20..].copy_from_slice(&sum.to_le_bytes());
    fs::write(&path, &bytes).expect("written");
    assert!(matches!(open_with(folder.path(), options()).map(drop), Err(Error::Format { found: 99, known: 3 })));
    assert!(fs::read(&path).expect("readable") == bytes);
    bytes[9] ^= 1;
    fs::write(&path, &bytes).expect("written");
    assert!(matches!(open_with(folder.path(), options()).map(drop), Err(Error::Damaged { .. })));
}

#[test]
fn a_missing_file_is_damage_and_never_a_fresh_start() {
    let log = crashed();
    let without = |name: &str| {
        let folder = tempfile::tempdir().expect("a folder");
        copy(log.folder.path(), folder.path());
        fs::remove_file(folder.path().join(name)).expect("removed");
        open_with(folder.path(), options()).map(drop)
    };
    assert!(matches!(without("store"), Err(Error::Damaged { .. })));
    assert!(matches!(without("index.redb"), Err(Error::Damaged { .. })));
}

#[test]
fn a_missing_segment_between_others_is_damage() {
    let live = tempfile::tempdir().expect("a folder");
    let store = open(live.path());
    commit(&store, 1, vec![create("s", 1)]);
    for version in 2..800 {
        commit(&store, version, vec![delta("s", 1, version)]);
    }
    let segments = logs(live.path(), "log");
    assert!(segments.len() >= 3, "{}", segments.len());
    for missing in &segments[..segments.len() - 1] {
        let after = tempfile::tempdir().expect("a folder");
        copy(live.path(), after.path());
        fs::remove_file(after.path().join("log").join(missing.file_name().expect("a name"))).expect("removed");
        assert!(matches!(open_with(after.path(), options()).map(drop), Err(Error::Damaged { .. })), "{missing:?}");
    }
}

#[test]
fn damage_in_one_sessions_rows_is_that_sessions_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path());
    let made = |name: &str, document: &str| Write::Create {
        session: name.into(),
        epoch: 1,
        meta: "m".into(),
        document: document.to_owned().into(),
        op: None,
    };
    commit(&store, 1, vec![made("good", "GOOD-DOCUMENT"), made("bad", "BAD-DOCUMENT"), delta("bad", 1, 2)]);
    store.0.close().expect("nothing failed");
    drop(store);
    let path = folder.path().join("index.redb");
    let mut bytes = fs::read(&path).expect("readable");
    let places: Vec<_> =
        bytes.windows(12).enumerate().filter(|(_, window)| window == b"BAD-DOCUMENT").map(|(at, _)| at).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at] = b'X';
    }
    fs::write(&path, bytes).expect("written");

    let store = open(folder.path());
    let error = store.0.load("bad").expect_err("the checksum does not match");
    assert!(matches!(error, Error::Damaged { .. }));
    assert!(error.to_string().contains("bad"), "names the session: {error}");
    assert_eq!(load(&store.0, "good").document, "GOOD-DOCUMENT");
    assert_eq!(commit(&store, 2, vec![delta("good", 1, 2)]), Outcome::Committed);
    assert_eq!(commit(&store, 3, vec![made("bad", "{}")]), Outcome::Exists);
    assert_eq!(commit(&store, 4, vec![Write::DeleteSession { session: "bad".into(), epoch: 1 }]), Outcome::Committed);
    assert_eq!(commit(&store, 5, vec![made("bad", "{}")]), Outcome::Committed);
    drop(store);
    let store = open(folder.path());
    assert_eq!(load(&store.0, "bad").document, "{}");
    assert_eq!(load(&store.0, "good").version, 2);
}

#[test]
fn writes_that_meet_damage_in_the_index_are_kept_aside_and_the_rest_goes_on() {
    let (live, folder) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let store = open(live.path());
    let counter = 0x7766_5544_3322_1100_u64;
    let by = |counter| suite::op("u", 1, counter);
    commit(&store, 1, vec![create("bad", 1), suite::delta_by("bad", 1, 2, by(counter)), create("good", 1)]);
    drop(store);
    // The log has one more of each.
    let store = open(live.path());
    let next = suite::delta_by("bad", 2, 3, by(counter + 1));
    assert_eq!(commit(&store, 2, vec![next, delta("good", 2, 2)]), Outcome::Committed);
    copy(live.path(), folder.path());
    // The incarnation's row: its high-water mark as LEB128.
    let mut mark = Vec::new();
    let mut left = counter;
    while left >= 0x80 {
        mark.push(left as u8 | 0x80);
        left >>= 7;
    }
    let path = folder.path().join("index.redb");
    let mut bytes = fs::read(&path).expect("readable");
    let places: Vec<_> =
        bytes.windows(mark.len()).enumerate().filter(|(_, window)| *window == mark).map(|(at, _)| at).collect();
    assert!(!places.is_empty());
    for at in places {
        bytes[at] ^= 1;
    }
    fs::write(&path, bytes).expect("written");

    let store = open(folder.path());
    assert!(matches!(store.0.load("bad"), Err(Error::Damaged { .. })));
    assert_eq!(load(&store.0, "good").version, 2);
    assert_eq!(commit(&store, 2, vec![delta("bad", 3, 4)]), Outcome::Fenced, "nothing is built on it");
    assert_eq!(commit(&store, 3, vec![Write::DeleteSession { session: "bad".into(), epoch: 3 }]), Outcome::Committed);
    assert_eq!(commit(&store, 4, vec![create("bad", 3)]), Outcome::Committed);
    drop(store);
    assert_eq!(load(&open(folder.path()).0, "bad").version, 1);
}

/// What happened, and which operation fails from which time on.
type Seen = (Vec<Operation>, Option<(Operation, usize)>);

/// Lets `Operation`s of one kind fail from the n-th on, and counts them.
#[derive(Default)]
struct Broken {
    state: Mutex<Seen>,
}

impl Broken {
    fn from(operation: Operation, nth: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new((Vec::new(), Some((operation, nth)))) })
    }

    fn count(&self, operation: Operation) -> usize {
        let state = self.state.lock().expect("not poisoned");
        state.0.iter().filter(|seen| std::mem::discriminant(*seen) == std::mem::discriminant(&operation)).count()
    }
}

impl Faults for Broken {
    fn before(&self, operation: Operation) -> Option<Fault> {
        let mut state = self.state.lock().expect("not poisoned");
        state.0.push(operation);
        let (broken, nth) = state.1?;
        let kind = std::mem::discriminant(&broken);
        let seen = state.0.iter().filter(|seen| std::mem::discriminant(*seen) == kind).count();
        if std::mem::discriminant(&operation) != kind || seen < nth {
            return None;
        }
        let error = std::io::Error::from_raw_os_error(28);
        Some(match broken {
            // Half of it reaches the disk, as when that is full.
            Operation::LogWrite(_) => Fault::Short(60, error),
            _ => Fault::Fails(error),
        })
    }
}

fn poisoned_by(operation: Operation, flush_bytes: usize) {
    let folder = tempfile::tempdir().expect("a folder");
    let faults = Broken::from(operation, 3);
    let store =
        open_with(folder.path(), Options { faults: Some(faults.clone()), flush_bytes, ..options() }).expect("opens");
    // Until the fault strikes, each commit is completed before the next is made.
    let mut version = 0;
    while store.1.poisoned().is_empty() {
        version += 1;
        let write = if version == 1 { create("s", 1) } else { delta("s", 1, version) };
        store.0.submit(Commit { ticket: version, writes: vec![write] });
        while store.1.outcome(version).is_none() && store.1.poisoned().is_empty() {
            std::thread::yield_now();
        }
    }
    let completed = store.1.order().len() as u64;
    let told = store.1.wait_for_poison(1);
    assert!(told[0].contains("No space left"), "{told:?}");

    // Nothing is tried again, whatever is submitted; each later submit is refused aloud.
    let tries = faults.count(operation);
    assert_eq!(tries, 3, "the third failed, and there was no fourth");
    let syncs = faults.count(Operation::LogSync);
    store.0.submit(Commit { ticket: 1 << 40, writes: vec![create("late", 1)] });
    let told = store.1.wait_for_poison(2);
    assert!(told[1].contains("after an earlier failure"), "{told:?}");
    assert_eq!((faults.count(operation), faults.count(Operation::LogSync)), (tries, syncs));
    assert_eq!(store.1.outcome(1 << 40), None);
    // What was completed can still be read, and nothing else.
    assert_eq!(load(&store.0, "s").version, completed);
    assert!(store.0.close().is_err());
    drop(store);

    let (store, _) = open(folder.path());
    let found = load(&store, "s").version;
    // The one that was on its way may be there or not; it was never called durable.
    assert!(found == completed || found == completed + 1, "{found} after {completed}");
    assert_eq!(store.load("late").expect("readable"), None);
}

#[test]
fn a_failed_sync_poisons_and_is_never_tried_again() {
    poisoned_by(Operation::LogSync, 1 << 20);
}

#[test]
fn a_full_disk_in_the_middle_of_a_group_poisons_and_leaves_a_torn_end() {
    poisoned_by(Operation::LogWrite(0), 1 << 20);
}

#[test]
fn a_segment_that_cannot_be_begun_poisons() {
    poisoned_by(Operation::Roll, 1 << 20);
}

#[test]
fn an_index_that_cannot_be_written_poisons_and_the_log_still_has_everything() {
    poisoned_by(Operation::IndexCommit, 2 << 10);
}

#[test]
fn memory_is_bounded_while_the_index_is_behind() {
    struct Slow;
    impl Faults for Slow {
        fn before(&self, operation: Operation) -> Option<Fault> {
            if operation == Operation::IndexCommit {
                std::thread::sleep(Duration::from_millis(20));
            }
            None
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options {
        faults: Some(Arc::new(Slow)),
        flush_bytes: 16 << 10,
        backlog_bytes: 64 << 10,
        segment_bytes: 1 << 20,
        ..options()
    };
    let (store, sink) = open_with(folder.path(), options).expect("opens");
    store.submit(Commit { ticket: 1, writes: vec![create("s", 1)] });
    let mut most = 0;
    for version in 2..3000 {
        let change = vec![b'x'; 1 << 10].into();
        let write = Write::Delta { session: "s".into(), epoch: 1, version, change, op: None };
        store.submit(Commit { ticket: version, writes: vec![write] });
        if version % 50 == 0 {
            sink.wait(version);
            most = most.max(store.stats().log_backlog);
        }
    }
    sink.wait(2999);
    assert!(store.stats().log_bytes > 2 << 20, "{:?}", store.stats());
    // What the writer may have, and one batch of the test more.
    assert!(most < 128 << 10, "{most}");
    assert_eq!(store.load("s").expect("readable").expect("there").version, 2999);
}
