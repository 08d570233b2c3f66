//! A hub over a store that is shared as the test says: who has what, and whether the lease holds.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;
use syncbridge_codec::{
    ErrorCode, Message,
    frame::Frames,
    message::{self, DevicePolicy, Position},
};
use syncbridge_storage::{
    Commit, Engine, Error, Outcome, Sink as _, Stats, StoredDelta, StoredSession, Table, Taken, engine::memory::Memory,
};

use super::{Fault, Hub};
use crate::{
    admin::Metrics,
    auth::access::Operation,
    connection::Identity,
    hub::{self, Request},
    persist::{self, Persist},
    session::{self, ConnId, Now},
    shard::{
        conn_id,
        inbox::{Inbox, Item},
    },
};

/// A store that others share.
struct Shared {
    memory: Memory,
    /// Where the owner of a session is, if it is another; epochs that this server is given.
    others: Mutex<HashMap<String, Taken>>,
    released: Mutex<Vec<String>>,
    is_owner: AtomicBool,
    lapses: AtomicU64,
    is_away: AtomicBool,
}

impl Engine for Shared {
    fn epoch(&self) -> u64 {
        self.memory.epoch()
    }
    fn submit(&self, commit: Commit) {
        self.memory.submit(commit);
    }
    fn load(&self, session: &str) -> Result<Option<StoredSession>, Error> {
        self.memory.load(session)
    }
    fn deltas(&self, session: &str, after: u64, max_bytes: usize) -> Result<Option<Vec<StoredDelta>>, Error> {
        self.memory.deltas(session, after, max_bytes)
    }
    fn get(&self, table: Table, key: &[u8], now_ms: u64) -> Result<Option<Bytes>, Error> {
        self.memory.get(table, key, now_ms)
    }
    fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
        now_ms: u64,
    ) -> Result<Vec<(Bytes, Bytes)>, Error> {
        self.memory.scan(table, prefix, after, limit, now_ms)
    }
    fn take(&self, session: &str, at_least: u64) -> Result<Taken, Error> {
        if self.is_away.load(Ordering::Relaxed) {
            return Err(Error::Unavailable { what: "take".into(), cause: "away".into() });
        }
        Ok(self.others.lock().get(session).cloned().unwrap_or(Taken::Owned { epoch: at_least }))
    }
    fn release(&self, session: &str) -> Result<(), Error> {
        self.released.lock().push(session.to_owned());
        Ok(())
    }
    fn is_shared(&self) -> bool {
        true
    }
    fn is_owner(&self) -> bool {
        self.is_owner.load(Ordering::Relaxed)
    }
    fn lapses(&self) -> u64 {
        self.lapses.load(Ordering::Relaxed)
    }
    fn close(&self) -> Result<(), Error> {
        self.memory.close()
    }
    fn stats(&self) -> Stats {
        self.memory.stats()
    }
}

struct Room {
    hub: Arc<Hub>,
    store: Arc<Shared>,
    persist: Arc<Persist>,
    inbox: Arc<Inbox>,
}

fn now() -> Now {
    Now { mono_ms: 1_000, wall_ms: 1_700_000_000_000 }
}

fn user(name: &str) -> Identity {
    Identity { user: name.into(), device: "phone".into(), incarnation: 1, session: None, family: None }
}

fn conn() -> ConnId {
    conn_id(0, 1, 1)
}

fn create(id: &str) -> message::Create {
    message::Create {
        counter: 1,
        session: id.into(),
        state: "{}".into(),
        devices: DevicePolicy::Many,
        ..message::Create::default()
    }
}

