//! Head norms, rotation, and the cache write.

use burn::backend::cubecl::dtype_to_storage_type;
use burn::cubecl;
use cubecl::prelude::*;

use super::norm::total;
use super::{CubeTensor, rows, spread};
use crate::RopeSpec;

/// Invocations of a head.
const UNITS: usize = 32;

/// What the kernel is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Rope {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    pairs: usize,
    interleaved: bool,
    qk_norm: bool,
}

/// Sine and cosine of an angle.
#[derive(CubeType, Clone, Copy)]
struct Turn {
    sin: f32,
    cos: f32,
}

/// Sine and cosine, for angles of any size: WGSL promises them from −π to π only.
#[cube]
fn turn(angle: f32) -> Turn {
    // 2π in three parts; the first two are so short that their products are exact (Cody & Waite).
    let turns = (angle * 0.159_154_94).round();
    let rest = angle - turns * 6.28125 - turns * 0.001_935_005_2 - turns * 3.019_916e-7;
    Turn {
        sin: rest.sin(),
        cos: rest.cos(),
    }
}

/// A workgroup a head of a row: queries, then keys, then values.
#[cube(launch)]
fn rope_kernel<C: Float>(
    qkv: &mut [f32],
    cache: &mut [C],
    rows: &[i32],
    frequencies: &[f32],
    gains: &[f32],
    count: usize,
    slots: usize,
    magnitude: f32,
    eps: f32,
    #[comptime] spec: Rope,
    #[define(C)] _cache: ElemType,
) {
    let dim = comptime!(spec.head_dim);
    let all = comptime!(spec.heads + 2 * spec.kv_heads);
    let (row, head) = (CUBE_POS / all, CUBE_POS % all);
    if row < count {
        let start = row * comptime!(all * dim) + head * dim;
        let position = f32::cast_from(rows[row * 3]);
        let slot = rows[row * 3 + 1] as usize;
        let is_key = head >= comptime!(spec.heads);
        let is_value = head >= comptime!(spec.heads + spec.kv_heads);
        // Values lie `slots` rows after the keys.
        let part = select(
            is_value,
            comptime!(spec.heads + spec.kv_heads),
            comptime!(spec.heads),
        );
        let cache_row = select(is_value, slots + slot, slot) * comptime!(spec.kv_heads);
        let cached = (cache_row + head - min(part, head)) * dim;

        let mut factor = 1.0f32;
        if comptime!(spec.qk_norm) {
            let mut squares = 0.0f32;
            let mut i = UNIT_POS as usize;
            while i < dim {
                squares += qkv[start + i] * qkv[start + i];
                i += UNITS;
            }
            factor = 1.0 / (total(squares, UNITS) / comptime!(dim as f32) + eps).sqrt();
        }

        let pairs = select(is_value, 0, comptime!(spec.pairs));
        let gain = select(is_key, dim, 0);
        let mut pair = UNIT_POS as usize;
        while pair < pairs {
            let (a, b) = if comptime!(spec.interleaved) {
                (pair * 2, pair * 2 + 1)
            } else {
                (pair, pair + comptime!(spec.pairs))
            };
            let mut x = qkv[start + a];
            let mut y = qkv[start + b];
            if comptime!(spec.qk_norm) {
                x *= factor * gains[gain + a];
                y *= factor * gains[gain + b];
            }
            let turn = turn(position * frequencies[pair]);
            let turned_x = (x * turn.cos - y * turn.sin) * magnitude;
            let turned_y = (y * turn.cos + x * turn.sin) * magnitude;
            qkv[start + a] = turned_x;
            qkv[start + b] = turned_y;
            if is_key {
                cache[cached + a] = C::cast_from(turned_x);
                cache[cached + b] = C::cast_from(turned_y);
            }
            pair += UNITS;
        }

        let mut i = pairs * 2 + UNIT_POS as usize;
        while i < dim {
            let mut x = qkv[start + i];
            if comptime!(spec.qk_norm) {
                x *= select(is_value, 1.0, factor * gains[gain + i]);
            }
            qkv[start + i] = x;
            if is_key {
                cache[cached + i] = C::cast_from(x);
            }
            i += UNITS;
        }
    }
}

pub fn rope(
    qkv: CubeTensor,
    cache: CubeTensor,
    table: CubeTensor,
    frequencies: &CubeTensor,
    gains: &CubeTensor,
    spec: RopeSpec,
) -> (CubeTensor, CubeTensor) {
    let count = rows(&qkv);
    let slots = cache.meta.shape()[1];
    rope_kernel::launch(
        &qkv.client,
        spread(count * (spec.heads + 2 * spec.kv_heads)),
        CubeDim::new_1d(UNITS as u32),
        qkv.clone().into_buffer_arg(),
        cache.clone().into_buffer_arg(),
        table.into_buffer_arg(),
        frequencies.clone().into_buffer_arg(),
        gains.clone().into_buffer_arg(),
        count,
        slots,
        spec.magnitude,
        spec.qk_norm.unwrap_or(0.0),
        Rope {
            heads: spec.heads,
            kv_heads: spec.kv_heads,
            head_dim: spec.head_dim,
            pairs: spec.pairs,
            interleaved: spec.interleaved,
            qk_norm: spec.qk_norm.is_some(),
        },
        dtype_to_storage_type(cache.dtype),
    );
    (qkv, cache)
}
