//! What a user changes in a list is told as just that: sizes of the patch, in bytes, against those of the list.
#![allow(clippy::unwrap_used, reason = "tests: a failure is the point")]

use std::time::{Duration, Instant};

use syncbridge_document::{Limits, Options, Patch, Value, diff};

const MANY: usize = 1_000;

/// An item as an application would have it: about 190 bytes.
fn item(at: usize, named: bool) -> Value {
    let name = if named { "id" } else { "n" };
    Value::from_members([
        (name, Value::from(format!("item-{at:05}"))),
        ("title", Value::from(format!("What to do, number {at}, written out"))),
        ("done", Value::from(at.is_multiple_of(3))),
        ("tags", Value::from(vec![Value::from("home"), Value::from(at as u64 % 7)])),
        ("position", Value::from_members([("x", Value::from(at as u64 * 10)), ("y", Value::from(0.5))])),
        ("note", Value::from("a line or two that somebody typed")),
    ])
}

fn list(named: bool) -> Vec<Value> {
    (0..MANY).map(|at| item(at, named)).collect()
}

fn with(value: &Value, patch: &Patch) -> Value {
    let mut value = value.clone();
    patch.apply(&mut value, Options::STRICT, &Limits::trusted()).unwrap();
    value
}

/// The patch that leads from one list to the other, each in a document, after a check that it does.
fn told(before: &[Value], after: &[Value]) -> Patch {
    let document =
        |items: &[Value]| Value::from_members([("list", Value::from(items.to_vec())), ("rest", Value::null())]);
    let (before, after) = (document(before), document(after));
    // Read anew, so that nothing is shared: as a `PUT` has it.
    let sent = Value::parse(&after.to_json(), &Limits::default()).unwrap();
    let patch = diff(&before, &sent);
    let mut followed = before.clone();
    patch.apply(&mut followed, Options::STRICT, &Limits::default()).unwrap();
    assert_eq!(followed.to_json(), after.to_json(), "{patch:?}");
    patch
}

fn text(patch: &Patch) -> String {
    String::from_utf8(patch.to_json()).unwrap()
}

#[test]
fn one_change_in_the_middle_of_a_thousand_objects_is_one_small_operation() {
    for named in [true, false] {
        let before = list(named);

        let mut after = before.clone();
        after.insert(500, item(7_777, named));
        let patch = told(&before, &after);
        assert_eq!(patch, Patch::new().add("/list/500", item(7_777, named)));

        let mut after = before.clone();
        after.remove(500);
        assert_eq!(told(&before, &after), Patch::new().remove("/list/500"));

        let mut after = before.clone();
        after[500] = with(&after[500], &Patch::new().replace("/position/y", 3));
        assert_eq!(told(&before, &after), Patch::new().replace("/list/500/position/y", 3));

        let mut after = before.clone();
        let moved = after.remove(200);
        after.insert(700, moved);
        assert_eq!(told(&before, &after), Patch::new().move_("/list/200", "/list/700"));

        let mut after = before.clone();
        let moved = after.remove(700);
        after.insert(200, moved);
        assert_eq!(told(&before, &after), Patch::new().move_("/list/700", "/list/200"));

        let mut after = before.clone();
        after.push(item(7_777, named));
        assert_eq!(told(&before, &after), Patch::new().add("/list/-", item(7_777, named)));
    }
}

#[test]
fn changes_in_several_places_at_once_stay_small() {
    for named in [true, false] {
        let before = list(named);
        let mut after = before.clone();
        after[100] = with(&after[100], &Patch::new().replace("/done", "perhaps"));
        after.insert(300, item(8_000, named));
        after.swap(400, 410);
        after.drain(600..603);
        let patch = told(&before, &after);
        // One edit, one insertion, two moves, three removals; one item is sent.
        assert_eq!(patch.len(), 7, "{}", text(&patch));
        assert!(text(&patch).len() < 600, "{}", text(&patch));
    }
}

#[test]
fn an_item_with_a_name_that_is_moved_and_edited_is_not_sent_again() {
    let before = list(true);
    let mut after = before.clone();
    let moved = after.remove(900);
    after.insert(3, with(&moved, &Patch::new().replace("/position/x", 25)));
    let patch = told(&before, &after);
    assert_eq!(patch, Patch::new().move_("/list/900", "/list/3").replace("/list/3/position/x", 25));
}

#[test]
fn every_item_edited_and_one_inserted_at_the_front_sends_the_edits() {
    let before = list(true);
    let mut after =
        before.iter().map(|item| with(item, &Patch::new().replace("/done", 1))).take(600).collect::<Vec<_>>();
    after.extend_from_slice(&before[600..]);
    after.insert(0, item(9_999, true));
    let patch = told(&before, &after);
    assert_eq!(patch.len(), 601, "{} bytes", text(&patch).len());
    assert!(text(&patch).len() < 601 * 60);
}

#[test]
fn an_item_inserted_beside_one_that_is_edited_leaves_that_an_edit() {
    let before = list(true);
    let mut after = before.clone();
    after[500] = with(&after[500], &Patch::new().replace("/done", 1));
    after.insert(500, item(9_999, true));
    assert_eq!(told(&before, &after), Patch::new().add("/list/500", item(9_999, true)).replace("/list/501/done", 1));
}

