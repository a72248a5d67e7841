//! Quantized formats, read from panels ([`crate::panel`]): how words become weights, scales and minima.
//!
//! Every format is `w = scale · q + min` with `q` a small whole number, so a product with 16-bit
//! activations `x = s · a` is `scale · s · Σ q·a + min · s · Σ a`, and `Σ a` is known once a row.

use crate::Format;
use crate::panel::ROWS;
use crate::simd::Simd;

/// Bytes of one f16, one byte and one word of every row.
const HALVES: usize = 2 * ROWS;
const BYTES: usize = ROWS;
const WORDS: usize = 4 * ROWS;

/// A quantized format, in a panel's block; `lane` is the first row of a vector.
///
/// # Safety
/// `block` is readable for a panel's block of the format, `g` is below its groups of 32 columns, `k`
/// below 4, `lane` a multiple of `S::LANES` below [`ROWS`], and the CPU has `S`.
#[allow(clippy::missing_safety_doc)]
pub(crate) trait Quant: 'static {
    const FORMAT: Format;
    /// Scales of a group of 32 columns: 1 or 2.
    const SCALES: usize = 1;
    /// Whether there are minima.
    const MIN: bool = true;

    /// Columns `8k ..` of group `g`: four pairs.
    unsafe fn quants<S: Simd>(block: *const u8, g: usize, k: usize, lane: usize) -> [S::I16; 4];
    /// Scale `part` of group `g`; blocks of one group begin with it.
    #[inline(always)]
    unsafe fn scale<S: Simd>(block: *const u8, _g: usize, _part: usize, lane: usize) -> S::F32 {
        // SAFETY: the caller's.
        unsafe { half::<S>(block, lane) }
    }
    /// Minimum of group `g`, where there are minima.
    #[inline(always)]
    unsafe fn min<S: Simd>(_block: *const u8, _g: usize, _lane: usize) -> S::F32 {
        // SAFETY: the instruction set is the caller's.
        unsafe { S::splat(0.0) }
    }
}

pub(crate) struct Q4_0;
pub(crate) struct Q4_1;
pub(crate) struct Q5_0;
pub(crate) struct Q5_1;
pub(crate) struct Q8_0;
pub(crate) struct Q4K;
pub(crate) struct Q5K;
pub(crate) struct Q6K;

// SAFETY of every block below: offsets stay inside the panel's block, which the caller made
// readable; the instruction set is the caller's too.

#[inline(always)]
unsafe fn half<S: Simd>(at: *const u8, lane: usize) -> S::F32 {
    // SAFETY: see above.
    unsafe { S::load_f16(at.add(2 * lane)) }
}

#[inline(always)]
unsafe fn word<S: Simd>(at: *const u8, lane: usize) -> S::I16 {
    // SAFETY: see above.
    unsafe { S::pairs(at.add(4 * lane)) }
}

#[inline(always)]
unsafe fn nibbles<S: Simd>(at: *const u8, lane: usize) -> [S::I16; 4] {
    // SAFETY: see above.
    unsafe {
        let a = word::<S>(at, lane);
        [
            S::and(a, 15),
            S::and(S::shr(a, 4), 15),
            S::and(S::shr(a, 8), 15),
            S::shr(a, 12),
        ]
    }
}

/// Nibbles with a fifth bit, of `high`'s bits `4k ..`.
#[inline(always)]
unsafe fn fives<S: Simd>(low: *const u8, high: *const u8, k: usize, lane: usize) -> [S::I16; 4] {
    // SAFETY: see above.
    unsafe {
        let [a, b, c, d] = nibbles::<S>(low, lane);
        let high = S::shr(word::<S>(high, lane), 4 * k as u32);
        [
            S::or(a, S::and(S::shl(high, 4), 16)),
            S::or(b, S::and(S::shl(high, 3), 16)),
            S::or(c, S::and(S::shl(high, 2), 16)),
            S::or(d, S::and(S::shl(high, 1), 16)),
        ]
    }
}

