//! The authorization matrix: user × role × operation × transport against a running server. What ought to be stands in
//! `tables`; strangers' answers are compared, byte by byte, with those for a session that does not exist.

mod dead;
mod links;
mod people;
mod tables;

use std::sync::Arc;

use serde_json::{Value, json};
use syncbridge_codec::{
    Message,
    message::{self, Position},
};

use self::{
    links::{Ask, Link, Told, Way},
    people::{People, Person},
    tables::{Column, LIVE, Mend, OWN, ROUTES, Route},
};
use crate::{
    host::Host,
    http::Http,
    support::wire::{Via, Wire, hello},
};

/// A session that everybody tries their hands on, and what belongs to it.
struct Target {
    people: Arc<People>,
    id: String,
    /// An id as long, of a session that was never made.
    missing: String,
    policy: Value,
    snapshot: String,
    /// Of a handoff that is offered.
    token: String,
}

/// Cells that were walked, and those that were not as they should be.
#[derive(Default)]
struct Walked {
    cells: usize,
    wrong: Vec<String>,
}

impl Walked {
    fn cell(&mut self, place: &str, told: &Told, expected: &str) {
        self.cells += 1;
        if told.verdict != expected {
            self.wrong.push(format!("{place}: {} and not {expected}: {}", told.verdict, told.text));
        }
    }
}

impl Target {
    async fn new(people: &Arc<People>, id: &str, policy: Value) -> Self {
        let (id, missing) = (format!("{id}-is"), format!("{id}-no"));
        let (snapshot, token) = (String::new(), String::new());
        let mut target = Self { people: Arc::clone(people), id, missing, policy, snapshot, token };
        // Whoever has had a session of this id has nothing of the one that is made next.
        for former in ["stranger", "removed"].map(|name| people.named(name)) {
            former.http.post("/sessions", json!({"sessionId": target.id, "state": {"secret": 1}})).await.expect(201);
            former.http.delete(&format!("/sessions/{}", target.id)).await.expect(204);
        }
        target.make().await;
        target
    }

    /// Makes the session, with everybody in it who belongs there, by the way that they came and went.
    async fn make(&mut self) {
        let people = Arc::clone(&self.people);
        let owner = &people.named("owner").http;
        let new = json!({"sessionId": self.id, "state": {"n": 0}, "policy": self.policy});
        owner.post("/sessions", new).await.expect(201);
        for person in &people.all {
            for role in person.history {
                self.set(owner, person, *role).await;
            }
        }
        self.keep().await;
        let offered = owner.post(&format!("/sessions/{}/handoff/code", self.id), json!({})).await.expect(201);
        offered["token"].as_str().unwrap().clone_into(&mut self.token);
    }

    async fn set(&self, by: &Http, person: &Person, role: Option<&str>) {
        let members = format!("/sessions/{}/members", self.id);
        match role {
            Some(role) => drop(by.put(&members, json!({"userId": person.id, "role": role})).await.expect(200)),
            None => drop(by.delete(&format!("{members}/{}", person.id)).await.expect(204)),
        }
    }

    /// Makes a snapshot that does not give way to others.
    async fn keep(&mut self) {
        let path = format!("/sessions/{}/snapshot", self.id);
        let made = self.people.named("owner").http.post(&path, json!({"metadata": {"label": "kept"}})).await;
        made.expect(201)["snapshotId"].as_str().unwrap().clone_into(&mut self.snapshot);
    }

    async fn mend(&mut self, mend: Mend, asker: &Person) {
        match mend {
            Mend::Nothing => {}
            Mend::Snapshot => self.keep().await,
            // The owner's device is the active one, until they leave: the session is made anew.
            Mend::Member if asker.name == "owner" => {
                self.people.named("co-owner").http.delete(&format!("/sessions/{}", self.id)).await.expect(204);
                self.make().await;
            }
            Mend::Member => {
                let role = asker.history.last().copied().flatten();
                self.set(&self.people.named("owner").http, asker, role).await;
            }
            Mend::Session => self.make().await,
        }
    }

