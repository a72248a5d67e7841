//! Rotary positions, the cache, and grouped-query attention over it.

use std::ops::Range;

use half::f16;
use half::slice::HalfFloatSliceExt;

use crate::dot::{F16, F32, Float};
use crate::isa::{Isa, Job};
use crate::reference::normalize;
use crate::simd::Simd;
use crate::threads::{self, Shared};
use crate::{AttentionSpec, Norm, RopeSpec};

/// Tokens that are fetched ahead of the one that is computed.
const AHEAD: usize = 8;
/// Most rows of a sequence that are computed together.
const ROWS: usize = 16;
/// Tokens whose keys or values stay in the first-level cache while these rows pass.
const TOKENS: usize = 64;

/// A number of the cache.
pub trait Cell: Copy + Send + Sync + 'static {
    /// Writes numbers down.
    fn fill(to: &mut [Self], from: &[f32]);
}

/// How it is read.
pub(crate) trait Read: Cell {
    /// The same as a weight format.
    type Format: Float + Send + Sync;
}

impl Read for f32 {
    type Format = F32;
}

impl Read for f16 {
    type Format = F16;
}

impl Cell for f32 {
    fn fill(to: &mut [f32], from: &[f32]) {
        to.copy_from_slice(from);
    }
}

impl Cell for f16 {
    fn fill(to: &mut [f16], from: &[f32]) {
        to.convert_from_f32_slice(from);
    }
}

/// Normalises and rotates the queries and keys of `qkv` in place, and writes its keys and values to their slots of the cache:
/// `rope` of `tinderbox-kernels`, which has the shapes.
pub fn rope<C: Cell>(
    qkv: &mut [f32],
    cache: &mut [C],
    rows: &[i32],
    frequencies: &[f32],
    gains: &[f32],
    spec: RopeSpec,
) {
    turn(qkv, rows, frequencies, gains, spec);
    let kv = spec.kv_heads * spec.head_dim;
    let width = spec.heads * spec.head_dim + 2 * kv;
    let half = cache.len() / 2;
    let (keys, values) = cache.split_at_mut(half);
    for (qkv, row) in qkv.chunks(width).zip(rows.chunks(3)) {
        let slot = row[1] as usize * kv;
        let (key, value) = qkv[width - 2 * kv..].split_at(kv);
        C::fill(&mut keys[slot..][..kv], key);
        C::fill(&mut values[slot..][..kv], value);
    }
}

fn turn(qkv: &mut [f32], rows: &[i32], frequencies: &[f32], gains: &[f32], spec: RopeSpec) {
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
}

/// Causal grouped-query attention over the cache, `f32` or `f16`: `attention` of `tinderbox-kernels`, which has the shapes.
pub struct Attention<'a, C> {
    /// What [`rope`] left.
    pub qkv: &'a [f32],
    /// Keys, then values.
    pub cache: &'a [C],
    /// Position, slot and sequence of each row.
    pub rows: &'a [i32],
    /// Blocks of each sequence.
    pub tables: &'a [i32],
    /// Columns of `tables`.
    pub blocks: usize,
    /// The rest.
    pub spec: AttentionSpec,
}

// Compiled here for either kind of cache, not where it is called from.
impl Attention<'_, f32> {
    /// `[rows, heads · head_dim]`.
    pub fn run(&self) -> Vec<f32> {
        attend(self, Isa::best())
    }
}

impl Attention<'_, f16> {
    /// `[rows, heads · head_dim]`.
    pub fn run(&self) -> Vec<f32> {
        attend(self, Isa::best())
    }
}

/// [`Attention::run`], on this instruction set or on the next whose vectors divide a head.
pub(crate) fn attend<C: Read>(attention: &Attention<C>, isa: Isa) -> Vec<f32> {
    let spec = attention.spec;
    let isa = isa.of_width(spec.head_dim);
    let mut out = vec![0.0; attention.rows.len() / 3 * spec.heads * spec.head_dim];
    let shared = Shared::new(&mut out);
    // Up to so many neighbours of one sequence.
    let rows = attention.rows.as_chunks::<3>().0;
    let mut blocks = Vec::new();
    let mut first = 0;
    for rows in rows.chunk_by(|a, b| a[2] == b[2]) {
        for rows in rows.chunks(ROWS) {
            blocks.push((first, rows));
            first += rows.len();
        }
    }
    threads::share(blocks.len() * spec.kv_heads, |task| {
        let (first, rows) = blocks[task / spec.kv_heads];
        isa.run(Heads {
            attention,
            first,
            rows,
            kv_head: task % spec.kv_heads,
            out: shared,
        });
    });
    out
}

