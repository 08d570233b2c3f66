//! What the benches measure: messages of the sizes that the fan-out scenarios of perf/ send. Never random, so that two
//! runs measure the same bytes.

pub mod lists;

use bytes::{Bytes, BytesMut};
use syncbridge_codec::{
    Message,
    message::{Delta, Durability, Origin, Position, Update},
    websocket::{Opcode, write_client_frame},
};

/// A version in the middle of a session's life: four bytes on the wire, as most are.
const VERSION: u64 = 100_000;

/// A JSON Patch of one operation, so long that its [`delta`] has 128 bytes.
fn operations() -> Bytes {
    Bytes::from_static(br#"[{"op":"add","path":"/n","value":"0.00100000xxxxxxxxxxxxxxxxxxxxxxxx"}]"#)
}

/// An update as a client sends it.
pub fn update() -> Update {
    Update {
        counter: VERSION,
        session: "a-session".into(),
        base: Position { epoch: 1, version: VERSION },
        operations: operations(),
        durability: Durability::Accepted,
        on_conflict: None,
        after: None,
        lenient: true,
    }
}

/// The event that it makes, as subscribers get it.
pub fn delta() -> Delta {
    Delta {
        session: "a-session".into(),
        at: Position { epoch: 1, version: VERSION + 1 },
        operations: operations(),
        device: "phone".into(),
        origin: Origin { incarnation: u128::MAX / 3, counter: VERSION },
        time_ms: 1_800_000_000_000,
    }
}

/// `count` updates as a server reads them off a WebSocket: a masked message each.
pub fn masked_updates(count: usize) -> Vec<u8> {
    let frame = Message::from(update()).to_frame();
    let mut out = BytesMut::new();
    for _ in 0..count {
        write_client_frame(&mut out, Opcode::Binary, [0x12, 0x34, 0x56, 0x78], &frame);
    }
    out.into()
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_event_has_128_bytes() {
        assert_eq!(super::delta().frame_size(), 128);
    }
}
