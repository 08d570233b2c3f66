//! What a function of a profile is called. Line tables know a function's bare name and its file, and no more.

use std::path::Path;

/// A function as people look for it: crate and module by the file that it is in, and its name without what generics were
/// filled with, which is long and says little.
pub(super) fn named(function: &str, file: Option<&Path>) -> String {
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
