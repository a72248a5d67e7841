//! The real tokenizer and decoder on a tiny file.

use std::sync::Arc;
use std::time::Duration;

use burn::tensor::Device;
use futures::executor::block_on;
use futures::future::join_all;
use tinderbox_engine::{DecoderRunner, Engine, Limits, Options, Submission};
use tinderbox_model::{Checkpoint, Decoder, KvType, LoadOptions, MemoryStorage};
use tinderbox_protocol::Sampling;

use crate::common::*;
use crate::tiny_file::tiny;

pub fn checkpoint(add_bos: bool, template: &str) -> Checkpoint {
    let file = tiny(CONTEXT as u32, add_bos, template);
    let storage = MemoryStorage::new("tiny.gguf", file.to_bytes());
    block_on(Checkpoint::from_gguf(vec![Box::new(storage)])).unwrap()
}

/// Answers of a decoder with `blocks` blocks of 16 tokens to all submissions at once.
fn answers(blocks: usize, limits: Limits, submissions: &[Submission]) -> Vec<Answer> {
    let checkpoint = checkpoint(false, "");
    let load = LoadOptions {
        context: CONTEXT,
        block_size: 16,
        blocks,
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
        let all = submissions.iter().map(|s| answer(&handle, s.clone()));
        let answers = join_all(all).await;
        handle.stop();
        answers
    };
    let (answers, end) = block_on(futures::future::join(work, engine.run()));
    assert_eq!(end, Ok(()));
    answers
}

#[test]
fn eight_prompts_on_a_real_decoder_give_together_what_each_gives_alone() {
    let submissions: Vec<Submission> = (0..8usize)
        .map(|i| {
            let prompt: Vec<u32> = (0..2 + 6 * i as u32)
                .map(|t| (t * 11 + i as u32) % 64)
                .collect();
            let mut submission = submission(&prompt, 24);
            let temperature = if i % 2 == 1 { 0.8 } else { 0.0 };
            submission.sampling = Sampling {
                seed: Some(i as u64),
                temperature,
                ..Sampling::default()
            };
            submission
        })
        .collect();
    let limits = Limits {
        prefill_rows: 13,
        ..Limits::default()
    };
    let together = answers(16, limits, &submissions);
    for (submission, together) in submissions.iter().zip(&together) {
        let alone = answers(16, limits, std::slice::from_ref(submission));
        assert_eq!(together.ids(), alone[0].ids());
    }
    assert_ne!(together[0].ids(), together[2].ids());
}
