//! Families against a model: whatever order refresh tokens are used in, one is good at most, and an old one ends it all.

use proptest::prelude::*;

use super::{
    family::{Family, FamilyId, Worth},
    refresh::{RefreshKey, digest},
};
use crate::{defaults, session::Now};

fn at(ms: u64) -> Now {
    Now { mono_ms: ms, wall_ms: 1_800_000_000_000 + ms }
}

fn family(current: &str, rotating: bool) -> Family {
    Family {
        id: FamilyId(7),
        device: "phone".into(),
        current: digest(current),
        rotating,
        created_ms: at(0).wall_ms,
        slid_ms: at(0).wall_ms,
        access_ttl: 900,
    }
}

#[test]
fn what_is_stored_comes_back() {
    let family = family("token", true);
    let syncbridge_storage::Write::Put { key, value, expires_at_ms, .. } = family.put("ann") else { panic!("a row") };
    assert_eq!(key, Family::key("ann", family.id));
    assert!(key.starts_with(&Family::prefix("ann")) && !key.starts_with(&Family::prefix("an")));
    assert!(expires_at_ms.unwrap() >= at(defaults::ms(defaults::FAMILY_TTL)).wall_ms);
    for cut in 0..value.len() {
        assert!(Family::decode(&key, value.slice(..cut)).is_err(), "cut at {cut}");
    }
    assert_eq!(Family::decode(&key, value), Ok(family));
}

#[test]
fn a_plain_login_is_written_once_an_hour_and_never_lives_shorter_than_thirty_days_after_its_last_use() {
    let hour = defaults::ms(defaults::FAMILY_SLIDE);
    let mut kept = family("token", false);
    for use_ms in (0..100 * hour).step_by(1_000_003) {
        let now = at(use_ms);
        match kept.worth(&digest("token"), false, 900, now) {
            Worth::Good { write: true } => kept = kept.used(900, now),
            worth => assert_eq!(worth, Worth::Good { write: false }),
        }
        let syncbridge_storage::Write::Put { expires_at_ms, .. } = kept.put("ann") else { panic!("a row") };
        assert!(expires_at_ms.unwrap() >= now.wall_ms + defaults::ms(defaults::FAMILY_TTL));
    }
    assert_eq!(
        kept.worth(&digest("token"), false, 901, at(100 * hour)),
        Worth::Good { write: true },
        "they live longer"
    );
    assert_eq!(kept.worth(&digest("token"), true, 900, at(0)), Worth::Once, "forced by configuration");
}

proptest! {
    /// Clients with copies of a rotating login's tokens use them in any order; each use reads and writes in one step, as
    /// the user's turn has it.
    #[test]
    fn of_a_rotating_login_one_token_is_good_at_most_and_the_use_of_an_old_one_ends_it(
        uses in proptest::collection::vec((0usize..6, 0u64..10_000), 1..40),
    ) {
        let key = RefreshKey::new(&[7; 32]);
        let mut tokens = vec![key.make("ann", FamilyId(7)).unwrap()];
        let mut kept = Some(family(&tokens[0], true));
        for (back, ms) in uses {
            let used = tokens.len().saturating_sub(1 + back);
            let presented = key.read(&tokens[used]).unwrap();
            let Some(alive) = kept.take() else { break };
            let is_newest = used + 1 == tokens.len();
            match alive.worth(&presented.digest, false, 900, at(ms)) {
                Worth::Once => {
                    prop_assert!(is_newest);
                    let next = key.make("ann", FamilyId(7)).unwrap();
                    kept = Some(Family { current: digest(&next), ..alive });
                    tokens.push(next);
                }
                Worth::Stolen => prop_assert!(!is_newest),
                Worth::Good { .. } => prop_assert!(false, "a rotating login's token is good once"),
            }
            if let Some(alive) = &kept {
                let good = tokens.iter().filter(|token| alive.current == digest(token)).count();
                prop_assert_eq!(good, 1);
            }
        }
    }
}
