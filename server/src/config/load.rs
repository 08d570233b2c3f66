//! Fills a [`Config`] from its sources. Later ones win: defaults, file, environment, `--set`, flags.
//! Collects every problem before it gives up, and names the nearest setting when one is not known. Reads the one file it is given and
//! nothing else; the environment is passed in.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use toml::de::{DeTable, DeValue};

use super::{Config, PREFIX, setting::Fault, setting::Setting};

/// Variables that begin as settings do and are none: the command line reads them, the last one tests.
const OTHER_VARIABLES: &[&str] = &["SYNCBRIDGE_CONFIG", "SYNCBRIDGE_SERVER", "SYNCBRIDGE_TOKEN", "SYNCBRIDGE_KILLS"];
/// Kubernetes puts these into every pod beside a service called `syncbridge`; nobody wrote them, so nobody is told.
const KUBERNETES_VARIABLES: &[&str] = &["SYNCBRIDGE_SERVICE_", "SYNCBRIDGE_PORT"];

/// Where settings come from.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// A TOML file.
    pub file: Option<PathBuf>,
    /// Environment variables; those that do not begin with [`PREFIX`] are ignored.
    pub environment: Vec<(String, String)>,
    /// `PATH=VALUE`, as given to `--set`.
    pub sets: Vec<String>,
    /// (flag, path, value) of flags that were given.
    pub flags: Vec<(&'static str, &'static str, String)>,
}

/// Where a setting's value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody said anything.
    Default,
    /// A line of the file.
    File {
        /// The file.
        path: PathBuf,
        /// Its line, from 1; 0 for the file as a whole.
        line: usize,
    },
    /// An environment variable.
    Environment(String),
    /// `--set`.
    Set,
    /// A flag of its own.
    Flag(&'static str),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line: 0 } => write!(f, "{}", path.display()),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => f.write_str(name),
            Self::Set => f.write_str("--set"),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// One thing that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it was said.
    pub origin: Origin,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.what)
    }
}

/// A configuration, and where each part of it came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    origins: BTreeMap<String, Origin>,
}

impl Loaded {
    /// Where the setting's value came from.
    pub fn origin(&self, path: &str) -> &Origin {
        self.origins.get(path).unwrap_or(&Origin::Default)
    }
}

impl Sources {
    /// The configuration that these sources make.
    ///
    /// # Errors
    /// Everything that is wrong, in the order of the sources.
    pub fn load(&self) -> Result<Loaded, Vec<Problem>> {
        let mut loader = Loader::default();
        if let Some(path) = &self.file {
            loader.file(path);
        }
        loader.environment(&self.environment);
        for set in &self.sets {
            match set.split_once('=') {
                Some((path, value)) => loader.set(path.trim(), value.trim(), Origin::Set),
                None => loader.problem(Origin::Set, format!("{set:?} has no `=`; it takes PATH=VALUE")),
            }
        }
        for (flag, path, value) in &self.flags {
            loader.set(path, value, Origin::Flag(flag));
        }
        loader.finish()
    }
}

#[derive(Default)]
struct Loader {
    config: Config,
    origins: BTreeMap<String, Origin>,
    problems: Vec<Problem>,
}

impl Loader {
    fn problem(&mut self, origin: Origin, what: String) {
        self.problems.push(Problem { origin, what });
    }

    fn set(&mut self, path: &str, text: &str, origin: Origin) {
        match self.config.set(path, text) {
            Ok(()) => {
                self.origins.insert(path.to_owned(), origin);
            }
            Err(Fault::Value(why)) => self.problem(origin, format!("`{path}`: {why}")),
            Err(Fault::Unknown) => {
                let what = unknown(path, &self.config.settings(), matches!(origin, Origin::Environment(_)));
                self.problem(origin, what);
            }
        }
    }

