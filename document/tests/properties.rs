//! What must hold for every document and patch. Each case has a seed, which is printed when it fails.
#![allow(
    clippy::unwrap_used,
    clippy::similar_names,
    clippy::single_match_else,
    reason = "tests: a failure is the point"
)]

mod generate;

use fastrand::Rng;
use generate::Kinds;
use syncbridge_document::{Limits, Options, Patch, Value, diff};

const LIMITS: Limits =
    Limits { depth: 64, pointer_parts: 64, operations: 1000, document_bytes: 4 << 20, work: 8 << 20 };

/// The generator of the case with this seed.
fn rng(seed: u64) -> Rng {
    Rng::with_seed(seed)
}

/// Everything a document claims about itself is true.
fn check(document: &Value, seed: u64) {
    let text = document.to_json();
    assert_eq!(document.json_size(), text.len(), "seed {seed}: {document}");
    let again = Value::parse(&text, &LIMITS).unwrap();
    assert_eq!(again.to_json(), text, "seed {seed}");
    assert_eq!(&again, document, "seed {seed}");
    // The height shows only where the limit bites: exactly at the real height.
    let depth = depth(document);
    let mut copy = Value::null();
    let wrap = Patch::new().replace("", document.clone());
    assert!(wrap.apply(&mut copy, Options::STRICT, &Limits { depth, ..LIMITS }).is_ok(), "seed {seed}: {document}");
    if depth > 0 {
        let shallow = Limits { depth: depth - 1, ..LIMITS };
        assert!(wrap.apply(&mut copy, Options::STRICT, &shallow).is_err(), "seed {seed}: {document}");
    }
}

fn depth(value: &Value) -> usize {
    if let Some(items) = value.as_array() {
        1 + items.iter().map(depth).max().unwrap_or(0)
    } else if let Some(members) = value.as_object() {
        1 + members.map(|(_, value)| depth(value)).max().unwrap_or(0)
    } else {
        0
    }
}

/// Pairs of documents for the property that a diff leads from the one to the other.
const PAIRS: u64 = 120_000;

#[test]
fn a_diff_applied_gives_the_other_document_exactly() {
    // One half of the machine each: two threads, since this is the longest test here.
    let halves =
        [0, 1].map(|half| std::thread::spawn(move || (0..PAIRS).filter(|seed| seed % 2 == half).map(pair).sum()));
    let related: u64 =
        halves.map(|half| half.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).iter().sum();
    assert!(related > PAIRS / 2, "{related} pairs that come of edits");
}

/// One pair; 1 when the second document comes of random edits of the first, 0 when it has nothing to do with it.
fn pair(seed: u64) -> u64 {
    let mut rng = rng(seed);
    let arrays = rng.bool();
    let before = generate::document(&mut rng, arrays);
    let mut after = before.clone();
    let mut related = 0;
    match seed % 4 {
        0 => after = generate::document(&mut rng, arrays),
        1 | 2 => {
            let patch = generate::patch(&mut rng, &before, Kinds { tests: false, wrong: false, most: 6 });
            related = u64::from(patch.apply(&mut after, Options::STRICT, &LIMITS).is_ok());
        }
        _ => {
            let patch = generate::rearrangement(&mut rng, &before);
            patch.apply(&mut after, Options::STRICT, &LIMITS).unwrap();
            related = 1;
        }
    }
    // As a client sends it: read from text, nothing shared.
    let after = if rng.bool() { Value::parse(&after.to_json(), &LIMITS).unwrap() } else { after };
    let patch = diff(&before, &after);
    let mut document = before.clone();
    let applied = patch.apply(&mut document, Options::STRICT, &LIMITS).unwrap_or_else(|error| {
        panic!("seed {seed}: {error}: {before} → {after} by {patch:?}");
    });
    assert_eq!(document.to_json(), after.to_json(), "seed {seed}: {before} by {patch:?}");
    assert_eq!(applied.changed, before.to_json() != after.to_json(), "seed {seed}");
    assert_eq!(patch.is_empty(), !applied.changed, "seed {seed}: an empty patch exactly when nothing changed");
    assert!(applied.effective.is_none(), "seed {seed}: strict as it is");
    check(&document, seed);
    related
}

