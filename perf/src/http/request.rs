//! Writing HTTP/1.1 requests.

use std::{fmt::Display, io::Write};

/// Appends a request; `token` is the bearer's, `body` is JSON.
pub fn write(out: &mut Vec<u8>, method: &str, path: &dyn Display, token: Option<&str>, body: Option<&str>) {
    // One host for all: the server is addressed by its socket. Writing to a Vec cannot fail.
    let _ = write!(out, "{method} /api/v1/{path} HTTP/1.1\r\nHost: localhost\r\n");
    if let Some(token) = token {
        let _ = write!(out, "Authorization: Bearer {token}\r\n");
    }
    if let Some(body) = body {
        let _ = write!(out, "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    } else {
        out.extend_from_slice(if method == "GET" { b"\r\n" } else { b"Content-Length: 0\r\n\r\n" });
    }
}
