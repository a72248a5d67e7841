//! Weights as the file has them: how a group of 32 becomes bytes, a scale and a minimum.
//!
//! Every quantized format is `w = scale · q + min` with `q` an unsigned byte, so a dot product with
//! a row of 16-bit activations `x = s · a` is `scale · s · Σ q·a + min · s · Σ a`, and `Σ a` is known
//! once a row. This file is the only one that knows block layouts (`ggml-common.h`).

use super::simd::Simd;
use crate::Format;

/// 32 consecutive weights.
pub(crate) struct Group<S: Simd> {
    /// The `q`s.
    pub q: S::U8,
    /// Scale of lanes 0..4 and 4..8.
    pub scale: S::F32,
    /// Minimum of weights 0..16 and 16..32.
    pub min: [f32; 2],
}

/// A quantized format.
pub(crate) trait Quant: 'static {
    const FORMAT: Format;

    /// Group `g` of a block.
    ///
    /// # Safety
    /// `block` is readable for a block of the format, `g` is below its number of groups, and the
    /// CPU has `S`.
    unsafe fn group<S: Simd>(block: *const u8, g: usize) -> Group<S>;
}

/// # Safety
/// `at` is readable for 2 bytes and the CPU has `S`.
#[inline(always)]
unsafe fn half<S: Simd>(at: *const u8) -> f32 {
    // SAFETY: the caller's.
    unsafe { S::half(at.cast::<u16>().read_unaligned().to_le()) }
}

pub(crate) struct Q4_0;
pub(crate) struct Q4_1;
pub(crate) struct Q5_0;
pub(crate) struct Q5_1;
pub(crate) struct Q8_0;
pub(crate) struct Q4K;
pub(crate) struct Q5K;
pub(crate) struct Q6K;

// SAFETY of every block below: offsets stay inside the format's block, which the caller made
// readable; the instruction set is the caller's too.

impl Quant for Q4_0 {
    const FORMAT: Format = Format::Q4_0;
    #[inline(always)]
    unsafe fn group<S: Simd>(block: *const u8, _: usize) -> Group<S> {
        // SAFETY: see above.
        unsafe {
            let d = half::<S>(block);
            Group {
                q: S::nibbles(block.add(2)),
                scale: S::splat(d),
                min: [-8.0 * d; 2],
            }
        }
    }
}

impl Quant for Q4_1 {
    const FORMAT: Format = Format::Q4_1;
    #[inline(always)]
    unsafe fn group<S: Simd>(block: *const u8, _: usize) -> Group<S> {
        // SAFETY: see above.
        unsafe {
            let scale = S::splat(half::<S>(block));
            Group {
                q: S::nibbles(block.add(4)),
                scale,
                min: [half::<S>(block.add(2)); 2],
            }
        }
    }
}

impl Quant for Q5_0 {
    const FORMAT: Format = Format::Q5_0;
    #[inline(always)]
    unsafe fn group<S: Simd>(block: *const u8, _: usize) -> Group<S> {
        // SAFETY: see above.
        unsafe {
            let d = half::<S>(block);
            let high = S::bits(block.add(2).cast::<u32>().read_unaligned().to_le());
            let q = S::or(S::nibbles(block.add(6)), high);
            Group {
                q,
                scale: S::splat(d),
                min: [-16.0 * d; 2],
            }
        }
    }
}

impl Quant for Q5_1 {
    const FORMAT: Format = Format::Q5_1;
    #[inline(always)]
    unsafe fn group<S: Simd>(block: *const u8, _: usize) -> Group<S> {
        // SAFETY: see above.
        unsafe {
            let high = S::bits(block.add(4).cast::<u32>().read_unaligned().to_le());
            let q = S::or(S::nibbles(block.add(8)), high);
            let min = half::<S>(block.add(2));
            Group {
                q,
                scale: S::splat(half::<S>(block)),
                min: [min; 2],
            }
        }
    }
}

impl Quant for Q8_0 {
    const FORMAT: Format = Format::Q8_0;
    #[inline(always)]
    unsafe fn group<S: Simd>(block: *const u8, _: usize) -> Group<S> {
        // SAFETY: see above.
        unsafe {
            let d = half::<S>(block);
            // The sign bit flipped: i8 + 128 as u8.
            let q = S::xor(S::bytes(block.add(2)), 0x80);
            Group {
                q,
                scale: S::splat(d),
                min: [-128.0 * d; 2],
            }
        }
    }
}

/// Scale and minimum of group `g` of a `Q4_K` or `Q5_K` block: 6 bits each in 12 bytes.
///
/// # Safety
/// As [`Quant::group`].
#[inline(always)]
unsafe fn scale_min<S: Simd>(block: *const u8, g: usize) -> (f32, f32) {
    // SAFETY: see above.
    unsafe {
        let packed = block.add(4);
        let (scale, min) = if g < 4 {
            (*packed.add(g) & 63, *packed.add(g + 4) & 63)
        } else {
            let both = *packed.add(g + 4);
            let (top_scale, top_min) = (*packed.add(g - 4) >> 6, *packed.add(g) >> 6);
            (both & 15 | top_scale << 4, both >> 4 | top_min << 4)
        };
        let (d, dmin) = (half::<S>(block), half::<S>(block.add(2)));
        (d * f32::from(scale), -dmin * f32::from(min))
    }
}

impl Quant for Q4K {
    const FORMAT: Format = Format::Q4_K;
    #[inline(always)]
    unsafe fn group<S: Simd>(block: *const u8, g: usize) -> Group<S> {
        // SAFETY: see above.
        unsafe {
            let (scale, min) = scale_min::<S>(block, g);
            let both = S::bytes(block.add(16 + g / 2 * 32));
            let q = S::and(S::shr(both, g as u32 % 2 * 4), 15);
            Group {
                q,
                scale: S::splat(scale),
                min: [min; 2],
            }
        }
    }
}

impl Quant for Q5K {
    const FORMAT: Format = Format::Q5_K;
    #[inline(always)]
    unsafe fn group<S: Simd>(block: *const u8, g: usize) -> Group<S> {
        // SAFETY: see above.
        unsafe {
            let (scale, min) = scale_min::<S>(block, g);
            let both = S::bytes(block.add(48 + g / 2 * 32));
            let low = S::and(S::shr(both, g as u32 % 2 * 4), 15);
            let high = S::and(S::shr(S::bytes(block.add(16)), g as u32), 1);
            let q = S::or(low, S::shl(high, 4));
            Group {
                q,
                scale: S::splat(scale),
                min: [min; 2],
            }
        }
    }
}

impl Quant for Q6K {
    const FORMAT: Format = Format::Q6_K;
    #[inline(always)]
    unsafe fn group<S: Simd>(block: *const u8, g: usize) -> Group<S> {
        // SAFETY: see above.
        unsafe {
            let (part, quarter) = (g / 4, g % 4);
            let both = S::bytes(block.add(part * 64 + quarter % 2 * 32));
            let low = S::and(S::shr(both, quarter as u32 / 2 * 4), 15);
            let top = S::bytes(block.add(128 + part * 32));
            let high = S::and(S::shr(top, quarter as u32 * 2), 3);
            let q = S::or(low, S::shl(high, 4));
            let d = half::<S>(block.add(208));
            let scales = block.add(192 + 2 * g).cast::<i8>();
            let (a, b) = (d * f32::from(*scales), d * f32::from(*scales.add(1)));
            Group {
                q,
                scale: S::halves(a, b),
                min: [-32.0 * a, -32.0 * b],
            }
        }
    }
}
