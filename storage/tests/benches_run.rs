//! The bench that `DESIGN.md` quotes still runs; its figures are nobody's promise here.

#[path = "../examples/commit_bench.rs"]
mod commit_bench;

use std::time::Duration;

#[test]
fn the_commit_bench_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    // It asserts that every commit ends `Committed`, and that no store fails to close.
    commit_bench::compare(folder.path(), 1, Duration::from_millis(20), 1 << 20);
}
