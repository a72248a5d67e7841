//! Tensor names of Hugging Face models as the canonical (GGUF) ones.

use crate::config::Family;

/// What wraps the text model, longest first.
const PREFIXES: [&str; 6] = [
    "model.language_model.",
    "language_model.model.",
    "language_model.",
    "transformer.",
    "model.",
    "",
];

/// Tensors outside the layers.
const MODEL: [(&str, &str); 6] = [
    ("embed_tokens", "token_embd"),
    ("wte", "token_embd"),
    ("wpe", "position_embd"),
    ("norm", "output_norm"),
    ("ln_f", "output_norm"),
    ("lm_head", "output"),
];

/// Tensors of a layer that have the same meaning in every family.
const LAYER: [(&str, &str); 27] = [
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.qkv_proj", "attn_qkv"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("pre_feedforward_layernorm", "ffn_norm"),
    ("post_feedforward_layernorm", "post_ffw_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.gate_up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
    // GPT-2
    ("ln_1", "attn_norm"),
    ("attn.c_attn", "attn_qkv"),
    ("attn.c_proj", "attn_output"),
    ("ln_2", "ffn_norm"),
    ("mlp.c_fc", "ffn_up"),
    ("mlp.c_proj", "ffn_down"),
    // GPT-J
    ("attn.q_proj", "attn_q"),
    ("attn.k_proj", "attn_k"),
    ("attn.v_proj", "attn_v"),
    ("attn.out_proj", "attn_output"),
    ("mlp.fc_in", "ffn_up"),
    ("mlp.fc_out", "ffn_down"),
    // Families whose norm follows the attention have it in `pre_feedforward_layernorm`.
    ("post_attention_layernorm", "ffn_norm"),
];

/// The canonical name; `None` for what a decoder does not use (masks, vision towers).
pub(crate) fn canonical(family: &Family, name: &str) -> Option<String> {
    let (module, kind) = name.rsplit_once('.')?;
    if !["weight", "bias"].contains(&kind) {
        return None;
    }
    PREFIXES.iter().find_map(|prefix| {
        let module = module.strip_prefix(prefix)?;
        let layer = module
            .strip_prefix("layers.")
            .or_else(|| module.strip_prefix("h."));
        let Some((index, part)) = layer.and_then(|layer| layer.split_once('.')) else {
            return Some(format!("{}.{kind}", lookup(&MODEL, module)?));
        };
        let index: usize = index.parse().ok()?;
        let part = match part {
            "post_attention_layernorm" if family.gemma => "post_attention_norm",
            part => lookup(&LAYER, part)?,
        };
        Some(format!("blk.{index}.{part}.{kind}"))
    })
}

fn lookup(table: &[(&str, &'static str)], module: &str) -> Option<&'static str> {
    table
        .iter()
        .find(|(theirs, _)| *theirs == module)
        .map(|(_, ours)| *ours)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_family_become_the_canonical_ones() {
        let cases = [
            (
                "llama",
                "model.embed_tokens.weight",
                Some("token_embd.weight"),
            ),
            ("llama", "lm_head.weight", Some("output.weight")),
            (
                "llama",
                "model.layers.12.post_attention_layernorm.weight",
                Some("blk.12.ffn_norm.weight"),
            ),
            (
                "llama",
                "model.layers.0.self_attn.rotary_emb.inv_freq",
                None,
            ),
            (
                "qwen2",
                "model.layers.3.self_attn.q_proj.bias",
                Some("blk.3.attn_q.bias"),
            ),
            (
                "qwen3",
                "model.layers.3.self_attn.k_norm.weight",
                Some("blk.3.attn_k_norm.weight"),
            ),
            (
                "gemma2",
                "model.layers.1.post_attention_layernorm.weight",
                Some("blk.1.post_attention_norm.weight"),
            ),
            (
                "gemma3",
                "language_model.model.layers.1.pre_feedforward_layernorm.weight",
                Some("blk.1.ffn_norm.weight"),
            ),
            (
                "gemma3",
                "model.language_model.norm.weight",
                Some("output_norm.weight"),
            ),
            (
                "gemma3",
                "vision_tower.vision_model.encoder.layers.1.mlp.fc1.weight",
                None,
            ),
            (
                "phi3",
                "model.layers.0.mlp.gate_up_proj.weight",
                Some("blk.0.ffn_up.weight"),
            ),
            (
                "gpt2",
                "h.11.attn.c_attn.bias",
                Some("blk.11.attn_qkv.bias"),
            ),
            ("gpt2", "h.11.attn.bias", None),
            (
                "gpt2",
                "transformer.wpe.weight",
                Some("position_embd.weight"),
            ),
            (
                "gptj",
                "transformer.h.0.mlp.fc_in.bias",
                Some("blk.0.ffn_up.bias"),
            ),
            ("gptj", "lm_head.bias", Some("output.bias")),
        ];
        for (family, theirs, ours) in cases {
            let family = Family::from_gguf(family).unwrap();
            assert_eq!(canonical(family, theirs).as_deref(), ours, "{theirs}");
        }
    }
}
