//! Weights out of 32-bit words, for every [`Format`].
//!
//! Kernels walk a row in *spans* of 32 weights, each 4 *units* of 8. A unit is two runs of four
//! consecutive columns, `gap` apart: the low and the high nibbles of one word, or two words of a
//! wider format. Each run has one scale and one minimum: `weight = scale · q + min`.

use burn::cubecl;
use cubecl::prelude::*;

use crate::{Format, Layout};

/// Weights in a span.
pub const SPAN: usize = 32;
/// Units in a span.
pub const UNITS: usize = 4;

/// How a kernel reads a matrix: fixed when the kernel is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Packing {
    /// Storage of the rows.
    pub format: Format,
    /// Rows are whole spans; else the columns beyond the last are masked.
    pub whole: bool,
}

impl Packing {
    /// The packing of a matrix.
    pub fn of(layout: Layout) -> Self {
        Packing {
            format: layout.format,
            whole: layout.columns.is_multiple_of(SPAN),
        }
    }

    /// Words a row of blocks is apart; weights where a block is one weight.
    pub fn stride(layout: Layout) -> usize {
        let words = layout.format.block_bytes().div_ceil(4);
        if layout.format.block() == 1 {
            layout.columns
        } else {
            layout.columns / layout.format.block() * words
        }
    }

    fn is_k(self) -> bool {
        self.format.block() == 256
    }

    fn is_float(self) -> bool {
        self.format.block() == 1
    }

    /// Words of a block.
    fn words(self) -> usize {
        self.format.block_bytes().div_ceil(4)
    }

    /// Columns between the first and the second run of a unit.
    pub fn gap(self) -> usize {
        match self.format {
            Format::F32 | Format::F16 | Format::BF16 | Format::Q8_0 => 4,
            Format::Q4_0 | Format::Q4_1 | Format::Q5_0 | Format::Q5_1 => 16,
            Format::Q4_K | Format::Q5_K => 32,
            Format::Q6_K => 64,
        }
    }
}

/// Scale and minimum of a unit's two runs.
#[derive(CubeType, Clone, Copy)]
pub struct Scales {
    low: f32,
    low_min: f32,
    high: f32,
    high_min: f32,
}

/// First column of a unit's first run.
#[cube]
pub fn first_column(span: usize, unit: usize, #[comptime] packing: Packing) -> usize {
    if comptime!(packing.format == Format::Q6_K) {
        // Span k of 8: half k / 4 of 128 columns, words 4 · (k % 4) .. of its 16.
        span / 8 * 256 + span % 8 / 4 * 128 + span % 4 * 16 + unit * 4
    } else if comptime!(packing.is_k()) {
        // Span k of 8: pair k / 2 of 64 columns, words 4 · (k % 2) .. of its 8.
        span / 2 * 64 + span % 2 * 16 + unit * 4
    } else if comptime!(packing.gap() == 4) {
        span * 32 + unit * 8
    } else {
        span * 32 + unit * 4
    }
}

/// An IEEE half in the low 16 bits, by integer arithmetic: `shader-f16` is optional in WebGPU.
#[cube]
pub fn half_to_f32(bits: u32) -> f32 {
    let exponent = (bits >> 10) & 31;
    let mantissa = bits & 1023;
    let normal = f32::from_bits(((exponent + 112) << 23) | (mantissa << 13));
    // Subnormals are multiples of 2⁻²⁴; as bits of an `f32` they would be flushed to zero.
    let tiny = f32::cast_from(mantissa) * 5.960_464_5e-8;
    let size = select(exponent == 0, tiny, normal);
    select((bits & 0x8000) != 0, -size, size)
}

/// Byte `index` of a word.
#[cube]
fn byte(word: u32, index: usize) -> u32 {
    (word >> (index as u32 * 8)) & 255
}

/// A byte as a signed number.
#[cube]
fn signed(byte: u32) -> f32 {
    f32::cast_from(byte) - select(byte > 127, f32::new(256.0), f32::new(0.0))
}

