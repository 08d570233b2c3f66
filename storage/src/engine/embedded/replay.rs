//! Brings the index up to date with the log at a start, and decides what damage in the log does: what is known by name is
//! refused from then on, everything else is served; what nobody can name stops the start. A repair goes around both.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use super::{
    Recovery, Shared,
    encoding::Reader,
    failpoint,
    files::{ASIDE, Folder, LOG, damaged},
    indexer,
    log::{
        self, Full, Log, Spares,
        names::Name,
        recover::{self, Group, Met, Visitor},
    },
    tools, writer,
};
use crate::{Commit, Error, Outcome, rules::Judge};

/// What damage in the log does.
pub(super) enum Policy<'a> {
    /// What it had to do with is refused; unless that is not known: then the start is.
    Start,
    /// It is told, and what can be read is: (file, what).
    Repair(&'a mut dyn FnMut(&Path, Met)),
}

struct Replay<'s, 'p> {
    shared: &'s Shared,
    full: Arc<Full>,
    known: writer::Known<'s>,
    judge: Judge,
    log: PathBuf,
    aside: PathBuf,
    policy: Policy<'p>,
    /// Changes that do not fit what is left before them, each with the group it was in.
    misfits: Vec<(Name, u64)>,
    /// Damaged segments of which there is a copy.
    kept: BTreeSet<PathBuf>,
    recovery: Recovery,
}

impl Visitor for Replay<'_, '_> {
    fn group(&mut self, group: Group) -> Result<(), Error> {
        let mut commits = Vec::new();
        let mut reader = Reader(group.payload);
        for _ in 0..group.commits {
            let commit = read_commit(&mut reader)
                .ok_or_else(|| damaged(&self.log, &format!("group {} has a commit that is none", group.seq)))?;
            // The log has only what passed; that it passes again shows that log and index belong together. What cannot be
            // judged because something is damaged there goes the way of such writes: into quarantine.
            if self.judge.judge(&commit, group.time_ms, &mut self.known)? != Outcome::Committed
                && !self.shared.meets_damage(&commit)
            {
                if matches!(self.policy, Policy::Repair(_)) {
                    self.misfits.extend(tools::names(&commit).map(|name| (name, group.seq)));
                    continue;
                }
                return Err(damaged(&self.log, &format!("group {} does not fit the index", group.seq)));
            }
            commits.push(commit.writes);
        }
        let bytes = log::group::size(group.payload.len()) as u64;
        writer::publish(self.shared, &mut self.known, commits.into_iter(), group.seq, group.time_ms, bytes);
        self.shared.stats.log_backlog.fetch_add(bytes, Ordering::Relaxed);
        failpoint::reach("start.replay");
        if self.shared.unflushed.load(Ordering::Acquire) >= self.shared.options.flush_bytes {
            indexer::flush(self.shared, &self.full)?;
        }
        Ok(())
    }

    fn damage(&mut self, path: &Path, met: Met) -> Result<(), Error> {
        if let Policy::Repair(tell) = &mut self.policy {
            tell(path, met);
            return Ok(());
        }
        match met {
            Met::Lost(what) => return Err(damaged(path, &what)),
            Met::PutRight(what) => {
                let what = format!("{}: {what}", path.display());
                tracing::error!(what, "a byte of the log had changed; nothing is lost");
                self.keep(path)?;
                self.recovery.put_right.push(what);
            }
            Met::Named { what, last, names } => {
                self.keep(path)?;
                // Everything before it first: what is refused is refused as of here.
                indexer::flush(self.shared, &self.full)?;
                for name in &names {
                    tracing::error!(%name, path = %path.display(), what, "damage in the log; this is refused, all else is served");
                    self.recovery.refused.push(format!("{name}: {what}"));
                }
                self.shared.index()?.refuse(&names, last)?;
                // It remembers heads of before.
                self.known = writer::Known::new(self.shared);
            }
        }
        Ok(())
    }
}

impl Replay<'_, '_> {
    /// Copies a damaged segment: the file itself is used again.
    fn keep(&mut self, path: &Path) -> Result<(), Error> {
        if self.kept.insert(path.to_path_buf()) {
            tools::keep(path, &self.aside)?;
        }
        Ok(())
    }
}

/// Reads the log into the index, makes the next epoch durable, and begins a segment.
pub(super) fn replay(
    shared: &Shared,
    folder: &Folder,
    spares: &Arc<Spares>,
    (last_epoch, covered): (Option<u64>, u64),
    policy: Policy,
) -> Result<(Log, u64, Recovery), Error> {
    let log_folder = folder.path.join(LOG);
    let full = Full::new(spares.clone());
    let mut replay = Replay {
        shared,
        full: full.clone(),
        known: writer::Known::new(shared),
        judge: Judge::default(),
        log: log_folder.clone(),
        aside: folder.path.join(ASIDE),
        policy,
        misfits: Vec::new(),
        kept: BTreeSet::new(),
        recovery: Recovery::default(),
    };
    let found = recover::recover(&log_folder, covered, &mut replay)?;
    for (name, seq) in std::mem::take(&mut replay.misfits) {
        let what = format!("{name}: a change in group {seq} does not fit what is left before it, and is lost");
        replay.damage(&log_folder, Met::Lost(what))?;
    }
    let mut recovery = replay.recovery;
    if let Some(torn) = &found.torn {
        tracing::warn!(segment = %torn.segment.display(), offset = torn.offset,
            "the log ends in a group that is not whole; it is dropped, nobody was told that it is durable");
    }
    // The index has everything now, so nothing of the old segments is ever read again.
    indexer::flush(shared, &full)?;
    failpoint::reach("start.indexed");
    let skipped = folder.skipped_epochs()?;
    let epoch = last_epoch.unwrap_or(0).max(found.epoch) + 1 + skipped;
    folder.set_epoch(epoch)?;
    failpoint::reach("start.epoch");
    if skipped > 0 {
        folder.unmark_copy()?;
    }
    for (path, _) in &found.segments {
        spares.retire(path)?;
        failpoint::reach("start.retired");
    }
    let log = Log::begin(&log_folder, found.next_id, found.next_seq, epoch, full, shared.options.faults.clone())?;
    (recovery.groups, recovery.torn) = (found.replayed, found.torn);
    Ok((log, epoch, recovery))
}

fn read_commit(reader: &mut Reader) -> Option<Commit> {
    let count = reader.number()?;
    let writes = (0..count).map(|_| reader.write()).collect::<Option<_>>()?;
    Some(Commit { ticket: 0, writes })
}
