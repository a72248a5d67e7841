//! What an answer must look like: each dialect's fields reach the engine, and its refusal comes back
//! with the name of the field.

use std::sync::Arc;

use crate::common::*;
use serde_json::{Value, json};
use tinderbox_protocol::{Constraint, Error};

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";
const TEXTSYNTH: &str = "/v1/engines/tiny/completions";
const LORAX: &str = "/lorax/generate";

/// A body of a path, with the fields in question.
fn body(path: &str, fields: &Value) -> Value {
    let mut body = match path {
        CHAT | "/lorax/v1/chat/completions" => json!({"messages": hi()}),
        TEXTSYNTH | COMPLETIONS => json!({"prompt": "Hi"}),
        "/v1/engines/tiny/chat" => json!({"messages": ["Hi"]}),
        _ => return json!({"inputs": "Hi", "parameters": fields}),
    };
    for (field, value) in fields.as_object().unwrap() {
        body[field] = value.clone();
    }
    body
}

fn person() -> Value {
    json!({"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]})
}

#[crate::common::async_test]
async fn each_form_of_a_constraint_reaches_the_engine() {
    let schema = || Some(Constraint::JsonSchema(person()));
    let object = || Some(Constraint::JsonObject);
    let grammar = "root ::= \"yes\" | \"no\"";
    let gbnf = || Some(Constraint::Gbnf(grammar.into()));
    let format = |format: Value| json!({"response_format": format});
    let named = json!({"type": "json_schema", "json_schema":
        {"name": "person", "strict": true, "description": "One.", "schema": person()}});
    let table = [
        (CHAT, format(json!({"type": "text"})), None),
        (CHAT, format(json!(null)), None),
        (CHAT, format(json!({"type": "json_object"})), object()),
        (CHAT, format(named.clone()), schema()),
        (COMPLETIONS, format(named.clone()), schema()),
        ("/lorax/v1/chat/completions", format(named), schema()),
        // OpenAI's schema is optional.
        (
            CHAT,
            format(json!({"type": "json_schema", "json_schema": {"name": "any"}})),
            object(),
        ),
        // LoRAX's own forms, on its paths and beside OpenAI's.
        (
            CHAT,
            format(json!({"type": "json_object", "schema": person()})),
            schema(),
        ),
        (LORAX, format(json!({"type": "text"})), None),
        (LORAX, format(json!({"type": "json_object"})), object()),
        (LORAX, format(json!({"type": "json_schema"})), object()),
        (
            LORAX,
            format(json!({"type": "json_object", "schema": person()})),
            schema(),
        ),
        (
            "/generate_stream",
            format(json!({"type": "json_schema", "schema": person()})),
            schema(),
        ),
        (TEXTSYNTH, json!({"grammar": grammar}), gbnf()),
        ("/v1/engines/tiny/chat", json!({"grammar": grammar}), gbnf()),
        (TEXTSYNTH, json!({"schema": person()}), schema()),
        (
            TEXTSYNTH,
            json!({"schema": person(), "grammar": grammar}),
            schema(),
        ),
    ];
    for (path, fields, constraint) in table {
        let fake = fake();
        let got = post(&fake, path, body(path, &fields).to_string()).await;
        assert_eq!(got.status, 200, "{path} {fields}: {}", got.body);
        let seen = fake.seen.lock().unwrap();
        assert_eq!(seen[0].constraint, constraint, "{path} {fields}");
    }
}

#[crate::common::async_test]
async fn what_the_engine_cannot_follow_is_refused_with_the_place_in_the_field() {
    let at = |place: &str| Error::Constraint {
        place: place.into(),
        reason: "is odd".into(),
    };
    let named = json!({"response_format": {"type": "json_schema", "json_schema":
        {"name": "person", "schema": person()}}});
    let native = json!({"response_format": {"type": "json_object", "schema": person()}});
    let grammar = json!({"grammar": "root ::="});
    let inner = "/properties/age";
    let openai = "response_format.json_schema.schema";
    let table = [
        (CHAT, &named, inner, 400, format!("{openai}{inner}: is odd")),
        (COMPLETIONS, &named, "", 400, format!("{openai}: is odd")),
        (
            LORAX,
            &native,
            inner,
            422,
            format!("Input validation error: parameters.response_format.schema{inner}: is odd"),
        ),
        (
            TEXTSYNTH,
            &grammar,
            "line 1",
            400,
            "grammar: line 1: is odd".into(),
        ),
    ];
    for (path, fields, place, status, message) in table {
        for stream in [false, true] {
            let fake = Arc::new(Fake {
                refuse: Some(at(place)),
                ..Fake::default()
            });
            let mut body = body(path, fields);
            body["stream"] = stream.into();
            let got = post(&fake, path, body.to_string()).await;
            assert_eq!(got.status, status, "{path}: {}", got.body);
            let error = &got.json()["error"];
            match path {
                CHAT | COMPLETIONS => {
                    assert_eq!(error["message"], message);
                    assert_eq!(error["param"], message.strip_suffix(": is odd").unwrap());
                }
                _ => assert_eq!(*error, message),
            }
        }
    }
}

#[crate::common::async_test]
async fn a_malformed_format_is_refused_with_the_place() {
    let format = |format: Value| json!({"response_format": format});
    let table = [
        (CHAT, format(json!("json")), "response_format"),
        (CHAT, format(json!({})), "response_format"),
        (CHAT, format(json!({"type": "xml"})), "response_format.type"),
        (
            CHAT,
            format(json!({"type": "json_schema"})),
            "response_format.json_schema",
        ),
        (
            COMPLETIONS,
            format(json!({"type": "json_schema", "json_schema": {"schema": "int"}})),
            "response_format.json_schema.schema",
        ),
        (
            LORAX,
            format(json!({"type": "json_object", "schema": [1]})),
            "parameters.response_format.schema",
        ),
        (
            LORAX,
            format(json!({"type": "regex"})),
            "parameters.response_format.type",
        ),
        (TEXTSYNTH, json!({"schema": "x"}), "schema"),
        (TEXTSYNTH, json!({"grammar": 5}), "grammar"),
    ];
    let fake = fake();
    for (path, fields, field) in table {
        let got = post(&fake, path, body(path, &fields).to_string()).await;
        let status = if path == LORAX { 422 } else { 400 };
        assert_eq!(got.status, status, "{path} {fields}: {}", got.body);
        assert!(got.body.contains(&format!("{field}: ")), "{}", got.body);
    }
    assert!(fake.seen.lock().unwrap().is_empty());
}
