//! `/echo`: a raw WebSocket echo with the server's own framing, for protocol suites. Development only.

use bytes::{Bytes, BytesMut};
use syncbridge_codec::websocket::{Event, Opcode, Parser, write_close, write_frame, write_pong};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{defaults, transport::pipe::Stream};

/// Echoes until either side ends.
pub async fn run<S: Stream>(mut stream: S, already: Bytes) {
    let mut parser = Parser::new(defaults::ECHO_MESSAGE);
    let mut input = BytesMut::from(&already[..]);
    let mut output = BytesMut::new();
    loop {
        let mut over = false;
        let result = parser.push(&mut input, &mut |event| match event {
            Event::Binary(bytes) => write_frame(&mut output, Opcode::Binary, bytes),
            Event::Text(text) => write_frame(&mut output, Opcode::Text, text.as_bytes()),
            Event::Ping(bytes) => write_pong(&mut output, bytes),
            Event::Pong(_) => {}
            Event::Close { code, .. } => {
                write_close(&mut output, code, "");
                over = true;
            }
        });
        if let Err(error) = result {
            write_close(&mut output, Some(error.close_code()), "");
            over = true;
        }
        if stream.write_all(&output).await.is_err() {
            return;
        }
        output.clear();
        if over {
            // The peer closes next; what it still sends is of no interest.
            let _gone = stream.shutdown().await;
            return;
        }
        input.clear();
        input.reserve(defaults::READ_BYTES);
        match stream.read_buf(&mut input).await {
            Ok(read) if read > 0 => {}
            _ => return,
        }
    }
}