#[test]
fn a_diff_of_long_arrays_is_right_and_short() {
    for seed in 0..300 {
        let mut rng = rng(seed);
        let mut items: Vec<Value> = (0..rng.usize(200..2000)).map(|at| Value::from(at as u64 / 3)).collect();
        let before = Value::from(items.clone());
        let edits = rng.usize(1..40);
        for _ in 0..edits {
            let at = rng.usize(..items.len());
            match rng.u8(..3) {
                0 => items.insert(at, generate::value(&mut rng, 1, true)),
                1 => drop(items.remove(at)),
                _ => items[at] = generate::scalar(&mut rng),
            }
        }
        let after = Value::from(items);
        let patch = diff(&before, &after);
        assert!(patch.len() <= 2 * edits, "seed {seed}: {} operations for {edits} edits", patch.len());
        let mut document = before.clone();
        patch.apply(&mut document, Options::STRICT, &LIMITS).unwrap();
        assert_eq!(document.to_json(), after.to_json(), "seed {seed}");
    }
}

#[test]
fn strict_application_agrees_with_an_independent_implementation() {
    let (mut succeeded, mut failed) = (0, 0);
    for seed in 0..30_000 {
        let mut rng = rng(seed);
        let before = generate::document(&mut rng, seed % 2 == 0);
        let patch = generate::patch(&mut rng, &before, Kinds { tests: true, wrong: true, most: 5 });
        // The oracle cannot take the whole document out, not even to put it back: RFC 6902 §4.4 only forbids moving it
        // into itself, and its own place is not in itself.
        if patch.operations().iter().any(|moved| moved.from().is_some_and(|from| from == moved.path())) {
            continue;
        }
        let theirs: json_patch::Patch = serde_json::from_slice(&patch.to_json()).unwrap();
        let mut expected = before.to_serde();
        // Not its `patch`, which panics where it cannot take back what it did.
        let oracle = json_patch::patch_unsafe(&mut expected, &theirs);

        let mut document = before.clone();
        let ours = Patch::parse(&patch.to_json(), &LIMITS).unwrap().apply(&mut document, Options::STRICT, &LIMITS);
        assert_eq!(ours.is_ok(), oracle.is_ok(), "seed {seed}: {before} by {patch:?}: {ours:?}, {oracle:?}");
        match ours {
            Ok(applied) => {
                succeeded += 1;
                assert_eq!(document.to_serde(), expected, "seed {seed}: {before} by {patch:?}");
                assert!(applied.effective.is_none(), "seed {seed}");
                if !applied.changed {
                    assert_eq!(document.to_json(), before.to_json(), "seed {seed}");
                }
            }
            Err(_) => {
                failed += 1;
                assert_eq!(document.to_json(), before.to_json(), "seed {seed}: {patch:?} left a trace");
            }
        }
        check(&document, seed);
    }
    assert!(succeeded > 5_000 && failed > 5_000, "{succeeded} and {failed}");
}

#[test]
fn the_effective_patch_applied_strictly_gives_the_same_document() {
    let (mut rewritten, mut failed) = (0, 0);
    for seed in 0..20_000 {
        let mut rng = rng(seed);
        let before = generate::document(&mut rng, false);
        let options = Options { lenient: rng.u8(..4) > 0, merge: rng.bool() };
        let mut patch = generate::patch(&mut rng, &before, Kinds { tests: true, wrong: seed % 4 == 0, most: 3 });
        for _ in 0..rng.usize(..3) {
            let mut path = generate::pointer(&mut rng, &before, false);
            let inside = before.pointer(path.as_str()).is_none_or(|value| value.as_object().is_some());
            for _ in 0..if inside { rng.usize(..3) } else { 0 } {
                path = path.child(generate::NAMES[rng.usize(..generate::NAMES.len())]);
            }
            patch = patch.add(path, generate::value(&mut rng, 3, false));
        }
        let limits = Limits { operations: rng.usize(patch.len()..patch.len() + 8), ..LIMITS };
        let mut document = before.clone();
        match patch.apply(&mut document, options, &limits) {
            Ok(applied) => {
                if let Some(effective) = &applied.effective {
                    rewritten += 1;
                    assert!(effective.len() <= limits.operations, "seed {seed}: {effective:?}");
                    assert_ne!(effective, &patch, "seed {seed}");
                }
                let strict = applied.effective.as_ref().unwrap_or(&patch);
                let sent = Patch::parse(&strict.to_json(), &LIMITS).unwrap();
                let mut replica = before.clone();
                let followed = sent.apply(&mut replica, Options::STRICT, &Limits::trusted()).unwrap_or_else(|error| {
                    panic!("seed {seed}: {error}: {before} by {patch:?}, effectively {strict:?}");
                });
                assert!(followed.effective.is_none());
                assert_eq!(replica.to_json(), document.to_json(), "seed {seed}: {before} by {patch:?}: {strict:?}");
                assert_eq!(followed.changed, applied.changed, "seed {seed}");
            }
            Err(_) => {
                failed += 1;
                assert_eq!(document.to_json(), before.to_json(), "seed {seed}: {patch:?} left a trace");
            }
        }
        check(&document, seed);
    }
    assert!(rewritten > 3_000 && failed > 2_000, "{rewritten} and {failed}");
}

