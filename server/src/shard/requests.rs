//! What a connection asks for, carried out in its order; what may block becomes a job.

use std::sync::Arc;

use syncbridge_codec::{
    ErrorCode, Message, handshake,
    message::{self, Class},
};

use super::{
    core::{Shard, Shared},
    job::{CatchUp, Done, Job},
};
use crate::{
    auth::access::Operation,
    connection::{Command, Identity, Subscription},
    defaults::CATCH_UP_BELOW,
    fanout::Form,
    hub::{Fault, Request, Session, Snapshot, Subscribed},
    session::{ConnId, Op, Preparation},
};

impl Shard {
    /// Carries out what the connection asked for, in order, until something has to wait.
    pub(super) fn run(&mut self, index: u32) {
        loop {
            let Some(conn) = self.conns.get_mut(index as usize) else { return };
            if conn.busy || conn.catch_up.is_some() || conn.closing.is_some() {
                return;
            }
            // Until the handshake is confirmed all of it may be a replay: only what changes nothing is answered.
            if !conn.confirmed && conn.todo.front().is_some_and(|command| !command.is_harmless()) {
                return;
            }
            if matches!(conn.todo.front(), Some(Command::Request(_))) && conn.under_way.is_full() {
                return;
            }
            let Some(command) = conn.todo.pop_front() else {
                conn.todo = std::collections::VecDeque::new();
                return;
            };
            self.carry_out(index, command, None);
        }
    }

    /// The connection's handshake is confirmed: it is no replay.
    pub fn confirm(&mut self, index: u32) {
        let Some(conn) = self.conns.get_mut(index as usize) else { return };
        if std::mem::replace(&mut conn.confirmed, true) {
            return;
        }
        let (id, transport) = (conn.id, conn.transport());
        if let Some(identity) = conn.core.identity().cloned() {
            self.shared.hub.take_over(&identity, id);
            self.shared.hub.seen().note(&identity, self.now);
            self.drain_inbox(usize::MAX);
            for session in self.sessions_of(index).into_iter().filter(|_| !identity.device.is_empty()) {
                self.shared.hub.attach(&session, id, &identity, transport, self.now);
            }
        }
        self.run(index);
    }

    pub(super) fn carry_out(&mut self, index: u32, command: Command, found: Option<Arc<Session>>) {
        let Some(conn) = self.conns.get_mut(index as usize) else { return };
        let command = match command {
            Command::Hello(hello) => return self.greet(index, &hello),
            Command::Close => {
                return self.end_well(index);
            }
            Command::Request(request) => return self.ask(index, request),
            other => other,
        };
        if !conn.core.is_ready() && conn.core.is_json() && !self.imply(index) {
            let fault = Fault::new(ErrorCode::Unauthenticated, "`auth` comes first");
            return self.answer_command(index, &command, &fault);
        }
        let Some(conn) = self.conns.get_mut(index as usize) else { return };
        let Some(identity) = conn.core.identity().cloned() else {
            return self.end(index, ErrorCode::UnexpectedMessage, "nothing may be asked before Welcome");
        };
        let (id, is_json) = (conn.id, conn.core.is_json());
        if let Command::AnswerHandoff(answer) = &command {
            if let Err(fault) = self.shared.hub.answer_handoff(&identity, answer, self.now) {
                self.say_fault(index, &fault);
            }
            return;
        }
        let session = command.session().cloned().unwrap_or_default();
        if identity.session.as_ref().is_some_and(|only| **only != *session) {
            let fault = Fault::new(ErrorCode::Forbidden, "this connection is for another session only");
            return self.answer_command(index, &command, &fault);
        }
        if !conn.moved.is_empty() {
            match &command {
                // Those before it were refused, so order wants that it is too.
                Command::Update(..) if conn.moved.iter().any(|moved| **moved == *session) => {
                    return self.answer_command(index, &command, &Fault::moved(None));
                }
                Command::Subscribe(_) => conn.moved.retain(|moved| **moved != *session),
                _ => {}
            }
        }
        let found = match found.or_else(|| self.shared.hub.find(&session)) {
            None if !matches!(command, Command::Create(_) | Command::Unsubscribe(_)) => {
                return self.start(index, Job::Load(session.to_string(), command));
            }
            found => found,
        };
        let command = match command {
            Command::Update(..) if is_json => {
                let Some(update) = self.hold(index, command) else { return };
                update
            }
            other => other,
        };
        match (command, found) {
            (Command::Create(create), _) => self.start(index, Job::Create(create)),
            (Command::Get(get), Some(session)) => self.get(index, &get, &session, &identity),
            (Command::Subscribe(subscription), Some(session)) => self.subscribe(index, &session, &subscription),
            (Command::Unsubscribe(unsubscribe), found) => {
                self.drain_inbox(usize::MAX);
                let subscribed =
                    found.filter(|session| self.conns.get(index as usize).is_some_and(|conn| conn.subscribes(session)));
                if let Some(session) = subscribed {
                    self.unsubscribe(index, &session);
                    let message::Unsubscribe { id, session } = unsubscribe;
                    self.say(index, &message::Unsubscribed { id, session }.into());
                } else {
                    let fault = Fault::new(ErrorCode::NotSubscribed, "this connection is not subscribed to it");
                    self.answer_fault(index, &fault, Some(unsubscribe.id), None, &unsubscribe.session);
                }
            }
            (Command::Update(update, _), _) if update.counter == 0 && !is_json => {
                let fault = Fault::new(ErrorCode::InvalidField, "counters begin with 1");
                self.answer_fault(index, &fault, None, Some(0), &update.session);
            }
            (Command::Update(update, tag), Some(session)) => {
                let op = self.op(index, update, tag, &identity);
                let result = self.shared.hub.update(&session, id, &identity, &op, self.now);
                self.updated(index, session, op, result);
            }
            (_, None) | (Command::AnswerHandoff(_) | Command::Hello(_) | Command::Request(_) | Command::Close, _) => {}
        }
    }

