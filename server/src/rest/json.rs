//! What JSON a request may contain: valid text (RFC 8259, UTF-8, numbers that can be kept), no member twice in one object
//! (which of the two counts would depend on who reads it), and not too deep. Says what is wrong and where.

use std::{borrow::Cow, cell::Cell, collections::HashSet, fmt};

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use syncbridge_codec::ErrorCode;

use super::Problem;

/// Levels that a body has around a document: the object that it is a member of, or the list of operations.
pub const AROUND: usize = 2;
/// Members of an object that are compared one by one; beyond, they are hashed.
const FEW: usize = 16;

/// Reads a text as a `T`.
///
/// # Errors
/// [`Problem`] `invalid_json` when it is not JSON as this file has it, `invalid_request` when it is not a `T`.
pub fn parse<T: DeserializeOwned>(text: &[u8], depth: usize) -> Result<T, Problem> {
    check(text, depth)?;
    serde_json::from_slice(text).map_err(|error| match error.classify() {
        Category::Data => misfit::<T>(text, &error),
        Category::Io | Category::Syntax | Category::Eof => not_json(&error),
    })
}

/// Whether a text is JSON as this file has it.
///
/// # Errors
/// [`Problem`] `invalid_json`.
pub fn check(text: &[u8], depth: usize) -> Result<(), Problem> {
    if text.iter().all(u8::is_ascii_whitespace) {
        return Err(Problem::new(ErrorCode::InvalidJson, "the body is empty, and should be JSON"));
    }
    // The reader would look at strings only where it must; a document is kept as it was sent.
    if let Err(error) = std::str::from_utf8(text) {
        let what = format!("the body is not UTF-8 after byte {}", error.valid_up_to());
        return Err(Problem::new(ErrorCode::InvalidJson, what));
    }
    let fault = Cell::new(None);
    let mut reader = serde_json::Deserializer::from_slice(text);
    Checked { left: depth, fault: &fault }.deserialize(&mut reader).and_then(|()| reader.end()).map_err(|error| {
        match fault.take() {
            Some(Fault::Depth) => {
                Problem::new(ErrorCode::InvalidJson, format!("the body is nested deeper than {depth} levels"))
            }
            None => not_json(&error),
        }
    })
}

fn not_json(error: &serde_json::Error) -> Problem {
    Problem::new(ErrorCode::InvalidJson, format!("the body is not JSON: {error}"))
}

/// JSON that is not what the route takes: read once more, this time keeping book of where the reader is.
fn misfit<T: DeserializeOwned>(text: &[u8], error: &serde_json::Error) -> Problem {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let place = match serde_path_to_error::deserialize::<_, T>(&mut reader) {
        Err(error) => error.path().to_string(),
        Ok(_) => ".".to_owned(),
    };
    let place = if place == "." { String::new() } else { format!("`{place}`: ") };
    Problem::new(ErrorCode::InvalidRequest, format!("{place}{error}"))
}

enum Fault {
    Depth,
}

/// Reads a value and keeps nothing of it.
#[derive(Clone, Copy)]
struct Checked<'a> {
    left: usize,
    /// Why reading failed, where the reader's own error cannot say it.
    fault: &'a Cell<Option<Fault>>,
}

impl Checked<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        let Some(left) = self.left.checked_sub(1) else {
            self.fault.set(Some(Fault::Depth));
            return Err(E::custom("nested too deep"));
        };
        Ok(Self { left, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Checked<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

macro_rules! nothing_to_see {
    ($($visit:ident: $kind:ty),*) => {
        $(fn $visit<E>(self, _: $kind) -> Result<(), E> {
            Ok(())
        })*
    };
}

impl<'de> Visitor<'de> for Checked<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    nothing_to_see! { visit_bool: bool, visit_i64: i64, visit_u64: u64, visit_f64: f64, visit_str: &str }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let seed = self.deeper()?;
        while items.next_element_seed(seed)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let seed = self.deeper()?;
        let mut names = Names::default();
        while let Some(Name(name)) = members.next_key()? {
            if let Some(twice) = names.twice(name) {
                return Err(A::Error::custom(format_args!("the member {twice:?} is there twice")));
            }
            members.next_value_seed(seed)?;
        }
        Ok(())
    }
}

