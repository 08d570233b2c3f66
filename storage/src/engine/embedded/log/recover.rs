//! Reads the log at start: every whole group that the index does not cover, in order; a torn end is dropped and reported;
//! anything else that is missing is damage and stops the start, unless a repair asked to go around it. Never writes.

use std::path::{Path, PathBuf};

use super::{
    group::{self, HEADER},
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
    /// Something is not there any more.
    Lost(String),
}

/// What becomes of damage.
pub(crate) enum Damage<'a> {
    /// The start is refused.
    Refused,
    /// It is told, and what can be read is: (file, what).
    Told(&'a mut dyn FnMut(&Path, Met)),
}

impl Damage<'_> {
    pub fn meet(&mut self, path: &Path, met: Met) -> Result<(), Error> {
        match self {
            Self::Refused => {
                let (Met::PutRight(what) | Met::Lost(what)) = met;
                Err(damaged(path, &what))
            }
            Self::Told(tell) => {
                tell(path, met);
                Ok(())
            }
        }
    }
}

/// Hands every group after `covered` to `replay`, in order.
pub(crate) fn recover(
    folder: &Path,
    covered: u64,
    damage: &mut Damage,
    mut replay: impl FnMut(Group) -> Result<(), Error>,
) -> Result<Found, Error> {
    let mut found = Found { next_seq: covered + 1, next_id: 1, ..Found::default() };
    let mut segments = Vec::new();
    for (id, path) in list(folder)? {
        found.next_id = id + 1;
        match read_header(id, &path) {
            Ok(header) => segments.push((header, path)),
            Err(Error::Damaged { what }) if matches!(damage, Damage::Told(_)) => {
                damage.meet(&path, Met::Lost(format!("{what}; what it holds is lost")))?;
                found.segments.push((path, 0));
            }
            Err(error) => return Err(error),
        }
    }
    found.epoch = segments.iter().map(|(header, _)| header.epoch).max().unwrap_or(0);
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
            let what = format!("begins with group {}; group {wanted} is missing", header.first);
            damage.meet(path, Met::Lost(what))?;
        }
        let bytes = std::fs::read(path).map_err(io("read", path))?;
        let until = next_first.unwrap_or(u64::MAX);
        let (next, torn) = walk(bytes, path, header, covered, until, damage, &mut |group| {
            found.replayed += 1;
            replay(group)
        })?;
        expected = Some(next);
        found.torn = torn.map(|offset| Torn { segment: path.clone(), offset });
        found.next_seq = next.max(covered + 1);
        found.segments.push((path.clone(), next.saturating_sub(1)));
    }
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

/// Goes from group to group, up to the one that the next segment begins with: a process that found a torn group dropped
/// it and gave its seq to the first group of its own segment. Returns the seq after the last one, and where a torn one
/// begins.
fn walk(
    mut bytes: Vec<u8>,
    path: &Path,
    header: &segment::Header,
    covered: u64,
    until: u64,
    damage: &mut Damage,
    replay: &mut impl FnMut(Group) -> Result<(), Error>,
) -> Result<(u64, Option<u64>), Error> {
    let mut at = START as usize;
    let mut expected = header.first;
    while expected < until {
        let whole = group::header(&bytes, header.segment, at)
            .filter(|group| group.seq == expected)
            .and_then(|group| group::payload(&bytes, header.segment, at, &group).map(|payload| (group, payload)));
        if let Some((group, payload)) = whole {
            if group.seq > covered {
                replay(Group { seq: group.seq, time_ms: group.time_ms, commits: group.commits, payload })?;
            }
            at += group::size(group.length);
            expected += 1;
            continue;
        }
        // A group is written only after the one before it is durable. So a true header further on means that this one was
        // whole once: it is damage, not a torn end.
        let further = group::find(&bytes, header.segment, at + 8).filter(|(_, group)| group.seq < until);
        let needed = expected > covered;
        let rotten = if needed { rot::find(&bytes, header.segment, at, expected) } else { None };
        if let Some((place, change)) = rotten {
            let what = format!("byte {place}, in group {expected}, has changed; its checksums say what it was");
            damage.meet(path, Met::PutRight(what))?;
            bytes[place] ^= change;
            continue;
        }
        let Some((next, group)) = further else { break };
        if group.seq > covered + 1 || group.seq < expected {
            let what = format!("group {expected} at byte {at} is unreadable, though group {} follows", group.seq);
            damage.meet(path, Met::Lost(what))?;
        } else {
            tracing::warn!(path = %path.display(), at, "a damaged group of the log, which the index already covers");
        }
        (at, expected) = (next, group.seq.max(expected));
    }
    let mark = bytes.get(at..).unwrap_or_default();
    let torn = mark.iter().take(HEADER).any(|byte| *byte != 0);
    Ok((expected, torn.then_some(at as u64)))
}
