//! AVX2 and AVX-512 VNNI.

#![allow(clippy::undocumented_unsafe_blocks)] // Every block is intrinsics under `Simd`'s contract.

use std::arch::x86_64::*;

use super::simd::Simd;

/// AVX2 with FMA and F16C: any x86-64 since 2013.
#[derive(Clone, Copy)]
pub(crate) struct Avx2;

/// AVX-512 (F, BW, VL, VNNI): multiply, add pairs and add to a sum in one instruction.
#[derive(Clone, Copy)]
pub(crate) struct Avx512;

/// One method of [`Simd`]: its arguments, what it gives, and the intrinsics.
macro_rules! op {
    ($name:ident($($arg:ident: $type:ty),*) -> $out:ty, $body:expr) => {
        #[inline(always)]
        unsafe fn $name($($arg: $type),*) -> $out {
            unsafe { $body }
        }
    };
}

impl Simd for Avx2 {
    const LANES: usize = 8;
    const TILE: usize = 4;
    type I16 = __m256i;
    type I32 = __m256i;
    type F32 = __m256;

    op!(pairs(at: *const u8) -> __m256i, _mm256_loadu_si256(at.cast()));
    op!(and(a: __m256i, mask: u16) -> __m256i, _mm256_and_si256(a, _mm256_set1_epi16(mask as i16)));
    op!(or(a: __m256i, b: __m256i) -> __m256i, _mm256_or_si256(a, b));
    op!(sub(a: __m256i, b: u16) -> __m256i, _mm256_sub_epi16(a, _mm256_set1_epi16(b as i16)));
    op!(shl(a: __m256i, n: u32) -> __m256i, _mm256_sll_epi16(a, _mm_cvtsi32_si128(n as i32)));
    op!(shr(a: __m256i, n: u32) -> __m256i, _mm256_srl_epi16(a, _mm_cvtsi32_si128(n as i32)));
    op!(sar(a: __m256i, n: u32) -> __m256i, _mm256_sra_epi16(a, _mm_cvtsi32_si128(n as i32)));
    op!(zero() -> __m256i, _mm256_setzero_si256());
    op!(dot(sum: __m256i, w: __m256i, x: *const i16) -> __m256i, {
        let x = _mm256_set1_epi32(x.cast::<i32>().read_unaligned());
        _mm256_add_epi32(sum, _mm256_madd_epi16(w, x))
    });
    op!(bytes(at: *const u8) -> __m256i, _mm256_cvtepu8_epi32(_mm_loadl_epi64(at.cast())));
    op!(bits(a: __m256i, shift: u32, mask: u32) -> __m256i, {
        let shifted = _mm256_srl_epi32(a, _mm_cvtsi32_si128(shift as i32));
        _mm256_and_si256(shifted, _mm256_set1_epi32(mask as i32))
    });
    op!(to_f32(a: __m256i) -> __m256, _mm256_cvtepi32_ps(a));
    op!(round(a: __m256) -> __m256i, _mm256_cvtps_epi32(a));
    op!(exp2(a: __m256i) -> __m256, {
        let biased = _mm256_add_epi32(a, _mm256_set1_epi32(127));
        _mm256_castsi256_ps(_mm256_slli_epi32(biased, 23))
    });
    op!(splat(a: f32) -> __m256, _mm256_set1_ps(a));
    op!(max(a: __m256, b: __m256) -> __m256, _mm256_max_ps(a, b));
    op!(mul(a: __m256, b: __m256) -> __m256, _mm256_mul_ps(a, b));
    op!(div(a: __m256, b: __m256) -> __m256, _mm256_div_ps(a, b));
    op!(fma(sum: __m256, a: __m256, b: __m256) -> __m256, _mm256_fmadd_ps(a, b, sum));
    op!(sum(a: __m256) -> f32, {
        let four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)))
    });
    op!(load_f32(at: *const u8) -> __m256, _mm256_loadu_ps(at.cast()));
    op!(load_f16(at: *const u8) -> __m256, _mm256_cvtph_ps(_mm_loadu_si128(at.cast())));
    op!(load_bf16(at: *const u8) -> __m256, {
        let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(at.cast()));
        _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16))
    });
    op!(store(at: *mut f32, a: __m256) -> (), _mm256_storeu_ps(at, a));
}

impl Simd for Avx512 {
    const LANES: usize = 16;
    const TILE: usize = 8;
    type I16 = __m512i;
    type I32 = __m512i;
    type F32 = __m512;

    op!(pairs(at: *const u8) -> __m512i, _mm512_loadu_si512(at.cast()));
    op!(and(a: __m512i, mask: u16) -> __m512i, _mm512_and_si512(a, _mm512_set1_epi16(mask as i16)));
    op!(or(a: __m512i, b: __m512i) -> __m512i, _mm512_or_si512(a, b));
    op!(sub(a: __m512i, b: u16) -> __m512i, _mm512_sub_epi16(a, _mm512_set1_epi16(b as i16)));
    op!(shl(a: __m512i, n: u32) -> __m512i, _mm512_sll_epi16(a, _mm_cvtsi32_si128(n as i32)));
    op!(shr(a: __m512i, n: u32) -> __m512i, _mm512_srl_epi16(a, _mm_cvtsi32_si128(n as i32)));
    op!(sar(a: __m512i, n: u32) -> __m512i, _mm512_sra_epi16(a, _mm_cvtsi32_si128(n as i32)));
    op!(zero() -> __m512i, _mm512_setzero_si512());
    op!(dot(sum: __m512i, w: __m512i, x: *const i16) -> __m512i, {
        _mm512_dpwssd_epi32(sum, w, _mm512_set1_epi32(x.cast::<i32>().read_unaligned()))
    });
    op!(bytes(at: *const u8) -> __m512i, _mm512_cvtepu8_epi32(_mm_loadu_si128(at.cast())));
    op!(bits(a: __m512i, shift: u32, mask: u32) -> __m512i, {
        let shifted = _mm512_srl_epi32(a, _mm_cvtsi32_si128(shift as i32));
        _mm512_and_si512(shifted, _mm512_set1_epi32(mask as i32))
    });
    op!(to_f32(a: __m512i) -> __m512, _mm512_cvtepi32_ps(a));
    op!(round(a: __m512) -> __m512i, _mm512_cvtps_epi32(a));
    op!(exp2(a: __m512i) -> __m512, {
        let biased = _mm512_add_epi32(a, _mm512_set1_epi32(127));
        _mm512_castsi512_ps(_mm512_slli_epi32(biased, 23))
    });
    op!(splat(a: f32) -> __m512, _mm512_set1_ps(a));
    op!(max(a: __m512, b: __m512) -> __m512, _mm512_max_ps(a, b));
    op!(mul(a: __m512, b: __m512) -> __m512, _mm512_mul_ps(a, b));
    op!(div(a: __m512, b: __m512) -> __m512, _mm512_div_ps(a, b));
    op!(fma(sum: __m512, a: __m512, b: __m512) -> __m512, _mm512_fmadd_ps(a, b, sum));
    op!(sum(a: __m512) -> f32, _mm512_reduce_add_ps(a));
    op!(load_f32(at: *const u8) -> __m512, _mm512_loadu_ps(at.cast()));
    op!(load_f16(at: *const u8) -> __m512, _mm512_cvtph_ps(_mm256_loadu_si256(at.cast())));
    op!(load_bf16(at: *const u8) -> __m512, {
        let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(at.cast()));
        _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))
    });
    op!(store(at: *mut f32, a: __m512) -> (), _mm512_storeu_ps(at, a));
}
