//! A document that arrives in parts: put together in order, checked by size and CRC-32C. Never trusts the announced
//! size for an allocation: memory grows with the bytes that have come.

use bytes::{Bytes, BytesMut};
use syncbridge_codec::message::Position;

use super::event::Fault;

/// The parts so far.
#[derive(Debug)]
pub(super) struct Assembly {
    at: Position,
    /// What `SnapshotBegin` announced; `None` before it.
    size: Option<u64>,
    bytes: BytesMut,
    max: u64,
}

impl Assembly {
    /// Waits for the `SnapshotBegin` of a document at `at` with at most `max` bytes.
    pub(super) fn new(at: Position, max: u64) -> Self {
        Self { at, size: None, bytes: BytesMut::new(), max }
    }

    pub(super) fn begin(&mut self, at: &Position, size: u64) -> Result<(), Fault> {
        if self.size.is_some() || *at != self.at {
            return Err(Fault::Snapshot("SnapshotBegin does not belong to the message before it"));
        }
        if size > self.max {
            return Err(Fault::Snapshot("the snapshot is larger than any document may be"));
        }
        self.size = Some(size);
        Ok(())
    }

    pub(super) fn part(&mut self, offset: u64, part: &[u8]) -> Result<(), Fault> {
        let size = self.size.ok_or(Fault::Snapshot("SnapshotPart before SnapshotBegin"))?;
        if offset != self.bytes.len() as u64 || part.len() as u64 > size - offset {
            return Err(Fault::Snapshot("a snapshot's parts do not follow each other"));
        }
        self.bytes.extend_from_slice(part);
        Ok(())
    }

    /// The whole text and its place.
    pub(super) fn end(self, checksum: u32) -> Result<(Position, Bytes), Fault> {
        if self.size != Some(self.bytes.len() as u64) {
            return Err(Fault::Snapshot("SnapshotEnd before all bytes came"));
        }
        if crc32c::crc32c(&self.bytes) != checksum {
            return Err(Fault::Snapshot("a snapshot's checksum does not match"));
        }
        Ok((self.at, self.bytes.freeze()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at() -> Position {
        Position { epoch: 1, version: 7 }
    }

    fn begun(size: u64) -> Assembly {
        let mut assembly = Assembly::new(at(), 100);
        assembly.begin(&at(), size).unwrap();
        assembly
    }

    #[test]
    fn parts_in_order_with_the_right_checksum_make_the_document() {
        let mut assembly = begun(5);
        assembly.part(0, b"[1,").unwrap();
        assembly.part(3, b"2]").unwrap();
        assert_eq!(assembly.end(crc32c::crc32c(b"[1,2]")).unwrap(), (at(), Bytes::from_static(b"[1,2]")));
    }

    #[test]
    fn a_hole_an_overlap_a_surplus_and_a_wrong_checksum_are_faults() {
        begun(5).part(1, b"x").unwrap_err();
        let mut overlap = begun(5);
        overlap.part(0, b"abc").unwrap();
        overlap.part(2, b"x").unwrap_err();
        begun(2).part(0, b"abc").unwrap_err();
        let mut wrong = begun(3);
        wrong.part(0, b"abc").unwrap();
        wrong.end(1).unwrap_err();
    }

    #[test]
    fn an_early_end_another_place_and_an_oversized_document_are_faults() {
        begun(5).end(0).unwrap_err();
        Assembly::new(at(), 100).part(0, b"x").unwrap_err();
        Assembly::new(at(), 100).begin(&Position { epoch: 1, version: 8 }, 5).unwrap_err();
        Assembly::new(at(), 100).begin(&at(), 101).unwrap_err();
    }
}
