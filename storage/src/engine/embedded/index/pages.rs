//! Reads the pages of redb's file and believes none that its parent's checksum does not confirm. redb itself checks them
//! only when it repairs, and a damaged page that it takes for whole can hide rows without a word; so every start reads the
//! file here first. Never writes, and never opens the database.
//!
//! The format is redb's version 3 (`docs/design.md` of its repository): pages of 4096 << order bytes behind one header
//! page; a branch holds for each child its page and the XXH3 of what is used of it; a header slot holds those of the roots.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use xxhash_rust::xxh3::xxh3_128;

use crate::{
    Error,
    engine::embedded::files::{damaged, io},
};

const PAGE: u64 = 4096;
/// Bytes of a region: 2^20 pages, which is what redb gives a new file.
const REGION: u64 = 1 << 32;
const MAGIC: &[u8; 9] = b"redb\x1A\x0A\xA9\x0D\x0A";
const LEAF: u8 = 1;
const BRANCH: u8 = 2;
/// Largest order of a page that redb makes.
const MAX_ORDER: u64 = 20;
/// Deepest tree: of 2^64 rows with two children a branch.
const MAX_DEPTH: usize = 64;

/// Where a tree begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::engine::embedded) struct Root {
    page: u64,
    sum: u128,
    /// Rows of it.
    pub rows: u64,
}

/// Sizes of keys and values that are all of one size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Widths {
    key: Option<usize>,
    value: Option<usize>,
}

/// A table of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine::embedded) struct Table {
    pub name: String,
    pub root: Option<Root>,
    widths: Widths,
}

/// One of the two places in the header that a commit alternates between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    transaction: u64,
    user: Option<Root>,
    system: Option<Root>,
}

/// What a look at the whole file found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::engine::embedded) enum Verdict {
    /// Every page matches its checksum, and redb would open what was written last.
    Whole,
    /// This does not.
    Damaged(String),
}

/// The file.
pub(in crate::engine::embedded) struct Pages {
    file: File,
    length: u64,
    path: PathBuf,
    /// Why the header is not believed, if it is not.
    header: Option<String>,
    /// The slot that redb would open, and the other.
    slots: [Option<Slot>; 2],
    /// The last writer did not close it.
    unclean: bool,
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<usize> {
    number(bytes, at).map(|bytes| u32::from_le_bytes(bytes) as usize)
}

fn root(bytes: &[u8], at: usize) -> Option<Root> {
    Some(Root {
        page: u64::from_le_bytes(number(bytes, at)?),
        sum: u128::from_le_bytes(number(bytes, at + 8)?),
        rows: u64::from_le_bytes(number(bytes, at + 24)?),
    })
}

fn slot(bytes: &[u8]) -> Option<Slot> {
    if xxh3_128(bytes.get(..112)?) != u128::from_le_bytes(number(bytes, 112)?) {
        return None;
    }
    let [user, system] = [(1, 8), (2, 40)].map(|(there, at)| (bytes[there] != 0).then(|| root(bytes, at)).flatten());
    Some(Slot { transaction: u64::from_le_bytes(number(bytes, 104)?), user, system })
}

impl Pages {
    /// Opens the file for reading.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = File::open(path).map_err(io("open", path))?;
        let length = file.metadata().map_err(io("stat", path))?.len();
        let mut bytes = [0; 320];
        if length < PAGE {
            return Err(damaged(path, "too short for a header"));
        }
        file.read_exact_at(&mut bytes, 0).map_err(io("read", path))?;
        let flags = bytes[9];
        let geometry = [12, 16, 20].map(|at| u32_at(&bytes, at));
        let header = if &bytes[..9] != MAGIC {
            Some("the header's first bytes".to_owned())
        } else if geometry != [Some(4096), Some(0), Some(1 << 20)] {
            Some("the sizes in the header".to_owned())
        } else {
            None
        };
        let (first, second) = (slot(&bytes[64..192]), slot(&bytes[192..320]));
        let slots = if flags & 1 == 0 { [first, second] } else { [second, first] };
        Ok(Self { file, length, path: path.to_path_buf(), header, slots, unclean: flags & 2 != 0 })
    }

    /// Bytes of the file.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Reads every page that the newest commit reaches.
    pub fn verdict(&self) -> Verdict {
        if let Some(why) = &self.header {
            return Verdict::Damaged(why.clone());
        }
        let [Some(primary), secondary] = self.slots else {
            return Verdict::Damaged("the header's slot of the newest commit".to_owned());
        };
        if let Some(why) = self.damage_of(&primary) {
            return Verdict::Damaged(why);
        }
        // A commit that was cut short leaves a newer slot that redb does not open, and must not. A file that was closed
        // has none: then the bit that chooses is wrong.
        match secondary {
            Some(newer) if newer.transaction > primary.transaction && !self.unclean => {
                Verdict::Damaged("the header's bit that chooses the newest commit".to_owned())
            }
            _ => Verdict::Whole,
        }
    }

