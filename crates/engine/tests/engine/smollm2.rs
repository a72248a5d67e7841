//! Constrained answers of a real model. Needs the file: `TINDERBOX_TEST_MODELS`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use burn::tensor::Device;
use futures::executor::block_on;
use futures::future::{join, join_all};
use tinderbox_engine::{Limits, Setup};
use tinderbox_model::{Checkpoint, Decoder, FileStorage};
use tinderbox_protocol::{
    Chat, Constraint, FinishReason, Inference, Message, Prompt, Request, Sampling,
};

use crate::common::collect;

#[path = "../../src/constraint/tests/schemas.rs"]
mod schemas;

const MODEL: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
const SCHEMAS: u64 = 200;

/// The model's file, or why there is no test.
fn model() -> Option<PathBuf> {
    let folder = std::env::var_os("TINDERBOX_TEST_MODELS");
    let path = folder.map(|folder| PathBuf::from(folder).join(MODEL));
    let path = path.filter(|path| path.exists());
    if path.is_none() {
        eprintln!("SKIP: TINDERBOX_TEST_MODELS names no folder with {MODEL}");
    }
    path
}

/// Greedy for even seeds.
fn request(seed: u64) -> Request {
    let message = Message {
        role: "user".into(),
        content: Some("Describe a person, a place or a thing as JSON.".into()),
        ..Message::default()
    };
    Request {
        id: seed.to_string(),
        prompt: Prompt::Chat(Chat {
            messages: vec![message],
            add_generation_prompt: true,
            ..Chat::default()
        }),
        max_tokens: Some(100),
        sampling: Sampling {
            temperature: (seed % 2) as f32,
            seed: Some(seed),
            ..Sampling::default()
        },
        constraint: Some(Constraint::JsonSchema(schemas::made(seed))),
        ..Request::default()
    }
}

#[test]
fn every_finished_answer_of_a_real_model_fulfils_its_schema() {
    let Some(path) = model() else { return };
    let storage = FileStorage::open(&path).unwrap();
    let checkpoint = block_on(Checkpoint::from_gguf(vec![Box::new(storage)])).unwrap();
    let setup = Setup {
        name: "smollm2".into(),
        context: 256,
        kv: None,
        cache_bytes: 256 << 20,
        limits: Limits::default(),
        clock: Arc::new(|| Duration::ZERO),
        entropy: 1,
        now: 0,
        adapters: None,
    };
    let device = Device::flex();
    let (load, _) = setup.plan(&checkpoint, &device);
    let decoder = block_on(Decoder::load(&checkpoint, &device, load)).unwrap();
    let (engine, service) = setup.engine(decoder, checkpoint, "cpu".into(), None);
    let service = &service;
    let work = async {
        let answers = (0..SCHEMAS).map(|seed| async move {
            let stream = service.generate(request(seed)).await;
            collect(stream.unwrap_or_else(|error| panic!("{seed}: {error}"))).await
        });
        let answers = join_all(answers).await;
        service.handle().stop();
        answers
    };
    let (answers, end) = block_on(join(work, engine.run()));
    assert_eq!(end, Ok(()));
    let mut finished = [0, 0];
    for (seed, answer) in (0..SCHEMAS).zip(answers) {
        let (schema, text) = (schemas::made(seed), answer.text());
        if answer.finish().reason == FinishReason::Length {
            continue;
        }
        let parsed = serde_json::from_str(&text);
        let parsed = parsed.unwrap_or_else(|error| panic!("{schema}: {text}: {error}"));
        assert!(schemas::validates(&schema, &parsed), "{schema}: {text}");
        finished[(seed % 2) as usize] += 1;
    }
    println!("finished: {} greedy, {} sampled", finished[0], finished[1]);
    assert!(finished.iter().all(|count| *count > 50), "{finished:?}");
}
