//! A panel of weight rows against one or several input rows.

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
    ) -> [[[f32; ROWS]; N]; P];

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
    ) -> [[[f32; ROWS]; N]; P] {
        let mut out = [[[0.0; ROWS]; N]; P];
        // Q4_K and Q5_K in V8: with both vectors of a panel at once several rows take half as long again (BENCHMARKS.md).
        let groups = Q::FORMAT.block() / 32;
        let alone = cfg!(target_arch = "wasm32") && N > 1 && Q::MIN && groups > 1;
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
    out: &mut [[[f32; ROWS]; N]; P],
) {
    let groups = Q::FORMAT.block() / 32;
    let size = ROWS * Q::FORMAT.block_bytes();
    let blocks = columns / Q::FORMAT.block();
    // SAFETY: a panel holds `blocks` blocks, each of `groups` groups; every input row holds `columns / 32` groups; a lane stays
    // below `ROWS`.
    unsafe {
        let mut acc = [[[S::splat(0.0); N]; V]; P];
        for b in 0..blocks {
            // Each panel's in turn: memory gives several streams faster than one.
            for p in 0..P {
                let block = w.add((p * blocks + b) * size);
                if first == 0 {
                    S::fetch(block.wrapping_add(ahead), size);
                }
                let acc = &mut acc[p];
                for g in 0..groups {
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
                    S::store(out[p][n][first + v * S::LANES..].as_mut_ptr(), acc[p][v][n]);
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
    /// `N` dot products with one weight row of `columns`.
    ///
    /// # Safety
    /// `w` is readable for a row, every `x` for `columns` floats and zeros up to a multiple of
    /// `S::LANES`, and the CPU has `S`.
    #[inline(always)]
    pub(crate) unsafe fn dot<S: Simd, const N: usize>(
        w: *const u8,
        columns: usize,
        x: [*const f32; N],
    ) -> [f32; N] {
        // SAFETY: whole vectors lie inside the row; the rest is copied to a padded buffer first.
        unsafe {
            let mut acc = [S::splat(0.0); N];
            let whole = columns / S::LANES * S::LANES;
            for i in (0..whole).step_by(S::LANES) {
                let w = F::load::<S>(w.add(i * F::BYTES));
                for n in 0..N {
                    acc[n] = S::fma(acc[n], w, S::load_f32(x[n].add(i).cast()));
                }
            }
            if whole < columns {
                let mut rest = [0u8; 4 * LANES];
                let (tail, len) = (w.add(whole * F::BYTES), (columns - whole) * F::BYTES);
                std::ptr::copy_nonoverlapping(tail, rest.as_mut_ptr(), len);
                let w = F::load::<S>(rest.as_ptr());
                for n in 0..N {
                    acc[n] = S::fma(acc[n], w, S::load_f32(x[n].add(whole).cast()));
                }
            }
            acc.map(|acc| S::sum(acc))
        }
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
    ) -> [[[f32; ROWS]; N]; P] {
        let mut out = [[[0.0; ROWS]; N]; P];
        let x = x.map(|x| x.as_ptr());
        for (p, out) in out.iter_mut().enumerate() {
            for r in 0..ROWS {
                let row = w.wrapping_add((p * ROWS + r) * columns * F::BYTES);
                S::fetch(row.wrapping_add(ahead), columns * F::BYTES);
                // SAFETY: a panel of floats is its rows; `prepare` padded the input.
                let dots = unsafe { Self::dot::<S, N>(row, columns, x) };
                for (out, dot) in out.iter_mut().zip(dots) {
                    out[r] = dot;
                }
            }
        }
        out
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
