//! Many writers at once, each for a version of its own choosing, against a model that is written from the words of
//! proto-spec/messages.md ("Conflicts") and knows nothing of how touches are kept or compared.

use fastrand::Rng;
use syncbridge_document::{Options, Patch};

use super::*;

/// Members of `/o`, each a number or an object.
const NAMES: [&str; 3] = ["a", "b", "c"];
/// Members of those objects.
const FIELDS: [&str; 2] = ["x", "y"];
/// The arrays.
const LISTS: [&str; 2] = ["/log", "/o/list"];

/// One change, as the words tell them apart.
#[derive(Debug, Clone)]
enum Change {
    /// A member is set.
    Set { path: String, value: String },
    /// An item is replaced where it stands.
    Edit { list: usize, at: usize, value: String },
    /// An item is added or removed by its index: everything in the array may be another by then.
    Shape { list: usize, at: usize, insert: bool },
    /// An item is added at the end.
    Append { list: usize, value: String },
}

impl Change {
    fn random(rng: &mut Rng, document: &Value, mark: u64) -> Self {
        let list = rng.usize(..LISTS.len());
        let length = document.pointer(LISTS[list]).and_then(Value::as_array).map_or(0, <[Value]>::len);
        match rng.u8(..10) {
            0 => Self::Set { path: LISTS[list].into(), value: format!("[{mark}]") },
            1 if length > 0 => Self::Shape { list, at: rng.usize(..length), insert: false },
            2 => Self::Shape { list, at: rng.usize(..=length), insert: true },
            3 if length > 0 => Self::Edit { list, at: rng.usize(..length), value: mark.to_string() },
            4 | 5 => Self::Append { list, value: mark.to_string() },
            6 => {
                let object = format!(r#"{{"{}":{mark}}}"#, FIELDS[rng.usize(..FIELDS.len())]);
                Self::Set { path: format!("/o/{}", NAMES[rng.usize(..NAMES.len())]), value: object }
            }
            7 => Self::Set { path: format!("/o/{}", NAMES[rng.usize(..NAMES.len())]), value: mark.to_string() },
            _ => {
                let (name, field) = (NAMES[rng.usize(..NAMES.len())], FIELDS[rng.usize(..FIELDS.len())]);
                Self::Set { path: format!("/o/{name}/{field}"), value: mark.to_string() }
            }
        }
    }

    fn patch(&self) -> String {
        match self {
            Self::Set { path, value } => set(path, value),
            Self::Edit { list, at, value } => {
                format!(r#"[{{"op":"replace","path":"{}/{at}","value":{value}}}]"#, LISTS[*list])
            }
            Self::Shape { list, at, insert: true } => set(&format!("{}/{at}", LISTS[*list]), "0"),
            Self::Shape { list, at, insert: false } => {
                format!(r#"[{{"op":"remove","path":"{}/{at}"}}]"#, LISTS[*list])
            }
            Self::Append { list, value } => set(&format!("{}/-", LISTS[*list]), value),
        }
    }

    /// Where it is, and whether that is all of an array.
    fn place(&self) -> (String, bool) {
        match self {
            Self::Set { path, .. } => (path.clone(), false),
            Self::Edit { list, at, .. } => (format!("{}/{at}", LISTS[*list]), false),
            Self::Shape { list, .. } | Self::Append { list, .. } => (LISTS[*list].into(), true),
        }
    }

    /// How this older change stands in the way of a newer one that was made without it.
    fn clashes(&self, newer: &Self) -> Clash {
        let ((old, _), (new, _)) = (self.place(), newer.place());
        let within = |outer: &str, inner: &str| inner == outer || inner.starts_with(&format!("{outer}/"));
        if !within(&old, &new) && !within(&new, &old) {
            return Clash::None;
        }
        match (self, newer) {
            // "appending (`/-`) never conflicts"; and what is in the array keeps its index.
            (_, Self::Append { .. }) | (Self::Append { .. }, Self::Shape { .. } | Self::Edit { .. }) => Clash::None,
            // An index into what has shifted, or was replaced as a whole.
            (Self::Shape { .. }, Self::Shape { .. } | Self::Edit { .. }) | (_, Self::Shape { .. }) => Clash::Array,
            // What replaces the very array was made from items that have moved on; what replaces more stands for itself.
            (Self::Shape { .. }, Self::Set { .. }) if old == new => Clash::Array,
            _ => Clash::Value,
        }
    }
}

/// Whether a change is in the way of another, and of which kind that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Clash {
    None,
    Value,
    Array,
}

/// What the words say has happened so far.
struct Model {
    document: Value,
    /// Who made each version from 2 on, and how.
    history: Vec<(u128, Change)>,
}

impl Model {
    fn version(&self) -> u64 {
        self.history.len() as u64 + 1
    }

    /// The clash of a change with all that others did after `base`.
    fn clash(&self, change: &Change, base: u64, writer: u128) -> Clash {
        let since = self.history.len() - (base as usize - 1);
        if since > defaults::TOUCHES_VERSIONS {
            // "an older base overlaps everything", as a change overlaps its like.
            return change.clashes(change);
        }
        let newer = self.history[base as usize - 1..].iter().filter(|(by, _)| *by != writer);
        newer.map(|(_, older)| older.clashes(change)).max().unwrap_or(Clash::None)
    }

    /// The change that a merge makes of it: an object that goes where one is sets its member there (each has one), and
    /// leaves the others as they are. All else is as it was sent.
    fn merging(&self, change: &Change) -> Change {
        if let Change::Set { path, value } = change
            && self.document.pointer(path).is_some_and(|old| old.as_object().is_some())
            && let Ok(new) = Value::parse(value.as_bytes(), &Limits::default())
            && let Some((name, value)) = new.as_object().and_then(|mut members| members.next())
        {
            return Change::Set { path: format!("{path}/{name}"), value: value.to_string() };
        }
        change.clone()
    }

    /// The document with the change; `None` where it cannot be done.
    fn with(&self, change: &Change) -> Option<Value> {
        let mut document = self.document.clone();
        let limits = Limits::default();
        let patch = Patch::parse(change.patch().as_bytes(), &limits).ok()?;
        patch.apply(&mut document, Options::STRICT, &limits).ok().map(|_| document)
    }
}

/// How often each outcome was tally: a test that only ever sees one of them shows nothing.
#[derive(Debug, Default)]
struct Seen {
    current: u32,
    rebased: u32,
    won: u32,
    merged: u32,
    refused: u32,
    array: u32,
    old_appends: u32,
}

fn live(seed: u64, updates: usize, flood: bool, tally: &mut Seen) {
    const POLICIES: [ConflictPolicy; 3] =
        [ConflictPolicy::LastWriterWins, ConflictPolicy::Merge, ConflictPolicy::Reject];
    let mut rng = Rng::with_seed(seed);
    let policy = POLICIES[rng.usize(..3)];
    let start = r#"{"flood":0,"log":[1,2,3],"o":{"a":{"x":1,"y":2},"b":0,"list":[4,5,6]}}"#;
    let mut room = Room::with(start, policy, DevicePolicy::Many);
    let mut model = Model { document: value(start), history: Vec::new() };
    let mut counters = [0_u64; 5];
    for turn in 0..updates {
        if flood && turn == updates / 2 {
            let busy = Client::new(9);
            for count in 1..=defaults::TOUCHES_VERSIONS as u64 + 1 {
                let change = Change::Set { path: "/flood".into(), value: count.to_string() };
                accepted(&room.send(&busy, &op(count, room.version(), &change.patch())));
                model.document = model.with(&change).expect("a member is set");
                model.history.push((busy.incarnation, change));
                if count % 100 == 0 {
                    room.commit();
                }
            }
        }
        let number = rng.usize(1..counters.len());
        let client = Client::new(number as u64);
        let back = if rng.u8(..3) == 0 { 0 } else { rng.u64(..6) };
        let base = if flood && rng.bool() { 1 + rng.u64(..3) } else { model.version().saturating_sub(back) };
        let base = base.clamp(1, model.version());
        let change = Change::random(&mut rng, &model.document, 1_000 * seed % 1_000_000 + turn as u64);
        counters[number] += 1;
        let asked = POLICIES[rng.usize(..3)];
        let stricter =
            [policy, asked].into_iter().max_by_key(|policy| POLICIES.iter().position(|known| known == policy));
        let stricter = stricter.expect("two policies");
        let update = Update { on_conflict: Some(asked), ..op(counters[number], base, &change.patch()) };

        let clash = model.clash(&change, base, client.incarnation);
        let refused = clash == Clash::Array || (clash == Clash::Value && stricter == ConflictPolicy::Reject);
        let merge = clash == Clash::Value && stricter == ConflictPolicy::Merge;
        // What a merge left alone, it has not touched: later updates see what was done, not what was sent.
        let done = if merge { model.merging(&change) } else { change.clone() };
        let outcome = if refused { None } else { model.with(&done) };
        let context = format!("seed {seed}, {policy:?} and {asked:?}: {change:?} for {base} of {}", model.version());
        let unknown = model.version() - base > defaults::TOUCHES_VERSIONS as u64;
        let effects = room.update(&client, &update);
        let answer = told(&effects, client.conn).remove(0);
        if let Some(document) = outcome {
            let changed = document.to_json() != model.document.to_json();
            assert_eq!(accepted(&answer).changed, changed, "{context}");
            assert_eq!(deltas(&effects).len(), usize::from(changed), "{context}");
            model.document = document;
            if changed {
                model.history.push((client.incarnation, done));
            }
            match clash {
                Clash::None if base + 1 >= model.version() => tally.current += 1,
                Clash::None => tally.rebased += 1,
                _ if merge => tally.merged += 1,
                _ => tally.won += 1,
            }
            tally.old_appends += u32::from(unknown && matches!(change, Change::Append { .. }));
        } else {
            if refused {
                assert!(matches!(answer, Message::Conflict(_)), "{context}: {answer:?}");
            } else {
                assert!(matches!(answer, Message::Conflict(_) | Message::Error(_)), "{context}: {answer:?}");
            }
            tally.array += u32::from(clash == Clash::Array);
            tally.refused += u32::from(clash == Clash::Value);
        }
        assert_eq!(room.version(), model.version(), "{context}");
        assert_eq!(room.json(), model.document.to_string(), "{context}");
        room.commit();
    }
}

#[test]
fn whatever_many_writers_do_at_once_comes_out_as_the_policies_say() {
    let mut tally = Seen::default();
    for seed in 0..1_500 {
        live(seed, 40, false, &mut tally);
    }
    let Seen { current, rebased, won, merged, refused, array, .. } = tally;
    assert!([current, rebased, won, merged, refused, array].iter().all(|count| *count > 300), "{tally:?}");
}

#[test]
fn for_a_base_that_is_no_longer_remembered_everything_overlaps_but_appends() {
    let mut tally = Seen::default();
    for seed in 0..12 {
        live(seed, 120, true, &mut tally);
    }
    assert!(tally.old_appends > 30 && tally.array > 30 && tally.refused > 30, "{tally:?}");
}
