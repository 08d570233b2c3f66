use std::{
    collections::BTreeMap,
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use proptest::prelude::*;
use serde_json::json;

use super::{family::FamilyId, refresh::RefreshKey, *};

const NOW: u64 = 1_800_000_000;
const HOUR: Duration = Duration::from_hours(1);

fn key() -> SigningKey {
    SigningKey::from_pem(key::generate().unwrap().as_bytes()).unwrap()
}

fn authenticator() -> Authenticator {
    Authenticator::new(Keys::only(key()), Revoked::default(), false)
}

fn with_data_folder(folder: &Path) -> Result<Authenticator, KeyError> {
    Ok(Authenticator::new(Keys::create_or_load(folder, NOW)?, Revoked::default(), false))
}

fn part(value: &serde_json::Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

#[test]
fn a_token_says_who_comes_with_which_device_until_the_second_it_ends() {
    let auth = authenticator();
    let token = auth.key().issue("ann", Some("phone"), None, HOUR, NOW).unwrap();
    let expected = Actor {
        user: "ann".into(),
        device: Some("phone".into()),
        family: None,
        expires_at: Some(NOW + 3600),
        issued_at: NOW,
    };
    for _cold_then_cached in 0..2 {
        assert_eq!(auth.authenticate(&token, NOW), Ok(expected.clone()));
        assert_eq!(auth.authenticate(&token, NOW + 3599), Ok(expected.clone()));
        assert_eq!(auth.authenticate(&token, NOW + 3600), Err(Denied::Expired));
    }
    assert_eq!(authenticator().authenticate(&token, NOW).unwrap_err().code(), ErrorCode::Unauthenticated);
    let fresh = Authenticator::new(Keys::only(auth.key()), Revoked::default(), false);
    assert_eq!(fresh.authenticate(&token, NOW + 3600), Err(Denied::Expired), "no leeway without the cache either");
    assert_eq!(auth.authenticate("", NOW), Err(Denied::Missing));
}

#[test]
fn names_and_times_that_nobody_can_have_are_not_signed() {
    let key = key();
    for user in ["", "a\nb", &"x".repeat(129)] {
        assert!(key.issue(user, None, None, HOUR, NOW).is_err(), "{user:?}");
        assert!(key.issue("ann", Some(user), None, HOUR, NOW).is_err(), "{user:?}");
    }
    for seconds in [0, 366 * 24 * 3600, u64::MAX] {
        assert!(key.issue("ann", None, None, Duration::from_secs(seconds), NOW).is_err(), "{seconds}");
    }
    let longest = key.issue(&"u".repeat(128), Some(&"d".repeat(128)), None, HOUR, NOW).unwrap();
    assert!(longest.len() < defaults::MAX_TOKEN / 4, "{}", longest.len());
}

/// Tokens that must not be let in, by kind.
fn hostile(auth: &Authenticator, genuine: &str) -> BTreeMap<&'static str, Vec<String>> {
    let mut all: BTreeMap<&'static str, Vec<String>> = BTreeMap::new();
    let [head, claims, signature] = genuine.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let good_claims = json!({"sub": "ann", "exp": NOW + 3600, "iat": NOW, "jti": "x", "kind": "access"});

    for bit in 0..genuine.len() * 8 {
        let mut bytes = genuine.as_bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(token) = String::from_utf8(bytes) {
            all.entry("a flipped bit").or_default().push(token);
        }
    }
    for cut in 1..genuine.len() {
        all.entry("truncated").or_default().push(genuine[..cut].to_owned());
        all.entry("beheaded").or_default().push(genuine[cut..].to_owned());
    }
    let none = all.entry("alg none").or_default();
    for alg in ["none", "None", "NONE", "nOnE", "", "null"] {
        for signature in ["", signature, "AAAA"] {
            let head = part(&json!({"alg": alg, "typ": "JWT"}));
            none.push(format!("{head}.{claims}.{signature}"));
            none.push(format!("{head}.{}.{signature}", part(&good_claims)));
        }
    }
    // The public key is no secret: a server that took HS256 would take a token signed with it.
    let public = auth.key().checking.try_get_as_bytes().unwrap().to_vec();
    let confused = all.entry("HS256 with the public key").or_default();
    for secret in [public.clone(), URL_SAFE_NO_PAD.encode(&public).into_bytes(), Vec::new()] {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let header = Header { kid: Some(auth.key().id.clone()), ..Header::new(algorithm) };
            confused.push(jsonwebtoken::encode(&header, &good_claims, &EncodingKey::from_secret(&secret)).unwrap());
        }
    }
    let stranger = key();
    let wrong = all.entry("another key").or_default();
    for n in 0..50 {
        wrong.push(stranger.issue(&format!("user{n}"), None, None, HOUR, NOW).unwrap());
        let header = Header { kid: Some(auth.key().id.clone()), ..Header::new(Algorithm::EdDSA) };
        wrong.push(jsonwebtoken::encode(&header, &good_claims, &stranger.signing).unwrap());
    }
    let expired = all.entry("expired").or_default();
    for age in 0..50 {
        let claims = Claims {
            fam: None,
            sub: "ann".into(),
            dev: None,
            exp: NOW - age,
            nbf: None,
            iat: 0,
            jti: String::new(),
            kind: "access".into(),
        };
        expired.push(auth.key().sign(&claims).unwrap());
    }
    // Signed with the right key, and still not an access token of now.
    let mut odd = |kind, header: Header, claims: serde_json::Value| {
        let token = jsonwebtoken::encode(&header, &claims, &auth.key().signing).unwrap();
        all.entry(kind).or_default().push(token);
    };
    let header = || Header::new(Algorithm::EdDSA);
    for (name, value) in [
        ("kind", json!("refresh")),
        ("kind", json!(null)),
        ("sub", json!("")),
        ("sub", json!(7)),
        ("sub", json!("x".repeat(129))),
        ("dev", json!("")),
        ("dev", json!("a\u{0}b")),
        ("exp", json!(-1)),
        ("exp", json!("2099-01-01")),
        ("exp", json!(1e300)),
        ("exp", json!(null)),
        ("nbf", json!(NOW + 1)),
    ] {
        let mut claims = good_claims.clone();
        claims[name] = value;
        odd("odd claims", header(), claims);
    }
    for missing in ["sub", "exp", "kind"] {
        let mut claims = good_claims.clone();
        claims.as_object_mut().unwrap().remove(missing);
        odd("missing claims", header(), claims);
    }
    odd("a critical extension", Header { crit: Some(vec!["b64".into()]), ..header() }, good_claims.clone());
    odd("names another key", Header { kid: Some("0123456789abcdef".into()), ..header() }, good_claims.clone());

    // Two damages at once, all over the token; then a signature of the right length with any bytes.
    let mut random = fastrand::Rng::with_seed(7);
    let damaged = all.entry("damaged in places").or_default();
    while damaged.len() < 9_000 {
        let mut bytes = genuine.as_bytes().to_vec();
        for _ in 0..random.usize(2..6) {
            let at = random.usize(..bytes.len());
            bytes[at] = *random.choice(b"ABCabc019-_.=").unwrap();
        }
        damaged.push(String::from_utf8(bytes).unwrap());
    }
    damaged.retain(|token| token != genuine);
    let invented = all.entry("an invented signature").or_default();
    for _ in 0..1_000 {
        let mut bytes = [0; 64];
        random.fill(&mut bytes);
        invented.push(format!("{head}.{claims}.{}", URL_SAFE_NO_PAD.encode(bytes)));
    }
    // What is good for other things: refresh tokens, plain and dressed as a JWT.
    let refresh = all.entry("a refresh token").or_default();
    let key = RefreshKey::new(&[7; 32]);
    for n in 0..500 {
        let token = key.make("ann", FamilyId(n)).unwrap();
        refresh.push(format!("{head}.{claims}.{token}"));
        refresh.push(format!("{head}.{token}.{signature}"));
        refresh.push(token);
    }
    let mut spliced = Vec::new();
    for n in 0..100 {
        let other = auth.key().issue(&format!("user{n}"), None, None, HOUR, NOW).unwrap();
        let parts: Vec<_> = other.split('.').collect();
        spliced.push(format!("{head}.{}.{signature}", parts[1]));
        spliced.push(format!("{head}.{claims}.{}", parts[2]));
    }
    all.insert("spliced from two tokens", spliced);
    let shapes =
        ["", ".", "..", "...", "a.b", "a.b.c.d", "{}", "Bearer x", "test-token-1", "\u{1F511}.\u{1F511}.\u{1F511}"];
    let mut shapes: Vec<_> = shapes.map(str::to_owned).to_vec();
    for (before, after) in
        [(" ", ""), ("", " "), ("", "\n"), ("", "."), ("", ".x"), ("", "="), ("", "=="), ("Bearer ", "")]
    {
        shapes.push(format!("{before}{genuine}{after}"));
    }
    shapes.push("x".repeat(1 << 20));
    shapes.push(".".repeat(1 << 20));
    all.insert("shapes", shapes);
    all
}

