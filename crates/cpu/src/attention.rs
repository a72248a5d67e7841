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

/// Most rows of a sequence that are computed together.
const ROWS: usize = 32;
/// Tokens of a tile, whose keys and values stay in a near cache while these rows pass. The next tile's are fetched meanwhile.
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
    // Up to so many neighbours of one sequence, with their first one's number.
    let mut blocks = Vec::new();
    let mut first = 0;
    for rows in (attention.rows.as_chunks::<3>().0).chunk_by(|a, b| a[2] == b[2]) {
        for rows in rows.chunks(ROWS) {
            blocks.push((first, rows));
            first += rows.len();
        }
    }
    let mut tasks = Vec::new();
    for &(first, rows) in &blocks {
        // A token's heads lie side by side in memory: what is read for a single row is read together, as far as that leaves
        // a task for each thread.
        let parts = match rows.len() {
            1 => threads::count().div_ceil(blocks.len()).min(spec.kv_heads),
            _ => spec.kv_heads,
        };
        for part in 0..parts {
            tasks.push(Heads {
                attention,
                first,
                rows,
                kv_heads: part * spec.kv_heads / parts..(part + 1) * spec.kv_heads / parts,
                out: shared,
            });
        }
    }
    threads::share(tasks.len(), |task| isa.run(&tasks[task]));
    out
}

/// The query heads of some rows of one sequence that share some key and value heads.
struct Heads<'a, C> {
    attention: &'a Attention<'a, C>,
    /// Number of the first row.
    first: usize,
    /// Position, slot and sequence of each.
    rows: &'a [[i32; 3]],
    kv_heads: Range<usize>,
    out: Shared<'a, f32>,
}

impl<C: Read> Job for &Heads<'_, C> {
    type Output = ();

    /// Softmax over tiles of tokens, whose sums are of weights `e^(score − largest so far)` and shrink where a tile has a larger
    /// score (Milakov and Gimelshein 2018, arXiv:1805.02867). Tiles begin at multiples of [`TOKENS`], so that a row's sums do not
    /// depend on the rows beside it.
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Attention { cache, spec, .. } = *self.attention;
        let dim = spec.head_dim;
        let share = spec.heads / spec.kv_heads;
        let heads = self.kv_heads.len() * share;
        let mut totals = vec![Total::default(); self.rows.len() * heads];
        let (tokens, places) = self.tokens();
        // Several rows share a conversion.
        let room = match self.rows.len() {
            1 => 0,
            _ => places.len().min(TOKENS) * dim,
        };
        let mut floats = vec![0.0; 2 * room];

        let mut at = tokens.start;
        while at < tokens.end {
            let tile = at..tokens.end.min(at / TOKENS * TOKENS + TOKENS);
            let places = &places[at - tokens.start..];
            at = tile.end;
            for kv_head in self.kv_heads.clone() {
                let head = kv_head * share;
                let own = (kv_head - self.kv_heads.start) * share;
                let cells = Tile {
                    places,
                    tokens: tile.len(),
                    key: kv_head * dim,
                    value: cache.len() / 2 + kv_head * dim,
                };
                if self.rows.len() == 1 {
                    // SAFETY: `tokens` found a token at each place; the instruction set is the caller's.
                    unsafe { self.add::<S, C>(0, head, cells, &mut totals[own..][..share]) };
                    continue;
                }
                // SAFETY: as above, and there is room for a tile.
                let places: [*const f32; TOKENS] = unsafe { cells.convert::<S>(&mut floats, dim) };
                for (r, totals) in totals.chunks_exact_mut(heads).enumerate() {
                    let span = self.span(r);
                    let part = tile.start.max(span.start)..tile.end.min(span.end);
                    if part.is_empty() {
                        continue;
                    }
                    let floats = Tile {
                        places: &places[part.start - tile.start..part.end - tile.start],
                        tokens: part.len(),
                        key: 0,
                        value: room,
                    };
                    // SAFETY: `convert` wrote them; the instruction set is the caller's.
                    unsafe { self.add::<S, f32>(r, head, floats, &mut totals[own..][..share]) };
                }
            }
        }
        for (r, totals) in totals.chunks_exact(heads).enumerate() {
            // SAFETY: no part of it is in use any more.
            let out = unsafe { self.out(r, self.kv_heads.start * share, heads) };
            for (out, total) in out.chunks_exact_mut(dim).zip(totals) {
                out.iter_mut().for_each(|out| *out /= total.sum);
            }
        }
    }
}

