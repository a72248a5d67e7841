//! Rotary positions, the cache, and grouped-query attention over it.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::dot::{F16, F32, Float, LINE};
use super::isa::{Isa, Job};
use super::simd::Simd;
use super::threads::{self, Shared};
use crate::reference::normalize;
use crate::{AttentionSpec, Norm, RopeSpec};

/// Tokens that are fetched ahead of the one that is computed.
const AHEAD: usize = 8;

/// A number of the cache.
pub(crate) trait Cell: Copy + Send + Sync + 'static {
    /// The same as a weight format.
    type Format: Float + Send + Sync;
    fn fill(to: &mut [Self], from: &[f32]);
}

impl Cell for f32 {
    type Format = F32;
    fn fill(to: &mut [f32], from: &[f32]) {
        to.copy_from_slice(from);
    }
}

impl Cell for f16 {
    type Format = F16;
    fn fill(to: &mut [f16], from: &[f32]) {
        to.convert_from_f32_slice(from);
    }
}

/// See [`crate::Kernels::rope`].
pub(crate) fn rope<C: Cell>(
    qkv: &mut [f32],
    cache: &mut [C],
    rows: &[i32],
    frequencies: &[f32],
    gains: &[f32],
    spec: RopeSpec,
) {
    let (dim, kv) = (spec.head_dim, spec.kv_heads * spec.head_dim);
    let width = spec.heads * dim + 2 * kv;
    let shared = Shared::new(qkv);
    threads::share(rows.len() / 3, |r| {
        // SAFETY: each task has its own row.
        let qkv = unsafe { shared.part(r * width, width) };
        let position = rows[3 * r] as f32;
        let turns: Vec<_> = (frequencies[..spec.pairs].iter())
            .map(|frequency| {
                let (sin, cos) = (position * frequency).sin_cos();
                (sin * spec.magnitude, cos * spec.magnitude)
            })
            .collect();
        for (h, head) in qkv[..width - kv].chunks_mut(dim).enumerate() {
            if let Some(eps) = spec.qk_norm {
                let gain = &gains[if h < spec.heads { 0 } else { dim }..][..dim];
                head.copy_from_slice(&normalize(Norm::Rms { eps }, head, gain));
            }
            for (i, &(sin, cos)) in turns.iter().enumerate() {
                let (a, b) = if spec.interleaved {
                    (2 * i, 2 * i + 1)
                } else {
                    (i, i + spec.pairs)
                };
                let (x, y) = (head[a], head[b]);
                head[a] = x * cos - y * sin;
                head[b] = y * cos + x * sin;
            }
        }
    });
    let half = cache.len() / 2;
    let (keys, values) = cache.split_at_mut(half);
    for (qkv, row) in qkv.chunks(width).zip(rows.chunks(3)) {
        let slot = row[1] as usize * kv;
        let (key, value) = qkv[width - 2 * kv..].split_at(kv);
        C::fill(&mut keys[slot..][..kv], key);
        C::fill(&mut values[slot..][..kv], value);
    }
}

/// Arguments of attention, as plain slices; see [`crate::Kernels::attention`].
pub(crate) struct Attention<'a, C> {
    pub qkv: &'a [f32],
    pub cache: &'a [C],
    pub rows: &'a [i32],
    pub tables: &'a [i32],
    /// Columns of `tables`.
    pub blocks: usize,
    pub spec: AttentionSpec,
}

impl<C: Cell> Attention<'_, C> {
    /// `[rows, heads · head_dim]`, on an instruction set whose vectors divide a head.
    pub(crate) fn run(&self, isa: Isa) -> Vec<f32> {
        let spec = self.spec;
        let group = spec.heads / spec.kv_heads * spec.head_dim;
        let mut out = vec![0.0; self.rows.len() / 3 * spec.kv_heads * group];
        let tasks = out.len() / group;
        let shared = Shared::new(&mut out);
        threads::share(tasks, |task| {
            // SAFETY: each task has its own heads of its own row.
            let out = unsafe { shared.part(task * group, group) };
            isa.run(Heads {
                attention: self,
                row: task / spec.kv_heads,
                kv_head: task % spec.kv_heads,
                out,
            });
        });
        out
    }
}

