//! What a setting is: a typed value with a path, a sentence and bounds, described once by [`settings!`].
//! Knows nothing of files or environments (`load.rs`) and nothing of any particular setting (`mod.rs`).

use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf};

/// What there is to say about one setting.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Names from the root to the setting, joined by dots.
    pub path: String,
    /// The lines of its description.
    pub doc: &'static [&'static str],
    /// What kind of value it takes, for people.
    pub kind: &'static str,
    /// Its value as text, as a file or the environment would give it; `None` when it is not set.
    pub value: Option<String>,
    /// The same as TOML would write it.
    pub toml: Option<String>,
    /// Smallest and largest value.
    pub bounds: Option<RangeInclusive<u64>>,
}

impl Setting {
    /// The environment variable of a path: `limits.enabled` is `SYNCBRIDGE_LIMITS__ENABLED`.
    pub fn variable(path: &str) -> String {
        format!("{}{}", super::PREFIX, path.replace('.', "__").to_ascii_uppercase())
    }
}

/// Why a setting was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// There is no setting with this path.
    Unknown,
    /// There is, and the value is not one it takes.
    Value(String),
}

/// Where a [`Node`] stands.
#[derive(Debug, Clone)]
pub struct Place {
    /// Path so far.
    pub path: String,
    /// Its description.
    pub doc: &'static [&'static str],
    /// Its bounds.
    pub bounds: Option<RangeInclusive<u64>>,
}

/// A setting or a group of settings.
pub trait Node {
    /// Tells of every setting here and below.
    fn visit(&self, place: Place, see: &mut dyn FnMut(Setting));
    /// Sets what `path` leads to from here.
    ///
    /// # Errors
    /// [`Fault`].
    fn set(&mut self, path: &[&str], text: &str, bounds: Option<RangeInclusive<u64>>) -> Result<(), Fault>;
}

/// A value that one setting can have.
pub trait Value: Sized {
    /// What to call such values in an error and in the documentation.
    const KIND: &'static str;
    /// Whether TOML writes it between quotes.
    const QUOTED: bool;
    /// Reads it.
    ///
    /// # Errors
    /// What is wrong, when there is more to say than "not a …".
    fn parse(text: &str) -> Result<Self, Option<String>>;
    /// Writes it such that `parse` reads it again; `None` when it is not set.
    fn text(&self) -> Option<String>;
    /// Its number, for bounds.
    fn number(&self) -> Option<u64> {
        None
    }
}

impl<T: Value> Node for T {
    fn visit(&self, place: Place, see: &mut dyn FnMut(Setting)) {
        let value = self.text();
        let toml = value.clone().map(|text| if T::QUOTED { toml::Value::String(text).to_string() } else { text });
        see(Setting { path: place.path, doc: place.doc, kind: T::KIND, value, toml, bounds: place.bounds });
    }

    fn set(&mut self, path: &[&str], text: &str, bounds: Option<RangeInclusive<u64>>) -> Result<(), Fault> {
        if !path.is_empty() {
            return Err(Fault::Unknown);
        }
        let value = T::parse(text).map_err(|why| {
            let why = why.map_or_else(String::new, |why| format!(": {why}"));
            Fault::Value(format!("{text:?} is not {}{why}", T::KIND))
        })?;
        if let (Some(bounds), Some(number)) = (bounds, value.number())
            && !bounds.contains(&number)
        {
            return Err(Fault::Value(format!("{number} is not between {} and {}", bounds.start(), bounds.end())));
        }
        *self = value;
        Ok(())
    }
}

impl Value for bool {
    const KIND: &'static str = "true or false";
    const QUOTED: bool = false;
    fn parse(text: &str) -> Result<Self, Option<String>> {
        text.parse().map_err(|_| None)
    }
    fn text(&self) -> Option<String> {
        Some(self.to_string())
    }
}

