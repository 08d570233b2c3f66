#![allow(clippy::unwrap_used)]
use std::{collections::BTreeSet, path::Path};

use serde_json::Value;

use super::*;
use crate::rest::described;

fn document() -> Value {
    serde_json::to_value(complete(described().into_openapi(), None)).unwrap()
}

const METHODS: [&str; 8] = ["get", "put", "post", "patch", "delete", "head", "options", "trace"];

/// (path, method, operation) of every operation.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let all = paths.iter().flat_map(|(path, item)| {
        let item = item.as_object().unwrap();
        item.iter()
            .filter(|(method, _)| METHODS.contains(&&***method))
            .map(move |(method, operation)| (path.clone(), method.clone(), operation.clone()))
    });
    all.collect()
}

fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn the_committed_document_is_the_one_that_the_code_describes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../proto-spec/openapi.json");
    let text = serde_json::to_string_pretty(&document()).unwrap() + "\n";
    if std::env::var_os("SYNCBRIDGE_WRITE_VECTORS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == text,
        "proto-spec/openapi.json is not what the code describes; look at what \
         `SYNCBRIDGE_WRITE_VECTORS=1 cargo test -p syncbridge --lib rest::description` changes, and commit it"
    );
}

#[test]
fn every_reference_leads_to_something() {
    let document = document();
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.len() > 20, "{found:?}");
    for reference in found {
        let pointer = reference.strip_prefix('#').unwrap_or_else(|| panic!("{reference} leads out of the document"));
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}

#[test]
fn every_operation_is_described_whole() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let mut ids = BTreeSet::new();
    let operations = operations(&document);
    assert!(!operations.is_empty());
    for (path, method, operation) in operations {
        let what = format!("{method} {path}");
        let id = operation["operationId"].as_str().unwrap_or_else(|| panic!("{what} has no operationId"));
        assert!(ids.insert(id.to_owned()), "{id} is there twice, again at {what}");
        for member in ["summary", "tags", "security"] {
            let value = &operation[member];
            assert!(value.is_array() || value.as_str().is_some_and(|text| !text.is_empty()), "{what}: no {member}");
        }
        let tag = operation["tags"][0].as_str().unwrap();
        assert!(document["tags"].as_array().unwrap().iter().any(|known| known["name"] == tag), "{what}: {tag}");

        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.keys().any(|status| status.starts_with('2')), "{what}: never succeeds");
        let body = operation.get("requestBody");
        let mut needed = vec!["400", "429", "503"];
        needed.extend(body.is_some().then_some(["408", "413", "415"]).into_iter().flatten());
        needed.extend((operation["security"] != serde_json::json!([{}])).then_some("401"));
        for status in needed {
            assert!(responses.contains_key(status), "{what}: no {status}");
        }
        for (status, response) in responses {
            let response = match response["$ref"].as_str() {
                Some(to) => document.pointer(&to[1..]).unwrap(),
                None => response,
            };
            assert!(
                response["description"].as_str().is_some_and(|text| !text.is_empty()),
                "{what} {status}: what is it?"
            );
            if status.starts_with(['4', '5']) {
                let schema = &response["content"][MEDIA_TYPE]["schema"]["$ref"];
                assert_eq!(schema, "#/components/schemas/Problem", "{what} {status}");
            }
        }
        // What stands in braces is a parameter, and every parameter in the path stands there.
        let named: BTreeSet<_> =
            path.split('{').skip(1).map(|rest| rest.split('}').next().unwrap().to_owned()).collect();
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let described: BTreeSet<_> = parameters
            .iter()
            .filter(|parameter| parameter["in"] == "path")
            .map(|parameter| parameter["name"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(named, described, "{what}");
        for content in body.into_iter().flat_map(|body| body["content"].as_object().unwrap().values()) {
            assert!(has_example(&document, content), "{what}: the body has no example");
        }
    }
}

/// Whether a body's description or its schema has an example.
fn has_example(document: &Value, content: &Value) -> bool {
    let of = |schema: &Value| match schema["$ref"].as_str() {
        Some(to) => document.pointer(&to[1..]).unwrap().clone(),
        None => schema.clone(),
    };
    let schema = &content["schema"];
    // A body that may be left out is a choice of two.
    let choice = of(&schema["oneOf"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|one| one["type"] != "null")
        .cloned()
        .unwrap_or_default());
    [content.clone(), of(schema), choice]
        .into_iter()
        .any(|value| value.get("example").is_some() || value.get("examples").is_some())
}

#[test]
fn no_two_types_share_a_name_in_the_document() {
    // utoipa would keep one of them without a word.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut names = BTreeSet::new();
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            for item in text.split("\n#[derive(").skip(1) {
                let Some((derived, rest)) = item.split_once(")]") else { continue };
                if !derived.contains("ToSchema") {
                    continue;
                }
                let end = rest.find(['{', ';']).unwrap_or(rest.len());
                // An example has braces as well.
                let head = rest.split("struct ").next().filter(|head| head.len() < rest.len()).unwrap_or(&rest[..end]);
                let renamed = head.split_once("as = ").map(|(_, rest)| rest.split([',', ')']).next().unwrap());
                let own = rest.split_once("struct ").or_else(|| rest.split_once("enum ")).map(|(_, rest)| rest);
                let own = own.and_then(|rest| rest.split([' ', '<', '{']).next());
                let name = renamed.or(own).unwrap().trim().to_owned();
                assert!(
                    names.insert(name.clone()),
                    "{} has another {name}: give it `#[schema(as = …)]`",
                    path.display()
                );
            }
        }
    }
    assert!(names.contains("Problem") && names.len() > 15, "{names:?}");
}

#[test]
fn no_route_below_the_base_is_made_without_a_description() {
    // `routes!` makes a route and its description from one function; `.route(` makes only the one.
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/rest");
    let mut read = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let own = ["docs.rs", "mod.rs"].iter().any(|name| path.ends_with(name));
            assert!(own || !text.contains(".route("), "{} has a route that is not described", path.display());
            read += 1;
        }
    }
    assert!(read > 5);
}
