//! Any text in any pieces: the stream of each dialect is whole frames, one of which is the last, and
//! says what the model said. LocalLab's, which changes the text, is in `locallab.rs`.

use std::sync::Arc;

use crate::common::{self, Fake, app};
use axum::body::Body;
use axum::http::Request;
use futures::StreamExt;
use proptest::prelude::*;
use serde_json::{Value, json};
use tower::ServiceExt;

/// How a client reads the text out of the frames of a stream.
type Read = fn(&[String]) -> String;

const DIALECTS: [(&str, Read); 6] = [
    ("/v1/completions", |frames| {
        openai(frames, |choice| &choice["text"])
    }),
    ("/v1/chat/completions", |frames| {
        openai(frames, |choice| &choice["delta"]["content"])
    }),
    ("/lorax/generate_stream", lorax),
    ("/lorax", lorax),
    ("/v1/engines/tiny/completions", textsynth),
    ("/v1/engines/tiny/chat", textsynth),
];

fn parsed(frame: &str) -> Value {
    serde_json::from_str(frame.strip_prefix("data: ").unwrap_or(frame)).expect(frame)
}

fn openai(frames: &[String], text: fn(&Value) -> &Value) -> String {
    let (end, chunks) = frames.split_last().unwrap();
    assert_eq!(end, "data: [DONE]");
    let chunks: Vec<Value> = chunks.iter().map(|frame| parsed(frame)).collect();
    let ends = |chunk: &Value| chunk["choices"][0]["finish_reason"].is_string();
    assert_eq!(chunks.iter().position(ends), Some(chunks.len() - 1));
    let texts = chunks.iter().map(|chunk| text(&chunk["choices"][0]));
    texts.filter_map(Value::as_str).collect()
}

fn lorax(frames: &[String]) -> String {
    let events: Vec<Value> = frames.iter().map(|frame| parsed(frame)).collect();
    let ends = |event: &Value| event["generated_text"].is_string();
    assert_eq!(events.iter().position(ends), Some(events.len() - 1));
    let texts = events.iter().map(|event| event["token"]["text"].as_str());
    let text = texts.map(Option::unwrap).collect();
    assert_eq!(events.last().unwrap()["generated_text"], text);
    text
}

fn textsynth(frames: &[String]) -> String {
    let answers: Vec<Value> = frames.iter().map(|frame| parsed(frame)).collect();
    let ends = |answer: &Value| answer["reached_end"] == true;
    assert_eq!(answers.iter().position(ends), Some(answers.len() - 1));
    let texts = answers.iter().map(|answer| answer["text"].as_str());
    texts.map(Option::unwrap).collect()
}

/// The frames of a stream; each chunk of its body is whole frames of one line.
async fn frames(path: &str, pieces: Vec<Vec<u8>>) -> Vec<String> {
    let body = json!({
        "prompt": "a", "inputs": "a", "stream": true, "max_tokens": 100,
        "messages": match path.contains("engines") {
            true => json!(["a"]),
            false => common::hi(),
        },
    });
    let request = Request::post(path).body(Body::from(body.to_string()));
    let fake = Arc::new(Fake {
        says: Some(pieces),
        ..Fake::default()
    });
    let answer = app(&fake).oneshot(request.unwrap()).await.unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    let mut frames = Vec::new();
    let mut chunks = answer.into_body().into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = String::from_utf8(chunk.unwrap().to_vec()).expect("whole characters");
        let whole = chunk.strip_suffix("\n\n").expect("whole frames");
        frames.extend(whole.split("\n\n").map(str::to_owned));
    }
    assert!(
        frames.iter().all(|frame| !frame.contains('\n')),
        "{frames:?}"
    );
    frames
}

/// A text cut anywhere, characters too.
fn any_pieces() -> impl Strategy<Value = (String, Vec<Vec<u8>>)> {
    let text = "([ \n\r\ta-c\"\\\\{}\\[\\]é🦀\u{2028}\u{0}]|data: |\\[DONE\\]){0,12}";
    let cuts = prop::collection::btree_set(0..40usize, 0..12);
    (text, cuts).prop_map(|(text, cuts)| {
        let mut rest = text.as_bytes();
        let mut pieces = Vec::new();
        for cut in cuts {
            let (piece, after) = rest.split_at(cut.min(rest.len()) / 2);
            pieces.push(piece.to_vec());
            rest = after;
        }
        pieces.push(rest.to_vec());
        (text, pieces)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_text_in_any_pieces_streams_whole_in_each_dialect((text, pieces) in any_pieces()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        for (path, read) in DIALECTS {
            let frames = runtime.block_on(frames(path, pieces.clone()));
            prop_assert_eq!(&read(&frames), &text, "{}: {:?}", path, frames);
        }
    }
}
