//! Applications on the real client, one by each transport, that live through every kill: they write, come back by
//! themselves and never look at what was lost. At the end everything they made is there once, in their order.

use std::{collections::VecDeque, net::SocketAddr};

use serde_json::{Value, json};
use syncbridge_client::{
    ChangeKind, Client, Config, Patch, Phase, ResetReason, SessionHandle, Transport, UpdateDurability, UpdateHandle,
    UpdateOptions,
};
use tokio::{sync::watch, task::JoinHandle};

use crate::{support::within, truth::append};

/// Updates that are not durable yet.
const PENDING: usize = 16;

/// See the file's head.
pub struct App {
    name: &'static str,
    client: Client,
    session: SessionHandle<Value>,
    stop: watch::Sender<bool>,
    writing: JoinHandle<Vec<String>>,
    watching: JoinHandle<Seen>,
}

/// What an application was told.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    pub lost: u64,
    pub resumed: u64,
    pub made: u64,
}

impl App {
    /// Connects, makes its session and writes from here on.
    pub async fn start(name: &'static str, transport: Transport, address: SocketAddr, token: &str) -> Self {
        let config = Config::new(address.to_string(), name).token(token).transport(transport);
        let client = within("connecting", Client::connect(config)).await.expect("connects");
        let session = client.create(Some(name), &json!({"log": []})).await.expect("made");
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
        let (stop, stopped) = watch::channel(false);
        let writing = tokio::spawn(write(name, session.clone(), stopped));
        Self { name, client, session, stop, writing, watching }
    }

    /// Waits until it is connected again, at once and not after the pause that a client makes by itself.
    pub async fn back(&self) {
        let mut status = self.client.status();
        self.client.reconnect();
        within("the client is connected", async {
            while !matches!(status.borrow_and_update().phase, Phase::Connected { .. }) {
                self.client.reconnect();
                status.changed().await.expect("it lives");
            }
        })
        .await;
    }

    /// Waits for an answer of the server that runs now. A QUIC client may believe in the dead one for some time: until
    /// its next probe is answered by a stateless reset.
    pub async fn heard(&self) {
        within("an answer", self.client.get(self.name)).await.expect("there");
    }

    /// Stops writing, waits until all is durable, and holds the server's document against what was made.
    pub async fn finish(self) -> Seen {
        self.stop.send_replace(true);
        let made = within("what was made becomes durable", self.writing).await.expect("the writer");
        let document = within("the document", self.client.get(self.name)).await.expect("there");
        let state: Value = document.value.deserialize().expect("JSON");
        let log: Vec<&str> = state["log"].as_array().expect("a log").iter().filter_map(Value::as_str).collect();
        assert_eq!(log, made, "{}: not everything once, in its order", self.name);
        assert_eq!(*self.session.state().expect("subscribed"), state, "{}: its own view differs", self.name);
        self.client.close().await;
        drop(self.session);
        let seen = within("the changes end", self.watching).await.expect("the watcher");
        Seen { made: made.len() as u64, ..seen }
    }
}

/// Makes updates, at most [`PENDING`] ahead of the disk, until it is told to stop. All that it made, in order.
async fn write(name: &'static str, session: SessionHandle<Value>, stop: watch::Receiver<bool>) -> Vec<String> {
    let mut made = Vec::new();
    let mut pending: VecDeque<UpdateHandle> = VecDeque::new();
    while !*stop.borrow() {
        let marker = format!("{name}.{}", made.len());
        let durability = [UpdateDurability::Notify, UpdateDurability::Durable][made.len() % 2];
        let patch = Patch::parse(append(&marker).as_bytes(), &syncbridge_document::Limits::default()).expect("a patch");
        let options = UpdateOptions { durability, ..UpdateOptions::default() };
        pending.push_back(session.update_as(patch, &options).expect("there is room"));
        made.push(marker);
        if pending.len() >= PENDING {
            pending.pop_front().expect("just pushed").durable().await.expect("in the end");
        }
    }
    for update in pending {
        update.durable().await.expect("in the end");
    }
    made
}
