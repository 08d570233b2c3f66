//! Devices that came or went since that was last written down. A storm of connections costs one entry each here, and the
//! store one commit for all of them.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;

use crate::{connection::Identity, defaults, session::Now};

/// A user's device, and when it was last seen (milliseconds since 1970).
pub type Sighting = (Arc<str>, Arc<str>, u64);

/// See the file's head.
#[derive(Debug, Default)]
pub struct Seen(Mutex<Pending>);

#[derive(Debug, Default)]
struct Pending {
    users: HashMap<Arc<str>, HashMap<Arc<str>, u64>>,
    count: usize,
}

impl Seen {
    /// Somebody's device is there, or was until now. When too many wait to be written down, this one does not: it will be
    /// seen again.
    pub fn note(&self, who: &Identity, now: Now) {
        self.note_device(&who.user, &who.device, now);
    }

    /// The same, by name; an empty one is none.
    pub fn note_device(&self, user: &Arc<str>, device: &Arc<str>, now: Now) {
        if device.is_empty() {
            return;
        }
        let mut pending = self.0.lock();
        let Pending { users, count } = &mut *pending;
        if *count >= defaults::SEEN_PENDING {
            return;
        }
        if users.entry(Arc::clone(user)).or_default().insert(Arc::clone(device), now.wall_ms).is_none() {
            *count += 1;
        }
    }

    /// Takes what is to be written of one user.
    pub fn take(&self, user: &Arc<str>) -> Vec<Sighting> {
        let mut pending = self.0.lock();
        let taken = pending.users.remove(user).unwrap_or_default();
        pending.count -= taken.len();
        taken.into_iter().map(|(device, at)| (Arc::clone(user), device, at)).collect()
    }

    /// Takes everything that is to be written.
    pub fn take_all(&self) -> Vec<Sighting> {
        let taken = std::mem::take(&mut *self.0.lock());
        let of = |(user, devices): (Arc<str>, HashMap<Arc<str>, u64>)| {
            devices.into_iter().map(move |(device, at)| (Arc::clone(&user), device, at))
        };
        taken.users.into_iter().flat_map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_comes_and_goes_a_thousand_times_is_one_entry_and_all_of_them_are_bounded() {
        let seen = Seen::default();
        let note = |user: &str, device: &str, ms| {
            seen.note_device(&user.into(), &device.into(), Now { mono_ms: 0, wall_ms: ms });
        };
        for ms in 0..1_000 {
            note("ann", "phone", ms);
        }
        note("ann", "", 5);
        note("bob", "desk", 7);
        assert_eq!(seen.take(&"ann".into()), [("ann".into(), "phone".into(), 999)]);
        assert_eq!(seen.take(&"ann".into()), []);
        for n in 0..2 * defaults::SEEN_PENDING {
            note("cid", &n.to_string(), 1);
        }
        assert_eq!(seen.take_all().len(), defaults::SEEN_PENDING);
        note("dan", "desk", 1);
        assert_eq!(seen.take(&"dan".into()).len(), 1);
    }
}
