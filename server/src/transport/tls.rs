//! Who the server proves to be: its certificate, made or configured, and the TLS settings of QUIC and of TCP.
//! Never opens a socket, never decides who a client is.

mod short_lived;

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject as _},
    },
    server::{ClientHello, ResolvesServerCert, ServerSessionMemoryCache},
    sign::CertifiedKey,
    version::TLS13,
};
use sha2::{Digest, Sha256};
pub use short_lived::{Published, ShortLived};

use super::webtransport;
use crate::secret;

/// ALPN of what we speak inside TLS on TCP: HTTP/1.1, which WebSocket begins with.
pub const ALPN_TCP: &[u8] = b"http/1.1";
/// Name of the generated certificate with its key, in the data folder.
const IDENTITY_FILE: &str = "identity.pem";
/// Session tickets that a client gets for each handshake. Each is good for one 0-RTT connection; the second is for
/// when the network swallows the first try.
const TICKETS: usize = 2;

/// Why there is no certificate to serve with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or written; the text names it.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A file is not PEM, or lacks what should be in it.
    #[error("{path}: no {what} can be read from it ({source})")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        what: &'static str,
        /// Why not.
        source: pem::Error,
    },
    /// Certificate and key do not belong together, or are of a kind that TLS cannot use.
    #[error("{path}: {source}")]
    Unusable {
        /// The certificate's file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// TLS itself cannot be set up: our fault.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
}

/// SHA-256 of a certificate's DER: what a client pins. Shown as 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// The fingerprint of a certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(Sha256::digest(certificate).into())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Files of a configured certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    /// The chain, PEM, the server's own certificate first.
    pub certificate: PathBuf,
    /// The private key, PEM (PKCS#8, PKCS#1 or SEC1).
    pub key: PathBuf,
}

/// The server's certificate with its key.
#[derive(Debug, Clone)]
pub struct Identity {
    key: Arc<CertifiedKey>,
    fingerprint: Fingerprint,
    generated: bool,
}

impl Identity {
    /// Reads the configured certificate; with none configured, the one in `folder`, which is made at the first call:
    /// self-signed, P-256, without an end, for clients that pin it.
    ///
    /// # Errors
    /// [`Error`], naming the file.
    pub fn load_or_create(folder: &Path, configured: Option<&Files>) -> Result<Self, Error> {
        if let Some(files) = configured {
            let certificates = read(&files.certificate)?;
            let key = read(&files.key)?;
            return Self::from_pem((&files.certificate, &certificates), (&files.key, &key), false);
        }
        let path = folder.join(IDENTITY_FILE);
        let both = secret::create_or_load(&path, || self_signed().map_err(io::Error::other))?;
        Self::from_pem((&path, &both), (&path, &both), true)
    }

    fn from_pem(certificates: (&Path, &[u8]), key: (&Path, &[u8]), generated: bool) -> Result<Self, Error> {
        let pem = |path: &Path, what, source| Error::Pem { path: path.to_owned(), what, source };
        let chain = CertificateDer::pem_slice_iter(certificates.1)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| pem(certificates.0, "certificate", error))?;
        let Some(first) = chain.first() else {
            return Err(pem(certificates.0, "certificate", pem::Error::NoItemsFound));
        };
        let fingerprint = Fingerprint::of(first);
        let key = PrivateKeyDer::from_pem_slice(key.1).map_err(|error| pem(key.0, "private key", error))?;
        let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())
            .map_err(|source| Error::Unusable { path: certificates.0.to_owned(), source })?;
        Ok(Self { key: Arc::new(key), fingerprint, generated })
    }

    /// Fingerprint of the server's own certificate, for printing and pinning.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Whether clients have to pin it: it is self-signed by us, not configured.
    pub fn generated(&self) -> bool {
        self.generated
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    fs::read(path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())).into())
}

/// A certificate and its key, both PEM, in one piece so that they cannot part in a crash.
fn self_signed() -> Result<Vec<u8>, rcgen::Error> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let mut params = self_signed_params()?;
    // Clients pin the certificate, so its dates protect nobody; RFC 5280 §4.1.2.5 has this date for "no end".
    params.not_before = rcgen::date_time_ymd(2000, 1, 1);
    params.not_after = rcgen::date_time_ymd(9999, 12, 31);
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem() + &key.serialize_pem()).into_bytes())
}

/// What our own certificates say of us.
fn self_signed_params() -> Result<rcgen::CertificateParams, rcgen::Error> {
    let mut params = rcgen::CertificateParams::new(["localhost".into(), "127.0.0.1".into(), "::1".into()])?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "SyncBridge");
    Ok(params)
}

