//! Accounts and devices over REST: who is let in, with what, and when that ends.

use serde_json::{Value, json};

use crate::{host::Host, http::Http};

const PASSWORD: &str = "correct horse";

async fn register(host: &Host, email: &str) -> Value {
    host.http().post("/auth/register", json!({"email": email, "password": PASSWORD, "name": "Ann"})).await.expect(201)
}

async fn login(host: &Host, more: Value) -> Value {
    let mut body = json!({"email": "ann@example.com", "password": PASSWORD});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    host.http().post("/auth/login", body).await.expect(200)
}

fn text<'a>(of: &'a Value, name: &str) -> &'a str {
    of[name].as_str().unwrap_or_else(|| panic!("{name} in {of}"))
}

fn with(host: &Host, tokens: &Value) -> Http {
    host.http().with(text(tokens, "accessToken"))
}

#[tokio::test]
async fn who_registers_signs_in_refreshes_and_signs_out() {
    let host = Host::new();
    let registered = register(&host, "Ann@Example.com").await;
    assert_eq!(registered["user"]["email"], "ann@example.com");
    assert_eq!(registered["expiresIn"], 900);
    let me = with(&host, &registered).get("/auth/me").await.expect(200);
    assert_eq!(me, registered["user"]);

    let tokens = login(&host, json!({})).await;
    assert_eq!(tokens["user"], me);
    let refresh = json!({"refreshToken": tokens["refreshToken"]});
    for _ in 0..3 {
        let again = host.http().post("/auth/refresh", refresh.clone()).await.expect(200);
        assert_eq!(again["refreshToken"], tokens["refreshToken"], "a plain login's stays");
        assert_eq!(with(&host, &again).get("/auth/me").await.expect(200), me);
    }
    host.http().post("/auth/logout", refresh.clone()).await.expect(204);
    assert_eq!(host.http().post("/auth/refresh", refresh.clone()).await.code(), "invalid_credentials");
    assert_eq!(with(&host, &tokens).get("/auth/me").await.code(), "unauthenticated");
    host.http().post("/auth/logout", refresh).await.expect(204);
    with(&host, &registered).get("/auth/me").await.expect(200);
}
