//! The one place that answers "may X do Y to Z". Whoever may not even know that Z exists is told that it does not.
//! Knows roles and nothing of how they are stored; never performs what it allows.

use syncbridge_codec::ErrorCode;
pub use syncbridge_codec::message::Role;

/// Something that has members: a session's meta.
pub trait Members {
    /// The user's role; `None` for a stranger.
    fn role(&self, user: &str) -> Option<Role>;
}

/// What somebody wants to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Make a session.
    Create,
    /// Read its document once.
    Get,
    /// Be told of its changes.
    Subscribe,
    /// Change its document, or restore a snapshot.
    Update,
    /// Make a snapshot.
    Snapshot,
    /// List and read snapshots.
    ReadSnapshots,
    /// Remove a snapshot.
    DeleteSnapshot,
    /// See which devices are attached.
    ListDevices,
    /// Give out a code or token that moves it to another device.
    OfferHandoff,
    /// Move it to a device of one's own.
    TakeHandoff,
    /// Say whether a handoff may be. (That one does so on the active device is the handoff's rule.)
    AnswerHandoff,
    /// See who may do what.
    ListMembers,
    /// Say who may do what.
    SetMember,
    /// Give up what one may oneself.
    Leave,
    /// Delete it.
    Delete,
}

impl Operation {
    /// Every operation.
    pub const ALL: [Self; 15] = [
        Self::Create,
        Self::Get,
        Self::Subscribe,
        Self::Update,
        Self::Snapshot,
        Self::ReadSnapshots,
        Self::DeleteSnapshot,
        Self::ListDevices,
        Self::OfferHandoff,
        Self::TakeHandoff,
        Self::AnswerHandoff,
        Self::ListMembers,
        Self::SetMember,
        Self::Leave,
        Self::Delete,
    ];

    /// The authorization table: the least role that may do it to a session that exists; `None` when nobody may.
    const fn needs(self) -> Option<Role> {
        match self {
            Self::Create => None,
            Self::Get | Self::Subscribe | Self::ReadSnapshots | Self::ListDevices | Self::ListMembers | Self::Leave => {
                Some(Role::Viewer)
            }
            Self::Update
            | Self::Snapshot
            | Self::DeleteSnapshot
            | Self::OfferHandoff
            | Self::TakeHandoff
            | Self::AnswerHandoff => Some(Role::Editor),
            Self::SetMember | Self::Delete => Some(Role::Owner),
        }
    }
}

/// What it is to be done to.
#[derive(Clone, Copy)]
pub enum Resource<'a> {
    /// A session that exists.
    Session(&'a dyn Members),
    /// The id of a session that does not exist.
    Missing {
        /// Whether the server runs with `--open`, where sessions come into being by being addressed.
        open: bool,
    },
}

/// The answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Do it.
    Allowed,
    /// Make the session first, empty and open to every user; then do it.
    AllowedOnceMade,
    /// They may know that it exists, and not do this.
    Forbidden,
    /// To them it does not exist.
    NotFound,
    /// The id is taken. Ids are global, so this much everybody may know.
    Taken,
}

impl Decision {
    /// What the client is told when it may not.
    pub const fn refusal(self) -> Option<ErrorCode> {
        match self {
            Self::Allowed | Self::AllowedOnceMade => None,
            Self::Forbidden => Some(ErrorCode::Forbidden),
            Self::NotFound => Some(ErrorCode::NotFound),
            Self::Taken => Some(ErrorCode::AlreadyExists),
        }
    }
}

/// May `user` do `operation` to `resource`?
pub fn may(user: &str, operation: Operation, resource: Resource<'_>) -> Decision {
    match (resource, operation.needs()) {
        (Resource::Missing { .. }, None) => Decision::Allowed,
        (Resource::Session(_), None) => Decision::Taken,
        (Resource::Missing { open: true }, Some(_)) => Decision::AllowedOnceMade,
        (Resource::Missing { open: false }, Some(_)) => Decision::NotFound,
        (Resource::Session(members), Some(needed)) => match members.role(user) {
            None => Decision::NotFound,
            Some(role) if (role as u32) < needed as u32 => Decision::Forbidden,
            Some(_) => Decision::Allowed,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Shared;
    impl Members for Shared {
        fn role(&self, user: &str) -> Option<Role> {
            match user {
                "owner" => Some(Role::Owner),
                "editor" => Some(Role::Editor),
                "viewer" => Some(Role::Viewer),
                _ => None,
            }
        }
    }

    const OPERATIONS: [Operation; 4] = [Operation::Create, Operation::Get, Operation::Subscribe, Operation::Update];

    fn decisions(user: &'static str, resource: Resource<'_>) -> [Decision; 4] {
        OPERATIONS.map(|operation| may(user, operation, resource))
    }

    #[test]
    fn each_role_may_what_it_should_and_nothing_more() {
        use Decision::{Allowed, Forbidden, NotFound, Taken};
        let session = Resource::Session(&Shared);
        assert_eq!(decisions("owner", session), [Taken, Allowed, Allowed, Allowed]);
        assert_eq!(decisions("editor", session), [Taken, Allowed, Allowed, Allowed]);
        assert_eq!(decisions("viewer", session), [Taken, Allowed, Allowed, Forbidden]);
        assert_eq!(decisions("stranger", session), [Taken, NotFound, NotFound, NotFound]);
    }

    #[test]
    fn a_stranger_cannot_tell_a_session_that_exists_from_one_that_does_not() {
        let missing = decisions("stranger", Resource::Missing { open: false });
        assert_eq!(missing[0], Decision::Allowed, "anybody who is known may make a session");
        assert_eq!(missing[1..], decisions("stranger", Resource::Session(&Shared))[1..]);
    }

    #[test]
    fn addressing_makes_a_session_under_open_only() {
        use Decision::{Allowed, AllowedOnceMade};
        let expected = [Allowed, AllowedOnceMade, AllowedOnceMade, AllowedOnceMade];
        assert_eq!(decisions("dev", Resource::Missing { open: true }), expected);
    }
}