/// Tokens that a row attends to, and a key and value head of them.
#[derive(Clone, Copy)]
struct Tile<'a, C> {
    /// Where each begins, and after these some that come later, which are fetched meanwhile.
    places: &'a [*const C],
    /// No more than [`TOKENS`].
    tokens: usize,
    /// How far from there the head's key lies, and its value.
    key: usize,
    value: usize,
}

impl<C: Read> Tile<'_, C> {
    /// Fetches the part `offset` of the token a tile after token `t`.
    #[inline(always)]
    fn fetch<S: Simd>(self, t: usize, offset: usize, dim: usize) {
        if let Some(later) = self.places.get(t + TOKENS) {
            S::fetch(later.wrapping_add(offset).cast(), dim * size_of::<C>());
        }
    }

    /// Writes keys, then values as floats, each in a half of `floats`. Returns where each token's begin.
    ///
    /// # Safety
    /// The tokens are readable, a half of `floats` has room for them, and the CPU has `S`, whose lanes divide `dim`.
    #[inline(always)]
    unsafe fn convert<S: Simd>(self, floats: &mut [f32], dim: usize) -> [*const f32; TOKENS] {
        let half = floats.len() / 2;
        for (offset, to) in [(self.key, 0), (self.value, half)] {
            let floats = floats[to..][..self.tokens * dim].chunks_exact_mut(dim);
            for (t, floats) in floats.enumerate() {
                self.fetch::<S>(t, offset, dim);
                for d in (0..dim).step_by(S::LANES) {
                    // SAFETY: whole vectors of a head.
                    unsafe {
                        let from = self.places[t].add(offset + d).cast();
                        let value = <C::Format as Float>::load::<S>(from);
                        S::store(floats.as_mut_ptr().add(d), value);
                    }
                }
            }
        }
        let mut places = [floats.as_ptr(); TOKENS];
        for (t, place) in places.iter_mut().enumerate() {
            *place = place.wrapping_add(t * dim);
        }
        places
    }
}

/// What a head of a row has of its tokens so far.
#[derive(Clone, Copy)]
struct Total {
    /// The largest score.
    max: f32,
    /// Of weights.
    sum: f32,
}

impl Default for Total {
    fn default() -> Self {
        Total {
            max: f32::MIN,
            sum: 0.0,
        }
    }
}

impl<C: Read> Heads<'_, C> {
    /// Positions that a row attends to.
    fn span(&self, row: usize) -> Range<usize> {
        let end = self.rows[row][0] as usize + 1;
        let window = self.attention.spec.window;
        window.map_or(0, |w| end.saturating_sub(w))..end
    }

    /// Positions that any of the rows attends to, and where in the cache the keys of each of them begin; its values lie half the
    /// cache further on.
    fn tokens(&self) -> (Range<usize>, Vec<*const C>) {
        let Attention {
            cache,
            tables,
            blocks,
            spec,
            ..
        } = *self.attention;
        let kv = spec.kv_heads * spec.head_dim;
        let spans = (0..self.rows.len()).map(|r| self.span(r));
        let start = spans.clone().map(|span| span.start).min().unwrap_or(0);
        let end = spans.map(|span| span.end).max().unwrap_or(0);
        let table = &tables[self.rows[0][2] as usize * blocks..][..blocks];
        let mut places = Vec::with_capacity(end - start);
        let mut t = start;
        while t < end {
            let (block, first) = (table[t / spec.block] as usize, t % spec.block);
            let last = spec.block.min(first + end - t);
            let tokens = (block * spec.block + first) * kv..(block * spec.block + last) * kv;
            assert!(
                tokens.end <= cache.len() / 2,
                "attention: block {block} is none"
            );
            places.extend(tokens.step_by(kv).map(|at| cache.as_ptr().wrapping_add(at)));
            t += last - first;
        }
        (start..end, places)
    }

    /// Heads `head ..` of a row in the result: among those of this task.
    ///
    /// # Safety
    /// No other slice of them is in use.
    #[allow(clippy::mut_from_ref)]
    unsafe fn out(&self, row: usize, head: usize, heads: usize) -> &mut [f32] {
        let spec = self.attention.spec;
        let first = ((self.first + row) * spec.heads + head) * spec.head_dim;
        // SAFETY: this task alone has them, and the caller holds no other.
        unsafe { self.out.part(first, heads * spec.head_dim) }
    }

    /// Adds tokens to a row's heads from `head` on, one for each of `totals`.
    ///
    /// # Safety
    /// The tokens are readable and the CPU has `S`, whose lanes divide the width of a head.
    #[inline(always)]
    unsafe fn add<S: Simd, T: Read>(
        &self,
        row: usize,
        head: usize,
        tile: Tile<T>,
        totals: &mut [Total],
    ) {
        for (i, totals) in totals.chunks_mut(4).enumerate() {
            let head = head + 4 * i;
            // SAFETY: the caller's.
            unsafe {
                match totals.len() {
                    1 => self.add_to::<S, T, 1>(row, head, tile, totals),
                    2 => self.add_to::<S, T, 2>(row, head, tile, totals),
                    3 => self.add_to::<S, T, 3>(row, head, tile, totals),
                    _ => self.add_to::<S, T, 4>(row, head, tile, totals),
                }
            }
        }
    }

    /// [`Heads::add`] for `N` heads: each key and value is read once for all of them.
    ///
    /// # Safety
    /// As for [`Heads::add`].
    #[inline(always)]
    #[allow(clippy::needless_range_loop)] // Of a head there is more than one thing.
    unsafe fn add_to<S: Simd, T: Read, const N: usize>(
        &self,
        row: usize,
        head: usize,
        tile: Tile<T>,
        totals: &mut [Total],
    ) {
        let Attention { qkv, spec, .. } = *self.attention;
        let dim = spec.head_dim;
        let width = (spec.heads + 2 * spec.kv_heads) * dim;
        let queries = &qkv[(self.first + row) * width + head * dim..][..N * dim];
        // What is past the last token weighs nothing: e^-87.
        let mut scores = Scores([[f32::MIN; TOKENS]; N]);
        // SAFETY: the caller's; nothing else of `out` is in use.
        unsafe {
            score::<S, T, N>(&mut scores, queries, tile, spec.scale);
            if let Some(cap) = spec.softcap {
                for scores in &mut scores.0 {
                    for score in &mut scores[..tile.tokens] {
                        *score = cap * (*score / cap).tanh();
                    }
                }
            }
            let mut shrink = [S::splat(0.0); N];
            for n in 0..N {
                let whole = tile.tokens.next_multiple_of(S::LANES);
                shrink[n] = weigh::<S>(&mut scores.0[n][..whole], &mut totals[n]);
            }
            mix::<S, T, N>(self.out(row, head, N), tile, &scores, shrink);
        }
    }
}

