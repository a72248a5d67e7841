//! SmolLM2 in Q4_1 against `transformers` on dequantized weights. Needs the file: `TINDERBOX_TEST_MODELS`.

use burn::tensor::Device;
use futures::executor::block_on;
use serde::Deserialize;
use tinderbox_model::{Checkpoint, Decoder, KvType, LoadOptions};

use crate::{argmax, common, golden_folder, log_softmax, logits};

/// Nats, for tokens of the prompt and of the answer. Activations of 8 bits would miss it by four times and turn the first
/// answer round, in `transformers` as well as here.
const TOLERANCE: f32 = 0.05;

#[derive(Deserialize)]
struct File {
    model: String,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    prompt: String,
    prompt_tokens: Vec<u32>,
    /// From the second token on.
    prompt_logprobs: Vec<f32>,
    text: String,
    steps: Vec<Chosen>,
}

#[derive(Deserialize)]
struct Chosen {
    token: u32,
    logprob: f32,
}

#[test]
fn smollm2_says_what_transformers_says() {
    check(&Device::flex());
}

#[test]
#[cfg(feature = "gpu")]
fn smollm2_says_the_same_on_a_gpu() {
    match tinderbox_kernels::select(tinderbox_kernels::Choice::Gpu) {
        Ok(selected) => check(&selected.device),
        Err(error) => eprintln!("SKIP: {error}"),
    }
}

fn check(device: &Device) {
    let golden = std::fs::read(golden_folder().join("smollm2.json")).unwrap();
    let File { model, cases } = serde_json::from_slice(&golden).unwrap();
    let Some(path) = common::real_model(&model) else {
        return;
    };
    let checkpoint = block_on(Checkpoint::open(&path)).unwrap();
    // As many blocks as the table of `logits` has, large enough for prompt and answer.
    let options = LoadOptions {
        context: 128,
        block_size: 32,
        blocks: 8,
        kv: KvType::F32,
    };
    let mut decoder = block_on(Decoder::load(&checkpoint, device, options)).unwrap();
    let mut failures = Vec::new();
    for case in cases {
        let ids = checkpoint
            .tokenizer
            .encode(&case.prompt, Some(false))
            .unwrap();
        assert_eq!(ids, case.prompt_tokens, "{:?}", case.prompt);
        let mut rows = logits(&mut decoder, &ids, 0).unwrap();
        for ((row, &token), &expected) in rows.iter().zip(&ids[1..]).zip(&case.prompt_logprobs) {
            let found = log_softmax(row, token);
            if (found - expected).abs() >= TOLERANCE {
                failures.push(format!(
                    "{:?}, prompt token {token}: {found}, expected {expected}",
                    case.prompt
                ));
            }
        }
        let mut row = rows.pop().unwrap();
        let mut said = Vec::new();
        for (step, &Chosen { token, logprob }) in case.steps.iter().enumerate() {
            let (best, found) = (argmax(&row), log_softmax(&row, token));
            if best != token || (found - logprob).abs() >= TOLERANCE {
                failures.push(format!(
                    "{:?}, step {step}: {token} at {found} and best {best}, expected {logprob}",
                    case.prompt
                ));
            }
            if !checkpoint.tokenizer.eos().contains(&token) {
                said.push(token);
            }
            row = logits(&mut decoder, &[token], ids.len() + step)
                .unwrap()
                .remove(0);
        }
        assert_eq!(checkpoint.tokenizer.decode(&said), case.text);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
