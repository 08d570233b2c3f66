//! The server of this repository, as anybody would start it.

use std::{path::PathBuf, process::Command, slice::from_ref};

use crate::{
    dialect::{Dialect, Native, Topic},
    error::{Context, Result},
    peer::Peer,
    place::Placement,
    process::{Server, free_address},
};

/// `syncbridge serve`.
#[derive(Debug, Clone)]
pub struct SyncBridge {
    /// The binary.
    pub binary: PathBuf,
    /// Whether with `--open`, the development profile.
    pub open: bool,
    /// `--storage`.
    pub storage: String,
    /// `--set`, each `PATH=VALUE`.
    pub settings: Vec<String>,
}

impl Peer for SyncBridge {
    fn name(&self) -> String {
        let how = [from_ref(&self.storage), &self.settings].concat();
        format!("syncbridge ({})", how.join(" "))
    }

    fn start(&self, place: Placement) -> Result<Server> {
        let (listen, admin) = (free_address()?, free_address()?);
        let folder = tempfile::tempdir().context("making a folder for the server")?;
        let mut command = Command::new(&self.binary);
        command.args(["serve", "--listen", &listen.to_string(), "--admin", &admin.to_string()]);
        command.args(["--storage", &self.storage, "--data"]).arg(folder.path().join("data"));
        if self.open {
            command.arg("--open");
        }
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        Server::start(command, listen, folder, true, place)
    }

    fn dialect(&self, topic: &Topic) -> Box<dyn Dialect> {
        Box::new(Native::new(topic))
    }
}
