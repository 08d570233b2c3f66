//! A second implementation of the encoding, from JSON and the declared shapes alone, so that the codec is compared with
//! something that shares no code with it. Slow and plain on purpose. What goes wrong here panics: it is only for tests.
#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::unwrap_used, reason = "see above")]

use arbitrary::Unstructured;
use serde_json::{Map, Value, json};
use syncbridge_codec::{
    Message,
    inspect::{Declaration, Field, Node},
    message::{Class, DECLARATIONS, Direction},
};

/// How a value is laid out, read from the name of its Rust type.
pub enum Shape {
    /// One byte.
    Byte,
    Bool,
    /// A varint of at most this many bits.
    Number(u32),
    Text,
    Bytes,
    Option(Box<Self>),
    List(Box<Self>),
    Record(&'static [Field]),
    Tag(&'static [(&'static str, u32)]),
}

impl Shape {
    pub fn of(name: &str) -> Self {
        let inner = |prefix: &str| name.strip_prefix(prefix).and_then(|rest| rest.strip_suffix('>')).map(Self::of);
        match name {
            "u8" => Self::Byte,
            "bool" => Self::Bool,
            "u32" => Self::Number(32),
            "u64" => Self::Number(64),
            "u128" => Self::Number(128),
            "ByteString" => Self::Text,
            "Bytes" => Self::Bytes,
            _ => inner("Option<")
                .map(|shape| Self::Option(Box::new(shape)))
                .or_else(|| inner("Vec<").map(|shape| Self::List(Box::new(shape))))
                .unwrap_or_else(|| match declaration(name) {
                    Declaration::Record(fields) => Self::Record(fields),
                    Declaration::Tag(variants) => Self::Tag(variants),
                }),
        }
    }

    pub fn encode(&self, value: &Value, out: &mut Vec<u8>) {
        match self {
            Self::Byte => out.push(u8::try_from(value.as_u64().unwrap()).unwrap()),
            Self::Bool => out.push(u8::from(value.as_bool().unwrap())),
            Self::Number(bits) => {
                let number = number(value);
                assert!(*bits == 128 || number >> bits == 0, "{number} does not fit in {bits} bits");
                out.extend(varint(number));
            }
            Self::Text => prefixed(value.as_str().unwrap().as_bytes(), out),
            Self::Bytes => prefixed(&unhex(value.as_str().unwrap()), out),
            Self::Option(inner) => {
                out.push(u8::from(!value.is_null()));
                if !value.is_null() {
                    inner.encode(value, out);
                }
            }
            Self::List(inner) => {
                let items = value.as_array().unwrap();
                out.extend(varint(items.len() as u128));
                for item in items {
                    inner.encode(item, out);
                }
            }
            Self::Record(fields) => encode_fields(fields, value, out),
            Self::Tag(variants) => {
                let name = value.as_str().unwrap();
                let (_, tag) = variants.iter().find(|(variant, _)| *variant == name).unwrap();
                out.extend(varint(u128::from(*tag)));
            }
        }
    }

    /// The smallest value.
    pub fn least(&self) -> Value {
        match self {
            Self::Byte | Self::Number(32) => json!(0),
            Self::Bool => json!(false),
            Self::Number(_) => json!("0"),
            Self::Text | Self::Bytes => json!(""),
            Self::Option(_) => Value::Null,
            Self::List(_) => json!([]),
            Self::Record(fields) => each(fields, Self::least),
            Self::Tag(variants) => json!(variants[0].0),
        }
    }

    /// The largest number, the last variant, an option that is there, a list of two, text beyond one length byte.
    pub fn most(&self) -> Value {
        match self {
            Self::Byte => json!(u8::MAX),
            Self::Bool => json!(true),
            Self::Number(32) => json!(u32::MAX),
            Self::Number(64) => json!(u64::MAX.to_string()),
            Self::Number(_) => json!(u128::MAX.to_string()),
            Self::Text => json!("ÿ€𝄞\u{0}\"\\".repeat(22)),
            Self::Bytes => json!(hex(&(0..=255).collect::<Vec<u8>>())),
            Self::Option(inner) => inner.most(),
            Self::List(inner) => json!([inner.least(), inner.most()]),
            Self::Record(fields) => each(fields, Self::most),
            Self::Tag(variants) => json!(variants[variants.len() - 1].0),
        }
    }

    /// Any value, drawn from `from`; numbers often lie at the borders of the varint's forms.
    pub fn any(&self, from: &mut Unstructured<'_>) -> arbitrary::Result<Value> {
        Ok(match self {
            Self::Byte => json!(from.arbitrary::<u8>()?),
            Self::Bool => json!(from.arbitrary::<bool>()?),
            Self::Number(bits) => {
                let border =
                    *from.choose(&[0, 250, 251, 0xffff, 0x1_0000, 0xffff_ffff, 1 << 32, u128::from(u64::MAX)])?;
                let drawn = if from.arbitrary()? { border } else { from.arbitrary::<u128>()? };
                let shifted = drawn >> from.int_in_range(0..=127 - bits.min(&127))?;
                let fitted = if *bits == 128 { shifted } else { shifted & ((1 << bits) - 1) };
                if *bits <= 32 { json!(fitted as u32) } else { json!(fitted.to_string()) }
            }
            Self::Text => json!(from.arbitrary::<String>()?),
            Self::Bytes => json!(hex(&from.arbitrary::<Vec<u8>>()?)),
            Self::Option(inner) => {
                if from.arbitrary()? {
                    inner.any(from)?
                } else {
                    Value::Null
                }
            }
            Self::List(inner) => {
                let count = from.int_in_range(0..=5)?;
                Value::Array((0..count).map(|_| inner.any(from)).collect::<Result<_, _>>()?)
            }
            Self::Record(fields) => any_fields(fields, from)?,
            Self::Tag(variants) => json!(from.choose(variants)?.0),
        })
    }
}

