//! A shard's part of a survey: what operators are shown of its connections. Some of them at a time, so that nobody's
//! events wait for it.

use std::{cmp::Reverse, sync::Arc};

use syncbridge_codec::message::ScopeKind;

use super::{conn::Conn, core::Shard, inbox::Item};
use crate::{
    admin::metrics::Label as _,
    defaults::SURVEY_STEP,
    hub::survey::{Described, ShardSurvey, Survey},
    transport::path::Path,
};

impl Shard {
    /// Looks at the next connections of a survey; the rest comes with a later turn.
    pub(super) fn survey(&mut self, survey: &Arc<Survey>, begun: Option<Box<(u32, ShardSurvey)>>) {
        let mut begun = begun.unwrap_or_default();
        let (next, found) = &mut *begun;
        let until = (*next as usize + SURVEY_STEP).min(self.conns.capacity());
        for index in *next as usize..until {
            if let Some(conn) = self.conns.get(index) {
                self.look_over(conn, survey, found);
            }
        }
        found.keep_worst(survey.wanted.limit);
        *next = until as u32;
        if until < self.conns.capacity() {
            return self.inbox.push(Item::Survey(Arc::clone(survey), Some(begun)));
        }
        let mut found = std::mem::take(found);
        (found.shard, found.inbox) = (self.index, self.inbox.len());
        (found.ring_bytes, found.cut_bytes) = self.held_bytes();
        for described in &mut found.connections {
            if let Some((_, conn)) = self.by_id(described.id) {
                described.path = conn.probe.path();
            }
        }
        survey.deliver(found);
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