    /// Goes on after an update: nothing more to do, more work off the shard, or a refusal.
    pub(super) fn updated(
        &mut self,
        index: u32,
        session: Arc<Session>,
        op: Op,
        result: Result<Option<Preparation>, Fault>,
    ) {
        match result {
            Ok(None) => {}
            Ok(Some(preparation)) => {
                self.start(index, Job::Prepare(session, Box::new(op), Box::new(preparation)));
            }
            Err(fault) => self.answer_fault(index, &fault, None, Some(op.answers()), &op.update.session),
        }
    }

    pub(super) fn greet(&mut self, index: u32, hello: &handshake::Request) {
        let Shared { hub, authenticate, .. } = &self.shared;
        if self.conns.get(index as usize).is_some_and(|conn| conn.core.is_ready()) {
            if let Err((code, text)) = self.sign_in_again(index, hello) {
                self.say(index, &message::Refused::new(code, text).into());
                return self.end(index, ErrorCode::Unauthenticated, "not let in");
            }
        } else {
            let known = authenticate(hello, self.now).and_then(|identity| {
                hub.connected(&identity.user).map(|()| identity).map_err(|fault| (fault.code, fault.text))
            });
            match known {
                Ok(identity) => self.let_in(index, identity),
                Err((code, text)) => return self.refuse(index, code, &text),
            }
        }
        let Shared { timing, bounds, hub, .. } = &self.shared;
        let Some(conn) = self.conns.get_mut(index as usize) else { return };
        let Some(identity) = conn.core.identity() else { return };
        let welcome = hello.welcome(handshake::Grant {
            connection: conn.id.0,
            epoch: hub.epoch(),
            server_time_ms: self.now.wall_ms,
            user: identity.user.as_ref().into(),
            device: identity.device.as_ref().into(),
            limits: handshake::Limits {
                max_client_frame: bounds.max_client_frame,
                max_server_frame: bounds.max_server_frame,
                max_document: bounds.max_document as u64,
                max_subscriptions: bounds.max_subscriptions as u32,
                heartbeat_ms: timing.heartbeat_ms as u32,
            },
        });
        for cursor in hello.resume.iter().rev() {
            // A notice topic resumes with its session: its cursor is of no use after the connection.
            if cursor.kind == message::TopicKind::State {
                let asked = message::Subscribe {
                    id: 0,
                    session: cursor.topic.clone(),
                    have: Some(message::Position { epoch: cursor.epoch, version: cursor.seq }),
                    notices: hello.resume_notices,
                    durable: hello.resume_durable,
                };
                conn.todo.push_front(Command::Subscribe(Subscription::new(asked, None)));
            }
        }
        self.say(index, &welcome.into());
    }

    pub(super) fn get(&mut self, index: u32, get: &message::Get, session: &Arc<Session>, identity: &Identity) {
        let (at, document, active) = match self.shared.hub.read(session, identity) {
            Ok(found) => found,
            Err(fault) => return self.answer_fault(index, &fault, Some(get.id), None, &get.session),
        };
        let mut answer = message::Document {
            id: get.id,
            session: get.session.clone(),
            at: at.clone(),
            state: None,
            active_device: active,
        };
        if document.json_size() <= syncbridge_codec::SNAPSHOT_PART {
            answer.state = Some(document.to_json().into());
            let answer = Message::from(answer).to_frame();
            if let Some(conn) = self.conns.get_mut(index as usize) {
                conn.send_of(session.state_topic(), Class::Session, answer);
                self.mark(index);
            }
        } else {
            let form = self.conns.get(index as usize).map_or(Form::Native, |conn| conn.framing.form());
            let snapshot = Snapshot { session: Arc::clone(session), at, document, head: answer.into(), form };
            self.start(index, Job::Document(get.id, Box::new(snapshot)));
        }
    }

