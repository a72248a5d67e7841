//! What cannot be seen in one exchange: what is asked of the engine, cancellation, identifiers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::common::*;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use futures::{FutureExt, StreamExt};
use serde_json::{Value, json};
use tinderbox_protocol::{Phase, Prompt};
use tower::ServiceExt;

#[crate::common::async_test]
async fn a_client_that_goes_away_cancels_every_sequence_of_its_stream() {
    let fake = Arc::new(Fake {
        hang_after: Some(1),
        ..Fake::default()
    });
    let ask = json!({"prompt": "a", "n": 3, "stream": true}).to_string();
    let request = Request::post("/v1/completions")
        .body(Body::from(ask))
        .unwrap();
    let response = app(&fake).oneshot(request).await.unwrap();
    let mut body = response.into_body().into_data_stream();
    assert!(body.next().await.unwrap().is_ok());
    assert_eq!(fake.alive.load(Ordering::SeqCst), 3);
    drop(body);
    assert_eq!(fake.alive.load(Ordering::SeqCst), 0);
}

#[crate::common::async_test]
async fn a_client_that_goes_away_cancels_an_answer_that_is_not_streamed() {
    let fake = Arc::new(Fake {
        hang_after: Some(1),
        ..Fake::default()
    });
    let ask = json!({"prompt": "a", "n": 2}).to_string();
    let request = Request::post("/v1/completions")
        .body(Body::from(ask))
        .unwrap();
    let mut answer = Box::pin(app(&fake).oneshot(request));
    assert!(answer.as_mut().now_or_never().is_none());
    assert_eq!(fake.alive.load(Ordering::SeqCst), 2);
    drop(answer);
    assert_eq!(fake.alive.load(Ordering::SeqCst), 0);
}

#[crate::common::async_test]
async fn every_field_reaches_the_engine() {
    let fake = fake();
    let ask = json!({
        "prompt": "a", "temperature": 0.5, "top_p": 0.25, "top_k": 7, "min_p": 0.125, "typical_p": 0.75,
        "repetition_penalty": 1.5, "presence_penalty": -1, "frequency_penalty": 1, "seed": -1, "n": 2,
        "logit_bias": {"12": -100, "3": 2.5}, "stop": "END", "stop_token_ids": [4], "ignore_eos": true,
        "min_tokens": 3, "include_stop_str_in_output": true, "skip_special_tokens": false,
        "add_special_tokens": false, "max_tokens": 9, "logprobs": 4, "echo": true,
    });
    assert_eq!(complete(&fake, ask).await.status, StatusCode::OK);
    let seen = fake.seen.lock().unwrap();
    let request = &seen[0];
    let text = Prompt::Text {
        text: "a".into(),
        add_special_tokens: Some(false),
    };
    assert_eq!(request.prompt, text);
    assert_eq!(request.max_tokens, Some(9));
    assert_eq!(
        (request.logprobs, request.prompt_logprobs),
        (Some(4), Some(4))
    );
    let s = &request.sampling;
    assert_eq!((s.temperature, s.top_p, s.top_k), (0.5, 0.25, 7));
    assert_eq!(
        (s.min_p, s.typical_p, s.repetition_penalty),
        (0.125, 0.75, 1.5)
    );
    assert_eq!((s.presence_penalty, s.frequency_penalty), (-1.0, 1.0));
    assert_eq!(s.logit_bias, [(3, 2.5), (12, -100.0)].into());
    let stop = &request.stop;
    assert_eq!(
        (&stop.strings[..], &stop.tokens[..]),
        (&["END".to_owned()][..], &[4][..])
    );
    assert!(stop.ignore_eos && stop.include_in_text && stop.show_special_tokens);
    assert_eq!(stop.min_tokens, 3);
    // The second sample has the next seed, around the end of the numbers.
    assert_eq!((s.seed, seen[1].sampling.seed), (Some(u64::MAX), Some(0)));
    assert_ne!(request.id, seen[1].id);
}

