//! The floor, as a child process of this very program.

use std::{env, process::Command};

use crate::{
    dialect::{Dialect, Native, Topic},
    error::{Context, Result},
    floor::Mode,
    peer::Peer,
    place::Placement,
    process::{Server, free_address},
};

/// The raw epoll server in one of its modes.
#[derive(Debug, Clone, Copy)]
pub struct Floor(pub Mode);

impl Peer for Floor {
    fn name(&self) -> String {
        format!("floor ({})", self.0.name())
    }

    fn start(&self, place: Placement) -> Result<Server> {
        let address = free_address()?;
        let folder = tempfile::tempdir().context("making a folder for the floor")?;
        let mut command = Command::new(env::current_exe().context("finding this program")?);
        command.args(["floor-server", "--mode", self.0.name(), "--listen", &address.to_string()]);
        Server::start(command, address, folder, false, place)
    }

    fn dialect(&self, topic: &Topic) -> Box<dyn Dialect> {
        Box::new(Native::new(topic))
    }
}
