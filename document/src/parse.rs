//! From JSON text to a document, node by node as the reader goes; recursion ends at the depth limit.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::error::Invalid;
use crate::limits::Limits;
use crate::node::{Array, Member, Object};
use crate::value::Value;

/// Reads a whole text as one document.
pub(crate) fn document(text: &[u8], limits: &Limits) -> Result<Value, Invalid> {
    fits(text.len(), limits.document_bytes)?;
    let too_deep = Cell::new(false);
    let mut reader = serde_json::Deserializer::from_slice(text);
    let seed = Nested { left: limits.depth, too_deep: &too_deep };
    let value = seed
        .deserialize(&mut reader)
        .and_then(|value| reader.end().map(|()| value))
        .map_err(|error| if too_deep.get() { Invalid::Depth { limit: limits.depth } } else { not_json(&error) })?;
    fits(value.json_size(), limits.document_bytes)?;
    Ok(value)
}

pub(crate) fn fits(bytes: usize, limit: usize) -> Result<(), Invalid> {
    if bytes > limit { Err(Invalid::TooLarge { bytes, limit }) } else { Ok(()) }
}

pub(crate) fn not_json(error: &serde_json::Error) -> Invalid {
    Invalid::Json { reason: error.to_string() }
}

/// Reads a value that may have `left` more levels; says in `too_deep` why it failed, since the reader's error cannot.
#[derive(Clone, Copy)]
pub(crate) struct Nested<'a> {
    pub left: usize,
    pub too_deep: &'a Cell<bool>,
}

impl Nested<'_> {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        if let Some(left) = self.left.checked_sub(1) {
            return Ok(Nested { left, ..self });
        }
        self.too_deep.set(true);
        Err(E::custom("nested too deep"))
    }
}

impl<'de> DeserializeSeed<'de> for Nested<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Nested<'_> {
    type Value = Value;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::null())
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let seed = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(seed)? {
            items.push(item);
        }
        Ok(Value::from_array(Array::new(items)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let seed = self.deeper()?;
        let mut members = Vec::new();
        while let Some(name) = access.next_key_seed(Text)? {
            members.push(Member { name, value: access.next_value_seed(seed)? });
        }
        Ok(Value::from_object(Object::new(members)))
    }
}

/// Reads a string into its final place.
pub(crate) struct Text;

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Arc<str>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Arc<str>, D::Error> {
        reader.deserialize_str(self)
    }
}

impl Visitor<'_> for Text {
    type Value = Arc<str>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a string")
    }

    fn visit_str<E>(self, text: &str) -> Result<Arc<str>, E> {
        Ok(text.into())
    }
}
