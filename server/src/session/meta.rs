//! What a session is besides its document: members, policies, the active device. Storage keeps it as opaque bytes.
//! Never decides who may do what: `auth/access.rs` does.

use std::{collections::BTreeMap, sync::Arc};

use bytes::{Bytes, BytesMut};
use bytestring::ByteString;
use syncbridge_codec::{
    message::{ConflictPolicy, DevicePolicy, Role},
    wire::{Reader, Value, WireError},
};

/// A device of a user. Device ids are per user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceOf {
    /// The user.
    pub user: Arc<str>,
    /// The device's id.
    pub device: Arc<str>,
}

/// A session's meta.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// Who made it.
    pub owner: Arc<str>,
    /// What happens to updates that clash.
    pub conflict: ConflictPolicy,
    /// Which devices may write.
    pub devices: DevicePolicy,
    /// The active device. Without one nobody is fenced: there is no device whose work a fence could protect.
    pub active: Option<DeviceOf>,
    /// Open to every user (`--open` makes such sessions; nothing else does).
    pub everyone: bool,
    /// Drawn when it was made: what was given out for a session of this id that was deleted since does not fit.
    pub born: u128,
    /// What each user is to it.
    pub members: BTreeMap<Arc<str>, Member>,
    /// How often somebody was made a member, or another one: where the next [`Member::since`] comes from, so that one who
    /// left and came back is not who they were.
    pub memberships: u64,
}

/// What a user is to a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// What they may.
    pub role: Role,
    /// Grows with each change of any member, and is never used again in the session's life: what was given out to
    /// somebody who left and came back does not fit.
    pub since: u64,
}

impl Meta {
    /// Of a session that `owner` makes on `device`, which then is the active one; empty: a call without a device.
    pub fn owned(
        owner: &Arc<str>,
        conflict: ConflictPolicy,
        devices: DevicePolicy,
        device: &Arc<str>,
        born: u128,
    ) -> Self {
        let (user, device) = (Arc::clone(owner), Arc::clone(device));
        let active = (!device.is_empty()).then_some(DeviceOf { user, device });
        let members = BTreeMap::from([(Arc::clone(owner), Member { role: Role::Owner, since: 1 })]);
        let memberships = 1;
        Self { owner: Arc::clone(owner), conflict, devices, active, everyone: false, born, members, memberships }
    }

    /// Of a session that comes into being under `--open`: every user's.
    pub fn open(owner: &Arc<str>, born: u128) -> Self {
        let (conflict, devices) = (ConflictPolicy::default(), DevicePolicy::default());
        Self { everyone: true, ..Self::owned(owner, conflict, devices, &Arc::from(""), born) }
    }

    /// Makes a user a member, or changes what they may; `None`: they are none any more.
    pub fn set_member(&mut self, user: &Arc<str>, role: Option<Role>) {
        self.memberships += 1;
        let since = self.memberships;
        match role {
            Some(role) => self.members.insert(Arc::clone(user), Member { role, since }),
            None => self.members.remove(user),
        };
    }

    /// What a user is to it.
    pub fn role(&self, user: &str) -> Option<Role> {
        self.members.get(user).map(|member| member.role)
    }

    /// Users who own it.
    pub fn owners(&self) -> usize {
        self.members.values().filter(|member| member.role == Role::Owner).count()
    }

    /// The active device's id.
    pub fn active_device(&self) -> Option<Arc<str>> {
        self.active.as_ref().map(|active| Arc::clone(&active.device))
    }

    /// Whether the device policy keeps this device from writing.
    pub fn fences(&self, user: &str, device: &str) -> bool {
        match (self.devices, &self.active) {
            (DevicePolicy::Many, _) | (_, None) => false,
            (DevicePolicy::Exclusive | DevicePolicy::Ask, Some(active)) => {
                *active.user != *user || *active.device != *device
            }
        }
    }

