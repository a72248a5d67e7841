//! LoRAX's native API: what is asked of the engine, what its clients read, what is refused.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::*;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use futures::StreamExt;
use serde_json::{Value, json};
use tinderbox_api::{Context, Keys, Machine, Place, router};
use tinderbox_protocol::{
    AdapterSource, Error, MajoritySign, Merge, MergeStrategy, Phase, Prompt, Sampling,
};
use tower::ServiceExt;

async fn generate(fake: &Arc<Fake>, parameters: Value) -> Got {
    let body = json!({"inputs": "Hi", "parameters": parameters});
    post(fake, "/lorax/generate", body.to_string()).await
}

async fn stream(fake: &Arc<Fake>, parameters: Value) -> Got {
    let body = json!({"inputs": "Hi", "parameters": parameters});
    post(fake, "/lorax/generate_stream", body.to_string()).await
}

/// The events of a stream, as lorax-client reads them: every `data:` is JSON.
fn events(body: &str) -> Vec<Value> {
    let frames = body.strip_suffix("\n\n").expect("the last frame is whole");
    let data = frames.split("\n\n").map(|frame| {
        let data = frame.strip_prefix("data: ").expect(frame);
        assert!(!data.contains('\n'), "{frame}");
        serde_json::from_str(data).expect(frame)
    });
    data.collect()
}

#[crate::common::async_test]
async fn what_is_not_said_is_greedy_and_fills_the_context() {
    let fake = fake();
    generate(&fake, json!(null)).await;
    let seen = fake.seen.lock().unwrap();
    let request = &seen[0];
    let greedy = Sampling {
        temperature: 0.0,
        ..Sampling::default()
    };
    assert_eq!(request.sampling, greedy);
    assert_eq!((request.max_tokens, request.logprobs), (None, None));
    assert!(request.stop.include_in_text && !request.stop.ignore_eos);
    let text = Prompt::Text {
        text: "Hi".into(),
        add_special_tokens: None,
    };
    assert_eq!(request.prompt, text);
}

#[crate::common::async_test]
async fn every_field_reaches_the_engine() {
    let fake = fake();
    let parameters = json!({
        "temperature": 0.5, "top_p": 0.25, "top_k": 7, "typical_p": 0.75, "repetition_penalty": 1.5,
        "presence_penalty": -1, "frequency_penalty": 1, "seed": u64::MAX, "max_new_tokens": 9,
        "stop": ["a", "END"], "ignore_eos_token": true, "details": true, "return_k_alternatives": 4,
    });
    assert_eq!(generate(&fake, parameters).await.status, StatusCode::OK);
    let seen = fake.seen.lock().unwrap();
    let sampling = Sampling {
        temperature: 0.5,
        top_p: 0.25,
        top_k: 7,
        typical_p: 0.75,
        repetition_penalty: 1.5,
        presence_penalty: -1.0,
        frequency_penalty: 1.0,
        seed: Some(u64::MAX),
        ..Sampling::default()
    };
    assert_eq!(seen[0].sampling, sampling);
    assert_eq!((seen[0].max_tokens, seen[0].logprobs), (Some(9), Some(4)));
    assert_eq!(seen[0].stop.strings, ["a", "END"]);
    assert!(seen[0].stop.ignore_eos);
}

