//! `syncbridge-perf`: measures servers from outside. `perf/README.md` says what the figures mean.
//!
//! Read in this order: `scenario/` (what is measured), `peer/` and `process.rs` (the servers), `dialect/` (what is said
//! to them), `load/` (the client), `floor/` (the least a server can do), `figures.rs`.

mod bare;
mod dialect;
mod error;
mod figures;
mod floor;
mod http;
mod load;
mod machine;
mod peer;
mod place;
mod process;
mod queue;
mod scenario;
mod sys;
mod timer;
mod wire;

use std::{fs, net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand};
use serde_json::json;

use crate::{
    error::{Context, Error, Result},
    place::Placement,
    scenario::{Options, Report, api, fanout, handoff, idle, slow, sync10k},
};

/// Measures a server from outside, against a floor that does the same work, in one run.
#[derive(Debug, Parser)]
#[command(name = "syncbridge-perf")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What one delivery costs the server.
    Fanout {
        #[command(flatten)]
        common: Common,
        /// Which workloads: one, sixteen, publishers, steady.
        #[arg(long = "workload", value_delimiter = ',', default_values = ["one", "sixteen"])]
        workloads: Vec<String>,
        /// Another number of subscribers.
        #[arg(long)]
        subscribers: Option<usize>,
    },
    /// What an idle connection costs in memory.
    Idle {
        #[command(flatten)]
        common: Common,
        /// Connections that the slope is over.
        #[arg(long)]
        connections: Option<usize>,
        /// Seconds of silence before each reading.
        #[arg(long)]
        quiet: Option<f64>,
        /// Which forms of the server: native, json.
        #[arg(long = "form", value_delimiter = ',', default_values = ["native", "json"], value_parser = ["native", "json"])]
        forms: Vec<String>,
    },
    /// What one subscriber that never reads costs the others.
    Slow {
        #[command(flatten)]
        common: Common,
        /// Events a second.
        #[arg(long)]
        rate: Option<f64>,
    },
    /// What REST costs and how soon it answers: the contract's mix, and a GET beside a bare axum handler.
    Api {
        #[command(flatten)]
        common: Common,
        /// Requests a second of the mix.
        #[arg(long)]
        rate: Option<f64>,
        /// Seconds of the mix, at the rate.
        #[arg(long)]
        length: Option<f64>,
        /// People, each with tokens of its own.
        #[arg(long)]
        users: Option<usize>,
        /// Keep-alive connections.
        #[arg(long)]
        connections: Option<usize>,
        /// Which profiles: open, closed (without `--open`).
        #[arg(long = "profile", value_delimiter = ',', default_values = ["open", "closed"], value_parser = ["open", "closed"])]
        profiles: Vec<String>,
    },
    /// Ten thousand live connections that speak flat JSON.
    Sync10k {
        #[command(flatten)]
        common: Common,
        /// Sockets.
        #[arg(long)]
        connections: Option<usize>,
        /// Seconds of life.
        #[arg(long)]
        length: Option<f64>,
    },
    /// A session that five devices of a user hand round.
    Handoff {
        #[command(flatten)]
        common: Common,
        /// Handoffs that are measured.
        #[arg(long)]
        handoffs: Option<usize>,
    },
    /// A bare axum handler; the scenario `api` starts it.
    #[command(hide = true)]
    BareServer {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        answer: PathBuf,
    },
    /// The floor itself; the scenarios start it.
    #[command(hide = true)]
    FloorServer {
        #[arg(long)]
        listen: SocketAddr,
        #[arg(long)]
        mode: floor::Mode,
    },
}

#[derive(Debug, Args)]
struct Common {
    /// The `syncbridge` binary. Without it the floor runs against itself: that shows the noise of the machine.
    #[arg(long)]
    server_bin: Option<PathBuf>,
    /// Storage of that server.
    #[arg(long, default_value = "memory")]
    storage: String,
    /// A setting of that server; may be given again.
    #[arg(long = "set", value_name = "PATH=VALUE")]
    settings: Vec<String>,
    /// Rounds of each server, interleaved.
    #[arg(long)]
    rounds: Option<usize>,
    /// Length of a round in seconds.
    #[arg(long)]
    seconds: Option<f64>,
    /// A round in which the rest of the machine worked more than a sixth of a core is done again, so often at most.
    #[arg(long)]
    retries: Option<usize>,
    /// What the connections run over.
    #[arg(long, default_value = "ws", value_parser = ["ws", "quic"])]
    transport: String,
    /// Do not pin server and client to a core each.
    #[arg(long)]
    no_pin: bool,
    /// Writes the result, all rounds included, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// A few seconds in all: looks for gaps, duplicates and errors; its figures mean nothing.
    #[arg(long)]
    short: bool,
}

impl Common {
    fn options(&self) -> Result<Options> {
        if self.transport == "quic" {
            return Err(Error::Unsupported("only WebSocket can be measured so far: leave --transport quic out".into()));
        }
        let seconds = self.seconds.unwrap_or(if self.short { 0.3 } else { 2.0 });
        if !(0.01..=600.0).contains(&seconds) {
            return Err(Error::Unsupported(format!("a round of {seconds} s: give 0.01 to 600")));
        }
        Ok(Options {
            server_bin: self.server_bin.clone(),
            storage: self.storage.clone(),
            settings: self.settings.clone(),
            rounds: self.rounds.unwrap_or(if self.short { 1 } else { 5 }).max(1),
            round: Duration::from_secs_f64(seconds),
            retries: self.retries.unwrap_or(if self.short { 0 } else { 3 }),
            place: if self.no_pin { Placement::default() } else { Placement::pinned()? },
        })
    }