impl Quant for Q4_0 {
    const FORMAT: Format = Format::Q4_0;
    #[inline(always)]
    unsafe fn quants<S: Simd>(block: *const u8, _: usize, k: usize, lane: usize) -> [S::I16; 4] {
        // SAFETY: see above.
        unsafe { nibbles::<S>(block.add(HALVES + k * WORDS), lane) }
    }
    #[inline(always)]
    unsafe fn min<S: Simd>(block: *const u8, _: usize, lane: usize) -> S::F32 {
        // SAFETY: see above.
        unsafe { S::mul(half::<S>(block, lane), S::splat(-8.0)) }
    }
}

impl Quant for Q4_1 {
    const FORMAT: Format = Format::Q4_1;
    #[inline(always)]
    unsafe fn quants<S: Simd>(block: *const u8, _: usize, k: usize, lane: usize) -> [S::I16; 4] {
        // SAFETY: see above.
        unsafe { nibbles::<S>(block.add(2 * HALVES + k * WORDS), lane) }
    }
    #[inline(always)]
    unsafe fn min<S: Simd>(block: *const u8, _: usize, lane: usize) -> S::F32 {
        // SAFETY: see above.
        unsafe { half::<S>(block.add(HALVES), lane) }
    }
}

impl Quant for Q5_0 {
    const FORMAT: Format = Format::Q5_0;
    #[inline(always)]
    unsafe fn quants<S: Simd>(block: *const u8, _: usize, k: usize, lane: usize) -> [S::I16; 4] {
        // SAFETY: see above.
        unsafe {
            let high = block.add(HALVES);
            fives::<S>(high.add(WORDS + k * WORDS), high, k, lane)
        }
    }
    #[inline(always)]
    unsafe fn min<S: Simd>(block: *const u8, _: usize, lane: usize) -> S::F32 {
        // SAFETY: see above.
        unsafe { S::mul(half::<S>(block, lane), S::splat(-16.0)) }
    }
}

impl Quant for Q5_1 {
    const FORMAT: Format = Format::Q5_1;
    #[inline(always)]
    unsafe fn quants<S: Simd>(block: *const u8, _: usize, k: usize, lane: usize) -> [S::I16; 4] {
        // SAFETY: see above.
        unsafe {
            let high = block.add(2 * HALVES);
            fives::<S>(high.add(WORDS + k * WORDS), high, k, lane)
        }
    }
    #[inline(always)]
    unsafe fn min<S: Simd>(block: *const u8, _: usize, lane: usize) -> S::F32 {
        // SAFETY: see above.
        unsafe { half::<S>(block.add(HALVES), lane) }
    }
}

impl Quant for Q8_0 {
    const FORMAT: Format = Format::Q8_0;
    const MIN: bool = false;
    #[inline(always)]
    unsafe fn quants<S: Simd>(block: *const u8, _: usize, k: usize, lane: usize) -> [S::I16; 4] {
        // SAFETY: see above.
        unsafe {
            let at = block.add(HALVES + 2 * k * WORDS);
            let (a, b) = (word::<S>(at, lane), word::<S>(at.add(WORDS), lane));
            [
                S::sar(S::shl(a, 8), 8),
                S::sar(a, 8),
                S::sar(S::shl(b, 8), 8),
                S::sar(b, 8),
            ]
        }
    }
}

/// Packed scales of `Q4_K` and `Q5_K`, behind their two f16: eight 6-bit scales and minima in 12
/// bytes, those of groups 4 and up with their low bits in the last four and their high ones above the others'.
#[inline(always)]
unsafe fn six_bits<S: Simd>(block: *const u8, g: usize, lane: usize, min: bool) -> S::F32 {
    // SAFETY: see above.
    unsafe {
        let byte = |i: usize| S::bytes(block.add(2 * HALVES + i * BYTES + lane));
        let d = half::<S>(block.add(if min { HALVES } else { 0 }), lane);
        let own = if min { g + 4 } else { g };
        let scale = match g < 4 {
            true => S::to_f32(S::bits(byte(own), 0, 63)),
            false => {
                let low = S::bits(byte(g + 4), if min { 4 } else { 0 }, 15);
                let high = S::to_f32(S::bits(byte(own - 4), 6, 3));
                S::fma(S::to_f32(low), high, S::splat(16.0))
            }
        };
        S::mul(scale, d)
    }
}

