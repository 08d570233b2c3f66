//! The power goes, over and over: what a server does to its folder is recorded once, and every moment of that record is
//! one at which the power may have gone. For each that is drawn, a folder is built as the disk could hold it, a server is
//! started on it, and what it has is held against what clients had been told by that moment.
//!
//! `SYNCBRIDGE_TORTURE_LOSSES` sets how many (16 when it is not set); `SYNCBRIDGE_TORTURE_SEED` replays the draws.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use fastrand::Rng;

use crate::{
    disk::{Disk, Kept},
    points::with,
    rounds::{Crew, Tally, look},
    shim::{Record, Shim},
    support::{
        seed,
        server::Setup,
        wire::{Via, Wire, hello},
    },
    truth::Clock,
};

/// Losses that one record is good for; the next record begins on what one of them left.
const LOSSES_A_RECORD: usize = 16;
/// Segments of 64 KiB, flushes of 32 KiB or 30 ms: the log rolls over and the index is written all the time.
const SMALL: (&str, &str) = ("TORTURE_SIZES", "65536,32768,30");

/// A server in `folder` with small segments.
pub fn small(folder: &Path) -> Setup {
    let mut setup = Setup::new(&folder.join("data"));
    setup.environment = vec![(SMALL.0.into(), SMALL.1.into())];
    setup
}

/// What was done to a folder, and what clients heard meanwhile.
struct Recorded {
    before: Disk,
    records: Vec<Record>,
    crew: Crew,
    /// Sessions of earlier records, as they must be.
    settled: BTreeMap<String, Vec<String>>,
    /// Where clients knew of the new epoch, and which it was.
    epoch: (u64, u64),
    /// Where the load began: the sessions were durable.
    loaded: u64,
}

/// A moment, and what the disk made of it.
#[derive(Debug, Clone, Copy)]
struct Loss {
    position: usize,
    kept: Kept,
    seed: u64,
}

async fn record(
    name: &str,
    folder: &Path,
    settled: BTreeMap<String, Vec<String>>,
    token: &str,
    rng: &mut Rng,
) -> Recorded {
    let own = tempfile::tempdir().expect("a folder");
    let shim = Arc::new(Shim::new(own.path(), &folder.join("data")));
    let before = Disk::of(&folder.join("data"));
    let setup = with(&small(folder), shim.environment(true));
    // Slow syncs, so that there is time between a write and its sync for something to be said too early.
    shim.slow_syncs([0, 500, 3_000][rng.usize(..3)]);
    let server = setup.start();
    let mut crew = Crew::new(Clock(Some(Arc::clone(&shim))));
    let mut stage = crew.begin(name, &server, token, &mut Tally::default()).await;
    let loaded = shim.position();
    crew.load(&mut stage);
    stage.answered(rng.u64(300..1_500)).await;
    let epoch = (loaded, stage.epoch);
    shim.freeze().await;
    server.kill();
    crew.end(stage).await;
    let records = shim.records();
    let mut disk = before.clone();
    for record in &records {
        disk.step(record);
    }
    disk.compare(&folder.join("data"));
    Recorded { before, records, crew, settled, epoch, loaded }
}

impl Recorded {
    /// One in four before anybody wrote: while the server starts, so that recovery loses power as well. Half of all near a
    /// change of names, of which there are few.
    fn draw(&self, rng: &mut Rng) -> Loss {
        let loaded = usize::try_from(self.loaded).expect("in memory");
        let range = if rng.u8(..4) == 0 { 0..=loaded } else { loaded..=self.records.len() };
        let names: Vec<usize> =
            range.clone().filter(|at| self.records.get(*at).is_some_and(Record::is_of_names)).collect();
        let position = match names.len() {
            some @ 1.. if rng.bool() => (names[rng.usize(..some)] + rng.usize(..6)).min(*range.end()),
            _ => rng.usize(range),
        };
        Loss { position, kept: Kept::ALL[rng.usize(..Kept::ALL.len())], seed: rng.u64(..) }
    }

    fn build(&self, loss: Loss, folder: &Path) {
        let mut disk = self.before.clone();
        for record in &self.records[..loss.position] {
            disk.step(record);
        }
        disk.build(loss.kept, &mut Rng::with_seed(loss.seed), &folder.join("data"));
    }

    /// Starts a server on what is left; what settled sessions there are now.
    async fn check(&self, loss: Loss, token: &str, tally: &mut Tally) -> BTreeMap<String, Vec<String>> {
        let folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
        self.build(loss, folder.path());
        let setup = small(folder.path());
        let server = setup.start();
        let (mut control, welcome) =
            Wire::greeted(Via::WebSocket, server.clients, hello(token, "looks", 8, Vec::new())).await;
        let position = loss.position as u64;
        assert!(position < self.epoch.0 || welcome.epoch > self.epoch.1, "{loss:?}: an epoch came again");
        for (session, log) in &self.settled {
            let (_, _, found) = look(&mut control, session).await.expect("it was durable");
            assert_eq!(found, *log, "{loss:?}: {session} was durable before all this");
        }
        let mut settled = self.settled.clone();
        if position < self.loaded {
            return settled;
        }
        let mut crew = self.crew.until(position);
        let ids: Vec<String> = crew.truths.lock().expect("not poisoned").iter().map(|truth| truth.id.clone()).collect();
        for id in ids {
            let (_, _, log) = look(&mut control, &id).await.expect("it was made durably");
            settled.insert(id, log);
        }
        let stage = crew.go_on(&server, token, tally).await;
        server.kill();
        crew.end(stage).await;
        crew.rest(tally);
        settled
    }
}

#[tokio::test]
async fn what_was_called_durable_survives_every_loss_of_power() {
    let losses = std::env::var("SYNCBRIDGE_TORTURE_LOSSES").map_or(16, |losses| losses.parse().expect("a number"));
    let mut rng = Rng::with_seed(seed());
    fastrand::seed(rng.u64(..));
    let mut folder = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
    let token = small(folder.path()).token("ann", &["--ttl", "2000000"]);
    let mut tally = Tally::default();
    let mut settled = BTreeMap::new();
    let (mut done, mut starting, mut records) = (0, 0, 0);
    while done < losses {
        let recorded = record(&format!("p{done}"), folder.path(), settled, &token, &mut rng).await;
        records += recorded.records.len();
        let mut next = (BTreeMap::new(), None);
        for _ in 0..LOSSES_A_RECORD.min(losses - done) {
            let loss = recorded.draw(&mut rng);
            println!("{loss:?} of {}", recorded.records.len());
            next = (recorded.check(loss, &token, &mut tally).await, Some(loss));
            starting += usize::from((loss.position as u64) < recorded.loaded);
            done += 1;
        }
        let left = tempfile::tempdir_in("/dev/shm").expect("a folder in memory");
        recorded.build(next.1.expect("at least one"), left.path());
        (settled, folder) = (next.0, left);
    }
    println!("power lost: losses={done} ({starting} while a server started) of {records} recorded operations {tally}");
    assert!(losses < 40 || tally.lost > 0, "no loss of power lost anything that was accepted");
}
