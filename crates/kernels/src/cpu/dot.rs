//! One weight row against one or several input rows.

use super::quant::Quant;
use super::simd::{ORDER, Simd};

/// An input row in 16 bits: groups of 32 with `x ≈ scale · q`, `q` in −32767 ..= 32767, laid out in
/// [`ORDER`].
///
/// Eight bits would make the product faster and the answers worse: on SmolLM2-135M they move
/// log-probabilities by up to 0.7 and change greedy answers; with sixteen the sums are those of `f32`.
pub(crate) struct Row16 {
    /// Quantized values.
    pub q: Vec<i16>,
    /// One scale a group.
    pub scales: Vec<f32>,
    /// `scale · Σ q` of each half group, padded with zeros to whole eights.
    pub sums: Vec<f32>,
}

impl Row16 {
    /// Quantizes a row whose length is a multiple of 32.
    #[inline(always)]
    pub(crate) fn new(x: &[f32]) -> Row16 {
        let blocks = x.len() / 32;
        let mut row = Row16 {
            q: vec![0; x.len()],
            scales: Vec::with_capacity(blocks),
            sums: Vec::with_capacity((2 * blocks).next_multiple_of(8)),
        };
        for (x, q) in x.chunks_exact(32).zip(row.q.chunks_exact_mut(32)) {
            let mut largest = [0f32; 8];
            for x in x.chunks_exact(8) {
                for (m, v) in largest.iter_mut().zip(x) {
                    *m = m.max(v.abs());
                }
            }
            let largest = largest.iter().fold(0f32, |m, v| m.max(*v));
            let scale = largest / 32767.0;
            let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
            let mut whole = [0i32; 32];
            for (q, x) in whole.iter_mut().zip(x) {
                *q = (x * inverse).round_ties_even() as i32;
            }
            for (q, from) in q.iter_mut().zip(ORDER) {
                *q = whole[from] as i16;
            }
            let sum = |half: &[i32]| half.iter().sum::<i32>() as f32 * scale;
            row.scales.push(scale);
            row.sums.extend([sum(&whole[..16]), sum(&whole[16..])]);
        }
        row.sums.resize((2 * blocks).next_multiple_of(8), 0.0);
        row
    }
}

/// Minima set aside at a time: two a group, a multiple of eight.
const MINS: usize = 64;

/// A weight format and the form of input row it multiplies.
pub(crate) trait Weights: 'static {
    /// An input row, prepared once for all weight rows.
    type Row: Send + Sync;
    fn prepare(x: Vec<f32>) -> Self::Row;

    /// `N` dot products with one weight row of `columns`.
    ///
    /// # Safety
    /// `w` is readable for a row of `columns`, every `x` was prepared from `columns` values, and the
    /// CPU has `S`.
    unsafe fn dot<S: Simd, const N: usize>(
        w: *const u8,
        columns: usize,
        x: [&Self::Row; N],
    ) -> [f32; N];
}

impl<Q: Quant> Weights for Q {
    type Row = Row16;

    fn prepare(x: Vec<f32>) -> Row16 {
        Row16::new(&x)
    }

    #[inline(always)]
    unsafe fn dot<S: Simd, const N: usize>(
        w: *const u8,
        columns: usize,
        x: [&Row16; N],
    ) -> [f32; N] {
        let (groups, total) = (Q::FORMAT.block() / 32, columns / 32);
        // SAFETY: `w` holds `columns / block` blocks, each of `groups` groups; every input row holds
        // `total` groups, and sums for twice that many halves, rounded up to eight.
        unsafe {
            let mut acc = [S::splat(0.0); N];
            for start in (0..total).step_by(MINS / 2) {
                let end = (start + MINS / 2).min(total);
                // The minima are set aside and meet the sums eight at a time.
                let mut mins = [0f32; MINS];
                for block in start / groups..end / groups {
                    let bytes = w.add(block * Q::FORMAT.block_bytes());
                    for g in 0..groups {
                        let (at, group) = (block * groups + g, Q::group::<S>(bytes, g));
                        let w = S::widen(group.q);
                        mins[2 * (at - start)] = group.min[0];
                        mins[2 * (at - start) + 1] = group.min[1];
                        for n in 0..N {
                            let dot = S::to_f32(S::dot(w, x[n].q.as_ptr().add(at * 32)));
                            let scale = S::splat(*x[n].scales.as_ptr().add(at));
                            acc[n] = S::fma(acc[n], dot, S::mul(group.scale, scale));
                        }
                    }
                }
                for i in (0..2 * (end - start)).step_by(8) {
                    let mins = S::load_f32(mins.as_ptr().add(i).cast());
                    for n in 0..N {
                        let sums = x[n].sums.as_ptr().add(2 * start + i);
                        acc[n] = S::fma(acc[n], mins, S::load_f32(sums.cast()));
                    }
                }
            }
            acc.map(|acc| S::sum(acc))
        }
    }
}

/// A float format: 8 weights at a time.
pub(crate) trait Float: 'static {
    const BYTES: usize;
    /// # Safety
    /// `at` is readable for 8 weights and the CPU has `S`.
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

impl<F: Float + Send + Sync> Weights for Floats<F> {
    type Row = Vec<f32>;

    fn prepare(mut x: Vec<f32>) -> Vec<f32> {
        x.resize(x.len().next_multiple_of(8), 0.0);
        x
    }

    #[inline(always)]
    unsafe fn dot<S: Simd, const N: usize>(
        w: *const u8,
        columns: usize,
        x: [&Vec<f32>; N],
    ) -> [f32; N] {
        // SAFETY: whole eights lie inside the row; the rest is copied to a padded buffer first, and
        // the input rows are padded with zeros to whole eights.
        unsafe {
            let mut acc = [S::splat(0.0); N];
            let whole = columns / 8;
            for i in 0..whole {
                let w = F::load::<S>(w.add(i * 8 * F::BYTES));
                for n in 0..N {
                    let x = S::load_f32(x[n].as_ptr().add(i * 8).cast());
                    acc[n] = S::fma(acc[n], w, x);
                }
            }
            if !columns.is_multiple_of(8) {
                let mut rest = [0u8; 32];
                let tail = columns % 8 * F::BYTES;
                std::ptr::copy_nonoverlapping(w.add(whole * 8 * F::BYTES), rest.as_mut_ptr(), tail);
                let w = F::load::<S>(rest.as_ptr());
                for n in 0..N {
                    let x = S::load_f32(x[n].as_ptr().add(whole * 8).cast());
                    acc[n] = S::fma(acc[n], w, x);
                }
            }
            acc.map(|acc| S::sum(acc))
        }
    }
}
