//! Offers of other servers, where several share one store. All that is done with an offer is done by the server that has
//! its session, and the store refuses every other: so one use of an offer is all there can be, once each server looks in
//! the store before it trusts what it remembers. With a store of its own a server remembers everything there is.

use std::sync::Arc;

use syncbridge_storage::Table;

use super::{Claim, Handoffs, code::Digest, offer::Offer, offers::Missed, remembered};
use crate::{
    defaults,
    hub::{Fault, off_shard},
};

impl Handoffs {
    /// Takes the offer of a code or token, wherever it was made.
    pub(super) async fn claim_shared(self: &Arc<Self>, digest: &Digest) -> Result<Result<Claim, Missed>, Fault> {
        let claim = || {
            let offer = self.offers.lock().claim(digest, (self.clock)().wall_ms)?;
            Ok(Claim { handoffs: Arc::clone(self), offer })
        };
        let found = match claim() {
            Err(Missed::Unknown) if self.hub.shares_store() => {
                self.learn().await?;
                claim()
            }
            found => found,
        };
        let Ok(claim) = found else { return Ok(found) };
        if self.hub.shares_store() && !self.is_good(&claim.offer).await? {
            self.offers.lock().use_up(claim.offer.id);
            return Ok(Err(Missed::Gone));
        }
        Ok(Ok(claim))
    }

    /// Reads the offers that others made since. Many who ask at a time are served by one look, and there is one at most
    /// every [`defaults::HANDOFF_LEARN`].
    async fn learn(&self) -> Result<(), Fault> {
        let asked = tokio::time::Instant::now();
        let mut learned = self.learned.lock().await;
        if learned.is_some_and(|began| began >= asked) {
            return Ok(());
        }
        if let Some(began) = *learned {
            tokio::time::sleep_until(began + defaults::HANDOFF_LEARN).await;
        }
        let began = tokio::time::Instant::now();
        let (hub, now) = (Arc::clone(&self.hub), (self.clock)());
        let read = off_shard(move || remembered(hub.engine().as_ref(), now.wall_ms)).await?;
        let others = read.map_err(|error| Fault::unreadable(&error))?;
        self.offers.lock().learn(others, now.wall_ms);
        *learned = Some(began);
        Ok(())
    }

    /// Whether the store has it as one that was not used.
    async fn is_good(&self, offer: &Offer) -> Result<bool, Fault> {
        let (hub, key, now) = (Arc::clone(&self.hub), offer.id.to_be_bytes(), (self.clock)());
        let row = off_shard(move || hub.engine().get(Table::Handoff, &key, now.wall_ms)).await?;
        let row = row.map_err(|error| Fault::unreadable(&error))?;
        Ok(row.is_some_and(|row| Offer::decode(&offer.id.to_be_bytes(), row).is_ok_and(|kept| !kept.used)))
    }
}
