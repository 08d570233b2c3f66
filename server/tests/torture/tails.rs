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
    support::seed,
    truth::Clock,
};

/// What is done to the newest segment, of which so many bytes are in use.
type Damage = fn(&File, u64);

const BEHIND: [(&str, Damage); 5] = [
    ("garbage behind the last group", |file, end| {
        let garbage: Vec<u8> = (0..fastrand::usize(1..4_000)).map(|_| fastrand::u8(..)).collect();
        write_inside(file, &garbage, end.next_multiple_of(8));
    }),
    ("ones behind the last group", |file, end| write_inside(file, &[0xFF; 600], end.next_multiple_of(8))),
    ("an older group behind the last", |file, end| {
        let mut group = vec![0; usize::try_from(end - 4096).expect("small").min(700)];
        file.read_exact_at(&mut group, 4096).expect("readable");
        write_inside(file, &group, end.next_multiple_of(8));
    }),
    ("the segment cut behind the last group", |file, end| file.set_len(end.next_multiple_of(8)).expect("cut")),
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

/// The newest segment, and where its last byte that is not zero ends.
fn newest(data: &Path) -> (PathBuf, u64) {
    let entries =
        std::fs::read_dir(data.join("store/log")).expect("there").map(|entry| entry.expect("readable").path());
    let path = entries.filter(|path| path.extension().is_some_and(|found| found == "log")).max().expect("a segment");
    let bytes = std::fs::read(&path).expect("readable");
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1);
    (path, end)
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
            let mut stage = if round == 0 {
                crew.begin("tail", &server, &token, &mut tally).await
            } else {
                crew.go_on(&server, &token, &mut tally).await
            };
            crew.load(&mut stage);
            stage.answered(fastrand::u64(50..500)).await;
            server.kill();
            crew.end(stage).await;
            let (path, end) = newest(&setup.data);
            damage(&File::options().read(true).write(true).open(path).expect("opens"), end.max(4096));
        }
        let server = setup.start();
        let stage = crew.go_on(&server, &token, &mut tally).await;
        server.kill();
        crew.end(stage).await;
        crew.rest(&mut tally);
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
            crew.load(&mut stage);
            stage.answered(fastrand::u64(50..500)).await;
            server.kill();
            crew.end(stage).await;
            let (path, end) = newest(&setup.data);
            assert!(end > 4096, "the sessions are in it");
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
            let server = setup.start();
            let stage = crew.go_on(&server, &token, &mut tally).await;
            server.kill();
            crew.end(stage).await;
            crew.rest(&mut tally);
        }
        println!(
            "{name}: {refused} starts refused by name, and repaired; {tally} (what was in that group not counted)"
        );
    }
}
