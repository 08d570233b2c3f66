//! JSON text as a message: its keys are found, each value is laid out as the native body has it, and the native decoder
//! reads that. So the JSON form can say nothing that the native one cannot.

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::{Bytes, BytesMut};
use bytestring::ByteString;

use super::{
    Error,
    plan::{self, Leaf, Plan, Shape, Step},
    scan::{self, Members},
    table::{Absent, Form},
};
use crate::{
    frame::Frame,
    message::Message,
    wire::{MAX_ITEMS, Value},
};

/// One text message, looked at.
#[derive(Debug)]
pub struct Incoming<'a> {
    members: Members<'a>,
}

impl<'a> Incoming<'a> {
    /// Looks at a text: whether it is one JSON object.
    ///
    /// # Errors
    /// [`Error`] when it is not.
    pub fn scan(text: &'a str) -> Result<Self, Error> {
        scan::object(text).map(|members| Self { members })
    }

    /// The JSON under a key; `null` is nothing.
    pub fn raw(&self, key: &str) -> Option<&'a str> {
        find(&self.members, key).filter(|raw| *raw != "null")
    }

    /// The client's own name for what it says: a string or a number of at most [`MAX_ID`](super::MAX_ID) bytes, as it
    /// stands in the text.
    ///
    /// # Errors
    /// [`Error::Field`] for anything else.
    pub fn id(&self) -> Result<Option<&'a str>, Error> {
        let Some(raw) = self.raw("id") else { return Ok(None) };
        if raw.len() > super::MAX_ID || matches!(raw.as_bytes().first(), Some(b'{' | b'[' | b't' | b'f')) {
            return Err(Error::Field { key: "id", what: "a number or a string of at most 256 bytes" });
        }
        Ok(Some(raw))
    }

    /// Its `type`.
    ///
    /// # Errors
    /// [`Error::NoType`].
    pub fn kind(&self) -> Result<Cow<'a, str>, Error> {
        self.raw("type").and_then(|raw| scan::string(raw).ok()).ok_or(Error::NoType)
    }

    /// The number of a heartbeat, as the client wrote it: whatever number it is, it comes back. `None`: this is no
    /// heartbeat, or it has no number.
    pub fn heartbeat(&self) -> Option<&'a str> {
        let number = self.raw("timestamp").filter(|raw| matches!(raw.as_bytes().first(), Some(b'-' | b'0'..=b'9')));
        number.filter(|raw| raw.len() <= super::MAX_ID && self.raw("type") == Some("\"heartbeat\""))
    }

    /// The message that it is.
    ///
    /// # Errors
    /// [`Error`] when its `type` is not known, or a field is missing or not what it should be.
    pub fn message(&self) -> Result<Message, Error> {
        let kind = self.kind()?;
        let plan = plan::of_kind(&kind).ok_or_else(|| Error::UnknownType(kind.chars().take(64).collect()))?;
        let mut groups = Vec::new();
        for group in &plan.groups {
            if let Some(raw) = self.raw(group) {
                groups.push((*group, scan::object(raw).map_err(|error| inside(group, error))?));
            }
        }
        let keys = Keys { members: &self.members, groups };
        let mut body = BytesMut::new();
        for step in &plan.steps {
            keys.step(plan, step, &mut body)?;
        }
        Message::decode(Frame { kind: plan.number, body: body.freeze() })?.ok_or(Error::NoType)
    }
}

/// A group that is no object, or names a key twice.
fn inside(group: &'static str, error: Error) -> Error {
    if error == Error::NotAnObject { Error::Field { key: group, what: "an object" } } else { error }
}

fn find<'a>(members: &Members<'a>, key: &str) -> Option<&'a str> {
    members.iter().find(|(known, _)| *known == key).map(|(_, raw)| *raw)
}

struct Keys<'a> {
    members: &'a Members<'a>,
    groups: Vec<(&'static str, Members<'a>)>,
}

