//! From samples to the figures of a report: one round of one peer, and what is said of many rounds.

use std::time::Duration;

use serde::Serialize;

use crate::{
    error::{Error, Result},
    load::{Load, Pace, Sample},
    machine,
    process::Server,
    scenario::Options,
};

/// Before the server's clock is read: its threads must have gone to sleep for the clock to be exact.
const SETTLE: Duration = Duration::from_millis(3);
/// What the rest of the machine may do in a round, in cores; the kernel's own threads do some of it for us.
const UNDISTURBED: f64 = 1.0 / 6.0;

/// One round of one peer.
#[derive(Debug, Clone, Serialize)]
pub struct Round {
    /// Events published.
    pub published: u64,
    /// Events received.
    pub deliveries: u64,
    /// Events received a second.
    pub deliveries_per_second: f64,
    /// CPU time of the server's process for one delivery.
    pub server_cpu_us: f64,
    /// Share of the time in which the server's process worked; above 1 on several cores.
    pub server_busy: f64,
    /// Share of the time in which the client worked.
    pub client_busy: f64,
    /// What all others did meanwhile, in cores.
    pub others_busy: f64,
    /// Events received by one read.
    pub together: f64,
    /// From publish (or when it was due) to receipt.
    pub p50_us: f64,
    /// As `p50_us`.
    pub p99_us: f64,
    /// As `p50_us`.
    pub p999_us: f64,
    /// As `p50_us`.
    pub max_us: f64,
    /// Whether the server could run on the client's core.
    pub strays: bool,
}

impl Round {
    /// Warms the pair up, then measures it; again when the machine did too much else meanwhile.
    ///
    /// # Errors
    /// Those of the load; also when nothing was delivered.
    pub fn measure(server: &Server, load: &mut Load, pace: Pace, options: &Options) -> Result<Self> {
        load.run(pace, options.round / 5)?;
        let mut round = Self::once(server, load, pace, options)?;
        for _ in 0..options.retries {
            if round.others_busy <= UNDISTURBED {
                break;
            }
            round = Self::once(server, load, pace, options)?;
        }
        Ok(round)
    }

    fn once(server: &Server, load: &mut Load, pace: Pace, options: &Options) -> Result<Self> {
        load.rest(SETTLE)?;
        let (before, all_before) = (server.cpu()?, machine::busy()?);
        let sample = load.run(pace, options.round)?;
        load.rest(SETTLE)?;
        let (cpu, all) = (server.cpu()?.saturating_sub(before), machine::busy()?.saturating_sub(all_before));
        let strays = match options.place.client {
            Some(core) => server.strays_to(core)?,
            None => false,
        };
        Self::new(&sample, cpu, all, strays)
    }

    fn new(sample: &Sample, server: Duration, all: Duration, strays: bool) -> Result<Self> {
        if sample.deliveries == 0 {
            return Err(Error::Stalled("nothing was delivered".into()));
        }
        let deliveries = sample.deliveries as f64;
        Ok(Self {
            published: sample.published,
            deliveries: sample.deliveries,
            deliveries_per_second: deliveries / sample.elapsed.as_secs_f64(),
            server_cpu_us: server.as_secs_f64() * 1e6 / deliveries,
            server_busy: server.as_secs_f64() / sample.elapsed.as_secs_f64(),
            client_busy: sample.busy(),
            others_busy: all.saturating_sub(server + sample.cpu).as_secs_f64() / sample.elapsed.as_secs_f64(),
            together: deliveries / sample.reads as f64,
            p50_us: sample.latency_us(0.5),
            p99_us: sample.latency_us(0.99),
            p999_us: sample.latency_us(0.999),
            max_us: sample.latency_us(1.0),
            strays,
        })
    }
}

/// What is said of the same figure in many rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    /// The middle one; of an even number the mean of the two.
    pub median: f64,
    /// The least: what the machine's other work disturbed least.
    pub least: f64,
    /// The greatest.
    pub greatest: f64,
}

impl Summary {
    /// Of at least one figure.
    pub fn of(figures: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let (least, greatest) = (*figures.first()?, *figures.last()?);
        let middle = figures.len() / 2;
        let median =
            if figures.len() % 2 == 1 { figures[middle] } else { f64::midpoint(figures[middle - 1], figures[middle]) };
        Some(Self { median, least, greatest })
    }
}

/// How a contender compares with a baseline, both measured in the same rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ratio {
    /// The middle of the rounds' own ratios.
    pub median: f64,
    /// The contender's least by the baseline's least.
    pub of_leasts: f64,
}

impl Ratio {
    /// `contender[i]` and `baseline[i]` are of the same round.
    pub fn of(contender: &[f64], baseline: &[f64]) -> Option<Self> {
        let ratios = contender.iter().zip(baseline).map(|(contender, baseline)| contender / baseline);
        Some(Self {
            median: Summary::of(ratios)?.median,
            of_leasts: Summary::of(contender.iter().copied())?.least / Summary::of(baseline.iter().copied())?.least,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Ratio, Summary};

    #[test]
    fn the_median_is_the_middle_or_the_mean_of_the_two() {
        assert_eq!(Summary::of([3.0, 1.0, 2.0]), Some(Summary { median: 2.0, least: 1.0, greatest: 3.0 }));
        assert_eq!(Summary::of([4.0, 1.0, 2.0, 3.0]).map(|summary| summary.median), Some(2.5));
        assert_eq!(Summary::of([]), None);
    }

    #[test]
    fn a_ratio_compares_round_by_round_and_least_by_least() {
        let ratio = Ratio::of(&[2.0, 6.0, 3.0], &[1.0, 2.0, 2.0]);
        assert_eq!(ratio, Some(Ratio { median: 2.0, of_leasts: 2.0 }));
    }
}
