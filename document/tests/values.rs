//! What a document keeps of the text it came from, what it claims about itself, and what becomes of it in serde.
#![allow(clippy::unwrap_used, reason = "tests: a failure is the point")]

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use syncbridge_document::{Limits, Options, Patch, Value, diff};

fn value(text: &str) -> Value {
    Value::parse(text.as_bytes(), &Limits::default()).unwrap()
}

#[test]
fn numbers_keep_their_value_and_their_kind() {
    for (text, written) in [
        ("0", "0"),
        ("-0", "-0.0"),
        ("-0.0", "-0.0"),
        ("1.0", "1.0"),
        ("1e2", "100.0"),
        ("9223372036854775807", "9223372036854775807"),
        ("9223372036854775808", "9223372036854775808"),
        ("18446744073709551615", "18446744073709551615"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("18446744073709551616", "1.8446744073709552e+19"),
        ("0.1", "0.1"),
        ("5e-324", "5e-324"),
        ("1.7976931348623157e308", "1.7976931348623157e+308"),
        ("0.30000000000000004", "0.30000000000000004"),
    ] {
        let read = value(text);
        assert_eq!(read.to_string(), serde_json::from_str::<serde_json::Value>(text).unwrap().to_string(), "{text}");
        assert_eq!(read.to_string().replace("e+", "e"), written.replace("e+", "e"), "{text}");
        assert_eq!(read.json_size(), read.to_json().len(), "{text}");
    }
    let mut rng = fastrand::Rng::with_seed(4);
    for _ in 0..100_000 {
        let float = f64::from_bits(rng.u64(..));
        let number = Value::from(float);
        assert_eq!(number.is_null(), !float.is_finite());
        if float.is_finite() {
            let again = value(&number.to_string());
            assert_eq!(again.as_f64().map(f64::to_bits), Some(float.to_bits()));
            assert_eq!(number.json_size(), number.to_json().len());
        }
        for integer in [Value::from(rng.i64(..) >> rng.u8(..64)), Value::from(rng.u64(..) >> rng.u8(..64))] {
            assert_eq!(integer.json_size(), integer.to_json().len());
            assert_eq!(value(&integer.to_string()).to_json(), integer.to_json());
        }
    }
}

#[test]
fn equality_is_of_numbers_and_of_members_in_any_order() {
    assert_eq!(value(r#"{"a":1,"b":[1.0]}"#), value(r#"{"b":[1],"a":1.0}"#));
    assert_eq!(value("-0.0"), value("0"));
    assert_ne!(value("9007199254740993"), value("9007199254740992.0"));
    assert_ne!(value("1"), value("1.5"));
    assert_ne!(value("18446744073709551615"), value("18446744073709551616"));
    assert_ne!(value("1"), value("\"1\""));
    assert_ne!(value("1"), value("true"));
    assert_ne!(value("0"), value("null"));
    assert_ne!(value("[1,2]"), value("[2,1]"));
    assert_ne!(value("{}"), value("[]"));
    assert_ne!(value(r#"{"a":null}"#), value("{}"));
}

#[test]
fn of_members_with_one_name_the_last_stays_and_all_are_sorted() {
    assert_eq!(value(r#"{"b":1,"a":2,"b":3,"":4,"b":{"x":5}}"#).to_string(), r#"{"":4,"a":2,"b":{"x":5}}"#);
    let members = [("b", Value::from(1)), ("a", Value::from(2)), ("b", Value::from(3))];
    assert_eq!(Value::from_members(members).to_string(), r#"{"a":2,"b":3}"#);
}

#[test]
fn every_character_is_written_as_serde_json_writes_it() {
    let text: String = (0..0x300).chain([0x2028, 0xfffd, 0x1f600]).filter_map(char::from_u32).collect();
    let written = Value::from(text.as_str());
    assert_eq!(written.to_string(), serde_json::to_string(&text).unwrap());
    assert_eq!(written.json_size(), written.to_json().len());
    let named = Value::from_members([(text.as_str(), Value::null())]);
    assert_eq!(named.json_size(), named.to_json().len());
    assert_eq!(value(&named.to_string()), named);
}

#[test]
fn a_change_is_exact_where_equality_is_not() {
    let mut document = value(r#"{"a":1,"l":[1]}"#);
    for (patch, changed) in [
        (Patch::new().replace("/a", 1), false),
        (Patch::new().add("/l", value("[1]")), false),
        (Patch::new().test("/a", 1.0), false),
        (Patch::new().move_("/a", "/a"), false),
        (Patch::new().copy("/l", "/l"), false),
        (Patch::new(), false),
        (Patch::new().replace("/a", 1.0), true),
        (Patch::new().add("/l/-", 1), true),
        (Patch::new().remove("/l/0"), true),
    ] {
        let before = document.to_json();
        let applied = patch.apply(&mut document, Options::STRICT, &Limits::default()).unwrap();
        assert_eq!(applied.changed, changed, "{patch:?}");
        assert_eq!(document.to_json() != before, changed, "{patch:?}");
    }
}

#[test]
fn lenient_adds_make_what_is_missing_and_nothing_else() {
    let apply = |document: &str, patch: &Patch| {
        let mut document = value(document);
        let applied = patch.apply(&mut document, Options::LENIENT, &Limits::default())?;
        Ok::<_, syncbridge_document::ApplyError>((document.to_string(), applied.effective))
    };
    let (document, effective) = apply("{}", &Patch::new().test("", Value::object()).add("/a/b/c", 1)).unwrap();
    assert_eq!(document, r#"{"a":{"b":{"c":1}}}"#);
    let made = Patch::new().test("", Value::object()).add("/a", value(r#"{"b":{"c":1}}"#));
    assert_eq!(effective, Some(made));
    let (document, effective) = apply(r#"{"a":{}}"#, &Patch::new().add("/a/l~1og/-", 1).add("/a/x", 2)).unwrap();
    assert_eq!(document, r#"{"a":{"l/og":[1],"x":2}}"#);
    assert_eq!(effective, Some(Patch::new().add("/a/l~1og", value("[1]")).add("/a/x", 2)));
    assert_eq!(apply(r#"{"a":{}}"#, &Patch::new().add("/a/x", 2)).unwrap().1, None, "strict as it is");
    for (document, patch) in [
        (r#"{"a":null}"#, Patch::new().add("/a/b", 1)),
        (r#"{"a":[]}"#, Patch::new().add("/a/0/b", 1)),
        (r#"{"a":[]}"#, Patch::new().add("/a/-/b", 1)),
        ("{}", Patch::new().add("/a/-/b", 1)),
        ("{}", Patch::new().replace("/a/b", 1)),
        ("{}", Patch::new().add("/x", 1).copy("/x", "/a/b")),
        ("[]", Patch::new().add("/1", 1)),
    ] {
        assert!(apply(document, &patch).is_err(), "{document} by {patch:?}");
    }
}

#[test]
fn merging_goes_key_by_key_and_falls_back_when_that_is_too_many_operations() {
    let old = r#"{"k":{"a":1,"b":{"c":2,"d":3},"l":[1,2]},"z":0}"#;
    let new = value(r#"{"b":{"c":2,"e":4},"l":[3],"m":{}}"#);
    let merged = r#"{"k":{"a":1,"b":{"c":2,"d":3,"e":4},"l":[3],"m":{}},"z":0}"#;
    let options = Options { lenient: false, merge: true };
    for patch in [Patch::new().add("/k", new.clone()), Patch::new().replace("/k", new)] {
        let mut document = value(old);
        let applied = patch.apply(&mut document, options, &Limits::default()).unwrap();
        assert_eq!(document.to_string(), merged);
        let expected = Patch::new().add("/k/b/e", 4).replace("/k/l", value("[3]")).add("/k/m", Value::object());
        assert_eq!(applied.effective, Some(expected));
        let mut document = value(old);
        let applied = patch.apply(&mut document, options, &Limits { operations: 2, ..Limits::default() }).unwrap();
        assert_eq!(document.to_string(), merged);
        assert_eq!(applied.effective, Some(Patch::new().replace("/k", document.get("k").unwrap().clone())));
        // Once more: nothing changes, and nothing is to be sent.
        let applied = patch.apply(&mut document, options, &Limits::default()).unwrap();
        assert!(!applied.changed && applied.effective.is_some_and(|patch| patch.is_empty()));
    }
}

#[test]
fn diffs_are_what_a_person_would_write() {
    for (before, after, expected) in [
        ("{}", "{}", "[]"),
        (
            r#"{"a":1,"b":2}"#,
            r#"{"b":3,"c":4}"#,
            r#"[{"op":"remove","path":"/a"},{"op":"replace","path":"/b","value":3},{"op":"add","path":"/c","value":4}]"#,
        ),
        ("[1,2]", "[1,2,3,4]", r#"[{"op":"add","path":"/-","value":3},{"op":"add","path":"/-","value":4}]"#),
        (
            "[10,20,30,40,50,60,70,80,90,11,12,13,14,15,16]",
            "[20,30,40,50,60,70,80,90,11,12,13,14,15,16]",
            r#"[{"op":"remove","path":"/0"}]"#,
        ),
        ("[[1,2],[3,4]]", "[[1,2],[3,5]]", r#"[{"op":"replace","path":"/1/1","value":5}]"#),
        (r#"{"a/b":{"~":1}}"#, r#"{"a/b":{"~":2}}"#, r#"[{"op":"replace","path":"/a~1b/~0","value":2}]"#),
        ("[1,2,3]", "[4,5]", r#"[{"op":"replace","path":"","value":[4,5]}]"#),
        ("1", "1.0", r#"[{"op":"replace","path":"","value":1.0}]"#),
        ("{}", "[]", r#"[{"op":"replace","path":"","value":[]}]"#),
    ] {
        assert_eq!(format!("{:?}", diff(&value(before), &value(after))), expected, "{before} → {after}");
    }
    let many = |from: i32| (from..from + 5000).map(|at| (format!("k{at}"), Value::from(at)));
    let patch = diff(&Value::from_members(many(0)), &Value::from_members(many(2500)));
    assert_eq!(patch.len(), 1, "no more operations than a patch may have");
    let fields =
        |at: i32| Value::from_members([("id", Value::from(at)), ("text", Value::from("a long text ".repeat(4)))]);
    let before: Value = (0..100).map(fields).collect();
    let mut after = before.clone();
    Patch::new()
        .replace("/7/id", -7)
        .replace("/80/text", "")
        .apply(&mut after, Options::STRICT, &Limits::default())
        .unwrap();
    assert_eq!(diff(&before, &after), Patch::new().replace("/7/id", -7).replace("/80/text", ""));
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Typed {
    name: String,
    count: u64,
    below: i64,
    ratio: f32,
    some: Option<bool>,
    none: Option<bool>,
    pair: (u8, char),
    by_number: BTreeMap<u32, Kind>,
    unit: (),
    new: Newtype,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Newtype(Vec<Kind>);

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    Unit,
    One(i32),
    Two(i32, i32),
    Named { x: i32 },
}

#[test]
fn a_typed_view_reads_what_serde_json_would() {
    let typed = Typed {
        name: "n".into(),
        count: u64::MAX,
        below: -1,
        ratio: 0.5,
        some: Some(true),
        none: None,
        pair: (1, 'é'),
        by_number: BTreeMap::from([(1, Kind::Unit), (20, Kind::One(1))]),
        unit: (),
        new: Newtype(vec![Kind::Two(1, 2), Kind::Named { x: 3 }]),
    };
    let document = Value::from_serialize(&typed).unwrap();
    assert_eq!(document.deserialize::<Typed>().unwrap(), typed);
    assert_eq!(serde_json::to_value(&document).unwrap(), serde_json::to_value(&typed).unwrap());
    assert_eq!(document.to_serde(), serde_json::to_value(&typed).unwrap());
    assert_eq!(Value::from_serde(&document.to_serde()).to_json(), document.to_json());
    for (text, expected) in [
        (r#""Unit""#, Some(Kind::Unit)),
        (r#"{"Unit":null}"#, Some(Kind::Unit)),
        (r#"{"Unit":1}"#, None),
        (r#""One""#, None),
        (r#"{"Two":[1]}"#, None),
        (r#"{"Two":[1,2,3]}"#, None),
        (r#"{"Named":{"x":1}}"#, Some(Kind::Named { x: 1 })),
        (r#"{"One":1,"Unit":null}"#, None),
        ("1", None),
    ] {
        assert_eq!(value(text).deserialize::<Kind>().ok(), expected, "{text}");
        assert_eq!(serde_json::from_str::<Kind>(text).ok(), expected, "{text}: as serde_json");
    }
}

#[test]
fn documents_and_patches_go_from_thread_to_thread() {
    fn goes<T: Send + Sync + Clone + 'static>(_: &T) {}
    goes(&Value::null());
    goes(&Patch::new());
    goes(&Patch::new().touches(&Value::null()));
}