impl Room {
    /// Ann has made `s`, and is subscribed to it.
    fn new() -> Self {
        let metrics = Metrics::new(1);
        let bounds = persist::Bounds { busy_age_ms: 25, max_queued: 16, max_bytes: 1 << 20 };
        let persist = Persist::new(bounds, now, Arc::clone(&metrics));
        let store = Arc::new(Shared {
            memory: Memory::open(persist.clone()),
            others: Mutex::default(),
            released: Mutex::default(),
            is_owner: true.into(),
            lapses: 0.into(),
            is_away: false.into(),
        });
        persist.attach(store.clone());
        let inbox: Arc<Inbox> = Arc::default();
        let bounds = hub::Bounds {
            unload_after_ms: 1_000,
            max_inbox: 100,
            max_sessions: 100,
            max_members: 10,
            max_connections: 10,
            session: session::Bounds::default(),
        };
        let (hub, _) = Hub::new(&persist, vec![Arc::clone(&inbox)], false, bounds, metrics);
        let room = Self { hub, store, persist, inbox };
        room.make("s");
        let request = Request {
            id: Some(1),
            have: None,
            notices: false,
            list: false,
            durable: true,
            transport: message::Transport::Memory,
            present: false,
            reset: None,
            continued: false,
            counted: false,
        };
        let session = room.hub.find("s").expect("in memory");
        room.hub.subscribe(&session, conn(), &user("ann"), &request, now()).expect("subscribed");
        room.told();
        room
    }

    /// Makes a session; returns when its core knows that it is durable.
    fn make(&self, id: &str) {
        self.hub.create(conn(), &user("ann"), &create(id), now()).expect("made");
        let session = self.hub.find(id).expect("in memory");
        let began = std::time::Instant::now();
        while !session.live.lock().core.is_quiet() {
            assert!(began.elapsed() < std::time::Duration::from_secs(10), "it is not durable");
            std::thread::yield_now();
        }
    }

    /// Codes and addresses of the errors that the shard was told of since, and whether their session is at an end.
    fn told(&self) -> Vec<(ErrorCode, String, bool)> {
        let mut told = Vec::new();
        while let Some(item) = self.inbox.pop() {
            let (frame, ends) = match item {
                Item::Answer(_, _, frame) => (frame, false),
                Item::Moved(_, frame) => (frame, true),
                Item::End(..) => panic!("it is somewhere"),
                _ => continue,
            };
            let frame = Frames::new(frame, usize::MAX).next().expect("one").expect("whole");
            if let Some(Message::Error(error)) = Message::decode(frame).expect("known") {
                let code = ErrorCode::from_number(error.code).expect("known");
                told.push((code, error.address.to_string(), ends));
            }
        }
        told
    }

    fn update(&self) -> Result<(), Fault> {
        let update = message::Update {
            counter: 2,
            session: "s".into(),
            base: Position { epoch: 0, version: 1 },
            operations: r#"[{"op":"add","path":"/a","value":1}]"#.into(),
            durability: message::Durability::Durable,
            ..message::Update::default()
        };
        let session = self.hub.find("s").expect("in memory");
        self.hub.update(&session, conn(), &user("ann"), &update.into(), now()).map(drop)
    }

    /// The lease was over for a moment, and everything was looked at since.
    fn lapse(&self) {
        self.store.lapses.fetch_add(1, Ordering::Relaxed);
        self.hub.look_again(self.hub.ownership.as_ref().expect("shared"));
    }

    fn held(&self, id: &str) {
        self.store.others.lock().insert(id.into(), Taken::Held { address: "b:1".into() });
    }
}

#[test]
fn while_the_lease_is_over_nothing_is_taken_and_what_is_still_ones_own_goes_on_afterwards() {
    let room = Room::new();
    room.store.is_owner.store(false, Ordering::Relaxed);
    room.update().expect("answered by the core");
    assert_eq!(room.told(), [(ErrorCode::Busy, String::new(), false)]);
    assert!(room.hub.read(&room.hub.find("s").expect("in memory"), &user("ann")).is_ok(), "reads go on");

    room.store.is_owner.store(true, Ordering::Relaxed);
    room.store.lapses.fetch_add(1, Ordering::Relaxed);
    room.update().expect("answered by the core");
    assert_eq!(room.told(), [(ErrorCode::Busy, String::new(), false)], "it is not known yet");

    room.store.is_away.store(true, Ordering::Relaxed);
    room.lapse();
    assert!(!room.hub.is_certain(), "the store could not say");
    room.store.is_away.store(false, Ordering::Relaxed);
    room.lapse();
    assert!(room.hub.is_certain());
    room.update().expect("applied");
    assert_eq!(room.told(), []);
}

