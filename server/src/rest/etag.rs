//! Entity tags (RFC 9110 §8.8.3) of sessions, and the conditions that name them (§13.1). A session's tag is
//! `"EPOCH.VERSION"`.

use std::convert::Infallible;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts},
};
use syncbridge_codec::{ErrorCode, message::Position};

use super::Problem;
use crate::session::Base;

/// The headers of a request that make conditions of session's tags.
#[derive(Debug, Clone, Default)]
pub struct Conditions(HeaderMap);

impl Conditions {
    /// What `If-Match` says, for telling requests apart.
    pub fn text(&self) -> &[u8] {
        self.0.get(header::IF_MATCH).map_or(b"", HeaderValue::as_bytes)
    }

    /// Whether `If-None-Match` names this place, or any: the caller has it. Compared weakly; what is no list of tags names
    /// nothing.
    pub fn none_match(&self, at: &Position) -> bool {
        let mut values = self.0.get_all(header::IF_NONE_MATCH).iter().peekable();
        values.peek().is_some() && values.any(|value| tags(value).is_some_and(|tags| tags.any_of(at, false)))
    }

    /// Which places `If-Match` allows. Compared strongly, so weak tags and those that are no session's match nothing.
    ///
    /// # Errors
    /// [`Problem`]: it is no list of tags, or `If-None-Match: *` asks for what is there not to be there.
    pub fn base(&self) -> Result<Base, Problem> {
        if self.0.get_all(header::IF_NONE_MATCH).iter().any(|value| value.as_bytes().trim_ascii() == b"*") {
            return Err(Problem::new(ErrorCode::PreconditionFailed, "the session exists"));
        }
        let mut allowed: Option<Vec<Position>> = None;
        for value in self.0.get_all(header::IF_MATCH) {
            match tags(value) {
                None => return Err(malformed(&header::IF_MATCH)),
                Some(Tags::Any) => return Ok(Base::Now),
                Some(Tags::These(tags)) => {
                    let places = tags.iter().filter(|tag| !tag.weak).filter_map(|tag| place(tag.opaque));
                    allowed.get_or_insert_default().extend(places);
                }
            }
        }
        Ok(allowed.map_or(Base::Now, Base::OneOf))
    }
}

impl<S: Sync> FromRequestParts<S> for Conditions {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let mut conditions = HeaderMap::new();
        for name in [header::IF_MATCH, header::IF_NONE_MATCH] {
            for value in parts.headers.get_all(&name) {
                conditions.append(&name, value.clone());
            }
        }
        Ok(Self(conditions))
    }
}

/// A session's tag.
pub fn of(at: &Position) -> HeaderValue {
    HeaderValue::from_str(&format!("\"{}.{}\"", at.epoch, at.version)).expect("digits, a dot and quotes")
}

fn malformed(name: &HeaderName) -> Problem {
    Problem::new(ErrorCode::InvalidRequest, format!("{name} is neither * nor a list of entity tags in quotes"))
}

/// What a condition names.
enum Tags<'a> {
    Any,
    These(Vec<Tag<'a>>),
}

struct Tag<'a> {
    weak: bool,
    opaque: &'a str,
}

impl Tags<'_> {
    fn any_of(&self, at: &Position, strong: bool) -> bool {
        match self {
            Self::Any => true,
            Self::These(tags) => tags.iter().any(|tag| !(strong && tag.weak) && place(tag.opaque).as_ref() == Some(at)),
        }
    }
}

/// The place that a session's tag names.
fn place(opaque: &str) -> Option<Position> {
    let (epoch, version) = opaque.split_once('.')?;
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
    Some(Position { epoch: digits(epoch)?, version: digits(version)? })
}

/// The tags of one header line; `None` when it is no list of them.
fn tags(value: &HeaderValue) -> Option<Tags<'_>> {
    let mut rest = value.to_str().ok()?.trim();
    if rest == "*" {
        return Some(Tags::Any);
    }
    let mut tags = Vec::new();
    loop {
        // A list may have empty elements (RFC 9110 §5.6.1).
        rest = rest.trim_start_matches([' ', '\t', ',']);
        if rest.is_empty() {
            return (!tags.is_empty()).then_some(Tags::These(tags));
        }
        let weak = rest.starts_with("W/");
        let (opaque, behind) = rest.strip_prefix("W/").unwrap_or(rest).strip_prefix('"')?.split_once('"')?;
        tags.push(Tag { weak, opaque });
        rest = behind.trim_start();
        if !rest.is_empty() && !rest.starts_with(',') {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Position = Position { epoch: 7, version: 3 };

    fn headers(name: &HeaderName, values: &[&str]) -> HeaderMap {
        let value = |value: &&str| (name.clone(), HeaderValue::from_str(value).expect("a value"));
        values.iter().map(value).collect()
    }

    fn known(values: &[&str]) -> bool {
        Conditions(headers(&header::IF_NONE_MATCH, values)).none_match(&AT)
    }

    #[test]
    fn if_none_match_takes_lists_weak_tags_several_lines_and_the_star() {
        let tag = of(&AT);
        assert_eq!(tag, "\"7.3\"");
        for values in [
            &["\"7.3\""][..],
            &["W/\"7.3\""],
            &["*"],
            &["\"a,b\", \"7.3\""],
            &["\"1.1\",W/\"7.3\" , \"9.9\""],
            &["\"1.1\"", " \"7.3\""],
            &[",, \"7.3\","],
        ] {
            assert!(known(values), "{values:?}");
        }
        for values in
            [&[][..], &["\"7.4\""], &["7.3"], &["\"7.3"], &["\"7.3\" \"8.1\""], &["\"+7.3\""], &[""], &["\"7.3.\""]]
        {
            assert!(!known(values), "{values:?}");
        }
    }

    #[test]
    fn if_match_is_strong_and_what_is_no_list_is_refused() {
        let base =
            |values: &[&str]| Conditions(headers(&header::IF_MATCH, values)).base().map_err(|problem| problem.error());
        assert_eq!(base(&[]), Ok(Base::Now));
        assert_eq!(base(&["*"]), Ok(Base::Now));
        assert_eq!(base(&["\"7.3\""]), Ok(Base::OneOf(vec![AT])));
        assert_eq!(
            base(&["\"7.3\", W/\"7.4\"", "\"8.1\""]),
            Ok(Base::OneOf(vec![AT, Position { epoch: 8, version: 1 }]))
        );
        assert_eq!(base(&["\"somebody else's\""]), Ok(Base::OneOf(vec![])), "it matches nothing");
        assert_eq!(base(&["7.3"]), Err(ErrorCode::InvalidRequest));
        assert_eq!(base(&[""]), Err(ErrorCode::InvalidRequest));
    }
}
