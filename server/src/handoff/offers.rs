//! Every offer that is remembered, in memory: which are good, which are being taken, which are gone. The store holds the
//! same, for the next process, and for others (`shared.rs`). The process that has an offer's session has the offer, so who
//! claims it here has it alone. Never reads a clock.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use super::{
    code::Digest,
    offer::{Offer, OfferId},
};

/// See the file's head.
#[derive(Debug)]
pub struct Offers {
    all: HashMap<OfferId, Entry>,
    by_digest: HashMap<Digest, OfferId>,
    /// By the time at which each is forgotten.
    ends: BTreeSet<(u64, OfferId)>,
    /// Those that can be taken, or are being taken, of each user, oldest first.
    of_user: HashMap<Arc<str>, Vec<OfferId>>,
    max: usize,
    max_of_user: usize,
}

#[derive(Debug)]
struct Entry {
    offer: Offer,
    claimed: bool,
}

/// Why nothing can be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missed {
    /// There is no such offer, and was none lately.
    Unknown,
    /// It was used, has expired, or is being taken right now.
    Gone,
}

/// There is no room for another offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Offers {
    /// None; of at most `max` in all, and `max_of_user` of a user that can be taken.
    pub fn new(max: usize, max_of_user: usize) -> Self {
        Self {
            all: HashMap::new(),
            by_digest: HashMap::new(),
            ends: BTreeSet::new(),
            of_user: HashMap::new(),
            max,
            max_of_user,
        }
    }

    /// How many are remembered.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether a code or token is another offer's already.
    pub fn has(&self, digest: &Digest) -> bool {
        self.by_digest.contains_key(digest)
    }

    /// One more. When the user has too many, their oldest that nobody is taking gives way: it is returned, and gone.
    ///
    /// # Errors
    /// [`Full`].
    pub fn add(&mut self, offer: Offer, now_ms: u64) -> Result<Option<Offer>, Full> {
        self.forget_old(now_ms);
        if self.all.len() >= self.max {
            // What is gone already is the least loss: a late comer is told `not_found` and not `gone`.
            let gone = self.ends.iter().find(|(_, id)| self.all.get(id).is_some_and(|entry| entry.offer.used));
            let (at, id) = *gone.ok_or(Full)?;
            self.ends.remove(&(at, id));
            self.drop_entry(id);
        }
        let mut gave_way = None;
        if !offer.used {
            let live = self.of_user.entry(Arc::clone(&offer.user)).or_default();
            if live.len() >= self.max_of_user {
                let oldest = live.iter().copied().find(|id| self.all.get(id).is_some_and(|entry| !entry.claimed));
                gave_way = self.use_up(oldest.ok_or(Full)?);
            }
            self.of_user.entry(Arc::clone(&offer.user)).or_default().push(offer.id);
        }
        self.by_digest.insert(offer.code, offer.id);
        self.by_digest.insert(offer.token, offer.id);
        self.ends.insert((offer.forgotten_ms(), offer.id));
        self.all.insert(offer.id, Entry { offer, claimed: false });
        Ok(gave_way)
    }

    /// Adds what others made, and what others used is used here too. Nothing changes of what is being taken right now.
    pub fn learn(&mut self, others: Self, now_ms: u64) {
        for Entry { offer, .. } in others.all.into_values() {
            match self.all.get(&offer.id) {
                Some(known) if offer.used && !known.claimed => drop(self.use_up(offer.id)),
                Some(_) => {}
                None => {
                    if self.add(offer, now_ms).is_err() {
                        tracing::warn!("more handoffs were offered than this server keeps; one is forgotten");
                    }
                }
            }
        }
    }

    /// Takes an offer: nobody else gets it until [`Offers::give_back`], or ever after [`Offers::use_up`].
    ///
    /// # Errors
    /// [`Missed`].
    pub fn claim(&mut self, digest: &Digest, now_ms: u64) -> Result<Offer, Missed> {
        let entry = self.by_digest.get(digest).and_then(|id| self.all.get_mut(id)).ok_or(Missed::Unknown)?;
        if now_ms > entry.offer.forgotten_ms() {
            return Err(Missed::Unknown);
        }
        if entry.offer.used || entry.claimed || now_ms >= entry.offer.expires_ms {
            return Err(Missed::Gone);
        }
        entry.claimed = true;
        Ok(entry.offer.clone())
    }

    /// Nothing came of a claim: the next may have it.
    pub fn give_back(&mut self, id: OfferId) {
        if let Some(entry) = self.all.get_mut(&id) {
            entry.claimed = false;
        }
    }

    /// It is gone, and remembered as that: the form in which the store is to remember it.
    pub fn use_up(&mut self, id: OfferId) -> Option<Offer> {
        let entry = self.all.get_mut(&id)?;
        entry.offer.used = true;
        entry.claimed = false;
        let offer = entry.offer.clone();
        self.no_longer_live(&offer);
        Some(offer)
    }

    /// It never was: its maker was not told of it.
    pub fn remove(&mut self, id: OfferId) {
        if let Some(entry) = self.all.get(&id) {
            self.ends.remove(&(entry.offer.forgotten_ms(), id));
            self.drop_entry(id);
        }
    }

    fn forget_old(&mut self, now_ms: u64) {
        while let Some((at, id)) = self.ends.first().copied()
            && at < now_ms
        {
            self.ends.remove(&(at, id));
            self.drop_entry(id);
        }
    }

    fn drop_entry(&mut self, id: OfferId) {
        if let Some(Entry { offer, .. }) = self.all.remove(&id) {
            self.by_digest.remove(&offer.code);
            self.by_digest.remove(&offer.token);
            self.no_longer_live(&offer);
        }
    }

    fn no_longer_live(&mut self, offer: &Offer) {
        if let Some(live) = self.of_user.get_mut(&offer.user) {
            live.retain(|id| *id != offer.id);
            if live.is_empty() {
                self.of_user.remove(&offer.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn digest(kind: u8, id: u128) -> Digest {
        let mut digest = [kind; 32];
        digest[..16].copy_from_slice(&id.to_be_bytes());
        digest
    }

    fn offer(id: u128, user: &str) -> Offer {
        Offer {
            id,
            code: digest(1, id),
            token: digest(2, id),
            session: "s".into(),
            session_born: 1,
            user: user.into(),
            since: 1,
            device: None,
            expires_ms: 1_000,
            used: false,
        }
    }

    fn offers() -> Offers {
        Offers::new(100, 3)
    }

    #[test]
    fn a_claim_is_had_by_one_until_it_is_given_back_and_by_nobody_once_it_is_used_up() {
        let mut offers = offers();
        offers.add(offer(1, "ann"), 0).unwrap();
        let (code, token) = (digest(1, 1), digest(2, 1));
        assert_eq!(offers.claim(&code, 10).unwrap().id, 1);
        assert_eq!(offers.claim(&code, 10), Err(Missed::Gone));
        assert_eq!(offers.claim(&token, 10), Err(Missed::Gone), "code and token are one use together");
        offers.give_back(1);
        assert_eq!(offers.claim(&token, 10).unwrap().id, 1);
        assert!(offers.use_up(1).unwrap().used);
        assert_eq!(offers.claim(&code, 10), Err(Missed::Gone));
        assert_eq!(offers.claim(&digest(1, 2), 10), Err(Missed::Unknown));
    }

    #[test]
    fn what_others_offered_and_used_is_learned_and_what_is_being_taken_stays() {
        let (mut here, mut there) = (offers(), offers());
        for id in 1..=2 {
            here.add(offer(id, "ann"), 0).unwrap();
            there.add(offer(id, "ann"), 0).unwrap();
            there.use_up(id);
        }
        there.add(offer(3, "bob"), 0).unwrap();
        here.claim(&digest(1, 1), 10).unwrap();
        here.learn(there, 10);
        assert_eq!(here.claim(&digest(1, 2), 10), Err(Missed::Gone));
        assert_eq!(here.claim(&digest(1, 3), 10).unwrap().id, 3);
        here.give_back(1);
        assert_eq!(here.claim(&digest(1, 1), 10).unwrap().id, 1, "who has it decides");
    }

    #[test]
    fn an_offer_expires_and_is_told_to_be_gone_for_a_while() {
        let mut offers = offers();
        offers.add(offer(1, "ann"), 0).unwrap();
        let forgotten = offer(1, "ann").forgotten_ms();
        assert_eq!(offers.claim(&digest(1, 1), 1_000), Err(Missed::Gone));
        assert_eq!(offers.claim(&digest(1, 1), forgotten), Err(Missed::Gone));
        assert_eq!(offers.claim(&digest(1, 1), forgotten + 1), Err(Missed::Unknown));
        let late = Offer { expires_ms: forgotten * 2, ..offer(2, "ann") };
        offers.add(late, forgotten + 1).unwrap();
        assert_eq!(offers.len(), 1, "what nobody asks for is forgotten with the next offer");
        assert_eq!(offers.of_user[&Arc::from("ann")], [2]);
    }

    #[test]
    fn the_oldest_of_a_user_gives_way_but_none_that_is_being_taken_and_none_of_another() {
        let mut offers = offers();
        for id in 1..=3 {
            assert_eq!(offers.add(offer(id, "ann"), 0), Ok(None));
        }
        offers.add(offer(9, "bob"), 0).unwrap();
        offers.claim(&digest(1, 1), 10).unwrap();
        let gave_way = offers.add(offer(4, "ann"), 0).unwrap().unwrap();
        assert_eq!((gave_way.id, gave_way.used), (2, true));
        assert_eq!(offers.claim(&digest(1, 2), 10), Err(Missed::Gone));
        assert_eq!(offers.claim(&digest(1, 9), 10).unwrap().id, 9);
    }

    #[test]
    fn a_user_whose_offers_are_all_being_taken_has_to_wait() {
        let mut offers = offers();
        for id in 1..=3 {
            offers.add(offer(id, "ann"), 0).unwrap();
            offers.claim(&digest(1, id), 10).unwrap();
        }
        assert_eq!(offers.add(offer(4, "ann"), 0), Err(Full));
        offers.use_up(2);
        assert_eq!(offers.add(offer(4, "ann"), 0), Ok(None));
    }

    #[test]
    fn a_full_table_forgets_what_is_gone_and_never_what_is_good() {
        let mut offers = Offers::new(3, 3);
        for id in 1..=3 {
            offers.add(offer(id, &format!("user{id}")), 0).unwrap();
        }
        assert_eq!(offers.add(offer(4, "ann"), 0), Err(Full));
        offers.use_up(2);
        assert_eq!(offers.add(offer(4, "ann"), 0), Ok(None));
        assert_eq!(offers.claim(&digest(1, 2), 10), Err(Missed::Unknown));
        assert_eq!(offers.claim(&digest(1, 3), 10).unwrap().id, 3);
        offers.remove(4);
        assert_eq!(offers.claim(&digest(1, 4), 10), Err(Missed::Unknown));
        assert_eq!(offers.len(), 2);
    }
}
