//! A session as REST shows it: the whole body of the answer, made once a version and then shared by everybody who asks.
//! Large ones are made off the shard, and kept as long as all that are kept together stay within a bound.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::http::HeaderValue;
use bytes::Bytes;
use syncbridge_codec::{
    SNAPSHOT_PART,
    message::{ConflictPolicy, DevicePolicy, Position},
};
use syncbridge_document::Value;

use super::{Fault, Hub, Live, Session};
use crate::{auth::access::Operation, connection::Identity, defaults::LARGE_VIEWS_BYTES, rest::etag};

/// A session's representation.
#[derive(Debug, Clone)]
pub struct View {
    /// The document's place.
    pub at: Position,
    /// Its entity tag.
    pub tag: HeaderValue,
    /// The body: JSON.
    pub body: Bytes,
}

/// What is shown of a session.
#[derive(Debug)]
pub enum Shown {
    /// This.
    Ready(View),
    /// The caller has it already.
    Same(Position),
    /// This, once it is made ([`Large::render`], off the shard).
    Large(Large),
}

/// A view that is much work to make.
#[derive(Debug)]
pub struct Large {
    session: Arc<Session>,
    at: Position,
    revision: u64,
    document: Value,
    head: String,
    tail: String,
}

/// A view that is kept with its session.
#[derive(Debug)]
pub(super) struct Kept {
    view: View,
    /// The core's, of what is shown beside the document.
    revision: u64,
    /// Where in the body the document is.
    state: std::ops::Range<usize>,
    charge: Option<Charge>,
}

impl Kept {
    /// The document's text, which shares the body's memory.
    pub fn text(&self) -> Bytes {
        self.view.body.slice(self.state.clone())
    }

    /// Whether it shows the session as it is.
    fn shows(&self, live: &Live) -> bool {
        self.view.at == live.core.position() && self.revision == live.core.revision()
    }
}

/// Bytes of a large view that is kept.
#[derive(Debug)]
struct Charge(Arc<AtomicUsize>, usize);

impl Charge {
    fn new(all: &Arc<AtomicUsize>, bytes: usize) -> Option<Self> {
        let charge = Self(Arc::clone(all), bytes);
        // When it does not fit, dropping the charge takes it back.
        (all.fetch_add(bytes, Ordering::Relaxed) + bytes <= LARGE_VIEWS_BYTES).then_some(charge)
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

impl Hub {
    /// A session as REST shows it. `known` says whether the caller has what stands at this place.
    ///
    /// # Errors
    /// [`Fault`] when the asker may not see it.
    pub fn view(
        &self,
        session: &Arc<Session>,
        who: &Identity,
        known: impl FnOnce(&Position) -> bool,
    ) -> Result<Shown, Fault> {
        let mut live = session.live.lock();
        Self::check(who, Operation::Get, session, &live)?;
        let at = live.core.position();
        if known(&at) {
            return Ok(Shown::Same(at));
        }
        if let Some(kept) = live.view.as_ref().filter(|kept| kept.shows(&live)) {
            return Ok(Shown::Ready(kept.view.clone()));
        }
        if live.core.document().json_size() > SNAPSHOT_PART {
            let (head, tail) = around(session, &live);
            let (revision, document) = (live.core.revision(), live.core.document().clone());
            return Ok(Shown::Large(Large { session: Arc::clone(session), at, revision, document, head, tail }));
        }
        Ok(Shown::Ready(small(session, &mut live).view.clone()))
    }

    /// Makes a large view, and keeps it if it still is the newest. Blocks.
    pub fn render(&self, large: Large) -> View {
        let Large { session, at, revision, document, head, tail } = large;
        let mut kept = render(at, revision, &document, &head, &tail);
        let view = kept.view.clone();
        kept.charge = Charge::new(&self.large_views, view.body.len());
        if kept.charge.is_some() {
            let mut live = session.live.lock();
            if kept.shows(&live) {
                live.view = Some(kept);
            }
        }
        view
    }
}

/// The view of a small document as it is now.
pub(super) fn small<'a>(session: &Session, live: &'a mut Live) -> &'a Kept {
    let kept = match live.view.take() {
        Some(kept) if kept.shows(live) => kept,
        _ => {
            let (head, tail) = around(session, live);
            render(live.core.position(), live.core.revision(), live.core.document(), &head, &tail)
        }
    };
    live.view.insert(kept)
}

/// What stands before and behind the document.
fn around(session: &Session, live: &Live) -> (String, String) {
    let (meta, at) = (live.core.meta(), live.core.position());
    // Ids have no character that JSON would escape.
    let head = format!(r#"{{"sessionId":"{}","version":{},"epoch":{},"state":"#, session.id, at.version, at.epoch);
    let active = serde_json::Value::from(meta.active_device().as_deref());
    let tail = format!(
        r#","activeDeviceId":{active},"policy":{{"conflict":"{}","devices":"{}"}}}}"#,
        conflict_name(meta.conflict),
        devices_name(meta.devices)
    );
    (head, tail)
}

fn render(at: Position, revision: u64, document: &Value, head: &str, tail: &str) -> Kept {
    let mut body = Vec::with_capacity(head.len() + document.json_size() + tail.len());
    body.extend_from_slice(head.as_bytes());
    document.write_json(&mut body);
    let state = head.len()..body.len();
    body.extend_from_slice(tail.as_bytes());
    Kept { view: View { tag: etag::of(&at), at, body: body.into() }, revision, state, charge: None }
}

/// The policy's name in REST and flat JSON.
pub const fn conflict_name(policy: ConflictPolicy) -> &'static str {
    match policy {
        ConflictPolicy::LastWriterWins => "last_writer_wins",
        ConflictPolicy::Merge => "merge",
        ConflictPolicy::Reject => "reject",
    }
}

/// The policy's name in REST and flat JSON.
pub const fn devices_name(policy: DevicePolicy) -> &'static str {
    match policy {
        DevicePolicy::Many => "many",
        DevicePolicy::Exclusive => "exclusive",
        DevicePolicy::Ask => "ask",
    }
}
