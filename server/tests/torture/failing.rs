//! The disk fails under the load: a write, a sync or a rename of the log or of the index ends with EIO or ENOSPC, at once
//! or after half of the bytes; or a write only takes half of what it is given. Then a disk that is really full.
//!
//! `SYNCBRIDGE_TORTURE_FAILURES` sets how often each case is tried (when it is not set: once, with one of the two errors).

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use fastrand::Rng;
use rustix::io::Errno;

use crate::{
    disk::{Disk, Kept},
    points::{folder, with},
    power::small,
    rounds::{Crew, ENOUGH, Stage, Tally, look},
    shim::{Fault, INDEX, LOG, NAMES, Record, SYNCS, Shim, WRITES},
    support::{
        http::{get, metric},
        seed,
        server::Server,
        until,
        wire::{Via, Wire, hello},
    },
    truth::Clock,
};

/// (what fails, of which files, after half of the bytes, its name in the report).
const CASES: [(u64, u64, bool, &str); 7] = [
    (WRITES, LOG, false, "write of the log"),
    (WRITES, LOG, true, "write of the log, half done"),
    (SYNCS, LOG, false, "sync of the log"),
    (NAMES, LOG, false, "rename in the log"),
    (WRITES, INDEX, false, "write of the index"),
    (WRITES, INDEX, true, "write of the index, half done"),
    (SYNCS, INDEX, false, "sync of the index"),
];

fn times() -> usize {
    std::env::var("SYNCBRIDGE_TORTURE_FAILURES").map_or(1, |times| times.parse().expect("a number"))
}

/// The store failed: the server says so wherever it is asked, refuses updates, and goes on to be read.
async fn fails_aloud(server: &Server, token: &str, crew: &Crew, stage: &Stage) {
    until("the server is not ready", || async { get(server.clients, "/ready").await.0 == 503 }).await;
    assert!(metric(server.admin, "syncbridge_poisoned").await > 0.0);
    let (mut reader, _) = Wire::greeted(Via::Quic, server.clients, hello(token, "reads", 9, Vec::new())).await;
    let known: Vec<(String, u64)> = {
        let truths = crew.truths.lock().expect("not poisoned");
        truths.iter().map(|truth| (truth.id.clone(), truth.durable)).collect()
    };
    for (session, durable) in known {
        let (epoch, version, _) = look(&mut reader, &session).await.expect("reads go on");
        assert!(epoch == stage.epoch && version >= durable, "{session}: {durable} was durable, {version} is read");
    }
}

#[tokio::test]
async fn when_the_disk_fails_nothing_more_is_promised_and_what_was_is_kept() {
    let mut rng = Rng::with_seed(seed());
    fastrand::seed(rng.u64(..));
    for (case, (operations, files, shorten, name)) in CASES.into_iter().enumerate() {
        for (nth, (error, called)) in [(Errno::IO, "EIO"), (Errno::NOSPC, "ENOSPC")].into_iter().enumerate() {
            // The short form takes them in turn.
            if times() == 1 && case % 2 != nth {
                continue;
            }
            let (folder, setup, token) = folder();
            let (mut tally, mut losses) = (Tally::default(), Tally::default());
            let mut crew = Crew::new(Clock::default());
            for round in 0..times() {
                let own = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
                let shim = Arc::new(Shim::new(own.path(), &setup.data));
                let before = Disk::of(&setup.data);
                crew.clock = Clock(Some(Arc::clone(&shim)));
                let server = with(&setup, shim.environment(true)).start();
                let mut stage =
                    crew.take_stage((round % 5 == 0).then(|| format!("f{round}")), &server, &token, &mut tally).await;
                stage.round.may_fail = true;
                crew.load(&mut stage);
                stage.answered(rng.u64(1..300)).await;
                let pass = rng.u64(..if files == LOG && operations != NAMES { 40 } else { 4 });
                let error = error.raw_os_error();
                shim.arm(Fault { operations, files, error, pass, shorten, sticky: true });
                stage.answered(ENOUGH).await;
                assert!(shim.fired() > 0, "{name}: a writer ended, and nothing had failed");
                fails_aloud(&server, &token, &crew, &stage).await;
                shim.freeze().await;
                server.kill();
                crew.end(stage).await;
                // The kernel has what was written. A disk has less when the power goes as well, at some moment since the
                // failure: perhaps nothing of what a sync failed to bring there.
                let records = shim.records();
                let failed =
                    records.iter().position(|record| matches!(record, Record::Failed { .. })).expect("it fired");
                for kept in [Kept::Nothing, Kept::ALL[rng.usize(..Kept::ALL.len())]] {
                    let position = rng.usize(failed..=records.len());
                    let mut disk = before.clone();
                    for record in &records[..position] {
                        disk.step(record);
                    }
                    let lost = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
                    disk.build(kept, &mut rng, &lost.path().join("data"));
                    crew.until(position as u64).finish(&small(lost.path()), &token, &mut losses).await;
                }
            }
            crew.finish(&setup, &token, &mut tally).await;
            println!("{called} at a {name}: {tally}");
            println!("{called} at a {name}, and then the power: {losses}");
            drop(folder);
        }
    }
}

