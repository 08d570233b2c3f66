//! Lists, a page at a time: every list of REST has this form. A cursor is opaque to clients; here it is the last item's
//! key.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use syncbridge_codec::ErrorCode;
use utoipa::{IntoParams, ToSchema};

use super::Problem;
use crate::defaults;

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// For the next page; `null` when this is the last.
    pub next_cursor: Option<String>,
}

/// Which page is wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Wanted {
    /// `nextCursor` of the page before.
    cursor: Option<String>,
    /// The most items to answer; 100 without it, 1,000 at most.
    limit: Option<usize>,
}

impl Wanted {
    /// The key after which the page begins.
    ///
    /// # Errors
    /// [`Problem`] when the cursor is none that was given out.
    pub fn after(&self) -> Result<Option<String>, Problem> {
        let Some(cursor) = self.cursor.as_deref().filter(|cursor| !cursor.is_empty()) else { return Ok(None) };
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
        let key = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        let key = key.ok_or_else(|| Problem::new(ErrorCode::InvalidRequest, "`cursor` is none that was given out"))?;
        Ok(Some(key))
    }

    /// How many items it has at most.
    ///
    /// # Errors
    /// [`Problem`] for none.
    pub fn limit(&self) -> Result<usize, Problem> {
        match self.limit {
            Some(0) => Err(Problem::new(ErrorCode::InvalidRequest, "`limit` is at least 1")),
            Some(limit) => Ok(limit.min(defaults::PAGE_MAX)),
            None => Ok(defaults::PAGE),
        }
    }
}

impl<T> Page<T> {
    /// A page of at most `limit` of these items, of which one more was read than the page has; `key` names an item for the
    /// cursor.
    pub fn of<U>(mut items: Vec<U>, limit: usize, key: impl Fn(&U) -> &str, item: impl FnMut(U) -> T) -> Self {
        let more = items.len() > limit;
        items.truncate(limit);
        let next_cursor = items.last().filter(|_| more).map(|last| URL_SAFE_NO_PAD.encode(key(last)));
        Self { items: items.into_iter().map(item).collect(), next_cursor }
    }
}
