//! Which places of older epochs are still true. An epoch begins when a process takes the session; what the process
//! before had accepted and never made durable is lost, and only cursors into that part are wrong.

use syncbridge_codec::message::Position;
use syncbridge_storage::{EPOCHS_KEPT, EpochStart};

/// Bits of an epoch that count the sessions which were deleted; those above are the process's number.
///
/// A session's epoch is (the process's number, sessions that the process had deleted when it was made): so one that is
/// made again after a deletion is at an epoch above all that the deleted one ever had, in this process and every later
/// one, and no tombstone has to be kept. JSON keeps 53 bits: 2^21 processes, 2^32 deletions each.
const DELETION_BITS: u32 = 32;

/// Deletions that one process can tell apart.
pub const DELETIONS: u64 = (1 << DELETION_BITS) - 1;

/// The first epoch of a process.
pub const fn of_process(number: u64) -> u64 {
    number << DELETION_BITS
}

/// The process that an epoch belongs to.
pub const fn process_of(epoch: u64) -> u64 {
    epoch >> DELETION_BITS
}

/// The starts of a session's epochs, oldest first. Never empty; the last is the epoch of this process.
#[derive(Debug)]
pub struct Epochs {
    starts: Vec<EpochStart>,
    /// The oldest start that is known is the session's first: no epoch came before it.
    complete: bool,
}

/// What a place that a client names is, seen from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// That version is in this session's history, the same for all.
    Kept(u64),
    /// It was accepted and lost in a crash: `last_kept` is the last version of its epoch that is left.
    Lost {
        /// The last version that was kept.
        last_kept: u64,
    },
    /// Its epoch is older than those that are remembered.
    TooOld,
    /// Of an epoch that this session never had, or a version that its epoch has not reached.
    Ahead,
    /// Of an epoch before the session's first: it was deleted and made again, or the place is made up.
    Unknown,
}

impl Epochs {
    /// A session's first epoch.
    pub fn first(epoch: u64) -> Self {
        Self { starts: vec![EpochStart { epoch, base: 0 }], complete: true }
    }

    /// The epochs of a session that was loaded at `version`, in a process whose epoch is `epoch`. When nothing was
    /// committed in it yet it starts here, so that whatever an earlier process made durable goes on being true.
    pub fn restore(stored: &[EpochStart], version: u64, epoch: u64) -> Self {
        let mut starts = stored.to_vec();
        if starts.last().is_none_or(|last| last.epoch < epoch) {
            starts.push(EpochStart { epoch, base: version });
        }
        Self { complete: starts[0].base == 0 || stored.len() < EPOCHS_KEPT, starts }
    }

    /// The epoch of this process.
    pub fn current(&self) -> u64 {
        self.starts.last().map_or(0, |start| start.epoch)
    }

    /// What `place` is, when the session stands at `version`. Epoch 0 means the current one.
    pub fn place(&self, place: &Position, version: u64) -> Place {
        let current = self.current();
        if place.epoch >= current || place.epoch == 0 {
            let known = place.epoch <= current && place.version <= version;
            return if known { Place::Kept(place.version) } else { Place::Ahead };
        }
        // Epochs in which nothing was committed have no start of their own: their versions are those of the one
        // before, so what counts is where the next recorded one began.
        let next = self.starts.partition_point(|start| start.epoch <= place.epoch);
        if next == 0 {
            return if self.complete { Place::Unknown } else { Place::TooOld };
        }
        match self.starts.get(next) {
            Some(start) if place.version > start.base => Place::Lost { last_kept: start.base },
            _ => Place::Kept(place.version),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(epoch: u64, version: u64) -> Position {
        Position { epoch, version }
    }

    /// Epoch 2 made 1–10, epoch 5 made 11–20, this process is epoch 9 and stands at 25.
    fn epochs() -> Epochs {
        Epochs::restore(&[EpochStart { epoch: 2, base: 0 }, EpochStart { epoch: 5, base: 10 }], 20, 9)
    }

    #[test]
    fn a_place_of_the_current_epoch_is_kept_up_to_the_version() {
        assert_eq!(epochs().place(&at(9, 25), 25), Place::Kept(25));
        assert_eq!(epochs().place(&at(9, 3), 25), Place::Kept(3));
        assert_eq!(epochs().place(&at(9, 26), 25), Place::Ahead);
    }

    #[test]
    fn epoch_0_means_the_current_one() {
        assert_eq!(epochs().place(&at(0, 25), 25), Place::Kept(25));
        assert_eq!(epochs().place(&at(0, 26), 25), Place::Ahead);
    }

    #[test]
    fn a_place_of_an_old_epoch_is_kept_up_to_where_the_next_began() {
        assert_eq!(epochs().place(&at(2, 10), 25), Place::Kept(10));
        assert_eq!(epochs().place(&at(2, 11), 25), Place::Lost { last_kept: 10 });
        assert_eq!(epochs().place(&at(5, 20), 25), Place::Kept(20));
        assert_eq!(epochs().place(&at(5, 21), 25), Place::Lost { last_kept: 20 });
    }

    #[test]
    fn an_epoch_in_which_nothing_was_committed_ends_where_the_next_recorded_one_begins() {
        assert_eq!(epochs().place(&at(3, 10), 25), Place::Kept(10));
        assert_eq!(epochs().place(&at(4, 11), 25), Place::Lost { last_kept: 10 });
        assert_eq!(epochs().place(&at(7, 20), 25), Place::Kept(20));
        assert_eq!(epochs().place(&at(8, 21), 25), Place::Lost { last_kept: 20 });
    }

    #[test]
    fn an_epoch_before_the_first_or_after_the_current_was_never_this_sessions() {
        assert_eq!(epochs().place(&at(1, 1), 25), Place::Unknown);
        assert_eq!(epochs().place(&at(10, 1), 25), Place::Ahead);
    }

    #[test]
    fn an_epoch_older_than_the_remembered_ones_is_too_old_and_not_unknown() {
        let starts: Vec<_> = (0..EPOCHS_KEPT as u64).map(|n| EpochStart { epoch: 100 + n, base: 1_000 + n }).collect();
        let epochs = Epochs::restore(&starts, 5_000, 1_000);
        assert_eq!(epochs.place(&at(99, 1_000), 5_000), Place::TooOld);
    }

    #[test]
    fn loading_again_in_the_same_process_begins_no_epoch() {
        let epochs = Epochs::restore(&[EpochStart { epoch: 2, base: 0 }], 20, 2);
        assert_eq!(epochs.place(&at(2, 20), 20), Place::Kept(20));
        assert_eq!(epochs.starts.len(), 1);
    }
}
