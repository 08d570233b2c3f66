//! Updates for an older version: rebased, merged, won by the last or refused, as the session and the update say.

use syncbridge_codec::{
    ErrorCode,
    message::{self, ConflictPolicy, Message},
};

use crate::{
    net::{Host, Net, who},
    wire::{Wire, create},
};

scenarios! {
    pairs: [
        under_reject_a_clash_is_refused_with_its_paths_and_changes_nothing
        under_last_writer_wins_a_clash_is_applied_on_top
        under_merge_objects_merge_and_everybody_is_told_what_was_applied
        an_update_may_ask_for_reject_under_any_policy
        disjoint_paths_are_rebased_under_every_policy
    ]
    links: [
        appends_never_conflict
        an_array_index_conflicts_under_every_policy
        changes_of_one_incarnation_never_conflict_with_each_other
        what_builds_on_a_refused_update_is_refused
    ]
}

const ALL: [ConflictPolicy; 3] = [ConflictPolicy::LastWriterWins, ConflictPolicy::Merge, ConflictPolicy::Reject];

/// A session of this policy, and two devices that both know its first version.
async fn two(net: &Net, host: &Host, session: &str, conflict: ConflictPolicy, state: &str) -> (Wire, Wire) {
    let mut one = host.join(net.one, &who("ann", "phone")).await;
    let mut other = host.join(net.other, &who("ann", "laptop")).await;
    let counter = one.counter(session);
    one.create_as(message::Create { counter, conflict, ..create(session, state) }).await;
    other.settle(session).await;
    (one, other)
}

async fn state(wire: &mut Wire, session: &str) -> String {
    let id = wire.request();
    wire.send(message::Get { id, session: session.into() }).await;
    let Message::Document(document) = wire.session().await else { panic!("no document") };
    String::from_utf8(document.state.expect("a small document").to_vec()).expect("JSON")
}

async fn ask(wire: &mut Wire, session: &str, operations: &str) -> Message {
    let update = wire.update(session, operations);
    wire.ask(update).await
}

fn accepted(answer: Message) -> message::Accepted {
    let Message::Accepted(accepted) = answer else { panic!("no Accepted but {answer:?}") };
    accepted
}

fn conflict(answer: Message) -> message::Conflict {
    let Message::Conflict(conflict) = answer else { panic!("no Conflict but {answer:?}") };
    conflict
}

