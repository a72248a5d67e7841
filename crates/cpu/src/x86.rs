//! AVX2 and AVX-512 VNNI.

#![allow(clippy::undocumented_unsafe_blocks)] // Every block is intrinsics under `Simd`'s contract.

use std::arch::x86_64::*;

use crate::simd::{Simd, op};

/// AVX2 with FMA and F16C: any x86-64 since 2013.
#[derive(Clone, Copy)]
pub(crate) struct Avx2;

/// AVX-512 (F, BW, VL, VNNI): multiply, add pairs and add to a sum in one instruction.
#[derive(Clone, Copy)]
pub(crate) struct Avx512;

/// What both have from SSE.
macro_rules! prefetch {
    () => {
        #[inline(always)]
        fn prefetch(at: *const u8) {
            // SAFETY: every x86-64 has SSE, and a prefetch reads nothing a program can see.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(at.cast()) }
        }
    };
}

impl Simd for Avx2 {
    const LANES: usize = 8;
    const TILE: usize = 4;
    const REGISTERS: usize = 16;
    type I16 = __m256i;
    type I32 = __m256i;
    type Sum = __m256i;
    type F32 = __m256;

    prefetch!();
    op!(pairs(at: *const u8) -> __m256i, _mm256_loadu_si256(at.cast()));
    op!(and(a: __m256i, mask: u16) -> __m256i, _mm256_and_si256(a, _mm256_set1_epi16(mask as i16)));
    op!(or(a: __m256i, b: __m256i) -> __m256i, _mm256_or_si256(a, b));
    op!(shl(a: __m256i, n: u32) -> __m256i, _mm256_sll_epi16(a, _mm_cvtsi32_si128(n as i32)));
    op!(shr(a: __m256i, n: u32) -> __m256i, _mm256_srl_epi16(a, _mm_cvtsi32_si128(n as i32)));
    op!(sar(a: __m256i, n: u32) -> __m256i, _mm256_sra_epi16(a, _mm_cvtsi32_si128(n as i32)));
    op!(zero() -> __m256i, _mm256_setzero_si256());
    op!(dot(sum: __m256i, w: [__m256i; 4], x: *const i16) -> __m256i, {
        let mut sums = [[sum]];
        Self::dots(&mut sums, [w], [x]);
        sums[0][0]
    });
    /// Pair by pair, so that what is broadcast is used at once.
    #[inline(always)]
    #[allow(clippy::needless_range_loop)] // Of a pair and a row there is more than one thing.
    unsafe fn dots<const N: usize, const V: usize>(
        sums: &mut [[__m256i; N]; V],
        w: [[__m256i; 4]; V],
        x: [*const i16; N],
    ) {
        unsafe {
            for pair in 0..4 {
                for n in 0..N {
                    let x = _mm256_set1_epi32(x[n].add(2 * pair).cast::<i32>().read_unaligned());
                    for v in 0..V {
                        sums[v][n] = madd(sums[v][n], w[v][pair], x);
                    }
                }
            }
        }
    }
    op!(total(sum: __m256i) -> __m256, _mm256_cvtepi32_ps(sum));
    op!(words(at: *const u8) -> __m256i, _mm256_loadu_si256(at.cast()));
    op!(bits(a: __m256i, shift: u32, mask: u32) -> __m256i, {
        let shifted = _mm256_srl_epi32(a, _mm_cvtsi32_si128(shift as i32));
        _mm256_and_si256(shifted, _mm256_set1_epi32(mask as i32))
    });
    op!(to_f32(a: __m256i) -> __m256, _mm256_cvtepi32_ps(a));
    op!(round(a: __m256) -> __m256i, _mm256_cvtps_epi32(a));
    op!(store_i16(at: *mut i16, a: __m256i) -> (), {
        let (low, high) = (_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
        _mm_storeu_si128(at.cast(), _mm_packs_epi32(low, high))
    });
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
    op!(sums(a: [__m256; 4]) -> [f32; 4], {
        // Both halves of each, two vectors in one; then all four, two numbers of each left; then one.
        let ab = _mm256_add_ps(_mm256_permute2f128_ps(a[0], a[2], 0x20), _mm256_permute2f128_ps(a[0], a[2], 0x31));
        let cd = _mm256_add_ps(_mm256_permute2f128_ps(a[1], a[3], 0x20), _mm256_permute2f128_ps(a[1], a[3], 0x31));
        let two = _mm256_add_ps(_mm256_unpacklo_ps(ab, cd), _mm256_unpackhi_ps(ab, cd));
        let one = _mm256_add_ps(two, _mm256_shuffle_ps(two, two, 0b11_10_11_10));
        let sums = _mm_movelh_ps(_mm256_castps256_ps128(one), _mm256_extractf128_ps(one, 1));
        std::mem::transmute::<__m128, [f32; 4]>(sums)
    });
    op!(largest(a: __m256) -> f32, {
        let four = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
        let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)))
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
    const REGISTERS: usize = 32;
    type I16 = __m512i;
    type I32 = __m512i;
    type Sum = __m512i;
    type F32 = __m512;

