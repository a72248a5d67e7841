//! LocalLab: what cannot be seen in one exchange, and what its clients do with a stream.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::common::*;
use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use futures::StreamExt;
use serde_json::{Value, json};
use tinderbox_api::{ClientAddress, Context, Limits, router};
use tinderbox_protocol::{Error, Prompt};
use tower::ServiceExt;

async fn generate(fake: &Arc<Fake>, body: Value) -> Got {
    post(fake, "/locallab/generate", body.to_string()).await
}

async fn talk(fake: &Arc<Fake>, body: Value) -> Got {
    post(fake, "/chat", body.to_string()).await
}

/// A model that says these pieces, then fails where there is an error.
fn saying(pieces: &[&str], error: Option<Error>) -> Arc<Fake> {
    let pieces: Vec<_> = pieces
        .iter()
        .map(|piece| piece.as_bytes().to_vec())
        .collect();
    Arc::new(Fake {
        fail_after: error.map(|error| (pieces.len(), error)),
        says: Some(pieces),
        ..Fake::default()
    })
}

/// What `stream_generate` of the Python client yields, line by line.
fn python_generate(stream: &str) -> String {
    let mut text = String::new();
    for line in stream
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        let line = line.strip_prefix("data: ").unwrap_or(line);
        assert!(!line.starts_with("Error:"), "raises: {line}");
        match line {
            "[DONE]" => return text,
            line => text += line,
        }
    }
    panic!("no end: {stream}")
}

/// What the text of `stream_chat`'s values is in the Python client.
fn python_chat(stream: &str) -> String {
    let mut text = String::new();
    for line in stream.lines().map(str::trim) {
        match serde_json::from_str::<Value>(line) {
            Ok(Value::String(end)) if end == "[DONE]" => return text,
            Ok(chunk) => text += chunk["choices"][0]["delta"]["content"].as_str().unwrap(),
            Err(_) => assert!(!line.starts_with("Error:"), "raises: {line}"),
        }
    }
    panic!("no end: {stream}")
}

/// What the command line shows of a stream: its `data: ` lines that are no JSON.
fn command_line(stream: &str) -> String {
    let mut text = String::new();
    for line in stream.lines().map(str::trim) {
        match line.strip_prefix("data: ") {
            Some("[DONE]") => return text,
            Some(json) if serde_json::from_str::<Value>(json).is_ok() => {}
            Some(line) => text += line,
            None => {}
        }
    }
    panic!("no end: {stream}")
}

/// Every event is one `data: ` line with text at its end, then an empty line.
fn check_frames(stream: &str, chat: bool) {
    assert!(stream.ends_with("\n\n"));
    for event in stream.split_terminator("\n\n") {
        let mut lines = event.split('\n');
        let data = lines.next().unwrap().strip_prefix("data: ").unwrap();
        assert!(!data.is_empty() && data.trim_end() == data, "{data:?}");
        assert!(!data.contains('\r'));
        assert_eq!(lines.next().is_some(), chat);
        assert!(lines.next().is_none());
    }
}

#[crate::common::async_test]
async fn the_defaults_are_those_of_the_document() {
    let fake = fake();
    generate(&fake, json!({"prompt": "a"})).await;
    talk(&fake, json!({"messages": hi()})).await;
    let seen = fake.seen.lock().unwrap();
    for request in seen.iter() {
        let s = &request.sampling;
        assert_eq!((s.temperature, s.top_p, s.top_k), (0.7, 0.9, 80));
        assert_eq!((s.repetition_penalty, s.seed), (1.15, None));
    }
    // 8192 tokens are more than the context leaves.
    assert_eq!(seen[0].max_tokens, Some(CONTEXT - 2));
}

#[crate::common::async_test]
async fn every_field_reaches_the_engine() {
    let fake = fake();
    let ask = json!({"prompt": "a", "model_id": "org/large", "max_tokens": 9, "max_length": 5, "temperature": 0.5,
        "top_p": 0.25, "top_k": 7, "repetition_penalty": 1.5, "do_sample": true, "max_time": 30});
    assert_eq!(generate(&fake, ask).await.status, StatusCode::OK);
    let seen = fake.seen.lock().unwrap();
    let s = &seen[0].sampling;
    assert_eq!((s.temperature, s.top_p, s.top_k), (0.5, 0.25, 7));
    assert_eq!(s.repetition_penalty, 1.5);
    assert_eq!(
        (&*seen[0].model, seen[0].max_tokens),
        ("org/large", Some(9))
    );
    let text = Prompt::Text {
        text: "a".into(),
        add_special_tokens: None,
    };
    assert_eq!(seen[0].prompt, text);
}