#[crate::common::async_test]
async fn sampling_is_on_where_something_asks_for_it_and_only_then_is_there_a_seed() {
    let table = [
        (json!({}), 0.0),
        (json!({"temperature": 1}), 0.0),
        (json!({"temperature": 0}), 0.0),
        (
            json!({"temperature": 0, "do_sample": true, "top_k": 5}),
            0.0,
        ),
        (json!({"top_p": 1, "do_sample": false, "seed": 5}), 0.0),
        (json!({"repetition_penalty": 1.3}), 0.0),
        (json!({"do_sample": true}), 1.0),
        (json!({"temperature": 0.5}), 0.5),
        (json!({"top_k": 5}), 1.0),
        (json!({"top_p": 0.5}), 1.0),
        (json!({"typical_p": 0.5}), 1.0),
    ];
    for (mut parameters, temperature) in table {
        parameters["details"] = json!(true);
        let fake = fake();
        let whole = generate(&fake, parameters.clone()).await.json();
        let streamed = events(&stream(&fake, parameters.clone()).await.body);
        let asked = fake.seen.lock().unwrap()[0].sampling.temperature;
        assert_eq!(asked, temperature, "{parameters}");
        let details = [&whole["details"], &streamed.last().unwrap()["details"]];
        for details in details {
            assert_eq!(
                details["seed"].is_null(),
                temperature == 0.0,
                "{parameters}"
            );
        }
    }
}

#[crate::common::async_test]
async fn a_value_outside_its_range_is_refused_by_name() {
    let table = [
        (
            "temperature",
            vec![json!(-1), json!(1e300), json!("hot")],
            json!(7),
        ),
        ("top_p", vec![json!(0), json!(1.1)], json!(1)),
        (
            "top_k",
            vec![json!(0), json!(-1), json!(1.5)],
            json!(i64::MAX),
        ),
        ("typical_p", vec![json!(0), json!(1)], json!(0.9)),
        ("repetition_penalty", vec![json!(0), json!(-1)], json!(1.3)),
        (
            "frequency_penalty",
            vec![json!(2.5), json!(-2.5)],
            json!(-2),
        ),
        ("presence_penalty", vec![json!(2.5), json!(-2.5)], json!(2)),
        ("max_new_tokens", vec![json!(0), json!(-1)], json!(1)),
        (
            "truncate",
            vec![json!(0), json!(CONTEXT)],
            json!(CONTEXT - 1),
        ),
        ("best_of", vec![json!(0), json!(129), json!(2)], json!(1)),
        (
            "return_k_alternatives",
            vec![json!(0), json!(21)],
            json!(20),
        ),
        ("seed", vec![json!(-1), json!(1.5)], json!(u64::MAX)),
        ("stop", vec![json!(5), json!(vec!["x"; 129])], json!([])),
        ("watermark", vec![json!(true)], json!(false)),
    ];
    let fake = fake();
    for (field, wrong, right) in table {
        for value in wrong {
            let got = generate(&fake, json!({field: value})).await;
            assert_eq!(
                got.status,
                StatusCode::UNPROCESSABLE_ENTITY,
                "{field} {value}"
            );
            let body = got.json();
            assert_eq!(body["error_type"], "validation");
            let begin = format!("Input validation error: parameters.{field}");
            assert!(
                body["error"].as_str().unwrap().starts_with(&begin),
                "{body}"
            );
        }
        for value in [right, Value::Null] {
            let got = generate(&fake, json!({field: value})).await;
            assert_eq!(got.status, StatusCode::OK, "{field} {value}: {}", got.body);
        }
    }
    let got = generate(&fake, json!({"best_of": 2, "do_sample": true, "seed": 1})).await;
    assert!(
        got.body
            .contains("parameters.best_of: above 1 excludes `seed`")
    );
    for (field, value) in [
        ("ids", json!([])),
        ("weights", json!([1, 2])),
        ("merge_strategy", json!("mix")),
        ("density", json!(1.5)),
        ("majority_sign_method", json!("most")),
    ] {
        let mut merged = json!({"ids": ["a"], "weights": [1]});
        merged[field] = value;
        let got = generate(&fake, json!({"merged_adapters": merged})).await;
        assert_eq!(got.status, StatusCode::UNPROCESSABLE_ENTITY);
        let path = format!("parameters.merged_adapters.{field}:");
        assert!(got.body.contains(&path), "{}", got.body);
    }
}

