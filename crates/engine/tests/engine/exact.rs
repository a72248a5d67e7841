//! What is saved changes no bit of a real decoder's answers on the CPU.

use std::sync::Arc;
use std::time::Duration;

use burn::tensor::Device;
use futures::executor::block_on;
use futures::future::join_all;
use tinderbox_engine::{DecoderRunner, Engine, Limits, Options, Stats, Submission};
use tinderbox_model::{Checkpoint, Decoder, KvType, LoadOptions};
use tinderbox_protocol::Sampling;

use crate::common::*;
use crate::tiny::checkpoint;

/// Answers to the submissions of each round at once, one round after the other.
fn rounds(
    checkpoint: Checkpoint,
    limits: Limits,
    rounds: &[&[Submission]],
) -> (Vec<Answer>, Stats) {
    let load = LoadOptions {
        context: checkpoint.config.context.min(1000),
        block_size: 16,
        blocks: 70,
        kv: KvType::F32,
    };
    let decoder = block_on(Decoder::load(&checkpoint, &Device::flex(), load)).unwrap();
    let options = Options {
        limits,
        clock: Arc::new(|| Duration::ZERO),
        entropy: 1,
    };
    let runner = DecoderRunner::new(decoder, 64, None);
    let (engine, handle) = Engine::new(runner, Arc::new(checkpoint.tokenizer), options);
    let work = async {
        let mut answers = Vec::new();
        for round in rounds {
            let all = round.iter().map(|s| answer(&handle, s.clone()));
            answers.extend(join_all(all).await);
        }
        handle.stop();
        (answers, handle.stats())
    };
    let (answers, end) = block_on(futures::future::join(work, engine.run()));
    assert_eq!(end, Ok(()));
    answers
}

/// Two prompts of `prefix` tokens that begin alike, the second sampled with logprobs.
fn alike(prefix: usize, vocab: u32) -> [Submission; 2] {
    let text = |end: u32| -> Vec<u32> {
        let common = (0..prefix as u32).map(|t| (t * t * 11 + 5) % vocab);
        let rest = (0..7).map(|t| (t * 3 + end) % vocab);
        common.chain(rest).collect()
    };
    let first = submission(&text(1), 20);
    let mut second = submission(&text(2), 20);
    second.logprobs = Some(3);
    second.sampling = Sampling {
        seed: Some(3),
        ..Sampling::default()
    };
    [first, second]
}

/// What the second finds in the cache leaves its tokens and their logprobs as they are.
fn a_hit_changes_nothing(checkpoint: impl Fn() -> Checkpoint, prefix: usize, vocab: u32) {
    let [first, second] = alike(prefix, vocab).map(|s| [s]);
    let one = |asked: &[&[Submission]]| rounds(checkpoint(), Limits::default(), asked).0;
    let alone = one(&[&second]);
    let after = one(&[&first, &second]);
    assert_eq!((alone[0].cached, after[1].cached), (0, prefix / 16 * 16));
    assert_eq!(after[1], alone[0]);
    assert_eq!(after[1].tokens.len(), 20);
}

/// Guesses leave tokens and logprobs as they are, in a batch too.
fn guesses_change_nothing(checkpoint: impl Fn() -> Checkpoint, vocab: u32) {
    let text = (0..60).map(|t| (t % 24 * (t % 24) * 11 + 5) % vocab);
    let text: Vec<u32> = text.collect();
    let mut greedy = submission(&text, 40);
    // An answer of three words repeats itself.
    greedy.sampling.logit_bias = (5..8).map(|id| (id, 100.0)).collect();
    let mut sampled = submission(&text[7..], 40);
    sampled.logprobs = Some(3);
    sampled.sampling = Sampling {
        temperature: 0.5,
        ..greedy.sampling.clone()
    };
    let mut asked = [greedy, sampled];
    for submission in &mut asked {
        submission.sampling.seed = Some(3);
    }
    let with = |speculate| {
        let limits = Limits {
            prefill_rows: 40,
            speculate,
            ..Limits::default()
        };
        rounds(checkpoint(), limits, &[&asked])
    };
    let (plain, guessed) = (with(0), with(6));
    assert_eq!(plain.1.guessed_tokens, 0);
    assert!(guessed.1.accepted_tokens > 0);
    assert_eq!(guessed.0, plain.0);
}

#[test]
fn guesses_change_no_bit_of_an_answer() {
    guesses_change_nothing(|| checkpoint(false, ""), VOCAB as u32);
}

#[test]
fn a_hit_changes_no_bit_of_an_answer() {
    a_hit_changes_nothing(|| checkpoint(false, ""), 60, VOCAB as u32);
}

#[test]
fn neither_a_hit_nor_guesses_change_a_bit_of_smollm2s_answer() {
    let file = "SmolLM2-135M-Instruct.Q4_1.gguf";
    let Some(folder) = std::env::var_os("TINDERBOX_TEST_MODELS") else {
        eprintln!("SKIP: {file}: TINDERBOX_TEST_MODELS names no folder of models");
        return;
    };
    let path = std::path::PathBuf::from(folder).join(file);
    let checkpoint = || block_on(Checkpoint::open(&path)).unwrap();
    a_hit_changes_nothing(checkpoint, 500, 49152);
    guesses_change_nothing(checkpoint, 49152);
}
