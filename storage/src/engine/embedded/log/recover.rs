//! Reads the log at start: every whole group that the index does not cover, in order; a torn end is dropped and reported;
//! what else cannot be read is damage, and what it had to do with is said by name where groups behind it know. Never writes,
//! and never decides what damage does.

use std::path::{Path, PathBuf};

use super::{
    group::{self, HEADER},
    names::Name,
    rot,
    segment::{self, START},
};
use crate::{
    Error,
    engine::embedded::files::{damaged, io},
};

/// A group that was begun and not finished, at the end of the log: none of its commits was ever completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// The segment's file.
    pub segment: PathBuf,
    /// Where in it the group stands.
    pub offset: u64,
}

/// What the log had.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Segments, oldest first, each with the seq of its last group.
    pub segments: Vec<(PathBuf, u64)>,
    /// Seq of the next group.
    pub next_seq: u64,
    /// Id of the next segment.
    pub next_id: u64,
    /// The highest epoch in a header.
    pub epoch: u64,
    /// Groups that the index did not have.
    pub replayed: u64,
    pub torn: Option<Torn>,
}

/// A whole group.
pub(crate) struct Group<'a> {
    pub seq: u64,
    pub time_ms: u64,
    pub commits: u32,
    pub payload: &'a [u8],
}

/// Damage that was met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Met {
    /// It was one byte, and the checksums say what it was.
    PutRight(String),
    /// Groups cannot be read, and this is all that they had to do with.
    Named {
        /// Which groups, and where.
        what: String,
        /// Seq of the last of them.
        last: u64,
        /// Sessions and rows.
        names: Vec<Name>,
    },
    /// Something is not there any more, and nobody knows whose it was.
    Lost(String),
}

/// Who is shown the log.
pub(crate) trait Visitor {
    /// A whole group after those that the index covers. They come in order.
    fn group(&mut self, group: Group) -> Result<(), Error>;
    /// Damage in this file, between the groups before and after. An error ends the reading.
    fn damage(&mut self, path: &Path, met: Met) -> Result<(), Error>;
}

/// Hears of damage only.
pub(crate) struct Told<'a>(pub &'a mut dyn FnMut(&Path, Met));

impl Visitor for Told<'_> {
    fn group(&mut self, _: Group) -> Result<(), Error> {
        Ok(())
    }

    fn damage(&mut self, path: &Path, met: Met) -> Result<(), Error> {
        (self.0)(path, met);
        Ok(())
    }
}

/// Shows `visitor` everything after `covered`.
pub(crate) fn recover(folder: &Path, covered: u64, visitor: &mut impl Visitor) -> Result<Found, Error> {
    let mut found = Found { next_seq: covered + 1, next_id: 1, ..Found::default() };
    let mut segments = Vec::new();
    for (id, path) in list(folder)? {
        found.next_id = id + 1;
        match read_header(id, &path) {
            Ok(header) => segments.push((header, path)),
            Err(Error::Damaged { what }) => {
                visitor.damage(&path, Met::Lost(format!("{what}; what it holds is lost")))?;
                found.segments.push((path, 0));
            }
            Err(error) => return Err(error),
        }
    }
    found.epoch = segments.iter().map(|(header, _)| header.epoch).max().unwrap_or(0);
    let mut walk = Walk { covered, visitor, lost: None };
    // `None` until the first segment that is needed: the group that the next one must begin with.
    let mut expected: Option<u64> = None;
    for (at, (header, path)) in segments.iter().enumerate() {
        let next_first = segments.get(at + 1).map(|(next, _)| next.first);
        if let Some(next) = next_first
            && next <= covered + 1
        {
            found.segments.push((path.clone(), next.saturating_sub(1)));
            continue;
        }
        let wanted = expected.unwrap_or(covered + 1).max(covered + 1);
        if header.first > wanted {
            let before = at.checked_sub(1).and_then(|before| segments.get(before));
            if expected.is_some() && before.is_some_and(|(before, _)| before.segment.id + 1 == header.segment.id) {
                // The end of the one before looked as if it had been torn.
                walk.lose(
                    path,
                    wanted,
                    header.first - 1,
                    format!("before group {}, with which it begins", header.first),
                );
            } else {
                // A file is missing, which may yet be found: nobody goes on without it unasked.
                let what = format!("begins with group {}; group {wanted} is missing", header.first);
                walk.visitor.damage(path, Met::Lost(what))?;
            }
        }
        let bytes = std::fs::read(path).map_err(io("read", path))?;
        let until = next_first.unwrap_or(u64::MAX);
        let (next, torn) = walk.segment(bytes, path, header, until, &mut found.replayed)?;
        expected = Some(next);
        found.torn = torn.map(|offset| Torn { segment: path.clone(), offset });
        found.next_seq = next.max(covered + 1);
        found.segments.push((path.clone(), next.saturating_sub(1)));
    }
    walk.unnamed()?;
    Ok(found)
}

/// True when there is a segment.
pub(crate) fn any(folder: &Path) -> Result<bool, Error> {
    list(folder).map(|segments| !segments.is_empty())
}

