//! A session that another server took while a connection was subscribed to it, and updates on their way.

use std::net::Ipv4Addr;

use bytes::{Bytes, BytesMut};
use syncbridge_codec::{
    ErrorCode, Message,
    frame::Frames,
    message::{self, Durability, Position, Transport},
};
use syncbridge_storage::Outcome;

use super::{
    core::{Arrival, Shard},
    routed::tests,
};
use crate::transport::{Framing, path::Probe};

struct Peer {
    shard: Shard,
    index: u32,
}

impl Peer {
    /// Ann, who is subscribed to the session that she has made.
    fn subscribed() -> Self {
        let mut shard = tests::shard();
        let index = shard.open(&Arrival {
            transport: Transport::Memory,
            peer: Ipv4Addr::LOCALHOST.into(),
            fd: -1,
            framing: Framing::Pipe,
            confirmed: true,
            identity: None,
            probe: Probe::None,
        });
        let mut peer = Self { shard, index };
        peer.say(tests::hello());
        peer.say(message::Create { counter: 1, session: "s".into(), state: "{}".into(), ..Default::default() });
        peer.say(message::Subscribe { id: 1, session: "s".into(), ..Default::default() });
        let mut said = peer.hears();
        // What is durable is told by another thread: until then the making of it is what would be refused.
        let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
        while !said.iter().any(|message| matches!(message, Message::Created(_))) {
            assert!(std::time::Instant::now() < until, "{said:?}");
            said.extend(peer.hears());
        }
        assert!(said.iter().any(|message| matches!(message, Message::Reset(_))), "{said:?}");
        peer
    }

    fn say(&mut self, message: impl Into<Message>) {
        self.shard.receive(self.index, &mut BytesMut::from(&message.into().to_frame()[..]));
    }

    fn update(&mut self, counter: u64) {
        self.say(message::Update {
            counter,
            session: "s".into(),
            base: Position { epoch: 0, version: 1 },
            operations: format!(r#"[{{"op":"add","path":"/{counter}","value":1}}]"#).into(),
            durability: Durability::Accepted,
            ..Default::default()
        });
    }

    /// All that was said to it since, once everything is done.
    fn hears(&mut self) -> Vec<Message> {
        let mut out = Vec::new();
        loop {
            self.shard.drain_inbox(usize::MAX);
            let mut piece = Vec::new();
            self.shard.output(self.index, &mut piece);
            self.shard.sent(self.index, piece.len());
            let more = !piece.is_empty();
            out.append(&mut piece);
            if more {
                continue;
            }
            let Some((conn, who, job)) = self.shard.next_job() else { break };
            let hub = std::sync::Arc::clone(&self.shard.shared().hub);
            let done = job.run(&hub, conn, &who, tests::now());
            assert!(hub.persist().flush(std::time::Instant::now() + std::time::Duration::from_secs(10)));
            self.shard.finish(conn, done);
        }
        let frames = (!out.is_empty()).then(|| Frames::new(Bytes::from(out), usize::MAX));
        frames
            .into_iter()
            .flatten()
            .filter_map(|frame| Message::decode(frame.expect("whole")).expect("known"))
            .collect()
    }

    /// Codes of the errors among what it hears, with the op that each answers.
    fn errors(&mut self) -> Vec<(ErrorCode, Option<u64>)> {
        let errors = self.hears().into_iter().filter_map(|message| match message {
            Message::Error(error) => Some((ErrorCode::from_number(error.code).expect("known"), error.op)),
            _ => None,
        });
        errors.collect()
    }
}

#[test]
fn what_was_on_its_way_to_a_session_that_moved_is_refused_until_the_connection_subscribes_again() {
    let mut peer = Peer::subscribed();
    let hub = std::sync::Arc::clone(&peer.shard.shared().hub);
    let session = hub.find("s").expect("in memory");
    hub.lost(&session, Outcome::Disowned);
    assert_eq!(peer.errors(), [(ErrorCode::Moved, None)]);

    // It could be had again at once: these were sent before the client heard that it is not there any more.
    for counter in [3, 4] {
        peer.update(counter);
    }
    assert_eq!(peer.errors(), [(ErrorCode::Moved, Some(3)), (ErrorCode::Moved, Some(4))]);

    peer.say(message::Subscribe { id: 2, session: "s".into(), ..Default::default() });
    for counter in [2, 3, 4] {
        peer.update(counter);
    }
    let said = peer.hears();
    let accepted: Vec<u64> = said
        .iter()
        .filter_map(|message| if let Message::Accepted(accepted) = message { Some(accepted.counter) } else { None })
        .collect();
    assert_eq!(accepted, [2, 3, 4], "{said:?}");
}
