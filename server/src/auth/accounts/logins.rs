//! Logins: how one begins, what its refresh token is good for, how it ends. Takes it that somebody else made sure who it
//! is; the rules of a login are in `auth/family.rs`.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use syncbridge_codec::ErrorCode;
use syncbridge_storage::Write;

use super::{Accounts, no_randomness, user};
use crate::{
    auth::{
        Revoked as Ended,
        devices::invalid_id,
        family::{Family, FamilyId, Worth},
        is_id,
        refresh::{Presented, digest},
        store,
        tokens::{Person, Tokens},
        turns::Turn,
        user::User,
    },
    defaults,
    hub::{Fault, Hub, Revoked, off_shard},
    session::Now,
};

impl Accounts {
    /// Tokens for a user who is known, and the writes to commit with whatever lets them in. The user's other logins wait
    /// until [`Accounts::replaced`] was called with the tokens, or they were dropped.
    ///
    /// # Errors
    /// [`Fault`]: no device can be called that, too many logins were ended lately, or the store cannot be read.
    pub async fn sign_in(
        &self,
        user: &Arc<str>,
        device: Option<&str>,
        rotate: bool,
        now: Now,
    ) -> Result<(Tokens, Vec<Write>), Fault> {
        let turn = self.turns.of(user).await;
        let user = self.user(user).await?;
        self.begin(turn, &user, device, rotate, now).await
    }

    /// The commit with the writes of [`Accounts::sign_in`] is durable: ends the logins whose place the new one took.
    pub async fn replaced(&self, tokens: &Tokens) {
        let user: Arc<str> = tokens.user.user_id.as_str().into();
        for (family, until) in &tokens.ended {
            self.authenticator.revoked().fence(*family, *until);
            self.close(&user, *family).await;
        }
        tokens.turn.lock().take();
    }

    /// New tokens for a refresh token.
    ///
    /// # Errors
    /// [`Fault`]: it is not good any more, or never was.
    pub async fn refresh(&self, token: &str, now: Now) -> Result<Tokens, Fault> {
        let presented = self.refresh_key.read(token).ok_or_else(spent)?;
        let access_ttl = self.settings.access_ttl;
        let (family, user) = self.presented(&presented, now).await?;
        if let Worth::Good { write: false } = family.worth(&presented.digest, self.settings.rotate, access_ttl, now) {
            self.hub.seen().note_device(&presented.user, &family.device, now);
            return self.tokens(&user, &family, token.to_owned(), Vec::new(), now);
        }
        // Something is to be written: once more, now that nobody else does.
        let _turn = self.turns.of(&presented.user).await;
        let (family, user) = self.presented(&presented, now).await?;
        match family.worth(&presented.digest, self.settings.rotate, access_ttl, now) {
            Worth::Good { .. } => {
                let family = family.used(access_ttl, now);
                store::commit(&self.hub, vec![family.put(&presented.user)], now).await?;
                self.tokens(&user, &family, token.to_owned(), Vec::new(), now)
            }
            Worth::Once => {
                self.hub.seen().note_device(&presented.user, &family.device, now);
                let next = self.refresh_key.make(&presented.user, family.id).map_err(no_randomness)?;
                let family = Family { current: digest(&next), rotating: true, ..family.used(access_ttl, now) };
                store::commit(&self.hub, vec![family.put(&presented.user)], now).await?;
                self.tokens(&user, &family, next, Vec::new(), now)
            }
            Worth::Stolen => {
                tracing::warn!(user = %presented.user, family = %family.id, "a refresh token was used again: the login is over");
                self.end(&presented.user, &family, now).await?;
                Err(spent())
            }
        }
    }

    /// Ends the login that a refresh token came of. One that is over stays over.
    ///
    /// # Errors
    /// [`Fault`]: the token was not made here, or the store failed.
    pub async fn logout(&self, token: &str, now: Now) -> Result<(), Fault> {
        let presented = self.refresh_key.read(token).ok_or_else(spent)?;
        let _turn = self.turns.of(&presented.user).await;
        match self.family(&presented, now).await? {
            Some(family) => self.end(&presented.user, &family, now).await,
            None => Ok(()),
        }
    }

