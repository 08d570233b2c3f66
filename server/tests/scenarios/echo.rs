//! `/echo`: the server's own WebSocket framing (RFC 6455), spoken to byte by byte.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    net::{Net, run},
    wire::Via,
};

/// A connection whose frames are written by hand.
struct Raw(TcpStream);

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

impl Raw {
    async fn connect(server: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(server).await.unwrap();
        let request = format!(
            "GET /echo HTTP/1.1\r\nHost: {server}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        assert!(head.starts_with("http/1.1 101"), "{head}");
        // RFC 6455 §1.3 has the answer to this key.
        assert!(head.contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
        Self(stream)
    }

    /// One masked frame.
    async fn send(&mut self, fin: bool, opcode: u8, payload: &[u8]) {
        let mut frame = vec![u8::from(fin) << 7 | opcode];
        match payload.len() {
            length @ 0..126 => frame.push(0x80 | length as u8),
            length @ 126..0x1_0000 => {
                frame.push(0x80 | 126);
                frame.extend((length as u16).to_be_bytes());
            }
            length => {
                frame.push(0x80 | 127);
                frame.extend((length as u64).to_be_bytes());
            }
        }
        let mask = [7, 21, 133, 250];
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.0.write_all(&frame).await.unwrap();
    }

    /// (opcode, payload) of the next frame, which is whole.
    async fn receive(&mut self) -> (u8, Vec<u8>) {
        let first = self.0.read_u8().await.unwrap();
        assert_eq!(first & 0xF0, 0x80, "never fragmented, no reserved bits");
        let length = match self.0.read_u8().await.unwrap() {
            126 => u64::from(self.0.read_u16().await.unwrap()),
            127 => self.0.read_u64().await.unwrap(),
            length => u64::from(length),
        };
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.0.read_exact(&mut payload).await.unwrap();
        (first & 0x0F, payload)
    }
}

fn on_echo(case: impl AsyncFn(SocketAddr)) {
    run(Via::Memory, Via::Memory, async |net: &Net| {
        let host = net.host_with(|config| config.echo = true);
        case(host.address()).await;
    });
}

#[test]
fn a_fragmented_message_comes_back_whole_and_a_ping_inside_it_is_answered_first() {
    on_echo(async |server| {
        let mut raw = Raw::connect(server).await;
        raw.send(false, TEXT, "grü".as_bytes()).await;
        raw.send(true, PING, b"there?").await;
        assert_eq!(raw.receive().await, (PONG, b"there?".to_vec()));
        // A character may be cut by the fragments.
        let rest = "ße".as_bytes();
        raw.send(false, 0, &rest[..1]).await;
        raw.send(true, 0, &rest[1..]).await;
        assert_eq!(raw.receive().await, (TEXT, "grüße".as_bytes().to_vec()));
        raw.send(true, PONG, b"unasked").await;
        raw.send(true, BINARY, b"").await;
        assert_eq!(raw.receive().await, (BINARY, Vec::new()));
    });
}

#[test]
fn closes_are_answered_with_their_code_and_broken_ones_with_1002() {
    on_echo(async |server| {
        let codes = [(1000, 1000), (1001, 1001), (3000, 3000), (4999, 4999), (1005, 1002), (1006, 1002), (999, 1002)];
        for (sent, answered) in codes {
            let mut raw = Raw::connect(server).await;
            raw.send(true, CLOSE, &u16::to_be_bytes(sent)).await;
            let (opcode, payload) = raw.receive().await;
            assert_eq!((opcode, &payload[..2]), (CLOSE, &u16::to_be_bytes(answered)[..]), "{sent}");
        }
        let mut raw = Raw::connect(server).await;
        raw.send(true, CLOSE, b"").await;
        assert_eq!(raw.receive().await, (CLOSE, Vec::new()));
    });
}

#[test]
fn broken_frames_end_with_the_code_of_the_rfc() {
    on_echo(async |server| {
        let cases: [(bool, u8, &[u8], u16); 6] = [
            (true, TEXT, b"\xFF", 1007),
            (true, TEXT, b"\xE2\x82", 1007),
            (true, 0, b"nothing to go on with", 1002),
            (true, 3, b"", 1002),
            (false, PING, b"", 1002),
            (true, PING, &[0; 126], 1002),
        ];
        for (fin, opcode, payload, code) in cases {
            let mut raw = Raw::connect(server).await;
            raw.send(fin, opcode, payload).await;
            let (answer, reason) = raw.receive().await;
            assert_eq!((answer, &reason[..2]), (CLOSE, &u16::to_be_bytes(code)[..]), "{opcode} {payload:?}");
        }
    });
}

#[test]
fn sixteen_mib_come_back_and_one_byte_more_is_too_much() {
    on_echo(async |server| {
        let raw = Raw::connect(server).await;
        let large: Vec<u8> = (0..16_u32 << 20).map(|n| (n % 251) as u8).collect();
        let (mut read, mut write) = raw.0.into_split();
        let sent = large.clone();
        let sending = tokio::spawn(async move {
            let mut head = vec![0x80 | BINARY, 0x80 | 127];
            head.extend((sent.len() as u64).to_be_bytes());
            head.extend([0; 4]);
            write.write_all(&head).await.unwrap();
            write.write_all(&sent).await.unwrap();
            write
        });
        let mut head = [0; 10];
        read.read_exact(&mut head).await.unwrap();
        assert_eq!(head[..2], [0x80 | BINARY, 127]);
        let mut echoed = vec![0; large.len()];
        read.read_exact(&mut echoed).await.unwrap();
        assert!(echoed == large);
        let mut write = sending.await.unwrap();
        let mut head = vec![0x80 | BINARY, 0x80 | 127];
        head.extend((large.len() as u64 + 1).to_be_bytes());
        head.extend([0; 4]);
        write.write_all(&head).await.unwrap();
        let mut close = [0; 4];
        read.read_exact(&mut close).await.unwrap();
        assert_eq!(close, [0x80 | CLOSE, 2, 3, 0xF1], "1009");
    });
}
