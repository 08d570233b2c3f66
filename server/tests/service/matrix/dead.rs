//! Credentials that are good no more, or never were, all of them in the name of a session's owner: by no way and for
//! nothing is anybody let in.

use std::time::{Duration, SystemTime};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use syncbridge::auth::{KEY_FILE, SigningKey};
use syncbridge_codec::message::Position;

use super::{
    Target, Walked,
    links::{Ask, Link, Way, flat, native},
    people::{PASSWORD, People},
    tables::{LIVE, OWN, ROUTES},
};
use crate::{
    host::{Host, Socket},
    support::{
        wire::{Heard, Wire, hello},
        within,
    },
};

/// Tokens of the owner that let nobody in, and what is said of them.
async fn tokens(host: &Host, people: &People) -> Vec<(&'static str, String, &'static str)> {
    let owner = people.named("owner");
    let login = async |device: &str| {
        let email = format!("n{}@example.com", people.all.len() - 1);
        let login = json!({"email": email, "password": PASSWORD, "deviceId": device});
        host.http().post("/auth/login", login).await.expect(200)
    };
    let text = |of: &Value, name: &str| of[name].as_str().unwrap().to_owned();

    let logged_out = login("out").await;
    host.http().post("/auth/logout", json!({"refreshToken": logged_out["refreshToken"]})).await.expect(204);
    let removed = login("lost").await;
    owner.http.delete("/devices/lost").await.expect(204);
    let replaced = login("twice").await;
    let good = login("twice").await;

    let key = SigningKey::create_or_load(&host.folder().join(KEY_FILE)).unwrap();
    let other = tempfile::tempdir().unwrap();
    let strange = SigningKey::create_or_load(&other.path().join(KEY_FILE)).unwrap();
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let expired = key.issue(&owner.id, None, None, Duration::from_secs(1), now - 2).unwrap();
    let forged = strange.issue(&owner.id, None, None, Duration::from_hours(1), now).unwrap();
    // Somebody's own good token, with the owner's name in it.
    let stranger = &people.named("stranger").token;
    let mut parts: Vec<_> = stranger.split('.').map(str::to_owned).collect();
    let mut claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(&parts[1]).unwrap()).unwrap();
    claims["sub"] = json!(owner.id);
    parts[1] = URL_SAFE_NO_PAD.encode(claims.to_string());
    let altered = parts.join(".");
    let unsigned = format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#), parts[1]);
    vec![
        ("logged out", text(&logged_out, "accessToken"), "unauthenticated"),
        ("of a removed device", text(&removed, "accessToken"), "unauthenticated"),
        ("of a login that another replaced", text(&replaced, "accessToken"), "unauthenticated"),
        ("a refresh token", text(&good, "refreshToken"), "unauthenticated"),
        ("expired", expired, "token_expired"),
        ("of another key", forged, "unauthenticated"),
        ("altered", altered, "unauthenticated"),
        ("not signed", unsigned, "unauthenticated"),
        ("cut short", owner.token[..owner.token.len() - 1].to_owned(), "unauthenticated"),
        ("none", String::new(), "unauthenticated"),
    ]
}

/// Everything, by every way, with each of these tokens.
pub async fn walk(host: &Host, people: &std::sync::Arc<People>, walked: &mut Walked) {
    let target = Target::new(people, "dead", json!({"devices": "many"})).await;
    let before = target.state().await;
    for (name, token, code) in tokens(host, people).await {
        for way in Way::ALL {
            routes(host, &target, way, (name, &token, code), walked).await;
            if way != Way::Rest {
                live(host, &target, way, (name, &token, code), walked).await;
            }
        }
    }
    let after = target.state().await;
    if before != after {
        walked.wrong.push(format!("nobody was let in, and {before} became {after}"));
    }
}

/// Each route with the token in its own header.
async fn routes(host: &Host, target: &Target, way: Way, token: (&str, &str, &str), walked: &mut Walked) {
    let (name, token, code) = token;
    let owner = target.people.named("owner");
    let mut link = Link::anonymous(host, way).await;
    let own = OWN.iter().map(|(what, method, path, body, _)| {
        let headers = vec![("content-type", "application/json".to_owned())];
        (*what, Ask::Route { method, path: (*path).to_owned(), headers, body: (*body).to_owned() })
    });
    let routes = ROUTES.iter().map(|row| (row.name, target.route(row, &target.id, owner)));
    for (what, mut ask) in routes.chain(own) {
        if let Ask::Route { headers, .. } = &mut ask
            && !token.is_empty()
        {
            headers.push(("authorization", format!("Bearer {token}")));
        }
        let told = link.ask(&ask).await;
        // It signs in by itself, and needs no token.
        let expected = if what == "complete what is none" { "not_found" } else { code };
        let place = format!("{way:?}, a token that is {name}: {what}");
        walked.cell(&place, &told, expected);
        if expected == code && !told.text.contains("www-authenticate: Bearer") {
            walked.wrong.push(format!("{place}: no WWW-Authenticate in {}", told.text));
        }
    }
}

/// Each message right behind the greeting, so that it is there when the refusal is said.
async fn live(host: &Host, target: &Target, way: Way, token: (&str, &str, &str), walked: &mut Walked) {
    let (name, token, code) = token;
    for (what, _) in LIVE {
        let at = Position { epoch: 0, version: 1 };
        let ask = Ask::Live { what: *what, session: target.id.clone(), at };
        let place = format!("{way:?}, a token that is {name}: {what:?}");
        let heard = match way {
            Way::Rest => unreachable!("REST has no live messages"),
            Way::FlatJson => {
                let mut socket = host.socket(None).await;
                socket.say(json!({"type": "auth", "token": token, "deviceId": "desk"})).await;
                socket.say_if_open(flat(&ask, 1)).await;
                all_flat(&mut socket).await
            }
            Way::Native(via) => {
                let mut wire = Wire::connect(via, host.server().listen).await;
                wire.send(hello(token, "desk", 1, Vec::new()));
                wire.send(native(&ask, 1));
                all_native(&mut wire).await
            }
        };
        walked.cells += 1;
        // Nothing but the refusal, and the end.
        if heard != [code.to_owned(), "the end".to_owned()] {
            walked.wrong.push(format!("{place}: {heard:?}"));
        }
    }
    if way == Way::FlatJson && !token.is_empty() {
        walked.cells += 1;
        if let Ok(_socket) = Socket::connect(host.server().listen, Some(token)).await {
            walked.wrong.push(format!("an upgrade with a token that is {name}"));
        }
    }
}

async fn all_flat(socket: &mut Socket) -> Vec<String> {
    let mut heard = Vec::new();
    loop {
        match socket.next().await {
            Ok(message) => heard.push(message["code"].as_str().map_or_else(|| message.to_string(), str::to_owned)),
            Err(4401) => heard.push("the end".to_owned()),
            Err(code) => heard.push(format!("closed with {code}")),
        }
        if heard.last().is_some_and(|last| last == "the end" || last.starts_with("closed")) {
            return heard;
        }
    }
}

async fn all_native(wire: &mut Wire) -> Vec<String> {
    let mut heard = Vec::new();
    loop {
        match within("the end", wire.next()).await {
            Heard::Message(syncbridge_codec::Message::Refused(refused)) => heard.push(refused.name.to_string()),
            // It says the same once more.
            Heard::Message(syncbridge_codec::Message::Close(_)) => {}
            Heard::Message(other) => heard.push(format!("{other:?}")),
            Heard::Ended(_) => {
                heard.push("the end".to_owned());
                return heard;
            }
        }
    }
}
