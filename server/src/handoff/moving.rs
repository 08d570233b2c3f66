//! From a code or token to another active device. See the folder's head for the way.

use std::{net::IpAddr, sync::Arc, time::Duration};

use bytestring::ByteString;
use syncbridge_codec::{ErrorCode, id, message::Position};
use syncbridge_document::Value;

use super::{Claim, Handoffs, gone, offer::Offer};
use crate::{
    auth::{devices::Said, tokens::Tokens},
    connection::Identity,
    hub::{Fault, Question, Session, off_shard},
    session::{DeviceOf, Meta, handoff::Handoff},
};

/// A session that moved.
#[derive(Debug)]
pub struct Moved {
    /// Its id.
    pub session: Arc<str>,
    /// Where it stood in that moment,
    pub at: Position,
    /// and its document.
    pub document: Value,
    /// The device that is active.
    pub device: Arc<str>,
}

/// What a handoff does besides making a device active.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Entrance {
    /// It lets the device in, as a login does.
    SignIn,
    /// Whoever asked is in already.
    Open,
}

impl Entrance {
    /// What the asker is told: an offer dies with the right of its maker, in whose name it lets somebody in.
    fn refusal(self, fault: Fault) -> Fault {
        match (self, fault.code) {
            (Self::SignIn, ErrorCode::NotFound | ErrorCode::Forbidden) => gone(),
            _ => fault,
        }
    }
}

/// One handoff under way.
struct Moving {
    session: Arc<Session>,
    /// Whose device becomes active; the authorization table is asked about them.
    who: Identity,
    handoff: Handoff,
    /// The device that the asker says is active.
    from: Option<Arc<str>>,
    claim: Option<Claim>,
    entrance: Entrance,
}

impl Handoffs {
    /// Completes a handoff: signs `device` in as the user who offered it, and makes it the session's active device.
    ///
    /// # Errors
    /// [`Fault`]: `not_found`, `gone`, `rate_limited`, `handoff_declined`; or the server's own.
    pub async fn complete(
        self: &Arc<Self>,
        presented: &str,
        device: &str,
        address: IpAddr,
    ) -> Result<(Moved, Tokens), Fault> {
        check_device(device)?;
        let claim = self.claim(presented, address, None).await?;
        let session = self.session(&claim).await?;
        let offer = &claim.offer;
        let to = DeviceOf { user: Arc::clone(&offer.user), device: device.into() };
        let moving = Moving {
            session,
            who: Identity {
                user: Arc::clone(&to.user),
                device: Arc::clone(&to.device),
                incarnation: 0,
                session: None,
                family: None,
            },
            handoff: Handoff { id: name(offer.id), to, unasked: None },
            from: None,
            claim: Some(claim),
            entrance: Entrance::SignIn,
        };
        let (moved, tokens) = self.carry_through(moving).await?;
        let tokens = tokens.ok_or_else(|| Fault::new(ErrorCode::Internal, "the device was not signed in"))?;
        Ok((moved, tokens))
    }

    /// Makes `to` the active device of a session of `who`'s, because of a code or token that somebody offered for it.
    ///
    /// # Errors
    /// As [`Handoffs::complete`]; and `invalid_field` when `from` is not the active device.
    pub async fn take(
        self: &Arc<Self>,
        session: &Arc<Session>,
        who: &Identity,
        from: &str,
        to: &str,
        presented: &str,
        address: IpAddr,
    ) -> Result<Moved, Fault> {
        check_device(from)?;
        check_device(to)?;
        let who = who.clone();
        let active = self.hub.active_device(session, &who)?;
        let itself = DeviceOf { user: Arc::clone(&who.user), device: Arc::clone(&who.device) };
        let to = DeviceOf { user: Arc::clone(&who.user), device: to.into() };
        let trial = self.settings.open && presented.starts_with("test-token-");
        let (claim, id, unasked) = if trial {
            (None, crate::hub::random(), active.clone())
        } else {
            let claim = self.claim(presented, address, Some(session)).await?;
            let id = claim.offer.id;
            (Some(claim), id, Some(itself))
        };
        let moving = Moving {
            session: Arc::clone(session),
            who,
            handoff: Handoff { id: name(id), to, unasked },
            from: (!trial).then(|| from.into()),
            claim,
            entrance: Entrance::Open,
        };
        // Before anybody is asked; and again when it moves.
        moving.check_from(active.as_ref())?;
        self.carry_through(moving).await.map(|(moved, _)| moved)
    }

    /// The session that an offer is for.
    async fn session(&self, claim: &Claim) -> Result<Arc<Session>, Fault> {
        let id = &claim.offer.session;
        if let Some(session) = self.hub.find(id) {
            return Ok(session);
        }
        let (hub, id, now) = (Arc::clone(&self.hub), Arc::clone(id), (self.clock)());
        off_shard(move || hub.existing(&id, now)).await??.ok_or_else(gone)
    }

    async fn carry_through(self: &Arc<Self>, mut moving: Moving) -> Result<(Moved, Option<Tokens>), Fault> {
        // Before anybody is asked; and again when it moves.
        self.check_maker(&moving).await?;
        if moving.entrance == Entrance::Open
            && self.devices.get(&moving.who.user, &moving.handoff.to.device).await?.is_none()
        {
            let DeviceOf { user, device } = &moving.handoff.to;
            self.devices.register(user, device, Said::default(), (self.clock)()).await?;
        }
        let deadline_ms = (self.clock)().mono_ms + self.settings.answer_ms;
        loop {
            let consent = self.consent(&mut moving, deadline_ms).await?;
            // Not ended with the request: what is committed is told to the shards and to the table of offers.
            let handoffs = Arc::clone(self);
            let (back, ended) = tokio::spawn(handoffs.make(moving, consent)).await.map_err(|error| {
                tracing::error!(%error, "a handoff came to a bad end");
                Fault::new(ErrorCode::Internal, "the handoff failed")
            })?;
            if let Some(moved) = ended? {
                return Ok(moved);
            }
            moving = back;
        }
    }