fn declaration(name: &str) -> Declaration {
    DECLARATIONS.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("no declaration of {name}")).1
}

fn each(fields: &[Field], value: impl Fn(&Shape) -> Value) -> Value {
    Value::Object(fields.iter().map(|field| (field.name.to_owned(), value(&Shape::of(field.shape)))).collect())
}

pub fn least_fields(fields: &[Field]) -> Value {
    each(fields, Shape::least)
}

pub fn most_fields(fields: &[Field]) -> Value {
    each(fields, Shape::most)
}

pub fn any_fields(fields: &[Field], from: &mut Unstructured<'_>) -> arbitrary::Result<Value> {
    let mut map = Map::new();
    for field in fields {
        map.insert(field.name.to_owned(), Shape::of(field.shape).any(from)?);
    }
    Ok(Value::Object(map))
}

/// The fields that are in `value`, in wire order. Only appended ones may be missing, and only at the end.
pub fn encode_fields(fields: &[Field], value: &Value, out: &mut Vec<u8>) {
    let map = value.as_object().unwrap();
    assert!(map.keys().all(|key| fields.iter().any(|field| field.name == key)), "unknown fields in {value}");
    let mut ended = false;
    for field in fields {
        if let Some(value) = map.get(field.name) {
            assert!(!ended, "{} follows a missing field", field.name);
            Shape::of(field.shape).encode(value, out);
        } else {
            assert!(field.appended, "{} is missing", field.name);
            ended = true;
        }
    }
}

/// One row of the registry.
#[derive(Clone, Copy)]
pub struct Row {
    pub kind: u64,
    pub name: &'static str,
    pub direction: Direction,
    pub class: Class,
    pub fields: &'static [Field],
}

pub fn registry() -> impl Iterator<Item = Row> {
    assert_eq!(Message::KINDS.len(), Message::FIELDS.len());
    Message::KINDS.iter().zip(Message::FIELDS).map(|(&(kind, name, direction, class), fields)| Row {
        kind,
        name,
        direction,
        class,
        fields,
    })
}

pub fn row(name: &str) -> Row {
    registry().find(|row| row.name == name).unwrap_or_else(|| panic!("no message {name}"))
}

impl Row {
    /// The whole frame that carries these fields.
    pub fn frame(&self, value: &Value) -> Vec<u8> {
        let mut body = Vec::new();
        encode_fields(self.fields, value, &mut body);
        frame(self.kind, &body)
    }
}

/// A frame with its numbers in their shortest form.
pub fn frame(kind: u64, body: &[u8]) -> Vec<u8> {
    let kind = quic_varint(kind);
    [quic_varint((kind.len() + body.len()) as u64), kind, body.to_vec()].concat()
}

pub fn quic_varint(value: u64) -> Vec<u8> {
    let (size, mark) = match value {
        0..64 => (1, 0x00),
        64..16384 => (2, 0x40),
        16384..1_073_741_824 => (4, 0x80),
        _ => (8, 0xc0),
    };
    let mut bytes = value.to_be_bytes()[8 - size..].to_vec();
    bytes[0] |= mark;
    bytes
}

pub fn varint(value: u128) -> Vec<u8> {
    let (mark, size) = match value {
        0..251 => return vec![value as u8],
        251..0x1_0000 => (251, 2),
        0x1_0000..0x1_0000_0000 => (252, 4),
        0x1_0000_0000..0x1_0000_0000_0000_0000 => (253, 8),
        _ => (254, 16),
    };
    let mut bytes = vec![mark];
    bytes.extend(&value.to_le_bytes()[..size]);
    bytes
}

fn prefixed(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend(varint(bytes.len() as u128));
    out.extend(bytes);
}

fn number(value: &Value) -> u128 {
    value.as_u64().map_or_else(|| value.as_str().unwrap().parse().unwrap(), u128::from)
}

/// What the codec decoded, in the form of the vectors.
pub fn to_json(node: &Node) -> Value {
    match node {
        Node::Small(number) => json!(number),
        Node::Large(number) => json!(number.to_string()),
        Node::Bool(value) => json!(value),
        Node::Text(text) => json!(&**text),
        Node::Bytes(bytes) => json!(hex(bytes)),
        Node::Tag(name) => json!(name),
        Node::Absent => Value::Null,
        Node::List(items) => Value::Array(items.iter().map(to_json).collect()),
        Node::Record(fields) => {
            Value::Object(fields.iter().map(|(name, node)| ((*name).to_owned(), to_json(node))).collect())
        }
    }
}

pub fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from(b"0123456789abcdef"[usize::from(half)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Bytes from hexadecimal digits; white space between them is for people.
pub fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter(|c| !c.is_whitespace()).map(|c| c.to_digit(16).unwrap() as u8).collect();
    let (pairs, rest) = digits.as_chunks::<2>();
    assert!(rest.is_empty(), "an odd number of digits");
    pairs.iter().map(|[high, low]| high << 4 | low).collect()
}

/// The folder of the specification.
pub fn proto_spec() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto-spec")
}
