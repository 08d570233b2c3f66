//! The benches that `DESIGN.md` quotes still run; their figures are nobody's promise here.

#[path = "../examples/commit_bench.rs"]
mod commit_bench;
#[path = "../examples/compaction_bench.rs"]
mod compaction_bench;

use std::time::Duration;

use syncbridge_storage::engine::embedded::Options;

#[test]
fn the_commit_bench_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    // It asserts that every commit ends `Committed`, and that no store fails to close.
    commit_bench::compare(folder.path(), 1, Duration::from_millis(20), 1 << 20, None);
}

#[test]
fn the_compaction_bench_runs() {
    let folder = tempfile::tempdir().expect("a folder");
    let options = Options { segment_bytes: 1 << 20, flush_bytes: 64 << 10, ..Options::default() };
    compaction_bench::compare(folder.path(), 1, Duration::from_millis(50), 2000, &options);
}
