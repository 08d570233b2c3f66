//! The vectors of flat JSON: the samples as texts, made from the table by code that shares none with the codec, and texts
//! that no messages are.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};
use syncbridge_codec::json::table::{self, Absent, Entry, Form, MESSAGES, RECORDS, Row};

use super::samples::samples;
use crate::reference::{Shape, hex, row, unhex};

/// `valid/_json.json`.
pub fn texts() -> Vec<Value> {
    let case = |(message, name, fields): (&str, &str, Value)| {
        let of = MESSAGES.iter().find(|row| row.name == message).unwrap();
        let mut text = json!({"type": of.kind});
        put(of, row(message).fields, &fields, &mut text);
        json!({"name": name, "message": message, "frame": hex(&row(message).frame(&fields)), "json": text})
    };
    samples().into_iter().map(case).collect()
}

fn put(of: &Row, fields: &[syncbridge_codec::inspect::Field], values: &Value, out: &mut Value) {
    for entry in of.fields {
        let (mut shape, mut value) = (Shape::Record(leaked(fields)), Some(values));
        for part in entry.field.split('.') {
            shape = match shape {
                Shape::Record(fields) => Shape::of(fields.iter().find(|field| field.name == part).unwrap().shape),
                Shape::Option(inner) => match *inner {
                    Shape::Record(fields) => Shape::of(fields.iter().find(|field| field.name == part).unwrap().shape),
                    _ => panic!("{} has no parts", entry.field),
                },
                _ => panic!("{} has no parts", entry.field),
            };
            value = value.filter(|value| !value.is_null()).map(|value| &value[part]);
        }
        let Some(value) = value else { continue };
        let Some((key, written)) = write(entry, &shape, value) else { continue };
        match key.split_once('.') {
            Some((group, key)) => out[group][key] = written,
            None => out[key] = written,
        }
    }
}

/// The registry is static; the shapes say so.
fn leaked(fields: &[syncbridge_codec::inspect::Field]) -> &'static [syncbridge_codec::inspect::Field] {
    Box::leak(fields.to_vec().into_boxed_slice())
}

/// The key and value, unless it is what it is when it is missing.
fn write(entry: &Entry, shape: &Shape, value: &Value) -> Option<(String, Value)> {
    let missing = match entry.absent {
        Absent::Never => None,
        Absent::Default => Some(match shape {
            Shape::Option(_) => Value::Null,
            shape => shape.least(),
        }),
        Absent::One => Some(json!(1)),
        Absent::True => Some(json!(true)),
    };
    if missing.as_ref() == Some(value) {
        return None;
    }
    let key = entry.key.to_owned();
    let bytes = || unhex(value.as_str().unwrap());
    Some(match entry.form {
        Form::Json => match serde_json::from_slice(&bytes()) {
            Ok(json) => (key, json),
            Err(_) => (key + "Base64", json!(STANDARD.encode(bytes()))),
        },
        Form::Base64 => (key, json!(STANDARD.encode(bytes()))),
        Form::Durable => (
            key,
            match value.as_str().unwrap() {
                "Accepted" => json!(false),
                "Notify" => json!("notify"),
                _ => json!(true),
            },
        ),
        Form::Plain => (key, plain(entry_shape(shape), value)),
    })
}

fn entry_shape(shape: &Shape) -> &Shape {
    match shape {
        Shape::Option(inner) => inner,
        shape => shape,
    }
}

fn plain(shape: &Shape, value: &Value) -> Value {
    match shape {
        _ if value.is_null() => Value::Null,
        Shape::Number(64) => json!(value.as_str().unwrap().parse::<u64>().unwrap()),
        Shape::Option(inner) => plain(inner, value),
        Shape::List(inner) => value.as_array().unwrap().iter().map(|item| plain(inner, item)).collect(),
        Shape::Record(fields) => {
            let names: Vec<_> = fields.iter().map(|field| field.name).collect();
            let of = RECORDS.iter().find(|row| {
                row.fields.len() == names.len() && row.fields.iter().all(|entry| names.contains(&entry.field))
            });
            let mut out = Value::Object(Map::new());
            put(of.unwrap(), fields, value, &mut out);
            out
        }
        Shape::Tag(variants) => {
            let named = |name: &str, of: &[(&str, u32)]| of.iter().any(|(variant, _)| *variant == name);
            let of = if named("Patch", variants) {
                "Method"
            } else if named("Quic", variants) {
                "Transport"
            } else {
                ""
            };
            json!(table::tag(of, value.as_str().unwrap()))
        }
        _ => value.clone(),
    }
}

