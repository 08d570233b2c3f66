//! JSON Merge Patch: every test case of RFC 7396 (§1, §3, appendix A), the corners, and what must hold for all.
#![allow(clippy::unwrap_used, clippy::needless_raw_string_hashes, reason = "tests: a failure is the point")]

mod generate;

use std::time::{Duration, Instant};

use syncbridge_document::{Limits, Options, Value, diff, merge_patch};

fn value(text: &str) -> Value {
    Value::parse(text.as_bytes(), &Limits::default()).unwrap()
}

/// (target, patch, outcome)
const CASES: &[(&str, &str, &str)] = &[
    // §1
    (r#"{"a":"b","c":{"d":"e","f":"g"}}"#, r#"{"a":"z","c":{"f":null}}"#, r#"{"a":"z","c":{"d":"e"}}"#),
    // §3
    (
        r#"{"title":"Goodbye!","author":{"givenName":"John","familyName":"Doe"},"tags":["example","sample"],"content":"This will be unchanged"}"#,
        r#"{"title":"Hello!","phoneNumber":"+01-123-456-7890","author":{"familyName":null},"tags":["example"]}"#,
        r#"{"title":"Hello!","author":{"givenName":"John"},"tags":["example"],"content":"This will be unchanged","phoneNumber":"+01-123-456-7890"}"#,
    ),
    // Appendix A
    (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
    (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
    (r#"{"a":"b"}"#, r#"{"a":null}"#, r#"{}"#),
    (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
    (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
    (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
    (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
    (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
    (r#"["a","b"]"#, r#"["c","d"]"#, r#"["c","d"]"#),
    (r#"{"a":"b"}"#, r#"["c"]"#, r#"["c"]"#),
    (r#"{"a":"foo"}"#, "null", "null"),
    (r#"{"a":"foo"}"#, r#""bar""#, r#""bar""#),
    (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
    ("[1,2]", r#"{"a":"b","c":null}"#, r#"{"a":"b"}"#),
    ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
    // Corners
    ("1", "{}", "{}"),
    ("{}", "{}", "{}"),
    (r#"{"a":1}"#, r#"{"a":1.0}"#, r#"{"a":1.0}"#),
    (r#"{"a":9007199254740993}"#, r#"{"a":9007199254740992}"#, r#"{"a":9007199254740992}"#),
    (r#"{"a":null}"#, r#"{"a":null}"#, "{}"),
    ("{}", r#"{"a":[null,{"b":null}]}"#, r#"{"a":[null,{"b":null}]}"#),
    (r#"{"b":1}"#, r#"{"b":{"c":null,"d":{"e":null,"f":2}},"a":null}"#, r#"{"b":{"d":{"f":2}}}"#),
    (r#"{"a/b":{"m~n":1}}"#, r#"{"a/b":{"m~n":null}}"#, r#"{"a/b":{}}"#),
    (r#"{"":{"":1}}"#, r#"{"":{"":{}}}"#, r#"{"":{"":{}}}"#),
];

#[test]
fn the_cases_of_the_rfc_and_the_corners_come_out_as_written() {
    for (target, patch, outcome) in CASES {
        let (target, patch, outcome) = (value(target), value(patch), value(outcome));
        let merged = merge_patch(&target, &patch);
        assert_eq!(merged.to_json(), outcome.to_json(), "{target} by {patch}");
        let mut followed = target.clone();
        diff(&target, &merged).apply(&mut followed, Options::STRICT, &Limits::default()).unwrap();
        assert_eq!(followed.to_json(), outcome.to_json(), "{target} by {patch} as a JSON Patch");
    }
}

/// The pseudocode of RFC 7396 §2, over another implementation of JSON.
fn oracle(target: &serde_json::Value, patch: &serde_json::Value) -> serde_json::Value {
    let Some(changes) = patch.as_object() else { return patch.clone() };
    let mut members = target.as_object().cloned().unwrap_or_default();
    for (name, change) in changes {
        if change.is_null() {
            members.remove(name);
        } else {
            let old = members.get(name).cloned().unwrap_or_default();
            members.insert(name.clone(), oracle(&old, change));
        }
    }
    serde_json::Value::Object(members)
}

#[test]
fn any_two_documents_merge_as_the_pseudocode_of_the_rfc_says() {
    let mut changed = 0;
    for seed in 0..30_000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let target = generate::document(&mut rng, false);
        let patch = generate::document(&mut rng, false);
        let merged = merge_patch(&target, &patch);
        assert_eq!(
            merged.to_serde(),
            oracle(&target.to_serde(), &patch.to_serde()),
            "seed {seed}: {target} by {patch}"
        );
        assert_eq!(merged.json_size(), merged.to_json().len(), "seed {seed}");
        assert!(merged.json_size() <= target.json_size() + patch.json_size(), "seed {seed}");
        assert_eq!(merge_patch(&merged, &patch).to_json(), merged.to_json(), "seed {seed}: once more changes nothing");
        changed += usize::from(merged != target);
        let mut followed = target.clone();
        diff(&target, &merged).apply(&mut followed, Options::STRICT, &Limits::default()).unwrap();
        assert_eq!(followed.to_json(), merged.to_json(), "seed {seed}");
    }
    assert!(changed > 20_000, "{changed}");
}

#[test]
fn what_the_patch_leaves_alone_is_not_touched_nor_told_again() {
    let list: Value = (0..1_000).map(|at| Value::from(format!("item {at}"))).collect();
    let target =
        Value::from_members([("list", list), ("title", Value::from("a")), ("n", value(r#"{"deep":{"x":1}}"#))]);
    assert!(diff(&target, &merge_patch(&target, &value(r#"{"n":{"deep":{"x":1}},"none":null}"#))).is_empty());
    let patch = diff(&target, &merge_patch(&target, &value(r#"{"title":"b","n":{"deep":{"y":null,"z":2}}}"#)));
    assert_eq!(
        String::from_utf8(patch.to_json()).unwrap(),
        r#"[{"op":"add","path":"/n/deep/z","value":2},{"op":"replace","path":"/title","value":"b"}]"#
    );
}

#[test]
fn the_deepest_and_the_widest_patch_are_merged_in_bounded_time() {
    let limits = Limits { depth: 127, ..Limits::default() };
    let deep = |inner: &str| {
        Value::parse(format!("{}{inner}{}", r#"{"a":"#.repeat(126), "}".repeat(126)).as_bytes(), &limits).unwrap()
    };
    let merged = merge_patch(&deep(r#"{"b":1}"#), &deep(r#"{"b":null,"c":2}"#));
    assert_eq!(merged.to_json(), deep(r#"{"c":2}"#).to_json());

    let members = 200_000;
    let wide = |value: Value| Value::from_members((0..members).map(|at| (at.to_string(), value.clone())));
    let began = Instant::now();
    assert_eq!(merge_patch(&wide(Value::from(1)), &wide(Value::null())).to_json(), b"{}");
    assert_eq!(merge_patch(&wide(Value::object()), &wide(Value::object())).as_object().unwrap().len(), members);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}
