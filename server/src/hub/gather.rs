//! Waiting for every shard: each hands in its part when it has come to it, the last one lets go who waits for all.

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// What the shards hand in.
#[derive(Debug)]
pub struct Gather<T> {
    /// How many parts make a whole.
    of: usize,
    parts: Mutex<Parts<T>>,
}

#[derive(Debug)]
struct Parts<T> {
    here: Vec<T>,
    whole: Option<oneshot::Sender<Vec<T>>>,
}

impl<T> Gather<T> {
    /// For so many parts, and where all of them will be, in the order in which they came. That ends without them when
    /// nobody is left who could hand one in.
    pub fn new(of: usize) -> (Self, oneshot::Receiver<Vec<T>>) {
        let (sender, whole) = oneshot::channel();
        (Self { of, parts: Mutex::new(Parts { here: Vec::with_capacity(of), whole: Some(sender) }) }, whole)
    }

    /// A shard is through.
    pub fn hand_in(&self, part: T) {
        let mut parts = self.parts.lock();
        parts.here.push(part);
        if parts.here.len() == self.of
            && let Some(whole) = parts.whole.take()
        {
            // Nobody waits any more when the request was given up.
            let _ = whole.send(std::mem::take(&mut parts.here));
        }
    }
}
