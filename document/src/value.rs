//! The document tree. It never changes under a holder: an edit through one clone is not seen by the others.

use std::fmt;
use std::sync::Arc;

use crate::error::Invalid;
use crate::json;
use crate::limits::Limits;
use crate::node::{Array, Member, Object};
use crate::parse;
use crate::pointer::{self, Parts};

/// A JSON value. Cloning costs one reference count, however large it is.
///
/// Integers from `i64::MIN` to `u64::MAX` are kept exactly, all other numbers as `f64`. Two values are equal when RFC
/// 6902 §4.6 says so: numbers by their value (`1` equals `1.0`), objects whatever the order of their members. Members
/// are kept and written sorted by name (by bytes).
#[derive(Clone, Default)]
pub struct Value(pub(crate) Node);

#[derive(Clone, Default)]
pub(crate) enum Node {
    #[default]
    Null,
    Bool(bool),
    Integer(i64),
    /// Above `i64::MAX` only, so that each integer has one form.
    Unsigned(u64),
    /// Finite. `size` is that of the JSON text.
    Float {
        value: f64,
        size: u8,
    },
    /// `size` is that of the JSON text, or `UNKNOWN_SIZE`.
    String {
        text: Arc<str>,
        size: u32,
    },
    Array(Arc<Array>),
    Object(Arc<Object>),
}

/// The size of strings too long for 32 bits; theirs is counted each time.
const UNKNOWN_SIZE: u32 = u32::MAX;

impl Value {
    /// Reads a document.
    ///
    /// Of several members with one name the last stays. Whitespace counts towards `document_bytes`, and so does the
    /// document as it would be written (`1e15` is longer then).
    ///
    /// # Errors
    ///
    /// [`Invalid::Json`], [`Invalid::Depth`], [`Invalid::TooLarge`].
    pub fn parse(text: &[u8], limits: &Limits) -> Result<Value, Invalid> {
        parse::document(text, limits)
    }

