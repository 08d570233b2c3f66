//! Reading HTTP/1.1 answers: a status, a head, a body of known length. Chunked bodies are refused: no route of the
//! contract needs one.

use serde_json::Value;

use crate::{
    error::{Error, Result},
    wire::http,
};

/// Largest body taken: a document and its frame.
const MAX_BODY: usize = 8 << 20;

/// A whole answer at the front of a buffer.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'b> {
    /// The status code.
    pub status: u16,
    /// Status line and headers.
    pub head: &'b str,
    /// The body.
    pub body: &'b [u8],
    /// Bytes of all of it.
    pub size: usize,
}

impl<'b> Answer<'b> {
    /// The answer at the front of `buf`; `None` when it is not all there.
    ///
    /// # Errors
    /// [`Error::Server`] when it is no HTTP, or of a kind that is not taken.
    pub fn read(buf: &'b [u8]) -> Result<Option<Self>> {
        let Some(size) = http::head_size(buf) else {
            if buf.len() > http::MAX_HEAD {
                return Err(Error::Server("answered with an endless head".into()));
            }
            return Ok(None);
        };
        let no_http = || Error::Server(format!("answered {:?}", String::from_utf8_lossy(&buf[..size])));
        let head = str::from_utf8(&buf[..size]).map_err(|_| no_http())?;
        let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
        let status: u16 = status.ok_or_else(no_http)?;
        let length = match http::header(head, "content-length") {
            Some(length) => length.parse().ok().filter(|length| *length <= MAX_BODY).ok_or_else(no_http)?,
            None if matches!(status, 204 | 304) => 0,
            None => return Err(no_http()),
        };
        Ok(buf.get(size..size + length).map(|body| Self { status, head, body, size: size + length }))
    }

    /// Whether the request was carried out.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as JSON; `null` when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(self.body).unwrap_or_default()
    }

    /// What it says, short enough for an error.
    pub fn shown(&self) -> String {
        let body = String::from_utf8_lossy(self.body);
        format!("{} {}", self.status, body.chars().take(300).collect::<String>())
    }
}

#[cfg(test)]
mod tests {
    use super::Answer;

    #[test]
    fn an_answer_is_read_when_it_is_whole_and_not_before() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n[1,2]HTTP/1.1 204 No Content\r\n\r\n";
        let first = Answer::read(text).expect("HTTP").expect("whole");
        assert_eq!((first.status, first.body, first.is_success()), (200, &b"[1,2]"[..], true));
        assert_eq!(first.json()[1], 2);
        for cut in 0..first.size {
            assert!(Answer::read(&text[..cut]).expect("HTTP so far").is_none(), "{cut}");
        }
        let second = Answer::read(&text[first.size..]).expect("HTTP").expect("whole");
        assert_eq!((second.status, second.body.len(), second.size), (204, 0, text.len() - first.size));
    }

    #[test]
    fn what_is_no_http_or_has_no_length_is_refused() {
        Answer::read(b"hello\r\n\r\n").expect_err("no HTTP");
        Answer::read(b"HTTP/1.1 200 OK\r\n\r\n").expect_err("no length");
        Answer::read(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n").expect_err("too long");
    }
}
