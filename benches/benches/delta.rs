//! What the difference of two states costs, in bytes on the wire and in time, beside the whole state and beside the diff
//! of the crate `json-patch`, which compares arrays index by index. The sizes are printed first; they do not vary.
#![allow(missing_docs)] // criterion's macros make public items
#![allow(clippy::print_stdout)]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group};
use syncbridge_benches::lists;
use syncbridge_document::{Limits, Options, diff, merge_patch};

/// The table of sizes; every patch is checked to lead to the state that it is for.
fn sizes() {
    let before = lists::document();
    println!("| what somebody does to a list of {} objects | whole state | SyncBridge | json-patch |", lists::ITEMS);
    println!("|---|---|---|---|");
    for (name, after) in lists::changes() {
        let ours = diff(&before, &after);
        let theirs = json_patch::diff(&before.to_serde(), &after.to_serde());
        let mut followed = before.clone();
        ours.apply(&mut followed, Options::STRICT, &Limits::default()).expect("a diff applies");
        assert!(followed.to_json() == after.to_json(), "{name}");
        let mut followed = before.to_serde();
        json_patch::patch(&mut followed, &theirs).expect("a diff applies");
        assert!(followed == after.to_serde(), "{name}");
        let theirs_bytes = serde_json::to_vec(&theirs).expect("patches are JSON").len();
        println!(
            "| {name} | {} | {} ({}) | {} ({}) |",
            after.json_size(),
            ours.to_json().len(),
            ours.len(),
            theirs_bytes,
            theirs.0.len()
        );
    }
}

fn finding(criterion: &mut Criterion) {
    let before = lists::document();
    let before_serde = before.to_serde();
    let mut group = criterion.benchmark_group("diff");
    for (name, after) in lists::changes().into_iter().filter(|(name, _)| name.contains("item") || name.contains("five"))
    {
        let after_serde = after.to_serde();
        group.bench_function(format!("{name}/syncbridge"), |bencher| {
            bencher.iter(|| black_box(diff(black_box(&before), black_box(&after))));
        });
        group.bench_function(format!("{name}/json-patch"), |bencher| {
            bencher.iter(|| black_box(json_patch::diff(black_box(&before_serde), black_box(&after_serde))));
        });
    }
    group.finish();
}

fn following(criterion: &mut Criterion) {
    let before = lists::document();
    let before_serde = before.to_serde();
    let mut group = criterion.benchmark_group("apply");
    for (name, after) in
        lists::changes().into_iter().filter(|(name, _)| name.contains("moved") || name.contains("one field"))
    {
        let patch = diff(&before, &after);
        let theirs: json_patch::Patch = serde_json::from_slice(&patch.to_json()).expect("a JSON Patch");
        // On a document that somebody else holds as well, as a session's subscribers do.
        group.bench_function(format!("{name}/syncbridge"), |bencher| {
            bencher.iter_batched(
                || before.clone(),
                |mut document| {
                    patch.apply(&mut document, Options::STRICT, &Limits::default()).expect("it applies");
                    document
                },
                BatchSize::SmallInput,
            );
        });
        group.bench_function(format!("{name}/json-patch"), |bencher| {
            bencher.iter_batched(
                || before_serde.clone(),
                |mut document| {
                    json_patch::patch(&mut document, &theirs).expect("it applies");
                    document
                },
                BatchSize::SmallInput,
            );
        });
    }
    let patch =
        syncbridge_document::Value::parse(br#"{"settings":{"theme":"light","columns":null}}"#, &Limits::default())
            .expect("JSON");
    group.bench_function("a merge patch, and its diff", |bencher| {
        bencher.iter(|| black_box(diff(&before, &merge_patch(black_box(&before), black_box(&patch)))));
    });
    group.finish();
}

criterion_group!(benches, finding, following);

fn main() {
    sizes();
    benches();
    Criterion::default().configure_from_args().final_summary();
}