#[crate::common::async_test]
async fn the_defaults_are_those_of_openai() {
    let fake = fake();
    complete(&fake, json!({"prompt": "a"})).await;
    chat(&fake, json!({"messages": hi()})).await;
    let seen = fake.seen.lock().unwrap();
    assert_eq!(seen[0].max_tokens, Some(16));
    assert_eq!(seen[1].max_tokens, None);
    for request in seen.iter() {
        assert_eq!(request.sampling, Default::default());
        assert_eq!(request.stop, Default::default());
        assert_eq!(request.logprobs, None);
    }
}

#[crate::common::async_test]
async fn a_calls_arguments_reach_the_template_as_an_object() {
    let fake = fake();
    let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 1}"}});
    let messages = json!([{"role": "assistant", "tool_calls": [call]}]);
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    for choice in ["auto", "none"] {
        let ask = json!({"messages": messages, "tools": tools, "tool_choice": choice});
        assert_eq!(chat(&fake, ask).await.status, StatusCode::OK);
    }
    let seen = fake.seen.lock().unwrap();
    let [Prompt::Chat(auto), Prompt::Chat(none)] = [&seen[0].prompt, &seen[1].prompt] else {
        panic!("no chat")
    };
    assert_eq!(
        auto.messages[0].tool_calls[0].function["arguments"],
        json!({"a": 1})
    );
    assert_eq!((auto.tools.len(), none.tools.len()), (1, 0));
}

#[crate::common::async_test]
async fn a_prompt_is_cut_to_what_the_context_holds() {
    let fake = fake();
    let ask = json!({"prompt": "x".repeat(5000), "truncate_prompt_tokens": -1, "max_tokens": 16});
    let got = complete(&fake, ask).await;
    assert_eq!(got.json()["usage"]["prompt_tokens"], CONTEXT - 16);
}

#[crate::common::async_test]
async fn a_text_has_as_many_tokens_as_tokenize_says() {
    let fake = fake();
    for special in [json!(null), json!(true), json!(false)] {
        let ask = json!({"prompt": "häß", "add_special_tokens": special, "max_tokens": 1});
        let said = post(&fake, "/tokenize", ask.to_string()).await.json();
        let used = complete(&fake, ask).await.json();
        assert_eq!(said["count"], used["usage"]["prompt_tokens"]);
    }
}

