//! The client: one connection at a time, kept up by a task of its own, shared by every clone.

use std::sync::Arc;

use bytestring::ByteString;
use serde::Serialize;
use syncbridge_codec::message::{ConflictPolicy, DevicePolicy, Position};
use syncbridge_document::Value;
use tokio::sync::watch;

use crate::{
    config::{Config, Document},
    core::{self, Core, Disconnect, Export, Stats, Tokens, UpdateDurability},
    driver,
    error::Error,
    service::{Account, Devices, Handoff, Members, Sessions, Snapshots},
    session::SessionHandle,
    shared::{Readiness, Shared},
    status::{Phase, Status},
    transport::{Connector, targets},
    update::UpdateHandle,
};

/// A client of one server. Clones share the connection; it ends with [`Client::close`], or when the last clone and the
/// last [`SessionHandle`] are dropped.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) keep: Arc<Keep>,
}

/// Ends the driver when the last handle is gone.
#[derive(Debug)]
pub(crate) struct Keep {
    pub(crate) shared: Arc<Shared>,
}

impl Drop for Keep {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.wake.notify_one();
    }
}

impl Client {
    /// Connects, and waits until the server has welcomed this client. From then on the connection is kept up by itself.
    ///
    /// # Errors
    /// [`Error::Connect`] when the first attempt fails, [`Error::Server`] when the server does not take this client,
    /// [`Error::Config`].
    pub async fn connect(config: Config) -> Result<Self, Error> {
        let client = Self::start(config)?;
        let mut status = client.status();
        loop {
            let phase = status.borrow_and_update().phase.clone();
            match phase {
                Phase::Connected { .. } => return Ok(client),
                // The tokens are being renewed.
                Phase::Waiting { reason: Disconnect::SigningIn, .. } | Phase::Connecting => {}
                Phase::Waiting { reason, .. } => {
                    let failure = client.keep.shared.lock().last_failure.take();
                    return Err(failure.map_or_else(|| Error::from(&reason), Error::Connect));
                }
                Phase::Stopped { error } => return Err(Error::Server(error)),
                Phase::SignedOut { error } => return Err(error.map_or(Error::SignedOut, Error::Server)),
                Phase::Closed => return Err(Error::Closed),
            }
            if status.changed().await.is_err() {
                return Err(Error::Closed);
            }
        }
    }

