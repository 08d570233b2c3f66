//! What black-box tests share: the real binary as a child process, and connections on which every frame can be seen.
//! Nothing here knows what a test is about.
// Each test binary compiles all of it and uses a part.
#![allow(dead_code)]

pub mod cassandra;
pub mod http;
pub mod server;
pub mod wire;

use std::time::Duration;

/// A wait that lasts longer than this has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// What comes out within [`PATIENCE`].
pub async fn within<T>(what: &str, work: impl Future<Output = T>) -> T {
    let Ok(done) = tokio::time::timeout(PATIENCE, work).await else { panic!("{what}: waited for {PATIENCE:?}") };
    done
}

/// Asks again until the answer is yes, for what no event tells (a metric, another process's memory).
pub async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    within(what, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// The seed of a test that draws: `SYNCBRIDGE_TORTURE_SEED`, else drawn. Printed, so that a failure can be replayed.
pub fn seed() -> u64 {
    let seed = std::env::var("SYNCBRIDGE_TORTURE_SEED")
        .map_or_else(|_| fastrand::u64(..), |seed| seed.parse().expect("SYNCBRIDGE_TORTURE_SEED is a number"));
    println!("SYNCBRIDGE_TORTURE_SEED={seed}");
    seed
}
