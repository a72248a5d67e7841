//! Tiny checkpoints, built in the test.

#![allow(dead_code)]

use std::path::PathBuf;

use futures::FutureExt;
use serde_json::json;
use tinderbox_model::gguf::write::Writer;
use tinderbox_model::gguf::{Array, Strings, Value};
use tinderbox_model::{Checkpoint, Error, MemoryStorage, Storage};

pub const WIDTH: usize = 32;
pub const FFN: usize = 64;
/// `<unk> <s> </s>`, 256 bytes, then pieces.
pub const PIECES: [&str; 12] = [
    "▁",
    "a",
    "b",
    "c",
    "ab",
    "▁a",
    "▁ab",
    "abc",
    "▁abc",
    "bc",
    "▁▁",
    "<|im_end|>",
];

pub fn u32_value(n: usize) -> Value {
    Value::U32(n as u32)
}

pub fn text(text: &str) -> Value {
    Value::String(text.to_owned())
}

pub fn strings<S: AsRef<str>>(texts: impl IntoIterator<Item = S>) -> Value {
    Value::Array(Array::String(texts.into_iter().collect::<Strings>()))
}

/// A llama of one layer with a SentencePiece vocabulary.
pub fn llama() -> Writer {
    let mut file = Writer::default();
    file.set("general.architecture", text("llama"));
    for (key, n) in [
        ("block_count", 1),
        ("context_length", 64),
        ("embedding_length", WIDTH),
        ("feed_forward_length", FFN),
        ("attention.head_count", 2),
        ("attention.head_count_kv", 1),
    ] {
        file.set(format!("llama.{key}"), u32_value(n));
    }
    file.set("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5));
    sentence_piece(&mut file);
    let vocab = 3 + 256 + PIECES.len();
    tensors(&mut file, vocab);
    file
}

pub fn tensors(file: &mut Writer, vocab: usize) {
    let shapes: [(&str, &[usize]); 11] = [
        ("token_embd.weight", &[vocab, WIDTH]),
        ("blk.0.attn_norm.weight", &[WIDTH]),
        ("blk.0.attn_q.weight", &[WIDTH, WIDTH]),
        ("blk.0.attn_k.weight", &[WIDTH / 2, WIDTH]),
        ("blk.0.attn_v.weight", &[WIDTH / 2, WIDTH]),
        ("blk.0.attn_output.weight", &[WIDTH, WIDTH]),
        ("blk.0.ffn_norm.weight", &[WIDTH]),
        ("blk.0.ffn_gate.weight", &[FFN, WIDTH]),
        ("blk.0.ffn_up.weight", &[FFN, WIDTH]),
        ("blk.0.ffn_down.weight", &[WIDTH, FFN]),
        ("output_norm.weight", &[WIDTH]),
    ];
    for (name, shape) in shapes {
        let len = shape.iter().product();
        let values: Vec<f32> = (0..len).map(|i| i as f32 * 0.5).collect();
        file.f32(name, shape, &values);
    }
}

fn sentence_piece(file: &mut Writer) {
    let bytes = (0..256).map(|byte| format!("<0x{byte:02X}>"));
    let tokens = ["<unk>", "<s>", "</s>"]
        .map(str::to_owned)
        .into_iter()
        .chain(bytes);
    let tokens: Vec<String> = tokens.chain(PIECES.map(str::to_owned)).collect();
    let kinds = (0..tokens.len()).map(|id| match id {
        0 => 2,
        1 | 2 => 3,
        3..259 => 6,
        _ if tokens[id] == "▁▁" => 4,
        _ if tokens[id] == "<|im_end|>" => 3,
        _ => 1,
    });
    let scores = (0..tokens.len()).map(|id| -(id as f32)).collect();
    file.set("tokenizer.ggml.model", text("llama"));
    file.set(
        "tokenizer.ggml.token_type",
        Value::Array(Array::I32(kinds.collect())),
    );
    file.set("tokenizer.ggml.scores", Value::Array(Array::F32(scores)));
    file.set("tokenizer.ggml.tokens", strings(tokens));
    file.set("tokenizer.ggml.bos_token_id", Value::U32(1));
    file.set("tokenizer.ggml.eos_token_id", Value::U32(2));
    file.set("tokenizer.chat_template", text("{{ messages[0].content }}"));
}

/// What a future gives that has nothing to wait for: in WebAssembly nobody could.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("memory is read at once")
}

pub fn open(bytes: Vec<u8>) -> Result<Checkpoint, Error> {
    let storage = MemoryStorage::new("tiny.gguf", bytes);
    at_once(Checkpoint::from_gguf(vec![Box::new(storage)]))
}

/// The message of the error that opening gives.
pub fn refusal(bytes: Vec<u8>) -> String {
    match open(bytes) {
        Ok(_) => panic!("the file was accepted"),
        Err(error) => error.to_string(),
    }
}

