//! Keeps a text as a tree of chunks, each under the hash of what is in it, so that what is equal is kept once: a text that
//! is kept already costs nothing, an edit costs the chunks it touched and the nodes above them. Knows no session; where
//! rows are read and written is the caller's.
//!
//! Nothing collects chunks. A row expires by itself, and whoever needs it for longer writes it anew: it is written for
//! twice the time that a snapshot lives, and again only when less than once that time is left. And a node never outlives
//! what is below it, so a node that lasts long enough says so for its whole tree: an unchanged text is one look.

use std::{borrow::Cow, collections::HashMap, ops::Range};

use aws_lc_rs::digest::{Context, SHA256};
use bytes::{Bytes, BytesMut};
use syncbridge_codec::wire::{Reader, Value as _};
use syncbridge_storage as storage;

use super::cut::cut;

/// SHA-256 of a chunk's height and bytes.
pub type Hash = [u8; 32];

/// Children of a node, at least (but for the last of a level) and at most; 64 on average. A node then has about 2 KiB, and
/// each level has an eighth of the nodes below it or fewer: 65,536 chunks (64 MiB) stand below at most six levels.
const CHILDREN: std::ops::RangeInclusive<usize> = 8..=256;
/// One child in so many ends its node, behind the least.
const ONE_IN: u64 = 56;
/// Highest tree that is read.
const MAX_HEIGHT: u32 = 8;
/// A row has to last this much longer than what needs it, milliseconds: two snapshots that are made at the same time may
/// write the same chunk, and the one that commits later may have looked at the clock earlier.
pub const SLACK_MS: u64 = 3_600_000;

/// Where a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Root {
    /// Its chunk or node.
    pub hash: Hash,
    /// 0: the text is one chunk; else the levels of nodes above the chunks.
    pub height: u32,
    /// Bytes of text.
    pub size: u64,
}

/// A row to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its key.
    pub hash: Hash,
    /// Its value.
    pub value: Bytes,
    /// When it goes.
    pub expires_at_ms: u64,
}

/// Why a text cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The store says why.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// A chunk is missing, or is not what its hash says.
    #[error("a chunk is {0}")]
    Damaged(&'static str),
}

/// Reads a row that has not expired.
pub type Look<'a> = &'a dyn Fn(&Hash) -> Result<Option<Bytes>, storage::Error>;

/// What has to be written so that `text` can be read for `ttl_ms` from now on.
///
/// # Errors
/// Whatever reading fails with.
pub fn keep(text: &[u8], look: Look<'_>, now_ms: u64, ttl_ms: u64) -> Result<(Root, Vec<Row>), storage::Error> {
    let levels = build(text);
    let top = levels.len() - 1;
    let root = Root { hash: levels[top][0].hash, height: top as u32, size: text.len() as u64 };
    let needed_ms = now_ms.saturating_add(ttl_ms).saturating_add(SLACK_MS);
    let fresh_ms = needed_ms.saturating_add(ttl_ms);
    let mut keeper = Keeper { levels, look, needed_ms, fresh_ms, seen: HashMap::new(), rows: Vec::new() };
    keeper.ensure(top, 0)?;
    Ok((root, keeper.rows))
}

/// The text of a root.
///
/// # Errors
/// [`Unreadable`].
pub fn read(root: &Root, look: Look<'_>) -> Result<Vec<u8>, Unreadable> {
    if root.height > MAX_HEIGHT {
        return Err(Unreadable::Damaged("higher than a tree can be"));
    }
    let size = usize::try_from(root.size).map_err(|_| Unreadable::Damaged("larger than memory"))?;
    let mut text = Vec::new();
    read_into(&mut text, &root.hash, root.height, size, look)?;
    if text.len() == size { Ok(text) } else { Err(Unreadable::Damaged("shorter than it was")) }
}

fn read_into(text: &mut Vec<u8>, hash: &Hash, height: u32, size: usize, look: Look<'_>) -> Result<(), Unreadable> {
    let row = look(hash)?.ok_or(Unreadable::Damaged("missing"))?;
    let (_, body) = decode(row).ok_or(Unreadable::Damaged("not a chunk"))?;
    if hash_of(height, &body) != *hash {
        return Err(Unreadable::Damaged("not what it was"));
    }
    if height == 0 {
        if body.len() > size - text.len() {
            return Err(Unreadable::Damaged("longer than it was"));
        }
        text.extend_from_slice(&body);
        return Ok(());
    }
    let (children, []) = body.as_chunks::<32>() else { return Err(Unreadable::Damaged("not a list of chunks")) };
    children.iter().try_for_each(|child| read_into(text, child, height - 1, size, look))
}

