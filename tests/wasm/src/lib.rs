//! One greedy answer of the whole engine, compiled for this machine and for WebAssembly.
//!
//! `scripts/test-wasm.sh` runs both on one GGUF file and compares the token ids.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use burn::tensor::Device;
use futures::{StreamExt, future};
use tinderbox_engine::{DecoderRunner, Engine, Limits, Options, Submission};
use tinderbox_model::{Checkpoint, Decoder, KvType, LoadOptions, MemoryStorage};
use tinderbox_protocol::{Event, Sampling, Stop};

/// Tokens in a KV block. Small, so that a short answer crosses a border.
const BLOCK: usize = 16;

/// KV blocks.
const BLOCKS: usize = 16;

/// The ids of the `count` most likely tokens after `prompt`, one after the other, on the CPU twin.
///
/// # Errors
/// A file that cannot be loaded; whatever the engine says.
pub async fn greedy(gguf: Vec<u8>, prompt: &str, count: usize) -> Result<Vec<u32>, Box<dyn Error>> {
    let checkpoint = Checkpoint::from_gguf(Box::new(MemoryStorage::new("model", gguf))).await?;
    let options = LoadOptions {
        context: BLOCK * BLOCKS,
        block_size: BLOCK,
        blocks: BLOCKS,
        kv: KvType::F32,
    };
    let decoder = Decoder::load(&checkpoint, &Device::flex(), options).await?;
    let tokenizer = Arc::new(checkpoint.tokenizer);
    let tokens = tokenizer.encode(prompt, None)?;

    let options = Options {
        limits: Limits::default(),
        clock: Arc::new(|| Duration::ZERO),
        entropy: 0,
    };
    let (engine, handle) = Engine::new(DecoderRunner::new(decoder, 64, None), tokenizer, options);
    let answer = handle.submit(Submission {
        tokens,
        max_tokens: Some(count),
        sampling: Sampling {
            temperature: 0.0,
            ..Sampling::default()
        },
        stop: Stop {
            ignore_eos: true,
            ..Stop::default()
        },
        ..Submission::default()
    })?;
    // Nobody else can ask, so the engine ends after this answer.
    drop(handle);
    let (ran, events) = future::join(engine.run(), answer.collect::<Vec<_>>()).await;
    ran?;

    let mut ids = Vec::new();
    for event in events {
        if let Event::Token(token) = event? {
            ids.push(token.id);
        }
    }
    Ok(ids)
}

#[cfg(target_arch = "wasm32")]
mod export {
    use wasm_bindgen::prelude::*;

    /// [`greedy`](super::greedy) for JavaScript.
    #[wasm_bindgen(js_name = greedy)]
    pub async fn greedy(gguf: Vec<u8>, prompt: String, count: usize) -> Result<Vec<u32>, JsError> {
        let ids = super::greedy(gguf, &prompt, count).await;
        ids.map_err(|error| JsError::new(&error.to_string()))
    }
}