/// Whole numbers; `_` may stand between digits as in TOML.
macro_rules! whole_numbers {
    ($($number:ty),*) => {$(
        impl Value for $number {
            const KIND: &'static str = "a whole number";
            const QUOTED: bool = false;
            fn parse(text: &str) -> Result<Self, Option<String>> {
                text.replace('_', "").parse().map_err(|_| None)
            }
            fn text(&self) -> Option<String> {
                Some(self.to_string())
            }
            fn number(&self) -> Option<u64> {
                u64::try_from(*self).ok()
            }
        }
    )*};
}
whole_numbers!(u64, usize);

impl Value for SocketAddr {
    const KIND: &'static str = "an IP address and port such as 127.0.0.1:7400 or [::1]:7400";
    const QUOTED: bool = true;
    fn parse(text: &str) -> Result<Self, Option<String>> {
        text.parse().map_err(|_| None)
    }
    fn text(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Value for String {
    const KIND: &'static str = "text";
    const QUOTED: bool = true;
    fn parse(text: &str) -> Result<Self, Option<String>> {
        Ok(text.to_owned())
    }
    fn text(&self) -> Option<String> {
        Some(self.clone())
    }
}

impl Value for PathBuf {
    const KIND: &'static str = "a path";
    const QUOTED: bool = true;
    fn parse(text: &str) -> Result<Self, Option<String>> {
        if text.is_empty() { Err(Some("it is empty".to_owned())) } else { Ok(Self::from(text)) }
    }
    fn text(&self) -> Option<String> {
        Some(self.display().to_string())
    }
}

/// A path that need not be given; the empty text takes it away again.
impl Value for Option<PathBuf> {
    const KIND: &'static str = "a path";
    const QUOTED: bool = true;
    fn parse(text: &str) -> Result<Self, Option<String>> {
        Ok((!text.is_empty()).then(|| PathBuf::from(text)))
    }
    fn text(&self) -> Option<String> {
        self.as_ref().map(|path| path.display().to_string())
    }
}

/// Declares a group of settings: the struct, its defaults, its descriptions and how each is set by its path.
/// A field with a default is a setting, one without is a group below.
macro_rules! settings {
    ($(#[doc = $group_doc:literal])* $name:ident {
        $($(#[doc = $doc:literal])* $field:ident: $kind:ty $(= $default:expr $(, $bounds:expr)?)?;)*
    }) => {
        $(#[doc = $group_doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name { $($(#[doc = $doc])* pub $field: $kind,)* }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: settings!(@default $kind $(, $default)?),)* }
            }
        }

        impl $crate::config::setting::Node for $name {
            fn visit(
                &self,
                place: $crate::config::setting::Place,
                see: &mut dyn FnMut($crate::config::setting::Setting),
            ) {
                let prefix = if place.path.is_empty() { String::new() } else { format!("{}.", place.path) };
                $($crate::config::setting::Node::visit(
                    &self.$field,
                    $crate::config::setting::Place {
                        path: format!("{prefix}{}", stringify!($field)),
                        doc: &[$($doc),*],
                        bounds: settings!(@bounds $($($bounds)?)?),
                    },
                    see,
                );)*
            }

            fn set(
                &mut self,
                path: &[&str],
                text: &str,
                _: Option<std::ops::RangeInclusive<u64>>,
            ) -> Result<(), $crate::config::setting::Fault> {
                match path.split_first() {
                    $(Some((&stringify!($field), rest)) => $crate::config::setting::Node::set(
                        &mut self.$field, rest, text, settings!(@bounds $($($bounds)?)?),
                    ),)*
                    _ => Err($crate::config::setting::Fault::Unknown),
                }
            }
        }
    };
    (@default $kind:ty) => { <$kind>::default() };
    (@default $kind:ty, $default:expr) => { $default };
    (@bounds) => { None };
    (@bounds $bounds:expr) => { Some($bounds) };
}
pub(super) use settings;
