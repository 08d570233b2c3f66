//! The two things that neither std nor rustix can do safely: reading another process's CPU clock, and tying a child's
//! life to ours. The only `unsafe` of this crate.
#![allow(unsafe_code)]

use std::{io, os::unix::process::CommandExt, process::Command, time::Duration};

use rustix::process::{Signal, set_parent_process_death_signal};

/// Has the child that `command` starts killed when the thread that starts it ends: a harness that was killed must leave
/// no server behind that eats a core.
pub fn end_with_parent(command: &mut Command) {
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; this is one `prctl`, and the error it may
    // give is a number.
    unsafe {
        command.pre_exec(|| set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from));
    }
}

/// CPU time (user and system, all threads, also those that have ended) that process `pid` has used since it started.
///
/// `/proc/PID/stat` counts in ticks of 10 ms, and `/proc/PID/task/*/schedstat` forgets threads that have ended.
/// The kernel brings a running thread's share up to date at its ticks, so read it while the process is at rest.
///
/// # Errors
/// The system's error when there is no such process.
pub fn process_cpu(pid: u32) -> io::Result<Duration> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut clock: libc::clockid_t = 0;
    // SAFETY: `clock` is a valid place for one `clockid_t` during the call.
    let error = unsafe { libc::clock_getcpuclockid(pid, &raw mut clock) };
    if error != 0 {
        return Err(io::Error::from_raw_os_error(error));
    }
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for one `timespec` during the call; a clock of a process that has ended is an
    // error, not a fault.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::process_cpu;

    #[test]
    fn the_clock_of_a_process_counts_its_work_and_not_its_sleep() {
        let me = std::process::id();
        let before = process_cpu(me).expect("own clock");
        let start = Instant::now();
        while process_cpu(me).expect("own clock") < before + Duration::from_millis(5) {
            assert!(start.elapsed() < Duration::from_secs(30), "work is not counted");
        }
        let worked = process_cpu(me).expect("own clock");
        assert!(worked > before);
    }

    #[test]
    fn a_process_that_is_not_there_has_no_clock() {
        // One above the greatest id that Linux gives (PID_MAX_LIMIT, 2^22).
        process_cpu((1 << 22) + 1).expect_err("no such process");
    }
}
