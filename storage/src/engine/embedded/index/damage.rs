//! Which keys nobody can speak for: what lay between two rows that could be read when a damaged file was built anew. A key
//! in such a range that has no row is damaged, not absent, until somebody deletes or writes it. Never decides what is lost.

use std::sync::Arc;

use super::{Kind, keys};
use crate::{
    Error,
    engine::embedded::{
        encoding::{self, Reader, put_bytes},
        log::names::Name,
    },
};

/// The most ranges; above it neighbours of one table become one. 4,096 × ~100 B = 400 KiB.
const RANGES: usize = 4096;

/// Keys of a table that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Range {
    /// In [`super::TABLES`].
    pub table: u8,
    pub from: Vec<u8>,
    /// The first key behind it; `None`: up to the end.
    pub to: Option<Vec<u8>>,
}

impl Range {
    /// All keys of a session, or the key of a row.
    pub fn of(name: &Name) -> Self {
        match name {
            Name::Session(id) => {
                let from = keys::session(id);
                Self { table: table(Kind::Head), to: keys::after(&from), from }
            }
            Name::Row(of, key) => {
                let from = keys::row(*of, key);
                Self { table: table(Kind::Rows), to: Some([&from[..], &[0]].concat()), from }
            }
        }
    }

    /// The session or row whose keys these are, if they are exactly those.
    pub fn name(&self) -> Option<Name> {
        let name = if self.table == table(Kind::Rows) {
            let (of, key) = self.from.split_first()?;
            Name::Row(encoding::table(*of)?, key.to_vec())
        } else {
            Name::Session(keys::name(&self.from)?.to_owned())
        };
        (Self::of(&name) == *self).then_some(name)
    }

    fn has(&self, table: usize, key: &[u8]) -> bool {
        usize::from(self.table) == table && *key >= *self.from && self.to.as_deref().is_none_or(|to| key < to)
    }

    fn meets(&self, table: usize, start: &[u8], end: Option<&[u8]>) -> bool {
        usize::from(self.table) == table
            && end.is_none_or(|end| *self.from < *end)
            && self.to.as_deref().is_none_or(|to| to > start)
    }

    /// Its key in the table of ranges.
    pub fn key(&self) -> Vec<u8> {
        let mut key = vec![self.table];
        key.extend_from_slice(&self.from);
        key
    }

    /// Its value there.
    pub fn value(&self) -> Vec<u8> {
        let mut value = vec![u8::from(self.to.is_some())];
        if let Some(to) = &self.to {
            put_bytes(&mut value, to);
        }
        value
    }

    /// From the table of ranges.
    pub fn read(key: &[u8], value: &[u8]) -> Option<Self> {
        let (table, from) = key.split_first()?;
        let mut reader = Reader(value);
        let to = if reader.byte()? == 0 { None } else { Some(reader.bytes()?.to_vec()) };
        Some(Self { table: *table, from: from.to_vec(), to })
    }

    /// What it means for people.
    pub fn describe(&self) -> String {
        if let Some(name) = self.name() {
            return name.to_string();
        }
        let from = keys::describe(usize::from(self.table), &self.from);
        let to =
            self.to.as_deref().map_or_else(|| "the end".to_owned(), |to| keys::describe(usize::from(self.table), to));
        format!("from {from} to before {to}")
    }
}

fn table(kind: Kind) -> u8 {
    u8::try_from(kind.table()).unwrap_or(u8::MAX)
}

/// All ranges, shared with readers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Damage(pub Arc<Vec<Range>>);

impl Damage {
    /// Of these; too many are put together.
    pub fn new(mut ranges: Vec<Range>) -> Self {
        ranges.sort_unstable();
        while ranges.len() > RANGES {
            let mut fewer: Vec<Range> = Vec::with_capacity(ranges.len() / 2 + 1);
            let before = ranges.len();
            let mut pairs = ranges.into_iter().peekable();
            while let Some(mut range) = pairs.next() {
                if let Some(next) = pairs.next_if(|next| next.table == range.table) {
                    range.to = next.to;
                }
                fewer.push(range);
            }
            ranges = fewer;
            if ranges.len() == before {
                break;
            }
        }
        Self(Arc::new(ranges))
    }

    /// And these.
    pub fn with(&self, more: impl IntoIterator<Item = Range>) -> Self {
        let mut ranges: Vec<_> = self.0.iter().cloned().chain(more).collect();
        ranges.sort_unstable();
        ranges.dedup();
        Self::new(ranges)
    }

