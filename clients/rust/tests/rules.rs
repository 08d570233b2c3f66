//! Each rule of the client's core, one by one, message by message: this file plays the server.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use bytes::Bytes;
use syncbridge_client::{
    After, ByteString, ErrorCode, OnConflict, Patch, Refusal, RequestError, UpdateDurability, UpdateOptions, Value,
    core::{Config, Core, Disconnect, Event, Fault, Limits, LinkCommand, SessionEvent},
};
use syncbridge_codec::{
    Decoder, Message,
    message::{
        self, Accepted, Class, Conflict, ConflictPolicy, Created, Delta, DevicePolicy, Durability, Durable, Origin,
        Position, Reset, ResetReason, Resumed, Update, Welcome,
    },
};

const ME: u128 = 7;
const S: &str = "s";

struct Peer {
    core: Core,
    now: u64,
}

fn at(version: u64) -> Position {
    Position { epoch: 1, version }
}

fn set(path: &str, value: i64) -> Patch {
    Patch::new().add(path.to_owned(), Value::from(value))
}

fn json(value: Option<&Value>) -> String {
    value.map_or_else(|| "nothing".to_owned(), |value| String::from_utf8(value.to_json()).unwrap())
}

impl Peer {
    fn offline(config: Config) -> Self {
        let mut core = Core::new(config, 1);
        core.handle_timeout(0);
        assert_eq!(core.poll_command(), Some(LinkCommand::Connect { address: None }));
        Self { core, now: 0 }
    }

    /// Subscribed and live at version 1.
    fn live(state: &str) -> Self {
        Self::live_with(Config::new("phone", ME), state)
    }

    fn live_with(config: Config, state: &str) -> Self {
        let mut peer = Self::offline(config);
        peer.core.subscribe(S, 0).unwrap();
        peer.connect();
        let asked = peer.says();
        let [Message::Hello(_), Message::Subscribe(subscribe)] = &asked[..] else { panic!("{asked:?}") };
        peer.reset(Some(subscribe.id), ResetReason::Initial, at(1), None, state);
        peer.told();
        peer
    }

    fn connect(&mut self) {
        self.core.handle_connected(self.now);
        self.hears(Welcome {
            version: 1,
            max_client_frame: 1 << 20,
            max_server_frame: 1 << 20,
            max_document: 1 << 20,
            max_subscriptions: 10,
            heartbeat_ms: 20_000,
            ..Welcome::default()
        });
    }

    /// The link breaks, and the next one stands.
    fn reconnect(&mut self) {
        self.core.handle_disconnected(self.now, None, "broken");
        self.dial();
        self.connect();
    }

    fn dial(&mut self) {
        self.now = self.core.poll_timeout().unwrap();
        self.core.handle_timeout(self.now);
        while self.core.poll_command().is_some_and(|command| !matches!(command, LinkCommand::Connect { .. })) {}
    }

    fn hears(&mut self, message: impl Into<Message>) {
        self.core.handle_bytes(self.now, Class::Control, message.into().to_frame());
    }

    fn reset(&mut self, id: Option<u64>, reason: ResetReason, at: Position, last_kept: Option<u64>, state: &str) {
        let state = Some(Bytes::copy_from_slice(state.as_bytes()));
        self.hears(Reset { id, session: S.into(), reason, at, last_kept, state });
    }

    fn resumed(&mut self, epoch: u64, after: u64, version: u64) {
        self.hears(Resumed { id: None, session: S.into(), epoch, after, version });
    }

    fn delta(&mut self, version: u64, patch: &Patch, origin: Origin) {
        let operations = Bytes::from(patch.to_json());
        let (session, device) = (S.into(), "desktop".into());
        self.hears(Delta { session, at: at(version), operations, device, origin, time_ms: 0 });
    }

    fn theirs(&mut self, version: u64, patch: &Patch) {
        self.delta(version, patch, Origin { incarnation: 8, counter: version });
    }

    fn accepted(&mut self, counter: u64, version: u64, changed: bool) {
        let (session, at, durable, operations) = (S.into(), at(version), false, None);
        self.hears(Accepted { counter, session, at, durable, operations, changed });
    }

    fn refused(&mut self, counter: u64, code: ErrorCode) {
        self.hears(message::Error { session: Some(S.into()), op: Some(counter), ..message::Error::new(code, "") });
    }

    fn conflict(&mut self, counter: u64, version: u64) {
        self.hears(Conflict { counter, session: S.into(), at: at(version), paths: vec!["/a".into()] });
    }

    /// Everything that the client has to say.
    fn says(&mut self) -> Vec<Message> {
        let mut decoder = Decoder::new(1 << 20);
        let mut said = Vec::new();
        for class in [Class::Control, Class::Session] {
            while let Some(frame) = self.core.poll_transmit(self.now, class) {
                decoder.push(frame);
                let frame = decoder.next_frame().unwrap().unwrap();
                said.push(Message::decode(frame).unwrap().unwrap());
            }
        }
        said
    }

    fn updates(&mut self) -> Vec<Update> {
        let said = self.says().into_iter();
        said.filter_map(|message| if let Message::Update(update) = message { Some(update) } else { None }).collect()
    }

    fn counters(&mut self) -> Vec<u64> {
        self.updates().iter().map(|update| update.counter).collect()
    }

    fn events(&mut self) -> Vec<Event> {
        std::iter::from_fn(|| self.core.poll_event()).collect()
    }

