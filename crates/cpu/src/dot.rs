//! A panel of weight rows against one or several input rows.

use crate::Format;
use crate::panel::ROWS;
use crate::quant::Quant;
use crate::simd::{Scalar, Simd};

/// An input row in 16 bits: groups of 32 with `x ≈ scale · q`, `q` in −32767 ..= 32767.
///
/// Eight bits would make the product faster and the answers worse: on SmolLM2-135M they move
/// log-probabilities by up to 0.7 and change greedy answers; with sixteen the sums are those of `f32`.
pub(crate) struct Row16 {
    /// Quantized values.
    pub q: Vec<i16>,
    /// One scale a group.
    pub scales: Vec<f32>,
    /// `scale · Σ q` of each group.
    pub sums: Vec<f32>,
}

impl Row16 {
    /// Quantizes a row whose length is a multiple of 32.
    ///
    /// # Safety
    /// The CPU has `S`.
    #[inline(always)]
    pub(crate) unsafe fn new<S: Simd>(x: &[f32]) -> Row16 {
        let groups = x.len() / 32;
        let mut row = Row16 {
            q: vec![0; x.len()],
            scales: Vec::with_capacity(groups),
            sums: Vec::with_capacity(groups),
        };
        for (x, q) in x.chunks_exact(32).zip(row.q.chunks_exact_mut(32)) {
            // SAFETY: whole vectors of a group; the instruction set is the caller's.
            unsafe {
                let mut largest = S::splat(0.0);
                for i in (0..32).step_by(S::LANES) {
                    let x = S::load_f32(x.as_ptr().add(i).cast());
                    largest = S::max(largest, S::max(x, S::mul(x, S::splat(-1.0))));
                }
                let scale = S::largest(largest) / 32767.0;
                let inverse = S::splat(if scale > 0.0 { 1.0 / scale } else { 0.0 });
                // Whole numbers below 2^20: exact, in whatever order.
                let mut sum = S::splat(0.0);
                for i in (0..32).step_by(S::LANES) {
                    let whole = S::round(S::mul(S::load_f32(x.as_ptr().add(i).cast()), inverse));
                    sum = S::fma(sum, S::to_f32(whole), S::splat(1.0));
                    S::store_i16(q.as_mut_ptr().add(i), whole);
                }
                row.scales.push(scale);
                row.sums.push(S::sum(sum) * scale);
            }
        }
        row
    }
}

/// How far ahead weights are fetched from memory: into the second-level cache, and long enough before they are needed.
const NEAR: usize = 128 << 10;

/// How far from byte `at` of a stretch of `len` bytes those lie that are needed `near` bytes of work later: further on in the
/// stretch, or in the one that begins `ahead` bytes after it.
#[inline(always)]
fn distance(at: usize, near: usize, len: usize, ahead: usize) -> usize {
    let near = near.min(len);
    match at + near < len {
        true => near,
        false => (ahead + near).wrapping_sub(len),
    }
}

/// Products of `P` panels with `N` input rows.
///
/// Where a function has something of this alignment on its stack, the compiler aligns all that it keeps there: else vectors
/// for which there are no registers lie across two lines of the cache.
#[repr(C, align(64))]
pub(crate) struct Products<const N: usize, const P: usize>(pub [[[f32; ROWS]; N]; P]);

/// A weight format and the form of input row it multiplies.
pub(crate) trait Weights: 'static {
    /// An input row, prepared once for all weight rows.
    type Row: Send + Sync;
    /// # Safety
    /// The CPU has `S`.
    unsafe fn prepare<S: Simd>(x: Vec<f32>) -> Self::Row;

    /// The products of `P` panels of [`ROWS`] weight rows of `columns`, one after the other in memory, with `N` input rows.
    /// Meanwhile what lies `ahead` bytes further on is fetched from memory, wherever that is.
    ///
    /// # Safety
    /// `w` is readable for the panels, every `x` was prepared from `columns` values, and the CPU has `S`.
    unsafe fn products<S: Simd, const N: usize, const P: usize>(
        w: *const u8,
        ahead: usize,
        columns: usize,
        x: [&Self::Row; N],
    ) -> Products<N, P>;

    /// Row `r` of a panel as floats.
    ///
    /// # Safety
    /// `w` is readable for a panel of rows of `out.len()` columns.
    unsafe fn unpack(w: *const u8, r: usize, out: &mut [f32]);
}

