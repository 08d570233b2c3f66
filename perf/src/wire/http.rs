//! As much HTTP/1.1 as an upgrade and a health check need.

use base64::{Engine, engine::general_purpose::STANDARD};
use syncbridge_codec::{WEBSOCKET_SUBPROTOCOL, websocket::accept_key};

/// Largest head taken, in bytes.
pub const MAX_HEAD: usize = 8 << 10;

/// The client's half of an upgrade (RFC 6455 §4.1), to the native protocol.
pub fn upgrade_request(host: &str, key: &str) -> String {
    let plain = plain_upgrade_request(host, key);
    let head = plain.trim_end();
    format!("{head}\r\nSec-WebSocket-Protocol: {WEBSOCKET_SUBPROTOCOL}\r\n\r\n")
}

/// The same without a subprotocol, as clients of the flat JSON form send it.
pub fn plain_upgrade_request(host: &str, key: &str) -> String {
    format!(
        "GET /ws HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    )
}

/// The server's half (RFC 6455 §4.2.2).
pub fn upgrade_response(key: &str) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\nSec-WebSocket-Protocol: {WEBSOCKET_SUBPROTOCOL}\r\n\r\n",
        accept_key(key)
    )
}

/// A key for [`upgrade_request`].
pub fn new_key() -> String {
    STANDARD.encode(fastrand::u128(..).to_ne_bytes())
}

/// Bytes of the head at the front of `buf`, its empty line included; `None` when it is not all there.
pub fn head_size(buf: &[u8]) -> Option<usize> {
    buf.windows(4).position(|window| window == b"\r\n\r\n").map(|at| at + 4)
}

/// The value of a header in a head, if it is there once or more: the first.
pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .find(|(found, _)| found.trim().eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::{head_size, header};

    #[test]
    fn headers_are_found_whatever_their_case() {
        let head = "GET / HTTP/1.1\r\nHost: a\r\nsec-websocket-KEY:  k \r\n\r\n";
        assert_eq!(header(head, "Sec-WebSocket-Key"), Some("k"));
        assert_eq!(header(head, "Upgrade"), None);
        assert_eq!(head_size(head.as_bytes()), Some(head.len()));
        assert_eq!(head_size(b"GET / HTTP/1.1\r\n"), None);
    }
}
