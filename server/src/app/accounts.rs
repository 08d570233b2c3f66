//! Accounts and devices, made from the configuration; and the thread that looks after them.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use super::Error;
use crate::{
    admin::Metrics,
    auth::{
        Authenticator, Keys,
        accounts::{Accounts, Limits, Settings},
        devices::Devices,
        limit::Limiter,
        passwords::{Cost, Passwords},
        recent::Recent,
        refresh::RefreshKey,
        turns::Turns,
    },
    config::Config,
    defaults,
    hub::{Hub, Revoked, off_shard},
    session::Now,
};

const MINUTE: Duration = Duration::from_mins(1);
const HOUR: Duration = Duration::from_hours(1);

/// Makes both.
pub(super) fn make(
    config: &Config,
    hub: &Arc<Hub>,
    authenticator: &Arc<Authenticator>,
    metrics: &Arc<Metrics>,
) -> Result<(Arc<Accounts>, Arc<Devices>), Error> {
    let (auth, limits, open) = (&config.auth, &config.limits, config.open);
    let turns = Arc::new(Turns::default());
    let devices = Arc::new(Devices::new(
        Arc::clone(hub),
        Arc::clone(authenticator),
        Arc::clone(&turns),
        auth.access_ttl_seconds,
        limits.devices_per_user,
        open,
    ));
    let threads = match auth.password_threads {
        0 => std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1)),
        given => given,
    };
    let cost = if open { Cost::SMALLEST } else { Cost::FULL };
    let passwords = Passwords::new(cost, threads, auth.password_queue, Arc::clone(metrics));
    let passwords = super::starting("the password threads", passwords)?;
    let recent = super::starting("a secret", Recent::new(auth.recent_login_seconds * 1_000))?;
    let limiter = |count, period| Limiter::new(if limits.enabled && !open { count } else { 0 }, period);
    let accounts = Arc::new(Accounts::new(
        Arc::clone(hub),
        Arc::clone(authenticator),
        Arc::clone(&devices),
        turns,
        RefreshKey::create_or_load(&config.data).map_err(Error::Data)?,
        passwords,
        recent,
        Limits {
            by_account: limiter(limits.login_failures_per_account, MINUTE),
            by_address: limiter(limits.login_failures_per_address, MINUTE),
            registrations: limiter(limits.registrations_per_address, HOUR),
        },
        Settings { access_ttl: auth.access_ttl_seconds, rotate: auth.rotate_refresh, open },
    ));
    Ok((accounts, devices))
}

/// What other servers revoked is revoked here too.
async fn learn_revoked(hub: &Arc<Hub>, authenticator: &Arc<Authenticator>, now: Now) {
    let (of, known) = (Arc::clone(hub), Arc::clone(authenticator));
    let learned = off_shard(move || known.revoked().learn(&**of.engine(), now.wall_ms)).await;
    let learned = match learned {
        Ok(Ok(learned)) => learned,
        Ok(Err(error)) => return tracing::warn!(%error, "what other servers revoked cannot be read now"),
        Err(fault) => return tracing::warn!(?fault, "what other servers revoked cannot be read now"),
    };
    for family in learned.families {
        hub.revoke(Revoked::Login(family.to_string().into())).await;
    }
    for (user, device) in learned.devices {
        hub.revoke(Revoked::Device { user, device }).await;
    }
}

/// Looks after them until the server goes down: takes exchanged keys, writes down which devices were seen, forgets what
/// was revoked long ago. Nobody waits for any of it.
pub(super) async fn look_after(
    config: &Config,
    hub: &Arc<Hub>,
    authenticator: &Arc<Authenticator>,
    devices: &Devices,
    clock: fn() -> Now,
    mut draining: watch::Receiver<bool>,
) {
    let settle = async || {
        if let Err(fault) = devices.settle(hub.seen().take_all(), clock()).await {
            tracing::warn!(?fault, "when devices were last seen is not written down");
        }
    };
    let mut keys = tokio::time::interval(defaults::KEYS_EVERY);
    let mut seen = tokio::time::interval(defaults::SEEN_EVERY);
    let mut forget = tokio::time::interval(defaults::FORGET_EVERY);
    let mut learn = tokio::time::interval(defaults::LEARN_EVERY);
    loop {
        tokio::select! {
            _ = keys.tick() => match Keys::create_or_load(&config.data, clock().wall_ms / 1_000) {
                Ok(keys) => authenticator.take_keys(keys),
                // The keys that there are go on; who exchanges them is told by their own command.
                Err(error) => tracing::warn!(%error, "the signing keys cannot be read again"),
            },
            _ = seen.tick() => settle().await,
            _ = learn.tick(), if hub.shares_store() => learn_revoked(hub, authenticator, clock()).await,
            _ = forget.tick() => authenticator.revoked().forget(clock().wall_ms / 1_000),
            _ = draining.wait_for(|draining| *draining) => break,
        }
    }
    settle().await;
}