    fn route(&self, route: &Route, session: &str, asker: &Person) -> Ask {
        let fill = |text: &str| {
            [
                ("{s}", session),
                ("{mine}", &asker.own),
                ("{me}", &asker.id),
                ("{snapshot}", &self.snapshot),
                ("{foreign}", &self.people.foreign),
                ("{none}", "0000000000000-00000000000000000000000000000000"),
                ("{token}", &self.token),
            ]
            .iter()
            .fold(text.to_owned(), |text, (name, value)| text.replace(name, value))
        };
        let media = if route.media.is_empty() { "application/json" } else { route.media };
        let content = (!route.body.is_empty()).then(|| ("content-type", media.to_owned()));
        let header = (!route.header.0.is_empty()).then(|| (route.header.0, route.header.1.to_owned()));
        let headers = content.into_iter().chain(header).collect();
        Ask::Route { method: route.method, path: fill(route.path), headers, body: fill(route.body) }
    }

    /// Everything that a refusal must leave as it was.
    async fn state(&self) -> Value {
        let owner = &self.people.named("owner").http;
        let mut state = Vec::new();
        for what in ["", "/members", "/snapshots"] {
            state.push(owner.get(&format!("/sessions/{}{what}", self.id)).await.expect(200));
        }
        state.into()
    }

    async fn at(&self) -> Position {
        let state = self.people.named("owner").http.get(&format!("/sessions/{}", self.id)).await.expect(200);
        Position { epoch: state["epoch"].as_u64().unwrap(), version: state["version"].as_u64().unwrap() }
    }

    /// Everything that one person can ask, by one way.
    async fn walk(&mut self, host: &Host, way: Way, asker: &Person, walked: &mut Walked) {
        let mut link = Link::open(host, way, &asker.token).await;
        let before = self.state().await;
        let policy = self.policy.clone();
        let place = |what: &str| format!("{way:?} {policy} {} {what}", asker.name);
        let fenced = self.policy["devices"] != "many" && asker.name != "owner";
        let expected = |told: &'static str, writes: bool| {
            if fenced && writes && told != "forbidden" && told != "not_found" { "not_active" } else { told }
        };
        let mut asks = Vec::new();
        for row in ROUTES.iter().filter(|row| !row.told[asker.column as usize].is_empty()) {
            asks.push((place(row.name), expected(row.told[asker.column as usize], row.writes), Err(row)));
        }
        for (live, told) in LIVE.iter().filter(|_| way != Way::Rest) {
            asks.push((place(&format!("{live:?}")), expected(told[asker.column as usize], live.writes()), Ok(*live)));
        }
        // Routes that take a right away come last.
        asks.sort_by_key(|(.., what)| matches!(what, Err(row) if matches!(row.mend, Mend::Member | Mend::Session)));
        for (place, expected, what) in asks {
            let at = if what.is_ok() { self.at().await } else { Position::default() };
            let ask = |session: &str| match what {
                Ok(live) => Ask::Live { what: live, session: session.to_owned(), at: at.clone() },
                Err(row) => self.route(row, session, asker),
            };
            let told = link.ask(&ask(&self.id)).await;
            walked.cell(&place, &told, expected);
            if asker.column == Column::Outsider && expected == "not_found" {
                let missing = link.ask(&ask(&self.missing)).await;
                walked.cell(&format!("{place}, of no session"), &missing, expected);
                let [told, missing] = [told.text.replace(&self.id, "ID"), missing.text.replace(&self.missing, "ID")];
                if told != missing {
                    walked.wrong.push(format!("{place}: a stranger can tell {told} from {missing}"));
                }
            } else if let Err(row) = what
                && told.verdict.parse::<u16>().is_ok()
            {
                self.mend(row.mend, asker).await;
            }
        }
        if matches!(asker.column, Column::Outsider | Column::Viewer) {
            let after = self.state().await;
            // A viewer may leave; whoever comes back is a member like before.
            if before != after {
                walked.wrong.push(format!("{}: {before} became {after}", place("refused")));
            }
        }
    }
}