    /// The JSON text.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.json_size());
        self.write_json(&mut out);
        out
    }

    /// Appends the JSON text.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        json::write(out, self);
    }

    /// Length of the JSON text in bytes, known without writing it.
    #[must_use]
    pub fn json_size(&self) -> usize {
        match &self.0 {
            Node::Null | Node::Bool(true) => 4,
            Node::Bool(false) => 5,
            Node::Integer(number) => json::integer_size(*number < 0, number.unsigned_abs()),
            Node::Unsigned(number) => json::integer_size(false, *number),
            Node::Float { size, .. } => usize::from(*size),
            Node::String { text, size: UNKNOWN_SIZE } => json::text_size(text),
            Node::String { size, .. } => *size as usize,
            Node::Array(array) => array.json_size(),
            Node::Object(object) => object.json_size(),
        }
    }

    /// Containers inside each other: 0 for a scalar, 1 for `[]`, 2 for `[[]]`.
    pub(crate) fn height(&self) -> u32 {
        match &self.0 {
            Node::Array(array) => array.height(),
            Node::Object(object) => object.height(),
            _ => 0,
        }
    }

    /// `null`.
    #[must_use]
    pub const fn null() -> Value {
        Value(Node::Null)
    }

    /// `{}`.
    #[must_use]
    pub fn object() -> Value {
        Value::from_object(Object::new(Vec::new()))
    }

    /// An object of these members; of several with one name the last stays.
    pub fn from_members<N: Into<Arc<str>>>(members: impl IntoIterator<Item = (N, Value)>) -> Value {
        let members = members.into_iter().map(|(name, value)| Member { name: name.into(), value });
        Value::from_object(Object::new(members.collect()))
    }

    pub(crate) fn from_array(array: Array) -> Value {
        Value(Node::Array(Arc::new(array)))
    }

    pub(crate) fn from_object(object: Object) -> Value {
        Value(Node::Object(Arc::new(object)))
    }

    pub(crate) fn from_text(text: Arc<str>) -> Value {
        let size = u32::try_from(json::text_size(&text)).unwrap_or(UNKNOWN_SIZE);
        Value(Node::String { text, size })
    }

    /// The value a JSON Pointer (RFC 6901) leads to; `None` when it leads nowhere.
    #[must_use]
    pub fn pointer(&self, pointer: &str) -> Option<&Value> {
        let mut parts = Parts::new(pointer);
        let mut value = self;
        while let Some(part) = parts.next() {
            let part = part.ok()?;
            value = match &value.0 {
                Node::Object(object) => object.get(&part.name)?,
                Node::Array(array) => array.children().get(pointer::index(&part.name)?)?,
                _ => return None,
            };
        }
        Some(value)
    }

    /// The member of an object.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        match &self.0 {
            Node::Object(object) => object.get(name),
            _ => None,
        }
    }

    /// The items of an array.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Value]> {
        match &self.0 {
            Node::Array(array) => Some(array.children()),
            _ => None,
        }
    }

    /// The members of an object, sorted by name.
    pub fn as_object(&self) -> Option<impl ExactSizeIterator<Item = (&str, &Value)>> {
        match &self.0 {
            Node::Object(object) => Some(object.children().iter().map(|member| (&*member.name, &member.value))),
            _ => None,
        }
    }

    /// Whether it is `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self.0, Node::Null)
    }

    /// A boolean.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self.0 {
            Node::Bool(value) => Some(value),
            _ => None,
        }
    }

    /// An integer that fits.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        match self.0 {
            Node::Integer(number) => Some(number),
            _ => None,
        }
    }

    /// An integer that fits.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        match self.0 {
            Node::Integer(number) => u64::try_from(number).ok(),
            Node::Unsigned(number) => Some(number),
            _ => None,
        }
    }

    /// A number, rounded to the next `f64` where it is a large integer.
    #[must_use]
    pub fn as_f64(&self) -> Option<f64> {
        match self.0 {
            Node::Integer(number) => Some(number as f64),
            Node::Unsigned(number) => Some(number as f64),
            Node::Float { value, .. } => Some(value),
            _ => None,
        }
    }

    /// A string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match &self.0 {
            Node::String { text, .. } => Some(text),
            _ => None,
        }
    }

    /// Equal as RFC 6902 §4.6 has it, or, when `exact`, also in how its numbers are written. Takes one step of `work`
    /// for each value looked at; `None` when that is not enough. What both sides share is not looked into.
    #[expect(clippy::float_cmp, reason = "JSON numbers are equal when they are the same number")]
    pub(crate) fn compare(&self, other: &Value, exact: bool, work: &mut u64) -> Option<bool> {
        *work = work.checked_sub(1)?;
        Some(match (&self.0, &other.0) {
            (Node::Null, Node::Null) => true,
            (Node::Bool(a), Node::Bool(b)) => a == b,
            (Node::Integer(a), Node::Integer(b)) => a == b,
            (Node::Unsigned(a), Node::Unsigned(b)) => a == b,
            (Node::Float { value: a, .. }, Node::Float { value: b, .. }) => {
                if exact {
                    a.to_bits() == b.to_bits()
                } else {
                    a == b
                }
            }
            (Node::Integer(a), Node::Float { value: b, .. }) | (Node::Float { value: b, .. }, Node::Integer(a)) => {
                !exact && float_is(*b, i128::from(*a))
            }
            (Node::Unsigned(a), Node::Float { value: b, .. }) | (Node::Float { value: b, .. }, Node::Unsigned(a)) => {
                !exact && float_is(*b, i128::from(*a))
            }
            (Node::String { text: a, .. }, Node::String { text: b, .. }) => {
                *work = work.checked_sub(a.len() as u64 / 64)?;
                Arc::ptr_eq(a, b) || a == b
            }
            (Node::Array(a), Node::Array(b)) => {
                if Arc::ptr_eq(a, b) {
                    return Some(true);
                }
                if a.children().len() != b.children().len() || (exact && a.json_size() != b.json_size()) {
                    return Some(false);
                }
                for (a, b) in a.children().iter().zip(b.children()) {
                    if !a.compare(b, exact, work)? {
                        return Some(false);
                    }
                }
                true
            }
            (Node::Object(a), Node::Object(b)) => {
                if Arc::ptr_eq(a, b) {
                    return Some(true);
                }
                if a.children().len() != b.children().len() || (exact && a.json_size() != b.json_size()) {
                    return Some(false);
                }
                for (a, b) in a.children().iter().zip(b.children()) {
                    if a.name != b.name || !a.value.compare(&b.value, exact, work)? {
                        return Some(false);
                    }
                }
                true
            }
            _ => false,
        })
    }
}

/// Whether a float is exactly this integer.
fn float_is(float: f64, integer: i128) -> bool {
    // Converting saturates, and 64 bits of integer are far from the ends of 128.
    float.fract() == 0.0 && float as i128 == integer
}

impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        // The work is bounded by the length of the shorter one's JSON text.
        self.compare(other, false, &mut (u64::MAX >> 1)).unwrap_or(false)
    }
}

/// The JSON text.
impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&String::from_utf8_lossy(&self.to_json()))
    }
}

/// The JSON text.
impl fmt::Debug for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value(Node::Bool(value))
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Value {
        Value(Node::Integer(number))
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Value {
        Value::from(i64::from(number))
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Value {
        Value::from(i64::from(number))
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Value {
        Value(i64::try_from(number).map_or(Node::Unsigned(number), Node::Integer))
    }
}

/// `null` for what JSON cannot write: infinities and NaN.
impl From<f64> for Value {
    fn from(value: f64) -> Value {
        if value.is_finite() { Value(Node::Float { value, size: json::float_size(value) }) } else { Value::null() }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::from_text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::from_text(text.into())
    }
}

impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Value {
        Value::from_array(Array::new(items))
    }
}

impl FromIterator<Value> for Value {
    fn from_iter<I: IntoIterator<Item = Value>>(items: I) -> Value {
        Value::from(items.into_iter().collect::<Vec<_>>())
    }
}

impl From<serde_json::Value> for Value {
    fn from(value: serde_json::Value) -> Value {
        Value::from_serde(&value)
    }
}
