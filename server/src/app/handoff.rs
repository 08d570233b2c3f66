//! Handoff, made from the configuration.

use std::sync::Arc;

use super::Error;
use crate::{
    auth::{accounts::Accounts, devices::Devices},
    config::Config,
    handoff::{Handoffs, KEY_FILE, Settings},
    hub::Hub,
    secret,
    session::Now,
};

/// Makes it, with what earlier processes offered.
pub(super) fn make(
    config: &Config,
    hub: &Arc<Hub>,
    accounts: &Arc<Accounts>,
    devices: &Arc<Devices>,
    clock: fn() -> Now,
) -> Result<Arc<Handoffs>, Error> {
    let secret = secret::random(&config.data.join(KEY_FILE)).map_err(Error::Data)?;
    let settings = Settings {
        open: config.open,
        ttl_seconds: config.handoff.ttl_seconds,
        answer_ms: config.handoff.answer_seconds * 1_000,
        failures: if config.limits.enabled && !config.open { config.limits.handoff_failures } else { 0 },
    };
    let (hub, accounts, devices) = (Arc::clone(hub), Arc::clone(accounts), Arc::clone(devices));
    Ok(Arc::new(Handoffs::open(hub, accounts, devices, &secret, settings, clock)?))
}
