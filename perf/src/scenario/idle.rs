//! `idle`: what a connection costs while nothing happens on it: signed in, one subscription, heartbeats only. The slope
//! between two counts, so that what the server needs anyway is left out.

use std::{fmt::Write, time::Duration};

use serde::Serialize;

use crate::{
    dialect::Topic,
    error::{Error, Result},
    floor::Mode,
    load::{Crowd, Load},
    peer::Peer,
    place::allow_descriptors,
    scenario::{
        Options, Report,
        sync10k::{self, Crowd as JsonCrowd},
    },
};

/// What is measured.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Plan {
    /// Connections at the slope's foot.
    pub first: usize,
    /// Connections that are added; the slope is over these.
    pub added: usize,
    /// Connections of one user.
    pub per_user: usize,
    /// Silence before each reading.
    pub quiet: Duration,
    /// Whether connections that speak the native protocol are measured, and the floor.
    pub native: bool,
    /// Whether those that speak flat JSON are. The floor has no such form.
    pub json: bool,
}

/// One peer's slope.
#[derive(Debug, Serialize)]
struct Slope {
    peer: String,
    resident_first: u64,
    resident_all: u64,
    bytes_per_connection: f64,
    /// CPU time of the server to accept, upgrade, sign in and subscribe one.
    connect_cpu_us: f64,
    /// Heartbeats in the quiet time before the second reading.
    heartbeats: u64,
}

/// All that were measured.
#[derive(Debug, Serialize)]
pub struct Idle {
    plan: Plan,
    peers: Vec<Slope>,
}

/// Measures the floor and the contender, one after the other.
///
/// # Errors
/// When a server fails, refuses a connection, or says something while it should be quiet.
pub fn run(plan: Plan, options: &Options) -> Result<Idle> {
    // Some for the harness itself and the server's files.
    allow_descriptors((plan.first + plan.added + 256) as u64)?;
    let mut peers = Vec::new();
    if plan.native {
        for peer in options.peers(Mode::Coalesced) {
            peers.push(slope(&*peer, plan, options)?);
        }
    }
    if plan.json {
        peers.push(json_slope(plan, options)?);
    }
    Ok(Idle { plan, peers })
}

/// The server's slope over connections of flat JSON.
fn json_slope(plan: Plan, options: &Options) -> Result<Slope> {
    let life = sync10k::Plan {
        connections: plan.first,
        devices: plan.per_user.min(plan.first.max(1)),
        // As often as the native form's: three quarters of the limit of silence, which is 20 s.
        heartbeat_every: Duration::from_secs(15),
        update_every: None,
        length: plan.quiet,
    };
    let peer = options.syncbridge(options.binary()?, true);
    let server = peer.start(options.place)?;
    let mut crowd = JsonCrowd::gather(&life, server.address)?;
    let rest = |crowd: &mut JsonCrowd| {
        let heard = crowd.live(plan.quiet)?;
        match heard.errors.total() {
            0 => Ok(heard.heartbeats.figures().count),
            _ => Err(Error::Server(format!("was not quiet:\n{}", heard.errors.text()))),
        }
    };
    rest(&mut crowd)?;
    let (resident_first, cpu_first) = (server.resident()?, server.cpu()?);
    crowd.grow(server.address, plan.added)?;
    let connect_cpu = server.cpu()?.saturating_sub(cpu_first);
    let heartbeats = rest(&mut crowd)?;
    let resident_all = server.resident()?;
    drop(crowd);
    server.stop()?;
    Ok(Slope {
        peer: format!("{}, flat JSON", peer.name()),
        resident_first,
        resident_all,
        bytes_per_connection: (resident_all as f64 - resident_first as f64) / plan.added as f64,
        connect_cpu_us: connect_cpu.as_secs_f64() * 1e6 / plan.added as f64,
        heartbeats,
    })
}

fn slope(peer: &dyn Peer, plan: Plan, options: &Options) -> Result<Slope> {
    let topic = Topic { name: "perf".into(), event_bytes: 128 };
    let crowd = |subscribers| Crowd { publishers: 0, subscribers, per_user: plan.per_user };
    let server = peer.start(options.place)?;
    let mut load = Load::open(peer.dialect(&topic), server.address, crowd(plan.first))?;
    load.rest(plan.quiet)?;
    let (resident_first, cpu_first) = (server.resident()?, server.cpu()?);
    load.grow(server.address, crowd(plan.added))?;
    let connect_cpu = server.cpu()?.saturating_sub(cpu_first);
    let quiet = load.rest(plan.quiet)?;
    let resident_all = server.resident()?;
    drop(load);
    server.stop()?;
    let added = plan.added as f64;
    Ok(Slope {
        peer: peer.name(),
        resident_first,
        resident_all,
        bytes_per_connection: (resident_all as f64 - resident_first as f64) / added,
        connect_cpu_us: connect_cpu.as_secs_f64() * 1e6 / added,
        heartbeats: quiet.heartbeats,
    })
}

impl Report for Idle {
    fn text(&self) -> String {
        let Plan { first, added, quiet, .. } = self.plan;
        let mut out =
            format!("\nidle: from {first} to {} connections, {quiet:?} quiet before each reading\n", first + added);
        for slope in &self.peers {
            // Writing to a String cannot fail.
            let _ = writeln!(
                out,
                "{:<38} {:>8.2} KiB a connection   {:>7.1} µs server CPU to connect   {} heartbeats meanwhile",
                slope.peer,
                slope.bytes_per_connection / 1024.0,
                slope.connect_cpu_us,
                slope.heartbeats
            );
        }
        out
    }
}
