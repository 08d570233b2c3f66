//! What the shard is told by way of its inbox: events, answers, beginnings and ends of subscriptions.

use std::sync::Arc;

use bytes::Bytes;
use syncbridge_codec::{
    ErrorCode, Message,
    message::{self, Class},
};

use super::{
    conn::{Conn, Sub},
    core::{Activation, Shard},
    inbox::Item,
    survey::Begun,
};
use crate::{
    fanout::{Event, Form, Ring, TopicId},
    hub::{Revocation, Revoked, Session},
    session::ConnId,
};

impl Shard {
    /// Takes what lies in the inbox, at most `limit` items: whether more may be there.
    pub fn drain_inbox(&mut self, limit: usize) -> bool {
        for _ in 0..limit {
            let Some(item) = self.inbox.pop() else { return false };
            match item {
                Item::Event(event) => self.publish(&event),
                Item::Activate(activation) => self.activate(*activation),
                Item::Answer(id, topic, frame) => {
                    if let Some((index, _)) = self.by_id(id) {
                        self.answer(index, topic, frame);
                    }
                }
                Item::Durable(topic, frame) => self.tell_durable(topic, &frame),
                Item::End(topic, frame) => self.end_topic(topic, &frame, false),
                Item::Moved(topic, frame) => self.end_topic(topic, &frame, true),
                Item::Close(id, code, text) => {
                    if let Some((index, _)) = self.by_id(id) {
                        self.end(index, code, text);
                    }
                }
                Item::Revoke(revocation) => self.revoke(&revocation),
                Item::Survey(survey) => self.surveys.push_back(Begun::of(survey)),
                Item::Adopt(adopted) => self.adopted.push(*adopted),
                Item::Drain(frame) => {
                    self.draining = Some(frame.clone());
                    for index in self.conns.iter().map(|(index, _)| index as u32).collect::<Vec<_>>() {
                        self.drain_conn(index, frame.clone());
                    }
                }
            }
        }
        !self.inbox.is_empty()
    }

    pub(super) fn by_id(&mut self, id: ConnId) -> Option<(u32, &mut Conn)> {
        let index = super::index_of(id);
        self.conns.get_mut(index as usize).filter(|conn| conn.id == id).map(|conn| (index, conn))
    }

    pub(super) fn publish(&mut self, event: &Event) {
        let topic = event.topic;
        let origin = event.origin.as_ref().and_then(|(id, accepted)| Some((self.by_id(*id)?.0, Some(accepted))));
        // Flat JSON is not told of its own changes, though the answer be withheld.
        let origin = origin.or_else(|| {
            let (index, conn) = self.by_id(event.withheld?)?;
            conn.core.is_json().then_some((index, None))
        });
        // In the writer's own stream the answer takes the event's place: what came before it goes first.
        if let Some((index, _)) = origin {
            self.flush_ring_part(index, topic);
        }
        for form in Form::ALL {
            let Some(index) = self.topics.get(&(topic, form)).copied() else { continue };
            let ring = &mut self.rings[index as usize];
            let was_due = ring.is_due();
            ring.push(event.seq, event.payload(form));
            self.counts.events += 1;
            self.counts.deliveries += ring.slots().len() as u64;
            if !was_due && ring.is_due() {
                self.due.push_back(index);
            }
            if ring.overfull(self.shared.bounds.max_lag) {
                self.let_go_of_lagging(index, topic);
            }
        }
        let Some((index, accepted)) = origin else { return };
        let conn = &mut self.conns[index as usize];
        let is_json = conn.core.is_json();
        match conn.sub_mut(topic) {
            // The event itself will say it: the snapshot that it belongs behind is still to come.
            Some(sub) if sub.held && !is_json => return,
            Some(Sub { ring: Some((ring, slot)), .. }) => {
                let ring = &mut self.rings[*ring as usize];
                let end = ring.end();
                ring.slot_mut(*slot).cursor = end;
            }
            _ => {}
        }
        if let Some(accepted) = accepted {
            self.answer(index, topic, accepted.clone());
        }
    }

    /// Queues a frame for a connection behind what it was not yet given of the topic.
    fn answer(&mut self, index: u32, topic: TopicId, frame: Bytes) {
        let frame = self.ahead(index, frame);
        let max_lag = self.shared.bounds.max_lag;
        let conn = &mut self.conns[index as usize];
        let stuck = conn.blocked && conn.outbox.bytes() > max_lag;
        match conn.sub_mut(topic) {
            Some(sub) if sub.held || sub.ring.is_none() => return sub.behind.push(frame),
            Some(sub) if stuck => {
                // What it lacks does not fit: as if it lagged, it gets the newest state once it reads again.
                sub.behind.push(frame);
                if let Some((ring, slot)) = sub.ring.take() {
                    self.leave_ring(ring, slot);
                }
                return;
            }
            Some(_) => self.flush_ring_part(index, topic),
            None => {}
        }
        self.conns[index as usize].send_of(topic, Class::Session, frame);
        self.mark(index);
    }

