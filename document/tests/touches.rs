//! The tables of `Touches`, row by row: what two patches touch, and whether they overlap.
#![allow(clippy::unwrap_used, reason = "tests: a failure is the point")]

use syncbridge_document::{Limits, Options, Patch, Value};

const DOCUMENT: &str = r#"{"a":{"b":{"c":1},"bb":2},"list":[10,{"tags":["x"],"n":1},12],"m":1}"#;

fn document() -> Value {
    Value::parse(DOCUMENT.as_bytes(), &Limits::default()).unwrap()
}

/// `(older, newer, overlap)`: `None`, or the newer's pointer and whether it is an array's.
fn check(older: &Patch, newer: &Patch, expected: Option<(&str, bool)>) {
    let overlap = older.touches(&document()).overlap(&newer.touches(&document()));
    let found = overlap.as_ref().map(|overlap| (overlap.pointer.as_str(), overlap.array));
    assert_eq!(found, expected, "older {older:?}, newer {newer:?}");
}

/// As `check`, and the same with the two exchanged, where the newer touches `back`.
fn both(one: &Patch, other: &Patch, there: &str, back: &str, array: bool) {
    check(one, other, Some((there, array)));
    check(other, one, Some((back, array)));
}

fn never(one: &Patch, other: &Patch) {
    check(one, other, None);
    check(other, one, None);
}

fn p() -> Patch {
    Patch::new()
}

#[test]
fn values_overlap_when_one_is_the_other_or_lies_in_it() {
    both(&p().replace("/m", 2), &p().add("/m", 3), "/m", "/m", false);
    both(&p().remove("/m"), &p().replace("/m", 3), "/m", "/m", false);
    both(&p().replace("/a", 2), &p().replace("/a/b/c", 3), "/a/b/c", "/a", false);
    both(&p().replace("", 2), &p().add("/new", 3), "/new", "", false);
    never(&p().replace("/a/b", 2), &p().replace("/a/bb", 3));
    never(&p().replace("/a/b/c", 2), &p().add("/a/b/d", 3));
    never(&p().add("/a/x", 2), &p().remove("/a/b"));
}

#[test]
fn a_test_touches_nothing() {
    never(&p().test("/m", 1), &p().replace("/m", 3));
    assert!(p().test("/m", 1).touches(&document()).is_empty());
}

#[test]
fn moves_touch_both_ends_and_copies_read_one() {
    both(&p().move_("/m", "/n"), &p().replace("/m", 3), "/m", "/m", false);
    both(&p().move_("/m", "/n"), &p().add("/n", 3), "/n", "/n", false);
    both(&p().copy("/a", "/n"), &p().replace("/a/b/c", 3), "/a/b/c", "/a", false);
    both(&p().copy("/a", "/n"), &p().add("/n", 3), "/n", "/n", false);
    never(&p().copy("/a", "/n"), &p().copy("/a", "/o"));
    never(&p().copy("/list/0", "/n"), &p().add("/list/-", 3));
    check(&p().copy("/list", "/n"), &p().add("/list/-", 3), None);
    check(&p().add("/list/-", 3), &p().copy("/list", "/n"), Some(("/list", false)));
    both(&p().copy("/list/0", "/n"), &p().remove("/list/0"), "/list", "/list/0", true);
    both(&p().copy("/list", "/n"), &p().remove("/list/0"), "/list", "/list", true);
    both(&p().copy("", "/n"), &p().remove("/list/0"), "/list", "", false);
    both(&p().move_("/m", "/m"), &p().remove("/m"), "/m", "/m", false);
}

#[test]
fn indexes_of_an_array_whose_shape_changed_are_conflicts() {
    for shape in [
        p().add("/list/0", 1),
        p().add("/list/3", 1),
        p().remove("/list/1"),
        p().move_("/list/0", "/list/2"),
        p().move_("/list/0", "/n"),
        p().move_("/m", "/list/0"),
        p().copy("/m", "/list/0"),
    ] {
        both(&shape, &p().add("/list/1", 2), "/list", "/list", true);
        both(&shape, &p().replace("/list/2", 2), "/list/2", "/list", true);
        both(&shape, &p().replace("/list/1/n", 2), "/list/1/n", "/list", true);
        both(&shape, &p().remove("/list/1/tags/0"), "/list/1/tags", "/list", true);
        both(&shape, &p().add("/list/1/tags/-", 2), "/list/1/tags", "/list", true);
        both(&shape, &p().replace("/list", 2), "/list", "/list", true);
        both(&shape, &p().remove("/list"), "/list", "/list", true);
        // Around the array: what replaces it all may do so, but an index into what was replaced means nothing.
        check(&shape, &p().replace("", 2), Some(("", false)));
        check(&p().replace("", 2), &shape, Some(("/list", true)));
        never(&shape, &p().add("/list/-", 1));
        never(&shape, &p().replace("/a", 1));
    }
}

#[test]
fn items_replaced_at_different_indexes_are_disjoint() {
    never(&p().replace("/list/0", 1), &p().replace("/list/2", 1));
    both(&p().replace("/list/1", 1), &p().replace("/list/1", 2), "/list/1", "/list/1", false);
    both(&p().replace("/list/1", 1), &p().replace("/list/1/n", 2), "/list/1/n", "/list/1", false);
}

