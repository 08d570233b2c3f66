//! One connection's own task: reads what comes, writes when the sweep may not or cannot, and ends the connection.
//! While its socket takes everything it only reads.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use bytes::Bytes;

use super::{
    conn::Ending,
    core::{Arrival, Shard},
    runtime::Local,
};
use crate::transport::{Link, Output, Received};

/// See the file's head. Dropping it removes the connection from its shard, before the link (and its socket) goes.
pub struct Task<L: Link> {
    local: Rc<Local>,
    index: u32,
    link: L,
    confirmed: bool,
}

impl<L: Link> Task<L> {
    /// Takes a link in, with what was already read of it.
    pub fn new(local: Rc<Local>, mut link: L, mut already: Vec<u8>) -> Self {
        let confirmed = link.confirmed();
        let arrival = Arrival {
            transport: link.transport(),
            peer: link.peer(),
            fd: link.direct(),
            framing: link.framing(),
            probe: link.probe(),
            confirmed,
            identity: link.identity(),
        };
        let index = local.with(|shard| {
            let index = shard.open(&arrival);
            if !already.is_empty() {
                shard.receive(index, &mut already);
            }
            index
        });
        Self { local, index, link, confirmed }
    }

    /// Whether the connection goes on.
    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let Self { local, index, link, confirmed } = self;
            let index = *index;
            let Some(state) = local.with(|shard| state(shard, index, cx)) else { return Poll::Ready(()) };
            if state.aborted {
                return Poll::Ready(());
            }
            let mut sent_all = true;
            if state.writes {
                match link.poll_send(cx, &mut Source { local, index }) {
                    Poll::Ready(Ok(())) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => sent_all = false,
                }
            }
            if let Some(ending) = state.closing {
                // The flusher wakes this task when a plain socket's output is sent.
                let sent = sent_all && local.with(|shard| shard.is_sent(index));
                return if sent { link.poll_close(cx, ending.code()) } else { Poll::Pending };
            }
            // Before the question whether to read: what waits for the confirmation keeps it from reading.
            if !*confirmed && link.poll_confirmed(cx) {
                *confirmed = true;
                local.with(|shard| shard.confirm(index));
                continue;
            }
            let Some((wants_read, is_ready)) =
                local.with(|shard| shard.conn_mut(index).map(|conn| (conn.wants_read(), conn.core.is_ready())))
            else {
                return Poll::Ready(());
            };
            if !wants_read {
                return Poll::Pending;
            }
            if is_ready {
                link.admit();
            }
            let received = {
                let mut scratch = local.scratch.borrow_mut();
                match link.poll_receive(cx, &mut scratch) {
                    Poll::Pending => None,
                    Poll::Ready(Ok(Received::Bytes(read))) => {
                        local.with(|shard| shard.receive(index, &mut scratch[..read]));
                        Some(())
                    }
                    Poll::Ready(Ok(Received::Chunk(class, chunk))) => {
                        local.with(|shard| shard.receive_chunk(index, class, chunk));
                        Some(())
                    }
                    Poll::Ready(Ok(Received::End) | Err(_)) => return Poll::Ready(()),
                }
            };
            if received.is_none() {
                return Poll::Pending;
            }
        }
    }
}

struct State {
    aborted: bool,
    closing: Option<Ending>,
    /// Whether this task writes now, and not the flusher.
    writes: bool,
}

fn state(shard: &mut Shard, index: u32, cx: &Context<'_>) -> Option<State> {
    let conn = shard.conn_mut(index)?;
    match &mut conn.waker {
        Some(waker) => waker.clone_from(cx.waker()),
        none => *none = Some(cx.waker().clone()),
    }
    Some(State { aborted: conn.aborted, closing: conn.closing, writes: conn.fd < 0 || conn.blocked })
}

impl<L: Link> Future for Task<L> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        // Nothing in it is pinned.
        self.turn(cx)
    }
}

impl<L: Link> Unpin for Task<L> {}

impl<L: Link> Drop for Task<L> {
    fn drop(&mut self) {
        let index = self.index;
        let ending = self.local.with(|shard| {
            let ending = shard.conn_mut(index).and_then(|conn| conn.closing);
            shard.remove(index);
            ending
        });
        self.link.abandon(ending.map_or(0, Ending::code));
        self.local.gone.notify_one();
    }
}

struct Source<'a> {
    local: &'a Local,
    index: u32,
}

impl Output for Source<'_> {
    fn bytes(&mut self, out: &mut Vec<u8>) {
        self.local.with(|shard| shard.output(self.index, out));
    }

    fn sent(&mut self, bytes: usize) {
        self.local.with(|shard| shard.sent(self.index, bytes));
    }

    fn take_back(&mut self, session: &mut VecDeque<Bytes>) {
        self.local.with(|shard| shard.take_back(self.index, session));
    }

    fn frames(&mut self, streams: &mut [VecDeque<Bytes>; 2]) -> bool {
        self.local.with(|shard| shard.output_frames(self.index, streams))
    }
}