impl<Q: Quant> Weights for Q {
    type Row = Row16;

    #[inline(always)]
    unsafe fn prepare<S: Simd>(x: Vec<f32>) -> Row16 {
        // SAFETY: the caller's.
        unsafe { Row16::new::<S>(&x) }
    }

    #[inline(always)]
    unsafe fn products<S: Simd, const N: usize, const P: usize>(
        w: *const u8,
        ahead: usize,
        columns: usize,
        x: [&Row16; N],
    ) -> Products<N, P> {
        let mut out = Products([[[0.0; ROWS]; N]; P]);
        // In V8 several rows of Q4_K take longer with both vectors of a panel at once (BENCHMARKS.md).
        let alone = cfg!(target_arch = "wasm32") && N > 1 && matches!(Q::FORMAT, Format::Q4_K);
        // SAFETY: the caller's; the lanes are those of whole vectors of a panel.
        unsafe {
            if 2 * S::LANES == ROWS && !alone {
                lanes::<Q, S, N, P, 2>(w, ahead, columns, x, 0, &mut out);
            } else {
                for lane in (0..ROWS).step_by(S::LANES) {
                    lanes::<Q, S, N, P, 1>(w, ahead, columns, x, lane, &mut out);
                }
            }
        }
        out
    }

    unsafe fn unpack(w: *const u8, r: usize, out: &mut [f32]) {
        let groups = Q::FORMAT.block() / 32;
        let (lane, own) = (r / Scalar::LANES * Scalar::LANES, r % Scalar::LANES);
        for (at, out) in out.chunks_exact_mut(32).enumerate() {
            // SAFETY: as in `products`; any CPU has `Scalar`.
            unsafe {
                let block = w.add(at / groups * ROWS * Q::FORMAT.block_bytes());
                let g = at % groups;
                let min = Q::min::<Scalar>(block, g, lane)[own];
                for (k, out) in out.chunks_exact_mut(8).enumerate() {
                    let half = k * Q::SCALES / 4;
                    let scale = Q::scale::<Scalar>(block, g, half, lane)[own];
                    let quants = Q::quants::<Scalar>(block, g, k, lane);
                    for (out, quant) in out.iter_mut().zip(quants.iter().flat_map(|q| q[own])) {
                        *out = scale * f32::from(quant) + min;
                    }
                }
            }
        }
    }
}

/// [`Weights::products`] of `V` vectors of each panel's rows, from `first` on: they share what is broadcast of the input.
///
/// # Safety
/// As for [`Weights::products`]; `first + V * S::LANES` is at most [`ROWS`].
#[inline(always)]
#[allow(clippy::needless_range_loop)] // An iterator costs 6 % of the products of several rows.
unsafe fn lanes<Q: Quant, S: Simd, const N: usize, const P: usize, const V: usize>(
    w: *const u8,
    ahead: usize,
    columns: usize,
    x: [&Row16; N],
    first: usize,
    out: &mut Products<N, P>,
) {
    let groups = Q::FORMAT.block() / 32;
    let size = ROWS * Q::FORMAT.block_bytes();
    let blocks = columns / Q::FORMAT.block();
    // SAFETY: a panel holds `blocks` blocks, each of `groups` groups; every input row holds `columns / 32` groups; a lane stays
    // below `ROWS`.
    unsafe {
        let mut acc = [[[S::splat(0.0); N]; V]; P];
        for b in 0..blocks {
            let distance = distance(b * size, NEAR / P, blocks * size, ahead);
            // Each panel's in turn: memory gives several streams faster than one.
            for p in 0..P {
                let block = w.add((p * blocks + b) * size);
                let acc = &mut acc[p];
                for g in 0..groups {
                    if first == 0 {
                        S::fetch(
                            block.wrapping_add(distance + g * (size / groups)),
                            size / groups,
                        );
                    }
                    let at = b * groups + g;
                    for half in 0..Q::SCALES {
                        let mut sums = [[S::zero(); N]; V];
                        for k in half * 4 / Q::SCALES..(half + 1) * 4 / Q::SCALES {
                            let mut quants = [Q::quants::<S>(block, g, k, first); V];
                            for v in 1..V {
                                quants[v] = Q::quants::<S>(block, g, k, first + v * S::LANES);
                            }
                            let mut pairs = [std::ptr::null(); N];
                            for n in 0..N {
                                pairs[n] = x[n].q.as_ptr().add(32 * at + 8 * k);
                            }
                            S::dots(&mut sums, quants, pairs);
                        }
                        for v in 0..V {
                            let scale = Q::scale::<S>(block, g, half, first + v * S::LANES);
                            for n in 0..N {
                                let with = S::splat(*x[n].scales.as_ptr().add(at));
                                let sum = S::total(sums[v][n]);
                                acc[v][n] = S::fma(acc[v][n], sum, S::mul(scale, with));
                            }
                        }
                    }
                    if Q::MIN {
                        for (v, acc) in acc.iter_mut().enumerate() {
                            let min = Q::min::<S>(block, g, first + v * S::LANES);
                            for n in 0..N {
                                let sum = S::splat(*x[n].sums.as_ptr().add(at));
                                acc[n] = S::fma(acc[n], min, sum);
                            }
                        }
                    }
                }
            }
        }
        for p in 0..P {
            for n in 0..N {
                for v in 0..V {
                    S::store(
                        out.0[p][n][first + v * S::LANES..].as_mut_ptr(),
                        acc[p][v][n],
                    );
                }
            }
        }
    }
}

