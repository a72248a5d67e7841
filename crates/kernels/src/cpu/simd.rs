//! The vector operations the CPU twin is written in, and one implementation an instruction set.
//!
//! A vector is 32 bytes, half of them as `i16`, 8 sums as `i32`, or 8 `f32`. A dot product sums
//! elements of the same half of 32: lanes 0..4 of elements 0..16, lanes 4..8 of elements 16..32, so
//! that a scale can differ between the halves (`Q6_K`).

/// Where each element of a group of 32 lies among its 16-bit numbers: what widening the low and
/// the high eight bytes of each half gives.
pub(crate) const ORDER: [usize; 32] = [
    0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25,
    26, 27, 28, 29, 30, 31,
];

/// One instruction set.
///
/// # Safety
/// Every method needs the CPU to have the implementation's instruction set ([`super::isa`] checks
/// it before it hands out the type), and pointers to be readable for the length named.
#[allow(clippy::missing_safety_doc)]
pub(crate) trait Simd: Copy + 'static {
    /// 32 × u8.
    type U8: Copy;
    /// 16 × i16.
    type I16: Copy;
    /// 8 × i32.
    type I32: Copy;
    /// 8 × f32.
    type F32: Copy;
    /// Input rows that share one unpacked weight in a product of many rows.
    const TILE: usize;

    /// 32 bytes.
    unsafe fn bytes(at: *const u8) -> Self::U8;
    /// 16 bytes as 32: the low nibbles, then the high ones.
    unsafe fn nibbles(at: *const u8) -> Self::U8;
    /// Byte `i` is 16 where bit `i` is set.
    unsafe fn bits(mask: u32) -> Self::U8;
    unsafe fn and(a: Self::U8, mask: u8) -> Self::U8;
    unsafe fn or(a: Self::U8, b: Self::U8) -> Self::U8;
    unsafe fn xor(a: Self::U8, mask: u8) -> Self::U8;
    /// Shifts 16-bit lanes: bits cross byte borders, so mask before (left) or after (right).
    unsafe fn shl(a: Self::U8, n: u32) -> Self::U8;
    unsafe fn shr(a: Self::U8, n: u32) -> Self::U8;
    /// The bytes as 16-bit numbers, in [`ORDER`].
    unsafe fn widen(a: Self::U8) -> [Self::I16; 2];
    /// Products with 32 numbers that lie in [`ORDER`], summed by lane.
    unsafe fn dot(w: [Self::I16; 2], x: *const i16) -> Self::I32;
    unsafe fn to_f32(a: Self::I32) -> Self::F32;
    unsafe fn splat(a: f32) -> Self::F32;
    /// Four lanes of each.
    unsafe fn halves(a: f32, b: f32) -> Self::F32;
    unsafe fn mul(a: Self::F32, b: Self::F32) -> Self::F32;
    /// `a · b + acc`.
    unsafe fn fma(acc: Self::F32, a: Self::F32, b: Self::F32) -> Self::F32;
    unsafe fn sum(a: Self::F32) -> f32;
    unsafe fn half(bits: u16) -> f32;
    unsafe fn load_f32(at: *const u8) -> Self::F32;
    unsafe fn load_f16(at: *const u8) -> Self::F32;
    unsafe fn load_bf16(at: *const u8) -> Self::F32;
    unsafe fn store(at: *mut f32, a: Self::F32);
}

/// Plain loops, for any CPU.
#[derive(Clone, Copy)]
pub(crate) struct Scalar;

impl Simd for Scalar {
    type U8 = [u8; 32];
    type I16 = [i16; 16];
    type I32 = [i32; 8];
    type F32 = [f32; 8];
    const TILE: usize = 4;

