//! `syncbridge watch`: shows a session and everything that happens in it, until it is interrupted. Lost connections are
//! told, and survived.

use std::process::ExitCode;

use serde_json::json;
use syncbridge_client::{
    Attached, Change, ChangeKind, Client, Patch, Phase, Position, ResetReason, SessionHandle, Status, Value,
};
use syncbridge_document::diff;

use super::{
    Failure, client,
    paint::{Paint, clean},
    print,
};
use crate::admin::metrics::Label as _;

/// `watch …`
#[derive(Debug, clap::Args)]
#[group(skip)]
pub struct Options {
    /// The session's id
    #[arg(allow_hyphen_values = true)]
    pub session: String,
    /// How to reach the server.
    #[command(flatten)]
    pub client: client::Options,
}

/// Runs it.
///
/// # Errors
/// [`Failure`].
pub fn run(options: &Options) -> Result<ExitCode, Failure> {
    options.client.run(async |client| {
        let session = options.client.in_time(client.session(&options.session)).await?;
        Watch::new(options, session)?.run(&client).await
    })
}

struct Watch<'a> {
    options: &'a Options,
    session: SessionHandle<serde_json::Value>,
    paint: Paint,
    /// What the reader has seen.
    document: Value,
    at: Position,
    connected: bool,
}

impl<'a> Watch<'a> {
    fn new(options: &'a Options, session: SessionHandle<serde_json::Value>) -> Result<Self, Failure> {
        let (document, at) = current(&session, options)?;
        Ok(Self { options, session, paint: Paint::for_stdout(), document, at, connected: true })
    }

    async fn run(&mut self, client: &Client) -> Result<ExitCode, Failure> {
        let mut changes = self.session.changes().map_err(|error| self.options.client.failure(error))?;
        let mut status = client.status();
        let via = status.borrow_and_update().via();
        // Only now, with the stream of changes in hand: whatever comes after this state will be shown.
        (self.document, self.at) = current(&self.session, self.options)?;
        self.show_state(&via.map_or_else(String::new, |via| format!(", by {via}")))?;
        let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
        loop {
            tokio::select! {
                biased;
                end = &mut interrupted => {
                    end?;
                    return Ok(ExitCode::SUCCESS);
                }
                change = changes.next() => match change {
                    Some(change) => self.change(&change)?,
                    None => return Err(Failure::new(super::End::Failed, "the session was left")),
                },
                news = status.changed() => {
                    news?;
                    let newest = status.borrow_and_update().clone();
                    self.status(&newest)?;
                }
            }
        }
    }

    fn change(&mut self, change: &Change) -> Result<(), Failure> {
        match &change.kind {
            // Contained in a state that was shown meanwhile.
            ChangeKind::Delta { .. } if change.at.epoch == self.at.epoch && change.at.version <= self.at.version => {
                Ok(())
            }
            ChangeKind::Delta { patch, device, time_ms, .. } => self.delta(patch, device, *time_ms, &change.at),
            ChangeKind::Reset { reason, last_kept } => {
                if self.options.client.json {
                    (self.document, self.at) = current(&self.session, self.options)?;
                    return json_line(&json!({
                        "type": "state_sync", "sessionId": self.options.session, "reason": reason.label(),
                        "lastKept": last_kept, "version": self.at.version, "epoch": self.at.epoch,
                        "state": self.document.to_serde(),
                    }));
                }
                let why = match reason {
                    ResetReason::Lost => "the server lost what came after in a crash",
                    ResetReason::TooOld => "the changes since then are no longer kept",
                    ResetReason::Lagged => "too slow for every change; this is the newest state",
                    ResetReason::UnknownEpoch => "the session was made anew",
                    ResetReason::Initial => "from the beginning",
                };
                self.catch_up(why)
            }
            ChangeKind::Lagged { .. } => self.catch_up("too slow for every change; this is the newest state"),
            ChangeKind::Resumed { version } if self.options.client.json => {
                json_line(&json!({"type": "resumed", "sessionId": self.options.session, "version": version}))
            }
            ChangeKind::Resumed { .. } => {
                let line = format!("goes on after version {}", self.at.version);
                print(format_args!("{}\n", self.paint.heading(&line)))
            }
            ChangeKind::DeviceJoined(device) => self.joined(device),
            ChangeKind::DeviceLeft { device, user } => {
                if self.options.client.json {
                    return json_line(&json!({"type": "device_left", "sessionId": self.options.session,
                        "deviceId": device, "userId": user}));
                }
                print(format_args!("{}\n", self.paint.heading(&format!("{device} left"))))
            }
            ChangeKind::HandoffRequested { .. }
            | ChangeKind::HandoffCompleted { .. }
            | ChangeKind::AccessChanged { .. }
            | ChangeKind::Deleted => self.notice(&change.kind),
            ChangeKind::Ended { error } => Err(self.options.client.refused(error)),
            // This command changes nothing, and who else is there at the beginning is told by `device_joined` later.
            ChangeKind::Created
            | ChangeKind::Accepted { .. }
            | ChangeKind::Durable { .. }
            | ChangeKind::DurableUpTo
            | ChangeKind::Refused { .. }
            | ChangeKind::Presence { .. } => Ok(()),
        }
    }

