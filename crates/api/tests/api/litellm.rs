//! LiteLLM's custom endpoint: what is asked of the engine, what LiteLLM reads, what is refused.

use std::sync::Arc;
use std::time::Duration;

use crate::common::*;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};
use tinderbox_api::{Context, Keys, router};
use tinderbox_protocol::{Error, Prompt, Sampling};

async fn ask(fake: &Arc<Fake>, params: Value) -> Got {
    let body = json!({"model": "tiny", "params": params});
    post(fake, "/litellm", body.to_string()).await
}

/// The body that LiteLLM 1.106.2 sends, with these parameters set.
fn sent(set: Value) -> Value {
    let mut params = json!({
        "prompt": ["Hi there"], "max_tokens": null, "temperature": null, "top_p": null, "top_k": null,
    });
    for (name, value) in set.as_object().unwrap() {
        params[name] = value.clone();
    }
    params
}

#[crate::common::async_test]
async fn what_is_not_said_is_plain_sampling_and_256_tokens() {
    let fake = fake();
    let got = ask(&fake, sent(json!({}))).await.json();
    let effective = json!({"temperature": 1.0, "top_k": 0, "top_p": 1.0});
    assert_eq!(got["data"][0]["params"], effective);
    let seen = fake.seen.lock().unwrap();
    assert_eq!(seen[0].sampling, Sampling::default());
    assert_eq!(
        (&seen[0].model[..], seen[0].max_tokens),
        ("tiny", Some(256))
    );
    let text = Prompt::Text {
        text: "Hi there".into(),
        add_special_tokens: None,
    };
    assert_eq!(seen[0].prompt, text);
}

#[crate::common::async_test]
async fn every_parameter_reaches_the_engine_and_its_value_comes_back() {
    let fake = fake();
    let set = json!({"max_tokens": 3, "temperature": 0, "top_p": 0.25, "top_k": 1});
    let got = ask(&fake, sent(set)).await.json();
    let effective = json!({"temperature": 0.0, "top_k": 1, "top_p": 0.25});
    assert_eq!(got["data"][0]["params"], effective);
    let seen = fake.seen.lock().unwrap();
    let sampling = Sampling {
        temperature: 0.0,
        top_p: 0.25,
        top_k: 1,
        ..Sampling::default()
    };
    assert_eq!(
        (&seen[0].sampling, seen[0].max_tokens),
        (&sampling, Some(3))
    );
}

#[crate::common::async_test]
async fn each_prompt_has_its_answer_in_order_at_the_root_and_behind_the_prefix() {
    let prompts = ["one", "two", "three"];
    let body = json!({"model": "org/large", "params": sent(json!({"prompt": prompts}))});
    for path in ["/", "/litellm", "/litellm/"] {
        let got = post(&fake(), path, body.to_string()).await.json();
        let told = got["data"].as_array().unwrap().iter().map(|item| {
            assert_eq!(item["output"], json!(["Hello 🦀!"]));
            item["prompt"].as_str().unwrap()
        });
        assert!(told.eq(prompts), "{path}");
        assert_eq!(got["message"], "ok");
    }
}

#[crate::common::async_test]
async fn the_prompt_stands_before_the_text_where_the_server_is_set_so() {
    let app = router(Context {
        litellm_echo: true,
        ..context(&fake())
    });
    let body = json!({"params": {"prompt": ["Hi ", "Ho "]}}).to_string();
    let request = Request::post("/litellm").body(Body::from(body)).unwrap();
    let got = send_to(&app, request).await.json();
    assert_eq!(got["data"][0]["output"], json!(["Hi Hello 🦀!"]));
    assert_eq!(got["data"][1]["output"], json!(["Ho Hello 🦀!"]));
    assert_eq!(got["data"][1]["prompt"], "Ho ");
}

#[crate::common::async_test]
async fn a_value_outside_its_range_is_refused_by_name() {
    let table = [
        ("prompt", vec![json!([]), json!([5]), json!(5)]),
        ("max_tokens", vec![json!(0), json!(-1), json!("all")]),
        ("temperature", vec![json!(-1), json!("hot")]),
        ("top_p", vec![json!(-0.1), json!(1.1)]),
        ("top_k", vec![json!(-1), json!(1.5)]),
    ];
    for (field, wrong) in table {
        for value in wrong {
            let got = ask(&fake(), sent(json!({field: value}))).await;
            assert_eq!(got.status, StatusCode::BAD_REQUEST, "{field} {value}");
            let begin = format!("params.{field}");
            let body = got.json();
            assert!(
                body["error"].as_str().unwrap().starts_with(&begin),
                "{body}"
            );
        }
    }
}

