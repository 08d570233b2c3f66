//! Named points at which a test ends the process, as `kill -9` would there, and small sizes that bring those points about
//! often. Only in builds with debug assertions: a release has nothing of it.
//!
//! `TORTURE_POINT=NAME:N` ends the process when it comes by NAME for the Nth time. `TORTURE_SIZES=SEGMENT,FLUSH,MS` takes
//! the place of the sizes of segments and flushes, in bytes, and of the time until a flush.

#[cfg(debug_assertions)]
mod on {
    use std::{
        sync::{
            OnceLock,
            atomic::{AtomicU64, Ordering},
        },
        time::Duration,
    };

    use crate::engine::embedded::Options;

    struct Wanted {
        point: String,
        left: AtomicU64,
    }

    fn wanted() -> Option<&'static Wanted> {
        static WANTED: OnceLock<Option<Wanted>> = OnceLock::new();
        let read = || {
            let text = std::env::var("TORTURE_POINT").ok()?;
            let (point, times) = text.rsplit_once(':')?;
            Some(Wanted { point: point.to_owned(), left: AtomicU64::new(times.parse().ok()?) })
        };
        WANTED.get_or_init(read).as_ref()
    }

    /// True when the process is to end here.
    pub fn is_due(point: &str) -> bool {
        wanted().is_some_and(|wanted| wanted.point == point && wanted.left.fetch_sub(1, Ordering::Relaxed) == 1)
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
