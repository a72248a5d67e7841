//! Adapters: against PEFT, and against the base with the merged weights in every family and form.

use serde::Deserialize;
use serde_json::json;
use tinderbox_kernels::sample::Random;
use tinderbox_model::{Config, Lora, MemoryStorage};
use tinderbox_protocol::{MajoritySign, Merge, MergeStrategy};

use super::*;
use crate::common::safetensors_bytes;

/// Adapter beside merged weights: the same numbers, added up in another order.
const MERGED: f32 = 1e-2;
/// Names of the linear maps of every family.
const MODULES: [&str; 17] = [
    "q_proj",
    "k_proj",
    "v_proj",
    "qkv_proj",
    "o_proj",
    "gate_proj",
    "up_proj",
    "gate_up_proj",
    "down_proj",
    "c_attn",
    "c_proj",
    "c_fc",
    "out_proj",
    "fc_in",
    "fc_out",
    "attn.c_proj",
    "mlp.c_proj",
];

/// tests/golden/adapters.json
#[derive(Deserialize)]
struct Goldens {
    adapters: Vec<Adapter>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Adapter {
    base: String,
    name: String,
    /// As PEFT saves it.
    config: serde_json::Value,
    /// As PEFT saves them: name and shape.
    tensors: Vec<(String, Vec<usize>)>,
}

#[derive(Deserialize)]
struct Case {
    base: String,
    adapters: Vec<String>,
    merge: Option<Merged>,
    /// All logits after the prompt of the base's golden.
    logits: Vec<f32>,
}

#[derive(Deserialize)]
struct Merged {
    weights: Vec<f32>,
    combination_type: String,
    density: Option<f32>,
    majority_sign_method: Option<String>,
}

fn merge(golden: &Merged) -> Merge {
    Merge {
        weights: golden.weights.clone(),
        strategy: match golden.combination_type.as_str() {
            "linear" => MergeStrategy::Linear,
            "ties" => MergeStrategy::Ties,
            other => panic!("unknown strategy {other}"),
        },
        density: golden.density,
        majority_sign: match golden.majority_sign_method.as_deref() {
            Some("frequency") => MajoritySign::Frequency,
            _ => MajoritySign::Total,
        },
    }
}

fn open(
    config: &serde_json::Value,
    tensors: &[common::Tensor],
    model: &Config,
) -> Result<Lora, Error> {
    let file = MemoryStorage::new("adapter_model.safetensors", safetensors_bytes(tensors));
    block_on(Lora::open(config.to_string().as_bytes(), &file, model))
}

fn tensor(name: String, shape: &[usize], values: &[f32]) -> common::Tensor {
    let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    (name, safetensors::Dtype::F32, shape.to_vec(), bytes)
}

/// Adapters in slots 0 and up, and the last logits of a step of one sequence for each of `slots`.
fn last_logits(decoder: &mut Decoder, prompt: &[u32], slot: Option<u32>) -> Vec<f32> {
    let rows = prompt.len() as u32;
    let step = Step {
        tokens: prompt.to_vec(),
        positions: (0..rows).collect(),
        sequences: vec![0; prompt.len()],
        tables: vec![TABLE.to_vec()],
        outputs: vec![rows - 1],
        adapters: vec![slot],
        draws: Vec::new(),
    };
    match block_on(decoder.forward(&step, Want::Logits)).unwrap() {
        Output::Logits(logits) => logits,
        other => panic!("asked for logits, got {other:?}"),
    }
}

fn furthest(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let apart = found.iter().zip(expected).map(|(a, b)| (a - b).abs());
    apart.fold(0.0, |most, d| if d > most || d.is_nan() { d } else { most })
}

#[test]
fn adapters_and_merged_ones_compute_what_peft_does() {
    let file = std::fs::read(golden_folder().join("adapters.json")).unwrap();
    let Goldens { adapters, cases } = serde_json::from_slice(&file).unwrap();
    assert!(cases.len() >= 10);
    for case in cases {
        let golden = named(&case.base);
        for checkpoint in [golden.folder(), golden.gguf()].into_iter().flatten() {
            let checkpoint = checkpoint.unwrap();
            let opened: Vec<Lora> = (case.adapters.iter())
                .map(|name| {
                    let own = |a: &&Adapter| a.base == case.base && a.name == *name;
                    let adapter = adapters.iter().find(own).unwrap();
                    let tensors: Vec<_> = (adapter.tensors.iter())
                        .map(|(tensor_name, shape)| {
                            let name = format!("{name}/{tensor_name}");
                            let values = weights::floats(golden.seed, &name, shape, 0.0, 0.25);
                            tensor(tensor_name.clone(), shape, &values)
                        })
                        .collect();
                    open(&adapter.config, &tensors, &checkpoint.config).unwrap()
                })
                .collect();
            let used = match &case.merge {
                None => opened[0].clone(),
                Some(golden) => {
                    Lora::merge(&opened.iter().collect::<Vec<_>>(), &merge(golden)).unwrap()
                }
            };
            let mut decoder = load(&checkpoint, &Device::flex()).unwrap();
            decoder.put_adapter(3, &used).unwrap();
            let found = last_logits(&mut decoder, &golden.prompt, Some(3));
            let off = furthest(&found, &case.logits);
            assert!(
                off < FLOAT,
                "{} {:?}: off by {off}",
                case.base,
                case.adapters
            );
        }
    }
}

/// An adapter of every linear map of a golden, its deltas by Hugging Face name, and its files.
fn adapter(
    golden: &Golden,
    rank: usize,
    seed: u64,
) -> (
    BTreeMap<String, Vec<f32>>,
    serde_json::Value,
    Vec<common::Tensor>,
) {
    let mut random = Random(seed);
    let (mut deltas, mut tensors) = (BTreeMap::new(), Vec::new());
    for (name, shape, ..) in &golden.tensors {
        let module = name.strip_suffix(".weight").unwrap_or(name);
        if shape.len() != 2 || !MODULES.iter().any(|end| module.ends_with(end)) {
            continue;
        }
        // GPT-2 stores `[in, out]`.
        let transposed = golden.name.starts_with("gpt2");
        let (outputs, inputs) = if transposed {
            (shape[1], shape[0])
        } else {
            (shape[0], shape[1])
        };
        let mut quarter =
            |len: usize| -> Vec<f32> { random.vector(len).iter().map(|v| v * 0.25).collect() };
        let (a, b) = (quarter(rank * inputs), quarter(outputs * rank));
        let delta = |output: usize, input: usize| {
            let products = (0..rank).map(|r| b[output * rank + r] * a[r * inputs + input]);
            2.0 * products.sum::<f32>()
        };
        let delta = (0..outputs * inputs).map(|i| match transposed {
            true => delta(i % outputs, i / outputs),
            false => delta(i / inputs, i % inputs),
        });
        deltas.insert(name.clone(), delta.collect());
        let name = format!("base_model.model.{module}");
        tensors.push(tensor(format!("{name}.lora_A.weight"), &[rank, inputs], &a));
        tensors.push(tensor(
            format!("{name}.lora_B.weight"),
            &[outputs, rank],
            &b,
        ));
    }
    let config = json!({
        "peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "target_modules": MODULES, "bias": "none",
    });
    (deltas, config, tensors)
}

fn check_merged(form: Form, least: usize, device: &Device, only: &[&str]) {
    let mut checked = 0;
    for mut golden in goldens() {
        if golden.is_quantized() || !(only.is_empty() || only.contains(&golden.name.as_str())) {
            continue;
        }
        let Some(base) = form(&golden) else { continue };
        let base = base.unwrap();
        let (deltas, config, tensors) = adapter(&golden, 5, 31);
        let lora = open(&config, &tensors, &base.config).unwrap();
        let numbers: usize = tensors.iter().map(|t| t.3.len()).sum();
        assert_eq!(lora.bytes(), numbers);
        let mut decoder = load(&base, device).unwrap();
        let alone = last_logits(&mut decoder, &golden.prompt, None);
        decoder.put_adapter(1, &lora).unwrap();
        assert_eq!(decoder.adapter_bytes(), numbers);
        let found = last_logits(&mut decoder, &golden.prompt, Some(1));
        let beside = last_logits(&mut decoder, &golden.prompt, None);
        assert_eq!(
            beside, alone,
            "{}: without it all is as before",
            golden.name
        );

        golden.deltas = deltas;
        let checkpoint = form(&golden).unwrap().unwrap();
        let expected = last_logits(
            &mut load(&checkpoint, device).unwrap(),
            &golden.prompt,
            None,
        );
        let off = furthest(&found, &expected);
        assert!(off < MERGED, "{}: off by {off}", golden.name);
        assert!(
            furthest(&alone, &expected) > 0.1,
            "{}: the adapter does something",
            golden.name
        );
        checked += 1;
    }
    assert!(checked >= least, "only {checked} goldens were checked");
}

#[test]
fn an_adapter_is_the_base_with_its_weights_merged_in_every_family() {
    check_merged(Golden::folder, 13, &Device::flex(), &[]);
    check_merged(Golden::gguf, 10, &Device::flex(), &[]);
}

#[test]
#[cfg(feature = "gpu")]
fn an_adapter_is_the_base_with_its_weights_merged_on_a_gpu() {
    match tinderbox_kernels::select(tinderbox_kernels::Choice::Gpu) {
        Ok(selected) => {
            let families = ["llama", "phi3", "gpt2", "gptj", "gemma3"];
            check_merged(Golden::folder, 5, &selected.device, &families);
            check_merged(Golden::gguf, 4, &selected.device, &families);
        }
        Err(error) => eprintln!("SKIP: {error}"),
    }
}

/// Five sequences in one step: four with adapters, the third with none.
fn five(decoder: &mut Decoder, prompts: &[Vec<u32>], slots: &[Option<u32>]) -> Vec<f32> {
    let mut step = Step {
        adapters: slots.to_vec(),
        ..Step::default()
    };
    for (sequence, prompt) in prompts.iter().enumerate() {
        for (position, token) in prompt.iter().enumerate() {
            step.tokens.push(*token);
            step.positions.push(position as u32);
            step.sequences.push(sequence as u32);
        }
        step.tables.push(vec![sequence as u32]);
        step.outputs.push(step.tokens.len() as u32 - 1);
    }
    match block_on(decoder.forward(&step, Want::Logits)).unwrap() {
        Output::Logits(logits) => logits,
        other => panic!("asked for logits, got {other:?}"),
    }
}

#[test]
fn a_batch_of_four_adapters_and_none_is_each_alone() {
    let golden = named("llama");
    let checkpoint = golden.gguf().unwrap().unwrap();
    let mut devices = vec![(Device::flex(), 0.0)];
    #[cfg(feature = "gpu")]
    if let Ok(selected) = tinderbox_kernels::select(tinderbox_kernels::Choice::Gpu) {
        devices.push((selected.device, 1e-3));
    }
    for (device, tolerance) in devices {
        let mut decoder = load(&checkpoint, &device).unwrap();
        for slot in 0..6u32 {
            // Ranks differ, and two slots are emptied or taken again.
            let (_, config, tensors) = adapter(&golden, 1 + slot as usize * 3, u64::from(slot));
            let lora = open(&config, &tensors, &checkpoint.config).unwrap();
            decoder.put_adapter(slot, &lora).unwrap();
        }
        decoder.drop_adapter(4);
        decoder.drop_adapter(5);
        let slots = [Some(2), Some(0), None, Some(3), Some(1)];
        let prompts: Vec<Vec<u32>> = (0..5)
            .map(|i| golden.prompt[i..i + 3 + i % 3].to_vec())
            .collect();
        let together = five(&mut decoder, &prompts, &slots);
        let vocab = decoder.config().vocab;
        for (i, row) in together.chunks(vocab).enumerate() {
            let alone = five(&mut decoder, &prompts[i..=i], &slots[i..=i]);
            assert!(furthest(row, &alone) <= tolerance, "sequence {i}");
        }
        let step = Step {
            tokens: vec![1],
            positions: vec![0],
            sequences: vec![0],
            tables: vec![vec![0]],
            outputs: vec![0],
            adapters: vec![Some(4)],
            draws: Vec::new(),
        };
        let error = block_on(decoder.forward(&step, Want::Tokens)).unwrap_err();
        assert_eq!(error.to_string(), "step: no adapter is in slot 4");
    }
}

#[test]
fn merging_with_weights_one_and_zero_is_the_first_adapter_exactly_and_dare_repeats_itself() {
    let golden = named("llama");
    let checkpoint = golden.folder().unwrap().unwrap();
    let [first, second] = [1, 2].map(|seed| {
        let (_, config, tensors) = adapter(&golden, 4, seed);
        open(&config, &tensors, &checkpoint.config).unwrap()
    });
    let both = [&first, &second];
    let with = |strategy, density, weights: &[f32]| Merge {
        weights: weights.to_vec(),
        strategy,
        density,
        majority_sign: MajoritySign::Total,
    };
    let one = Lora::merge(&both, &with(MergeStrategy::Linear, None, &[1.0, 0.0])).unwrap();
    assert_eq!(one, first);
    let one = Lora::merge(&both[..1], &with(MergeStrategy::Ties, Some(0.1), &[])).unwrap();
    assert_eq!(one, first, "one adapter is not trimmed");

    for strategy in [MergeStrategy::DareLinear, MergeStrategy::DareTies] {
        let dare = Lora::merge(&both, &with(strategy, Some(0.5), &[])).unwrap();
        assert_eq!(
            dare,
            Lora::merge(&both, &with(strategy, Some(0.5), &[])).unwrap()
        );
        let mut decoder = load(&checkpoint, &Device::flex()).unwrap();
        decoder.put_adapter(0, &dare).unwrap();
        decoder
            .put_adapter(
                1,
                &Lora::merge(&both, &with(MergeStrategy::Linear, None, &[])).unwrap(),
            )
            .unwrap();
        let [dare, linear] =
            [0, 1].map(|slot| last_logits(&mut decoder, &golden.prompt, Some(slot)));
        assert!(
            furthest(&dare, &linear) > 0.01,
            "{strategy:?} drops something"
        );
        // Nothing dropped is the plain sum; the seeds decide what is.
        if strategy == MergeStrategy::DareLinear {
            let all = Lora::merge(&both, &with(strategy, Some(1.0), &[])).unwrap();
            assert_eq!(
                all,
                Lora::merge(&both, &with(MergeStrategy::Linear, None, &[])).unwrap()
            );
        }
    }

    let (_, config, tensors) = adapter(&golden, 3, 3);
    let third = open(&config, &tensors, &checkpoint.config).unwrap();
    for (adapters, merge, expected) in [
        (
            vec![&first, &third],
            with(MergeStrategy::Linear, None, &[]),
            "ranks 4 and 3",
        ),
        (
            vec![&first],
            with(MergeStrategy::Linear, None, &[1.0, 1.0]),
            "[1.0, 1.0] for 1 adapters",
        ),
        (
            vec![&first, &second],
            with(MergeStrategy::Ties, Some(0.0), &[]),
            "density",
        ),
        (
            vec![&first, &second],
            with(MergeStrategy::Linear, None, &[f32::NAN, 1.0]),
            "weights",
        ),
        (vec![], Merge::default(), "there are none"),
    ] {
        let error = Lora::merge(&adapters, &merge).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn an_adapter_of_another_model_is_refused_and_changes_nothing() {
    let (llama, qwen) = (named("llama"), named("qwen3"));
    let [llama_model, qwen_model] = [&llama, &qwen].map(|g| g.folder().unwrap().unwrap());
    let (_, config, tensors) = adapter(&llama, 4, 1);
    let lora = open(&config, &tensors, &llama_model.config).unwrap();
    let mut decoder = load(&qwen_model, &Device::flex()).unwrap();
    let error = decoder.put_adapter(0, &lora).unwrap_err().to_string();
    assert!(error.contains("another model"), "{error}");
    assert_eq!(decoder.adapter_bytes(), 0);
    let mut decoder = load(&llama_model, &Device::flex()).unwrap();
    let error = decoder
        .put_adapter(Decoder::SLOTS, &lora)
        .unwrap_err()
        .to_string();
    assert!(error.contains("slot 4096 of 4096"), "{error}");
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let golden = named("llama");
    let model = golden.folder().unwrap().unwrap().config;
    let (_, config, tensors) = adapter(&golden, 4, 1);
    let refusal = |config: &serde_json::Value, tensors: &[common::Tensor]| match open(
        config, tensors, &model,
    ) {
        Ok(_) => panic!("the adapter was accepted"),
        Err(error) => error.to_string(),
    };
    let set = |key: &str, value: serde_json::Value| {
        let mut config = config.clone();
        config[key] = value;
        config
    };
    let configs = [
        (set("peft_type", json!("IA3")), "peft_type: IA3"),
        (set("bias", json!("all")), "bias: all"),
        (
            set("use_dora", json!(true)),
            "use_dora: true is not supported",
        ),
        (set("lora_bias", json!(true)), "lora_bias"),
        (
            set("modules_to_save", json!(["lm_head"])),
            "modules_to_save: [\"lm_head\"]",
        ),
        (
            set("init_lora_weights", json!("pissa_niter_4")),
            "init_lora_weights: pissa_niter_4",
        ),
        (set("r", json!(0)), "rank 0"),
        (set("r", json!("x")), "r is \"x\", expected a whole number"),
        (set("lora_alpha", json!(0)), "lora_alpha: 0"),
        (
            set("rank_pattern", json!({"(": 2})),
            "rank_pattern: pattern \"(\"",
        ),
        (
            set("rank_pattern", json!({"q_proj": 9})),
            "shape [4, 64], expected [9, 64]",
        ),
        (
            set("target_modules", json!(["v_proj"])),
            "target_modules do not name model.layers.",
        ),
        (set("target_modules", json!(7)), "target_modules is 7"),
        (
            set("target_modules", json!(null)),
            "target_modules is missing",
        ),
    ];
    for (config, expected) in configs {
        let error = refusal(&config, &tensors);
        assert!(
            error.contains(expected),
            "{error:?} does not say {expected:?}"
        );
    }
    let rename = |name: &str| {
        let mut tensors = tensors.clone();
        tensors[0].0 = format!("base_model.model.{name}");
        tensors
    };
    let shape = {
        let mut tensors = tensors.clone();
        tensors[0].2.reverse();
        tensors
    };
    let wanted = [
        (
            rename("model.layers.0.self_attn.q_norm.lora_A.weight"),
            "no linear map of the model",
        ),
        (
            rename("model.layers.9.self_attn.q_proj.lora_A.weight"),
            "layer 9 of a model with 3 layers",
        ),
        (
            rename("model.embed_tokens.lora_A.weight"),
            "embedding and head",
        ),
        (rename("lm_head.lora_A.weight"), "embedding and head"),
        (
            rename("model.embed_tokens.lora_embedding_A"),
            "only lora_A.weight and lora_B.weight",
        ),
        (
            rename("model.layers.0.self_attn.q_proj.lora_magnitude_vector"),
            "only lora_A.weight",
        ),
        (
            rename("model.layers.0.self_attn.qkv_proj.lora_A.weight"),
            "is missing",
        ),
        (tensors[1..].to_vec(), "lora_A.weight is missing"),
        (shape, "shape [64, 4], expected [4, 64]"),
        (Vec::new(), "holds no adapter"),
    ];
    for (tensors, expected) in wanted {
        let error = refusal(&config, &tensors);
        assert!(
            error.contains(expected),
            "{error:?} does not say {expected:?}"
        );
        assert!(error.contains("adapter_model.safetensors"), "{error}");
    }
}

/// Two families whose halves of `[in, out]` and fused maps are checked above; here the numbers of a file.
#[test]
fn half_precision_factors_are_read_as_their_numbers() {
    use half::{bf16, f16};
    let golden = named("llama");
    let checkpoint = golden.folder().unwrap().unwrap();
    let (_, config, tensors) = adapter(&golden, 4, 1);
    for (dtype, format) in [
        (safetensors::Dtype::F16, Format::F16),
        (safetensors::Dtype::BF16, Format::BF16),
    ] {
        let (mut halves, mut singles) = (tensors.clone(), tensors.clone());
        for (half, single) in halves.iter_mut().zip(&mut singles) {
            let numbers = half.3.as_chunks().0.iter().copied().map(f32::from_le_bytes);
            half.3 = match format {
                Format::F16 => numbers
                    .flat_map(|x| f16::from_f32(x).to_le_bytes())
                    .collect(),
                _ => numbers
                    .flat_map(|x| bf16::from_f32(x).to_le_bytes())
                    .collect(),
            };
            half.1 = dtype;
            let rounded = reference::dequantize(format, &half.3);
            single.3 = rounded.iter().flat_map(|x| x.to_le_bytes()).collect();
        }
        let [half, single] =
            [halves, singles].map(|tensors| open(&config, &tensors, &checkpoint.config).unwrap());
        assert_eq!(half, single);
    }
}

#[test]
fn smollm2_takes_an_adapter_made_for_its_shapes() {
    let Some(path) = common::real_model("SmolLM2-135M-Instruct.Q4_1.gguf") else {
        return;
    };
    let checkpoint = block_on(Checkpoint::open(&path)).unwrap();
    let model = &checkpoint.config;
    let mut random = Random(5);
    let mut tensors = Vec::new();
    for layer in 0..model.layers.len() {
        for (side, shape) in [("A", [8, model.width]), ("B", [model.width, 8])] {
            let name = format!(
                "base_model.model.model.layers.{layer}.self_attn.q_proj.lora_{side}.weight"
            );
            tensors.push(tensor(name, &shape, &random.vector(8 * model.width)));
        }
    }
    let config =
        json!({"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": "all-linear"});
    let lora = open(&config, &tensors, model).unwrap();
    assert_eq!(lora.bytes(), 30 * 2 * 8 * 576 * 4);
}