/// A chunk or node.
struct Piece<'a> {
    hash: Hash,
    body: Cow<'a, [u8]>,
    /// Its children's places in the level below.
    children: Range<usize>,
}

/// The levels of a text's tree, the chunks first. The last has one piece.
fn build(text: &[u8]) -> Vec<Vec<Piece<'_>>> {
    let chunks = cut(text).map(|chunk| Piece { hash: hash_of(0, chunk), body: chunk.into(), children: 0..0 });
    let mut levels = vec![chunks.collect::<Vec<_>>()];
    while let Some(below) = levels.last().filter(|level| level.len() > 1) {
        let height = levels.len() as u32;
        let (mut nodes, mut from) = (Vec::new(), 0);
        for (at, child) in below.iter().enumerate() {
            let count = at + 1 - from;
            let ends = u64::from_be_bytes(*child.hash.first_chunk().expect("32 bytes")) < u64::MAX / ONE_IN;
            if at + 1 == below.len() || count == *CHILDREN.end() || (ends && count >= *CHILDREN.start()) {
                let body = below[from..=at].iter().map(|child| child.hash).collect::<Vec<_>>().concat();
                nodes.push(Piece { hash: hash_of(height, &body), body: body.into(), children: from..at + 1 });
                from = at + 1;
            }
        }
        levels.push(nodes);
    }
    levels
}

struct Keeper<'a> {
    levels: Vec<Vec<Piece<'a>>>,
    look: Look<'a>,
    /// What is there until then need not be written.
    needed_ms: u64,
    /// Until when a row that is written lasts, unless something below it does not.
    fresh_ms: u64,
    /// What was seen to: until when it is there.
    seen: HashMap<Hash, u64>,
    rows: Vec<Row>,
}

impl Keeper<'_> {
    /// Sees to a piece and all below it: until when it is there.
    fn ensure(&mut self, level: usize, at: usize) -> Result<u64, storage::Error> {
        let hash = self.levels[level][at].hash;
        if let Some(until) = self.seen.get(&hash) {
            return Ok(*until);
        }
        let known = (self.look)(&hash)?.and_then(decode).map(|(until, _)| until);
        let until = if let Some(until) = known.filter(|until| *until >= self.needed_ms) {
            until
        } else {
            let mut until = self.fresh_ms;
            for child in self.levels[level][at].children.clone() {
                until = until.min(self.ensure(level - 1, child)?);
            }
            let value = encode(until, &self.levels[level][at].body);
            self.rows.push(Row { hash, value, expires_at_ms: until });
            until
        };
        self.seen.insert(hash, until);
        Ok(until)
    }
}

fn hash_of(height: u32, body: &[u8]) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(&height.to_be_bytes());
    context.update(body);
    let mut hash = Hash::default();
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// A row's value: until when it is there, then what is in it. Grows at its end only.
fn encode(until_ms: u64, body: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(body.len() + 16);
    until_ms.write(&mut out);
    Bytes::copy_from_slice(body).write(&mut out);
    out.freeze()
}

