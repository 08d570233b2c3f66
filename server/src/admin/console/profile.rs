//! A profile of the processor: which functions it was in, sampled by a timer signal. As stacks with counts, of which the
//! page draws a flame graph.

use std::{collections::BTreeMap, path::Path, time::Duration};

use serde_json::{Value, json};

/// Samples a second. Not a divisor of common timers' rates, so that it does not beat with them.
const RATE: i32 = 199;

/// Samples for as long as this.
///
/// # Errors
/// Another profile is being taken, or the system refuses.
pub(super) async fn take(long: Duration) -> Result<Value, pprof::Error> {
    // Where a sample would have to walk a stack that is half made, none is taken.
    let guard = pprof::ProfilerGuardBuilder::default()
        .frequency(RATE)
        .blocklist(&["libc", "libgcc", "pthread", "vdso"])
        .build()?;
    tokio::time::sleep(long).await;
    let report = tokio::task::spawn_blocking(move || guard.report().build());
    let report = report.await.map_err(|error| pprof::Error::IoError(std::io::Error::other(error)))??;
    let mut stacks: BTreeMap<Vec<String>, u64> = BTreeMap::new();
    for (frames, count) in &report.data {
        let mut stack = vec![frames.thread_name_or_id()];
        // Of a frame, what was put into it by the compiler comes before itself.
        let called = frames.frames.iter().rev().flat_map(|frame| frame.iter().rev());
        stack.extend(called.map(|symbol| named(&symbol.name(), symbol.filename.as_deref())));
        *stacks.entry(stack).or_default() += u64::try_from(*count).unwrap_or_default();
    }
    let samples: u64 = stacks.values().sum();
    let stacks: Vec<Value> =
        stacks.into_iter().map(|(frames, count)| json!({"frames": frames, "count": count})).collect();
    Ok(json!({"seconds": long.as_secs(), "rate": RATE, "samples": samples, "stacks": stacks}))
}

/// A function as people look for it: crate and module by the file that it is in, and its name without what generics were
/// filled with, which is long and says little. Line tables know no more than both.
fn named(function: &str, file: Option<&Path>) -> String {
    let name = without_generics(function);
    match file.and_then(place) {
        Some(place) if !name.contains("::") => format!("{place}::{name}"),
        _ => name,
    }
}

/// `tokio::runtime::task` for `/anywhere/tokio-1.54.0/src/runtime/task/mod.rs`.
fn place(file: &Path) -> Option<String> {
    let (package, inside) = file.to_str()?.rsplit_once("/src/")?;
    let package = package.rsplit('/').next()?;
    let versioned = package.rsplit_once('-').filter(|(_, version)| version.starts_with(|c: char| c.is_ascii_digit()));
    let package = match versioned.map_or(package, |(name, _)| name) {
        "server" => "syncbridge",
        other => other,
    };
    let inside = inside.strip_suffix(".rs")?;
    let inside = inside.strip_suffix("/mod").unwrap_or(inside);
    let modules = if matches!(inside, "lib" | "main" | "mod") { String::new() } else { format!("/{inside}") };
    Some(format!("{}{modules}", package.replace('-', "_")).replace('/', "::"))
}

/// `poll` for `poll<Task<Link>>`; what begins with `<` (`<T as Trait>::f`) keeps what it is about.
fn without_generics(function: &str) -> String {
    let mut name = String::with_capacity(function.len());
    let mut depth = 0_u32;
    let mut before = ' ';
    for letter in function.chars() {
        match letter {
            '<' if !name.is_empty() => depth += 1,
            // Not the end of an arrow.
            '>' if depth > 0 && before != '-' => depth -= 1,
            _ if depth == 0 => name.push(letter),
            _ => {}
        }
        before = letter;
    }
    name.trim_end_matches("::").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_named_by_its_module_and_without_generics() {
        for (function, file, expected) in [
            (
                "poll<syncbridge::A<B>, fn() -> C>",
                "/b/tokio-1.54.0/src/runtime/task/mod.rs",
                "tokio::runtime::task::poll",
            ),
            ("{closure#0}<T>", "/work/server/src/shard/runtime.rs", "syncbridge::shard::runtime::{closure#0}"),
            ("new", "/rustc/abc/library/core/src/cell.rs", "core::cell::new"),
            ("tick", "/b/src/hyper-util-0.1.2/src/lib.rs", "hyper_util::tick"),
            ("mi_malloc", "/b/libmimalloc-sys-0.1.2/c/alloc.c", "mi_malloc"),
            ("a::b<T>::c", "/work/codec/src/frame.rs", "a::b::c"),
            ("<T as core::fmt::Debug>::fmt", "/work/codec/src/frame.rs", "<T as core::fmt::Debug>::fmt"),
        ] {
            assert_eq!(named(function, Some(Path::new(file))), expected);
        }
        assert_eq!(named("start_thread", None), "start_thread");
    }
}
