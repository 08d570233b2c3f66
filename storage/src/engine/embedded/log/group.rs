//! One record of the log: a group of commits under one checksum, so that it is there whole or not at all.
//!
//! ```text
//! magic u32 | length u32 | seq u64 | time_ms u64 | commits u32 | payload crc u32 | payload xxh3 u32 | header crc u32
//! payload: commits × (length, writes) | zeros to the next multiple of 8
//! ```
//! Little endian. Both checksums are CRC-32C and begin with the segment's salt and id and the group's place, so bytes of
//! another segment (a reused file's old content), of another place, or chosen by a user are never a group here.
//!
//! A group that is not whole was torn by a crash, and nobody was told of it; or it was whole once and has rotted, and then
//! somebody was. [`rotten`] tells them apart when one byte has changed: a CRC says which, and the second checksum that this
//! is no accident.

use xxhash_rust::xxh3::xxh3_64_with_seed;

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
    payload_crc: u32,
    payload_xxh3: u32,
}

/// Bytes that a group with this payload takes in the file.
pub(crate) fn size(payload: usize) -> usize {
    HEADER + payload.next_multiple_of(8)
}

fn seed(segment: Segment, offset: u64) -> u32 {
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&segment.salt.to_le_bytes());
    bytes[8..16].copy_from_slice(&segment.id.to_le_bytes());
    bytes[16..].copy_from_slice(&offset.to_le_bytes());
    crc32c::crc32c(&bytes)
}

fn second(seed: u32, payload: &[u8]) -> u32 {
    xxh3_64_with_seed(payload, u64::from(seed)) as u32
}

/// Completes a group in `buffer`, which holds [`HEADER`] bytes of room and the payload: fills in the header, pads, and
/// adds the zeros that mark the end of the log.
pub(crate) fn seal(buffer: &mut Vec<u8>, segment: Segment, offset: u64, seq: u64, time_ms: u64, commits: u32) {
    let seed = seed(segment, offset);
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

fn read(header: &[u8], seed: u32) -> Option<Header> {
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

/// True when there was a whole group `seq` at `offset` of which exactly one byte has changed since. Only one with its end
/// mark behind it was written to the end; and a word of zeros where the byte should stand, or nothing but zeros from there
/// on, means that this was never written.
pub(crate) fn rotten(bytes: &[u8], segment: Segment, offset: usize, seq: u64) -> bool {
    let seed = seed(segment, offset as u64);
    let written = |at: usize| {
        let word = at & !7;
        bytes.get(word..word + 8).is_some_and(|word| word.iter().any(|byte| *byte != 0))
    };
    let Some(found) = bytes.get(offset..offset + HEADER).and_then(|header| header.first_chunk::<HEADER>()) else {
        return false;
    };
    let ended = |header: &Header| {
        let end = offset + size(header.length);
        bytes.get(end..end + HEADER).is_none_or(|mark| mark.iter().all(|byte| *byte == 0))
    };
    if let Some(header) = read(found, seed) {
        let end = offset + size(header.length);
        let rest = |at: usize| bytes.get(at..end).is_some_and(|rest| rest.iter().any(|byte| *byte != 0));
        let changed = rotten_payload(bytes, offset, &header, seed).filter(|_| header.seq == seq && ended(&header));
        return changed.is_some_and(|at| written(at) && rest(at));
    }
    (0..HEADER).filter(|at| written(offset + at)).any(|at| {
        (1..=u8::MAX).any(|change| {
            let mut header = *found;
            header[at] ^= change;
            let header = read(&header, seed).filter(|header| header.seq == seq);
            header.is_some_and(|header| payload(bytes, segment, offset, &header).is_some() && ended(&header))
        })
    })
}

/// Where the one byte stands that has changed behind a whole header.
fn rotten_payload(bytes: &[u8], offset: usize, header: &Header, seed: u32) -> Option<usize> {
    let start = offset + HEADER;
    let end = start.checked_add(header.length)?;
    let (payload, padding) = (bytes.get(start..end)?, bytes.get(end..offset + size(header.length))?);
    let difference = crc32c::crc32c_append(seed, payload) ^ header.payload_crc;
    let mut odd = padding.iter().enumerate().filter(|(_, byte)| **byte != 0).map(|(at, _)| at);
    let (first_odd, second_odd) = (odd.next(), odd.next());
    if difference == 0 {
        return first_odd
            .filter(|_| second_odd.is_none() && second(seed, payload) == header.payload_xxh3)
            .map(|at| end + at);
    }
    let unchanged = |at: usize, change: u8| {
        let mut payload = payload.to_vec();
        payload[at] ^= change;
        second(seed, &payload) == header.payload_xxh3
    };
    // Taking the zeros behind the byte back, one after the other, must lead to what a change of one byte leaves.
    let steps = Steps::new();
    let mut left = difference;
    for at in (0..payload.len()).rev() {
        left = steps.back(left);
        if let Ok(change) = u8::try_from(left)
            && first_odd.is_none()
            && unchanged(at, change)
        {
            return Some(start + at);
        }
    }
    None
}

/// CRC-32C, a byte at a time, backwards.
struct Steps {
    table: [u32; 256],
    /// By the highest byte of the table's value.
    inverse: [u8; 256],
}

impl Steps {
    fn new() -> Self {
        const POLYNOMIAL: u32 = 0x82F6_3B78;
        let (mut table, mut inverse) = ([0; 256], [0; 256]);
        for byte in 0..=u8::MAX {
            let value =
                (0..8).fold(u32::from(byte), |value, _| value >> 1 ^ if value & 1 == 1 { POLYNOMIAL } else { 0 });
            table[usize::from(byte)] = value;
            inverse[(value >> 24) as usize] = byte;
        }
        Self { table, inverse }
    }

    /// What the register was before a zero byte.
    fn back(&self, register: u32) -> u32 {
        let low = self.inverse[(register >> 24) as usize];
        (register ^ self.table[usize::from(low)]) << 8 | u32::from(low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: Segment = Segment { id: 3, salt: 77 };

    fn sealed(payload: &[u8]) -> Vec<u8> {
        let mut buffer = vec![0; HEADER];
        buffer.extend_from_slice(payload);
        seal(&mut buffer, SEGMENT, 0, 9, 1, 1);
        buffer
    }

    #[test]
    fn every_change_of_one_byte_is_told_from_a_tear() {
        let whole = sealed(b"what somebody was told is durable, 45 bytes..");
        assert!(!rotten(&whole, SEGMENT, 0, 9));
        for at in 0..whole.len() - HEADER {
            for change in 1..=u8::MAX {
                let mut bytes = whole.clone();
                bytes[at] ^= change;
                let zeros = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
                let never_written = zeros(&bytes[at & !7..][..8]) || zeros(&bytes[at..]);
                assert_eq!(rotten(&bytes, SEGMENT, 0, 9), !never_written, "byte {at} ^ {change}");
            }
        }
    }

    #[test]
    fn a_torn_group_is_not_taken_for_a_rotten_one() {
        let whole = sealed(&[7; 3000]);
        for cut in (8..whole.len() - HEADER).step_by(8) {
            for fill in [0, 0xA5] {
                let mut bytes = whole.clone();
                bytes[cut..].fill(fill);
                assert!(!rotten(&bytes, SEGMENT, 0, 9) || bytes == whole, "{fill} from {cut}");
            }
        }
    }
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
