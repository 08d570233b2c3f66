//! The configuration for people: as a TOML file with comments, and as docs/CONFIG.md. Both come from the same sentences.

use std::fmt::Write as _;

use super::{Config, Loaded, Setting};

/// A TOML file that makes this configuration again, each setting with its sentence, its variable and its origin.
pub fn toml(loaded: &Loaded) -> String {
    let mut out =
        String::from("# SyncBridge's configuration. Later sources win: this file, environment, --set, flags.\n");
    let defaults = Config::default().settings();
    let mut group = "";
    let settings = loaded.config.settings();
    for (setting, default) in settings.iter().zip(&defaults) {
        let (in_group, name) = setting.path.rsplit_once('.').unwrap_or(("", &setting.path));
        if in_group != group {
            let _infallible = write!(out, "\n[{in_group}]\n");
            group = in_group;
        }
        out.push('\n');
        for line in wrapped(setting.doc) {
            let _infallible = writeln!(out, "# {line}");
        }
        let default = default.toml.as_deref().unwrap_or("not set");
        let _infallible = writeln!(out, "# Takes {}; default: {default}", takes(setting));
        let _infallible = writeln!(
            out,
            "# environment: {}; from: {}",
            Setting::variable(&setting.path),
            loaded.origin(&setting.path)
        );
        let _infallible = match &setting.toml {
            Some(value) => writeln!(out, "{name} = {value}"),
            None => writeln!(out, "#{name} = "),
        };
    }
    out
}

/// docs/CONFIG.md.
pub fn markdown() -> String {
    let mut out = String::from(
        "# Configuration\n\n\
         <!-- Made by `just docs` from server/src/config/mod.rs; a test compares. -->\n\n\
         A setting can be given in five places; later ones win: its default, the TOML file (`--config FILE` or \
         `SYNCBRIDGE_CONFIG`), its environment variable, `--set PATH=VALUE`, and, for the common ones, a flag of its own. \
         A name that is not known is an error that names the nearest one. `syncbridge config check` tells all that is \
         wrong; `syncbridge config print` prints the whole configuration, and where each value came from, as a file that \
         can be used again.\n\n\
         Numbers may have `_` between digits. A relative path is relative to the folder in which the server is started.\n",
    );
    let mut group = None;
    for setting in Config::default().settings() {
        let in_group = setting.path.rsplit_once('.').map_or("", |(group, _)| group).to_owned();
        if group.as_ref() != Some(&in_group) {
            let title = if in_group.is_empty() { "The server".to_owned() } else { format!("`[{in_group}]`") };
            let _infallible = write!(out, "\n## {title}\n\n| setting | default | what it does |\n|---|---|---|\n");
            group = Some(in_group);
        }
        let default = setting.toml.as_ref().map_or_else(|| "not set".to_owned(), |value| format!("`{value}`"));
        let doc: String = setting.doc.concat();
        let _infallible = writeln!(
            out,
            "| `{}`<br>`{}` | {default} | {} Takes {}. |",
            setting.path,
            Setting::variable(&setting.path),
            doc.trim(),
            takes(&setting),
        );
    }
    out
}

/// What the setting takes.
fn takes(setting: &Setting) -> String {
    match &setting.bounds {
        Some(bounds) => format!("{} from {} to {}", setting.kind, bounds.start(), bounds.end()),
        None => setting.kind.to_owned(),
    }
}

/// A description in lines as they stand in the source, without the space that rustdoc keeps.
fn wrapped(doc: &'static [&'static str]) -> impl Iterator<Item = &'static str> {
    doc.iter().map(|line| line.trim())
}
