//! Updates of flat JSON, and what makes a session under `--open`, that come while the disk is behind: their connections
//! are not read until it has caught up, for at most [`ASK_BUSY`](defaults::ASK_BUSY), as REST waits. Native clients are
//! told `busy` at once: they try again by themselves, and know from the answer that nothing newer is durable. Clients of
//! this form do neither.

use std::mem;

use syncbridge_codec::ErrorCode;

use super::core::Shard;
use crate::{connection::Command, defaults, hub::Fault, session::ConnId};

/// The connections that wait, each once.
#[derive(Debug, Default)]
pub struct Held {
    connections: Vec<ConnId>,
    /// Whether somebody calls [`Shard::retry_held`] from time to time.
    watched: bool,
}

impl Held {
    /// Whether somebody has to begin to look after them.
    pub const fn is_unwatched(&self) -> bool {
        !self.watched && !self.connections.is_empty()
    }
}

impl Shard {
    /// Takes an update back that cannot be taken yet, as the next thing its connection does; or returns it, when it is to
    /// be carried out now, whatever comes of that.
    pub(super) fn hold(&mut self, index: u32, update: Command) -> Option<Command> {
        let behind = matches!(self.shared.hub.accepting(self.now), Err(Fault { code: ErrorCode::Busy, .. }));
        if !behind {
            self.waited(index);
            return Some(update);
        }
        self.wait(index, update)
    }

    /// Has a command that cannot be carried out yet wait, or returns it when it has waited for long enough, or cannot.
    pub(super) fn wait(&mut self, index: u32, command: Command) -> Option<Command> {
        let now = self.now.mono_ms;
        let draining = self.shared.hub.is_draining();
        let Some(conn) = self.conns.get_mut(index as usize).filter(|_| !draining) else { return Some(command) };
        let Some(flat) = conn.framing.flat() else { return Some(command) };
        if flat.waits_until_ms == 0 {
            flat.waits_until_ms = now + defaults::ms(defaults::ASK_BUSY);
        } else if flat.waits_until_ms <= now {
            flat.waits_until_ms = 0;
            return Some(command);
        }
        conn.todo.push_front(command);
        conn.busy = true;
        self.held.connections.push(conn.id);
        None
    }

    /// The connection has what it waited for, if it did.
    pub(super) fn waited(&mut self, index: u32) {
        if let Some(flat) = self.conns.get_mut(index as usize).and_then(|conn| conn.framing.flat()) {
            flat.waits_until_ms = 0;
        }
    }

    /// Whether somebody has to call [`Shard::retry_held`] every [`BUSY_RETRY`](defaults::BUSY_RETRY) from now on.
    pub fn watch_held(&mut self) -> bool {
        let begins = self.held.is_unwatched();
        self.held.watched |= begins;
        begins
    }