#[crate::common::async_test]
async fn each_error_has_its_status_and_type_whole_and_streamed() {
    let wait = Duration::from_millis(2500);
    let invalid = |field: &str| Error::Invalid {
        field: field.into(),
        reason: "is odd".into(),
    };
    let table = [
        (
            invalid("prompt"),
            422,
            "validation",
            "Input validation error: inputs: is odd",
        ),
        (
            invalid("prompt[2]"),
            422,
            "validation",
            "Input validation error: inputs[2]: is odd",
        ),
        (
            invalid("stop"),
            422,
            "validation",
            "Input validation error: parameters.stop: is odd",
        ),
        (
            Error::ContextOverflow {
                context: 5,
                prompt: 5,
                completion: 1,
            },
            422,
            "validation",
            "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 5, not 5 + 1",
        ),
        (
            Error::Overloaded {
                queued: 9,
                retry_after: wait,
            },
            429,
            "overloaded",
            "Model is overloaded",
        ),
        (
            Error::Unavailable {
                reason: "loading".into(),
                retry_after: wait,
            },
            503,
            "healthcheck",
            "loading",
        ),
        (
            Error::Template("there is none".into()),
            422,
            "template_error",
            "Failed applying chat template to inputs: there is none",
        ),
        (
            Error::Internal("device lost".into()),
            424,
            "generation",
            "Request failed during generation: internal error: device lost",
        ),
    ];
    for (error, status, kind, message) in table {
        let fake = Arc::new(Fake {
            refuse: Some(error),
            ..Fake::default()
        });
        for got in [
            generate(&fake, json!({})).await,
            stream(&fake, json!({})).await,
        ] {
            assert_eq!(got.status, status, "{message}");
            assert_eq!(got.json(), json!({"error": message, "error_type": kind}));
            let retry = [429, 503].contains(&status).then_some("3");
            assert_eq!(got.header("retry-after"), retry);
        }
    }
}

#[crate::common::async_test]
async fn a_stream_has_an_event_a_token_and_the_last_one_says_all() {
    let fake = fake();
    for parameters in [
        json!({"details": true}),
        json!({"details": true, "stop": ["🦀"], "return_full_text": true}),
        json!({"details": true, "max_new_tokens": 3, "return_k_alternatives": 2}),
    ] {
        let whole = generate(&fake, parameters.clone()).await.json();
        let got = stream(&fake, parameters).await;
        assert_eq!(got.header("x-accel-buffering"), Some("no"));
        assert!(!got.body.contains("[DONE]"));
        let events = events(&got.body);
        let (last, before) = events.split_last().unwrap();
        for event in before {
            assert!(event["generated_text"].is_null() && event["details"].is_null());
        }
        assert_eq!(last["generated_text"], whole["generated_text"]);
        let tokens: Vec<&Value> = events.iter().map(|event| &event["token"]).collect();
        assert_eq!(json!(tokens), whole["details"]["tokens"]);
        let keys = [
            "finish_reason",
            "prompt_tokens",
            "generated_tokens",
            "skipped_tokens",
            "seed",
        ];
        for key in keys {
            assert_eq!(last["details"][key], whole["details"][key], "{key}");
        }
    }
}

#[crate::common::async_test]
async fn each_chunk_of_a_stream_is_one_whole_frame() {
    let body = json!({"inputs": "Hi", "stream": true, "parameters": {"stop": ["!"]}});
    let request = Request::post("/lorax").body(Body::from(body.to_string()));
    let response = app(&fake()).oneshot(request.unwrap()).await.unwrap();
    let mut chunks = response.into_body().into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let text = String::from_utf8(chunk.unwrap().to_vec()).unwrap();
        assert!(
            text.starts_with("data: ") && text.ends_with("\n\n"),
            "{text}"
        );
        serde_json::from_str::<Value>(&text[6..]).unwrap();
    }
}