impl Keys<'_> {
    fn raw(&self, leaf: &Leaf, key: &str) -> Option<&str> {
        match leaf.group {
            None => find(self.members, key),
            Some(group) => find(&self.groups.iter().find(|(known, _)| *known == group)?.1, key),
        }
    }

    fn step(&self, plan: &Plan, step: &Step, out: &mut BytesMut) -> Result<(), Error> {
        match step {
            Step::Leaf(at) => self.leaf(&plan.leaves[*at], out),
            Step::Flat(steps) => steps.iter().try_for_each(|step| self.step(plan, step, out)),
            Step::FlatOption(told, steps) => {
                let told = &plan.leaves[*told];
                let is_there = self.raw(told, told.key).is_some_and(|raw| raw != "null");
                is_there.write(out);
                if is_there { steps.iter().try_for_each(|step| self.step(plan, step, out)) } else { Ok(()) }
            }
        }
    }

    fn leaf(&self, leaf: &Leaf, out: &mut BytesMut) -> Result<(), Error> {
        let found = self.raw(leaf, leaf.key);
        if leaf.entry.form == Form::Json {
            return self.json(leaf, found, out);
        }
        member(leaf, found, out)
    }

    fn json(&self, leaf: &Leaf, found: Option<&str>, out: &mut BytesMut) -> Result<(), Error> {
        let key = leaf.entry.key;
        let bytes = match found {
            Some(json) => Some(Bytes::copy_from_slice(json.as_bytes())),
            None => match self.raw(leaf, &format!("{}{}", leaf.key, super::BASE64)) {
                Some(raw) => Some(base64(key, raw)?),
                None => None,
            },
        };
        match (&leaf.shape, bytes) {
            (Shape::Option(_), bytes) => bytes.write(out),
            (_, Some(bytes)) => bytes.write(out),
            (_, None) if leaf.entry.absent == Absent::Default => Bytes::new().write(out),
            (_, None) => return Err(Error::Field { key, what: "it is missing" }),
        }
        Ok(())
    }
}

/// A field by its value, which may be missing.
fn member(leaf: &Leaf, found: Option<&str>, out: &mut BytesMut) -> Result<(), Error> {
    let key = leaf.entry.key;
    let Some(raw) = found.filter(|raw| *raw != "null") else {
        match (leaf.entry.absent, &leaf.shape) {
            (Absent::One, _) => 1u32.write(out),
            (Absent::True, _) => true.write(out),
            // 0, false, "", [], the first variant and an absent option are one byte, and it is 0.
            (Absent::Default, _) | (Absent::Never, Shape::Option(_)) => 0u8.write(out),
            (Absent::Never, _) => return Err(Error::Field { key, what: "it is missing" }),
        }
        return Ok(());
    };
    if leaf.entry.form == Form::Durable {
        let number = match raw {
            "false" => 0u32,
            "\"notify\"" => 1,
            "true" => 2,
            _ => return Err(Error::Field { key, what: "true, false or \"notify\"" }),
        };
        number.write(out);
        return Ok(());
    }
    value(key, raw, &leaf.shape, out)
}

fn value(key: &'static str, raw: &str, shape: &Shape, out: &mut BytesMut) -> Result<(), Error> {
    let wrong = |what| Error::Field { key, what };
    match shape {
        Shape::Byte => {
            let number = number(raw).and_then(|number| u8::try_from(number).ok());
            number.ok_or(wrong("a whole number up to 255"))?.write(out);
        }
        Shape::Number(most) => {
            let number = number(raw).and_then(|number| u64::try_from(number).ok()).filter(|number| number <= most);
            let what = if *most == u64::MAX { "a whole number of 64 bits" } else { "a whole number of 32 bits" };
            number.ok_or(wrong(what))?.write(out);
        }
        Shape::Wide => number(raw).ok_or(wrong("a string of decimal digits, at most 128 bits"))?.write(out),
        Shape::Bool => match raw {
            "true" => true.write(out),
            "false" => false.write(out),
            _ => return Err(wrong("true or false")),
        },
        Shape::Text => ByteString::from(&*scan::string(raw).map_err(|_| wrong("a string"))?).write(out),
        Shape::Bytes => base64(key, raw)?.write(out),
        Shape::Option(inner) => {
            true.write(out);
            value(key, raw, inner, out)?;
        }
        Shape::List(inner) => {
            let items = scan::array(raw, MAX_ITEMS).map_err(|_| wrong("an array of at most 4,096"))?;
            (items.len() as u64).write(out);
            for item in items {
                value(key, item, inner, out)?;
            }
        }
        Shape::Record(leaves) => {
            let members = scan::object(raw).map_err(|error| inside(key, error))?;
            for leaf in leaves {
                member(leaf, find(&members, leaf.key), out)?;
            }
        }
        Shape::Tag(_, variants) => {
            let said = scan::string(raw).map_err(|_| wrong("a string"))?;
            let known = variants.iter().find(|(variant, _)| *variant == said);
            known.ok_or(wrong("one of the names that it can have"))?.1.write(out);
        }
    }
    Ok(())
}

/// A whole number, as digits or, for those whose numbers have 53 bits, as a string of digits. In its one form: no sign,
/// no fraction, no exponent, no leading zero.
fn number(raw: &str) -> Option<u128> {
    let digits = raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(raw);
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !plain || (digits.len() > 1 && digits.starts_with('0')) {
        return None;
    }
    digits.parse().ok()
}

fn base64(key: &'static str, raw: &str) -> Result<Bytes, Error> {
    let wrong = Error::Field { key, what: "bytes in base64" };
    let text = scan::string(raw).map_err(|_| wrong.clone())?;
    STANDARD.decode(&*text).map(Bytes::from).map_err(|_| wrong)
}
