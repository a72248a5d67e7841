//! Any bytes as the weights of a Hugging Face folder.

#![no_main]

use futures::executor::block_on;
use libfuzzer_sys::fuzz_target;
use tinderbox_model::{Checkpoint, MemoryStorage, Storage};

const CONFIG: &str = r#"{
    "model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1,
    "num_attention_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5
}"#;
const TOKENIZER: &str = r#"{
    "version": "1.0", "added_tokens": [],
    "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}
}"#;

fuzz_target!(|bytes: &[u8]| {
    let files = [
        ("config.json", CONFIG.as_bytes()),
        ("tokenizer.json", TOKENIZER.as_bytes()),
        ("model.safetensors", bytes),
    ];
    let files = files.map(|(name, bytes)| -> Box<dyn Storage> {
        Box::new(MemoryStorage::new(name, bytes.to_vec()))
    });
    let Ok(checkpoint) = block_on(Checkpoint::from_files("fuzz", files.into())) else {
        return;
    };
    let names: Vec<String> = checkpoint.names().map(str::to_owned).collect();
    for name in names {
        block_on(checkpoint.read(&name)).expect("tensors of an opened file lie inside it");
    }
});
