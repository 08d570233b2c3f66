//! The clock that `app.rs` hands to everybody who must not read one.

use std::{
    sync::OnceLock,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use crate::session::Now;

/// The present time. The monotonic part counts from the first call, which is early in the process.
pub fn now() -> Now {
    static START: OnceLock<Instant> = OnceLock::new();
    let mono_ms = START.get_or_init(Instant::now).elapsed().as_millis() as u64;
    // A clock before 1970 is wrong, and only people are shown it.
    let wall_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    Now { mono_ms, wall_ms }
}
