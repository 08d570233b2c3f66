//! What the kernel knows of this process, from /proc. `None` where there is no such thing.

use std::fs;

/// Figures of this moment.
pub(super) struct Process {
    /// Resident memory.
    pub(super) resident_bytes: u64,
    /// Processor time of all threads since the start.
    pub(super) cpu_seconds: f64,
    /// File descriptors.
    pub(super) open_files: u64,
}

pub(super) fn read() -> Option<Process> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // proc_pid_stat(5): fields 14 and 15 are utime and stime; the second is in brackets and may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Process {
        resident_bytes: pages * rustix::param::page_size() as u64,
        cpu_seconds: ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
        open_files: fs::read_dir("/proc/self/fd").ok()?.count() as u64,
    })
}
