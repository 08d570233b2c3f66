//! The session's event log in memory: everything that is not durable, and the last durable frames, so that a device
//! that was away for a moment is served without reading the store. Never has a gap.

use std::collections::VecDeque;

use bytes::Bytes;

/// Delta frames of consecutive versions.
#[derive(Debug)]
pub struct Log {
    /// The version of `frames[0]`; of the next frame when there is none.
    first: u64,
    frames: VecDeque<Bytes>,
    bytes: usize,
    kept: usize,
}

impl Log {
    /// An empty log of a session at `version`, which keeps up to `kept` bytes of durable frames.
    pub fn new(version: u64, kept: usize) -> Self {
        Self { first: version + 1, frames: VecDeque::new(), bytes: 0, kept }
    }

    /// Adds the frame of the next version.
    pub fn push(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        self.frames.push_back(frame);
    }

    /// Lets go of the oldest frames that are durable, down to the bytes that are kept.
    pub fn trim(&mut self, durable: u64) {
        while self.first <= durable
            && let Some(oldest) = self.frames.front()
            && self.bytes > self.kept
        {
            self.bytes -= oldest.len();
            self.frames.pop_front();
            self.first += 1;
        }
    }

    /// The first version that is here, or will be.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Bytes of the frames.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The frames after version `after`; `None` when some of them are here no more.
    pub fn after(&self, after: u64) -> Option<Vec<Bytes>> {
        let skip = (after + 1).checked_sub(self.first)?;
        Some(self.frames.iter().skip(usize::try_from(skip).unwrap_or(usize::MAX)).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(frames: usize, kept: usize) -> Log {
        let mut log = Log::new(1, kept);
        for n in 0..frames {
            log.push(Bytes::from(vec![n as u8; 10]));
        }
        log
    }

    #[test]
    fn a_frame_that_is_not_durable_is_never_let_go() {
        let mut log = log(10, 0);
        log.trim(4);
        assert_eq!(log.first(), 5);
        assert_eq!(log.after(4).expect("kept").len(), 7);
        assert_eq!(log.after(3), None);
    }

    #[test]
    fn durable_frames_are_kept_up_to_their_bytes() {
        let mut log = log(10, 35);
        log.trim(11);
        assert_eq!((log.first(), log.bytes()), (9, 30));
    }

    #[test]
    fn the_frames_after_a_version_begin_with_the_next() {
        let log = log(3, 1_000);
        assert_eq!(log.after(1).expect("kept")[0][0], 0);
        assert_eq!(log.after(3).expect("kept")[0][0], 2);
        assert_eq!(log.after(4), Some(Vec::new()));
    }
}