    /// Refuses a session of which something that it does not have was in the log.
    pub fn session(&self, key: &[u8]) -> Result<(), Error> {
        if self.0.is_empty() {
            return Ok(());
        }
        // Where a load would look, and find that nobody can speak for it.
        let part = keys::part(key, Kind::Quarantine);
        self.first(Kind::Quarantine, &part, keys::after(&part).as_deref())
            .map_or(Ok(()), |_| Err(super::broken(Kind::Head, key)))
    }

    /// Refuses to call a key absent of which nobody knows.
    pub fn absent(&self, kind: Kind, key: &[u8]) -> Result<(), Error> {
        if self.0.iter().any(|range| range.has(kind.table(), key)) {
            return Err(super::broken(kind, key));
        }
        Ok(())
    }

    /// Where the first range that touches these keys begins.
    pub fn first(&self, kind: Kind, start: &[u8], end: Option<&[u8]>) -> Option<&[u8]> {
        let meets = self.0.iter().find(|range| range.meets(kind.table(), start, end));
        meets.map(|range| range.from.as_slice())
    }

    /// What of these keys cannot be read: each from one to before another, or to their end.
    pub fn within<'a>(
        &'a self,
        kind: Kind,
        start: &'a [u8],
        end: Option<&'a [u8]>,
    ) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        self.0.iter().filter(move |range| range.meets(kind.table(), start, end)).map(move |range| {
            let to = range.to.as_deref().filter(|to| end.is_none_or(|end| *to < end));
            (range.from.as_slice().max(start), to)
        })
    }

    /// Without the keys from `start` to before `end`, of which one now knows that they are gone; `None` when that changes
    /// nothing.
    pub fn without(&self, table: usize, start: &[u8], end: Option<&[u8]>) -> Option<Self> {
        if !self.0.iter().any(|range| range.meets(table, start, end)) {
            return None;
        }
        let mut ranges = Vec::with_capacity(self.0.len() + 1);
        for range in self.0.iter() {
            if !range.meets(table, start, end) {
                ranges.push(range.clone());
                continue;
            }
            if *range.from < *start {
                ranges.push(Range { to: Some(start.to_vec()), ..range.clone() });
            }
            if let Some(end) = end
                && range.to.as_deref().is_none_or(|to| to > end)
            {
                ranges.push(Range { from: end.to_vec(), ..range.clone() });
            }
        }
        Some(Self::new(ranges))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Table;

    fn range(from: &str, to: Option<&str>) -> Range {
        Range { table: 1, from: from.into(), to: to.map(Into::into) }
    }

    #[test]
    fn a_range_loses_the_keys_that_are_gone_and_keeps_those_beside_them() {
        let damage = Damage::new(vec![range("b", Some("m"))]);
        let left = damage.without(1, b"f", Some(b"g")).expect("in the range");
        assert_eq!(*left.0, [range("b", Some("f")), range("g", Some("m"))]);
        assert!(damage.without(1, b"x", None).is_none());
        assert!(damage.without(2, b"f", None).is_none(), "another table");
        let open = Damage::new(vec![range("", None)]);
        assert_eq!(*open.without(1, b"f", Some(b"g")).expect("in it").0, [range("", Some("f")), range("g", None)]);
    }

    #[test]
    fn what_is_written_reads_back() {
        for one in [range("b", Some("m")), range("", None)] {
            assert_eq!(Range::read(&one.key(), &one.value()), Some(one));
        }
        assert_eq!(Range::read(b"", b"\0"), None);
    }

    #[test]
    fn a_session_and_a_row_are_called_by_their_names() {
        for name in [Name::Session("s".to_owned()), Name::Row(Table::Token, b"key".to_vec())] {
            let range = Range::of(&name);
            assert_eq!(range.name(), Some(name.clone()));
            assert_eq!(range.describe(), name.to_string());
            assert_eq!(Range { to: None, ..range }.name(), None, "more than one");
        }
    }

    #[test]
    fn too_many_ranges_become_fewer_that_have_all_their_keys() {
        let many: Vec<_> = (0..3 * RANGES).map(|at| range(&format!("{at:06}"), Some(&format!("{at:06}a")))).collect();
        let fewer = Damage::new(many.clone());
        assert!(fewer.0.len() <= RANGES);
        assert!(many.iter().all(|range| fewer.0.iter().any(|wide| wide.has(1, &range.from))));
    }
}
