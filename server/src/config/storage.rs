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
        let text = match self {
            Self::Embedded => "embedded",
            Self::Memory => "memory",
            Self::Scylla => "scylla",
        };
        Some(text.to_owned())
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
        let is_node = |node: &&String| {
            node.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
        };
        match nodes.iter().find(|node| !is_node(node)) {
            Some(wrong) => Err(Some(format!("{wrong:?} is not HOST:PORT"))),
            None if nodes.is_empty() => Err(Some("there is none".to_owned())),
            None => Ok(Self(nodes)),
        }
    }

    fn text(&self) -> Option<String> {
        Some(self.0.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
