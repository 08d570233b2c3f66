//! What has to outlive the process so that no update is lost and none is made twice: the incarnation, each session's
//! counter, the ops that are not durable, and the state they were made for. Never written anywhere from here.

use bytes::Bytes;
use bytestring::ByteString;
use serde::{Deserialize, Serialize};
use syncbridge_codec::message::{ConflictPolicy, DevicePolicy, Durability, Position};

use syncbridge_document::Value;

use super::{
    Config, Core, OnConflict, UpdateDurability, UpdateOptions, apply,
    queue::{Body, Op, Progress, Queue, Update},
    session::{Replica, Session},
    unsent::{Unsent, UnsentUpdate},
};

/// Everything of a [`Core`] that another one can go on with; serde writes it in any format that has maps.
///
/// Write it down before the process ends, and use each export once: two cores that run with the same incarnation would
/// use the same counters for different updates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Export {
    /// The incarnation as 32 hexadecimal digits.
    pub incarnation: String,
    /// The sessions.
    pub sessions: Vec<ExportedSession>,
}

/// One session of an [`Export`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExportedSession {
    /// Its id.
    pub id: String,
    /// The newest counter that was used.
    pub last_counter: u64,
    /// Whether the application was subscribed.
    pub subscribed: bool,
    /// The server's state: epoch, version, JSON text.
    pub state: Option<(u64, u64, String)>,
    /// Own ops that are not durable, in counter order.
    pub ops: Vec<ExportedOp>,
    /// Own updates that were refused because another device was active, in counter order.
    #[serde(default)]
    pub unsent: Vec<ExportedUnsent>,
}

/// One op of an [`ExportedSession`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum ExportedOp {
    /// The making of the session.
    Create {
        /// The counter.
        counter: u64,
        /// The first state: JSON text.
        state: String,
        /// Index in `ConflictPolicy::ALL`.
        conflict: usize,
        /// Index in `DevicePolicy::ALL`.
        devices: usize,
    },
    /// An update that was given up; the server may still wait for its counter.
    GivenUp {
        /// The counter.
        counter: u64,
    },
    /// A change.
    Update {
        /// The counter.
        counter: u64,
        /// JSON Patch.
        patch: String,
        /// Epoch and version that it was made for.
        base: Option<(u64, u64)>,
        /// Index in `Durability::ALL`.
        durability: usize,
        /// Index in `ConflictPolicy::ALL`.
        on_conflict: Option<usize>,
        /// Whether `add` makes missing parents.
        lenient: bool,
        /// The ops that it builds on.
        after: Vec<u64>,
        /// The version that it made, when it was applied.
        applied: Option<u64>,
        /// Whether the exported state contains it.
        contained: bool,
    },
}

/// One unsent update of an [`ExportedSession`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportedUnsent {
    /// The counter under which it was refused.
    pub counter: u64,
    /// JSON Patch.
    pub patch: String,
    /// Index in `UpdateDurability::ALL`.
    pub durability: usize,
    /// Index in `OnConflict::ALL`.
    pub on_conflict: usize,
    /// Whether `add` makes missing parents.
    pub lenient: bool,
}

/// An [`Export`] that no core can go on with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("session {session}: {text}")]
pub struct ImportError {
    /// The session; empty when it is the whole.
    pub session: String,
    /// What is wrong.
    pub text: String,
}

impl Core {
    /// What another core needs to go on with this one's sessions and updates.
    pub fn export(&self) -> Export {
        let mut sessions: Vec<_> = self.sessions.values().map(export_session).collect();
        sessions.extend(self.counters.iter().map(|(id, last)| ExportedSession {
            id: id.to_string(),
            last_counter: *last,
            subscribed: false,
            state: None,
            ops: Vec::new(),
            unsent: self.unsent.get(id).map_or_else(Vec::new, export_unsent),
        }));
        Export { incarnation: format!("{:032x}", self.config.incarnation), sessions }
    }

    /// A core that goes on where the exported one was; its incarnation replaces the one of `config`.
    ///
    /// # Errors
    /// [`ImportError`] when the export is not one, or is damaged.
    pub fn import(mut config: Config, seed: u64, export: &Export) -> Result<Self, ImportError> {
        config.incarnation = u128::from_str_radix(&export.incarnation, 16)
            .map_err(|error| ImportError { session: String::new(), text: error.to_string() })?;
        let mut core = Self::new(config, seed);
        for exported in &export.sessions {
            let id = ByteString::from(exported.id.as_str());
            if !exported.subscribed && exported.ops.is_empty() {
                core.counters.insert(id.clone(), exported.last_counter);
                let unsent = import_unsent(&exported.unsent)
                    .map_err(|text| ImportError { session: exported.id.clone(), text })?;
                if !unsent.all().is_empty() {
                    core.unsent.insert(id, unsent);
                }
                continue;
            }
            let session =
                import_session(exported).map_err(|text| ImportError { session: exported.id.clone(), text })?;
            core.sessions.insert(id, session);
        }
        Ok(core)
    }
}

fn export_session(session: &Session) -> ExportedSession {
    let text = |json: Vec<u8>| String::from_utf8_lossy(&json).into_owned();
    let state = session.replica.as_ref();
    ExportedSession {
        id: session.id.to_string(),
        last_counter: session.queue.last(),
        subscribed: session.wanted,
        state: state.map(|replica| (replica.at.epoch, replica.at.version, text(replica.document.to_json()))),
        ops: session.queue.iter().map(export_op).collect(),
        unsent: export_unsent(&session.unsent),
    }
}

