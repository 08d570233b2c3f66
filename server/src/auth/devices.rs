//! A user's devices: registered, listed, removed. Removing one ends everything that was given out to it.

use std::sync::Arc;

use bytes::Bytes;
use syncbridge_codec::{Blame, ErrorCode};
use syncbridge_storage::{Table, Write};

use super::{
    Authenticator, Revoked as Revocations,
    device::{self, Device},
    family::Family,
    is_id,
    seen::Sighting,
    store,
    turns::Turns,
};
use crate::{
    defaults,
    hub::{Fault, Hub, Revoked, off_shard},
    session::Now,
};

/// See the file's head.
pub struct Devices {
    hub: Arc<Hub>,
    authenticator: Arc<Authenticator>,
    turns: Arc<Turns>,
    access_ttl: u64,
    most: usize,
    open: bool,
}

/// A device in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// The device.
    pub device: Device,
    /// When it was last seen, milliseconds since 1970.
    pub seen_ms: u64,
}

/// What is said of a device when it is registered; what is `None` stays as it was.
#[derive(Debug, Clone, Default)]
pub struct Said {
    /// What a person calls it.
    pub name: Option<String>,
    /// What it runs on.
    pub platform: Option<String>,
}

impl Devices {
    /// The devices that `hub`'s store keeps; at most `most` a user. Access tokens of logins live `access_ttl` seconds.
    /// `open`: a device that connects and is unknown comes into being.
    pub const fn new(
        hub: Arc<Hub>,
        authenticator: Arc<Authenticator>,
        turns: Arc<Turns>,
        access_ttl: u64,
        most: usize,
        open: bool,
    ) -> Self {
        Self { hub, authenticator, turns, access_ttl, most, open }
    }

    /// A device, if it is registered.
    ///
    /// # Errors
    /// [`Fault`] when the store cannot be read.
    pub async fn get(&self, user: &str, device: &str) -> Result<Option<Device>, Fault> {
        let now_ms = 0; // Devices do not expire.
        let (hub, key) = (Arc::clone(&self.hub), Device::key(user, device));
        off_shard(move || store::get(hub.engine(), Table::Device, key, now_ms, Device::decode)).await?
    }

    /// A device that is named; when it is unknown, a new one and the writes that make it. Who calls it commits them.
    ///
    /// # Errors
    /// [`Fault`]: no device can be called that, the user has too many, or the store cannot be read.
    pub async fn ensure(&self, user: &Arc<str>, device: &str, now: Now) -> Result<(Device, Vec<Write>), Fault> {
        if !is_id(device) {
            return Err(invalid_id());
        }
        if let Some(known) = self.get(user, device).await? {
            return Ok((known, Vec::new()));
        }
        let (hub, prefix, most) = (Arc::clone(&self.hub), Device::prefix(user), self.most);
        let count = off_shard(move || store::count(hub.engine(), Table::Device, &prefix, most, now.wall_ms)).await??;
        if count >= most {
            return Err(Fault::new(ErrorCode::LimitReached, format!("a user has at most {most} devices")));
        }
        let made = Device::new(device, now.wall_ms);
        let writes = vec![made.put(user), device::put_seen(user, device, now.wall_ms)];
        Ok((made, writes))
    }

    /// Registers a device, or says something new of it. Resolves when that is durable.
    ///
    /// # Errors
    /// [`Fault`].
    pub async fn register(&self, user: &Arc<str>, id: &str, said: Said, now: Now) -> Result<Listed, Fault> {
        let text = |what: &str, text: Option<String>, former: &Arc<str>| match text {
            None => Ok(Arc::clone(former)),
            Some(text) if text.len() <= defaults::MAX_NAME && !text.chars().any(char::is_control) => Ok(text.into()),
            Some(_) => {
                let most = defaults::MAX_NAME;
                let why = format!("{what} has more than {most} bytes, or control characters");
                Err(Fault::new(ErrorCode::InvalidField, why))
            }
        };
        let _turn = self.turns.of(user).await;
        let (known, mut writes) = self.ensure(user, id, now).await?;
        let device = Device {
            name: text("name", said.name, &known.name)?,
            platform: text("platform", said.platform, &known.platform)?,
            ..known.clone()
        };
        if device != known {
            writes.push(device.put(user));
        }
        store::commit(&self.hub, writes, now).await?;
        let seen_ms = now.wall_ms;
        Ok(Listed { device, seen_ms })
    }