/// A folder: config.json, safetensors by `(name, dtype, shape, bytes)`, tokenizer.json.
pub type Tensor = (String, safetensors::Dtype, Vec<usize>, Vec<u8>);

pub fn f32_tensor(name: &str, shape: &[usize]) -> Tensor {
    let len: usize = shape.iter().product();
    let bytes = (0..len).flat_map(|i| (i as f32).to_le_bytes()).collect();
    (
        name.to_owned(),
        safetensors::Dtype::F32,
        shape.to_vec(),
        bytes,
    )
}

pub fn safetensors_bytes(tensors: &[Tensor]) -> Vec<u8> {
    let views = tensors.iter().map(|(name, dtype, shape, bytes)| {
        let view = safetensors::tensor::TensorView::new(*dtype, shape.clone(), bytes).unwrap();
        (name.clone(), view)
    });
    safetensors::serialize(views, None).unwrap()
}

pub fn llama_tensors() -> Vec<Tensor> {
    let layer = |name: &str| format!("model.layers.0.{name}.weight");
    vec![
        f32_tensor("model.embed_tokens.weight", &[6, WIDTH]),
        f32_tensor(&layer("self_attn.q_proj"), &[WIDTH, WIDTH]),
        f32_tensor(&layer("post_attention_layernorm"), &[WIDTH]),
        f32_tensor("model.norm.weight", &[WIDTH]),
        f32_tensor("lm_head.weight", &[6, WIDTH]),
    ]
}

pub fn llama_config() -> serde_json::Value {
    json!({
        "model_type": "llama", "hidden_size": WIDTH, "intermediate_size": FFN,
        "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1,
        "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "hidden_act": "silu",
        "eos_token_id": 2,
    })
}

/// A byte-level tokenizer.json of six tokens that puts `<s>` before a text.
pub fn tokenizer_json() -> serde_json::Value {
    let added = |id: u32, content: &str| {
        json!({
            "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true,
        })
    };
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": [added(1, "<s>"), added(2, "</s>"), added(5, "<|im_end|>")],
        "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false,
            "vocab": {"a": 0, "<s>": 1, "</s>": 2, "Ġ": 3, "Ġa": 4, "<|im_end|>": 5}, "merges": [["Ġ", "a"]],
        },
    })
}

pub fn folder(files: &[(&str, Vec<u8>)]) -> Result<Checkpoint, Error> {
    let files = files.iter().map(|(name, bytes)| -> Box<dyn Storage> {
        Box::new(MemoryStorage::new(*name, bytes.clone()))
    });
    at_once(Checkpoint::from_files("tiny", files.collect()))
}

/// A folder of the three files every model has.
pub fn plain_folder(config: &serde_json::Value, tensors: &[Tensor]) -> Result<Checkpoint, Error> {
    folder(&[
        ("config.json", config.to_string().into_bytes()),
        ("tokenizer.json", tokenizer_json().to_string().into_bytes()),
        ("model.safetensors", safetensors_bytes(tensors)),
    ])
}

/// The same folder with its tensors in two files and an index.
pub fn sharded_folder(config: &serde_json::Value, tensors: &[Tensor]) -> Result<Checkpoint, Error> {
    let (first, second) = tensors.split_at(tensors.len() / 2);
    let shards = [("a.safetensors", first), ("b.safetensors", second)];
    let places = shards.iter().flat_map(|(file, tensors)| {
        let names = tensors.iter().map(|tensor| tensor.0.clone());
        names.map(|name| (name, serde_json::Value::from(*file)))
    });
    let map: serde_json::Map<_, _> = places.collect();
    let index = json!({"metadata": {}, "weight_map": map});
    folder(&[
        ("config.json", config.to_string().into_bytes()),
        ("tokenizer.json", tokenizer_json().to_string().into_bytes()),
        (
            "model.safetensors.index.json",
            index.to_string().into_bytes(),
        ),
        ("a.safetensors", safetensors_bytes(first)),
        ("b.safetensors", safetensors_bytes(second)),
    ])
}

/// A real model from the folder TINDERBOX_TEST_MODELS; says so where it is not there.
pub fn real_model(file: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("TINDERBOX_TEST_MODELS") else {
        eprintln!("SKIP: {file}: TINDERBOX_TEST_MODELS names no folder of models");
        return None;
    };
    let path = PathBuf::from(folder).join(file);
    if !path.exists() {
        eprintln!("SKIP: {} does not exist", path.display());
        return None;
    }
    Some(path)
}

/// A model that CI does not fetch, where a developer has it in the same folder. Its absence is told,
/// and is no skip: `why` it cannot be expected.
pub fn extra_model(file: &str, why: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("TINDERBOX_TEST_MODELS").unwrap_or_default();
    let path = PathBuf::from(folder).join(file);
    if path.exists() {
        return Some(path);
    }
    eprintln!("NOT CHECKED: {file}: {why}");
    None
}
