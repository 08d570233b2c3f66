//! A message as JSON text. Documents and patches are spliced as they are; everything else is written by its plan.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;

use super::{
    plan::{self, Leaf, Shape},
    scan,
    table::{self, Absent, Form},
};
use crate::{inspect::Node, message::Message};

/// The text of a message. `beside` are keys and their JSON that the message itself does not have, as the `id` that a
/// client gave to what it answers ([`Incoming::id`](super::Incoming::id)).
pub fn encode(message: &Message, beside: &[(&str, &str)]) -> Bytes {
    let mut out = Vec::with_capacity(64 + message.frame_size());
    out.push(b'{');
    // Every message has a plan: a test compares the table with the registry.
    if let (Some(plan), Node::Record(fields)) = (plan::of_number(message.kind()), message.node()) {
        key(&mut out, "type");
        text(&mut out, plan.row.kind);
        for (name, json) in beside {
            key(&mut out, name);
            out.extend_from_slice(json.as_bytes());
        }
        members(&mut out, &plan.leaves, &fields);
    }
    out.push(b'}');
    out.into()
}

fn members(out: &mut Vec<u8>, leaves: &[Leaf], fields: &[(&'static str, Node)]) {
    let mut open: Option<&str> = None;
    for leaf in leaves {
        let Some(node) = find(fields, leaf.entry.field).filter(|node| !is_absent(node, leaf)) else {
            continue;
        };
        if open != leaf.group {
            if open.is_some() {
                out.push(b'}');
            }
            if let Some(group) = leaf.group {
                key(out, group);
                out.push(b'{');
            }
            open = leaf.group;
        }
        match (leaf.entry.form, node) {
            (Form::Json, Node::Bytes(bytes)) => {
                let text = std::str::from_utf8(bytes).ok();
                if let Some(json) = text.filter(|text| scan::is_value(text)) {
                    key(out, leaf.key);
                    out.extend_from_slice(json.as_bytes());
                } else {
                    key(out, &format!("{}{}", leaf.key, super::BASE64));
                    value(out, node, &leaf.shape);
                }
            }
            (Form::Durable, Node::Tag(name)) => {
                key(out, leaf.key);
                out.extend_from_slice(match *name {
                    "Accepted" => b"false",
                    "Durable" => b"true",
                    _ => b"\"notify\"",
                });
            }
            _ => {
                key(out, leaf.key);
                value(out, node, &leaf.shape);
            }
        }
    }
    if open.is_some() {
        out.push(b'}');
    }
}

/// The value at a path; `None` inside of an option that is absent.
fn find<'a>(fields: &'a [(&'static str, Node)], path: &str) -> Option<&'a Node> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let (_, node) = fields.iter().find(|(name, _)| *name == first)?;
    match (rest, node) {
        (None, node) => Some(node),
        (Some(rest), Node::Record(fields)) => find(fields, rest),
        (Some(_), _) => None,
    }
}

/// Whether a value is what it is when it is not written.
fn is_absent(node: &Node, leaf: &Leaf) -> bool {
    match (leaf.entry.absent, node, &leaf.shape) {
        (Absent::One, Node::Small(number), _) => *number == 1,
        (Absent::True, Node::Bool(value), _) => *value,
        (Absent::Default, node, Shape::Option(_)) => *node == Node::Absent,
        (Absent::Default, Node::Tag(name), Shape::Tag(of, variants)) => {
            variants.first().is_some_and(|(first, _)| *first == table::tag(of, name))
        }
        (Absent::Default, node, _) => match node {
            Node::Small(number) => *number == 0,
            Node::Large(number) => *number == 0,
            Node::Bool(value) => !value,
            Node::Text(text) => text.is_empty(),
            Node::Bytes(bytes) => bytes.is_empty(),
            Node::List(items) => items.is_empty(),
            _ => false,
        },
        _ => false,
    }
}

/// Opens a member of the object that is being written.
fn key(out: &mut Vec<u8>, name: &str) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    text(out, name);
    out.push(b':');
}

fn value(out: &mut Vec<u8>, node: &Node, shape: &Shape) {
    match (node, shape) {
        (node, Shape::Option(inner)) if *node != Node::Absent => value(out, node, inner),
        (Node::Large(number), Shape::Wide) => text(out, &number.to_string()),
        (Node::Large(number), _) => out.extend_from_slice(number.to_string().as_bytes()),
        (Node::Small(number), _) => out.extend_from_slice(number.to_string().as_bytes()),
        (Node::Bool(value), _) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        (Node::Text(said), _) => text(out, said),
        (Node::Bytes(bytes), _) => text(out, &STANDARD.encode(bytes)),
        (Node::Tag(variant), Shape::Tag(of, _)) => text(out, &table::tag(of, variant)),
        (Node::List(items), Shape::List(inner)) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                value(out, item, inner);
            }
            out.push(b']');
        }
        (Node::Record(fields), Shape::Record(leaves)) => {
            out.push(b'{');
            members(out, leaves, fields);
            out.push(b'}');
        }
        _ => out.extend_from_slice(b"null"),
    }
}

/// A string with what JSON wants escaped (RFC 8259 §7), and nothing else.
fn text(out: &mut Vec<u8>, said: &str) {
    out.push(b'"');
    let mut from = 0;
    for (at, byte) in said.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&said.as_bytes()[from..at]);
        from = at + 1;
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
        }
    }
    out.extend_from_slice(&said.as_bytes()[from..]);
    out.push(b'"');
}
