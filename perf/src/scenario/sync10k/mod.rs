//! `sync10k`: ten thousand live connections that speak flat JSON, all with heartbeats, a tenth of them writing: how soon
//! they are answered, how soon the others know, and what it takes of the server.

mod crowd;
mod words;

use std::{fmt::Write, thread, time::Duration};

use serde::Serialize;

use crate::{
    error::Result,
    http::{Errors, Times},
    machine,
    peer::Peer,
    place::allow_descriptors,
    scenario::{Options, Report},
};

pub use crowd::Crowd;

/// The server's own work after a burst of connecting is over by then, and its memory at rest.
const SETTLE: Duration = Duration::from_secs(1);

/// What is measured.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// Sockets.
    pub connections: usize,
    /// Devices of a session: one writes, the others hear. Each session is of a user of its own.
    pub devices: usize,
    /// Between two heartbeats of a connection.
    pub heartbeat_every: Duration,
    /// Between two updates of a session; `None`: nobody says anything but heartbeats.
    pub update_every: Option<Duration>,
    /// How long.
    pub length: Duration,
}

impl Plan {
    /// How many sessions there are.
    fn sessions(&self) -> usize {
        (self.connections / self.devices).max(1)
    }
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Sync10k {
    plan: Plan,
    updates_per_second: f64,
    heartbeats: Times,
    acks: Times,
    deltas: Times,
    errors: Errors,
    /// CPU time of the server to connect, sign in and subscribe one.
    connect_cpu_us: f64,
    /// How much the server, the client and all others worked, in cores.
    busy: [f64; 3],
    resident_idle: u64,
    resident_connected: u64,
    resident_end: u64,
    resident_peak: u64,
}

impl Sync10k {
    /// What should not have been.
    pub fn errors(&self) -> u64 {
        self.errors.total()
    }
}

/// Connects everybody and lets them live.
///
/// # Errors
/// When the server fails, refuses or closes a connection; a wrong or missing message is a figure, not an error.
pub fn run(mut plan: Plan, options: &Options) -> Result<Sync10k> {
    plan.connections = plan.sessions() * plan.devices;
    // Some for the harness itself and the server's files.
    allow_descriptors((plan.connections + 512) as u64)?;
    let server = options.syncbridge(options.binary()?, true).start(options.place)?;
    let (resident_idle, cpu) = (server.resident()?, server.cpu()?);
    let mut crowd = Crowd::gather(&plan, server.address)?;
    let connect_cpu = server.cpu()?.saturating_sub(cpu);
    thread::sleep(SETTLE.min(plan.length));
    let resident_connected = server.resident()?;
    let (cpu, all) = (server.cpu()?, machine::busy()?);
    let heard = crowd.live(plan.length)?;
    let (cpu, all) = (server.cpu()?.saturating_sub(cpu), machine::busy()?.saturating_sub(all));
    let cores = |time: Duration| time.as_secs_f64() / heard.elapsed.as_secs_f64();
    let result = Sync10k {
        updates_per_second: heard.acks.figures().count as f64 / plan.length.as_secs_f64(),
        heartbeats: heard.heartbeats.figures(),
        acks: heard.acks.figures(),
        deltas: heard.deltas.figures(),
        connect_cpu_us: connect_cpu.as_secs_f64() * 1e6 / plan.connections as f64,
        busy: [cores(cpu), cores(heard.cpu), cores(all.saturating_sub(cpu + heard.cpu))],
        resident_idle,
        resident_connected,
        resident_end: server.resident()?,
        resident_peak: server.resident_peak()?,
        errors: heard.errors,
        plan,
    };
    drop(crowd);
    server.stop()?;
    Ok(result)
}

impl Report for Sync10k {
    fn text(&self) -> String {
        let Plan { connections, devices, length, .. } = self.plan;
        let mut out = format!(
            "\nsync10k: {connections} WebSockets, {} sessions of {devices} devices, {:.0} updates/s, {length:?}: {} errors\n",
            self.plan.sessions(),
            self.updates_per_second,
            self.errors.total()
        );
        let rows = [
            self.heartbeats.row("heartbeat → answer"),
            self.acks.row("update → acknowledged"),
            self.deltas.row("update → other device"),
        ];
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let more = |bytes: u64| mib(bytes.saturating_sub(self.resident_idle));
        let [server, client, others] = self.busy;
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "{}\n{}\nserver memory: {:.1} MiB idle, {:.1} more when all are connected, {:.1} more at the end, {:.1} more at \
             the peak\nbusy: server {server:.2}, client {client:.2}, others {others:.2} cores; {:.0} µs of server CPU to \
             connect one\n{}",
            Times::HEAD,
            rows.join("\n"),
            mib(self.resident_idle),
            more(self.resident_connected),
            more(self.resident_end),
            more(self.resident_peak),
            self.connect_cpu_us,
            self.errors.text()
        );
        out
    }
}
