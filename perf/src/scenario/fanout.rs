//! `fanout`: what one delivery costs the server, compared with the floor that does the same work.

use std::fmt::Write;

use serde::Serialize;

use crate::{
    dialect::Topic,
    error::Result,
    figures::{Ratio, Round, Summary},
    floor::Mode,
    load::{Crowd, Load, Pace},
    peer::Peer,
    scenario::{Options, Report, interleave},
};

/// One kind of load.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Workload {
    /// Its name on the command line.
    pub name: &'static str,
    /// The floor that does the same.
    pub floor: Mode,
    /// Who takes part.
    pub crowd: Crowd,
    /// When is published.
    pub pace: Pace,
    /// Size of an event as a receiver gets it.
    pub event_bytes: usize,
    /// Server CPU to reach, as a multiple of the floor's; `None`: only looked at.
    pub aim: Option<f64>,
}

/// All of them.
pub const WORKLOADS: &[Workload] = &[
    Workload {
        name: "one",
        floor: Mode::Each,
        crowd: Crowd::one_user(1, 100),
        pace: Pace::Closed { outstanding: 1 },
        event_bytes: 128,
        aim: Some(1.15),
    },
    Workload {
        name: "sixteen",
        floor: Mode::Coalesced,
        crowd: Crowd::one_user(1, 100),
        pace: Pace::Closed { outstanding: 16 },
        event_bytes: 128,
        aim: Some(1.35),
    },
    // A server that flushes in the publisher's own turn shines above and drowns here.
    Workload {
        name: "publishers",
        floor: Mode::Coalesced,
        crowd: Crowd::one_user(16, 100),
        pace: Pace::Closed { outstanding: 1 },
        event_bytes: 128,
        aim: None,
    },
    Workload {
        name: "steady",
        floor: Mode::Coalesced,
        crowd: Crowd::one_user(1, 900),
        pace: Pace::Open { per_second: 1000.0 },
        event_bytes: 128,
        aim: None,
    },
];

impl Workload {
    /// The same for a run that only looks for faults.
    #[must_use]
    pub fn short(mut self) -> Self {
        self.crowd.subscribers = self.crowd.subscribers.min(40);
        if let Pace::Open { per_second } = &mut self.pace {
            *per_second = per_second.min(200.0);
        }
        self
    }
}

/// All workloads of one call.
#[derive(Debug, Serialize)]
pub struct Fanout {
    workloads: Vec<Compared>,
}

#[derive(Debug, Serialize)]
struct Compared {
    workload: Workload,
    peers: [Measured; 2],
    server_cpu_ratio: Option<Ratio>,
    p99_ratio: Option<Ratio>,
}

#[derive(Debug, Serialize)]
struct Measured {
    name: String,
    rounds: Vec<Round>,
}

/// Runs the workloads one after the other, each with `options.rounds` interleaved rounds.
///
/// # Errors
/// At the first wrong delivery, or when a server fails.
pub fn run(workloads: &[Workload], options: &Options) -> Result<Fanout> {
    let workloads = workloads.iter().map(|workload| compare(*workload, options)).collect::<Result<_>>()?;
    Ok(Fanout { workloads })
}

fn compare(workload: Workload, options: &Options) -> Result<Compared> {
    let peers = options.peers(workload.floor);
    let [floor, contender] = interleave(options.rounds, |_, which| round(&*peers[which], workload, options))?;
    let ratio = |figure: fn(&Round) -> f64| {
        let of = |rounds: &[Round]| rounds.iter().map(figure).collect::<Vec<_>>();
        Ratio::of(&of(&contender), &of(&floor))
    };
    let (server_cpu_ratio, p99_ratio) = (ratio(|round| round.server_cpu_us), ratio(|round| round.p99_us));
    let [floor_name, contender_name] = peers.map(|peer| peer.name());
    Ok(Compared {
        workload,
        peers: [Measured { name: floor_name, rounds: floor }, Measured { name: contender_name, rounds: contender }],
        server_cpu_ratio,
        p99_ratio,
    })
}

/// A fresh server each time: the layout of its memory is part of what varies.
fn round(peer: &dyn Peer, workload: Workload, options: &Options) -> Result<Round> {
    let topic = Topic { name: "perf".into(), event_bytes: workload.event_bytes };
    let server = peer.start(options.place)?;
    let mut load = Load::open(peer.dialect(&topic), server.address, workload.crowd)?;
    let round = Round::measure(&server, &mut load, workload.pace, options)?;
    drop(load);
    server.stop()?;
    Ok(round)
}

impl Report for Fanout {
    fn text(&self) -> String {
        let mut out = String::new();
        for compared in &self.workloads {
            // Writing to a String cannot fail.
            let _ = compared.write(&mut out);
        }
        out
    }
}

impl Compared {
    fn write(&self, out: &mut String) -> std::fmt::Result {
        let Workload { name, crowd, pace, event_bytes, aim, .. } = self.workload;
        let pace = match pace {
            Pace::Closed { outstanding } => format!("{outstanding} outstanding each"),
            Pace::Open { per_second } => format!("{per_second} events/s at fixed times"),
        };
        writeln!(
            out,
            "\n{name}: {} publisher(s) and {} subscribers, {pace}, {event_bytes}-byte events, {} round(s)",
            crowd.publishers,
            crowd.subscribers,
            self.peers[0].rounds.len()
        )?;
        writeln!(
            out,
            "{:<28} {:>12} {:>10} {:>10} {:>9} {:>10} {:>10} {:>7} {:>7} {:>7}",
            "", "deliveries/s", "CPU µs/del", "least", "together", "p50 µs", "p99 µs", "server", "client", "others"
        )?;
        for peer in &self.peers {
            peer.write(out)?;
        }
        if let Some(Ratio { median, of_leasts }) = self.server_cpu_ratio {
            let aim = aim.map_or(String::new(), |aim| format!("   (aim ≤ {aim})"));
            writeln!(out, "server CPU a delivery: {median:.2}× the floor (median), {of_leasts:.2}× (leasts){aim}")?;
        }
        if let Some(Ratio { median, .. }) = self.p99_ratio {
            writeln!(out, "p99: {median:.2}× the floor (median)")?;
        }
        Ok(())
    }
}

impl Measured {
    fn write(&self, out: &mut String) -> std::fmt::Result {
        let of = |figure: fn(&Round) -> f64| Summary::of(self.rounds.iter().map(figure));
        let median = |figure| of(figure).map_or(f64::NAN, |summary| summary.median);
        writeln!(
            out,
            "{:<28} {:>12.0} {:>10.3} {:>10.3} {:>9.1} {:>10.0} {:>10.0} {:>6.0}% {:>6.0}% {:>6.0}%{}",
            self.name,
            median(|round| round.deliveries_per_second),
            median(|round| round.server_cpu_us),
            of(|round| round.server_cpu_us).map_or(f64::NAN, |summary| summary.least),
            median(|round| round.together),
            median(|round| round.p50_us),
            median(|round| round.p99_us),
            100.0 * median(|round| round.server_busy),
            100.0 * median(|round| round.client_busy),
            100.0 * median(|round| round.others_busy),
            if self.rounds.iter().any(|round| round.strays) { "  (may run on the client's core!)" } else { "" },
        )
    }
}
