//! Requests that are refused and answers that fail: each has its status, its shape and its bound.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::common::*;
use axum::http::StatusCode;
use serde_json::{Value, json};
use tinderbox_api::break_off;
use tinderbox_protocol::Error;

#[crate::common::async_test]
async fn a_failure_in_mid_stream_is_an_error_event_and_cancels_the_rest() {
    let fake = Arc::new(Fake {
        fail_after: Some((1, Error::Internal("device lost".into()))),
        ..Fake::default()
    });
    let got = chat(&fake, json!({"messages": hi(), "stream": true, "n": 2})).await;
    assert_eq!(got.status, StatusCode::OK);
    let events: Vec<&str> = got.body.split_terminator("\n\n").collect();
    let [.., error, done] = &events[..] else {
        panic!("{events:?}")
    };
    assert_eq!(*done, "data: [DONE]");
    let error: Value = serde_json::from_str(error.strip_prefix("data: ").unwrap()).unwrap();
    assert_eq!(error["error"]["type"], "server_error");
    assert_eq!(error["error"]["message"], "internal error: device lost");
    assert_eq!(got.body.matches("\"error\"").count(), 1);
    assert_eq!(fake.alive.load(Ordering::SeqCst), 0);
}

#[crate::common::async_test]
async fn who_passes_a_stream_on_ends_it_as_the_dialect_does() {
    let error = Error::Internal("device lost".into());
    let prompt = json!({"prompt": "a", "stream": true});
    let messages = json!({"messages": hi(), "stream": true});
    let inputs = json!({"inputs": "a", "stream": true});
    for (path, body) in [
        ("/v1/completions", &prompt),
        ("/openai/v1/chat/completions", &messages),
        ("/lorax/v1/chat/completions", &messages),
        ("/generate", &prompt),
        ("/locallab/generate", &prompt),
        ("/chat", &messages),
        ("/locallab/chat", &messages),
        ("/", &inputs),
        ("/lorax", &inputs),
        ("/generate_stream", &inputs),
        ("/x/deployments/v2/llms/tiny/generate_stream", &inputs),
        ("/v1/engines/tiny/completions", &prompt),
        ("/textsynth/v1/engines/tiny/chat", &messages),
    ] {
        let fake = Arc::new(Fake {
            fail_after: Some((1, error.clone())),
            ..Fake::default()
        });
        let got = post(&fake, path, body.to_string()).await;
        assert_eq!(got.status, StatusCode::OK, "{path}: {}", got.body);
        let end = String::from_utf8(break_off(path, error.clone())).unwrap();
        let before = got.body.strip_suffix(&end);
        let before = before.unwrap_or_else(|| panic!("{path}: {end:?} in {:?}", got.body));
        assert!(before.ends_with("\n\n") && end.ends_with("\n\n"), "{path}");
    }
}

#[crate::common::async_test]
async fn an_answer_that_breaks_off_is_an_error_and_never_looks_complete() {
    let fake = Arc::new(Fake {
        cut_after: Some(2),
        ..Fake::default()
    });
    let whole = complete(&fake, json!({"prompt": "a"})).await;
    assert_eq!(whole.status, StatusCode::INTERNAL_SERVER_ERROR);
    let streamed = complete(&fake, json!({"prompt": "a", "stream": true})).await;
    assert!(streamed.body.contains("broke off"), "{}", streamed.body);
}

#[crate::common::async_test]
async fn each_error_has_its_status_type_code_and_retry_time() {
    let wait = Duration::from_millis(2500);
    let invalid = Error::Invalid {
        field: "top_p".into(),
        reason: "is odd".into(),
    };
    let missing = Error::ModelNotFound {
        model: "m".into(),
        known: "k".into(),
    };
    let long = Error::ContextOverflow {
        context: 5,
        prompt: 5,
        completion: 1,
    };
    let full = Error::Overloaded {
        queued: 9,
        retry_after: wait,
    };
    let loading = Error::Unavailable {
        reason: "loading".into(),
        retry_after: Duration::ZERO,
    };
    let (bad, none) = ("invalid_request_error", None);
    let table = [
        (invalid, 400, bad, None, Some("top_p"), none),
        (
            missing,
            404,
            "not_found_error",
            Some("model_not_found"),
            Some("model"),
            none,
        ),
        (long, 400, bad, Some("context_length_exceeded"), None, none),
        (full, 429, "rate_limit_error", None, None, Some("3")),
        (
            loading,
            503,
            "service_unavailable_error",
            None,
            None,
            Some("1"),
        ),
        (Error::Template("no".into()), 400, bad, None, None, none),
        (
            Error::Internal("no".into()),
            500,
            "server_error",
            None,
            None,
            none,
        ),
    ];
    for (error, status, kind, code, param, retry) in table {
        let message = error.to_string();
        let fake = Arc::new(Fake {
            refuse: Some(error),
            ..Fake::default()
        });
        for stream in [false, true] {
            let got = complete(&fake, json!({"prompt": "a", "stream": stream})).await;
            assert_eq!(got.status, status, "{message}");
            assert_eq!(got.header("content-type"), Some("application/json"));
            assert_eq!(got.header("retry-after"), retry, "{message}");
            let expected =
                json!({"error": {"message": message, "type": kind, "param": param, "code": code}});
            assert_eq!(got.json(), expected);
        }
    }
}

