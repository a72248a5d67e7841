//! AVX2 and AVX-512 VNNI.

#![allow(clippy::undocumented_unsafe_blocks)] // Every block is one intrinsic under `Simd`'s contract.

use std::arch::x86_64::*;

use super::simd::Simd;

/// AVX2 with FMA and F16C: any x86-64 since 2013.
#[derive(Clone, Copy)]
pub(crate) struct Avx2;

/// AVX-512 (F, BW, VL, VNNI): multiply, add pairs and add to a sum in one instruction.
#[derive(Clone, Copy)]
pub(crate) struct Avx512;

/// The two differ in their dot product and their number of registers only.
macro_rules! simd_on_ymm {
    ($isa:ty, $tile:literal, $dot:expr) => {
        impl Simd for $isa {
            type U8 = __m256i;
            type I16 = __m256i;
            type I32 = __m256i;
            type F32 = __m256;
            const TILE: usize = $tile;

            #[inline(always)]
            unsafe fn bytes(at: *const u8) -> __m256i {
                unsafe { _mm256_loadu_si256(at.cast()) }
            }
            #[inline(always)]
            unsafe fn nibbles(at: *const u8) -> __m256i {
                unsafe {
                    let packed = _mm_loadu_si128(at.cast());
                    let both = _mm256_set_m128i(_mm_srli_epi16(packed, 4), packed);
                    _mm256_and_si256(both, _mm256_set1_epi8(15))
                }
            }
            #[inline(always)]
            unsafe fn bits(mask: u32) -> __m256i {
                unsafe {
                    // Byte i takes mask byte i / 8, keeps bit i % 8 and becomes 16 where it is set.
                    let spread = _mm256_set_epi64x(
                        0x0303_0303_0303_0303,
                        0x0202_0202_0202_0202,
                        0x0101_0101_0101_0101,
                        0,
                    );
                    let bytes = _mm256_shuffle_epi8(_mm256_set1_epi32(mask as i32), spread);
                    let bit = _mm256_set1_epi64x(0x8040_2010_0804_0201_u64 as i64);
                    let set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit);
                    _mm256_and_si256(set, _mm256_set1_epi8(16))
                }
            }
            #[inline(always)]
            unsafe fn and(a: __m256i, mask: u8) -> __m256i {
                unsafe { _mm256_and_si256(a, _mm256_set1_epi8(mask as i8)) }
            }
            #[inline(always)]
            unsafe fn or(a: __m256i, b: __m256i) -> __m256i {
                unsafe { _mm256_or_si256(a, b) }
            }
            #[inline(always)]
            unsafe fn xor(a: __m256i, mask: u8) -> __m256i {
                unsafe { _mm256_xor_si256(a, _mm256_set1_epi8(mask as i8)) }
            }
            #[inline(always)]
            unsafe fn shl(a: __m256i, n: u32) -> __m256i {
                unsafe { _mm256_sll_epi16(a, _mm_cvtsi32_si128(n as i32)) }
            }
            #[inline(always)]
            unsafe fn shr(a: __m256i, n: u32) -> __m256i {
                unsafe { _mm256_srl_epi16(a, _mm_cvtsi32_si128(n as i32)) }
            }
            #[inline(always)]
            unsafe fn widen(a: __m256i) -> [__m256i; 2] {
                unsafe {
                    let zero = _mm256_setzero_si256();
                    [_mm256_unpacklo_epi8(a, zero), _mm256_unpackhi_epi8(a, zero)]
                }
            }
            #[inline(always)]
            unsafe fn dot(w: [__m256i; 2], x: *const i16) -> __m256i {
                unsafe {
                    let x: *const __m256i = x.cast();
                    $dot(w, [_mm256_loadu_si256(x), _mm256_loadu_si256(x.add(1))])
                }
            }
            #[inline(always)]
            unsafe fn to_f32(a: __m256i) -> __m256 {
                unsafe { _mm256_cvtepi32_ps(a) }
            }
            #[inline(always)]
            unsafe fn splat(a: f32) -> __m256 {
                unsafe { _mm256_set1_ps(a) }
            }
            #[inline(always)]
            unsafe fn halves(a: f32, b: f32) -> __m256 {
                unsafe { _mm256_set_m128(_mm_set1_ps(b), _mm_set1_ps(a)) }
            }
            #[inline(always)]
            unsafe fn mul(a: __m256, b: __m256) -> __m256 {
                unsafe { _mm256_mul_ps(a, b) }
            }
            #[inline(always)]
            unsafe fn fma(acc: __m256, a: __m256, b: __m256) -> __m256 {
                unsafe { _mm256_fmadd_ps(a, b, acc) }
            }
            #[inline(always)]
            unsafe fn sum(a: __m256) -> f32 {
                unsafe {
                    let four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
                    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
                    _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)))
                }
            }
            #[inline(always)]
            unsafe fn half(bits: u16) -> f32 {
                unsafe { _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(bits)))) }
            }
            #[inline(always)]
            unsafe fn load_f32(at: *const u8) -> __m256 {
                unsafe { _mm256_loadu_ps(at.cast()) }
            }
            #[inline(always)]
            unsafe fn load_f16(at: *const u8) -> __m256 {
                unsafe { _mm256_cvtph_ps(_mm_loadu_si128(at.cast())) }
            }
            #[inline(always)]
            unsafe fn load_bf16(at: *const u8) -> __m256 {
                unsafe {
                    let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(at.cast()));
                    _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16))
                }
            }
            #[inline(always)]
            unsafe fn store(at: *mut f32, a: __m256) {
                unsafe { _mm256_storeu_ps(at, a) }
            }
        }
    };
}

simd_on_ymm!(Avx2, 4, dot_avx2);
simd_on_ymm!(Avx512, 8, dot_vnni);

#[inline(always)]
unsafe fn dot_vnni(w: [__m256i; 2], x: [__m256i; 2]) -> __m256i {
    unsafe {
        let sum = _mm256_dpwssd_epi32(_mm256_setzero_si256(), w[0], x[0]);
        _mm256_dpwssd_epi32(sum, w[1], x[1])
    }
}

#[inline(always)]
unsafe fn dot_avx2(w: [__m256i; 2], x: [__m256i; 2]) -> __m256i {
    unsafe { _mm256_add_epi32(_mm256_madd_epi16(w[0], x[0]), _mm256_madd_epi16(w[1], x[1])) }
}