    pub(super) fn activate(&mut self, activation: Activation) {
        let Activation { conn: id, session, prelude, notices, held, durable } = activation;
        let index = super::index_of(id);
        let Some(conn) = self.conns.get_mut(index as usize).filter(|conn| conn.id == id) else {
            // `remove` drains the inbox before it forgets a connection, so nobody subscribes for one that is gone.
            debug_assert!(false, "a subscription of a connection that is gone");
            return;
        };
        let form = conn.framing.form();
        let mut topics = vec![session.state_topic()];
        if notices.is_some() {
            topics.push(session.notice_topic());
        }
        // In flat JSON they come behind the state, which is one message and may still be being encoded.
        let notices = notices.unwrap_or_default();
        let (now, later) = if held && form == Form::Json { (Vec::new(), notices) } else { (notices, Vec::new()) };
        for frame in prelude.into_iter().chain(now) {
            conn.send_of(session.state_topic(), Class::Session, frame);
        }
        for topic in topics {
            let held = held && topic == session.state_topic();
            let rings = &mut self.rings;
            let ring = *self.topics.entry((topic, form)).or_insert_with(|| rings.insert(Ring::new(form)) as u32);
            if let Some((ring, slot)) = self.conns[index as usize].sub_mut(topic).and_then(|sub| sub.ring.take()) {
                self.leave_ring(ring, slot);
            }
            let conn = &mut self.conns[index as usize];
            let slot = self.rings[ring as usize].subscribe(conn.fd, index, true);
            if let Some(sub) = conn.sub_mut(topic) {
                (sub.ring, sub.held) = (Some((ring, slot)), held);
            } else {
                conn.subs.reserve_exact(1);
                let (session, ring) = (Arc::clone(&session), Some((ring, slot)));
                conn.subs.push(Sub { topic, session, ring, held, durable, behind: Vec::new(), durable_due: None });
            }
        }
        if let Some(sub) = self.conns[index as usize].sub_mut(session.state_topic()) {
            sub.behind.extend(later);
        }
        self.release(index, &session);
    }

    /// Sends the answers that waited for a snapshot, unless it is still to come.
    pub(super) fn release(&mut self, index: u32, session: &Arc<Session>) {
        let topic = session.state_topic();
        if self.conns[index as usize].sub_mut(topic).is_some_and(|sub| !sub.held && !sub.behind.is_empty()) {
            self.flush_ring_part(index, topic);
            let conn = &mut self.conns[index as usize];
            let behind = conn.sub_mut(topic).map(|sub| std::mem::take(&mut sub.behind)).unwrap_or_default();
            for frame in behind {
                conn.send_of(topic, Class::Session, frame);
            }
        }
        self.mark(index);
    }

    /// `Durable` is cumulative: each subscriber that wants it has one place for it, sent once all else is.
    pub(super) fn tell_durable(&mut self, topic: TopicId, frame: &Bytes) {
        let Self { topics, rings, conns, dirty, .. } = self;
        let of_topic = Form::ALL.iter().filter_map(|form| topics.get(&(topic, *form)));
        for slot in of_topic.flat_map(|ring| rings[*ring as usize].slots()) {
            let conn = &mut conns[slot.conn as usize];
            let Some(sub) = conn.sub_mut(topic).filter(|sub| sub.durable) else { continue };
            sub.durable_due = Some(frame.clone());
            if !conn.dirty {
                conn.dirty = true;
                dirty.push(slot.conn);
            }
        }
    }

    /// Moves what the connection has not been given of a topic into its outbox, so that what follows comes after it.
    pub(super) fn flush_ring_part(&mut self, index: u32, topic: TopicId) {
        let conn = &mut self.conns[index as usize];
        let Some(sub) = conn.sub_mut(topic).filter(|sub| !sub.held) else { return };
        let (Some((ring, slot)), of) = (sub.ring, Some(sub.session.state_topic())) else { return };
        let ring = &mut self.rings[ring as usize];
        let cursor = ring.slots()[slot as usize].cursor;
        if conn.framing.is_websocket() {
            let bytes = ring.bytes_after(cursor);
            if !bytes.is_empty() {
                conn.outbox.push_of(of, Class::Session, Bytes::copy_from_slice(bytes));
            }
        } else {
            for (_, frame) in ring.frames_after(cursor) {
                conn.outbox.push_of(of, Class::Session, frame.clone());
            }
        }
        let end = ring.end();
        ring.slot_mut(slot).cursor = end;
    }

    pub(super) fn end_topic(&mut self, topic: TopicId, frame: &Bytes, moved: bool) {
        let most = self.shared.bounds.max_subscriptions;
        // Not by the rings' slots: who lags behind, or is caught up with what the store has, has none.
        let subscribed = |conn: &Conn| conn.subs.iter().any(|sub| sub.topic == topic);
        let conns: Vec<u32> =
            self.conns.iter().filter(|(_, conn)| subscribed(conn)).map(|(index, _)| index as u32).collect();
        for index in conns {
            self.flush_ring_part(index, topic);
            let conn = &mut self.conns[index as usize];
            conn.send(Class::Session, frame.clone());
            if let Some(session) = conn.sub_mut(topic).map(|sub| Arc::clone(&sub.session)) {
                if moved && !conn.moved.contains(&session.id) {
                    // Whoever has not come back to the first of so many has nothing on its way to it any more.
                    if conn.moved.len() >= most {
                        conn.moved.remove(0);
                    }
                    conn.moved.push(Arc::clone(&session.id));
                }
                self.unsubscribe(index, &session);
            }
            self.mark(index);
        }
    }