    pub(super) fn subscribe(&mut self, index: u32, session: &Arc<Session>, subscription: &Subscription) {
        let Subscription { asked: subscribe, id, resumed, list } = subscription;
        let id = *id;
        // What lies in the inbox for this connection comes first, so that its subscriptions are what they seem.
        self.drain_inbox(usize::MAX);
        let Some(conn) = self.conns.get(index as usize) else { return };
        if conn.subscribes(session) {
            self.unsubscribe(index, session);
        } else if self.sessions_of(index).len() >= self.shared.bounds.max_subscriptions {
            // Whoever may not see it is not told of a limit, as they are not for a session that does not exist.
            if let Err(fault) = self.still_may(index, session, Operation::Subscribe) {
                return self.answer_fault(index, &fault, id, None, &subscribe.session);
            }
            let fault = Fault::new(ErrorCode::LimitReached, "too many subscriptions on this connection");
            return self.answer_fault(index, &fault, id, None, &subscribe.session);
        }
        let Some(conn) = self.conns.get(index as usize) else { return };
        let request = Request {
            id,
            have: subscribe.have.clone(),
            notices: subscribe.notices,
            list: subscribe.notices && *list,
            durable: subscribe.durable,
            transport: conn.transport(),
            present: conn.is_present(),
            reset: None,
            continued: !resumed,
            counted: false,
        };
        self.subscribe_now(index, session, request);
    }

    /// Asks the hub. Whether the subscription begins, now or when the store was read.
    pub(super) fn subscribe_now(&mut self, index: u32, session: &Arc<Session>, request: Request) -> bool {
        let Some(conn) = self.conns.get(index as usize) else { return false };
        let Some(identity) = conn.core.identity() else { return false };
        match self.shared.hub.subscribe(session, conn.id, identity, &request, self.now) {
            Ok(Subscribed::Live) => {}
            Ok(Subscribed::Held(snapshot)) => self.start(index, Job::Reset(snapshot)),
            Ok(Subscribed::Store { after, version, epoch }) => {
                if !request.continued {
                    let resumed =
                        message::Resumed { id: request.id, session: session.id.as_ref().into(), epoch, after, version };
                    self.say(index, &resumed.into());
                }
                let request = Request { continued: true, ..request };
                let catch_up = CatchUp { session: Arc::clone(session), request, after, epoch };
                self.start(index, Job::Read(Box::new(catch_up)));
            }
            Err(fault) => {
                self.taken_away(index, session, request.id, &fault);
                return false;
            }
        }
        true
    }

    /// A subscription that is beginning, or a large answer, is of a session that the connection may not see any more.
    fn taken_away(&mut self, index: u32, session: &Arc<Session>, answers: Option<u64>, fault: &Fault) {
        let Some(identity) = self.conns.get(index as usize).and_then(|conn| conn.core.identity()) else { return };
        if let Some(deleted) = self.shared.hub.deleted(session, identity) {
            self.say(index, &deleted.into());
        } else {
            let name = bytestring::ByteString::from(session.id.as_ref());
            self.answer_fault(index, fault, answers, None, &name);
        }
    }

    /// Whether the connection may still do that, asked once more after it had to wait.
    fn still_may(&self, index: u32, session: &Arc<Session>, operation: Operation) -> Result<(), Fault> {
        let identity = self.conns.get(index as usize).and_then(|conn| conn.core.identity());
        let identity = identity.ok_or_else(|| Fault::not_found(&session.id))?;
        self.shared.hub.look(session, identity, operation, |_| ())
    }

    pub(super) fn start(&mut self, index: u32, job: Job) {
        if let Some(conn) = self.conns.get_mut(index as usize) {
            conn.busy = true;
            self.jobs.push_back((conn.id, index, job));
        }
    }

