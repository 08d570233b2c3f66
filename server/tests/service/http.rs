//! An HTTP/1.1 client for tests: one connection a request unless it is kept, JSON in and out, every header visible.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{HeaderMap, Method, Request, StatusCode, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use crate::support::within;

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON; `Null` when it is empty.
    pub fn json(&self) -> Value {
        if self.body.is_empty() {
            return Value::Null;
        }
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }

    /// The problem's stable code.
    pub fn code(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        self.json()["code"].as_str().expect("a code").to_owned()
    }

    /// Checks the status, whatever the body is.
    #[track_caller]
    pub fn expect_status(&self, status: u16) {
        assert_eq!(self.status, status, "{:?} {}", self.headers, String::from_utf8_lossy(&self.body));
    }

    /// Checks the status; the JSON of the body.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{:?} {}", self.headers, String::from_utf8_lossy(&self.body));
        self.json()
    }
}

/// A client of one server, with the token that it uses, if any.
#[derive(Debug, Clone)]
pub struct Http {
    pub address: SocketAddr,
    pub token: Option<String>,
}

impl Http {
    pub fn new(address: SocketAddr) -> Self {
        Self { address, token: None }
    }

    /// The same, signed in.
    pub fn with(&self, token: impl Into<String>) -> Self {
        Self { token: Some(token.into()), ..self.clone() }
    }

    /// One request, path below the server's root, with these headers and bytes.
    pub async fn send(&self, method: Method, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Answer {
        let what = format!("{method} {path}");
        self.try_send(method, path, headers, body).await.unwrap_or_else(|| panic!("{what}: no answer"))
    }

    /// The same; `None` when the server is gone before it has answered.
    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Option<Answer> {
        let mut request = Request::builder().method(method.clone()).uri(path).header("host", self.address.to_string());
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).expect("a request");
        within(&format!("{method} {path}"), async {
            let stream = TcpStream::connect(self.address).await.ok()?;
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
            let connection = tokio::spawn(connection);
            let response = sender.send_request(request).await.ok()?;
            let (head, body) = response.into_parts();
            let body = body.collect().await.ok()?.to_bytes();
            connection.abort();
            Some(Answer { status: head.status, headers: head.headers, body })
        })
        .await
    }

    /// A JSON body to a route below `/api/v1`; `None` when the server is gone before it has answered.
    pub async fn try_post(&self, path: &str, body: Value) -> Option<Answer> {
        let headers = [("content-type", "application/json")];
        self.try_send(Method::POST, &format!("/api/v1{path}"), &headers, body.to_string()).await
    }

    /// One request below `/api/v1` with a JSON body; `Null`: none.
    pub async fn call(&self, method: Method, path: &str, body: &Value) -> Answer {
        let path = format!("/api/v1{path}");
        match body {
            Value::Null => self.send(method, &path, &[], Bytes::new()).await,
            body => self.send(method, &path, &[("content-type", "application/json")], body.to_string()).await,
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, &Value::Null).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, &body).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.call(Method::PUT, path, &body).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, &Value::Null).await
    }

    /// A JSON Patch.
    pub async fn patch(&self, path: &str, operations: Value) -> Answer {
        let headers = [("content-type", "application/json-patch+json")];
        self.send(Method::PATCH, &format!("/api/v1{path}"), &headers, operations.to_string()).await
    }
}