#[test]
fn a_hostile_token_is_never_let_in_cold_or_with_the_genuine_one_cached() {
    let auth = authenticator();
    let genuine = auth.key().issue("ann", Some("phone"), None, HOUR, NOW).unwrap();
    let hostile = hostile(&auth, &genuine);
    let mut tried = 0;
    for cached in [false, true] {
        if cached {
            auth.authenticate(&genuine, NOW).expect("the genuine one");
        }
        for (kind, tokens) in &hostile {
            assert!(!tokens.is_empty(), "{kind}");
            for token in tokens {
                let answer = auth.authenticate(token, NOW);
                assert!(answer.is_err(), "{kind}, cached {cached}: {token} was let in as {answer:?}");
                assert_eq!(answer == Err(Denied::Expired), *kind == "expired", "{kind}: {answer:?}");
                tried += 1;
            }
        }
    }
    println!("{tried} tokens");
    assert!(tried >= 20_000, "only {tried}");
    assert!(auth.authenticate(&genuine, NOW).is_ok());
}

proptest! {
    #[test]
    fn arbitrary_text_is_never_let_in(token in ".{0,200}", open in any::<bool>()) {
        let auth = Authenticator::new(Keys::only(SHARED.clone()), Revoked::default(), open);
        let answer = auth.authenticate(&token, NOW);
        prop_assert_eq!(answer.is_ok(), open && (token.is_empty() || token.starts_with(PLACEHOLDER_TOKEN)));
    }
}
static SHARED: std::sync::LazyLock<SigningKey> = std::sync::LazyLock::new(key);