    #[inline(always)]
    unsafe fn bytes(at: *const u8) -> [u8; 32] {
        // SAFETY: the caller vouches for 32 readable bytes; the read is unaligned.
        unsafe { at.cast::<[u8; 32]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn nibbles(at: *const u8) -> [u8; 32] {
        // SAFETY: the caller vouches for 16 readable bytes.
        let packed = unsafe { at.cast::<[u8; 16]>().read_unaligned() };
        std::array::from_fn(|i| {
            if i < 16 {
                packed[i] & 15
            } else {
                packed[i - 16] >> 4
            }
        })
    }
    #[inline(always)]
    unsafe fn bits(mask: u32) -> [u8; 32] {
        std::array::from_fn(|i| ((mask >> i & 1) << 4) as u8)
    }
    #[inline(always)]
    unsafe fn and(a: [u8; 32], mask: u8) -> [u8; 32] {
        a.map(|v| v & mask)
    }
    #[inline(always)]
    unsafe fn or(a: [u8; 32], b: [u8; 32]) -> [u8; 32] {
        std::array::from_fn(|i| a[i] | b[i])
    }
    #[inline(always)]
    unsafe fn xor(a: [u8; 32], mask: u8) -> [u8; 32] {
        a.map(|v| v ^ mask)
    }
    #[inline(always)]
    unsafe fn shl(a: [u8; 32], n: u32) -> [u8; 32] {
        a.map(|v| v << n)
    }
    #[inline(always)]
    unsafe fn shr(a: [u8; 32], n: u32) -> [u8; 32] {
        a.map(|v| v >> n)
    }
    #[inline(always)]
    unsafe fn widen(a: [u8; 32]) -> [[i16; 16]; 2] {
        std::array::from_fn(|half| std::array::from_fn(|i| i16::from(a[ORDER[16 * half + i]])))
    }
    #[inline(always)]
    unsafe fn dot(w: [[i16; 16]; 2], x: *const i16) -> [i32; 8] {
        // SAFETY: the caller vouches for 32 readable numbers.
        let x = unsafe { x.cast::<[[i16; 16]; 2]>().read_unaligned() };
        std::array::from_fn(|lane| {
            let products = |half: usize, i: usize| i32::from(w[half][i]) * i32::from(x[half][i]);
            let pair = |half: usize| products(half, 2 * lane) + products(half, 2 * lane + 1);
            pair(0) + pair(1)
        })
    }
    #[inline(always)]
    unsafe fn to_f32(a: [i32; 8]) -> [f32; 8] {
        a.map(|v| v as f32)
    }
    #[inline(always)]
    unsafe fn splat(a: f32) -> [f32; 8] {
        [a; 8]
    }
    #[inline(always)]
    unsafe fn halves(a: f32, b: f32) -> [f32; 8] {
        [a, a, a, a, b, b, b, b]
    }
    #[inline(always)]
    unsafe fn mul(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| a[i] * b[i])
    }
    #[inline(always)]
    unsafe fn fma(acc: [f32; 8], a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| a[i] * b[i] + acc[i])
    }
    #[inline(always)]
    unsafe fn sum(a: [f32; 8]) -> f32 {
        a.iter().sum()
    }
    #[inline(always)]
    unsafe fn half(bits: u16) -> f32 {
        half::f16::from_bits(bits).to_f32_const()
    }
    #[inline(always)]
    unsafe fn load_f32(at: *const u8) -> [f32; 8] {
        // SAFETY: the caller vouches for 32 readable bytes.
        unsafe { at.cast::<[f32; 8]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn load_f16(at: *const u8) -> [f32; 8] {
        // SAFETY: the caller vouches for 16 readable bytes.
        let bits = unsafe { at.cast::<[u16; 8]>().read_unaligned() };
        bits.map(|b| half::f16::from_bits(b).to_f32_const())
    }
    #[inline(always)]
    unsafe fn load_bf16(at: *const u8) -> [f32; 8] {
        // SAFETY: the caller vouches for 16 readable bytes.
        let bits = unsafe { at.cast::<[u16; 8]>().read_unaligned() };
        bits.map(|b| f32::from_bits(u32::from(b) << 16))
    }
    #[inline(always)]
    unsafe fn store(at: *mut f32, a: [f32; 8]) {
        // SAFETY: the caller vouches for 8 writable floats.
        unsafe { at.cast::<[f32; 8]>().write_unaligned(a) }
    }
}
