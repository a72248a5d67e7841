//! No body panics: each is answered, or refused with a JSON error.
#![cfg(not(target_arch = "wasm32"))]

mod common;

use std::sync::Arc;

use axum::http::StatusCode;
use common::{Fake, Got, post};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const PATHS: [&str; 4] = [
    "/v1/completions",
    "/v1/chat/completions",
    "/tokenize",
    "/detokenize",
];

/// Fields that some endpoint reads.
const FIELDS: [&str; 24] = [
    "prompt",
    "messages",
    "model",
    "max_tokens",
    "n",
    "best_of",
    "stream",
    "stream_options",
    "logprobs",
    "top_logprobs",
    "echo",
    "stop",
    "seed",
    "temperature",
    "top_p",
    "top_k",
    "logit_bias",
    "response_format",
    "tools",
    "tool_choice",
    "tokens",
    "truncate_prompt_tokens",
    "stop_token_ids",
    "add_special_tokens",
];

fn ask(path: &str, body: Vec<u8>) -> Got {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(post(&Arc::new(Fake::default()), path, body))
}

fn check(got: &Got) -> Result<(), TestCaseError> {
    if got.status == StatusCode::OK {
        prop_assert!(!got.body.contains("\"error\""));
    } else {
        prop_assert!(got.status.is_client_error(), "{}", got.status);
        let error = &got.json()["error"];
        prop_assert!(error["message"].is_string() && error["type"].is_string());
    }
    Ok(())
}

fn any_json() -> impl Strategy<Value = Value> {
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
    leaf.prop_recursive(3, 24, 4, |inner| {
        let keys = prop_oneof!["[a-z]{0,5}", Just("content".into()), Just("role".into())];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(keys, inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn any_body() -> impl Strategy<Value = Value> {
    let fields = prop::collection::btree_map(prop::sample::select(&FIELDS[..]), any_json(), 0..6);
    (any::<bool>(), fields).prop_map(|(sane, fields)| {
        let mut body = Map::new();
        if sane {
            body.insert("prompt".into(), json!("a"));
            body.insert(
                "messages".into(),
                json!([{"role": "user", "content": "hi"}]),
            );
        }
        body.extend(fields.into_iter().map(|(name, value)| (name.into(), value)));
        Value::Object(body)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn fields_of_any_type_are_answered_or_refused(
        body in any_body(),
        path in prop::sample::select(&PATHS[..]),
    ) {
        check(&ask(path, body.to_string().into_bytes()))?;
    }

    #[test]
    fn any_bytes_are_refused(
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            "[\\[\\]{}\",:0-9a-z\\\\. -]{0,60}".prop_map(String::into_bytes),
        ],
        path in prop::sample::select(&PATHS[..]),
    ) {
        let got = ask(path, body);
        prop_assert_eq!(got.status, StatusCode::BAD_REQUEST);
        check(&got)?;
    }

    #[test]
    fn a_body_cut_anywhere_is_refused(cut in 0usize..200, path in prop::sample::select(&PATHS[..2])) {
        let body = json!({
            "prompt": [[1, 2], [3]], "messages": [{"role": "user", "content": [{"type": "text", "text": "é\u{1F980}"}]}],
            "stop": ["a"], "logit_bias": {"5": 1.5}, "stream_options": {"include_usage": true},
        });
        let mut bytes = body.to_string().into_bytes();
        bytes.truncate(cut.min(bytes.len() - 1));
        prop_assert_eq!(ask(path, bytes).status, StatusCode::BAD_REQUEST);
    }
}
