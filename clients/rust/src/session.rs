//! One session as the application has it: a typed view of the optimistic document, and updates to it.

use std::{
    marker::PhantomData,
    sync::{Arc, Mutex, PoisonError},
};

use bytestring::ByteString;
use serde::{Serialize, de::DeserializeOwned};
use syncbridge_codec::message::{Attached, Position};
use syncbridge_document::{Limits, Operation, Options, Patch, Value, diff};

use crate::{
    change::Changes,
    client::Keep,
    core::{RequestError, UnsentUpdate, UpdateOptions},
    error::Error,
    update::UpdateHandle,
};

/// A session that this client is subscribed to, seen as a `T`.
///
/// The document is optimistic: the server's state with this client's unanswered updates on top. It is always current;
/// no event needs to be read for that. With the last handle of a session the subscription ends, once its updates are
/// answered.
#[derive(Debug)]
pub struct SessionHandle<T = Value> {
    attached: Arc<Attachment>,
    /// The view that was made last: (revision, view).
    seen: Mutex<Option<(u64, Arc<T>)>>,
    shape: PhantomData<fn() -> T>,
}

/// One attachment, shared by clones of a handle.
#[derive(Debug)]
struct Attachment {
    keep: Arc<Keep>,
    id: ByteString,
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let shared = &self.keep.shared;
        shared.lock().detach(&self.id, shared.now());
        shared.wake.notify_one();
    }
}

impl<T> Clone for SessionHandle<T> {
    fn clone(&self) -> Self {
        Self { attached: Arc::clone(&self.attached), seen: Mutex::new(None), shape: PhantomData }
    }
}

impl<T> SessionHandle<T> {
    pub(crate) fn new(keep: Arc<Keep>, id: ByteString) -> Self {
        Self { attached: Arc::new(Attachment { keep, id }), seen: Mutex::new(None), shape: PhantomData }
    }

    /// The session's id.
    pub fn id(&self) -> &str {
        &self.attached.id
    }

    /// The optimistic document.
    ///
    /// # Errors
    /// [`Error::Closed`] when the subscription is over.
    pub fn document(&self) -> Result<Value, Error> {
        self.attached.keep.shared.lock().core.document(self.id()).cloned().ok_or(Error::Closed)
    }

    /// The place of the server's state that the document stands on; `None` for a session that is not made yet.
    pub fn position(&self) -> Option<Position> {
        self.attached.keep.shared.lock().core.server_state(self.id()).map(|(_, at)| at.clone())
    }

    /// Who is attached, and the active device.
    pub fn presence(&self) -> (Vec<Attached>, Option<String>) {
        let state = self.attached.keep.shared.lock();
        let Some((devices, active)) = state.core.presence(self.id()) else { return (Vec::new(), None) };
        (devices.to_vec(), active.map(ToString::to_string))
    }

    /// Own updates that are not known durable.
    pub fn unconfirmed(&self) -> usize {
        self.attached.keep.shared.lock().core.unconfirmed(self.id())
    }

    /// Own updates that were refused because another device is the active one, in the order in which they were made. They
    /// are kept, through [`Client::export`](crate::Client::export) too, until they are sent again or discarded.
    pub fn unsent(&self) -> Vec<UnsentUpdate> {
        self.attached.keep.shared.lock().core.unsent(self.id()).to_vec()
    }

    /// Makes an unsent update once more, for the document as it is now. With an error it stays unsent.
    ///
    /// # Errors
    /// [`Error::Request`]: there is none of this counter, or it does not apply any more; then
    /// [`UnsentUpdate::patch`] is what is left of it.
    pub fn resend(&self, counter: u64) -> Result<UpdateHandle, Error> {
        let shared = &self.attached.keep.shared;
        let mut state = shared.lock();
        if state.closing {
            return Err(Error::Closed);
        }
        let unsent = state.core.unsent(self.id()).iter().find(|unsent| unsent.counter == counter);
        let durability = unsent.map(|unsent| unsent.options.durability).unwrap_or_default();
        let counter = state.core.resend(self.id(), counter)?;
        let outcome = state.watch_op(&self.attached.id, counter, durability);
        drop(state);
        shared.wake.notify_one();
        Ok(UpdateHandle { counter, state: Some(outcome), unchanged_at: Position::default() })
    }

    /// Drops an unsent update: what it was, if there was one.
    pub fn discard(&self, counter: u64) -> Option<UnsentUpdate> {
        self.attached.keep.shared.lock().core.discard(self.id(), counter)
    }

    /// What happens from now on.
    ///
    /// # Errors
    /// [`Error::Closed`] when the subscription is over.
    pub fn changes(&self) -> Result<Changes, Error> {
        let state = self.attached.keep.shared.lock();
        let entry = state.sessions.get(&self.attached.id).ok_or(Error::Closed)?;
        Ok(Changes { receiver: entry.changes.subscribe() })
    }

