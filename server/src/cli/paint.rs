//! A change as lines for people: what was added, removed and replaced. Everything a peer wrote is cleaned of control
//! characters first, so that a document cannot move the reader's cursor.

use std::{fmt::Write as _, io::IsTerminal as _};

use syncbridge_client::{Patch, Value};
use syncbridge_document::{Limits, Operation, Options};

/// Characters of a value that are shown.
const SHOWN: usize = 160;

/// Colours, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paint {
    on: bool,
}

impl Paint {
    /// With or without colours.
    pub const fn new(on: bool) -> Self {
        Self { on }
    }

    /// Colours when stdout is a terminal and nobody asked for none (<https://no-color.org>).
    pub fn for_stdout() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self::new(std::io::stdout().is_terminal() && !refused)
    }

    fn with(self, sgr: &str, text: &str) -> String {
        if self.on { format!("\x1b[{sgr}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A line between changes.
    pub fn heading(self, text: &str) -> String {
        self.with("2", &clean(text))
    }

    /// Lines of a picture whose blocks are to be white, whatever the terminal's own colours are.
    pub fn white_on_black(self, picture: &str) -> String {
        picture.lines().map(|line| self.with("97;40", line) + "\n").collect()
    }

    /// The lines of a patch that is about to be applied to `document`, which goes along with it.
    pub fn patch(self, patch: &Patch, document: &mut Value) -> String {
        let mut lines = String::new();
        for operation in patch.operations() {
            let line = self.operation(operation, document);
            let _infallible = writeln!(lines, "  {line}");
            let single = Patch::new().with(operation.clone());
            if single.apply(document, Options::LENIENT, &Limits::trusted()).is_err() {
                // The client has applied the same patch to the same document, so this cannot come; what is shown
                // afterwards would be wrong without a word.
                let _infallible = writeln!(lines, "  {}", self.with("31", "(does not apply to what was shown before)"));
            }
        }
        lines
    }

    fn operation(self, operation: &Operation, document: &Value) -> String {
        let path = shown_path(operation.path().as_str());
        let old = |path: &str| document.pointer(path).map(short);
        match operation {
            Operation::Add { value, path: pointer } => match replaced_member(document, pointer.as_str()) {
                Some(old) => self.with("33", &format!("~ {path}: {old} → {}", short(value))),
                None => self.with("32", &format!("+ {path}: {}", short(value))),
            },
            Operation::Replace { value, path: pointer } => {
                let old = old(pointer.as_str()).unwrap_or_else(|| "nothing".to_owned());
                self.with("33", &format!("~ {path}: {old} → {}", short(value)))
            }
            Operation::Remove { path: pointer } => {
                let old = old(pointer.as_str()).map_or_else(String::new, |old| format!(": {old}"));
                self.with("31", &format!("- {path}{old}"))
            }
            Operation::Move { from, .. } => {
                self.with("36", &format!("> {} moves to {path}", shown_path(from.as_str())))
            }
            Operation::Copy { from, .. } => {
                self.with("36", &format!("+ {path}: copy of {}", shown_path(from.as_str())))
            }
            Operation::Test { value, .. } => self.with("2", &format!("= {path}: {}", short(value))),
        }
    }
}

/// What an `add` replaces: a member that is there. In an array it inserts and replaces nothing.
fn replaced_member(document: &Value, pointer: &str) -> Option<String> {
    let parent = pointer.rsplit_once('/').map_or("", |(parent, _)| parent);
    if !pointer.is_empty() && document.pointer(parent)?.as_array().is_some() {
        return None;
    }
    document.pointer(pointer).map(short)
}

fn shown_path(pointer: &str) -> String {
    if pointer.is_empty() { "(everything)".to_owned() } else { cut(&clean(pointer)) }
}

fn short(value: &Value) -> String {
    cut(&clean(&value.to_string()))
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}

/// The text with every control character as its escape, those of C1 included, which some terminals obey.
pub fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            clean.extend(c.escape_unicode());
        } else {
            clean.push(c);
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(paint: Paint, document: &str, patch: &str) -> (String, String) {
        let mut document = Value::parse(document.as_bytes(), &Limits::trusted()).unwrap();
        let patch = Patch::parse(patch.as_bytes(), &Limits::trusted()).unwrap();
        (paint.patch(&patch, &mut document), document.to_string())
    }

    #[test]
    fn each_operation_shows_what_it_does_to_the_document_as_it_is_by_then() {
        let (lines, after) = lines(
            Paint::new(false),
            r#"{"title":"a","list":[1,2],"old":true}"#,
            r#"[{"op":"replace","path":"/title","value":"b"},
                {"op":"replace","path":"/title","value":"c"},
                {"op":"add","path":"/new","value":{"x":1}},
                {"op":"add","path":"/new","value":2},
                {"op":"add","path":"/list/0","value":0},
                {"op":"remove","path":"/old"},
                {"op":"move","from":"/new","path":"/moved"},
                {"op":"copy","from":"/title","path":"/again"},
                {"op":"test","path":"/title","value":"c"}]"#,
        );
        let expected = [
            r#"~ /title: "a" → "b""#,
            r#"~ /title: "b" → "c""#,
            r#"+ /new: {"x":1}"#,
            r#"~ /new: {"x":1} → 2"#,
            "+ /list/0: 0",
            "- /old: true",
            "> /new moves to /moved",
            "+ /again: copy of /title",
            r#"= /title: "c""#,
        ];
        assert_eq!(lines.lines().map(str::trim_start).collect::<Vec<_>>(), expected);
        assert_eq!(after, r#"{"again":"c","list":[0,1,2],"moved":2,"title":"c"}"#);
    }

    #[test]
    fn colours_are_there_only_when_asked_for() {
        let change = r#"[{"op":"add","path":"/a","value":1}]"#;
        assert_eq!(lines(Paint::new(true), "{}", change).0, "  \x1b[32m+ /a: 1\x1b[0m\n");
        assert_eq!(lines(Paint::new(false), "{}", change).0, "  + /a: 1\n");
    }

    #[test]
    fn what_a_peer_wrote_cannot_speak_to_the_terminal_and_is_cut() {
        let hostile = "[{\"op\":\"add\",\"path\":\"/a\\u001b[2J\u{9b}\",\"value\":\"\u{9b}2J\\u001b]0;x\\u0007\"}]";
        let (shown, _) = lines(Paint::new(false), "{}", hostile);
        assert!(!shown.trim_end().chars().any(char::is_control), "{shown:?}");
        let long = format!(r#"[{{"op":"add","path":"/a","value":"{}"}}]"#, "ü".repeat(5_000));
        let (shown, _) = lines(Paint::new(false), "{}", &long);
        assert!(shown.chars().count() < 220 && shown.contains("… (10002 bytes)"), "{shown}");
    }
}
