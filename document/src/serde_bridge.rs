//! Between documents and everything that serde knows: typed views, `serde_json::Value`.

use std::sync::Arc;

use serde::de::value::{MapDeserializer, SeqDeserializer, StrDeserializer};
use serde::de::{
    DeserializeOwned, Deserializer, EnumAccess, Error, IntoDeserializer, Unexpected, VariantAccess, Visitor,
};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::node::{Array, Member, Object};
use crate::value::{Node, Value};

impl Value {
    /// A copy of a `serde_json` value, as deep as that is.
    #[must_use]
    pub fn from_serde(value: &serde_json::Value) -> Value {
        match value {
            serde_json::Value::Null => Value::null(),
            serde_json::Value::Bool(value) => Value::from(*value),
            serde_json::Value::Number(number) => {
                if let Some(number) = number.as_i64() {
                    Value::from(number)
                } else if let Some(number) = number.as_u64() {
                    Value::from(number)
                } else {
                    Value::from(number.as_f64().unwrap_or(f64::NAN))
                }
            }
            serde_json::Value::String(text) => Value::from(text.as_str()),
            serde_json::Value::Array(items) => {
                Value::from_array(Array::new(items.iter().map(Value::from_serde).collect()))
            }
            serde_json::Value::Object(members) => {
                let member =
                    |(name, value): (&String, _)| Member { name: Arc::from(&**name), value: Value::from_serde(value) };
                Value::from_object(Object::new(members.iter().map(member).collect()))
            }
        }
    }

    /// A copy as a `serde_json` value.
    #[must_use]
    pub fn to_serde(&self) -> serde_json::Value {
        match &self.0 {
            Node::Null => serde_json::Value::Null,
            Node::Bool(value) => (*value).into(),
            Node::Integer(number) => (*number).into(),
            Node::Unsigned(number) => (*number).into(),
            Node::Float { value, .. } => (*value).into(),
            Node::String { text, .. } => (&**text).into(),
            Node::Array(array) => array.children().iter().map(Value::to_serde).collect(),
            Node::Object(object) => {
                object.children().iter().map(|member| (member.name.to_string(), member.value.to_serde())).collect()
            }
        }
    }

    /// The document as a type of the caller's. Not for types that borrow.
    ///
    /// # Errors
    ///
    /// The type does not fit; the error says what was expected.
    pub fn deserialize<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        T::deserialize(self)
    }

    /// The document that a type of the caller's stands for.
    ///
    /// # Errors
    ///
    /// It cannot be JSON, such as a map whose keys are no strings.
    pub fn from_serialize<T: Serialize + ?Sized>(value: &T) -> Result<Value, serde_json::Error> {
        serde_json::to_value(value).map(|value| Value::from_serde(&value))
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Node::Null => out.serialize_unit(),
            Node::Bool(value) => out.serialize_bool(*value),
            Node::Integer(number) => out.serialize_i64(*number),
            Node::Unsigned(number) => out.serialize_u64(*number),
            Node::Float { value, .. } => out.serialize_f64(*value),
            Node::String { text, .. } => out.serialize_str(text),
            Node::Array(array) => out.collect_seq(array.children()),
            Node::Object(object) => {
                let mut map = out.serialize_map(Some(object.children().len()))?;
                for member in object.children() {
                    map.serialize_entry(&*member.name, &member.value)?;
                }
                map.end()
            }
        }
    }
}

impl<'de> IntoDeserializer<'de, serde_json::Error> for &'de Value {
    type Deserializer = &'de Value;

    fn into_deserializer(self) -> &'de Value {
        self
    }
}

impl<'de> Deserializer<'de> for &'de Value {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        match &self.0 {
            Node::Null => visitor.visit_unit(),
            Node::Bool(value) => visitor.visit_bool(*value),
            Node::Integer(number) => match u64::try_from(*number) {
                Ok(number) => visitor.visit_u64(number),
                Err(_) => visitor.visit_i64(*number),
            },
            Node::Unsigned(number) => visitor.visit_u64(*number),
            Node::Float { value, .. } => visitor.visit_f64(*value),
            Node::String { text, .. } => visitor.visit_borrowed_str(text),
            Node::Array(array) => {
                let mut items = SeqDeserializer::new(array.children().iter());
                let value = visitor.visit_seq(&mut items)?;
                items.end()?;
                Ok(value)
            }
            Node::Object(object) => {
                let members = object.children().iter().map(|member| (Name(&member.name), &member.value));
                let mut members = MapDeserializer::new(members);
                let value = visitor.visit_map(&mut members)?;
                members.end()?;
                Ok(value)
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        if self.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        match &self.0 {
            Node::String { text, .. } => visitor.visit_enum(Variant { name: text, content: None }),
            Node::Object(object) if let [member] = object.children() => {
                visitor.visit_enum(Variant { name: &member.name, content: Some(&member.value) })
            }
            _ => Err(Error::custom("a variant is a string, or an object with one member")),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

/// A member's name where a map's key may be a number or a boolean, as `serde_json` writes and reads them.
struct Name<'de>(&'de str);

macro_rules! read_key {
    ($($method:ident $visit:ident),*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
            match self.0.parse() {
                Ok(key) => visitor.$visit(key),
                Err(_) => visitor.visit_borrowed_str(self.0),
            }
        })*
    };
}

impl<'de> IntoDeserializer<'de, serde_json::Error> for Name<'de> {
    type Deserializer = Name<'de>;

    fn into_deserializer(self) -> Name<'de> {
        self
    }
}

impl<'de> Deserializer<'de> for Name<'de> {
    type Error = serde_json::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_borrowed_str(self.0)
    }

    read_key!(
        deserialize_bool visit_bool, deserialize_i8 visit_i8, deserialize_i16 visit_i16, deserialize_i32 visit_i32,
        deserialize_i64 visit_i64, deserialize_u8 visit_u8, deserialize_u16 visit_u16, deserialize_u32 visit_u32,
        deserialize_u64 visit_u64
    );

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_enum(Variant { name: self.0, content: None })
    }

    serde::forward_to_deserialize_any! {
        i128 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier
        ignored_any
    }
}

/// An enum as serde's externally tagged form has it.
struct Variant<'de> {
    name: &'de str,
    content: Option<&'de Value>,
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = serde_json::Error;
    type Variant = Content<'de>;

    fn variant_seed<V: serde::de::DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Content<'de>), Self::Error> {
        let name: StrDeserializer<'de, serde_json::Error> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, Content(self.content)))
    }
}

struct Content<'de>(Option<&'de Value>);

impl<'de> Content<'de> {
    fn needed(self, expected: &'static str) -> Result<&'de Value, serde_json::Error> {
        self.0.ok_or_else(|| Error::invalid_type(Unexpected::UnitVariant, &expected))
    }
}

impl<'de> VariantAccess<'de> for Content<'de> {
    type Error = serde_json::Error;

    fn unit_variant(self) -> Result<(), Self::Error> {
        match self.0 {
            None => Ok(()),
            Some(value) if value.is_null() => Ok(()),
            Some(_) => Err(Error::invalid_type(Unexpected::NewtypeVariant, &"unit variant")),
        }
    }

    fn newtype_variant_seed<T: serde::de::DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Self::Error> {
        seed.deserialize(self.needed("newtype variant")?)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Self::Error> {
        self.needed("tuple variant")?.deserialize_any(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Self::Error> {
        self.needed("struct variant")?.deserialize_any(visitor)
    }
}