/// Chooses the certificate by what the client wants to speak: native clients and HTTPS get the server's identity, and
/// browsers (ALPN `h3`) the one that they can trust by its hash, where the identity is one that they could not trust.
#[derive(Debug)]
struct ByAlpn {
    identity: Arc<CertifiedKey>,
    browsers: Option<Arc<ShortLived>>,
}

impl ResolvesServerCert for ByAlpn {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let offers = |protocol| hello.alpn().is_some_and(|mut offered| offered.any(|one| one == protocol));
        match &self.browsers {
            // Who offers both speaks the first of ours.
            Some(browsers) if offers(webtransport::ALPN) && !offers(syncbridge_codec::ALPN) => Some(browsers.served()),
            _ => Some(Arc::clone(&self.identity)),
        }
    }
}

/// TLS for QUIC, to be shared by all shards: a client that comes back on another shard must find its ticket.
///
/// `browsers`: the certificates for those that speak HTTP/3, when they cannot trust the identity.
///
/// Tickets are kept here and are good for one connection each (a replayed first flight finds none); those of the last
/// `connections` handshakes are kept, about 0.4 KiB a ticket.
///
/// # Errors
/// [`Error::Tls`]: a fault of ours.
pub fn quic_config(
    identity: &Identity,
    browsers: Option<Arc<ShortLived>>,
    connections: usize,
) -> Result<Arc<ServerConfig>, Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(ByAlpn { identity: Arc::clone(&identity.key), browsers }));
    config.alpn_protocols = vec![syncbridge_codec::ALPN.to_vec(), webtransport::ALPN.to_vec()];
    // RFC 9001 §4.6.1: QUIC allows only this value, and limits early data by its own flow control.
    config.max_early_data_size = u32::MAX;
    config.send_tls13_tickets = TICKETS;
    config.session_storage = ServerSessionMemoryCache::new(connections.saturating_mul(TICKETS));
    Ok(Arc::new(config))
}

/// TLS for TCP. Tickets are encrypted and given to the client, so that they take no memory here; no early data.
///
/// # Errors
/// [`Error::Tls`]: a fault of ours.
pub fn tcp_config(identity: &Identity) -> Result<Arc<ServerConfig>, Error> {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(ByAlpn { identity: Arc::clone(&identity.key), browsers: None }));
    config.alpn_protocols = vec![ALPN_TCP.to_vec()];
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_generated_certificate_stays_the_same_and_only_we_can_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let first = Identity::load_or_create(folder.path(), None).unwrap();
        let second = Identity::load_or_create(folder.path(), None).unwrap();
        assert!(first.generated());
        assert_eq!(first.fingerprint(), second.fingerprint());
        let mode = fs::metadata(folder.path().join(IDENTITY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let other = tempfile::tempdir().unwrap();
        assert_ne!(Identity::load_or_create(other.path(), None).unwrap().fingerprint(), first.fingerprint());
    }

    #[test]
    fn a_fingerprint_is_the_sha256_of_the_der_in_hexadecimal() {
        let fingerprint = Fingerprint::of(&CertificateDer::from(b"abc".to_vec()));
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(fingerprint.to_string(), known);
    }

    #[test]
    fn a_configured_certificate_is_used_and_leaves_the_data_folder_alone() {
        let files = tempfile::tempdir().unwrap();
        let pem = self_signed().unwrap();
        let path = files.path().join("both.pem");
        fs::write(&path, &pem).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let configured = Files { certificate: path.clone(), key: path };
        let identity = Identity::load_or_create(folder.path(), Some(&configured)).unwrap();
        assert!(!identity.generated());
        assert_eq!(identity.fingerprint(), Fingerprint::of(&CertificateDer::from_pem_slice(&pem).unwrap()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_unusable_configured_certificate_is_refused_with_the_file_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("a.pem"), self_signed().unwrap()).unwrap();
        fs::write(path("b.pem"), self_signed().unwrap()).unwrap();
        fs::write(path("empty.pem"), "").unwrap();
        for (certificate, key, named) in [
            ("a.pem", "b.pem", "a.pem"),
            ("empty.pem", "a.pem", "empty.pem"),
            ("a.pem", "empty.pem", "empty.pem"),
            ("missing.pem", "a.pem", "missing.pem"),
        ] {
            let files = Files { certificate: path(certificate), key: path(key) };
            let error = Identity::load_or_create(folder.path(), Some(&files)).unwrap_err();
            assert!(error.to_string().contains(named), "{error}");
        }
    }
}