#[test]
fn a_session_that_another_took_meanwhile_leaves_memory_and_its_subscribers_are_told_where_it_is() {
    let room = Room::new();
    room.held("s");
    room.lapse();
    assert_eq!(room.told(), [(ErrorCode::Moved, "b:1".to_owned(), true)]);
    assert!(room.hub.find("s").is_none());
    assert!(room.hub.is_certain());
}

#[test]
fn a_session_that_another_had_meanwhile_is_loaded_anew() {
    let room = Room::new();
    let epoch = room.hub.epoch() + 7;
    room.store.others.lock().insert("s".into(), Taken::Owned { epoch });
    room.lapse();
    assert_eq!(room.told(), [(ErrorCode::Moved, String::new(), true)]);
    let session = room.hub.load_or_open("s", &user("ann"), Operation::Get, now()).expect("readable").expect("there");
    assert_eq!(room.hub.position(&session).epoch, epoch);
}

#[test]
fn what_the_store_refuses_because_another_has_the_session_is_never_told_as_durable() {
    let room = Room::new();
    let session = room.hub.find("s").expect("in memory");
    // Under way, and the store's answer is the test's.
    room.store.memory.close().expect("closed");
    room.hub.lost(&session, Outcome::Disowned);
    assert_eq!(room.told(), [(ErrorCode::Moved, String::new(), true)]);
    assert!(room.hub.find("s").is_none());
    let fault = room
        .hub
        .update(&session, conn(), &user("ann"), &message::Update::default().into(), now())
        .expect_err("it is gone");
    assert_eq!(fault.code, ErrorCode::Moved, "also for who still has it in hand");
    room.hub.lost(&session, Outcome::Disowned);
    assert_eq!(room.told(), [], "once");
}

#[test]
fn whoever_may_see_a_session_is_told_who_has_it_and_a_stranger_that_there_is_none() {
    let room = Room::new();
    room.held("s");
    room.lapse();
    let ask = |name: &str| room.hub.load_or_open("s", &user(name), Operation::Get, now());
    let fault = ask("ann").expect_err("it is elsewhere");
    assert_eq!((fault.code, fault.address.as_deref()), (ErrorCode::Moved, Some("b:1")));
    assert!(ask("eve").expect("answered").is_none());
    let again = |name: &str| room.hub.create(conn(), &user(name), &create("s"), now()).expect_err("it is there");
    assert_eq!(again("ann").code, ErrorCode::Moved);
    assert_eq!(again("eve").code, ErrorCode::AlreadyExists);
}

#[test]
fn what_leaves_memory_is_given_up_unless_it_is_back() {
    let room = Room::new();
    room.make("idle");
    room.hub.unload_idle(Now { mono_ms: 10_000, ..now() });
    assert!(room.hub.find("idle").is_none() && room.hub.find("s").is_some());
    assert_eq!(*room.hub.ownership.as_ref().expect("shared").given_up.lock(), ["idle".into()]);
    for id in ["idle", "s"] {
        room.hub.release(id);
    }
    assert_eq!(*room.store.released.lock(), ["idle"]);
}

#[test]
fn a_store_that_is_away_is_busy_and_not_broken() {
    let room = Room::new();
    room.store.is_away.store(true, Ordering::Relaxed);
    let fault = room.hub.load_or_open("other", &user("ann"), Operation::Get, now()).expect_err("nobody knows");
    assert_eq!(fault.code, ErrorCode::Busy);
    assert!(fault.retry_after_ms.is_some());
    room.persist.completed(&[]);
}
