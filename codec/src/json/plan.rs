//! The table joined with the registry, once in a process: for each message its fields in both orders, with their types.
//! Never looks at a message.

use std::sync::LazyLock;

use super::table::{Entry, MESSAGES, RECORDS, Row};
use crate::{
    inspect::{Declaration, Field},
    message::{DECLARATIONS, Message},
};

/// How a value is laid out, read from the name of its Rust type.
#[derive(Debug)]
pub enum Shape {
    /// A number of at most 64 bits: the largest.
    Number(u64),
    /// One byte on the wire.
    Byte,
    /// A number of 128 bits.
    Wide,
    Bool,
    Text,
    Bytes,
    Option(Box<Self>),
    List(Box<Self>),
    /// A record in a list.
    Record(Vec<Leaf>),
    /// A tag's name, and its variants as they are written.
    Tag(&'static str, Vec<(String, u32)>),
}

/// A field that has a key.
#[derive(Debug)]
pub struct Leaf {
    pub entry: &'static Entry,
    /// The object that its key lies in, if it lies in one.
    pub group: Option<&'static str>,
    /// The key there.
    pub key: &'static str,
    pub shape: Shape,
}

/// A field of the registry, and where it is found: an index into [`Plan::leaves`].
#[derive(Debug)]
pub enum Step {
    Leaf(usize),
    /// A record whose fields lie flat in the message.
    Flat(Vec<Self>),
    /// The same, there when the leaf is.
    FlatOption(usize, Vec<Self>),
}

/// One message.
#[derive(Debug)]
pub struct Plan {
    pub row: &'static Row,
    /// The number in a frame's type field.
    pub number: u64,
    /// As they are written.
    pub leaves: Vec<Leaf>,
    /// As they lie on the wire.
    pub steps: Vec<Step>,
    /// The objects that keys lie in.
    pub groups: Vec<&'static str>,
}

static PLANS: LazyLock<Vec<Plan>> = LazyLock::new(|| {
    let registry = Message::KINDS.iter().zip(Message::FIELDS);
    registry.filter_map(|((number, name, ..), fields)| plan(*number, name, fields)).collect()
});

/// The plan of the message with this number.
pub fn of_number(number: u64) -> Option<&'static Plan> {
    PLANS.binary_search_by_key(&number, |plan| plan.number).ok().map(|at| &PLANS[at])
}

/// The plan of the message with this `type`.
pub fn of_kind(kind: &str) -> Option<&'static Plan> {
    PLANS.iter().find(|plan| plan.row.kind == kind)
}

fn plan(number: u64, name: &str, fields: &'static [Field]) -> Option<Plan> {
    let row = MESSAGES.iter().find(|row| row.name == name)?;
    let leaves: Vec<Leaf> = row.fields.iter().filter_map(|entry| leaf(entry, fields)).collect();
    let steps = fields.iter().filter_map(|field| step(row, field.name, field.shape)).collect();
    let mut groups: Vec<_> = leaves.iter().filter_map(|leaf| leaf.group).collect();
    groups.dedup();
    Some(Plan { row, number, leaves, steps, groups })
}

fn leaf(entry: &'static Entry, fields: &'static [Field]) -> Option<Leaf> {
    let (group, key) = match entry.key.split_once('.') {
        Some((group, key)) => (Some(group), key),
        None => (None, entry.key),
    };
    let mut shape = "";
    let mut fields = fields;
    for part in entry.field.split('.') {
        shape = fields.iter().find(|field| field.name == part)?.shape;
        fields = record(inside(shape).unwrap_or(shape)).unwrap_or_default();
    }
    Some(Leaf { entry, group, key, shape: self::shape(shape) })
}

/// The way of a field on the wire. Fields and groups without a row have none, which a test of the table finds.
fn step(row: &'static Row, path: &str, shape: &'static str) -> Option<Step> {
    if let Some(at) = row.fields.iter().position(|entry| entry.field == path) {
        return Some(Step::Leaf(at));
    }
    let inner = inside(shape);
    let fields = record(inner.unwrap_or(shape))?;
    let steps =
        fields.iter().filter_map(|field| step(row, &format!("{path}.{}", field.name), field.shape)).collect::<Vec<_>>();
    if inner.is_none() {
        return Some(Step::Flat(steps));
    }
    let told = |entry: &Entry| {
        entry.absent == super::table::Absent::Never
            && entry.field.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'))
    };
    Some(Step::FlatOption(row.fields.iter().position(told)?, steps))
}

fn inside(shape: &'static str) -> Option<&'static str> {
    shape.strip_prefix("Option<").and_then(|rest| rest.strip_suffix('>'))
}

fn declaration(name: &str) -> Option<&'static Declaration> {
    DECLARATIONS.iter().find(|(known, _)| *known == name).map(|(_, declaration)| declaration)
}

fn record(name: &str) -> Option<&'static [Field]> {
    match declaration(name)? {
        Declaration::Record(fields) => Some(fields),
        Declaration::Tag(_) => None,
    }
}

fn shape(name: &'static str) -> Shape {
    if let Some(inner) = inside(name) {
        return Shape::Option(Box::new(shape(inner)));
    }
    if let Some(inner) = name.strip_prefix("Vec<").and_then(|rest| rest.strip_suffix('>')) {
        return Shape::List(Box::new(shape(inner)));
    }
    match name {
        "u8" => Shape::Byte,
        "u16" => Shape::Number(u64::from(u16::MAX)),
        "u32" => Shape::Number(u64::from(u32::MAX)),
        "u64" => Shape::Number(u64::MAX),
        "u128" => Shape::Wide,
        "bool" => Shape::Bool,
        "ByteString" => Shape::Text,
        "Bytes" => Shape::Bytes,
        _ => match declaration(name) {
            Some(Declaration::Tag(variants)) => {
                let written = |(variant, number): &(&str, u32)| (super::table::tag(name, variant), *number);
                Shape::Tag(name, variants.iter().map(written).collect())
            }
            Some(Declaration::Record(fields)) => {
                let row = RECORDS.iter().find(|row| row.name == name);
                Shape::Record(row.iter().flat_map(|row| row.fields).filter_map(|entry| leaf(entry, fields)).collect())
            }
            None => Shape::Record(Vec::new()),
        },
    }
}
