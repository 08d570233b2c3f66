//! Who may do what, and that a change of it counts at once.

use serde_json::{Value, json};

use crate::{host::Host, http::Http};

async fn set(http: &Http, user: &str, role: &str) -> crate::http::Answer {
    http.put("/sessions/s/members", json!({"userId": user, "role": role})).await
}

async fn roles(http: &Http) -> Vec<(String, String)> {
    let members = http.get("/sessions/s/members").await.expect(200);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    members["items"].as_array().unwrap().iter().map(|item| (text(&item["userId"]), text(&item["role"]))).collect()
}

#[tokio::test]
async fn owners_say_who_may_what_and_everybody_may_leave() {
    let host = Host::new();
    let [ann, bob, eve] = ["ann", "bob", "eve"].map(|user| host.user(user));
    ann.post("/sessions", json!({"sessionId": "s", "state": {}})).await.expect(201);
    assert_eq!(set(&ann, "bob", "viewer").await.expect(200), json!({"userId": "bob", "email": null, "role": "viewer"}));
    assert_eq!(roles(&bob).await, [("ann".into(), "owner".into()), ("bob".into(), "viewer".into())]);
    assert_eq!(bob.get("/sessions").await.expect(200)["items"], json!([{"sessionId": "s", "role": "viewer"}]));

    set(&bob, "eve", "viewer").await.expect(403);
    bob.put("/sessions/s", json!({"state": 1})).await.expect(403);
    bob.delete("/sessions/s").await.expect(403);
    bob.delete("/sessions/s/members/ann").await.expect(403);
    set(&ann, "bob", "editor").await.expect(200);
    bob.put("/sessions/s", json!({"state": 1})).await.expect(200);
    set(&bob, "eve", "viewer").await.expect(403);

    for role in ["editor", "viewer"] {
        let refused = set(&ann, "ann", role).await;
        refused.expect(409);
        assert_eq!(refused.code(), "last_owner");
    }
    assert_eq!(ann.delete("/sessions/s/members/ann").await.code(), "last_owner");
    set(&ann, "eve", "owner").await.expect(200);
    ann.delete("/sessions/s/members/ann").await.expect(204);
    ann.get("/sessions/s").await.expect(404);
    assert_eq!(ann.get("/sessions").await.expect(200)["items"], json!([]));
    eve.delete("/sessions/s/members/bob").await.expect(204);
    bob.get("/sessions/s").await.expect(404);
    eve.delete("/sessions/s/members/bob").await.expect(404);
    assert_eq!(roles(&eve).await, [("eve".into(), "owner".into())]);
}

#[tokio::test]
async fn members_outlive_a_restart_and_end_with_their_session() {
    let mut host = Host::durable();
    let ann = host.user("ann");
    ann.post("/sessions", json!({"sessionId": "s", "state": {}})).await.expect(201);
    set(&ann, "bob", "editor").await.expect(200);
    host.restart().await;
    let (ann, bob) = (host.user("ann"), host.user("bob"));
    bob.put("/sessions/s", json!({"state": 1})).await.expect(200);
    ann.delete("/sessions/s").await.expect(204);
    for user in [&ann, &bob] {
        assert_eq!(user.get("/sessions").await.expect(200)["items"], json!([]));
        user.get("/sessions/s").await.expect(404);
    }
    ann.post("/sessions", json!({"sessionId": "s", "state": {}})).await.expect(201);
    bob.get("/sessions/s").await.expect(404);
}

#[tokio::test]
async fn what_says_no_member_or_no_role_is_refused_and_a_session_has_a_number_of_members() {
    let host = Host::with(|config| config.limits.members = 2);
    let ann = host.user("ann");
    ann.post("/sessions", json!({"sessionId": "s", "state": {}})).await.expect(201);
    for body in [
        json!({"role": "viewer"}),
        json!({"userId": "bob"}),
        json!({"userId": "bob", "role": "king"}),
        json!({"userId": "", "role": "viewer"}),
        json!({"userId": "a\nb", "role": "viewer"}),
        json!({"userId": "x".repeat(129), "role": "viewer"}),
        json!({"userId": "bob", "email": "bob@example.org", "role": "viewer"}),
    ] {
        let answer = ann.put("/sessions/s/members", body.clone()).await;
        assert_eq!((answer.status.as_u16(), &*answer.code()), (400, "invalid_request"), "{body}");
    }
    let unknown = ann.put("/sessions/s/members", json!({"email": "nobody@example.org", "role": "viewer"})).await;
    assert_eq!((unknown.status.as_u16(), &*unknown.code()), (404, "not_found"));
    set(&ann, "bob", "viewer").await.expect(200);
    let full = set(&ann, "eve", "viewer").await;
    assert_eq!((full.status.as_u16(), &*full.code()), (429, "limit_reached"));
    set(&ann, "bob", "editor").await.expect(200);
}
