//! Quantized weights as the CPU twin reads them: sixteen rows at a time, bit by bit those of the file.
//!
//! In a file a row's blocks follow each other, so a product with one row fills a vector with
//! neighbouring columns: their sum has to be taken across the vector, and scales come one by one. A
//! *panel* holds [`ROWS`] rows, block by block, so that each row has a lane of its own: a vector of
//! scales is one load, sums stay in their lanes, and a vector of weights meets one pair of the input,
//! which the processor broadcasts as it loads. A panel has exactly the bytes of its rows:
//!
//! | what, for each block of the format | bytes |
//! |---|---|
//! | each f16 of the block in turn, all rows | 2 · 16 |
//! | each byte of packed scales in turn, all rows (`Q6_K`: with the sign bit flipped) | 16 |
//! | bits 4 and up, for each 32 columns: 16 pairs of bits a row (`Q6_K`: twice 8 pairs of two bits) | 4 · 16 |
//! | bits 0 to 3, for each 8 columns: 4 pairs of nibbles a row; `Q8_0`: bytes, for each 4 columns 2 pairs | 4 · 16 |
//!
//! A pair is two neighbouring columns, in the two halves of a 32-bit word; successive pairs lie in
//! successive bits of the halves.

use crate::threads::{self, Shared};
use crate::{Format, Layout};

/// Rows of a panel.
pub(crate) const ROWS: usize = 16;

/// Where a block's parts are in the file's form (`ggml-common.h`).
struct Parts {
    /// Offsets of its f16 numbers.
    halves: &'static [usize],
    /// First byte and number of bytes of packed scales.
    scales: (usize, usize),
}

fn parts(format: Format) -> Option<Parts> {
    let (halves, scales): (&[usize], _) = match format {
        Format::F32 | Format::F16 | Format::BF16 => return None,
        Format::Q4_0 | Format::Q5_0 | Format::Q8_0 => (&[0], (0, 0)),
        Format::Q4_1 | Format::Q5_1 => (&[0, 2], (0, 0)),
        Format::Q4_K | Format::Q5_K => (&[0, 2], (4, 12)),
        Format::Q6_K => (&[208], (192, 16)),
    };
    Some(Parts { halves, scales })
}

/// Brings a matrix from the file's form into panels, with rows of zeros up to a whole panel. Float
/// formats stay as they are, padded alike.
///
/// Bytes that are not those of the layout are the caller's fault: a panic or garbage.
pub fn pack(layout: Layout, bytes: &mut Vec<u8>) {
    let Layout { format, rows, .. } = layout;
    if rows == 0 {
        return;
    }
    let row = bytes.len() / rows;
    let panels = rows.div_ceil(ROWS);
    if !rows.is_multiple_of(ROWS) {
        bytes.reserve_exact(panels * ROWS * row - bytes.len());
        bytes.resize(panels * ROWS * row, 0);
    }
    let Some(parts) = parts(format) else {
        return;
    };
    let size = format.block_bytes();
    let shared = Shared::new(bytes);
    threads::share(panels, |panel| {
        // SAFETY: each task has its own panel.
        let panel = unsafe { shared.part(panel * ROWS * row, ROWS * row) };
        let file = panel.to_vec();
        for (b, to) in panel.chunks_exact_mut(ROWS * size).enumerate() {
            to.fill(0);
            for r in 0..ROWS {
                pack_block(format, &parts, &file[r * row + b * size..][..size], to, r);
            }
        }
    });
}