#[crate::common::async_test]
async fn a_number_outside_its_range_is_refused_by_name() {
    let table = [
        (
            "temperature",
            vec![json!(-0.1), json!(2.1), json!(1e300)],
            vec![json!(0), json!(2)],
        ),
        (
            "top_p",
            vec![json!(0), json!(1.01), json!(1e-60)],
            vec![json!(1), json!(0.01)],
        ),
        (
            "min_p",
            vec![json!(-0.1), json!(1.1)],
            vec![json!(0), json!(1)],
        ),
        ("typical_p", vec![json!(0), json!(1.1)], vec![json!(1)]),
        (
            "repetition_penalty",
            vec![json!(0), json!(-1), json!(1e300)],
            vec![json!(1.3)],
        ),
        (
            "presence_penalty",
            vec![json!(2.1), json!(-2.1)],
            vec![json!(2), json!(-2)],
        ),
        (
            "frequency_penalty",
            vec![json!(2.1), json!(-2.1)],
            vec![json!(2), json!(-2)],
        ),
        (
            "top_k",
            vec![json!(-2), json!(1.5)],
            vec![json!(-1), json!(0), json!(i64::MAX)],
        ),
        ("n", vec![json!(0), json!(129), json!(-1)], vec![json!(128)]),
        ("best_of", vec![json!(0), json!(129)], vec![json!(2)]),
        (
            "logprobs",
            vec![json!(21), json!(-1), json!(true)],
            vec![json!(20), json!(0)],
        ),
        ("max_tokens", vec![json!(-1), json!("5")], vec![json!(0)]),
        ("min_tokens", vec![json!(17)], vec![json!(16)]),
        (
            "truncate_prompt_tokens",
            vec![json!(0), json!(-2)],
            vec![json!(-1), json!(5)],
        ),
        (
            "seed",
            vec![json!(1.5), json!("x")],
            vec![json!(i64::MIN), json!(i64::MAX)],
        ),
        (
            "stop",
            vec![json!(5)],
            vec![json!("x"), json!([]), json!(["a", "b"])],
        ),
        ("suffix", vec![json!("end")], vec![json!("")]),
    ];
    let fake = fake();
    for (field, wrong, right) in table {
        for value in wrong {
            let got = complete(&fake, json!({"prompt": "a", field: value})).await;
            assert_eq!(got.status, StatusCode::BAD_REQUEST, "{field} {value}");
            assert_eq!(got.json()["error"]["param"], field, "{}", got.body);
        }
        for value in right.into_iter().chain([Value::Null]) {
            let got = complete(&fake, json!({"prompt": "a", field: value})).await;
            assert_eq!(got.status, StatusCode::OK, "{field} {value}: {}", got.body);
        }
    }
    for (bias, param) in [
        (json!({"5": 100.5}), "logit_bias.5"),
        (json!({"hello": 1}), "logit_bias.hello"),
        (json!({"-1": 1}), "logit_bias.-1"),
    ] {
        let got = complete(&fake, json!({"prompt": "a", "logit_bias": bias})).await;
        assert_eq!(got.json()["error"]["param"], param, "{}", got.body);
    }
}

#[crate::common::async_test]
async fn ten_megabytes_of_prompt_are_refused_clearly_whatever_their_form() {
    let fake = fake();
    let text = format!(r#"{{"prompt": "{}"}}"#, "word ".repeat(2 << 20));
    let ids = format!(r#"{{"prompt": [{}1]}}"#, "1,".repeat(5 << 20));
    let nested = format!(r#"{{"prompt": {}"#, "[".repeat(10 << 20));
    let many = format!(
        r#"{{"prompt": [{}""], "n": 128}}"#,
        r#""","#.repeat(3 << 20)
    );
    let name = format!(r#"{{"prompt": "a", "model": "{}"}}"#, "m".repeat(10 << 20));
    let ignored = format!(
        r#"{{"prompt": 1, "x": {}1{}}}"#,
        "[".repeat(5 << 20),
        "]".repeat(5 << 20)
    );
    for body in [text, ids, nested, many, name, ignored] {
        let start = body[..40].to_owned();
        let got = post(&fake, "/v1/completions", body).await;
        assert!(got.status.is_client_error(), "{start}: {}", got.status);
        assert!(got.body.len() < 2500, "{start}");
        assert!(got.json()["error"]["message"].is_string());
    }
    assert_eq!(fake.alive.load(Ordering::SeqCst), 0);
}

#[crate::common::async_test]
async fn a_body_above_the_limit_is_413_in_every_dialect() {
    let body = " ".repeat(tinderbox_api::DEFAULT_BODY_LIMIT + 1);
    for (path, words) in [
        ("/v1/completions", "/error/message"),
        ("/v1/chat/completions", "/error/message"),
        ("/lorax/v1/completions", "/error/message"),
        ("/tokenize", "/error"),
        ("/generate_stream", "/error"),
        ("/lorax", "/error"),
        ("/v1/engines/tiny/completions", "/error"),
        ("/v1/engines/tiny/logprob", "/error"),
        ("/generate", "/detail"),
        ("/chat", "/detail"),
        ("/models/load", "/detail"),
        ("/litellm", "/error"),
        ("/", "/error"),
    ] {
        let got = post(&fake(), path, body.clone()).await;
        assert_eq!(got.status, StatusCode::PAYLOAD_TOO_LARGE, "{path}");
        let body = got.json();
        let words = body.pointer(words).and_then(Value::as_str);
        let told = words.is_some_and(|words| words.contains("16777216"));
        assert!(told, "{path}: {body}");
    }
}
