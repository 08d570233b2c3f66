//! The certificates for browsers that are to trust us by their hash: WebTransport allows that for a key on P-256 and two
//! weeks of validity at most (W3C WebTransport, `serverCertificateHashes`). There are always two, the one that is served
//! and the one that comes after it, and the hashes of both are published: who has asked for them lately is let in also
//! after the change. Reads no clock.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::RwLock;
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};

use super::{Error, Fingerprint, Identity};
use crate::secret;

/// Name of the file with both and their keys, in the data folder.
const FILE: &str = "browser_certificates.json";
const DAY: u64 = 24 * 60 * 60;
/// Seconds for which a certificate is served.
const SERVED: u64 = 10 * DAY;
/// Seconds for which it is valid before that, for browsers whose clock is slow.
const BEFORE: u64 = DAY;
/// Seconds for which it is valid after that, for browsers whose clock is fast. 13 days in all.
const AFTER: u64 = 2 * DAY;

/// What browsers may be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Of the certificate that is served, and of the one after it.
    pub hashes: [Fingerprint; 2],
    /// When the second takes the place of the first: seconds since 1970.
    pub changes_at: u64,
}

/// One of them.
#[derive(Clone)]
struct One {
    kept: Kept,
    key: Arc<CertifiedKey>,
    fingerprint: Fingerprint,
}

/// One of them, in the file.
#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    /// From when it is served: seconds since 1970.
    from: u64,
    /// The certificate and its key.
    pem: String,
}

impl One {
    fn make(from: u64) -> Result<Self, Error> {
        let pem = self_signed(from).map_err(io::Error::other)?;
        Self::read(Kept { from, pem }, Path::new(FILE))
    }

    fn read(kept: Kept, path: &Path) -> Result<Self, Error> {
        let pem = (path, kept.pem.as_bytes());
        let Identity { key, fingerprint, .. } = Identity::from_pem(pem, pem, true)?;
        Ok(Self { kept, key, fingerprint })
    }

    /// Whether it is its turn. A clock that was put back a little changes nothing.
    const fn serves(&self, now: u64) -> bool {
        self.kept.from <= now + BEFORE && now < self.ends()
    }

    const fn ends(&self) -> u64 {
        self.kept.from + SERVED
    }
}

/// See the file's head.
pub struct ShortLived {
    path: PathBuf,
    /// The one that is served, and the one after it.
    both: RwLock<[One; 2]>,
}

impl std::fmt::Debug for ShortLived {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShortLived").field("published", &self.published()).finish_non_exhaustive()
    }
}

impl ShortLived {
    /// Reads those in `folder`, or makes them; those whose time is over by `now` (seconds since 1970) are replaced.
    ///
    /// # Errors
    /// [`Error`], naming the file.
    pub fn load_or_create(folder: &Path, now: u64) -> Result<Self, Error> {
        let path = folder.join(FILE);
        let text = secret::create_or_load(&path, || {
            let both = [One::make(now), One::make(now + SERVED)];
            let [served, next] = both.map(|one| one.map_err(io::Error::other));
            write(&[served?, next?])
        })?;
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()));
        let [served, next]: [Kept; 2] = serde_json::from_slice(&text).map_err(invalid)?;
        let both = [One::read(served, &path)?, One::read(next, &path)?];
        let certificates = Self { path, both: RwLock::new(both) };
        certificates.rotate(now)?;
        Ok(certificates)
    }

    /// Goes on to the next certificate if it is time, and makes the one after that; whether it was. What is published is
    /// on the disk first.
    ///
    /// # Errors
    /// Nothing has changed then; [`Error`], naming the file.
    pub fn rotate(&self, now: u64) -> Result<bool, Error> {
        let [served, next] = self.both.read().clone();
        if served.serves(now) {
            return Ok(false);
        }
        let both = if next.serves(now) {
            let after = One::make(next.ends())?;
            [next, after]
        } else {
            // The server was down for long, or the clock is another.
            [One::make(now)?, One::make(now + SERVED)?]
        };
        secret::replace(&self.path, &write(&both)?)?;
        *self.both.write() = both;
        Ok(true)
    }

    /// What browsers may be told now.
    pub fn published(&self) -> Published {
        let both = self.both.read();
        Published { hashes: [both[0].fingerprint, both[1].fingerprint], changes_at: both[0].ends() }
    }

    /// The one that is served.
    pub(super) fn served(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.both.read()[0].key)
    }
}

fn write(both: &[One; 2]) -> io::Result<Vec<u8>> {
    Ok(serde_json::to_vec(&both.each_ref().map(|one| &one.kept))?)
}

