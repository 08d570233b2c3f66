//! Settings of storage that are more than a number: which engine, and where its database is.

use super::{http::items, setting::Value};

/// A storage engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// The commit log and index in the data folder.
    Embedded,
    /// Nothing outlives the process.
    Memory,
    /// A database that speaks CQL.
    Scylla,
}

impl Value for Engine {
    const KIND: &'static str = "`embedded`, `memory`, `scylla` or `cassandra`";
    const QUOTED: bool = true;
    fn parse(text: &str) -> Result<Self, Option<String>> {
        match text {
            "embedded" => Ok(Self::Embedded),
            "memory" => Ok(Self::Memory),
            "scylla" | "cassandra" => Ok(Self::Scylla),
            _ => Err(None),
        }
    }
    fn text(&self) -> Option<String> {
        Some(self.name().to_owned())
    }
}

impl Engine {
    /// What it is called in settings.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Memory => "memory",
            Self::Scylla => "scylla",
        }
    }
}

/// Nodes of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactPoints(Vec<String>);

impl ContactPoints {
    /// Each as `HOST:PORT`.
    pub fn list(&self) -> &[String] {
        &self.0
    }
}

impl Default for ContactPoints {
    fn default() -> Self {
        Self(vec!["127.0.0.1:9042".to_owned()])
    }
}

impl Value for ContactPoints {
    const KIND: &'static str = "nodes between commas such as 10.0.0.1:9042";
    const QUOTED: bool = true;

    fn parse(text: &str) -> Result<Self, Option<String>> {
        let nodes: Vec<_> = items(text).map(str::to_owned).collect();
        match nodes.iter().find(|node| !is_place(node)) {
            Some(wrong) => Err(Some(format!("{wrong:?} is not HOST:PORT"))),
            None if nodes.is_empty() => Err(Some("there is none".to_owned())),
            None => Ok(Self(nodes)),
        }
    }

    fn text(&self) -> Option<String> {
        Some(self.0.join(", "))
    }
}

/// Where clients reach a server, if that is given.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Advertise(Option<String>);

impl Advertise {
    /// `HOST:PORT`.
    pub fn get(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl Value for Advertise {
    const KIND: &'static str = "a place such as sync-1.example:7400";
    const QUOTED: bool = true;

    fn parse(text: &str) -> Result<Self, Option<String>> {
        match text.trim() {
            "" => Ok(Self(None)),
            place if is_place(place) => Ok(Self(Some(place.to_owned()))),
            wrong => Err(Some(format!("{wrong:?} is not HOST:PORT"))),
        }
    }

    fn text(&self) -> Option<String> {
        Some(self.0.clone().unwrap_or_default())
    }
}

fn is_place(text: &str) -> bool {
    text.len() <= 255
        && text
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_advertised_by_host_and_port_or_not_at_all() {
        for text in ["sync-1.example:7400", "[2001:db8::1]:7400", ""] {
            assert_eq!(Advertise::parse(text).expect("a place").text().as_deref(), Some(text));
        }
        for wrong in ["sync-1.example", ":7400", "a:b", "a:0", "a:70000"] {
            assert!(Advertise::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn contact_points_are_nodes_between_commas() {
        let nodes = ContactPoints::parse("a.example:9042, [::1]:9043").expect("nodes");
        assert_eq!(nodes.list(), ["a.example:9042", "[::1]:9043"]);
        assert_eq!(ContactPoints::parse(&nodes.text().expect("given")), Ok(nodes));
        for wrong in ["", "a", "a:b", ":9042", "a:99999", "a:1,b"] {
            assert!(ContactPoints::parse(wrong).is_err(), "{wrong}");
        }
    }
}