/// Scores of a tile's tokens with `N` queries, then their weights.
#[repr(C, align(64))]
struct Scores<const N: usize>([[f32; TOKENS]; N]);

/// Scores of a tile's tokens with `N` queries.
///
/// # Safety
/// The tokens are readable and the CPU has `S`, whose lanes divide a head.
#[inline(always)]
unsafe fn score<S: Simd, C: Read, const N: usize>(
    scores: &mut Scores<N>,
    queries: &[f32],
    tile: Tile<C>,
    scale: f32,
) {
    // SAFETY: the caller's.
    unsafe {
        let mut done = 0;
        if 8 * N + N < S::REGISTERS {
            done = score_by::<S, C, N, 8>(scores, queries, tile, done, scale);
        }
        if 4 * N + N < S::REGISTERS {
            done = score_by::<S, C, N, 4>(scores, queries, tile, done, scale);
        }
        if 2 * N + N < S::REGISTERS {
            done = score_by::<S, C, N, 2>(scores, queries, tile, done, scale);
        }
        score_by::<S, C, N, 1>(scores, queries, tile, done, scale);
    }
}

/// [`score`] from token `first` on, `T` at a time as long as there are so many. Returns the first that is left.
///
/// # Safety
/// As for [`score`].
#[inline(always)]
#[allow(clippy::needless_range_loop)] // Of a token and a query there is more than one thing.
unsafe fn score_by<S: Simd, C: Read, const N: usize, const T: usize>(
    scores: &mut Scores<N>,
    queries: &[f32],
    tile: Tile<C>,
    mut first: usize,
    scale: f32,
) -> usize {
    let dim = queries.len() / N;
    while first + T <= tile.tokens {
        let mut keys = [std::ptr::null(); T];
        for t in 0..T {
            keys[t] = tile.places[first + t].wrapping_add(tile.key);
            tile.fetch::<S>(first + t, tile.key, dim);
        }
        // SAFETY: whole vectors of a key and of a query.
        unsafe {
            let mut sums = [[S::splat(0.0); T]; N];
            for d in (0..dim).step_by(S::LANES) {
                for t in 0..T {
                    let key = <C::Format as Float>::load::<S>(keys[t].add(d).cast());
                    for n in 0..N {
                        let query = S::load_f32(queries.as_ptr().add(n * dim + d).cast());
                        sums[n][t] = S::fma(sums[n][t], key, query);
                    }
                }
            }
            // A vector's sum costs less where four are taken together.
            let sums = sums.as_flattened();
            for at in (0..N * T).step_by(4) {
                let count = 4.min(N * T - at);
                let mut four = [sums[at]; 4];
                four[..count].copy_from_slice(&sums[at..][..count]);
                let four = S::sums(four);
                for k in 0..count {
                    scores.0[(at + k) / T][first + (at + k) % T] = four[k] * scale;
                }
            }
        }
        first += T;
    }
    first
}

