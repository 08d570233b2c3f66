//! The examples of RFC 6902 (appendix A) and RFC 6901, and the corners where implementations differ.
#![allow(
    clippy::unwrap_used,
    clippy::needless_raw_string_hashes,
    reason = "tests: a failure is the point; texts side by side"
)]

use syncbridge_document::{ApplyError, Invalid, Limits, Options, Patch, Value};

fn value(text: &str) -> Value {
    Value::parse(text.as_bytes(), &Limits::default()).unwrap()
}

fn patch(text: &str) -> Patch {
    Patch::parse(text.as_bytes(), &Limits::default()).unwrap()
}

fn apply(document: &str, operations: &str) -> Result<String, ApplyError> {
    let mut document = value(document);
    let before = document.clone();
    let result = patch(operations).apply(&mut document, Options::STRICT, &Limits::default());
    assert_eq!(document.to_json().len(), document.json_size());
    match result {
        Ok(applied) => {
            assert!(applied.effective.is_none(), "strict is what was sent");
            Ok(document.to_string())
        }
        Err(error) => {
            assert_eq!(document.to_json(), before.to_json(), "after {error}");
            Err(error)
        }
    }
}

/// (what it shows, document, patch, result or `None` for a failure)
const EXAMPLES: &[(&str, &str, &str, Option<&str>)] = &[
    ("A.1", r#"{"foo":"bar"}"#, r#"[{"op":"add","path":"/baz","value":"qux"}]"#, Some(r#"{"baz":"qux","foo":"bar"}"#)),
    (
        "A.2",
        r#"{"foo":["bar","baz"]}"#,
        r#"[{"op":"add","path":"/foo/1","value":"qux"}]"#,
        Some(r#"{"foo":["bar","qux","baz"]}"#),
    ),
    ("A.3", r#"{"baz":"qux","foo":"bar"}"#, r#"[{"op":"remove","path":"/baz"}]"#, Some(r#"{"foo":"bar"}"#)),
    ("A.4", r#"{"foo":["bar","qux","baz"]}"#, r#"[{"op":"remove","path":"/foo/1"}]"#, Some(r#"{"foo":["bar","baz"]}"#)),
    (
        "A.5",
        r#"{"baz":"qux","foo":"bar"}"#,
        r#"[{"op":"replace","path":"/baz","value":"boo"}]"#,
        Some(r#"{"baz":"boo","foo":"bar"}"#),
    ),
    (
        "A.6",
        r#"{"foo":{"bar":"baz","waldo":"fred"},"qux":{"corge":"grault"}}"#,
        r#"[{"op":"move","from":"/foo/waldo","path":"/qux/thud"}]"#,
        Some(r#"{"foo":{"bar":"baz"},"qux":{"corge":"grault","thud":"fred"}}"#),
    ),
    (
        "A.7",
        r#"{"foo":["all","grass","cows","eat"]}"#,
        r#"[{"op":"move","from":"/foo/1","path":"/foo/3"}]"#,
        Some(r#"{"foo":["all","cows","eat","grass"]}"#),
    ),
    (
        "A.8",
        r#"{"baz":"qux","foo":["a",2,"c"]}"#,
        r#"[{"op":"test","path":"/baz","value":"qux"},{"op":"test","path":"/foo/1","value":2}]"#,
        Some(r#"{"baz":"qux","foo":["a",2,"c"]}"#),
    ),
    ("A.9", r#"{"baz":"qux"}"#, r#"[{"op":"test","path":"/baz","value":"bar"}]"#, None),
    (
        "A.10",
        r#"{"foo":"bar"}"#,
        r#"[{"op":"add","path":"/child","value":{"grandchild":{}}}]"#,
        Some(r#"{"child":{"grandchild":{}},"foo":"bar"}"#),
    ),
    (
        "A.11 unknown members are ignored",
        r#"{"foo":"bar"}"#,
        r#"[{"op":"add","path":"/baz","value":"qux","xyz":[{"a":1}]}]"#,
        Some(r#"{"baz":"qux","foo":"bar"}"#),
    ),
    ("A.12", r#"{"foo":"bar"}"#, r#"[{"op":"add","path":"/baz/bat","value":"qux"}]"#, None),
    ("A.14", r#"{"/":9,"~1":10}"#, r#"[{"op":"test","path":"/~01","value":10}]"#, Some(r#"{"/":9,"~1":10}"#)),
    ("A.15", r#"{"/":9,"~1":10}"#, r#"[{"op":"test","path":"/~01","value":"10"}]"#, None),
    (
        "A.16",
        r#"{"foo":["bar"]}"#,
        r#"[{"op":"add","path":"/foo/-","value":["abc","def"]}]"#,
        Some(r#"{"foo":["bar",["abc","def"]]}"#),
    ),
    ("add replaces a member", r#"{"a":1}"#, r#"[{"op":"add","path":"/a","value":null}]"#, Some(r#"{"a":null}"#)),
    ("add replaces the whole", r#"{"a":1}"#, r#"[{"op":"add","path":"","value":[1]}]"#, Some("[1]")),
    ("replace the whole", r#"{"a":1}"#, r#"[{"op":"replace","path":"","value":2}]"#, Some("2")),
    ("test the whole", r#"{"a":1}"#, r#"[{"op":"test","path":"","value":{"a":1.0}}]"#, Some(r#"{"a":1}"#)),
    ("the whole cannot be removed", r#"{"a":1}"#, r#"[{"op":"remove","path":""}]"#, None),
    (
        "copy of the whole into itself",
        r#"{"a":1}"#,
        r#"[{"op":"copy","from":"","path":"/b"}]"#,
        Some(r#"{"a":1,"b":{"a":1}}"#),
    ),
    ("move of the whole into itself", r#"{"a":1}"#, r#"[{"op":"move","from":"","path":"/b"}]"#, None),
    ("move to the whole", r#"{"a":[1]}"#, r#"[{"op":"move","from":"/a","path":""}]"#, Some("[1]")),
    ("an empty name is a name", r#"{"":1}"#, r#"[{"op":"replace","path":"/","value":2}]"#, Some(r#"{"":2}"#)),
    ("`-` is a name in an object", r#"{}"#, r#"[{"op":"add","path":"/-","value":2}]"#, Some(r#"{"-":2}"#)),
    ("a number is a name in an object", r#"{"01":1}"#, r#"[{"op":"remove","path":"/01"}]"#, Some("{}")),
    ("no leading zeros", r#"[1,2]"#, r#"[{"op":"remove","path":"/01"}]"#, None),
    ("no sign", r#"[1,2]"#, r#"[{"op":"remove","path":"/+1"}]"#, None),
    ("no blanks", r#"[1,2]"#, r#"[{"op":"remove","path":"/ 1"}]"#, None),
    ("no fractions", r#"[1,2]"#, r#"[{"op":"remove","path":"/1e0"}]"#, None),
    ("no names in arrays", r#"[1,2]"#, r#"[{"op":"add","path":"/a","value":1}]"#, None),
    ("an index of any length", r#"[1]"#, r#"[{"op":"remove","path":"/99999999999999999999999999"}]"#, None),
    ("an index of 33 bits", r#"[1]"#, r#"[{"op":"add","path":"/4294967296","value":1}]"#, None),
    ("add at the end by index", r#"[1]"#, r#"[{"op":"add","path":"/1","value":2}]"#, Some("[1,2]")),
    ("add beyond the end", r#"[1]"#, r#"[{"op":"add","path":"/2","value":2}]"#, None),
    ("nothing to remove at `-`", r#"[1]"#, r#"[{"op":"remove","path":"/-"}]"#, None),
    ("nothing to replace at `-`", r#"[1]"#, r#"[{"op":"replace","path":"/-","value":1}]"#, None),
    ("nothing to test at `-`", r#"[1]"#, r#"[{"op":"test","path":"/-","value":1}]"#, None),
    ("nothing to replace", r#"{}"#, r#"[{"op":"replace","path":"/a","value":1}]"#, None),
    ("below a scalar", r#"{"a":1}"#, r#"[{"op":"add","path":"/a/b","value":1}]"#, None),
    ("below null", r#"{"a":null}"#, r#"[{"op":"add","path":"/a/b","value":1}]"#, None),
    ("move into the own child", r#"{"a":{"b":1}}"#, r#"[{"op":"move","from":"/a","path":"/a/b"}]"#, None),
    (
        "move to a name that begins alike",
        r#"{"a":{"b":1}}"#,
        r#"[{"op":"move","from":"/a","path":"/ab"}]"#,
        Some(r#"{"ab":{"b":1}}"#),
    ),
    ("move onto itself", r#"{"a":1}"#, r#"[{"op":"move","from":"/a","path":"/a"}]"#, Some(r#"{"a":1}"#)),
    ("move of nothing onto itself", r#"{"a":1}"#, r#"[{"op":"move","from":"/b","path":"/b"}]"#, None),
    ("move within an array", "[1,2,3]", r#"[{"op":"move","from":"/2","path":"/0"}]"#, Some("[3,1,2]")),
    ("move past the end of what is left", "[1,2]", r#"[{"op":"move","from":"/0","path":"/2"}]"#, None),
    ("move where the way is gone", r#"[{"a":1}]"#, r#"[{"op":"move","from":"/0","path":"/0/a"}]"#, None),
    (
        "all or nothing",
        r#"{"a":[1,{"b":2}],"c":3}"#,
        r#"[{"op":"remove","path":"/a/1/b"},{"op":"add","path":"/a/0","value":{}},{"op":"move","from":"/c","path":"/d"},
            {"op":"replace","path":"","value":1},{"op":"test","path":"","value":2}]"#,
        None,
    ),
    (
        "1 is 1.0",
        r#"[1,1.0,-0.0,18446744073709551615]"#,
        r#"[{"op":"test","path":"","value":[1.0,1,0,18446744073709551615]}]"#,
        Some("[1,1.0,-0.0,18446744073709551615]"),
    ),
    ("2^53 + 1 is no float", "9007199254740993", r#"[{"op":"test","path":"","value":9007199254740992.0}]"#, None),
    ("2^64 is no u64", "18446744073709551615", r#"[{"op":"test","path":"","value":18446744073709551616}]"#, None),
];

#[test]
fn the_examples_of_the_rfc_and_the_corners_come_out_as_written() {
    for (name, document, operations, expected) in EXAMPLES {
        let result = apply(document, operations);
        assert_eq!(result.as_deref().ok(), *expected, "{name}: {result:?}");
    }
}

#[test]
fn pointers_of_rfc_6901_lead_where_it_says() {
    let text = r#"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8}"#;
    let document = value(text);
    assert_eq!(document.pointer(""), Some(&document));
    assert_eq!(document.pointer("/foo/0"), Some(&Value::from("bar")));
    for (pointer, number) in [
        ("/", 0),
        ("/a~1b", 1),
        ("/c%d", 2),
        ("/e^f", 3),
        ("/g|h", 4),
        ("/i\\j", 5),
        ("/k\"l", 6),
        ("/ ", 7),
        ("/m~0n", 8),
    ] {
        assert_eq!(document.pointer(pointer), Some(&Value::from(number)), "{pointer}");
    }
    for nowhere in ["foo", "/foo/2", "/foo/-", "/foo/00", "/x", "/foo/0/0", "/m~n", "/m~2n"] {
        assert_eq!(document.pointer(nowhere), None, "{nowhere}");
    }
}

#[test]
fn texts_that_are_no_patch_are_refused_with_the_operation_at_fault() {
    let refused = |text: &str| Patch::parse(text.as_bytes(), &Limits::default()).unwrap_err();
    for text in ["", "[", "[{\"op\":\"add\",}]", "[]]", "\"\u{1}\"", r#"[{"op":"test","path":"","value":1e999}]"#] {
        assert!(matches!(refused(text), Invalid::Json { .. }), "{text}: {:?}", refused(text));
    }
    for text in ["{}", "1", "null", "\"a\"", "true", "1.5", "-1"] {
        assert!(matches!(refused(text), Invalid::Patch { index: None, .. }), "{text}: {:?}", refused(text));
    }
    let ok = r#"{"op":"remove","path":"/a"}"#;
    for (operation, said) in [
        ("1", "an operation is an object"),
        ("[]", "an operation is an object"),
        ("null", "an operation is an object"),
        ("{}", "no `op`"),
        (r#"{"path":""}"#, "no `op`"),
        (r#"{"op":"add","value":1}"#, "no `path`"),
        (r#"{"op":"add","path":""}"#, "no `value`"),
        (r#"{"op":"replace","path":""}"#, "no `value`"),
        (r#"{"op":"test","path":""}"#, "no `value`"),
        (r#"{"op":"move","path":""}"#, "no `from`"),
        (r#"{"op":"copy","path":""}"#, "no `from`"),
        (r#"{"op":"spam","path":""}"#, "`op` is one of"),
        (r#"{"op":1,"path":""}"#, "`op` is one of"),
        (r#"{"op":"add","path":1,"value":1}"#, "are strings"),
        (r#"{"op":"add","path":null,"value":1}"#, "are strings"),
        (r#"{"op":"copy","path":"","from":[]}"#, "are strings"),
        (r#"{"op":"add","op":"add","path":"","value":1}"#, "twice"),
        (r#"{"op":"add","path":"","path":"","value":1}"#, "twice"),
        (r#"{"op":"add","path":"","value":1,"value":1}"#, "twice"),
    ] {
        let error = refused(&format!("[{ok},{operation}]"));
        assert!(matches!(error, Invalid::Patch { index: Some(1), .. }), "{operation}: {error:?}");
        assert!(error.to_string().contains(said), "{operation}: {error}");
    }
    for pointer in ["a", "a/b", "/~", "/~2", "/a~", "#/a"] {
        for (text, name) in [
            (format!(r#"[{{"op":"remove","path":"{pointer}"}}]"#), "path"),
            (format!(r#"[{{"op":"copy","path":"","from":"{pointer}"}}]"#), "from"),
        ] {
            assert!(
                matches!(refused(&text), Invalid::Pointer { index: 0, .. }),
                "{name} {pointer}: {:?}",
                refused(&text)
            );
        }
    }
}

#[test]
fn a_patch_written_and_read_again_is_the_same() {
    let text = concat!(
        r#"[{"op":"add","path":"/a","value":{"b":null}},{"op":"remove","path":"/~0~1\"\n"},"#,
        r#"{"op":"replace","path":"","value":"é\u0001"},{"op":"move","from":"/a","path":"/b"},"#,
        r#"{"op":"copy","from":"/a","path":"/-"},{"op":"test","path":"/a","value":1.5}]"#
    );
    let read = patch(text);
    assert_eq!(String::from_utf8(read.to_json()).unwrap(), text);
    let built = Patch::new()
        .add("/a", value(r#"{"b":null}"#))
        .remove("/~0~1\"\n")
        .concat(Patch::new().replace("", "é\u{1}").move_("/a", "/b"))
        .copy("/a", "/-")
        .test("/a", 1.5);
    assert_eq!(built, read);
    assert_eq!(patch("[]").to_json(), b"[]");
    assert!(patch(" [ ] ").is_empty());
}

#[test]
fn the_members_of_an_operation_may_come_in_any_order_and_with_escapes() {
    assert_eq!(apply("{}", r#"[{"value":1,"path":"\/a","\u006fp":"\u0061dd"}]"#).unwrap(), r#"{"a":1}"#);
}

#[test]
fn a_built_pointer_that_is_none_fails_when_applied_and_says_so() {
    for pointer in ["a", "/~", "/a~2"] {
        let mut document = value(r#"{"a":1}"#);
        let error =
            Patch::new().add(pointer, 1).apply(&mut document, Options::LENIENT, &Limits::default()).unwrap_err();
        assert!(matches!(error, ApplyError::PathNotFound { index: 0, .. }));
        assert!(error.to_string().contains("no JSON Pointer"), "{error}");
    }
}