#[crate::common::async_test]
async fn any_content_type_and_an_empty_bearer_are_taken() {
    for kind in [
        "application/x-www-form-urlencoded",
        "text/plain",
        "application/json",
    ] {
        let request = Request::post("/v1/completions")
            .header("content-type", kind)
            .header("authorization", "Bearer ")
            .body(Body::from(r#"{"prompt": "a"}"#));
        let got = send(&fake(), request.unwrap()).await;
        assert_eq!(got.status, StatusCode::OK);
        assert_eq!(got.header("content-type"), Some("application/json"));
    }
}

#[crate::common::async_test]
async fn the_request_id_of_the_client_comes_back_where_it_is_sane() {
    let long = "x".repeat(129);
    for (given, expected) in [
        ("trace-7", "trace-7"),
        ("a b", "id0"),
        (&long, "id0"),
        ("", "id0"),
    ] {
        let request = Request::get("/v1/models").header("x-request-id", given);
        let got = send(&fake(), request.body(Body::empty()).unwrap()).await;
        assert_eq!(got.header("x-request-id"), Some(expected));
    }
    for path in ["/nowhere", "/v1/completions", "/health"] {
        assert_eq!(get(&fake(), path).await.header("x-request-id"), Some("id0"));
    }
}

#[crate::common::async_test]
async fn health_is_503_until_requests_are_taken() {
    let table = [
        (Phase::Loading, 503, "loading"),
        (Phase::Ready, 200, "ready"),
        (Phase::Stopping, 503, "stopping"),
        (Phase::Failed("no device".into()), 503, "failed"),
    ];
    for (phase, status, word) in table {
        let fake = Arc::new(Fake {
            phase: Some(phase),
            ..Fake::default()
        });
        let got = get(&fake, "/health").await;
        assert_eq!(got.status, status);
        let body = got.json();
        assert_eq!(
            (&body["phase"], &body["details"]["device"]),
            (&json!(word), &json!("script"))
        );
        assert_eq!(got.header("retry-after").is_some(), status == 503);
        assert_eq!(
            body["status"],
            if status == 200 {
                "healthy"
            } else {
                "unavailable"
            }
        );
    }
}

#[crate::common::async_test]
async fn the_openapi_document_tells_the_methods_of_each_path() {
    let fake = fake();
    let document = get(&fake, "/openapi.json").await.json();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in ["get", "post", "put", "delete"] {
            let request = Request::builder()
                .method(method.to_uppercase().as_str())
                .uri(concrete(path))
                .body(Body::empty())
                .unwrap();
            let got = send(&fake, request).await;
            let served = got.status != StatusCode::METHOD_NOT_ALLOWED;
            assert_eq!(served, methods.get(method).is_some(), "{method} {path}");
        }
    }
}

#[crate::common::async_test]
async fn the_page_of_the_description_loads_nothing_from_elsewhere() {
    for path in ["/docs", "/openai/docs"] {
        let got = get(&fake(), path).await;
        assert_eq!(got.header("content-type"), Some("text/html; charset=utf-8"));
        assert!(got.body.contains("fetch(\"openapi.json\")"));
        for outside in ["http:", "https:", "src=", "@import", ": url("] {
            assert!(!got.body.contains(outside), "{outside}");
        }
    }
}

#[crate::common::async_test]
async fn a_stream_says_what_the_whole_answer_says() {
    let fake = fake();
    for extra in [
        json!({}),
        json!({"stop": "🦀"}),
        json!({"max_tokens": 3}),
        json!({"echo": true, "logprobs": 2}),
    ] {
        let mut ask = json!({"prompt": ["ab", "é"], "n": 2});
        ask.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        let whole = complete(&fake, ask.clone()).await.json();
        ask["stream"] = json!(true);
        let stream = complete(&fake, ask).await.body;
        let mut texts = vec![String::new(); 4];
        let mut offsets = vec![Vec::new(); 4];
        for event in stream
            .split_terminator("\n\n")
            .filter(|e| *e != "data: [DONE]")
        {
            let chunk: Value = serde_json::from_str(&event[6..]).unwrap();
            let choice = &chunk["choices"][0];
            let index = choice["index"].as_u64().unwrap() as usize;
            texts[index] += choice["text"].as_str().unwrap();
            let more = choice["logprobs"]["text_offset"].as_array();
            offsets[index].extend(more.into_iter().flatten().cloned());
        }
        for (index, choice) in whole["choices"].as_array().unwrap().iter().enumerate() {
            assert_eq!(choice["index"], index);
            assert_eq!(choice["text"], texts[index]);
            if let Some(all) = choice["logprobs"]["text_offset"].as_array() {
                assert_eq!(*all, offsets[index]);
            }
        }
    }
}

#[crate::common::async_test]
async fn best_of_keeps_the_likeliest_samples_and_counts_all() {
    // The fake's answers are less likely the larger the seed: -1 is the largest, then comes 0.
    let ask = json!({"prompt": "a", "best_of": 2, "seed": -1, "logprobs": 0, "max_tokens": 1});
    let got = complete(&fake(), ask).await.json();
    assert_eq!(got["choices"].as_array().unwrap().len(), 1);
    let kept = &got["choices"][0]["logprobs"]["token_logprobs"][0];
    assert!(kept.as_f64().unwrap() > -10.0, "{kept}");
    assert_eq!(got["usage"]["completion_tokens"], 2);
}