/// The query heads of one row that share a key and value head.
struct Heads<'a, C> {
    attention: &'a Attention<'a, C>,
    row: usize,
    kv_head: usize,
    out: &'a mut [f32],
}

impl<C: Cell> Job for Heads<'_, C> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(mut self) {
        let heads = self.out.len() / self.attention.spec.head_dim;
        let mut first = 0;
        while first < heads {
            // SAFETY: the instruction set is the caller's.
            first += unsafe {
                match heads - first {
                    1 => self.heads_at::<S, 1>(first),
                    2 => self.heads_at::<S, 2>(first),
                    3 => self.heads_at::<S, 3>(first),
                    _ => self.heads_at::<S, 4>(first),
                }
            };
        }
    }
}

impl<C: Cell> Heads<'_, C> {
    /// `N` heads from `first`: each key and value is read once for all of them. Returns `N`.
    ///
    /// # Safety
    /// The CPU has `S`, whose lanes divide the width of a head.
    #[inline(always)]
    unsafe fn heads_at<S: Simd, const N: usize>(&mut self, first: usize) -> usize {
        let Attention {
            qkv,
            cache,
            rows,
            tables,
            blocks,
            spec,
        } = *self.attention;
        let (dim, kv) = (spec.head_dim, spec.kv_heads * spec.head_dim);
        let [position, _, sequence] = rows[self.row * 3..][..3] else {
            unreachable!()
        };
        let position = position as usize;
        let table = &tables[sequence as usize * blocks..][..blocks];
        let (keys, values) = cache.split_at(cache.len() / 2);
        let start = spec.window.map_or(0, |w| (position + 1).saturating_sub(w));

        // Where the head of each attended token begins.
        let mut tokens = Vec::with_capacity(position + 1 - start);
        let mut t = start;
        while t <= position {
            let (block, first) = (table[t / spec.block] as usize, t % spec.block);
            let last = spec.block.min(first + position + 1 - t);
            let at = |i| (block * spec.block + i) * kv + self.kv_head * dim;
            tokens.extend((first..last).map(at));
            t += last - first;
        }
        let group = spec.heads / spec.kv_heads;
        let query = self.row * (spec.heads * dim + 2 * kv) + (self.kv_head * group + first) * dim;
        let queries: [*const f32; N] =
            std::array::from_fn(|n| qkv[query + n * dim..][..dim].as_ptr());

        // Each head's scores, up to whole vectors: what is past the end weighs nothing.
        let padded = tokens.len().next_multiple_of(S::LANES);
        let mut scores = vec![f32::MIN; N * padded];
        let mut t = 0;
        // SAFETY: each query is `dim` floats, in whole vectors.
        unsafe {
            while S::TILE >= 8 && tokens.len() - t >= 4 {
                score::<S, C, N, 4>(&mut scores, t, queries, keys, &tokens, spec);
                t += 4;
            }
            while t < tokens.len() {
                score::<S, C, N, 1>(&mut scores, t, queries, keys, &tokens, spec);
                t += 1;
            }
        }
        for scores in scores.chunks_exact_mut(padded) {
            // SAFETY: `scores` are whole vectors.
            unsafe { softmax::<S>(scores) };
        }

        let out = &mut self.out[first * dim..][..N * dim];
        let (whole, wide) = (dim / (4 * S::LANES) * (4 * S::LANES), 4 * S::LANES);
        // SAFETY: the vectors of `out` from column `d` lie inside the head.
        unsafe {
            for d in (0..whole).step_by(wide) {
                mix::<S, C, N, 4>(out, d, values, &tokens, &scores);
            }
            for d in (whole..dim).step_by(S::LANES) {
                mix::<S, C, N, 1>(out, d, values, &tokens, &scores);
            }
        }
        N
    }
}