/// Nine policies of sessions.
fn policies() -> impl Iterator<Item = Value> {
    let conflict = ["last_writer_wins", "merge", "reject"];
    let devices = ["many", "exclusive", "ask"];
    conflict
        .into_iter()
        .flat_map(move |conflict| devices.map(|devices| json!({"conflict": conflict, "devices": devices})))
}

/// Everybody, with everything, on every kind of session.
async fn walk_all(host: &Arc<Host>, people: &Arc<People>, round: &str) -> Walked {
    let walks = policies().enumerate().map(|(number, policy)| {
        let (host, people, id) = (Arc::clone(host), Arc::clone(people), format!("s{round}{number}"));
        tokio::spawn(async move {
            let mut walked = Walked::default();
            let mut target = Target::new(&people, &id, policy).await;
            for way in Way::ALL {
                for asker in &people.all {
                    target.walk(&host, way, asker, &mut walked).await;
                }
            }
            people.named("stranger").http.get(&format!("/sessions/{}", target.missing)).await.expect(404);
            walked
        })
    });
    let mut all = Walked::default();
    for walk in walks.collect::<Vec<_>>() {
        let walked = walk.await.unwrap();
        all.cells += walked.cells;
        all.wrong.extend(walked.wrong);
    }
    all
}

/// What is a user's own, asked by everybody.
async fn walk_own(host: &Host, people: &People, walked: &mut Walked) {
    for way in Way::ALL {
        for asker in &people.all {
            let mut link = Link::open(host, way, &asker.token).await;
            for (name, method, path, body, expected) in OWN {
                let headers = vec![("content-type", "application/json".to_owned())];
                let ask = Ask::Route { method, path: (*path).to_owned(), headers, body: (*body).to_owned() };
                let told = link.ask(&ask).await;
                walked.cell(&format!("{way:?} {} {name}", asker.name), &told, expected);
                if told.text.contains("only-the-keepers") && *expected == "200" {
                    walked.wrong.push(format!("{way:?} {} {name} sees what is another's: {}", asker.name, told.text));
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_let_in_who_should_not_be_and_nobody_refused_who_should_be_let_in() {
    let host = Arc::new(Host::with(|config| config.limits.enabled = false));
    let people = Arc::new(People::new(&host).await);
    let mut walked = walk_all(&host, &people, "").await;
    walk_own(&host, &people, &mut walked).await;
    dead::walk(&host, &people, &mut walked).await;
    let Walked { cells, wrong } = walked;
    assert!(wrong.is_empty(), "{} of {cells} cells are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(cells >= 5_000, "{cells}");
    println!("{cells} cells");
}

#[tokio::test]
async fn who_made_a_session_and_was_removed_learns_nothing_by_making_it_again() {
    let host = Host::new();
    for via in Via::BOTH {
        let id = format!("{via:?}");
        let token = host.token("ann", None);
        let hello = hello(&token, "d", 7, Vec::new());
        let mut wire = Wire::greeted(via, host.server().listen, hello).await.0;
        let create =
            message::Create { counter: 1, session: id.as_str().into(), state: "{}".into(), ..Default::default() };
        for _ in 0..2 {
            wire.send(create.clone());
            wire.wait_for(|message| matches!(message, Message::Created(_)).then_some(())).await;
        }
        let ann = host.user("ann");
        ann.put(&format!("/sessions/{id}/members"), json!({"userId": "bob", "role": "owner"})).await.expect(200);
        ann.delete(&format!("/sessions/{id}/members/ann")).await.expect(204);
        host.user("bob").put(&format!("/sessions/{id}"), json!({"state": {"n": 1}})).await.expect(200);
        wire.send(create);
        let told = wire
            .wait_for(|message| match message {
                Message::Error(error) => Some(error.name.to_string()),
                Message::Created(created) => panic!("{created:?}"),
                _ => None,
            })
            .await;
        assert_eq!(told, "already_exists");
    }
}