    /// Goes on with those that wait; whether some wait on.
    pub fn retry_held(&mut self) -> bool {
        for id in mem::take(&mut self.held.connections) {
            let Some((index, conn)) = self.by_id(id) else { continue };
            conn.busy = false;
            self.run(index);
            if let Some(conn) = self.conns.get_mut(index as usize) {
                conn.wake();
            }
        }
        self.held.watched = !self.held.connections.is_empty();
        self.held.watched
    }
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, sync::Arc};

    use bytes::Bytes;
    use syncbridge_codec::message::Transport;
    use syncbridge_storage::{
        Commit, Engine, Error, Outcome, Sink as _, Stats, StoredDelta, StoredSession, Table, engine::memory::Memory,
    };

    use super::*;
    use crate::{
        admin::Metrics,
        persist::{Bounds, Persist},
        session::Now,
        shard::{core::Arrival, routed::tests},
        transport::{Framing, path::Probe},
    };

    /// A disk that never gets ready; the test says what it has written.
    struct Stalled(Memory);

    impl Engine for Stalled {
        fn epoch(&self) -> u64 {
            self.0.epoch()
        }

        fn submit(&self, _: Commit) {}

        fn load(&self, session: &str) -> Result<Option<StoredSession>, Error> {
            self.0.load(session)
        }

        fn deltas(&self, session: &str, after: u64, max_bytes: usize) -> Result<Option<Vec<StoredDelta>>, Error> {
            self.0.deltas(session, after, max_bytes)
        }

        fn get(&self, table: Table, key: &[u8], now_ms: u64) -> Result<Option<Bytes>, Error> {
            self.0.get(table, key, now_ms)
        }

        fn scan(
            &self,
            table: Table,
            prefix: &[u8],
            after: Option<&[u8]>,
            limit: usize,
            now_ms: u64,
        ) -> Result<Vec<(Bytes, Bytes)>, Error> {
            self.0.scan(table, prefix, after, limit, now_ms)
        }

        fn close(&self) -> Result<(), Error> {
            self.0.close()
        }

        fn stats(&self) -> Stats {
            self.0.stats()
        }
    }

    /// A shard whose disk is behind as soon as one commit waits, and a connection that has made a session there.
    fn behind() -> (Shard, Arc<Persist>, u32) {
        let metrics = Metrics::new(1);
        let bounds = Bounds { busy_age_ms: 25, max_queued: 1, max_bytes: 1 << 20 };
        let persist = Persist::new(bounds, tests::now, Arc::clone(&metrics));
        persist.attach(Arc::new(Stalled(Memory::open(persist.clone()))));
        let mut shard = tests::shard_on(&persist, metrics);
        let index = shard.open(&Arrival {
            transport: Transport::Json,
            peer: Ipv4Addr::LOCALHOST.into(),
            fd: -1,
            framing: Framing::Json,
            probe: Probe::None,
            confirmed: true,
            identity: None,
        });
        shard.take_text(index, r#"{"type":"auth","token":"ann","deviceId":"phone"}"#);
        shard.take_text(index, r#"{"type":"create","sessionId":"s","state":{}}"#);
        let (conn, who, job) = shard.next_job().expect("a session is made off the shard");
        let done = job.run(&Arc::clone(&shard.shared.hub), conn, &who, tests::now());
        shard.finish(conn, done);
        said(&mut shard, index);
        (shard, persist, index)
    }

    fn update(shard: &mut Shard, index: u32, key: &str) {
        let operations = format!(r#"[{{"op":"add","path":"/{key}","value":1}}]"#);
        shard.take_text(
            index,
            &format!(r#"{{"type":"state_update","sessionId":"s","delta":{{"operations":{operations},"version":1}}}}"#),
        );
    }

    /// All that was sent to the connection since.
    fn said(shard: &mut Shard, index: u32) -> String {
        shard.drain_inbox(usize::MAX);
        let mut out = Vec::new();
        shard.output(index, &mut out);
        let sent = out.len();
        shard.sent(index, sent);
        String::from_utf8_lossy(&out).into_owned()
    }

    #[test]
    fn an_update_waits_until_the_disk_has_caught_up_and_nothing_behind_it_is_read() {
        let (mut shard, persist, index) = behind();
        update(&mut shard, index, "a");
        update(&mut shard, index, "b");
        assert_eq!(said(&mut shard, index), "");
        assert!(!shard.conn_mut(index).expect("it is there").wants_read());
        assert!(shard.has_work() && shard.watch_held() && !shard.watch_held(), "one looks after it");
        assert!(shard.retry_held(), "nothing has changed");
        persist.completed(&[(0, Outcome::Committed)]);
        // The first is now what the disk is behind with.
        assert!(shard.retry_held());
        let text = said(&mut shard, index);
        assert!(text.contains(r#""type":"state_ack""#) && text.contains(r#""version":2"#), "{text}");
        persist.completed(&[(1, Outcome::Committed)]);
        assert!(!shard.retry_held());
        let text = said(&mut shard, index);
        assert!(text.contains(r#""version":3"#), "{text}");
        assert!(shard.conn_mut(index).expect("it is there").wants_read());
        assert!(!shard.watch_held());
    }

    #[test]
    fn when_the_disk_stays_behind_the_answer_is_busy_in_the_end() {
        let (mut shard, _persist, index) = behind();
        update(&mut shard, index, "a");
        let later = |ms: u64| Now { mono_ms: tests::now().mono_ms + ms, wall_ms: tests::now().wall_ms + ms };
        let wait = defaults::ms(defaults::ASK_BUSY);
        shard.set_now(later(wait - 1));
        assert!(shard.retry_held());
        assert_eq!(said(&mut shard, index), "");
        shard.set_now(later(wait));
        assert!(!shard.retry_held());
        let text = said(&mut shard, index);
        assert!(text.contains(r#""code":"busy""#), "{text}");
        // The next one has a wait of its own.
        update(&mut shard, index, "a");
        assert_eq!(said(&mut shard, index), "");
    }

    #[test]
    fn a_connection_that_ends_while_it_waits_is_forgotten() {
        let (mut shard, _persist, index) = behind();
        update(&mut shard, index, "a");
        shard.remove(index);
        assert!(!shard.retry_held());
    }
}
