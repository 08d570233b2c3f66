//! Once and only once: what is sent again, on any link, gets the recorded answer and is not applied again.

use syncbridge_codec::{
    ErrorCode,
    message::{self, ConflictPolicy, Durability, Message},
};

use crate::{
    net::{Net, who},
    wire::create,
};

scenarios! {
    pairs: [
        an_update_that_is_sent_again_on_another_link_is_not_applied_again
        a_refusal_that_is_sent_again_is_refused_again_though_it_would_fit_now
    ]
    links: [
        a_counter_that_was_given_up_is_never_used
    ]
    together: [
        the_answers_outlive_a_restart
    ]
}

const APPEND: &str = r#"[{"op":"add","path":"/l/-","value":1}]"#;

async fn an_update_that_is_sent_again_on_another_link_is_not_applied_again(net: &Net) {
    let host = net.host();
    let me = who("ann", "phone");
    let mut first = host.join(net.one, &me).await;
    first.create("s", r#"{"l":[]}"#).await;
    let update = first.update("s", APPEND);
    let Message::Accepted(answer) = first.ask(update.clone()).await else { panic!("no Accepted") };
    assert!(answer.changed);

    // The answer was lost, the client thinks.
    host.lose(first);
    let mut second = host.join(net.other, &me).await;
    let Message::Accepted(again) = second.ask(update.clone()).await else { panic!("no Accepted") };
    assert_eq!((again.counter, &again.at, again.changed), (answer.counter, &answer.at, false));
    let mut seen = second.subscribe("s").await;
    assert_eq!((seen.json().as_str(), seen.at.version), (r#"{"l":[1]}"#, 2));

    // The same counter of another client is another op.
    let mut other = host.join(net.other, &who("ann", "laptop")).await;
    let Message::Accepted(theirs) = other.ask(update).await else { panic!("no Accepted") };
    assert!(theirs.changed && theirs.at.version == 3);
    second.follow_to(&mut seen, 3).await;
}

async fn a_refusal_that_is_sent_again_is_refused_again_though_it_would_fit_now(net: &Net) {
    let host = net.host();
    let me = who("ann", "phone");
    let mut first = host.join(net.one, &me).await;
    let mut other = host.join(net.other, &who("ann", "laptop")).await;
    let made =
        message::Create { counter: first.counter("s"), conflict: ConflictPolicy::Reject, ..create("s", r#"{"a":0}"#) };
    first.create_as(made).await;
    other.settle("s").await;
    other.write("s", r#"[{"op":"replace","path":"/a","value":1}]"#).await;
    let clash = first.update("s", r#"[{"op":"replace","path":"/a","value":2}]"#);
    let missing = first.update("s", r#"[{"op":"replace","path":"/b","value":2}]"#);
    let Message::Conflict(conflict) = first.ask(clash.clone()).await else { panic!("no Conflict") };
    let Message::Error(not_there) = first.ask(missing.clone()).await else { panic!("no Error") };
    assert_eq!(not_there.code, ErrorCode::PathNotFound as u32);
    other.write("s", r#"[{"op":"add","path":"/b","value":0}]"#).await;
    first.close().await;

    let mut second = host.join(net.other, &me).await;
    let Message::Conflict(again) = second.ask(clash).await else { panic!("no Conflict") };
    assert_eq!((again.counter, again.paths), (conflict.counter, conflict.paths));
    let Message::Error(again) = second.ask(missing).await else { panic!("no Error") };
    assert_eq!((again.op, again.code), (not_there.op, not_there.code));
}

async fn the_answers_outlive_a_restart(net: &Net) {
    let host = net.durable_host();
    let me = who("ann", "phone");
    let mut first = host.join(net.one, &me).await;
    let created = message::Create { counter: first.counter("s"), ..create("s", r#"{"l":[]}"#) };
    let made = first.create_as(created.clone()).await;
    let update = message::Update { durability: Durability::Durable, ..first.update("s", APPEND) };
    let Message::Accepted(answer) = first.ask(update.clone()).await else { panic!("no Accepted") };
    first.close().await;
    host.restart().await;

    let mut second = host.join(net.other, &me).await;
    let Message::Accepted(again) = second.ask(update).await else { panic!("no Accepted") };
    assert_eq!((again.at.version, again.changed, again.durable), (answer.at.version, false, true));
    second.send(created).await;
    let Message::Created(again) = second.session().await else { panic!("no Created") };
    assert_eq!(again.counter, 1);
    assert!(again.epoch > made.epoch && again.version == 2, "the place it has now: {again:?}");
    assert_eq!(second.subscribe("s").await.json(), r#"{"l":[1]}"#);
}

async fn a_counter_that_was_given_up_is_never_used(net: &Net) {
    let host = net.host();
    let mut wire = host.join(net.one, &who("ann", "phone")).await;
    wire.create("s", r#"{"l":[]}"#).await;
    let skipped = wire.update("s", APPEND);
    wire.write("s", APPEND).await;
    let answer = wire.ask(skipped.clone()).await;
    let Message::Error(error) = answer else { panic!("no Error but {answer:?}") };
    assert_eq!((error.code, error.op), (ErrorCode::OpExpired as u32, Some(skipped.counter)));
    assert_eq!(wire.subscribe("s").await.json(), r#"{"l":[1]}"#);
}
