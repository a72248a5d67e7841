//! The contract: eight operations, the same on every device.
//!
//! A decoder layer is `linear` (norm + QKV), `turning_attention` (which is `rope` and `attention`), `linear` (output +
//! residual), `linear` (norm + gate and up), `linear` (activation + down + residual): five calls. Where rows have adapters,
//! `low_rank` follows each `linear`; `embed` begins a step and `choose` ends it. Tensors are row-major `f32` unless said otherwise; the
//! plain meaning of each is in `reference`.

use std::fmt;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, backend_extension};

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

/// Arguments of [`Kernels::linear`] that are no tensors.
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

/// Arguments of [`Kernels::rope`] that are no tensors.
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

/// Arguments of [`Kernels::attention`] that are no tensors.
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
/// Numbers of a slot in the table of [`Kernels::low_rank`].
pub(crate) const ENTRY: usize = 2 + 3 * PARTS;

/// Arguments of [`Kernels::low_rank`] that are no tensors.
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

/// How a token is drawn from a row of logits: [`Kernels::choose`].
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
pub(crate) const DRAW: usize = 5;

impl Draw {
    /// The best token, whatever the other settings are.
    pub fn is_best(&self) -> bool {
        self.temperature == 0.0 || self.top_k == 1
    }

    /// As [`Kernels::choose`] takes it.
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
    pub(crate) fn of(words: &[i32]) -> Draw {
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

/// The fused operations of a decoder, written once a device family.
///
/// `rows` tensors are `i32 [rows, 3]`: each row's position in its sequence, its slot in the cache
/// (`block id · block + position % block`), and its sequence (a row of `tables`). Out-of-range
/// ids, slots or shapes are the caller's fault and undefined (a panic or garbage, never memory
/// unsafety); `crate::Matrix` and the decoder check them. Integer tensors come by value because the
/// macro cannot lend them.
#[backend_extension(Cube: cfg(feature = "gpu"), Flex)]
pub trait Kernels: Backend {
    /// Rows of a table: `out[r] = scale · table[ids[r]]`, `[ids, columns]`.
    fn embed(
        table: IntTensor<Self>,
        ids: IntTensor<Self>,
        layout: Layout,
        scale: f32,
    ) -> FloatTensor<Self>;

    /// `out[r, first + j] (+)= input(x[r]) · w[j] + bias[j]`, in place; other columns stay.
    ///
    /// `out` is `[r, any]`, `x` is `[r, columns]` (twice that for [`Input::Gated`]), `w` the
    /// packed matrix, `gains` `[1, columns]` or for a layer norm `[2, columns]` (gain, bias).
    fn linear(
        out: FloatTensor<Self>,
        x: &FloatTensor<Self>,
        w: IntTensor<Self>,
        gains: &FloatTensor<Self>,
        bias: &FloatTensor<Self>,
        spec: LinearSpec,
    ) -> FloatTensor<Self>;

    /// Normalises and rotates the queries of `qkv` in place, and writes its keys (normalised and
    /// rotated) and values to their slots of the cache.
    ///
    /// `qkv` is `[r, (heads + 2 · kv_heads) · head_dim]`, `cache` `[2, slots, kv_heads · head_dim]`
    /// (keys, values; `f32` or `f16`), `frequencies` `[pairs]`, `gains` `[2, head_dim]` (q, k).
    fn rope(
        qkv: FloatTensor<Self>,
        cache: FloatTensor<Self>,
        rows: IntTensor<Self>,
        frequencies: &FloatTensor<Self>,
        gains: &FloatTensor<Self>,
        spec: RopeSpec,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);

    /// Causal grouped-query attention of each row over its sequence's cached tokens up to its own
    /// position: `[r, heads · head_dim]`. `tables` is `i32 [sequences, blocks]`.
    fn attention(
        qkv: &FloatTensor<Self>,
        cache: &FloatTensor<Self>,
        rows: IntTensor<Self>,
        tables: IntTensor<Self>,
        spec: AttentionSpec,
    ) -> FloatTensor<Self>;

    /// [`Kernels::rope`] and then [`Kernels::attention`]: `qkv`, of which nothing is left that means anything, the cache, and
    /// what attention gives. A GPU does both at once where `spec.alone`.
    #[allow(clippy::too_many_arguments)]
    fn turning_attention(
        qkv: FloatTensor<Self>,
        cache: FloatTensor<Self>,
        rows: IntTensor<Self>,
        tables: IntTensor<Self>,
        frequencies: &FloatTensor<Self>,
        gains: &FloatTensor<Self>,
        rope: RopeSpec,
        spec: AttentionSpec,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);

    /// `x + norm(y)` row by row (the sandwich norms of Gemma 2 and 3).
    fn add_norm(
        x: FloatTensor<Self>,
        y: &FloatTensor<Self>,
        gains: &FloatTensor<Self>,
        norm: Norm,
    ) -> FloatTensor<Self>;

    /// The low-rank products of the rows that have an adapter, in place:
    /// `out[r, part] += (input(x[r]) · Aᵀ)[from .. to] · B[part]`; other rows stay, and cost nothing.
    ///
    /// `factors` holds every slot's `A`, `[ranks, columns]`, and for each part `B`, `[to - from, outputs]`
    /// (PEFT's `lora_B` transposed, its scale included). `table` is `i32 [slots, 2 + 3 · PARTS]`: where the
    /// slot's `A` begins, its ranks, and of each part `from`, `to` and where its `B` begins; ranks and parts
    /// that a slot has not are 0. `rows` is `i32 [n, 2]`: a row of `out` and its slot, rows ascending.
    fn low_rank(
        out: FloatTensor<Self>,
        x: &FloatTensor<Self>,
        factors: &FloatTensor<Self>,
        table: IntTensor<Self>,
        rows: IntTensor<Self>,
        gains: &FloatTensor<Self>,
        spec: LowRankSpec,
    ) -> FloatTensor<Self>;

    /// The next token of each row of `logits`, `[r, vocab]`, written to `tokens`, `i32 [r]`: the best one, of equals the first;
    /// or with `drawn` the one that `draws`, `i32 [r, 5]` ([`Draw::words`]), draws. `top_k`, `top_p` and `min_p` are applied in
    /// this order, each to the probabilities of what the one before left. −1 where the best logit is no finite number.
    ///
    /// A GPU writes to the memory of `tokens`, so that a recorded step goes on from what it chose.
    fn choose(
        tokens: IntTensor<Self>,
        logits: &FloatTensor<Self>,
        draws: IntTensor<Self>,
        drawn: bool,
    ) -> IntTensor<Self>;
}
