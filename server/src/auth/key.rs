//! The Ed25519 key that signs tokens, and its file: PKCS#8 version 1 in PEM, mode 0600, as openssl reads it too.

use std::{io, path::Path};

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{DecodingKey, EncodingKey};
use rcgen::PublicKeyData as _;
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject as _};
use sha2::{Digest as _, Sha256};

use super::keys::Jwk;
use crate::secret;

/// RFC 8410 §7: the DER of a `OneAsymmetricKey` of version 1 for Ed25519, up to the 32 bytes of the seed. Version 2,
/// which carries the public key as well, is what most libraries write and what OpenSSL cannot read.
const PKCS8_HEAD: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or made.
    #[error("the signing key: {0}")]
    Io(#[from] io::Error),
    /// The file is not a key.
    #[error("{path}: is not an Ed25519 key in PKCS#8 PEM ({why})")]
    NotAKey {
        /// The file.
        path: String,
        /// What a reader of keys says.
        why: String,
    },
}

/// A key to sign tokens with and to check them.
#[derive(Clone)]
pub struct SigningKey {
    pub(super) signing: EncodingKey,
    pub(super) checking: DecodingKey,
    /// Names the key in a token's head: the first 16 hexadecimal digits of the public key's SHA-256.
    pub(super) id: String,
    /// The public key's 32 bytes.
    raw: Vec<u8>,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("id", &self.id).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// The key in the file; when there is none, a new one, which is on the disk when this returns. Of several processes
    /// that come at once one makes the key and all return it.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn create_or_load(path: &Path) -> Result<Self, KeyError> {
        let pem = secret::create_or_load(path, || Ok(generate()?.into_bytes()))?;
        Self::from_pem(&pem).map_err(|why| KeyError::NotAKey { path: path.display().to_string(), why })
    }

    /// The key in a file that there is.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let pem = secret::load(path)?;
        Self::from_pem(&pem).map_err(|why| KeyError::NotAKey { path: path.display().to_string(), why })
    }

    /// Its public half.
    pub(super) fn public(&self) -> Jwk {
        let x = URL_SAFE_NO_PAD.encode(&self.raw);
        Jwk { kty: "OKP", crv: "Ed25519", alg: "EdDSA", r#use: "sig", kid: self.id.clone(), x }
    }

    /// A key from the text of a PEM file. The error says what is wrong with it.
    pub(super) fn from_pem(pem: &[u8]) -> Result<Self, String> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem).map_err(|error| error.to_string())?;
        let pair = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&der, &rcgen::PKCS_ED25519)
            .map_err(|error| error.to_string())?;
        let public = pair.der_bytes();
        let digest: [u8; 32] = Sha256::digest(public).into();
        let id = format!("{:016x}", digest.first_chunk().map_or(0, |head| u64::from_be_bytes(*head)));
        let signing = EncodingKey::from_ed_der(der.secret_pkcs8_der());
        Ok(Self { signing, checking: DecodingKey::from_ed_der(public), id, raw: public.to_vec() })
    }
}

/// The PEM text of a new key.
pub(super) fn generate() -> io::Result<String> {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(io::Error::other)?;
    let der = [PKCS8_HEAD.as_slice(), &seed].concat();
    // 48 bytes are one line of 64 characters.
    Ok(format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der)))
}