    /// Goes on after a job.
    pub fn finish(&mut self, id: ConnId, done: Done) {
        let index = super::index_of(id);
        let Some(conn) = self.conns.get_mut(index as usize).filter(|conn| conn.id == id) else { return };
        conn.busy = false;
        conn.core.alive(self.now);
        match done {
            Done::Loaded(command, _, Ok(Some(session))) => {
                if !matches!(command, Command::Update(..)) {
                    self.waited(index);
                }
                self.carry_out(index, command, Some(session));
            }
            Done::Loaded(command, session, Ok(None)) => {
                let fault =
                    Fault::new(ErrorCode::NotFound, format!("there is no session {session:?} that you may see"));
                self.answer_command(index, &command, &fault);
            }
            Done::Loaded(command, _, Err(fault)) => {
                let refused = if fault.code == ErrorCode::Busy { self.wait(index, command) } else { Some(command) };
                if let Some(command) = refused {
                    self.answer_command(index, &command, &fault);
                }
            }
            Done::Created(_, _, Ok(())) => {}
            Done::Created(counter, session, Err(fault)) => {
                self.answer_fault(index, &fault, None, Some(counter), &session.into());
            }
            Done::Prepared(session, op, prepared) => {
                let Some(identity) = conn.core.identity().cloned() else { return };
                let result = self.shared.hub.update_prepared(&session, id, &identity, &op, *prepared, self.now);
                self.updated(index, session, *op, result);
            }
            Done::Read(catch_up, Ok(Some(frames))) => {
                match self.still_may(index, &catch_up.session, Operation::Subscribe) {
                    Ok(()) => {
                        let Some(conn) = self.conns.get_mut(index as usize) else { return };
                        for frame in frames {
                            conn.send_of(catch_up.session.state_topic(), Class::Session, frame);
                        }
                        conn.catch_up = Some(catch_up);
                        self.mark(index);
                        self.go_on(index);
                    }
                    Err(fault) => self.taken_away(index, &catch_up.session, catch_up.request.id, &fault),
                }
            }
            Done::Read(catch_up, Ok(None)) => {
                let request =
                    Request { reset: Some(message::ResetReason::TooOld), continued: true, ..catch_up.request };
                self.subscribe_now(index, &catch_up.session, request);
            }
            Done::Read(catch_up, Err(fault)) => {
                let name = bytestring::ByteString::from(catch_up.session.id.as_ref());
                self.answer_fault(index, &fault, catch_up.request.id, None, &name);
            }
            Done::Reset(session, frames) => {
                // The `Reset` itself lies in the inbox if it was not sent yet.
                self.drain_inbox(usize::MAX);
                let Some(conn) = self.conns.get_mut(index as usize) else { return };
                // It may have ended in between, by a revocation or with the session.
                if conn.subscribes(&session) {
                    for payload in frames {
                        conn.send_payload_of(session.state_topic(), Class::Session, payload);
                    }
                }
                for sub in conn.subs.iter_mut().filter(|sub| Arc::ptr_eq(&sub.session, &session)) {
                    sub.held = false;
                }
                self.release(index, &session);
            }
            Done::Document(session, id, frames) => match self.still_may(index, &session, Operation::Get) {
                Ok(()) => {
                    let Some(conn) = self.conns.get_mut(index as usize) else { return };
                    for payload in frames {
                        conn.send_payload_of(session.state_topic(), Class::Session, payload);
                    }
                    self.mark(index);
                }
                Err(fault) => self.taken_away(index, &session, Some(id), &fault),
            },
        }
        self.run(index);
        if let Some(conn) = self.conns.get_mut(index as usize) {
            conn.wake();
        }
    }

    /// A job came to a bad end: its connection is told so and ends, for what it waits for will not come.
    pub fn abandon(&mut self, id: ConnId) {
        if let Some((index, _)) = self.by_id(id) {
            self.end(index, ErrorCode::Internal, "the server failed to do what was asked");
        }
    }

    /// The next job that has to be run off the shard.
    pub fn next_job(&mut self) -> Option<(ConnId, Identity, Job)> {
        while let Some((id, index, job)) = self.jobs.pop_front() {
            let conn = self.conns.get(index as usize).filter(|conn| conn.id == id);
            if let Some(identity) = conn.and_then(|conn| conn.core.identity()) {
                return Some((id, identity.clone(), job));
            }
        }
        None
    }

    /// The connection has little or nothing waiting: goes on with catching up and with what lagged.
    pub(super) fn go_on(&mut self, index: u32) {
        let Some(conn) = self.conns.get_mut(index as usize) else { return };
        if conn.busy || conn.closing.is_some() || conn.outbox.bytes() > CATCH_UP_BELOW {
            return;
        }
        if let Some(catch_up) = conn.catch_up.take() {
            let CatchUp { session, request, after, epoch } = *catch_up;
            let request = Request { have: Some(message::Position { epoch, version: after }), ..request };
            self.subscribe_now(index, &session, request);
            return self.run(index);
        }
        let lagged = conn.subs.iter().find(|sub| sub.ring.is_none() && sub.topic == sub.session.state_topic());
        if let Some(sub) = lagged
            && conn.outbox.is_empty()
        {
            let session = Arc::clone(&sub.session);
            let request = Request {
                id: None,
                have: None,
                notices: false,
                list: false,
                durable: sub.durable,
                transport: conn.transport(),
                present: conn.is_present(),
                reset: Some(message::ResetReason::Lagged),
                continued: false,
                counted: true,
            };
            if self.subscribe_now(index, &session, request) {
                // At once, so that nobody finds it lagging again.
                self.drain_inbox(usize::MAX);
            } else {
                self.unsubscribe(index, &session);
            }
        }
    }
}