    /// Has the active device asked, where the policy wants it. The question lives as long as its answer is of use.
    async fn consent(&self, moving: &mut Moving, deadline_ms: u64) -> Result<Option<Question>, Fault> {
        loop {
            let Moving { session, who, handoff, entrance, .. } = &mut *moving;
            let to_be_asked = self.hub.to_be_asked(session, who, handoff).map_err(|fault| entrance.refusal(fault))?;
            let Some((active, there)) = to_be_asked else { return Ok(None) };
            if !there && self.devices.get(&active.user, &active.device).await?.is_none() {
                // A device that was removed, or never registered and not here: nobody could ever answer for it.
                handoff.unasked = Some(active);
                continue;
            }
            let now = (self.clock)();
            let left_ms = deadline_ms.saturating_sub(now.mono_ms);
            let mut question = self.hub.ask_handoff(session, who, handoff, now.wall_ms + left_ms, now)?;
            let answer = tokio::time::timeout(Duration::from_millis(left_ms), question.answer()).await;
            let declined = |why| Err(Fault::new(ErrorCode::HandoffDeclined, why));
            return match answer.ok().transpose()? {
                Some(true) => Ok(Some(question)),
                Some(false) => {
                    // A device that says no is not asked again for the same code.
                    self.burn(moving).await?;
                    declined("the active device did not let the session go")
                }
                None => declined("the active device said nothing in time"),
            };
        }
    }

    /// Whether the device that offered it is still that device.
    async fn check_maker(&self, moving: &Moving) -> Result<(), Fault> {
        match moving.claim.as_ref().map(|claim| &claim.offer) {
            Some(Offer { user, device: Some((device, born)), .. }) if self.born(user, device).await? != *born => {
                Err(gone())
            }
            _ => Ok(()),
        }
    }

    async fn burn(&self, moving: &mut Moving) -> Result<(), Fault> {
        let Some(claim) = &moving.claim else { return Ok(()) };
        let used = self.offers.lock().use_up(claim.offer.id);
        match used {
            Some(offer) => self.commit(vec![offer.write()], (self.clock)()).await,
            None => Ok(()),
        }
    }

    /// The commit. `None`: the active device has to be asked, for another is active since.
    async fn make(
        self: Arc<Self>,
        moving: Moving,
        consent: Option<Question>,
    ) -> (Moving, Result<Option<(Moved, Option<Tokens>)>, Fault>) {
        let made = self.try_to_make(&moving).await;
        drop(consent);
        (moving, made)
    }

    async fn try_to_make(&self, moving: &Moving) -> Result<Option<(Moved, Option<Tokens>)>, Fault> {
        let Moving { session, who, handoff, claim, entrance, .. } = moving;
        let now = (self.clock)();
        let DeviceOf { user, device } = &handoff.to;
        let (tokens, mut writes) = match entrance {
            Entrance::SignIn => {
                let (tokens, mut writes) = self.accounts.sign_in(user, Some(device), false, now).await?;
                writes.extend(self.devices.ensure(user, device, now).await?.1);
                (Some(tokens), writes)
            }
            Entrance::Open => (None, Vec::new()),
        };
        // The user's turn is taken now: no device of theirs is removed before this is committed.
        self.check_maker(moving).await?;
        let check = |meta: &Meta| {
            moving.check_from(meta.active.as_ref())?;
            if let Some(Claim { offer, .. }) = claim {
                let since = meta.members.get(&offer.user).map_or(0, |member| member.since);
                if meta.born != offer.session_born || since != offer.since {
                    return Err(gone());
                }
                // In the same commit: nobody is told that it was used before it was.
                let used = Offer { used: true, ..offer.clone() };
                writes.push(used.write());
            }
            Ok(writes)
        };
        let moved = self.hub.hand_off(session, who, handoff, now, check).await;
        let Some((at, document)) = moved.map_err(|fault| entrance.refusal(fault))? else { return Ok(None) };
        if let Some(claim) = claim {
            self.offers.lock().use_up(claim.offer.id);
        }
        if let Some(tokens) = &tokens {
            self.accounts.replaced(tokens).await;
        }
        let moved = Moved { session: Arc::clone(&session.id), at, document, device: Arc::clone(device) };
        Ok(Some((moved, tokens)))
    }
}

impl Moving {
    fn check_from(&self, active: Option<&DeviceOf>) -> Result<(), Fault> {
        match (&self.from, active) {
            (Some(from), Some(active)) if active.device != *from => {
                Err(Fault::new(ErrorCode::InvalidField, "`fromDeviceId` is not the session's active device"))
            }
            _ => Ok(()),
        }
    }
}

/// A handoff's id on the wire.
fn name(id: u128) -> ByteString {
    format!("{id:032x}").into()
}

fn check_device(device: &str) -> Result<(), Fault> {
    if id::is_device(device) {
        return Ok(());
    }
    Err(Fault::new(ErrorCode::InvalidField, "a device id is 1 to 128 bytes without control characters"))
}
