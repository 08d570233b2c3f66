//! What a client is told once. Everything but the server and the device has a default.

use syncbridge_document::Value;

use crate::{
    core::{self, Export, Tokens},
    transport::{Transport, Trust},
};

/// Where the server is, who the client is, and its bounds.
#[derive(Debug, Clone)]
pub struct Config {
    /// `HOST:PORT`, `ws://HOST:PORT` or `wss://HOST:PORT`; see [`crate::transport::Target`]. Several that share a store,
    /// between commas: they are tried in this order.
    pub server: String,
    /// An access token from elsewhere; empty under `--open` only. It is not renewed.
    pub token: String,
    /// Tokens of an earlier run ([`Client::tokens`](crate::Client::tokens)), in place of `token`. They are renewed.
    pub tokens: Option<Tokens>,
    /// The device's id, 1–128 bytes: the same for as long as the installation lives.
    pub device: String,
    /// What to connect by.
    pub transport: Transport,
    /// Whose certificate to believe.
    pub trust: Trust,
    /// Whether presence is wanted.
    pub notices: bool,
    /// Whether the server tells of every version when it is durable, not of own updates only.
    pub durable: bool,
    /// Bounds.
    pub limits: core::Limits,
    /// Times.
    pub times: core::Times,
    /// What an earlier client exported: its subscriptions, and updates that are not durable. Use each export once.
    pub import: Option<Export>,
}

impl Config {
    /// The defaults: no token, [`Transport::Auto`], certificates believed on this machine only.
    pub fn new(server: impl Into<String>, device: impl Into<String>) -> Self {
        Self {
            server: server.into(),
            token: String::new(),
            tokens: None,
            device: device.into(),
            transport: Transport::default(),
            trust: Trust::default(),
            notices: true,
            durable: false,
            limits: core::Limits::default(),
            times: core::Times::default(),
            import: None,
        }
    }

    /// Sets the access token.
    #[must_use]
    pub fn token(self, token: impl Into<String>) -> Self {
        Self { token: token.into(), ..self }
    }

    /// Sets the tokens of an earlier run.
    #[must_use]
    pub fn tokens(self, tokens: Tokens) -> Self {
        Self { tokens: Some(tokens), ..self }
    }

    /// Sets what to connect by.
    #[must_use]
    pub fn transport(self, transport: Transport) -> Self {
        Self { transport, ..self }
    }

    /// Sets whose certificate to believe.
    #[must_use]
    pub fn trust(self, trust: Trust) -> Self {
        Self { trust, ..self }
    }
}

/// The answer to [`crate::Client::get`].
#[derive(Debug, Clone)]
pub struct Document {
    /// Where it stands.
    pub at: syncbridge_codec::message::Position,
    /// The document.
    pub value: Value,
    /// The active device, if there is one.
    pub active_device: Option<String>,
}
