//! Where tests lose answers and servers. In production nothing is installed and each check is one branch.

use std::sync::Arc;

/// Where a server may go away in the middle of a commit of several partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is written down.
    Begun,
    /// One more partition is marked.
    Marked,
    /// It is decided.
    Decided,
    /// It is carried out in one more partition.
    CarriedOut,
}

/// Asked at each step.
pub trait Faults: Send + Sync {
    /// True: the answer to a conditional write that was carried out does not arrive.
    fn loses_answer(&self) -> bool {
        false
    }
    /// True: this server does nothing more of this commit, as if it had been killed.
    fn dies_at(&self, step: Step) -> bool {
        let _ = step;
        false
    }
}

pub(super) type Installed = Option<Arc<dyn Faults>>;
