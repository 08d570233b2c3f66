//! The whole way of an update under simulation: 20 real client cores, links that delay, cut and reorder, the real
//! shards, hub, sessions and commit queue over a store that completes commits when the simulation says so, with crashes
//! and clean restarts. Single-threaded and decided by one seed.
//!
//! A failing seed is printed. `SYNCBRIDGE_SEED=n cargo test -p syncbridge --test simulation` runs it alone,
//! `SYNCBRIDGE_TRACE=1` prints every message of it,
//! `SYNCBRIDGE_SEEDS=n` and `SYNCBRIDGE_STEPS=n` run more seeds and more steps of each, `SYNCBRIDGE_FIRST=n` others.

// Tests fail by panicking, and what they need is private to them.
#![allow(clippy::unwrap_used, clippy::struct_excessive_bools, clippy::format_push_string, missing_docs)]

mod simulation {
    mod answers;
    pub mod clock;
    pub mod desk;
    mod fairness;
    pub mod net;
    pub mod peer;
    pub mod server;
    mod slow;
    pub mod store;
    pub mod trace;
    pub mod world;
}

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Instant,
};

use simulation::world::World;

/// How long a client that was told to go may take: `syncbridge::defaults::LINGER_MS`.
const LINGER_MS: u64 = syncbridge::defaults::LINGER_MS;

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().expect("a number"))
}

#[test]
fn nothing_is_lost_and_nothing_done_twice_whatever_breaks() {
    let steps = setting("SYNCBRIDGE_STEPS", 10_000) as usize;
    let first = setting("SYNCBRIDGE_FIRST", 1);
    let seeds: Vec<u64> = match std::env::var("SYNCBRIDGE_SEED") {
        Ok(seed) => vec![seed.parse().expect("a number")],
        Err(_) => (first..first + setting("SYNCBRIDGE_SEEDS", 200)).collect(),
    };
    let began = Instant::now();
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    for seed in &seeds {
        let run = catch_unwind(AssertUnwindSafe(|| {
            let mut world = World::new(*seed);
            world.run(steps);
            world.seen()
        }));
        // What went wrong was printed where it did.
        let Ok(kinds) = run else {
            panic!("seed {seed} failed: SYNCBRIDGE_SEED={seed} SYNCBRIDGE_STEPS={steps} replays it");
        };
        for kind in kinds {
            *seen.entry(kind).or_default() += 1;
        }
    }
    println!("{} seeds of {steps} steps in {:.1?}; in how many: {seen:?}", seeds.len(), began.elapsed());
    if seeds.len() >= 50 {
        for kind in ["lost", "lagged", "resumed", "refused", "crashed", "restarted", "unloaded", "silent", "draining"] {
            assert!(seen.contains_key(kind), "the simulation never saw {kind}");
        }
    }
}