#[crate::common::async_test]
async fn a_failure_in_mid_stream_is_an_error_event_behind_every_token() {
    let fake = Arc::new(Fake {
        fail_after: Some((2, Error::Internal("device lost".into()))),
        ..Fake::default()
    });
    let got = stream(&fake, json!({})).await;
    assert_eq!(got.status, StatusCode::OK);
    let events = events(&got.body);
    assert_eq!(events.len(), 3);
    assert_eq!(events[1]["token"]["text"], " ");
    assert!(events[1]["generated_text"].is_null());
    let message = "Request failed during generation: internal error: device lost";
    assert_eq!(
        events[2],
        json!({"error": message, "error_type": "generation"})
    );
    assert_eq!(fake.alive.load(Ordering::SeqCst), 0);
    assert_eq!(
        generate(&fake, json!({})).await.status,
        StatusCode::FAILED_DEPENDENCY
    );
}

#[crate::common::async_test]
async fn an_answer_that_breaks_off_never_looks_complete() {
    let fake = Arc::new(Fake {
        cut_after: Some(2),
        ..Fake::default()
    });
    let whole = generate(&fake, json!({})).await;
    assert_eq!(whole.json()["error_type"], "generation");
    let events = events(&stream(&fake, json!({})).await.body);
    assert_eq!(events.last().unwrap()["error_type"], "generation");
    assert!(events.iter().all(|event| event["generated_text"].is_null()));
}

