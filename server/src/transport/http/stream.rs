//! The stream under hyper. It holds back the bare answers that hyper gives by itself to what is not HTTP, so that they can
//! be told as problems like everything else, and it ends when the peer reads nothing for too long.

use std::{
    future::Future as _,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep},
};

use crate::defaults;

/// See the file's head.
pub struct Guarded<S> {
    pub inner: S,
    /// The status of an answer that was held back.
    pub held_back: Option<u16>,
    /// Runs while the peer takes nothing.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Guarded<S> {
    pub const fn new(inner: S) -> Self {
        Self { inner, held_back: None, stalled: None }
    }

    /// What a write came to, unless it has been waiting for too long.
    fn in_time(&mut self, cx: &mut Context<'_>, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if result.is_ready() {
            if let Some(stalled) = &mut self.stalled {
                stalled.as_mut().reset(Instant::now() + defaults::WRITE_STALL);
            }
            return result;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(defaults::WRITE_STALL)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

/// The status of an answer that hyper has made by itself: an error of the peer's without a word about it. Answers of
/// ours that are errors always have a body.
fn bare(bytes: &[u8]) -> Option<u16> {
    let status = bytes.strip_prefix(b"HTTP/1.1 4")?;
    let empty = b"content-length: 0\r\n";
    let whole = bytes.len() < 256 && bytes.ends_with(b"\r\n\r\n");
    if !whole || !bytes.windows(empty.len()).any(|window| window == empty) {
        return None;
    }
    let status: u16 = std::str::from_utf8(status.get(..2)?).ok()?.parse().ok()?;
    [400, 414, 431].into_iter().find(|known| *known == 400 + status)
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(status) = bare(buf) {
            self.held_back = Some(status);
            return Poll::Ready(Ok(buf.len()));
        }
        let result = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.in_time(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [buf] = bufs
            && let Some(status) = bare(buf)
        {
            self.held_back = Some(status);
            return Poll::Ready(Ok(buf.len()));
        }
        let result = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.in_time(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.held_back.is_some() {
            // The problem comes first.
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_hyper_says_by_itself_is_held_back() {
        let bare_answer = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\ndate: Sat, 21 Nov 2026 12:00:00 GMT\r\n\r\n";
        assert_eq!(bare(bare_answer), Some(431));
        for ours in [
            &b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n"[..],
            b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n",
            b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\nx",
        ] {
            assert_eq!(bare(ours), None);
        }
    }
}
