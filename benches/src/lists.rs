//! A document as an application would keep it, and what people do to it. Never random, so that two runs measure the same.

use syncbridge_document::{Limits, Options, Patch, Value};

/// How many items the list has.
pub const ITEMS: usize = 1_000;

/// An item of a list: about 190 bytes.
fn item(at: usize) -> Value {
    Value::from_members([
        ("id", Value::from(format!("item-{at:05}"))),
        ("title", Value::from(format!("What to do, number {at}, written out"))),
        ("done", Value::from(at.is_multiple_of(3))),
        ("tags", Value::from(vec![Value::from("home"), Value::from(at as u64 % 7)])),
        ("position", Value::from_members([("x", Value::from(at as u64 * 10)), ("y", Value::from(0.5))])),
        ("note", Value::from("a line or two that somebody typed")),
    ])
}

/// A document with one list of [`ITEMS`] objects and some members beside it.
pub fn document() -> Value {
    Value::from_members([
        ("list", (0..ITEMS).map(item).collect()),
        ("title", Value::from("Everything that is left to do")),
        ("settings", Value::from_members([("theme", Value::from("dark")), ("columns", Value::from(3))])),
    ])
}

/// (what somebody does, what comes of it), the state as a client would send it whole: nothing is shared with the other.
pub fn changes() -> Vec<(&'static str, Value)> {
    let edits = |every: usize| {
        (0..ITEMS).step_by(every).fold(Patch::new(), |patch, at| patch.replace(format!("/list/{at}/done"), "yes"))
    };
    [
        ("one field of an item", Patch::new().replace("/list/500/position/x", 3)),
        ("an item inserted in the middle", Patch::new().add("/list/500", item(7_777))),
        ("an item removed from the middle", Patch::new().remove("/list/500")),
        ("an item appended", Patch::new().add("/list/-", item(7_777))),
        ("an item moved", Patch::new().move_("/list/200", "/list/700")),
        ("an item moved and edited", Patch::new().move_("/list/900", "/list/3").replace("/list/3/position/x", 25)),
        (
            "five of these at once",
            Patch::new()
                .replace("/list/100/done", 1)
                .add("/list/300", item(8_000))
                .move_("/list/400", "/list/450")
                .remove("/list/600")
                .replace("/title", "Done"),
        ),
        ("a field of every tenth item", edits(10)),
        ("a field of every item, and one inserted at the front", edits(1).add("/list/0", item(9_999))),
        ("a member beside the list", Patch::new().replace("/settings/theme", "light")),
    ]
    .map(|(name, patch)| (name, after(&patch)))
    .into()
}

fn after(patch: &Patch) -> Value {
    let mut document = document();
    let limits = Limits::trusted();
    let applied = patch.apply(&mut document, Options::STRICT, &limits).map(|_| ());
    assert_eq!(applied, Ok(()), "made to fit");
    Value::parse(&document.to_json(), &limits).unwrap_or_default()
}
