//! What becomes of one update. Never holds the update itself: that is in the core's queue, handle or not.

use syncbridge_codec::message::Position;
use tokio::sync::watch;

use crate::error::{Error, Refusal};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OpState {
    Pending,
    Accepted(Position),
    Durable(Position),
    Refused(Refusal),
    Closed,
}

/// One update that was made. Dropping it changes nothing: the update is sent all the same.
#[derive(Debug, Clone)]
pub struct UpdateHandle {
    pub(crate) counter: u64,
    /// `None`: nothing was changed, so nothing was sent.
    pub(crate) state: Option<watch::Receiver<OpState>>,
    pub(crate) unchanged_at: Position,
}

impl UpdateHandle {
    /// The update's counter, for `After::Op` and to find it among the changes; 0 when nothing was changed.
    pub const fn counter(&self) -> u64 {
        self.counter
    }

    /// Waits until the server has applied the update: the place of the version that it made.
    ///
    /// # Errors
    /// [`Error::Refused`]; [`Error::Closed`] when the client closes first.
    pub async fn accepted(&self) -> Result<Position, Error> {
        self.reaches(|state| match state {
            OpState::Pending => None,
            OpState::Accepted(at) | OpState::Durable(at) => Some(Ok(at.clone())),
            OpState::Refused(refusal) => Some(Err(Error::Refused(refusal.clone()))),
            OpState::Closed => Some(Err(Error::Closed)),
        })
        .await
    }

    /// Waits until the update is on the server's disk.
    ///
    /// # Errors
    /// As [`UpdateHandle::accepted`]; [`Error::Closed`] also for an update that was sent with
    /// `UpdateDurability::Accepted`, of which nothing more is told.
    pub async fn durable(&self) -> Result<Position, Error> {
        self.reaches(|state| match state {
            OpState::Pending | OpState::Accepted(_) => None,
            OpState::Durable(at) => Some(Ok(at.clone())),
            OpState::Refused(refusal) => Some(Err(Error::Refused(refusal.clone()))),
            OpState::Closed => Some(Err(Error::Closed)),
        })
        .await
    }

    async fn reaches(&self, outcome: impl Fn(&OpState) -> Option<Result<Position, Error>>) -> Result<Position, Error> {
        let Some(mut state) = self.state.clone() else { return Ok(self.unchanged_at.clone()) };
        loop {
            if let Some(outcome) = outcome(&state.borrow_and_update()) {
                return outcome;
            }
            if state.changed().await.is_err() {
                return Err(Error::Closed);
            }
        }
    }
}