    /// The stored form. Grows at its end only, like a message.
    pub fn encode(&self) -> Bytes {
        let text = |text: &Arc<str>| ByteString::from(&**text);
        let mut out = BytesMut::new();
        text(&self.owner).write(&mut out);
        self.conflict.write(&mut out);
        self.devices.write(&mut out);
        self.active.as_ref().map(|active| text(&active.user)).write(&mut out);
        self.active.as_ref().map(|active| text(&active.device)).write(&mut out);
        self.everyone.write(&mut out);
        self.born.write(&mut out);
        (self.members.len() as u64).write(&mut out);
        for (user, member) in &self.members {
            text(user).write(&mut out);
            member.role.write(&mut out);
            member.since.write(&mut out);
        }
        self.memberships.write(&mut out);
        out.freeze()
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`WireError`] when it is not one.
    pub fn decode(bytes: Bytes) -> Result<Self, WireError> {
        fn text(from: &mut Reader) -> Result<Arc<str>, WireError> {
            ByteString::read(from).map(|text| Arc::from(&*text))
        }
        fn optional(from: &mut Reader) -> Result<Option<Arc<str>>, WireError> {
            Ok(Option::<ByteString>::read(from)?.map(|text| Arc::from(&*text)))
        }
        let from = &mut Reader::new(bytes);
        let (owner, conflict, devices) = (text(from)?, Value::read(from)?, Value::read(from)?);
        let active = optional(from)?.zip(optional(from)?).map(|(user, device)| DeviceOf { user, device });
        let (everyone, born) = (Value::read(from)?, Value::read(from)?);
        let count: u64 = Value::read(from)?;
        let members = (0..count)
            .map(|_| Ok((text(from)?, Member { role: Value::read(from)?, since: Value::read(from)? })))
            .collect::<Result<BTreeMap<_, Member>, WireError>>()?;
        let memberships = if from.is_empty() {
            // Written before this field was: nobody who is a member now is mistaken for a later one.
            members.values().map(|member| member.since).max().unwrap_or(0)
        } else {
            Value::read(from)?
        };
        Ok(Self { owner, conflict, devices, active, everyone, born, members, memberships })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meta(devices: DevicePolicy, device: &str) -> Meta {
        Meta::owned(&"ann".into(), ConflictPolicy::Merge, devices, &device.into(), 7)
    }

    #[test]
    fn what_is_stored_comes_back() {
        for meta in [meta(DevicePolicy::Ask, "phone"), meta(DevicePolicy::Many, ""), Meta::open(&"bob".into(), 8)] {
            assert_eq!(Meta::decode(meta.encode()), Ok(meta));
        }
    }

    #[test]
    fn a_cut_meta_is_refused_and_one_without_the_newest_field_is_not() {
        let meta = meta(DevicePolicy::Ask, "phone");
        let bytes = meta.encode();
        let former = bytes.len() - 1;
        for cut in 0..former {
            assert!(Meta::decode(bytes.slice(..cut)).is_err(), "cut at {cut}");
        }
        assert_eq!(Meta::decode(bytes.slice(..former)), Ok(meta));
    }

    #[test]
    fn who_leaves_and_comes_back_is_another_member_also_after_a_restart() {
        let (mut meta, bob) = (meta(DevicePolicy::Many, "phone"), Arc::from("bob"));
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..3 {
            meta.set_member(&bob, Some(Role::Editor));
            assert!(seen.insert(meta.members[&bob].since));
            meta.set_member(&bob, None);
            meta = Meta::decode(meta.encode()).expect("what was encoded");
        }
    }

    #[test]
    fn a_device_of_the_same_name_of_another_user_is_another_device() {
        let meta = meta(DevicePolicy::Exclusive, "phone");
        assert!(!meta.fences("ann", "phone"));
        assert!(meta.fences("bob", "phone"));
        assert!(meta.fences("ann", "desk"));
    }

    #[test]
    fn a_session_made_without_a_device_has_no_active_one_and_fences_nobody() {
        let meta = meta(DevicePolicy::Exclusive, "");
        assert_eq!(meta.active_device(), None);
        assert!(!meta.fences("ann", "desk"));
    }
}