/// The names of one object so far.
#[derive(Default)]
struct Names<'de> {
    few: Vec<Cow<'de, str>>,
    many: HashSet<Cow<'de, str>>,
}

impl<'de> Names<'de> {
    /// Takes a name in; gives it back when it was there already.
    fn twice(&mut self, name: Cow<'de, str>) -> Option<Cow<'de, str>> {
        if self.few.len() < FEW {
            if self.few.contains(&name) {
                return Some(name);
            }
            self.few.push(name);
            return None;
        }
        if self.few.contains(&name) || self.many.contains(&name) {
            return Some(name);
        }
        self.many.insert(name);
        None
    }
}

/// A member's name, borrowed from the text where it has no escapes.
struct Name<'de>(Cow<'de, str>);

impl<'de> serde::Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Name<'de>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("a member's name")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        reader.deserialize_str(Read)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Body {
        session_id: String,
        policy: Option<Policy>,
    }

    #[derive(Debug, serde::Deserialize)]
    struct Policy {
        conflict: Conflict,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Conflict {
        Merge,
    }

    fn fault(text: &[u8]) -> (ErrorCode, String) {
        let problem = parse::<Body>(text, 8).unwrap_err();
        let json: serde_json::Value = serde_json::from_slice(&problem.to_json()).unwrap();
        (problem.error(), json["detail"].as_str().unwrap().to_owned())
    }

    #[test]
    fn what_is_no_json_is_told_with_its_place() {
        let deep = [b"{\"a\":".repeat(9), b"1".to_vec(), b"}".repeat(9)].concat();
        let many = format!("{{{},\"k3\":1}}", (0..100).map(|n| format!("\"k{n}\":1")).collect::<Vec<_>>().join(","));
        for (text, said) in [
            (&b""[..], "empty"),
            (b" \n", "empty"),
            (b"{", "column 1"),
            (b"{\"a\":1,}", "column 8"),
            (b"{\"a\":1}x", "trailing"),
            (b"{\"a\":1,\"a\":2}", "\"a\" is there twice"),
            (b"{\"a\":1,\"\\u0061\":2}", "\"a\" is there twice"),
            (b"{\"x\":[{\"y\":{\"b\":1,\"b\":1}}]}", "\"b\" is there twice"),
            (many.as_bytes(), "\"k3\" is there twice"),
            (b"{\"a\":1e999}", "out of range"),
            (b"{\"a\":01}", "number"),
            (b"{\"a\":NaN}", "column"),
            (b"{\"a\":\"\xff\"}", "UTF-8 after byte 6"),
            (b"{\"a\":\"\xed\xa0\x80\"}", "UTF-8"),
            (b"{\"a\":\"\\ud800\"}", "column"),
            (b"\xef\xbb\xbf{}", "column 1"),
            (&deep, "deeper than 8"),
        ] {
            let (code, detail) = fault(text);
            assert_eq!(code, ErrorCode::InvalidJson, "{detail}");
            assert!(detail.contains(said), "{detail}");
        }
    }

    #[test]
    fn json_of_another_shape_is_told_with_the_member_it_is_about() {
        for (text, said) in [
            ("[]", "struct Body"),
            ("{}", "missing field `sessionId`"),
            (r#"{"sessionId":1}"#, "`sessionId`: "),
            (r#"{"sessionId":"a","policy":{"conflict":"none"}}"#, "`policy.conflict`: "),
        ] {
            let (code, detail) = fault(text.as_bytes());
            assert_eq!(code, ErrorCode::InvalidRequest, "{detail}");
            assert!(detail.contains(said), "{detail}");
        }
    }

    #[test]
    fn members_that_are_not_known_are_passed_over() {
        let body = br#"{"sessionId":"a","newer":[1,{"than":"us"}],"policy":{"conflict":"merge"}}"#;
        let body = parse::<Body>(body, 8).unwrap();
        assert_eq!(body.session_id, "a");
        assert!(matches!(body.policy.unwrap().conflict, Conflict::Merge));
    }

    #[test]
    fn depth_counts_containers() {
        assert!(check(b"[[1]]", 2).is_ok());
        assert!(check(b"[[[]]]", 2).is_err());
    }
}