/// The query heads of some rows of one sequence that share a key and value head.
struct Heads<'a, C> {
    attention: &'a Attention<'a, C>,
    /// Number of the first row.
    first: usize,
    /// Position, slot and sequence of each.
    rows: &'a [[i32; 3]],
    kv_head: usize,
    out: Shared<'a, f32>,
}

impl<C: Read> Job for Heads<'_, C> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let spec = self.attention.spec;
        let (tokens, spans) = self.tokens();
        let heads = spec.heads / spec.kv_heads;
        let mut first = 0;
        while first < heads {
            // SAFETY: the instruction set is the caller's.
            first += unsafe {
                match heads - first {
                    1 => self.heads_at::<S, 1>(first, &tokens, &spans),
                    2 => self.heads_at::<S, 2>(first, &tokens, &spans),
                    3 => self.heads_at::<S, 3>(first, &tokens, &spans),
                    _ => self.heads_at::<S, 4>(first, &tokens, &spans),
                }
            };
        }
    }
}

impl<C: Read> Heads<'_, C> {
    /// Where the head of each token begins that any of the rows attends to, and which of these each row does.
    fn tokens(&self) -> (Vec<usize>, Vec<Range<usize>>) {
        let Attention {
            tables,
            blocks,
            spec,
            ..
        } = *self.attention;
        let spans = self.rows.iter().map(|row| {
            let end = row[0] as usize + 1;
            spec.window.map_or(0, |w| end.saturating_sub(w))..end
        });
        let start = spans.clone().map(|span| span.start).min().unwrap_or(0);
        let end = spans.clone().map(|span| span.end).max().unwrap_or(0);
        let table = &tables[self.rows[0][2] as usize * blocks..][..blocks];
        let kv = spec.kv_heads * spec.head_dim;

        let mut tokens = Vec::with_capacity(end - start);
        let mut t = start;
        while t < end {
            let (block, first) = (table[t / spec.block] as usize, t % spec.block);
            let last = spec.block.min(first + end - t);
            let at = |i| (block * spec.block + i) * kv + self.kv_head * spec.head_dim;
            tokens.extend((first..last).map(at));
            t += last - first;
        }
        let spans = spans.map(|span| span.start - start..span.end - start);
        (tokens, spans.collect())
    }

    /// `N` heads from `first`: each key and value is read once for all of them. Returns `N`.
    ///
    /// Every row's sums are taken token by token from its first, so that they do not depend on the rows beside it.
    ///
    /// # Safety
    /// The CPU has `S`, whose lanes divide the width of a head.
    #[inline(always)]
    unsafe fn heads_at<S: Simd, const N: usize>(
        &self,
        first: usize,
        tokens: &[usize],
        spans: &[Range<usize>],
    ) -> usize {
        let Attention {
            qkv, cache, spec, ..
        } = *self.attention;
        let (dim, kv) = (spec.head_dim, spec.kv_heads * spec.head_dim);
        let head = self.kv_head * (spec.heads / spec.kv_heads) + first;
        let (keys, values) = cache.split_at(cache.len() / 2);

        // Each row's scores of each head, up to whole vectors: what is past the end weighs nothing.
        let mut all = Vec::with_capacity(spans.len());
        for span in spans {
            let padded = span.len().next_multiple_of(S::LANES);
            all.push(vec![f32::MIN; N * padded]);
        }
        // Rows share a conversion where there are several of them.
        let mut floats = vec![0.0; if spans.len() > 1 { TOKENS * dim } else { 0 }];
        let in_order: [usize; TOKENS] = std::array::from_fn(|t| t * dim);

        for (tile, tokens) in tokens.chunks(TOKENS).enumerate() {
            let tile = tile * TOKENS..tile * TOKENS + tokens.len();
            if spans.len() > 1 {
                // SAFETY: the instruction set is the caller's.
                unsafe { to_floats::<S, C>(&mut floats, keys, tokens, dim) };
            }
            for (r, (span, scores)) in spans.iter().zip(&mut all).enumerate() {
                let Some((part, from)) = part_of(span, &tile) else {
                    continue;
                };
                let row = (self.first + r) * (spec.heads * dim + 2 * kv) + head * dim;
                let queries = &qkv[row..][..N * dim];
                // SAFETY: the instruction set is the caller's.
                unsafe {
                    if spans.len() > 1 {
                        let places = &in_order[part];
                        score::<S, f32, N, false>(scores, from, queries, &floats, places, spec);
                    } else {
                        let places = &tokens[part];
                        score::<S, C, N, true>(scores, from, queries, keys, places, spec);
                    }
                }
            }
        }
        for (span, scores) in spans.iter().zip(&mut all) {
            for scores in scores.chunks_exact_mut(span.len().next_multiple_of(S::LANES)) {
                if let Some(cap) = spec.softcap {
                    for score in &mut scores[..span.len()] {
                        *score = cap * (*score / cap).tanh();
                    }
                }
                // SAFETY: `scores` are whole vectors.
                unsafe { softmax::<S>(scores) };
            }
        }
        for (tile, tokens) in tokens.chunks(TOKENS).enumerate() {
            let tile = tile * TOKENS..tile * TOKENS + tokens.len();
            if spans.len() > 1 {
                // SAFETY: the instruction set is the caller's.
                unsafe { to_floats::<S, C>(&mut floats, values, tokens, dim) };
            }
            for (r, (span, scores)) in spans.iter().zip(&all).enumerate() {
                let Some((part, from)) = part_of(span, &tile) else {
                    continue;
                };
                let row = (self.first + r) * spec.heads * dim + head * dim;
                // SAFETY: this task alone has these heads of these rows; the instruction set is the caller's.
                unsafe {
                    let out = self.out.part(row, N * dim);
                    if spans.len() > 1 {
                        let places = &in_order[part];
                        mix::<S, f32, N, false>(out, &floats, places, scores, from);
                    } else {
                        let places = &tokens[part];
                        mix::<S, C, N, true>(out, values, places, scores, from);
                    }
                }
            }
        }
        N
    }
}

