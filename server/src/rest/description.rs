//! The OpenAPI document: what the routes say of themselves, and what holds for all of them. Describes nothing that is not
//! in the code, so it cannot be out of date; `proto-spec/openapi.json` is what it was when somebody last looked.

use utoipa::{
    OpenApi as _, PartialSchema as _,
    openapi::{
        Content, ContentBuilder, OpenApi, Ref, RefOr, Response, Responses,
        path::Operation,
        security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme},
        server::Server,
        tag::Tag,
    },
};

use super::{BASE, Problem, problem::MEDIA_TYPE};

/// The name of the one way to sign a request.
const BEARER: &str = "bearer";

/// Groups of operations: the first part of a path below [`BASE`], or below a session, that is listed here.
const TAGS: [(&str, &str); 7] = [
    ("snapshot", "Copies of a session's document that can be gone back to."),
    ("snapshots", "Copies of a session's document that can be gone back to."),
    ("members", "Who may see and change a session."),
    ("handoff", "From one device to another."),
    ("devices", "A user's devices, and those attached to a session."),
    ("auth", "Accounts and tokens."),
    ("sessions", "A document that is live on all of a user's devices."),
];

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "SyncBridge",
        description = "One live session on all of a person's devices. What holds for every operation (errors, paging, idempotency, ETags, limits) is in docs/REST.md.",
        license(name = "Apache-2.0 OR MIT")
    ),
    components(schemas(Problem))
)]
struct Description;

/// What routes are collected into.
pub fn empty() -> OpenApi {
    Description::openapi()
}

/// Adds what holds for all operations: signing, common errors, groups, ids. `public_url`: where the server is found.
pub fn complete(mut api: OpenApi, public_url: Option<&str>) -> OpenApi {
    api.servers = public_url.map(|url| vec![Server::new(url)]);
    let components = api.components.get_or_insert_default();
    let scheme = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("JWT")
        .description(Some("An access token: from `auth/login`, `auth/register`, `auth/refresh` or `syncbridge token`."))
        .build();
    components.security_schemes.insert(BEARER.to_owned(), SecurityScheme::Http(scheme).into());
    components.schemas.entry("Problem".to_owned()).or_insert_with(Problem::schema);
    for (name, (_, what)) in COMMON {
        components.responses.insert(name.to_owned(), RefOr::T(problem(what)));
    }
    let mut tags: Vec<Tag> = Vec::new();
    for (path, item) in &mut api.paths.paths {
        let tag = tag_of(path);
        let operations = [&mut item.get, &mut item.put, &mut item.post, &mut item.patch, &mut item.delete];
        for operation in operations.into_iter().flatten() {
            complete_operation(operation, tag.0);
        }
        if !tags.iter().any(|known| known.name == tag.0) {
            let mut described = Tag::new(tag.0);
            described.description = Some(tag.1.to_owned());
            tags.push(described);
        }
    }
    api.tags = Some(tags);
    api
}

/// Errors that many operations have: name, (status, what happened), by what kind of operation.
const COMMON: [(&str, (&str, &str)); 8] = [
    ("Invalid", ("400", "The path, a header, the query or the body is not what this takes.")),
    ("Unauthenticated", ("401", "No token, or one that is not valid.")),
    ("TooSlow", ("408", "The body was not there in time.")),
    ("IdMismatch", ("422", "The `Idempotency-Key` was used for another request.")),
    ("TooLarge", ("413", "The body is larger than `limits.request_bytes`.")),
    ("UnsupportedMediaType", ("415", "The body's type or compression is not one that this takes.")),
    ("LimitReached", ("429", "Too many tries, or a limit is reached.")),
    ("Unavailable", ("503", "The server is busy or going down; `Retry-After` says when to try again.")),
];

fn problem(what: &str) -> Response {
    let mut response = Response::new(what);
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    response.content.insert(MEDIA_TYPE.to_owned(), content.into());
    response
}

fn complete_operation(operation: &mut Operation, tag: &str) {
    operation.tags = Some(vec![tag.to_owned()]);
    if let Some(name) = &operation.operation_id {
        operation.operation_id = Some(id(tag, name));
    }
    // `security(())` at a route: it needs no token.
    let signed = operation.security.is_none();
    if signed {
        operation.security = Some(vec![SecurityRequirement::new(BEARER, [""; 0])]);
    }
    let has_body = operation.request_body.is_some();
    let repeatable = operation
        .parameters
        .iter()
        .flatten()
        .any(|parameter| matches!(parameter, RefOr::T(parameter) if parameter.name == "Idempotency-Key"));
    for (status, response) in &mut operation.responses.responses {
        if let RefOr::T(response) = response {
            as_problem(response);
            if response.description.is_empty() {
                let done = match &**status {
                    "201" => "It was made.",
                    "204" => "It was done; there is nothing more to say.",
                    _ => "As asked.",
                };
                done.clone_into(&mut response.description);
            }
        }
    }
    for (name, (status, _)) in COMMON {
        let applies = match name {
            "Unauthenticated" => signed,
            "TooSlow" | "TooLarge" | "UnsupportedMediaType" => has_body,
            "IdMismatch" => repeatable,
            _ => true,
        };
        if applies {
            add(&mut operation.responses, status, name);
        }
    }
}

/// An answer that is a problem has a problem's media type.
fn as_problem(response: &mut Response) {
    let is_problem = |content: &RefOr<Content>| {
        let RefOr::T(Content { schema: Some(RefOr::Ref(to)), .. }) = content else { return false };
        to.ref_location.ends_with("/Problem")
    };
    if response.content.get("application/json").is_some_and(is_problem)
        && let Some(content) = response.content.swap_remove("application/json")
    {
        response.content.insert(MEDIA_TYPE.to_owned(), content);
    }
}

fn add(responses: &mut Responses, status: &str, name: &str) {
    responses.responses.entry(status.to_owned()).or_insert_with(|| RefOr::Ref(Ref::from_response_name(name)));
}

fn tag_of(path: &str) -> (&'static str, &'static str) {
    let parts: Vec<_> = path.strip_prefix(BASE).unwrap_or(path).split('/').collect();
    let found = TAGS.into_iter().find(|(name, _)| parts.contains(name)).unwrap_or(("server", "The server itself."));
    if found.0 == "snapshot" { TAGS[1] } else { found }
}

/// `sessions`, `read_all` → `sessionsReadAll`.
fn id(tag: &str, name: &str) -> String {
    let mut id = tag.to_owned();
    for word in name.split('_') {
        let mut letters = word.chars();
        id.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        id.extend(letters);
    }
    id
}

#[cfg(test)]
mod tests;
