//! Moving a session from one device to another: a code or token that a member gives out, and what it is good for. Whoever
//! presents it signs in as its maker, and the device that is named becomes the session's active one.
//!
//! The way of one completion: claim the offer in memory (nobody else gets it now) → is it still what it was made for →
//! ask the active device, where the policy wants that → one commit: the session's active device, the used offer, the
//! tokens, the device → tell. Whatever goes wrong before the commit gives the claim back; from the commit on it runs to
//! its end though nobody may wait for it any more.
//!
//! Read `code.rs` (what is presented), `offer.rs` and `offers.rs` (what is remembered), `attempts.rs` (what is not heard),
//! `moving.rs` (the way above). Which device may write is `session/`'s rule.

mod attempts;
mod code;
mod moving;
mod offer;
mod offers;
pub mod qr;

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use aws_lc_rs::hmac;
use parking_lot::Mutex;
use syncbridge_codec::ErrorCode;
use syncbridge_storage::{Engine, Outcome, Table, Write};

pub use self::moving::Moved;
use self::{
    attempts::Attempts,
    code::Presented,
    offer::Offer,
    offers::{Missed, Offers},
};
use crate::{
    auth::{accounts::Accounts, devices::Devices},
    connection::Identity,
    defaults,
    hub::{Fault, Hub, Session},
    session::Now,
};

/// The name of the key's file in the data folder.
pub const KEY_FILE: &str = "handoff.key";

/// What is known of all handoffs that are offered or under way.
pub struct Handoffs {
    hub: Arc<Hub>,
    accounts: Arc<Accounts>,
    devices: Arc<Devices>,
    offers: Mutex<Offers>,
    failures: Mutex<Failures>,
    key: hmac::Key,
    settings: Settings,
    clock: fn() -> Now,
}

/// What an operator may set.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// `--open`: a token that begins with `test-token-` is taken every time.
    pub open: bool,
    /// How long a code is good for whose maker does not say.
    pub ttl_seconds: u64,
    /// How long the active device has for an answer.
    pub answer_ms: u64,
    /// Failed attempts a minute, of one address and for one session; `None`: all are heard.
    pub failures: Option<u32>,
}

/// Attempts that failed.
#[derive(Debug)]
struct Failures {
    of_address: Attempts<IpAddr>,
    for_session: Attempts<Arc<str>>,
}

/// What its maker is given, this once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    /// For people.
    pub code: String,
    /// For links.
    pub token: String,
    /// When both expire, in milliseconds since 1970.
    pub expires_ms: u64,
}

/// Why the offers of earlier processes cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The key.
    #[error("the key of handoff codes")]
    Key(#[from] std::io::Error),
    /// The rows.
    #[error(transparent)]
    Storage(#[from] syncbridge_storage::Error),
}

/// An offer that is being taken. Dropping it gives it back.
struct Claim {
    handoffs: Arc<Handoffs>,
    offer: Offer,
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.handoffs.offers.lock().give_back(self.offer.id);
    }
}

