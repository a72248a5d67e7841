//! Head norms, rotation, and the cache write; or the same for one row in front of [`attention`](super::attention), which
//! saves a launch a layer.

use burn::backend::cubecl::dtype_to_storage_type;
use burn::cubecl;
use cubecl::prelude::*;

use super::{CubeTensor, rows, spread};
use crate::RopeSpec;

/// Invocations of a head.
const UNITS: usize = 32;

/// What a kernel is compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rope {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    pairs: usize,
    interleaved: bool,
    qk_norm: bool,
}

impl Rope {
    pub fn new(spec: RopeSpec) -> Rope {
        Rope {
            heads: spec.heads,
            kv_heads: spec.kv_heads,
            head_dim: spec.head_dim,
            pairs: spec.pairs,
            interleaved: spec.interleaved,
            qk_norm: spec.qk_norm.is_some(),
        }
    }
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

/// What a head is multiplied with for its norm. Sums have one order, however many invocations add up.
#[cube]
fn head_factor(
    qkv: &[f32],
    start: usize,
    eps: f32,
    #[comptime] dim: usize,
    #[comptime] units: usize,
) -> f32 {
    let mut partials = Shared::<[f32]>::new_slice(UNITS);
    let mut first = UNIT_POS as usize;
    while first < UNITS {
        let mut squares = 0.0f32;
        let mut i = first;
        while i < dim {
            squares += qkv[start + i] * qkv[start + i];
            i += UNITS;
        }
        partials[first] = squares;
        first += units;
    }
    sync_cube();
    let mut sum = 0.0f32;
    for i in 0..UNITS {
        sum += partials[i];
    }
    1.0 / (sum / comptime!(dim as f32) + eps).sqrt()
}

/// Two numbers that are turned together, and where they lie in their head.
#[derive(CubeType, Clone, Copy)]
struct Pair {
    a: usize,
    b: usize,
    x: f32,
    y: f32,
}

/// A pair of the head that begins at `start`, normalised and turned.
#[cube]
fn turned(
    qkv: &[f32],
    start: usize,
    gains: &[f32],
    gain: usize,
    factor: f32,
    pair: usize,
    angle: f32,
    magnitude: f32,
    #[comptime] spec: Rope,
) -> Pair {
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
    let turn = turn(angle);
    Pair {
        a: a,
        b: b,
        x: (x * turn.cos - y * turn.sin) * magnitude,
        y: (y * turn.cos + x * turn.sin) * magnitude,
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
            factor = head_factor(&*qkv, start, eps, dim, UNITS);
        }

        let pairs = select(is_value, 0, comptime!(spec.pairs));
        let gain = select(is_key, dim, 0);
        let mut pair = UNIT_POS as usize;
        while pair < pairs {
            let angle = position * frequencies[pair];
            let it = turned(
                &*qkv, start, gains, gain, factor, pair, angle, magnitude, spec,
            );
            qkv[start + it.a] = it.x;
            qkv[start + it.b] = it.y;
            if is_key {
                cache[cached + it.a] = C::cast_from(it.x);
                cache[cached + it.b] = C::cast_from(it.y);
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

/// Numbers of a [`RopeSpec`] that no kernel is compiled for.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub struct Turning {
    pub magnitude: f32,
    pub eps: f32,
}

/// Some query heads of a row from `head` on into workgroup memory, scaled, and the key and value of `kv_head` into the cache,
/// where a workgroup reads them after a barrier. Others may write the same numbers there.
#[cube]
pub fn take_row<C: Float>(
    queries: &mut Shared<[f32]>,
    qkv: &[f32],
    cache: &mut [C],
    rows: &[i32],
    frequencies: &[f32],
    gains: &[f32],
    row: usize,
    head: usize,
    kv_head: usize,
    slots: usize,
    scale: f32,
    turning: Turning,
    #[comptime] share: usize,
    #[comptime] units: usize,
    #[comptime] spec: Rope,
) {
    let dim = comptime!(spec.head_dim);
    let unit = UNIT_POS as usize;
    let first = row * comptime!((spec.heads + 2 * spec.kv_heads) * spec.head_dim);
    let position = f32::cast_from(rows[row * 3]);
    let slot = min(rows[row * 3 + 1] as usize, slots - 1);
    let cached = (slot * comptime!(spec.kv_heads) + kv_head) * dim;
    let key = first + (comptime!(spec.heads) + kv_head) * dim;
    // The queries, then the key.
    #[unroll]
    for h in 0..comptime!(share + 1) {
        let is_key = comptime!(h == share);
        let start = if comptime!(is_key) {
            key
        } else {
            first + (head + h) * dim
        };
        let gain = comptime!(if h == share { spec.head_dim } else { 0 });
        let mut factor = 1.0f32;
        if comptime!(spec.qk_norm) {
            factor = head_factor(qkv, start, turning.eps, dim, units);
        }
        let mut pair = unit;
        while pair < comptime!(spec.pairs) {
            let angle = position * frequencies[pair];
            let it = turned(
                qkv,
                start,
                gains,
                gain,
                factor,
                pair,
                angle,
                turning.magnitude,
                spec,
            );
            if comptime!(is_key) {
                cache[cached + it.a] = C::cast_from(it.x);
                cache[cached + it.b] = C::cast_from(it.y);
            } else {
                queries[comptime!(h * spec.head_dim) + it.a] = it.x * scale;
                queries[comptime!(h * spec.head_dim) + it.b] = it.y * scale;
            }
            pair += units;
        }
        let mut i = comptime!(spec.pairs * 2) + unit;
        while i < dim {
            let mut x = qkv[start + i];
            if comptime!(spec.qk_norm) {
                x *= factor * gains[gain + i];
            }
            if comptime!(is_key) {
                cache[cached + i] = C::cast_from(x);
            } else {
                queries[comptime!(h * spec.head_dim) + i] = x * scale;
            }
            i += units;
        }
    }
    let value = key + comptime!(spec.kv_heads * spec.head_dim);
    let mut i = unit;
    while i < dim {
        let at = slots * comptime!(spec.kv_heads * spec.head_dim) + cached + i;
        cache[at] = C::cast_from(qkv[value + i]);
        i += units;
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
        Rope::new(spec),
        dtype_to_storage_type(cache.dtype),
    );
    (qkv, cache)
}
