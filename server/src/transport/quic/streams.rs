//! A QUIC link, with WebTransport around it or not, as a shard's task drives every link: two streams of frames, handed
//! over without copying.

use std::{
    collections::VecDeque,
    future::Future,
    io,
    net::IpAddr,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use syncbridge_codec::message::{Class, Transport};

use super::{LinkError, QuicLink};
use crate::transport::{Framing, Link, Output, Received, path::Probe};

/// See the file's head.
pub struct Streams {
    link: QuicLink,
    /// What was taken from the shard and not yet by QUIC: control, session.
    queues: [VecDeque<Bytes>; 2],
    finishing: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Streams {
    /// Takes over an accepted link. Its session stream is read from [`Link::admit`] on.
    pub const fn new(mut link: QuicLink) -> Self {
        link.hold_session(true);
        Self { link, queues: [VecDeque::new(), VecDeque::new()], finishing: None }
    }
}

fn gone(error: LinkError) -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, error)
}

impl Link for Streams {
    fn transport(&self) -> Transport {
        self.link.transport()
    }

    fn peer(&self) -> IpAddr {
        self.link.remote_address().ip().to_canonical()
    }

    fn framing(&self) -> Framing {
        Framing::Streams
    }

    fn probe(&self) -> Probe {
        self.link.probe()
    }

    fn confirmed(&self) -> bool {
        self.link.confirmed()
    }

    fn poll_confirmed(&mut self, cx: &mut Context<'_>) -> bool {
        self.link.poll_confirmed(cx)
    }

    fn admit(&mut self) {
        self.link.hold_session(false);
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>, _scratch: &mut [u8]) -> Poll<io::Result<Received>> {
        Poll::Ready(match ready!(self.link.poll_recv(cx)) {
            Ok(Some((class, chunk))) => Ok(Received::Chunk(class, chunk)),
            Ok(None) => Ok(Received::End),
            Err(error) => Err(gone(error)),
        })
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, output: &mut dyn Output) -> Poll<io::Result<()>> {
        output.take_back(&mut self.queues[1]);
        loop {
            // Both are tried: a client that does not read one stream must not block the other.
            let control = self.link.poll_send(cx, Class::Control, &mut self.queues[0]).map_err(gone)?;
            let session = self.link.poll_send(cx, Class::Session, &mut self.queues[1]).map_err(gone)?;
            ready!(control);
            ready!(session);
            // Idle connections hold no queues.
            self.queues = [VecDeque::new(), VecDeque::new()];
            if !output.frames(&mut self.queues) {
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn abandon(&mut self, code: u32) {
        // Without this the connection would end with code 0, as if nothing were wrong. After a close it does nothing.
        self.link.close(code, "");
    }

    fn poll_close(&mut self, cx: &mut Context<'_>, code: u32) -> Poll<()> {
        let link = &mut self.link;
        let finishing = self.finishing.get_or_insert_with(|| Box::pin(link.finish(code)));
        ready!(finishing.as_mut().poll(cx));
        self.link.close(code, "");
        Poll::Ready(())
    }
}
