//! Accounts: registering, signing in and out, and the tokens that come of it. The rules of a login are in `family.rs`, its
//! price in `passwords.rs`; here they are put together with the store and the shards.
//!
//! What is asked here is done to its end even when nobody waits for it any more, if the caller sees to that
//! (`rest::finish`): between fence, commit and revocation nothing may be given up.

use std::{net::IpAddr, sync::Arc, time::Duration};

use parking_lot::Mutex;
use syncbridge_codec::ErrorCode;
use syncbridge_storage::{Outcome, Table, Write};

use super::{
    Authenticator, Revoked as Ended,
    devices::{Devices, invalid_id},
    family::{Family, FamilyId, Worth},
    is_id,
    limit::{Limiter, counted},
    passwords::Passwords,
    recent::Recent,
    refresh::{Presented, RefreshKey, digest},
    store,
    tokens::{Person, Tokens},
    turns::{Turn, Turns},
    user::{Email, User, decode_credential, is_name},
};
use crate::{
    defaults,
    hub::{Fault, Hub, Revoked, off_shard},
    session::Now,
};

/// What is limited by how often it goes wrong.
#[derive(Debug)]
pub struct Limits {
    /// Failed logins of an account.
    pub by_account: Limiter,
    /// Failed logins from an address.
    pub by_address: Limiter,
    /// Registrations from an address.
    pub registrations: Limiter,
}

/// How accounts are kept.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Seconds that an access token of a login is good for.
    pub access_ttl: u64,
    /// Every use of a refresh token gives a new one, whatever the login asked for.
    pub rotate: bool,
    /// `--open`: a login with an unknown address registers it.
    pub open: bool,
}

/// See the file's head.
pub struct Accounts {
    hub: Arc<Hub>,
    authenticator: Arc<Authenticator>,
    devices: Arc<Devices>,
    turns: Arc<Turns>,
    refresh_key: RefreshKey,
    passwords: Passwords,
    recent: Recent,
    limits: Limits,
    settings: Settings,
}

/// What a login says.
#[derive(Clone)]
pub struct Login {
    /// The address.
    pub email: Email,
    /// The password.
    pub password: String,
    /// The device that signs in.
    pub device: Option<String>,
    /// Each use of the refresh token gives a new one.
    pub rotate: bool,
}

/// What a registration says.
#[derive(Clone)]
pub struct Registration {
    /// The address.
    pub email: Email,
    /// The password.
    pub password: String,
    /// What to call them; the address's beginning without it.
    pub name: Option<String>,
}

/// What a password is to an address.
enum Checked {
    Right(User),
    Wrong,
    Nobody,
}

impl Accounts {
    /// The accounts that `hub`'s store keeps.
    #[expect(clippy::too_many_arguments, reason = "all that it is made of, once")]
    pub fn new(
        hub: Arc<Hub>,
        authenticator: Arc<Authenticator>,
        devices: Arc<Devices>,
        turns: Arc<Turns>,
        refresh_key: RefreshKey,
        passwords: Passwords,
        recent: Recent,
        limits: Limits,
        settings: Settings,
    ) -> Self {
        Self { hub, authenticator, devices, turns, refresh_key, passwords, recent, limits, settings }
    }

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

    /// A user; one without an account has its id only.
    ///
    /// # Errors
    /// [`Fault`] when the store cannot be read.
    pub async fn user(&self, id: &Arc<str>) -> Result<User, Fault> {
        let (hub, id) = (Arc::clone(&self.hub), Arc::clone(id));
        off_shard(move || user(&hub, &id)).await?
    }

    /// The addresses of users, in their order.
    ///
    /// # Errors
    /// [`Fault`] when the store cannot be read.
    pub async fn emails(&self, ids: Vec<Arc<str>>) -> Result<Vec<Option<Arc<str>>>, Fault> {
        let hub = Arc::clone(&self.hub);
        off_shard(move || ids.iter().map(|id| Ok(user(&hub, id)?.email)).collect()).await?
    }

    /// The user whose address this is.
    ///
    /// # Errors
    /// [`Fault`] when the store cannot be read.
    pub async fn by_email(&self, email: &Email) -> Result<Option<User>, Fault> {
        let (hub, email) = (Arc::clone(&self.hub), email.clone());
        off_shard(move || by_email(&hub, &email)).await?
    }