/// Scores of `T` tokens from `t` with `N` queries.
///
/// # Safety
/// Each query is a head in whole vectors, and the CPU has `S`.
#[inline(always)]
unsafe fn score<S: Simd, C: Cell, const N: usize, const T: usize>(
    scores: &mut [f32],
    t: usize,
    queries: [*const f32; N],
    keys: &[C],
    tokens: &[usize],
    spec: AttentionSpec,
) {
    let (dim, padded) = (spec.head_dim, scores.len() / N);
    let mut at = [std::ptr::null(); T];
    for (i, at) in at.iter_mut().enumerate() {
        fetch::<S, C>(keys, tokens.get(t + i + AHEAD), dim);
        *at = keys[tokens[t + i]..][..dim].as_ptr();
    }
    // SAFETY: whole vectors of a key and of a query.
    unsafe {
        let mut sums = [[S::splat(0.0); T]; N];
        for d in (0..dim).step_by(S::LANES) {
            for k in 0..T {
                let key = <C::Format as Float>::load::<S>(at[k].add(d).cast());
                for n in 0..N {
                    let query = S::load_f32(queries[n].add(d).cast());
                    sums[n][k] = S::fma(sums[n][k], key, query);
                }
            }
        }
        for n in 0..N {
            let scores = &mut scores[n * padded + t..][..T];
            match sums[n].first_chunk() {
                Some(four) => scores.copy_from_slice(&S::sums(*four)),
                None => scores[0] = S::sum(sums[n][0]),
            }
            for score in scores {
                *score *= spec.scale;
                if let Some(cap) = spec.softcap {
                    *score = cap * (*score / cap).tanh();
                }
            }
        }
    }
}

/// Fetches the `len` cells of a token that comes later: what a head reads of a token and of the next lies apart.
#[inline(always)]
fn fetch<S: Simd, C: Cell>(cells: &[C], token: Option<&usize>, len: usize) {
    if let Some(&token) = token {
        let at = cells.as_ptr().wrapping_add(token).cast::<u8>();
        for line in (0..len * size_of::<C>()).step_by(LINE) {
            S::prefetch(at.wrapping_add(line));
        }
    }
}

/// Scores to weights that sum to one.
///
/// # Safety
/// `scores` are whole vectors and the CPU has `S`.
#[inline(always)]
unsafe fn softmax<S: Simd>(scores: &mut [f32]) {
    // SAFETY: the caller's.
    unsafe {
        let mut max = S::splat(f32::MIN);
        for scores in scores.chunks_exact(S::LANES) {
            max = S::max(max, S::load_f32(scores.as_ptr().cast()));
        }
        let max = S::largest(max);
        let mut sum = S::splat(0.0);
        for scores in scores.chunks_exact_mut(S::LANES) {
            let score = S::load_f32(scores.as_ptr().cast());
            let weight = S::exp(S::fma(score, S::splat(max), S::splat(-1.0)));
            sum = S::fma(sum, weight, S::splat(1.0));
            S::store(scores.as_mut_ptr(), weight);
        }
        let inverse = 1.0 / S::sum(sum);
        scores.iter_mut().for_each(|score| *score *= inverse);
    }
}

/// Columns `d ..` of `D` vectors of `N` heads: the values of all tokens by their weights.
///
/// # Safety
/// `out` is `N` heads that have those columns, and so has each of `tokens` in `values`; the CPU has `S`.
#[inline(always)]
unsafe fn mix<S: Simd, C: Cell, const N: usize, const D: usize>(
    out: &mut [f32],
    d: usize,
    values: &[C],
    tokens: &[usize],
    scores: &[f32],
) {
    let padded = scores.len() / N;
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [[S::splat(0.0); D]; N];
        for (t, &token) in tokens.iter().enumerate() {
            fetch::<S, C>(&values[d..], tokens.get(t + AHEAD), D * S::LANES);
            let value = values[token + d..][..D * S::LANES].as_ptr();
            for n in 0..N {
                let weight = S::splat(scores[n * padded + t]);
                for (i, sum) in sums[n].iter_mut().enumerate() {
                    let value = <C::Format as Float>::load::<S>(value.add(i * S::LANES).cast());
                    *sum = S::fma(*sum, value, weight);
                }
            }
        }
        for (out, sums) in out.chunks_exact_mut(out.len() / N).zip(sums) {
            for (i, sum) in sums.into_iter().enumerate() {
                S::store(out[d + i * S::LANES..][..S::LANES].as_mut_ptr(), sum);
            }
        }
    }
}
