//! `kill -9` under load, over and over on one data folder. `SYNCBRIDGE_TORTURE_KILLS` sets how often (50 when it is not
//! set); `SYNCBRIDGE_TORTURE_SEED` replays the draws.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use syncbridge_client::Transport;
use syncbridge_codec::{
    Message,
    message::{Create, Get},
};
use tokio::{
    sync::{Barrier, watch},
    task::JoinHandle,
};

use crate::{
    apps::{App, Seen},
    observer::Observer,
    support::{
        seed,
        server::Setup,
        wire::{Via, Wire, hello},
        within,
    },
    truth::{Truth, Window, log},
    writer::{Answer, Lane, Mode, Round, Writer},
};

const SESSIONS: usize = 3;
const WRITERS: usize = 6;
/// Kills that a set of sessions lives through before a new one is made, so that documents stay small.
const KILLS_A_SET: usize = 5;

/// What happened in all.
#[derive(Debug, Default)]
struct Tally {
    kills: usize,
    updates: usize,
    durable: usize,
    lost: u64,
    kills_that_lost: usize,
    window: Window,
    applied_again: usize,
    answered_again: usize,
}

#[tokio::test]
async fn what_was_called_durable_survives_every_kill_and_nothing_is_done_twice() {
    let kills = std::env::var("SYNCBRIDGE_TORTURE_KILLS").map_or(50, |kills| kills.parse().expect("a number of kills"));
    fastrand::seed(seed());
    let folder = tempfile::tempdir().expect("a folder");
    let setup = Setup::with_lasting_port(&folder.path().join("data"));
    let token = setup.token("ann", &[]);
    let mut server = setup.start();
    let mut epoch = 0;
    let mut tally = Tally::default();
    let mut observers = Vec::new();
    let mut writers = Vec::new();
    let truths = Arc::new(Mutex::new(Vec::new()));
    let apps = [
        App::start("app-quic", Transport::Quic, server.clients, &token).await,
        App::start("app-websocket", Transport::WebSocket, server.clients, &token).await,
    ];
    let (mut resumed, mut resets, mut lagged) = (0, 0, 0);

    for kill in 0..kills {
        let (die, dead) = watch::channel(false);
        let round = Round {
            address: server.clients,
            token: token.clone(),
            truths: Arc::clone(&truths),
            answered: Arc::new(AtomicU64::new(0)),
            connected: Arc::new(Barrier::new(WRITERS)),
            dead,
        };
        let (mut control, welcome) =
            Wire::greeted(Via::WebSocket, server.clients, hello(&token, "control", 7, Vec::new())).await;
        assert!(welcome.epoch > epoch, "epoch {} after {epoch}", welcome.epoch);
        epoch = welcome.epoch;

        if kill % KILLS_A_SET == 0 {
            for observer in observers.drain(..) {
                let Observer { lost, resumed: again, lagged: slow, .. } = observer;
                (resets, resumed, lagged) = (resets + lost, resumed + again, lagged + slow);
            }
            let mut made = Vec::new();
            for session in 0..SESSIONS {
                made.push(create(&mut control, format!("set{kill}.{session}")).await);
            }
            *truths.lock().expect("not poisoned") = made;
            writers = (0..WRITERS).map(|index| writer(kill, index)).collect();
            observers = vec![Observer::new("o1", Via::Quic, true), Observer::new("o2", Via::WebSocket, false)];
        } else {
            verify_survivors(&mut control, epoch, &truths, &writers, &mut tally).await;
        }
        let mut listening = Vec::new();
        for observer in observers.drain(..) {
            let connected = observer.connect(&round).await;
            listening.push(tokio::spawn(connected.run(round.clone())));
        }
        if kill % KILLS_A_SET != 0 {
            truths.lock().expect("not poisoned").iter_mut().for_each(Truth::go_on);
            writers = resend(writers, &round, &mut control, &mut tally).await;
        }

        for app in &apps {
            app.back().await;
            if kill % 3 == 0 {
                app.heard().await;
            }
        }
        // Load, and death in the middle of it.
        let writing: Vec<_> = writers
            .drain(..)
            .map(|writer: Writer| {
                let via = writer.via;
                tokio::spawn(writer.run(via, Mode::Load, round.clone()))
            })
            .collect();
        let wanted = round.answered.load(Relaxed) + fastrand::u64(1..1_500);
        // A writer that ends by itself has found something.
        while round.answered.load(Relaxed) < wanted && !writing.iter().any(JoinHandle::is_finished) {
            tokio::task::yield_now().await;
        }
        server.kill();
        tally.kills += 1;
        // What lies in the sockets was received: every task takes that first.
        die.send_replace(true);
        for task in writing {
            writers.push(within("a writer ends", task).await.expect("a writer"));
        }
        for task in listening {
            observers.push(within("an observer ends", task).await.expect("an observer"));
        }
        if fastrand::u8(..4) == 0 {
            // Recovering may be killed as well.
            setup.start_and_kill(Duration::from_micros(fastrand::u64(..60_000)));
        }
        server = setup.start();
    }
    for observer in observers {
        (resets, resumed, lagged) = (resets + observer.lost, resumed + observer.resumed, lagged + observer.lagged);
    }
    let mut told = Vec::new();
    for app in apps {
        app.back().await;
        told.push(app.finish().await);
    }
    server.terminate();
    let status = server.ended().await;
    assert!(status.success(), "{status}: {}", setup.log());
    let Tally { kills, updates, durable, lost, kills_that_lost, window, applied_again, answered_again } = tally;
    println!(
        "{kills} kills: {updates} updates, {durable} told durable, {lost} accepted and lost in {kills_that_lost} kills \
         ({applied_again} applied when sent again, {answered_again} recognised), {resets} cursors reset as lost, \
         {resumed} resumed, {lagged} lagged; the longest from the oldest lost to the newest accepted {} ms, \
         from the newest that survived {} ms",
        window.lost_ms, window.apart_ms
    );
    for Seen { made, lost, resumed } in told {
        println!(
            "an application on the client: {made} updates, each there once; {lost} resets as lost, {resumed} resumed"
        );
    }
    // Else the loop did not show what it is for.
    assert!(kills < 20 || (kills_that_lost > 0 && resets > 0), "no kill lost anything that was accepted");
}

