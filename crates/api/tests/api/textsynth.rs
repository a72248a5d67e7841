//! TextSynth's API: what is asked of the engine, what its clients read, what is refused.

use std::sync::Arc;
use std::time::Duration;

use crate::common::*;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use futures::StreamExt;
use serde::Deserialize;
use serde_json::{Value, json};
use tinderbox_protocol::{Error, Prompt, Sampling};
use tower::ServiceExt;

const ENGINE: &str = "/textsynth/v1/engines/tiny";

async fn ask(fake: &Arc<Fake>, endpoint: &str, body: Value) -> Got {
    post(fake, &format!("{ENGINE}/{endpoint}"), body.to_string()).await
}

/// A completion of `Hi` with these options.
async fn completion(fake: &Arc<Fake>, mut options: Value) -> Got {
    options["prompt"] = json!("Hi");
    ask(fake, "completions", options).await
}

/// The chunks of a streamed body, each an answer, as ts-rs2 reads them: it cuts the last two bytes
/// and parses the rest.
async fn chunks(fake: &Arc<Fake>, endpoint: &str, mut body: Value) -> Vec<Value> {
    body["stream"] = json!(true);
    let path = format!("{ENGINE}/{endpoint}");
    let request = Request::post(path).body(Body::from(body.to_string()));
    let response = app(fake).oneshot(request.unwrap()).await.unwrap();
    let kind = &response.headers()["content-type"];
    assert_eq!(kind, "application/json");
    let chunks = response.into_body().into_data_stream().map(|chunk| {
        let text = String::from_utf8(chunk.unwrap().to_vec()).unwrap();
        let json = text.strip_suffix("\n\n").expect("a frame ends");
        assert!(!json.contains('\n') && !json.contains("\": "), "{json}");
        serde_json::from_str(json).expect("a frame is one JSON")
    });
    chunks.collect().await
}

