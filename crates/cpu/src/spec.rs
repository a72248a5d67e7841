//! What the operations of a decoder are told beside their tensors.

use std::fmt;
use std::ops::Range;

use crate::Format;

/// A weight matrix's shape and storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// How a row is stored.
    pub format: Format,
    /// Outputs of the product.
    pub rows: usize,
    /// Inputs of the product; a multiple of the format's block.
    pub columns: usize,
}

/// As in `Q4_1 1536x576`.
impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}x{}", self.format, self.rows, self.columns)
    }
}

/// Non-linearity of the feed-forward layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x · sigmoid(x)`.
    Silu,
    /// Gaussian error linear unit, tanh form (Hendrycks & Gimpel 2016).
    Gelu,
}

/// Normalisation over a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Norm {
    /// `x / √(mean(x²) + eps) · g` (Zhang & Sennrich 2019).
    Rms {
        /// Added under the root.
        eps: f32,
    },
    /// `(x − mean) / √(var + eps) · g + b` (Ba et al. 2016).
    Layer {
        /// Added under the root.
        eps: f32,
    },
}

/// What happens to a row before it meets the matrix.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Input {
    /// Nothing.
    Plain,
    /// Normalised with the gains given.
    Norm(Norm),
    /// `act(x)`.
    Act(Activation),
    /// The row is `[gate, up]`, twice as wide as the matrix: `act(gate) · up`.
    Gated(Activation),
}

/// Arguments of `linear` that are no tensors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearSpec {
    /// The matrix.
    pub layout: Layout,
    /// Applied to each input row first.
    pub input: Input,
    /// First column of `out` that is written.
    pub first: usize,
    /// Add to `out` in place of overwriting it.
    pub accumulate: bool,
    /// `bias` holds one number an output; else it is ignored.
    pub bias: bool,
}

/// Arguments of `rope` that are no tensors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RopeSpec {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Rotated pairs: the length of `frequencies`, or 0 for no rotation (`frequencies` is ignored).
    pub pairs: usize,
    /// Pairs are `(2i, 2i + 1)`; else `(i, i + pairs)`.
    pub interleaved: bool,
    /// Factor on sine and cosine.
    pub magnitude: f32,
    /// RMS-normalise each query and key head first with this eps; else `gains` is ignored.
    pub qk_norm: Option<f32>,
}

/// Arguments of `attention` that are no tensors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionSpec {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Tokens in a block of the cache.
    pub block: usize,
    /// Factor on `q · k`.
    pub scale: f32,
    /// `cap · tanh(score / cap)`.
    pub softcap: Option<f32>,
    /// Attend to this many latest tokens, the current one included.
    pub window: Option<usize>,
    /// No two rows are of one sequence, as in a step that only answers. A hint of how to share the work: the result is
    /// right either way.
    pub alone: bool,
    /// Tokens of the longest row's sequence up to and with it, or more; a hint, too. Less than that leaves contexts whole.
    pub longest: usize,
}

/// Products that lie side by side in one matrix, at most: queries, keys and values.
pub const PARTS: usize = 3;
/// Numbers of a slot in the table of `low_rank`.
pub const ENTRY: usize = 2 + 3 * PARTS;

/// Arguments of `low_rank` that are no tensors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LowRankSpec {
    /// Applied to each input row first.
    pub input: Input,
    /// Inputs of the product.
    pub columns: usize,
    /// Outputs of each part, side by side from column 0 of `out`; 0 for a part there is not.
    pub outputs: [usize; PARTS],
    /// Most ranks that a slot has, those of its parts together; at least 1.
    pub ranks: usize,
}

/// One adapter's factors for a product (`B · A`; Hu et al. 2021).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Factors {
    /// `A` of all parts, `[ranks, columns]`.
    pub a: Vec<f32>,
    /// Of each part its ranks of `A`, and `B` as `[ranks, outputs]`, scale included. Parts may share ranks.
    pub parts: [(Range<usize>, Vec<f32>); PARTS],
}

/// How a token is drawn from a row of logits: `choose`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draw {
    /// What logits are divided by; 0 takes the best.
    pub temperature: f32,
    /// Keeps as many of the best; 0 keeps all.
    pub top_k: u32,
    /// Keeps the shortest run of the best whose probabilities reach it; 1 keeps all.
    pub top_p: f32,
    /// Keeps those with at least this share of the best one's probability; 0 keeps all.
    pub min_p: f32,
    /// Where among the probabilities of those that are left, in the order of their ids: from 0 to 1.
    pub unit: f32,
}

/// Numbers of a [`Draw`] on a device.
pub const DRAW: usize = 5;

impl Draw {
    /// The best token, whatever the other settings are.
    pub fn is_best(&self) -> bool {
        self.temperature == 0.0 || self.top_k == 1
    }

    /// As `choose` takes it.
    pub fn words(&self) -> [i32; DRAW] {
        let bits = |value: f32| value.to_bits() as i32;
        [
            bits(self.temperature),
            self.top_k as i32,
            bits(self.top_p),
            bits(self.min_p),
            bits(self.unit),
        ]
    }

    /// From [`Draw::words`].
    pub fn of(words: &[i32]) -> Draw {
        let value = |at: usize| f32::from_bits(words[at] as u32);
        Draw {
            temperature: value(0),
            top_k: words[1] as u32,
            top_p: value(2),
            min_p: value(3),
            unit: value(4),
        }
    }
}
