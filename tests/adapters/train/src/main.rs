//! Teaches SmolLM2 to speak like a pirate: a LoRA adapter by gradient descent, on two cores, in minutes.
//!
//! `train-adapter MODEL.gguf FOLDER` reads `train.jsonl` and `held_out.jsonl` of the folder, and writes the
//! adapter beside them.

mod llama;
mod lora;

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use burn::tensor::activation::log_softmax;
use burn::tensor::{DType, Device, Distribution, Int, Tensor, TensorData};
use futures::executor::block_on;
use serde::Deserialize;
use tinderbox_model::Checkpoint;
use tinderbox_protocol::{Chat, Message};

use crate::llama::Llama;
use crate::lora::Adapter;

const BASE: &str = "HuggingFaceTB/SmolLM2-135M-Instruct";
const EPOCHS: usize = 4;
/// Texts a step.
const BATCH: usize = 4;
/// Highest step of Adam; reached after `WARMUP` steps, and falling to zero at the end.
const RATE: f32 = 2e-3;
const WARMUP: usize = 10;
const SEED: u64 = 7;
/// Asked before and after; none of them is in either file.
const QUESTIONS: [&str; 3] = [
    "What is the capital of Germany?",
    "How do I make a sandwich?",
    "What should I do this weekend?",
];
const ANSWER_LIMIT: usize = 40;

#[derive(Deserialize)]
struct Line {
    question: String,
    answer: String,
}

/// A question as the model's template has it, then its answer, which alone is learned.
struct Example {
    tokens: Vec<u32>,
    /// Where the answer begins.
    answer: usize,
}

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(model), Some(folder)) = (arguments.next(), arguments.next()) else {
        anyhow::bail!("train-adapter MODEL.gguf FOLDER");
    };
    let folder = Path::new(&folder);
    let checkpoint = block_on(Checkpoint::open(Path::new(&model)))?;
    let train = examples(&checkpoint, &folder.join("train.jsonl"))?;
    let held_out = examples(&checkpoint, &folder.join("held_out.jsonl"))?;

    let device = Device::flex();
    device.seed(SEED);
    let llama = Llama::load(&checkpoint, &device)?;
    let mut adapter = Adapter::new(&llama, &device);
    println!("before");
    show(&checkpoint, &llama, &adapter.frozen(), &held_out)?;

    let start = Instant::now();
    let steps = EPOCHS * train.len().div_ceil(BATCH);
    let mut step = 0;
    for _ in 0..EPOCHS {
        // A shuffle: the order of as many random numbers.
        let order = Tensor::<1>::random([train.len()], Distribution::Default, &device).argsort(0);
        let order: Vec<usize> = order
            .into_data()
            .iter::<i64>()
            .map(|i| i as usize)
            .collect();
        for batch in order.chunks(BATCH) {
            let batch: Vec<&Example> = batch.iter().map(|index| &train[*index]).collect();
            let loss = losses(&llama, &adapter, &batch).mean();
            let gradients = loss.backward();
            step += 1;
            let rise = step as f32 / WARMUP as f32;
            let fall = (steps - step) as f32 / (steps - WARMUP) as f32;
            adapter.learn(&gradients, RATE * rise.min(fall), step as i32);
            let (loss, seconds) = (loss.into_scalar::<f32>(), start.elapsed().as_secs());
            println!("step {step} of {steps}: loss {loss:.3}, {seconds} s");
        }
    }

    println!("after");
    show(&checkpoint, &llama, &adapter.frozen(), &held_out)?;
    adapter.save(folder, BASE)
}

fn examples(checkpoint: &Checkpoint, file: &Path) -> Result<Vec<Example>> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let example = |line: &str| {
        let Line { question, answer } = serde_json::from_str(line)?;
        let mut tokens = prompt(checkpoint, question)?;
        let start = tokens.len();
        tokens.extend(checkpoint.tokenizer.encode(&answer, Some(false))?);
        tokens.push(checkpoint.tokenizer.eos()[0]);
        Ok(Example {
            tokens,
            answer: start,
        })
    };
    text.lines().map(example).collect()
}

fn prompt(checkpoint: &Checkpoint, question: String) -> Result<Vec<u32>> {
    let chat = Chat {
        messages: vec![Message {
            role: "user".to_owned(),
            content: Some(question),
            ..Message::default()
        }],
        add_generation_prompt: true,
        ..Chat::default()
    };
    let template = checkpoint.template.as_ref().context("a chat template")?;
    let text = template.render(&chat, None, None)?;
    Ok(checkpoint.tokenizer.encode(&text, Some(false))?)
}

/// Minus the log-probability of every answer token, `[tokens, 1]`.
fn losses(llama: &Llama, adapter: &Adapter, batch: &[&Example]) -> Tensor<2> {
    let texts: Vec<&[u32]> = batch.iter().map(|example| &example.tokens[..]).collect();
    let longest = texts.iter().map(|text| text.len()).max().unwrap_or(0);
    let (mut rows, mut targets) = (Vec::new(), Vec::new());
    for (index, example) in batch.iter().enumerate() {
        for place in example.answer..example.tokens.len() {
            rows.push(index * longest + place - 1);
            targets.push(example.tokens[place] as i32);
        }
    }
    let scores = log_softmax(llama.logits(adapter, &texts, &rows), 1);
    let shape = [targets.len(), 1];
    let targets = TensorData::new(targets, shape);
    let targets = Tensor::<2, Int>::from_data(targets, (&Device::flex(), DType::I32));
    -scores.gather(1, targets)
}

/// Mean loss over all answer tokens of the examples, and greedy answers to the questions.
fn show(
    checkpoint: &Checkpoint,
    llama: &Llama,
    adapter: &Adapter,
    examples: &[Example],
) -> Result<()> {
    let examples: Vec<&Example> = examples.iter().collect();
    let mut all = Vec::new();
    for batch in examples.chunks(BATCH) {
        let losses = losses(llama, adapter, batch).into_data();
        all.extend(losses.try_into_vec::<f32>()?);
    }
    let mean = all.iter().sum::<f32>() / all.len() as f32;
    println!("held-out loss {mean:.3} over {} tokens", all.len());

    for question in QUESTIONS {
        let mut tokens = prompt(checkpoint, question.to_owned())?;
        let start = tokens.len();
        while tokens.len() < start + ANSWER_LIMIT {
            let logits = llama.logits(adapter, &[&tokens], &[tokens.len() - 1]);
            let token = logits.argmax(1).into_scalar::<i64>() as u32;
            if checkpoint.tokenizer.eos().contains(&token) {
                break;
            }
            tokens.push(token);
        }
        let answer = checkpoint.tokenizer.decode(&tokens[start..]);
        println!("> {question}\n{answer}\n");
    }
    Ok(())
}
