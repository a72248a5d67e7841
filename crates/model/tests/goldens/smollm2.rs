//! SmolLM2 in Q4_1 against `transformers` and plain numpy on dequantized weights. Needs the file: `TINDERBOX_TEST_MODELS`.

use std::path::Path;

use burn::tensor::Device;
use futures::executor::block_on;
use serde::Deserialize;
use tinderbox_kernels::{Format, reference};
use tinderbox_model::gguf::Gguf;
use tinderbox_model::gguf::write::Writer;
use tinderbox_model::{
    Checkpoint, Decoder, FileStorage, KvType, LoadOptions, MemoryStorage, Storage,
};

use crate::{FLOAT, argmax, common, golden_folder, log_softmax, logits};

pub const MODEL: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";

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
    if let Some(path) = common::real_model(MODEL) {
        let checkpoint = block_on(Checkpoint::open(&path)).unwrap();
        check(&checkpoint, &Device::flex(), TOLERANCE);
    }
}

/// The weights of the file in single precision, as the judges have them.
#[test]
fn smollm2_in_plain_floats_is_within_a_thousandth() {
    if let Some(path) = common::real_model(MODEL) {
        let floats = MemoryStorage::new("floats.gguf", plain_floats(&path).to_bytes());
        let checkpoint = block_on(Checkpoint::from_gguf(vec![Box::new(floats)])).unwrap();
        assert_eq!(checkpoint.formats(), [Format::F32]);
        check(&checkpoint, &Device::flex(), FLOAT);
    }
}

fn plain_floats(path: &Path) -> Writer {
    let source = FileStorage::open(path).unwrap();
    let Gguf { metadata, tensors } = block_on(Gguf::read(&source)).unwrap();
    let mut file = Writer::default();
    for (key, value) in metadata.iter() {
        file.set(key, value.clone());
    }
    for (name, entry) in tensors {
        let bytes = block_on(source.read(entry.offset, entry.len)).unwrap();
        let values = reference::dequantize(entry.info.format, &bytes);
        file.f32(name, &entry.info.shape, &values);
    }
    file
}

#[test]
#[cfg(feature = "gpu")]
fn smollm2_says_the_same_on_a_gpu() {
    match tinderbox_kernels::select(tinderbox_kernels::Choice::Gpu) {
        Ok(selected) => {
            if let Some(path) = common::real_model(MODEL) {
                let checkpoint = block_on(Checkpoint::open(&path)).unwrap();
                check(&checkpoint, &selected.device, TOLERANCE);
            }
        }
        Err(error) => eprintln!("SKIP: {error}"),
    }
}

fn cases(judge: &str) -> Vec<Case> {
    let golden = std::fs::read(golden_folder().join(judge)).unwrap();
    let File { model, cases } = serde_json::from_slice(&golden).unwrap();
    assert_eq!(model, MODEL, "{judge}");
    cases
}

fn check(checkpoint: &Checkpoint, device: &Device, tolerance: f32) {
    // As many blocks as the table of `logits` has, large enough for prompt and answer.
    let options = LoadOptions {
        context: 128,
        block_size: 32,
        blocks: 8,
        kv: KvType::F32,
    };
    let mut decoder = block_on(Decoder::load(checkpoint, device, options)).unwrap();
    let mut failures = Vec::new();
    let judges = ["smollm2.json", "smollm2_oracle.json"];
    for case in judges.into_iter().flat_map(cases) {
        let ids = checkpoint
            .tokenizer
            .encode(&case.prompt, Some(false))
            .unwrap();
        assert_eq!(ids, case.prompt_tokens, "{:?}", case.prompt);
        let mut rows = logits(&mut decoder, &ids, 0).unwrap();
        for ((row, &token), &expected) in rows.iter().zip(&ids[1..]).zip(&case.prompt_logprobs) {
            let found = log_softmax(row, token);
            if (found - expected).abs() >= tolerance {
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
            if best != token || (found - logprob).abs() >= tolerance {
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