#[crate::common::async_test]
async fn both_names_of_the_length_limit_new_tokens_on_every_path() {
    for name in ["max_tokens", "max_length"] {
        let fake = fake();
        generate(&fake, json!({"prompt": "a", name: 5})).await;
        talk(&fake, json!({"messages": hi(), name: 5})).await;
        let batch = json!({"prompts": ["a", "b"], name: 5}).to_string();
        let batch = post(&fake, "/generate/batch", batch).await.json();
        assert_eq!(batch["usage"]["completion_tokens"], 10);
        let seen = fake.seen.lock().unwrap();
        assert!(seen.iter().all(|request| request.max_tokens == Some(5)));
    }
}

#[crate::common::async_test]
async fn each_prompt_of_a_batch_has_the_room_that_it_leaves() {
    let fake = fake();
    let prompts = ["x".repeat(CONTEXT - 3), "a".into()];
    let ask = json!({"prompts": prompts, "max_tokens": 6}).to_string();
    let got = post(&fake, "/generate/batch", ask).await.json();
    assert_eq!(got["responses"], json!(["Hello ", "Hello 🦀!"]));
    let seen = fake.seen.lock().unwrap();
    let most: Vec<_> = seen.iter().map(|request| request.max_tokens).collect();
    assert_eq!(most, [Some(2), Some(6)]);
    assert_ne!(seen[0].id, seen[1].id);
}

#[crate::common::async_test]
async fn without_sampling_an_answer_is_greedy() {
    let fake = fake();
    generate(&fake, json!({"prompt": "a", "do_sample": false})).await;
    generate(&fake, json!({"prompt": "a", "temperature": 0})).await;
    let seen = fake.seen.lock().unwrap();
    assert_eq!(seen[0].sampling, seen[1].sampling);
    assert_eq!(seen[0].sampling.temperature, 0.0);
}

#[crate::common::async_test]
async fn a_number_outside_its_range_is_refused_by_name() {
    let table = [
        (
            "temperature",
            [json!(-0.1), json!(2.5)],
            [json!(0), json!(2)],
        ),
        ("top_p", [json!(-0.1), json!(1.5)], [json!(0), json!(1)]),
        ("top_k", [json!(0), json!(1001)], [json!(1), json!(1000)]),
        (
            "repetition_penalty",
            [json!(0.9), json!(2.1)],
            [json!(1), json!(2)],
        ),
        (
            "max_tokens",
            [json!(0), json!(32001)],
            [json!(1), json!(32000)],
        ),
        (
            "max_length",
            [json!(0), json!(32001)],
            [json!(1), json!(32000)],
        ),
        ("max_time", [json!(-1), json!("1")], [json!(0), json!(1e30)]),
    ];
    let fake = fake();
    let bodies = [
        ("/locallab/generate", json!({"prompt": "a"})),
        ("/generate/batch", json!({"prompts": ["a"]})),
        ("/chat", json!({"messages": hi()})),
    ];
    for (path, body) in bodies {
        for (field, wrong, right) in &table {
            let ask = |value: &Value| {
                let mut body = body.clone();
                body[*field] = value.clone();
                post(&fake, path, body.to_string())
            };
            for value in wrong {
                let got = ask(value).await;
                assert_eq!(got.status, StatusCode::BAD_REQUEST, "{field} {value}");
                let detail = got.json()["detail"].as_str().unwrap().to_owned();
                assert!(detail.starts_with(&format!("{field}: ")), "{detail}");
            }
            for value in right.iter().chain([&Value::Null]) {
                assert_eq!(ask(value).await.status, StatusCode::OK, "{field} {value}");
            }
        }
    }
}

