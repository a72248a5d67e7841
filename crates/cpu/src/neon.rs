//! Advanced SIMD (NEON), which every 64-bit Arm has: two vectors of 16 bytes.
//!
//! Activations have 16 bits, so products are `smlal`'s: the dot products of bytes (`sdot`) have nothing for them.

#![allow(clippy::undocumented_unsafe_blocks)] // Every block is intrinsics under `Simd`'s contract.

use std::arch::aarch64::*;

use crate::simd::{Simd, op};

/// NEON.
#[derive(Clone, Copy)]
pub(crate) struct Neon;

/// One instruction on both vectors of each argument.
macro_rules! both {
    ($type:ident: $f:ident($a:expr $(, $b:expr)*)) => {
        $type($f($a.0 $(, $b.0)*), $f($a.1 $(, $b.1)*))
    };
}

/// Shifts every number to the left by `$by`; to the right where that is negative.
macro_rules! shift {
    ($a:ident, $shift:ident, $splat:ident, $by:expr) => {
        int16x8x2_t($shift($a.0, $splat($by)), $shift($a.1, $splat($by)))
    };
}

impl Simd for Neon {
    const LANES: usize = 8;
    const TILE: usize = 4;
    const REGISTERS: usize = 16;
    type I16 = int16x8x2_t;
    type I32 = int32x4x2_t;
    /// The two numbers of a pair still apart: `smlal` and `smlal2` of both vectors.
    type Sum = [int32x4_t; 4];
    type F32 = float32x4x2_t;

    op!(pairs(at: *const u8) -> int16x8x2_t, vld1q_s16_x2(at.cast()));
    op!(and(a: int16x8x2_t, mask: u16) -> int16x8x2_t, {
        let mask = vdupq_n_s16(mask as i16);
        int16x8x2_t(vandq_s16(a.0, mask), vandq_s16(a.1, mask))
    });
    op!(or(a: int16x8x2_t, b: int16x8x2_t) -> int16x8x2_t, both!(int16x8x2_t: vorrq_s16(a, b)));
    op!(shl(a: int16x8x2_t, n: u32) -> int16x8x2_t, shift!(a, vshlq_s16, vdupq_n_s16, n as i16));
    op!(shr(a: int16x8x2_t, n: u32) -> int16x8x2_t, {
        let by = vdupq_n_s16(-(n as i16));
        let shift = |v| vreinterpretq_s16_u16(vshlq_u16(vreinterpretq_u16_s16(v), by));
        int16x8x2_t(shift(a.0), shift(a.1))
    });
    op!(sar(a: int16x8x2_t, n: u32) -> int16x8x2_t, shift!(a, vshlq_s16, vdupq_n_s16, -(n as i16)));
    op!(zero() -> [int32x4_t; 4], [vdupq_n_s32(0); 4]);
    op!(dot(sum: [int32x4_t; 4], w: [int16x8x2_t; 4], x: *const i16) -> [int32x4_t; 4], {
        let mut sum = sum;
        for (pair, w) in w.into_iter().enumerate() {
            let x = vreinterpretq_s16_s32(vld1q_dup_s32(x.add(2 * pair).cast()));
            let low = vget_low_s16(x);
            sum = [
                vmlal_s16(sum[0], vget_low_s16(w.0), low),
                vmlal_high_s16(sum[1], w.0, x),
                vmlal_s16(sum[2], vget_low_s16(w.1), low),
                vmlal_high_s16(sum[3], w.1, x),
            ];
        }
        sum
    });
    op!(total(sum: [int32x4_t; 4]) -> float32x4x2_t, {
        let (low, high) = (vpaddq_s32(sum[0], sum[1]), vpaddq_s32(sum[2], sum[3]));
        float32x4x2_t(vcvtq_f32_s32(low), vcvtq_f32_s32(high))
    });
    op!(words(at: *const u8) -> int32x4x2_t, vld1q_s32_x2(at.cast()));
    op!(bits(a: int32x4x2_t, shift: u32, mask: u32) -> int32x4x2_t, {
        let (by, mask) = (vdupq_n_s32(-(shift as i32)), vdupq_n_u32(mask));
        let bits = |v| {
            let shifted = vshlq_u32(vreinterpretq_u32_s32(v), by);
            vreinterpretq_s32_u32(vandq_u32(shifted, mask))
        };
        int32x4x2_t(bits(a.0), bits(a.1))
    });
    op!(to_f32(a: int32x4x2_t) -> float32x4x2_t, both!(float32x4x2_t: vcvtq_f32_s32(a)));
    op!(round(a: float32x4x2_t) -> int32x4x2_t, both!(int32x4x2_t: vcvtnq_s32_f32(a)));
    op!(store_i16(at: *mut i16, a: int32x4x2_t) -> (), vst1q_s16(at, vmovn_high_s32(vmovn_s32(a.0), a.1)));
    op!(exp2(a: int32x4x2_t) -> float32x4x2_t, {
        let bias = vdupq_n_s32(127);
        let power = |v| vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(v, bias)));
        float32x4x2_t(power(a.0), power(a.1))
    });
    op!(splat(a: f32) -> float32x4x2_t, float32x4x2_t(vdupq_n_f32(a), vdupq_n_f32(a)));
    op!(max(a: float32x4x2_t, b: float32x4x2_t) -> float32x4x2_t, both!(float32x4x2_t: vmaxq_f32(a, b)));
    op!(mul(a: float32x4x2_t, b: float32x4x2_t) -> float32x4x2_t, both!(float32x4x2_t: vmulq_f32(a, b)));
    op!(div(a: float32x4x2_t, b: float32x4x2_t) -> float32x4x2_t, both!(float32x4x2_t: vdivq_f32(a, b)));
    op!(fma(sum: float32x4x2_t, a: float32x4x2_t, b: float32x4x2_t) -> float32x4x2_t,
        both!(float32x4x2_t: vfmaq_f32(sum, a, b)));
    op!(sum(a: float32x4x2_t) -> f32, vaddvq_f32(vaddq_f32(a.0, a.1)));
    op!(sums(a: [float32x4x2_t; 4]) -> [f32; 4], {
        let half = |v: float32x4x2_t| vaddq_f32(v.0, v.1);
        let (ab, cd) = (vpaddq_f32(half(a[0]), half(a[1])), vpaddq_f32(half(a[2]), half(a[3])));
        std::mem::transmute::<float32x4_t, [f32; 4]>(vpaddq_f32(ab, cd))
    });
    op!(largest(a: float32x4x2_t) -> f32, vmaxvq_f32(vmaxq_f32(a.0, a.1)));
    op!(load_f32(at: *const u8) -> float32x4x2_t, vld1q_f32_x2(at.cast()));
    op!(load_f16(at: *const u8) -> float32x4x2_t, {
        let bits = vreinterpretq_f16_u16(vld1q_u16(at.cast()));
        float32x4x2_t(vcvt_f32_f16(vget_low_f16(bits)), vcvt_high_f32_f16(bits))
    });
    op!(load_bf16(at: *const u8) -> float32x4x2_t, {
        let bits = vld1q_u16(at.cast());
        float32x4x2_t(
            vreinterpretq_f32_u32(vshll_n_u16::<16>(vget_low_u16(bits))),
            vreinterpretq_f32_u32(vshll_high_n_u16::<16>(bits)),
        )
    });
    op!(store(at: *mut f32, a: float32x4x2_t) -> (), vst1q_f32_x2(at, a));
}
