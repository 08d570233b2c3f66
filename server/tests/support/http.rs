//! The least of HTTP that a test needs: one GET, its status and its body.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Status and body of `GET path`.
pub async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    ask(address, path, "").await
}

/// The same, for whoever this token is.
pub async fn get_as(address: SocketAddr, path: &str, token: &str) -> (u16, String) {
    ask(address, path, &format!("Authorization: Bearer {token}\r\n")).await
}

async fn ask(address: SocketAddr, path: &str, header: &str) -> (u16, String) {
    super::within(path, async {
        let mut stream = TcpStream::connect(address).await.expect("the listener answers");
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n{header}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("answered");
        let answer = String::from_utf8(answer).expect("text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, body.to_owned())
    })
    .await
}

/// The sum of a metric's samples, whatever their labels; 0 when there is none.
pub async fn metric(admin: SocketAddr, name: &str) -> f64 {
    let (status, text) = get(admin, "/metrics").await;
    assert_eq!(status, 200);
    text.lines()
        .filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}
