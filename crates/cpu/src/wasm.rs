//! WebAssembly's fixed-width SIMD (simd128): two vectors of 16 bytes.

use std::arch::wasm32::*;

use crate::simd::Simd;

/// simd128, in every browser and in workerd.
#[derive(Clone, Copy)]
pub(crate) struct Simd128;

type Two = (v128, v128);

// The intrinsics are passed in closures: a function with a target feature is no `Fn` itself.
#[inline(always)]
fn both(a: Two, f: impl Fn(v128) -> v128) -> Two {
    (f(a.0), f(a.1))
}

#[inline(always)]
fn zip(a: Two, b: Two, f: impl Fn(v128, v128) -> v128) -> Two {
    (f(a.0, b.0), f(a.1, b.1))
}

// SAFETY of every block below: the caller vouches for the bytes of one vector; wasm's loads and
// stores need no alignment.
impl Simd for Simd128 {
    const LANES: usize = 8;
    const TILE: usize = 4;
    const REGISTERS: usize = 10;
    type I16 = Two;
    type I32 = Two;
    type Sum = Two;
    type F32 = Two;

    #[inline(always)]
    unsafe fn pairs(at: *const u8) -> Two {
        // SAFETY: see above.
        unsafe { (v128_load(at.cast()), v128_load(at.add(16).cast())) }
    }
    #[inline(always)]
    unsafe fn and(a: Two, mask: u16) -> Two {
        both(a, |v| v128_and(v, u16x8_splat(mask)))
    }
    #[inline(always)]
    unsafe fn or(a: Two, b: Two) -> Two {
        zip(a, b, |a, b| v128_or(a, b))
    }
    #[inline(always)]
    unsafe fn shl(a: Two, n: u32) -> Two {
        both(a, |v| u16x8_shl(v, n))
    }
    #[inline(always)]
    unsafe fn shr(a: Two, n: u32) -> Two {
        both(a, |v| u16x8_shr(v, n))
    }
    #[inline(always)]
    unsafe fn sar(a: Two, n: u32) -> Two {
        both(a, |v| i16x8_shr(v, n))
    }
    #[inline(always)]
    unsafe fn zero() -> Two {
        (i32x4_splat(0), i32x4_splat(0))
    }
    #[inline(always)]
    unsafe fn dot(mut sum: Two, w: [Two; 4], x: *const i16) -> Two {
        for (pair, w) in w.into_iter().enumerate() {
            // SAFETY: see above.
            let x = unsafe { v128_load32_splat(x.add(2 * pair).cast()) };
            sum = zip(sum, w, |sum, w| i32x4_add(sum, i32x4_dot_i16x8(w, x)));
        }
        sum
    }
    #[inline(always)]
    unsafe fn total(sum: Two) -> Two {
        both(sum, |v| f32x4_convert_i32x4(v))
    }
    #[inline(always)]
    unsafe fn words(at: *const u8) -> Two {
        // SAFETY: see above.
        unsafe { (v128_load(at.cast()), v128_load(at.add(16).cast())) }
    }
    #[inline(always)]
    unsafe fn bits(a: Two, shift: u32, mask: u32) -> Two {
        both(a, |v| v128_and(u32x4_shr(v, shift), u32x4_splat(mask)))
    }
    #[inline(always)]
    unsafe fn to_f32(a: Two) -> Two {
        both(a, |v| f32x4_convert_i32x4(v))
    }
    #[inline(always)]
    unsafe fn round(a: Two) -> Two {
        both(a, |v| i32x4_trunc_sat_f32x4(f32x4_nearest(v)))
    }
    #[inline(always)]
    unsafe fn store_i16(at: *mut i16, a: Two) {
        // SAFETY: the caller vouches for 8 writable numbers.
        unsafe { v128_store(at.cast(), i16x8_narrow_i32x4(a.0, a.1)) }
    }
    #[inline(always)]
    unsafe fn exp2(a: Two) -> Two {
        both(a, |v| i32x4_shl(i32x4_add(v, i32x4_splat(127)), 23))
    }
    #[inline(always)]
    unsafe fn splat(a: f32) -> Two {
        (f32x4_splat(a), f32x4_splat(a))
    }
    #[inline(always)]
    unsafe fn max(a: Two, b: Two) -> Two {
        zip(a, b, |a, b| f32x4_max(a, b))
    }
    #[inline(always)]
    unsafe fn mul(a: Two, b: Two) -> Two {
        zip(a, b, |a, b| f32x4_mul(a, b))
    }
    #[inline(always)]
    unsafe fn div(a: Two, b: Two) -> Two {
        zip(a, b, |a, b| f32x4_div(a, b))
    }
    #[inline(always)]
    unsafe fn fma(sum: Two, a: Two, b: Two) -> Two {
        let product = zip(a, b, |a, b| f32x4_mul(a, b));
        zip(sum, product, |a, b| f32x4_add(a, b))
    }
    #[inline(always)]
    unsafe fn sum(a: Two) -> f32 {
        let four = f32x4_add(a.0, a.1);
        f32x4_extract_lane::<0>(four)
            + f32x4_extract_lane::<1>(four)
            + f32x4_extract_lane::<2>(four)
            + f32x4_extract_lane::<3>(four)
    }
    #[inline(always)]
    unsafe fn largest(a: Two) -> f32 {
        let four = f32x4_max(a.0, a.1);
        let two = f32x4_max(four, i32x4_shuffle::<2, 3, 0, 1>(four, four));
        f32x4_extract_lane::<0>(two).max(f32x4_extract_lane::<1>(two))
    }
    #[inline(always)]
    unsafe fn load_f32(at: *const u8) -> Two {
        // SAFETY: see above.
        unsafe { (v128_load(at.cast()), v128_load(at.add(16).cast())) }
    }
    #[inline(always)]
    unsafe fn load_f16(at: *const u8) -> Two {
        // SAFETY: see above.
        let bits = unsafe { v128_load(at.cast()) };
        (
            widen_f16(u32x4_extend_low_u16x8(bits)),
            widen_f16(u32x4_extend_high_u16x8(bits)),
        )
    }
    #[inline(always)]
    unsafe fn load_bf16(at: *const u8) -> Two {
        // SAFETY: see above.
        let bits = unsafe { v128_load(at.cast()) };
        let widen = |v| u32x4_shl(v, 16);
        (
            widen(u32x4_extend_low_u16x8(bits)),
            widen(u32x4_extend_high_u16x8(bits)),
        )
    }
    #[inline(always)]
    unsafe fn store(at: *mut f32, a: Two) {
        // SAFETY: the caller vouches for 8 writable floats.
        unsafe {
            v128_store(at.cast(), a.0);
            v128_store(at.add(4).cast(), a.1);
        }
    }
}

/// Four f16 in 32-bit lanes as f32: exponent and mantissa moved in place, then the exponent's bias
/// mended by a multiplication, which also makes subnormals right (infinities become 2^16).
#[inline(always)]
fn widen_f16(bits: v128) -> v128 {
    let sign = u32x4_shl(v128_and(bits, u32x4_splat(0x8000)), 16);
    let rest = u32x4_shl(v128_and(bits, u32x4_splat(0x7fff)), 13);
    v128_or(
        f32x4_mul(rest, f32x4_splat(f32::from_bits(0x7780_0000))),
        sign,
    )
}
