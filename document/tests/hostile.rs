//! What a peer may send to break things: each ends at a limit, by name, and leaves the document as it was.
#![allow(clippy::unwrap_used, clippy::similar_names, reason = "tests: a failure is the point")]

use std::fmt::Write;

use syncbridge_document::{ApplyError, Invalid, Limits, Options, Patch, Touches, Value};

const MIB: usize = 1 << 20;

fn refused(document: &mut Value, patch: &Patch, options: Options) -> ApplyError {
    let before = document.to_json();
    let error = patch.apply(document, options, &Limits::default()).unwrap_err();
    assert!(document.to_json() == before, "changed by a patch that failed with {error}");
    // Deciding what it touches is bounded as well.
    let _: Touches = patch.touches(document);
    error
}

#[test]
fn texts_nested_deeper_than_the_limit_are_refused_however_deep() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        for depth in [64, 65, 127, 128, 129, 100_000] {
            let inner = if open == "[" { "" } else { "1" };
            let text = open.repeat(depth) + inner + &close.repeat(depth);
            let result = Value::parse(text.as_bytes(), &Limits::default());
            if depth <= 64 {
                assert_eq!(result.unwrap().to_json(), text.as_bytes());
            } else {
                assert_eq!(result.unwrap_err(), Invalid::Depth { limit: 64 });
            }
            let unclosed = Value::parse(open.repeat(depth).as_bytes(), &Limits::default());
            assert!(unclosed.is_err());
            let patch =
                Patch::parse(format!(r#"[{{"op":"add","path":"","value":{text}}}]"#).as_bytes(), &Limits::default());
            assert_eq!(patch.is_ok(), depth <= 64, "{depth}");
            let ignored = format!(r#"[{{"op":"remove","path":"/a","ignored":{text}}}]"#);
            // What is not kept is skipped without recursion.
            assert!(Patch::parse(ignored.as_bytes(), &Limits::default()).is_ok(), "{depth}");
            let patch = Patch::parse(text.as_bytes(), &Limits::default());
            assert!(patch.is_err());
        }
    }
    let trusted = Limits::trusted().depth;
    assert!(Value::parse(("[".repeat(trusted) + &"]".repeat(trusted)).as_bytes(), &Limits::trusted()).is_ok());
}

#[test]
fn bytes_that_are_no_text_are_refused() {
    for text in [
        &b"\"\xff\""[..],
        b"\"\xc0\xaf\"",
        b"\"\xed\xa0\x80\"",
        br#""\ud800""#,
        br#""\ud800\u0041""#,
        br#""\udc00""#,
        br#"{"\ud800":1}"#,
        b"\"\x00\"",
        b"\xef\xbb\xbf{}",
        b"NaN",
        b"Infinity",
        b"-",
        b"01",
        b"1.",
        b".5",
        b"+1",
        b"1e999",
        b"{} {}",
        b"{}x",
        b"'a'",
        b"{a:1}",
        b"[1,]",
        b"/**/1",
    ] {
        let shown = String::from_utf8_lossy(text);
        assert!(matches!(Value::parse(text, &Limits::default()), Err(Invalid::Json { .. })), "{shown}");
        let patch = [br#"[{"op":"add","path":"/a","value":"#, text, b"}]"].concat();
        assert!(Patch::parse(&patch, &Limits::default()).is_err(), "{shown}");
    }
}

#[test]
fn arbitrary_bytes_never_panic() {
    let mut rng = fastrand::Rng::with_seed(3);
    let seed = br#"[{"op":"add","path":"/a~1b/0/-","value":{"k":[1,-2.5e3,"\ud83d\ude00",null,true]}},{"op":"move","from":"","path":"/x"}]"#;
    let mut parsed = 0;
    for _ in 0..50_000 {
        let mut text = seed.to_vec();
        for _ in 0..rng.usize(1..4) {
            let at = rng.usize(..text.len());
            match rng.u8(..4) {
                0 => text[at] = rng.u8(..),
                1 if text.len() > 1 => drop(text.remove(at)),
                2 => text.truncate(at + 1),
                _ => text.insert(at, b"[]{}\",:\\/~-0"[rng.usize(..12)]),
            }
        }
        let value = Value::parse(&text, &Limits::default());
        let patch = Patch::parse(&text, &Limits::default());
        if let (Ok(mut document), Ok(patch)) = (value, patch) {
            parsed += 1;
            if patch.apply(&mut document, Options::LENIENT, &Limits::default()).is_ok() {
                assert_eq!(document.to_json().len(), document.json_size());
            }
        }
    }
    assert!(parsed > 1_000, "{parsed}");
}

#[test]
fn a_document_that_doubles_with_each_copy_stops_at_its_size() {
    let mut document = Value::from_members([("a", Value::from("x".repeat(1000)))]);
    let doubling = (0..900).fold(Patch::new(), |patch, at| patch.copy("", format!("/b{at}")));
    let error = refused(&mut document, &doubling, Options::STRICT);
    assert!(matches!(error, ApplyError::DocumentTooLarge { index: 12, limit, .. } if limit == 4 * MIB), "{error:?}");
    let within = (0..900).fold(Patch::new(), |patch, at| patch.copy("/a", format!("/b{at}")));
    within.apply(&mut document, Options::STRICT, &Limits::default()).unwrap();
    assert_eq!(document.json_size(), document.to_json().len());
}

#[test]
fn one_that_deepens_with_each_copy_or_move_stops_at_its_depth() {
    let mut document = Value::from_members([("a", Value::object()), ("b", Value::object())]);
    let mut path = String::from("/a");
    let mut copies = Patch::new();
    let mut moves = Patch::new();
    for _ in 0..70 {
        copies = copies.copy("/b", format!("{path}/b"));
        moves = moves.add("/c", Value::object()).move_("/c", format!("{path}/b"));
        path += "/b";
    }
    for patch in [copies, moves] {
        let error = refused(&mut document, &patch, Options::STRICT);
        assert!(matches!(error, ApplyError::TooDeep { limit: 64, .. }), "{error:?}");
    }
    // What holds the deepest part gets shallower when that goes: there is room again.
    let deep = Value::parse(("[".repeat(62) + &"]".repeat(62)).as_bytes(), &Limits::default()).unwrap();
    let patch = Patch::new().add("/a/deep", deep).copy("/a", "/b/x");
    assert!(matches!(refused(&mut document, &patch, Options::STRICT), ApplyError::TooDeep { index: 1, .. }));
    let emptied =
        Patch::new().concat(patch.operations()[..1].iter().cloned().collect()).remove("/a/deep").copy("/a", "/b/x");
    emptied.apply(&mut document, Options::STRICT, &Limits::default()).unwrap();
}

#[test]
fn a_lenient_add_makes_no_more_parents_than_the_depth_allows() {
    let mut document = Value::object();
    for parts in [64, 65, 200_000] {
        let patch = Patch::new().add("/a".repeat(parts), 1);
        if parts == 64 {
            let mut copy = document.clone();
            patch.apply(&mut copy, Options::LENIENT, &Limits::default()).unwrap();
            assert_eq!(copy.to_json().len(), copy.json_size());
        } else {
            assert!(matches!(refused(&mut document, &patch, Options::LENIENT), ApplyError::TooDeep { .. }));
            let parsed = Patch::parse(&patch.to_json(), &Limits::default());
            assert!(matches!(parsed.unwrap_err(), Invalid::Pointer { index: 0, .. }));
        }
    }
}

#[test]
fn more_operations_than_allowed_are_refused_parsed_or_built() {
    let patch = (0..1001).fold(Patch::new(), |patch, _| patch.test("", Value::object()));
    assert_eq!(Patch::parse(&patch.to_json(), &Limits::default()).unwrap_err(), Invalid::Operations { limit: 1000 });
    let error = refused(&mut Value::object(), &patch, Options::STRICT);
    assert_eq!(error, ApplyError::TooManyOperations { operations: 1001, limit: 1000 });
}

#[test]
fn documents_longer_than_allowed_are_refused_as_text_and_as_what_they_stand_for() {
    let limits = Limits { document_bytes: 100, ..Limits::default() };
    let padded = format!("{}1", " ".repeat(100));
    assert_eq!(Value::parse(padded.as_bytes(), &limits).unwrap_err(), Invalid::TooLarge { bytes: 101, limit: 100 });
    // 20 × `1e9` is 20 × `1000000000.0`.
    let grows = format!("[{}]", vec!["1e9"; 20].join(","));
    assert_eq!(Value::parse(grows.as_bytes(), &limits).unwrap_err(), Invalid::TooLarge { bytes: 261, limit: 100 });
    let long = " ".repeat(100 + Limits::PATCH_OVERHEAD) + "[]";
    assert!(matches!(Patch::parse(long.as_bytes(), &limits).unwrap_err(), Invalid::TooLarge { .. }));
    let mut document = Value::parse(br#"{"a":"xxxxxxxx"}"#, &limits).unwrap();
    let exact = Patch::new().add("/b", "x".repeat(100 - 16 - 1 - 4 - 2));
    exact.apply(&mut document, Options::STRICT, &limits).unwrap();
    assert_eq!(document.json_size(), 100);
    let error = Patch::new().replace("/a", "xxxxxxxxx").apply(&mut document, Options::STRICT, &limits).unwrap_err();
    assert_eq!(error, ApplyError::DocumentTooLarge { index: 0, bytes: 101, limit: 100 });
    Patch::new().remove("/a").apply(&mut document, Options::STRICT, &limits).unwrap();
}

/// A document of nearly 4 MiB that is one array of `[0,0,…]` in `/a`.
fn long_array() -> Value {
    let mut text = String::from("{\"a\":[0");
    while text.len() < 4 * MIB - 1000 {
        write!(text, ",0").unwrap();
    }
    Value::parse((text + "]}").as_bytes(), &Limits::default()).unwrap()
}

#[test]
fn a_patch_that_copies_shifts_or_compares_a_huge_array_over_and_over_runs_out_of_work() {
    let mut document = long_array();
    let shifting = (0..1000).fold(Patch::new(), |patch, _| patch.add("/a/0", 0));
    assert!(matches!(refused(&mut document, &shifting, Options::STRICT), ApplyError::TooMuchWork { .. }));
    let half = Value::parse(format!("[{}0]", "0,".repeat(900_000)).as_bytes(), &Limits::default()).unwrap();
    let mut two = Value::from_members([("a", half)]);
    let unsharing = (0..300).fold(Patch::new(), |patch, _| patch.copy("/a", "/b").replace("/b/0", 1).remove("/b"));
    assert!(matches!(refused(&mut two, &unsharing, Options::STRICT), ApplyError::TooMuchWork { .. }));
    Patch::new().copy("/a", "/b").replace("/b/0", 0).apply(&mut two, Options::STRICT, &Limits::default()).unwrap();
    let comparing = (0..1000).fold(Patch::new(), |patch, _| patch.copy("/a", "/b"));
    Patch::new().replace("/b/899999", 1).apply(&mut two, Options::STRICT, &Limits::default()).unwrap();
    // After the first copy both share it: that is seen without looking in.
    comparing.apply(&mut two, Options::STRICT, &Limits::default()).unwrap();
    let swapping = (0..500).fold(Patch::new(), |patch, at| patch.replace("/b/899999", at).copy("/a", "/b"));
    assert!(matches!(refused(&mut two, &swapping, Options::STRICT), ApplyError::TooMuchWork { .. }));
}

#[test]
fn honest_work_on_a_huge_array_is_no_trouble() {
    let mut document = long_array();
    let held = document.clone();
    let appending = (0..400).fold(Patch::new(), |patch, _| patch.add("/a/-", 0));
    appending.apply(&mut document, Options::STRICT, &Limits::default()).unwrap();
    let inserting = (0..30).fold(Patch::new(), |patch, _| patch.remove("/a/0"));
    inserting.apply(&mut document, Options::STRICT, &Limits::default()).unwrap();
    assert_eq!(document.json_size(), held.json_size() + 2 * 400 - 2 * 30);
}

#[test]
fn long_strings_moved_over_and_over_are_not_measured_again() {
    let mut document = Value::from_members([("a", Value::from("\n".repeat(2 * MIB - 100)))]);
    let moves = (0..500).fold(Patch::new(), |patch, _| patch.move_("/a", "/b").move_("/b", "/a"));
    let applied = moves.apply(&mut document, Options::STRICT, &Limits::default()).unwrap();
    assert!(applied.changed);
    assert_eq!(document.json_size(), 4 * MIB - 200 + 8);
}

#[test]
fn overlaps_of_two_full_patches_are_found_by_search() {
    // 1,000 touches on each side, 63 parts each: a million pairs, if each were compared.
    let prefix = "/p".repeat(62);
    let side = |from: usize| (from..from + 1000).fold(Patch::new(), |patch, at| patch.add(format!("{prefix}/{at}"), 0));
    let (one, other) = (side(0).touches(&Value::object()), side(1000).touches(&Value::object()));
    for _ in 0..20 {
        assert_eq!(one.overlap(&other), None);
    }
    assert!(one.overlap(&side(999).touches(&Value::object())).is_some());
}