    prefetch!();
    op!(pairs(at: *const u8) -> __m512i, _mm512_loadu_si512(at.cast()));
    op!(and(a: __m512i, mask: u16) -> __m512i, _mm512_and_si512(a, _mm512_set1_epi16(mask as i16)));
    op!(or(a: __m512i, b: __m512i) -> __m512i, _mm512_or_si512(a, b));
    op!(shl(a: __m512i, n: u32) -> __m512i, _mm512_sll_epi16(a, _mm_cvtsi32_si128(n as i32)));
    op!(shr(a: __m512i, n: u32) -> __m512i, _mm512_srl_epi16(a, _mm_cvtsi32_si128(n as i32)));
    op!(sar(a: __m512i, n: u32) -> __m512i, _mm512_sra_epi16(a, _mm_cvtsi32_si128(n as i32)));
    op!(zero() -> __m512i, _mm512_setzero_si512());
    op!(dot(sum: __m512i, w: [__m512i; 4], x: *const i16) -> __m512i, dpwssd(sum, w, x));
    op!(total(sum: __m512i) -> __m512, _mm512_cvtepi32_ps(sum));
    op!(words(at: *const u8) -> __m512i, _mm512_loadu_si512(at.cast()));
    op!(bits(a: __m512i, shift: u32, mask: u32) -> __m512i, {
        let shifted = _mm512_srl_epi32(a, _mm_cvtsi32_si128(shift as i32));
        _mm512_and_si512(shifted, _mm512_set1_epi32(mask as i32))
    });
    op!(to_f32(a: __m512i) -> __m512, _mm512_cvtepi32_ps(a));
    op!(round(a: __m512) -> __m512i, _mm512_cvtps_epi32(a));
    op!(store_i16(at: *mut i16, a: __m512i) -> (), _mm256_storeu_si256(at.cast(), _mm512_cvtepi32_epi16(a)));
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
    op!(sums(a: [__m512; 4]) -> [f32; 4], {
        // In each quarter: both halves of two vectors added, then of all four.
        let ab = _mm512_add_ps(_mm512_unpacklo_ps(a[0], a[1]), _mm512_unpackhi_ps(a[0], a[1]));
        let cd = _mm512_add_ps(_mm512_unpacklo_ps(a[2], a[3]), _mm512_unpackhi_ps(a[2], a[3]));
        let four = _mm512_add_ps(_mm512_shuffle_ps(ab, cd, 0b01_00_01_00), _mm512_shuffle_ps(ab, cd, 0b11_10_11_10));
        let upper = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(four), 1));
        let half = _mm256_add_ps(_mm512_castps512_ps256(four), upper);
        let sums = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
        std::mem::transmute::<__m128, [f32; 4]>(sums)
    });
    op!(largest(a: __m512) -> f32, _mm512_reduce_max_ps(a));
    op!(load_f32(at: *const u8) -> __m512, _mm512_loadu_ps(at.cast()));
    op!(load_f16(at: *const u8) -> __m512, _mm512_cvtph_ps(_mm256_loadu_si256(at.cast())));
    op!(load_bf16(at: *const u8) -> __m512, {
        let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(at.cast()));
        _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))
    });
    op!(store(at: *mut f32, a: __m512) -> (), _mm512_storeu_ps(at, a));
}

/// Adds the products of two pairs.
///
/// LLVM would add up products first and sums afterwards, for which there are not registers enough.
///
/// # Safety
/// The CPU has AVX2.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn madd(mut sum: __m256i, w: __m256i, x: __m256i) -> __m256i {
    unsafe {
        std::arch::asm!(
            "vpmaddwd {both}, {x}, {w}",
            "vpaddd {sum}, {sum}, {both}",
            both = out(ymm_reg) _,
            sum = inout(ymm_reg) sum,
            x = in(ymm_reg) x,
            w = in(ymm_reg) w,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

/// Four `vpdpwssd` in turn, each with the next pair of `x`.
///
/// LLVM takes the intrinsic apart: a broadcast, `vpmaddwd` and `vpaddd` have less latency. But there are chains enough to
/// fill it, and three times the instructions cost a fifth of the speed where a processor makes two a cycle (BENCHMARKS.md).
///
/// # Safety
/// `x` is readable for four pairs.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn dpwssd(mut sum: __m512i, w: [__m512i; 4], x: *const i16) -> __m512i {
    unsafe {
        std::arch::asm!(
            "vpdpwssd {sum}, {a}, dword ptr [{x}]{{1to16}}",
            "vpdpwssd {sum}, {b}, dword ptr [{x} + 4]{{1to16}}",
            "vpdpwssd {sum}, {c}, dword ptr [{x} + 8]{{1to16}}",
            "vpdpwssd {sum}, {d}, dword ptr [{x} + 12]{{1to16}}",
            sum = inout(zmm_reg) sum,
            a = in(zmm_reg) w[0],
            b = in(zmm_reg) w[1],
            c = in(zmm_reg) w[2],
            d = in(zmm_reg) w[3],
            x = in(reg) x,
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    sum
}
