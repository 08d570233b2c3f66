//! The console, put together: who may act in it, and what it tells of the server.

use std::{fs, net::SocketAddr, sync::Arc};

use serde_json::json;
use tokio::sync::Notify;

use super::Error;
use crate::{
    admin::{Console, Shown},
    config::Config,
    hub::Hub,
};

/// The console of a server with this configuration.
///
/// # Errors
/// [`Error::Start`]: the token's file cannot be read, or has none.
pub(super) fn make(
    config: &Config,
    listen: SocketAddr,
    epoch: u64,
    shown: Shown,
    hub: &Arc<Hub>,
    drain: &Arc<Notify>,
) -> Result<Console, Error> {
    let token = config.console.token_file.as_ref().map(|file| {
        let what = || format!("reading the console's token in {}", file.display());
        let text = super::starting(what(), fs::read_to_string(file))?;
        match text.trim() {
            "" => super::starting(what(), Err(std::io::Error::other("the file is empty"))),
            token => Ok(Console::digest(token)),
        }
    });
    let about = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "listen": listen.to_string(),
        "epoch": epoch.to_string(),
        "storage": config.storage.engine.name(),
        "open": config.open,
    });
    Ok(Console { shown, hub: Arc::clone(hub), about, token: token.transpose()?, drain: Arc::clone(drain) })
}
