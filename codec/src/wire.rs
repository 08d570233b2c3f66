//! How a value is laid out in a body: the bincode 2 "standard" configuration (little endian, bincode's own varint),
//! written by hand because the `bincode` crate is unmaintained (RUSTSEC-2025-0141). `proto-spec/vectors/golden` holds
//! bytes made by `bincode =2.0.1` outside this workspace; the tests compare.
//!
//! Decoding never trusts a length: every length is checked against the bytes that are really there before anything is
//! allocated, and text and bytes are slices of the frame, not copies.

use bytes::{Buf, BufMut, Bytes};
use bytestring::ByteString;

use crate::inspect::Node;

/// Items that a list may have. An item takes up to 72 bytes of memory for as little as 4 on the wire, so without this a
/// frame of 1 MiB would become 18 MiB; with it, 288 KiB.
pub const MAX_ITEMS: usize = 4096;

/// Why a body could not be decoded. Always the peer's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The body ended inside a field that every version of the message has.
    #[error("the body ends inside a required field")]
    Truncated,
    /// A length, tag or number is outside its type.
    #[error("a number or tag is out of its range")]
    OutOfRange,
    /// Text is not UTF-8.
    #[error("text is not UTF-8")]
    NotUtf8,
}

/// Takes values off the front of one body.
#[derive(Debug)]
pub struct Reader {
    rest: Bytes,
}

impl Reader {
    /// Reads from `body`.
    pub const fn new(body: Bytes) -> Self {
        Self { rest: body }
    }

    /// Whether nothing is left; an appended field that is absent takes its default.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `len` bytes, sharing the frame's memory.
    ///
    /// # Errors
    /// [`WireError::Truncated`] when fewer are left.
    pub fn take(&mut self, len: usize) -> Result<Bytes, WireError> {
        if len > self.rest.len() {
            return Err(WireError::Truncated);
        }
        Ok(self.rest.split_to(len))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let array = *self.rest.first_chunk().ok_or(WireError::Truncated)?;
        self.rest.advance(N);
        Ok(array)
    }

    /// bincode's varint: a byte below 251 is the value, 251–254 announce 2, 4, 8 or 16 little-endian bytes.
    fn varint(&mut self) -> Result<u128, WireError> {
        Ok(match self.array::<1>()?[0] {
            251 => u128::from(u16::from_le_bytes(self.array()?)),
            252 => u128::from(u32::from_le_bytes(self.array()?)),
            253 => u128::from(u64::from_le_bytes(self.array()?)),
            254 => u128::from_le_bytes(self.array()?),
            255 => return Err(WireError::OutOfRange),
            small => u128::from(small),
        })
    }

    fn length(&mut self) -> Result<usize, WireError> {
        let len = usize::try_from(self.varint()?).map_err(|_| WireError::OutOfRange)?;
        if len > self.rest.len() { Err(WireError::Truncated) } else { Ok(len) }
    }
}

fn write_varint(out: &mut impl BufMut, value: u128) {
    if value < 251 {
        out.put_u8(value as u8);
    } else if let Ok(value) = u16::try_from(value) {
        out.put_u8(251);
        out.put_u16_le(value);
    } else if let Ok(value) = u32::try_from(value) {
        out.put_u8(252);
        out.put_u32_le(value);
    } else if let Ok(value) = u64::try_from(value) {
        out.put_u8(253);
        out.put_u64_le(value);
    } else {
        out.put_u8(254);
        out.put_u128_le(value);
    }
}

const fn varint_size(value: u128) -> usize {
    match value {
        0..=250 => 1,
        251..=0xffff => 3,
        0x1_0000..=0xffff_ffff => 5,
        0x1_0000_0000..=0xffff_ffff_ffff_ffff => 9,
        _ => 17,
    }
}

/// A type with one layout on the wire.
pub trait Value: Sized {
    /// Exact bytes that [`Value::write`] appends.
    fn size(&self) -> usize;
    /// Appends the value.
    fn write(&self, out: &mut impl BufMut);
    /// Takes the value off the reader.
    ///
    /// # Errors
    /// [`WireError`] when the bytes are not such a value.
    fn read(from: &mut Reader) -> Result<Self, WireError>;
    /// The value without its type.
    fn node(&self) -> Node;
}

macro_rules! unsigned {
    ($($type:ty => $node:ident),*) => {$(
        impl Value for $type {
            fn size(&self) -> usize {
                varint_size(u128::from(*self))
            }
            fn write(&self, out: &mut impl BufMut) {
                write_varint(out, u128::from(*self));
            }
            fn read(from: &mut Reader) -> Result<Self, WireError> {
                Self::try_from(from.varint()?).map_err(|_| WireError::OutOfRange)
            }
            fn node(&self) -> Node {
                Node::$node((*self).into())
            }
        }
    )*};
}
unsigned!(u16 => Small, u32 => Small, u64 => Large, u128 => Large);

impl Value for u8 {
    fn size(&self) -> usize {
        1
    }
    fn write(&self, out: &mut impl BufMut) {
        out.put_u8(*self);
    }
    fn read(from: &mut Reader) -> Result<Self, WireError> {
        Ok(from.array::<1>()?[0])
    }
    fn node(&self) -> Node {
        Node::Small((*self).into())
    }
}

impl Value for bool {
    fn size(&self) -> usize {
        1
    }
    fn write(&self, out: &mut impl BufMut) {
        out.put_u8(u8::from(*self));
    }
    fn read(from: &mut Reader) -> Result<Self, WireError> {
        match from.array::<1>()?[0] {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(WireError::OutOfRange),
        }
    }
    fn node(&self) -> Node {
        Node::Bool(*self)
    }
}