    /// Begins to connect and returns at once: for applications that work offline. Must be called within a tokio
    /// runtime; the connection lives on it.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn start(config: Config) -> Result<Self, Error> {
        Self::begin(config, true)
    }

    /// A client of a server where nobody is signed in: it connects when somebody [registers](Account::register),
    /// [signs in](Account::login) or [takes a session over](Account::take_over). Must be called within a tokio runtime.
    /// Tokens of the configuration are not looked at.
    ///
    /// # Errors
    /// [`Error::Config`].
    pub fn signed_out(config: Config) -> Result<Self, Error> {
        Self::begin(Config { token: String::new(), tokens: None, ..config }, false)
    }

    fn begin(config: Config, signed_in: bool) -> Result<Self, Error> {
        let Config { server, token, tokens, device, transport, trust, notices, durable, limits, times, import } =
            config;
        let targets = targets(&server).map_err(|error| Error::Config(error.to_string()))?;
        check_device(&device)?;
        let (incarnation, seed) = draw()?;
        let config = core::Config {
            signed_in,
            token: tokens.as_ref().map_or(token.as_str(), |tokens| &tokens.access).into(),
            refresh: tokens.as_ref().map(|tokens| tokens.refresh.as_str().into()),
            notices,
            durable,
            limits,
            times,
            ..core::Config::new(device, incarnation)
        };
        let core = match import {
            None => Core::new(config, seed),
            Some(export) => Core::import(config, seed, &export).map_err(|error| Error::Config(error.to_string()))?,
        };
        let authority = ByteString::from(targets.first().map(ToString::to_string).unwrap_or_default());
        let connector = Connector::new(targets, transport, trust, limits.max_server_frame);
        let shared = Arc::new(Shared::new(core, connector, authority, tokens));
        tokio::spawn(driver::run(Arc::clone(&shared)));
        Ok(Self { keep: Arc::new(Keep { shared }) })
    }

    /// Makes a session with this first state and the server's default policies, and waits until that is durable. `id`
    /// `None`: 128 random bits.
    ///
    /// # Errors
    /// [`Error::Refused`] (`already_exists`, `invalid_session_id`, …), [`Error::Request`], [`Error::Json`].
    pub async fn create<T: Serialize>(&self, id: Option<&str>, state: &T) -> Result<SessionHandle<T>, Error> {
        let (session, made) = self.create_queued(id, state, ConflictPolicy::default(), DevicePolicy::default())?;
        made.durable().await?;
        Ok(session)
    }

    /// Makes a session now or, offline, once connected. It can be looked at and updated at once; when it is refused,
    /// its updates are refused with it.
    ///
    /// # Errors
    /// [`Error::Request`], [`Error::Json`].
    pub fn create_queued<T: Serialize>(
        &self,
        id: Option<&str>,
        state: &T,
        conflict: ConflictPolicy,
        devices: DevicePolicy,
    ) -> Result<(SessionHandle<T>, UpdateHandle), Error> {
        let value = Value::from_serialize(state).map_err(|error| Error::Json(error.to_string()))?;
        self.create_document(id, value, conflict, devices)
    }

    /// As [`Client::create_queued`], from a document.
    ///
    /// # Errors
    /// [`Error::Request`].
    pub fn create_document<T>(
        &self,
        id: Option<&str>,
        state: Value,
        conflict: ConflictPolicy,
        devices: DevicePolicy,
    ) -> Result<(SessionHandle<T>, UpdateHandle), Error> {
        let id = match id {
            Some(id) => ByteString::from(id),
            None => ByteString::from(random_id()?),
        };
        let shared = &self.keep.shared;
        let mut held = shared.lock();
        let counter = held.core.create(id.clone(), state, conflict, devices)?;
        let made = held.watch_op(&id, counter, UpdateDurability::Durable);
        held.attach(&id);
        drop(held);
        shared.wake.notify_one();
        let made = UpdateHandle { counter, state: Some(made), unchanged_at: Position::default() };
        Ok((SessionHandle::new(Arc::clone(&self.keep), id), made))
    }

    /// A session's document, once, without subscribing.
    ///
    /// # Errors
    /// [`Error::Server`] (`not_found`, `forbidden`, …), [`Error::Request`], [`Error::Closed`].
    pub async fn get(&self, id: &str) -> Result<Document, Error> {
        let answer = {
            let mut state = self.keep.shared.lock();
            let request = state.core.get(id)?;
            state.watch_get(request)
        };
        self.keep.shared.wake.notify_one();
        answer.await.unwrap_or(Err(Error::Closed))
    }

    /// Subscribes to a session and waits for its first state. Handles of the same session share one subscription.
    ///
    /// Offline, a session that was not imported has no state: this waits for the connection.
    ///
    /// # Errors
    /// [`Error::Server`] (`not_found`, `forbidden`, …), [`Error::Request`], [`Error::Closed`].
    pub async fn session<T>(&self, id: &str) -> Result<SessionHandle<T>, Error> {
        let id = ByteString::from(id);
        let (handle, mut ready) = {
            let shared = &self.keep.shared;
            let mut state = shared.lock();
            state.core.subscribe(id.clone(), shared.now())?;
            let ready = state.attach(&id).ready.subscribe();
            (SessionHandle::new(Arc::clone(&self.keep), id), ready)
        };
        self.keep.shared.wake.notify_one();
        loop {
            let readiness = ready.borrow_and_update().clone();
            match readiness {
                Readiness::Ready => return Ok(handle),
                Readiness::Ended(error) => return Err(Error::Server(error)),
                Readiness::Closed => return Err(Error::Closed),
                Readiness::Waiting => {}
            }
            if ready.changed().await.is_err() {
                return Err(Error::Closed);
            }
        }
    }

    /// Says whether a session may go to the device that asks for it ([`ChangeKind::HandoffRequested`]): from its active
    /// device, under the device policy `ask`. What comes of it is told by [`ChangeKind::HandoffCompleted`].
    ///
    /// [`ChangeKind::HandoffRequested`]: crate::ChangeKind::HandoffRequested
    /// [`ChangeKind::HandoffCompleted`]: crate::ChangeKind::HandoffCompleted
    ///
    /// # Errors
    /// [`Error::Request`]: there is no connection.
    pub fn answer_handoff(&self, handoff: &str, accept: bool) -> Result<(), Error> {
        let shared = &self.keep.shared;
        shared.lock().core.answer_handoff(handoff, accept)?;
        shared.wake.notify_one();
        Ok(())
    }

    /// How the connection is; the newest, to be watched.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.keep.shared.status.subscribe()
    }

    /// The tokens that are good now: to be kept by who wants to be signed in after a restart ([`Config::tokens`]). `None`:
    /// nobody is signed in, or with a token from elsewhere.
    pub fn tokens(&self) -> watch::Receiver<Option<Tokens>> {
        self.keep.shared.tokens.subscribe()
    }

    /// What was counted since the client was made.
    pub fn stats(&self) -> Stats {
        self.keep.shared.lock().core.stats()
    }

    /// Who is signed in, and out: everything about the login.
    pub const fn account(&self) -> Account<'_> {
        Account { client: self }
    }

    /// The user's devices.
    pub const fn devices(&self) -> Devices<'_> {
        Devices { client: self }
    }

    /// Sessions that need no subscription: lists them, replaces and changes their documents, deletes them.
    pub const fn sessions(&self) -> Sessions<'_> {
        Sessions { client: self }
    }

    /// Who may do what with a session.
    pub const fn members<'a>(&'a self, session: &'a str) -> Members<'a> {
        Members { client: self, session }
    }

    /// A session's documents that were kept.
    pub const fn snapshots<'a>(&'a self, session: &'a str) -> Snapshots<'a> {
        Snapshots { client: self, session }
    }

    /// A session's way from one device to another.
    pub const fn handoff<'a>(&'a self, session: &'a str) -> Handoff<'a> {
        Handoff { client: self, session }
    }

    /// Takes another access token, and connects with it if the server did not take the last one. It is not renewed; who
    /// signs in with [`Client::account`] needs none of this.
    pub fn set_token(&self, token: &str) {
        self.keep.shared.lock().core.set_token(token);
        self.reconnect();
    }

    /// Connects now if a pause before reconnecting runs, or after the server has refused this client.
    pub fn reconnect(&self) {
        let shared = &self.keep.shared;
        shared.lock().core.restart(shared.now());
        shared.wake.notify_one();
    }

    /// Moves a QUIC connection to a new local port, as a phone that changes networks does.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn rebind(&self) -> std::io::Result<()> {
        self.keep.shared.connector.rebind()
    }

    /// What another client needs to go on with this one's subscriptions and updates ([`Config::import`]). Take it after
    /// [`Client::close`]: of two clients that run, only one may have it.
    pub fn export(&self) -> Export {
        self.keep.shared.lock().core.export()
    }

    /// Ends the connection, and waits until it has ended. Updates that are not durable stay in [`Client::export`]; who
    /// waits for them gets [`Error::Closed`].
    pub async fn close(&self) {
        let mut status = self.status();
        self.keep.shared.lock().closing = true;
        self.keep.shared.wake.notify_one();
        // An error means that the driver is gone: closed all the same.
        let _ = status.wait_for(|status| status.phase == Phase::Closed).await;
    }
}

/// Whether a device can be called that.
fn check_device(device: &str) -> Result<(), Error> {
    if syncbridge_codec::id::is_device(device) {
        return Ok(());
    }
    Err(Error::Config("a device's id has 1 to 128 bytes and no control characters".to_owned()))
}

/// An incarnation and a seed.
fn draw() -> Result<(u128, u64), Error> {
    let mut bytes = [0; 24];
    getrandom::fill(&mut bytes).map_err(|error| Error::Config(format!("no randomness: {error}")))?;
    let (incarnation, seed) = bytes.split_at(16);
    let number = |bytes: &[u8]| bytes.iter().fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    Ok((number(incarnation), number(seed) as u64))
}

/// 128 random bits, in hexadecimal.
pub(crate) fn random_id() -> Result<String, Error> {
    let (id, _) = draw()?;
    Ok(format!("{id:032x}"))
}
