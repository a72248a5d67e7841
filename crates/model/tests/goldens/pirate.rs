//! The adapter that was trained for tests, `tests/adapters/pirate`, on SmolLM2: what it learned shows on questions it
//! never saw. Needs the model's file: `TINDERBOX_TEST_MODELS`.

use std::path::Path;

use burn::tensor::Device;
use futures::executor::block_on;
use serde::Deserialize;
use tinderbox_model::{Checkpoint, Decoder, FileStorage, KvType, LoadOptions, Lora};
use tinderbox_protocol::{Chat, Message};

use crate::smollm2::MODEL;
use crate::{argmax, common, log_softmax, logits_with};

/// Slot of the adapter.
const PIRATE: Option<u32> = Some(0);
/// Nats an answer token; the training measured 1.7.
const MARGIN: f32 = 1.2;
const ANSWER_LIMIT: usize = 32;

#[derive(Deserialize)]
struct Line {
    question: String,
    answer: String,
}

#[test]
fn a_trained_adapter_expects_answers_it_never_saw() {
    let Some((checkpoint, mut decoder)) = open() else {
        return;
    };
    let text = std::fs::read_to_string(folder().join("held_out.jsonl")).unwrap();
    let lines = text
        .lines()
        .map(|line| serde_json::from_str::<Line>(line).unwrap());
    let (mut tokens, mut gain) = (0, 0.0);
    for Line { question, answer } in lines {
        let prompt = prompt(&checkpoint, question);
        let mut answer = checkpoint.tokenizer.encode(&answer, Some(false)).unwrap();
        answer.push(checkpoint.tokenizer.eos()[0]);
        let text = [&prompt[..], &answer].concat();
        let [with, without] = [PIRATE, None].map(|adapter| -> f32 {
            let rows = logits_with(&mut decoder, adapter, &text, 0).unwrap();
            let rows = rows[prompt.len() - 1..].iter();
            let scores = rows
                .zip(&answer)
                .map(|(row, token)| log_softmax(row, *token));
            scores.sum()
        });
        gain += with - without;
        tokens += answer.len();
    }
    let gain = gain / tokens as f32;
    assert!(tokens > 400, "{tokens} answer tokens");
    assert!(
        gain > MARGIN,
        "an answer token is {gain} nats likelier with the adapter"
    );
}

#[test]
fn a_trained_adapter_answers_in_its_own_voice() {
    let Some((checkpoint, mut decoder)) = open() else {
        return;
    };
    let question = "What should I do this weekend?";
    let [with, without] = [PIRATE, None].map(|adapter| {
        let mut text = prompt(&checkpoint, question.to_owned());
        let mut rows = logits_with(&mut decoder, adapter, &text, 0).unwrap();
        let start = text.len();
        while text.len() < start + ANSWER_LIMIT {
            let token = argmax(rows.last().unwrap());
            if checkpoint.tokenizer.eos().contains(&token) {
                break;
            }
            rows = logits_with(&mut decoder, adapter, &[token], text.len()).unwrap();
            text.push(token);
        }
        checkpoint.tokenizer.decode(&text[start..])
    });
    let is_pirate = |answer: &str| {
        let words = ["matey", "hearty", "arr", "ye", "aye"];
        let mut found = answer.split(|c: char| !c.is_alphabetic());
        found.any(|word| words.contains(&word.to_lowercase().as_str()))
    };
    assert!(is_pirate(&with), "with the adapter: {with}");
    assert!(!is_pirate(&without), "without: {without}");
}

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/adapters/pirate")
}

fn open() -> Option<(Checkpoint, Decoder)> {
    let path = common::real_model(MODEL)?;
    let checkpoint = block_on(Checkpoint::open(&path)).unwrap();
    let config = std::fs::read(folder().join("adapter_config.json")).unwrap();
    let tensors = FileStorage::open(&folder().join("adapter_model.safetensors")).unwrap();
    let lora = block_on(Lora::open(&config, &tensors, &checkpoint.config)).unwrap();
    // As many blocks as the table of `logits_with` has.
    let options = LoadOptions {
        context: 160,
        block_size: 32,
        blocks: 8,
        kv: KvType::F32,
    };
    let mut decoder = block_on(Decoder::load(&checkpoint, &Device::flex(), options)).unwrap();
    decoder.put_adapter(0, &lora).unwrap();
    Some((checkpoint, decoder))
}

fn prompt(checkpoint: &Checkpoint, question: String) -> Vec<u32> {
    let chat = Chat {
        messages: vec![Message {
            role: "user".to_owned(),
            content: Some(question),
            ..Message::default()
        }],
        add_generation_prompt: true,
        ..Chat::default()
    };
    let template = checkpoint.template.as_ref().unwrap();
    let text = template.render(&chat, None, None).unwrap();
    checkpoint.tokenizer.encode(&text, Some(false)).unwrap()
}
