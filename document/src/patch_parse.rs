//! From JSON text to a patch, in one pass: the values of operations become document nodes as they are read.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::error::Invalid;
use crate::limits::Limits;
use crate::parse::{Nested, fits, not_json};
use crate::patch::{Operation, Patch};
use crate::pointer::Pointer;
use crate::value::Value;

/// Reads a whole text as one patch.
pub(crate) fn patch(text: &[u8], limits: &Limits) -> Result<Patch, Invalid> {
    fits(text.len(), limits.document_bytes.saturating_add(Limits::PATCH_OVERHEAD))?;
    let context = Context { limits, fault: RefCell::new(None), too_deep: Cell::new(false) };
    let mut reader = serde_json::Deserializer::from_slice(text);
    let operations =
        reader.deserialize_any(Operations(&context)).and_then(|operations| reader.end().map(|()| operations));
    match operations {
        Ok(operations) => Ok(Patch { operations }),
        Err(error) => Err(match context.fault.into_inner() {
            Some(fault) => fault,
            None if context.too_deep.get() => Invalid::Depth { limit: limits.depth },
            None => not_json(&error),
        }),
    }
}

/// The limits, and why reading stopped: the reader's own error could only carry text.
struct Context<'a> {
    limits: &'a Limits,
    fault: RefCell<Option<Invalid>>,
    too_deep: Cell<bool>,
}

impl Context<'_> {
    fn fail<E: Error>(&self, fault: Invalid) -> E {
        self.fault.replace(Some(fault));
        E::custom("not a patch")
    }

    fn wrong<E: Error>(&self, index: impl Into<Option<usize>>, reason: &'static str) -> E {
        self.fail(Invalid::Patch { index: index.into(), reason })
    }
}

/// The visits of every kind of value that does not belong here, each with the same complaint.
macro_rules! refuse {
    ($value:ty: $($visit:ident $type:ty),*) => {
        $(fn $visit<E: Error>(self, _: $type) -> Result<$value, E> {
            Err(self.refuse())
        })*

        fn visit_unit<E: Error>(self) -> Result<$value, E> {
            Err(self.refuse())
        }
    };
}

struct Operations<'a>(&'a Context<'a>);

impl Operations<'_> {
    fn refuse<E: Error>(&self) -> E {
        self.0.wrong(None, "it is an array of operations")
    }
}

impl<'de> Visitor<'de> for Operations<'_> {
    type Value = Vec<Operation>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an array of operations")
    }

    refuse!(Vec<Operation>: visit_bool bool, visit_i64 i64, visit_u64 u64, visit_f64 f64, visit_str &str);

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Vec<Operation>, A::Error> {
        Err(self.refuse())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Vec<Operation>, A::Error> {
        let limit = self.0.limits.operations;
        let mut operations = Vec::new();
        while let Some(operation) = access.next_element_seed(One { context: self.0, index: operations.len() })? {
            if operations.len() == limit {
                return Err(self.0.fail(Invalid::Operations { limit }));
            }
            operations.push(operation);
        }
        Ok(operations)
    }
}

struct One<'a> {
    context: &'a Context<'a>,
    index: usize,
}

impl One<'_> {
    fn refuse<E: Error>(&self) -> E {
        self.wrong("an operation is an object")
    }

    fn wrong<E: Error>(&self, reason: &'static str) -> E {
        self.context.wrong(self.index, reason)
    }

    /// Puts a member in its place, which must be empty: RFC 6902 §4 asks for exactly one.
    fn once<T, E: Error>(&self, place: &mut Option<T>, found: T) -> Result<(), E> {
        if place.replace(found).is_some() { Err(self.wrong("it has a member twice")) } else { Ok(()) }
    }

    fn pointer<E: Error>(&self, pointer: Option<Pointer>, absent: &'static str) -> Result<Pointer, E> {
        let pointer = pointer.ok_or_else(|| self.wrong(absent))?;
        match pointer.fault(self.context.limits.pointer_parts) {
            None => Ok(pointer),
            Some(reason) => Err(self.context.fail(Invalid::Pointer { index: self.index, pointer, reason })),
        }
    }
}