    fn told(&mut self) -> Vec<SessionEvent> {
        let events = self.events().into_iter();
        events.filter_map(|event| if let Event::Session { event, .. } = event { Some(event) } else { None }).collect()
    }

    /// (op, name of the refusal), in order.
    fn refusals(&mut self) -> Vec<(u64, String)> {
        let told = self.told().into_iter();
        told.filter_map(|event| match event {
            SessionEvent::Refused { counter, refusal, .. } => Some((counter, refusal.name().to_owned())),
            _ => None,
        })
        .collect()
    }

    fn update(&mut self, patch: Patch) -> u64 {
        self.core.update(S, patch, &UpdateOptions::default()).unwrap()
    }

    fn view(&mut self) -> String {
        json(self.core.document(S))
    }

    fn server(&self) -> String {
        json(self.core.server_state(S).map(|(document, _)| document))
    }

    fn disconnect_reason(&mut self) -> Disconnect {
        let mut events = self.events().into_iter();
        events
            .find_map(|event| if let Event::Disconnected { reason, .. } = event { Some(reason) } else { None })
            .unwrap()
    }
}

#[test]
fn an_update_shows_at_once_and_the_servers_state_follows_with_the_answer() {
    let mut peer = Peer::live("{}");
    peer.update(set("/a", 1));
    assert_eq!((peer.view(), peer.server()), (r#"{"a":1}"#.to_owned(), "{}".to_owned()));
    let sent = peer.updates();
    assert_eq!((sent.len(), sent[0].counter, &sent[0].base), (1, 1, &at(1)));
    assert_eq!(sent[0].on_conflict, Some(ConflictPolicy::Reject));
    peer.accepted(1, 2, true);
    assert_eq!(peer.server(), r#"{"a":1}"#);
    assert!(matches!(
        &peer.told()[..],
        [SessionEvent::Changed { own: true, .. }, SessionEvent::Accepted { counter: 1, .. }]
    ));
}

#[test]
fn others_changes_go_under_the_own_ones() {
    let mut peer = Peer::live(r#"{"list":[]}"#);
    peer.update(Patch::new().add("/list/-", Value::from("mine")));
    peer.theirs(2, &Patch::new().add("/list/-", Value::from("theirs")));
    assert_eq!(peer.view(), r#"{"list":["theirs","mine"]}"#);
    assert_eq!(peer.server(), r#"{"list":["theirs"]}"#);
}

#[test]
fn an_own_delta_stands_for_accepted_and_the_later_answer_makes_it_durable() {
    let mut peer = Peer::live("{}");
    let options = UpdateOptions { durability: UpdateDurability::Durable, ..UpdateOptions::default() };
    peer.core.update(S, set("/a", 1), &options).unwrap();
    assert_eq!(peer.updates()[0].durability, Durability::Durable);
    peer.delta(2, &set("/a", 1), Origin { incarnation: ME, counter: 1 });
    assert!(matches!(&peer.told()[..], [SessionEvent::Changed { own: true, .. }, SessionEvent::Accepted { .. }]));
    let session = S.into();
    peer.hears(Accepted { counter: 1, session, at: at(2), durable: true, operations: None, changed: true });
    assert!(matches!(&peer.told()[..], [SessionEvent::Durable { counter: 1, .. }]));
    assert_eq!((peer.view(), peer.core.unconfirmed(S)), (r#"{"a":1}"#.to_owned(), 0));
}

#[test]
fn what_the_server_applied_instead_of_what_was_sent_is_what_counts() {
    let mut peer = Peer::live(r#"{"list":[]}"#);
    peer.update(Patch::new().add("/list/-", Value::from(1)));
    let operations = Some(Bytes::from(Patch::new().add("/list/-", Value::from(2)).to_json()));
    let session = S.into();
    peer.hears(Accepted { counter: 1, session, at: at(2), durable: false, operations, changed: true });
    assert_eq!((peer.view(), peer.server()), (r#"{"list":[2]}"#.to_owned(), r#"{"list":[2]}"#.to_owned()));
}

#[test]
fn a_skipped_version_ends_the_connection_and_the_session_is_fetched_anew() {
    for own in [false, true] {
        let mut peer = Peer::live("{}");
        if own {
            peer.update(set("/a", 1));
            peer.says();
            peer.accepted(1, 3, true);
        } else {
            peer.theirs(3, &set("/a", 1));
        }
        let expected = Fault::Gap { session: S.into(), expected: 2, got: 3 };
        assert_eq!(peer.disconnect_reason(), Disconnect::Fault(expected));
        assert_eq!(peer.core.stats().gaps, 1);
        assert_eq!(peer.server(), "{}", "nothing of it was taken");
        peer.dial();
        peer.connect();
        let said = peer.says();
        let [Message::Hello(hello), Message::Subscribe(subscribe)] = &said[..] else { panic!("{said:?}") };
        assert!(hello.resume.is_empty() && subscribe.have.is_none(), "no cursor for what cannot be trusted");
    }
}

#[test]
fn a_version_that_comes_twice_and_a_change_that_does_not_fit_end_the_connection() {
    let mut peer = Peer::live("{}");
    peer.theirs(1, &set("/a", 1));
    assert!(matches!(peer.disconnect_reason(), Disconnect::Fault(Fault::Duplicate { .. })));
    let mut peer = Peer::live("{}");
    peer.theirs(2, &Patch::new().remove("/nothing"));
    assert!(matches!(peer.disconnect_reason(), Disconnect::Fault(Fault::Diverged { .. })));
    assert_eq!(peer.core.stats().faults, 1);
}

#[test]
fn a_conflict_rolls_back_the_op_and_what_builds_on_it_and_nothing_else() {
    let mut peer = Peer::live(r#"{"a":0,"b":0}"#);
    peer.update(set("/a", 1));
    peer.update(set("/b", 1));
    peer.update(set("/a", 2));
    let after: Vec<_> = peer.updates().iter().map(|update| update.after).collect();
    assert_eq!(after, [None, None, Some(1)]);
    peer.conflict(1, 1);
    assert_eq!(peer.refusals(), [(1, "conflict".to_owned()), (3, "dependency_refused".to_owned())]);
    assert_eq!(peer.view(), r#"{"a":0,"b":1}"#);
    // The server's own answer to the third says nothing new.
    peer.refused(3, ErrorCode::DependencyRefused);
    assert_eq!(peer.refusals(), []);
    peer.accepted(2, 2, true);
    assert_eq!((peer.view(), peer.core.pending(S)), (r#"{"a":0,"b":1}"#.to_owned(), vec![]));
}

#[test]
fn what_an_update_builds_on_is_for_the_caller_to_choose() {
    let options = |after| UpdateOptions { after, ..UpdateOptions::default() };
    let mut peer = Peer::live("{}");
    peer.update(set("/a", 1));
    peer.core.update(S, set("/b", 1), &options(After::Op(1))).unwrap();
    peer.core.update(S, set("/a", 2), &options(After::Nothing)).unwrap();
    peer.core.update(S, set("/c", 1), &options(After::All)).unwrap();
    // The last one builds on two lines and the wire names one, so it waits for the other to be answered.
    let after: Vec<_> = peer.updates().iter().map(|update| (update.counter, update.after)).collect();
    assert_eq!(after, [(1, None), (2, Some(1)), (3, None)]);
    peer.accepted(1, 2, true);
    assert_eq!(peer.counters(), [0; 0]);
    peer.accepted(2, 3, true);
    let after: Vec<_> = peer.updates().iter().map(|update| (update.counter, update.after)).collect();
    assert_eq!(after, [(4, Some(3))]);
    peer.conflict(3, 3);
    assert_eq!(peer.refusals(), [(3, "conflict".to_owned()), (4, "dependency_refused".to_owned())]);
    let gone = peer.core.update(S, set("/d", 1), &options(After::Op(3)));
    assert_eq!(gone, Err(RequestError::UnknownDependency(3)));
    assert_eq!(peer.core.update(S, set("/d", 1), &options(After::Op(99))), Err(RequestError::UnknownDependency(99)));
}

#[test]
fn an_update_that_tests_what_an_earlier_one_wrote_builds_on_it() {
    let mut peer = Peer::live("{}");
    peer.update(set("/a", 1));
    peer.update(Patch::new().test("/a", Value::from(1)).add("/b", Value::from(2)));
    assert_eq!(peer.updates()[1].after, Some(1));
}

#[test]
fn a_busy_server_gets_the_op_and_all_after_it_again_in_order() {
    let mut peer = Peer::live("{}");
    (0..4).for_each(|n| assert_eq!(peer.update(set(&format!("/{n}"), 1)), n + 1));
    assert_eq!(peer.counters(), [1, 2, 3, 4]);
    peer.accepted(1, 2, true);
    for counter in 2..=4 {
        let retry_after_ms = Some(50);
        let busy = message::Error { retry_after_ms, ..message::Error::new(ErrorCode::Busy, "") };
        peer.hears(message::Error { session: Some(S.into()), op: Some(counter), ..busy });
    }
    assert_eq!(peer.counters(), [0; 0], "not before its time");
    assert_eq!(peer.view(), r#"{"0":1,"1":1,"2":1,"3":1}"#, "and nothing is rolled back");
    let wake = peer.core.poll_timeout().unwrap();
    assert!((50..=65).contains(&wake), "{wake}");
    peer.now = wake;
    peer.core.handle_timeout(wake);
    assert_eq!(peer.counters(), [2, 3, 4]);
}

#[test]
fn after_a_lost_link_everything_unanswered_is_sent_again_with_its_counter_and_then_what_is_new() {
    let mut peer = Peer::live("{}");
    peer.update(set("/a", 1));
    peer.update(set("/b", 1));
    assert_eq!(peer.counters(), [1, 2]);
    peer.core.handle_disconnected(0, None, "broken");
    peer.update(set("/c", 1));
    peer.dial();
    peer.connect();
    let said = peer.says();
    let [Message::Hello(hello)] = &said[..] else { panic!("{said:?}") };
    assert_eq!((hello.resume[0].epoch, hello.resume[0].seq, hello.incarnation), (1, 1, ME));
    // The first one had arrived.
    peer.resumed(1, 1, 2);
    assert_eq!(peer.counters(), [1, 2, 3], "updates wait until their place is known to be true");
    peer.delta(2, &set("/a", 1), Origin { incarnation: ME, counter: 1 });
    peer.accepted(1, 2, false);
    peer.accepted(2, 3, true);
    peer.accepted(3, 4, true);
    assert_eq!(
        (peer.server(), peer.view()),
        (r#"{"a":1,"b":1,"c":1}"#.to_owned(), r#"{"a":1,"b":1,"c":1}"#.to_owned())
    );
    assert_eq!(peer.core.stats().faults, 0);
}

#[test]
fn an_answer_to_a_resend_that_comes_before_its_delta_waits_for_it() {
    let mut peer = Peer::live(r#"{"list":[]}"#);
    peer.update(Patch::new().add("/list/-", Value::from(1)));
    peer.says();
    peer.reconnect();
    peer.says();
    peer.resumed(1, 1, 3);
    peer.says();
    peer.accepted(1, 3, false);
    assert_eq!(peer.view(), r#"{"list":[1]}"#);
    peer.theirs(2, &Patch::new().add("/list/-", Value::from(0)));
    assert_eq!(peer.view(), r#"{"list":[0,1]}"#, "still on top");
    peer.delta(3, &Patch::new().add("/list/-", Value::from(1)), Origin { incarnation: ME, counter: 1 });
    assert_eq!((peer.view(), peer.server()), (r#"{"list":[0,1]}"#.to_owned(), r#"{"list":[0,1]}"#.to_owned()));
}

#[test]
fn durable_lets_go_of_what_it_covers_and_only_of_that() {
    let mut peer = Peer::live("{}");
    peer.update(set("/a", 1));
    peer.update(set("/b", 1));
    peer.says();
    peer.accepted(1, 2, true);
    peer.accepted(2, 3, true);
    assert_eq!(peer.core.unconfirmed(S), 2);
    peer.told();
    peer.hears(Durable { session: S.into(), at: at(2) });
    assert!(matches!(&peer.told()[..], [SessionEvent::DurableUpTo { .. }, SessionEvent::Durable { counter: 1, .. }]));
    assert_eq!(peer.core.unconfirmed(S), 1);
}

#[test]
fn what_was_accepted_and_lost_in_a_crash_is_sent_again_on_the_last_place_that_was_kept() {
    let mut peer = Peer::live("{}");
    for n in 1..=3 {
        peer.update(set(&format!("/{n}"), 1));
    }
    peer.says();
    for n in 1..=3 {
        peer.accepted(n, n + 1, true);
    }
    peer.hears(Durable { session: S.into(), at: at(2) });
    peer.update(set("/4", 1));
    peer.reconnect();
    peer.says();
    peer.reset(None, ResetReason::Lost, Position { epoch: 2, version: 2 }, Some(2), r#"{"1":1}"#);
    assert_eq!(peer.view(), r#"{"1":1,"2":1,"3":1,"4":1}"#, "the person sees no loss");
    let sent: Vec<_> = peer.updates().into_iter().map(|update| (update.counter, update.base)).collect();
    assert_eq!(sent, [(2, at(1)), (3, at(1)), (4, at(2))], "a base that was lost is replaced by what is left of it");
    assert_eq!(peer.core.stats().lost, 1);
}

#[test]
fn a_durable_of_a_new_server_says_nothing_about_an_op_that_it_has_not_answered() {
    let mut peer = Peer::live("{}");
    peer.update(Patch::new());
    peer.says();
    peer.accepted(1, 1, false);
    peer.reconnect();
    peer.says();
    peer.resumed(2, 1, 1);
    peer.hears(Durable { session: S.into(), at: Position { epoch: 2, version: 1 } });
    assert_eq!(peer.core.unconfirmed(S), 1, "that it changed nothing may be what was lost");
}

#[test]
fn an_update_that_asked_for_no_more_than_accepted_is_forgotten_then() {
    let mut peer = Peer::live("{}");
    let options = UpdateOptions { durability: UpdateDurability::Accepted, ..UpdateOptions::default() };
    peer.core.update(S, set("/a", 1), &options).unwrap();
    peer.says();
    peer.accepted(1, 2, true);
    assert_eq!(peer.core.unconfirmed(S), 0);
}

#[test]
fn a_snapshot_in_parts_replaces_the_state_only_when_it_is_whole() {
    let text = br#"{"big":"document"}"#;
    let head = |peer: &mut Peer| {
        peer.hears(Reset { session: S.into(), reason: ResetReason::Lagged, at: at(9), ..Reset::default() });
        peer.hears(message::SnapshotBegin { session: S.into(), at: at(9), size: text.len() as u64 });
        peer.hears(message::SnapshotPart { session: S.into(), offset: 0, bytes: Bytes::from_static(&text[..5]) });
    };
    let mut peer = Peer::live("{}");
    head(&mut peer);
    assert_eq!(peer.view(), "{}");
    peer.hears(message::SnapshotPart { session: S.into(), offset: 5, bytes: Bytes::from_static(&text[5..]) });
    peer.hears(message::SnapshotEnd { session: S.into(), checksum: crc32c::crc32c(text) });
    assert_eq!(peer.view(), r#"{"big":"document"}"#);
    peer.theirs(10, &set("/a", 1));
    assert_eq!(peer.core.server_state(S).unwrap().1, &at(10));

    let mut peer = Peer::live("{}");
    head(&mut peer);
    peer.theirs(10, &set("/a", 1));
    assert!(matches!(peer.disconnect_reason(), Disconnect::Fault(_)), "events wait until the end of it");
    assert_eq!(peer.view(), "{}");
}

#[test]
fn a_full_queue_is_an_error_to_the_caller_and_changes_nothing() {
    let mut config = Config::new("phone", ME);
    config.limits = Limits { queue_ops: 2, ..Limits::default() };
    let mut peer = Peer::live_with(config, "{}");
    peer.update(set("/a", 1));
    peer.update(set("/b", 1));
    let full = peer.core.update(S, set("/c", 1), &UpdateOptions::default());
    assert!(matches!(full, Err(RequestError::QueueFull { ops: 2, .. })), "{full:?}");
    assert_eq!(peer.view(), r#"{"a":1,"b":1}"#);
    peer.says();
    peer.conflict(1, 1);
    peer.update(set("/c", 1));
}

#[test]
fn no_more_is_under_way_than_the_server_remembers_answers_for() {
    let mut config = Config::new("phone", ME);
    config.limits = Limits { unconfirmed_ops: 2, ..Limits::default() };
    let mut peer = Peer::live_with(config, "{}");
    for n in 0..4 {
        peer.update(set(&format!("/{n}"), 1));
    }
    assert_eq!(peer.counters(), [1, 2]);
    peer.accepted(1, 2, true);
    assert_eq!(peer.counters(), [0; 0], "accepted is not durable: it may have to be sent again");
    peer.hears(Durable { session: S.into(), at: at(2) });
    assert_eq!(peer.counters(), [3]);
}

#[test]
fn an_update_that_does_not_apply_is_refused_to_the_caller() {
    let mut peer = Peer::live("{}");
    let refused = peer.core.update(S, Patch::new().remove("/a"), &UpdateOptions::default());
    assert!(matches!(refused, Err(RequestError::DoesNotApply(_))));
    assert_eq!(peer.counters(), [0; 0]);
    let elsewhere = peer.core.update("elsewhere", set("/a", 1), &UpdateOptions::default());
    assert_eq!(elsewhere, Err(RequestError::NotSubscribed));
}

#[test]
fn an_op_that_no_longer_applies_here_is_left_out_of_the_view_and_the_server_decides() {
    let mut peer = Peer::live(r#"{"a":{}}"#);
    let options = UpdateOptions { on_conflict: OnConflict::SessionPolicy, ..UpdateOptions::default() };
    peer.core.update(S, set("/a/b", 1), &options).unwrap();
    peer.says();
    peer.theirs(2, &Patch::new().remove("/a"));
    assert_eq!((peer.view(), peer.core.pending(S)), ("{}".to_owned(), vec![(1, true)]));
    peer.refused(1, ErrorCode::PathNotFound);
    assert_eq!(peer.refusals(), [(1, "path_not_found".to_owned())]);
}

#[test]
fn a_session_is_made_offline_once_and_its_updates_wait_for_it() {
    let mut peer = Peer::offline(Config::new("phone", ME));
    let state = Value::from_members([("a", Value::from(1))]);
    let made = peer.core.create(S, state, ConflictPolicy::Reject, DevicePolicy::Many).unwrap();
    assert_eq!(made, 1);
    peer.update(set("/a", 2));
    assert_eq!(peer.view(), r#"{"a":2}"#);
    peer.connect();
    let said = peer.says();
    let [Message::Hello(_), Message::Create(create)] = &said[..] else { panic!("{said:?}") };
    assert_eq!((create.counter, create.state.as_ref()), (1, &br#"{"a":1}"#[..]));
    peer.hears(Created { counter: 1, session: S.into(), epoch: 1, version: 1 });
    let said = peer.says();
    let [Message::Subscribe(subscribe)] = &said[..] else { panic!("{said:?}") };
    assert_eq!(subscribe.have, Some(at(1)), "the state is known: it is not sent back");
    peer.hears(Resumed { id: Some(subscribe.id), session: S.into(), epoch: 1, after: 1, version: 1 });
    let sent = peer.updates();
    assert_eq!((sent[0].counter, &sent[0].base), (2, &at(1)));
}

#[test]
fn updates_of_a_session_that_could_not_be_made_fail_with_it() {
    let mut peer = Peer::offline(Config::new("phone", ME));
    peer.core.create(S, Value::object(), ConflictPolicy::Reject, DevicePolicy::Many).unwrap();
    peer.update(set("/a", 2));
    peer.connect();
    peer.says();
    peer.refused(1, ErrorCode::AlreadyExists);
    let told = peer.told();
    assert!(
        matches!(
            &told[..],
            [
                SessionEvent::Refused { counter: 1, refusal: Refusal::Error(_), .. },
                SessionEvent::Refused { counter: 2, refusal: Refusal::Dependency { on: 1 }, .. },
                SessionEvent::Ended { .. },
            ]
        ),
        "{told:?}"
    );
    assert_eq!(peer.view(), "nothing");
}

#[test]
fn a_session_is_left_only_when_its_updates_are_answered_and_its_counters_are_not_used_again() {
    let mut peer = Peer::live("{}");
    peer.update(set("/a", 1));
    peer.core.unsubscribe(S, 0);
    let said = peer.says();
    assert!(matches!(&said[..], [Message::Update(_)]), "{said:?}");
    peer.accepted(1, 2, true);
    peer.hears(Durable { session: S.into(), at: at(2) });
    let said = peer.says();
    let [Message::Unsubscribe(leave)] = &said[..] else { panic!("{said:?}") };
    // Back before the server has answered: what still comes belongs to the old subscription.
    peer.core.subscribe(S, 0).unwrap();
    let said = peer.says();
    let [Message::Subscribe(again)] = &said[..] else { panic!("{said:?}") };
    peer.theirs(3, &set("/b", 1));
    peer.hears(message::Unsubscribed { id: leave.id, session: S.into() });
    peer.hears(Resumed { id: Some(again.id), session: S.into(), epoch: 1, after: 2, version: 3 });
    peer.theirs(3, &set("/b", 1));
    assert_eq!(peer.view(), r#"{"a":1,"b":1}"#);
    assert_eq!(peer.update(set("/c", 1)), 2);
    assert_eq!(peer.core.stats().faults, 0);
}

#[test]
fn a_subscription_that_is_refused_ends_and_one_that_is_put_off_is_asked_for_again() {
    for (code, ends) in [(ErrorCode::NotFound, true), (ErrorCode::Internal, false)] {
        let mut peer = Peer::offline(Config::new("phone", ME));
        peer.core.subscribe(S, 0).unwrap();
        peer.connect();
        let said = peer.says();
        let [_, Message::Subscribe(subscribe)] = &said[..] else { panic!("{said:?}") };
        let session = Some(ByteString::from(S));
        peer.hears(message::Error { answers: Some(subscribe.id), session, ..message::Error::new(code, "") });
        assert_eq!(peer.told().iter().any(|event| matches!(event, SessionEvent::Ended { .. })), ends);
        peer.now = peer.core.poll_timeout().unwrap();
        peer.core.handle_timeout(peer.now);
        let again = peer.says().iter().any(|message| matches!(message, Message::Subscribe(_)));
        assert_eq!(again, !ends);
    }
}

#[test]
fn a_draining_server_is_left_within_its_window_for_the_address_it_named() {
    let mut times = Vec::new();
    for seed in 0..50 {
        let mut core = Core::new(Config::new("phone", ME), seed);
        core.handle_timeout(0);
        core.poll_command();
        core.handle_connected(0);
        let mut peer = Peer { core, now: 0 };
        let address = ByteString::from("other:7400");
        peer.hears(Welcome {
            version: 1,
            max_client_frame: 1 << 20,
            max_server_frame: 1,
            heartbeat_ms: 20_000,
            ..Welcome::default()
        });
        peer.hears(message::Draining { reconnect_after_ms: 1_000, window_ms: 4_000, address: address.clone() });
        // Whether the server ends the link before or the client leaves at its time makes no difference.
        if seed % 2 == 0 {
            peer.core.handle_disconnected(10, Some(ErrorCode::ServerDraining as u32), "gone");
        }
        let wake = peer.core.poll_timeout().unwrap();
        peer.core.handle_timeout(wake);
        let mut commands = std::iter::from_fn(|| peer.core.poll_command());
        assert!(commands.any(|command| command == LinkCommand::Connect { address: Some(address.clone()) }));
        times.push(wake);
    }
    assert!(times.iter().all(|time| (1_000..=5_000).contains(time)), "{times:?}");
    assert!(times.iter().max().unwrap() - times.iter().min().unwrap() > 2_000, "spread over the window: {times:?}");
}

#[test]
fn a_dead_link_is_noticed_within_the_heartbeat_and_the_time_for_a_pong() {
    let mut peer = Peer::live("{}");
    peer.now = peer.core.poll_timeout().unwrap();
    assert_eq!(peer.now, 15_000);
    peer.core.handle_timeout(peer.now);
    assert!(matches!(&peer.says()[..], [Message::Ping(_)]));
    peer.now = peer.core.poll_timeout().unwrap();
    assert_eq!(peer.now, 25_000);
    peer.core.handle_timeout(peer.now);
    assert_eq!(peer.disconnect_reason(), Disconnect::Silent);
    assert!(matches!(peer.core.poll_command(), Some(LinkCommand::Disconnect { code: 107, .. })));
}

#[test]
fn a_subscription_that_is_never_answered_does_not_wait_for_ever() {
    let mut peer = Peer::offline(Config::new("phone", ME));
    peer.core.subscribe(S, 0).unwrap();
    peer.connect();
    peer.says();
    while peer.now < 30_000 {
        peer.now = peer.core.poll_timeout().unwrap();
        peer.hears(message::Pong { nonce: 0 });
        peer.core.handle_timeout(peer.now);
        peer.says();
    }
    assert!(matches!(peer.disconnect_reason(), Disconnect::Fault(Fault::Unanswered { .. })));
}

#[test]
fn pauses_between_attempts_grow_up_to_their_cap_and_start_over_after_a_good_connection() {
    let mut peer = Peer::offline(Config::new("phone", ME));
    let mut pauses = Vec::new();
    for _ in 0..40 {
        peer.core.handle_disconnected(peer.now, None, "away");
        let wake = peer.core.poll_timeout().unwrap();
        pauses.push(wake - peer.now);
        peer.dial();
    }
    assert!(pauses.iter().all(|pause| (100..=30_000).contains(pause)), "{pauses:?}");
    assert!(pauses[0] <= 300 && pauses.iter().any(|pause| *pause > 5_000), "{pauses:?}");
    peer.connect();
    peer.now += 6_000;
    peer.core.handle_disconnected(peer.now, None, "broken");
    assert!(peer.core.poll_timeout().unwrap() - peer.now <= 300);
}

#[test]
fn a_refused_client_stays_away_and_a_busy_server_is_tried_again_no_sooner_than_it_said() {
    let refuse = |code| {
        let mut peer = Peer::offline(Config::new("phone", ME));
        peer.core.handle_connected(0);
        peer.hears(message::Refused { retry_after_ms: Some(60_000), ..message::Refused::new(code, "") });
        peer
    };
    let mut peer = refuse(ErrorCode::Unauthenticated);
    assert!(peer.events().iter().any(|event| matches!(event, Event::Stopped { .. })));
    assert_eq!(peer.core.poll_timeout(), None);
    peer.core.restart(5);
    assert_eq!(peer.core.poll_timeout(), Some(5));
    let peer = refuse(ErrorCode::RateLimited);
    assert!(peer.core.poll_timeout().unwrap() >= 60_000);
}

#[test]
fn garbage_from_the_server_ends_the_connection_with_a_name_and_never_panics() {
    let cases: [(&[u8], ErrorCode); 5] = [
        (&[0x00], ErrorCode::MalformedFrame),
        (&[0x01, 0x40], ErrorCode::MalformedFrame),
        (&[0xbf, 0xff, 0xff, 0xff], ErrorCode::FrameTooLarge),
        (&[0x02, 0x7e, 0x00], ErrorCode::UnknownMessage),
        (&[0x02, 0x28, 0xff], ErrorCode::MalformedMessage),
    ];
    for (bytes, code) in cases {
        let mut peer = Peer::live("{}");
        peer.core.handle_bytes(0, Class::Control, Bytes::copy_from_slice(bytes));
        let Disconnect::Fault(fault) = peer.disconnect_reason() else { panic!("{bytes:x?}") };
        assert_eq!(fault.code(), code, "{bytes:x?}: {fault}");
    }
    let mut peer = Peer::live("{}");
    peer.hears(message::Subscribe::default());
    assert!(matches!(peer.disconnect_reason(), Disconnect::Fault(Fault::Protocol(_))), "only clients say that");
}

#[test]
fn an_export_goes_on_in_another_core_with_the_same_ops_and_the_next_counter() {
    let mut peer = Peer::live("{}");
    peer.update(set("/a", 1));
    peer.update(set("/a", 2));
    peer.update(set("/b", 1));
    peer.says();
    peer.accepted(1, 2, true);
    let before = peer.view();
    let text = serde_json::to_string(&peer.core.export()).unwrap();
    let export = serde_json::from_str(&text).unwrap();
    let core = Core::import(Config::new("phone", 99), 5, &export).unwrap();
    let mut peer = Peer { core, now: 0 };
    assert_eq!((peer.view(), peer.core.pending(S)), (before, vec![(2, false), (3, false)]));
    assert_eq!(peer.core.config().incarnation, ME);
    peer.dial();
    peer.connect();
    peer.says();
    peer.resumed(1, 2, 2);
    assert_eq!(peer.update(set("/c", 1)), 4);
    let sent: Vec<_> = peer.updates().iter().map(|update| (update.counter, update.after)).collect();
    assert_eq!(sent, [(1, None), (2, None), (3, None), (4, None)], "the first was applied: it need not be named");
    let mut damaged: syncbridge_client::Export = serde_json::from_str(&text).unwrap();
    damaged.sessions[0].ops.reverse();
    Core::import(Config::new("phone", 99), 5, &damaged).unwrap_err();
}

#[test]
fn presence_follows_the_notices_and_is_asked_for_again_when_some_were_dropped() {
    let attached = |device: &str| message::Attached { device: device.into(), user: "u".into(), ..Default::default() };
    let names = |peer: &Peer| -> Vec<String> {
        let (devices, _) = peer.core.presence(S).unwrap();
        devices.iter().map(|attached| attached.device.to_string()).collect()
    };
    let mut peer = Peer::live("{}");
    let devices = vec![attached("phone")];
    peer.hears(message::Presence { session: S.into(), seq: 4, devices, active_device: None });
    peer.hears(message::DeviceJoined { session: S.into(), seq: 5, device: attached("desktop") });
    peer.hears(message::DeviceJoined { session: S.into(), seq: 5, device: attached("ghost") });
    assert_eq!(names(&peer), ["phone", "desktop"], "a notice that was seen is not seen again");
    peer.hears(message::DeviceLeft { session: S.into(), seq: 6, device: "phone".into(), user: "u".into() });
    assert_eq!(names(&peer), ["desktop"]);
    peer.hears(message::Lagged { session: S.into(), from: 7, to: 9 });
    let said = peer.says();
    let [Message::Subscribe(again)] = &said[..] else { panic!("{said:?}") };
    assert_eq!(again.have, Some(at(1)));
}

#[test]
fn what_another_device_kept_from_being_applied_is_unsent_with_all_that_built_on_it() {
    let mut peer = Peer::live("{}");
    let (first, second) = (peer.update(set("/a", 1)), peer.update(set("/a", 2)));
    let apart = peer.update(set("/b", 3));
    peer.updates();
    peer.refused(first, ErrorCode::NotActive);
    assert_eq!(peer.refusals(), [(first, "not_active".to_owned()), (second, "dependency_refused".to_owned())]);
    peer.refused(second, ErrorCode::DependencyRefused);
    peer.refused(apart, ErrorCode::NotActive);
    peer.told();
    assert_eq!(peer.view(), "{}", "rolled back");
    let unsent: Vec<_> = peer.core.unsent(S).iter().map(|unsent| (unsent.counter, unsent.patch.clone())).collect();
    assert_eq!(unsent, [(first, set("/a", 1)), (second, set("/a", 2)), (apart, set("/b", 3))]);
    assert_eq!(
        peer.updates().into_iter().filter(|update| *update.operations != *b"[]").count(),
        0,
        "nothing goes by itself"
    );

    let again = peer.core.resend(S, second).unwrap();
    assert!(again > apart, "under a counter of its own");
    assert_eq!(peer.view(), r#"{"a":2}"#);
    assert_eq!(peer.updates().last().map(|update| update.counter), Some(again));
    assert_eq!(peer.core.resend(S, second), Err(RequestError::NotUnsent(second)));
    assert_eq!(peer.core.discard(S, first).map(|unsent| unsent.patch), Some(set("/a", 1)));
    assert_eq!(peer.core.unsent(S).len(), 1);
}

#[test]
fn what_a_policy_refuses_is_not_unsent() {
    let mut peer = Peer::live("{}");
    let update = peer.update(set("/a", 1));
    peer.updates();
    peer.conflict(update, 2);
    assert!(peer.core.unsent(S).is_empty());
}

#[test]
fn an_unsent_update_that_does_not_apply_stays_unsent() {
    let mut peer = Peer::live(r#"{"a":{}}"#);
    let update = peer.update(set("/a/b", 1));
    peer.updates();
    peer.refused(update, ErrorCode::NotActive);
    peer.theirs(2, &Patch::new().remove("/a"));
    assert!(matches!(peer.core.resend(S, update), Err(RequestError::DoesNotApply(_))));
    assert_eq!(peer.core.unsent(S).len(), 1);
}

#[test]
fn unsent_updates_outlive_connection_subscription_and_process() {
    let mut peer = Peer::live("{}");
    let update = peer.update(set("/a", 1));
    peer.updates();
    peer.refused(update, ErrorCode::NotActive);
    peer.reconnect();
    peer.core.unsubscribe(S, peer.now);
    peer.core.close();
    assert!(peer.core.server_state(S).is_none(), "the session was left");
    assert_eq!(peer.core.unsent(S).len(), 1);
    let text = serde_json::to_string(&peer.core.export()).unwrap();
    let mut core = Core::import(Config::new("phone", 9), 1, &serde_json::from_str(&text).unwrap()).unwrap();
    assert_eq!(core.unsent(S).to_vec(), peer.core.unsent(S));
    core.subscribe(S, 0).unwrap();
    assert_eq!(core.unsent(S).to_vec(), peer.core.unsent(S), "it comes back with the session");
    let text = serde_json::to_string(&core.export()).unwrap();
    let core = Core::import(Config::new("phone", 9), 1, &serde_json::from_str(&text).unwrap()).unwrap();
    assert_eq!(core.unsent(S).len(), 1);
}

#[test]
fn unsent_updates_take_room_in_the_queue_and_are_never_dropped_for_want_of_it() {
    let mut config = Config::new("phone", ME);
    config.limits = Limits { queue_ops: 2, ..Limits::default() };
    let mut peer = Peer::live_with(config, "{}");
    let (first, second) = (peer.update(set("/a", 1)), peer.update(set("/b", 2)));
    peer.updates();
    peer.refused(first, ErrorCode::NotActive);
    peer.refused(second, ErrorCode::NotActive);
    let third = peer.core.update(S, set("/c", 3), &UpdateOptions::default());
    assert!(matches!(third, Err(RequestError::QueueFull { ops: 2, .. })), "{third:?}");
    peer.core.resend(S, first).unwrap();
    peer.core.discard(S, second).unwrap();
    peer.update(set("/c", 3));
}

#[test]
fn handoffs_are_told_answered_and_change_the_active_device() {
    let mut peer = Peer::live("{}");
    let (session, user, device) = (ByteString::from(S), ByteString::from("ann"), ByteString::from("desk"));
    let handoff = ByteString::from("h");
    let requested = message::HandoffRequested {
        session: session.clone(),
        seq: 1,
        handoff: handoff.clone(),
        user: user.clone(),
        device: device.clone(),
        expires_ms: 9,
    };
    peer.hears(requested);
    assert!(matches!(&peer.told()[..], [SessionEvent::HandoffRequested { expires_ms: 9, .. }]));
    peer.core.answer_handoff("h", true).unwrap();
    assert!(matches!(&peer.says()[..], [Message::HandoffAnswer(answer)] if answer.accept && &*answer.handoff == "h"));
    let completed = message::HandoffCompleted { session, seq: 2, handoff, from: Some("phone".into()), user, device };
    peer.hears(completed.clone());
    peer.hears(completed);
    assert!(matches!(&peer.told()[..], [SessionEvent::HandoffCompleted { .. }]), "told once");
    assert_eq!(peer.core.presence(S).unwrap().1.map(|device| &**device), Some("desk"));
    peer.core.handle_disconnected(peer.now, None, "broken");
    assert_eq!(peer.core.answer_handoff("h", true), Err(RequestError::Offline));
}

#[test]
fn a_deleted_session_and_a_lost_right_end_the_subscription_and_say_why() {
    let mut peer = Peer::live("{}");
    peer.hears(message::SessionDeleted { session: S.into() });
    assert!(matches!(&peer.told()[..], [SessionEvent::Deleted, SessionEvent::Ended { .. }]));
    assert!(peer.core.server_state(S).is_none());

    let mut peer = Peer::live("{}");
    let changed = |user: &str, role| message::AccessChanged { session: S.into(), seq: 1, user: user.into(), role };
    peer.hears(changed("somebody", None));
    peer.hears(changed("", Some(message::Role::Viewer)));
    assert_eq!(peer.told().len(), 2);
    // The test's `Welcome` names no user.
    peer.hears(changed("", None));
    assert!(matches!(&peer.told()[..], [SessionEvent::AccessChanged { role: None, .. }, SessionEvent::Ended { .. }]));
}