#[test]
fn a_replica_that_shares_nothing_and_one_that_shares_everything_agree() {
    for seed in 0..5_000 {
        let mut rng = rng(seed);
        let mut alone = generate::document(&mut rng, true);
        let mut shared = alone.clone();
        let mut held = Vec::new();
        for _ in 0..6 {
            let patch = generate::patch(&mut rng, &alone, Kinds { tests: true, wrong: true, most: 3 });
            held.push((shared.clone(), shared.to_json()));
            let a = patch.apply(&mut alone, Options::STRICT, &LIMITS);
            let b = patch.apply(&mut shared, Options::STRICT, &LIMITS);
            assert_eq!(a.is_ok(), b.is_ok(), "seed {seed}");
            assert_eq!(alone.to_json(), shared.to_json(), "seed {seed}");
        }
        for (document, text) in held {
            assert_eq!(document.to_json(), text, "seed {seed}: a clone changed under its holder");
        }
    }
}

/// The document with the items of all arrays in one order: two patches that both append may do so in either.
fn unordered(value: &Value) -> Value {
    if let Some(items) = value.as_array() {
        let mut items: Vec<Value> = items.iter().map(unordered).collect();
        items.sort_by_key(Value::to_json);
        Value::from(items)
    } else if let Some(members) = value.as_object() {
        Value::from_members(members.map(|(name, value)| (name, unordered(value))))
    } else {
        value.clone()
    }
}

#[test]
fn patches_whose_touches_do_not_overlap_go_in_either_order() {
    let appends = |patch: &Patch| patch.operations().iter().any(|operation| operation.path().as_str().ends_with("/-"));
    let (mut disjoint, mut overlapping, mut both_append) = (0, 0, 0);
    for seed in 0..60_000 {
        let mut rng = rng(seed);
        let base = generate::document(&mut rng, true);
        let kinds = Kinds { tests: false, wrong: false, most: 3 };
        let (a, b) = (generate::patch(&mut rng, &base, kinds), generate::patch(&mut rng, &base, kinds));
        let (mut a_first, mut b_first) = (base.clone(), base.clone());
        let options = if seed % 2 == 0 { Options::STRICT } else { Options::LENIENT };
        let (Ok(applied_a), Ok(applied_b)) =
            (a.apply(&mut a_first, options, &LIMITS), b.apply(&mut b_first, options, &LIMITS))
        else {
            panic!("seed {seed}: generated to fit");
        };
        assert_eq!(applied_a.touches, a.touches(&base), "seed {seed}: {base} by {a:?}");
        let there = applied_a.touches.overlap(&applied_b.touches);
        let back = applied_b.touches.overlap(&applied_a.touches);
        if there.is_some() != back.is_some() {
            assert!(
                appends(&a) || appends(&b),
                "seed {seed}: mutual but for appends, which only get in the way of what is newer"
            );
        }
        if there.is_some() || back.is_some() {
            overlapping += 1;
            continue;
        }
        disjoint += 1;
        let context =
            || format!("seed {seed}: {base}\n  by {a:?} {:?}\n and {b:?} {:?}", applied_a.touches, applied_b.touches);
        b.apply(&mut a_first, options, &LIMITS).unwrap_or_else(|error| panic!("{error} {}", context()));
        a.apply(&mut b_first, options, &LIMITS).unwrap_or_else(|error| panic!("{error} {}", context()));
        if appends(&a) && appends(&b) {
            both_append += 1;
            (a_first, b_first) = (unordered(&a_first), unordered(&b_first));
        }
        assert_eq!(a_first.to_json(), b_first.to_json(), "{}", context());
    }
    assert!(disjoint > 8_000 && overlapping > 8_000 && both_append > 100, "{disjoint} {overlapping} {both_append}");
}
