//! The QUIC variable-length integer (RFC 9000 §16): the length and the type of every frame.

use bytes::BufMut;

/// Largest value a QUIC varint can carry: 2^62 − 1.
pub const MAX: u64 = (1 << 62) - 1;

/// Reads one varint from the front of `buf`: its value and its size in bytes, or `None` when more bytes are needed.
pub fn read(buf: &[u8]) -> Option<(u64, usize)> {
    let first = *buf.first()?;
    let size = 1usize << (first >> 6);
    let bytes = buf.get(..size)?;
    let value = bytes[1..].iter().fold(u64::from(first & 0x3f), |value, byte| (value << 8) | u64::from(*byte));
    Some((value, size))
}

/// Bytes that [`write()`] uses for `value`.
pub const fn size(value: u64) -> usize {
    match value {
        0..=0x3f => 1,
        0x40..=0x3fff => 2,
        0x4000..=0x3fff_ffff => 4,
        _ => 8,
    }
}

/// Appends `value` in its shortest form. Values above [`MAX`] are a bug of the caller.
pub fn write(out: &mut impl BufMut, value: u64) {
    debug_assert!(value <= MAX, "a varint has 62 bits");
    match size(value) {
        1 => out.put_u8(value as u8),
        2 => out.put_u16(value as u16 | 0x4000),
        4 => out.put_u32(value as u32 | 0x8000_0000),
        _ => out.put_u64(value | 0xc000_0000_0000_0000),
    }
}
