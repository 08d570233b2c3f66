//! A shard's part of a survey: what operators are shown of its connections. Some of them at a time, so that nobody's
//! events wait for it.

use std::{cmp::Reverse, sync::Arc};

use syncbridge_codec::message::ScopeKind;

use super::{conn::Conn, core::Shard};
use crate::{
    admin::metrics::Label as _,
    defaults::SURVEY_STEP,
    hub::survey::{Described, ShardSurvey, Survey},
    transport::path::Path,
};

/// A survey of which a part was made.
#[derive(Debug)]
pub struct Begun {
    survey: Arc<Survey>,
    /// The connections from this place on are still to be looked at.
    next: usize,
    found: ShardSurvey,
}

impl Begun {
    /// A survey of which nothing was made.
    pub(super) fn of(survey: Arc<Survey>) -> Self {
        Self { survey, next: 0, found: ShardSurvey::default() }
    }
}

impl Shard {
    /// Looks at the next connections of the oldest survey: whether there is more to look at. Once a turn, and by nobody
    /// who has something of a client's to do.
    pub fn look_on(&mut self) -> bool {
        let Some(Begun { survey, next, mut found }) = self.surveys.pop_front() else { return false };
        let until = (next + SURVEY_STEP).min(self.conns.capacity());
        for index in next..until {
            if let Some(conn) = self.conns.get(index) {
                self.look_over(conn, &survey, &mut found);
            }
        }
        found.keep_worst(survey.wanted.limit);
        if until < self.conns.capacity() {
            self.surveys.push_front(Begun { survey, next: until, found });
            return true;
        }
        (found.shard, found.inbox) = (self.index, self.inbox.len());
        (found.ring_bytes, found.cut_bytes) = self.held_bytes();
        for described in &mut found.connections {
            if let Some((_, conn)) = self.by_id(described.id) {
                described.path = conn.probe.path();
            }
        }
        survey.found.hand_in(found);
        !self.surveys.is_empty()
    }

    fn look_over(&self, conn: &Conn, survey: &Survey, found: &mut ShardSurvey) {
        let identity = conn.core.identity();
        let of_one = identity.is_some_and(|identity| identity.session.is_some());
        let scope = if of_one { ScopeKind::Session } else { ScopeKind::User };
        let transport = conn.transport();
        match found.counts.iter_mut().find(|(kind, of, _)| (*kind, *of) == (transport, scope)) {
            Some((_, _, count)) => *count += 1,
            None => found.counts.push((transport, scope, 1)),
        }
        let (mut lag_events, mut lag_bytes) = (0, 0);
        for (ring, slot) in conn.subs.iter().filter_map(|sub| sub.ring) {
            let ring = &self.rings[ring as usize];
            let cursor = ring.slots()[slot as usize].cursor;
            lag_bytes += ring.end() - cursor;
            lag_events += ring.seqs_after(cursor).map_or(0, |(first, last)| last - first + 1);
        }
        let waiting_bytes = conn.outbox.bytes() as u64;
        found.blocked += usize::from(conn.blocked);
        found.behind += usize::from(lag_bytes + waiting_bytes > 0);
        let text = &survey.wanted.text;
        let said = || {
            let named = identity.is_some_and(|identity| identity.user.contains(text) || identity.device.contains(text));
            named
                || transport.label().contains(text)
                || conn.subs.iter().any(|sub| sub.session.id.contains(text))
                || format!("{:x}", conn.id.0) == *text
                || conn.core.peer().to_string().contains(text)
        };
        if !text.is_empty() && !said() {
            return;
        }
        found.matching += 1;
        let trouble = (conn.blocked, lag_bytes + waiting_bytes);
        if found.is_out_of_reach(trouble) {
            return;
        }
        let mut sessions: Vec<Arc<str>> = conn.subs.iter().map(|sub| Arc::clone(&sub.session.id)).collect();
        sessions.dedup();
        let name = |of: fn(&crate::connection::Identity) -> &Arc<str>| {
            identity.map_or_else(|| "".into(), |it| Arc::clone(of(it)))
        };
        found.connections.push(Described {
            id: conn.id,
            transport,
            scope,
            user: name(|identity| &identity.user),
            device: name(|identity| &identity.device),
            peer: conn.core.peer(),
            sessions,
            lag_events,
            lag_bytes,
            waiting_bytes,
            blocked: conn.blocked,
            catching_up: conn.catch_up.is_some(),
            busy: conn.busy,
            path: Path::default(),
        });
        if found.connections.len() >= 2 * survey.wanted.limit {
            found.keep_worst(survey.wanted.limit);
        }
    }
}

impl ShardSurvey {
    /// Whether so much trouble is less than that of all that are kept, which are enough.
    fn is_out_of_reach(&self, trouble: (bool, u64)) -> bool {
        self.floor.is_some_and(|floor| trouble <= floor)
    }

    fn keep_worst(&mut self, limit: usize) {
        self.connections.sort_by_key(|described| Reverse(described.trouble()));
        self.connections.truncate(limit);
        if self.connections.len() == limit {
            self.floor = self.connections.last().map(Described::trouble);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::Ipv4Addr;

    use futures_util::FutureExt as _;
    use syncbridge_codec::message::Transport;

    use super::*;
    use crate::{
        hub::survey::Wanted,
        shard::{core::Arrival, routed::tests},
        transport::{Framing, path::Probe},
    };

    #[test]
    fn a_survey_of_many_connections_takes_turns_and_keeps_only_as_many_as_are_wanted() {
        let mut shard = tests::shard();
        let many = 2 * SURVEY_STEP + 1;
        for _ in 0..many {
            shard.open(&Arrival {
                transport: Transport::Memory,
                peer: Ipv4Addr::LOCALHOST.into(),
                fd: -1,
                framing: Framing::Pipe,
                probe: Probe::None,
                confirmed: true,
                identity: None,
            });
        }
        let mut found = Box::pin(shard.shared().hub.survey(Wanted { text: String::new(), limit: 3 }));
        // Whoever has something of a client's to do takes all that lies in the inbox, and no look at connections with it.
        assert!(!shard.drain_inbox(usize::MAX));
        assert!(found.as_mut().now_or_never().is_none());
        let mut turns = 1;
        while shard.look_on() {
            assert!(found.as_mut().now_or_never().is_none(), "it is told once it is whole");
            turns += 1;
        }
        assert!(turns >= 3, "{turns}");
        let shards = found.now_or_never().unwrap().unwrap();
        let [one] = &shards[..] else { panic!("{shards:?}") };
        assert_eq!(one.counts, [(Transport::Memory, ScopeKind::User, many)]);
        assert_eq!((one.matching, one.connections.len(), one.behind), (many, 3, 0));
    }
}