/// What a row attends to of a tile's tokens, counted from the tile's first, and where that begins in all the row attends to.
fn part_of(span: &Range<usize>, tile: &Range<usize>) -> Option<(Range<usize>, usize)> {
    let (from, to) = (tile.start.max(span.start), tile.end.min(span.end));
    (from < to).then(|| (from - tile.start..to - tile.start, from - span.start))
}

/// The heads of some tokens as floats, one after the other.
///
/// # Safety
/// The CPU has `S`, whose lanes divide `dim`.
#[inline(always)]
unsafe fn to_floats<S: Simd, C: Read>(
    floats: &mut [f32],
    cells: &[C],
    tokens: &[usize],
    dim: usize,
) {
    for (t, floats) in floats.chunks_exact_mut(dim).take(tokens.len()).enumerate() {
        if let Some(later) = tokens.get(t + AHEAD) {
            fetch::<S, C>(cells, *later, dim);
        }
        let from = &cells[tokens[t]..][..dim];
        for d in (0..dim).step_by(S::LANES) {
            // SAFETY: whole vectors of a head.
            unsafe {
                let value = <C::Format as Float>::load::<S>(from.as_ptr().add(d).cast());
                S::store(floats.as_mut_ptr().add(d), value);
            }
        }
    }
}

/// Scores of the tokens at `places` with `N` queries, into `scores` from `t` of each. Keys that are not in the
/// first-level cache are to be fetched.
///
/// # Safety
/// The CPU has `S`, whose lanes divide a head.
#[inline(always)]
unsafe fn score<S: Simd, C: Read, const N: usize, const FETCH: bool>(
    scores: &mut [f32],
    t: usize,
    queries: &[f32],
    keys: &[C],
    places: &[usize],
    spec: AttentionSpec,
) {
    let padded = scores.len() / N;
    // A vector's sum costs less where four are taken together, and is the same.
    let (fours, rest) = if S::TILE >= 8 {
        places.as_chunks()
    } else {
        (&[][..], places)
    };
    // SAFETY: the caller's.
    unsafe {
        for (i, four) in fours.iter().enumerate() {
            if FETCH {
                for later in places.iter().skip(4 * i + AHEAD).take(4) {
                    fetch::<S, C>(keys, *later, spec.head_dim);
                }
            }
            let sums = dots::<S, C, N, 4>(queries, keys, four);
            for (n, sums) in sums.into_iter().enumerate() {
                let scores = &mut scores[n * padded + t + 4 * i..][..4];
                for (score, sum) in scores.iter_mut().zip(S::sums(sums)) {
                    *score = sum * spec.scale;
                }
            }
        }
        for (i, place) in rest.iter().enumerate() {
            let i = 4 * fours.len() + i;
            let sums = dots::<S, C, N, 1>(queries, keys, &[*place]);
            for (n, [sum]) in sums.into_iter().enumerate() {
                scores[n * padded + t + i] = S::sums([sum; 4])[0] * spec.scale;
            }
        }
    }
}