#[crate::common::async_test]
async fn each_error_has_its_status_and_a_detail() {
    let wait = Duration::from_millis(2500);
    let table = [
        (Error::NoModel, 400, None),
        (Error::Template("no".into()), 400, None),
        (Error::Internal("no".into()), 500, None),
        (
            Error::Overloaded {
                queued: 1,
                retry_after: wait,
            },
            429,
            Some("3"),
        ),
        (
            Error::ContextOverflow {
                context: 5,
                prompt: 5,
                completion: 1,
            },
            413,
            None,
        ),
    ];
    for (error, status, retry) in table {
        let message = error.to_string();
        let fake = Arc::new(Fake {
            refuse: Some(error),
            ..Fake::default()
        });
        for stream in [false, true] {
            let got = generate(&fake, json!({"prompt": "a", "stream": stream})).await;
            assert_eq!(got.status, status, "{message}");
            assert_eq!(got.header("retry-after"), retry);
            assert_eq!(got.json(), json!({"detail": message}));
        }
    }
}

#[crate::common::async_test]
async fn more_prompts_than_one_request_may_have_are_refused() {
    let ask = json!({"prompts": vec!["a"; 1025]}).to_string();
    let got = post(&fake(), "/generate/batch", ask).await;
    assert_eq!(got.status, StatusCode::BAD_REQUEST);
    assert!(got.body.contains("prompts: 1025"), "{}", got.body);
}

#[crate::common::async_test]
async fn a_system_prompt_makes_a_conversation_of_a_prompt() {
    let fake = fake();
    generate(&fake, json!({"prompt": "a", "system_prompt": "Be brief."})).await;
    generate(&fake, json!({"prompt": "a", "system_prompt": ""})).await;
    let seen = fake.seen.lock().unwrap();
    let Prompt::Chat(chat) = &seen[0].prompt else {
        panic!("no conversation")
    };
    let roles: Vec<&str> = chat.messages.iter().map(|turn| &*turn.role).collect();
    assert_eq!(roles, ["system", "user"]);
    assert!(chat.add_generation_prompt);
    assert!(matches!(&seen[1].prompt, Prompt::Text { text, .. } if text == "a"));
}

#[crate::common::async_test]
async fn instructions_are_the_system_message_of_conversations_without_one() {
    let fake = fake();
    let app = app(&fake);
    let send = async |path: &str, body: Value| {
        let request = Request::post(path).body(Body::from(body.to_string()));
        send_to(&app, request.unwrap()).await.json()
    };
    let show = async |path: &str| {
        let request = Request::get(path).body(Body::empty());
        send_to(&app, request.unwrap()).await.json()
    };
    let own = json!([{"role": " System", "content": "own"}, {"role": "user", "content": "Hi"}]);
    let system = async |messages: &Value, model: &str| {
        send("/chat", json!({"messages": messages, "model_id": model})).await;
        match &fake.seen.lock().unwrap().last().unwrap().prompt {
            Prompt::Chat(chat) if chat.messages[0].role == "system" => {
                chat.messages[0].content.clone()
            }
            _ => None,
        }
    };
    assert_eq!(system(&hi(), "").await, None);
    let done = send("/system/instructions", json!({"instructions": "all"})).await;
    assert_eq!(done["message"], "Updated global system instructions");
    let large = json!({"instructions": "large", "model_id": "org/large"});
    let done = send("/system/instructions", large).await;
    assert_eq!(
        done["message"],
        "Updated system instructions for model org/large"
    );
    let unknown = json!({"instructions": "x", "model_id": "nope"});
    assert!(send("/system/instructions", unknown).await["detail"].is_string());

    assert_eq!(system(&hi(), "").await.as_deref(), Some("all"));
    assert_eq!(system(&hi(), "org/large").await.as_deref(), Some("large"));
    assert_eq!(system(&own, "").await.as_deref(), Some("own"));
    // Under its prefix it is the same server.
    let shown = show("/locallab/system/instructions?model_id=org/large").await;
    assert_eq!(
        shown,
        json!({"instructions": "large", "model_id": "org/large"})
    );

    let done = send("/system/instructions/reset?model_id=org/large", json!(null)).await;
    assert_eq!(
        done["message"],
        "Reset system instructions for model org/large"
    );
    assert_eq!(system(&hi(), "org/large").await.as_deref(), Some("all"));
    send("/system/instructions/reset", json!(null)).await;
    assert_eq!(show("/system/instructions").await["instructions"], "");
    assert_eq!(system(&hi(), "").await, None);
}