#[tokio::test]
async fn a_write_that_takes_half_is_gone_on_with() {
    fastrand::seed(seed());
    let (folder, setup, token) = folder();
    let shim = Arc::new(Shim::new(folder.path(), &setup.data));
    let setup = with(&setup, shim.environment(false));
    let (mut tally, mut crew) = (Tally::default(), Crew::new(Clock::default()));
    let rounds = 4 * times();
    for round in 0..rounds {
        let server = setup.start();
        let fresh = round % 5 == 0 || crew.has_written_much();
        let mut stage = crew.take_stage(fresh.then(|| format!("h{round}")), &server, &token, &mut tally).await;
        crew.load(&mut stage);
        let files = [LOG, INDEX][round % 2];
        for _ in 0..5 {
            stage.answered(fastrand::u64(1..100)).await;
            let pass = fastrand::u64(..5);
            shim.arm(Fault { operations: WRITES, files, error: 5, pass, shorten: true, sticky: false });
            until("a write was cut", || async { shim.fired() > 0 }).await;
        }
        stage.answered(50).await;
        assert_eq!(get(server.clients, "/ready").await.0, 200, "{}", setup.log());
        server.kill();
        shim.disarm();
        crew.end(stage).await;
    }
    crew.finish(&setup, &token, &mut tally).await;
    println!("writes that take half: {tally}");
}

/// A small file system of its own.
struct Mount(PathBuf);

impl Mount {
    /// Needs the right to mount: as root in a container of one's own, or in CI.
    fn new(at: &Path) -> Self {
        std::fs::create_dir(at).expect("made");
        let made = Command::new("mount").args(["-t", "tmpfs", "-o", "size=3m", "torture"]).arg(at).output();
        let made = made.expect("`mount` runs");
        assert!(made.status.success(), "this test mounts a tmpfs, and so needs root: {made:?}");
        Self(at.to_owned())
    }

    /// Takes all the space that is left.
    fn fill(&self) {
        let balloon = vec![1; 3 << 20];
        let filled = std::fs::write(self.balloon(), balloon);
        assert!(filled.is_err(), "there was more room than the file system has");
    }

    fn empty(&self) {
        std::fs::remove_file(self.balloon()).expect("removed");
    }

    fn balloon(&self) -> PathBuf {
        self.0.join("balloon")
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // What still runs on it is killed before this; a mount that stays would be seen by the folder's removal.
        let _status = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_takes_nothing_that_was_durable_and_a_start_waits_for_room() {
    fastrand::seed(seed());
    let folder = tempfile::tempdir().expect("a folder");
    let setup = small(folder.path());
    // The data folder only: what the server says goes elsewhere.
    let mount = Mount::new(&setup.data);
    let token = setup.token("ann", &["--ttl", "2000000"]);
    let (mut tally, mut crew) = (Tally::default(), Crew::new(Clock::default()));
    let mut refused = 0;
    for round in 0..times() {
        let server = setup.start();
        let mut stage =
            crew.take_stage((round % 3 == 0).then(|| format!("full{round}")), &server, &token, &mut tally).await;
        stage.round.may_fail = true;
        crew.load(&mut stage);
        stage.answered(fastrand::u64(1..300)).await;
        mount.fill();
        stage.answered(ENOUGH).await;
        fails_aloud(&server, &token, &crew, &stage).await;
        server.kill();
        crew.end(stage).await;
        // Without room a start may fail, but only by name.
        let status = setup.start_briefly();
        if let Some(status) = status {
            refused += 1;
            assert_eq!(status.code(), Some(1), "{}", setup.log());
            assert!(setup.log().contains("No space left on device"), "{}", setup.log());
        }
        mount.empty();
    }
    crew.finish(&setup, &token, &mut tally).await;
    println!("disk full: {refused} starts refused while it was; {tally}");
}
