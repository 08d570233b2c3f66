//! The ways in: each asks the same things in its own form and tells what came of it in one vocabulary, with every byte
//! that could give something away.

use std::fmt::Write as _;

use hyper::Method;
use serde_json::{Value, json};
use syncbridge_codec::{
    ErrorCode, Message,
    message::{self, Durability, Header, Position},
};

use super::tables::Live;
use crate::{
    host::{Host, Socket},
    http::Http,
    support::wire::{Heard, Via, Wire, hello},
};

/// A transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Rest,
    FlatJson,
    Native(Via),
}

impl Way {
    pub const ALL: [Self; 4] = [Self::Rest, Self::FlatJson, Self::Native(Via::WebSocket), Self::Native(Via::Quic)];
}

/// Something that is asked for, of a session that is named.
#[derive(Debug, Clone)]
pub enum Ask {
    /// A route of REST: by HTTP, or in a `Request`.
    Route { method: &'static str, path: String, headers: Vec<(&'static str, String)>, body: String },
    /// A message of the live protocol.
    Live { what: Live, session: String, at: Position },
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The status of what was done, the kind of the message that does what was asked, or the code of the refusal.
    pub verdict: String,
    /// Everything else that was said, without what names the request.
    pub text: String,
}

/// A way in, open.
pub enum Link {
    Rest(Http),
    FlatJson(Socket, u64),
    Native(Box<Wire>, u64),
}

impl Link {
    /// One of who holds this token.
    pub async fn open(host: &Host, way: Way, token: &str) -> Self {
        match way {
            Way::Rest => Self::Rest(host.http().with(token)),
            Way::FlatJson => Self::FlatJson(host.socket(Some(token)).await, 0),
            Way::Native(via) => {
                let hello = hello(token, "named", fastrand::u128(..), Vec::new());
                Self::Native(Box::new(Wire::greeted(via, host.server().listen, hello).await.0), 0)
            }
        }
    }

    /// One on which nobody said who they are: each request brings its own token, if it has one.
    pub async fn anonymous(host: &Host, way: Way) -> Self {
        match way {
            Way::Rest => Self::Rest(host.http()),
            Way::FlatJson => Self::FlatJson(host.socket(None).await, 0),
            Way::Native(via) => Self::Native(Box::new(Wire::connect(via, host.server().listen).await), 0),
        }
    }

    pub async fn ask(&mut self, ask: &Ask) -> Told {
        match (self, ask) {
            (Self::Rest(http), Ask::Route { method, path, headers, body }) => {
                let method = Method::from_bytes(method.as_bytes()).unwrap();
                let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, &**value)).collect();
                let answer = http.send(method, &format!("/api/v1{path}"), &headers, body.clone()).await;
                let headers = answer.headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
                of_route(answer.status.as_u16(), headers, std::str::from_utf8(&answer.body).unwrap())
            }
            (Self::Rest(_), Ask::Live { .. }) => unreachable!("REST has no live messages"),
            (Self::FlatJson(socket, number), ask) => {
                *number += 1;
                socket.say(flat(ask, *number)).await;
                flat_answer(socket, ask).await
            }
            (Self::Native(wire, number), ask) => {
                *number += 1;
                wire.send(native(ask, *number));
                native_answer(wire, ask).await
            }
        }
    }
}

/// What a refusal says, in one form.
fn of_route<'a>(status: u16, headers: impl Iterator<Item = (&'a str, &'a str)>, body: &str) -> Told {
    let mut names: Vec<_> = headers.filter(|(name, _)| *name != "date").collect();
    names.sort_unstable();
    let mut text = String::new();
    let mut body = body.to_owned();
    for (name, value) in names {
        if name == "x-request-id" {
            body = body.replace(value, "REQUEST");
        } else if name != "content-length" {
            write!(text, "{name}: {value}; ").unwrap();
        }
    }
    let code = serde_json::from_str::<Value>(&body).ok().and_then(|body| Some(body["code"].as_str()?.to_owned()));
    let verdict = if status < 400 { status.to_string() } else { code.unwrap_or_else(|| format!("bare {status}")) };
    Told { verdict, text: format!("{status} {text}{body}") }
}

/// An ask as a message of flat JSON.
pub fn flat(ask: &Ask, number: u64) -> Value {
    match ask {
        Ask::Route { method, path, headers, body } => {
            let headers: Vec<_> = headers.iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
            let mut said = json!({"type": "request", "id": number, "method": method, "path": path, "headers": headers});
            if !body.is_empty() {
                said["body"] = serde_json::from_str(body).unwrap();
            }
            said
        }
        Ask::Live { what, session, at } => match what {
            Live::Create => json!({"type": "create", "counter": number, "sessionId": session, "state": {}}),
            Live::Get => json!({"type": "get", "id": number, "sessionId": session}),
            Live::Subscribe => json!({"type": "subscribe", "id": number, "sessionId": session, "notices": false}),
            Live::Resume => json!({"type": "subscribe", "id": number, "sessionId": session, "notices": false,
                "lastVersion": at.version, "epoch": at.epoch}),
            Live::Unsubscribe => json!({"type": "unsubscribe", "id": number, "sessionId": session}),
            Live::Update | Live::UpdateDurably | Live::UpdateWrongly => json!({
                "type": "state_update", "sessionId": session, "id": format!("u{number}-{}", fastrand::u64(..)),
                "durable": *what == Live::UpdateDurably,
                "delta": {"operations": [{"op": what.operation(), "path": format!("/c{number}"), "value": 1}],
                    "version": at.version},
            }),
            Live::AnswerHandoff => json!({"type": "handoff_answer", "handoffId": "nobody-asked", "accept": true}),
        },
    }
}