/// Scales of the units of a span. `row` counts in [`Packing::stride`]s from the start of `words`.
#[cube]
pub fn scales(words: &[u32], row: usize, span: usize, #[comptime] packing: Packing) -> Scales {
    let size = comptime!(packing.words());
    if comptime!(packing.is_float()) {
        Scales {
            low: 1.0f32,
            low_min: 0.0f32,
            high: 1.0f32,
            high_min: 0.0f32,
        }
    } else if comptime!(packing.format == Format::Q6_K) {
        let block = row + span / 8 * size;
        let d = half_to_f32(words[block + 52] & 0xffff);
        // 16 bytes of scales: of each half's 8 the first 4 are of low, the rest of high nibbles.
        let at = block + 48 + span % 8 / 4 * 2;
        let low = d * signed(byte(words[at], span % 4));
        let high = d * signed(byte(words[at + 1], span % 4));
        Scales {
            low: low,
            low_min: -low * 32.0,
            high: high,
            high_min: -high * 32.0,
        }
    } else if comptime!(packing.is_k()) {
        let block = row + span / 8 * size;
        let head = words[block];
        let d = half_to_f32(head & 0xffff);
        let dmin = -half_to_f32(head >> 16);
        // 12 bytes hold 8 groups: 6 + 6 bits in the first 8 bytes for groups 0 to 3; for the
        // rest 4 + 4 bits in the last 4 bytes, their upper 2 + 2 bits atop the first 8.
        let pair = span % 8 / 2;
        let upper = pair >= 2;
        let a = words[block + 1];
        let b = words[block + 2];
        let c = words[block + 3];
        let shift = (pair % 2 * 16) as u32;
        let low = a >> shift;
        let low_m = b >> shift;
        let rest = c >> shift;
        let s0 = select(upper, (rest & 15) | ((low >> 6 & 3) << 4), low & 63);
        let m0 = select(
            upper,
            (rest >> 4 & 15) | ((low_m >> 6 & 3) << 4),
            low_m & 63,
        );
        let s1 = select(
            upper,
            (rest >> 8 & 15) | ((low >> 14 & 3) << 4),
            low >> 8 & 63,
        );
        let m1 = select(
            upper,
            (rest >> 12 & 15) | ((low_m >> 14 & 3) << 4),
            low_m >> 8 & 63,
        );
        Scales {
            low: d * f32::cast_from(s0),
            low_min: dmin * f32::cast_from(m0),
            high: d * f32::cast_from(s1),
            high_min: dmin * f32::cast_from(m1),
        }
    } else {
        let head = words[row + span * size];
        let d = half_to_f32(head & 0xffff);
        let min = if comptime!(matches!(packing.format, Format::Q4_1 | Format::Q5_1)) {
            half_to_f32(head >> 16)
        } else if comptime!(packing.format == Format::Q4_0) {
            -d * 8.0
        } else if comptime!(packing.format == Format::Q5_0) {
            -d * 16.0
        } else {
            d * 0.0
        };
        Scales {
            low: d,
            low_min: min,
            high: d,
            high_min: min,
        }
    }
}

/// The 8 weights of a unit, first run first, into `out`. `row` as in [`scales`].
#[cube]
pub fn weights(
    words: &[u32],
    row: usize,
    span: usize,
    unit: usize,
    columns: usize,
    scales: &Scales,
    out: &mut Array<f32>,
    #[comptime] packing: Packing,
) {
    if comptime!(packing.is_float()) {
        #[unroll]
        for i in 0..8usize {
            let column = first_column(span, unit, packing) + i;
            out[i] = float(words, row, column, columns, packing);
        }
    } else if comptime!(packing.format == Format::Q8_0) {
        let at = row + span * comptime!(packing.words()) + 1 + unit * 2;
        let low = words[at];
        let high = words[at + 1];
        #[unroll]
        for i in 0..4usize {
            out[i] = signed(byte(low, i)) * scales.low;
            out[4 + i] = signed(byte(high, i)) * scales.high;
        }
    } else {
        let quants = nibbles(words, row, span, unit, packing);
        let top = high_bits(words, row, span, unit, packing);
        #[unroll]
        for i in 0..4usize {
            let shift = comptime!(i as u32 * 8);
            let low = (quants >> shift & 15) | (top.low >> shift & top.mask) << 4;
            let high = (quants >> comptime!(shift + 4) & 15) | (top.high >> shift & top.mask) << 4;
            out[i] = f32::cast_from(low) * scales.low + scales.low_min;
            out[4 + i] = f32::cast_from(high) * scales.high + scales.high_min;
        }
    }
}

