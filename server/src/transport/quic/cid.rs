//! Connection ids that carry their shard, and the rule that reads it back from a packet. Knows no socket.

use std::time::Duration;

use quinn::{ConnectionId, ConnectionIdGenerator};
use quinn_proto::InvalidCid;

/// Length of our ids, bytes: one with the shard, seven random ones. Ids of different shards never collide, and inside
/// a shard the endpoint draws again when one is taken.
const LENGTH: usize = 8;
/// Shards that one byte can name.
pub const MAX_SHARDS: usize = 256;

/// The shard of a packet: the first byte of its destination connection id modulo `shards`. `None` for what is too
/// short to be QUIC.
///
/// RFC 8999 §5: with the top bit of the first byte set the header is long and the id begins at byte 6, behind version
/// and length; else it begins at byte 1. The filter in `steer.rs` is the same rule.
pub fn shard_of(packet: &[u8], shards: usize) -> Option<usize> {
    let at = if packet.first()? & 0x80 == 0 { 1 } else { 6 };
    packet.get(at).map(|byte| usize::from(*byte) % shards)
}

/// Draws the ids of one shard and knows them again.
#[derive(Debug, Clone, Copy)]
pub struct Generator {
    shard: usize,
    shards: usize,
}

impl Generator {
    /// The generator of one of `shards` shards.
    pub fn new(shard: usize, shards: usize) -> Self {
        assert!(shard < shards && shards <= MAX_SHARDS, "a shard is named by one byte");
        Self { shard, shards }
    }
}

impl ConnectionIdGenerator for Generator {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; LENGTH];
        getrandom::fill(&mut id).expect("the kernel's random source never fails once it has started");
        // The multiple of `shards` at or below the random byte, so that the id stays as hard to guess as it can be.
        let multiple = usize::from(id[0]) / self.shards * self.shards;
        let first = if multiple + self.shard < MAX_SHARDS { multiple + self.shard } else { self.shard };
        id[0] = first as u8;
        ConnectionId::new(&id)
    }

    /// Without this the endpoint would answer packets for another shard's connections with a stateless reset, and so
    /// end them.
    fn validate(&self, id: &ConnectionId) -> Result<(), InvalidCid> {
        match id.first() {
            Some(first) if usize::from(*first) % self.shards == self.shard => Ok(()),
            _ => Err(InvalidCid),
        }
    }

    fn cid_len(&self) -> usize {
        LENGTH
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn long_and_short_headers_name_the_same_shard() {
        for first in 0..=255u8 {
            let long = [0xc0, 0, 0, 0, 1, 8, first, 1, 2];
            let short = [0x40, first, 1, 2];
            assert_eq!(shard_of(&long, 3), shard_of(&short, 3));
            assert_eq!(shard_of(&long, 3), Some(usize::from(first) % 3));
        }
    }

    #[test]
    fn what_is_too_short_to_be_quic_is_nobodys() {
        assert_eq!(shard_of(&[], 2), None);
        assert_eq!(shard_of(&[0x40], 2), None);
        assert_eq!(shard_of(&[0xc0, 0, 0, 0, 1, 8], 2), None);
    }

    proptest! {
        #[test]
        fn every_shard_knows_its_own_ids_and_no_others(shards in 1..=MAX_SHARDS, pick: prop::sample::Index) {
            let shard = pick.index(shards);
            let id = Generator::new(shard, shards).generate_cid();
            let mut packet = vec![0x40];
            packet.extend_from_slice(&id);
            prop_assert_eq!(shard_of(&packet, shards), Some(shard));
            for other in 0..shards {
                prop_assert_eq!(Generator::new(other, shards).validate(&id).is_ok(), other == shard);
            }
        }
    }
}
