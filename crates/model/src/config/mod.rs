//! What a decoder is, as data: one [`Config`] covers every family.

mod family;
mod gguf;
mod hf;
mod rope;

pub use tinderbox_kernels::{Activation, Norm};

pub(crate) use family::Family;

/// A decoder's shape and switches. Filled from GGUF metadata or from a `config.json`.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Family name as GGUF's `general.architecture` has it: `llama`, `qwen2`, `gemma3`, ….
    pub architecture: String,
    /// Token ids.
    pub vocab: usize,
    /// Width of the residual stream.
    pub width: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Width of the feed-forward layer.
    pub ffn: usize,
    /// Tokens the model was made for.
    pub context: usize,
    /// The norm before each sub-layer and before the head.
    pub norm: Norm,
    /// Added to every norm weight at load (1 where the checkpoint stores `w − 1`: Gemma in safetensors).
    pub norm_offset: f32,
    /// Attention and feed-forward read the same normed input and are added together (GPT-J).
    pub parallel: bool,
    /// Feed-forward non-linearity.
    pub activation: Activation,
    /// `act(gate · x) * (up · x)` in place of `act(up · x)`.
    pub gated: bool,
    /// Rotary tables, one for each distinct base; empty where positions are learned (GPT-2).
    pub ropes: Vec<Rope>,
    /// Factor on `q · k`.
    pub attention_scale: f32,
    /// `cap · tanh(x / cap)` on attention scores (Gemma 2).
    pub attention_softcap: Option<f32>,
    /// The same on the logits.
    pub logit_softcap: Option<f32>,
    /// Factor on the embedding (Gemma: √width).
    pub embedding_scale: f32,
    /// One entry a layer.
    pub layers: Vec<Layer>,
}

/// What differs between layers of one decoder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layer {
    /// Attend only to this many latest tokens, the current one included.
    pub window: Option<usize>,
    /// Index into [`Config::ropes`].
    pub rope: usize,
}

/// A rotary position embedding (Su et al. 2021), scaling already applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Pairs `(2i, 2i + 1)` rotate together; else `(i, i + n)` with `n = frequencies.len()`.
    pub interleaved: bool,
    /// Radians a position for each pair; covers `2 · frequencies.len() ≤ head_dim` dimensions,
    /// the rest pass through.
    pub frequencies: Vec<f32>,
    /// Factor on sine and cosine (YaRN, LongRoPE); 1 elsewhere.
    pub magnitude: f32,
}

/// Most layers of a model; the largest published ones have about 130.
const LAYER_LIMIT: usize = 4096;
/// Widest head; published ones have at most 512.
const HEAD_LIMIT: usize = 65_536;

/// Layers by their kind: local ones see the window and turn by the last rope, others see all and
/// turn by the first.
fn layers(
    count: usize,
    window: Option<usize>,
    ropes: usize,
    local: impl Fn(usize) -> bool,
) -> Vec<Layer> {
    let layer = |index| {
        let local = window.is_some() && local(index);
        let rope = if local { ropes.saturating_sub(1) } else { 0 };
        Layer {
            window: window.filter(|_| local),
            rope,
        }
    };
    (0..count).map(layer).collect()
}

/// Refuses sizes no model has, before anything is allocated by them.
fn check_sizes(layers: usize, width: usize, heads: usize, head_dim: usize) -> Result<(), String> {
    let limits = [
        ("layers", layers, LAYER_LIMIT),
        ("width", width, 1 << 24),
        ("heads", heads, 1 << 16),
        ("head width", head_dim, HEAD_LIMIT),
    ];
    match limits
        .into_iter()
        .find(|(_, found, most)| *found == 0 || found > most)
    {
        Some((what, found, most)) => Err(format!("{what} is {found}, expected 1 to {most}")),
        None => Ok(()),
    }
}

/// Gemma's factor on `q · k` where the file does not say: by head width, but the 27-billion models
/// of both generations, known by their layers, by width a head.
fn gemma_query_scalar(layers: usize, width: usize, heads: usize, head_dim: usize) -> f32 {
    match layers {
        46 | 62 => width as f32 / heads as f32,
        _ => head_dim as f32,
    }
}
