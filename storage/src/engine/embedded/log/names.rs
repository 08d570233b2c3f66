//! What groups touched, said once more by the groups behind them: so that of a group that cannot be read it is still known
//! which sessions and rows it had to do with. Pure functions; damaged bytes are `None`.
//!
//! ```text
//! section: length u32 | crc u32 | blocks, newest group first
//! block:   groups in a row that touched this | length | names: 0, session id | table, key (LEB128 lengths)
//! ```

use std::collections::VecDeque;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{
    Table, Write,
    defaults::{NAMES_BYTES, NAMES_REACH},
    engine::embedded::{
        encoding::{Reader, put_bytes, put_number, table},
        hash::Set,
    },
};

/// Bytes before the blocks.
const PREFIX: usize = 8;
/// The tag of a session; a row's is its table's number, and none is 0.
const SESSION: u8 = 0;

/// What a write changes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Name {
    /// A session.
    Session(String),
    /// A row of a table.
    Row(Table, Vec<u8>),
}

impl std::fmt::Display for Name {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Session(id) => write!(out, "session {id:?}"),
            Self::Row(table, key) => write!(out, "row {} of table {table:?}", key.escape_ascii()),
        }
    }
}

/// The names of one group in the making, each once.
#[derive(Debug)]
pub(crate) struct Touched {
    block: Vec<u8>,
    /// Hashes of what is in the block.
    seen: Set<u64>,
    seed: u64,
}

impl Touched {
    /// None yet. With a random `seed` nobody can choose two names of one hash.
    pub fn new(seed: u64) -> Self {
        Self { block: Vec::new(), seen: Set::default(), seed }
    }

    /// For the next group.
    pub fn clear(&mut self) {
        self.block.clear();
        self.seen.clear();
    }

    /// Notes what a write changes.
    pub fn add(&mut self, write: &Write) {
        let (tag, name) = match write.row() {
            Some((table, key)) => (table as u8, key.as_ref()),
            None => (SESSION, write.session().map_or(&[][..], |session| session.as_bytes())),
        };
        if self.seen.insert(xxh3_64_with_seed(name, self.seed ^ u64::from(tag))) {
            self.block.push(tag);
            put_bytes(&mut self.block, name);
        }
    }
}

/// Groups that touched the same, one after the other.
#[derive(Debug)]
struct Block {
    groups: u64,
    /// Bytes of the log that they take.
    bytes: u64,
    names: Vec<u8>,
}

/// The names of the newest groups: of the last always, of those before it as far as [`NAMES_REACH`] and [`NAMES_BYTES`] go.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// Newest first.
    blocks: VecDeque<Block>,
    /// Bytes of the newest group.
    newest: u64,
}

impl Window {
    /// A group of `bytes` was written.
    pub fn push(&mut self, touched: &Touched, bytes: u64) {
        match self.blocks.front_mut() {
            Some(newest) if newest.names == touched.block => {
                newest.groups += 1;
                newest.bytes += bytes;
            }
            _ => self.blocks.push_front(Block { groups: 1, bytes, names: touched.block.clone() }),
        }
        self.newest = bytes;
        // What is lost at once ends, at the latest, somewhere in the newest group: only what is between counts.
        let (mut between, mut named) = (0, 0);
        let kept = self.blocks.iter().enumerate().take_while(|(at, block)| {
            if *at == 0 {
                between = block.bytes - self.newest;
                return true;
            }
            named += block.names.len();
            let keep = between < NAMES_REACH && named <= NAMES_BYTES;
            between += block.bytes;
            keep
        });
        let kept = kept.count();
        self.blocks.truncate(kept);
    }

    /// Appends the section; its checksum is still to come.
    pub fn put(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&[0; PREFIX]);
        for block in &self.blocks {
            put_number(out, block.groups);
            put_bytes(out, &block.names);
        }
        let length = (out.len() - start - PREFIX) as u32;
        out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    }
}

/// Completes the section at the front of a payload.
pub(super) fn seal(payload: &mut [u8], seed: u32) {
    if let Some((section, _)) = split(payload) {
        let crc = checksum(section, seed);
        payload[4..PREFIX].copy_from_slice(&crc.to_le_bytes());
    }
}

fn checksum(section: &[u8], seed: u32) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(seed, &section[..4]), &section[PREFIX..])
}

/// The section at the front of a payload, and the commits behind it.
pub(super) fn split(payload: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, _) = payload.split_first_chunk()?;
    payload.split_at_checked(PREFIX.checked_add(u32::from_le_bytes(*length) as usize)?)
}