#[test]
fn open_lets_in_who_has_no_token_or_a_placeholder_and_still_refuses_bad_ones() {
    let auth = Authenticator::new(Keys::only(key()), Revoked::default(), true);
    assert_eq!(auth.authenticate("", NOW).unwrap().user.as_ref(), "dev");
    assert_eq!(auth.authenticate("test-token-17", NOW).unwrap().user.as_ref(), "dev-17");
    for bad in ["test-token-", "test-token-a b", "test-token-ü", "test-token", "other"] {
        assert!(auth.authenticate(bad, NOW).is_err(), "{bad}");
    }
    assert!(auth.authenticate(&format!("test-token-{}", "9".repeat(65)), NOW).is_err());
    let real = auth.key().issue("ann", None, None, HOUR, NOW).unwrap();
    assert_eq!(auth.authenticate(&real, NOW).unwrap().user.as_ref(), "ann");
    assert_eq!(auth.authenticate(&real, NOW + 3600), Err(Denied::Expired));
}

#[test]
fn the_key_is_kept_in_the_data_folder_with_mode_0600_and_signs_for_the_next_process_too() {
    let folder = tempfile::tempdir().unwrap();
    let token = {
        let first = with_data_folder(folder.path()).unwrap();
        first.key().issue("ann", None, None, HOUR, NOW).unwrap()
    };
    let file = folder.path().join(KEY_FILE);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("-----BEGIN PRIVATE KEY-----\n"));
    let second = with_data_folder(folder.path()).unwrap();
    assert_eq!(second.authenticate(&token, NOW).unwrap().user.as_ref(), "ann");
}

#[test]
fn a_file_that_is_not_an_ed25519_key_is_an_error_with_its_name_and_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(KEY_FILE);
    let p256 = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap().serialize_pem();
    for content in ["nonsense", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", &p256] {
        std::fs::write(&file, content).unwrap();
        let error = with_data_folder(folder.path()).unwrap_err().to_string();
        assert!(error.contains(KEY_FILE) && error.contains("is not an Ed25519 key"), "{error}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), content);
    }
}

#[test]
fn a_known_token_costs_a_fiftieth_of_a_signature_check_at_most() {
    let auth = authenticator();
    let token = auth.key().issue("ann", Some("phone"), None, HOUR, NOW).unwrap();
    let fastest = |times: u32, work: &dyn Fn()| {
        let rounds = (0..20).map(|_| {
            let start = Instant::now();
            (0..times).for_each(|_| work());
            start.elapsed() / times
        });
        rounds.min().unwrap()
    };
    let keys = Keys::only(auth.key());
    let check = fastest(20, &|| assert!(token::verify(&token, &keys, NOW).is_ok()));
    let known = fastest(2_000, &|| assert!(auth.authenticate(&token, NOW).is_ok()));
    println!("signature check {check:?}, known token {known:?}");
    assert!(known * 50 <= check, "known {known:?}, check {check:?}");
}

#[test]
fn a_token_whose_login_is_over_is_refused_at_once_also_when_it_is_known() {
    let auth = authenticator();
    let of = |family: u128| {
        let family = FamilyId(family).to_string();
        auth.key().issue("ann", Some("phone"), Some(&family), HOUR, NOW).unwrap()
    };
    let (over, other, cold) = (of(1), of(2), of(1));
    assert!(auth.authenticate(&over, NOW).is_ok() && auth.authenticate(&other, NOW).is_ok());
    auth.revoked().fence(FamilyId(1), NOW + 3_600);
    assert_eq!(auth.authenticate(&over, NOW), Err(Denied::Revoked));
    assert_eq!(auth.authenticate(&cold, NOW), Err(Denied::Revoked));
    assert!(auth.authenticate(&other, NOW).is_ok());
    auth.revoked().forget(NOW + 3_599);
    assert_eq!(auth.authenticate(&over, NOW + 3_599), Err(Denied::Revoked));
    auth.revoked().forget(NOW + 3_600);
    assert_eq!(auth.authenticate(&over, NOW + 3_600), Err(Denied::Expired));
}

