//! What happens to a row before it meets the matrix ([`Input`]), a vector at a time.

use super::simd::Simd;
use crate::reference::{activate, normalize};
use crate::{Activation, Input, Norm};

/// The row that is multiplied.
///
/// # Safety
/// The CPU has `S`.
#[inline(always)]
pub(crate) unsafe fn transform<S: Simd>(input: Input, x: &[f32], gains: &[f32]) -> Vec<f32> {
    // SAFETY: the caller's.
    unsafe {
        match input {
            Input::Plain => x.to_vec(),
            Input::Norm(Norm::Rms { eps }) => rms::<S>(x, gains, eps),
            Input::Norm(norm) => normalize(norm, x, gains),
            Input::Act(act) => {
                let mut out = x.to_vec();
                vectors::<S>(
                    &mut out,
                    x,
                    |_, x| activated::<S>(act, x),
                    |_, x| activate(act, x),
                );
                out
            }
            Input::Gated(act) => {
                let (gate, up) = x.split_at(x.len() / 2);
                let mut out = up.to_vec();
                let vector = |up, gate| S::mul(activated::<S>(act, gate), up);
                vectors::<S>(&mut out, gate, vector, |up, gate| activate(act, gate) * up);
                out
            }
        }
    }
}

/// `out[i] = f(out[i], x[i])`: `vector` on whole vectors, `one` on what is left.
///
/// # Safety
/// The CPU has `S`.
#[inline(always)]
unsafe fn vectors<S: Simd>(
    out: &mut [f32],
    x: &[f32],
    vector: impl Fn(S::F32, S::F32) -> S::F32,
    one: impl Fn(f32, f32) -> f32,
) {
    let mut parts = out.chunks_exact_mut(S::LANES);
    let mut from = x.chunks_exact(S::LANES);
    for (out, x) in parts.by_ref().zip(from.by_ref()) {
        // SAFETY: both are whole vectors.
        unsafe {
            let value = vector(
                S::load_f32(out.as_ptr().cast()),
                S::load_f32(x.as_ptr().cast()),
            );
            S::store(out.as_mut_ptr(), value);
        }
    }
    for (out, x) in parts.into_remainder().iter_mut().zip(from.remainder()) {
        *out = one(*out, *x);
    }
}

/// [`activate`], both kinds as `x / (1 + e^−u)`: half of one plus a hyperbolic tangent is the logistic
/// function of twice its argument.
#[inline(always)]
unsafe fn activated<S: Simd>(act: Activation, x: S::F32) -> S::F32 {
    // SAFETY: the caller's.
    unsafe {
        let u = match act {
            Activation::Silu => x,
            Activation::Gelu => {
                let square = S::mul(x, x);
                let factor = S::fma(S::splat(1.0), square, S::splat(0.044_715));
                S::mul(S::mul(x, factor), S::splat(2.0 * 0.797_884_6))
            }
        };
        // Further out the result is zero, or `x`, in any case.
        let u = S::max(u, S::splat(-80.0));
        let exp = S::exp(S::mul(u, S::splat(-1.0)));
        S::div(x, S::fma(S::splat(1.0), exp, S::splat(1.0)))
    }
}

#[inline(always)]
unsafe fn rms<S: Simd>(x: &[f32], gains: &[f32], eps: f32) -> Vec<f32> {
    let whole = x.chunks_exact(S::LANES);
    let mut sum: f32 = whole.remainder().iter().map(|v| v * v).sum();
    // SAFETY: whole vectors; the instruction set is the caller's.
    unsafe {
        let mut squares = S::splat(0.0);
        for x in whole {
            let x = S::load_f32(x.as_ptr().cast());
            squares = S::fma(squares, x, x);
        }
        sum += S::sum(squares);
        let inverse = 1.0 / (sum / x.len() as f32 + eps).sqrt();
        let mut out = x.to_vec();
        let vector = |x, gain| S::mul(S::mul(x, S::splat(inverse)), gain);
        vectors::<S>(&mut out, gains, vector, |x, gain| x * inverse * gain);
        out
    }
}
