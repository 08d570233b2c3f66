//! The one task that owns the link: it carries bytes between the core and the link, wakes the core in time and does what
//! the core asks for. Every decision is the core's.

use std::{future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use bytestring::ByteString;
use syncbridge_codec::message::Class;
use tokio::sync::mpsc;

use crate::{
    core::LinkCommand,
    defaults,
    shared::{Shared, State},
    status::Phase,
    transport::{Batch, ConnectError, Incoming, Link},
};

type Dialing = Pin<Box<dyn Future<Output = Result<Link, ConnectError>> + Send>>;

/// Frames that the core has said and the link has not taken. At most one batch a class: what is more stays in the core.
#[derive(Debug, Default)]
struct Staged {
    frames: Vec<Bytes>,
    /// A frame that did not fit into the batch.
    next: Option<Bytes>,
}

impl Staged {
    fn fill(&mut self, mut poll: impl FnMut() -> Option<Bytes>) {
        let mut bytes: usize = self.frames.iter().map(Bytes::len).sum();
        while let Some(frame) = self.next.take().or_else(&mut poll) {
            if bytes > 0 && bytes + frame.len() > defaults::BATCH_BYTES {
                self.next = Some(frame);
                return;
            }
            bytes += frame.len();
            self.frames.push(frame);
        }
    }

    fn take(&mut self) -> Batch {
        Batch::Frames(std::mem::take(&mut self.frames))
    }
}

struct Driver {
    shared: Arc<Shared>,
    link: Option<Link>,
    dialing: Option<Dialing>,
    control: Staged,
    session: Staged,
}

enum Happened {
    /// Look at the core again.
    Woken,
    Dialed(Result<Link, ConnectError>),
    Came(Incoming),
    /// The link is gone without a word.
    Gone,
}

/// Drives the core until the client is closed.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut driver =
        Driver { shared, link: None, dialing: None, control: Staged::default(), session: Staged::default() };
    while let Some(timeout) = driver.settle().await {
        let happened = driver.wait(timeout).await;
        driver.take(happened);
    }
    driver.shared.lock().finish();
    driver.shared.set_phase(Phase::Closed);
}

impl Driver {
    /// Does everything that can be done at once. When the core is to be woken next; `None`: the client is closed.
    async fn settle(&mut self) -> Option<Option<u64>> {
        let (commands, closing, timeout) = {
            let shared = Arc::clone(&self.shared);
            let mut state = shared.lock();
            let now = shared.now();
            if state.closing {
                state.core.close();
            } else if state.core.poll_timeout().is_some_and(|at| at <= now) {
                state.core.handle_timeout(now);
            }
            let commands: Vec<_> = std::iter::from_fn(|| state.core.poll_command()).collect();
            shared.tell(&mut state, self.link.as_ref().map(Link::via));
            if commands.is_empty() {
                self.stage(&mut state, now);
            }
            (commands, state.closing, state.core.poll_timeout())
        };
        for command in commands {
            self.obey(command).await;
        }
        if closing {
            return None;
        }
        Some(timeout)
    }

    fn stage(&mut self, state: &mut State, now: u64) {
        let Some(link) = &self.link else { return };
        let core = &mut state.core;
        if link.session.is_some() {
            self.control.fill(|| core.poll_transmit(now, Class::Control));
            self.session.fill(|| core.poll_transmit(now, Class::Session));
        } else {
            self.control
                .fill(|| core.poll_transmit(now, Class::Control).or_else(|| core.poll_transmit(now, Class::Session)));
        }
    }

    async fn obey(&mut self, command: LinkCommand) {
        (self.control, self.session) = (Staged::default(), Staged::default());
        match command {
            LinkCommand::Connect { address } => {
                self.shared.set_phase(Phase::Connecting);
                let connector = Arc::clone(&self.shared.connector);
                self.dialing = Some(Box::pin(async move { connector.connect(address.as_deref()).await }));
            }
            LinkCommand::Disconnect { code, text, last } => {
                self.dialing = None;
                if let Some(link) = self.link.take() {
                    let goodbye = link.end(last, code, text);
                    let closing = self.shared.lock().closing;
                    // The last word of all is waited for; others are said while the next link is made.
                    if closing { goodbye.await } else { drop(tokio::spawn(goodbye)) }
                }
            }
        }
    }

    async fn wait(&mut self, timeout: Option<u64>) -> Happened {
        let shared = &self.shared;
        let timer = async {
            match timeout {
                Some(at) => tokio::time::sleep_until(shared.instant(at)).await,
                None => std::future::pending().await,
            }
        };
        if let Some(link) = &mut self.link {
            let Link { control, session, incoming, .. } = link;
            tokio::select! {
                () = shared.wake.notified() => Happened::Woken,
                () = timer => Happened::Woken,
                incoming = incoming.recv() => incoming.map_or(Happened::Gone, Happened::Came),
                handed = hand_over(control, &mut self.control) => handed,
                handed = hand_over(session.as_ref().unwrap_or(control), &mut self.session) => handed,
            }
        } else if let Some(dialing) = &mut self.dialing {
            tokio::select! {
                () = shared.wake.notified() => Happened::Woken,
                () = timer => Happened::Woken,
                outcome = dialing => Happened::Dialed(outcome),
            }
        } else {
            tokio::select! {
                () = shared.wake.notified() => {}
                () = timer => {}
            }
            Happened::Woken
        }
    }

    fn take(&mut self, happened: Happened) {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        let now = shared.now();
        match happened {
            Happened::Woken => {}
            Happened::Dialed(Ok(link)) => {
                tracing::debug!(via = %link.via(), "a link stands");
                (self.dialing, self.link) = (None, Some(link));
                state.core.handle_connected(now);
            }
            Happened::Dialed(Err(error)) => {
                self.dialing = None;
                state.core.handle_disconnected(now, None, error.to_string());
                state.last_failure = Some(error);
            }
            Happened::Came(Incoming::Bytes(class, bytes)) => state.core.handle_bytes(now, class, bytes),
            Happened::Came(Incoming::Closed { code, text }) => self.lost(&mut state, now, code, text),
            Happened::Gone => {
                self.lost(&mut state, now, None, ByteString::from_static("the link is closed"));
            }
        }
    }

    fn lost(&mut self, state: &mut State, now: u64, code: Option<u32>, text: ByteString) {
        self.link = None;
        (self.control, self.session) = (Staged::default(), Staged::default());
        state.core.handle_disconnected(now, code, text);
    }
}

/// Hands a batch to a stream as soon as the stream takes it. Never ends while there is nothing to hand over.
async fn hand_over(stream: &mpsc::Sender<Batch>, staged: &mut Staged) -> Happened {
    if staged.frames.is_empty() {
        return std::future::pending().await;
    }
    match stream.reserve().await {
        Ok(permit) => {
            permit.send(staged.take());
            Happened::Woken
        }
        // The reason is on its way among what comes in.
        Err(_) => std::future::pending().await,
    }
}