#[test]
fn a_family_that_none_can_be_called_is_refused() {
    let auth = authenticator();
    for family in ["", "1", "x", "0000000000000000000000000000000G", "+0000000000000000000000000000001"] {
        let token = auth.key().issue("ann", None, Some(family), HOUR, NOW).unwrap();
        assert_eq!(auth.authenticate(&token, NOW), Err(Denied::Revoked), "{family:?}");
    }
}

#[test]
fn a_token_made_by_hand_for_a_removed_device_ends_and_one_made_later_does_not() {
    let auth = authenticator();
    let of = |user: &str, device, at| auth.key().issue(user, device, None, HOUR, at).unwrap();
    let (phone, desk, any) = (of("ann", Some("phone"), NOW), of("ann", Some("desk"), NOW), of("ann", None, NOW));
    let later = of("ann", Some("phone"), NOW + 1);
    let stranger = of("bob", Some("phone"), NOW);
    let _row = auth.revoked().fence_device(&"ann".into(), &"phone".into(), NOW);
    assert_eq!(auth.authenticate(&phone, NOW + 1), Err(Denied::Revoked));
    for good in [&desk, &any, &later, &stranger] {
        assert!(auth.authenticate(good, NOW + 1).is_ok());
    }
    // A hundred more: the first is not remembered by name any more, and its tokens are over all the same.
    for n in 0..2 * defaults::REMOVED_DEVICES {
        let _row = auth.revoked().fence_device(&"ann".into(), &n.to_string().into(), NOW + 2);
    }
    for over in [&phone, &later, &desk] {
        assert_eq!(auth.authenticate(over, NOW + 3), Err(Denied::Revoked));
    }
    assert!(auth.authenticate(&any, NOW + 3).is_ok() && auth.authenticate(&stranger, NOW + 3).is_ok());
}

#[test]
fn a_former_key_checks_what_it_signed_until_it_is_dropped_and_never_signs_again() {
    let folder = tempfile::tempdir().unwrap();
    let auth = with_data_folder(folder.path()).unwrap();
    let before = auth.key().issue("ann", None, None, HOUR, NOW).unwrap();
    assert!(auth.authenticate(&before, NOW).is_ok());
    let take = |auth: &Authenticator, now| auth.take_keys(Keys::create_or_load(folder.path(), now).unwrap());

    let kid = keys::rotate(folder.path(), false, NOW).unwrap();
    take(&auth, NOW);
    assert_eq!(auth.key().id, kid);
    let after = auth.key().issue("ann", None, None, HOUR, NOW).unwrap();
    for token in [&before, &after] {
        assert!(auth.authenticate(token, NOW).is_ok());
    }
    let named: Vec<_> = auth.public_keys(NOW).keys.into_iter().map(|key| key.kid).collect();
    assert_eq!((named.len(), &named[0]), (2, &kid));
    // A year later it is over, whatever a token signed with it says.
    let year = defaults::ACCESS_TTL_MAX.as_secs();
    assert_eq!(auth.public_keys(NOW + year).keys.len(), 1);
    assert!(matches!(auth.authenticate(&before, NOW + year), Err(Denied::Expired)));

    keys::rotate(folder.path(), true, NOW).unwrap();
    take(&auth, NOW);
    for token in [&before, &after] {
        assert!(matches!(auth.authenticate(token, NOW), Err(Denied::Invalid(_))), "was known, and is not any more");
    }
    assert_eq!(auth.public_keys(NOW).keys.len(), 1);
    assert_eq!(std::fs::metadata(folder.path().join(KEY_FILE)).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn others_can_check_our_tokens_with_the_public_keys_alone() {
    let auth = authenticator();
    let token = auth.key().issue("ann", None, None, HOUR, NOW).unwrap();
    let [key] = &auth.public_keys(NOW).keys[..] else { panic!("one key") };
    let told = serde_json::to_value(key).unwrap();
    assert_eq!((&told["kty"], &told["crv"], &told["use"]), (&json!("OKP"), &json!("Ed25519"), &json!("sig")));
    assert_eq!(jsonwebtoken::decode_header(&token).unwrap().kid.as_deref(), Some(&*key.kid));
    let checking = jsonwebtoken::DecodingKey::from_ed_components(&key.x).unwrap();
    let mut validation = jsonwebtoken::Validation::new(Algorithm::EdDSA);
    validation.validate_exp = false;
    assert_eq!(jsonwebtoken::decode::<Claims>(&token, &checking, &validation).unwrap().claims.sub, "ann");
}