    fn file(&mut self, path: &PathBuf) {
        let at = |line| Origin::File { path: path.clone(), line };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => return self.problem(at(0), format!("cannot be read: {error}")),
        };
        let line_of = |offset: usize| 1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count();
        match DeTable::parse(&text) {
            Ok(table) => {
                let mut leaves = Vec::new();
                collect(table.get_ref(), "", &mut leaves);
                for leaf in leaves {
                    let origin = at(line_of(leaf.offset));
                    match leaf.text {
                        Some(value) => self.set(&leaf.path, &value, origin),
                        None => self.problem(origin, format!("`{}`: no setting takes a list or a time", leaf.path)),
                    }
                }
            }
            Err(error) => {
                let line = error.span().map_or(0, |span| line_of(span.start));
                self.problem(at(line), format!("is not TOML: {}", error.message()));
            }
        }
    }

    fn environment(&mut self, variables: &[(String, String)]) {
        for (name, value) in variables {
            let Some(rest) = name.strip_prefix(PREFIX) else { continue };
            let ours = !OTHER_VARIABLES.contains(&name.as_str())
                && !KUBERNETES_VARIABLES.iter().any(|prefix| name.starts_with(prefix));
            if ours {
                let path = rest.to_ascii_lowercase().replace("__", ".");
                self.set(&path, value, Origin::Environment(name.clone()));
            }
        }
    }

    fn finish(mut self) -> Result<Loaded, Vec<Problem>> {
        for (path, why) in self.config.conflicts() {
            let origin = self.origins.get(path).cloned().unwrap_or(Origin::Default);
            self.problem(origin, format!("`{path}` {why}"));
        }
        if self.problems.is_empty() {
            Ok(Loaded { config: self.config, origins: self.origins })
        } else {
            Err(self.problems)
        }
    }
}

struct Leaf {
    path: String,
    /// `None` for a value of a type that no setting has.
    text: Option<String>,
    offset: usize,
}

/// The values of a table and of the tables in it. An empty table below the root is a leaf, so that a misspelt one is noticed.
fn collect(table: &DeTable<'_>, prefix: &str, leaves: &mut Vec<Leaf>) {
    for (key, value) in table {
        let path = if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
        let text = match value.get_ref() {
            DeValue::Table(inner) => {
                collect(inner, &path, leaves);
                continue;
            }
            DeValue::String(text) => Some(text.to_string()),
            DeValue::Integer(number) if number.radix() == 10 => Some(number.as_str().to_owned()),
            DeValue::Integer(number) => {
                u64::from_str_radix(number.as_str(), number.radix()).ok().map(|n| n.to_string())
            }
            DeValue::Float(number) => Some(number.as_str().to_owned()),
            DeValue::Boolean(on) => Some(on.to_string()),
            DeValue::Array(_) | DeValue::Datetime(_) => None,
        };
        leaves.push(Leaf { path, text, offset: key.span().start });
    }
}

/// A sentence about a path that does not exist, with the nearest one that does.
fn unknown(path: &str, settings: &[Setting], as_variable: bool) -> String {
    let group = format!("{path}.");
    if let Some(inside) = settings.iter().find(|setting| setting.path.starts_with(&group)) {
        return format!("`{path}` is a group of settings; say which one, such as `{}`", inside.path);
    }
    let nearest = settings
        .iter()
        .map(|setting| setting.path.as_str())
        .min_by_key(|known| distance(path, known))
        .unwrap_or_default();
    let nearest = if as_variable { Setting::variable(nearest) } else { nearest.to_owned() };
    format!("there is no setting `{path}`; the nearest is `{nearest}` (`syncbridge config print` shows all)")
}

/// Levenshtein's distance between two paths; a missing or superfluous group (`max_document` for `limits.max_document`)
/// costs one, so that the right name in the wrong group is nearer than another name.
fn distance(given: &str, known: &str) -> usize {
    let name = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let by_name = 1 + levenshtein(&name(given), &name(known));
    levenshtein(given, known).min(by_name)
}

fn levenshtein(left: &str, right: &str) -> usize {
    // Both are short: a setting's path has at most some 40 characters; more of what was given cannot change who is nearest.
    let left: Vec<char> = left.chars().take(64).collect();
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, l) in left.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, r) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(l != r);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}
