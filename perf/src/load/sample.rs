//! What the load client saw in one run.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rustix::time::{ClockId, clock_gettime};

/// Latencies above are counted as this: an hour would be a failed run anyway.
const MAX_LATENCY: Duration = Duration::from_mins(1);

/// Counts and times of one run.
#[derive(Debug)]
pub struct Sample {
    /// Events published.
    pub published: u64,
    /// Events received, own ones included.
    pub deliveries: u64,
    /// Reads: deliveries / reads is how many events came together.
    pub reads: u64,
    /// Heartbeats sent.
    pub heartbeats: u64,
    /// From the first publish to the last delivery.
    pub elapsed: Duration,
    /// CPU time of the client.
    pub cpu: Duration,
    /// From when an event was due to when it was received, in nanoseconds, each delivery for itself.
    pub latency: Histogram<u64>,
    began: (Instant, Duration),
}

impl Default for Sample {
    fn default() -> Self {
        Self {
            published: 0,
            deliveries: 0,
            reads: 0,
            heartbeats: 0,
            elapsed: Duration::ZERO,
            cpu: Duration::ZERO,
            latency: Histogram::new_with_max(MAX_LATENCY.as_nanos() as u64, 3).expect("3 digits of 60 s fit"),
            began: (Instant::now(), Duration::ZERO),
        }
    }
}

impl Sample {
    /// Starts to count.
    pub fn begin() -> Self {
        let sample = Self::default();
        Self { began: (Instant::now(), cpu()), ..sample }
    }

    /// Counts one delivery.
    pub fn delivered(&mut self, latency: Duration) {
        self.deliveries += 1;
        self.latency.saturating_record(latency.as_nanos() as u64);
    }

    /// Stops the clocks.
    pub fn end(&mut self) {
        let (instant, before) = self.began;
        self.elapsed = instant.elapsed();
        self.cpu = cpu().saturating_sub(before);
    }

    /// Share of the time in which the client worked: near 1, it was the slower side.
    pub fn busy(&self) -> f64 {
        self.cpu.as_secs_f64() / self.elapsed.as_secs_f64()
    }

    /// A quantile of the latency, in microseconds.
    pub fn latency_us(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1000.0
    }
}

fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
