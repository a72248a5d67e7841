//! Grouped-query attention over the block cache, with an online softmax (Milakov & Gimelshein
//! 2018): a workgroup a head of a row, walking its tokens in chunks.

use burn::backend::cubecl::dtype_to_storage_type;
use burn::cubecl;
use cubecl::prelude::*;

use super::input::safe_tanh;
use super::{CubeTensor, columns, empty, rows, spread};
use crate::AttentionSpec;

/// Tokens in a chunk, and invocations of a workgroup.
const CHUNK: usize = 64;

/// What the kernel is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Attention {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    block: usize,
    softcap: bool,
}

impl Attention {
    /// Columns of the output an invocation adds up.
    fn own(self) -> usize {
        self.head_dim.div_ceil(CHUNK)
    }
}

/// The places that come from `rows` and `tables` are held inside their buffers: the kernel is
/// launched without the device's own checks.
#[cube(launch_unchecked)]
fn attention_kernel<C: Float>(
    out: &mut [f32],
    qkv: &[f32],
    cache: &[C],
    rows: &[i32],
    tables: &[i32],
    count: usize,
    slots: usize,
    blocks: usize,
    window: usize,
    scale: f32,
    cap: f32,
    #[comptime] spec: Attention,
    #[define(C)] _cache: ElemType,
) {
    let dim = comptime!(spec.head_dim);
    let (row, head) = (
        CUBE_POS / comptime!(spec.heads),
        CUBE_POS % comptime!(spec.heads),
    );
    let unit = UNIT_POS as usize;
    if row < count {
        let last = rows[row * 3] as usize;
        let table = rows[row * 3 + 2] as usize * blocks;
        let kv_head = head / comptime!(spec.heads / spec.kv_heads);

        let mut query = Shared::<[f32]>::new_slice(dim);
        let mut places = Shared::<[u32]>::new_slice(CHUNK);
        let mut scores = Shared::<[f32]>::new_slice(CHUNK);
        let mut shares = Shared::<[f32]>::new_slice(CHUNK);
        let from = row * comptime!((spec.heads + 2 * spec.kv_heads) * dim) + head * dim;
        let mut i = unit;
        while i < dim {
            query[i] = qkv[from + i] * scale;
            i += CHUNK;
        }

        // The largest score so far, the sum of e^(score − largest), and the values so weighted.
        let mut top = f32::new(-3.0e38);
        let mut sum = 0.0f32;
        let mut mixed = Array::<f32>::new(comptime!(spec.own()));
        #[unroll]
        for o in 0..comptime!(spec.own()) {
            mixed[o] = 0.0;
        }
        sync_cube();

        let mut chunk = last + 1 - min(window, last + 1);
        while chunk <= last {
            let tokens = min(last + 1 - chunk, CHUNK);
            // A token an invocation: its score.
            if unit < tokens {
                let token = chunk + unit;
                let entry = min(table + token / comptime!(spec.block), tables.len() - 1);
                let block = tables[entry] as usize;
                let slot = min(
                    block * comptime!(spec.block) + token % comptime!(spec.block),
                    slots - 1,
                );
                let place = (slot * comptime!(spec.kv_heads) + kv_head) * dim;
                let mut score = 0.0f32;
                for d in 0..dim {
                    score += query[d] * f32::cast_from(cache[place + d]);
                }
                if comptime!(spec.softcap) {
                    score = safe_tanh(score / cap) * cap;
                }
                places[unit] = place as u32;
                scores[unit] = score;
            }
            sync_cube();

            let before = top;
            for t in 0..tokens {
                top = max(top, scores[t]);
            }
            if unit < tokens {
                shares[unit] = (scores[unit] - top).exp();
            }
            sync_cube();

            // A column an invocation: the values.
            let fade = (before - top).exp();
            sum *= fade;
            #[unroll]
            for o in 0..comptime!(spec.own()) {
                mixed[o] *= fade;
            }
            for t in 0..tokens {
                let share = shares[t];
                let place = slots * comptime!(spec.kv_heads * dim) + places[t] as usize;
                sum += share;
                #[unroll]
                for o in 0..comptime!(spec.own()) {
                    let column = min(unit + comptime!(o * CHUNK), comptime!(dim - 1));
                    mixed[o] += share * f32::cast_from(cache[place + column]);
                }
            }
            sync_cube();
            chunk += CHUNK;
        }

        #[unroll]
        for o in 0..comptime!(spec.own()) {
            let column = unit + comptime!(o * CHUNK);
            if column < dim {
                out[(row * comptime!(spec.heads) + head) * dim + column] = mixed[o] / sum;
            }
        }
    }
}

pub fn attention(
    qkv: &CubeTensor,
    cache: &CubeTensor,
    table: CubeTensor,
    tables: CubeTensor,
    spec: AttentionSpec,
) -> CubeTensor {
    let count = rows(qkv);
    let out = empty(qkv, [count, spec.heads * spec.head_dim]);
    let (all, kv) = (
        spec.heads + 2 * spec.kv_heads,
        spec.kv_heads * spec.head_dim,
    );
    let fits = columns(qkv).1 == all * spec.head_dim
        && cache.meta.shape().num_elements() == 2 * cache.meta.shape()[1] * kv
        && table.meta.shape().num_elements() >= 3 * count
        && tables.meta.shape().num_elements() > 0
        && cache.meta.shape()[1] > 0;
    assert!(
        fits,
        "attention: {qkv:?}, {cache:?}, {table:?}, {tables:?} for {spec:?}"
    );
    // SAFETY: `row < count` bounds the addresses in `qkv`, `rows` and `out`; the entry of `tables`
    // is clamped to its last and the slot to the cache's last, so that each of a slot's columns is
    // inside the keys, and `slots` rows further inside the values. Sizes were just checked. Shared
    // arrays are indexed below `dim` and `CHUNK`.
    unsafe {
        attention_kernel::launch_unchecked(
            &qkv.client,
            spread(count * spec.heads),
            CubeDim::new_1d(CHUNK as u32),
            out.clone().into_buffer_arg(),
            qkv.clone().into_buffer_arg(),
            cache.clone().into_buffer_arg(),
            table.into_buffer_arg(),
            tables.clone().into_buffer_arg(),
            count,
            cache.meta.shape()[1],
            columns(&tables).1,
            spec.window.unwrap_or(u32::MAX as usize),
            spec.scale,
            spec.softcap.unwrap_or(1.0),
            Attention {
                heads: spec.heads,
                kv_heads: spec.kv_heads,
                head_dim: spec.head_dim,
                block: spec.block,
                softcap: spec.softcap.is_some(),
            },
            dtype_to_storage_type(cache.dtype),
        )
    };
    out
}
