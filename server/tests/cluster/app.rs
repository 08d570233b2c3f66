//! Applications on the real client that append markers to a session's log, come back by themselves, and write down what
//! they were told to be durable.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde_json::{Value, json};
use syncbridge_client::{
    ChangeKind, Client, Config, Patch, Position, ResetReason, SessionHandle, Transport, UpdateDurability, UpdateHandle,
    UpdateOptions, core::Times,
};
use tokio::{sync::watch, task::JoinHandle, time::MissedTickBehavior};

use crate::support::within;

/// Updates that are not durable yet.
const PENDING: usize = 8;

/// A person types no faster, and the store keeps the changes between two looks at it.
const PACE: Duration = Duration::from_millis(20);

/// A client that somebody uses.
pub struct App {
    pub name: &'static str,
    pub client: Client,
    pub session: SessionHandle<Value>,
    watching: JoinHandle<Seen>,
}

/// What an application was told of its subscription.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    pub lost: u64,
    pub resumed: u64,
}

/// Who an application is, and where.
pub struct As<'a> {
    pub name: &'static str,
    pub transport: Transport,
    /// Its servers, between commas.
    pub servers: &'a str,
    pub token: &'a str,
    /// How long it believes in a server that says nothing, milliseconds.
    pub patience: u64,
}

impl App {
    /// Connects; makes the session, or joins it.
    pub async fn start(of: As<'_>, session: &str, make: bool) -> Self {
        let As { name, transport, servers, token, patience } = of;
        let mut config = Config::new(servers, name).token(token).transport(transport);
        config.times = Times { pong: patience, backoff_cap: 1_000, answer: patience, ..Times::default() };
        let client = within("connecting", Client::connect(config)).await.expect("connects");
        let session = if make {
            within("making", client.create(Some(session), &json!({"log": []}))).await.expect("made")
        } else {
            within("joining", client.session(session)).await.expect("there")
        };
        let mut changes = session.changes().expect("subscribed");
        let watching = tokio::spawn(async move {
            let mut seen = Seen::default();
            while let Some(change) = changes.next().await {
                match change.kind {
                    ChangeKind::Reset { reason: ResetReason::Lost, .. } => seen.lost += 1,
                    ChangeKind::Reset { reason, .. } => panic!("{name} was reset: {reason:?}"),
                    ChangeKind::Resumed { .. } => seen.resumed += 1,
                    ChangeKind::Refused { refusal, .. } => panic!("{name} was refused: {refusal}"),
                    ChangeKind::Ended { error } => panic!("{name}: {error}"),
                    _ => {}
                }
            }
            seen
        });
        Self { name, client, session, watching }
    }

    /// Appends a marker, which is to be durable.
    pub fn append(&self, marker: &str) -> UpdateHandle {
        let patch = format!(r#"[{{"op":"add","path":"/log/-","value":"{marker}"}}]"#);
        let patch = Patch::parse(patch.as_bytes(), &syncbridge_document::Limits::default()).expect("a patch");
        let options = UpdateOptions { durability: UpdateDurability::Durable, ..UpdateOptions::default() };
        self.session.update_as(patch, &options).expect("there is room")
    }

    /// The log as this client shows it.
    pub fn log(&self) -> Vec<String> {
        log(&self.session.state().expect("subscribed"))
    }

    /// Ends it: what it saw, when it saw no version twice and missed none.
    pub async fn finish(self) -> Seen {
        let stats = self.client.stats();
        assert_eq!((stats.gaps, stats.duplicates, stats.divergences), (0, 0, 0), "{}: {stats:?}", self.name);
        self.client.close().await;
        drop(self.session);
        within("the changes end", self.watching).await.expect("the watcher")
    }
}

/// The log in a document.
pub fn log(state: &Value) -> Vec<String> {
    state["log"].as_array().expect("a log").iter().map(|marker| marker.as_str().expect("text").to_owned()).collect()
}

/// Markers that somebody was told to be durable, and where.
pub type Durable = Vec<(String, Position)>;

/// An application that writes all the time.
pub struct Writer {
    pub app: Arc<App>,
    pub durable: Arc<Mutex<Durable>>,
    count: watch::Receiver<usize>,
    stop: watch::Sender<bool>,
    writing: JoinHandle<()>,
}

impl Writer {
    pub fn start(app: App) -> Self {
        let (app, durable) = (Arc::new(app), Arc::<Mutex<Durable>>::default());
        let (stop, stopped) = watch::channel(false);
        let (told, count) = watch::channel(0);
        let writing = tokio::spawn(write(Arc::clone(&app), Arc::clone(&durable), told, stopped));
        Self { app, durable, count, stop, writing }
    }

    /// Waits until so many more are durable, the last of them at a place for which this holds.
    pub async fn goes_on(&mut self, more: usize, holds: impl Fn(&Position) -> bool) {
        let until = *self.count.borrow() + more;
        within("the writer goes on", async {
            loop {
                let count = *self.count.borrow_and_update();
                if count >= until && self.durable.lock().last().is_some_and(|(_, at)| holds(at)) {
                    return;
                }
                self.count.changed().await.expect("it writes");
            }
        })
        .await;
    }

    /// The place of what was durable last.
    pub fn last(&self) -> Position {
        self.durable.lock().last().expect("something is durable").1.clone()
    }

    /// Stops writing; returns when all is durable.
    pub async fn stop(self) -> (App, Durable) {
        self.stop.send_replace(true);
        within("what was made becomes durable", self.writing).await.expect("the writer");
        let durable = std::mem::take(&mut *self.durable.lock());
        (Arc::into_inner(self.app).expect("the writer is gone"), durable)
    }
}

async fn write(app: Arc<App>, durable: Arc<Mutex<Durable>>, told: watch::Sender<usize>, stop: watch::Receiver<bool>) {
    let mut pending: VecDeque<(String, UpdateHandle)> = VecDeque::new();
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for number in 0.. {
        pace.tick().await;
        if !*stop.borrow() {
            let marker = format!("{}.{number}", app.name);
            pending.push_back((marker.clone(), app.append(&marker)));
        }
        if pending.len() < PENDING && !*stop.borrow() {
            continue;
        }
        let Some((marker, update)) = pending.pop_front() else { return };
        let at = update.durable().await.expect("in the end");
        durable.lock().push((marker, at));
        told.send_modify(|count| *count += 1);
    }
}
