//! `api`: what REST costs and how soon it answers. The contract's mix at a fixed rate, open loop; the same as fast as it
//! goes; and one `GET` beside a bare axum handler that returns the same bytes, in interleaved rounds.

mod mix;
mod users;

use std::{fmt::Write, net::Ipv4Addr, time::Duration};

use serde::Serialize;

use crate::{
    bare,
    error::{Error, Result},
    figures::Summary,
    http::{Caller, Client, Errors, Pace, Run, Times},
    machine,
    peer::{self, Peer},
    process::Server,
    scenario::{Options, Report, interleave},
};

use mix::{Mix, Same};

/// What is measured.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// Requests a second.
    pub per_second: f64,
    /// How long at that rate.
    pub length: Duration,
    /// How long as fast as it goes.
    pub unpaced: Duration,
    /// People, each with tokens of its own.
    pub users: usize,
    /// Keep-alive connections.
    pub connections: usize,
    /// Whether with `--open`, without it, or one after the other.
    pub profiles: Vec<bool>,
}

/// One profile's figures.
#[derive(Debug, Serialize)]
struct Profile {
    open: bool,
    paced: Mixed,
    unpaced: Mixed,
    get: Compared,
}

/// The mix, once.
#[derive(Debug, Serialize)]
struct Mixed {
    per_second: f64,
    all: Times,
    routes: Vec<(&'static str, Times)>,
    errors: Errors,
    /// CPU time of the server for one request.
    server_cpu_us: f64,
    /// How much the server, the client and all others worked, in cores.
    busy: [f64; 3],
    resident_before: u64,
    resident_after: u64,
}

/// One `GET` on the server and on the bare one.
#[derive(Debug, Serialize)]
struct Compared {
    body_bytes: usize,
    /// Requests a second of the bare server and of this one, round by round.
    per_second: [Vec<f64>; 2],
    /// CPU time for one request.
    cpu_us: [Vec<f64>; 2],
    /// The middle of the rounds' own ratios of requests a second.
    throughput_ratio: f64,
    /// The middle of the rounds' own ratios of CPU time.
    cpu_ratio: f64,
    errors: Errors,
}

/// All profiles.
#[derive(Debug, Serialize)]
pub struct Api {
    plan: Plan,
    profiles: Vec<Profile>,
}

impl Api {
    /// Answers that were not as they should be.
    pub fn errors(&self) -> u64 {
        let of = |profile: &Profile| {
            profile.paced.errors.total() + profile.unpaced.errors.total() + profile.get.errors.total()
        };
        self.profiles.iter().map(of).sum()
    }
}

/// Measures each profile on a server of its own.
///
/// # Errors
/// When the server fails or closes; a refused request is a figure, not an error.
pub fn run(plan: Plan, options: &Options) -> Result<Api> {
    let profiles = plan.profiles.iter().map(|open| profile(&plan, *open, options)).collect::<Result<_>>()?;
    Ok(Api { plan, profiles })
}

fn profile(plan: &Plan, open: bool, options: &Options) -> Result<Profile> {
    let server = options.syncbridge(options.binary()?, open).start(options.place)?;
    let mut mix = Mix::new(users::gather(server.address, plan.users, open)?);
    let mut client = Client::open(server.address, plan.connections)?;
    // Connections and code paths warm, as after any server's first second.
    client.run(&mut mix, Pace::PerSecond(plan.per_second), plan.length / 10)?;
    let paced = mixed(&server, &mut client, &mut mix, Pace::PerSecond(plan.per_second), plan.length)?;
    let get = compare(&server, &mix, plan, options)?;
    let unpaced = mixed(&server, &mut client, &mut mix, Pace::Unpaced, plan.unpaced)?;
    drop(client);
    server.stop()?;
    Ok(Profile { open, paced, unpaced, get })
}

fn mixed(server: &Server, client: &mut Client, mix: &mut Mix, pace: Pace, length: Duration) -> Result<Mixed> {
    let (resident_before, cpu, machine) = (server.resident()?, server.cpu()?, machine::busy()?);
    let run = client.run(mix, pace, length)?;
    let (cpu, machine) = (server.cpu()?.saturating_sub(cpu), machine::busy()?.saturating_sub(machine));
    let all = run.all().figures();
    let cores = |time: Duration| time.as_secs_f64() / run.elapsed.as_secs_f64();
    let names = ["login", "get session", "snapshot", "devices", "refresh"];
    Ok(Mixed {
        per_second: run.per_second(),
        all,
        routes: names.into_iter().zip(run.latencies.iter().map(crate::http::Latencies::figures)).collect(),
        server_cpu_us: cpu.as_secs_f64() * 1e6 / all.count as f64,
        busy: [cores(cpu), run.busy(), cores(machine.saturating_sub(cpu + run.cpu))],
        errors: run.errors,
        resident_before,
        resident_after: server.resident()?,
    })
}

/// The same `GET`, as fast as it goes, in interleaved rounds.
fn compare(server: &Server, mix: &Mix, plan: &Plan, options: &Options) -> Result<Compared> {
    let mut script = Same::reading(mix.first());
    let mut caller = Caller::connect(Ipv4Addr::LOCALHOST, server.address)?;
    let (same, body) = caller.ask(script.request(), |answer| {
        let ok = (answer.status == 200).then(|| (bare::Same::of(answer), answer.body.to_vec()));
        ok.ok_or_else(|| Error::Server(format!("answered a GET with {}", answer.shown())))
    })??;
    script.expect(&body);
    let bare = peer::bare::start(&same, options.place)?;
    let servers = [&bare, server];
    let mut clients = [Client::open(bare.address, plan.connections)?, Client::open(server.address, plan.connections)?];
    let mut errors = Errors::default();
    let rounds = interleave(options.rounds, |_, which| {
        clients[which].run(&mut script, Pace::Unpaced, options.round / 5)?;
        let before = servers[which].cpu()?;
        let run: Run = clients[which].run(&mut script, Pace::Unpaced, options.round)?;
        let cpu = servers[which].cpu()?.saturating_sub(before);
        let count = run.all().figures().count.max(1) as f64;
        errors.extend(&run.errors);
        Ok((run.per_second(), cpu.as_secs_f64() * 1e6 / count))
    })?;
    drop(clients);
    bare.stop()?;
    let per_second = rounds.each_ref().map(|rounds| rounds.iter().map(|round| round.0).collect::<Vec<_>>());
    let cpu_us = rounds.each_ref().map(|rounds| rounds.iter().map(|round| round.1).collect::<Vec<_>>());
    let ratio = |[bare, ours]: &[Vec<f64>; 2]| {
        Summary::of(ours.iter().zip(bare).map(|(ours, bare)| ours / bare)).map_or(f64::NAN, |summary| summary.median)
    };
    let (throughput_ratio, cpu_ratio) = (ratio(&per_second), ratio(&cpu_us));
    Ok(Compared { body_bytes: body.len(), per_second, cpu_us, throughput_ratio, cpu_ratio, errors })
}

impl Report for Api {
    fn text(&self) -> String {
        let mut out = String::new();
        for profile in &self.profiles {
            let name = if profile.open { "with --open" } else { "without --open" };
            let Plan { users, connections, .. } = self.plan;
            // Writing to a String cannot fail.
            let _ = writeln!(out, "\napi {name}: {users} users, {connections} connections");
            for (how, mixed) in [("at a fixed rate", &profile.paced), ("as fast as it goes", &profile.unpaced)] {
                let _ = writeln!(out, "\n{how}: {:.0} requests/s, {} errors", mixed.per_second, mixed.errors.total());
                let _ = writeln!(out, "{}\n{}", Times::HEAD, mixed.all.row("all"));
                for (route, times) in &mixed.routes {
                    let _ = writeln!(out, "{}", times.row(route));
                }
                let [server, client, others] = mixed.busy;
                let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
                let _ = writeln!(
                    out,
                    "server {:.1} µs CPU a request; busy: server {server:.2}, client {client:.2}, others {others:.2} \
                     cores; server memory {:.1} → {:.1} MiB\n{}",
                    mixed.server_cpu_us,
                    mib(mixed.resident_before),
                    mib(mixed.resident_after),
                    mixed.errors.text()
                );
            }
            let get = &profile.get;
            let median =
                |figures: &[f64]| Summary::of(figures.iter().copied()).map_or(f64::NAN, |summary| summary.median);
            let _ = writeln!(
                out,
                "GET a session of {} bytes, as fast as it goes: {:.0}/s, bare axum {:.0}/s: {:.2} × \
                 (CPU {:.1} and {:.1} µs: {:.2} ×)\n{}",
                get.body_bytes,
                median(&get.per_second[1]),
                median(&get.per_second[0]),
                get.throughput_ratio,
                median(&get.cpu_us[1]),
                median(&get.cpu_us[0]),
                get.cpu_ratio,
                get.errors.text()
            );
        }
        out
    }
}