    /// Makes an account and lets its user in; `peer`: from where.
    ///
    /// # Errors
    /// [`Fault`]: the e-mail address is taken, a field cannot be, too many came from there, the server is busy.
    pub async fn register(&self, registration: Registration, peer: IpAddr, now: Now) -> Result<Tokens, Fault> {
        let taken = self.limits.registrations.take(counted(peer), now).map_err(|ms| limited("registrations", ms))?;
        let made = self.register_unlimited(registration, now).await;
        // Who asks whether an address has an account counts, whoever mistyped something does not.
        if made.as_ref().is_err_and(|fault| fault.code != ErrorCode::AlreadyExists) {
            self.limits.registrations.give_back(taken);
        }
        made
    }

    async fn register_unlimited(&self, registration: Registration, now: Now) -> Result<Tokens, Fault> {
        let Registration { email, password, name } = registration;
        if password.len() < defaults::MIN_PASSWORD {
            let least = defaults::MIN_PASSWORD;
            return Err(Fault::new(ErrorCode::InvalidField, format!("a password has at least {least} bytes")));
        }
        if self.by_email(&email).await?.is_some() {
            return Err(taken());
        }
        self.make(&email, password, name, None, false, now).await?.ok_or_else(taken)
    }

    /// Lets somebody in who knows an account's password; `peer`: from where. An e-mail address that nobody has costs the
    /// same time as a wrong password.
    ///
    /// # Errors
    /// [`Fault`]: wrong address or password, too often so for the account or from there, the server is busy.
    pub async fn login(&self, login: Login, peer: IpAddr, now: Now) -> Result<Tokens, Fault> {
        let Limits { by_account, by_address, .. } = &self.limits;
        let address = by_address.take(counted(peer), now).map_err(|ms| limited("failed logins", ms))?;
        let account = by_account.take(&login.email, now).map_err(|ms| {
            by_address.give_back(address);
            limited("failed logins", ms)
        })?;
        let tokens = self.login_unlimited(login, now).await;
        if tokens.as_ref().err().is_none_or(|fault| fault.code != ErrorCode::InvalidCredentials) {
            by_address.give_back(address);
            by_account.give_back(account);
        }
        tokens
    }