    /// At most `limit` devices with ids after `after`, by id.
    ///
    /// # Errors
    /// [`Fault`] when the store cannot be read.
    pub async fn list(
        &self,
        user: &Arc<str>,
        after: Option<&str>,
        limit: usize,
        now: Now,
    ) -> Result<Vec<Listed>, Fault> {
        self.settle(self.hub.seen().take(user), now).await?;
        let (hub, prefix, user) = (Arc::clone(&self.hub), Device::prefix(user), Arc::clone(user));
        let after = after.map(|id| Device::key(&user, id));
        off_shard(move || {
            let engine = hub.engine();
            let devices = store::scan(engine, Table::Device, &prefix, after.as_ref(), limit, 0, Device::decode)?;
            devices
                .into_iter()
                .map(|device| {
                    let key = device::seen_key(&user, &device.id);
                    let seen = store::get(engine, Table::Device, key, 0, |_, value: Bytes| device::decode_seen(value))?;
                    // A row that a removed device of the same id left behind says nothing of this one.
                    let seen_ms = seen.unwrap_or(0).max(device.created_ms);
                    Ok(Listed { device, seen_ms })
                })
                .collect()
        })
        .await?
    }

    /// Writes down when devices were last seen. Under `--open` those that are unknown come into being by that.
    ///
    /// # Errors
    /// [`Fault`] when the store failed.
    pub async fn settle(&self, sightings: Vec<Sighting>, now: Now) -> Result<(), Fault> {
        for some in sightings.chunks(defaults::SCAN) {
            let (hub, some) = (Arc::clone(&self.hub), some.to_vec());
            let (known, unknown): (Vec<_>, Vec<_>) = off_shard(move || {
                let known = |user: &str, device: &str| {
                    let key = Device::key(user, device);
                    store::get(hub.engine(), Table::Device, key, 0, Device::decode).map(|device| device.is_some())
                };
                let mut sorted = (Vec::new(), Vec::new());
                for sighting in some {
                    let of = if known(&sighting.0, &sighting.1)? { &mut sorted.0 } else { &mut sorted.1 };
                    of.push(sighting);
                }
                Ok::<_, Fault>(sorted)
            })
            .await??;
            let writes = known.iter().map(|(user, device, at_ms)| device::put_seen(user, device, *at_ms)).collect();
            store::commit(&self.hub, writes, now).await?;
            if !self.open {
                continue;
            }
            for (user, device, _) in unknown {
                let _turn = self.turns.of(&user).await;
                match self.ensure(&user, &device, now).await {
                    Ok((_, writes)) => store::commit(&self.hub, writes, now).await?,
                    // A name that no device can have, or one too many: nothing comes into being.
                    Err(fault) if fault.code.blame() != Blame::Server => {}
                    Err(fault) => return Err(fault),
                }
            }
        }
        Ok(())
    }

    /// Removes a device: its tokens end at once, its logins are over, its connections closed. Resolves when that is
    /// durable and every shard has done so.
    ///
    /// # Errors
    /// [`Fault`]: there is none of this id, or the store failed.
    pub async fn remove(&self, user: &Arc<str>, id: &str, now: Now) -> Result<(), Fault> {
        let _turn = self.turns.of(user).await;
        let Some(device) = self.get(user, id).await? else {
            return Err(Fault::new(ErrorCode::NotFound, format!("you have no device {id:?}")));
        };
        let families = store::families(&self.hub, user, now).await?;
        let revoked = self.authenticator.revoked();
        let mut writes: Vec<Write> = device.remove(user).into();
        writes.push(revoked.fence_device(user, &device.id, now.wall_ms / 1_000));
        for family in families.iter().filter(|family| family.device == device.id) {
            let until = family.remembered(self.access_ttl, now);
            revoked.fence(family.id, until);
            writes.extend([Family::remove(user, family.id), Revocations::put(family.id, until)]);
        }
        store::commit(&self.hub, writes, now).await?;
        self.hub.revoke(Revoked::Device { user: Arc::clone(user), device: device.id }).await;
        Ok(())
    }
}

pub(super) fn invalid_id() -> Fault {
    let most = defaults::MAX_ID;
    Fault::new(ErrorCode::InvalidField, format!("a device's id is 1 to {most} bytes without control characters"))
}
