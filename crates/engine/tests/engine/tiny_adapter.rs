//! Adapters in PEFT's form for the tiny file, for tests here and of other crates.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// Rank of every matrix.
const RANK: usize = 4;

/// The files of an adapter of the attention's queries and values, strong enough to change answers.
/// Another seed makes another one.
pub fn tiny_adapter(seed: u64) -> BTreeMap<&'static str, Vec<u8>> {
    let config = json!({
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": 8,
        "target_modules": ["q_proj", "v_proj"], "bias": "none",
    });
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    let (mut header, mut bytes) = (serde_json::Map::new(), Vec::new());
    for layer in 0..2 {
        for (part, outputs) in [("q_proj", 32), ("v_proj", 16)] {
            for (half, shape) in [("lora_A", [RANK, 32]), ("lora_B", [outputs, RANK])] {
                let start = bytes.len();
                for _ in 0..shape[0] * shape[1] {
                    bytes.extend((0.7 * next()).to_le_bytes());
                }
                let name =
                    format!("base_model.model.model.layers.{layer}.self_attn.{part}.{half}.weight");
                let tensor = json!({
                    "dtype": "F32", "shape": shape, "data_offsets": [start, bytes.len()],
                });
                header.insert(name, tensor);
            }
        }
    }
    let header = Value::from(header).to_string().into_bytes();
    let tensors = [&(header.len() as u64).to_le_bytes()[..], &header, &bytes].concat();
    BTreeMap::from([
        ("adapter_config.json", config.to_string().into_bytes()),
        ("adapter_model.safetensors", tensors),
    ])
}