    fn damage_of(&self, slot: &Slot) -> Option<String> {
        for tree in [slot.user, slot.system].into_iter().flatten() {
            if let Some(why) = self.damage_of_tree(&tree, Widths::default(), 0) {
                return Some(why);
            }
            let tables = match self.tables_of(tree) {
                Ok((tables, None)) => tables,
                Ok((_, Some(why))) => return Some(why),
                Err(error) => return Some(error.to_string()),
            };
            for table in tables {
                if let Some(why) = table.root.and_then(|root| self.damage_of_tree(&root, table.widths, 0)) {
                    return Some(format!("table {}: {why}", table.name));
                }
            }
        }
        None
    }

    fn damage_of_tree(&self, root: &Root, widths: Widths, depth: usize) -> Option<String> {
        if depth > MAX_DEPTH {
            return Some("a tree that is too deep".to_owned());
        }
        let Some(page) = self.page(root.page) else { return Some(format!("page {:#x} cannot be read", root.page)) };
        if !page.matches(root.sum, widths) {
            return Some(format!("the page at byte {}", page.offset));
        }
        if page.kind() != BRANCH {
            return None;
        }
        (0..=page.count()).find_map(|at| match page.child(at) {
            Some(child) => self.damage_of_tree(&child, widths, depth + 1),
            None => Some(format!("the page at byte {}", page.offset)),
        })
    }

    /// The tables of the newest commit, as far as they can be read; and what is damaged of their list.
    ///
    /// # Errors
    /// [`Error::Damaged`] when there is no commit that can be read.
    pub fn tables(&self) -> Result<(Vec<Table>, Option<String>), Error> {
        let [primary, secondary] = self.slots;
        let newest = match (primary, secondary) {
            (Some(primary), Some(secondary)) if secondary.transaction > primary.transaction && !self.unclean => {
                secondary
            }
            (Some(slot), _) | (None, Some(slot)) => slot,
            (None, None) => return Err(damaged(&self.path, "both slots of the header")),
        };
        newest.user.map_or_else(|| Ok((Vec::new(), None)), |root| self.tables_of(root))
    }

    fn tables_of(&self, root: Root) -> Result<(Vec<Table>, Option<String>), Error> {
        let (mut tables, mut lost) = (Vec::new(), None);
        for item in Cursor::new(self, Some(root), Widths::default()) {
            match item {
                Item::Row { key, value, trusted: true } => {
                    tables.push(definition(&key, &value).ok_or_else(|| damaged(&self.path, "a table's definition"))?);
                }
                // A definition has no checksum of its own.
                Item::Row { .. } => lost = Some("the page of a table's definition".to_owned()),
                Item::Gap { offset } => lost = Some(format!("the page at byte {offset}")),
            }
        }
        Ok((tables, lost))
    }

    /// The rows of a table, in order.
    pub fn rows(&self, table: &Table) -> Cursor<'_> {
        Cursor::new(self, table.root, table.widths)
    }

    /// Bytes of the pages that a table takes.
    pub fn bytes_of(&self, table: &Table) -> u64 {
        table.root.map_or(0, |root| self.bytes_of_tree(&root, 0))
    }

    fn bytes_of_tree(&self, root: &Root, depth: usize) -> u64 {
        let Some(page) = self.page(root.page).filter(|_| depth <= MAX_DEPTH) else { return 0 };
        let below = if page.kind() == BRANCH { page.count() + 1 } else { 0 };
        let children = (0..below).filter_map(|at| page.child(at));
        page.bytes.len() as u64 + children.map(|child| self.bytes_of_tree(&child, depth + 1)).sum::<u64>()
    }

    /// A page; `None` when it lies outside of the file or the disk does not give it.
    fn page(&self, number: u64) -> Option<Page> {
        let order = number >> 59;
        if order > MAX_ORDER {
            return None;
        }
        let (region, index) = (number >> 20 & 0xF_FFFF, number & (0xF_FFFF >> order));
        let size = PAGE << order;
        let offset = PAGE + region * REGION + index * size;
        if offset + size > self.length {
            return None;
        }
        let mut bytes = vec![0; usize::try_from(size).ok()?];
        self.file.read_exact_at(&mut bytes, offset).ok()?;
        Some(Page { bytes, offset })
    }
}

/// A table's definition: type, rows, root, widths.
fn definition(name: &[u8], value: &[u8]) -> Option<Table> {
    const NORMAL: u8 = 3;
    if *value.first()? != NORMAL {
        return None;
    }
    let width = |at: usize| Some((*value.get(at)? != 0).then_some(u32_at(value, at + 1)?));
    Some(Table {
        name: std::str::from_utf8(name).ok()?.to_owned(),
        root: if *value.get(9)? == 0 { None } else { Some(root(value, 10)?) },
        widths: Widths { key: width(42)?, value: width(47)? },
    })
}

struct Page {
    bytes: Vec<u8>,
    offset: u64,
}

impl Page {
    fn kind(&self) -> u8 {
        self.bytes[0]
    }

    /// Pairs of a leaf, or keys of a branch, which has one child more.
    fn count(&self) -> usize {
        usize::from(u16::from_le_bytes([self.bytes[2], self.bytes[3]]))
    }

