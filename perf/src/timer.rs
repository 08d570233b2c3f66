//! A timer that wakes an epoll to the microsecond, for load that is paced. (The timeout of `epoll_wait` counts in
//! milliseconds on older kernels.)

use std::time::Duration;

use rustix::{
    event::{
        Timespec,
        epoll::{self, EventData, EventFlags},
    },
    fd::OwnedFd,
    time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags},
};

use crate::error::{Context, Result};

/// One timer, watched by one epoll.
#[derive(Debug)]
pub struct Timer(OwnedFd);

impl Timer {
    /// A timer that is readable in `epoll` under `key` once it has expired.
    ///
    /// # Errors
    /// The system's.
    pub fn new(epoll: &OwnedFd, key: u64) -> Result<Self> {
        let timer =
            rustix::time::timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)
                .context("making a timer")?;
        epoll::add(epoll, &timer, EventData::new_u64(key), EventFlags::IN).context("watching the timer")?;
        Ok(Self(timer))
    }

    /// Expires once, after this long; what was set before is forgotten.
    ///
    /// # Errors
    /// The system's.
    pub fn wake_in(&self, after: Duration) -> Result<()> {
        let after = after.max(Duration::from_nanos(1));
        let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
        let it_value = Timespec { tv_sec: after.as_secs().cast_signed(), tv_nsec: i64::from(after.subsec_nanos()) };
        rustix::time::timerfd_settime(&self.0, TimerfdTimerFlags::empty(), &Itimerspec { it_interval: zero, it_value })
            .context("setting the timer")?;
        Ok(())
    }

    /// Makes an expired timer quiet again; that it expired is what the caller looks at the clock for.
    pub fn read(&self) {
        let _ = rustix::io::read(&self.0, &mut [0u8; 8]);
    }
}