fn list(folder: &Path) -> Result<Vec<(u64, PathBuf)>, Error> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(io("list", folder))? {
        let path = entry.map_err(io("list", folder))?.path();
        if let Some(id) = segment::id(&path) {
            paths.push((id, path));
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

fn read_header(id: u64, path: &Path) -> Result<segment::Header, Error> {
    use std::io::Read;
    let mut bytes = Vec::new();
    std::fs::File::open(path).and_then(|file| file.take(START).read_to_end(&mut bytes)).map_err(io("read", path))?;
    let header = segment::header(&bytes, path)?;
    if header.segment.id != id {
        return Err(damaged(path, &format!("is segment {} by its header", header.segment.id)));
    }
    Ok(header)
}

/// Groups that cannot be read, of which no group behind them has said yet what they had to do with.
struct Lost {
    path: PathBuf,
    first: u64,
    last: u64,
    what: String,
}

/// The way through the log.
struct Walk<'v, V> {
    covered: u64,
    visitor: &'v mut V,
    lost: Option<Lost>,
}

impl<V: Visitor> Walk<'_, V> {
    /// Groups `first..=last` cannot be read.
    fn lose(&mut self, path: &Path, first: u64, last: u64, why: String) {
        if last <= self.covered {
            tracing::warn!(path = %path.display(), why, "damaged groups of the log, which the index already covers");
            return;
        }
        let first = first.max(self.covered + 1);
        match &mut self.lost {
            Some(before) => before.last = last,
            None => self.lost = Some(Lost { path: path.to_path_buf(), first, last, what: why }),
        }
    }

    /// A group whose header is true: it may know what the ones before it had to do with.
    fn name(&mut self, bytes: &[u8], header: &segment::Header, at: usize, group: &group::Header) -> Result<(), Error> {
        let Some(lost) = self.lost.take_if(|lost| lost.last < group.seq) else { return Ok(()) };
        if let Some(names) = group::names(bytes, header.segment, at, group, lost.first) {
            let what = lost.describe();
            return self.visitor.damage(&lost.path, Met::Named { what, last: lost.last, names });
        }
        self.lost = Some(lost);
        Ok(())
    }

    /// Nobody will say any more what is lost.
    fn unnamed(&mut self) -> Result<(), Error> {
        let Some(lost) = self.lost.take() else { return Ok(()) };
        let what = format!("{}; whose they were is not known", lost.describe());
        self.visitor.damage(&lost.path, Met::Lost(what))
    }

    /// Goes from group to group, up to the one that the next segment begins with: a process that found a torn group dropped
    /// it and gave its seq to the first group of its own segment. Returns the seq after the last one, and where a torn one
    /// begins.
    fn segment(
        &mut self,
        mut bytes: Vec<u8>,
        path: &Path,
        header: &segment::Header,
        until: u64,
        replayed: &mut u64,
    ) -> Result<(u64, Option<u64>), Error> {
        let mut at = START as usize;
        let mut expected = header.first;
        while expected < until {
            let known = group::header(&bytes, header.segment, at).filter(|group| group.seq == expected);
            if let Some(group) = &known {
                self.name(&bytes, header, at, group)?;
            }
            let whole = known.and_then(|group| {
                group::payload(&bytes, header.segment, at, &group)
                    .and_then(group::commits)
                    .map(|commits| (group, commits))
            });
            if let Some((group, payload)) = whole {
                // What this one does not name, no later one does.
                self.unnamed()?;
                if group.seq > self.covered {
                    *replayed += 1;
                    let (seq, time_ms, commits) = (group.seq, group.time_ms, group.commits);
                    self.visitor.group(Group { seq, time_ms, commits, payload })?;
                }
                at += group::size(group.length);
                expected += 1;
                continue;
            }
            // A group is written only after the one before it is durable. So a true header further on means that this one
            // was whole once: it is damage, not a torn end.
            let further = group::find(&bytes, header.segment, at + 8).filter(|(_, group)| group.seq < until);
            let needed = expected > self.covered;
            let rotten = if needed { rot::find(&bytes, header.segment, at, expected) } else { None };
            if let Some((place, change)) = rotten {
                let what = format!("byte {place}, in group {expected}, has changed; its checksums say what it was");
                self.visitor.damage(path, Met::PutRight(what))?;
                bytes[place] ^= change;
                continue;
            }
            let Some((next, group)) = further else { break };
            if group.seq <= expected {
                let what = format!("group {} at byte {next} follows group {expected}", group.seq);
                self.visitor.damage(path, Met::Lost(what))?;
            } else {
                self.lose(path, expected, group.seq - 1, format!("at byte {at}"));
            }
            (at, expected) = (next, group.seq.max(expected));
        }
        let mark = bytes.get(at..).unwrap_or_default();
        let torn = mark.iter().take(HEADER).any(|byte| *byte != 0);
        Ok((expected, torn.then_some(at as u64)))
    }
}

impl Lost {
    fn describe(&self) -> String {
        let Self { first, last, what, .. } = self;
        if first == last {
            format!("group {first} cannot be read ({what})")
        } else {
            format!("groups {first} to {last} cannot be read ({what})")
        }
    }
}
