//! What a disk can hold after the power went: built from a trace of what a server did. Everything that was synced is
//! there; of the rest anything may be, in any order, sector by sector. Knows bytes and names, nothing of the store.

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use fastrand::Rng;

use crate::shim::Record;

/// What a disk writes as one.
const SECTOR: u64 = 512;
/// What the page cache writes as one.
const PAGE: u64 = 4096;

/// What is there of that which was not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kept {
    Nothing,
    Everything,
    /// What was done first, up to some moment; the write at that moment is cut.
    InOrder,
    /// Everything but the last write of a file, of which a part is.
    LastCut,
    /// Each sector as it was at some moment since the last sync; names in any order that their dependences allow.
    Sectors,
    /// The same by page.
    Pages,
}

impl Kept {
    pub const ALL: [Self; 6] =
        [Self::Nothing, Self::InOrder, Self::LastCut, Self::Sectors, Self::Pages, Self::Everything];
}

#[derive(Debug, Clone)]
enum Change {
    Write { offset: u64, bytes: Vec<u8> },
    Resize { size: u64 },
}

impl Change {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => {
                let start = usize::try_from(*offset).expect("in memory");
                let end = start + bytes.len();
                image.resize(image.len().max(end), 0);
                image[start..end].copy_from_slice(bytes);
            }
            Self::Resize { size } => image.resize(usize::try_from(*size).expect("in memory"), 0),
        }
    }

    /// What it touches, from and to.
    fn range(&self, image: &[u8]) -> (u64, u64) {
        let length = image.len() as u64;
        match self {
            Self::Write { offset, bytes } => (*offset, offset + bytes.len() as u64),
            Self::Resize { size } => (length.min(*size), length.max(*size)),
        }
    }
}

/// A file's bytes.
#[derive(Debug, Clone, Default)]
struct Content {
    synced: Vec<u8>,
    /// When, and what: not synced.
    pending: Vec<(usize, Change)>,
    /// Changes before `pending[0]`.
    before: usize,
    /// A sync failed: the kernel may have forgotten what it should have written, so no later sync proves anything.
    doubtful: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Folder,
    File(usize),
}

/// A change of names that happens whole or not at all.
#[derive(Debug, Clone)]
struct Renaming {
    at: usize,
    names: Vec<(PathBuf, Option<Entry>)>,
}

impl Renaming {
    /// True when this one cannot have happened without the other.
    fn needs(&self, earlier: &Self) -> bool {
        self.names.iter().any(|(path, entry)| {
            earlier.names.iter().any(|(other, of)| {
                path == other
                    || (entry.is_some() && entry == of && *entry != Some(Entry::Folder))
                    || (*of == Some(Entry::Folder) && path.starts_with(other))
            })
        })
    }
}

/// The disk at one moment of the trace.
#[derive(Debug, Clone)]
pub struct Disk {
    root: PathBuf,
    contents: Vec<Content>,
    inodes: HashMap<u64, usize>,
    /// Names as they are for programs.
    live: BTreeMap<PathBuf, Entry>,
    synced: BTreeMap<PathBuf, Entry>,
    renamings: Vec<Renaming>,
    /// What each thread is syncing, and how much of it there was when it began.
    syncing: HashMap<u32, usize>,
    at: usize,
}

impl Disk {
    /// The folder as it is, everything synced. Take it before the server starts.
    pub fn of(root: &Path) -> Self {
        let root = root.canonicalize().expect("there");
        let mut disk = Self {
            root: root.clone(),
            contents: Vec::new(),
            inodes: HashMap::new(),
            live: BTreeMap::new(),
            synced: BTreeMap::new(),
            renamings: Vec::new(),
            syncing: HashMap::new(),
            at: 0,
        };
        for path in walk(&root) {
            let found = fs::symlink_metadata(&path).expect("there");
            let entry = if found.is_dir() {
                Entry::Folder
            } else {
                disk.contents.push(Content { synced: fs::read(&path).expect("readable"), ..Content::default() });
                disk.inodes.insert(found.ino(), disk.contents.len() - 1);
                Entry::File(disk.contents.len() - 1)
            };
            disk.live.insert(path, entry);
        }
        disk.synced = disk.live.clone();
        disk
    }

    fn content(&mut self, inode: u64) -> &mut Content {
        let file = self.inodes.get(&inode).expect("a file that was there, or was made in the trace");
        &mut self.contents[*file]
    }

    fn rename(&mut self, names: Vec<(PathBuf, Option<Entry>)>) {
        for (path, entry) in &names {
            match entry {
                Some(entry) => self.live.insert(path.clone(), *entry),
                None => self.live.remove(path),
            };
        }
        self.renamings.push(Renaming { at: self.at, names });
    }

    fn entry(&self, path: &Path) -> Entry {
        *self.live.get(path).unwrap_or_else(|| panic!("{} was never made", path.display()))
    }