/// One row's block into its panel, whose bytes for it are zero.
fn pack_block(format: Format, parts: &Parts, block: &[u8], panel: &mut [u8], r: usize) {
    let mut rest = panel;
    let mut next = |len: usize| {
        let (part, after) = std::mem::take(&mut rest).split_at_mut(len);
        rest = after;
        part
    };
    for &at in parts.halves {
        next(2 * ROWS)[2 * r..][..2].copy_from_slice(&block[at..][..2]);
    }
    let (at, count) = parts.scales;
    let flip = if format == Format::Q6_K { 0x80 } else { 0 };
    for scale in &block[at..][..count] {
        next(ROWS)[r] = scale ^ flip;
    }
    let mut quants = [0; 256];
    let quants = &mut quants[..format.block()];
    read_quants(format, block, quants);

    // The word of a row in a vector: `width` bits from bit `from` of each column, eight columns at a time.
    let mut word = |quants: &[u8], from: u32, width: u32| {
        let mut word = 0;
        for (i, eight) in quants.as_chunks().0.iter().enumerate() {
            let columns = u64::from_le_bytes(*eight) >> from;
            let (low, high) = (gather(columns, width), gather(columns >> 8, width));
            word |= (low | high << 16) << (4 * width * i as u32);
        }
        next(4 * ROWS)[4 * r..][..4].copy_from_slice(&word.to_le_bytes());
    };
    match format {
        Format::Q5_0 | Format::Q5_1 | Format::Q5_K => {
            quants.chunks_exact(32).for_each(|part| word(part, 4, 1));
        }
        Format::Q6_K => quants.chunks_exact(16).for_each(|part| word(part, 4, 2)),
        _ => {}
    }
    match format {
        Format::Q8_0 => {
            for four in quants.as_chunks().0 {
                let [a, b, c, d] = *four;
                next(4 * ROWS)[4 * r..][..4].copy_from_slice(&[a, c, b, d]);
            }
        }
        _ => quants.chunks_exact(8).for_each(|part| word(part, 0, 4)),
    }
}

/// The lowest `width` bits (at most 4) of bytes 0, 2, 4 and 6, side by side.
fn gather(bytes: u64, width: u32) -> u32 {
    let fields = bytes & (0x0001_0001_0001_0001 * ((1 << width) - 1));
    let apart = 16 - width;
    let gathered = fields | fields >> apart | fields >> (2 * apart) | fields >> (3 * apart);
    gathered as u32 & ((1 << (4 * width)) - 1)
}

/// A block's quants in the order of its columns.
fn read_quants(format: Format, block: &[u8], out: &mut [u8]) {
    let nibbles = |at: usize, out: &mut [u8]| {
        let half = out.len() / 2;
        let (low, high) = out.split_at_mut(half);
        for ((low, high), byte) in low.iter_mut().zip(high).zip(&block[at..][..half]) {
            (*low, *high) = (byte & 15, byte >> 4);
        }
    };
    let high_bits = |at: usize, out: &mut [u8]| {
        for (out, byte) in out.chunks_exact_mut(8).zip(&block[at..]) {
            for (bit, out) in out.iter_mut().enumerate() {
                *out |= (byte >> bit & 1) << 4;
            }
        }
    };
    match format {
        Format::F32 | Format::F16 | Format::BF16 => {}
        Format::Q4_0 => nibbles(2, out),
        Format::Q4_1 => nibbles(4, out),
        Format::Q5_0 => {
            nibbles(6, out);
            high_bits(2, out);
        }
        Format::Q5_1 => {
            nibbles(8, out);
            high_bits(4, out);
        }
        Format::Q8_0 => out.copy_from_slice(&block[2..]),
        Format::Q4_K => {
            for (i, out) in out.chunks_exact_mut(64).enumerate() {
                nibbles(16 + 32 * i, out);
            }
        }
        Format::Q5_K => {
            for (i, out) in out.chunks_exact_mut(64).enumerate() {
                nibbles(48 + 32 * i, out);
            }
            for (i, out) in out.chunks_exact_mut(32).enumerate() {
                for (out, byte) in out.iter_mut().zip(&block[16..]) {
                    *out |= (byte >> i & 1) << 4;
                }
            }
        }
        Format::Q6_K => {
            for (i, out) in out.chunks_exact_mut(128).enumerate() {
                nibbles(64 * i, out);
                for (quarter, out) in out.chunks_exact_mut(32).enumerate() {
                    for (out, byte) in out.iter_mut().zip(&block[128 + 32 * i..]) {
                        *out |= (byte >> (2 * quarter) & 3) << 4;
                    }
                }
            }
        }
    }
}
