//! A profile of the processor: which functions it was in, sampled by a timer signal. As stacks with counts, of which the
//! page draws a flame graph.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

/// Samples a second. Not a divisor of common timers' rates, so that it does not beat with them.
const RATE: i32 = 199;

/// Samples for as long as this.
///
/// # Errors
/// Another profile is being taken, or the system refuses.
pub(super) async fn take(long: Duration) -> Result<Value, pprof::Error> {
    // Where a sample would have to walk a stack that is half made, none is taken.
    let guard = pprof::ProfilerGuardBuilder::default()
        .frequency(RATE)
        .blocklist(&["libc", "libgcc", "pthread", "vdso"])
        .build()?;
    tokio::time::sleep(long).await;
    let report = tokio::task::spawn_blocking(move || guard.report().build());
    let report = report.await.map_err(|error| pprof::Error::IoError(std::io::Error::other(error)))??;
    let mut stacks: BTreeMap<Vec<String>, u64> = BTreeMap::new();
    for (frames, count) in &report.data {
        let mut stack = vec![frames.thread_name_or_id()];
        stack.extend(frames.frames.iter().rev().flatten().map(pprof::Symbol::name));
        *stacks.entry(stack).or_default() += u64::try_from(*count).unwrap_or_default();
    }
    let samples: u64 = stacks.values().sum();
    let stacks: Vec<Value> =
        stacks.into_iter().map(|(frames, count)| json!({"frames": frames, "count": count})).collect();
    Ok(json!({"seconds": long.as_secs(), "rate": RATE, "samples": samples, "stacks": stacks}))
}
