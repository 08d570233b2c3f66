//! Requests that REST's routes answer: which of a connection's are under way, and what happens when they are through.
//! Knows no route; the runtime has them answered, and simulations may do it as they like.

use std::{convert::Infallible, net::IpAddr, sync::Arc};

use syncbridge_codec::message;
use tokio::sync::oneshot;

use super::core::Shard;
use crate::{connection::Identity, defaults::REQUESTS_UNDER_WAY, session::ConnId};

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
