//! The least: a session is there or is not.

use crate::host::Host;

#[tokio::test]
async fn a_session_that_does_not_exist_is_a_problem_with_a_stable_code() {
    let host = Host::new();
    let answer = host.user("ann").get("/sessions/nowhere").await;
    answer.expect(404);
    assert_eq!(answer.code(), "not_found");
}

#[tokio::test]
async fn nobody_is_let_in_without_a_token() {
    let host = Host::new();
    let answer = host.http().get("/sessions/nowhere").await;
    answer.expect(401);
    assert_eq!((&*answer.code(), answer.header("www-authenticate")), ("unauthenticated", Some("Bearer")));
}