/// A float format: a vector of weights at a time.
pub(crate) trait Float: 'static {
    const BYTES: usize;
    /// # Safety
    /// `at` is readable for `S::LANES` weights and the CPU has `S`.
    unsafe fn load<S: Simd>(at: *const u8) -> S::F32;
}

pub(crate) struct F32;
pub(crate) struct F16;
pub(crate) struct BF16;

/// Marks a float format's products, so that they do not overlap with the quantized ones.
pub(crate) struct Floats<F>(std::marker::PhantomData<F>);

impl Float for F32 {
    const BYTES: usize = 4;
    #[inline(always)]
    unsafe fn load<S: Simd>(at: *const u8) -> S::F32 {
        // SAFETY: the caller's.
        unsafe { S::load_f32(at) }
    }
}

impl Float for F16 {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load<S: Simd>(at: *const u8) -> S::F32 {
        // SAFETY: the caller's.
        unsafe { S::load_f16(at) }
    }
}

impl Float for BF16 {
    const BYTES: usize = 2;
    #[inline(always)]
    unsafe fn load<S: Simd>(at: *const u8) -> S::F32 {
        // SAFETY: the caller's.
        unsafe { S::load_bf16(at) }
    }
}

/// Most lanes of any instruction set.
const LANES: usize = 16;

impl<F: Float + Send + Sync> Floats<F> {
    /// The dot products of `R` weight rows of `columns`, one after the other in memory, with `N` input rows. Meanwhile what lies
    /// `ahead` bytes further on is fetched.
    ///
    /// # Safety
    /// `w` is readable for the rows, every `x` for `columns` floats and zeros up to a multiple of
    /// `S::LANES`, and the CPU has `S`.
    #[inline(always)]
    #[allow(clippy::needless_range_loop)] // Of a row there is more than one thing.
    pub(crate) unsafe fn dots<S: Simd, const N: usize, const R: usize>(
        w: *const u8,
        ahead: usize,
        columns: usize,
        x: [*const f32; N],
    ) -> [[f32; N]; R] {
        let row = columns * F::BYTES;
        // Columns of a line of the cache, which is fetched once, and of what is whole lines and whole vectors.
        let line = 64 / F::BYTES;
        let (lines, whole) = (columns / line * line, columns / S::LANES * S::LANES);
        // SAFETY: whole vectors lie inside the rows; the rest is copied to a padded buffer first.
        unsafe {
            let mut acc = [[S::splat(0.0); N]; R];
            for first in (0..lines).step_by(line) {
                for r in 0..R {
                    S::prefetch(w.wrapping_add(ahead + r * row + first * F::BYTES));
                }
                for i in (first..first + line).step_by(S::LANES) {
                    Self::add::<S, N, R>(&mut acc, w.add(i * F::BYTES), row, x, i);
                }
            }
            for i in (lines..whole).step_by(S::LANES) {
                Self::add::<S, N, R>(&mut acc, w.add(i * F::BYTES), row, x, i);
            }
            if whole < columns {
                let mut rest = [[0u8; 4 * LANES]; R];
                for r in 0..R {
                    let tail = w.add(r * row + whole * F::BYTES);
                    let bytes = row - whole * F::BYTES;
                    std::ptr::copy_nonoverlapping(tail, rest[r].as_mut_ptr(), bytes);
                }
                Self::add::<S, N, R>(&mut acc, rest.as_ptr().cast(), 4 * LANES, x, whole);
            }
            let mut out = [[0.0; N]; R];
            for r in 0..R {
                for n in 0..N {
                    out[r][n] = S::sum(acc[r][n]);
                }
            }
            out
        }
    }

