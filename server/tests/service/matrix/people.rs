//! Who asks: what they are to the sessions of this test, and how that came to be.

use serde_json::json;

use super::tables::Column;
use crate::{host::Host, http::Http};

/// The password of everybody.
pub const PASSWORD: &str = "correct horse";

/// Somebody with an account and a device.
pub struct Person {
    pub name: &'static str,
    pub column: Column,
    /// The roles that they get one after the other; `None`: their membership ends.
    pub history: &'static [Option<&'static str>],
    pub id: String,
    pub token: String,
    pub http: Http,
    /// A session of their own.
    pub own: String,
}

/// Everybody, outsiders first: what they try is to leave no trace for those after them.
pub struct People {
    pub all: Vec<Person>,
    /// A snapshot of a session that none of them is a member of.
    pub foreign: String,
}

const EVERYBODY: [(&str, Column, &[Option<&str>]); 10] = [
    ("stranger", Column::Outsider, &[]),
    ("removed", Column::Outsider, &[Some("editor"), None]),
    ("removed owner", Column::Outsider, &[Some("owner"), None]),
    ("viewer", Column::Viewer, &[Some("viewer")]),
    ("demoted", Column::Viewer, &[Some("owner"), Some("editor"), Some("viewer")]),
    ("returned", Column::Viewer, &[Some("editor"), None, Some("viewer")]),
    ("editor", Column::Editor, &[Some("editor")]),
    ("promoted", Column::Editor, &[Some("viewer"), Some("editor")]),
    ("co-owner", Column::Owner, &[Some("owner")]),
    // Makes the sessions, from the device that is active.
    ("owner", Column::Owner, &[]),
];

impl People {
    pub async fn new(host: &Host) -> Self {
        let keeper = host.user("keeper");
        keeper.post("/devices", json!({"deviceId": "only-the-keepers"})).await.expect(201);
        keeper.post("/sessions", json!({"sessionId": "keepers", "state": {"secret": 2}})).await.expect(201);
        let made = keeper.post("/sessions/keepers/snapshot", json!({})).await.expect(201);
        let foreign = made["snapshotId"].as_str().unwrap().to_owned();
        let mut all = Vec::new();
        for (number, (name, column, history)) in EVERYBODY.into_iter().enumerate() {
            let email = format!("n{number}@example.com");
            let account = json!({"email": email, "password": PASSWORD, "name": name});
            let registered = host.http().post("/auth/register", account).await.expect(201);
            let id = registered["user"]["userId"].as_str().unwrap_or_else(|| panic!("{registered}")).to_owned();
            let login = json!({"email": email, "password": PASSWORD, "deviceId": "desk"});
            let tokens = host.http().post("/auth/login", login).await.expect(200);
            let token = tokens["accessToken"].as_str().unwrap().to_owned();
            let http = host.http().with(&*token);
            let own = format!("own-{number}");
            http.post("/sessions", json!({"sessionId": own, "state": {}})).await.expect(201);
            all.push(Person { name, column, history, id, token, http, own });
        }
        Self { all, foreign }
    }

    pub fn named(&self, name: &str) -> &Person {
        self.all.iter().find(|person| person.name == name).unwrap()
    }
}
