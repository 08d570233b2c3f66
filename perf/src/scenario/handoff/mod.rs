//! `handoff`: five devices of one user, all of them live on a session over WebSocket, hand it round by REST. How long the
//! server takes for one, and how long it is until the last device knows.
//!
//! One after the other, never two at a time: what is measured is the way of one handoff, not how many a server can do.

mod device;

use std::{
    fmt::Write,
    net::SocketAddr,
    time::{Duration, Instant},
};

use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    error::{Error, Result},
    http::{Answer, Caller, Latencies, Times, request},
    machine,
    peer::Peer,
    place::source,
    scenario::{Options, Report},
    wire::http,
};

use device::Device;

/// The session that goes round.
const SESSION: &str = "handed-round";

/// What is measured.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// Devices of the user, each with a live connection: native and flat JSON by turns.
    pub devices: usize,
    /// How often the session is handed on while it is measured.
    pub handoffs: usize,
    /// How often before that.
    pub warm_up: usize,
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Handoff {
    plan: Plan,
    /// From the request for a code to the code.
    offered: Times,
    /// What the server says it took to complete: until it was durable and every connection told.
    server: Times,
    /// From the request to complete to its answer.
    completed: Times,
    /// From that request until the last device was told.
    told: Times,
    /// From the request for a code until the last device was told.
    whole: Times,
    /// CPU time of the server for one handoff, offer and all.
    server_cpu_us: f64,
    /// How much the server and all others but this client worked, in cores.
    busy: [f64; 2],
}

/// The times of every handoff.
#[derive(Default)]
struct Taken {
    offered: Latencies,
    server: Latencies,
    completed: Latencies,
    told: Latencies,
    whole: Latencies,
}

/// A user's devices, the session, and which device has it.
struct Round {
    caller: Caller,
    devices: Vec<Device>,
    /// Whose the session is, and the token that this device was given with it.
    holder: usize,
    token: String,
}

/// Signs a user up, connects the devices, and hands the session round.
///
/// # Errors
/// When the server refuses anything, or a device is told of another handoff than the one that was made.
pub fn run(plan: Plan, options: &Options) -> Result<Handoff> {
    let server = options.syncbridge(options.binary()?, false).start(options.place)?;
    let mut round = Round::gather(server.address, plan.devices)?;
    let mut taken = Taken::default();
    for _ in 0..plan.warm_up {
        round.hand_on(&mut Taken::default())?;
    }
    let (start, cpu, all) = (Instant::now(), server.cpu()?, machine::busy()?);
    let own = crate::http::thread_cpu();
    for _ in 0..plan.handoffs {
        round.hand_on(&mut taken)?;
    }
    let elapsed = start.elapsed();
    let (cpu, all) = (server.cpu()?.saturating_sub(cpu), machine::busy()?.saturating_sub(all));
    let own = crate::http::thread_cpu().saturating_sub(own);
    drop(round);
    server.stop()?;
    let cores = |time: Duration| time.as_secs_f64() / elapsed.as_secs_f64();
    Ok(Handoff {
        offered: taken.offered.figures(),
        server: taken.server.figures(),
        completed: taken.completed.figures(),
        told: taken.told.figures(),
        whole: taken.whole.figures(),
        server_cpu_us: cpu.as_secs_f64() * 1e6 / plan.handoffs as f64,
        busy: [cores(cpu), cores(all.saturating_sub(cpu + own))],
        plan,
    })
}

impl Round {
    fn gather(server: SocketAddr, devices: usize) -> Result<Self> {
        let mut caller = Caller::connect(source(0), server)?;
        let account = json!({ "email": "ann@example.com", "password": "a good password", "name": "Ann" }).to_string();
        // These tokens are no device's: they outlive what each completion does to the login of its device.
        let anywhere = text(&caller.must("POST", &"auth/register", None, Some(&account))?, "accessToken")?;
        let login =
            json!({ "email": "ann@example.com", "password": "a good password", "deviceId": name(0) }).to_string();
        let token = text(&caller.must("POST", &"auth/login", None, Some(&login))?, "accessToken")?;
        let session = json!({ "sessionId": SESSION, "state": { "title": "A plan", "items": [1, 2, 3] },
            "policy": { "devices": "exclusive" } });
        caller.must("POST", &"sessions", Some(&token), Some(&session.to_string()))?;
        let devices = (0..devices)
            .map(|number| Device::join(server, number % 2 == 0, SESSION, &anywhere, &name(number)))
            .collect::<Result<_>>()?;
        Ok(Self { caller, devices, holder: 0, token })
    }

    /// The device that has the session offers it; the next one takes it, and all are told.
    fn hand_on(&mut self, taken: &mut Taken) -> Result<()> {
        let (from, next) = (name(self.holder), (self.holder + 1) % self.devices.len());
        let to = name(next);
        let start = Instant::now();
        let path = format!("sessions/{SESSION}/handoff/code");
        let code = text(&self.caller.must("POST", &path, Some(&self.token), Some("{}"))?, "code")?;
        let offered = Instant::now();
        let mut bytes = Vec::new();
        let body = json!({ "code": code, "deviceId": to }).to_string();
        request::write(&mut bytes, "POST", &"handoff/complete", None, Some(&body));
        let (answer, server) = self.caller.ask(&bytes, |answer| {
            if answer.is_success() {
                return Ok((answer.json(), server_time(answer)?));
            }
            Err(Error::Server(format!("refused to complete a handoff: {}", answer.shown())))
        })??;
        let completed = Instant::now();
        for device in &mut self.devices {
            let told = device.completed()?;
            if told != (from.clone(), to.clone()) {
                return Err(Error::Server(format!(
                    "told of a handoff from {} to {}, not {from} to {to}",
                    told.0, told.1
                )));
            }
        }
        let told = Instant::now();
        taken.offered.record(offered - start);
        taken.server.record(server);
        taken.completed.record(completed - offered);
        taken.told.record(told - offered);
        taken.whole.record(told - start);
        self.token = text(&answer, "accessToken")?;
        self.holder = next;
        Ok(())
    }
}

fn name(number: usize) -> String {
    format!("device-{number}")
}

fn text(answer: &Value, field: &str) -> Result<String> {
    answer[field].as_str().map(str::to_owned).ok_or_else(|| Error::Server(format!("said no {field}: {answer}")))
}

/// What the answer's `Server-Timing` says.
fn server_time(answer: &Answer<'_>) -> Result<Duration> {
    let header = http::header(answer.head, "server-timing");
    let ms = header.and_then(|timing| timing.strip_prefix("handoff;dur=")).and_then(|ms| ms.parse::<f64>().ok());
    ms.and_then(|ms| Duration::try_from_secs_f64(ms / 1e3).ok())
        .ok_or_else(|| Error::Server(format!("did not say how long it took: {header:?}")))
}

impl Report for Handoff {
    fn text(&self) -> String {
        let Plan { devices, handoffs, .. } = self.plan;
        let mut out = format!("\nhandoff: {devices} devices, {handoffs} handoffs, one after the other\n");
        let rows = [
            self.server.row("completing, the server's"),
            self.offered.row("asked → code"),
            self.completed.row("presented → completed"),
            self.told.row("presented → all told"),
            self.whole.row("asked → all told"),
        ];
        let [server, others] = self.busy;
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "{}\n{}\nserver {server:.2}, others {others:.2} cores busy; {:.0} µs of server CPU a handoff",
            Times::HEAD,
            rows.join("\n"),
            self.server_cpu_us
        );
        out
    }
}
