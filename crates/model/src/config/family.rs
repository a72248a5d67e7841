//! The families of decoders, side by side.

use tinderbox_kernels::Activation;

/// What all models of a family share.
#[derive(Debug, PartialEq)]
pub(crate) struct Family {
    /// `general.architecture` in GGUF.
    pub gguf: &'static str,
    /// `model_type` in config.json.
    pub hf: &'static [&'static str],
    /// Layer norm with a bias; else root mean square.
    pub layer_norm: bool,
    pub activation: Activation,
    pub gated: bool,
    pub parallel: bool,
    /// Positions are a table, not rotations.
    pub learned_positions: bool,
    /// Rotation pairs neighbours, in GGUF and in safetensors. Converters permute the rows of
    /// llama's q and k, nobody else's.
    pub interleaved: (bool, bool),
    /// Embedding times √width, norms around both sub-layers, norm weights stored as `w − 1` in
    /// safetensors (GGUF has the 1 folded in).
    pub gemma: bool,
    /// One layer in this many sees the whole context, where the file has a window but no pattern;
    /// 1 windows every layer.
    pub window_pattern: usize,
}

const PLAIN: Family = Family {
    gguf: "",
    hf: &[],
    layer_norm: false,
    activation: Activation::Silu,
    gated: true,
    parallel: false,
    learned_positions: false,
    interleaved: (false, false),
    gemma: false,
    window_pattern: 1,
};

const GEMMA: Family = Family {
    activation: Activation::Gelu,
    gemma: true,
    ..PLAIN
};

const GPT: Family = Family {
    layer_norm: true,
    activation: Activation::Gelu,
    gated: false,
    ..PLAIN
};

const FAMILIES: [Family; 8] = [
    Family {
        gguf: "llama",
        hf: &["llama", "mistral"],
        interleaved: (true, false),
        ..PLAIN
    },
    Family {
        gguf: "qwen2",
        hf: &["qwen2"],
        ..PLAIN
    },
    Family {
        gguf: "qwen3",
        hf: &["qwen3"],
        ..PLAIN
    },
    Family {
        gguf: "phi3",
        hf: &["phi3"],
        ..PLAIN
    },
    Family {
        gguf: "gemma2",
        hf: &["gemma2"],
        window_pattern: 2,
        ..GEMMA
    },
    Family {
        gguf: "gemma3",
        hf: &["gemma3_text", "gemma3"],
        window_pattern: 6,
        ..GEMMA
    },
    Family {
        gguf: "gpt2",
        hf: &["gpt2"],
        learned_positions: true,
        ..GPT
    },
    Family {
        gguf: "gptj",
        hf: &["gptj"],
        parallel: true,
        interleaved: (true, true),
        ..GPT
    },
];

impl Family {
    pub fn from_gguf(architecture: &str) -> Result<&'static Family, String> {
        FAMILIES
            .iter()
            .find(|family| family.gguf == architecture)
            .ok_or_else(|| {
                let known: Vec<_> = FAMILIES.iter().map(|family| family.gguf).collect();
                format!("supported in GGUF files: {}", known.join(", "))
            })
    }

    pub fn from_hf(model_type: &str) -> Result<&'static Family, String> {
        FAMILIES
            .iter()
            .find(|family| family.hf.contains(&model_type))
            .ok_or_else(|| {
                let known: Vec<_> = FAMILIES
                    .iter()
                    .flat_map(|family| family.hf)
                    .copied()
                    .collect();
                format!("supported in Hugging Face folders: {}", known.join(", "))
            })
    }

    /// Whether safetensors hold a tensor as `[in, out]`: GPT-2 was written with convolutions.
    pub fn transposed(&self, name: &str) -> bool {
        let matrices = [
            "attn_qkv.weight",
            "attn_output.weight",
            "ffn_up.weight",
            "ffn_down.weight",
        ];
        self.gguf == "gpt2" && matrices.iter().any(|end| name.ends_with(end))
    }

    /// Whether a layer attends to its window only, by the family's pattern: the last of each run
    /// of [`window_pattern`](Family::window_pattern) is the global one.
    pub fn is_local(&self, layer: usize) -> bool {
        is_local(layer, self.window_pattern)
    }
}

/// Whether a layer is none of every `pattern`-th.
pub(crate) fn is_local(layer: usize, pattern: usize) -> bool {
    pattern <= 1 || !(layer + 1).is_multiple_of(pattern)
}
