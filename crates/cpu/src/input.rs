//! What happens to a row before it meets the matrix ([`Input`]), a vector at a time.

use crate::reference::{activate, normalize};
use crate::simd::Simd;
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
            Input::Act(act) => activation::<S>(act, x, None),
            Input::Gated(act) => {
                let (gate, up) = x.split_at(x.len() / 2);
                activation::<S>(act, gate, Some(up))
            }
        }
    }
}

/// Each number's activation, times its factor where there are any. No closures here: a vector
/// operation in one is a call, since closures have no instruction set.
///
/// # Safety
/// The CPU has `S`.
#[inline(always)]
unsafe fn activation<S: Simd>(act: Activation, x: &[f32], factors: Option<&[f32]>) -> Vec<f32> {
    let mut out = vec![0.0; x.len()];
    let whole = x.len() / S::LANES * S::LANES;
    for i in (0..whole).step_by(S::LANES) {
        // SAFETY: all three have a whole vector there.
        unsafe {
            let mut value = activated::<S>(act, S::load_f32(x[i..].as_ptr().cast()));
            if let Some(factors) = factors {
                value = S::mul(value, S::load_f32(factors[i..].as_ptr().cast()));
            }
            S::store(out[i..].as_mut_ptr(), value);
        }
    }
    for i in whole..x.len() {
        out[i] = activate(act, x[i]) * factors.map_or(1.0, |factors| factors[i]);
    }
    out
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
    let whole = x.len() / S::LANES * S::LANES;
    let mut sum: f32 = x[whole..].iter().map(|v| v * v).sum();
    // SAFETY: whole vectors; the instruction set is the caller's.
    unsafe {
        let mut squares = S::splat(0.0);
        for x in x[..whole].chunks_exact(S::LANES) {
            let x = S::load_f32(x.as_ptr().cast());
            squares = S::fma(squares, x, x);
        }
        sum += S::sum(squares);
    }
    let inverse = 1.0 / (sum / x.len() as f32 + eps).sqrt();
    let mut out = vec![0.0; x.len()];
    for i in (0..whole).step_by(S::LANES) {
        // SAFETY: all three have a whole vector there.
        unsafe {
            let x = S::mul(S::load_f32(x[i..].as_ptr().cast()), S::splat(inverse));
            let gain = S::load_f32(gains[i..][..S::LANES].as_ptr().cast());
            S::store(out[i..].as_mut_ptr(), S::mul(x, gain));
        }
    }
    for i in whole..x.len() {
        out[i] = x[i] * inverse * gains[i];
    }
    out
}
