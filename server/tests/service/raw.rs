//! HTTP by hand: any bytes out, and what comes back read strictly. For requests that no client library would send.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::within;

/// A connection.
pub struct Raw {
    stream: TcpStream,
    read: Vec<u8>,
}

/// An answer.
#[derive(Debug)]
pub struct Told {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Told {
    /// The problem's code, after a look at whether it is one.
    pub fn code(&self) -> String {
        assert_eq!(self.header("content-type").as_deref(), Some("application/problem+json"), "{self:?}");
        let problem: Value = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(problem["status"], self.status, "{problem}");
        problem["code"].as_str().unwrap().to_owned()
    }

    pub fn header(&self, name: &str) -> Option<String> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    }
}

/// The head of a JSON request with a token; `more`: headers, each with its line end.
pub fn head(method: &str, path: &str, token: &str, more: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\n{more}\r\n"
    )
}

impl Raw {
    pub async fn connect(address: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(address).await.expect("the listener answers"), read: Vec::new() }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        assert!(self.try_send(bytes).await, "sent");
    }

    /// Whether it could be sent; the server may have ended the connection.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        within("sending", self.stream.write_all(bytes.as_ref())).await.is_ok()
    }

    /// Nothing more will be sent.
    pub async fn finish(&mut self) {
        // The server may have ended it first.
        let _ended = self.stream.shutdown().await;
    }

    /// The next answer; `None`: the connection ended without one.
    pub async fn answer(&mut self) -> Option<Told> {
        within("an answer", async {
            loop {
                if let Some(told) = self.parsed() {
                    return Some(told);
                }
                if self.stream.read_buf(&mut self.read).await.unwrap_or(0) == 0 {
                    assert!(self.read.is_empty(), "half an answer: {}", String::from_utf8_lossy(&self.read));
                    return None;
                }
            }
        })
        .await
    }

    fn parsed(&mut self) -> Option<Told> {
        let end = self.read.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = String::from_utf8(self.read[..end].to_vec()).expect("a head is text");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let mut told = Told { status, head, body: Vec::new() };
        let length = match (status, told.header("content-length")) {
            (100..=199 | 204 | 304, _) => 0,
            (_, length) => length.expect("a length").parse().expect("a number"),
        };
        let whole = end + 4 + length;
        if self.read.len() < whole {
            return None;
        }
        told.body = self.read[end + 4..whole].to_vec();
        self.read.drain(..whole);
        Some(told)
    }

    /// Whether the connection ends now, with nothing more said; however it ends.
    pub async fn ended(&mut self) -> bool {
        within("the end", async {
            self.read.is_empty() && self.stream.read_buf(&mut self.read).await.unwrap_or(0) == 0
        })
        .await
    }
}
