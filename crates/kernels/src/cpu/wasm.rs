//! WebAssembly's fixed-width SIMD (simd128): two vectors of 16 bytes.

use std::arch::wasm32::*;

use super::simd::Simd;

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

impl Simd for Simd128 {
    type U8 = Two;
    type I16 = Two;
    type I32 = Two;
    type F32 = Two;
    const TILE: usize = 4;

    #[inline(always)]
    unsafe fn bytes(at: *const u8) -> Two {
        // SAFETY: the caller vouches for 32 readable bytes; wasm loads are unaligned.
        unsafe { (v128_load(at.cast()), v128_load(at.add(16).cast())) }
    }
    #[inline(always)]
    unsafe fn nibbles(at: *const u8) -> Two {
        // SAFETY: the caller vouches for 16 readable bytes.
        let packed = unsafe { v128_load(at.cast()) };
        (v128_and(packed, u8x16_splat(15)), u8x16_shr(packed, 4))
    }
    #[inline(always)]
    unsafe fn bits(mask: u32) -> Two {
        let bit = u64x2_splat(0x8040_2010_0804_0201);
        let spread = |mask: u32| {
            let bytes = u8x16_swizzle(
                u32x4_splat(mask),
                u8x16(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1),
            );
            v128_and(u8x16_eq(v128_and(bytes, bit), bit), u8x16_splat(16))
        };
        (spread(mask), spread(mask >> 16))
    }
    #[inline(always)]
    unsafe fn and(a: Two, mask: u8) -> Two {
        both(a, |v| v128_and(v, u8x16_splat(mask)))
    }
    #[inline(always)]
    unsafe fn or(a: Two, b: Two) -> Two {
        zip(a, b, |a, b| v128_or(a, b))
    }
    #[inline(always)]
    unsafe fn xor(a: Two, mask: u8) -> Two {
        both(a, |v| v128_xor(v, u8x16_splat(mask)))
    }
    #[inline(always)]
    unsafe fn shl(a: Two, n: u32) -> Two {
        both(a, |v| u8x16_shl(v, n))
    }
    #[inline(always)]
    unsafe fn shr(a: Two, n: u32) -> Two {
        both(a, |v| u8x16_shr(v, n))
    }
    #[inline(always)]
    unsafe fn widen(a: Two) -> [Two; 2] {
        [
            both(a, |v| u16x8_extend_low_u8x16(v)),
            both(a, |v| u16x8_extend_high_u8x16(v)),
        ]
    }
    #[inline(always)]
    unsafe fn dot(w: [Two; 2], x: *const i16) -> Two {
        // SAFETY: the caller vouches for 32 readable numbers.
        let x = unsafe { [Self::bytes(x.cast()), Self::bytes(x.add(16).cast())] };
        let dot = |w, x| zip(w, x, |w, x| i32x4_dot_i16x8(w, x));
        zip(dot(w[0], x[0]), dot(w[1], x[1]), |a, b| i32x4_add(a, b))
    }
    #[inline(always)]
    unsafe fn to_f32(a: Two) -> Two {
        both(a, |v| f32x4_convert_i32x4(v))
    }
    #[inline(always)]
    unsafe fn splat(a: f32) -> Two {
        (f32x4_splat(a), f32x4_splat(a))
    }
    #[inline(always)]
    unsafe fn halves(a: f32, b: f32) -> Two {
        (f32x4_splat(a), f32x4_splat(b))
    }
    #[inline(always)]
    unsafe fn mul(a: Two, b: Two) -> Two {
        zip(a, b, |a, b| f32x4_mul(a, b))
    }
    #[inline(always)]
    unsafe fn fma(acc: Two, a: Two, b: Two) -> Two {
        let product = zip(a, b, |a, b| f32x4_mul(a, b));
        zip(acc, product, |a, b| f32x4_add(a, b))
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
    unsafe fn half(bits: u16) -> f32 {
        half::f16::from_bits(bits).to_f32_const()
    }
    #[inline(always)]
    unsafe fn load_f32(at: *const u8) -> Two {
        // SAFETY: the caller vouches for 32 readable bytes.
        unsafe { Self::bytes(at) }
    }
    #[inline(always)]
    unsafe fn load_f16(at: *const u8) -> Two {
        // SAFETY: the caller vouches for 16 readable bytes.
        let bits = unsafe { v128_load(at.cast()) };
        (
            widen_f16(u32x4_extend_low_u16x8(bits)),
            widen_f16(u32x4_extend_high_u16x8(bits)),
        )
    }
    #[inline(always)]
    unsafe fn load_bf16(at: *const u8) -> Two {
        // SAFETY: the caller vouches for 16 readable bytes.
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