/// LiteLLM chooses its exception by the status, but takes any text about a rate limit for one.
#[crate::common::async_test]
async fn each_error_has_its_status_and_only_one_may_be_a_rate_limit() {
    let wait = Duration::from_millis(2500);
    let table = [
        (
            Error::Invalid {
                field: "prompt".into(),
                reason: "has no tokens".into(),
            },
            400,
            "params.prompt: has no tokens",
        ),
        (
            Error::ContextOverflow {
                context: 5,
                prompt: 5,
                completion: 1,
            },
            400,
            "This model's maximum context length is 5 tokens",
        ),
        (
            Error::ModelNotFound {
                model: "a".into(),
                known: "b".into(),
            },
            404,
            "The model `a` does not exist",
        ),
        (
            Error::Overloaded {
                queued: 9,
                retry_after: wait,
            },
            429,
            "The server is at capacity",
        ),
        (
            Error::Unavailable {
                reason: "loading".into(),
                retry_after: wait,
            },
            503,
            "loading",
        ),
        (Error::NoModel, 503, "No model is currently loaded"),
        (
            Error::Internal("device lost".into()),
            500,
            "internal error: device lost",
        ),
    ];
    for (error, status, begin) in table {
        let fake = Arc::new(Fake {
            refuse: Some(error),
            ..Fake::default()
        });
        let got = ask(&fake, sent(json!({}))).await;
        let body = got.json();
        assert_eq!(
            (got.status.as_u16(), &body["status"]),
            (status, &json!(status))
        );
        let message = body["error"].as_str().unwrap();
        assert!(message.starts_with(begin), "{message}");
        let words = message.to_lowercase().replace(['_', '-'], " ");
        assert!(!words.contains("rate limit") && !words.contains("ratelimit"));
        assert!(!message.contains("429"));
        let retry = [429, 503].contains(&status) && got.header("retry-after") == Some("3");
        assert_eq!(retry, begin == "loading" || status == 429);
    }
}

#[crate::common::async_test]
async fn a_failure_before_the_end_is_an_error_and_no_half_answer() {
    let fake = Arc::new(Fake {
        fail_after: Some((2, Error::Internal("device lost".into()))),
        ..Fake::default()
    });
    let got = ask(&fake, sent(json!({"prompt": ["a", "b"]}))).await;
    assert_eq!(got.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(got.json().get("data").is_none());
}

#[crate::common::async_test]
async fn no_key_is_needed_unless_there_are_keys() {
    let body = json!({"params": sent(json!({}))}).to_string();
    let request = || Request::post("/litellm").body(Body::from(body.clone()));
    let open = send(&fake(), request().unwrap()).await;
    assert_eq!(open.status, StatusCode::OK);
    let mut keys = Keys::default();
    keys.add("first");
    let app = router(Context {
        keys: Arc::new(keys),
        ..context(&fake())
    });
    let got = send_to(&app, request().unwrap()).await;
    assert_eq!(got.status, StatusCode::UNAUTHORIZED);
    assert_eq!(got.json()["status"], 401);
}

#[crate::common::async_test]
async fn a_body_of_two_dialects_is_refused_at_the_root() {
    let body = json!({"inputs": "Hi", "params": sent(json!({}))}).to_string();
    let got = post(&fake(), "/", body.clone()).await;
    assert_eq!(got.status, StatusCode::BAD_REQUEST);
    assert_eq!(post(&fake(), "/litellm", body).await.status, StatusCode::OK);
}

/// Any body.
#[cfg(not(target_arch = "wasm32"))]
mod any {
    use super::*;
    use proptest::prelude::*;

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-3i64..30).prop_map(Value::from),
            (0f64..1.0).prop_map(Value::from),
            "[a-z🦀é\\\\\"]{0,6}".prop_map(Value::from),
        ];
        leaf.prop_recursive(2, 12, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z]{0,5}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn check(body: Vec<u8>) -> Result<(), TestCaseError> {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.build().unwrap();
        let got = runtime.block_on(post(&fake(), "/litellm", body));
        let answer = got.json();
        if got.status == StatusCode::OK {
            for item in answer["data"].as_array().unwrap() {
                prop_assert!(item["output"][0].is_string());
            }
            return Ok(());
        }
        prop_assert!(got.status.is_client_error(), "{}", got.status);
        prop_assert!(answer["error"].is_string());
        prop_assert_eq!(&answer["status"], got.status.as_u16());
        prop_assert_eq!(answer.as_object().unwrap().len(), 2);
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn any_body_is_answered_or_refused_in_our_shape(
            model in prop_oneof![Just(json!("tiny")), any_json()],
            prompt in prop_oneof![Just(json!(["Hé"])), any_json()],
            field in prop::sample::select(&["max_tokens", "temperature", "top_p", "top_k", "x"][..]),
            value in any_json(),
            params in prop_oneof![4 => Just(None), 1 => any_json().prop_map(Some)],
        ) {
            let params = params.unwrap_or_else(|| json!({"prompt": prompt, field: value}));
            let body = json!({"model": model, "params": params});
            check(body.to_string().into_bytes())?;
        }

        #[test]
        fn any_bytes_are_refused_in_our_shape(
            body in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..40),
                "[\\[\\]{}\",:0-9a-z\\\\. -]{0,60}".prop_map(String::into_bytes),
            ],
        ) {
            check(body)?;
        }
    }
}
