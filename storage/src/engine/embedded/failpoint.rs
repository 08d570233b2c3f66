//! Named points at which a test ends the process, as `kill -9` would there, and small sizes that bring those points about
//! often. Only in builds with debug assertions: a release has nothing of it.
//!
//! `TORTURE_POINT=FILE`: once FILE says `NAME:N`, the process ends when it comes by NAME for the Nth time from then on.
//! `TORTURE_SIZES=SEGMENT,FLUSH,MS` takes the place of the sizes of segments and flushes, in bytes, and of the time until a
//! flush.

#[cfg(debug_assertions)]
mod on {
    use std::{
        path::PathBuf,
        sync::{
            OnceLock,
            atomic::{AtomicU64, Ordering},
        },
        time::Duration,
    };

    use crate::engine::embedded::Options;

    /// True when the process is to end here.
    pub fn is_due(point: &str) -> bool {
        static FILE: OnceLock<Option<PathBuf>> = OnceLock::new();
        static PASSED: AtomicU64 = AtomicU64::new(0);
        let Some(file) = FILE.get_or_init(|| std::env::var_os("TORTURE_POINT").map(PathBuf::from)) else {
            return false;
        };
        // A file that is not there yet, or half written, names no point.
        let Ok(wanted) = std::fs::read_to_string(file) else { return false };
        let Some((name, times)) = wanted.trim().rsplit_once(':') else { return false };
        name == point && times.parse().is_ok_and(|times| PASSED.fetch_add(1, Ordering::Relaxed) + 1 >= times)
    }

    pub fn reach(point: &str) {
        if is_due(point) {
            // Without a word to anything: no destructor, no flush, no hook.
            std::process::abort();
        }
    }

    pub fn sizes(options: &mut Options) {
        let Ok(text) = std::env::var("TORTURE_SIZES") else { return };
        let numbers: Vec<u64> = text.split(',').filter_map(|number| number.parse().ok()).collect();
        if let [segment, flush, after_ms] = numbers[..] {
            options.segment_bytes = segment;
            options.flush_bytes = usize::try_from(flush).unwrap_or(usize::MAX);
            options.flush_after = Duration::from_millis(after_ms);
        }
    }
}

#[cfg(not(debug_assertions))]
mod on {
    use crate::engine::embedded::Options;

    pub const fn is_due(_: &str) -> bool {
        false
    }
    pub const fn reach(_: &str) {}
    pub const fn sizes(_: &mut Options) {}
}

pub(super) use on::{is_due, reach, sizes};
