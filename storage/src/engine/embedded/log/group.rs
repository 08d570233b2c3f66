//! One record of the log: a group of commits under one checksum, so that it is there whole or not at all.
//!
//! ```text
//! magic u32 | length u32 | seq u64 | time_ms u64 | commits u32 | payload crc u32 | payload xxh3 u32 | header crc u32
//! payload: names of what groups before it touched (`names.rs`) | commits × (number of writes, writes) | zeros to a multiple of 8
//! ```
//! Little endian. Both checksums are CRC-32C and begin with the segment's salt and id and the group's place, so bytes of
//! another segment (a reused file's old content), of another place, or chosen by a user are never a group here.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::names::{self, Name};

/// Bytes of a header, and of the zeros that are written behind the newest group.
pub(crate) const HEADER: usize = 40;
const MAGIC: u32 = 0x5342_4752;

/// What a group's checksums are bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    pub id: u64,
    /// Random, chosen when the file became this segment.
    pub salt: u64,
}

/// A header that passed its checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// Bytes of payload.
    pub length: usize,
    /// One more than that of the group before.
    pub seq: u64,
    /// When it was committed.
    pub time_ms: u64,
    /// Commits in it.
    pub commits: u32,
    pub(super) payload_crc: u32,
    pub(super) payload_xxh3: u32,
}

/// Bytes that a group with this payload takes in the file.
pub(crate) fn size(payload: usize) -> usize {
    HEADER + payload.next_multiple_of(8)
}

pub(super) fn seed(segment: Segment, offset: u64) -> u32 {
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&segment.salt.to_le_bytes());
    bytes[8..16].copy_from_slice(&segment.id.to_le_bytes());
    bytes[16..].copy_from_slice(&offset.to_le_bytes());
    crc32c::crc32c(&bytes)
}

pub(super) fn second(seed: u32, payload: &[u8]) -> u32 {
    xxh3_64_with_seed(payload, u64::from(seed)) as u32
}

/// Completes a group in `buffer`, which holds [`HEADER`] bytes of room and the payload, with the names at its front: fills in
/// the checksums and the header, pads, and adds the zeros that mark the end of the log.
pub(crate) fn seal(buffer: &mut Vec<u8>, segment: Segment, offset: u64, seq: u64, time_ms: u64, commits: u32) {
    let seed = seed(segment, offset);
    names::seal(&mut buffer[HEADER..], seed);
    let payload_crc = crc32c::crc32c_append(seed, &buffer[HEADER..]);
    let payload_xxh3 = second(seed, &buffer[HEADER..]);
    let length = (buffer.len() - HEADER) as u32;
    let header = &mut buffer[..HEADER];
    header[..4].copy_from_slice(&MAGIC.to_le_bytes());
    header[4..8].copy_from_slice(&length.to_le_bytes());
    header[8..16].copy_from_slice(&seq.to_le_bytes());
    header[16..24].copy_from_slice(&time_ms.to_le_bytes());
    header[24..28].copy_from_slice(&commits.to_le_bytes());
    header[28..32].copy_from_slice(&payload_crc.to_le_bytes());
    header[32..36].copy_from_slice(&payload_xxh3.to_le_bytes());
    let header_crc = crc32c::crc32c_append(seed, &header[..36]);
    header[36..].copy_from_slice(&header_crc.to_le_bytes());
    buffer.resize(size(length as usize) + HEADER, 0);
}

/// The header at `offset` of a segment's bytes, if there is a true one.
pub(crate) fn header(bytes: &[u8], segment: Segment, offset: usize) -> Option<Header> {
    read(bytes.get(offset..offset + HEADER)?, seed(segment, offset as u64))
}

pub(super) fn read(header: &[u8], seed: u32) -> Option<Header> {
    if header[..4] != MAGIC.to_le_bytes() {
        return None;
    }
    let u32_at = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let u64_at = |at: usize| u64::from(u32_at(at)) | u64::from(u32_at(at + 4)) << 32;
    if crc32c::crc32c_append(seed, &header[..36]) != u32_at(36) {
        return None;
    }
    Some(Header {
        length: u32_at(4) as usize,
        seq: u64_at(8),
        time_ms: u64_at(16),
        commits: u32_at(24),
        payload_crc: u32_at(28),
        payload_xxh3: u32_at(32),
    })
}

/// The payload behind a header at `offset`, if it is whole and the padding is what was written.
pub(crate) fn payload<'a>(bytes: &'a [u8], segment: Segment, offset: usize, header: &Header) -> Option<&'a [u8]> {
    let start = offset + HEADER;
    let payload = bytes.get(start..start.checked_add(header.length)?)?;
    let padding = bytes.get(start + header.length..offset + size(header.length))?;
    let seed = seed(segment, offset as u64);
    (padding.iter().all(|byte| *byte == 0)
        && crc32c::crc32c_append(seed, payload) == header.payload_crc
        && second(seed, payload) == header.payload_xxh3)
        .then_some(payload)
}

/// The commits of a payload.
pub(crate) fn commits(payload: &[u8]) -> Option<&[u8]> {
    names::split(payload).map(|(_, commits)| commits)
}

/// What the groups from `from` up to this one touched, by this one, whose header is true; `None` when it does not know, or
/// its names cannot be read. The commits need not be whole.
pub(crate) fn names(bytes: &[u8], segment: Segment, offset: usize, header: &Header, from: u64) -> Option<Vec<Name>> {
    let payload = bytes.get(offset + HEADER..)?;
    names::read(payload.get(..header.length)?, seed(segment, offset as u64), header.seq, from)
}

/// The first place at or after `from` that has a true header.
pub(crate) fn find(bytes: &[u8], segment: Segment, from: usize) -> Option<(usize, Header)> {
    let magic = MAGIC.to_le_bytes();
    let from = from.next_multiple_of(8);
    bytes.get(from..)?.chunks_exact(8).enumerate().filter(|(_, chunk)| chunk[..4] == magic).find_map(|(at, _)| {
        let offset = from + at * 8;
        header(bytes, segment, offset).map(|header| (offset, header))
    })
}