#[crate::common::async_test]
async fn white_space_goes_to_the_front_of_the_next_event() {
    let pieces = [
        "One",
        " ",
        "\n",
        "two",
        "\n\n",
        " three \r\n",
        "\u{85}\x1f",
        "four.",
        " \n",
    ];
    let fake = saying(&pieces, None);
    let whole = generate(&fake, json!({"prompt": "a"})).await.json();
    let text = whole["response"].as_str().unwrap();
    let stream = generate(&fake, json!({"prompt": "a", "stream": true}))
        .await
        .body;
    check_frames(&stream, false);
    assert_eq!(
        stream.split_terminator("\n\n").collect::<Vec<_>>(),
        [
            "data: One",
            r"data:  \ntwo",
            r"data: \n\n three",
            "data:  \\r\\n\u{85}\x1ffour.",
            "data: [DONE]"
        ]
    );
    let told = python_generate(&stream)
        .replace("\\n", "\n")
        .replace("\\r", "\r");
    assert_eq!(told, text.trim_end());
}

#[crate::common::async_test]
async fn a_text_that_looks_like_a_mark_is_told_as_text() {
    for mark in ["[DONE]", "[ERROR] no", "Error: no"] {
        for pieces in [vec![mark], vec!["It says ", mark, " here."]] {
            let fake = saying(&pieces, None);
            let text = pieces.concat();
            let ask = json!({"messages": hi(), "prompt": "a", "stream": true});
            let stream = generate(&fake, ask.clone()).await.body;
            assert_eq!(python_generate(&stream), text);
            let stream = talk(&fake, ask).await.body;
            check_frames(&stream, true);
            assert_eq!(python_chat(&stream), text);
            assert_eq!(command_line(&stream), text);
        }
    }
}

#[crate::common::async_test]
async fn a_number_waits_for_text_because_the_command_line_would_drop_it() {
    let fake = saying(
        &["6", "*", "7", " = ", "4", "2", ".", " true", "", " enough"],
        None,
    );
    let stream = generate(&fake, json!({"prompt": "a", "stream": true}))
        .await
        .body;
    assert_eq!(command_line(&stream), "6*7 = 42. true enough");
    assert_eq!(python_generate(&stream), "6*7 = 42. true enough");
    // Alone it comes at the end.
    let stream = generate(
        &saying(&["4", "2"], None),
        json!({"prompt": "a", "stream": true}),
    )
    .await;
    assert_eq!(stream.body, "data: 42\n\ndata: [DONE]\n\n");
}

#[crate::common::async_test]
async fn a_chat_stream_says_the_same_to_both_clients() {
    let fake = saying(&["Yes", ",", "\n", "\"", "quoted", "\" ", "🦀", "\n"], None);
    let stream = talk(&fake, json!({"messages": hi(), "stream": true}))
        .await
        .body;
    check_frames(&stream, true);
    assert_eq!(python_chat(&stream), "Yes,\n\"quoted\" 🦀");
    assert_eq!(command_line(&stream), "Yes,\\n\"quoted\" 🦀");
}

#[crate::common::async_test]
async fn a_failure_in_mid_stream_is_an_error_event_without_an_end() {
    let error = || Some(Error::Internal("device\nlost".into()));
    let fake = saying(&["4", " "], error());
    let stream = generate(&fake, json!({"prompt": "a", "stream": true})).await;
    assert_eq!(stream.status, StatusCode::OK);
    assert_eq!(
        stream.body,
        "data: 4\n\ndata: [ERROR] internal error: device\\nlost\n\n"
    );
    let stream = talk(
        &saying(&[], error()),
        json!({"messages": hi(), "stream": true}),
    )
    .await;
    assert_eq!(
        stream.body,
        "data: [ERROR] internal error: device\\nlost\n{\"error\":\"internal error: device\\nlost\"}\n\n"
    );
    assert_eq!(fake.alive.load(Ordering::SeqCst), 0);
}

#[crate::common::async_test]
async fn a_client_that_goes_away_frees_its_sequence() {
    let fake = Arc::new(Fake {
        hang_after: Some(1),
        ..Fake::default()
    });
    let ask = json!({"messages": hi(), "stream": true}).to_string();
    let request = Request::post("/chat").body(Body::from(ask)).unwrap();
    let response = app(&fake).oneshot(request).await.unwrap();
    let mut body = response.into_body().into_data_stream();
    assert!(body.next().await.unwrap().is_ok());
    assert_eq!(fake.alive.load(Ordering::SeqCst), 1);
    drop(body);
    assert_eq!(fake.alive.load(Ordering::SeqCst), 0);
}