/// A session that is durable when this returns.
async fn create(control: &mut Wire, id: String) -> Truth {
    control.send(Create {
        counter: 1,
        session: id.as_str().into(),
        state: r#"{"log":[]}"#.into(),
        ..Create::default()
    });
    let created = control
        .wait_for(|message| match message {
            Message::Created(created) => Some(created),
            Message::Error(error) => panic!("{error:?}"),
            _ => None,
        })
        .await;
    Truth::new(id, created.epoch)
}

fn writer(set: usize, index: usize) -> Writer {
    Writer {
        name: format!("w{set}.{index}"),
        incarnation: fastrand::u128(1..),
        via: Via::BOTH[index % 2],
        subscribes: index.is_multiple_of(3),
        // Each writes to two of the three; each is written to by four.
        lanes: vec![Lane::new(index % SESSIONS), Lane::new((index + 1) % SESSIONS)],
    }
}

/// A session's place and its markers.
async fn look(control: &mut Wire, id: &str) -> (u64, u64, Vec<String>) {
    control.send(Get { id: 1, session: id.into() });
    let mut at = None;
    let mut text = Vec::new();
    loop {
        match control.message().await {
            Message::Document(document) => {
                at = Some(document.at);
                if let Some(state) = document.state {
                    text = state.to_vec();
                    break;
                }
            }
            Message::SnapshotPart(part) => text.extend_from_slice(&part.bytes),
            Message::SnapshotEnd(_) => break,
            Message::Error(error) => panic!("{error:?}"),
            _ => {}
        }
    }
    let at = at.expect("a place");
    (at.epoch, at.version, log(&text))
}

