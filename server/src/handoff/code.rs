//! What a handoff is presented by: a code that a person types, or a token that a link carries. Both say the same, both are
//! drawn at random, and neither is kept: only their digests are, under a key that the store does not hold, since fifty bits
//! could be found from a plain digest.

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// Crockford's base 32: no I, L, O, U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Characters of a code: 50 bits. At ten guesses a minute and address, with a thousand codes alive, one address finds one
/// in some 200,000 years.
const CODE_LEN: usize = 10;

/// Bytes of a token.
const TOKEN_LEN: usize = 32;

/// A keyed digest of a code or token: what memory and store know it by.
pub type Digest = [u8; 32];

/// What is presented, as it was read.
#[derive(Clone, PartialEq, Eq)]
pub enum Presented {
    /// The code, five bits a byte.
    Code([u8; CODE_LEN]),
    /// The token.
    Token([u8; TOKEN_LEN]),
}

impl Presented {
    /// A code and a token, at random.
    ///
    /// # Errors
    /// The system gives no randomness.
    pub fn draw() -> Result<(Self, Self), getrandom::Error> {
        let (mut code, mut token) = ([0; CODE_LEN], [0; TOKEN_LEN]);
        getrandom::fill(&mut code)?;
        getrandom::fill(&mut token)?;
        Ok((Self::Code(code.map(|byte| byte & 31)), Self::Token(token)))
    }

    /// Reads a code or token. In a code, case, spaces and hyphens do not count, O is read as 0, I and L as 1. `None`: it
    /// is neither.
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(token) = URL_SAFE_NO_PAD.decode(text)
            && let Ok(token) = <[u8; TOKEN_LEN]>::try_from(token)
        {
            return Some(Self::Token(token));
        }
        let mut code = [0; CODE_LEN];
        let mut symbols = text.chars().filter(|symbol| !matches!(symbol, ' ' | '-'));
        for place in &mut code {
            *place = value(symbols.next()?)?;
        }
        symbols.next().is_none().then_some(Self::Code(code))
    }

    /// What it is known by.
    pub fn digest(&self, key: &hmac::Key) -> Digest {
        let mut context = hmac::Context::with_key(key);
        match self {
            Self::Code(code) => {
                context.update(b"code");
                context.update(code);
            }
            Self::Token(token) => {
                context.update(b"token");
                context.update(token);
            }
        }
        let tag = context.sign();
        tag.as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes")
    }
}

/// As it is given out: `XXXXX-XXXXX`, or base64url.
impl std::fmt::Display for Presented {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        use std::fmt::Write as _;
        match self {
            Self::Token(token) => f.write_str(&URL_SAFE_NO_PAD.encode(token)),
            Self::Code(code) => code.iter().enumerate().try_for_each(|(at, value)| {
                if at == CODE_LEN / 2 {
                    f.write_char('-')?;
                }
                f.write_char(char::from(ALPHABET[usize::from(value & 31)]))
            }),
        }
    }
}

fn value(symbol: char) -> Option<u8> {
    let symbol = match symbol.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    ALPHABET.iter().position(|known| char::from(*known) == symbol).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_given_out_is_read_back() {
        for _ in 0..1_000 {
            let (code, token) = Presented::draw().unwrap();
            assert!(Presented::parse(&code.to_string()) == Some(code));
            assert!(Presented::parse(&token.to_string()) == Some(token));
        }
    }

    #[test]
    fn a_code_is_read_however_a_person_types_it() {
        let code = Presented::parse("0123A-BCD1Z").unwrap();
        for typed in ["0123ABCD1Z", "o123a bcdLz", " O-I23abcdiZ- ", "0l23-ABCD-1z", "0 1 2 3 A B C D 1 Z"] {
            assert!(Presented::parse(typed) == Some(code.clone()), "{typed}");
        }
        assert_eq!(code.to_string(), "0123A-BCD1Z");
    }

    #[test]
    fn what_is_no_code_and_no_token_is_not_read() {
        let long = "A".repeat(10_000);
        for text in
            ["", "-", "ABCDE-ABCD", "ABCDE-ABCDEF", "ABCDE-ABCDU", "ABCDE_ABCDE", "ABCDE-ABCDÉ", "ＡBCDEABCDE", &long]
        {
            assert!(Presented::parse(text).is_none(), "{text}");
        }
        let (_, token) = Presented::draw().unwrap();
        let token = token.to_string();
        assert!(Presented::parse(&token[1..]).is_none());
        assert!(Presented::parse(&format!("{token}A")).is_none());
    }

    #[test]
    fn a_digest_tells_a_code_from_a_token_and_one_key_from_another() {
        let key = |byte: u8| hmac::Key::new(hmac::HMAC_SHA256, &[byte; 32]);
        let code = Presented::Code([1; CODE_LEN]);
        assert_eq!(code.digest(&key(1)), code.digest(&key(1)));
        assert_ne!(code.digest(&key(1)), code.digest(&key(2)));
        assert_ne!(code.digest(&key(1)), Presented::Token([1; TOKEN_LEN]).digest(&key(1)));
    }
}
