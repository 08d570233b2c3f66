//! What comes from the server, message by message. Never sends by itself: it queues.

use bytestring::ByteString;
use syncbridge_codec::{
    ErrorCode, Message, ProtocolError,
    handshake::{Answer, Established},
    message::{self, Class, Position},
};

use super::{
    Core, Disconnect, Drain, Event, Fault, Link, SessionEvent, apply,
    session::{Session, Subscription},
    snapshot::Assembly,
};
use crate::error::{Refusal, ServerError};

impl Core {
    pub(super) fn receive(&mut self, now: u64, class: Class, message: Message) -> Result<(), Fault> {
        if let Message::Response(response) = message {
            // May come before `Welcome`.
            self.on_response(now, response);
            return Ok(());
        }
        match &mut self.link {
            // On QUIC the session's stream may be faster than the control stream.
            Link::On(connection) if class == Class::Control && !connection.handshake.is_done() => {
                let answer = connection.handshake.receive(message)?;
                self.on_answer(now, answer);
                Ok(())
            }
            _ => self.dispatch(now, message),
        }
    }

    fn on_answer(&mut self, now: u64, answer: Answer) {
        match answer {
            Answer::Welcome(established) => self.on_welcome(*established),
            Answer::Refused(refused) => self.on_refused(now, refused),
            Answer::Reply(pong) => self.control.push_back(pong.into()),
            Answer::Pong(_) => {}
            Answer::Closed(close) => self.on_close(now, close),
        }
    }

    fn dispatch(&mut self, now: u64, message: Message) -> Result<(), Fault> {
        match message {
            Message::Welcome(_) | Message::Refused(_) => {
                let name = message.name();
                return Err(ProtocolError::UnexpectedMessage { name, when: "twice" }.into());
            }
            Message::Ping(ping) => self.control.push_back(message::Pong { nonce: ping.nonce }.into()),
            Message::Error(error) => self.on_error(now, error),
            Message::Draining(draining) => self.on_draining(now, &draining),
            Message::Close(close) => self.on_close(now, close),
            Message::Created(created) => {
                let id = created.session.clone();
                self.with(&id, now, |session, events| {
                    session.on_created(&created, events);
                    Ok(())
                })?;
                self.ask(&id, now);
            }
            Message::Document(document) => self.on_document(document)?,
            Message::Resumed(resumed) => {
                let id = resumed.session.clone();
                self.with(&id, now, |session, events| session.on_resumed(&resumed, events))?;
            }
            Message::Reset(reset) => {
                let (id, max) = (reset.session.clone(), self.config.limits.max_document);
                self.with(&id, now, |session, events| session.on_reset(reset, max, events))?;
            }
            Message::Unsubscribed(unsubscribed) => self.on_unsubscribed(&unsubscribed),
            Message::Accepted(accepted) => {
                let (id, incarnation) = (accepted.session.clone(), self.config.incarnation);
                self.with(&id, now, |session, events| session.on_accepted(accepted, incarnation, events))?;
            }
            Message::Conflict(conflict) => {
                let id = conflict.session.clone();
                self.with(&id, now, |session, events| {
                    session.on_conflict(conflict, events);
                    Ok(())
                })?;
            }
            Message::Delta(delta) => {
                let (id, incarnation) = (delta.session.clone(), self.config.incarnation);
                self.with(&id, now, |session, events| session.on_delta(delta, incarnation, events))?;
            }
            Message::Durable(durable) => {
                self.with(&durable.session, now, |session, events| {
                    session.on_durable(durable.at.clone(), events);
                    Ok(())
                })?;
            }
            Message::SnapshotBegin(begin) => {
                if let Some(assembly) = self.loading_get(&begin.session) {
                    return assembly.begin(&begin.at, begin.size);
                }
                self.with(&begin.session, now, |session, _| session.on_snapshot_begin(&begin.at, begin.size))?;
            }
            Message::SnapshotPart(part) => {
                if let Some(assembly) = self.loading_get(&part.session) {
                    return assembly.part(part.offset, &part.bytes);
                }
                self.with(&part.session, now, |session, _| session.on_snapshot_part(part.offset, &part.bytes))?;
            }
            Message::SnapshotEnd(end) => {
                if self.loading_get(&end.session).is_some() {
                    return self.on_get_end(&end);
                }
                self.with(&end.session, now, |session, events| session.on_snapshot_end(end.checksum, events))?;
            }
            Message::Presence(presence) => {
                let id = presence.session.clone();
                self.with(&id, now, |session, events| {
                    session.on_presence(presence, events);
                    Ok(())
                })?;
            }
            Message::DeviceJoined(joined) => {
                self.with(&joined.session, now, |session, events| {
                    session.on_joined(joined.seq, joined.device.clone(), events);
                    Ok(())
                })?;
            }
            Message::DeviceLeft(left) => {
                let id = left.session.clone();
                self.with(&id, now, |session, events| {
                    session.on_left(left, events);
                    Ok(())
                })?;
            }
            Message::HandoffRequested(requested) => {
                let id = requested.session.clone();
                self.with(&id, now, |session, events| {
                    session.on_handoff_requested(requested, events);
                    Ok(())
                })?;
            }
            Message::HandoffCompleted(completed) => {
                let id = completed.session.clone();
                self.with(&id, now, |session, events| {
                    session.on_handoff_completed(completed, events);
                    Ok(())
                })?;
            }
            Message::AccessChanged(changed) => self.on_access_changed(now, changed)?,
            Message::SessionDeleted(deleted) => {
                let Some(entry) = self.sessions.get_mut(&deleted.session) else { return Ok(()) };
                let mut told = vec![SessionEvent::Deleted];
                entry.end(&ServerError::of(ErrorCode::NotFound, "the session was deleted"), &mut told);
                self.tell(&deleted.session, told);
                self.leave(&deleted.session);
            }
            Message::Lagged(lagged) => self.on_lagged(now, &lagged.session)?,
            // A sign of life, counted when its bytes came; the rest is refused by its direction before it gets here.
            _ => {}
        }
        Ok(())
    }