    /// Goes on by one record.
    pub fn step(&mut self, record: &Record) {
        self.at += 1;
        let at = self.at;
        match record {
            Record::Create { inode, path } => {
                self.contents.push(Content::default());
                let file = self.contents.len() - 1;
                self.inodes.insert(*inode, file);
                self.rename(vec![(path.clone(), Some(Entry::File(file)))]);
            }
            Record::Write { inode, offset, bytes } => {
                let change = Change::Write { offset: *offset, bytes: bytes.clone() };
                self.content(*inode).pending.push((at, change));
            }
            Record::Resize { inode, size } => {
                self.content(*inode).pending.push((at, Change::Resize { size: *size }));
            }
            Record::SyncBegins { inode, thread } => {
                let content = self.content(*inode);
                let there = content.before + content.pending.len();
                self.syncing.insert(*thread, there);
            }
            Record::SyncEnds { inode, thread, failed } => {
                let there = self.syncing.remove(thread).expect("it began");
                let content = self.content(*inode);
                content.doubtful |= *failed;
                if !content.doubtful {
                    let count = there.saturating_sub(content.before);
                    content.before += count;
                    for (_, change) in content.pending.drain(..count) {
                        change.apply(&mut content.synced);
                    }
                }
            }
            Record::FolderSyncBegins { thread, .. } => {
                self.syncing.insert(*thread, at);
            }
            Record::FolderSyncEnds { path, thread, failed } => {
                let began = self.syncing.remove(thread).expect("it began");
                if !failed {
                    self.sync_folder(path, began);
                }
            }
            Record::Rename { from, to } => {
                let entry = self.entry(from);
                assert!(entry != Entry::Folder, "{} is a folder: moving one is not modelled", from.display());
                self.rename(vec![(from.clone(), None), (to.clone(), Some(entry))]);
            }
            Record::Link { from, to } => {
                let entry = self.entry(from);
                self.rename(vec![(to.clone(), Some(entry))]);
            }
            Record::Remove { path } => self.rename(vec![(path.clone(), None)]),
            Record::Failed { .. } => {}
            Record::MakeFolder { path } => self.rename(vec![(path.clone(), Some(Entry::Folder))]),
        }
    }

    /// Names in `folder` that were there at `began`, and what they need, are on the disk.
    fn sync_folder(&mut self, folder: &Path, began: usize) {
        let mut done = vec![false; self.renamings.len()];
        for index in (0..done.len()).rev() {
            let renaming = &self.renamings[index];
            let inside = renaming.names.iter().any(|(path, _)| path.parent() == Some(folder));
            let needed = (index + 1..done.len()).any(|later| {
                // A folder's own name is not synced with what is in it.
                let folder = renaming.names.iter().any(|(_, entry)| *entry == Some(Entry::Folder));
                done[later] && !folder && self.renamings[later].needs(renaming)
            });
            done[index] = renaming.at <= began && (inside || needed);
        }
        let mut index = 0;
        let synced = &mut self.synced;
        self.renamings.retain(|renaming| {
            index += 1;
            if done[index - 1] {
                apply(synced, renaming);
            }
            !done[index - 1]
        });
    }

    /// Makes the folder that could be found at `target` when the power went at this moment.
    pub fn build(&self, kept: Kept, rng: &mut Rng, target: &Path) {
        let times = || {
            let writes = self.contents.iter().flat_map(|content| content.pending.iter().map(|(at, _)| *at));
            writes.chain(self.renamings.iter().map(|renaming| renaming.at))
        };
        let first = times().min().unwrap_or(self.at);
        let until = if kept == Kept::InOrder { rng.usize(first..=self.at) } else { self.at };
        let mut names = self.synced.clone();
        let mut applied: Vec<&Renaming> = Vec::new();
        let mut left: Vec<&Renaming> = Vec::new();
        for renaming in &self.renamings {
            let happened = match kept {
                Kept::Nothing => false,
                Kept::Everything | Kept::LastCut => true,
                Kept::InOrder => renaming.at <= until,
                Kept::Sectors | Kept::Pages => rng.bool() && !left.iter().any(|earlier| renaming.needs(earlier)),
            };
            if happened {
                apply(&mut names, renaming);
                applied.push(renaming);
            } else {
                left.push(renaming);
            }
        }
        let last = self
            .contents
            .iter()
            .enumerate()
            .filter_map(|(file, content)| content.pending.last().map(|(at, _)| (*at, file)));
        let last = last.max().map(|(_, file)| file);
        fs::create_dir_all(target).expect("made");
        for (path, entry) in &names {
            let inside = path.strip_prefix(&self.root).expect("below the root");
            let mut above = path.ancestors().skip(1).take_while(|above| *above != self.root);
            if !above.all(|above| names.get(above) == Some(&Entry::Folder)) {
                continue; // Its folder is not there.
            }
            let there = target.join(inside);
            match entry {
                Entry::Folder => {
                    fs::create_dir_all(&there).expect("made");
                    fs::set_permissions(&there, fs::Permissions::from_mode(0o700)).expect("set");
                }
                Entry::File(file) => {
                    let content = &self.contents[*file];
                    let image = match kept {
                        Kept::Nothing => content.synced.clone(),
                        Kept::InOrder => content.cut(until, rng),
                        Kept::LastCut if Some(*file) == last => content.cut(self.at, rng),
                        Kept::LastCut | Kept::Everything => content.until(self.at),
                        Kept::Sectors => content.mixed(SECTOR, rng),
                        Kept::Pages => content.mixed(PAGE, rng),
                    };
                    write_sparse(&there, &image);
                }
            }
        }
    }