fn decode(row: Bytes) -> Option<(u64, Bytes)> {
    let from = &mut Reader::new(row);
    Some((u64::read(from).ok()?, Bytes::read(from).ok()?))
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, collections::BTreeMap};

    use fastrand::Rng;
    use proptest::prelude::*;

    use super::*;

    /// Rows, as an engine keeps them.
    #[derive(Default)]
    struct Rows {
        rows: BTreeMap<Hash, (Bytes, u64)>,
        looked: RefCell<usize>,
    }

    impl Rows {
        fn get(&self, hash: &Hash, now_ms: u64) -> Option<Bytes> {
            *self.looked.borrow_mut() += 1;
            self.rows.get(hash).filter(|(_, until)| now_ms <= *until).map(|(value, _)| value.clone())
        }

        /// Bytes written, and the root.
        fn keep(&mut self, text: &[u8], now_ms: u64, ttl_ms: u64) -> (Root, usize) {
            let (root, rows) = keep(text, &|hash| Ok(self.get(hash, now_ms)), now_ms, ttl_ms).unwrap();
            let written = rows.iter().map(|row| row.value.len() + row.hash.len()).sum();
            self.rows.extend(rows.into_iter().map(|row| (row.hash, (row.value, row.expires_at_ms))));
            (root, written)
        }

        fn read(&self, root: &Root, now_ms: u64) -> Result<Vec<u8>, Unreadable> {
            read(root, &|hash| Ok(self.get(hash, now_ms)))
        }
    }

    fn text(rng: &mut Rng, len: usize) -> Vec<u8> {
        (0..len).map(|_| rng.alphanumeric() as u8).collect()
    }

    const TTL_MS: u64 = 7 * 86_400_000;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// However snapshots, edits and the time follow each other: what was kept for a while can be read that long.
        #[test]
        fn no_snapshot_that_lives_ever_loses_a_chunk(seed: u64, ttl_ms in prop::sample::select(vec![1, 50, TTL_MS])) {
            let mut rng = Rng::with_seed(seed);
            let mut rows = Rows::default();
            let mut now_ms = 1_700_000_000_000;
            let len = rng.usize(0..60_000);
            let mut current = text(&mut rng, len);
            let mut live: Vec<(Root, Vec<u8>, u64)> = Vec::new();
            for _ in 0..60 {
                match rng.u8(0..4) {
                    0 => now_ms += rng.u64(0..=ttl_ms / 2),
                    1 => {
                        let at = rng.usize(0..=current.len());
                        let end = rng.usize(at..=current.len().min(at + 40));
                        current.splice(at..end, text(&mut rng, 20));
                    }
                    _ => {
                        // Clocks of two that write at the same time need not agree to the millisecond.
                        let looked_ms = now_ms - rng.u64(0..=20);
                        let (root, _) = rows.keep(&current, looked_ms, ttl_ms);
                        live.push((root, current.clone(), looked_ms + ttl_ms));
                    }
                }
                live.retain(|(_, _, until)| *until >= now_ms);
                for (root, text, until) in &live {
                    for at in [now_ms, *until] {
                        prop_assert_eq!(&rows.read(root, at).unwrap(), text);
                    }
                }
                // What nobody needs goes by itself.
                rows.rows.retain(|_, (_, until)| *until >= now_ms);
            }
        }
    }

    #[test]
    fn what_is_kept_already_is_one_look_and_no_write() {
        let (mut rng, mut rows) = (Rng::with_seed(3), Rows::default());
        let text = text(&mut rng, 1 << 20);
        let (root, _) = rows.keep(&text, 0, TTL_MS);
        *rows.looked.borrow_mut() = 0;
        assert_eq!(rows.keep(&text, 1_000, TTL_MS), (root, 0));
        assert_eq!(*rows.looked.borrow(), 1);
    }

    #[test]
    fn an_edit_writes_what_it_touched() {
        let (mut rng, mut rows) = (Rng::with_seed(4), Rows::default());
        let mut text = text(&mut rng, 1 << 20);
        let (_, whole) = rows.keep(&text, 0, TTL_MS);
        assert!(whole > 1 << 20);
        text.splice(500_000..500_010, *b"something else");
        let (_, edit) = rows.keep(&text, 1_000, TTL_MS);
        assert!(edit < whole / 20, "{edit} of {whole} bytes");
    }

    #[test]
    fn repetitive_text_is_kept_once() {
        let mut rows = Rows::default();
        let (root, written) = rows.keep(&vec![b'a'; 4 << 20], 0, TTL_MS);
        assert!(written < 64 << 10, "{written}");
        assert_eq!(rows.read(&root, 0).unwrap().len(), 4 << 20);
    }

    #[test]
    fn a_chunk_that_is_missing_or_changed_is_noticed() {
        let (mut rng, mut rows) = (Rng::with_seed(5), Rows::default());
        let (root, _) = rows.keep(&text(&mut rng, 100_000), 0, TTL_MS);
        for hash in rows.rows.keys().copied().collect::<Vec<_>>() {
            let (value, until) = rows.rows.remove(&hash).unwrap();
            assert!(matches!(rows.read(&root, 0), Err(Unreadable::Damaged("missing"))));
            let (other, _) = decode(value.clone()).map(|(until, body)| (encode(until, &body[1..]), body)).unwrap();
            rows.rows.insert(hash, (other, until));
            assert!(matches!(rows.read(&root, 0), Err(Unreadable::Damaged("not what it was"))));
            rows.rows.insert(hash, (value, until));
        }
        assert!(rows.read(&Root { size: root.size - 1, ..root }, 0).is_err());
        assert!(rows.read(&Root { height: 200, ..root }, 0).is_err());
        assert_eq!(rows.read(&root, 0).unwrap().len(), 100_000);
    }
}
