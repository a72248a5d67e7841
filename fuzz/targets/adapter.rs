//! Any bytes as an adapter: adapter_config.json up to the first zero, then the safetensors file.

#![no_main]

use std::sync::OnceLock;

use futures::executor::block_on;
use libfuzzer_sys::fuzz_target;
use tinderbox_model::{Checkpoint, Config, Lora, MemoryStorage, Storage};

const CONFIG: &str = r#"{
    "model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
    "num_attention_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
    "tie_word_embeddings": true
}"#;
const TOKENIZER: &str = r#"{
    "version": "1.0", "added_tokens": [],
    "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}
}"#;
const TENSORS: &str = r#"{"model.embed_tokens.weight": {"dtype": "F32", "shape": [1, 1], "data_offsets": [0, 4]}}"#;

/// The model that the adapter is for.
fn model() -> &'static Config {
    static MODEL: OnceLock<Config> = OnceLock::new();
    MODEL.get_or_init(|| {
        let mut tensors = (TENSORS.len() as u64).to_le_bytes().to_vec();
        tensors.extend(TENSORS.bytes());
        tensors.extend([0; 4]);
        let files = [
            ("config.json", CONFIG.as_bytes().to_vec()),
            ("tokenizer.json", TOKENIZER.as_bytes().to_vec()),
            ("model.safetensors", tensors),
        ];
        let files = files.map(|(name, bytes)| -> Box<dyn Storage> {
            Box::new(MemoryStorage::new(name, bytes))
        });
        let opened = block_on(Checkpoint::from_files("fuzz", files.into()));
        opened.expect("the model is whole").config
    })
}

fuzz_target!(|bytes: &[u8]| {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (config, tensors) = bytes.split_at(end);
    let file = MemoryStorage::new("fuzz", tensors.get(1..).unwrap_or_default().to_vec());
    if let Ok(lora) = block_on(Lora::open(config, &file, model())) {
        assert!(lora.bytes() <= 2 * bytes.len());
    }
});
