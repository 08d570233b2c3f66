//! Requests that REST's routes answer: which of a connection's are under way, and what happens when they are through.
//! Knows no route; the runtime has them answered, and simulations may do it as they like.

use std::{convert::Infallible, net::IpAddr, sync::Arc};

use syncbridge_codec::message;
use tokio::sync::oneshot;

use super::core::Shard;
use crate::{
    connection::Identity,
    defaults::{HELLO_AFTER_ANSWER, REQUESTS_UNDER_WAY, ms},
    session::ConnId,
};

/// A request to be answered.
#[derive(Debug)]
pub struct Asked {
    /// Whose it is.
    pub conn: ConnId,
    /// Its name among those of the connection: the client's `id` may come twice.
    pub key: u64,
    /// What is asked.
    pub request: message::Request,
    /// Who asks; `None` before `Welcome`.
    pub caller: Option<Arc<Identity>>,
    /// Where the connection comes from.
    pub peer: IpAddr,
    /// Resolves when nobody waits for the answer any more.
    pub ended: oneshot::Receiver<Infallible>,
}

/// What is being answered to one connection. Dropping it tells those who answer.
#[derive(Debug, Default)]
pub struct UnderWay {
    next: u64,
    requests: Vec<Request>,
    late: Late,
}

/// What holds a connection whose time for `Hello` is over.
#[derive(Debug, Clone, Copy, Default)]
enum Late {
    #[default]
    Nothing,
    /// Requests below this key, which were under way when it was over.
    Answers(u64),
    /// Nothing more from this moment on, monotonic milliseconds.
    Until(u64),
}

#[derive(Debug)]
struct Request {
    key: u64,
    /// The client's name for it.
    id: u64,
    _waits: oneshot::Sender<Infallible>,
}

impl UnderWay {
    /// Whether another has to wait.
    pub const fn is_full(&self) -> bool {
        self.requests.len() >= REQUESTS_UNDER_WAY
    }

    fn begin(&mut self, id: u64) -> (u64, oneshot::Receiver<Infallible>) {
        let (waits, ended) = oneshot::channel();
        let key = self.next;
        self.next += 1;
        self.requests.push(Request { key, id, _waits: waits });
        (key, ended)
    }

    /// The time for `Hello` is over: when to look again, unless the connection ends. What is under way then is answered,
    /// for a handoff may wait for a person, and `Hello` may follow the answer. What is asked from then on holds nothing.
    pub fn holds(&mut self, now_ms: u64) -> Option<u64> {
        self.late = match self.late {
            Late::Nothing if self.requests.is_empty() => return None,
            Late::Nothing => Late::Answers(self.next),
            Late::Answers(next) if self.requests.iter().all(|request| request.key >= next) => {
                Late::Until(now_ms + ms(HELLO_AFTER_ANSWER))
            }
            late => late,
        };
        match self.late {
            Late::Until(at) => Some(at).filter(|at| *at > now_ms),
            Late::Nothing | Late::Answers(_) => Some(now_ms + ms(HELLO_AFTER_ANSWER)),
        }
    }

    /// The client's name for a request that is through.
    fn end(&mut self, key: u64) -> Option<u64> {
        let at = self.requests.iter().position(|request| request.key == key)?;
        let request = self.requests.swap_remove(at);
        if self.requests.is_empty() {
            // An idle connection holds nothing.
            self.requests = Vec::new();
        }
        Some(request.id)
    }
}

impl Shard {
    pub(super) fn ask(&mut self, index: u32, request: message::Request) {
        let Some(conn) = self.conns.get_mut(index as usize) else { return };
        let (key, ended) = conn.under_way.begin(request.id);
        let caller = conn.core.identity().cloned().map(Arc::new);
        self.asked.push_back(Asked { conn: conn.id, key, request, caller, peer: conn.core.peer(), ended });
    }

