//! JSON text (RFC 8259), looked at and never turned into a tree: where a value ends, and whether it is one. Strict: no
//! comments, no trailing commas, no bare control characters; an object of ours names each key once. Linear in the text,
//! and nothing is kept but where things lie.

use std::borrow::Cow;

use super::Error;

/// Deepest nesting that is followed. A document may be as deep as `limits.json_depth` lets it (at most 127); a patch puts
/// three levels around it and the message two more.
pub const MAX_DEPTH: usize = 192;
/// Keys of one object of ours. The largest message has a dozen; what a client adds of its own is skipped.
pub const MAX_KEYS: usize = 64;

/// Reads one text from the front.
#[derive(Debug)]
pub struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

/// The keys of an object, each with the text of its value, in their order.
pub type Members<'a> = Vec<(Cow<'a, str>, &'a str)>;

/// The members of the one object that `text` is.
///
/// # Errors
/// [`Error`] when it is not one object, or names a key twice.
pub fn object(text: &str) -> Result<Members<'_>, Error> {
    let mut scanner = Scanner { text, at: 0 };
    scanner.space();
    if scanner.peek() != Some(b'{') {
        return Err(Error::NotAnObject);
    }
    scanner.at += 1;
    let mut members = Members::with_capacity(8);
    scanner.space();
    if scanner.peek() == Some(b'}') {
        scanner.at += 1;
    } else {
        loop {
            scanner.space();
            let key = string(scanner.string()?)?;
            if members.iter().any(|(known, _)| *known == key) {
                return Err(Error::Duplicate(key.into_owned()));
            }
            if members.len() == MAX_KEYS {
                return Err(Error::TooManyKeys);
            }
            scanner.space();
            scanner.expect(b':', "a colon is missing")?;
            members.push((key, scanner.value()?));
            scanner.space();
            match scanner.next() {
                Some(b',') => {}
                Some(b'}') => break,
                _ => return Err(scanner.wrong("a comma or the object's end is missing")),
            }
        }
    }
    scanner.end()?;
    Ok(members)
}

/// The values of the one array that `text` is, at most `max`.
///
/// # Errors
/// [`Error`] when it is not one array, or too long.
pub fn array(text: &str, max: usize) -> Result<Vec<&str>, Error> {
    let mut scanner = Scanner { text, at: 0 };
    scanner.space();
    scanner.expect(b'[', "an array is expected")?;
    let mut items = Vec::new();
    scanner.space();
    if scanner.peek() == Some(b']') {
        scanner.at += 1;
    } else {
        loop {
            if items.len() == max {
                return Err(Error::TooManyKeys);
            }
            items.push(scanner.value()?);
            scanner.space();
            match scanner.next() {
                Some(b',') => {}
                Some(b']') => break,
                _ => return Err(scanner.wrong("a comma or the array's end is missing")),
            }
        }
    }
    scanner.end()?;
    Ok(items)
}

/// Whether `text` is one JSON value, with nothing around it but white space.
pub fn is_value(text: &str) -> bool {
    let mut scanner = Scanner { text, at: 0 };
    scanner.value().is_ok() && scanner.end().is_ok()
}

/// What a string says. `raw` is its text with the quotes, as [`Scanner`] found it.
///
/// # Errors
/// [`Error`] when it is no string, or escapes half a character.
pub fn string(raw: &str) -> Result<Cow<'_, str>, Error> {
    let wrong = |what| Error::Syntax { at: 0, what };
    let inner =
        raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).ok_or_else(|| wrong("a string is expected"))?;
    if !inner.contains('\\') {
        return Ok(Cow::Borrowed(inner));
    }
    let mut said = String::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        said.push_str(&rest[..at]);
        let escape = *rest.as_bytes().get(at + 1).ok_or_else(|| wrong("an escape is cut"))?;
        rest = &rest[at + 2..];
        said.push(match escape {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            _ => {
                let unit = hex(rest).ok_or_else(|| wrong("an escape that JSON does not know"))?;
                rest = &rest[4..];
                let code = match unit {
                    0xd800..0xdc00 => {
                        let low = rest.strip_prefix("\\u").and_then(hex).filter(|low| (0xdc00..0xe000).contains(low));
                        let low = low.ok_or_else(|| wrong("half a surrogate pair"))?;
                        rest = &rest[6..];
                        0x1_0000 + ((unit - 0xd800) << 10) + (low - 0xdc00)
                    }
                    unit => unit,
                };
                char::from_u32(code).ok_or_else(|| wrong("half a surrogate pair"))?
            }
        });
    }
    said.push_str(rest);
    Ok(Cow::Owned(said))
}