/// A certificate that is served from `from` on, and its key.
fn self_signed(from: u64) -> Result<String, rcgen::Error> {
    let at = |seconds| rcgen::date_time_ymd(1970, 1, 1) + std::time::Duration::from_secs(seconds);
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let mut params = super::self_signed_params()?;
    params.not_before = at(from.saturating_sub(BEFORE));
    params.not_after = at(from + SERVED + AFTER);
    Ok(params.self_signed(&key)?.pem() + &key.serialize_pem())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    /// In 2026.
    const NOW: u64 = 1_790_000_000;

    fn in_folder(now: u64) -> (tempfile::TempDir, ShortLived) {
        let folder = tempfile::tempdir().unwrap();
        let certificates = ShortLived::load_or_create(folder.path(), now).unwrap();
        (folder, certificates)
    }

    fn served(certificates: &ShortLived) -> Fingerprint {
        Fingerprint::of(&certificates.served().cert[0])
    }

    /// The validity of a certificate, from its DER: two `UTCTime`s one after the other (RFC 5280 §4.1.2.5).
    fn validity(der: &[u8]) -> [String; 2] {
        let at = der.windows(2).position(|two| two == [0x17, 13]).unwrap();
        let text = |at: usize| String::from_utf8(der[at + 2..at + 15].to_vec()).unwrap();
        [text(at), text(at + 15)]
    }

    #[test]
    fn the_next_certificate_is_published_before_it_is_served() {
        let (_folder, certificates) = in_folder(NOW);
        let mut now = NOW;
        for _ in 0..5 {
            let published = certificates.published();
            assert_eq!(served(&certificates), published.hashes[0]);
            assert_eq!(published.changes_at, now + SERVED);
            now += SERVED - 1;
            assert!(!certificates.rotate(now).unwrap());
            assert_eq!(certificates.published(), published);
            now += 1;
            assert!(certificates.rotate(now).unwrap());
            assert!(!certificates.rotate(now).unwrap(), "once is enough");
            assert_eq!(served(&certificates), published.hashes[1], "as was said before");
        }
    }

    #[test]
    fn a_certificate_is_valid_for_13_days_around_the_time_when_it_is_served() {
        let (_folder, certificates) = in_folder(NOW);
        // 2026-09-21T14:13:20Z.
        assert_eq!(validity(&certificates.served().cert[0]), ["260920141320Z", "261003141320Z"]);
        certificates.rotate(NOW + SERVED).unwrap();
        assert_eq!(validity(&certificates.served().cert[0]), ["260930141320Z", "261013141320Z"]);
    }

    #[test]
    fn a_restart_serves_and_publishes_the_same() {
        let (folder, certificates) = in_folder(NOW);
        let published = certificates.published();
        drop(certificates);
        for now in [NOW, NOW + SERVED - 1, NOW - 60] {
            assert_eq!(ShortLived::load_or_create(folder.path(), now).unwrap().published(), published);
        }
        let later = ShortLived::load_or_create(folder.path(), NOW + SERVED + 5).unwrap();
        assert_eq!(served(&later), published.hashes[1]);
        let again = ShortLived::load_or_create(folder.path(), NOW + SERVED + 5).unwrap();
        assert_eq!(again.published(), later.published(), "what is published is on the disk");
        let mode = fs::metadata(folder.path().join(FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn after_a_long_pause_and_with_another_clock_both_are_made_anew() {
        for now in [NOW + 3 * SERVED, NOW - 3 * SERVED] {
            let (_folder, certificates) = in_folder(NOW);
            let before = certificates.published();
            assert!(certificates.rotate(now).unwrap());
            let after = certificates.published();
            assert_eq!(after.changes_at, now + SERVED);
            assert!(before.hashes.iter().all(|hash| !after.hashes.contains(hash)));
        }
    }

    #[test]
    fn when_the_disk_takes_nothing_the_served_one_stays_and_what_is_told_stays_true() {
        let (folder, certificates) = in_folder(NOW);
        let published = certificates.published();
        drop(folder);
        certificates.rotate(NOW + SERVED).unwrap_err();
        assert_eq!(certificates.published(), published);
    }

    #[test]
    fn a_file_that_is_not_ours_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        for content in ["{}", "[]", r#"[{"from":1,"pem":""},{"from":2,"pem":""}]"#] {
            fs::write(folder.path().join(FILE), content).unwrap();
            let error = ShortLived::load_or_create(folder.path(), NOW).unwrap_err();
            assert!(error.to_string().contains(FILE), "{error}");
        }
    }
}
