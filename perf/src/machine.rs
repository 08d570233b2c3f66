//! The machine the figures are made on, and how much else it does meanwhile: a round that shared its cores with a
//! compiler says little, and has to say so.

use std::{fs, time::Duration};

use serde_json::{Value, json};

use crate::error::{Context, Error, Result};

/// `/proc/stat` counts in hundredths of a second (`USER_HZ`), on every Linux that Rust's std supports.
const TICK: Duration = Duration::from_millis(10);

/// CPU time that all processes together have used since the machine started, interrupts included.
///
/// # Errors
/// The system's, when `/proc/stat` cannot be read.
pub fn busy() -> Result<Duration> {
    let text = fs::read_to_string("/proc/stat").context("reading /proc/stat")?;
    parse(&text).ok_or_else(|| Error::Process("/proc/stat has another form than proc(5) says".into()))
}

/// user, nice, system, idle, iowait, irq, softirq, …: all but idle and iowait.
fn parse(stat: &str) -> Option<Duration> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u32> = fields.split_whitespace().map_while(|field| field.parse().ok()).collect();
    let [user, nice, system, _, _, irq, softirq, ..] = ticks[..] else { return None };
    Some(TICK * (user + nice + system + irq + softirq))
}

/// What a report has to say of the machine.
pub fn describe() -> Value {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':')).map(|(_, name)| name.trim());
    json!({
        "cpu": model,
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "congestion_control": read("/proc/sys/net/ipv4/tcp_congestion_control").trim(),
        "load_average": read("/proc/loadavg").trim(),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::parse;

    #[test]
    fn idle_time_is_not_busy() {
        let stat = "cpu  100 10 50 90000 7 3 2 0 0 0\ncpu0 1 2 3 4 5 6 7 0 0 0\n";
        assert_eq!(parse(stat), Some(Duration::from_millis(1650)));
        assert_eq!(parse("intr 5"), None);
    }
}