impl Value for Bytes {
    fn size(&self) -> usize {
        varint_size(self.len() as u128) + self.len()
    }
    fn write(&self, out: &mut impl BufMut) {
        write_varint(out, self.len() as u128);
        out.put_slice(self);
    }
    fn read(from: &mut Reader) -> Result<Self, WireError> {
        let len = from.length()?;
        from.take(len)
    }
    fn node(&self) -> Node {
        Node::Bytes(self.clone())
    }
}

impl Value for ByteString {
    fn size(&self) -> usize {
        varint_size(self.len() as u128) + self.len()
    }
    fn write(&self, out: &mut impl BufMut) {
        write_varint(out, self.len() as u128);
        out.put_slice(self.as_bytes());
    }
    fn read(from: &mut Reader) -> Result<Self, WireError> {
        Self::try_from(Bytes::read(from)?).map_err(|_| WireError::NotUtf8)
    }
    fn node(&self) -> Node {
        Node::Text(self.clone())
    }
}

impl<T: Value> Value for Option<T> {
    fn size(&self) -> usize {
        1 + self.as_ref().map_or(0, Value::size)
    }
    fn write(&self, out: &mut impl BufMut) {
        out.put_u8(u8::from(self.is_some()));
        if let Some(value) = self {
            value.write(out);
        }
    }
    fn read(from: &mut Reader) -> Result<Self, WireError> {
        Ok(if bool::read(from)? { Some(T::read(from)?) } else { None })
    }
    fn node(&self) -> Node {
        self.as_ref().map_or(Node::Absent, Value::node)
    }
}

impl<T: Value> Value for Vec<T> {
    fn size(&self) -> usize {
        varint_size(self.len() as u128) + self.iter().map(Value::size).sum::<usize>()
    }
    fn write(&self, out: &mut impl BufMut) {
        write_varint(out, self.len() as u128);
        for item in self {
            item.write(out);
        }
    }
    fn read(from: &mut Reader) -> Result<Self, WireError> {
        // Every item is at least one byte, so `length` bounds the count by the bytes that are there; the memory grows
        // with the items that really decode, not with what the peer announced, and ends at `MAX_ITEMS`.
        let count = from.length()?;
        if count > MAX_ITEMS {
            return Err(WireError::OutOfRange);
        }
        let mut items = Self::new();
        for _ in 0..count {
            items.push(T::read(from)?);
        }
        Ok(items)
    }
    fn node(&self) -> Node {
        Node::List(self.iter().map(Value::node).collect())
    }
}

/// Declares a record: fields in wire order. Records are closed (nothing is ever appended to one); messages grow.
macro_rules! record {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Default)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type,)* }
        impl $name {
            /// Its fields, in wire order.
            pub const FIELDS: &[$crate::inspect::Field] = &[$($crate::inspect::Field {
                name: stringify!($field),
                shape: stringify!($type),
                appended: false,
            }),*];
        }
        impl $crate::wire::Value for $name {
            fn size(&self) -> usize {
                0 $(+ $crate::wire::Value::size(&self.$field))*
            }
            fn write(&self, out: &mut impl bytes::BufMut) {
                $($crate::wire::Value::write(&self.$field, out);)*
            }
            fn read(from: &mut $crate::wire::Reader) -> Result<Self, $crate::wire::WireError> {
                Ok(Self { $($field: $crate::wire::Value::read(from)?,)* })
            }
            fn node(&self) -> $crate::inspect::Node {
                $crate::inspect::Node::Record(vec![
                    $((stringify!($field), $crate::wire::Value::node(&self.$field)),)*
                ])
            }
        }
    };
}

/// Declares an enum without data: a varint tag. The first variant is the default.
macro_rules! tag {
    ($(#[$doc:meta])* $name:ident {
        $(#[$first_doc:meta])* $first:ident = $first_tag:literal, $($(#[$variant_doc:meta])* $variant:ident = $tag:literal,)*
    }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
        pub enum $name {
            $(#[$first_doc])* #[default] $first = $first_tag,
            $($(#[$variant_doc])* $variant = $tag,)*
        }
        impl $name {
            /// Every variant, in wire order.
            pub const ALL: &[Self] = &[Self::$first $(, Self::$variant)*];
            /// (name, number) of every variant, in wire order.
            pub const VARIANTS: &[(&str, u32)] =
                &[(stringify!($first), $first_tag) $(, (stringify!($variant), $tag))*];
            /// The variant's name in proto-spec.
            pub const fn name(self) -> &'static str {
                match self { Self::$first => stringify!($first), $(Self::$variant => stringify!($variant),)* }
            }
        }
        impl $crate::wire::Value for $name {
            fn size(&self) -> usize {
                $crate::wire::Value::size(&(*self as u32))
            }
            fn write(&self, out: &mut impl bytes::BufMut) {
                $crate::wire::Value::write(&(*self as u32), out);
            }
            fn read(from: &mut $crate::wire::Reader) -> Result<Self, $crate::wire::WireError> {
                match <u32 as $crate::wire::Value>::read(from)? {
                    $first_tag => Ok(Self::$first),
                    $($tag => Ok(Self::$variant),)*
                    _ => Err($crate::wire::WireError::OutOfRange),
                }
            }
            fn node(&self) -> $crate::inspect::Node {
                $crate::inspect::Node::Tag(self.name())
            }
        }
    };
}

pub(crate) use {record, tag};