    /// Lets a session take something in, and passes on what it tells. Messages about sessions that were left are
    /// leftovers.
    fn with(
        &mut self,
        id: &ByteString,
        now: u64,
        take: impl FnOnce(&mut Session, &mut Vec<SessionEvent>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let Some(entry) = self.sessions.get_mut(id) else { return Ok(()) };
        let mut told = Vec::new();
        let result = take(entry, &mut told);
        for event in &told {
            match event {
                SessionEvent::Resumed { .. } => self.stats.resumed += 1,
                SessionEvent::Reset { reason, .. } => {
                    self.stats.resets += 1;
                    self.stats.lost += u64::from(*reason == message::ResetReason::Lost);
                }
                _ => {}
            }
        }
        self.tell(id, told);
        self.tidy(id, now);
        result
    }

    pub(super) fn tell(&mut self, session: &ByteString, events: Vec<SessionEvent>) {
        self.events.extend(events.into_iter().map(|event| Event::Session { session: session.clone(), event }));
    }

    fn on_welcome(&mut self, established: Established) {
        let Link::On(connection) = &mut self.link else { return };
        self.stats.connections += 1;
        let user = established.user.clone();
        self.events.push_back(Event::Connected {
            connection: established.connection,
            user: established.user.clone(),
            device: established.device.clone(),
        });
        connection.established = Some(established);
        self.on_signed_in(user);
    }

    fn on_refused(&mut self, now: u64, refused: message::Refused) {
        let message::Refused { code, name, text, retryable, retry_after_ms } = refused;
        self.hang_up(0, ByteString::new());
        let error = ServerError { number: code, name, text, retryable, retry_after_ms };
        if is_denied(&error) && self.on_unauthenticated(now) {
            return;
        }
        if retryable { self.lost(now, Disconnect::Server(error), retry_after_ms) } else { self.stop(error) }
    }

    fn on_close(&mut self, now: u64, close: message::Close) {
        let code = ErrorCode::from_number(close.code);
        let name = ByteString::from_static(code.map_or("closed", ErrorCode::name));
        let retryable = code.is_none_or(ErrorCode::retryable);
        self.ended(
            now,
            ServerError { number: close.code, name, text: close.text, retryable, retry_after_ms: None },
            None,
        );
    }

    /// The server ends the connection. Only where coming back as the same client cannot help, the client stays away.
    pub(super) fn ended(&mut self, now: u64, error: ServerError, retry_after: Option<u64>) {
        self.hang_up(0, ByteString::new());
        if is_denied(&error) && self.on_unauthenticated(now) {
            return;
        }
        match error.code() {
            Some(
                ErrorCode::Unauthenticated
                | ErrorCode::TokenExpired
                | ErrorCode::UnsupportedVersion
                | ErrorCode::Replaced,
            ) => self.stop(error),
            _ => self.lost(now, Disconnect::Server(error), retry_after),
        }
    }

    fn on_draining(&mut self, now: u64, draining: &message::Draining) {
        let at = now + draining.reconnect_after_ms + self.rng.u64(0..=draining.window_ms);
        let address = Some(draining.address.clone()).filter(|address| !address.is_empty());
        self.drain = Some(Drain { at, address });
        self.events.push_back(Event::Draining { reconnect_at: at });
    }

    fn on_error(&mut self, now: u64, error: message::Error) {
        let message::Error { code, name, text, retryable, answers, session, op, retry_after_ms, address } = error;
        let error = ServerError { number: code, name, text, retryable, retry_after_ms };
        if let (Some(ErrorCode::Moved), Some(id)) = (error.code(), &session)
            && self.sessions.contains_key(id)
        {
            return self.on_moved(now, id, error, address);
        }
        if let (Some(id), Some(counter)) = (&session, op) {
            return self.on_op_error(now, id, counter, &error, retry_after_ms);
        }
        if let Some(request) = answers {
            return self.on_request_error(now, request, error, retry_after_ms);
        }
        if error.code().is_some_and(ErrorCode::fatal) {
            return self.ended(now, error, retry_after_ms);
        }
        match session {
            Some(id) if self.sessions.contains_key(&id) => self.on_session_error(now, &id, error, retry_after_ms),
            _ => self.events.push_back(Event::Warning { error }),
        }
    }

    fn on_op_error(&mut self, now: u64, id: &ByteString, counter: u64, error: &ServerError, retry_after: Option<u64>) {
        let Some(entry) = self.sessions.get_mut(id) else { return };
        if error.retryable {
            if entry.queue.get(counter).is_some() {
                // Not applied: this op and all after it go out again, in order.
                entry.queue.rewind(counter);
                self.pause(now, id, retry_after);
            }
            return;
        }
        entry.busy_rounds = 0;
        let mut told = Vec::new();
        let was_unmade = entry.is_unmade();
        entry.refuse(counter, &Refusal::Error(error.clone()), &mut told);
        let unmade = was_unmade && entry.replica.is_none() && entry.queue.is_empty();
        if unmade {
            entry.end(error, &mut told);
        }
        self.tell(id, told);
        if unmade { self.leave(id) } else { self.tidy(id, now) }
    }

    /// Another server has the session. Everything unconfirmed is sent again there. This client goes along when nothing
    /// that it wants is left here, since it has one connection; else it asks again from time to time, until the session
    /// can be had here.
    fn on_moved(&mut self, now: u64, id: &ByteString, error: ServerError, address: ByteString) {
        let Some(entry) = self.sessions.get_mut(id) else { return };
        entry.on_moved();
        if !address.is_empty() && self.sessions.values().all(|entry| entry.is_away) {
            self.hang_up(0, ByteString::from_static("moved"));
            self.elsewhere = Some(address);
            return self.lost(now, Disconnect::Moved(error), None);
        }
        self.pause(now, id, error.retry_after_ms);
        self.events.push_back(Event::Warning { error });
    }

    fn on_request_error(&mut self, now: u64, request: u64, error: ServerError, retry_after: Option<u64>) {
        if self.gets.remove(&request).is_some() {
            self.events.push_back(Event::GetFailed { request, error });
            return;
        }
        let asked = self.sessions.values().find(|entry| {
            matches!(entry.subscription, Subscription::Asked { id } | Subscription::Leaving { id } if id == request)
        });
        let Some((id, subscription)) = asked.map(|entry| (entry.id.clone(), entry.subscription)) else {
            self.events.push_back(Event::Warning { error });
            return;
        };
        if matches!(subscription, Subscription::Leaving { .. }) {
            self.leave(&id);
        } else {
            self.on_session_error(now, &id, error, retry_after);
        }
    }

    /// A subscription could not be had, or is over.
    fn on_session_error(&mut self, now: u64, id: &ByteString, error: ServerError, retry_after: Option<u64>) {
        let Some(entry) = self.sessions.get_mut(id) else { return };
        if error.retryable {
            if matches!(entry.subscription, Subscription::Asked { .. } | Subscription::Resuming) {
                entry.subscription = Subscription::Idle;
                self.pause(now, id, retry_after);
            }
            self.events.push_back(Event::Warning { error });
            return;
        }
        let mut told = Vec::new();
        entry.end(&error, &mut told);
        self.tell(id, told);
        self.leave(id);
    }

    /// Who lost the last right to a session is no longer subscribed to it.
    fn on_access_changed(&mut self, now: u64, changed: message::AccessChanged) -> Result<(), Fault> {
        let user = match &self.link {
            Link::On(connection) => connection.established.as_ref().map(|established| &established.user),
            Link::Offline { .. } | Link::Connecting => None,
        };
        let over = changed.role.is_none() && user == Some(&changed.user);
        let id = changed.session.clone();
        self.with(&id, now, |session, events| {
            session.on_access_changed(changed, events);
            Ok(())
        })?;
        if over {
            let error = ServerError::of(ErrorCode::NotFound, "this user is no member of the session any more");
            self.on_session_error(now, &id, error, None);
        }
        Ok(())
    }

    fn on_unsubscribed(&mut self, message: &message::Unsubscribed) {
        if let Some(entry) = self.sessions.get(&message.session)
            && entry.subscription == (Subscription::Leaving { id: message.id })
        {
            self.leave(&message.session);
        }
    }

    /// Notices were dropped: subscribing again from where the client stands brings the presence anew.
    fn on_lagged(&mut self, now: u64, id: &ByteString) -> Result<(), Fault> {
        self.with(id, now, |session, events| {
            events.push(SessionEvent::NoticesLagged);
            if session.subscription == Subscription::Live {
                session.subscription = Subscription::Idle;
            }
            Ok(())
        })?;
        self.ask(id, now);
        Ok(())
    }

    // Documents that were asked for once.

    fn on_document(&mut self, document: message::Document) -> Result<(), Fault> {
        let message::Document { id, session, at, state, active_device } = document;
        let Some(get) = self.gets.get_mut(&id) else { return Ok(()) };
        if let Some(text) = state {
            return self.answer_get(id, session, at, &text, active_device);
        }
        get.loading = Some((Assembly::new(at, self.config.limits.max_document), active_device));
        Ok(())
    }

    /// The document in parts that belongs to a `Get`, if the session's own snapshot is not what comes.
    fn loading_get(&mut self, session: &ByteString) -> Option<&mut Assembly> {
        if self.gets.is_empty() || self.sessions.get(session).is_some_and(Session::is_loading) {
            return None;
        }
        let get = self.gets.values_mut().find(|get| get.session == *session && get.loading.is_some())?;
        get.loading.as_mut().map(|(assembly, _)| assembly)
    }

    fn on_get_end(&mut self, end: &message::SnapshotEnd) -> Result<(), Fault> {
        let mut gets = self.gets.iter_mut();
        let found = gets.find(|(_, get)| get.session == end.session && get.loading.is_some());
        let Some((id, get)) = found else { return Ok(()) };
        let id = *id;
        let Some((assembly, active_device)) = get.loading.take() else { return Ok(()) };
        let (at, text) = assembly.end(end.checksum)?;
        self.answer_get(id, end.session.clone(), at, &text, active_device)
    }

    fn answer_get(
        &mut self,
        request: u64,
        session: ByteString,
        at: Position,
        text: &[u8],
        active_device: Option<ByteString>,
    ) -> Result<(), Fault> {
        let document = apply::parse_document(text).map_err(|text| Fault::Diverged {
            session: session.clone(),
            version: at.version,
            text,
        })?;
        self.gets.remove(&request);
        self.events.push_back(Event::Document { request, session, at, document, active_device });
        Ok(())
    }
}

/// Whether the server does not take the token.
const fn is_denied(error: &ServerError) -> bool {
    matches!(error.code(), Some(ErrorCode::Unauthenticated | ErrorCode::TokenExpired))
}
