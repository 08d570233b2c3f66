//! The documents of the repository: every link leads somewhere, and no line names a place that only one machine has.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("the repository")
}

/// Every Markdown file, but those of other people and those that are built.
fn documents(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if path.is_dir() && !["target", "node_modules", ".git", "syncbridge-data"].contains(&name.as_str()) {
            documents(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

/// The lines of a document outside of fenced blocks.
fn prose(text: &str) -> Vec<&str> {
    let mut fenced = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            lines.push(line);
        }
    }
    lines
}

/// Targets of `[text](target)` and of `<img src="target">`; what stands between backticks is no link.
fn links(line: &str) -> Vec<&str> {
    let code_free = line.split('`').step_by(2);
    code_free.flat_map(|part| part.split("](").skip(1)).filter_map(|rest| rest.split(')').next()).collect()
}

/// The name that a heading can be linked by, as code hosts make it.
fn anchor(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    text.chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
            _ => None,
        })
        .collect()
}

fn anchors(document: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(document).expect("a document");
    prose(&text).into_iter().filter(|line| line.starts_with('#')).map(anchor).collect()
}

#[test]
fn every_link_of_every_document_leads_to_a_file_and_a_heading_that_exist() {
    let mut found = Vec::new();
    documents(&repository(), &mut found);
    assert!(found.len() >= 5, "only {found:?}");
    let mut checked = 0;
    let mut broken = Vec::new();
    for document in &found {
        let text = fs::read_to_string(document).expect("a document");
        for link in prose(&text).into_iter().flat_map(links) {
            if link.contains("://") || link.starts_with("mailto:") {
                continue;
            }
            checked += 1;
            let (path, heading) = link.split_once('#').map_or((link, None), |(path, heading)| (path, Some(heading)));
            let target = if path.is_empty() { document.clone() } else { document.with_file_name("").join(path) };
            let arrives = target.exists() && heading.is_none_or(|heading| anchors(&target).contains(heading));
            if !arrives {
                broken.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert!(checked >= 5, "only {checked} links found");
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

#[test]
fn the_readme_has_the_blocks_that_scripts_readme_runs() {
    let readme = fs::read_to_string(repository().join("README.md")).expect("README.md");
    for name in ["server", "watch", "update", "curl"] {
        assert!(readme.contains(&format!("<!-- run: {name} -->\n```\n")), "{name}");
    }
}

#[test]
fn no_document_names_a_folder_of_the_machine_it_was_written_on() {
    let mut found = Vec::new();
    documents(&repository(), &mut found);
    for document in found {
        let text = fs::read_to_string(&document).expect("a document");
        for place in ["/work/", "/root/", "/tmp/target", "artifactory"] {
            assert!(!text.contains(place), "{} names {place}", document.display());
        }
    }
}

#[test]
fn links_and_anchors_are_found_as_code_hosts_find_them() {
    assert_eq!(links("see [a](b.md#c) and `[no](link)` and [d](e)"), ["b.md#c", "e"]);
    assert_eq!(anchor("## The way of one `update`, again"), "the-way-of-one-update-again");
    assert_eq!(prose("a\n```\nb\n```\nc"), ["a", "c"]);
}

/// The names of all functions under a folder.
fn functions(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            functions(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("a source");
            let names = text.split("fn ").skip(1).filter_map(|rest| rest.split(['(', '<']).next());
            found.extend(names.map(|name| name.trim().to_owned()));
        }
    }
}

/// True when a name is what is written of it, where `…` stands for what is left out.
fn is_short_for(written: &str, name: &str) -> bool {
    let mut parts = written.split('…');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let mut open = false;
    for part in parts {
        open = part.is_empty();
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    open || rest.is_empty()
}

#[test]
fn every_test_and_file_that_the_stores_promises_name_is_there() {
    let repository = repository();
    let mut names = BTreeSet::new();
    for folder in ["storage/src", "storage/tests", "server/src", "server/tests", "perf/src", "perf/tests"] {
        functions(&repository.join(folder), &mut names);
    }
    let text = fs::read_to_string(repository.join("storage/DESIGN.md")).expect("the page");
    let (mut tests, mut files) = (0, 0);
    for line in text.lines().filter(|line| line.starts_with('|')) {
        for code in line.split('`').skip(1).step_by(2) {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '…' || c == ':';
            let last = code.rsplit("::").next().unwrap_or(code);
            if code.chars().all(plain) && (last.contains('…') || last.matches('_').count() > 3) {
                assert!(
                    names.iter().any(|name| is_short_for(last, name)),
                    "there is no test `{last}`, named in: {line}"
                );
                tests += 1;
            } else if code.contains('/') && Path::new(code).extension().is_some_and(|end| end == "rs") {
                let there =
                    ["storage", "storage/src", "."].iter().any(|base| repository.join(base).join(code).exists());
                assert!(there, "there is no file `{code}`, named in: {line}");
                files += 1;
            }
        }
    }
    assert!(tests > 60 && files > 3, "{tests} {files}: the page has another form now");
    assert!(is_short_for("a_…_c", "a_b_c") && is_short_for("…_c", "a_c") && !is_short_for("a_…", "b_a_c"));
}