#[test]
fn appends_go_with_everything_inside_the_array_and_are_not_undone_by_its_replacement() {
    let append = p().add("/list/-", 1);
    never(&append, &append);
    for inside in [
        p().replace("/list/0", 1),
        p().replace("/list/1/n", 1),
        p().remove("/list/2"),
        p().add("/list/0", 1),
        p().add("/list/1/tags/-", 1),
        p().remove("/list/1/tags/0"),
    ] {
        never(&append, &inside);
    }
    for (replacement, path) in
        [(p().replace("/list", 1), "/list"), (p().remove("/list"), "/list"), (p().replace("", 1), "")]
    {
        check(&append, &replacement, Some((path, false)));
        check(&replacement, &append, None);
    }
    never(&append, &p().replace("/m", 1));
}

#[test]
fn a_patch_that_names_its_own_appended_items_by_index_counts_on_the_length() {
    let append = p().add("/list/-", 1);
    for counting in [
        p().add("/list/-", 1).replace("/list/3", 2),
        p().add("/list/-", 1).remove("/list/3"),
        p().add("/list/-", 1).copy("/list/3", "/n"),
        p().add("/list/-", 1).move_("/list/3", "/n"),
        p().add("/list/-", 1).test("/list/3", 1),
        p().add("/list/-", Value::object()).add("/list/3/x", 1),
        p().add("/list/-", 1).add("/list/4", 1),
        p().add("/list/-", 1).add("/list/0", 0).replace("/list/4", 2),
        p().add("/list/-", 1).remove("/list/0").replace("/list/2", 2),
    ] {
        both(&counting, &append, "/list", "/list", true);
        never(&counting, &p().replace("/m", 1));
    }
    for not_counting in [
        p().add("/list/-", 1).replace("/list/2", 2),
        p().add("/list/-", 1).add("/list/-", 2),
        p().add("/list/-", 1).add("/list/3", 2),
        p().add("/list/-", 1).add("/list/0", 0).replace("/list/3", 2),
        p().add("/list/-", 1).remove("/list/0").replace("/list/1", 2),
    ] {
        never(&not_counting, &append);
    }
}

#[test]
fn an_array_conflict_is_found_behind_a_lesser_overlap() {
    let older = p().replace("/m", 2).add("/list/0", 1);
    check(&older, &p().replace("/m", 3).replace("/list/0", 4), Some(("/list/0", true)));
    let many: Patch = (0..100).fold(p(), |patch, at| patch.add(format!("/n{at}"), at));
    check(&many.clone().concat(older.clone()), &p().replace("/m", 3).remove("/list/0"), Some(("/list", true)));
    check(&p().replace("/m", 3).remove("/list/0"), &many.clone().concat(older), Some(("/list", true)));
    check(&many, &p().add("/n99", 3), Some(("/n99", false)));
    check(&many, &p().replace("/m", 3), None);
}

#[test]
fn lenient_adds_below_the_same_missing_parent_go_together() {
    let (one, other) = (p().add("/new/deep/x", 1), p().add("/new/deep/y", 2));
    never(&one, &other);
    both(&one, &p().add("/new", 1), "/new", "/new/deep/x", false);
    never(&p().add("/log/-", 1), &p().add("/log/-", 2));
    both(&p().add("/log/-", 1).replace("/log/0", 3), &p().add("/log/-", 2), "/log", "/log", true);
    let mut document = document();
    for patch in [one, other, p().add("/log/-", 1), p().add("/log/-", 2)] {
        let touches = patch.touches(&document);
        let applied = patch.apply(&mut document, Options::LENIENT, &Limits::default()).unwrap();
        assert_eq!(applied.touches, touches);
    }
    assert_eq!(document.pointer("/new").unwrap().to_string(), r#"{"deep":{"x":1,"y":2}}"#);
    assert_eq!(document.pointer("/log").unwrap().to_string(), "[1,2]");
}

#[test]
fn what_cannot_be_applied_touches_what_it_names() {
    both(&p().replace("/gone/x", 1), &p().add("/gone", 1), "/gone", "/gone/x", false);
    both(&p().move_("/gone", "/n"), &p().add("/gone", 1), "/gone", "/gone", false);
    both(&p().copy("/gone", "/n"), &p().add("/gone", 1), "/gone", "/gone", false);
    assert!(p().test("/gone", 1).touches(&document()).is_empty());
}

#[test]
fn a_merge_touches_the_members_that_it_sets() {
    let mut document = document();
    let merge = Options { merge: true, ..Options::STRICT };
    let value = Value::parse(br#"{"b":{"c":1,"d":2},"bb":3}"#, &Limits::default()).unwrap();
    let applied = p().replace("/a", value).apply(&mut document, merge, &Limits::default()).unwrap();
    assert_eq!(applied.effective, Some(p().add("/a/b/d", 2).replace("/a/bb", 3)));
    let touched = |newer: &Patch| applied.touches.overlap(&newer.touches(&document)).map(|overlap| overlap.pointer);
    assert_eq!(touched(&p().replace("/a/b/c", 1)), None);
    assert_eq!(touched(&p().replace("/a/b/d", 1)), Some("/a/b/d".to_owned()));
    assert_eq!(touched(&p().replace("/a/bb", 1)), Some("/a/bb".to_owned()));
}

#[test]
fn the_memory_of_touches_is_accounted_for() {
    let few = p().add("/m", 1).touches(&document()).bytes();
    let many = (0..100).fold(p(), |patch, at| patch.add(format!("/n{at}"), at)).touches(&document()).bytes();
    assert!(few >= 24 && many > 50 * few, "{few} and {many}");
}
