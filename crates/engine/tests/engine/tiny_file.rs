//! A llama of two layers with made-up weights, packed as GGUF, for tests here and of other crates.

use tinderbox_model::gguf::write::Writer;
use tinderbox_model::gguf::{Array, Value};

/// Number of token ids.
pub const VOCAB: usize = 64;

/// `<unk>`, `<s>`, `</s>`, a space, the letters, and some pairs.
fn texts() -> Vec<String> {
    let marks = ["<unk>", "<s>", "</s>", "▁"].map(String::from);
    let letters = ('a'..='z').map(String::from);
    let pairs = ('a'..='z').map(|letter| format!("▁{letter}"));
    let words = ["ab", "abc", "▁ab", "hello", "é", "🦀", "\n", "x y"].map(String::from);
    marks
        .into_iter()
        .chain(letters)
        .chain(pairs)
        .chain(words)
        .collect()
}

/// The file. A context of `context` tokens, a BOS where asked, a chat template where not empty.
pub fn tiny(context: u32, add_bos: bool, template: &str) -> Writer {
    let mut file = Writer::default();
    let word = |text: &str| Value::String(text.into());
    file.set("general.architecture", word("llama"));
    for (key, value) in [
        ("block_count", 2),
        ("embedding_length", 32),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 2),
        ("feed_forward_length", 64),
        ("context_length", context),
    ] {
        file.set(format!("llama.{key}"), Value::U32(value));
    }
    file.set("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5));

    let texts = texts();
    assert_eq!(texts.len(), VOCAB);
    let kinds = (0..VOCAB).map(|id| match id {
        0 => 2,
        1 | 2 => 3,
        _ => 1,
    });
    // Longer tokens first, as a trained vocabulary has them.
    let scores = texts.iter().map(|text| text.chars().count() as f32);
    file.set("tokenizer.ggml.model", word("llama"));
    file.set(
        "tokenizer.ggml.scores",
        Value::Array(Array::F32(scores.collect())),
    );
    file.set(
        "tokenizer.ggml.token_type",
        Value::Array(Array::I32(kinds.collect())),
    );
    file.set(
        "tokenizer.ggml.tokens",
        Value::Array(Array::String(texts.iter().collect())),
    );
    file.set("tokenizer.ggml.add_space_prefix", Value::Bool(false));
    file.set("tokenizer.ggml.add_bos_token", Value::Bool(add_bos));
    if !template.is_empty() {
        file.set("tokenizer.chat_template", word(template));
    }

    // Wide enough that the best token depends on all that came before.
    let mut state = 1u64;
    let mut next = || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    let mut tensor = |name: String, shape: &[usize]| {
        let scale = if shape.len() == 1 { 0.0 } else { 0.5 };
        let offset = if shape.len() == 1 { 1.0 } else { 0.0 };
        let values: Vec<f32> = (0..shape.iter().product())
            .map(|_| offset + scale * next())
            .collect();
        file.f32(format!("{name}.weight"), shape, &values);
    };
    tensor("token_embd".into(), &[VOCAB, 32]);
    tensor("output_norm".into(), &[32]);
    tensor("output".into(), &[VOCAB, 32]);
    for layer in 0..2 {
        for (part, shape) in [
            ("attn_norm", &[32][..]),
            ("attn_q", &[32, 32]),
            ("attn_k", &[16, 32]),
            ("attn_v", &[16, 32]),
            ("attn_output", &[32, 32]),
            ("ffn_norm", &[32]),
            ("ffn_gate", &[64, 32]),
            ("ffn_up", &[64, 32]),
            ("ffn_down", &[32, 64]),
        ] {
            tensor(format!("blk.{layer}.{part}"), shape);
        }
    }
    file
}
