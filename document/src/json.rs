//! JSON text: how long a value's is, and writing it. Compact, members in the order of their names, strings with the
//! shortest escapes, floats with the fewest digits that read back as the same number.

use serde::Serialize;

use crate::value::{Node, Value};

/// Bytes of a string as JSON text, quotes included.
pub(crate) fn text_size(text: &str) -> usize {
    let escaped = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
    if text.bytes().filter(|byte| escaped(byte)).count() == 0 {
        return text.len() + 2;
    }
    2 + text
        .bytes()
        .map(|byte| match byte {
            b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0c => 2,
            0..0x20 => 6,
            _ => 1,
        })
        .sum::<usize>()
}

/// Bytes of an integer as JSON text.
pub(crate) fn integer_size(negative: bool, magnitude: u64) -> usize {
    usize::from(negative) + magnitude.checked_ilog10().unwrap_or(0) as usize + 1
}

/// Bytes of a finite float as JSON text; at most 24.
pub(crate) fn float_size(value: f64) -> u8 {
    let mut buffer = [0; 32];
    let mut left = &mut buffer[..];
    write_number(&mut left, &value);
    32 - left.len() as u8
}

fn write_number(out: impl std::io::Write, number: &impl Serialize) {
    serde_json::to_writer(out, number).expect("a number fits its buffer");
}

/// Appends a string, quoted and escaped.
pub(crate) fn write_text(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut written = 0;
    for (at, byte) in bytes.iter().enumerate() {
        let short = match byte {
            b'"' => b'"',
            b'\\' => b'\\',
            b'\n' => b'n',
            b'\r' => b'r',
            b'\t' => b't',
            0x08 => b'b',
            0x0c => b'f',
            0..0x20 => b'u',
            _ => continue,
        };
        out.extend_from_slice(&bytes[written..at]);
        out.extend_from_slice(&[b'\\', short]);
        if short == b'u' {
            out.extend_from_slice(&[b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
        written = at + 1;
    }
    out.extend_from_slice(&bytes[written..]);
    out.push(b'"');
}

/// Appends a value. Recursive: values are at most as deep as the limits they were made under.
pub(crate) fn write(out: &mut Vec<u8>, value: &Value) {
    match &value.0 {
        Node::Null => out.extend_from_slice(b"null"),
        Node::Bool(true) => out.extend_from_slice(b"true"),
        Node::Bool(false) => out.extend_from_slice(b"false"),
        Node::Integer(number) => write_number(out, number),
        Node::Unsigned(number) => write_number(out, number),
        Node::Float { value, .. } => write_number(out, value),
        Node::String { text, .. } => write_text(out, text),
        Node::Array(array) => {
            out.push(b'[');
            for (at, item) in array.children().iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write(out, item);
            }
            out.push(b']');
        }
        Node::Object(object) => {
            out.push(b'{');
            for (at, member) in object.children().iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write_text(out, &member.name);
                out.push(b':');
                write(out, &member.value);
            }
            out.push(b'}');
        }
    }
}
