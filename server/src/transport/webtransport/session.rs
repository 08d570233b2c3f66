//! An open session: the CONNECT stream, on which either side ends it, and the streams that HTTP/3 wants held open.

use std::{
    pin::pin,
    task::{Context, Poll, ready},
};

use quinn::{RecvStream, SendStream};
use syncbridge_codec::ErrorCode;

use super::capsule::{self, Malformed, Reader};
use crate::transport::quic::LinkError;

/// See the file's head.
pub struct Session {
    /// The CONNECT stream; our side is taken by [`Session::finish`].
    send: Option<SendStream>,
    recv: RecvStream,
    capsules: Reader,
    /// How the client ended it.
    ended: Option<Result<u32, LinkError>>,
    /// Our control stream: the end of it would be an error (RFC 9114 §6.2.1).
    _settings: SendStream,
}

impl Session {
    pub(super) fn new(send: SendStream, recv: RecvStream, settings: SendStream) -> Self {
        Self { send: Some(send), recv, capsules: Reader::default(), ended: None, _settings: settings }
    }

    /// How the client ended the session, once it has: with this code, or by breaking the CONNECT stream off.
    pub fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<Result<u32, LinkError>> {
        if self.ended.is_none() {
            self.ended = Some(ready!(self.poll_end(cx)));
        }
        self.ended.clone().map_or(Poll::Pending, Poll::Ready)
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<Result<u32, LinkError>> {
        loop {
            // The future holds nothing between polls: quinn keeps the waker by stream.
            let Some(chunk) = ready!(pin!(self.recv.read_chunk(usize::MAX, true)).poll(cx))? else {
                // The end of the stream is the end of the session, with nothing wrong.
                return Poll::Ready(Ok(0));
            };
            match self.capsules.push(&chunk.bytes) {
                Ok(None) => {}
                Ok(Some(code)) => return Poll::Ready(Ok(code)),
                Err(Malformed) => {
                    let text = "the capsule that closes the session has no code".to_owned();
                    return Poll::Ready(Err(LinkError::Refused { code: ErrorCode::MalformedMessage, text }));
                }
            }
        }
    }

    /// Ends the session with this code. The future is ready when the client has acknowledged that, or is gone.
    pub fn finish(&mut self, code: u32) -> impl Future<Output = ()> + Send + use<> {
        let send = self.send.take();
        async move {
            let Some(mut send) = send else { return };
            // An error says that the client has ended it already.
            if send.write_all(&capsule::close(code)).await.is_ok() && send.finish().is_ok() {
                let _ended = send.stopped().await;
            }
        }
    }
}
