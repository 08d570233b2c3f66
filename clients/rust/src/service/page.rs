//! Lists, a page at a time.

use serde::Deserialize;

use super::call::segment;

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page begins; `None`: this is the last.
    pub next_cursor: Option<String>,
}

/// Which page is wanted. The default: the first, as long as the server likes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Paging {
    /// [`Page::next_cursor`] of the page before.
    pub cursor: Option<String>,
    /// The most items.
    pub limit: Option<u32>,
}

impl<T> Page<T> {
    /// What to ask for next, with pages of this size.
    pub fn next(&self, limit: Option<u32>) -> Option<Paging> {
        self.next_cursor.clone().map(|cursor| Paging { cursor: Some(cursor), limit })
    }
}

impl Paging {
    /// A route with this query.
    pub(super) fn of(&self, route: &str) -> String {
        let cursor = self.cursor.as_ref().map(|cursor| format!("cursor={}", segment(cursor)));
        let limit = self.limit.map(|limit| format!("limit={limit}"));
        let query: Vec<_> = cursor.into_iter().chain(limit).collect();
        if query.is_empty() { route.to_owned() } else { format!("{route}?{}", query.join("&")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_asked_for_by_what_is_known_of_it() {
        assert_eq!(Paging::default().of("/devices"), "/devices");
        let page: Page<u32> = Page { items: vec![1], next_cursor: Some("a&b".into()) };
        assert_eq!(page.next(Some(5)).unwrap().of("/devices"), "/devices?cursor=a%26b&limit=5");
        assert_eq!(Page::<u32> { items: Vec::new(), next_cursor: None }.next(None), None);
    }
}
