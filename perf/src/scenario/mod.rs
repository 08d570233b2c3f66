//! What is measured. A scenario takes its parameters as data, runs peers against each other in interleaved rounds, and
//! returns a report; `--short` runs the same code for seconds, to see that nothing is lost, not how fast it is.

pub mod api;
pub mod fanout;
pub mod handoff;
pub mod idle;
pub mod slow;
pub mod sync10k;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use serde::Serialize;

use crate::{
    error::{Error, Result},
    floor::Mode,
    peer::{Floor, Peer, SyncBridge},
    place::Placement,
};

/// What all scenarios have in common.
#[derive(Debug, Clone)]
pub struct Options {
    /// The server to be compared with the floor; without one the floor is compared with itself, which shows the noise.
    pub server_bin: Option<PathBuf>,
    /// `--storage` of that server.
    pub storage: String,
    /// `--set`s of that server.
    pub settings: Vec<String>,
    /// Rounds of each peer.
    pub rounds: usize,
    /// Length of a round.
    pub round: Duration,
    /// A disturbed round is done again, so often at most.
    pub retries: usize,
    /// Which core runs what.
    pub place: Placement,
}

impl Options {
    /// The baseline and who is compared with it, in this order.
    pub fn peers(&self, floor: Mode) -> [Box<dyn Peer>; 2] {
        let contender: Box<dyn Peer> = match &self.server_bin {
            Some(binary) => {
                let mut peer = self.syncbridge(binary, true);
                // Fan-out is measured, not the disk: on a machine that is busy with other things the store's thread may
                // not run for longer than updates are allowed to wait, and the answer would be `busy`.
                peer.settings.insert(0, "persist.busy_age_ms=1000".into());
                Box::new(peer)
            }
            None => Box::new(Floor(floor)),
        };
        [Box::new(Floor(floor)), contender]
    }

    /// The server of this repository, with or without `--open`.
    fn syncbridge(&self, binary: &Path, open: bool) -> SyncBridge {
        let (storage, settings) = (self.storage.clone(), self.settings.clone());
        SyncBridge { binary: binary.to_owned(), open, storage, settings }
    }

    /// The binary, for scenarios that mean nothing without one.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when none was given.
    fn binary(&self) -> Result<&Path> {
        let missing = || Error::Unsupported("this scenario measures a server: give --server-bin".into());
        self.server_bin.as_deref().ok_or_else(missing)
    }
}

/// Runs `one(round, which)` for both of a pair in each round, the second first in every other round, so that what
/// changes on the machine meanwhile hits both alike.
///
/// # Errors
/// The first of `one`.
pub fn interleave<T>(rounds: usize, mut one: impl FnMut(usize, usize) -> Result<T>) -> Result<[Vec<T>; 2]> {
    let mut results = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        let order = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        for which in order {
            results[which].push(one(round, which)?);
        }
    }
    Ok(results)
}

/// A result, for people and for programs.
pub trait Report: Serialize {
    /// As lines of text.
    fn text(&self) -> String;
}

#[cfg(test)]
mod tests {
    use super::interleave;

    #[test]
    fn both_run_in_every_round_and_take_turns_in_being_first() {
        let mut order = Vec::new();
        let results = interleave(3, |round, which| {
            order.push(which);
            Ok(round)
        });
        assert_eq!(results.expect("nothing fails"), [vec![0, 1, 2], vec![0, 1, 2]]);
        assert_eq!(order, [0, 1, 1, 0, 0, 1]);
    }
}
