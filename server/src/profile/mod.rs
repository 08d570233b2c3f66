//! A profile of the processor: which functions the process was in, sampled by a timer signal. One at a time in a process;
//! nothing costs anything while none is taken. Given as stacks (the console draws them), as a flame graph, and as pprof.

mod flame;
mod name;

use std::{collections::BTreeMap, io::Write as _, time::Duration};

use flate2::{Compression, write::GzEncoder};
use pprof::{ProfilerGuard, protos::Message as _};
use serde_json::{Value, json};

/// Samples a second. Not a divisor of common timers' rates, so that it does not beat with them.
const RATE: i32 = 199;

/// As what a profile is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Compressed protobuf, as `go tool pprof` and its like read it.
    Pprof,
    /// A flame graph: one picture, without scripts.
    Svg,
}

impl Format {
    /// Its name in requests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pprof => "pprof",
            Self::Svg => "svg",
        }
    }

    /// The one with this name.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Pprof, Self::Svg].into_iter().find(|format| format.name() == name)
    }
}

/// Samples are being taken.
pub struct Sampling(ProfilerGuard<'static>);

impl Sampling {
    /// Begins.
    ///
    /// # Errors
    /// Another profile is being taken, or the system refuses.
    pub fn begin() -> Result<Self, pprof::Error> {
        // Where a sample would have to walk a stack that is half made, none is taken.
        let blocked = ["libc", "libgcc", "pthread", "vdso"];
        pprof::ProfilerGuardBuilder::default().frequency(RATE).blocklist(&blocked).build().map(Self)
    }

    /// Ends, and finds the functions' names: blocks for a second or so.
    ///
    /// # Errors
    /// The samples could not be read.
    pub fn end(self) -> Result<Profile, pprof::Error> {
        self.0.report().build().map(Profile)
    }
}

/// What was sampled.
pub struct Profile(pprof::Report);

impl Profile {
    /// Stacks with the thread's name first and the innermost function last, and in how many samples each was seen.
    fn stacks(&self) -> BTreeMap<Vec<String>, u64> {
        let mut stacks: BTreeMap<Vec<String>, u64> = BTreeMap::new();
        for (frames, count) in &self.0.data {
            let mut stack = vec![frames.thread_name_or_id()];
            // Of a frame, what was put into it by the compiler comes before itself.
            let called = frames.frames.iter().rev().flat_map(|frame| frame.iter().rev());
            stack.extend(called.map(|symbol| name::named(&symbol.name(), symbol.filename.as_deref())));
            *stacks.entry(stack).or_default() += u64::try_from(*count).unwrap_or_default();
        }
        stacks
    }

    /// How many samples it is of.
    pub fn samples(&self) -> u64 {
        self.0.data.values().filter_map(|count| u64::try_from(*count).ok()).sum()
    }

    /// Stacks as JSON, of a profile that took so long.
    pub fn json(&self, long: Duration) -> Value {
        let stacks: Vec<Value> =
            self.stacks().into_iter().map(|(frames, count)| json!({"frames": frames, "count": count})).collect();
        json!({"seconds": long.as_secs(), "rate": RATE, "samples": self.samples(), "stacks": stacks})
    }

    /// A file of it.
    ///
    /// # Errors
    /// [`pprof::Error`]: it could not be encoded.
    pub fn file(&self, format: Format) -> Result<Vec<u8>, pprof::Error> {
        match format {
            Format::Svg => Ok(flame::graph(&self.stacks()).into_bytes()),
            Format::Pprof => {
                let mut file = GzEncoder::new(Vec::new(), Compression::default());
                file.write_all(&self.0.pprof()?.encode_to_vec())?;
                Ok(file.finish()?)
            }
        }
    }
}