async fn under_reject_a_clash_is_refused_with_its_paths_and_changes_nothing(net: &Net) {
    let host = net.host();
    let (mut one, mut other) = two(net, &host, "s", ConflictPolicy::Reject, r#"{"a":0,"b":0}"#).await;
    let first = accepted(ask(&mut one, "s", r#"[{"op":"replace","path":"/a","value":1}]"#).await);
    let refused = conflict(ask(&mut other, "s", r#"[{"op":"replace","path":"/a","value":2}]"#).await);
    assert_eq!((refused.at, refused.paths), (first.at, vec!["/a".into()]));
    assert_eq!(state(&mut other, "s").await, r#"{"a":1,"b":0}"#);
    // With the version that it was told it is no clash any more.
    accepted(ask(&mut other, "s", r#"[{"op":"replace","path":"/a","value":2}]"#).await);
}

async fn under_last_writer_wins_a_clash_is_applied_on_top(net: &Net) {
    let host = net.host();
    let (mut one, mut other) = two(net, &host, "s", ConflictPolicy::LastWriterWins, r#"{"a":0}"#).await;
    accepted(ask(&mut one, "s", r#"[{"op":"replace","path":"/a","value":1}]"#).await);
    let won = accepted(ask(&mut other, "s", r#"[{"op":"replace","path":"/a","value":2}]"#).await);
    assert_eq!(won.at.version, 3);
    assert_eq!(state(&mut one, "s").await, r#"{"a":2}"#);
}

async fn under_merge_objects_merge_and_everybody_is_told_what_was_applied(net: &Net) {
    let host = net.host();
    let (mut one, mut other) = two(net, &host, "s", ConflictPolicy::Merge, r#"{"a":{"x":1}}"#).await;
    let mut seen = one.subscribe("s").await;
    one.write_as_subscriber(&mut seen, r#"[{"op":"replace","path":"/a","value":{"x":1,"y":2}}]"#).await;
    let merged = accepted(ask(&mut other, "s", r#"[{"op":"replace","path":"/a","value":{"x":1,"z":3}}]"#).await);
    let Message::Delta(delta) = one.follow(&mut seen).await else { panic!("no Delta") };
    assert_eq!(Some(delta.operations), merged.operations, "what was applied differs from what was sent");
    assert_eq!(seen.json(), r#"{"a":{"x":1,"y":2,"z":3}}"#);
    assert_eq!(state(&mut other, "s").await, seen.json());
}

async fn an_update_may_ask_for_reject_under_any_policy(net: &Net) {
    let host = net.host();
    for (index, policy) in ALL.into_iter().enumerate() {
        let session = format!("s{index}");
        let (mut one, mut other) = two(net, &host, &session, policy, r#"{"a":{}}"#).await;
        accepted(ask(&mut one, &session, r#"[{"op":"add","path":"/a/x","value":1}]"#).await);
        let strict = message::Update {
            on_conflict: Some(ConflictPolicy::Reject),
            ..other.update(&session, r#"[{"op":"replace","path":"/a","value":{"y":1}}]"#)
        };
        conflict(other.ask(strict).await);
    }
}

async fn disjoint_paths_are_rebased_under_every_policy(net: &Net) {
    let host = net.host();
    for (index, policy) in ALL.into_iter().enumerate() {
        let session = format!("s{index}");
        let (mut one, mut other) = two(net, &host, &session, policy, r#"{"a":{},"b":{}}"#).await;
        accepted(ask(&mut one, &session, r#"[{"op":"add","path":"/a/x","value":1}]"#).await);
        let rebased = accepted(ask(&mut other, &session, r#"[{"op":"add","path":"/b/x","value":2}]"#).await);
        assert_eq!(rebased.at.version, 3);
        assert_eq!(state(&mut one, &session).await, r#"{"a":{"x":1},"b":{"x":2}}"#);
    }
}

async fn appends_never_conflict(net: &Net) {
    let host = net.host();
    for (index, policy) in ALL.into_iter().enumerate() {
        let session = format!("s{index}");
        let (mut one, mut other) = two(net, &host, &session, policy, r#"{"l":[]}"#).await;
        accepted(ask(&mut one, &session, r#"[{"op":"add","path":"/l/-","value":1}]"#).await);
        accepted(ask(&mut other, &session, r#"[{"op":"add","path":"/l/-","value":2}]"#).await);
        assert_eq!(state(&mut one, &session).await, r#"{"l":[1,2]}"#);
    }
}

async fn an_array_index_conflicts_under_every_policy(net: &Net) {
    let host = net.host();
    for (index, policy) in ALL.into_iter().enumerate() {
        let session = format!("s{index}");
        let (mut one, mut other) = two(net, &host, &session, policy, r#"{"l":[1,2,3]}"#).await;
        accepted(ask(&mut one, &session, r#"[{"op":"add","path":"/l/0","value":0}]"#).await);
        conflict(ask(&mut other, &session, r#"[{"op":"remove","path":"/l/2"}]"#).await);
        assert_eq!(state(&mut one, &session).await, r#"{"l":[0,1,2,3]}"#);
    }
}

async fn changes_of_one_incarnation_never_conflict_with_each_other(net: &Net) {
    let host = net.host();
    let (mut one, _) = two(net, &host, "s", ConflictPolicy::Reject, r#"{"a":0}"#).await;
    let base = one.head("s");
    for n in 1..=5 {
        let update = message::Update {
            base: base.clone(),
            ..one.update("s", &format!(r#"[{{"op":"replace","path":"/a","value":{n}}}]"#))
        };
        assert_eq!(accepted(one.ask(update).await).at.version, n + 1);
    }
}

async fn what_builds_on_a_refused_update_is_refused(net: &Net) {
    let host = net.host();
    let (mut one, mut other) = two(net, &host, "s", ConflictPolicy::Reject, r#"{"a":0,"b":0}"#).await;
    accepted(ask(&mut one, "s", r#"[{"op":"replace","path":"/a","value":1}]"#).await);
    let base = other.head("s");
    let chain = [("/a", None), ("/b", Some(0)), ("/b", Some(1))];
    let mut counters = Vec::new();
    for (path, after) in chain {
        let update = message::Update {
            base: base.clone(),
            after: after.map(|index: usize| counters[index]),
            ..other.update("s", &format!(r#"[{{"op":"replace","path":"{path}","value":9}}]"#))
        };
        counters.push(update.counter);
        // All at once, as a client that edits on does.
        other.send(update).await;
    }
    assert_eq!(conflict(other.session().await).counter, counters[0]);
    for counter in &counters[1..] {
        let Message::Error(error) = other.session().await else { panic!("its ground is gone") };
        assert_eq!((error.code, error.op), (ErrorCode::DependencyRefused as u32, Some(*counter)));
    }
    assert_eq!(state(&mut other, "s").await, r#"{"a":1,"b":0}"#);
}