/// What is there after the kill, against what anybody was told before it.
async fn verify_survivors(
    control: &mut Wire,
    epoch: u64,
    truths: &Arc<Mutex<Vec<Truth>>>,
    writers: &[Writer],
    tally: &mut Tally,
) {
    let mut lost = 0;
    for session in 0..SESSIONS {
        let id = truths.lock().expect("not poisoned")[session].id.clone();
        let (found_epoch, version, log) = look(control, &id).await;
        assert_eq!(found_epoch, epoch);
        lost += truths.lock().expect("not poisoned")[session].check(epoch, version, &log);
        let places: BTreeMap<&str, u64> = log.iter().map(String::as_str).zip(2..).collect();
        for lane in writers.iter().flat_map(|writer| &writer.lanes).filter(|lane| lane.session == session) {
            tally.updates += lane.ops.len();
            for op in &lane.ops {
                let Some(answer) = lane.answers.get(&op.counter) else { continue };
                if answer.durable {
                    tally.durable += 1;
                    assert_eq!(places.get(op.marker.as_str()), Some(&answer.version), "{id}: {op:?} was durable");
                }
            }
            // One client's updates are applied in its order: what survived of them is the front.
            let survived: Vec<bool> = lane.ops.iter().map(|op| places.contains_key(op.marker.as_str())).collect();
            assert!(survived.is_sorted_by(|earlier, later| earlier >= later), "{id}: a later update overtook");
        }
    }
    let window = Window::of(&truths.lock().expect("not poisoned"));
    assert!(window.lost_ms <= 50, "lost updates were accepted over {} ms", window.lost_ms);
    tally.window.lost_ms = tally.window.lost_ms.max(window.lost_ms);
    tally.window.apart_ms = tally.window.apart_ms.max(window.apart_ms);
    tally.lost += lost;
    tally.kills_that_lost += usize::from(lost > 0);
}

/// Every op of the last load is sent again with the same incarnation and counters, first on the other transport and then
/// on its own: what survived is recognised, what was lost is applied, and nothing ever twice.
async fn resend(mut writers: Vec<Writer>, round: &Round, control: &mut Wire, tally: &mut Tally) -> Vec<Writer> {
    let kept: Vec<u64> = round.truths.lock().expect("not poisoned").iter().map(|truth| truth.kept).collect();
    let mut first: Vec<Vec<BTreeMap<u64, Answer>>> = Vec::new();
    for turn in 0..2 {
        let sending: Vec<_> = writers
            .iter()
            .map(|writer| {
                let via = if turn == 0 { writer.via.other() } else { writer.via };
                tokio::spawn(writer.clone().run(via, Mode::Resend, round.clone()))
            })
            .collect();
        let mut answered = Vec::new();
        for task in sending {
            answered.push(within("all is answered", task).await.expect("a writer"));
        }
        for (before, after) in writers.iter().zip(&answered) {
            for (before, after) in before.lanes.iter().zip(&after.lanes) {
                for op in &before.ops {
                    let again = after.answers[&op.counter];
                    let survived = again.version <= kept[before.session];
                    if turn == 1 {
                        assert!(!again.changed, "{op:?} was applied twice: {again:?}");
                        continue;
                    }
                    assert_eq!(again.changed, !survived, "{op:?}: {again:?}");
                    if survived {
                        tally.answered_again += 1;
                    } else {
                        tally.applied_again += 1;
                    }
                    if let (Some(told), true) = (before.answers.get(&op.counter), survived) {
                        assert_eq!(told.version, again.version, "{op:?}: another answer than before");
                    }
                }
            }
        }
        if turn == 0 {
            first =
                answered.iter().map(|writer| writer.lanes.iter().map(|lane| lane.answers.clone()).collect()).collect();
            // The second turn is compared with the first.
            writers = answered;
        } else {
            for (writer, before) in answered.iter().zip(&first) {
                for (lane, before) in writer.lanes.iter().zip(before) {
                    for (counter, answer) in &lane.answers {
                        assert_eq!(answer.version, before[counter].version, "another answer than the first time");
                    }
                }
            }
            writers = answered;
        }
    }
    for (session, kept) in kept.iter().enumerate() {
        let id = round.truths.lock().expect("not poisoned")[session].id.clone();
        let (_, version, log) = look(control, &id).await;
        let places: BTreeMap<&str, u64> = log.iter().map(String::as_str).zip(2..).collect();
        assert_eq!(places.len(), log.len(), "{id}: a marker is there twice");
        assert!(version >= *kept);
        for lane in writers.iter().flat_map(|writer| &writer.lanes).filter(|lane| lane.session == session) {
            for op in &lane.ops {
                assert_eq!(places.get(op.marker.as_str()), Some(&lane.answers[&op.counter].version), "{id}: {op:?}");
            }
        }
    }
    writers
}
