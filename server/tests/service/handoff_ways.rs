//! A handoff from device to device across REST, flat JSON and the native protocol: which way it is offered and which way
//! it is completed makes no difference, to those two and to everybody who looks on.

use serde_json::{Value, json};
use syncbridge_client::{ChangeKind, Changes, SessionHandle, Transport};
use syncbridge_codec::{
    Message,
    message::{Header, Method, Request},
};

use crate::{
    handoff::{active, client, complete, completed, offer, phone, session, text, user_of},
    host::{Host, Socket},
    support::{
        wire::{Via, Wire, hello},
        within,
    },
};

/// How a request travels.
#[derive(Debug, Clone, Copy)]
enum Way {
    Rest,
    FlatJson,
    Quic,
    WebSocket,
}

const WAYS: [Way; 4] = [Way::Rest, Way::FlatJson, Way::Quic, Way::WebSocket];

/// Who makes a request: a token, and the device that a connection names.
type Caller<'a> = Option<(&'a str, &'a str)>;

impl Way {
    /// A POST to a route: its status and what it is answered.
    async fn post(self, host: &Host, who: Caller<'_>, path: &str, body: Value) -> (u16, Value) {
        match self {
            Self::Rest => {
                let http = who.map_or_else(|| host.http(), |(token, _)| host.http().with(token));
                let answer = http.post(path, body).await;
                (answer.status.as_u16(), answer.json())
            }
            Self::FlatJson => {
                let mut socket = host.socket(who.map(|(token, _)| token)).await;
                if let Some((token, device)) = who {
                    socket.say(json!({"type": "auth", "token": token, "deviceId": device})).await;
                    socket.until("auth_ok").await;
                }
                let headers = json!([{"name": "content-type", "value": "application/json"}]);
                let request = json!({"type": "request", "id": 1, "method": "POST", "path": path, "headers": headers, "body": body});
                socket.say(request).await;
                let mut answer = socket.until("response").await;
                (answer["status"].as_u64().unwrap() as u16, answer["body"].take())
            }
            Self::Quic => self.ask(host, Via::Quic, who, path, &body).await,
            Self::WebSocket => self.ask(host, Via::WebSocket, who, path, &body).await,
        }
    }

    async fn ask(self, host: &Host, via: Via, who: Caller<'_>, path: &str, body: &Value) -> (u16, Value) {
        let mut wire = Wire::connect(via, host.server().listen).await;
        if let Some((token, device)) = who {
            wire.greet(hello(token, device, 1, Vec::new())).await;
        }
        wire.send(Request {
            id: 7,
            method: Method::Post,
            path: path.into(),
            headers: vec![Header { name: "content-type".into(), value: "application/json".into() }],
            body: body.to_string().into(),
        });
        let answer = wire.wait_for(|message| match message {
            Message::Response(response) => Some(response),
            _ => None,
        });
        let answer = within("an answer", answer).await;
        assert_eq!(answer.id, 7);
        (answer.status as u16, serde_json::from_slice(&answer.body).unwrap())
    }
}

/// Who looks on, by whichever way events come.
enum Onlooker {
    /// The handle is kept for the subscription.
    Native(#[expect(dead_code)] SessionHandle<Value>, Changes),
    FlatJson(Socket),
}

impl Onlooker {
    async fn native(host: &Host, token: &str, device: &str, transport: Transport) -> Self {
        let (handle, changes) = session(&client(&host.http().with(token), device, transport).await).await;
        Self::Native(handle, changes)
    }

    async fn flat(host: &Host, token: &str, device: &str) -> Self {
        let mut socket = host.socket(Some(token)).await;
        socket.say(json!({"type": "auth", "token": token, "deviceId": device})).await;
        socket.say(json!({"type": "subscribe", "sessionId": "s"})).await;
        socket.until("state_sync").await;
        Self::FlatJson(socket)
    }

