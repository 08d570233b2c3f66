//! What came back: latencies and errors, of each kind of request and of all.

use std::{collections::BTreeMap, fmt::Write, time::Duration};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::http::Answer;

/// Latencies above are counted as this: a request of a minute is a failed run anyway.
const MAX_LATENCY: Duration = Duration::from_mins(1);

/// Times of one kind.
#[derive(Debug, Clone)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Self {
        Self(Histogram::new_with_max(MAX_LATENCY.as_nanos() as u64, 3).expect("3 digits of 60 s fit"))
    }
}

impl Latencies {
    /// Counts one.
    pub fn record(&mut self, latency: Duration) {
        self.0.saturating_record(latency.as_nanos() as u64);
    }

    /// Counts those of another as well.
    pub fn add(&mut self, other: &Self) {
        self.0 += &other.0;
    }

    /// What a report says of them.
    pub fn figures(&self) -> Times {
        let ms = |nanoseconds: u64| nanoseconds as f64 / 1e6;
        Times {
            count: self.0.len(),
            mean_ms: self.0.mean() / 1e6,
            p50_ms: ms(self.0.value_at_quantile(0.5)),
            p95_ms: ms(self.0.value_at_quantile(0.95)),
            p99_ms: ms(self.0.value_at_quantile(0.99)),
            max_ms: ms(self.0.max()),
        }
    }
}

/// Latencies of a report, in milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Times {
    /// How many there are.
    pub count: u64,
    /// Their mean.
    pub mean_ms: f64,
    /// Half of them are no longer.
    pub p50_ms: f64,
    /// As `p50_ms`.
    pub p95_ms: f64,
    /// As `p50_ms`.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl Times {
    /// The head of a table of [`Times::row`]s.
    pub const HEAD: &str = "                            count    mean ms     p50     p95     p99     max";

    /// One line of it.
    pub fn row(&self, name: &str) -> String {
        format!(
            "{name:<24} {:>8} {:>10.3} {:>7.3} {:>7.3} {:>7.3} {:>7.3}",
            self.count, self.mean_ms, self.p50_ms, self.p95_ms, self.p99_ms, self.max_ms
        )
    }
}

/// Errors by what they were, each with its first words.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Errors(BTreeMap<String, Failure>);

#[derive(Debug, Clone, Serialize)]
struct Failure {
    count: u64,
    first: String,
}

impl Errors {
    /// Counts one.
    pub fn count(&mut self, what: String, first: impl FnOnce() -> String) {
        self.0.entry(what).or_insert_with(|| Failure { count: 0, first: first() }).count += 1;
    }

    /// Counts an answer that was none.
    pub fn answer(&mut self, kind: &str, answer: &Answer<'_>) {
        self.count(format!("{kind} {}", answer.status), || answer.shown());
    }

    /// Counts those of another run as well.
    pub fn extend(&mut self, other: &Self) {
        for (what, failure) in &other.0 {
            let first = failure.first.clone();
            self.0.entry(what.clone()).or_insert(Failure { count: 0, first }).count += failure.count;
        }
    }

    /// How many there were.
    pub fn total(&self) -> u64 {
        self.0.values().map(|failure| failure.count).sum()
    }

    /// A line of each kind.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (what, failure) in &self.0 {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {} × {what}: {}", failure.count, failure.first);
        }
        text
    }
}
