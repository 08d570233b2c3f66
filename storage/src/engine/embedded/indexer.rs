//! The thread that writes the index behind the log: when enough is in memory or it has waited long enough. Never delays a
//! commit, except when memory is full.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use parking_lot::{Condvar, Mutex};

use super::{Shared, failpoint, log::Full};
use crate::Error;

#[derive(Debug, Default)]
struct State {
    /// There is enough to write.
    due: bool,
    stop: bool,
}

/// What the writer and the index thread tell each other.
#[derive(Debug, Default)]
pub(super) struct Signal {
    state: Mutex<State>,
    wake: Condvar,
    /// A flush ended.
    flushed: Condvar,
}

impl Signal {
    pub fn due(&self) {
        let mut state = self.state.lock();
        if !state.due {
            state.due = true;
            self.wake.notify_one();
        }
    }

    pub fn stop(&self) {
        self.state.lock().stop = true;
        self.wake.notify_one();
        self.flushed.notify_all();
    }

    /// Waits until `enough` holds; it is asked after each flush.
    pub fn wait(&self, enough: impl Fn() -> bool) {
        let mut state = self.state.lock();
        while !state.stop && !enough() {
            if !state.due {
                state.due = true;
                self.wake.notify_one();
            }
            self.flushed.wait(&mut state);
        }
    }
}

/// The thread.
pub(super) fn run(shared: &Shared, full: &Full) {
    loop {
        let stop = {
            let mut state = shared.signal.state.lock();
            let until = Instant::now() + shared.options.flush_after;
            while !state.due && !state.stop && !shared.signal.wake.wait_until(&mut state, until).timed_out() {}
            state.due = false;
            state.stop
        };
        let done = flush(shared, full);
        // Under the lock, so that who looks before waiting does not miss it.
        drop(shared.signal.state.lock());
        shared.signal.flushed.notify_all();
        if let Err(error) = done {
            shared.fail(error);
            return;
        }
        if stop {
            return;
        }
    }
}

/// Writes what is in memory into the index and gives up the log that it stood for.
pub(super) fn flush(shared: &Shared, full: &Full) -> Result<(), Error> {
    let frozen = {
        let mut tables = shared.tables.write();
        if tables.active.last_seq == 0 {
            return Ok(());
        }
        let frozen = Arc::new(std::mem::take(&mut tables.active));
        tables.frozen = Some(frozen.clone());
        frozen
    };
    failpoint::reach("index.flush");
    shared.index()?.flush(&frozen, &shared.options.faults)?;
    failpoint::reach("index.committed");
    {
        let mut tables = shared.tables.write();
        tables.frozen = None;
        shared.unflushed.store(tables.bytes(), Ordering::Release);
    }
    shared.stats.log_backlog.fetch_sub(frozen.log_bytes, Ordering::Relaxed);
    full.release(frozen.last_seq)
}
