//! Where commits wait for the writer. [`Queue::submit`] is called under a session's lock: it moves one commit into a list
//! and wakes the writer only when that sleeps.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU64, Ordering},
};

use parking_lot::{Condvar, Mutex};

use super::Shared;
use crate::{Commit, Error};

/// How far the end has come.
#[derive(Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Open,
    /// `close` waits for everything that was taken.
    Draining,
    /// Everything that was taken has ended.
    Drained,
    /// The writer's time is over.
    Over,
}

/// What the writer is still to do besides commits.
#[derive(Debug, Default)]
struct Errands {
    /// The engine failed, and that is not yet told.
    failed: bool,
    /// Something came after the end, and its refusal is not yet told.
    refused: bool,
}

#[derive(Debug, Default)]
struct State {
    commits: VecDeque<Commit>,
    /// The writer sleeps and wants to be woken.
    asleep: bool,
    /// Why nothing more is taken.
    refuses: Option<String>,
    errands: Errands,
    phase: Phase,
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    drained: Condvar,
    /// Submitted and not ended.
    queued: AtomicU64,
}

impl Queue {
    pub fn submit(&self, commit: Commit) {
        let mut state = self.state.lock();
        if state.refuses.is_some() {
            state.errands.refused = true;
        } else {
            state.commits.push_back(commit);
            // Under the lock, so that a commit is never counted as ended before it was counted.
            self.queued.fetch_add(1, Ordering::Relaxed);
        }
        if std::mem::take(&mut state.asleep) {
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Commits that were submitted and have not ended.
    pub fn queued(&self) -> u64 {
        self.queued.load(Ordering::Relaxed)
    }

    /// Commits have ended.
    pub fn ended(&self, count: usize) {
        // A poisoning sets it to zero while a group may be on its way.
        let less = |queued: u64| Some(queued.saturating_sub(count as u64));
        let _previous = self.queued.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Waits until there is work and takes all of it; `false` when the writer's time is over.
    pub fn take(&self, pending: &mut VecDeque<Commit>, shared: &Shared) -> bool {
        let mut state = self.state.lock();
        loop {
            if std::mem::take(&mut state.errands.failed)
                && let Some(error) = shared.failure.lock().untold.take()
            {
                parking_lot::MutexGuard::unlocked(&mut state, || shared.sink.poisoned(&error));
                continue;
            }
            if !state.commits.is_empty() {
                std::mem::swap(&mut state.commits, pending);
                return true;
            }
            if state.phase == Phase::Draining {
                state.phase = Phase::Drained;
                self.drained.notify_all();
            }
            if std::mem::take(&mut state.errands.refused)
                && let Some(cause) = state.refuses.clone()
            {
                parking_lot::MutexGuard::unlocked(&mut state, || {
                    shared.sink.poisoned(&Error::Poisoned { cause });
                });
                continue;
            }
            if state.phase == Phase::Over {
                return false;
            }
            state.asleep = true;
            self.wake.wait(&mut state);
            state.asleep = false;
        }
    }

    /// Takes nothing more, forgets what waits, and has the writer tell the failure.
    pub fn fail(&self, cause: &str) {
        let mut state = self.state.lock();
        state.commits.clear();
        self.queued.store(0, Ordering::Relaxed);
        state.refuses = Some(cause.into());
        state.errands.failed = true;
        self.wake.notify_one();
    }

    /// Takes nothing more, and waits until everything that was taken has ended.
    pub fn drain(&self, cause: &str) {
        let mut state = self.state.lock();
        state.refuses.get_or_insert_with(|| cause.into());
        state.phase = Phase::Draining;
        self.wake.notify_one();
        while state.phase == Phase::Draining {
            self.drained.wait(&mut state);
        }
    }

    /// Ends the writer.
    pub fn stop(&self) {
        self.state.lock().phase = Phase::Over;
        self.wake.notify_one();
    }
}
