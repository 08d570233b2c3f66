//! What a message holds, without knowing which message it is: for vectors, logs and people. Nothing on the way of an
//! update uses it.

use bytes::Bytes;
use bytestring::ByteString;

/// A field of a message or record, as the registry declares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Its Rust type, as `u64`, `Option<ByteString>` or `Vec<Cursor>`.
    pub shape: &'static str,
    /// Whether it was appended: it may be missing at the end of a body.
    pub appended: bool,
}

/// A record or tag, as the registry declares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Declaration {
    /// The record's fields, in wire order.
    Record(&'static [Field]),
    /// The tag's variants and their numbers.
    Tag(&'static [(&'static str, u32)]),
}

/// A value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A number of at most 32 bits.
    Small(u32),
    /// A number of 64 or 128 bits: in JSON a decimal string.
    Large(u128),
    /// A truth value.
    Bool(bool),
    /// Text.
    Text(ByteString),
    /// Bytes: in JSON a hexadecimal string.
    Bytes(Bytes),
    /// The name of a tag's variant.
    Tag(&'static str),
    /// An option that is absent.
    Absent,
    /// A list.
    List(Vec<Self>),
    /// A record's or a message's fields, in wire order.
    Record(Vec<(&'static str, Self)>),
}