async fn flat_answer(socket: &mut Socket, ask: &Ask) -> Told {
    loop {
        let mut answer = match socket.next().await {
            Ok(answer) => answer,
            Err(code) => return Told { verdict: format!("closed {code}"), text: String::new() },
        };
        let session = answer["sessionId"].clone();
        answer.as_object_mut().unwrap().retain(|key, _| key != "id" && key != "counter");
        let verdict = match answer["type"].as_str().unwrap() {
            "response" => {
                let text = |value: &Value| value.as_str().unwrap().to_owned();
                let headers = answer["headers"].as_array().into_iter().flatten();
                let headers: Vec<_> = headers.map(|header| (text(&header["name"]), text(&header["value"]))).collect();
                let body = answer.get("body").map_or_else(String::new, Value::to_string);
                let status = answer["status"].as_u64().unwrap();
                let headers = headers.iter().map(|(name, value)| (&**name, &**value));
                return of_route(u16::try_from(status).unwrap(), headers, &body);
            }
            "error" | "auth_error" => answer["code"].as_str().unwrap(),
            "created" => "made",
            "document" => "read",
            "state_sync" | "resumed" => {
                socket.say(json!({"type": "unsubscribe", "id": 0, "sessionId": session})).await;
                socket.until("unsubscribed").await;
                "begun"
            }
            "unsubscribed" => "ended",
            "state_ack" => "written",
            "conflict" => "conflict",
            "session_deleted" | "state_delta" | "durable" => continue,
            other => panic!("{other} is no answer to {ask:?}: {answer}"),
        };
        return Told { verdict: verdict.to_owned(), text: answer.to_string() };
    }
}

/// An ask as a message of the native protocol.
pub fn native(ask: &Ask, number: u64) -> Message {
    match ask {
        Ask::Route { method, path, headers, body } => message::Request {
            id: number,
            method: match *method {
                "GET" => message::Method::Get,
                "POST" => message::Method::Post,
                "PUT" => message::Method::Put,
                "PATCH" => message::Method::Patch,
                "DELETE" => message::Method::Delete,
                other => panic!("no method is called {other}"),
            },
            path: path.as_str().into(),
            headers: headers
                .iter()
                .map(|(name, value)| Header { name: (*name).into(), value: value.as_str().into() })
                .collect(),
            body: body.clone().into(),
        }
        .into(),
        Ask::Live { what, session, at } => {
            let session = session.as_str().into();
            match what {
                Live::Create => {
                    message::Create { counter: number, session, state: "{}".into(), ..Default::default() }.into()
                }
                Live::Get => message::Get { id: number, session }.into(),
                Live::Subscribe => message::Subscribe { id: number, session, ..Default::default() }.into(),
                Live::Resume => {
                    message::Subscribe { id: number, session, have: Some(at.clone()), ..Default::default() }.into()
                }
                Live::Unsubscribe => message::Unsubscribe { id: number, session }.into(),
                Live::Update | Live::UpdateDurably | Live::UpdateWrongly => message::Update {
                    counter: number,
                    session,
                    base: Position { epoch: 0, version: at.version },
                    operations: format!(r#"[{{"op":"{}","path":"/c{number}","value":1}}]"#, what.operation()).into(),
                    durability: if *what == Live::UpdateDurably { Durability::Durable } else { Durability::Accepted },
                    ..Default::default()
                }
                .into(),
                Live::AnswerHandoff => message::HandoffAnswer { handoff: "nobody-asked".into(), accept: true }.into(),
            }
        }
    }
}

async fn native_answer(wire: &mut Wire, ask: &Ask) -> Told {
    loop {
        let message = match crate::support::within("an answer", wire.next()).await {
            Heard::Message(message) => message,
            Heard::Ended(end) => return Told { verdict: format!("ended {end:?}"), text: String::new() },
        };
        let (verdict, text) = match message {
            Message::Response(response) => {
                let headers = response.headers.iter().map(|header| (&*header.name, &*header.value));
                let body = std::str::from_utf8(&response.body).unwrap();
                return of_route(u16::try_from(response.status).unwrap(), headers, body);
            }
            Message::Error(error) => {
                assert_eq!(ErrorCode::from_number(error.code).map(ErrorCode::name), Some(&*error.name));
                let unnamed = message::Error { answers: None, op: None, ..error.clone() };
                (error.name.to_string(), format!("{unnamed:?}"))
            }
            Message::Refused(refused) => (refused.name.to_string(), format!("{refused:?}")),
            Message::Created(_) => ("made".to_owned(), String::new()),
            Message::Document(_) => ("read".to_owned(), String::new()),
            Message::Reset(message::Reset { session, .. }) | Message::Resumed(message::Resumed { session, .. }) => {
                wire.send(message::Unsubscribe { id: 0, session });
                wire.wait_for(|message| matches!(message, Message::Unsubscribed(_)).then_some(())).await;
                ("begun".to_owned(), String::new())
            }
            Message::Unsubscribed(_) => ("ended".to_owned(), String::new()),
            Message::Accepted(_) => ("written".to_owned(), String::new()),
            Message::Conflict(_) => ("conflict".to_owned(), String::new()),
            Message::Delta(_) | Message::Durable(_) | Message::SessionDeleted(_) => continue,
            other => panic!("no answer to {ask:?}: {other:?}"),
        };
        return Told { verdict, text };
    }
}