/// The products of `N` queries with `T` keys, not yet added up over the lanes.
///
/// # Safety
/// The CPU has `S`, whose lanes divide a head.
#[inline(always)]
unsafe fn dots<S: Simd, C: Read, const N: usize, const T: usize>(
    queries: &[f32],
    keys: &[C],
    places: &[usize; T],
) -> [[S::F32; T]; N] {
    let dim = queries.len() / N;
    let mut at = [std::ptr::null(); T];
    for (at, &place) in at.iter_mut().zip(places) {
        *at = keys[place..][..dim].as_ptr();
    }
    // SAFETY: whole vectors of a key and of a query.
    unsafe {
        let mut sums = [[S::splat(0.0); T]; N];
        for d in (0..dim).step_by(S::LANES) {
            for k in 0..T {
                let key = <C::Format as Float>::load::<S>(at[k].add(d).cast());
                for (n, sums) in sums.iter_mut().enumerate() {
                    let query = S::load_f32(queries.as_ptr().add(n * dim + d).cast());
                    sums[k] = S::fma(sums[k], key, query);
                }
            }
        }
        sums
    }
}

/// Fetches the `len` cells of a token that comes later: what a head reads of a token and of the next lies apart.
#[inline(always)]
fn fetch<S: Simd, C: Read>(cells: &[C], token: usize, len: usize) {
    let at = cells.as_ptr().wrapping_add(token);
    S::fetch(at.cast(), len * size_of::<C>());
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

/// Adds to `N` heads the values at `places` by their weights, `scores` from `t` of each.
///
/// # Safety
/// The CPU has `S`, whose lanes divide a head.
#[inline(always)]
unsafe fn mix<S: Simd, C: Read, const N: usize, const FETCH: bool>(
    out: &mut [f32],
    values: &[C],
    places: &[usize],
    scores: &[f32],
    t: usize,
) {
    let dim = out.len() / N;
    let (whole, wide) = (dim / (4 * S::LANES) * (4 * S::LANES), 4 * S::LANES);
    // SAFETY: the vectors of `out` from column `d` lie inside the head.
    unsafe {
        for d in (0..whole).step_by(wide) {
            mix_at::<S, C, N, 4, FETCH>(out, d, values, places, scores, t);
        }
        for d in (whole..dim).step_by(S::LANES) {
            mix_at::<S, C, N, 1, FETCH>(out, d, values, places, scores, t);
        }
    }
}

/// Columns `d ..` of `D` vectors of [`mix`].
///
/// # Safety
/// A head has those columns, and the CPU has `S`.
#[inline(always)]
unsafe fn mix_at<S: Simd, C: Read, const N: usize, const D: usize, const FETCH: bool>(
    out: &mut [f32],
    d: usize,
    values: &[C],
    places: &[usize],
    scores: &[f32],
    t: usize,
) {
    let (dim, padded) = (out.len() / N, scores.len() / N);
    // SAFETY: the caller's.
    unsafe {
        let mut sums = [[S::splat(0.0); D]; N];
        for (n, sums) in sums.iter_mut().enumerate() {
            for (i, sum) in sums.iter_mut().enumerate() {
                let at = out[n * dim + d + i * S::LANES..][..S::LANES].as_ptr();
                *sum = S::load_f32(at.cast());
            }
        }
        let mut weights = [&[][..]; N];
        for (n, weights) in weights.iter_mut().enumerate() {
            *weights = &scores[n * padded + t..][..places.len()];
        }
        for (i, &place) in places.iter().enumerate() {
            if FETCH && let Some(later) = places.get(i + AHEAD) {
                fetch::<S, C>(values, later + d, D * S::LANES);
            }
            let value = values[place + d..][..D * S::LANES].as_ptr();
            for n in 0..N {
                let weight = S::splat(weights[n][i]);
                for (i, sum) in sums[n].iter_mut().enumerate() {
                    let value = <C::Format as Float>::load::<S>(value.add(i * S::LANES).cast());
                    *sum = S::fma(*sum, value, weight);
                }
            }
        }
        for (n, sums) in sums.iter().enumerate() {
            for (i, sum) in sums.iter().enumerate() {
                let at = &mut out[n * dim + d + i * S::LANES..][..S::LANES];
                S::store(at.as_mut_ptr(), *sum);
            }
        }
    }
}