fn export_unsent(unsent: &Unsent) -> Vec<ExportedUnsent> {
    let one = |update: &UnsentUpdate| ExportedUnsent {
        counter: update.counter,
        patch: String::from_utf8_lossy(&update.patch.to_json()).into_owned(),
        durability: update.options.durability as usize,
        on_conflict: update.options.on_conflict as usize,
        lenient: update.options.lenient,
    };
    unsent.all().iter().map(one).collect()
}

fn import_unsent(exported: &[ExportedUnsent]) -> Result<Unsent, String> {
    let unknown = || "a policy is not known".to_owned();
    let mut unsent = Unsent::default();
    for ExportedUnsent { counter, patch, durability, on_conflict, lenient } in exported {
        let options = UpdateOptions {
            durability: *UpdateDurability::ALL.get(*durability).ok_or_else(unknown)?,
            on_conflict: *OnConflict::ALL.get(*on_conflict).ok_or_else(unknown)?,
            lenient: *lenient,
            ..UpdateOptions::default()
        };
        unsent.restore(UnsentUpdate { counter: *counter, patch: apply::parse(patch.as_bytes())?, options });
    }
    Ok(unsent)
}

fn export_op(op: &Op) -> ExportedOp {
    let text = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
    let counter = op.counter;
    match &op.body {
        Body::Create { text: state, conflict, devices, .. } => {
            ExportedOp::Create { counter, state: text(state), conflict: *conflict as usize, devices: *devices as usize }
        }
        Body::GivenUp => ExportedOp::GivenUp { counter },
        Body::Update(update) => ExportedOp::Update {
            counter,
            patch: text(&update.text),
            base: update.base.as_ref().map(|base| (base.epoch, base.version)),
            durability: update.durability as usize,
            on_conflict: update.on_conflict.map(|policy| policy as usize),
            lenient: update.lenient,
            after: update.after.iter().chain(&update.awaits).copied().collect(),
            applied: match op.progress {
                Progress::Pending => None,
                Progress::Answered(version) | Progress::Contained(version) => Some(version),
            },
            contained: matches!(op.progress, Progress::Contained(_)),
        },
    }
}

fn import_session(exported: &ExportedSession) -> Result<Session, String> {
    let mut session = Session::new(ByteString::from(exported.id.as_str()), Queue::after(exported.last_counter));
    session.wanted = exported.subscribed;
    session.unsent = import_unsent(&exported.unsent)?;
    let replica = match &exported.state {
        None => None,
        Some((epoch, version, text)) => Some(Replica {
            document: apply::parse_document(text.as_bytes())?,
            at: Position { epoch: *epoch, version: *version },
        }),
    };
    let mut document = replica.as_ref().map(|replica| replica.document.clone());
    let mut ops = Vec::new();
    let mut before = 0;
    for exported in &exported.ops {
        let op = import_op(exported, &mut document)?;
        if op.counter <= before {
            return Err("counters do not ascend".to_owned());
        }
        before = op.counter;
        ops.push(op);
    }
    session.restore(replica, ops);
    Ok(session)
}

fn import_op(exported: &ExportedOp, document: &mut Option<Value>) -> Result<Op, String> {
    let unknown = || "a policy is not known".to_owned();
    let (counter, body, progress) = match exported {
        ExportedOp::Create { counter, state, conflict, devices } => {
            let value = apply::parse_document(state.as_bytes())?;
            *document = Some(value.clone());
            let body = Body::Create {
                state: value,
                text: Bytes::from(state.clone()),
                conflict: *ConflictPolicy::ALL.get(*conflict).ok_or_else(unknown)?,
                devices: *DevicePolicy::ALL.get(*devices).ok_or_else(unknown)?,
            };
            (*counter, body, Progress::Pending)
        }
        ExportedOp::GivenUp { counter } => (*counter, Body::GivenUp, Progress::Pending),
        ExportedOp::Update { counter, patch, base, durability, on_conflict, lenient, after, applied, contained } => {
            let on_conflict = match on_conflict {
                None => None,
                Some(index) => Some(*ConflictPolicy::ALL.get(*index).ok_or_else(unknown)?),
            };
            let text = Bytes::from(patch.clone());
            let patch = apply::parse(&text)?;
            let touches = patch.touches(document.as_ref().unwrap_or(&Value::null()));
            if let Some(document) = document {
                // What no longer applies is left out of what the next op is measured on, as in the optimistic document.
                let _ = apply::apply(document, &patch, *lenient);
            }
            let body = Body::Update(Box::new(Update {
                patch,
                text,
                touches,
                base: base.map(|(epoch, version)| Position { epoch, version }),
                durability: *Durability::ALL.get(*durability).ok_or_else(unknown)?,
                on_conflict,
                lenient: *lenient,
                after: after.first().copied(),
                awaits: after.iter().skip(1).copied().collect(),
                named: None,
            }));
            let progress = match applied {
                None => Progress::Pending,
                Some(version) if *contained => Progress::Contained(*version),
                Some(version) => Progress::Answered(*version),
            };
            (*counter, body, progress)
        }
    };
    Ok(Op { counter, body, progress, confirmed: false, durable: false, skipped: false })
}