    fn matches(&self, sum: u128, widths: Widths) -> bool {
        let Some(last) = self.count().checked_sub(1) else { return false };
        let end = match self.kind() {
            LEAF => self.value_end(last, widths),
            BRANCH => match widths.key {
                Some(width) => Some(8 + 24 * (self.count() + 1) + width * self.count()),
                None => u32_at(&self.bytes, 8 + 24 * (self.count() + 1) + 4 * last),
            },
            _ => None,
        };
        end.and_then(|end| self.bytes.get(..end)).is_some_and(|used| xxh3_128(used) == sum)
    }

    fn child(&self, at: usize) -> Option<Root> {
        let children = self.count() + 1;
        Some(Root {
            page: u64::from_le_bytes(number(&self.bytes, 8 + 16 * children + 8 * at)?),
            sum: u128::from_le_bytes(number(&self.bytes, 8 + 16 * at)?),
            rows: 0,
        })
    }

    fn key_end(&self, at: usize, widths: Widths) -> Option<usize> {
        match widths.key {
            Some(width) => Some(self.keys_start(widths) + width * (at + 1)),
            None => u32_at(&self.bytes, 4 + 4 * at),
        }
    }

    fn value_end(&self, at: usize, widths: Widths) -> Option<usize> {
        match widths.value {
            Some(width) => Some(self.key_end(self.count().checked_sub(1)?, widths)? + width * (at + 1)),
            None => u32_at(&self.bytes, 4 + 4 * at + if widths.key.is_none() { 4 * self.count() } else { 0 }),
        }
    }

    fn keys_start(&self, widths: Widths) -> usize {
        let lists = usize::from(widths.key.is_none()) + usize::from(widths.value.is_none());
        4 + 4 * lists * self.count()
    }

    fn row(&self, at: usize, widths: Widths) -> Option<(&[u8], &[u8])> {
        let key_start = if at == 0 { self.keys_start(widths) } else { self.key_end(at - 1, widths)? };
        let value_start =
            if at == 0 { self.key_end(self.count() - 1, widths)? } else { self.value_end(at - 1, widths)? };
        let key = self.bytes.get(key_start..self.key_end(at, widths)?)?;
        Some((key, self.bytes.get(value_start..self.value_end(at, widths)?)?))
    }
}

/// What a [`Cursor`] comes by.
#[derive(Debug)]
pub(in crate::engine::embedded) enum Item {
    /// A row.
    Row {
        key: Vec<u8>,
        value: Vec<u8>,
        /// Its page matches its checksum. Otherwise only the row's own checksum can tell.
        trusted: bool,
    },
    /// Rows that cannot be read, any number of them, between the row before and the row after.
    Gap {
        /// Of the page.
        offset: u64,
    },
}

struct Frame {
    page: Page,
    trusted: bool,
    next: usize,
}

/// Goes through a tree in key order, around what is damaged.
pub(in crate::engine::embedded) struct Cursor<'a> {
    pages: &'a Pages,
    widths: Widths,
    stack: Vec<Frame>,
    gap: Option<u64>,
}

impl<'a> Cursor<'a> {
    fn new(pages: &'a Pages, root: Option<Root>, widths: Widths) -> Self {
        let mut cursor = Self { pages, widths, stack: Vec::new(), gap: None };
        if let Some(root) = root {
            cursor.enter(&root, true, 0);
        }
        cursor
    }

    /// Goes into a page. Below a damaged branch only into pages that match what it says: nothing else speaks for them.
    fn enter(&mut self, root: &Root, parent_trusted: bool, parent: u64) {
        let page = self.pages.page(root.page).filter(|_| self.stack.len() <= MAX_DEPTH);
        let trusted = page.as_ref().is_some_and(|page| page.matches(root.sum, self.widths));
        match page {
            Some(page) if trusted || (parent_trusted && [LEAF, BRANCH].contains(&page.kind()) && page.count() > 0) => {
                self.stack.push(Frame { page, trusted, next: 0 });
            }
            page => self.gap = Some(page.map_or(parent, |page| page.offset)),
        }
    }
}

impl Iterator for Cursor<'_> {
    type Item = Item;

    fn next(&mut self) -> Option<Item> {
        loop {
            if let Some(offset) = self.gap.take() {
                return Some(Item::Gap { offset });
            }
            let frame = self.stack.last_mut()?;
            let (at, offset, trusted) = (frame.next, frame.page.offset, frame.trusted);
            frame.next += 1;
            if frame.page.kind() == LEAF {
                if at >= frame.page.count() {
                    self.stack.pop();
                    continue;
                }
                return Some(match frame.page.row(at, self.widths) {
                    Some((key, value)) => Item::Row { key: key.to_vec(), value: value.to_vec(), trusted },
                    None => Item::Gap { offset },
                });
            }
            if at > frame.page.count() {
                self.stack.pop();
                continue;
            }
            match frame.page.child(at) {
                Some(child) => self.enter(&child, trusted, offset),
                None => self.gap = Some(offset),
            }
        }
    }
}