    /// Panics unless the folder is what the trace says: else the shim has not seen everything.
    pub fn compare(&self, root: &Path) {
        let root = root.canonicalize().expect("there");
        let found: Vec<PathBuf> = walk(&root);
        let known: Vec<&PathBuf> = self.live.keys().collect();
        assert_eq!(found.iter().collect::<Vec<_>>(), known, "names that the shim did not see");
        for (path, entry) in &self.live {
            if let Entry::File(file) = entry {
                let same = fs::read(path).expect("readable") == self.contents[*file].until(self.at);
                assert!(same, "{}: a change that the shim did not see", path.display());
            }
        }
    }
}

impl Content {
    fn until(&self, at: usize) -> Vec<u8> {
        let mut image = self.synced.clone();
        for (_, change) in self.pending.iter().take_while(|(when, _)| *when <= at) {
            change.apply(&mut image);
        }
        image
    }

    /// As it was at this moment, but of the last write only a part is there: its front or its back, cut at a sector, at a
    /// page, or anywhere.
    fn cut(&self, at: usize, rng: &mut Rng) -> Vec<u8> {
        let count = self.pending.iter().take_while(|(when, _)| *when <= at).count();
        let Some((_, last)) = count.checked_sub(1).map(|last| &self.pending[last]) else { return self.synced.clone() };
        let mut image = self.until(at.min(self.pending[count - 1].0 - 1));
        let Change::Write { offset, bytes } = last else { return image };
        let boundary = [1, SECTOR, PAGE][rng.usize(..3)];
        let end = offset + bytes.len() as u64;
        let cut = (offset + rng.u64(..=bytes.len() as u64)).next_multiple_of(boundary).clamp(*offset, end);
        let middle = usize::try_from(cut - offset).expect("in memory");
        // A sector is written from its beginning to its end, so a cut inside one leaves its front.
        let part = if boundary == 1 || rng.bool() {
            Change::Write { offset: *offset, bytes: bytes[..middle].to_vec() }
        } else {
            Change::Write { offset: cut, bytes: bytes[middle..].to_vec() }
        };
        part.apply(&mut image);
        image
    }

    /// Each piece of the file as it was at some moment since the last sync, and so its length.
    fn mixed(&self, piece: u64, rng: &mut Rng) -> Vec<u8> {
        let mut image = self.synced.clone();
        let mut lengths = vec![image.len()];
        let mut versions: BTreeMap<u64, Vec<Vec<u8>>> = BTreeMap::new();
        let piece_of = |image: &[u8], number: u64| {
            let start = usize::try_from(number * piece).expect("in memory").min(image.len());
            let end = (start + usize::try_from(piece).expect("small")).min(image.len());
            let mut bytes = image[start..end].to_vec();
            bytes.resize(usize::try_from(piece).expect("small"), 0);
            bytes
        };
        for (_, change) in &self.pending {
            let (start, end) = change.range(&image);
            let touched = start / piece..end.div_ceil(piece);
            for number in touched.clone() {
                versions.entry(number).or_insert_with(|| vec![piece_of(&image, number)]);
            }
            change.apply(&mut image);
            lengths.push(image.len());
            for number in touched {
                let now = piece_of(&image, number);
                versions.entry(number).or_default().push(now);
            }
        }
        let mut mixed = image;
        mixed.resize(lengths.iter().copied().max().unwrap_or(0), 0);
        for (number, versions) in versions {
            let chosen = &versions[rng.usize(..versions.len())];
            let start = usize::try_from(number * piece).expect("in memory").min(mixed.len());
            let end = (start + chosen.len()).min(mixed.len());
            mixed[start..end].copy_from_slice(&chosen[..end - start]);
        }
        mixed.resize(lengths[rng.usize(..lengths.len())], 0);
        mixed
    }
}

fn apply(names: &mut BTreeMap<PathBuf, Entry>, renaming: &Renaming) {
    for (path, entry) in &renaming.names {
        match entry {
            Some(entry) => names.insert(path.clone(), *entry),
            None => names.remove(path),
        };
    }
}

/// Everything below, folders before what is in them; sockets are no data.
fn walk(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(&next).expect("readable") {
            let entry = entry.expect("readable");
            let kind = entry.file_type().expect("known");
            if kind.is_dir() {
                open.push(entry.path());
            }
            if kind.is_dir() || kind.is_file() {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// Zeros take no space.
fn write_sparse(path: &Path, image: &[u8]) {
    let file = File::create(path).expect("made");
    file.set_permissions(fs::Permissions::from_mode(0o600)).expect("set");
    file.set_len(image.len() as u64).expect("sized");
    for (number, piece) in image.chunks(1 << 16).enumerate() {
        if piece.iter().any(|byte| *byte != 0) {
            file.write_all_at(piece, (number as u64) << 16).expect("written");
        }
    }
}
