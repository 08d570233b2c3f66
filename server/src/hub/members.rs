//! Who may do what with a session changes: in force under its lock, committed, then taken off whatever was granted.

use std::sync::Arc;

use bytes::Bytes;
use syncbridge_codec::{ErrorCode, message::Role};

use super::{Fault, Hub, Revoked, Session};
use crate::{
    auth::access::Operation,
    connection::Identity,
    session::{Meta, Now, amend::Untold, membership},
};

/// Whose role changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// Somebody's, by an owner.
    Other(Arc<str>),
    /// One's own: one leaves.
    Oneself,
}

impl Hub {
    /// Makes somebody a member of a session, changes their role, or (`None`) ends their membership. Resolves when that is
    /// durable and, where it ends one, when nothing of the session goes to them any more.
    ///
    /// # Errors
    /// [`Fault`]: the asker may not, there is no such member, the last owner would go, or there are too many members.
    pub async fn set_member(
        self: &Arc<Self>,
        session: &Arc<Session>,
        who: &Identity,
        whose: Who,
        role: Option<Role>,
        now: Now,
    ) -> Result<(), Fault> {
        let (user, operation) = match whose {
            Who::Other(user) => (user, Operation::SetMember),
            Who::Oneself => (Arc::clone(&who.user), Operation::Leave),
        };
        let most = self.bounds.max_members;
        self.ask_amend(session, who, operation, now, |meta| {
            change(meta, &user, role, most)?;
            let row = membership::changed(&session.id, &user, role);
            Ok((vec![row], vec![Untold::AccessChanged { user: (&*user).into(), role }]))
        })
        .await?;
        if role.is_none() {
            // Their subscriptions ended in order with the events. This comes after that in every shard's inbox, so once
            // it was seen there, so was that.
            self.revoke(Revoked::Member { session: Arc::clone(session), user, last: Bytes::new() }).await;
        }
        Ok(())
    }
}

/// Changes a member's role, if that may be.
fn change(meta: &mut Meta, user: &Arc<str>, role: Option<Role>, most: usize) -> Result<(), Fault> {
    let before = meta.role(user);
    if before.is_none() && role.is_none() {
        return Err(Fault::new(ErrorCode::NotFound, "they are no member of this session"));
    }
    if before == Some(Role::Owner) && role != Some(Role::Owner) && meta.owners() == 1 {
        return Err(Fault::new(ErrorCode::LastOwner, "the last owner stays: make somebody else an owner first"));
    }
    if before.is_none() && meta.members.len() >= most {
        return Err(Fault::new(ErrorCode::LimitReached, format!("a session may have {most} members")));
    }
    meta.set_member(user, role);
    // A device whose user may not write must not keep those from writing who may.
    if matches!(role, None | Some(Role::Viewer)) && meta.active.as_ref().is_some_and(|active| active.user == *user) {
        meta.active = None;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use syncbridge_codec::message::{ConflictPolicy, DevicePolicy};

    use super::*;

    fn meta() -> Meta {
        Meta::owned(&"ann".into(), ConflictPolicy::Merge, DevicePolicy::Exclusive, &"phone".into(), 7)
    }

    fn set(meta: &mut Meta, user: &str, role: Option<Role>) -> Result<(), ErrorCode> {
        change(meta, &user.into(), role, 3).map_err(|fault| fault.code)
    }

    #[test]
    fn the_last_owner_is_neither_demoted_nor_removed_and_every_other_is() {
        let mut meta = meta();
        for role in [None, Some(Role::Editor), Some(Role::Viewer)] {
            assert_eq!(set(&mut meta, "ann", role), Err(ErrorCode::LastOwner));
        }
        assert_eq!(set(&mut meta, "ann", Some(Role::Owner)), Ok(()));
        assert_eq!(set(&mut meta, "bob", Some(Role::Owner)), Ok(()));
        assert_eq!(set(&mut meta, "ann", None), Ok(()));
        assert_eq!(set(&mut meta, "bob", None), Err(ErrorCode::LastOwner));
    }

    #[test]
    fn members_are_limited_and_who_is_one_can_be_changed_all_the_same() {
        let mut meta = meta();
        assert_eq!(set(&mut meta, "bob", Some(Role::Viewer)), Ok(()));
        assert_eq!(set(&mut meta, "eve", Some(Role::Viewer)), Ok(()));
        assert_eq!(set(&mut meta, "joe", Some(Role::Viewer)), Err(ErrorCode::LimitReached));
        assert_eq!(set(&mut meta, "bob", Some(Role::Editor)), Ok(()));
        assert_eq!(set(&mut meta, "joe", None), Err(ErrorCode::NotFound));
    }

    #[test]
    fn who_may_not_write_any_more_has_no_active_device_that_would_fence_the_others() {
        let mut meta = meta();
        set(&mut meta, "bob", Some(Role::Owner)).expect("another owner");
        assert!(meta.fences("bob", "desk"));
        set(&mut meta, "ann", Some(Role::Viewer)).expect("demoted");
        assert!(!meta.fences("bob", "desk"));
    }
}
