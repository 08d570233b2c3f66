//! Which commits may be written: unique ids, and fences by epoch and version. The one place where an [`Outcome`] is
//! decided, for every engine. Never writes anything: what a commit would change is handed to the [`View`] when it passes.

use std::sync::Arc;

use bytes::Bytes;

use crate::{Commit, Error, Outcome, Table, Write};

/// What a session's next write is checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// Epoch of the newest write.
    pub epoch: u64,
    /// Newest version.
    pub version: u64,
}

/// A row as far as uniqueness is concerned: `None` is absent, else the time after which it is gone.
pub(crate) type Presence = Option<Option<u64>>;

/// True when a row with this expiry is gone at `now_ms`.
pub(crate) fn expired(expires_at_ms: Option<u64>, now_ms: u64) -> bool {
    expires_at_ms.is_some_and(|at| now_ms > at)
}

/// What an engine has, its commits that passed but are not yet durable included.
pub(crate) trait View {
    /// A session's head; [`Error::Damaged`] when the session is there and cannot be read.
    fn head(&mut self, session: &Arc<str>) -> Result<Option<Head>, Error>;
    /// A row's presence.
    fn presence(&mut self, table: Table, key: &Bytes) -> Result<Presence, Error>;
    /// A commit passed: the session's head is now this.
    fn set_head(&mut self, session: &Arc<str>, head: Option<Head>);
    /// A commit passed: the row's presence is now this.
    fn set_presence(&mut self, table: Table, key: &Bytes, presence: Presence);
}

/// Judges commits one after the other; keeps its scratch memory between them.
#[derive(Default)]
pub(crate) struct Judge {
    /// What the commit's writes up to now would leave: by the place of a write of the session, or of the row.
    heads: Vec<(usize, Option<Head>)>,
    rows: Vec<(usize, Presence)>,
}

impl Judge {
    /// Says how `commit` ends if it is made durable; tells `view` what it changes if that is [`Outcome::Committed`].
    pub fn judge(&mut self, commit: &Commit, now_ms: u64, view: &mut impl View) -> Result<Outcome, Error> {
        self.heads.clear();
        self.rows.clear();
        for (at, write) in commit.writes.iter().enumerate() {
            let outcome = match self.write(&commit.writes, at, now_ms, view) {
                // What cannot be read cannot be built on: it belongs to nobody until it is repaired or deleted.
                Err(Error::Damaged { what }) => {
                    tracing::error!(what, ticket = commit.ticket, "a commit met damaged data and is refused");
                    if matches!(write, Write::Put { .. }) { Outcome::Exists } else { Outcome::Fenced }
                }
                outcome => outcome?,
            };
            if outcome != Outcome::Committed {
                return Ok(outcome);
            }
        }
        for (at, head) in &self.heads {
            if let Some(session) = commit.writes[*at].session() {
                view.set_head(session, *head);
            }
        }
        for (at, presence) in &self.rows {
            if let Some((table, key)) = commit.writes[*at].row() {
                view.set_presence(table, key, *presence);
            }
        }
        Ok(Outcome::Committed)
    }

    fn write(&mut self, writes: &[Write], at: usize, now_ms: u64, view: &mut impl View) -> Result<Outcome, Error> {
        match &writes[at] {
            Write::Create { session, epoch, .. } => {
                match self.head(writes, session, view) {
                    Ok(None) => {}
                    // A damaged session still has its name.
                    Ok(Some(_)) | Err(Error::Damaged { .. }) => return Ok(Outcome::Exists),
                    Err(error) => return Err(error),
                }
                self.set_head(writes, at, Some(Head { epoch: *epoch, version: 1 }));
            }
            Write::Delta { session, epoch, version, .. } => {
                let Some(head) = self.fence(writes, session, *epoch, view)? else { return Ok(Outcome::Fenced) };
                if *version != head.version + 1 {
                    return Ok(Outcome::Fenced);
                }
                self.set_head(writes, at, Some(Head { epoch: *epoch, version: *version }));
            }
            Write::Op { session, epoch, .. }
            | Write::Forget { session, epoch, .. }
            | Write::Meta { session, epoch, .. } => {
                let Some(head) = self.fence(writes, session, *epoch, view)? else { return Ok(Outcome::Fenced) };
                self.set_head(writes, at, Some(Head { epoch: *epoch, ..head }));
            }
            Write::Checkpoint { session, epoch, version, .. } => {
                let Some(head) = self.fence(writes, session, *epoch, view)? else { return Ok(Outcome::Fenced) };
                if *version > head.version {
                    return Ok(Outcome::Fenced);
                }
                self.set_head(writes, at, Some(Head { epoch: *epoch, ..head }));
            }
            Write::DeleteSession { session, epoch } => {
                match self.fence(writes, session, *epoch, view) {
                    Ok(None) => return Ok(Outcome::Fenced),
                    // The way to get rid of what cannot be read.
                    Ok(Some(_)) | Err(Error::Damaged { .. }) => {}
                    Err(error) => return Err(error),
                }
                self.set_head(writes, at, None);
            }
            Write::Put { table, key, expires_at_ms, if_absent, .. } => {
                if *if_absent
                    && let Some(expires) = self.presence(writes, *table, key, view)?
                    && !expired(expires, now_ms)
                {
                    return Ok(Outcome::Exists);
                }
                self.rows.push((at, Some(*expires_at_ms)));
            }
            Write::Remove { .. } => self.rows.push((at, None)),
        }
        Ok(Outcome::Committed)
    }

    /// The head that a writer of `epoch` may build on; `None` when it is fenced off.
    fn fence(
        &self,
        writes: &[Write],
        session: &Arc<str>,
        epoch: u64,
        view: &mut impl View,
    ) -> Result<Option<Head>, Error> {
        Ok(self.head(writes, session, view)?.filter(|head| head.epoch <= epoch))
    }

    fn head(&self, writes: &[Write], session: &Arc<str>, view: &mut impl View) -> Result<Option<Head>, Error> {
        match self.heads.iter().find(|(at, _)| writes[*at].session() == Some(session)) {
            Some((_, head)) => Ok(*head),
            None => view.head(session),
        }
    }

    /// The session of the write at `at` is left with this head.
    fn set_head(&mut self, writes: &[Write], at: usize, head: Option<Head>) {
        match self.heads.iter_mut().find(|(before, _)| writes[*before].session() == writes[at].session()) {
            Some((_, slot)) => *slot = head,
            None => self.heads.push((at, head)),
        }
    }

    fn presence(&self, writes: &[Write], table: Table, key: &Bytes, view: &mut impl View) -> Result<Presence, Error> {
        match self.rows.iter().rev().find(|(at, _)| writes[*at].row() == Some((table, key))) {
            Some((_, presence)) => Ok(*presence),
            None => view.presence(table, key),
        }
    }
}
