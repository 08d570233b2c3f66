//! Rows of the store that say which sessions a user has: one for each member, in the same commit as the session's
//! making, each change of its members and its end; and one for who made it, by which the sessions of a user are counted.
//! Being added to a session by somebody else uses up nothing of one's own.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use syncbridge_codec::{
    message::Role,
    wire::{Reader, Value, WireError},
};
use syncbridge_storage::{Table, Write};

use super::Meta;

/// Between the user and the session in the key of a member; ids have no control characters.
const MEMBER: u8 = 0;
/// The same in the key of who made it.
const MADE: u8 = 1;

/// What the row of a member says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership {
    /// What they may.
    pub role: Role,
}

impl Membership {
    /// Reads a row.
    ///
    /// # Errors
    /// [`WireError`] when it is not one.
    pub fn read(row: Bytes) -> Result<Self, WireError> {
        let mut from = Reader::new(row);
        Ok(Self { role: Value::read(&mut from)? })
    }

    fn encode(self) -> Bytes {
        let mut out = BytesMut::new();
        self.role.write(&mut out);
        out.freeze()
    }
}

/// What the keys of a user's memberships begin with.
pub fn of_user(user: &str) -> Vec<u8> {
    [user.as_bytes(), &[MEMBER]].concat()
}

/// What the keys of the sessions begin with that a user made.
pub fn made_by(user: &str) -> Vec<u8> {
    [user.as_bytes(), &[MADE]].concat()
}

/// The session in a key of [`of_user`].
pub fn session_of<'a>(prefix: &[u8], key: &'a [u8]) -> Option<&'a str> {
    std::str::from_utf8(key.strip_prefix(prefix)?).ok()
}

fn row(prefix: &[u8], session: &str, value: Option<Bytes>) -> Write {
    let key = Bytes::from([prefix, session.as_bytes()].concat());
    let table = Table::Membership;
    match value {
        Some(value) => Write::Put { table, key, value, expires_at_ms: None, if_absent: false },
        None => Write::Remove { table, key },
    }
}

/// The rows of a session that is made.
pub fn made(session: &str, meta: &Meta) -> Vec<Write> {
    let mut rows: Vec<_> =
        meta.members.iter().map(|(user, member)| changed(session, user, Some(member.role))).collect();
    rows.push(row(&made_by(&meta.owner), session, Some(Bytes::new())));
    rows
}

/// The row of a member that is added, or may something else now; `None`: is a member no more.
pub fn changed(session: &str, user: &Arc<str>, role: Option<Role>) -> Write {
    row(&of_user(user), session, role.map(|role| Membership { role }.encode()))
}

/// The rows of a session that is deleted.
pub fn deleted(session: &str, meta: &Meta) -> Vec<Write> {
    let mut rows: Vec<_> = meta.members.keys().map(|user| changed(session, user, None)).collect();
    rows.push(row(&made_by(&meta.owner), session, None));
    rows
}

#[cfg(test)]
mod tests {
    use syncbridge_codec::message::{ConflictPolicy, DevicePolicy};

    use super::*;

    #[test]
    fn what_is_written_when_a_session_is_made_is_removed_when_it_is_deleted() {
        let mut meta = Meta::owned(&"ann".into(), ConflictPolicy::Merge, DevicePolicy::Many, &"".into(), 7);
        meta.set_member(&"bob".into(), Some(Role::Viewer));
        let key = |write: &Write| match write {
            Write::Put { key, .. } | Write::Remove { key, .. } => key.clone(),
            other => panic!("{other:?}"),
        };
        let (made, deleted) = (made("s", &meta), deleted("s", &meta));
        assert_eq!(made.len(), 3);
        assert!(made.iter().all(|write| matches!(write, Write::Put { .. })));
        assert!(deleted.iter().all(|write| matches!(write, Write::Remove { .. })));
        assert_eq!(made.iter().map(key).collect::<Vec<_>>(), deleted.iter().map(key).collect::<Vec<_>>());
    }

    #[test]
    fn a_row_gives_back_the_role_and_its_key_the_session() {
        let Write::Put { key, value, .. } = changed("s:1", &"ann".into(), Some(Role::Editor)) else { panic!("set") };
        assert_eq!(Membership::read(value), Ok(Membership { role: Role::Editor }));
        assert_eq!(session_of(&of_user("ann"), &key), Some("s:1"));
        assert_eq!(session_of(&of_user("an"), &key), None, "no user's rows are among another's");
    }
}