    /// A new login of a user whose turn it is.
    pub(super) async fn begin(
        &self,
        turn: Turn,
        user: &User,
        device: Option<&str>,
        rotate: bool,
        now: Now,
    ) -> Result<(Tokens, Vec<Write>), Fault> {
        if device.is_some_and(|device| !is_id(device)) {
            return Err(invalid_id());
        }
        let mut families = store::families(&self.hub, &user.id, now).await?;
        families.sort_by_key(|family| family.created_ms);
        let (mut ended, mut kept): (Vec<_>, Vec<_>) =
            families.into_iter().partition(|family| device.is_some_and(|device| *family.device == *device));
        let many = (kept.len() + 1).saturating_sub(defaults::FAMILIES_PER_USER);
        ended.extend(kept.drain(..many));
        if !ended.is_empty() && !self.authenticator.revoked().has_room() {
            let mut busy = Fault::new(ErrorCode::Busy, "too many logins have been ended lately");
            busy.retry_after_ms = Some(defaults::REVOKED_RETRY_MS);
            return Err(busy);
        }
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(no_randomness)?;
        let id = FamilyId(u128::from_be_bytes(id));
        let refresh = self.refresh_key.make(&user.id, id).map_err(no_randomness)?;
        let family = Family {
            id,
            device: device.unwrap_or("").into(),
            current: digest(&refresh),
            rotating: rotate || self.settings.rotate,
            created_ms: now.wall_ms,
            slid_ms: now.wall_ms,
            access_ttl: self.settings.access_ttl,
        };
        let mut writes = vec![family.put(&user.id)];
        let ended: Vec<_> = ended.iter().map(|former| (former.id, self.remembered(former, now))).collect();
        for (former, until) in &ended {
            writes.extend([Family::remove(&user.id, *former), Ended::put(*former, *until)]);
        }
        let tokens = self.tokens(user, &family, refresh, ended, now)?;
        *tokens.turn.lock() = Some(turn);
        Ok((tokens, writes))
    }

    fn tokens(
        &self,
        user: &User,
        family: &Family,
        refresh: String,
        ended: Vec<(FamilyId, u64)>,
        now: Now,
    ) -> Result<Tokens, Fault> {
        let device = Some(&*family.device).filter(|device| !device.is_empty());
        let ttl = Duration::from_secs(self.settings.access_ttl);
        let access = self
            .authenticator
            .key()
            .issue(&user.id, device, Some(&family.id.to_string()), ttl, now.wall_ms / 1_000)
            .map_err(|error| {
                tracing::error!(%error, "an access token cannot be made");
                Fault::new(ErrorCode::Internal, "an access token cannot be made")
            })?;
        Ok(Tokens {
            access,
            refresh,
            token_type: "Bearer",
            expires_in: self.settings.access_ttl,
            user: Person::from(user),
            device: device.map(str::to_owned),
            family: family.id,
            ended,
            turn: Mutex::new(None),
        })
    }

    /// The login that a refresh token came of, and its user.
    async fn presented(&self, presented: &Presented, now: Now) -> Result<(Family, User), Fault> {
        let (hub, wanted) = (Arc::clone(&self.hub), presented.clone());
        let found = off_shard(move || match family(&hub, &wanted, now)? {
            Some(family) => Ok::<_, Fault>(Some((family, user(&hub, &wanted.user)?))),
            None => Ok(None),
        })
        .await??;
        let over = |family: &Family| self.authenticator.revoked().is_over(family.id);
        found.filter(|(family, _)| !over(family)).ok_or_else(spent)
    }

    async fn family(&self, presented: &Presented, now: Now) -> Result<Option<Family>, Fault> {
        let (hub, presented) = (Arc::clone(&self.hub), presented.clone());
        off_shard(move || family(&hub, &presented, now)).await?
    }

    /// Until when it has to be remembered that a login is over, Unix seconds: as long as its access tokens can live.
    pub(super) const fn remembered(&self, family: &Family, now: Now) -> u64 {
        family.remembered(self.settings.access_ttl, now)
    }

    /// Fence, commit, close.
    async fn end(&self, user: &Arc<str>, family: &Family, now: Now) -> Result<(), Fault> {
        let until = self.remembered(family, now);
        self.authenticator.revoked().fence(family.id, until);
        let writes = [Family::remove(user, family.id), Ended::put(family.id, until)];
        store::commit(&self.hub, writes.into(), now).await?;
        self.close(user, family.id).await;
        Ok(())
    }

    pub(super) async fn close(&self, user: &Arc<str>, family: FamilyId) {
        self.hub.revoke(Revoked::Family { user: Arc::clone(user), family: family.to_string().into() }).await;
    }
}

fn family(hub: &Hub, presented: &Presented, now: Now) -> Result<Option<Family>, Fault> {
    let key = Family::key(&presented.user, presented.family);
    store::login(hub.engine(), &key, now.wall_ms)
}

fn spent() -> Fault {
    Fault::new(ErrorCode::InvalidCredentials, "the refresh token is not good, or not any more")
}
