//! No request panics, hangs or is our fault, whatever its path, method and body: each is answered
//! as the API's description says, or refused in the shape of its dialect. Paths and fields come
//! from the description, so that a new dialect is covered by being described.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crate::common::{Fake, Got, concrete, send};
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Deserializer, Map, Value, json};

const DIALECTS: [&str; 5] = ["openai", "lorax", "textsynth", "locallab", "litellm"];

/// What the server says of itself.
struct Api {
    document: Value,
    operations: Vec<Operation>,
}

/// One method of one path.
#[derive(Clone, Debug)]
struct Operation {
    method: Method,
    path: String,
    /// Where it stands in the document.
    pointer: String,
    /// The dialects it may speak; none for the server's own.
    dialects: Vec<String>,
    /// The fields of its body, those of what is in it among them, and their types.
    fields: Vec<(String, String)>,
    /// It cannot do without a body.
    needs_body: bool,
}

static API: LazyLock<Api> = LazyLock::new(|| {
    let document = ask(Method::GET, "/openapi.json", Vec::new()).json();
    let mut operations = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let tags = operation["tags"].as_array().unwrap();
            let tags = tags.iter().map(|tag| tag.as_str().unwrap().to_owned());
            let mut fields = BTreeMap::new();
            fields_of(&document, &operation["requestBody"], &mut fields);
            operations.push(Operation {
                method: method.to_uppercase().parse().unwrap(),
                path: concrete(path),
                pointer: format!("/paths/{}/{method}", path.replace('/', "~1")),
                dialects: tags.filter(|t| DIALECTS.contains(&t.as_str())).collect(),
                fields: fields.into_iter().collect(),
                needs_body: operation["requestBody"]["required"] == true,
            });
        }
    }
    assert!(operations.len() > 10);
    assert!(operations.iter().any(|one| one.fields.len() > 20));
    Api {
        document,
        operations,
    }
});

/// The fields in a schema and in what it refers to, with their types where those are simple.
fn fields_of(document: &Value, schema: &Value, found: &mut BTreeMap<String, String>) {
    match schema {
        Value::Object(map) => {
            if let Some(Value::String(to)) = map.get("$ref") {
                let to = document.pointer(to.trim_start_matches('#')).unwrap();
                fields_of(document, to, found);
            }
            let properties = map.get("properties").and_then(Value::as_object);
            for (name, property) in properties.into_iter().flatten() {
                // Of `"integer"` or `["integer", "null"]`.
                let kind = property["type"].as_str().or(property["type"][0].as_str());
                found.insert(name.clone(), kind.unwrap_or_default().into());
            }
            map.values()
                .for_each(|value| fields_of(document, value, found));
        }
        Value::Array(list) => list
            .iter()
            .for_each(|value| fields_of(document, value, found)),
        _ => {}
    }
}

fn ask(method: Method, path: &str, body: Vec<u8>) -> Got {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let request = Request::builder().method(method).uri(path);
    let request = request.body(Body::from(body)).unwrap();
    let fake = Arc::new(Fake::default());
    runtime.unwrap().block_on(async {
        let answer = send(&fake, request);
        let answer = tokio::time::timeout(Duration::from_secs(20), answer).await;
        answer.unwrap_or_else(|_| panic!("{path} hangs"))
    })
}

/// Whether an error has a dialect's shape.
fn speaks(dialect: &str, status: StatusCode, error: &Value) -> bool {
    let text = |name: &str| error[name].is_string();
    match dialect {
        "openai" => error["error"]["message"].is_string() && error["error"]["type"].is_string(),
        "lorax" => text("error") && text("error_type"),
        "textsynth" | "litellm" => text("error") && error["status"] == status.as_u16(),
        "locallab" => !error["detail"].is_null(),
        _ => text("error") && text("error_type") && text("detail") && error["status"].is_u64(),
    }
}

/// The answer is what the operation says, or a refusal in one of its dialects.
fn check(operation: &Operation, forced: Option<&str>, got: &Got) -> Result<(), TestCaseError> {
    let Operation {
        pointer, dialects, ..
    } = operation;
    let kind = got.header("content-type").unwrap_or_default();
    if got.status.is_success() {
        let responses = &API.document.pointer(pointer).unwrap()["responses"];
        let said = match &responses[got.status.as_str()] {
            Value::Null => &responses["default"],
            said => said,
        };
        let essence = kind.split(';').next().unwrap();
        let known = said["content"].get(essence).is_some();
        prop_assert!(known || got.body.is_empty(), "{} {kind:?}", operation.path);
        return check_body(kind, &got.body);
    }
    prop_assert!(got.status.is_client_error(), "{}: {}", got.status, got.body);
    prop_assert_eq!(kind, "application/json");
    let forced: Vec<&str> = forced.into_iter().collect();
    let may = match forced.is_empty() {
        true => dialects.iter().map(String::as_str).collect(),
        false => forced,
    };
    let error = got.json();
    // Where the body decides, one that decides nothing is refused in everybody's shape.
    let union = may.len() != 1 && speaks("", got.status, &error);
    let spoken = union || may.iter().any(|one| speaks(one, got.status, &error));
    prop_assert!(spoken, "{may:?} {}", got.body);
    Ok(())
}

