//! Looking over every shard's connections, for operators: how many of which kind, and those that are in the worst way or
//! that somebody searches for. A shard looks at some of them at a time, between its other work.

use std::{net::IpAddr, sync::Arc};

use syncbridge_codec::{
    ErrorCode,
    message::{ScopeKind, Transport},
};

use super::{Hub, Live, Session, gather::Gather};
use crate::{session::ConnId, shard::inbox::Item, transport::path::Path};

/// What is looked for.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Connections whose id, user, device, session, address or transport has this in it; empty: all.
    pub text: String,
    /// How many are described, those in the worst way.
    pub limit: usize,
}

/// A look over all shards, on its way through them.
#[derive(Debug)]
pub struct Survey {
    /// What is looked for.
    pub wanted: Wanted,
    /// What each shard has.
    pub found: Gather<ShardSurvey>,
}

/// What one shard has.
#[derive(Debug, Clone, Default)]
pub struct ShardSurvey {
    /// Which shard.
    pub shard: usize,
    /// How many connections, by transport and scope.
    pub counts: Vec<(Transport, ScopeKind, usize)>,
    /// Connections that take nothing now.
    pub blocked: usize,
    /// Connections that have not taken all of what there is for them.
    pub behind: usize,
    /// Items in its inbox.
    pub inbox: usize,
    /// Events that are kept for subscribers, bytes.
    pub ring_bytes: usize,
    /// The rests of frames that were cut, bytes.
    pub cut_bytes: usize,
    /// How many connections are what is looked for.
    pub matching: usize,
    /// Those of them in the worst way, the worst first.
    pub connections: Vec<Described>,
    /// The least trouble among those that are kept, once they are enough.
    pub(crate) floor: Option<(bool, u64)>,
}

/// A connection.
#[derive(Debug, Clone)]
pub struct Described {
    /// Its name in the process.
    pub id: ConnId,
    /// What it runs over.
    pub transport: Transport,
    /// What it is for.
    pub scope: ScopeKind,
    /// Its user; empty before it is let in.
    pub user: Arc<str>,
    /// Its device.
    pub device: Arc<str>,
    /// Where it comes from.
    pub peer: IpAddr,
    /// The sessions that it is subscribed to.
    pub sessions: Vec<Arc<str>>,
    /// Events of those that it has not taken.
    pub lag_events: u64,
    /// Their bytes.
    pub lag_bytes: u64,
    /// Bytes of answers that it has not taken.
    pub waiting_bytes: u64,
    /// Its socket takes nothing now.
    pub blocked: bool,
    /// It catches up from the store.
    pub catching_up: bool,
    /// Something that it asked for is being done.
    pub busy: bool,
    /// How the way to it is.
    pub path: Path,
}

impl Described {
    /// What orders connections: the larger, the worse.
    pub const fn trouble(&self) -> (bool, u64) {
        (self.blocked, self.lag_bytes + self.waiting_bytes)
    }
}

/// A session in memory.
#[derive(Debug, Clone)]
pub struct LiveSession {
    /// Its id.
    pub id: Arc<str>,
    /// Its version.
    pub version: u64,
    /// Its epoch.
    pub epoch: u64,
    /// Size of its document as JSON, bytes.
    pub bytes: usize,
    /// Connections that are subscribed to it.
    pub subscribers: usize,
    /// When it was last used, milliseconds of the server's own clock.
    pub used_ms: u64,
}

impl Hub {
    /// Looks over the connections of every shard. Nothing when the shards are gone.
    pub fn survey(&self, wanted: Wanted) -> impl Future<Output = Option<Vec<ShardSurvey>>> + Send + use<> {
        let (found, whole) = Gather::new(self.inboxes.len());
        let survey = Arc::new(Survey { wanted, found });
        for inbox in &self.inboxes {
            inbox.push(Item::Survey(Arc::clone(&survey)));
        }
        async move {
            let mut shards = whole.await.ok()?;
            shards.sort_by_key(|shard| shard.shard);
            Some(shards)
        }
    }

    /// Sessions in memory whose id has `text` in it: how many, and the `limit` with the most subscribers. Looks at all of
    /// them, each under its lock for as long as it takes to read some numbers.
    pub fn survey_sessions(&self, text: &str, limit: usize) -> (usize, Vec<LiveSession>) {
        let sessions: Vec<Arc<Session>> = self
            .sessions
            .iter()
            .filter(|entry| entry.key().contains(text))
            .map(|entry| Arc::clone(entry.value()))
            .collect();
        let mut found: Vec<LiveSession> = sessions.iter().map(|session| session.described()).collect();
        found.sort_by(|a, b| b.subscribers.cmp(&a.subscribers).then_with(|| b.used_ms.cmp(&a.used_ms)));
        found.truncate(limit);
        (sessions.len(), found)
    }

    /// Ends a connection, if it is there.
    pub fn disconnect(&self, conn: ConnId, code: ErrorCode, text: &'static str) {
        if let Some(inbox) = self.inbox(conn) {
            inbox.push(Item::Close(conn, code, text));
        }
    }
}

impl Session {
    fn described(&self) -> LiveSession {
        let live = self.live.lock();
        let Live { core, interest, used_ms, .. } = &*live;
        let at = core.position();
        LiveSession {
            id: Arc::clone(&self.id),
            version: at.version,
            epoch: at.epoch,
            bytes: core.document().json_size(),
            subscribers: interest.iter().map(|shard| shard.state as usize).sum(),
            used_ms: *used_ms,
        }
    }
}
