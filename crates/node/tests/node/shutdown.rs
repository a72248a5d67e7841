//! How the binary ends: with what runs, out of time, at once, and before it is ready.

use std::process::Command;

use crate::common::{CONTEXT, Process, Server};
use reqwest::{Client, Response};
use serde_json::json;
use tokio::net::TcpListener;

/// A stream of `tokens` tokens, after its first piece.
async fn streaming(server: &Server, tokens: u32) -> Response {
    let body = json!({"prompt": "hello", "max_tokens": tokens, "temperature": 0, "ignore_eos": true,
        "stream": true, "stream_options": {"include_usage": true}});
    let request = Client::new().post(format!("{}/v1/completions", server.url));
    let mut answer = request.body(body.to_string()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    answer.chunk().await.unwrap().expect("a first piece");
    answer
}

/// A server with room for an answer that takes far longer than a test.
fn server(set: impl FnOnce(&mut Command)) -> Server {
    Server::start(|command| {
        command.args(["--context", &CONTEXT.to_string(), "--kv-type", "f32"]);
        set(command);
    })
}

const ENDLESS: u32 = CONTEXT - 100;

#[tokio::test]
async fn a_running_stream_is_finished_and_nothing_more_is_taken() {
    let mut server = server(|_| {});
    let answer = streaming(&server, 3000).await;
    server.process.terminate();
    let rest = answer.text().await.unwrap();
    assert!(rest.contains(r#""completion_tokens":3000"#), "{rest}");
    assert!(rest.ends_with("data: [DONE]\n\n"), "{rest}");
    assert_eq!(server.process.ended().await.code(), Some(0));
    let log = server.process.log();
    assert!(log.contains("finishing what runs"), "{log}");
    let asked = Client::new().get(format!("{}/health", server.url));
    assert!(asked.send().await.is_err());
}

#[tokio::test]
async fn out_of_time_a_stream_ends_with_an_error_and_the_process_in_peace() {
    let mut server = server(|command| {
        command.args(["--shutdown-timeout", "0"]);
    });
    let answer = streaming(&server, ENDLESS).await;
    server.process.terminate();
    let rest = answer.text().await.unwrap();
    assert!(rest.contains(r#"{"error":"#), "{rest}");
    assert_eq!(server.process.ended().await.code(), Some(0));
    let log = server.process.log();
    assert!(log.contains("out of time"), "{log}");
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let mut server = server(|_| {});
    let _answer = streaming(&server, ENDLESS).await;
    server.process.terminate();
    server.process.logged("finishing what runs").await;
    // The next signal is waited for a moment later.
    for _ in 0..3000 {
        if server.process.child.try_wait().unwrap().is_some() {
            break;
        }
        server.process.terminate();
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(server.process.ended().await.code(), Some(1));
    let log = server.process.log();
    assert!(log.contains("stopped at once"), "{log}");
}

#[tokio::test]
async fn a_model_that_is_still_fetched_does_not_hold_it_up() {
    // A hub that takes the connection and never says a word.
    let hub = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", hub.local_addr().unwrap());
    let cache = tempfile::tempdir().unwrap();
    let mut process = Process::serve(|command| {
        command.args(["--model", "hf:owner/repo/model.gguf", "--cache"]);
        command.arg(cache.path()).env("HF_ENDPOINT", endpoint);
    });
    let _connection = hub.accept().await.unwrap();
    process.terminate();
    assert_eq!(process.ended().await.code(), Some(0));
    let log = process.log();
    assert!(log.contains("stopped while loading"), "{log}");
}