    /// Changes the document: here at once, at the server when connected. Refused when others changed the same paths in
    /// between; fails together with those own unanswered updates that it overlaps.
    ///
    /// # Errors
    /// [`Error::Request`]: nothing was changed.
    pub fn update(&self, patch: Patch) -> Result<UpdateHandle, Error> {
        self.update_as(patch, &UpdateOptions::default())
    }

    /// As [`SessionHandle::update`], with every choice open.
    ///
    /// # Errors
    /// [`Error::Request`]: nothing was changed.
    pub fn update_as(&self, patch: Patch, options: &UpdateOptions) -> Result<UpdateHandle, Error> {
        let shared = &self.attached.keep.shared;
        let mut state = shared.lock();
        if state.closing {
            return Err(Error::Closed);
        }
        let counter = state.core.update(self.id(), patch, options)?;
        let outcome = state.watch_op(&self.attached.id, counter, options.durability);
        drop(state);
        shared.wake.notify_one();
        Ok(UpdateHandle { counter, state: Some(outcome), unchanged_at: Position::default() })
    }

    /// Waits until everything that this client has done to the session is durable or refused.
    ///
    /// # Errors
    /// [`Error::Closed`] when the client closes, or the subscription ends, first.
    pub async fn durable(&self) -> Result<(), Error> {
        let mut changes = self.changes()?;
        while self.unconfirmed() > 0 {
            changes.next().await.ok_or(Error::Closed)?;
        }
        Ok(())
    }
}

impl<T: DeserializeOwned> SessionHandle<T> {
    /// The optimistic document as a `T`. Made once for each change, however often it is asked for.
    ///
    /// # Errors
    /// [`Error::Json`] when it is no `T`; [`Error::Closed`] when the subscription is over.
    pub fn state(&self) -> Result<Arc<T>, Error> {
        let (revision, document) = {
            let mut state = self.attached.keep.shared.lock();
            let revision = state.core.revision(self.id()).ok_or(Error::Closed)?;
            (revision, state.core.document(self.id()).cloned().ok_or(Error::Closed)?)
        };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, view)) = &*seen
            && *at == revision
        {
            return Ok(Arc::clone(view));
        }
        let view = Arc::new(document.deserialize().map_err(|error| Error::Json(error.to_string()))?);
        *seen = Some((revision, Arc::clone(&view)));
        Ok(view)
    }
}

impl<T: DeserializeOwned + Serialize> SessionHandle<T> {
    /// Changes the document by changing a `T`: only the difference is sent. Members that `T` does not know stay.
    ///
    /// # Errors
    /// [`Error::Json`], [`Error::Request`]: nothing was changed.
    pub fn update_with(&self, change: impl FnOnce(&mut T)) -> Result<UpdateHandle, Error> {
        self.update_with_as(change, &UpdateOptions::default())
    }

    /// As [`SessionHandle::update_with`], with every choice open.
    ///
    /// # Errors
    /// [`Error::Json`], [`Error::Request`]: nothing was changed.
    pub fn update_with_as(&self, change: impl FnOnce(&mut T), options: &UpdateOptions) -> Result<UpdateHandle, Error> {
        let json = |error: serde_json::Error| Error::Json(error.to_string());
        let mut draft: T = self.document()?.deserialize().map_err(json)?;
        // Between two forms of `T`, not between the document and one: what `T` does not know is no difference.
        let before = Value::from_serialize(&draft).map_err(json)?;
        change(&mut draft);
        let patch = diff(&before, &Value::from_serialize(&draft).map_err(json)?);
        if patch.is_empty() {
            let unchanged_at = self.position().unwrap_or_default();
            return Ok(UpdateHandle { counter: 0, state: None, unchanged_at });
        }
        match self.update_as(patch, options) {
            Err(Error::Request(RequestError::DoesNotApply(_))) => {
                let patch = fit(self.document()?, &diff(&before, &Value::from_serialize(&draft).map_err(json)?));
                self.update_as(patch, &UpdateOptions { lenient: true, ..options.clone() })
            }
            outcome => outcome,
        }
    }
}

/// The same patch for a document that lacks members which the type fills in with defaults: what cannot be replaced there
/// is added, what cannot be removed is not there already.
fn fit(mut document: Value, patch: &Patch) -> Patch {
    let mut applies = |operation: &Operation| {
        let single = Patch::new().with(operation.clone());
        single.apply(&mut document, Options::LENIENT, &Limits::default()).is_ok()
    };
    let fitted = patch.operations().iter().filter_map(|operation| {
        if applies(operation) {
            return Some(operation.clone());
        }
        let Operation::Replace { path, value } = operation else { return None };
        let added = Operation::Add { path: path.clone(), value: value.clone() };
        applies(&added).then_some(added)
    });
    fitted.fold(Patch::new(), Patch::with)
}
