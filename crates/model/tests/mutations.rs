//! Broken files by the thousand: opening them gives an error or a checkpoint, never a panic, and
//! never takes much memory. The same entries as the targets in `fuzz/`, with fixed seeds.

mod common;

use futures::executor::block_on;
use tinderbox_model::{Checkpoint, Error, Lora, MemoryStorage};

const CASES: u64 = 20_000;
/// More than any case may need: the files are below 100 kB.
const MEMORY: u64 = 128 << 20;

/// SplitMix64 (Steele et al. 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// A damaged copy; most damage hits the first `header` bytes.
fn mutate(file: &[u8], header: usize, random: &mut Random) -> Vec<u8> {
    let mut bytes = file.to_vec();
    for _ in 0..=random.below(3) {
        let end = if random.below(8) == 0 {
            bytes.len()
        } else {
            header.min(bytes.len())
        };
        let at = random.below(end);
        match random.below(6) {
            0 | 1 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
            2 => bytes.truncate(at),
            3 => {
                let len = random.below(64).min(bytes.len() - at);
                let piece = bytes[at..at + len].to_vec();
                let to = random.below(end);
                bytes.splice(to..to, piece);
            }
            4 => {
                let len = random.below(16).min(bytes.len() - at);
                bytes.drain(at..at + len);
            }
            _ => {
                let extreme = [u64::MAX, 1 << 63, 1 << 40, 1 << 31, u64::from(u32::MAX), 0];
                let value = extreme[random.below(extreme.len())].to_le_bytes();
                let len = if random.below(2) == 0 { 4 } else { 8 };
                for (byte, value) in bytes.iter_mut().skip(at).zip(&value[..len]) {
                    *byte = *value;
                }
            }
        }
    }
    bytes
}

/// Most memory the process has had, in bytes; 0 where the system does not say.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.trim().split(' ').next());
    number
        .and_then(|number| number.parse::<u64>().ok())
        .unwrap_or(0)
        << 10
}

fn run(file: &[u8], header: usize, open: impl Fn(Vec<u8>) -> Result<Checkpoint, Error>) {
    assert!(
        open(file.to_vec()).is_ok(),
        "the file is whole before it is damaged"
    );
    let before = peak();
    let mut opened = 0;
    for seed in 0..CASES {
        let bytes = mutate(file, header, &mut Random(seed));
        let Ok(checkpoint) = open(bytes) else {
            continue;
        };
        opened += 1;
        let names: Vec<String> = checkpoint.names().map(str::to_owned).collect();
        for name in names {
            let raw =
                block_on(checkpoint.read(&name)).expect("tensors of an opened file lie inside it");
            assert!(raw.bytes.len() <= file.len() + 4096);
        }
        if let Ok(ids) = checkpoint.tokenizer.encode("a b\u{fffd} <s>", None) {
            checkpoint.tokenizer.decode(&ids);
        }
    }
    // Damage to names or numbers leaves a file that opens; damage to the frame does not.
    assert!((1..CASES).contains(&opened), "{opened} of {CASES} opened");
    assert!(
        peak() - before < MEMORY,
        "peak memory grew by {} bytes",
        peak() - before
    );
}

#[test]
fn damaged_gguf_files_are_refused_or_read_without_panic_or_much_memory() {
    let file = common::llama().to_bytes();
    let tensors: usize = common::llama()
        .tensors
        .iter()
        .map(|tensor| tensor.bytes.len())
        .sum();
    run(&file, file.len() - tensors, common::open);
}

#[test]
fn damaged_safetensors_are_refused_or_read_without_panic_or_much_memory() {
    let tensors = common::llama_tensors();
    let file = common::safetensors_bytes(&tensors);
    let data: usize = tensors.iter().map(|(.., bytes)| bytes.len()).sum();
    let config = common::llama_config().to_string().into_bytes();
    let tokenizer = common::tokenizer_json().to_string().into_bytes();
    run(&file, file.len() - data, |bytes| {
        common::folder(&[
            ("config.json", config.clone()),
            ("tokenizer.json", tokenizer.clone()),
            ("model.safetensors", bytes),
        ])
    });
}

/// An adapter of the tiny llama: adapter_config.json, and tensors by name and shape.
fn adapter() -> (serde_json::Value, Vec<common::Tensor>) {
    let config = serde_json::json!({
        "peft_type": "LORA", "r": 4, "lora_alpha": 8, "bias": "none", "use_rslora": false,
        "target_modules": ["q_proj", "k_proj", "down_proj"], "modules_to_save": null,
        "rank_pattern": {"layers.0.mlp.down_proj": 2}, "alpha_pattern": {".*k_proj": 16},
    });
    let (width, ffn) = (common::WIDTH, common::FFN);
    let shapes = [
        ("self_attn.q_proj.lora_A", [4, width]),
        ("self_attn.q_proj.lora_B", [width, 4]),
        ("self_attn.k_proj.lora_A", [4, width]),
        ("self_attn.k_proj.lora_B", [width / 2, 4]),
        ("mlp.down_proj.lora_A", [2, ffn]),
        ("mlp.down_proj.lora_B", [width, 2]),
    ];
    let tensors = shapes.map(|(name, shape)| {
        let name = format!("base_model.model.model.layers.0.{name}.weight");
        common::f32_tensor(&name, &shape)
    });
    (config, tensors.to_vec())
}

#[test]
fn damaged_adapters_are_refused_or_read_without_panic_or_much_memory() {
    let model = common::open(common::llama().to_bytes()).unwrap().config;
    let (config, tensors) = adapter();
    let config = config.to_string().into_bytes();
    let file = common::safetensors_bytes(&tensors);
    let data: usize = tensors.iter().map(|(.., bytes)| bytes.len()).sum();
    let open = |config: &[u8], file: Vec<u8>| {
        let file = MemoryStorage::new("adapter_model.safetensors", file);
        block_on(Lora::open(config, &file, &model))
    };
    assert!(open(&config, file.clone()).is_ok());
    let before = peak();
    let mut opened = 0;
    for seed in 0..CASES {
        let mut random = Random(seed);
        let (config, file) = match seed % 2 {
            0 => (mutate(&config, config.len(), &mut random), file.clone()),
            _ => (
                config.clone(),
                mutate(&file, file.len() - data, &mut random),
            ),
        };
        if let Ok(lora) = open(&config, file) {
            opened += 1;
            assert_eq!(lora.bytes(), data);
        }
    }
    assert!((1..CASES).contains(&opened), "{opened} of {CASES} opened");
    let grown = peak() - before;
    assert!(grown < MEMORY, "peak memory grew by {grown} bytes");
}
