//! Whom the client believes to be its server: the one with a pinned certificate, the one it met first, or, on this very
//! machine, anyone. The server's certificate is self-signed by default, so no authority is asked. Signatures are always
//! checked: a copied certificate without its key is nobody.

use std::{
    collections::BTreeMap,
    fmt, fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
};
use sha2::{Digest, Sha256};

/// SHA-256 of a certificate's DER form, as `syncbridge serve` prints it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint(pub [u8; 32]);

/// A text that is no fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint is 64 hexadecimal digits, with or without colons")]
pub struct FingerprintError;

impl Fingerprint {
    /// The fingerprint of a certificate.
    pub fn of(certificate: &[u8]) -> Self {
        Self(Sha256::digest(certificate).into())
    }
}

impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, FingerprintError> {
        let text = text.trim();
        let text = text.strip_prefix("sha256:").unwrap_or(text);
        let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b':').collect();
        if digits.len() != 64 {
            return Err(FingerprintError);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |at: usize| char::from(pair[at]).to_digit(16).ok_or(FingerprintError);
            *byte = (digit(0)? << 4 | digit(1)?) as u8;
        }
        Ok(Self(bytes))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// Whom to believe.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Trust {
    /// Anyone, on this very machine (a loopback address); nobody elsewhere.
    #[default]
    Loopback,
    /// The server with this certificate.
    Pin(Fingerprint),
    /// The server that was met first under this address, as this file says; it is written on the first meeting. Lines
    /// of `HOST:PORT FINGERPRINT`.
    FirstUse(PathBuf),
}

/// Checks one server's certificate.
#[derive(Debug)]
pub(super) struct Verifier {
    trust: Trust,
    /// HOST:PORT as the person wrote it.
    name: String,
    loopback: bool,
    provider: Arc<CryptoProvider>,
    /// Held while the file of known servers is read and written.
    file: Mutex<()>,
}

impl Verifier {
    pub(super) fn new(trust: Trust, name: String, address: IpAddr, provider: Arc<CryptoProvider>) -> Self {
        Self { trust, name, loopback: address.is_loopback(), provider, file: Mutex::new(()) }
    }

    fn check(&self, certificate: &[u8]) -> Result<(), rustls::Error> {
        let met = Fingerprint::of(certificate);
        let refused = |text: String| Err(rustls::Error::General(text));
        match &self.trust {
            Trust::Pin(pinned) if *pinned == met => Ok(()),
            Trust::Pin(pinned) => {
                refused(format!("the server's certificate is {met}, pinned is {pinned}: another server, or a new key"))
            }
            Trust::Loopback if self.loopback => Ok(()),
            Trust::Loopback => {
                refused(format!("{} is not this machine, so its certificate has to be pinned; it is {met}", self.name))
            }
            Trust::FirstUse(path) => {
                let _held = self.file.lock().unwrap_or_else(PoisonError::into_inner);
                let mut known =
                    read_known(path).map_err(|error| rustls::Error::General(format!("{}: {error}", path.display())))?;
                match known.get(&self.name) {
                    Some(first) if *first == met => Ok(()),
                    Some(first) => refused(format!(
                        "the certificate of {} is {met}; it was {first} before: another server, or a new key. \
                         Remove its line from {} if that is right",
                        self.name,
                        path.display()
                    )),
                    None => {
                        known.insert(self.name.clone(), met);
                        write_known(path, &known)
                            .map_err(|error| rustls::Error::General(format!("{}: {error}", path.display())))
                    }
                }
            }
        }
    }
}

fn read_known(path: &Path) -> io::Result<BTreeMap<String, Fingerprint>> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        text => text?,
    };
    let mut known = BTreeMap::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let entry = line.split_once(' ').and_then(|(name, print)| Some((name.to_owned(), print.parse().ok()?)));
        // A damaged line must not turn a known server into one that is met for the first time.
        let (name, print) = entry.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("`{line}`")))?;
        known.insert(name, print);
    }
    Ok(known)
}

/// Replaces the file whole: what was known is never lost half-way.
fn write_known(path: &Path, known: &BTreeMap<String, Fingerprint>) -> io::Result<()> {
    let lines: Vec<String> = known.iter().map(|(name, print)| format!("{name} {print}")).collect();
    let text = lines.join("\n") + "\n";
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    fs::write(&beside, text)?;
    fs::rename(&beside, path)
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if end_entity.is_empty() {
            return Err(rustls::Error::InvalidCertificate(CertificateError::BadEncoding));
        }
        self.check(end_entity).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        None
    }
}

/// A configuration that believes whom `trust` names, for this protocol.
pub(super) fn client_config(
    trust: &Trust,
    name: &str,
    address: IpAddr,
    alpn: &[u8],
) -> Result<rustls::ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Verifier::new(trust.clone(), name.to_owned(), address, Arc::clone(&provider));
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    config.enable_early_data = true;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    fn verifier(trust: Trust, address: IpAddr) -> Verifier {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        Verifier::new(trust, "host:7400".to_owned(), address, provider)
    }

    #[test]
    fn a_fingerprint_reads_back_with_and_without_colons() {
        let print = Fingerprint::of(b"certificate");
        assert_eq!(print.to_string().parse(), Ok(print));
        let pairs: Vec<String> = print.0.iter().map(|byte| format!("{byte:02X}")).collect();
        assert_eq!(pairs.join(":").parse(), Ok(print));
        assert_eq!("abc".parse::<Fingerprint>(), Err(FingerprintError));
        assert_eq!("g".repeat(64).parse::<Fingerprint>(), Err(FingerprintError));
    }

    #[test]
    fn a_pinned_certificate_is_believed_and_no_other_not_even_on_loopback() {
        let trust = Trust::Pin(Fingerprint::of(b"mine"));
        verifier(trust.clone(), THERE).check(b"mine").unwrap();
        verifier(trust, HERE).check(b"other").unwrap_err();
    }

    #[test]
    fn without_a_pin_only_this_machine_is_believed() {
        verifier(Trust::Loopback, HERE).check(b"any").unwrap();
        verifier(Trust::Loopback, THERE).check(b"any").unwrap_err();
    }

    #[test]
    fn the_first_certificate_of_an_address_is_kept_and_a_later_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let trust = Trust::FirstUse(folder.path().join("known"));
        verifier(trust.clone(), THERE).check(b"first").unwrap();
        verifier(trust.clone(), THERE).check(b"first").unwrap();
        verifier(trust, THERE).check(b"second").unwrap_err();
    }

    #[test]
    fn a_damaged_file_of_known_servers_believes_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("known");
        fs::write(&path, "host:7400 nonsense\n").unwrap();
        verifier(Trust::FirstUse(path), THERE).check(b"any").unwrap_err();
    }
}