    /// A ring is too long: who lags behind in it is taken off, and reset (state) or told what it missed (notices).
    pub(super) fn let_go_of_lagging(&mut self, ring: u32, topic: TopicId) {
        let lagging: Vec<u32> =
            self.rings[ring as usize].lagging(self.shared.bounds.max_lag).map(|slot| slot.conn).collect();
        for index in lagging {
            let conn = &mut self.conns[index as usize];
            let Some(sub) = conn.subs.iter_mut().find(|sub| sub.topic == topic) else { continue };
            let Some((ring, slot)) = sub.ring else { continue };
            if topic == sub.session.state_topic() {
                sub.ring = None;
                self.leave_ring(ring, slot);
            } else {
                let ring = &mut self.rings[ring as usize];
                let cursor = ring.slots()[slot as usize].cursor;
                if let Some((from, to)) = ring.seqs_after(cursor) {
                    let session = sub.session.id.as_ref().into();
                    let end = ring.end();
                    ring.slot_mut(slot).cursor = end;
                    let of = sub.session.state_topic();
                    conn.send_of(of, Class::Session, Message::from(message::Lagged { session, from, to }).to_frame());
                }
            }
            self.mark(index);
        }
        self.rings[ring as usize].trim();
    }

    /// Ends what is taken back. What was not delivered is not delivered any more.
    fn revoke(&mut self, revocation: &Revocation) {
        for index in self.conns.iter().map(|(index, _)| index as u32).collect::<Vec<_>>() {
            let Some(who) = self.conns[index as usize].core.identity() else { continue };
            match &revocation.what {
                Revoked::Member { session, user, last } if who.user == *user => {
                    let conn = &mut self.conns[index as usize];
                    let catches_up = conn.catch_up.take_if(|catch_up| Arc::ptr_eq(&catch_up.session, session));
                    let subscribed = conn.subscribes(session);
                    if subscribed {
                        self.leave(index, session, false);
                    }
                    let conn = &mut self.conns[index as usize];
                    conn.outbox.revoke(session.state_topic());
                    if subscribed || catches_up.is_some() {
                        conn.send(Class::Session, last.clone());
                    }
                    self.mark(index);
                }
                _ if revocation.ends(who) => {
                    for session in self.sessions_of(index) {
                        self.leave(index, &session, false);
                    }
                    self.conns[index as usize].outbox.clear();
                    self.end(index, ErrorCode::Unauthenticated, "what let this connection in was revoked");
                }
                _ => {}
            }
        }
        revocation.acknowledge();
    }

    pub(super) fn unsubscribe(&mut self, index: u32, session: &Arc<Session>) {
        self.leave(index, session, false);
    }

    /// Takes a connection off a session's rings. `gone`: so is the connection.
    pub(super) fn leave(&mut self, index: u32, session: &Arc<Session>, gone: bool) {
        let conn = &mut self.conns[index as usize];
        let id = conn.id;
        let (mut notices, mut durable) = (false, false);
        let mut left = Vec::new();
        conn.subs.retain(|sub| {
            if !Arc::ptr_eq(&sub.session, session) {
                return true;
            }
            notices |= sub.topic == session.notice_topic();
            durable |= sub.durable && sub.topic == session.state_topic();
            left.push((sub.topic, sub.ring));
            false
        });
        if conn.catch_up.as_ref().is_some_and(|catch_up| Arc::ptr_eq(&catch_up.session, session)) {
            conn.catch_up = None;
        }
        let form = conn.framing.form();
        for (topic, ring) in left {
            if let Some((ring, slot)) = ring {
                self.leave_ring(ring, slot);
            }
            self.drop_ring_if_empty(topic, form);
        }
        self.shared.hub.unsubscribe(session, id, notices, durable, gone, self.now);
    }

    pub(super) fn leave_ring(&mut self, ring: u32, slot: u32) {
        let moved_from = self.rings[ring as usize].slots().len() as u32 - 1;
        if let Some(moved) = self.rings[ring as usize].unsubscribe(slot) {
            for sub in &mut self.conns[moved as usize].subs {
                if sub.ring == Some((ring, moved_from)) {
                    sub.ring = Some((ring, slot));
                }
            }
        }
    }

    pub(super) fn drop_ring_if_empty(&mut self, topic: TopicId, form: Form) {
        if let Some(ring) = self.topics.get(&(topic, form)).copied()
            && self.rings[ring as usize].slots().is_empty()
        // A lagging connection keeps its interest: its reset makes the ring anew.
        {
            self.topics.remove(&(topic, form));
            self.rings.remove(ring as usize);
            self.due.retain(|due| *due != ring);
        }
    }
}
