//! An account: what is kept of a user, the password's hash, and whose an e-mail address is. What an address, a name and a
//! password may be.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use syncbridge_codec::wire::{Reader, Value as _, WireError};
use syncbridge_storage::{Table, Write};

use crate::defaults;

/// What a row of [`Table::Credential`] is, by its key's first byte.
const EMAIL_ROW: u8 = b'e';
const PASSWORD_ROW: u8 = b'p';

/// A user, as others are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The id.
    pub id: Arc<str>,
    /// The address, normalised; users whose tokens were made by hand have none.
    pub email: Option<Arc<str>>,
    /// What they are called.
    pub name: Arc<str>,
    /// When they registered, milliseconds since 1970.
    pub created_ms: u64,
}

impl User {
    /// A user without an account: of a token made by hand, or of development.
    pub fn without_account(id: &Arc<str>) -> Self {
        Self { id: Arc::clone(id), email: None, name: Arc::clone(id), created_ms: 0 }
    }

    /// The writes that make the account. Its commit ends as `Exists` when the address is taken.
    pub fn register(&self, email: &Email, hash: &str) -> [Write; 3] {
        let mut value = BytesMut::new();
        ByteString::from(&*email.0).write(&mut value);
        ByteString::from(&*self.name).write(&mut value);
        self.created_ms.write(&mut value);
        let user = Write::Put {
            table: Table::User,
            key: Self::key(&self.id),
            value: value.freeze(),
            expires_at_ms: None,
            if_absent: false,
        };
        [credential(email.key(), &self.id, true), user, Self::password(&self.id, hash)]
    }

    /// Keeps the password's hash.
    pub fn password(user: &str, hash: &str) -> Write {
        credential(Self::password_key(user), hash, false)
    }

    /// The key of the hash's row.
    pub fn password_key(user: &str) -> Bytes {
        [&[PASSWORD_ROW], user.as_bytes()].concat().into()
    }

    /// The key of the user's row.
    pub fn key(user: &str) -> Bytes {
        Bytes::copy_from_slice(user.as_bytes())
    }

    /// Reads a user's row.
    ///
    /// # Errors
    /// [`WireError`] when it is none.
    pub fn decode(id: &Arc<str>, value: Bytes) -> Result<Self, WireError> {
        let from = &mut Reader::new(value);
        let (email, name) = (ByteString::read(from)?, ByteString::read(from)?);
        let created_ms = u64::read(from)?;
        Ok(Self { id: Arc::clone(id), email: Some((&*email).into()), name: (&*name).into(), created_ms })
    }
}

/// Reads a row of [`Table::Credential`]: the user of an address, or the hash of a password.
///
/// # Errors
/// [`WireError`] when it is none.
pub fn decode_credential(value: Bytes) -> Result<Arc<str>, WireError> {
    ByteString::read(&mut Reader::new(value)).map(|text| Arc::from(&*text))
}

fn credential(key: Bytes, text: &str, if_absent: bool) -> Write {
    let mut value = BytesMut::new();
    ByteString::from(text).write(&mut value);
    Write::Put { table: Table::Credential, key, value: value.freeze(), expires_at_ms: None, if_absent }
}

/// An address in the form in which it is compared: without space around it, in lower case. (RFC 5321 §2.4 lets case matter
/// before the `@`; nobody who types an address on a phone does.)
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Email(Arc<str>);

impl Email {
    /// Reads an address: up to 254 bytes (RFC 5321 §4.5.3.1.3), one `@` with something on both sides, no space and no
    /// control characters. Whether it can be delivered to is not looked at.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (local, domain) = text.split_once('@')?;
        let plain = |part: &str| !part.is_empty() && !part.contains(|c: char| c.is_control() || c.is_whitespace());
        if text.len() > defaults::MAX_EMAIL || !plain(local) || !plain(domain) || domain.contains('@') {
            return None;
        }
        let lower = text.to_lowercase();
        (lower.len() <= defaults::MAX_EMAIL).then(|| Self(lower.into()))
    }

    /// The text.
    pub const fn text(&self) -> &Arc<str> {
        &self.0
    }

    /// What stands before the `@`: what somebody is called who gave no name.
    pub fn local(&self) -> &str {
        self.0.split('@').next().unwrap_or_default()
    }

    /// The key of its row.
    pub fn key(&self) -> Bytes {
        [&[EMAIL_ROW], self.0.as_bytes()].concat().into()
    }
}

/// Whether somebody may be called this: up to 256 bytes, not only space, no control characters.
pub fn is_name(name: &str) -> bool {
    name.len() <= defaults::MAX_NAME && !name.trim().is_empty() && !name.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_in_many_spellings_is_one_address() {
        for text in ["Ann@Example.COM", " ann@example.com ", "ANN@EXAMPLE.COM\n"] {
            assert_eq!(Email::parse(text).map(|email| email.text().to_string()).as_deref(), Some("ann@example.com"));
        }
    }

    #[test]
    fn what_can_be_no_address_is_refused() {
        let long = format!("{}@example.com", "a".repeat(243));
        let grows = format!("{}@x", "İ".repeat(120));
        for text in ["", "@", "ann", "ann@", "@example.com", "a@b@c", "a b@c", "a\u{0}@c", "a@c\u{7f}d", &long, &grows]
        {
            assert_eq!(Email::parse(text), None, "{text:?}");
        }
        assert!(Email::parse(&long[1..]).is_some());
        assert!(Email::parse("ünï@exämple.com").is_some());
    }

    #[test]
    fn what_is_stored_comes_back() {
        let email = Email::parse("ann@example.com").unwrap();
        let user = User { id: "7".into(), email: Some(email.text().clone()), name: "Ann".into(), created_ms: 9 };
        let [address, row, password] = user.register(&email, "$argon2id$x");
        let value = |write| match write {
            Write::Put { value, .. } => value,
            other => panic!("{other:?}"),
        };
        assert_eq!(decode_credential(value(address)).as_deref(), Ok("7"));
        assert_eq!(User::decode(&user.id, value(row)), Ok(user));
        assert_eq!(decode_credential(value(password)).as_deref(), Ok("$argon2id$x"));
    }
}
