//! A segment's file: its header, how it is made ahead of time, and how it begins. Knows nothing of what is in groups.
//!
//! ```text
//! magic 8 | format u32 | reserved u32 | id u64 | salt u64 | first group's seq u64 | epoch u64 | crc u32 | zeros to 4096
//! the same once more, zeros to 8192
//! ```
//! Without its header nothing of a segment can be read, so it is there twice, in two pages. Groups begin at [`START`]. The header is durable before the file gets its name, so a named segment always has one.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::group::{self, Segment};
use crate::{
    Error,
    engine::embedded::files::{FORMAT, damaged, io, private},
};

/// Bytes of a page, which is what a disk loses at a time.
const PAGE: usize = 4096;
/// Where the first group stands: behind two pages, so that no group shares one with a header.
pub(crate) const START: u64 = 2 * PAGE as u64;
const MAGIC: &[u8; 8] = b"SBLOG\0\0\0";
const FIELDS: usize = 48;

/// What a segment's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub segment: Segment,
    /// Seq of the first group that was, or will be, in it.
    pub first: u64,
    /// The process that began it.
    pub epoch: u64,
}

/// The file name of a segment.
pub(crate) fn path(folder: &Path, id: u64) -> PathBuf {
    folder.join(format!("{id:016}.log"))
}

/// The segment that a file's name stands for.
pub(crate) fn id(path: &Path) -> Option<u64> {
    if path.extension()? != "log" {
        return None;
    }
    path.file_stem()?.to_str()?.parse().ok()
}

/// Makes a file of `bytes` zeros that are really on the disk: writing over them later changes no metadata, which is what
/// makes an fdatasync cheap.
pub(crate) fn preallocate(path: &Path, bytes: u64) -> Result<(), Error> {
    const PIECE: usize = 1 << 20;
    let file = private().create(true).truncate(true).open(path).map_err(io("make", path))?;
    let zeros = vec![0; PIECE.min(usize::try_from(bytes).unwrap_or(PIECE))];
    let mut at = 0;
    while at < bytes {
        let piece = zeros.len().min(usize::try_from(bytes - at).unwrap_or(PIECE));
        file.write_all_at(&zeros[..piece], at).map_err(io("fill", path))?;
        at += piece as u64;
        // In small helpings, so that a commit's sync never waits behind 64 MiB of zeros.
        file.sync_data().map_err(io("sync", path))?;
    }
    file.sync_all().map_err(io("sync", path))
}

/// Writes the header, twice, and the end mark behind it, and makes them durable.
pub(crate) fn begin(file: &File, path: &Path, header: &Header) -> Result<(), Error> {
    let mut bytes = Vec::with_capacity(START as usize + group::HEADER);
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&FORMAT.to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    for field in [header.segment.id, header.segment.salt, header.first, header.epoch] {
        bytes.extend_from_slice(&field.to_le_bytes());
    }
    let sum = crc32c::crc32c(&bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes.resize(PAGE, 0);
    bytes.extend_from_within(..);
    bytes.resize(START as usize + group::HEADER, 0);
    file.write_all_at(&bytes, 0).map_err(io("write", path))?;
    file.sync_data().map_err(io("sync", path))
}

/// Reads a header: the second when the first is damaged.
pub(crate) fn header(bytes: &[u8], path: &Path) -> Result<Header, Error> {
    match one(bytes, path) {
        Err(Error::Damaged { what }) => {
            let second = one(bytes.get(PAGE..).unwrap_or_default(), path)?;
            tracing::warn!(what, "a damaged header of a log segment; its copy is used");
            Ok(second)
        }
        header => header,
    }
}

fn one(bytes: &[u8], path: &Path) -> Result<Header, Error> {
    let header = bytes.get(..FIELDS + 4).ok_or_else(|| damaged(path, "too short for a header"))?;
    if &header[..8] != MAGIC {
        return Err(damaged(path, "not a log segment"));
    }
    let (fields, sum) = header.split_at(FIELDS);
    if crc32c::crc32c(fields).to_le_bytes() != sum {
        return Err(damaged(path, "the header's checksum"));
    }
    let found = u32::from_le_bytes([fields[8], fields[9], fields[10], fields[11]]);
    if found != FORMAT {
        return Err(Error::Format { found, known: FORMAT });
    }
    let u64_at = |at: usize| fields[at..at + 8].iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    Ok(Header { segment: Segment { id: u64_at(16), salt: u64_at(24) }, first: u64_at(32), epoch: u64_at(40) })
}
