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

/// Answers of a decoder with 32 blocks of 16 tokens to all submissions at once.
fn answers(device: &Device, submissions: &[Submission]) -> Vec<Answer> {
    let checkpoint = checkpoint(false, "");
    let load = LoadOptions {
        context: CONTEXT,
        block_size: 16,
        blocks: 32,
        kv: KvType::F32,
    };
    let decoder = block_on(Decoder::load(&checkpoint, device, load)).unwrap();
    let limits = Limits {
        prefill_rows: 13,
        ..Limits::default()
    };
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

/// Twelve prompts, sampled with a seed but for every third: a GPU reads weights in another way for more
/// than eight rows than for one.
fn twelve_together_are_twelve_alone(device: &Device) {
    let submissions: Vec<Submission> = (0..12u32)
        .map(|i| {
            let prompt: Vec<u32> = (0..2 + 4 * i).map(|t| (t * 11 + i) % 64).collect();
            let mut submission = submission(&prompt, 24);
            let temperature = if i % 3 == 0 { 0.0 } else { 0.8 };
            submission.sampling = Sampling {
                seed: Some(u64::from(i)),
                temperature,
                ..Sampling::default()
            };
            submission
        })
        .collect();
    let together = answers(device, &submissions);
    for (submission, together) in submissions.iter().zip(&together) {
        let alone = answers(device, std::slice::from_ref(submission));
        assert_eq!(together.ids().len(), 24);
        assert_eq!(together.ids(), alone[0].ids());
    }
    assert_ne!(together[0].ids(), together[3].ids());
}

#[test]
fn twelve_prompts_on_the_cpu_give_together_what_each_gives_alone() {
    twelve_together_are_twelve_alone(&Device::flex());
}

#[test]
#[cfg(feature = "gpu")]
fn twelve_prompts_on_a_gpu_give_together_what_each_gives_alone() {
    match tinderbox_kernels::select(tinderbox_kernels::Choice::Gpu) {
        Ok(selected) => twelve_together_are_twelve_alone(&selected.device),
        Err(error) => eprintln!("SKIP: {error}"),
    }
}
