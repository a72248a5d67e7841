//! What adapters cost: decode tokens a second of 32 sequences with none, and with adapters of rank 8 on all
//! linear maps, random, shared evenly. `adapters MODEL.gguf [DEVICE]`.

use std::time::Instant;

use futures::executor::block_on;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use tinderbox_kernels::sample::Random;
use tinderbox_kernels::{Choice, select};
use tinderbox_model::{
    Checkpoint, Config, Decoder, KvType, LoadOptions, Lora, MemoryStorage, Step, Want,
};

const SEQUENCES: u32 = 32;
const RANK: usize = 8;
/// Positions timed, after the first that warms up; a GPU in software takes seconds for each.
const STEPS: u32 = 48;
const STEPS_IN_SOFTWARE: u32 = 2;
const BLOCK: usize = 64;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let path = args.next().ok_or("which model?")?;
    let choice: Choice = args.next().as_deref().unwrap_or("cpu").parse()?;
    let device = select(choice)?;
    let checkpoint = block_on(Checkpoint::open(path.as_ref()))?;
    let options = LoadOptions {
        context: BLOCK,
        block_size: BLOCK,
        blocks: SEQUENCES as usize,
        kv: KvType::F32,
    };
    let mut decoder = block_on(Decoder::load(&checkpoint, &device.device, options))?;
    let start = Instant::now();
    for slot in 0..SEQUENCES {
        decoder.put_adapter(slot, &random(&checkpoint.config, u64::from(slot))?)?;
    }
    let mib = decoder.adapter_bytes() >> 20;
    println!(
        "{}: {SEQUENCES} adapters of {mib} MiB in {:?}",
        device.description,
        start.elapsed()
    );
    let steps = if device.software {
        STEPS_IN_SOFTWARE
    } else {
        STEPS
    };
    // In turn and twice, so that a machine that slows down is seen.
    for adapters in [0, 1, 8, 32, 0, 1, 8, 32] {
        println!(
            "{adapters:>2} adapters: {:.1} tokens/s",
            rate(&mut decoder, adapters, steps)?
        );
    }
    Ok(())
}

/// Tokens a second, with sequence `i` using adapter `i % adapters`.
fn rate(decoder: &mut Decoder, adapters: u32, steps: u32) -> Result<f64, tinderbox_model::Error> {
    let mut start = Instant::now();
    for position in 0..=steps {
        if position == 1 {
            start = Instant::now();
        }
        let step = Step {
            tokens: (0..SEQUENCES).map(|i| 100 + i * 7 + position).collect(),
            positions: vec![position; SEQUENCES as usize],
            sequences: (0..SEQUENCES).collect(),
            tables: (0..SEQUENCES).map(|block| vec![block]).collect(),
            outputs: (0..SEQUENCES).collect(),
            adapters: (0..SEQUENCES).map(|i| i.checked_rem(adapters)).collect(),
            draws: Vec::new(),
        };
        block_on(decoder.forward(&step, Want::Tokens))?;
    }
    Ok(f64::from(SEQUENCES * steps) / start.elapsed().as_secs_f64())
}

/// An adapter of every linear map of a llama.
fn random(config: &Config, seed: u64) -> Result<Lora, Box<dyn std::error::Error>> {
    let mut random = Random(seed);
    let (q, kv) = (
        config.heads * config.head_dim,
        config.kv_heads * config.head_dim,
    );
    let maps = [
        ("self_attn.q_proj", q, config.width),
        ("self_attn.k_proj", kv, config.width),
        ("self_attn.v_proj", kv, config.width),
        ("self_attn.o_proj", config.width, q),
        ("mlp.gate_proj", config.ffn, config.width),
        ("mlp.up_proj", config.ffn, config.width),
        ("mlp.down_proj", config.width, config.ffn),
    ];
    let mut tensors = Vec::new();
    for layer in 0..config.layers.len() {
        for (map, outputs, inputs) in maps {
            for (side, shape) in [("A", [RANK, inputs]), ("B", [outputs, RANK])] {
                let name =
                    format!("base_model.model.model.layers.{layer}.{map}.lora_{side}.weight");
                let values = random.vector(shape[0] * shape[1]);
                let bytes: Vec<u8> = values
                    .iter()
                    .flat_map(|x| (x * 0.01).to_le_bytes())
                    .collect();
                tensors.push((name, shape, bytes));
            }
        }
    }
    let mut views = Vec::new();
    for (name, shape, bytes) in &tensors {
        views.push((
            name.clone(),
            TensorView::new(Dtype::F32, shape.to_vec(), bytes)?,
        ));
    }
    let file = MemoryStorage::new("random", safetensors::serialize(views, None)?);
    let settings =
        br#"{"peft_type": "LORA", "r": 8, "lora_alpha": 8, "target_modules": "all-linear"}"#;
    Ok(block_on(Lora::open(settings, &file, config))?)
}