/// Scores of a head to weights. Returns what those before are to be multiplied by.
///
/// # Safety
/// `scores` are whole vectors and the CPU has `S`.
#[inline(always)]
unsafe fn weigh<S: Simd>(scores: &mut [f32], total: &mut Total) -> S::F32 {
    // SAFETY: the caller's.
    unsafe {
        let (before, one) = (S::splat(total.max), S::splat(1.0));
        let mut max = before;
        for scores in scores.chunks_exact(S::LANES) {
            max = S::max(max, S::load_f32(scores.as_ptr().cast()));
        }
        total.max = S::largest(max);
        let less = S::splat(-total.max);
        let mut sum = S::splat(0.0);
        for scores in scores.chunks_exact_mut(S::LANES) {
            let score = S::load_f32(scores.as_ptr().cast());
            let weight = S::exp(S::fma(less, score, one));
            sum = S::fma(sum, weight, one);
            S::store(scores.as_mut_ptr(), weight);
        }
        let shrink = S::exp(S::fma(less, before, one));
        total.sum = total.sum * S::largest(shrink) + S::sum(sum);
        shrink
    }
}

/// Shrinks `N` heads, and adds a tile's values by their weights.
///
/// # Safety
/// The tokens are readable and the CPU has `S`, whose lanes divide a head.
#[inline(always)]
unsafe fn mix<S: Simd, C: Read, const N: usize>(
    out: &mut [f32],
    tile: Tile<C>,
    weights: &Scores<N>,
    shrink: [S::F32; N],
) {
    // SAFETY: the caller's.
    unsafe {
        let mut done = 0;
        if 8 * N + N + 1 < S::REGISTERS {
            done = mix_by::<S, C, N, 8>(out, tile, weights, shrink, done);
        }
        if 4 * N + N + 1 < S::REGISTERS {
            done = mix_by::<S, C, N, 4>(out, tile, weights, shrink, done);
        }
        if 2 * N + N + 1 < S::REGISTERS {
            done = mix_by::<S, C, N, 2>(out, tile, weights, shrink, done);
        }
        mix_by::<S, C, N, 1>(out, tile, weights, shrink, done);
    }
}

/// [`mix`] from column `first` on, `D` vectors at a time as long as there are so many. Returns the first that is left.
///
/// # Safety
/// As for [`mix`].
#[inline(always)]
#[allow(clippy::needless_range_loop)] // Of a vector and a head there is more than one thing.
unsafe fn mix_by<S: Simd, C: Read, const N: usize, const D: usize>(
    out: &mut [f32],
    tile: Tile<C>,
    weights: &Scores<N>,
    shrink: [S::F32; N],
    mut first: usize,
) -> usize {
    let dim = out.len() / N;
    while first + D * S::LANES <= dim {
        // SAFETY: the vectors lie inside a head.
        unsafe {
            let mut sums = [[S::splat(0.0); D]; N];
            for n in 0..N {
                for v in 0..D {
                    let at = out.as_ptr().add(n * dim + first + v * S::LANES);
                    sums[n][v] = S::mul(S::load_f32(at.cast()), shrink[n]);
                }
            }
            for (t, place) in tile.places[..tile.tokens].iter().enumerate() {
                if first == 0 {
                    tile.fetch::<S>(t, tile.value, dim);
                }
                let value = place.add(tile.value);
                let mut weight = [S::splat(0.0); N];
                for n in 0..N {
                    weight[n] = S::splat(*weights.0[n].as_ptr().add(t));
                }
                for v in 0..D {
                    let value = value.add(first + v * S::LANES).cast();
                    let value = <C::Format as Float>::load::<S>(value);
                    for n in 0..N {
                        sums[n][v] = S::fma(sums[n][v], value, weight[n]);
                    }
                }
            }
            for n in 0..N {
                for v in 0..D {
                    let at = out.as_mut_ptr().add(n * dim + first + v * S::LANES);
                    S::store(at, sums[n][v]);
                }
            }
        }
        first += D * S::LANES;
    }
    first
}
