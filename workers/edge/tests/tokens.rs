//! The CPU's path in WebAssembly, under Node. The tokens are those of a golden file, which the decoder gives natively
//! (crates/model/tests/goldens) and `transformers` gave before. The crate's own library is not in it: it needs a Worker.
#![cfg(target_arch = "wasm32")]

#[path = "../../../crates/model/tests/common/mod.rs"]
mod common;
#[allow(dead_code)] // The native tests use the rest.
#[path = "../../../crates/model/tests/goldens/fixture.rs"]
mod fixture;
#[path = "../../../crates/model/tests/goldens/weights.rs"]
mod weights;

use std::sync::Arc;
use std::time::Duration;

use fixture::Golden;
use futures::StreamExt;
use futures::future::join;
use tinderbox_engine::{Limits, Setup, Submission};
use tinderbox_kernels::{Choice, select};
use tinderbox_model::{Decoder, KvType};
use tinderbox_protocol::{Event, Sampling, Stop};
use wasm_bindgen_test::wasm_bindgen_test;

/// Its matrices are in ten formats.
const GOLDEN: &str = include_str!("../../../tests/golden/architectures/llama-quantized.json");

#[wasm_bindgen_test]
async fn a_quantized_llama_gives_its_native_tokens_under_node() {
    let golden: Golden = serde_json::from_str(GOLDEN).unwrap();
    let checkpoint = golden.gguf().unwrap().unwrap();
    let selected = select(Choice::Cpu).unwrap();
    let setup = Setup {
        name: golden.name,
        context: 64,
        kv: Some(KvType::F32),
        cache_bytes: 0,
        limits: Limits {
            prefill_rows: 17,
            ..Limits::default()
        },
        adapters: None,
        clock: Arc::new(|| Duration::ZERO),
        entropy: 1,
        now: 0,
    };
    let (load, _) = setup.plan(&checkpoint, &selected.device);
    let decoder = Decoder::load(&checkpoint, &selected.device, load).await;
    let (engine, service) = setup.engine(decoder.unwrap(), checkpoint, selected.description, None);
    let submission = Submission {
        tokens: golden.prompt,
        max_tokens: Some(golden.continuation.len()),
        sampling: Sampling {
            temperature: 0.0,
            ..Sampling::default()
        },
        stop: Stop {
            ignore_eos: true,
            ..Stop::default()
        },
        ..Submission::default()
    };
    let answer = async {
        let handle = service.handle();
        let events = handle.submit(submission).unwrap();
        let ids = events.filter_map(async |event| match event.unwrap() {
            Event::Token(token) => Some(token.id),
            _ => None,
        });
        let ids: Vec<u32> = ids.collect().await;
        handle.stop();
        ids
    };
    let (ids, end) = join(answer, engine.run()).await;
    assert_eq!(end, Ok(()));
    assert_eq!(ids, golden.continuation);
}
