//! Accounts: who registers, whose password it is, how often that may be tried. What a login is from there on is in
//! `logins.rs`, what a password costs in `auth/passwords.rs`.
//!
//! Between fence, commit and revocation nothing may be given up: whoever asks sees to it that it is done to its end, also
//! when nobody waits for it any more (`rest/frame/whole.rs` does).

mod logins;

use std::{net::IpAddr, sync::Arc};

use syncbridge_codec::ErrorCode;
use syncbridge_storage::{Outcome, Table, Write};

use super::{
    Authenticator, Revoked as Ended,
    devices::{Devices, invalid_id},
    family::{Family, FamilyId},
    is_id,
    limit::{Limiter, counted},
    passwords::Passwords,
    recent::Recent,
    refresh::RefreshKey,
    store,
    tokens::Tokens,
    turns::Turns,
    user::{Email, User, decode_credential, is_name},
};
use crate::{
    defaults,
    hub::{Fault, Hub, off_shard},
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

/// Who wants another password.
pub struct Change<'a> {
    /// The user.
    pub user: &'a Arc<str>,
    /// The login that asks, and stays.
    pub keep: Option<FamilyId>,
    /// The present password.
    pub current: String,
    /// The one to take its place.
    pub new: String,
}

/// What a password is to an address.
enum Checked {
    /// Its own; whether the hash that is kept costs less than one that is made now.
    Right(User, bool),
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
        password_fits(&password)?;
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
        let email = login.email.clone();
        self.counted(&email, peer, now, self.login_unlimited(login, now)).await
    }

    /// Something that costs one of the tries of an account and of an address when the password is wrong.
    async fn counted<T>(
        &self,
        email: &Email,
        peer: IpAddr,
        now: Now,
        tried: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let Limits { by_account, by_address, .. } = &self.limits;
        let address = by_address.take(counted(peer), now).map_err(|ms| limited("failed logins", ms))?;
        let account = by_account.take(email, now).map_err(|ms| {
            by_address.give_back(address);
            limited("failed logins", ms)
        })?;
        let result = tried.await;
        if !result.as_ref().is_err_and(|fault| fault.code == ErrorCode::InvalidCredentials) {
            by_address.give_back(address);
            by_account.give_back(account);
        }
        result
    }

    async fn login_unlimited(&self, login: Login, now: Now) -> Result<Tokens, Fault> {
        let Login { email, password, device, rotate } = login;
        if device.as_deref().is_some_and(|device| !is_id(device)) {
            return Err(invalid_id());
        }
        if password.len() > defaults::MAX_PASSWORD {
            return Err(too_long());
        }
        let changes = self.recent.changes();
        let (user, cheap) = match self.recent.find(&email, &password, now) {
            Some(user) => (user, false),
            None => match self.check(&email, &password, now).await? {
                Checked::Right(user, cheap) => (user, cheap),
                Checked::Nobody if self.settings.open => {
                    if let Some(tokens) =
                        self.make(&email, password.clone(), None, device.as_deref(), rotate, now).await?
                    {
                        return Ok(tokens);
                    }
                    // Somebody registered the address meanwhile; with the same password, if it was the same person.
                    match self.check(&email, &password, now).await? {
                        Checked::Right(user, cheap) => (user, cheap),
                        Checked::Wrong | Checked::Nobody => return Err(unknown()),
                    }
                }
                Checked::Wrong | Checked::Nobody => return Err(unknown()),
            },
        };
        let turn = self.turns.of(&user.id).await;
        if self.recent.changes() != changes {
            // Somebody's password was changed meanwhile; if it was this one, its logins have just been ended.
            let Checked::Right(..) = self.check(&email, &password, now).await? else { return Err(unknown()) };
        }
        let (tokens, mut writes) = self.begin(turn, &user, device.as_deref(), rotate, now).await?;
        if cheap {
            let hash = self.passwords.hash(password).await?;
            writes.push(User::password(&user.id, &hash));
        }
        if let Some(device) = &device {
            self.hub.seen().note_device(&user.id, &device.as_str().into(), now);
        }
        self.settle(tokens, writes, device.as_deref(), now).await?.ok_or_else(unknown)
    }

    /// Gives an account another password, and ends all its logins but the one that asks (`keep`).
    ///
    /// # Errors
    /// [`Fault`]: the user has no account, the present password is another, the new one cannot be, too many failures.
    pub async fn change_password(&self, change: Change<'_>, peer: IpAddr, now: Now) -> Result<(), Fault> {
        let Change { user, keep, current, new } = change;
        let user = self.user(user).await?;
        let Some(email) = user.email.as_deref().and_then(Email::parse) else {
            return Err(Fault::new(ErrorCode::NotFound, "you have no account with a password"));
        };
        password_fits(&new)?;
        let right = async {
            match self.check(&email, &current, now).await? {
                Checked::Right(..) => Ok(()),
                Checked::Wrong | Checked::Nobody => Err(unknown()),
            }
        };
        self.counted(&email, peer, now, right).await?;
        let hash = self.passwords.hash(new).await?;
        let _turn = self.turns.of(&user.id).await;
        let mut writes = vec![User::password(&user.id, &hash)];
        let families = store::families(&self.hub, &user.id, now).await?;
        let over: Vec<_> = families.iter().filter(|family| Some(family.id) != keep).collect();
        for family in &over {
            let until = self.remembered(family, now);
            self.authenticator.revoked().fence(family.id, until);
            writes.extend([Family::remove(&user.id, family.id), Ended::put(family.id, until)]);
        }
        self.recent.forget(&email);
        store::commit(&self.hub, writes, now).await?;
        for family in over {
            self.close(&user.id, family.id).await;
        }
        Ok(())
    }

    /// Whether a password is an account's. Whatever comes of it has cost one run of argon2.
    async fn check(&self, email: &Email, password: &str, now: Now) -> Result<Checked, Fault> {
        let (hub, address) = (Arc::clone(&self.hub), email.clone());
        let changes = self.recent.changes();
        let known = off_shard(move || -> Result<_, Fault> {
            let Some(user) = by_email(&hub, &address)? else { return Ok(None) };
            let key = User::password_key(&user.id);
            let hash = store::get(hub.engine(), Table::Credential, key, 0, |_, value| decode_credential(value))?;
            Ok(Some((user, hash)))
        })
        .await??;
        let (user, hash) = known.map_or((None, None), |(user, hash)| (Some(user), hash));
        // Without a hash a password of nobody's is checked: the answer takes as long.
        let verified = self.passwords.verify(password.to_owned(), hash).await?;
        Ok(match user {
            None => Checked::Nobody,
            Some(_) if !verified.good => Checked::Wrong,
            Some(user) => {
                self.recent.keep(email, password, &user, changes, now);
                Checked::Right(user, verified.cheap)
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
        let changes = self.recent.changes();
        let hash = self.passwords.hash(password.clone()).await?;
        let turn = self.turns.of(&user.id).await;
        let (tokens, writes) = self.begin(turn, &user, device, rotate, now).await?;
        let writes = user.register(email, &hash).into_iter().chain(writes).collect();
        let made = self.settle(tokens, writes, device, now).await?;
        if made.is_some() {
            self.recent.keep(email, &password, &user, changes, now);
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

fn taken() -> Fault {
    Fault::new(ErrorCode::AlreadyExists, "the e-mail address has an account")
}

fn password_fits(password: &str) -> Result<(), Fault> {
    let least = defaults::MIN_PASSWORD;
    match password.len() {
        length if length < least => {
            Err(Fault::new(ErrorCode::InvalidField, format!("a password has at least {least} bytes")))
        }
        length if length > defaults::MAX_PASSWORD => Err(too_long()),
        _ => Ok(()),
    }
}

fn too_long() -> Fault {
    let most = defaults::MAX_PASSWORD;
    Fault::new(ErrorCode::InvalidField, format!("a password has at most {most} bytes"))
}

fn no_randomness(error: impl std::fmt::Display) -> Fault {
    tracing::error!(%error, "the system gives no randomness");
    Fault::new(ErrorCode::Internal, "the system gives no randomness")
}