#[crate::common::async_test]
async fn an_answer_is_cut_off_when_its_time_is_over() {
    // The clock moves on by a second whenever it is read: once a token among other times.
    let ask = async |max_time: Value| {
        let fake = fake();
        let app = router(Context {
            place: Arc::new(Somewhere {
                step: Duration::from_secs(1),
                ..Somewhere::default()
            }),
            ..context(&fake)
        });
        let body = json!({"messages": hi(), "max_time": max_time}).to_string();
        let request = Request::post("/chat").body(Body::from(body)).unwrap();
        let got = send_to(&app, request).await.json();
        assert_eq!(fake.alive.load(Ordering::SeqCst), 0);
        let choice = got["choices"][0].clone();
        let tokens = got["usage"]["completion_tokens"].as_u64().unwrap();
        (
            tokens,
            choice["finish_reason"].clone(),
            choice["message"]["content"].clone(),
        )
    };
    assert_eq!(ask(json!(0)).await, (1, json!("length"), json!("Hello")));
    // The clock is also read as the sequence is asked for, taken in and timed.
    assert_eq!(ask(json!(7)).await, (4, json!("length"), json!("Hello 🦀")));
    for enough in [json!(60), json!(1e38), json!(null)] {
        assert_eq!(ask(enough).await, (6, json!("stop"), json!("Hello 🦀!")));
    }
}

