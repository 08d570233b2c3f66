//! A sink that remembers, and on which a test can wait.

use std::{
    collections::HashMap,
    sync::{Condvar, Mutex},
    time::Duration,
};

use syncbridge_storage::{Error, Outcome, Sink, Ticket};

#[derive(Default)]
struct State {
    order: Vec<Ticket>,
    ended: HashMap<Ticket, Outcome>,
    poisoned: Vec<String>,
    batches: usize,
}

/// Remembers what it is told.
#[derive(Default)]
pub struct Recorder {
    state: Mutex<State>,
    told: Condvar,
}

/// A test that waits longer than this for an event has failed.
const PATIENCE: Duration = Duration::from_mins(1);

impl Recorder {
    fn wait_until<T>(&self, mut done: impl FnMut(&State) -> Option<T>) -> T {
        let mut state = self.state.lock().expect("no test panics with it");
        loop {
            if let Some(done) = done(&state) {
                return done;
            }
            let (next, timeout) = self.told.wait_timeout(state, PATIENCE).expect("no test panics with it");
            assert!(!timeout.timed_out(), "nothing was told; poisoned: {:?}", next.poisoned);
            state = next;
        }
    }

    pub fn wait(&self, ticket: Ticket) -> Outcome {
        self.wait_until(|state| state.ended.get(&ticket).copied())
    }

    pub fn wait_for_poison(&self, times: usize) -> Vec<String> {
        self.wait_until(|state| (state.poisoned.len() >= times).then(|| state.poisoned.clone()))
    }

    pub fn outcome(&self, ticket: Ticket) -> Option<Outcome> {
        self.state.lock().expect("no test panics with it").ended.get(&ticket).copied()
    }

    pub fn order(&self) -> Vec<Ticket> {
        self.state.lock().expect("no test panics with it").order.clone()
    }

    pub fn poisoned(&self) -> Vec<String> {
        self.state.lock().expect("no test panics with it").poisoned.clone()
    }
}

impl Sink for Recorder {
    fn completed(&self, ended: &[(Ticket, Outcome)]) {
        let mut state = self.state.lock().expect("no test panics with it");
        state.batches += 1;
        for (ticket, outcome) in ended {
            state.order.push(*ticket);
            assert!(state.ended.insert(*ticket, *outcome).is_none(), "ticket {ticket} ended twice");
        }
        self.told.notify_all();
    }

    fn poisoned(&self, error: &Error) {
        self.state.lock().expect("no test panics with it").poisoned.push(error.to_string());
        self.told.notify_all();
    }
}