impl Handoffs {
    /// Goes on with what earlier processes offered. `secret` is the key of the digests. Blocks.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(
        hub: Arc<Hub>,
        accounts: Arc<Accounts>,
        devices: Arc<Devices>,
        secret: &[u8; 32],
        settings: Settings,
        clock: fn() -> Now,
    ) -> Result<Self, OpenError> {
        let offers = remembered(hub.engine().as_ref(), clock().wall_ms)?;
        let most = settings.failures.unwrap_or(u32::MAX);
        let failures = Failures {
            of_address: Attempts::new(most, defaults::HANDOFF_ATTEMPT_KEYS),
            for_session: Attempts::new(most, defaults::HANDOFF_ATTEMPT_KEYS),
        };
        Ok(Self {
            hub,
            accounts,
            devices,
            offers: Mutex::new(offers),
            failures: Mutex::new(failures),
            key: hmac::Key::new(hmac::HMAC_SHA256, secret),
            settings,
            clock,
        })
    }

    /// Offers a session to another device of `who`'s. Resolves when that is durable.
    ///
    /// # Errors
    /// [`Fault`]: `who` may not, `ttl_seconds` is none that an offer has, or the server has too many.
    pub async fn offer(
        &self,
        session: &Arc<Session>,
        who: &Identity,
        ttl_seconds: Option<u64>,
    ) -> Result<Offered, Fault> {
        let bounds = defaults::HANDOFF_TTL_MIN.as_secs()..=defaults::HANDOFF_TTL_MAX.as_secs();
        if let Some(given) = ttl_seconds
            && !bounds.contains(&given)
        {
            let text = format!("`ttlSeconds` is {} to {}, not {given}", bounds.start(), bounds.end());
            return Err(Fault::new(ErrorCode::InvalidRequest, text));
        }
        let device = match who.device.as_ref() {
            "" => None,
            device => Some((Arc::clone(&who.device), self.born(&who.user, device).await?)),
        };
        let now = (self.clock)();
        let place = self.hub.offer_handoff(session, who, now)?;
        let (offered, id, writes) = {
            let mut offers = self.offers.lock();
            let (code, token) = loop {
                let (code, token) = Presented::draw().map_err(|error| {
                    tracing::error!(%error, "no randomness for a handoff's code");
                    Fault::new(ErrorCode::Internal, "the system gives no randomness")
                })?;
                if !offers.has(&code.digest(&self.key)) {
                    break (code, token);
                }
            };
            let expires_ms = now.wall_ms + ttl_seconds.unwrap_or(self.settings.ttl_seconds) * 1_000;
            let offer = Offer {
                id: crate::hub::random(),
                code: code.digest(&self.key),
                token: token.digest(&self.key),
                session: Arc::clone(&session.id),
                session_born: place.born,
                user: Arc::clone(&who.user),
                since: place.since,
                device,
                expires_ms,
                used: false,
            };
            let (id, write) = (offer.id, offer.write());
            let full = |_| Fault::new(ErrorCode::LimitReached, "too many handoffs are offered at a time");
            let gave_way = offers.add(offer, now.wall_ms).map_err(full)?;
            let writes = gave_way.iter().map(Offer::write).chain([write]).collect();
            (Offered { code: code.to_string(), token: token.to_string(), expires_ms }, id, writes)
        };
        if let Err(fault) = self.commit(writes, now).await {
            self.offers.lock().remove(id);
            return Err(fault);
        }
        Ok(offered)
    }

    /// Takes the offer that somebody presents, unless too many attempts from there failed.
    fn claim(self: &Arc<Self>, presented: &str, address: IpAddr, session: Option<&Session>) -> Result<Claim, Fault> {
        let (now, address) = ((self.clock)(), network(address));
        if self.settings.failures.is_some() {
            let failures = self.failures.lock();
            let by_session = session.map_or(Ok(()), |to| failures.for_session.check(&to.id, now.mono_ms));
            if let Err(ms) = failures.of_address.check(&address, now.mono_ms).and(by_session) {
                let text = "too many attempts to complete a handoff failed";
                let fault = Fault::new(ErrorCode::RateLimited, text);
                return Err(Fault { retry_after_ms: Some(ms), ..fault });
            }
        }
        let found = Presented::parse(presented).ok_or(Missed::Unknown).and_then(|presented| {
            let digest = presented.digest(&self.key);
            let offer = self.offers.lock().claim(&digest, now.wall_ms)?;
            let claim = Claim { handoffs: Arc::clone(self), offer };
            // A token of another session is as good as none.
            let fits = session.is_none_or(|session| session.id == claim.offer.session);
            if fits { Ok(claim) } else { Err(Missed::Unknown) }
        });
        found.map_err(|missed| match missed {
            Missed::Gone => gone(),
            Missed::Unknown => {
                if self.settings.failures.is_some() {
                    let mut failures = self.failures.lock();
                    failures.of_address.failed(address, now.mono_ms);
                    if let Some(session) = session {
                        failures.for_session.failed(Arc::clone(&session.id), now.mono_ms);
                    }
                }
                Fault::new(ErrorCode::NotFound, "there is no handoff of this code or token")
            }
        })
    }

    /// Which device of that id it is; 0 while none is registered.
    async fn born(&self, user: &Arc<str>, device: &str) -> Result<u128, Fault> {
        Ok(self.devices.get(user, device).await?.map_or(0, |device| device.born))
    }

    async fn commit(&self, writes: Vec<Write>, now: Now) -> Result<(), Fault> {
        match self.hub.persist().commit(writes, now).await {
            Some(Outcome::Committed) => Ok(()),
            outcome => {
                tracing::error!(?outcome, "a handoff could not be made durable");
                Err(Fault::new(ErrorCode::StorageFailed, "the handoff could not be made durable"))
            }
        }
    }
}

/// The offers that the store remembers.
fn remembered(engine: &dyn Engine, now_ms: u64) -> Result<Offers, OpenError> {
    let mut offers = Offers::new(defaults::HANDOFF_OFFERS, defaults::HANDOFF_OFFERS_OF_USER);
    let mut after: Option<bytes::Bytes> = None;
    loop {
        let rows = engine.scan(Table::Handoff, &[], after.as_deref(), defaults::HANDOFF_SCAN, now_ms)?;
        let Some((last, _)) = rows.last() else { return Ok(offers) };
        after = Some(last.clone());
        for (key, value) in rows {
            match Offer::decode(&key, value) {
                Ok(offer) => {
                    if offers.add(offer, now_ms).is_err() {
                        tracing::warn!("more handoffs were offered than this server keeps; one is forgotten");
                    }
                }
                Err(error) => tracing::error!(%error, "a stored handoff cannot be read and is forgotten"),
            }
        }
    }
}

/// What an offer is told to be that was used, has expired, or lost what it was made for.
fn gone() -> Fault {
    Fault::new(ErrorCode::Gone, "this handoff was used, has expired, or is being completed right now")
}

/// Whose address it is: of IPv6, where a household has 2^64 of them, the network.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address @ IpAddr::V4(_) => address,
    }
}