/// One weight of a float format; 0 beyond the last column.
#[cube]
fn float(
    words: &[u32],
    row: usize,
    column: usize,
    columns: usize,
    #[comptime] packing: Packing,
) -> f32 {
    let inside = if comptime!(packing.whole) {
        true.runtime()
    } else {
        column < columns
    };
    let at = row + select(inside, column, 0);
    let value = if comptime!(packing.format == Format::F32) {
        f32::from_bits(words[at])
    } else {
        // Rows of an odd number of columns begin in the middle of a word.
        let bits = words[at / 2] >> (at % 2 * 16) as u32 & 0xffff;
        if comptime!(packing.format == Format::F16) {
            half_to_f32(bits)
        } else {
            f32::from_bits(bits << 16)
        }
    };
    select(inside, value, 0.0)
}

/// The word with a unit's low and high nibbles.
#[cube]
fn nibbles(
    words: &[u32],
    row: usize,
    span: usize,
    unit: usize,
    #[comptime] packing: Packing,
) -> u32 {
    let size = comptime!(packing.words());
    if comptime!(packing.is_k()) {
        // Quants fill a block's last 32 words (Q4_K, Q5_K) or its first (Q6_K); 4 words a span.
        let first = comptime!(if packing.format == Format::Q6_K {
            0
        } else {
            size - 32
        });
        words[row + span / 8 * size + first + span % 8 * 4 + unit]
    } else {
        // The last 4 words of a block.
        words[row + span * size + comptime!(size - 4) + unit]
    }
}

/// Bits above the nibbles: those of weight `i` at bit `8 · i`.
#[derive(CubeType, Clone, Copy)]
struct HighBits {
    low: u32,
    high: u32,
    mask: u32,
}

#[cube]
fn high_bits(
    words: &[u32],
    row: usize,
    span: usize,
    unit: usize,
    #[comptime] packing: Packing,
) -> HighBits {
    let size = comptime!(packing.words());
    if comptime!(packing.format == Format::Q6_K) {
        // 8 words a half, each byte 4 × 2 bits: columns j, j + 32, j + 64, j + 96.
        let word = span % 4 * 4 + unit;
        let bits = words[row + span / 8 * size + 32 + span % 8 / 4 * 8 + word % 8];
        let shift = (word / 8 * 2) as u32;
        HighBits {
            low: bits >> shift,
            high: bits >> (shift + 4),
            mask: 3u32,
        }
    } else if comptime!(packing.format == Format::Q5_K) {
        // Byte j % 32, bit j / 32.
        let bits = words[row + span / 8 * size + 4 + span % 2 * 4 + unit];
        let shift = (span % 8 / 2 * 2) as u32;
        HighBits {
            low: bits >> shift,
            high: bits >> (shift + 1),
            mask: 1u32,
        }
    } else if comptime!(matches!(packing.format, Format::Q5_0 | Format::Q5_1)) {
        let bits = words[row + span * size + 1] >> (unit * 4) as u32;
        HighBits {
            low: spread(bits),
            high: spread(bits >> 16),
            mask: 1u32,
        }
    } else {
        HighBits {
            low: 0u32,
            high: 0u32,
            mask: 0u32,
        }
    }
}

/// Bits 0 to 3 to bits 0, 8, 16 and 24.
#[cube]
fn spread(bits: u32) -> u32 {
    bits & 1 | (bits & 2) << 7 | (bits & 4) << 14 | (bits & 8) << 21
}