/// What the groups `from..seq` touched, by the section at the front of group `seq`'s payload, of which the rest need not be
/// readable; `None` when it does not reach back so far, or cannot be read.
pub(super) fn read(payload: &[u8], seed: u32, seq: u64, from: u64) -> Option<Vec<Name>> {
    let (section, _) = split(payload)?;
    if checksum(section, seed).to_le_bytes() != section[4..PREFIX] {
        return None;
    }
    let (mut reader, mut names, mut before) = (Reader(&section[PREFIX..]), Vec::new(), seq);
    while before > from {
        before = before.checked_sub(reader.number()?)?;
        let mut block = Reader(reader.bytes()?);
        while let Some(tag) = block.byte() {
            let name = block.bytes()?;
            names.push(match tag {
                SESSION => Name::Session(std::str::from_utf8(name).ok()?.to_owned()),
                tag => Name::Row(table(tag)?, name.to_vec()),
            });
        }
    }
    names.sort_unstable();
    names.dedup();
    Some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touched(names: &[&str]) -> Touched {
        let mut touched = Touched::new(5);
        for name in names {
            touched.add(&Write::DeleteSession { session: (*name).into(), epoch: 1 });
            touched.add(&Write::Remove { table: Table::Token, key: name.as_bytes().to_vec().into() });
            touched.add(&Write::DeleteSession { session: (*name).into(), epoch: 1 });
        }
        touched
    }

    fn names(of: &[&str]) -> Vec<Name> {
        let sessions = of.iter().map(|name| Name::Session((*name).to_owned()));
        sessions.chain(of.iter().map(|name| Name::Row(Table::Token, name.as_bytes().to_vec()))).collect()
    }

    fn section(window: &Window) -> Vec<u8> {
        let mut payload = Vec::new();
        window.put(&mut payload);
        payload.extend_from_slice(b"commits");
        seal(&mut payload, 7);
        payload
    }

    #[test]
    fn each_group_before_is_named_as_far_as_the_window_reaches() {
        let mut window = Window::default();
        for group in [&["a"][..], &["b"], &["b"], &["c", "d"]] {
            window.push(&touched(group), 100);
        }
        let payload = section(&window);
        assert_eq!(split(&payload).expect("whole").1, b"commits");
        assert_eq!(read(&payload, 7, 14, 14), Some(vec![]));
        assert_eq!(read(&payload, 7, 14, 13), Some(names(&["c", "d"])));
        assert_eq!(read(&payload, 7, 14, 11), Some(names(&["b", "c", "d"])));
        assert_eq!(read(&payload, 7, 14, 10), Some(names(&["a", "b", "c", "d"])));
        assert_eq!(read(&payload, 7, 14, 9), None, "of that it knows nothing");
        assert_eq!(read(&payload, 8, 14, 13), None, "another place");
    }

    #[test]
    fn what_is_carried_is_bounded_and_the_last_group_is_always_named() {
        let mut window = Window::default();
        let many: Vec<_> = (0..2 * NAMES_BYTES).map(|name| name.to_string()).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();
        window.push(&touched(&many), 100);
        let named = read(&section(&window), 7, 3, 2).map(|names| names.len());
        assert_eq!(named, Some(2 * many.len()));
        window.push(&touched(&["a"]), 100);
        assert!(read(&section(&window), 7, 4, 2).is_none(), "too many");
        window.push(&touched(&["b"]), 1 << 30);
        assert_eq!(read(&section(&window), 7, 4, 3), Some(names(&["b"])));
        window.push(&touched(&["c"]), NAMES_REACH);
        assert_eq!(read(&section(&window), 7, 5, 3), Some(names(&["b", "c"])), "just before the newest");
        window.push(&touched(&["d"]), 100);
        assert_eq!(read(&section(&window), 7, 6, 3), None, "too far behind");
        for group in 0..10_000 {
            window.push(&touched(&[many[group % 100]]), 100);
        }
        assert!(section(&window).len() < 2 * NAMES_BYTES);
    }

    #[test]
    fn a_changed_byte_of_the_section_is_noticed() {
        let mut window = Window::default();
        window.push(&touched(&["a", "b"]), 100);
        let payload = section(&window);
        for at in 0..payload.len() - b"commits".len() {
            let mut changed = payload.clone();
            changed[at] ^= 0x10;
            assert_eq!(read(&changed, 7, 2, 1), None, "byte {at}");
        }
    }
}