/// `invalid/json.json`.
pub fn broken() -> Vec<Value> {
    let get = |more: &str| format!(r#"{{"type":"get","sessionId":"todo"{more}}}"#);
    let update = |delta: &str| format!(r#"{{"type":"state_update","sessionId":"todo","delta":{delta}}}"#);
    let case = |name: &str, text: &str, error: &str| json!({"name": name, "text": text, "error": error});
    vec![
        case("nothing", "", "malformed_message"),
        case("no object", "[]", "malformed_message"),
        case("an object that is cut", r#"{"type":"get""#, "invalid_json"),
        case("a trailing comma", &get(","), "invalid_json"),
        case("something behind the object", &(get("") + "x"), "invalid_json"),
        case("a key twice", &get(r#","sessionId":"todo""#), "invalid_json"),
        case("a key twice, once escaped", &get(r#","session\u0049d":"todo""#), "invalid_json"),
        case("a key twice inside of delta", &update(r#"{"version":1,"version":1,"operations":[]}"#), "invalid_json"),
        case("a number with a leading zero", &get(r#","x":01"#), "invalid_json"),
        case("a number without an end", &get(r#","x":1."#), "invalid_json"),
        case("NaN", &get(r#","x":NaN"#), "invalid_json"),
        case("a bare control character", &get(",\"x\":\"\u{1}\""), "invalid_json"),
        case("an escape that JSON does not know", &get(r#","x":"\q""#), "invalid_json"),
        case("half a surrogate pair in a key", &get(r#","\ud800":1"#), "invalid_json"),
        case("a comment", &get("/**/"), "invalid_json"),
        case("single quotes", "{'type':'get'}", "invalid_json"),
        case("193 levels", &get(&format!(r#","x":{}1{}"#, "[".repeat(193), "]".repeat(193))), "invalid_json"),
        case("65 keys", &get(&(0..63).map(|n| format!(r#","k{n}":1"#)).collect::<Vec<_>>().concat()), "invalid_json"),
        case("no type", r#"{"sessionId":"todo"}"#, "malformed_message"),
        case("a type that is no string", r#"{"type":7}"#, "malformed_message"),
        case("a type that no message has", r#"{"type":"shout"}"#, "unknown_message"),
        case("a field that is missing", r#"{"type":"get"}"#, "invalid_field"),
        case("a field that is null", r#"{"type":"get","sessionId":null}"#, "invalid_field"),
        case("a number for a string", r#"{"type":"get","sessionId":7}"#, "invalid_field"),
        case("half a surrogate pair in a string", r#"{"type":"get","sessionId":"\udc00"}"#, "invalid_field"),
        case("a negative number", &get(r#","id":-1"#), "invalid_field"),
        case("a fraction", &get(r#","id":1.0"#), "invalid_field"),
        case("an exponent", &get(r#","id":1e3"#), "invalid_field"),
        case("more than 64 bits", &get(r#","id":18446744073709551616"#), "invalid_field"),
        case("digits with a leading zero in a string", &get(r#","id":"01""#), "invalid_field"),
        case("delta is no object", &update("[]"), "invalid_field"),
        case("operations are missing", &update(r#"{"version":1}"#), "invalid_field"),
        case("a version that is a word", &update(r#"{"version":"one","operations":[]}"#), "invalid_field"),
        case(
            "a durability that there is none of",
            r#"{"type":"state_update","sessionId":"todo","durable":1,"delta":{"version":1,"operations":[]}}"#,
            "invalid_field",
        ),
        case(
            "a policy that there is none of",
            r#"{"type":"state_update","sessionId":"todo","onConflict":"win","delta":{"version":1,"operations":[]}}"#,
            "invalid_field",
        ),
        case("bytes that are no base64", r#"{"type":"create","stateBase64":"!"}"#, "invalid_field"),
    ]
}