    fn delta(&mut self, patch: &Patch, device: &str, time_ms: u64, at: &Position) -> Result<(), Failure> {
        if at.version != self.at.version + 1 {
            return self.catch_up("several changes at once");
        }
        let lines = self.paint.patch(patch, &mut self.document);
        self.at = at.clone();
        if self.options.client.json {
            let operations: serde_json::Value = serde_json::from_slice(&patch.to_json())?;
            return json_line(&json!({
                "type": "state_delta", "sessionId": self.options.session, "version": at.version, "epoch": at.epoch,
                "delta": {"operations": operations}, "deviceId": device, "timestamp": time_ms,
            }));
        }
        let heading = self.paint.heading(&format!("version {} · {device}", at.version));
        print(format_args!("{heading}\n{lines}"))
    }

    fn joined(&self, device: &Attached) -> Result<(), Failure> {
        let by = device.transport.label();
        if self.options.client.json {
            return json_line(&json!({"type": "device_joined", "sessionId": self.options.session,
                "deviceId": *device.device, "userId": *device.user, "transport": by}));
        }
        print(format_args!("{}\n", self.paint.heading(&format!("{} joined, by {by}", device.device))))
    }

    /// Handoffs, members, the session's end.
    fn notice(&self, kind: &ChangeKind) -> Result<(), Failure> {
        let session = &self.options.session;
        let (text, object) = match kind {
            ChangeKind::HandoffRequested { handoff, user, device, expires_ms } => (
                format!("{device} wants the session: the active device is asked"),
                json!({"type": "handoff_requested", "sessionId": session, "handoffId": handoff, "userId": user,
                    "deviceId": device, "expiresAt": expires_ms}),
            ),
            ChangeKind::HandoffCompleted { handoff, from, user, device } => (
                format!("{device} is the active device"),
                json!({"type": "handoff_completed", "sessionId": session, "handoffId": handoff, "userId": user,
                    "fromDeviceId": from, "deviceId": device}),
            ),
            ChangeKind::AccessChanged { user, role } => (
                role.map_or_else(
                    || format!("{user} is no member any more"),
                    |role| format!("{user} is {}", role.name().to_lowercase()),
                ),
                json!({"type": "access_changed", "sessionId": session, "userId": user,
                    "role": role.map(|role| role.name().to_lowercase())}),
            ),
            _ => ("the session was deleted".to_owned(), json!({"type": "session_deleted", "sessionId": session})),
        };
        if self.options.client.json {
            return json_line(&object);
        }
        print(format_args!("{}\n", self.paint.heading(&text)))
    }

    /// Shows how the newest state differs from what was shown.
    fn catch_up(&mut self, why: &str) -> Result<(), Failure> {
        let (document, at) = current(&self.session, self.options)?;
        if self.options.client.json {
            (self.document, self.at) = (document, at);
            return self.show_state("");
        }
        let patch = diff(&self.document, &document);
        let lines = self.paint.patch(&patch, &mut self.document);
        let heading = self.paint.heading(&format!("version {} · {why}", at.version));
        (self.document, self.at) = (document, at);
        print(format_args!("{heading}\n{lines}"))
    }

    fn show_state(&self, how: &str) -> Result<(), Failure> {
        let (version, epoch, session) = (self.at.version, self.at.epoch, &self.options.session);
        let state = self.document.to_serde();
        if self.options.client.json {
            return json_line(&json!({"type": "state_sync", "sessionId": session, "version": version, "epoch": epoch,
                "state": state}));
        }
        let heading = self.paint.heading(&format!("{session} at version {version}{how}"));
        // JSON escapes C0 but leaves C1; a line break of the pretty form is ours.
        let lines: Vec<_> = format!("{state:#}").lines().map(clean).collect();
        print(format_args!("{heading}\n{}\n", lines.join("\n")))
    }

    fn status(&mut self, status: &Status) -> Result<(), Failure> {
        let (kind, text) = match &status.phase {
            Phase::Waiting { reason, .. } if self.connected => {
                self.connected = false;
                ("disconnected", format!("the connection is lost ({reason}); trying again"))
            }
            Phase::Connected { via, .. } if !self.connected => {
                self.connected = true;
                ("connected", format!("connected again, by {via}"))
            }
            Phase::Stopped { error } | Phase::SignedOut { error: Some(error) } => {
                return Err(self.options.client.refused(error));
            }
            Phase::SignedOut { error: None } => {
                return Err(self.options.client.failure(syncbridge_client::Error::SignedOut));
            }
            Phase::Waiting { .. } | Phase::Connected { .. } | Phase::Connecting | Phase::Closed => return Ok(()),
        };
        if self.options.client.json {
            return json_line(&json!({"type": kind, "text": text}));
        }
        print(format_args!("{}\n", self.paint.heading(&text)))
    }
}

/// One line of `--json`.
fn json_line(object: &serde_json::Value) -> Result<(), Failure> {
    print(format_args!("{object}\n"))
}

/// The document and the place it stands at, from one moment.
fn current(session: &SessionHandle<serde_json::Value>, options: &Options) -> Result<(Value, Position), Failure> {
    let failure = |error| options.client.failure(error);
    loop {
        let before = session.position();
        let document = session.document().map_err(failure)?;
        match session.position() {
            Some(at) if before.as_ref() == Some(&at) => return Ok((document, at)),
            // The client's task moved on between the two questions: ask again.
            Some(_) => {}
            None => return Err(failure(syncbridge_client::Error::Closed)),
        }
    }
}
