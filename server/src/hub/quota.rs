//! How many sessions each user has made: counted in memory, read from the store once. Never counts what somebody was
//! added to by others.

use std::sync::Arc;

use dashmap::DashMap;
use parking_lot::Mutex;
use syncbridge_codec::ErrorCode;
use syncbridge_storage::{Engine, Table};

use super::Fault;
use crate::{
    defaults,
    session::{Now, membership},
};

/// The counts of users who made or deleted a session lately.
#[derive(Debug, Default)]
pub struct Quotas {
    users: DashMap<Arc<str>, Arc<Mutex<Count>>>,
}

#[derive(Debug, Default)]
struct Count {
    /// `None` until the store was read.
    sessions: Option<usize>,
    used_ms: u64,
}

impl Quotas {
    /// Counts a session that `user` is about to make. Blocks, the first time.
    ///
    /// # Errors
    /// [`Fault`]: they have `most` already, or the store cannot be read.
    pub fn take(&self, user: &Arc<str>, most: usize, engine: &dyn Engine, now: Now) -> Result<(), Fault> {
        self.with(user, most, engine, now, |sessions| {
            if *sessions >= most {
                return Err(Fault::new(ErrorCode::LimitReached, format!("a user may have {most} sessions")));
            }
            *sessions += 1;
            Ok(())
        })
    }

    /// Makes sure that `user` is counted, so that what is deleted later can be taken off the count. Blocks, the first
    /// time.
    ///
    /// # Errors
    /// [`Fault`]: the store cannot be read.
    pub fn know(&self, user: &Arc<str>, most: usize, engine: &dyn Engine, now: Now) -> Result<(), Fault> {
        self.with(user, most, engine, now, |_| Ok(()))
    }

    /// A session that `user` made, and that was counted ([`Quotas::know`]), is gone.
    pub fn give_back(&self, user: &Arc<str>) {
        if let Some(count) = self.users.get(user)
            && let Some(sessions) = &mut count.lock().sessions
        {
            *sessions = sessions.saturating_sub(1);
        }
    }

    fn with(
        &self,
        user: &Arc<str>,
        most: usize,
        engine: &dyn Engine,
        now: Now,
        change: impl FnOnce(&mut usize) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        if self.users.len() >= defaults::QUOTA_USERS {
            self.forget_idle(now);
        }
        let count = Arc::clone(&self.users.entry(Arc::clone(user)).or_default());
        let mut count = count.lock();
        count.used_ms = now.mono_ms;
        if count.sessions.is_none() {
            let prefix = membership::made_by(user);
            let rows = engine.scan(Table::Membership, &prefix, None, most.saturating_add(1), now.wall_ms);
            count.sessions = Some(rows.map_err(|error| Fault::unreadable_session(&error))?.len());
        }
        count.sessions.as_mut().map_or(Ok(()), change)
    }

    /// Lets go of counts that nobody used lately: whatever they counted is durable by now, and is read again.
    fn forget_idle(&self, now: Now) {
        let idle = defaults::ms(defaults::QUOTA_IDLE);
        self.users.retain(|_, count| now.mono_ms.saturating_sub(count.lock().used_ms) < idle);
    }
}
