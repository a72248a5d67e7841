//! Quantized formats, read from panels ([`crate::panel`]): how words become weights, scales and minima.
//!
//! Every format is `w = scale · q + min` with `q` a small whole number, so a product with 16-bit
//! activations `x = s · a` is `scale · s · Σ q·a + min · s · Σ a`, and `Σ a` is known once a row.

use crate::Format;
use crate::panel::ROWS;
use crate::simd::Simd;

/// Bytes of one f16 and one word of every row.
const HALVES: usize = 2 * ROWS;
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

/// Pairs `4k ..` of a group's sixteen with five bits, in five words.
#[inline(always)]
unsafe fn fives<S: Simd>(at: *const u8, k: usize, lane: usize) -> [S::I16; 4] {
    // SAFETY: see above.
    unsafe {
        let (own, rest) = (
            word::<S>(at.add(k * WORDS), lane),
            word::<S>(at.add(4 * WORDS), lane),
        );
        let low = S::and(S::shr(rest, 4 * k as u32), 15);
        [
            S::and(own, 31),
            S::and(S::shr(own, 5), 31),
            S::and(S::shr(own, 10), 31),
            S::or(low, S::and(S::shr(own, 11), 16)),
        ]
    }
}

/// Pairs `4k ..` of eight with six bits, the highest a sign, in three words.
#[inline(always)]
unsafe fn sixes<S: Simd>(at: *const u8, k: usize, lane: usize) -> [S::I16; 4] {
    // SAFETY: see above.
    unsafe {
        let own = word::<S>(at.add(k * WORDS), lane);
        let rest = S::shl(word::<S>(at.add(2 * WORDS), lane), 8 * (1 - k as u32));
        let high = S::and(S::sar(S::shl(rest, 6), 10), !15);
        [
            S::sar(S::shl(own, 6), 10),
            S::sar(own, 10),
            S::sar(rest, 10),
            S::or(S::and(own, 15), high),
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
        unsafe { fives::<S>(block.add(HALVES), k, lane) }
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
        unsafe { fives::<S>(block.add(2 * HALVES), k, lane) }
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

/// Scale (`part` 0) or minimum (1) of group `g` of `Q4_K` and `Q5_K`, without the f16 before it: one of sixteen in three words.
#[inline(always)]
unsafe fn six_bits<S: Simd>(block: *const u8, g: usize, part: usize, lane: usize) -> S::F32 {
    // SAFETY: see above.
    unsafe {
        let at = block.add(2 * HALVES + 4 * lane);
        match 8 * part + g {
            15 => {
                // Two bits of each word.
                let low = S::to_f32(S::bits(S::words(at), 30, 3));
                let middle = S::to_f32(S::bits(S::words(at.add(WORDS)), 30, 3));
                let high = S::to_f32(S::bits(S::words(at.add(2 * WORDS)), 30, 3));
                S::fma(low, S::fma(middle, high, S::splat(4.0)), S::splat(4.0))
            }
            i => {
                let word = S::words(at.add(i / 5 * WORDS));
                S::to_f32(S::bits(word, 6 * (i % 5) as u32, 63))
            }
        }
    }
}

/// Scale of a group of `Q4_K` and `Q5_K`.
#[inline(always)]
unsafe fn k_scale<S: Simd>(block: *const u8, g: usize, lane: usize) -> S::F32 {
    // SAFETY: see above.
    unsafe { S::mul(six_bits::<S>(block, g, 0, lane), half::<S>(block, lane)) }
}

/// Minimum of a group of `Q4_K` and `Q5_K`.
#[inline(always)]
unsafe fn k_min<S: Simd>(block: *const u8, g: usize, lane: usize) -> S::F32 {
    // SAFETY: see above.
    unsafe {
        let unit = S::mul(half::<S>(block.add(HALVES), lane), S::splat(-1.0));
        S::mul(six_bits::<S>(block, g, 1, lane), unit)
    }
}

impl Quant for Q4K {
    const FORMAT: Format = Format::Q4_K;
    #[inline(always)]
    unsafe fn quants<S: Simd>(block: *const u8, g: usize, k: usize, lane: usize) -> [S::I16; 4] {
        // SAFETY: see above.
        unsafe { nibbles::<S>(block.add(2 * HALVES + (3 + 4 * g + k) * WORDS), lane) }
    }
    #[inline(always)]
    unsafe fn scale<S: Simd>(block: *const u8, g: usize, _: usize, lane: usize) -> S::F32 {
        // SAFETY: see above.
        unsafe { k_scale::<S>(block, g, lane) }
    }
    #[inline(always)]
    unsafe fn min<S: Simd>(block: *const u8, g: usize, lane: usize) -> S::F32 {
        // SAFETY: see above.
        unsafe { k_min::<S>(block, g, lane) }
    }
}

impl Quant for Q5K {
    const FORMAT: Format = Format::Q5_K;
    #[inline(always)]
    unsafe fn quants<S: Simd>(block: *const u8, g: usize, k: usize, lane: usize) -> [S::I16; 4] {
        // SAFETY: see above.
        unsafe { fives::<S>(block.add(2 * HALVES + (3 + 5 * g) * WORDS), k, lane) }
    }
    #[inline(always)]
    unsafe fn scale<S: Simd>(block: *const u8, g: usize, _: usize, lane: usize) -> S::F32 {
        // SAFETY: see above.
        unsafe { k_scale::<S>(block, g, lane) }
    }
    #[inline(always)]
    unsafe fn min<S: Simd>(block: *const u8, g: usize, lane: usize) -> S::F32 {
        // SAFETY: see above.
        unsafe { k_min::<S>(block, g, lane) }
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
            let at = block.add(HALVES + (4 + 6 * g + 3 * (k / 2)) * WORDS);
            sixes::<S>(at, k % 2, lane)
        }
    }
    #[inline(always)]
    unsafe fn scale<S: Simd>(block: *const u8, g: usize, half_: usize, lane: usize) -> S::F32 {
        // SAFETY: see above.
        unsafe {
            let number = 2 * g + half_;
            let word = S::words(block.add(HALVES + number / 4 * WORDS + 4 * lane));
            let scale = S::bits(word, 8 * (number % 4) as u32, 255);
            // The sign bit is flipped: a number from 0 to 255 that is 128 too large.
            let scale = S::fma(S::splat(-128.0), S::to_f32(scale), S::splat(1.0));
            S::mul(scale, half::<S>(block, lane))
        }
    }
}
