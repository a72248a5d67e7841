//! Half a minute of 64 callers in mixed dialects, half of whom hang up: nothing is lost or mixed up,
//! memory stays flat, and what was left behind is freed.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::Server;
use futures::StreamExt;
use futures::future::join_all;
use serde_json::{Value, json};

const CALLERS: usize = 64;
const TIME: Duration = Duration::from_secs(30);
/// Tokens of an answer.
const LENGTH: usize = 60;

/// How an answer's text is read out of a streamed body.
type Read = fn(&str) -> String;

/// A way to ask for the continuation of a text, greedily and as a stream.
struct Dialect {
    path: &'static str,
    body: fn(&str) -> Value,
    read: Read,
}

const DIALECTS: [Dialect; 5] = [
    Dialect {
        path: "/v1/completions",
        body: |prompt| json!({"prompt": prompt, "max_tokens": LENGTH, "temperature": 0, "ignore_eos": true, "stream": true}),
        read: |body| {
            events(body, |event| {
                event["choices"][0]["text"].as_str().map(str::to_owned)
            })
        },
    },
    Dialect {
        path: "/v1/chat/completions",
        body: |prompt| {
            json!({"messages": [{"role": "user", "content": prompt}], "max_tokens": LENGTH,
                "temperature": 0, "ignore_eos": true, "stream": true})
        },
        read: |body| {
            events(body, |event| {
                let text = &event["choices"][0]["delta"]["content"];
                text.as_str().map(str::to_owned)
            })
        },
    },
    Dialect {
        path: "/generate_stream",
        body: |prompt| json!({"inputs": prompt, "parameters": {"max_new_tokens": LENGTH, "ignore_eos_token": true}}),
        // The last event has the whole text.
        read: |body| {
            let last = body.trim_end().rsplit("\n\n").next().unwrap();
            let event: Value = serde_json::from_str(last.strip_prefix("data:").unwrap()).unwrap();
            event["generated_text"].as_str().unwrap_or_default().into()
        },
    },
    Dialect {
        path: "/generate",
        body: |prompt| {
            json!({"prompt": prompt, "max_tokens": LENGTH, "do_sample": false,
                "repetition_penalty": 1.0, "stream": true})
        },
        read: |body| {
            assert!(body.ends_with("data: [DONE]\n\n"), "{body}");
            let text = body.lines().filter_map(|line| line.strip_prefix("data: "));
            text.filter(|text| *text != "[DONE]").collect()
        },
    },
    Dialect {
        path: "/v1/engines/tiny/completions",
        body: |prompt| json!({"prompt": prompt, "max_tokens": LENGTH, "top_k": 1, "stream": true}),
        read: |body| {
            let answers = body.split_terminator("\n\n");
            let answers = answers.map(|answer| serde_json::from_str::<Value>(answer).unwrap());
            let answers: Vec<_> = answers.collect();
            assert_eq!(answers.last().unwrap()["reached_end"], true);
            answers
                .iter()
                .map(|a| a["text"].as_str().unwrap())
                .collect()
        },
    },
];

/// The texts of OpenAI's events, which end with the mark.
fn events(body: &str, text: impl Fn(&Value) -> Option<String>) -> String {
    let (events, _) = body
        .split_once("data: [DONE]")
        .expect("the mark at the end");
    let events = events
        .lines()
        .filter_map(|line| line.strip_prefix("data: "));
    let events = events.map(|event| serde_json::from_str(event).unwrap());
    events.filter_map(|event: Value| text(&event)).collect()
}

#[tokio::test]
async fn many_streams_in_mixed_dialects_are_all_answered_and_those_left_behind_are_freed() {
    let server = Server::start(|command| {
        command.args(["--locallab-rate", "0", "--context", "512"]);
        command.env("RUST_LOG", "error");
    });
    let client = reqwest::Client::new();
    let prompts: Vec<String> = (b'a'..=b'h')
        .map(|c| format!("hello {}", char::from(c)))
        .collect();

    // What each prompt gives alone, in each dialect.
    let mut alone = Vec::new();
    for dialect in &DIALECTS {
        for prompt in &prompts {
            let body = (dialect.body)(prompt).to_string();
            let asked = client
                .post(format!("{}{}", server.url, dialect.path))
                .body(body);
            let text = asked.send().await.unwrap().text().await.unwrap();
            let text = (dialect.read)(&text);
            assert!(!text.is_empty(), "{}", dialect.path);
            alone.push(text);
        }
    }
    let alone = Arc::new(alone);

    let (whole, left) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let start = Instant::now();
    let callers = (0..CALLERS).map(|caller| {
        let (client, alone, prompts) = (&client, &alone, &prompts);
        let (server, whole, left) = (&server, &whole, &left);
        async move {
            let mut turn = caller;
            while start.elapsed() < TIME {
                turn += CALLERS + 1;
                let (dialect, prompt) = (turn % DIALECTS.len(), turn / 5 % prompts.len());
                let spoken = &DIALECTS[dialect];
                let body = (spoken.body)(&prompts[prompt]).to_string();
                let asked = client
                    .post(format!("{}{}", server.url, spoken.path))
                    .body(body);
                let answer = asked.send().await.unwrap();
                assert_eq!(answer.status(), 200, "{}", spoken.path);
                if turn / 7 % 2 == 0 {
                    let text = (spoken.read)(&answer.text().await.unwrap());
                    assert_eq!(
                        text,
                        alone[dialect * prompts.len() + prompt],
                        "{}",
                        spoken.path
                    );
                    whole.fetch_add(1, Ordering::Relaxed);
                } else {
                    // Hangs up after a piece of it.
                    answer.bytes_stream().next().await.unwrap().unwrap();
                    left.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    });
    let memory = async {
        tokio::time::sleep(TIME / 4).await;
        server.memory()
    };
    let (_, early) = futures::join!(join_all(callers), memory);
    let late = server.memory();
    println!("{whole:?} whole answers, {left:?} left behind, {early} then {late} bytes");
    assert!(whole.into_inner() > 10 * CALLERS && left.into_inner() > 10 * CALLERS);
    assert!(
        late < early + (8 << 20),
        "memory grew from {early} to {late} bytes"
    );

    // What nobody waits for any more ends within a step; a few seconds are plenty.
    let gauge = |text: &str, name: &str| -> f64 {
        let line = text
            .lines()
            .find(|line| line.starts_with(name))
            .expect(name);
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let mut metrics = String::new();
    for _ in 0..50 {
        let asked = client.get(format!("{}/metrics", server.url));
        metrics = asked.send().await.unwrap().text().await.unwrap();
        if gauge(&metrics, "tinderbox_kv_blocks_used") == 0.0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for name in [
        "tinderbox_kv_blocks_used",
        "tinderbox_running_sequences",
        "tinderbox_queue_length",
    ] {
        assert_eq!(gauge(&metrics, name), 0.0, "{metrics}");
    }
}
