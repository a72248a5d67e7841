//! The contract: eight operations, the same on every device.
//!
//! A decoder layer is `linear` (norm + QKV), `turning_attention` (which is `rope` and `attention`), `linear` (output +
//! residual), `linear` (norm + gate and up), `linear` (activation + down + residual): five calls. Where rows have adapters,
//! `low_rank` follows each `linear`; `embed` begins a step and `choose` ends it. Tensors are row-major `f32` unless said otherwise; the
//! plain meaning of each is in `reference`.

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, backend_extension};

use crate::{AttentionSpec, Layout, LinearSpec, LowRankSpec, Norm, RopeSpec};

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
    /// `out` is `[r, any]`, `x` is `[r, columns]` (twice that for [`Input::Gated`](crate::Input::Gated)), `w` the
    /// packed matrix, `gains` `[1, columns]` or for a layer norm `[2, columns]` (gain, bias), `bias` `[outputs]`, or a single
    /// zero where [`LinearSpec::bias`] is not set.
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
    /// or with `drawn` the one that `draws`, `i32 [r, 5]` ([`Draw::words`](crate::Draw::words)), draws. `top_k`, `top_p` and `min_p` are applied in
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