impl<'de> DeserializeSeed<'de> for One<'_> {
    type Value = Operation;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Operation, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for One<'_> {
    type Value = Operation;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an operation")
    }

    refuse!(Operation: visit_bool bool, visit_i64 i64, visit_u64 u64, visit_f64 f64, visit_str &str);

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Operation, A::Error> {
        Err(self.refuse())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Operation, A::Error> {
        let (mut op, mut path, mut from, mut value) = (None, None, None, None);
        while let Some(field) = access.next_key_seed(FieldName)? {
            match field {
                Field::Op => self.once(&mut op, access.next_value_seed(OpName(&self))?)?,
                Field::Path => self.once(&mut path, access.next_value_seed(PointerText(&self))?)?,
                Field::From => self.once(&mut from, access.next_value_seed(PointerText(&self))?)?,
                Field::Value => {
                    let seed = Nested { left: self.context.limits.depth, too_deep: &self.context.too_deep };
                    self.once(&mut value, access.next_value_seed(seed)?)?;
                }
                Field::Other => {
                    access.next_value::<IgnoredAny>()?;
                }
            }
        }
        let op = op.ok_or_else(|| self.wrong("it has no `op`"))?;
        let path = self.pointer(path, "it has no `path`")?;
        let need_value = |value: Option<Value>| value.ok_or_else(|| self.wrong("it has no `value`"));
        let need_from = |from| self.pointer(from, "it has no `from`");
        Ok(match op {
            Op::Add => Operation::Add { path, value: need_value(value)? },
            Op::Remove => Operation::Remove { path },
            Op::Replace => Operation::Replace { path, value: need_value(value)? },
            Op::Move => Operation::Move { from: need_from(from)?, path },
            Op::Copy => Operation::Copy { from: need_from(from)?, path },
            Op::Test => Operation::Test { path, value: need_value(value)? },
        })
    }
}

enum Field {
    Op,
    Path,
    From,
    Value,
    Other,
}

struct FieldName;

impl<'de> DeserializeSeed<'de> for FieldName {
    type Value = Field;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Field, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for FieldName {
    type Value = Field;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a member's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Field, E> {
        Ok(match name {
            "op" => Field::Op,
            "path" => Field::Path,
            "from" => Field::From,
            "value" => Field::Value,
            _ => Field::Other,
        })
    }
}

#[derive(Clone, Copy)]
enum Op {
    Add,
    Remove,
    Replace,
    Move,
    Copy,
    Test,
}

struct OpName<'a>(&'a One<'a>);

impl OpName<'_> {
    fn refuse<E: Error>(&self) -> E {
        self.0.wrong("`op` is one of add, remove, replace, move, copy, test")
    }
}

impl<'de> DeserializeSeed<'de> for OpName<'_> {
    type Value = Op;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Op, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for OpName<'_> {
    type Value = Op;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an operation's name")
    }

    refuse!(Op: visit_bool bool, visit_i64 i64, visit_u64 u64, visit_f64 f64);

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Op, A::Error> {
        Err(self.refuse())
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Op, A::Error> {
        Err(self.refuse())
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Op, E> {
        Ok(match name {
            "add" => Op::Add,
            "remove" => Op::Remove,
            "replace" => Op::Replace,
            "move" => Op::Move,
            "copy" => Op::Copy,
            "test" => Op::Test,
            _ => return Err(self.refuse()),
        })
    }
}

struct PointerText<'a>(&'a One<'a>);

impl PointerText<'_> {
    fn refuse<E: Error>(&self) -> E {
        self.0.wrong("`path` and `from` are strings")
    }
}

impl<'de> DeserializeSeed<'de> for PointerText<'_> {
    type Value = Pointer;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Pointer, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for PointerText<'_> {
    type Value = Pointer;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON Pointer")
    }

    refuse!(Pointer: visit_bool bool, visit_i64 i64, visit_u64 u64, visit_f64 f64);

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Pointer, A::Error> {
        Err(self.refuse())
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<Pointer, A::Error> {
        Err(self.refuse())
    }

    fn visit_str<E>(self, text: &str) -> Result<Pointer, E> {
        Ok(Pointer::from(text))
    }
}
