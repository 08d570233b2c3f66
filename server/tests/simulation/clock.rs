//! The simulated time. One clock a thread, because the server takes its clock as a function; it only moves when the
//! simulation says so.

use std::cell::Cell;

use syncbridge::session::Now;

/// Some day in 2023: what people would read.
const WALL_MS: u64 = 1_700_000_000_000;

thread_local! {
    static MONO_MS: Cell<u64> = const { Cell::new(0) };
}

/// The present time.
pub fn now() -> Now {
    let mono_ms = MONO_MS.get();
    Now { mono_ms, wall_ms: WALL_MS + mono_ms }
}

/// Begins anew. Not at 0: a client's first attempt is due from the start.
pub fn reset() {
    MONO_MS.set(1_000);
}

/// Lets time pass.
pub fn advance(ms: u64) {
    MONO_MS.set(MONO_MS.get() + ms);
}