#[test]
fn more_insertions_than_a_shortest_script_is_searched_for_are_still_only_insertions() {
    let mut rng = fastrand::Rng::with_seed(5);
    let before = list(false);
    let mut after = before.clone();
    for at in 0..400 {
        after.insert(rng.usize(..after.len()), Value::from(at));
    }
    let patch = told(&before, &after);
    assert_eq!(patch.len(), 400);
}

#[test]
fn a_sorted_list_is_moves_where_they_are_shorter_and_else_the_list() {
    let mut rng = fastrand::Rng::with_seed(6);
    let before = list(true);
    let mut after = before.clone();
    rng.shuffle(&mut after[..100]);
    let patch = told(&before, &after);
    assert!(patch.operations().iter().all(|operation| operation.name() == "move") && patch.len() < 100, "{patch:?}");
    let mut after = before.clone();
    rng.shuffle(&mut after);
    let patch = told(&before, &after);
    assert!(text(&patch).len() < Value::from(after).json_size() / 2, "{}", text(&patch).len());
    let numbers = |from: i32| (0..2_000).map(|at| Value::from((at * 7 + from) % 2_003)).collect::<Vec<_>>();
    let patch = told(&numbers(0), &numbers(5));
    assert_eq!(patch.len(), 1, "the whole is shorter");
}

#[test]
fn any_number_of_moves_edits_insertions_and_removals_come_out_exactly() {
    for seed in 0..1_500 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let named = rng.bool();
        let before: Vec<Value> = (0..rng.usize(..40)).map(|at| item(at, named && rng.u8(..10) > 0)).collect();
        let mut after = before.clone();
        for edit in 0..rng.usize(..12) {
            let at = rng.usize(..=after.len());
            match rng.u8(..6) {
                0 => after.insert(at, item(1_000 + edit, named)),
                1 if at < after.len() => drop(after.remove(at)),
                2 if at < after.len() => after[at] = with(&after[at], &Patch::new().replace("/done", edit as u64)),
                3 if at < after.len() => after.insert(rng.usize(..after.len()), after[at].clone()),
                _ if at < after.len() => {
                    let moved = after.remove(at);
                    let moved = if rng.u8(..3) > 0 { moved } else { with(&moved, &Patch::new().remove("/tags/0")) };
                    let moved = if moved.pointer("/tags/0").is_some() { moved } else { item(2_000 + edit, named) };
                    after.insert(rng.usize(..=after.len()), moved);
                }
                _ => {}
            }
        }
        told(&before, &after);
    }
}

#[test]
fn lists_made_to_be_hard_end_in_bounded_time_with_a_patch_that_can_be_applied() {
    let numbers =
        |text: &str, count: usize| Value::parse(format!("[{}9]", text.repeat(count)).as_bytes(), &Limits::default());
    let millions = numbers("0,", 2_000_000).unwrap();
    let edited = |patch: &Patch| with(&millions, patch);
    let ends = |from: i32| (0..200).fold(Patch::new(), |patch, at| patch.replace(format!("/{at}"), from + at));
    let backs = |from: i32| (0..200).fold(Patch::new(), |patch, at| patch.add("/-", from + at));
    let fronts = (0..30).fold(Patch::new(), |patch, _| patch.remove("/0"));
    let distinct = |from: u64| (0..400_000).map(|at| Value::from((at * 7_919 + from) % 1_000_003)).collect::<Value>();
    let shuffled = |seed: u64| {
        let mut items: Vec<Value> = (0..20_000).map(|at| Value::from(format!("{at:0>30}"))).collect();
        fastrand::Rng::with_seed(seed).shuffle(&mut items);
        Value::from(items)
    };
    let nested = |number: i32| {
        let mut value = Value::from((0..200).map(Value::from).chain([Value::from(number)]).collect::<Vec<_>>());
        for _ in 0..60 {
            value = Value::from(vec![Value::from(number), value, Value::from(1)]);
        }
        value
    };
    for (name, before, after) in [
        ("two rows of zeros with different fronts", edited(&ends(1)), edited(&ends(7_000))),
        ("two rows of zeros with different backs", edited(&backs(1)), edited(&backs(7_000))),
        ("many removed from a long front", millions.clone(), with(&edited(&fronts), &fronts)),
        ("every other one", numbers("0,", 1_000_000).unwrap(), numbers("0,1,", 1_000_000).unwrap()),
        ("nothing in common", distinct(1), distinct(500_000)),
        ("twenty thousand in another order", shuffled(1), shuffled(2)),
        ("arrays in arrays", nested(1), nested(2)),
        ("strings of a megabyte", Value::from(vec![Value::from("x".repeat(1 << 20)); 3]), numbers("0,", 3).unwrap()),
    ] {
        let began = Instant::now();
        let patch = diff(&before, &after);
        let took = began.elapsed();
        let mut document = before.clone();
        let applied = patch.apply(&mut document, Options::STRICT, &Limits::default());
        assert!(applied.is_ok(), "{name}: {:?}", applied.err());
        assert!(document.to_json() == after.to_json(), "{name}");
        // A tenth of that on an idle machine: a search without bounds takes minutes.
        assert!(took < Duration::from_secs(5), "{name}: {took:?}");
        println!("{name}: {took:?}, {} operations", patch.len());
    }
}
