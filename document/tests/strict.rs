//! Strict application, case by case: the situations that the community's json-patch-tests cover, in our own words, so
//! that whoever comes from another implementation finds the same answers here.
#![allow(clippy::unwrap_used, clippy::needless_raw_string_hashes, reason = "tests: a failure is the point")]

use syncbridge_document::{ApplyError, Invalid, Limits, Options, Patch, Value};

/// What is wrong, when something is.
#[derive(Debug, PartialEq)]
enum Wrong {
    /// No patch at all: 400.
    Malformed,
    /// A `test` that says no: 409.
    Test,
    /// A path that cannot be followed, or an operation that cannot be: 422.
    Path,
}
use Wrong::{Malformed, Path, Test};

fn run(document: &str, patch: &str) -> Result<String, Wrong> {
    let limits = Limits::default();
    let mut document = Value::parse(document.as_bytes(), &limits).unwrap();
    let before = document.to_json();
    let patch = match Patch::parse(patch.as_bytes(), &limits) {
        Ok(patch) => patch,
        Err(Invalid::Json { .. } | Invalid::Patch { .. } | Invalid::Pointer { .. }) => return Err(Malformed),
        Err(other) => panic!("{other:?}"),
    };
    let applied = patch.apply(&mut document, Options::STRICT, &limits);
    match applied {
        Ok(_) => Ok(document.to_string()),
        Err(error) => {
            assert_eq!(document.to_json(), before, "all or nothing: {error}");
            match error {
                ApplyError::TestFailed { .. } => Err(Test),
                ApplyError::PathNotFound { .. } | ApplyError::IntoItself { .. } | ApplyError::RemoveRoot { .. } => {
                    Err(Path)
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

type Case = (&'static str, &'static str, Result<&'static str, Wrong>);

#[track_caller]
fn all(cases: &[Case]) {
    for (document, patch, expected) in cases {
        let outcome = run(document, patch);
        assert_eq!(outcome.as_deref(), expected.as_ref().copied(), "{document} by {patch}");
    }
}

#[test]
fn a_patch_without_operations_leaves_any_document_alone() {
    all(&[
        ("{}", "[]", Ok("{}")),
        (r#"{"foo":1}"#, "[]", Ok(r#"{"foo":1}"#)),
        (r#"["foo"]"#, "[]", Ok(r#"["foo"]"#)),
        ("null", "[]", Ok("null")),
    ]);
}

#[test]
fn add_sets_members_inserts_items_and_replaces_the_whole() {
    all(&[
        ("{}", r#"[{"op":"add","path":"/foo","value":"1"}]"#, Ok(r#"{"foo":"1"}"#)),
        ("{}", r#"[{"op":"add","path":"/","value":1}]"#, Ok(r#"{"":1}"#)),
        (r#"{"foo":{}}"#, r#"[{"op":"add","path":"/foo/","value":1}]"#, Ok(r#"{"foo":{"":1}}"#)),
        (r#"{"foo":1}"#, r#"[{"op":"add","path":"/bar","value":[1,2]}]"#, Ok(r#"{"bar":[1,2],"foo":1}"#)),
        (r#"{"foo":1}"#, r#"[{"op":"add","path":"/foo","value":null}]"#, Ok(r#"{"foo":null}"#)),
        (r#"{"foo":null}"#, r#"[{"op":"add","path":"/foo","value":1}]"#, Ok(r#"{"foo":1}"#)),
        (r#"{"0":1}"#, r#"[{"op":"add","path":"/0","value":"bar"}]"#, Ok(r#"{"0":"bar"}"#)),
        (r#"{"foo":1}"#, r#"[{"op":"add","path":"/FOO","value":2}]"#, Ok(r#"{"FOO":2,"foo":1}"#)),
        (r#"{"foo":"bar"}"#, r#"[{"op":"add","path":"","value":{"baz":"qux"}}]"#, Ok(r#"{"baz":"qux"}"#)),
        ("[]", r#"[{"op":"add","path":"/0","value":"foo"}]"#, Ok(r#"["foo"]"#)),
        ("[]", r#"[{"op":"add","path":"/-","value":"foo"}]"#, Ok(r#"["foo"]"#)),
        (r#"["foo"]"#, r#"[{"op":"add","path":"/1","value":"bar"}]"#, Ok(r#"["foo","bar"]"#)),
        (r#"["foo","sil"]"#, r#"[{"op":"add","path":"/1","value":"bar"}]"#, Ok(r#"["foo","bar","sil"]"#)),
        (r#"["foo","sil"]"#, r#"[{"op":"add","path":"/0","value":"bar"}]"#, Ok(r#"["bar","foo","sil"]"#)),
        ("[1,2,[3,[4,5]]]", r#"[{"op":"add","path":"/2/1/-","value":["foo"]}]"#, Ok(r#"[1,2,[3,[4,5,["foo"]]]]"#)),
        (r#"["foo","sil"]"#, r#"[{"op":"add","path":"/3","value":"bar"}]"#, Err(Path)),
        (r#"["foo","sil"]"#, r#"[{"op":"add","path":"/-1","value":"bar"}]"#, Err(Path)),
        (r#"["foo","sil"]"#, r#"[{"op":"add","path":"/bar","value":42}]"#, Err(Path)),
        (r#"{"bar":[1,2]}"#, r#"[{"op":"add","path":"/bar/8","value":"5"}]"#, Err(Path)),
        (r#"{"bar":[1,2]}"#, r#"[{"op":"add","path":"/bar/-1","value":"5"}]"#, Err(Path)),
        (r#"{"q":{"bar":2}}"#, r#"[{"op":"add","path":"/a/b","value":1}]"#, Err(Path)),
        ("1", r#"[{"op":"add","path":"/foo","value":1}]"#, Err(Path)),
    ]);
}

#[test]
fn remove_takes_out_what_is_there_and_nothing_else() {
    all(&[
        (r#"{"foo":1,"bar":[1,2]}"#, r#"[{"op":"remove","path":"/bar"}]"#, Ok(r#"{"foo":1}"#)),
        (r#"{"foo":1,"baz":[{"qux":"a"}]}"#, r#"[{"op":"remove","path":"/baz/0/qux"}]"#, Ok(r#"{"baz":[{}],"foo":1}"#)),
        ("[1,2,3,4]", r#"[{"op":"remove","path":"/0"}]"#, Ok("[2,3,4]")),
        ("[1,2,3,4]", r#"[{"op":"remove","path":"/1"},{"op":"remove","path":"/2"}]"#, Ok("[1,3]")),
        (r#"{"foo":null}"#, r#"[{"op":"remove","path":"/foo"}]"#, Ok("{}")),
        ("[1,2,3,4]", r#"[{"op":"remove","path":"/1e0"}]"#, Err(Path)),
        (r#"{"foo":1,"baz":[{"qux":"a"}]}"#, r#"[{"op":"remove","path":"/baz/1e0/qux"}]"#, Err(Path)),
        (r#"{"foo":"bar"}"#, r#"[{"op":"remove","path":"/baz"}]"#, Err(Path)),
        (r#"{"foo":"bar"}"#, r#"[{"op":"remove","path":"/Foo"}]"#, Err(Path)),
        (r#"["foo","bar"]"#, r#"[{"op":"remove","path":"/2"}]"#, Err(Path)),
        (r#"["foo","bar"]"#, r#"[{"op":"remove","path":"/-"}]"#, Err(Path)),
    ]);
}

#[test]
fn replace_wants_something_to_replace() {
    all(&[
        (r#"{"foo":1}"#, r#"[{"op":"replace","path":"/foo","value":[1]}]"#, Ok(r#"{"foo":[1]}"#)),
        (r#"{"foo":"bar"}"#, r#"[{"op":"replace","path":"","value":{"baz":"qux"}}]"#, Ok(r#"{"baz":"qux"}"#)),
        ("{}", r#"[{"op":"replace","path":"","value":[1]}]"#, Ok("[1]")),
        (r#"["a"]"#, r#"[{"op":"replace","path":"/0","value":null}]"#, Ok("[null]")),
        (r#"{"foo":null}"#, r#"[{"op":"replace","path":"/foo","value":"truthy"}]"#, Ok(r#"{"foo":"truthy"}"#)),
        (r#"[{"foo":[1]}]"#, r#"[{"op":"replace","path":"/0/foo/0","value":{}}]"#, Ok(r#"[{"foo":[{}]}]"#)),
        (r#"{"foo":"bar"}"#, r#"[{"op":"replace","path":"/baz","value":1}]"#, Err(Path)),
        ("[0]", r#"[{"op":"replace","path":"/1","value":1}]"#, Err(Path)),
        (r#"{"foo":"bar"}"#, r#"[{"op":"replace","path":"/foo/bar","value":false}]"#, Err(Path)),
    ]);
}

#[test]
fn move_and_copy_carry_any_value_null_included() {
    all(&[
        (r#"{"foo":null}"#, r#"[{"op":"move","from":"/foo","path":"/foo"}]"#, Ok(r#"{"foo":null}"#)),
        (r#"{"foo":null}"#, r#"[{"op":"move","from":"/foo","path":"/bar"}]"#, Ok(r#"{"bar":null}"#)),
        (r#"{"foo":null}"#, r#"[{"op":"copy","from":"/foo","path":"/bar"}]"#, Ok(r#"{"bar":null,"foo":null}"#)),
        (
            r#"{"foo":1,"baz":[{"qux":"a"}]}"#,
            r#"[{"op":"move","from":"/foo","path":"/bar"}]"#,
            Ok(r#"{"bar":1,"baz":[{"qux":"a"}]}"#),
        ),
        (
            r#"{"baz":[{"qux":"a"}],"bar":1}"#,
            r#"[{"op":"move","from":"/baz/0/qux","path":"/baz/1"}]"#,
            Ok(r#"{"bar":1,"baz":[{},"a"]}"#),
        ),
        (
            r#"{"baz":[{"qux":"a"}],"bar":1}"#,
            r#"[{"op":"copy","from":"/baz/0","path":"/boo"}]"#,
            Ok(r#"{"bar":1,"baz":[{"qux":"a"}],"boo":{"qux":"a"}}"#),
        ),
        (r#"{"a":1,"b":2}"#, r#"[{"op":"move","from":"/a","path":"/b"}]"#, Ok(r#"{"b":1}"#)),
        (r#"{"a":1,"b":2}"#, r#"[{"op":"copy","from":"/a","path":"/b"}]"#, Ok(r#"{"a":1,"b":1}"#)),
        ("[1,2,3]", r#"[{"op":"move","from":"/0","path":"/-"}]"#, Ok("[2,3,1]")),
        ("[1,2,3]", r#"[{"op":"copy","from":"/0","path":"/-"}]"#, Ok("[1,2,3,1]")),
        (r#"{"a":{"b":{"c":1}}}"#, r#"[{"op":"move","from":"/a/b","path":"/a"}]"#, Ok(r#"{"a":{"c":1}}"#)),
        ("[1,2]", r#"[{"op":"copy","from":"/1e0","path":"/0"}]"#, Err(Path)),
        ("[1,2]", r#"[{"op":"move","from":"/-","path":"/0"}]"#, Err(Path)),
        (r#"{"foo":1}"#, r#"[{"op":"move","from":"/baz","path":"/foo"}]"#, Err(Path)),
        (r#"{"foo":1}"#, r#"[{"op":"copy","from":"/baz","path":"/foo"}]"#, Err(Path)),
        (r#"{"a":{"b":1}}"#, r#"[{"op":"move","from":"/a","path":"/a/b/c"}]"#, Err(Path)),
    ]);
}

#[test]
fn test_compares_values_and_not_how_they_are_written() {
    all(&[
        (
            r#"{"foo":{"foo":[1,2],"bar":{}}}"#,
            r#"[{"op":"test","path":"/foo","value":{"bar":{},"foo":[1,2]}}]"#,
            Ok(r#"{"foo":{"bar":{},"foo":[1,2]}}"#),
        ),
        (r#"{"foo":null}"#, r#"[{"op":"test","path":"/foo","value":null}]"#, Ok(r#"{"foo":null}"#)),
        (
            r#"{"foo":{"bar":[1,2,5,4]}}"#,
            r#"[{"op":"test","path":"/foo/bar","value":[1,2,5,4]}]"#,
            Ok(r#"{"foo":{"bar":[1,2,5,4]}}"#),
        ),
        (r#"{"":1}"#, r#"[{"op":"test","path":"/","value":1}]"#, Ok(r#"{"":1}"#)),
        (r#"{"foo":1}"#, r#"[{"op":"test","path":"","value":{"foo":1e0}}]"#, Ok(r#"{"foo":1}"#)),
        ("[100]", r#"[{"op":"test","path":"/0","value":1e2}]"#, Ok("[100]")),
        ("[0]", r#"[{"op":"test","path":"/0","value":-0.0}]"#, Ok("[0]")),
        ("[\"\\u00e9\"]", r#"[{"op":"test","path":"/0","value":"é"}]"#, Ok("[\"é\"]")),
        (r#"{"foo":null}"#, r#"[{"op":"test","path":"/foo","value":0}]"#, Err(Test)),
        (r#"{"foo":null}"#, r#"[{"op":"test","path":"/foo","value":false}]"#, Err(Test)),
        (r#"{"foo":"bar"}"#, r#"[{"op":"test","path":"/foo","value":["bar"]}]"#, Err(Test)),
        (r#"{"foo":["bar"]}"#, r#"[{"op":"test","path":"/foo","value":"bar"}]"#, Err(Test)),
        ("[1]", r#"[{"op":"test","path":"/0","value":"1"}]"#, Err(Test)),
        ("[true]", r#"[{"op":"test","path":"/0","value":1}]"#, Err(Test)),
        ("[[1,2]]", r#"[{"op":"test","path":"/0","value":[2,1]}]"#, Err(Test)),
        ("[{}]", r#"[{"op":"test","path":"/0","value":{"a":null}}]"#, Err(Test)),
        ("[[]]", r#"[{"op":"test","path":"/0","value":{}}]"#, Err(Test)),
        (r#"["foo","bar"]"#, r#"[{"op":"test","path":"/00","value":"foo"}]"#, Err(Path)),
        (r#"["foo","bar"]"#, r#"[{"op":"test","path":"/01","value":"bar"}]"#, Err(Path)),
        (r#"{"foo":"bar"}"#, r#"[{"op":"test","path":"/baz","value":null}]"#, Err(Path)),
        (
            r#"{"foo":"bar"}"#,
            r#"[{"op":"replace","path":"/foo","value":1},{"op":"test","path":"/foo","value":"bar"}]"#,
            Err(Test),
        ),
    ]);
}

#[test]
fn what_is_no_patch_is_refused_before_anything_is_looked_at() {
    for patch in [
        r#"{"op":"add","path":"/a","value":1}"#,
        r#"[{"op":"spam","path":"/a","value":1}]"#,
        r#"[{"op":"Add","path":"/a","value":1}]"#,
        r#"[{"path":"/a","value":1}]"#,
        r#"[{"op":"add","value":1}]"#,
        r#"[{"op":"add","path":null,"value":1}]"#,
        r#"[{"op":"add","path":"a","value":1}]"#,
        r#"[{"op":"add","path":"/a"}]"#,
        r#"[{"op":"replace","path":"/a"}]"#,
        r#"[{"op":"test","path":"/a"}]"#,
        r#"[{"op":"copy","path":"/a"}]"#,
        r#"[{"op":"move","path":"/a"}]"#,
        r#"[{"op":"move","path":"/a","from":"b"}]"#,
        r#"[{"op":"add","path":"/a","value":1,"op":"remove"}]"#,
        r#"[{"op":"add","path":"/a","value":1},null]"#,
        r#"[{"op":"add","path":"/~","value":1}]"#,
        r#"[{"op":"add","path":"/a","value":01}]"#,
        "[[]]",
        "[",
        "",
        "null",
    ] {
        assert_eq!(run("{}", patch), Err(Malformed), "{patch}");
    }
}
