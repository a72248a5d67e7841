//! Hugging Face folders: configuration, tensors, tokenizer settings, and refusals.

mod common;

use common::{
    WIDTH, f32_tensor, folder, llama_config, llama_tensors, plain_folder, safetensors_bytes,
    tokenizer_json,
};
use futures::executor::block_on;
use safetensors::Dtype;
use serde_json::{Value, json};
use tinderbox_model::{Activation, Checkpoint, Config, Norm};

fn merged(mut config: Value, more: Value) -> Value {
    for (key, value) in more.as_object().unwrap() {
        config[key] = value.clone();
    }
    config
}

fn config(more: Value) -> Config {
    plain_folder(&merged(llama_config(), more), &llama_tensors())
        .unwrap()
        .config
}

fn refusal(more: Value) -> String {
    match plain_folder(&merged(llama_config(), more), &llama_tensors()) {
        Ok(_) => panic!("the folder was accepted"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_llama_folder_opens_with_canonical_names_and_rotated_halves() {
    let checkpoint = plain_folder(&llama_config(), &llama_tensors()).unwrap();
    let config = &checkpoint.config;
    assert_eq!(
        (config.vocab, config.head_dim, config.norm),
        (6, 16, Norm::Rms { eps: 1e-5 })
    );
    assert!(!config.ropes[0].interleaved);
    let names: Vec<_> = checkpoint.names().collect();
    let expected = [
        "blk.0.attn_q.weight",
        "blk.0.ffn_norm.weight",
        "output.weight",
        "output_norm.weight",
        "token_embd.weight",
    ];
    assert_eq!(names, expected);
    let raw = block_on(checkpoint.read("output_norm.weight")).unwrap();
    assert_eq!(raw.bytes[4..8], 1.0_f32.to_le_bytes());
}

#[test]
fn the_tokenizer_follows_its_settings() {
    let open = |settings: Value| -> Checkpoint {
        folder(&[
            ("config.json", llama_config().to_string().into_bytes()),
            ("tokenizer.json", tokenizer_json().to_string().into_bytes()),
            ("tokenizer_config.json", settings.to_string().into_bytes()),
            (
                "generation_config.json",
                br#"{"eos_token_id": [2, 4], "temperature": null}"#.to_vec(),
            ),
            ("model.safetensors", safetensors_bytes(&llama_tensors())),
        ])
        .unwrap()
    };
    let checkpoint = open(json!({
        "bos_token": {"content": "<s>"}, "eos_token": "</s>",
        "chat_template": [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "yes"}],
    }));
    let t = &checkpoint.tokenizer;
    assert_eq!(t.encode(" a", None).unwrap(), [1, 4]);
    assert_eq!(t.encode(" a<|im_end|>", Some(false)).unwrap(), [4, 5]);
    assert_eq!(t.decode(&[1, 4, 5]), "<s> a<|im_end|>");
    assert_eq!(
        (t.bos(), t.eos(), t.add_bos()),
        (Some(1), &[2, 4, 5][..], true)
    );
    assert_eq!(checkpoint.template.unwrap().source(), "yes");
    let t = open(json!({"bos_token": "<s>", "add_bos_token": false})).tokenizer;
    assert_eq!(t.encode(" a", None).unwrap(), [4]);
}

#[test]
fn shards_are_found_by_the_index() {
    let tensors = llama_tensors();
    let map: Value = tensors
        .iter()
        .enumerate()
        .map(|(i, t)| (t.0.clone(), format!("s{}.safetensors", i / 3)))
        .collect();
    let index = json!({"metadata": {}, "weight_map": map})
        .to_string()
        .into_bytes();
    let files = [
        ("config.json", llama_config().to_string().into_bytes()),
        ("model.safetensors.index.json", index),
        ("s0.safetensors", safetensors_bytes(&tensors[..3])),
        ("s1.safetensors", safetensors_bytes(&tensors[3..])),
        ("tokenizer.json", tokenizer_json().to_string().into_bytes()),
    ];
    let checkpoint = folder(&files).unwrap();
    assert_eq!(checkpoint.names().count(), 5);
    assert_eq!(
        block_on(checkpoint.read("output.weight")).unwrap().shape,
        [6, WIDTH]
    );
    let missing = folder(&files[..3]).err().unwrap().to_string();
    assert_eq!(missing, "tiny/s1.safetensors: the file is missing");
}

#[test]
fn gpt2s_matrices_are_turned_and_its_masks_left_out() {
    let config = json!({
        "model_type": "gpt2", "n_embd": 8, "n_head": 2, "n_layer": 1, "n_positions": 16,
        "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new", "n_inner": null,
    });
    let mask = (
        "h.0.attn.bias".to_owned(),
        Dtype::U8,
        vec![1, 1, 2, 2],
        vec![0; 4],
    );
    let tensors = [
        f32_tensor("wte.weight", &[6, 8]),
        f32_tensor("h.0.attn.c_attn.weight", &[8, 24]),
        mask,
    ];
    let checkpoint = plain_folder(&config, &tensors).unwrap();
    let raw = block_on(checkpoint.read("blk.0.attn_qkv.weight")).unwrap();
    assert_eq!(raw.shape, [24, 8]);
    // Row 0 is column 0: 0, 24, 48, ….
    assert_eq!(raw.bytes[4..8], 24.0_f32.to_le_bytes());
    let mut pieces = checkpoint.pieces("blk.0.attn_qkv.weight", 100);
    assert_eq!(pieces.next(), Some(0..24));
    let rows = block_on(checkpoint.read_rows("blk.0.attn_qkv.weight", 0..24));
    assert_eq!(rows.unwrap(), raw.bytes);
    let config = &checkpoint.config;
    assert_eq!(
        (config.ffn, config.gated, config.activation),
        (32, false, Activation::Gelu)
    );
    assert!(config.ropes.is_empty());
}

#[test]
fn gemma3_nests_its_configuration_and_alternates_windows() {
    let text = json!({
        "model_type": "gemma3_text", "hidden_size": 16, "intermediate_size": 32,
        "num_hidden_layers": 7, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8,
        "sliding_window": 512, "rope_scaling": {"rope_type": "linear", "factor": 8.0},
    });
    let config = json!({"model_type": "gemma3", "text_config": text});
    let tensors = [f32_tensor(
        "language_model.model.embed_tokens.weight",
        &[6, 16],
    )];
    let config = plain_folder(&config, &tensors).unwrap().config;
    let windows: Vec<_> = config
        .layers
        .iter()
        .map(|layer| layer.window.is_some())
        .collect();
    assert_eq!(windows, [true, true, true, true, true, false, true]);
    assert_eq!((config.layers[0].rope, config.layers[5].rope), (1, 0));
    assert_eq!(
        (
            config.ropes[0].frequencies[0],
            config.ropes[1].frequencies[0]
        ),
        (0.125, 1.0)
    );
    assert_eq!(
        (
            config.norm_offset,
            config.embedding_scale,
            config.attention_scale
        ),
        (1.0, 4.0, 0.0625)
    );
    assert_eq!(config.context, 131_072);
}

#[test]
fn gemma3_in_the_newer_form_reads_a_rope_for_each_kind_of_layer() {
    let more = json!({
        "model_type": "gemma3_text", "layer_types": ["sliding_attention"],
        "head_dim": 16, "sliding_window": 4, "tie_word_embeddings": true,
        "rope_parameters": {
            "full_attention": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 100.0},
        },
    });
    let config = config(more);
    assert_eq!(config.layers[0].window, Some(4));
    assert_eq!(config.ropes[0].frequencies[0], 0.5);
    assert!((config.ropes[1].frequencies[4] - 0.1).abs() < 1e-6);
}

#[test]
fn rope_scaling_is_read_in_both_forms() {
    let scaling = json!({
        "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    });
    let old = config(json!({"rope_theta": 500.0, "rope_scaling": scaling}));
    let new = config(json!({"rope_parameters": merged(scaling, json!({"rope_theta": 500.0}))}));
    assert_eq!(old, new);
    assert!(
        old.ropes[0].frequencies[7] < config(json!({"rope_theta": 500.0})).ropes[0].frequencies[7]
    );
}

#[test]
fn phi3_takes_the_long_factors_beyond_its_original_context() {
    let scaling =
        json!({"type": "longrope", "long_factor": vec![4.0; 8], "short_factor": vec![1.0; 8]});
    let phi = |original: usize| {
        config(json!({
            "model_type": "phi3", "rope_scaling": scaling, "original_max_position_embeddings": original,
        }))
    };
    let (long, short) = (phi(16), phi(64));
    assert_eq!(
        (long.ropes[0].frequencies[0], short.ropes[0].frequencies[0]),
        (0.25, 1.0)
    );
    let expected = (1.0 + 4.0_f32.ln() / 16.0_f32.ln()).sqrt();
    assert!((long.ropes[0].magnitude - expected).abs() < 1e-6);
    assert_eq!(short.ropes[0].magnitude, 1.0);
}

#[test]
fn windows_follow_the_familys_switches() {
    let windows = |more| {
        config(more)
            .layers
            .iter()
            .map(|layer| layer.window)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        windows(json!({"model_type": "mistral", "sliding_window": 9})),
        [Some(9)]
    );
    assert_eq!(
        windows(json!({"model_type": "mistral", "sliding_window": null})),
        [None]
    );
    assert_eq!(
        windows(json!({"model_type": "qwen2", "sliding_window": 9})),
        [None]
    );
    let on = json!({"model_type": "qwen2", "sliding_window": 9, "use_sliding_window": true, "max_window_layers": 0});
    assert_eq!(windows(on), [Some(9)]);
}

#[test]
fn wrong_configurations_are_refused_by_field() {
    let cases = [
        (
            json!({"model_type": "mamba"}),
            "architecture `mamba` is not supported: supported in Hugging Face folders: llama, mistral",
        ),
        (
            json!({"hidden_size": "32"}),
            "config.json: hidden_size is \"32\", expected a whole number up to 2147483648",
        ),
        (
            json!({"hidden_size": null}),
            "config.json: hidden_size is missing",
        ),
        (json!({"hidden_act": "relu"}), "activation `relu`"),
        (
            json!({"rope_scaling": {"type": "linear"}}),
            "config.json: rope_scaling.factor is missing",
        ),
        (
            json!({"rope_scaling": {"type": "wavy"}}),
            "rope scaling `wavy`",
        ),
        (
            json!({"quantization_config": {"bits": 4}}),
            "quantized safetensors; use a GGUF file",
        ),
        (
            json!({"layer_types": []}),
            "layer_types has 0 entries for 1 layers",
        ),
    ];
    for (more, words) in cases {
        let found = refusal(more);
        assert!(found.contains(words), "{found}");
    }
}

#[test]
fn wrong_safetensors_are_refused_by_tensor() {
    let open = |bytes: Vec<u8>| {
        let files = [
            ("config.json", llama_config().to_string().into_bytes()),
            ("model.safetensors", bytes),
        ];
        folder(&files).err().unwrap().to_string()
    };
    let whole = safetensors_bytes(&llama_tensors());
    assert!(open(whole[..whole.len() - 1].to_vec()).contains("the file is cut short"));
    assert_eq!(
        open(vec![1]),
        "model.safetensors: header length: the file has 1 bytes"
    );
    let words = open(vec![0xff; 64]);
    assert!(
        words.contains("a header of 18446744073709551615 bytes, at most 56 are possible"),
        "{words}"
    );
    let mut tensors = llama_tensors();
    tensors[1] = (tensors[1].0.clone(), Dtype::I64, vec![2], vec![0; 16]);
    let words = "model.safetensors: model.layers.0.self_attn.q_proj.weight: type I64 is not supported \
                 (supported: F32, F16, BF16)";
    assert_eq!(open(safetensors_bytes(&tensors)), words);
    assert_eq!(
        open(safetensors_bytes(&llama_tensors()[..4])),
        "tiny: tensor output.weight (lm_head.weight) is missing"
    );
    assert_eq!(open(whole), "tiny/tokenizer.json: the file is missing");
}

#[test]
fn a_folder_and_its_parts_must_be_there() {
    let words = folder(&[]).err().unwrap().to_string();
    assert_eq!(words, "tiny/config.json: the file is missing");
    let path = std::path::Path::new("/nonexistent/model.gguf");
    let words = block_on(Checkpoint::open(path)).err().unwrap().to_string();
    assert!(words.starts_with("/nonexistent/model.gguf: "), "{words}");
    let words = folder(&[("config.json", b"[1]".to_vec())])
        .err()
        .unwrap()
        .to_string();
    assert_eq!(words, "config.json: JSON: the file holds no object");
}