    async fn login_unlimited(&self, login: Login, now: Now) -> Result<Tokens, Fault> {
        let Login { email, password, device, rotate } = login;
        if device.as_deref().is_some_and(|device| !is_id(device)) {
            return Err(invalid_id());
        }
        if password.len() > defaults::MAX_PASSWORD {
            return Err(too_long());
        }
        let user = match self.recent.find(&email, &password, now) {
            Some(user) => user,
            None => match self.check(&email, &password, now).await? {
                Checked::Right(user) => user,
                Checked::Nobody if self.settings.open => {
                    if let Some(tokens) =
                        self.make(&email, password.clone(), None, device.as_deref(), rotate, now).await?
                    {
                        return Ok(tokens);
                    }
                    // Somebody registered the address meanwhile; with the same password, if it was the same person.
                    match self.check(&email, &password, now).await? {
                        Checked::Right(user) => user,
                        Checked::Wrong | Checked::Nobody => return Err(unknown()),
                    }
                }
                Checked::Wrong | Checked::Nobody => return Err(unknown()),
            },
        };
        let turn = self.turns.of(&user.id).await;
        let (tokens, writes) = self.begin(turn, &user, device.as_deref(), rotate, now).await?;
        if let Some(device) = &device {
            self.hub.seen().note_device(&user.id, &device.as_str().into(), now);
        }
        self.settle(tokens, writes, device.as_deref(), now).await?.ok_or_else(unknown)
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

    /// Until when it has to be remembered that a login is over, Unix seconds: as long as its access tokens can live.
    const fn remembered(&self, family: &Family, now: Now) -> u64 {
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

    async fn close(&self, user: &Arc<str>, family: FamilyId) {
        self.hub.revoke(Revoked::Family { user: Arc::clone(user), family: family.to_string().into() }).await;
    }

    /// Whether a password is an account's. Whatever comes of it has cost one run of argon2.
    async fn check(&self, email: &Email, password: &str, now: Now) -> Result<Checked, Fault> {
        let (hub, address) = (Arc::clone(&self.hub), email.clone());
        let known = off_shard(move || -> Result<_, Fault> {
            let Some(user) = by_email(&hub, &address)? else { return Ok(None) };
            let key = User::password_key(&user.id);
            let hash = store::get(hub.engine(), Table::Credential, key, 0, |_, value| decode_credential(value))?;
            Ok(Some((user, hash)))
        })
        .await??;
        let (user, hash) = known.map_or((None, None), |(user, hash)| (Some(user), hash));
        // Without a hash a password of nobody's is checked: the answer takes as long.
        let good = self.passwords.verify(password.to_owned(), hash).await?;
        Ok(match user {
            None => Checked::Nobody,
            Some(_) if !good => Checked::Wrong,
            Some(user) => {
                self.recent.keep(email, password, &user, now);
                Checked::Right(user)
            }
        })
    }

    /// Makes an account and lets its user in; `None` when the address is taken.
    async fn make(
        &self,
        email: &Email,
        password: String,
        name: Option<String>,
        device: Option<&str>,
        rotate: bool,
        now: Now,
    ) -> Result<Option<Tokens>, Fault> {
        if password.len() > defaults::MAX_PASSWORD {
            return Err(too_long());
        }
        let name = name.unwrap_or_else(|| email.local().to_owned());
        if !is_name(&name) {
            let most = defaults::MAX_NAME;
            let why = format!("a name has 1 to {most} bytes, not only space, and no control characters");
            return Err(Fault::new(ErrorCode::InvalidField, why));
        }
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(no_randomness)?;
        let user = User {
            id: format!("{:032x}", u128::from_be_bytes(id)).into(),
            email: Some(Arc::clone(email.text())),
            name: name.into(),
            created_ms: now.wall_ms,
        };
        let hash = self.passwords.hash(password.clone()).await?;
        let turn = self.turns.of(&user.id).await;
        let (tokens, writes) = self.begin(turn, &user, device, rotate, now).await?;
        let writes = user.register(email, &hash).into_iter().chain(writes).collect();
        let made = self.settle(tokens, writes, device, now).await?;
        if made.is_some() {
            self.recent.keep(email, &password, &user, now);
        }
        Ok(made)
    }

    /// Commits a login with the device that it names, and ends those whose place it takes. `None` when something that has
    /// to be unique is taken.
    async fn settle(
        &self,
        tokens: Tokens,
        mut writes: Vec<Write>,
        device: Option<&str>,
        now: Now,
    ) -> Result<Option<Tokens>, Fault> {
        if let Some(device) = device {
            let user: Arc<str> = tokens.user.user_id.as_str().into();
            writes.extend(self.devices.ensure(&user, device, now).await?.1);
        }
        if store::commit_or_exists(&self.hub, writes, now).await? != Outcome::Committed {
            return Ok(None);
        }
        self.replaced(&tokens).await;
        Ok(Some(tokens))
    }

    /// A new login of a user whose turn it is.
    async fn begin(
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
}

fn family(hub: &Hub, presented: &Presented, now: Now) -> Result<Option<Family>, Fault> {
    let key = Family::key(&presented.user, presented.family);
    store::get(hub.engine(), Table::Token, key, now.wall_ms, Family::decode)
}

fn user(hub: &Hub, id: &Arc<str>) -> Result<User, Fault> {
    let row = store::get(hub.engine(), Table::User, User::key(id), 0, |_, value| User::decode(id, value))?;
    Ok(row.unwrap_or_else(|| User::without_account(id)))
}

fn by_email(hub: &Hub, email: &Email) -> Result<Option<User>, Fault> {
    let id = store::get(hub.engine(), Table::Credential, email.key(), 0, |_, value| decode_credential(value))?;
    id.map(|id| user(hub, &id)).transpose()
}

fn limited(what: &str, retry_after_ms: u64) -> Fault {
    let mut fault = Fault::new(ErrorCode::RateLimited, format!("too many {what}"));
    fault.retry_after_ms = Some(retry_after_ms);
    fault
}

fn unknown() -> Fault {
    Fault::new(ErrorCode::InvalidCredentials, "the e-mail address or the password is wrong")
}

fn spent() -> Fault {
    Fault::new(ErrorCode::InvalidCredentials, "the refresh token is not good, or not any more")
}

fn taken() -> Fault {
    Fault::new(ErrorCode::AlreadyExists, "the e-mail address has an account")
}

fn too_long() -> Fault {
    let most = defaults::MAX_PASSWORD;
    Fault::new(ErrorCode::InvalidField, format!("a password has at most {most} bytes"))
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn no_randomness(error: impl std::fmt::Display) -> Fault {
    tracing::error!(%error, "the system gives no randomness");
    Fault::new(ErrorCode::Internal, "the system gives no randomness")
}
