//! Access tokens: JWTs (RFC 7519) signed with Ed25519 (RFC 8037, `alg` `EdDSA`). No other algorithm is ever accepted,
//! and there is no leeway on `exp`.

use std::{sync::LazyLock, time::Duration};

use jsonwebtoken::{Algorithm, Header, Validation, errors::ErrorKind};
use serde::{Deserialize, Serialize};

use super::{Actor, Denied, Keys, SigningKey, is_id};
use crate::defaults;

/// The only `kind` there is so far; others will be good for other things and never for this.
const ACCESS: &str = "access";

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The user.
    pub sub: String,
    /// The device it was made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dev: Option<String>,
    /// The login that it came of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fam: Option<String>,
    /// Unix seconds from which on it is not good any more.
    pub exp: u64,
    /// Unix seconds before which it is not good yet. Never made here, obeyed all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<u64>,
    /// Unix seconds when it was made.
    #[serde(default)]
    pub iat: u64,
    /// 128 random bits in hexadecimal: no two tokens are the same.
    #[serde(default)]
    pub jti: String,
    /// What it is good for: `access`.
    pub kind: String,
}

/// Why a token is not made.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// A name that nobody can have.
    #[error("{what} {id:?} is not 1 to {} bytes without control characters", defaults::MAX_ID)]
    Id {
        /// User or device.
        what: &'static str,
        /// The name.
        id: String,
    },
    /// A time to live that no token has.
    #[error("a token is good for 1 second to {} seconds, not {given}", defaults::ACCESS_TTL_MAX.as_secs())]
    Ttl {
        /// The one asked for, in seconds.
        given: u64,
    },
    /// The system gives no randomness, or signing failed.
    #[error("the token cannot be signed: {0}")]
    Failed(String),
}

/// Checks everything but times, which are compared with the `now` that is passed in.
static VALIDATION: LazyLock<Validation> = LazyLock::new(|| {
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation.leeway = 0;
    // Missing claims fail in `Claims`.
    validation.required_spec_claims.clear();
    validation
});

impl SigningKey {
    /// A token for a user, and for one device of theirs, come of a login (`family`), made at `now` (Unix seconds).
    ///
    /// # Errors
    /// [`IssueError`].
    pub fn issue(
        &self,
        user: &str,
        device: Option<&str>,
        family: Option<&str>,
        ttl: Duration,
        now: u64,
    ) -> Result<String, IssueError> {
        for (what, id) in [("user", Some(user)), ("device", device)] {
            if let Some(id) = id.filter(|id| !is_id(id)) {
                return Err(IssueError::Id { what, id: id.to_owned() });
            }
        }
        if !(1..=defaults::ACCESS_TTL_MAX.as_secs()).contains(&ttl.as_secs()) {
            return Err(IssueError::Ttl { given: ttl.as_secs() });
        }
        let mut jti = [0; 16];
        getrandom::fill(&mut jti).map_err(|error| IssueError::Failed(error.to_string()))?;
        self.sign(&Claims {
            sub: user.to_owned(),
            dev: device.map(str::to_owned),
            fam: family.map(str::to_owned),
            exp: now + ttl.as_secs(),
            nbf: None,
            iat: now,
            jti: format!("{:032x}", u128::from_be_bytes(jti)),
            kind: ACCESS.to_owned(),
        })
    }

    pub(super) fn sign(&self, claims: &Claims) -> Result<String, IssueError> {
        let header = Header { kid: Some(self.id.clone()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, claims, &self.signing).map_err(|error| IssueError::Failed(error.to_string()))
    }
}

/// Who the token was made for. Costs a signature check; [`super::Authenticator`] remembers the answer.
///
/// # Errors
/// [`Denied`].
pub(super) fn verify(token: &str, keys: &Keys, now: u64) -> Result<Actor, Denied> {
    let not_ours = Denied::Invalid("it is not one of this server's tokens");
    let head = jsonwebtoken::decode_header(token).map_err(|_| not_ours)?;
    if head.alg != Algorithm::EdDSA {
        return Err(Denied::Invalid("it is not signed with EdDSA"));
    }
    if head.crit.is_some() {
        // RFC 7515 §4.1.11: what is critical and not understood makes a token invalid.
        return Err(Denied::Invalid("it demands an extension that is not known"));
    }
    let key = keys.named(head.kid.as_deref(), now).ok_or(Denied::Invalid("it names another key"))?;
    let decoded = jsonwebtoken::decode::<Claims>(token, &key.checking, &VALIDATION).map_err(|error| {
        if *error.kind() == ErrorKind::InvalidSignature {
            Denied::Invalid("this server's key did not sign it")
        } else {
            not_ours
        }
    })?;
    let claims = decoded.claims;
    if claims.kind != ACCESS {
        return Err(Denied::Invalid("it is not an access token"));
    }
    if !is_id(&claims.sub) || !claims.dev.as_deref().is_none_or(is_id) {
        return Err(Denied::Invalid("it names a user or device that cannot be"));
    }
    if claims.nbf.is_some_and(|start| now < start) {
        return Err(Denied::Invalid("it is not good yet"));
    }
    if now >= claims.exp {
        return Err(Denied::Expired);
    }
    Ok(Actor {
        user: claims.sub.into(),
        device: claims.dev.map(Into::into),
        family: claims.fam.map(Into::into),
        expires_at: Some(claims.exp),
        issued_at: claims.iat,
    })
}