#[crate::common::async_test]
async fn a_client_that_goes_away_frees_its_sequence() {
    let fake = Arc::new(Fake {
        hang_after: Some(2),
        ..Fake::default()
    });
    let body = Body::from(r#"{"inputs": "Hi"}"#);
    let request = Request::post("/lorax/generate_stream").body(body).unwrap();
    let response = app(&fake).oneshot(request).await.unwrap();
    let mut body = response.into_body().into_data_stream();
    assert!(body.next().await.unwrap().is_ok());
    assert_eq!(fake.alive.load(Ordering::SeqCst), 1);
    drop(body);
    assert_eq!(fake.alive.load(Ordering::SeqCst), 0);
}

#[crate::common::async_test]
async fn the_end_of_a_long_prompt_is_kept() {
    let fake = fake();
    let parameters = json!({"truncate": 3, "decoder_input_details": true, "max_new_tokens": 1});
    let body = json!({"inputs": "abcdef", "parameters": parameters});
    let details = &post(&fake, "/lorax/generate", body.to_string())
        .await
        .json()["details"];
    assert_eq!(details["prompt_tokens"], 3);
    let texts: Vec<&Value> = (details["prefill"].as_array().unwrap().iter())
        .map(|token| &token["text"])
        .collect();
    assert_eq!(texts, ["d", "e", "f"]);
    assert!(details["prefill"][0]["logprob"].is_null());
    assert!(details["prefill"][1]["logprob"].is_number());
    let ids = "def".bytes().map(u32::from).collect();
    assert_eq!(fake.seen.lock().unwrap()[0].prompt, Prompt::Tokens(ids));
}

#[crate::common::async_test]
async fn best_of_answers_the_likeliest_and_shows_the_others() {
    let fake = fake();
    let parameters = json!({"best_of": 3, "do_sample": true, "details": true});
    let details = &generate(&fake, parameters).await.json()["details"];
    assert_eq!(details["best_of_sequences"].as_array().unwrap().len(), 2);
    assert_eq!(details["best_of_sequences"][0]["tokens"], details["tokens"]);
    let plain = generate(&fake, json!({"best_of": 2, "do_sample": true})).await;
    assert_eq!(plain.json(), json!({"generated_text": "Hello 🦀!"}));
    let seen = fake.seen.lock().unwrap();
    // Without logprobs nobody could choose.
    assert!(seen.iter().all(|request| request.logprobs == Some(0)));
    assert_eq!(seen.len(), 5);
}

/// A place whose clock moves on by 100 ms whenever it is read.
#[derive(Default)]
struct Ticking(Mutex<Duration>);

impl Place for Ticking {
    fn now(&self) -> u64 {
        0
    }

    fn uptime(&self) -> Duration {
        let mut now = self.0.lock().unwrap();
        *now += Duration::from_millis(100);
        *now
    }

    fn new_id(&self) -> String {
        "id0".into()
    }

    fn machine(&self) -> Machine {
        Machine::default()
    }
}

#[crate::common::async_test]
async fn the_headers_tell_who_how_much_and_how_long() {
    let body = json!({"inputs": "Hié", "parameters": {"max_new_tokens": 2}}).to_string();
    let request = Request::post("/lorax/generate").body(Body::from(body.clone()));
    let app = router(Context {
        place: Arc::new(Ticking::default()),
        ..context(&fake())
    });
    let response = app.oneshot(request.unwrap()).await.unwrap();
    let header = |name: &str| response.headers()[name].to_str().unwrap();
    for (name, value) in [
        ("x-compute-type", "script"),
        ("x-compute-characters", "3"),
        ("x-model-id", "tiny"),
        ("x-prompt-tokens", "5"),
        ("x-generated-tokens", "2"),
        ("x-skipped-tokens", "0"),
        ("x-total-tokens", "7"),
        // What the fake says.
        ("x-queue-time", "250"),
    ] {
        assert_eq!(header(name), value, "{name}");
    }
    let time = |name: &str| header(name).parse::<u64>().unwrap();
    assert_eq!(time("x-compute-time"), time("x-total-time"));
    assert!(time("x-validation-time") >= 100);
    assert!(time("x-time-to-first-token") > time("x-validation-time"));
    assert!(time("x-total-time") > time("x-time-to-first-token"));
    let output = time("x-total-time") - time("x-time-to-first-token");
    assert_eq!(time("x-time-per-output-token"), output);
    assert_eq!(time("x-time-per-token"), time("x-inference-time") / 2);
    assert!(response.headers().get("x-adapter-id").is_none());

    let streamed = post(&fake(), "/lorax/generate_stream", body).await;
    let names = ["x-compute-type", "x-compute-characters", "x-model-id"];
    let told = names.map(|name| streamed.header(name));
    assert_eq!(told, [Some("script"), Some("3"), Some("tiny")]);
}

#[crate::common::async_test]
async fn the_native_paths_stand_at_the_root_too() {
    let body = r#"{"inputs": "Hi", "parameters": {"max_new_tokens": 1}}"#;
    for path in [
        "/invocations",
        "/generate_stream",
        "/a/deployments/v2/llms/tiny/generate",
    ] {
        let got = post(&fake(), path, body).await;
        assert!(
            got.status == 200 && got.body.contains("generated_text"),
            "{path}"
        );
    }
    for path in ["/info", "/ping", "/startup"] {
        assert_eq!(get(&fake(), path).await.status, StatusCode::OK, "{path}");
    }
    for path in ["/embed", "/classify", "/classify_batch"] {
        let got = post(&fake(), path, body).await;
        assert_eq!(got.json()["error_type"], "validation", "{path}");
        assert_eq!(
            get(&fake(), path).await.json()["error_type"],
            "method_not_allowed"
        );
    }
}

#[crate::common::async_test]
async fn probes_are_503_with_healthcheck_until_requests_are_taken() {
    let fake = Arc::new(Fake {
        phase: Some(Phase::Loading),
        ..Fake::default()
    });
    for path in ["/lorax", "/lorax/ping", "/lorax/startup"] {
        let got = get(&fake, path).await;
        assert_eq!(got.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(
            got.json(),
            json!({"error": "unhealthy", "error_type": "healthcheck"})
        );
    }
    assert_eq!(
        get(&fake, "/lorax/health").await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
}

#[crate::common::async_test]
async fn without_a_model_everything_says_so() {
    let fake = fake();
    *fake.unloaded.lock().unwrap() = true;
    for path in [
        "/lorax/generate",
        "/lorax/generate_stream",
        "/lorax/tokenize",
    ] {
        let got = post(&fake, path, r#"{"inputs": "Hi"}"#).await;
        assert_eq!(got.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
    }
    let got = get(&fake, "/lorax/info").await;
    assert_eq!(got.json()["error_type"], "healthcheck");
}

#[crate::common::async_test]
async fn any_content_type_and_any_bearer_are_taken_and_tokens_are_not_told() {
    let body = r#"{"inputs": "Hi", "parameters": {"api_token": "hidden"}}"#;
    for bearer in ["Bearer EMPTY", "Bearer ", "Basic x"] {
        let request = Request::post("/lorax/generate")
            .header("content-type", "text/plain")
            .header("authorization", bearer)
            .body(Body::from(body));
        let got = send(&fake(), request.unwrap()).await;
        assert_eq!(got.status, StatusCode::OK);
        let told = format!("{:?}{}", got.headers, got.body);
        assert!(!told.contains("hidden") && !told.contains("EMPTY"));
    }
}

#[crate::common::async_test]
async fn v1_takes_what_lorax_adds() {
    let fake = fake();
    let ask = json!({
        "model": "", "messages": hi(), "n": 2, "stop": ["END"], "top_k": 5, "repetition_penalty": 1.5,
        "ignore_eos_token": true, "guideline": "be kind", "adapter_source": "hub", "api_token": "x",
    });
    let got = post(&fake, "/lorax/v1/chat/completions", ask.to_string()).await;
    assert_eq!(got.json()["choices"].as_array().unwrap().len(), 2);
    let seen = fake.seen.lock().unwrap();
    let Prompt::Chat(chat) = &seen[0].prompt else {
        panic!("no chat")
    };
    assert_eq!(
        chat.variables,
        [("guideline".into(), json!("be kind"))].into()
    );
    assert!(seen[0].stop.ignore_eos && !seen[0].stop.include_in_text);
    assert_eq!(
        (seen[0].sampling.top_k, seen[0].sampling.repetition_penalty),
        (5, 1.5)
    );
    assert_eq!(seen[0].stop.strings, ["END"]);
}

#[crate::common::async_test]
async fn v1_streams_end_with_done_and_native_ones_do_not() {
    let v1 = json!({"prompt": "Hi", "stream": true}).to_string();
    let v1 = post(&fake(), "/lorax/v1/completions", v1).await;
    assert!(v1.body.ends_with("data: [DONE]\n\n"));
    assert!(!stream(&fake(), json!({})).await.body.contains("[DONE]"));
}

#[crate::common::async_test]
async fn the_names_of_the_base_model_are_no_adapters() {
    for name in [json!(null), json!(""), json!("tiny")] {
        let got = generate(&fake(), json!({"adapter_id": name})).await;
        assert_eq!(got.status, StatusCode::OK, "{name}");
        let ask = json!({"model": name, "prompt": "Hi"}).to_string();
        let got = post(&fake(), "/lorax/v1/completions", ask).await;
        assert_eq!(got.status, StatusCode::OK, "{name}");
    }
    // What huggingface_hub sends where no model is named.
    let ask = json!({"model": "dummy", "messages": hi()}).to_string();
    let got = post(&fake(), "/lorax/v1/chat/completions", ask).await;
    assert_eq!(got.status, StatusCode::OK);
}

#[crate::common::async_test]
async fn an_adapter_without_a_source_is_the_one_known_here_else_of_the_hub() {
    let fake = fake();
    for (parameters, source) in [
        (json!({"adapter_id": "pirate"}), AdapterSource::Local),
        (json!({"adapter_id": "org/pirate"}), AdapterSource::Hub),
        (
            json!({"adapter_id": "pirate", "adapter_source": "s3"}),
            AdapterSource::S3,
        ),
        (
            json!({"merged_adapters": {"ids": ["pirate", "pirate"], "weights": [1, 1]}}),
            AdapterSource::Local,
        ),
        (
            json!({"merged_adapters": {"ids": ["pirate", "org/pirate"], "weights": [1, 1]}}),
            AdapterSource::Hub,
        ),
    ] {
        generate(&fake, parameters).await;
        let seen = fake.seen.lock().unwrap().pop().unwrap();
        assert_eq!(seen.adapter.unwrap().source, source);
    }
    // On `/v1` a name that is nothing here is told to no hub.
    let ask = json!({"model": "org/pirate", "prompt": "Hi"}).to_string();
    let got = post(&fake, "/lorax/v1/completions", ask).await;
    assert_eq!(got.status, StatusCode::NOT_FOUND);
    let seen = fake.seen.lock().unwrap().pop().unwrap();
    assert_eq!(seen.adapter, None);
}

#[crate::common::async_test]
async fn merged_adapters_reach_the_engine_with_all_their_fields() {
    let fake = fake();
    let merged = json!({
        "ids": ["org/pirate", "org/pirate"], "weights": [0.5, -2], "merge_strategy": "dare_ties",
        "density": 0.25, "majority_sign_method": "frequency",
    });
    generate(&fake, json!({"merged_adapters": merged})).await;
    let seen = fake.seen.lock().unwrap().pop().unwrap();
    let adapter = seen.adapter.unwrap();
    assert_eq!(adapter.ids, ["org/pirate", "org/pirate"]);
    assert_eq!(
        adapter.merge,
        Merge {
            weights: vec![0.5, -2.0],
            strategy: MergeStrategy::DareTies,
            density: Some(0.25),
            majority_sign: MajoritySign::Frequency,
        }
    );
}

#[crate::common::async_test]
async fn a_token_for_the_hub_is_taken_from_the_body_or_from_authorization_and_goes_nowhere_else() {
    let token_of = async |keys: &[&str], bearer: &str, parameters: Value| {
        let fake = fake();
        let mut context = context(&fake);
        let mut known = Keys::default();
        keys.iter().for_each(|key| known.add(key));
        context.keys = Arc::new(known);
        let app = router(context);
        let mut v1 = parameters.clone();
        v1["model"] = v1["adapter_id"].clone();
        v1["prompt"] = json!("Hi");
        let mut tokens = Vec::new();
        for (path, body) in [
            (
                "/lorax/generate",
                json!({"inputs": "Hi", "parameters": parameters}),
            ),
            ("/lorax/v1/completions", v1),
        ] {
            let request = Request::post(path).header("authorization", format!("Bearer {bearer}"));
            let request = request.body(Body::from(body.to_string())).unwrap();
            let got = send_to(&app, request).await;
            assert!(!got.body.contains("hf_"), "{}", got.body);
            let seen = fake.seen.lock().unwrap().pop().unwrap();
            tokens.push(seen.adapter.unwrap().token);
        }
        assert_eq!(tokens[0], tokens[1]);
        tokens.pop().unwrap()
    };
    let hub = json!({"adapter_id": "org/pirate", "adapter_source": "hub"});
    let with = |token: &str| {
        let mut hub = hub.clone();
        hub["api_token"] = json!(token);
        hub
    };
    let some = |token: &str| Some(token.to_owned());
    assert_eq!(token_of(&[], "hf_mine", hub.clone()).await, some("hf_mine"));
    assert_eq!(
        token_of(&[], "hf_mine", with("hf_body")).await,
        some("hf_body")
    );
    assert_eq!(token_of(&[], "hf_mine", with("")).await, some("hf_mine"));
    for other in ["EMPTY", "sk-somebody-elses", ""] {
        assert_eq!(token_of(&[], other, hub.clone()).await, None);
    }
    // A key of this server is no token.
    assert_eq!(token_of(&["hf_key"], "hf_key", hub.clone()).await, None);
    for source in ["local", "s3"] {
        let mut elsewhere = with("hf_body");
        elsewhere["adapter_source"] = json!(source);
        assert_eq!(token_of(&[], "hf_mine", elsewhere).await, None);
    }
}

/// Any body.
#[cfg(not(target_arch = "wasm32"))]
mod any {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Map;

    const PATHS: [&str; 8] = [
        "/lorax",
        "/lorax/generate",
        "/lorax/generate_stream",
        "/lorax/invocations",
        "/lorax/tokenize",
        "/lorax/embed",
        "/a/deployments/v2/llms/tiny/generate",
        "/a/deployments/v2/llms/tiny/generate_stream",
    ];

    const FIELDS: [&str; 22] = [
        "adapter_id",
        "merged_adapters",
        "adapter_source",
        "best_of",
        "temperature",
        "repetition_penalty",
        "frequency_penalty",
        "presence_penalty",
        "top_k",
        "top_p",
        "typical_p",
        "do_sample",
        "max_new_tokens",
        "ignore_eos_token",
        "return_full_text",
        "stop",
        "truncate",
        "watermark",
        "details",
        "decoder_input_details",
        "return_k_alternatives",
        "response_format",
    ];

    fn ask(path: &str, body: Vec<u8>) -> Got {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.build().unwrap();
        runtime.block_on(post(&fake(), path, body))
    }

    fn check(got: &Got) -> Result<(), TestCaseError> {
        let error = match got.status {
            StatusCode::OK if got.header("content-type") == Some("application/json") => {
                return Ok(());
            }
            StatusCode::OK => {
                let events = events(&got.body);
                let last = events.last().unwrap();
                if last["generated_text"].is_string() {
                    return Ok(());
                }
                last.clone()
            }
            status => {
                prop_assert!(status.is_client_error(), "{}", status);
                got.json()
            }
        };
        prop_assert!(error["error"].is_string() && error["error_type"].is_string());
        prop_assert_eq!(error.as_object().unwrap().len(), 2);
        Ok(())
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-3i64..30).prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            (0f64..1.0).prop_map(Value::from),
            "[a-z🦀é\\\\\"]{0,6}".prop_map(Value::from),
            Just(json!({"type": "text"})),
            Just(json!({"ids": ["a"], "weights": [1]})),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z]{0,5}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn any_parameters() -> impl Strategy<Value = Value> {
        let fields =
            prop::collection::btree_map(prop::sample::select(&FIELDS[..]), any_json(), 0..4);
        fields.prop_map(|fields| {
            let fields = fields.into_iter();
            let fields: Map<String, Value> = fields.map(|(name, v)| (name.into(), v)).collect();
            fields.into()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn any_body_is_answered_or_refused_in_our_shape(
            inputs in prop_oneof![Just(json!("Hé")), any_json()],
            parameters in prop_oneof![4 => any_parameters(), 1 => any_json()],
            stream in prop_oneof![any::<bool>().prop_map(Value::from), any_json()],
            path in prop::sample::select(&PATHS[..]),
        ) {
            let body = json!({"inputs": inputs, "parameters": parameters, "stream": stream});
            check(&ask(path, body.to_string().into_bytes()))?;
        }

        #[test]
        fn any_bytes_are_refused_in_our_shape(
            body in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..40),
                "[\\[\\]{}\",:0-9a-z\\\\. -]{0,60}".prop_map(String::into_bytes),
            ],
            path in prop::sample::select(&PATHS[..]),
        ) {
            let got = ask(path, body);
            prop_assert_eq!(got.status, StatusCode::UNPROCESSABLE_ENTITY);
            check(&got)?;
        }

        #[test]
        fn the_places_of_tokens_cover_the_text(text in "[a-zé🦀 ]{0,12}") {
            let body = json!({"inputs": text}).to_string();
            let tokens = ask("/lorax/tokenize", body.into_bytes()).json();
            let characters: Vec<char> = text.chars().collect();
            let mut end = 0;
            for token in tokens.as_array().unwrap().iter().skip(1) {
                let place = |key: &str| token[key].as_u64().unwrap() as usize;
                let (start, stop) = (place("start"), place("stop"));
                prop_assert!(start <= end && end <= stop && start < stop);
                let part: String = characters[start..stop].iter().collect();
                prop_assert_eq!(&token["text"], &json!(part));
                end = stop;
            }
            prop_assert_eq!(end, characters.len());
        }
    }
}
