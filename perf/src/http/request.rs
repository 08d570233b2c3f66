//! Writing HTTP/1.1 requests.

use std::fmt::Display;

/// Appends a request; `token` is the bearer's, `body` is JSON.
pub fn write(out: &mut Vec<u8>, method: &str, path: &dyn Display, token: Option<&str>, body: Option<&str>) {
    // One host for all: the server is addressed by its socket.
    let mut text = format!("{method} /api/v1/{path} HTTP/1.1\r\nHost: localhost\r\n");
    if let Some(token) = token {
        text += "Authorization: Bearer ";
        text += token;
        text += "\r\n";
    }
    if let Some(body) = body {
        text += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    } else if method == "GET" {
        text += "\r\n";
    } else {
        text += "Content-Length: 0\r\n\r\n";
    }
    out.extend_from_slice(text.as_bytes());
}