#[crate::common::async_test]
async fn an_unloaded_model_is_missed_until_it_is_loaded() {
    let fake = fake();
    let name = "/models/unload";
    assert_eq!(
        post(&fake, name, "").await.json()["message"],
        "Model tiny unloaded successfully"
    );
    let again = post(&fake, name, "").await.json();
    assert_eq!(
        again,
        json!({"status": "success", "message": "No model is currently loaded"})
    );

    let got = generate(&fake, json!({"prompt": "a"})).await;
    assert_eq!(got.status, StatusCode::BAD_REQUEST);
    let detail = got.json()["detail"].as_str().unwrap().to_owned();
    assert!(
        detail.starts_with("No model is currently loaded. "),
        "{detail}"
    );
    let got = get(&fake, "/models/current").await;
    assert_eq!(got.status, StatusCode::NOT_FOUND);
    assert_eq!(got.json(), json!({"detail": "No model currently loaded"}));
    let got = get(&fake, "/models/available").await.json();
    assert_eq!(got["current_model"], json!(null));
    assert_eq!(got["models"][0]["is_loaded"], false);
    assert_eq!(
        get(&fake, "/system/info").await.json()["active_model"],
        json!(null)
    );

    let got = post(&fake, "/models/load", r#"{"model_id": "tiny"}"#)
        .await
        .json();
    assert_eq!(
        got,
        json!({"status": "success", "message": "Model tiny loaded successfully"})
    );
    assert_eq!(
        generate(&fake, json!({"prompt": "a"})).await.status,
        StatusCode::OK
    );
}

#[crate::common::async_test]
async fn the_machine_is_told_as_the_place_sees_it() {
    let fake = fake();
    let app = router(Context {
        place: Arc::new(Somewhere::default()),
        ..context(&fake)
    });
    let show = async |path: &str| {
        let request = Request::get(path).header("host", "box:8080");
        send_to(&app, request.body(Body::empty()).unwrap())
            .await
            .json()
    };
    let gpus = json!([{"index": 0, "name": "A", "total_memory_mb": 2048}]);
    let info = json!({"cpu_usage": 12.5, "memory_usage": 25.0, "gpu_info": gpus, "active_model": "tiny",
        "uptime": 0.0, "request_count": 1});
    assert_eq!(show("/system/info").await, info);
    assert_eq!(show("/system/info").await["request_count"], 2);
    let resources = json!({"ram_gb": 8.0, "ram_available_gb": 6.0, "ram_used_percent": 25.0, "cpu_count": 4,
        "cpu_usage": 12.5, "gpu_available": true, "gpu_info": gpus});
    let root = show("/locallab").await;
    assert_eq!(root["resources"], resources);
    assert_eq!(root["name"], "LocalLab");
    assert_eq!(root["status"], "running");
    let resources = json!({
        "cpu": {"cores": 2, "threads": 4, "usage": 12.5, "frequency": 3000},
        "memory": {"total": 8u64 << 30, "available": 6u64 << 30, "used": 2u64 << 30, "percent": 25.0},
        "gpu": gpus,
        "disk": {"total": 1000, "free": 100, "used": 900, "percent": 90.0},
        "platform": "linux x86_64", "server_uptime": 0.0, "api_requests": 4,
    });
    assert_eq!(show("/resources").await, resources);
    assert_eq!(show("/network").await["hostname"], "box:8080");
}

#[crate::common::async_test]
async fn every_answer_says_how_long_it_took_and_which_request_it_was() {
    let fake = fake();
    let place = Somewhere {
        step: Duration::from_micros(1_234_567),
        ..Somewhere::default()
    };
    let app = router(Context {
        place: Arc::new(place),
        ..context(&fake)
    });
    let paths = [
        "/health",
        "/nowhere",
        "/v1/models",
        "/generate",
        "/models/current",
    ];
    for (index, path) in paths.iter().enumerate() {
        let request = Request::get(*path).body(Body::empty()).unwrap();
        let got = send_to(&app, request).await;
        assert_eq!(got.header("x-process-time"), Some("1.2346"), "{path}");
        assert_eq!(
            got.header("x-request-count"),
            Some(&*(index + 1).to_string())
        );
    }
}

/// A server with a limit, and its clock.
fn limited(limits: Limits) -> (Router, Arc<Somewhere>) {
    let place = Arc::new(Somewhere::default());
    let app = router(Context {
        limits: Arc::new(limits),
        place: place.clone(),
        ..context(&fake())
    });
    (app, place)
}

async fn ask_from(app: &Router, client: Option<[u8; 4]>, path: &str, body: Value) -> Got {
    let mut request = Request::post(path)
        .body(Body::from(body.to_string()))
        .unwrap();
    if let Some(client) = client {
        request
            .extensions_mut()
            .insert(ClientAddress(IpAddr::from(client)));
    }
    send_to(app, request).await
}

#[crate::common::async_test]
async fn a_client_may_ask_ten_times_at_once_and_then_once_a_second() {
    let (app, place) = limited(Limits::default());
    let client = Some([10, 0, 0, 1]);
    let ask = async |client| {
        let body = json!({"prompt": "a", "max_tokens": 1});
        ask_from(&app, client, "/locallab/generate", body).await
    };
    for _ in 0..10 {
        assert_eq!(ask(client).await.status, StatusCode::OK);
    }
    let got = ask(client).await;
    assert_eq!(got.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(got.header("retry-after"), Some("1"));
    assert!(
        got.json()["detail"]
            .as_str()
            .unwrap()
            .starts_with("Too many requests")
    );
    // The three paths share the bucket.
    let batch = json!({"prompts": []});
    assert_eq!(
        ask_from(&app, client, "/generate/batch", batch)
            .await
            .status,
        429
    );
    let body = json!({"messages": hi()});
    assert_eq!(ask_from(&app, client, "/chat", body).await.status, 429);
    // Other clients, other paths and other dialects do not.
    assert_eq!(ask(Some([10, 0, 0, 2])).await.status, StatusCode::OK);
    assert_eq!(ask(None).await.status, StatusCode::OK);
    for path in ["/health", "/models/current", "/system/info"] {
        let request = Request::get(path).extension(ClientAddress([10, 0, 0, 1].into()));
        let got = send_to(&app, request.body(Body::empty()).unwrap()).await;
        assert_eq!(got.status, StatusCode::OK);
    }
    let body = json!({"prompt": "a"});
    assert_eq!(
        ask_from(&app, client, "/v1/completions", body).await.status,
        StatusCode::OK
    );
    // A second gives one request back.
    *place.now.lock().unwrap() += Duration::from_secs(1);
    assert_eq!(ask(client).await.status, StatusCode::OK);
    assert_eq!(ask(client).await.status, StatusCode::TOO_MANY_REQUESTS);
}

#[crate::common::async_test]
async fn requests_without_an_address_share_a_bucket_and_the_limit_can_be_set_or_stopped() {
    let status = async |app: &Router| {
        let body = json!({"prompts": []});
        ask_from(app, None, "/generate/batch", body).await.status
    };
    for (limits, most) in [
        (Limits::default(), 10),
        (Limits::per_minute(600), 10),
        (Limits::per_minute(3), 3),
        (Limits::per_minute(0), 50),
        (Limits::none(), 50),
    ] {
        let (app, _) = limited(limits);
        for _ in 0..most {
            assert_eq!(status(&app).await, StatusCode::OK);
        }
        let next = status(&app).await;
        assert_eq!(next == StatusCode::TOO_MANY_REQUESTS, most < 50, "{most}");
    }
}

/// Any body.
#[cfg(not(target_arch = "wasm32"))]
mod any {
    use super::*;
    use proptest::prelude::*;

    const PATHS: [&str; 5] = [
        "/locallab/generate",
        "/generate/batch",
        "/chat",
        "/models/load",
        "/system/instructions",
    ];

    const FIELDS: [&str; 16] = [
        "prompt",
        "prompts",
        "messages",
        "system_prompt",
        "stream",
        "model_id",
        "max_tokens",
        "max_length",
        "temperature",
        "top_p",
        "top_k",
        "repetition_penalty",
        "do_sample",
        "max_time",
        "instructions",
        "other",
    ];

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-3i64..300).prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[a-z🦀\\\\\"\n]{0,6}".prop_map(Value::from),
            Just(json!("tiny")),
            Just(json!({"role": "User ", "content": "hi"})),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z]{0,5}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    fn any_body() -> impl Strategy<Value = Value> {
        let fields =
            prop::collection::btree_map(prop::sample::select(&FIELDS[..]), any_json(), 0..5);
        (any::<bool>(), fields).prop_map(|(sane, fields)| {
            let mut body = match sane {
                true => json!({"prompt": "a", "prompts": ["a"], "messages": hi()}),
                false => json!({}),
            };
            for (name, value) in fields {
                body[name] = value;
            }
            body
        })
    }

    fn run<F: Future>(future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime.unwrap().block_on(future)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1000))]

        #[test]
        fn any_body_is_answered_or_refused_in_our_shape(
            path in prop::sample::select(&PATHS[..]),
            body in prop_oneof![any_body(), any_json()],
        ) {
            let got = run(post(&fake(), path, body.to_string()));
            if got.status == StatusCode::OK {
                prop_assert!(got.header("content-type").is_some());
            } else {
                prop_assert!(got.status.is_client_error(), "{}", got.status);
                prop_assert!(got.json()["detail"].is_string());
            }
        }

        #[test]
        fn any_text_in_any_pieces_streams_whole_in_whole_frames(
            pieces in prop::collection::vec("[ \n\ta-c0-9\\[\\]\"🦀é]{0,4}|\\[DONE\\]|Error:|true", 0..12),
        ) {
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let (fake, text) = (saying(&pieces, None), pieces.concat());
            let stream = run(generate(&fake, json!({"prompt": "a", "stream": true}))).body;
            check_frames(&stream, false);
            // A tab or line feed in front stays: it is no longer at the line's end.
            let told = python_generate(&stream).replace("\\n", "\n");
            prop_assert_eq!(&told, text.trim_end());
            let stream = run(talk(&fake, json!({"messages": hi(), "stream": true}))).body;
            check_frames(&stream, true);
            prop_assert_eq!(python_chat(&stream), text.trim_end());
        }

        #[test]
        fn each_chunk_of_a_stream_is_whole_frames_of_whole_characters(
            pieces in prop::collection::vec("[ a🦀é\n]{0,3}", 0..8),
        ) {
            let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
            let ask = json!({"messages": hi(), "stream": true}).to_string();
            let request = Request::post("/chat").body(Body::from(ask)).unwrap();
            let chunks: Vec<_> = run(async {
                let response = app(&saying(&pieces, None)).oneshot(request).await.unwrap();
                response.into_body().into_data_stream().collect().await
            });
            for chunk in chunks {
                let chunk = chunk.unwrap();
                check_frames(std::str::from_utf8(&chunk).unwrap(), true);
            }
        }
    }
}