#[crate::common::async_test]
async fn the_body_is_json_whatever_the_content_type() {
    for kind in [
        None,
        Some("application/x-www-form-urlencoded"),
        Some("text/plain"),
    ] {
        let mut request = Request::post("/v1/engines/tiny/completions");
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        let request = request.body(Body::from(r#"{"prompt": "Hi"}"#)).unwrap();
        let got = send(&fake(), request).await;
        assert_eq!(got.json()["text"], "Hello 🦀!", "{kind:?}");
    }
}

#[crate::common::async_test]
async fn what_is_not_said_has_the_documented_default() {
    let fake = fake();
    completion(&fake, json!({})).await;
    let seen = fake.seen.lock().unwrap();
    let sampling = Sampling {
        top_k: 40,
        top_p: 0.9,
        ..Sampling::default()
    };
    assert_eq!(seen[0].sampling, sampling);
    assert_eq!((seen.len(), seen[0].max_tokens), (1, Some(100)));
    assert!(seen[0].stop.strings.is_empty() && seen[0].truncate_prompt);
    let text = Prompt::Text {
        text: "Hi".into(),
        add_special_tokens: None,
    };
    assert_eq!((&seen[0].model[..], &seen[0].prompt), ("tiny", &text));
}

#[crate::common::async_test]
async fn every_field_reaches_the_engine() {
    let fake = fake();
    let options = json!({
        "max_tokens": 9, "stop": "END", "n": 2, "temperature": 0.5, "top_k": 7, "top_p": 0.25,
        "seed": 2147483647, "logit_bias": {"65": -100, "66": 100}, "presence_penalty": -1,
        "frequency_penalty": 1, "repetition_penalty": 1.5, "typical_p": 0.75,
    });
    assert_eq!(completion(&fake, options).await.status, StatusCode::OK);
    let seen = fake.seen.lock().unwrap();
    for (sample, request) in seen.iter().enumerate() {
        let sampling = Sampling {
            temperature: 0.5,
            top_k: 7,
            top_p: 0.25,
            typical_p: 0.75,
            repetition_penalty: 1.5,
            presence_penalty: -1.0,
            frequency_penalty: 1.0,
            logit_bias: [(65, -100.0), (66, 100.0)].into(),
            seed: Some(2_147_483_647 + sample as u64),
            ..Sampling::default()
        };
        assert_eq!(request.sampling, sampling);
        assert_eq!(request.max_tokens, Some(9));
        assert_eq!(request.stop.strings, ["END"]);
    }
    assert_eq!(seen.len(), 2);
}

#[crate::common::async_test]
async fn seed_zero_or_none_is_a_fresh_one() {
    let fake = fake();
    for seed in [json!(0), json!(null), json!(1)] {
        completion(&fake, json!({"seed": seed})).await;
    }
    let seen = fake.seen.lock().unwrap();
    let seeds: Vec<_> = seen.iter().map(|request| request.sampling.seed).collect();
    assert_eq!(seeds, [None, None, Some(1)]);
}

#[crate::common::async_test]
async fn a_value_outside_its_range_is_refused_by_name() {
    let table = [
        ("n", vec![json!(0), json!(17), json!(-1)], json!(16)),
        ("max_tokens", vec![json!(-1), json!(1.5)], json!(0)),
        ("temperature", vec![json!(-0.1), json!("hot")], json!(0)),
        ("top_k", vec![json!(0), json!(1001)], json!(1000)),
        ("top_p", vec![json!(-0.1), json!(1.5)], json!(0)),
        ("seed", vec![json!(-1), json!(2_147_483_648_i64)], json!(0)),
        ("presence_penalty", vec![json!(2.1), json!(-2.1)], json!(-2)),
        ("frequency_penalty", vec![json!(2.1), json!(-2.1)], json!(2)),
        ("repetition_penalty", vec![json!(0), json!(-1)], json!(0.1)),
        ("typical_p", vec![json!(0), json!(1.1)], json!(1)),
        ("logit_bias", vec![json!({"5": 101}), json!([])], json!({})),
        (
            "stop",
            vec![json!(5)],
            json!(["a", "b", "c", "d", "e", "f"]),
        ),
        ("grammar", vec![json!(5)], json!("root ::= \"a\"")),
        ("schema", vec![json!([]), json!("a")], json!({})),
        ("stream", vec![json!("yes")], json!(false)),
    ];
    let fake = fake();
    for (field, wrong, right) in table {
        for value in wrong {
            let got = completion(&fake, json!({field: value})).await;
            assert_eq!(got.status, StatusCode::BAD_REQUEST, "{field} {value}");
            let body = got.json();
            assert_eq!(body["status"], 400);
            let message = body["error"].as_str().unwrap();
            assert!(message.starts_with(field), "{message}");
        }
        for value in [right, Value::Null] {
            let got = completion(&fake, json!({field: value})).await;
            assert_eq!(got.status, StatusCode::OK, "{field} {value}: {}", got.body);
        }
    }
}

#[crate::common::async_test]
async fn a_stop_text_ends_the_answer_and_is_not_in_it() {
    for stop in [
        json!("!"),
        json!(["!"]),
        json!(["1", "2", "3", "4", "5", "!"]),
    ] {
        let whole = completion(&fake(), json!({"stop": stop})).await.json();
        assert_eq!(whole["text"], "Hello 🦀");
        assert_eq!(whole["finish_reason"], "stop");
    }
    for stop in [json!(null), json!([])] {
        let whole = completion(&fake(), json!({"stop": stop})).await.json();
        assert_eq!(whole["text"], "Hello 🦀!");
    }
}

#[crate::common::async_test]
async fn a_long_prompt_loses_its_beginning_and_the_answer_says_so() {
    let long = "a".repeat(CONTEXT + 7);
    let fake = fake();
    let body = json!({"prompt": long, "max_tokens": 10});
    let whole = ask(&fake, "completions", body.clone()).await.json();
    let streamed = chunks(&fake, "completions", body).await;
    for end in [&whole, streamed.last().unwrap()] {
        assert_eq!(end["truncated_prompt"], true);
        assert_eq!(end["input_tokens"], CONTEXT - 10);
    }
    let one_of_two = json!({"prompt": ["Hi", long], "max_tokens": 10});
    let whole = ask(&fake, "completions", one_of_two).await.json();
    assert_eq!(whole["truncated_prompt"], true);
    // An answer that alone fills the context is one that no cut makes room for.
    let body = json!({"prompt": "Hi", "max_tokens": CONTEXT});
    let got = ask(&fake, "completions", body).await;
    assert_eq!(got.status, StatusCode::BAD_REQUEST);
}

#[crate::common::async_test]
async fn tokens_in_and_out_add_up() {
    for (options, most) in [
        (json!({"max_tokens": 3}), 3),
        (json!({"max_tokens": 3, "n": 4}), 12),
        (json!({}), 100),
    ] {
        let whole = completion(&fake(), options.clone()).await.json();
        let mut body = options;
        body["prompt"] = json!("Hi");
        let streamed = chunks(&fake(), "completions", body).await;
        let count = |end: &Value, name: &str| end[name].as_u64().unwrap();
        for end in [&whole, streamed.last().unwrap()] {
            let sum = count(end, "input_tokens") + count(end, "output_tokens");
            assert_eq!(sum, count(end, "total_tokens"));
            assert!(count(end, "output_tokens") <= most);
        }
    }
}

#[crate::common::async_test]
async fn a_stream_holds_the_whole_answer_and_only_its_last_chunk_ends_it() {
    let crab = "🦀".as_bytes();
    let pieces = [b"a\n\n", &crab[..1], &crab[1..3], &crab[3..], b"\"}{"];
    let split = || {
        Arc::new(Fake {
            says: Some(pieces.iter().map(|piece| piece.to_vec()).collect()),
            ..Fake::default()
        })
    };
    for (fake, body) in [
        (fake(), json!({"prompt": "Hi", "seed": 5})),
        (fake(), json!({"prompt": "Hi", "stop": "!"})),
        (fake(), json!({"prompt": "Hi", "max_tokens": 3})),
        (split(), json!({"prompt": "Hi"})),
        (split(), json!({"prompt": "Hi", "max_tokens": 2})),
        (split(), json!({"prompt": ["Hi", "Ho"], "n": 3})),
    ] {
        let whole = ask(&fake, "completions", body.clone()).await.json();
        let mut chunks = chunks(&fake, "completions", body).await;
        let count = whole["text"].as_array().map_or(1, Vec::len);
        let mut texts = vec![String::new(); count];
        for chunk in &chunks {
            let new = match &chunk["text"] {
                Value::Array(list) => list.clone(),
                text => vec![text.clone()],
            };
            assert_eq!(new.len(), count);
            for (text, new) in texts.iter_mut().zip(new) {
                text.push_str(new.as_str().unwrap());
            }
        }
        let last = chunks.pop().unwrap();
        for chunk in chunks {
            assert_eq!(chunk["reached_end"], false);
            assert_eq!(chunk.as_object().unwrap().len(), 2, "{chunk}");
        }
        let whole_texts = match &whole["text"] {
            Value::Array(list) => json!(list),
            text => json!([text]),
        };
        assert_eq!(json!(texts), whole_texts);
        let without_text = |mut answer: Value| {
            answer["text"] = Value::Null;
            answer
        };
        assert_eq!(without_text(last), without_text(whole));
    }
}

/// The same body as the other clients take it apart.
#[crate::common::async_test]
async fn a_stream_is_read_alike_by_lines_and_by_braces() {
    let got = completion(&fake(), json!({"stream": true})).await;
    assert!(!got.body.contains("data:") && !got.body.contains("[DONE]"));
    // ts-py and textsynthpy: by lines.
    let lines = got.body.split('\n').filter(|line| !line.is_empty());
    let lines: Vec<Value> = lines.map(|l| serde_json::from_str(l).unwrap()).collect();
    // dashjoin: between `}` and `{`.
    let frames = got.body.split("}\n\n{").count();
    assert_eq!((lines.len(), frames), (5, 5));
    assert_eq!(got.header("x-accel-buffering"), Some("no"));
}

/// The structs of the Rust crates, which fail where a field is missing.
#[crate::common::async_test]
async fn the_fields_that_clients_need_are_there() {
    #[derive(Deserialize)]
    #[allow(unused)]
    struct Completed {
        text: String,
        reached_end: bool,
        input_tokens: u32,
        output_tokens: u32,
        total_tokens: u32,
    }
    #[derive(Deserialize)]
    #[allow(unused)]
    struct Logprob {
        logprob: f64,
        is_greedy: bool,
        num_tokens: u32,
        input_tokens: u32,
        total_tokens: u32,
    }
    #[derive(Deserialize)]
    #[allow(unused)]
    struct Tokens {
        tokens: Vec<u32>,
    }
    #[derive(Deserialize)]
    #[allow(unused)]
    struct Credits {
        credits: i64,
    }
    let fake = fake();
    let body = json!({"prompt": "Hi"});
    let whole = ask(&fake, "completions", body.clone()).await.json();
    Completed::deserialize(whole).unwrap();
    let mut streamed = chunks(&fake, "completions", body).await;
    Completed::deserialize(streamed.pop().unwrap()).unwrap();
    let body = json!({"context": "a", "continuation": "b"});
    Logprob::deserialize(ask(&fake, "logprob", body).await.json()).unwrap();
    let body = json!({"text": "a"});
    Tokens::deserialize(ask(&fake, "tokenize", body).await.json()).unwrap();
    let credits = get(&fake, "/v1/credits").await.json();
    Credits::deserialize(credits).unwrap();
}

#[crate::common::async_test]
async fn a_score_is_the_sum_that_an_echo_gives() {
    let (context, continuation) = ("The capital of France is", " Paris é");
    let body = json!({"context": context, "continuation": continuation});
    let fake = fake();
    let score = ask(&fake, "logprob", body).await.json();
    let echo = json!({
        "prompt": format!("{context}{continuation}"), "echo": true, "logprobs": 1, "max_tokens": 0,
    });
    let echo = complete(&fake, echo).await.json();
    let logprobs = &echo["choices"][0]["logprobs"]["token_logprobs"];
    let logprobs = logprobs.as_array().unwrap();
    let tokens = continuation.len();
    let own = &logprobs[logprobs.len() - tokens..];
    let sum: f64 = own.iter().map(|value| value.as_f64().unwrap()).sum();
    let logprob = score["logprob"].as_f64().unwrap();
    assert!(logprob <= 0.0 && (logprob - sum).abs() < 1e-5, "{logprob}");
    assert_eq!(score["num_tokens"], tokens);
    // With the BOS that the tokenizer adds.
    assert_eq!(score["input_tokens"], 1 + context.len() + tokens);
    assert_eq!(score["total_tokens"], score["input_tokens"]);
    let seen = fake.seen.lock().unwrap();
    assert_eq!(seen[0].max_tokens, Some(0));
}

#[crate::common::async_test]
async fn a_continuation_is_greedy_where_each_token_is_the_likeliest() {
    let fake = Arc::new(Fake {
        likes: Some(b'a'.into()),
        ..Fake::default()
    });
    for (continuation, greedy) in [("a", true), ("aaa", true), ("b", false), ("aba", false)] {
        let body = json!({"context": "xyz", "continuation": continuation});
        let score = ask(&fake, "logprob", body).await.json();
        assert_eq!(score["is_greedy"], greedy, "{continuation}");
    }
}

#[crate::common::async_test]
async fn the_end_of_text_token_takes_the_place_of_an_empty_context() {
    let fake = fake();
    for context in [json!(""), json!(null)] {
        let body = json!({"context": context, "continuation": "ab"});
        let score = ask(&fake, "logprob", body).await.json();
        assert_eq!(
            (&score["num_tokens"], &score["input_tokens"]),
            (&json!(2), &json!(3))
        );
    }
    let expected = Prompt::Tokens(vec![EOS, b'a'.into(), b'b'.into()]);
    assert_eq!(fake.seen.lock().unwrap()[0].prompt, expected);
    let body = json!({"context": "a".repeat(CONTEXT), "continuation": "b"});
    let got = ask(&fake, "logprob", body).await;
    assert_eq!(got.status, StatusCode::BAD_REQUEST);
    assert!(
        got.json()["error"]
            .as_str()
            .unwrap()
            .contains("context length")
    );
}

#[crate::common::async_test]
async fn texts_take_turns_and_the_system_comes_first() {
    let fake = fake();
    let object = |role: &str, content: &str| json!({"role": role, "content": content});
    let objects = [
        object("user", "a"),
        object("assistant", "b"),
        object("user", "c"),
    ];
    for messages in [
        json!(["a", "b", "c"]),
        json!(objects),
        json!(["a", "b", objects[2]]),
    ] {
        let body = json!({"messages": messages, "system": "s", "max_tokens": 2});
        let got = ask(&fake, "chat", body).await;
        assert_eq!(got.status, StatusCode::OK, "{}", got.body);
    }
    ask(&fake, "chat", json!({"messages": ["a"], "system": ""})).await;
    let seen = fake.seen.lock().unwrap();
    let turns = seen.iter().map(|request| {
        let Prompt::Chat(chat) = &request.prompt else {
            panic!("no chat")
        };
        assert!(chat.add_generation_prompt && request.truncate_prompt);
        let turns = chat.messages.iter();
        let turns = turns.map(|turn| format!("{}:{}", turn.role, turn.content.as_ref().unwrap()));
        turns.collect::<Vec<_>>().join(" ")
    });
    let four = "system:s user:a assistant:b user:c";
    assert_eq!(turns.collect::<Vec<_>>(), [four, four, four, "user:a"]);
}

#[crate::common::async_test]
async fn a_conversation_streams_like_a_completion() {
    let body = json!({"messages": ["Hi"], "n": 2});
    let whole = ask(&fake(), "chat", body.clone()).await.json();
    let chunks = chunks(&fake(), "chat", body).await;
    let (last, before) = chunks.split_last().unwrap();
    assert!(before.iter().all(|chunk| chunk["reached_end"] == false));
    assert_eq!(last["total_tokens"], whole["total_tokens"]);
    assert_eq!(last["finish_reason"], json!(["stop", "stop"]));
}

#[crate::common::async_test]
async fn each_error_has_its_status_whole_and_streamed() {
    let wait = Duration::from_millis(2500);
    let table = [
        (
            Error::Invalid {
                field: "stop".into(),
                reason: "is odd".into(),
            },
            400,
            "stop: is odd",
        ),
        (
            Error::Template("there is none".into()),
            400,
            "chat template: there is none",
        ),
        (
            Error::Overloaded {
                queued: 9,
                retry_after: wait,
            },
            429,
            "The server is at capacity (9 requests waiting). Try again in 2 s.",
        ),
        (
            Error::Unavailable {
                reason: "loading".into(),
                retry_after: wait,
            },
            503,
            "loading",
        ),
        (
            Error::Internal("device lost".into()),
            500,
            "internal error: device lost",
        ),
    ];
    for (error, status, message) in table {
        let fake = Arc::new(Fake {
            refuse: Some(error),
            ..Fake::default()
        });
        let body = json!({"context": "a", "continuation": "b"});
        for got in [
            completion(&fake, json!({})).await,
            completion(&fake, json!({"stream": true})).await,
            ask(&fake, "logprob", body).await,
        ] {
            assert_eq!(got.status, status, "{message}");
            assert_eq!(got.json(), json!({"status": status, "error": message}));
            let retry = [429, 503].contains(&status).then_some("3");
            assert_eq!(got.header("retry-after"), retry);
        }
    }
}

#[crate::common::async_test]
async fn a_failure_in_mid_stream_is_the_last_chunk() {
    let fake = Arc::new(Fake {
        fail_after: Some((2, Error::Internal("device lost".into()))),
        ..Fake::default()
    });
    for options in [json!({}), json!({"n": 3})] {
        let mut body = options;
        body["prompt"] = json!("Hi");
        let mut chunks = chunks(&fake, "completions", body).await;
        let error = json!({"status": 500, "error": "internal error: device lost"});
        assert_eq!(chunks.pop(), Some(error));
        for chunk in chunks {
            assert!(chunk.get("error").is_none() && chunk["reached_end"] == false);
        }
    }
}

#[crate::common::async_test]
async fn what_the_models_here_cannot_do_is_said_to_be_unsupported() {
    for what in [
        "translate",
        "text_to_image",
        "transcript",
        "speech",
        "embeddings",
    ] {
        let got = post(&fake(), &format!("/v1/engines/tiny/{what}"), "--part").await;
        let error = got.json();
        assert_eq!(
            (got.status, &error["status"]),
            (StatusCode::NOT_FOUND, &json!(404))
        );
        let begin = format!("`{what}` is not supported");
        assert!(error["error"].as_str().unwrap().starts_with(&begin));
    }
}

#[crate::common::async_test]
async fn paths_answer_at_the_root_and_without_a_model_say_so() {
    let fake = fake();
    let body = json!({
        "prompt": "a", "messages": ["a"], "context": "a", "continuation": "b", "text": "a",
    });
    for endpoint in ["completions", "chat", "logprob", "tokenize"] {
        let path = format!("/v1/engines/tiny/{endpoint}");
        let got = post(&fake, &path, body.to_string()).await;
        assert_eq!(got.status, StatusCode::OK, "{path}");
        assert!(got.json().get("error").is_none());
    }
    *fake.unloaded.lock().unwrap() = true;
    for endpoint in ["completions", "chat", "logprob", "tokenize"] {
        let got = ask(&fake, endpoint, body.clone()).await;
        assert_eq!(got.status, StatusCode::SERVICE_UNAVAILABLE, "{endpoint}");
        assert_eq!(got.json()["status"], 503);
    }
    let engines = get(&fake, "/v1/engines").await.json();
    let unknown = json!({"id": "tiny", "context_length": null, "vocab_size": null});
    assert_eq!(engines["engines"][0], unknown);
}

/// Any body.
#[cfg(not(target_arch = "wasm32"))]
mod any {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Map;

    const FIELDS: [&str; 20] = [
        "prompt",
        "messages",
        "system",
        "context",
        "continuation",
        "text",
        "token_content_type",
        "max_tokens",
        "stream",
        "stop",
        "n",
        "temperature",
        "top_k",
        "top_p",
        "seed",
        "logit_bias",
        "presence_penalty",
        "typical_p",
        "grammar",
        "schema",
    ];

    const ENDPOINTS: [&str; 5] = ["completions", "chat", "logprob", "tokenize", "translate"];

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-3i64..30).prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            (0f64..1.0).prop_map(Value::from),
            "[a-z🦀é\\\\\"]{0,6}".prop_map(Value::from),
            Just(json!({"role": "user", "content": "Hi"})),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z]{0,5}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// What all endpoints need, and some fields that may be anything.
    fn any_body() -> impl Strategy<Value = Value> {
        let field = prop::sample::select(&FIELDS[..]);
        let fields = prop::collection::btree_map(field, any_json(), 0..4);
        (any::<bool>(), any::<bool>(), fields).prop_map(|(sane, stream, fields)| {
            let sane = sane.then(|| {
                json!({
                    "prompt": "Hé", "messages": ["Hé"], "context": "a", "continuation": "b",
                    "text": "é", "stream": stream,
                })
            });
            let mut body = match sane {
                Some(Value::Object(map)) => map,
                _ => Map::new(),
            };
            body.extend(fields.into_iter().map(|(name, value)| (name.into(), value)));
            body.into()
        })
    }

    fn send(endpoint: &str, body: Vec<u8>) -> Got {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let path = format!("{ENGINE}/{endpoint}");
        { runtime }
            .build()
            .unwrap()
            .block_on(post(&fake(), &path, body))
    }

    fn check(got: &Got) -> Result<(), TestCaseError> {
        prop_assert_eq!(got.header("content-type"), Some("application/json"));
        if got.status == StatusCode::OK {
            let frames = got.body.strip_suffix("\n\n").unwrap_or(&got.body);
            for frame in frames.split("\n\n") {
                let answer: Value = serde_json::from_str(frame).expect(frame);
                prop_assert!(answer.get("error").is_none());
            }
            return Ok(());
        }
        prop_assert!(got.status.is_client_error(), "{}", got.status);
        let error = got.json();
        prop_assert!(error["error"].is_string());
        prop_assert_eq!(&error["status"], got.status.as_u16());
        prop_assert_eq!(error.as_object().unwrap().len(), 2);
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn any_body_is_answered_or_refused_in_our_shape(
            body in prop_oneof![8 => any_body(), 1 => any_json()],
            endpoint in prop::sample::select(&ENDPOINTS[..]),
        ) {
            check(&send(endpoint, body.to_string().into_bytes()))?;
        }

        #[test]
        fn any_bytes_are_refused_in_our_shape(
            body in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..40),
                "[\\[\\]{}\",:0-9a-z\\\\. -]{0,60}".prop_map(String::into_bytes),
            ],
            endpoint in prop::sample::select(&ENDPOINTS[..]),
        ) {
            let got = send(endpoint, body);
            prop_assert!(got.status.is_client_error());
            check(&got)?;
        }
    }
}