fn hex(text: &str) -> Option<u32> {
    let digits = text.get(..4).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    u32::from_str_radix(digits, 16).ok()
}

impl<'a> Scanner<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    const fn wrong(&self, what: &'static str) -> Error {
        Error::Syntax { at: self.at, what }
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), Error> {
        if self.next() == Some(byte) { Ok(()) } else { Err(self.wrong(what)) }
    }

    fn end(&mut self) -> Result<(), Error> {
        self.space();
        if self.at == self.text.len() { Ok(()) } else { Err(self.wrong("something follows the value")) }
    }

    /// The text of the next value, without the white space around it.
    fn value(&mut self) -> Result<&'a str, Error> {
        self.space();
        let start = self.at;
        // One bit a level: whether it is an object.
        let mut levels = [0u64; MAX_DEPTH / 64];
        let mut depth = 0;
        loop {
            self.space();
            let opened = match self.peek() {
                Some(b'"') => {
                    self.string()?;
                    false
                }
                Some(b'-' | b'0'..=b'9') => {
                    self.number()?;
                    false
                }
                Some(b't') => self.word("true")?,
                Some(b'f') => self.word("false")?,
                Some(b'n') => self.word("null")?,
                Some(bracket @ (b'{' | b'[')) => {
                    self.at += 1;
                    self.space();
                    let is_object = bracket == b'{';
                    if self.peek() == Some(if is_object { b'}' } else { b']' }) {
                        self.at += 1;
                        false
                    } else {
                        if depth == MAX_DEPTH {
                            return Err(Error::TooDeep);
                        }
                        let (word, bit) = (depth / 64, 1 << (depth % 64));
                        if is_object {
                            levels[word] |= bit;
                        } else {
                            levels[word] &= !bit;
                        }
                        depth += 1;
                        true
                    }
                }
                _ => return Err(self.wrong("a value is expected")),
            };
            // A value is behind us, or a level was opened: find where the next value begins.
            loop {
                if depth == 0 {
                    return Ok(&self.text[start..self.at]);
                }
                let is_object = levels[(depth - 1) / 64] & (1 << ((depth - 1) % 64)) != 0;
                if !opened {
                    self.space();
                    match self.next() {
                        Some(b',') => {}
                        Some(b'}') if is_object => {
                            depth -= 1;
                            continue;
                        }
                        Some(b']') if !is_object => {
                            depth -= 1;
                            continue;
                        }
                        _ => return Err(self.wrong("a comma or an end is missing")),
                    }
                }
                if is_object {
                    self.space();
                    self.string()?;
                    self.space();
                    self.expect(b':', "a colon is missing")?;
                }
                break;
            }
        }
    }

    /// The text of the next string, quotes and escapes as they are.
    fn string(&mut self) -> Result<&'a str, Error> {
        let start = self.at;
        self.expect(b'"', "a string is expected")?;
        loop {
            match self.next() {
                Some(b'"') => return Ok(&self.text[start..self.at]),
                Some(b'\\') => match self.next() {
                    Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {}
                    Some(b'u') if self.text.get(self.at..).and_then(hex).is_some() => self.at += 4,
                    _ => return Err(self.wrong("an escape that JSON does not know")),
                },
                Some(0..0x20) => return Err(self.wrong("a control character in a string")),
                Some(_) => {}
                None => return Err(self.wrong("a string is cut")),
            }
        }
    }

    fn digits(&mut self) -> Result<(), Error> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at > start { Ok(()) } else { Err(self.wrong("a digit is missing")) }
    }

    fn number(&mut self) -> Result<(), Error> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn word(&mut self, word: &'static str) -> Result<bool, Error> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.wrong("a value is expected"));
        }
        self.at += word.len();
        Ok(false)
    }
}
