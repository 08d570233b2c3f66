//! Moving a session from one device to another: a code or token that a member gives out, and what it is good for. Whoever
//! presents it signs in as its maker, and the device that is named becomes the session's active one.
//!
//! The way of one completion: claim the offer in memory (nobody else gets it now) → is it still what it was made for →
//! ask the active device, where the policy wants that → one commit: the session's active device, the used offer, the
//! tokens, the device → tell. Whatever goes wrong before the commit gives the claim back; from the commit on it runs to
//! its end though nobody may wait for it any more.
//!
//! Read `code.rs` (what is presented), `offer.rs` and `offers.rs` (what is remembered), `moving.rs` (the way above), `shared.rs` (servers that share a store). Which device may write is `session/`'s rule.

mod code;
mod moving;
mod offer;
mod offers;
pub mod qr;
mod shared;

use std::{net::IpAddr, sync::Arc, time::Duration};

use aws_lc_rs::hmac;
use parking_lot::Mutex;
use syncbridge_codec::ErrorCode;
use syncbridge_storage::{Engine, Outcome, Scanned, Table, Write};

pub use self::moving::Moved;
use self::{
    code::Presented,
    offer::Offer,
    offers::{Missed, Offers},
};
use crate::{
    auth::{
        accounts::Accounts,
        devices::{Devices, Said},
        limit::{Limiter, counted},
    },
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
    /// When the last look at the offers of others began.
    learned: tokio::sync::Mutex<Option<tokio::time::Instant>>,
    of_address: Limiter,
    for_session: Limiter,
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
    /// Failed attempts a minute, of one address and for one session; 0: as many as one likes.
    pub failures: u64,
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
    /// The store cannot be read.
    pub fn open(
        hub: Arc<Hub>,
        accounts: Arc<Accounts>,
        devices: Arc<Devices>,
        secret: &[u8; 32],
        settings: Settings,
        clock: fn() -> Now,
    ) -> Result<Self, syncbridge_storage::Error> {
        let offers = remembered(hub.engine().as_ref(), clock().wall_ms)?;
        let limiter = || Limiter::new(settings.failures, Duration::from_mins(1));
        Ok(Self {
            hub,
            accounts,
            devices,
            offers: Mutex::new(offers),
            learned: tokio::sync::Mutex::default(),
            of_address: limiter(),
            for_session: limiter(),
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
            device => Some((Arc::clone(&who.device), self.maker(&who.user, device).await?)),
        };
        self.hub.caught_up(self.clock).await?;
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
    async fn claim(
        self: &Arc<Self>,
        presented: &str,
        address: IpAddr,
        session: Option<&Session>,
    ) -> Result<Claim, Fault> {
        let now = (self.clock)();
        let heard = |ms| {
            let fault = Fault::new(ErrorCode::RateLimited, "too many attempts to complete a handoff failed");
            Fault { retry_after_ms: Some(ms), ..fault }
        };
        // Each counts as failed until it is known not to be: many at once are not more than the limit.
        let by_address = self.of_address.take(counted(address), now).map_err(heard)?;
        let by_session = session.map(|session| self.for_session.take(&session.id, now)).transpose();
        let by_session = by_session.map_err(|ms| {
            self.of_address.give_back(by_address);
            heard(ms)
        })?;
        let found = match Presented::parse(presented) {
            None => Err(Missed::Unknown),
            Some(presented) => self.claim_shared(&presented.digest(&self.key)).await?,
        };
        // A token of another session is as good as none.
        let fits = |claim: &Claim| session.is_none_or(|session| session.id == claim.offer.session);
        let found = found.and_then(|claim| if fits(&claim) { Ok(claim) } else { Err(Missed::Unknown) });
        if !matches!(found, Err(Missed::Unknown)) {
            // Who has a code that was good once has not guessed it.
            self.of_address.give_back(by_address);
            if let Some(taken) = by_session {
                self.for_session.give_back(taken);
            }
        }
        found.map_err(|missed| match missed {
            Missed::Gone => gone(),
            Missed::Unknown => Fault::new(ErrorCode::NotFound, "there is no handoff of this code or token"),
        })
    }

    /// Which device of that id makes an offer. One that was never registered is from here on: what does not exist cannot
    /// be removed, and the offer has to die with its maker's device.
    async fn maker(&self, user: &Arc<str>, device: &str) -> Result<u128, Fault> {
        if let Some(known) = self.devices.get(user, device).await? {
            return Ok(known.born);
        }
        Ok(self.devices.register(user, device, Said::default(), (self.clock)()).await?.device.born)
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
fn remembered(engine: &dyn Engine, now_ms: u64) -> Result<Offers, syncbridge_storage::Error> {
    let mut offers = Offers::new(defaults::HANDOFF_OFFERS, defaults::HANDOFF_OFFERS_OF_USER);
    engine.scan_readable(Table::Handoff, &[], now_ms, &mut |found| match found {
        Scanned::Row(key, value) => match Offer::decode(&key, value) {
            Ok(offer) => {
                if offers.add(offer, now_ms).is_err() {
                    tracing::warn!("more handoffs were offered than this server keeps; one is forgotten");
                }
            }
            Err(error) => tracing::error!(%error, "a stored handoff cannot be read and is forgotten"),
        },
        // Who was to get one asks for another.
        Scanned::Unreadable { .. } => tracing::error!("stored handoffs are damaged and forgotten"),
    })?;
    Ok(offers)
}

/// What an offer is told to be that was used, has expired, or lost what it was made for.
fn gone() -> Fault {
    Fault::new(ErrorCode::Gone, "this handoff was used, has expired, or is being completed right now")
}
