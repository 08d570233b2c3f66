//! JSON Pointers (RFC 6901), kept as the text that was sent: a clone is one reference count, and because `~0` and `~1`
//! are the only escapes, two pointers are the same path exactly when their texts are equal.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

/// A JSON Pointer. Made from any text; a text that is no pointer leads nowhere when it is applied.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pointer(pub(crate) Arc<str>);

impl Pointer {
    /// The text, escapes included; empty for the whole document.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// This pointer with one more part, which is escaped.
    #[must_use]
    pub fn child(&self, part: &str) -> Pointer {
        let mut text = String::with_capacity(self.0.len() + part.len() + 1);
        text.push_str(&self.0);
        push_part(&mut text, part);
        Pointer(text.into())
    }

    /// How many parts it has.
    pub(crate) fn depth(&self) -> usize {
        self.0.bytes().filter(|byte| *byte == b'/').count()
    }

    /// Where the parent's text ends.
    pub(crate) fn parent_end(&self) -> usize {
        self.0.rfind('/').unwrap_or(0)
    }

    /// What is wrong with the text, if anything.
    pub(crate) fn fault(&self, most_parts: usize) -> Option<&'static str> {
        if self.0.is_empty() {
            return None;
        }
        if !self.0.starts_with('/') {
            return Some("it must be empty or begin with `/`");
        }
        if self.depth() > most_parts {
            return Some("it has too many parts");
        }
        let mut rest = &*self.0;
        while let Some(at) = rest.find('~') {
            if !matches!(rest.as_bytes().get(at + 1), Some(b'0' | b'1')) {
                return Some("`~` must be followed by `0` or `1`");
            }
            rest = &rest[at + 2..];
        }
        None
    }
}

impl From<&str> for Pointer {
    fn from(text: &str) -> Pointer {
        Pointer(text.into())
    }
}

impl From<String> for Pointer {
    fn from(text: String) -> Pointer {
        Pointer(text.into())
    }
}

/// Cut to a length that fits a log line: a pointer can be as long as the patch.
impl fmt::Display for Pointer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 200;
        let shown = &self.0[..self.0.floor_char_boundary(SHOWN)];
        out.write_str(shown)?;
        if shown.len() < self.0.len() { out.write_str("…") } else { Ok(()) }
    }
}

impl fmt::Debug for Pointer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, out)
    }
}

/// Appends `/part`, escaped.
pub(crate) fn push_part(text: &mut String, part: &str) {
    text.push('/');
    if part.bytes().any(|byte| matches!(byte, b'~' | b'/')) {
        for character in part.chars() {
            match character {
                '~' => text.push_str("~0"),
                '/' => text.push_str("~1"),
                other => text.push(other),
            }
        }
    } else {
        text.push_str(part);
    }
}

/// Whether `ancestor` is `path` or leads to a value that `path` lies in.
pub(crate) fn covers(ancestor: &str, path: &str) -> bool {
    path.as_bytes().strip_prefix(ancestor.as_bytes()).is_some_and(|rest| rest.first().is_none_or(|byte| *byte == b'/'))
}

/// An array index as RFC 6901 writes it: digits, no leading zero.
pub(crate) fn index(part: &str) -> Option<usize> {
    match part.as_bytes() {
        [b'0'] => Some(0),
        [b'1'..=b'9', rest @ ..] if rest.iter().all(u8::is_ascii_digit) => part.parse().ok(),
        _ => None,
    }
}

/// The parts of a pointer, one after the other, with the place where each ends.
#[derive(Clone)]
pub(crate) struct Parts<'p> {
    text: &'p str,
    at: usize,
}

/// One part of a pointer.
pub(crate) struct Part<'p> {
    /// Unescaped.
    pub name: Cow<'p, str>,
    /// Where it ends in the pointer's text.
    pub end: usize,
    /// Whether it is the last.
    pub last: bool,
}

impl<'p> Parts<'p> {
    pub fn new(text: &'p str) -> Parts<'p> {
        Parts { text, at: 0 }
    }

    /// The next part; `None` at the end; an error where the text is no pointer.
    pub fn next(&mut self) -> Option<Result<Part<'p>, ()>> {
        let rest = &self.text[self.at..];
        if rest.is_empty() {
            return None;
        }
        let Some(rest) = rest.strip_prefix('/') else { return Some(Err(())) };
        let raw = &rest[..rest.find('/').unwrap_or(rest.len())];
        self.at += 1 + raw.len();
        let name = if raw.contains('~') {
            match unescape(raw) {
                Some(name) => Cow::Owned(name),
                None => return Some(Err(())),
            }
        } else {
            Cow::Borrowed(raw)
        };
        Some(Ok(Part { name, end: self.at, last: self.at == self.text.len() }))
    }
}

fn unescape(raw: &str) -> Option<String> {
    let mut name = String::with_capacity(raw.len());
    let mut pieces = raw.split('~');
    name.push_str(pieces.next()?);
    for piece in pieces {
        let (character, rest) = match piece.as_bytes().first()? {
            b'0' => ('~', &piece[1..]),
            b'1' => ('/', &piece[1..]),
            _ => return None,
        };
        name.push(character);
        name.push_str(rest);
    }
    Some(name)
}
