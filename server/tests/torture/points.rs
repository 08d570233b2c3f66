//! The server is killed at chosen points: at each failpoint of the store (`storage/src/engine/embedded/failpoint.rs`), and
//! in the middle of any call that changes the folder, the index's own commit among them.
//!
//! `SYNCBRIDGE_TORTURE_POINTS` sets how often each failpoint is taken (1 when it is not set); calls are eight times that.

use std::{
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::Arc,
};

use rustix::process::Signal;

use crate::{
    power::small,
    rounds::{Crew, ENOUGH, Tally},
    shim::{Fault, INDEX, LOG, NAMES, SYNCS, Shim, WRITES},
    support::{seed, server::Setup},
    truth::Clock,
};

/// Points that a server comes by while it is written to.
const WORKING: [&str; 10] = [
    "log.append",
    "log.half",
    "log.written",
    "log.synced",
    "log.begun",
    "log.named",
    "log.retired",
    "index.flush",
    "index.folded",
    "index.committed",
];

/// Points of a start after a kill.
const STARTING: [&str; 6] =
    ["start.replay", "index.folded", "start.indexed", "start.epoch", "start.retired", "log.begun"];

fn times() -> u64 {
    std::env::var("SYNCBRIDGE_TORTURE_POINTS").map_or(1, |times| times.parse().expect("a number"))
}

/// A folder whose server has small segments, and a token.
pub fn folder() -> (tempfile::TempDir, Setup, String) {
    let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let setup = small(folder.path());
    let token = setup.token("ann", &["--ttl", "2000000"]);
    (folder, setup, token)
}

/// `setup` with more in its environment.
pub fn with(setup: &Setup, more: impl IntoIterator<Item = (String, String)>) -> Setup {
    let mut setup = setup.clone();
    setup.environment.extend(more);
    setup
}

/// The file that says at which point a server ends, and how often it passes it before.
struct Point(PathBuf);

impl Point {
    fn of(folder: &Path) -> Self {
        Self(folder.join("point"))
    }

    fn environment(&self) -> [(String, String); 1] {
        [("TORTURE_POINT".to_owned(), self.0.to_str().expect("text").to_owned())]
    }

    fn set(&self, name: &str, times: u64) {
        // Whole or not at all.
        let draft = self.0.with_extension("new");
        std::fs::write(&draft, format!("{name}:{times}")).expect("written");
        std::fs::rename(&draft, &self.0).expect("renamed");
    }

    fn unset(&self) {
        std::fs::remove_file(&self.0).expect("removed");
    }
}

/// Ended by its own failpoint.
fn aborted(status: ExitStatus) -> bool {
    status.signal() == Some(Signal::ABORT.as_raw())
}

#[tokio::test]
async fn a_server_that_is_killed_at_a_chosen_point_keeps_what_it_called_durable() {
    fastrand::seed(seed());
    for name in WORKING {
        let (folder, setup, token) = folder();
        let point = Point::of(folder.path());
        let setup = with(&setup, point.environment());
        let (mut tally, mut crew) = (Tally::default(), Crew::new(Clock::default()));
        for round in 0..=times() {
            let server = setup.start();
            let mut stage = crew.take_stage((round == 0).then_some(name), &server, &token, &mut tally).await;
            if round == times() {
                server.kill();
                crew.end(stage).await;
                continue;
            }
            crew.load(&mut stage);
            stage.answered(fastrand::u64(1..300)).await;
            point.set(name, if name.starts_with("log.a") { fastrand::u64(1..40) } else { fastrand::u64(1..4) });
            stage.answered(ENOUGH).await;
            let status = server.ended().await;
            assert!(aborted(status), "{name}: {status}: {}", setup.log());
            crew.end(stage).await;
            point.unset();
        }
        crew.rest(&mut tally);
        println!("killed at the point {name}: {tally}");
    }
}

#[tokio::test]
async fn a_server_that_is_killed_at_a_chosen_point_of_its_start_keeps_what_it_called_durable() {
    fastrand::seed(seed());
    let (folder, setup, token) = folder();
    let point = Point::of(folder.path());
    let setup = with(&setup, point.environment());
    let (mut tally, mut crew) = (Tally::default(), Crew::new(Clock::default()));
    let mut killed = 0;
    for round in 0..=times() {
        let server = setup.start();
        let mut stage = crew.take_stage((round == 0).then_some("starting"), &server, &token, &mut tally).await;
        crew.load(&mut stage);
        stage.answered(fastrand::u64(300..1_000)).await;
        server.kill();
        crew.end(stage).await;
        if round == times() {
            break;
        }
        // The first start has the log to replay; each one after it finds what the one before left.
        for name in STARTING {
            point.set(name, 1);
            // A start that has nothing to replay does not come by all of them.
            if let Some(status) = setup.start_briefly() {
                assert!(aborted(status), "{name}: {status}: {}", setup.log());
                killed += 1;
            }
            point.unset();
        }
    }
    crew.finish(&setup, &token, &mut tally).await;
    // The last three are in every start.
    assert!(killed >= 3 * times(), "{killed} of {} starts were killed", times() * STARTING.len() as u64);
    println!("killed at {} points of a start: kills={killed} {tally}", STARTING.len());
}

#[tokio::test]
async fn a_server_that_is_killed_in_any_call_that_changes_a_file_keeps_what_it_called_durable() {
    fastrand::seed(seed());
    let (folder, setup, token) = folder();
    let shim = Arc::new(Shim::new(folder.path(), &setup.data));
    let setup = with(&setup, shim.environment(false));
    let (mut tally, mut crew) = (Tally::default(), Crew::new(Clock::default()));
    let rounds = 8 * times();
    for round in 0..rounds {
        let server = setup.start();
        let mut stage =
            crew.take_stage((round % 5 == 0).then(|| format!("call{round}")), &server, &token, &mut tally).await;
        crew.load(&mut stage);
        stage.answered(fastrand::u64(1..300)).await;
        let (operations, files, most) = [
            (WRITES, INDEX, 60),
            (WRITES, INDEX, 60),
            (WRITES, LOG, 100),
            (SYNCS, INDEX, 6),
            (SYNCS, LOG, 100),
            (NAMES, LOG, 4),
        ][fastrand::usize(..6)];
        let (pass, shorten) = (fastrand::u64(..most), fastrand::bool());
        shim.arm(Fault { operations, files, error: 0, pass, shorten, sticky: true });
        stage.answered(ENOUGH).await;
        let status = server.ended().await;
        assert_eq!(status.signal(), Some(Signal::KILL.as_raw()), "{status}: {}", setup.log());
        shim.disarm();
        crew.end(stage).await;
    }
    crew.finish(&setup, &token, &mut tally).await;
    println!("killed in a call that changes a file: kills={rounds} {tally}");
}
