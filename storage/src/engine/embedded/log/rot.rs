//! Tells a group that was torn by a crash, of which nobody was told, from one that was whole once and in which one byte has
//! changed since, of which somebody was. A CRC says which byte, and the second checksum that this is no accident. Never
//! writes.

use super::group::{self, HEADER, Header, Segment, payload, read, second, seed, size};

/// Where the one byte stands, and in which bits, that has changed since a whole group `seq` was written at `offset`. Only one
/// with its end mark or another group behind it was written to the end; and a word of zeros where the byte should stand, or
/// nothing but zeros from there on, means that this was never written.
pub(crate) fn find(bytes: &[u8], segment: Segment, offset: usize, seq: u64) -> Option<(usize, u8)> {
    let seed = seed(segment, offset as u64);
    let empty = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
    let written = |at: usize| bytes.get(at & !7..).and_then(|rest| rest.get(..8)).is_some_and(|word| !empty(word));
    let ended = |header: &Header| {
        let end = offset + size(header.length);
        bytes.get(end..end + HEADER).is_none_or(empty) || group::header(bytes, segment, end).is_some()
    };
    let found = bytes.get(offset..)?.first_chunk::<HEADER>()?;
    if let Some(header) = read(found, seed) {
        let end = offset + size(header.length);
        return in_payload(bytes, offset, &header, seed)
            .filter(|_| header.seq == seq && ended(&header))
            .filter(|(at, _)| written(*at) && bytes.get(*at..end).is_some_and(|rest| !empty(rest)));
    }
    let changes = |at: usize| (1..=u8::MAX).map(move |change| (at, change));
    (0..HEADER).filter(|at| written(offset + at)).flat_map(changes).find_map(|(at, change)| {
        let mut header = *found;
        header[at] ^= change;
        let header = read(&header, seed).filter(|header| header.seq == seq && ended(header))?;
        payload(bytes, segment, offset, &header).map(|_| (offset + at, change))
    })
}

/// The one byte that has changed behind a whole header.
fn in_payload(bytes: &[u8], offset: usize, header: &Header, seed: u32) -> Option<(usize, u8)> {
    let start = offset + HEADER;
    let end = start.checked_add(header.length)?;
    let (payload, padding) = (bytes.get(start..end)?, bytes.get(end..offset + size(header.length))?);
    let difference = crc32c::crc32c_append(seed, payload) ^ header.payload_crc;
    let mut odd = padding.iter().enumerate().filter(|(_, byte)| **byte != 0);
    let (odd, more) = (odd.next(), odd.next());
    if difference == 0 {
        return odd
            .filter(|_| more.is_none() && second(seed, payload) == header.payload_xxh3)
            .map(|(at, change)| (end + at, *change));
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
            && odd.is_none()
            && unchanged(at, change)
        {
            return Some((start + at, change));
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
    use crate::engine::embedded::log::group::seal;

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
        assert_eq!(find(&whole, SEGMENT, 0, 9), None);
        for at in 0..whole.len() - HEADER {
            for change in 1..=u8::MAX {
                let mut bytes = whole.clone();
                bytes[at] ^= change;
                let zeros = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
                let never_written = zeros(&bytes[at & !7..][..8]) || zeros(&bytes[at..]);
                let expected = (!never_written).then_some((at, change));
                assert_eq!(find(&bytes, SEGMENT, 0, 9), expected, "byte {at} ^ {change}");
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
                assert_eq!(find(&bytes, SEGMENT, 0, 9), None, "{fill} from {cut}");
            }
        }
    }

    /// What the CRC alone would take for one changed byte: many changed, and four of them such that the CRC is that of the
    /// group with another single byte changed.
    #[test]
    fn what_only_looks_like_one_changed_byte_is_not_put_right() {
        let whole = sealed(&[7; 3000]);
        let (payload, end) = (HEADER..HEADER + 3000, HEADER + 3000);
        let seed = seed(SEGMENT, 0);
        let mut one = whole.clone();
        one[HEADER + 100] ^= 0x21;
        let wanted = crc32c::crc32c_append(seed, &one[payload]);
        let mut many = whole;
        many[HEADER + 1000..HEADER + 1100].fill(0xA5);
        // The register that leads to the wanted one over four zeros; the four bytes make up for what it is instead.
        let steps = Steps::new();
        let before = (0..4).fold(!wanted, |register, _| steps.back(register));
        let found = !crc32c::crc32c_append(seed, &many[HEADER..end - 4]);
        many[end - 4..end].copy_from_slice(&(before ^ found).to_le_bytes());
        assert_eq!(crc32c::crc32c_append(seed, &many[HEADER..end]), wanted, "the CRC is fooled");
        assert_eq!(find(&many, SEGMENT, 0, 9), None);
        assert_eq!(find(&one, SEGMENT, 0, 9), Some((HEADER + 100, 0x21)));
    }
}
