//! The end of the log is torn or overwritten while the server is down: behind the last group, where the next one would
//! have gone, nothing that was told may be lost. What is torn off the last group looks as if it had never been written
//! (`storage/DESIGN.md`, "not promised"): that group is lost alone, whole. One changed byte is put right, and
//! nothing is lost.
//!
//! `SYNCBRIDGE_TORTURE_TAILS` sets how often each is done (1 when it is not set).

use std::{
    fs::File,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use crate::{
    points::folder,
    rounds::{Crew, Tally},
    support::{seed, until},
    truth::Clock,
};

/// What is done to the newest segment, of which so many bytes are in use.
type Damage = fn(&File, u64);

const BEHIND: [(&str, Damage); 5] = [
    ("garbage behind the last group", |file, end| {
        let garbage: Vec<u8> = (0..fastrand::usize(1..4_000)).map(|_| fastrand::u8(..)).collect();
        write_inside(file, &garbage, end);
    }),
    ("ones behind the last group", |file, end| write_inside(file, &[0xFF; 600], end)),
    ("an older group behind the last", |file, end| {
        let mut group = vec![0; usize::try_from(end).expect("small").saturating_sub(GROUPS).min(700)];
        file.read_exact_at(&mut group, GROUPS as u64).expect("readable");
        write_inside(file, &group, end);
    }),
    ("the segment cut behind the last group", |file, end| file.set_len(end).expect("cut")),
    ("the segment longer than it was", |file, _| {
        let length = file.metadata().expect("there").len();
        file.write_all_at(&[0xA5; 5_000], length).expect("written");
    }),
];

const CHANGED: &str = "one byte of the last group changed";

const INSIDE: [(&str, Damage); 3] = [
    ("the segment cut in the last group", |file, end| file.set_len(end - fastrand::u64(1..40)).expect("cut")),
    ("zeros over the end of the last group", |file, end| {
        let bytes = fastrand::usize(1..40);
        file.write_all_at(&vec![0; bytes], end - bytes as u64).expect("written");
    }),
    (CHANGED, |file, end| {
        let (at, mut byte) = (end - fastrand::u64(1..20), [0]);
        file.read_exact_at(&mut byte, at).expect("readable");
        file.write_all_at(&[byte[0] ^ fastrand::u8(1..)], at).expect("written");
    }),
];

/// No longer than the file is.
fn write_inside(file: &File, bytes: &[u8], at: u64) {
    let room = file.metadata().expect("there").len().saturating_sub(at);
    let count = bytes.len().min(usize::try_from(room).expect("small"));
    file.write_all_at(&bytes[..count], at).expect("written");
}

/// Where groups begin in a segment, and the bytes of a group's header (`storage/DESIGN.md`, "Files").
const GROUPS: usize = 8192;
const HEADER: usize = 40;

/// The newest segment, and where the last group in it ends, its zeros to a multiple of 8 among it.
fn newest(data: &Path) -> (PathBuf, u64) {
    let entries =
        std::fs::read_dir(data.join("store/log")).expect("there").map(|entry| entry.expect("readable").path());
    let path = entries.filter(|path| path.extension().is_some_and(|found| found == "log")).max().expect("a segment");
    let bytes = std::fs::read(&path).expect("readable");
    // What the last byte is tells nothing: a payload may end with zeros, and the next header is zeros.
    let (mut end, mut before) = (GROUPS, 0);
    while let Some((length, seq)) = bytes.get(end..end + HEADER).and_then(group) {
        if before != 0 && seq != before + 1 {
            break;
        }
        (end, before) = (end + HEADER + length.next_multiple_of(8), seq);
    }
    (path, end as u64)
}

/// The length of the payload and the number of the group whose header this is.
fn group(header: &[u8]) -> Option<(usize, u64)> {
    let number = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().expect("four bytes"));
    let seq = u64::from_le_bytes(header[8..16].try_into().expect("eight bytes"));
    (number(0) == 0x5342_4752).then(|| (number(4) as usize, seq))
}

fn times() -> usize {
    std::env::var("SYNCBRIDGE_TORTURE_TAILS").map_or(1, |times| times.parse().expect("a number"))
}

#[tokio::test]
async fn what_stands_where_the_next_group_would_have_gone_is_never_read() {
    fastrand::seed(seed());
    for (name, damage) in BEHIND {
        let (_folder, setup, token) = folder();
        let (mut tally, mut crew) = (Tally::default(), Crew::new(Clock::default()));
        for round in 0..=times() {
            let server = setup.start();
            let mut stage = crew.take_stage((round == 0).then_some("tail"), &server, &token, &mut tally).await;
            crew.load(&mut stage);
            stage.answered(fastrand::u64(50..500)).await;
            server.kill();
            crew.end(stage).await;
            let (path, end) = newest(&setup.data);
            damage(&File::options().read(true).write(true).open(path).expect("opens"), end);
        }
        crew.finish(&setup, &token, &mut tally).await;
        println!("{name}: {tally}");
    }
}

#[tokio::test]
async fn a_last_group_that_is_torn_later_is_lost_alone_or_refused_by_name() {
    fastrand::seed(seed());
    for (name, damage) in INSIDE {
        let (mut tally, mut refused) = (Tally::default(), 0);
        for _ in 0..times() {
            let (_folder, mut setup, token) = folder();
            // The index is written at starts only, so the log is all that there is of the last group.
            setup.environment = vec![("TORTURE_SIZES".into(), "1048576,67108864,3600000".into())];
            let mut crew = Crew::new(Clock::default());
            let server = setup.start();
            let mut stage = crew.begin("last", &server, &token, &mut tally).await;
            let sessions = newest(&setup.data);
            crew.load(&mut stage);
            stage.answered(fastrand::u64(50..500)).await;
            // The group that is lost must be one of updates: without their sessions nothing could be compared.
            until("a group behind that of the sessions", async || newest(&setup.data) > sessions).await;
            server.kill();
            crew.end(stage).await;
            let (path, end) = newest(&setup.data);
            damage(&File::options().read(true).write(true).open(&path).expect("opens"), end);
            let status = setup.start_briefly();
            if name == CHANGED {
                assert_eq!(status, None, "one changed byte is put right: {}", setup.log());
            } else {
                // The disk took back what it had confirmed: of that, nothing can be promised but that it is seen.
                crew.forgives();
            }
            if let Some(status) = status {
                refused += 1;
                assert_eq!(status.code(), Some(1));
                let file = path.file_name().expect("a name").to_str().expect("text");
                assert!(setup.log().contains(file), "the start was refused without naming {file}: {}", setup.log());
                setup.run(&["storage", "repair"]);
            }
            crew.finish(&setup, &token, &mut tally).await;
        }
        println!(
            "{name}: {refused} starts refused by name, and repaired; {tally} (what was in that group not counted)"
        );
    }
}