    /// The next request that is to be answered by [`Shard::answer_asked`], or not at all once it ended.
    pub fn next_asked(&mut self) -> Option<Asked> {
        self.asked.pop_front()
    }

    /// A request was answered: says so, and takes the next that waited.
    pub fn answer_asked(&mut self, id: ConnId, key: u64, mut response: message::Response) {
        let now = self.now;
        let Some((index, conn)) = self.by_id(id) else { return };
        let Some(asked) = conn.under_way.end(key) else { return };
        conn.core.alive(now);
        response.id = asked;
        self.say(index, &response.into());
        self.run(index);
        if let Some(conn) = self.conns.get_mut(index as usize) {
            conn.wake();
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use syncbridge_codec::{
        Message, handshake,
        message::{Class, Scope, Transport},
    };
    use syncbridge_storage::engine::memory::Memory;

    use super::*;
    use crate::{
        admin::Metrics,
        connection::Timing,
        hub::{self, Hub},
        persist::{self, Persist},
        session::{self, Now},
        shard::{
            core::{Arrival, Bounds, Shared},
            inbox::Inbox,
        },
        transport::Framing,
    };

    pub fn now() -> Now {
        Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 }
    }

    pub fn shard() -> Shard {
        let metrics = Metrics::new(1);
        let bounds = persist::Bounds { busy_age_ms: 25, max_queued: 16, max_bytes: 1 << 20 };
        let persist = Persist::new(bounds, now, Arc::clone(&metrics));
        persist.attach(Arc::new(Memory::open(persist.clone())));
        shard_on(&persist, metrics)
    }

    /// A shard of this store.
    pub fn shard_on(persist: &Arc<Persist>, metrics: Arc<Metrics>) -> Shard {
        let inbox: Arc<Inbox> = Arc::default();
        let bounds = hub::Bounds {
            unload_after_ms: 1_000,
            max_inbox: 100,
            max_sessions: 10_000,
            max_members: 1_000,
            max_connections: 100,
            session: session::Bounds::default(),
        };
        let (hub, _) = Hub::new(persist, vec![Arc::clone(&inbox)], false, bounds, Arc::clone(&metrics));
        let shared = Shared {
            hub,
            authenticate: Arc::new(|hello, _| {
                let (user, device) = ((&*hello.token).into(), (&*hello.device).into());
                Ok(Identity { user, device, incarnation: hello.incarnation, session: None, family: None })
            }),
            timing: Timing { hello_ms: 10_000, auth_ms: Some(60_000), heartbeat_ms: 20_000 },
            bounds: Bounds {
                max_client_frame: 1 << 20,
                max_server_frame: 1 << 20,
                max_document: 1 << 20,
                max_subscriptions: 10,
                max_lag: 1 << 16,
                max_cut: 1 << 20,
            },
            metrics,
        };
        Shard::new(0, shared, inbox, now())
    }

    fn open(shard: &mut Shard, confirmed: bool) -> u32 {
        let peer = std::net::Ipv4Addr::LOCALHOST.into();
        shard.open(&Arrival {
            transport: Transport::Quic,
            peer,
            fd: -1,
            framing: Framing::Streams,
            probe: crate::transport::path::Probe::None,
            confirmed,
            identity: None,
        })
    }

    fn say(shard: &mut Shard, index: u32, message: impl Into<Message>) {
        shard.receive_chunk(index, Class::Control, message.into().to_frame());
    }

    pub fn hello() -> Message {
        handshake::Client::hello("ann".into(), "phone".into(), 1, Scope::default(), Vec::new()).into()
    }

    fn request(id: u64) -> message::Request {
        message::Request { id, path: "/devices".into(), ..message::Request::default() }
    }

    #[test]
    fn before_hello_nobody_asks_and_after_it_the_connections_user_does() {
        let mut shard = shard();
        let index = open(&mut shard, true);
        say(&mut shard, index, request(1));
        say(&mut shard, index, hello());
        say(&mut shard, index, request(2));
        assert!(shard.next_asked().unwrap().caller.is_none());
        assert_eq!(&*shard.next_asked().unwrap().caller.unwrap().user, "ann");
    }

    #[test]
    fn what_may_be_a_replay_is_not_asked_before_the_handshake_is_confirmed() {
        let mut shard = shard();
        let index = open(&mut shard, false);
        say(&mut shard, index, request(1));
        say(&mut shard, index, hello());
        say(&mut shard, index, request(2));
        assert!(shard.next_asked().is_none());
        shard.confirm(index);
        let asked = [shard.next_asked().unwrap(), shard.next_asked().unwrap()];
        assert!(asked[0].caller.is_none() && asked[1].caller.is_some());
    }

    #[test]
    fn so_many_are_under_way_and_the_connection_is_read_again_when_one_is_through() {
        let mut shard = shard();
        let index = open(&mut shard, true);
        say(&mut shard, index, hello());
        let most = REQUESTS_UNDER_WAY as u64;
        for id in 0..most + 2 {
            say(&mut shard, index, request(id));
        }
        let mut asked: Vec<_> = std::iter::from_fn(|| shard.next_asked()).collect();
        assert!(asked.iter().map(|asked| asked.request.id).eq(0..most));
        assert!(!shard.conn_mut(index).unwrap().wants_read());
        for next in most..most + 2 {
            let through = asked.remove(3);
            shard.answer_asked(through.conn, through.key, message::Response::default());
            asked.push(shard.next_asked().unwrap());
            assert_eq!(asked.last().unwrap().request.id, next);
            assert!(shard.next_asked().is_none());
        }
        assert!(shard.conn_mut(index).unwrap().wants_read());
    }

    #[test]
    fn what_is_under_way_when_the_time_for_hello_is_over_is_answered_and_hello_may_follow() {
        for (says_hello, asks_more) in [(true, false), (false, false), (false, true)] {
            let mut shard = shard();
            let at = |seconds: u64| Now { mono_ms: now().mono_ms + 1_000 * seconds, ..now() };
            let index = open(&mut shard, true);
            say(&mut shard, index, request(1));
            let asked = shard.next_asked().unwrap();
            for second in 1..=60 {
                shard.set_now(at(second));
                shard.tick();
                // What was asked in time would hold the connection as well.
                if asks_more && second > 11 && second % 10 == 0 {
                    say(&mut shard, index, request(second));
                }
            }
            assert!(shard.conn_mut(index).unwrap().closing.is_none(), "a person takes a minute");
            shard.answer_asked(asked.conn, asked.key, message::Response::default());
            if says_hello {
                say(&mut shard, index, hello());
            }
            for second in 61..=70 {
                shard.set_now(at(second));
                shard.tick();
            }
            assert_eq!(shard.conn_mut(index).is_some_and(|conn| conn.closing.is_none()), says_hello, "{asks_more}");
        }
    }

    #[test]
    fn requests_end_with_their_connection_and_an_answer_that_comes_late_goes_nowhere() {
        let mut shard = shard();
        let index = open(&mut shard, true);
        say(&mut shard, index, hello());
        say(&mut shard, index, request(1));
        let mut asked = shard.next_asked().unwrap();
        assert_eq!(asked.ended.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        shard.remove(index);
        assert_eq!(asked.ended.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        // The place is used again, by a connection that asked nothing.
        let next = open(&mut shard, true);
        assert_eq!(next, index);
        shard.answer_asked(asked.conn, asked.key, message::Response::default());
        assert!(shard.is_sent(next));
    }

    #[test]
    fn a_request_belongs_to_the_control_stream() {
        let mut shard = shard();
        let index = open(&mut shard, true);
        say(&mut shard, index, hello());
        shard.receive_chunk(index, Class::Session, Message::from(request(1)).to_frame());
        assert!(shard.conn_mut(index).unwrap().closing.is_some());
    }
}