    fn finish(&self, scenario: &str, options: &Options, report: &impl Report) -> Result<()> {
        print!("{}", report.text());
        if self.short {
            println!("(--short: these figures mean nothing)");
        }
        let Some(path) = &self.json else { return Ok(()) };
        let document = json!({
            "scenario": scenario,
            "short": self.short,
            "machine": machine::describe(),
            "server": { "binary": options.server_bin, "storage": options.storage, "settings": options.settings },
            "round_seconds": options.round.as_secs_f64(),
            "cores": options.place,
            "result": report,
        });
        fs::write(path, format!("{document:#}\n")).context(format!("writing {}", path.display()))
    }
}

fn run(command: Command) -> Result<()> {
    match command {
        Command::Fanout { common, workloads, subscribers } => {
            let options = common.options()?;
            let chosen =
                workloads.iter().map(|name| choose(name, subscribers, common.short)).collect::<Result<Vec<_>>>()?;
            common.finish("fanout", &options, &fanout::run(&chosen, &options)?)
        }
        Command::Idle { common, connections, quiet, forms } => {
            let options = common.options()?;
            let quiet = Duration::try_from_secs_f64(quiet.unwrap_or(if common.short { 0.3 } else { 60.0 }))
                .map_err(|error| Error::Unsupported(format!("--quiet: {error}")))?;
            let added = connections.unwrap_or(if common.short { 200 } else { 5000 }).max(1);
            let has = |form: &str| forms.iter().any(|chosen| chosen == form);
            let plan = idle::Plan {
                first: added / 10,
                added,
                per_user: 500,
                quiet,
                native: has("native"),
                json: has("json") && options.server_bin.is_some(),
            };
            common.finish("idle", &options, &idle::run(plan, &options)?)
        }
        Command::Slow { common, rate } => {
            let options = common.options()?;
            let plan = slow::Plan {
                subscribers: if common.short { 20 } else { 99 },
                per_second: rate.unwrap_or(1000.0),
                event_bytes: if common.short { 16 << 10 } else { 4 << 10 },
            };
            common.finish("slow", &options, &slow::run(plan, &options)?)
        }
        Command::Api { common, rate, length, users, connections, profiles } => {
            let options = common.options()?;
            let per_second = rate.unwrap_or(if common.short { 300.0 } else { 2600.0 });
            if !(1.0..=1e6).contains(&per_second) {
                return Err(Error::Unsupported(format!("{per_second} requests a second: give 1 to 1,000,000")));
            }
            let plan = api::Plan {
                per_second,
                length: seconds("--length", length.unwrap_or(if common.short { 0.5 } else { 60.0 }))?,
                unpaced: seconds("--length", if common.short { 0.2 } else { 10.0 })?,
                users: users.unwrap_or(if common.short { 4 } else { 100 }).max(1),
                connections: connections.unwrap_or(if common.short { 8 } else { 64 }).max(1),
                profiles: profiles.iter().map(|profile| profile == "open").collect(),
            };
            let report = api::run(plan, &options)?;
            common.finish("api", &options, &report)?;
            no_errors(report.errors())
        }
        Command::Sync10k { common, connections, length } => {
            let options = common.options()?;
            let plan = sync10k::Plan {
                connections: connections.unwrap_or(if common.short { 200 } else { 10_000 }).max(1),
                devices: 10,
                heartbeat_every: Duration::from_secs(if common.short { 1 } else { 30 }),
                update_every: Some(Duration::from_millis(if common.short { 200 } else { 5000 })),
                length: seconds("--length", length.unwrap_or(if common.short { 1.5 } else { 180.0 }))?,
            };
            let report = sync10k::run(plan, &options)?;
            common.finish("sync10k", &options, &report)?;
            no_errors(report.errors())
        }
        Command::Handoff { common, handoffs } => {
            let options = common.options()?;
            let handoffs = handoffs.unwrap_or(if common.short { 20 } else { 1000 }).max(1);
            let plan = handoff::Plan { devices: 5, handoffs, warm_up: handoffs.div_ceil(10) };
            common.finish("handoff", &options, &handoff::run(plan, &options)?)
        }
        Command::BareServer { listen, answer } => bare::serve(listen, &answer),
        Command::FloorServer { listen, mode } => floor::serve(listen, mode),
    }
}

fn seconds(option: &str, seconds: f64) -> Result<Duration> {
    let length = Duration::try_from_secs_f64(seconds);
    length.map_err(|error| Error::Unsupported(format!("{option} {seconds}: {error}")))
}

/// The report has said which; a run with errors ends as one.
fn no_errors(errors: u64) -> Result<()> {
    if errors == 0 { Ok(()) } else { Err(Error::Server(format!("was wrong or refused {errors} times: see above"))) }
}

fn choose(name: &str, subscribers: Option<usize>, short: bool) -> Result<fanout::Workload> {
    let found = fanout::WORKLOADS.iter().find(|workload| workload.name == name).copied();
    let mut workload = found.ok_or_else(|| {
        let names: Vec<_> = fanout::WORKLOADS.iter().map(|workload| workload.name).collect();
        Error::Unsupported(format!("there is no workload `{name}`: choose from {}", names.join(", ")))
    })?;
    if short {
        workload = workload.short();
    }
    workload.crowd.subscribers = subscribers.unwrap_or(workload.crowd.subscribers);
    Ok(workload)
}

fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("syncbridge-perf: {error}");
            ExitCode::FAILURE
        }
    }
}