    /// Adds the products of a vector of each of `R` weight rows, `row` bytes apart, with that of each input row from column `i`.
    ///
    /// # Safety
    /// The vectors are readable and the CPU has `S`.
    #[inline(always)]
    #[allow(clippy::needless_range_loop)] // Of a row there is more than one thing.
    unsafe fn add<S: Simd, const N: usize, const R: usize>(
        acc: &mut [[S::F32; N]; R],
        w: *const u8,
        row: usize,
        x: [*const f32; N],
        i: usize,
    ) {
        // SAFETY: the caller's.
        unsafe {
            let mut weights = [S::splat(0.0); R];
            for r in 0..R {
                weights[r] = F::load::<S>(w.add(r * row));
            }
            for n in 0..N {
                let x = S::load_f32(x[n].add(i).cast());
                for r in 0..R {
                    acc[r][n] = S::fma(acc[r][n], weights[r], x);
                }
            }
        }
    }

    /// [`Weights::products`], `R` weight rows at a time.
    ///
    /// # Safety
    /// As for [`Weights::products`]; `R` divides [`ROWS`].
    #[inline(always)]
    unsafe fn panels<S: Simd, const N: usize, const P: usize, const R: usize>(
        w: *const u8,
        ahead: usize,
        columns: usize,
        x: [*const f32; N],
    ) -> Products<N, P> {
        let mut out = Products([[[0.0; ROWS]; N]; P]);
        let row = columns * F::BYTES;
        let all = P * ROWS * row;
        for (p, out) in out.0.iter_mut().enumerate() {
            for first in (0..ROWS).step_by(R) {
                let at = (p * ROWS + first) * row;
                // SAFETY: a panel of floats is its rows.
                let dots = unsafe {
                    Self::dots::<S, N, R>(w.add(at), distance(at, NEAR, all, ahead), columns, x)
                };
                for (r, dots) in dots.iter().enumerate() {
                    for (out, dot) in out.iter_mut().zip(dots) {
                        out[first + r] = *dot;
                    }
                }
            }
        }
        out
    }
}

impl<F: Float + Send + Sync> Weights for Floats<F> {
    type Row = Vec<f32>;

    #[inline(always)]
    unsafe fn prepare<S: Simd>(mut x: Vec<f32>) -> Vec<f32> {
        x.resize(x.len().next_multiple_of(LANES), 0.0);
        x
    }

    #[inline(always)]
    unsafe fn products<S: Simd, const N: usize, const P: usize>(
        w: *const u8,
        ahead: usize,
        columns: usize,
        x: [&Vec<f32>; N],
    ) -> Products<N, P> {
        let x = x.map(|x| x.as_ptr());
        // A row's sum is one chain of additions: eight of them keep a processor busy, and as many fit into its registers.
        // SAFETY: the caller's; `prepare` padded the input.
        unsafe {
            match N {
                ..=2 => Self::panels::<S, N, P, 4>(w, ahead, columns, x),
                _ => Self::panels::<S, N, P, 2>(w, ahead, columns, x),
            }
        }
    }

    unsafe fn unpack(w: *const u8, r: usize, out: &mut [f32]) {
        let columns = out.len();
        for (i, out) in out.iter_mut().enumerate() {
            let mut bytes = [0u8; 4 * LANES];
            // SAFETY: weight `i` of row `r`; any CPU has `Scalar`.
            unsafe {
                let at = w.add((r * columns + i) * F::BYTES);
                std::ptr::copy_nonoverlapping(at, bytes.as_mut_ptr(), F::BYTES);
                *out = F::load::<Scalar>(bytes.as_ptr())[0];
            }
        }
    }
}
