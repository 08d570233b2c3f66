//! A link inside one process, for tests of whole clients without sockets. Never used otherwise.

use bytes::Bytes;
use bytestring::ByteString;
use syncbridge_codec::message::Class;
use tokio::sync::mpsc;

use super::{Batch, Incoming, Link, Via};
use crate::defaults;

/// The server's end of a [`memory`] link.
#[derive(Debug)]
pub struct MemoryLink {
    to_client: mpsc::Sender<Incoming>,
    from_client: mpsc::Receiver<Batch>,
    pending: std::collections::VecDeque<Bytes>,
}

/// A link whose bytes never leave the process: the client's end and the server's.
pub fn memory() -> (Link, MemoryLink) {
    let (to_client, incoming) = mpsc::channel(defaults::INCOMING_CHUNKS);
    let (control, from_client) = mpsc::channel(1);
    let link = Link { via: Via::Memory, control, session: None, incoming, tasks: tokio::task::JoinSet::new() };
    (link, MemoryLink { to_client, from_client, pending: std::collections::VecDeque::new() })
}

impl MemoryLink {
    /// The client's next frame; `None` when it ended the link.
    pub async fn recv(&mut self) -> Option<Bytes> {
        loop {
            if let Some(frame) = self.pending.pop_front() {
                return Some(frame);
            }
            match self.from_client.recv().await? {
                Batch::Frames(frames) => self.pending.extend(frames),
                Batch::End { last, .. } => {
                    self.from_client.close();
                    return Some(last);
                }
            }
        }
    }

    /// Sends bytes, in any chunking; `false` when the client is gone.
    pub async fn send(&self, bytes: Bytes) -> bool {
        self.to_client.send(Incoming::Bytes(Class::Control, bytes)).await.is_ok()
    }

    /// Breaks the link; `false` when it was over.
    pub async fn cut(self, reason: &str) -> bool {
        self.to_client.send(Incoming::Closed { code: None, text: ByteString::from(reason) }).await.is_ok()
    }
}