/// The body is whole: JSON, several JSON texts, or events of them.
fn check_body(kind: &str, body: &str) -> Result<(), TestCaseError> {
    if kind.starts_with("application/json") {
        for value in Deserializer::from_str(body).into_iter::<Value>() {
            prop_assert!(value.is_ok(), "{body}");
        }
    } else if kind.starts_with("text/event-stream") {
        prop_assert!(body.ends_with("\n\n"), "{body}");
        // LocalLab's events are bare text.
        let json = body.starts_with("data: {");
        let data = body.lines().filter_map(|line| line.strip_prefix("data:"));
        for data in data.filter(|data| json && data.trim() != "[DONE]") {
            prop_assert!(serde_json::from_str::<Value>(data).is_ok(), "{data}");
        }
    }
    Ok(())
}

fn any_json() -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-3i64..300).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z🦀\\\\\"]{0,6}".prop_map(Value::from),
        Just(json!({"role": "user", "content": "hi"})),
        Just(json!({"type": "text", "text": "hi"})),
        Just(json!("auto")),
    ];
    let any = leaf.prop_recursive(3, 24, 4, |inner| {
        let keys = prop_oneof!["[a-z]{0,5}", Just("content".into()), Just("role".into())];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(keys, inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    any.boxed()
}

/// A value that a field of this type may well take.
fn plausible(kind: &str) -> BoxedStrategy<Value> {
    match kind {
        "boolean" => any::<bool>().prop_map(Value::from).boxed(),
        "integer" => (0i64..6).prop_map(Value::from).boxed(),
        "number" => select(&[0.0, 0.5, 1.0][..]).prop_map(Value::from).boxed(),
        "string" => select(&["a", "tiny", "é🦀", ""][..])
            .prop_map(Value::from)
            .boxed(),
        _ => any_json(),
    }
}

/// A body of the operation's fields; most of the time with what most operations cannot do without.
fn any_body(operation: &Operation) -> impl Strategy<Value = Value> + use<> {
    let some = 0..=operation.fields.len().min(4);
    let fields = prop::sample::subsequence(operation.fields.clone(), some);
    let fields = fields.prop_flat_map(|fields| {
        let value = |(name, kind): (String, String)| {
            let value = prop_oneof![4 => plausible(&kind), 1 => any_json()];
            (Just(name), value)
        };
        fields.into_iter().map(value).collect::<Vec<_>>()
    });
    (0..4, any::<bool>(), fields).prop_map(|(sane, stream, fields)| {
        let mut body = Map::new();
        body.extend(fields);
        if sane > 0 {
            let messages = json!([{"role": "user", "content": "hi"}]);
            let needed = [
                ("prompt", json!("a")),
                ("inputs", json!("a")),
                ("tokens", json!([1])),
            ];
            let rest = [("messages", messages), ("stream", json!(stream))];
            let needed = needed.into_iter().chain(rest);
            body.extend(needed.map(|(name, value)| (name.to_owned(), value)));
        }
        Value::Object(body)
    })
}

/// What is no JSON but for luck.
fn any_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        "[\\[\\]{}\",:0-9a-z\\\\. -]{0,60}".prop_map(String::into_bytes),
    ]
}

/// A request of an operation: the operation, the dialect whose prefix stands before its path, a body.
fn any_request() -> impl Strategy<Value = (Operation, Option<String>, Vec<u8>)> {
    let bytes = |json: Value| json.to_string().into_bytes();
    select(&API.operations[..]).prop_flat_map(move |operation| {
        let prefixes = operation.dialects.iter().cloned().map(Some);
        let forced = select(prefixes.chain([None]).collect::<Vec<_>>());
        let body = prop_oneof![
            6 => any_body(&operation).prop_map(bytes),
            1 => any_json().prop_map(bytes),
            1 => any_bytes(),
            // Cut off before its end.
            1 => (any_body(&operation), any::<prop::sample::Index>()).prop_map(move |(body, at)| {
                let mut bytes = bytes(body);
                bytes.truncate(at.index(bytes.len()));
                bytes
            }),
        ];
        (Just(operation), forced, body)
    })
}

fn full_path(operation: &Operation, forced: Option<&str>) -> String {
    let prefix = forced.map_or(String::new(), |dialect| format!("/{dialect}"));
    format!("{prefix}{}", operation.path)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn any_body_is_answered_or_refused_as_the_description_says(
        (operation, forced, body) in any_request(),
    ) {
        let object = serde_json::from_slice::<Value>(&body).is_ok_and(|json| json.is_object());
        let forced = forced.as_deref();
        let got = ask(operation.method.clone(), &full_path(&operation, forced), body);
        check(&operation, forced, &got)?;
        let refused = got.status.is_client_error();
        prop_assert!(object || refused || !operation.needs_body, "{} {}", operation.path, got.body);
    }

    #[test]
    fn any_method_on_any_path_is_answered_or_refused_in_json(
        method in select(&["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"][..]),
        path in prop_oneof![
            select(&API.operations[..]).prop_map(|operation| operation.path),
            "/[a-z0-9%._~-]{0,12}",
            (select(&DIALECTS[..]), "(/[a-z0-9%._~-]{0,8}){0,3}")
                .prop_map(|(dialect, rest)| format!("/{dialect}{rest}")),
            "/v1/models/[a-z0-9%/._-]{0,20}",
        ],
        body in any_bytes(),
    ) {
        let known = API.operations.iter().any(|one| one.path == path && one.method.as_str() == method);
        let got = ask(method.parse().unwrap(), &path, body);
        let status = got.status;
        prop_assert!(status.is_success() || status.is_client_error(), "{status}: {}", got.body);
        if method == "HEAD" {
            prop_assert!(got.body.is_empty());
        } else if !known && status.is_client_error() {
            let error = got.json();
            let any = DIALECTS.iter().chain(&[""]).any(|one| speaks(one, status, &error));
            prop_assert!(any, "{}", got.body);
        }
    }
}
