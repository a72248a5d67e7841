//! A tile of tokens against the heads of a row that share a key and value head of them.

use crate::AttentionSpec;
use crate::attention::Read;
use crate::dot::Float;
use crate::simd::Simd;

/// Tokens of a tile, whose keys and values stay in a near cache while rows pass. The next tile's are fetched meanwhile.
pub(super) const TOKENS: usize = 64;

/// Tokens that a row attends to, and a key and value head of them.
#[derive(Clone, Copy)]
pub(super) struct Tile<'a, C> {
    /// Where each begins, and after these some that come later, which are fetched meanwhile.
    pub places: &'a [*const C],
    /// No more than [`TOKENS`].
    pub tokens: usize,
    /// How far from there the head's key lies, and its value.
    pub key: usize,
    pub value: usize,
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
    pub(super) unsafe fn convert<S: Simd>(
        self,
        floats: &mut [f32],
        dim: usize,
    ) -> [*const f32; TOKENS] {
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

    /// Adds the tokens to a row's heads: `queries` and `values` of each, and one of `totals`.
    ///
    /// # Safety
    /// The tokens are readable and the CPU has `S`, whose lanes divide the width of a head.
    #[inline(always)]
    pub(super) unsafe fn add<S: Simd>(
        self,
        queries: &[f32],
        values: &mut [f32],
        totals: &mut [Total],
        spec: AttentionSpec,
    ) {
        let some = 4 * spec.head_dim;
        let heads = queries.chunks(some).zip(values.chunks_mut(some));
        for ((queries, values), totals) in heads.zip(totals.chunks_mut(4)) {
            // SAFETY: the caller's.
            unsafe {
                match totals.len() {
                    1 => self.add_to::<S, 1>(queries, values, totals, spec),
                    2 => self.add_to::<S, 2>(queries, values, totals, spec),
                    3 => self.add_to::<S, 3>(queries, values, totals, spec),
                    _ => self.add_to::<S, 4>(queries, values, totals, spec),
                }
            }
        }
    }

    /// [`Tile::add`] for `N` heads: each key and value is read once for all of them.
    ///
    /// # Safety
    /// As for [`Tile::add`].
    #[inline(always)]
    #[allow(clippy::needless_range_loop)] // Of a head there is more than one thing.
    unsafe fn add_to<S: Simd, const N: usize>(
        self,
        queries: &[f32],
        values: &mut [f32],
        totals: &mut [Total],
        spec: AttentionSpec,
    ) {
        // What is past the last token weighs nothing: e^-87.
        let mut scores = Scores([[f32::MIN; TOKENS]; N]);
        // SAFETY: the caller's.
        unsafe {
            score::<S, C, N>(&mut scores, queries, self, spec.scale);
            if let Some(cap) = spec.softcap {
                for scores in &mut scores.0 {
                    for score in &mut scores[..self.tokens] {
                        *score = cap * (*score / cap).tanh();
                    }
                }
            }
            let mut shrink = [S::splat(0.0); N];
            for n in 0..N {
                let whole = self.tokens.next_multiple_of(S::LANES);
                shrink[n] = weigh::<S>(&mut scores.0[n][..whole], &mut totals[n]);
            }
            mix::<S, C, N>(values, self, &scores, shrink);
        }
    }
}

/// What a head of a row has of its tokens so far.
#[derive(Clone, Copy)]
pub(super) struct Total {
    /// The largest score.
    pub max: f32,
    /// Of weights.
    pub sum: f32,
}

impl Default for Total {
    fn default() -> Self {
        Total {
            max: f32::MIN,
            sum: 0.0,
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