    /// The next handoff that is told: from where, to where.
    async fn completed(&mut self) -> (Value, Value) {
        match self {
            Self::Native(_, changes) => {
                let (from, to) = completed(changes).await;
                (json!(from), json!(to))
            }
            Self::FlatJson(socket) => {
                let told = socket.until("handoff_completed").await;
                (told["fromDeviceId"].clone(), told["deviceId"].clone())
            }
        }
    }
}

#[tokio::test]
async fn five_devices_hand_a_session_round_by_every_pair_of_ways_and_all_are_told_in_one_order() {
    let host = Host::durable();
    let phone = phone(&host, "exclusive").await;
    let anywhere = host.token(&user_of(&phone).await, None);
    let mut onlookers = [
        Onlooker::native(&host, &anywhere, "device-0", Transport::Quic).await,
        Onlooker::native(&host, &anywhere, "device-1", Transport::WebSocket).await,
        Onlooker::flat(&host, &anywhere, "device-2").await,
        Onlooker::native(&host, &anywhere, "device-3", Transport::Quic).await,
        Onlooker::flat(&host, &anywhere, "device-4").await,
    ];
    let (mut token, mut holder) = (phone.token.clone().unwrap(), "phone".to_owned());
    let pairs = WAYS.iter().flat_map(|from| WAYS.iter().map(move |to| (*from, *to)));
    for (at, (from, to)) in pairs.enumerate() {
        let ways = format!("from {from:?} to {to:?}");
        let (status, offered) =
            from.post(&host, Some((&token, &holder)), "/sessions/s/handoff/code", json!({"ttlSeconds": 60})).await;
        assert_eq!(status, 201, "{ways}: {offered}");
        let next = format!("device-{}", at % 5);
        let body = if at % 2 == 0 {
            json!({"code": offered["code"], "deviceId": next})
        } else {
            json!({"token": offered["token"], "deviceId": next})
        };
        let (status, taken) = to.post(&host, None, "/handoff/complete", body.clone()).await;
        assert_eq!(status, 200, "{ways}: {taken}");
        assert_eq!((&taken["sessionId"], &taken["deviceId"]), (&json!("s"), &json!(next)), "{ways}");
        assert_eq!(taken["version"], json!(at + 1), "{ways}");
        for (who, onlooker) in onlookers.iter_mut().enumerate() {
            assert_eq!(onlooker.completed().await, (json!(holder), json!(next)), "{ways}, told device-{who}");
        }
        let fenced = host.http().with(&*token).put("/sessions/s", json!({"state": "fenced"})).await;
        assert_eq!(fenced.code(), "not_active", "{ways}: {holder} writes still");
        token = text(&taken, "accessToken");
        host.http().with(&*token).put("/sessions/s", json!({"state": at})).await.expect(200);
        let (status, again) = from.post(&host, None, "/handoff/complete", body).await;
        assert_eq!((status, &again["code"]), (410, &json!("gone")), "{ways}");
        holder = next;
    }
}

#[tokio::test]
async fn guesses_of_an_address_count_together_whichever_way_they_come() {
    let host = Host::new();
    let phone = phone(&host, "many").await;
    let code = text(&offer(&phone).await, "code");
    for guess in 0..10 {
        let body = json!({"code": format!("AAAAA-AAAA{guess}"), "deviceId": "desk"});
        let (status, answer) = WAYS[guess % 4].post(&host, None, "/handoff/complete", body).await;
        assert_eq!((status, &answer["code"]), (404, &json!("not_found")), "{guess}");
    }
    for way in WAYS {
        let body = json!({"code": code, "deviceId": "desk"});
        let (status, answer) = way.post(&host, None, "/handoff/complete", body).await;
        assert_eq!((status, &answer["code"]), (429, &json!("rate_limited")), "{way:?}");
    }
    assert_eq!(active(&phone).await, "phone");
}

#[tokio::test]
async fn an_offer_of_a_device_that_nobody_had_registered_dies_with_it_and_not_before() {
    for open in [false, true] {
        let host = Host::with(|config| config.open = open);
        let ann = host.user("ann");
        ann.post("/sessions", json!({"sessionId": "s", "state": 0})).await.expect(201);
        let token = ann.token.clone().unwrap();
        let offered = async |way: Way| {
            let (status, offered) = way.post(&host, Some((&token, "cli")), "/sessions/s/handoff/code", json!({})).await;
            assert_eq!(status, 201, "{offered}");
            text(&offered, "code")
        };
        let (good, doomed) = (offered(Way::Quic).await, offered(Way::FlatJson).await);
        // Listing writes down who was seen.
        let devices = ann.get("/devices").await.expect(200);
        assert_eq!(devices["items"][0]["deviceId"], "cli", "{devices}");
        complete(&host.http(), &good, "desk").await.expect(200);
        ann.delete("/devices/cli").await.expect(204);
        assert_eq!(complete(&host.http(), &doomed, "tv").await.code(), "gone");
        ann.post("/devices", json!({"deviceId": "cli"})).await.expect(201);
        assert_eq!(complete(&host.http(), &doomed, "tv").await.code(), "gone");
        assert_eq!(active(&ann).await, "desk");
    }
}

#[tokio::test]
async fn under_ask_a_question_is_answered_whichever_way_it_was_asked() {
    for way in WAYS {
        let host = Host::new();
        let phone = phone(&host, "ask").await;
        let (_keep, mut changes) = session(&client(&phone, "phone", Transport::WebSocket).await).await;
        let code = text(&offer(&phone).await, "code");
        let asked = way.post(&host, None, "/handoff/complete", json!({"code": code, "deviceId": "desk"}));
        let answers = async {
            let handoff = loop {
                match within("a question", changes.next()).await.expect("it goes on").kind {
                    ChangeKind::HandoffRequested { handoff, device, .. } if device == "desk" => break handoff,
                    _ => {}
                }
            };
            phone.post(&format!("/handoff/{handoff}/answer"), json!({"accept": true})).await.expect(204);
        };
        let ((status, taken), ()) = tokio::join!(asked, answers);
        assert_eq!(status, 200, "{way:?}: {taken}");
        assert_eq!(active(&phone).await, "desk");
    }
}