impl Quant for Q4K {
    const FORMAT: Format = Format::Q4_K;
    #[inline(always)]
    unsafe fn quants<S: Simd>(block: *const u8, g: usize, k: usize, lane: usize) -> [S::I16; 4] {
        // SAFETY: see above.
        unsafe {
            nibbles::<S>(
                block.add(2 * HALVES + 12 * BYTES + (4 * g + k) * WORDS),
                lane,
            )
        }
    }
    #[inline(always)]
    unsafe fn scale<S: Simd>(block: *const u8, g: usize, _: usize, lane: usize) -> S::F32 {
        // SAFETY: see above.
        unsafe { six_bits::<S>(block, g, lane, false) }
    }
    #[inline(always)]
    unsafe fn min<S: Simd>(block: *const u8, g: usize, lane: usize) -> S::F32 {
        // SAFETY: see above.
        unsafe { S::mul(six_bits::<S>(block, g, lane, true), S::splat(-1.0)) }
    }
}

impl Quant for Q5K {
    const FORMAT: Format = Format::Q5_K;
    #[inline(always)]
    unsafe fn quants<S: Simd>(block: *const u8, g: usize, k: usize, lane: usize) -> [S::I16; 4] {
        // SAFETY: see above.
        unsafe {
            let high = block.add(2 * HALVES + 12 * BYTES);
            let low = high.add((8 + 4 * g + k) * WORDS);
            fives::<S>(low, high.add(g * WORDS), k, lane)
        }
    }
    #[inline(always)]
    unsafe fn scale<S: Simd>(block: *const u8, g: usize, _: usize, lane: usize) -> S::F32 {
        // SAFETY: see above.
        unsafe { six_bits::<S>(block, g, lane, false) }
    }
    #[inline(always)]
    unsafe fn min<S: Simd>(block: *const u8, g: usize, lane: usize) -> S::F32 {
        // SAFETY: see above.
        unsafe { S::mul(six_bits::<S>(block, g, lane, true), S::splat(-1.0)) }
    }
}

impl Quant for Q6K {
    const FORMAT: Format = Format::Q6_K;
    const SCALES: usize = 2;
    const MIN: bool = false;
    #[inline(always)]
    unsafe fn quants<S: Simd>(block: *const u8, g: usize, k: usize, lane: usize) -> [S::I16; 4] {
        // SAFETY: see above.
        unsafe {
            let high = block.add(HALVES + 16 * BYTES);
            let [a, b, c, d] = nibbles::<S>(high.add((16 + 4 * g + k) * WORDS), lane);
            let high = word::<S>(high.add((2 * g + k / 2) * WORDS), lane);
            let high = S::shr(high, 8 * (k % 2) as u32);
            let six = |low: S::I16, high: S::I16| S::sub(S::or(low, S::and(high, 0x30)), 32);
            [
                six(a, S::shl(high, 4)),
                six(b, S::shl(high, 2)),
                six(c, high),
                six(d, S::shr(high, 2)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn scale<S: Simd>(block: *const u8, g: usize, half_: usize, lane: usize) -> S::F32 {
        // SAFETY: see above.
        unsafe {
            let scale = S::bytes(block.add(HALVES + (2 * g + half_) * BYTES + lane));
            // The sign bit is flipped: a number from 0 to 255 that is 128 too large.
            let scale = S::fma(S::splat(-128.0), S::to_f32(scale), S::splat(1.0));
            S::mul(scale, half::<S>(block, lane))
        }
    }
}
