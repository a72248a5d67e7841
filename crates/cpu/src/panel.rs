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
//! | packed scales, each word in turn, all rows | 4 · 16 |
//! | quants, each word in turn, all rows | 4 · 16 |
//!
//! Quants come in pairs, two neighbouring columns in the two halves of a 32-bit word, so that a half holds so many fields:
//!
//! | quants | pairs | words, and what a half holds from bit 0 on |
//! |---|---|---|
//! | 4 bits | 4 | one: all four |
//! | 5 bits | 16 | four of four pairs each: three, and the fourth's highest bit; one of what is left: each fourth's low bits |
//! | `Q6_K`, the highest bit flipped | 8 | two of four pairs each: the fourth's low four bits, two pairs; one of what is left: each fourth's upper bits and each third |
//! | `Q8_0` | 2 | one: both |
//!
//! Scales of six bits (`Q4_K`, `Q5_K`: all scales, then all minima) are five a word, from bit 0, and above them two bits of
//! the sixteenth; those of `Q6_K` four a word, with the sign bit flipped.

use crate::threads::{self, Shared};
use crate::{Format, Layout};

/// Rows of a panel.
pub const ROWS: usize = 16;

/// Where a block's f16 numbers are in the file's form (`ggml-common.h`), where it has some.
fn halves(format: Format) -> Option<&'static [usize]> {
    match format {
        Format::F32 | Format::F16 | Format::BF16 => None,
        Format::Q4_0 | Format::Q5_0 | Format::Q8_0 => Some(&[0]),
        Format::Q4_1 | Format::Q5_1 | Format::Q4_K | Format::Q5_K => Some(&[0, 2]),
        Format::Q6_K => Some(&[208]),
    }
}

/// Brings a matrix from the file's form into panels, with rows of zeros up to a whole panel. Float
/// formats stay as they are, padded alike.
///
/// Bytes that are not those of the layout are the caller's fault: a panic or garbage.
pub fn pack(layout: Layout, bytes: &mut Vec<u8>) {
    let row = bytes.len() / layout.rows.max(1);
    let packed = packed_bytes(layout, bytes.len());
    bytes.reserve_exact(packed - bytes.len());
    bytes.resize(packed, 0);
    if halves(layout.format).is_some() {
        let shared = Shared::new(bytes);
        threads::share(layout.rows.div_ceil(ROWS), |panel| {
            // SAFETY: each task has its own panel.
            let panel = unsafe { shared.part(panel * ROWS * row, ROWS * row) };
            let file = panel.to_vec();
            pack_panel(layout.format, &file, panel);
        });
    }
}

/// [`pack`] from one place to another, of [`packed_bytes`]: where pages of memory are found as they are written to, threads
/// share that.
pub fn pack_into(layout: Layout, bytes: &[u8], to: &mut [u8]) {
    let size = to.len() / layout.rows.div_ceil(ROWS).max(1);
    let shared = Shared::new(to);
    threads::share(layout.rows.div_ceil(ROWS), |panel| {
        let at = panel * size;
        // SAFETY: each task has its own panel.
        let to = unsafe { shared.part(at, size) };
        match bytes.get(at..at + size) {
            Some(whole) => pack_panel(layout.format, whole, to),
            None => {
                let mut padded = bytes[at..].to_vec();
                padded.resize(size, 0);
                pack_panel(layout.format, &padded, to);
            }
        }
    });
}

/// Whether [`pack`] leaves a matrix as its file has it.
pub fn stays(layout: Layout) -> bool {
    halves(layout.format).is_none() && layout.rows.is_multiple_of(ROWS)
}

/// Bytes of a matrix in panels that has so many in its file.
pub fn packed_bytes(layout: Layout, bytes: usize) -> usize {
    bytes / layout.rows.max(1) * layout.rows.next_multiple_of(ROWS)
}

/// A panel from its rows in the file's form, side by side.
fn pack_panel(format: Format, file: &[u8], panel: &mut [u8]) {
    let Some(halves) = halves(format) else {
        return panel.copy_from_slice(file);
    };
    let (row, size) = (file.len() / ROWS, format.block_bytes());
    for (b, to) in panel.chunks_exact_mut(ROWS * size).enumerate() {
        for r in 0..ROWS {
            pack_block(format, halves, &file[r * row + b * size..][..size], to, r);
        }
    }
}

/// One row's block into its panel.
fn pack_block(format: Format, halves: &[usize], block: &[u8], panel: &mut [u8], r: usize) {
    let (head, words) = panel.split_at_mut(2 * ROWS * halves.len());
    for (to, &at) in head.chunks_exact_mut(2 * ROWS).zip(halves) {
        to[2 * r..][..2].copy_from_slice(&block[at..][..2]);
    }
    let mut next = words.chunks_exact_mut(4 * ROWS);
    let mut put = |word: u32| {
        let to = next.next().expect("a panel has the bytes of its rows");
        to[4 * r..][..4].copy_from_slice(&word.to_le_bytes());
    };

    match format {
        Format::Q4_K | Format::Q5_K => {
            let fields = six_bits(&block[4..16]);
            for (i, five) in fields.as_chunks::<5>().0.iter().enumerate() {
                let five = five.iter().rev().fold(0, |word, &field| word << 6 | field);
                put(five | ((fields[15] >> (2 * i)) & 3) << 30);
            }
        }
        Format::Q6_K => {
            let scales = block[192..208].as_chunks().0;
            scales
                .iter()
                .for_each(|four| put(u32::from_le_bytes(*four) ^ 0x8080_8080));
        }
        _ => {}
    }

    let mut quants = [0; 256];
    let quants = &mut quants[..format.block()];
    read_quants(format, block, quants);
    // Bits of both halves of a word.
    const ONE: u32 = 0x0001_0001;
    const TWO: u32 = 3 * ONE;
    const FOUR: u32 = 15 * ONE;
    match format {
        Format::Q8_0 => {
            for [a, b] in pairs(quants) {
                put(a | b << 8);
            }
        }
        Format::Q5_0 | Format::Q5_1 | Format::Q5_K => {
            for p in pairs::<16>(quants) {
                let mut rest = 0;
                for (k, [a, b, c, d]) in p.as_chunks().0.iter().enumerate() {
                    put(a | b << 5 | c << 10 | ((d >> 4) & ONE) << 15);
                    rest |= (d & FOUR) << (4 * k);
                }
                put(rest);
            }
        }
        Format::Q6_K => {
            for p in pairs::<8>(quants) {
                let mut rest = 0;
                for (k, four) in p.as_chunks().0.iter().enumerate() {
                    let [a, b, c, d] = four.map(|pair| pair ^ (ONE << 5));
                    put((d & FOUR) | a << 4 | b << 10);
                    rest |= (((d >> 4) & TWO) | c << 2) << (8 * k);
                }
                put(rest);
            }
        }
        _ => {
            for [a, b, c, d] in pairs(quants) {
                put(a | b << 4 | c << 8 | d << 12);
            }
        }
    }
}

/// `N` pairs of columns at a time, each as a word of two halves.
fn pairs<const N: usize>(quants: &[u8]) -> impl Iterator<Item = [u32; N]> {
    quants.chunks_exact(2 * N).map(|quants| {
        std::array::from_fn(|i| u32::from(quants[2 * i]) | u32::from(quants[2 * i + 1]) << 16)
    })
}

/// Eight scales and eight minima of `Q4_K` and `Q5_K`: in the file those of groups 4 and up have their low bits in the last
/// four bytes and their high ones above the others'.
fn six_bits(packed: &[u8]) -> [u32; 16] {
    let byte = |i: usize| u32::from(packed[i]);
    std::array::from_fn(|i| {
        let (g, min) = (i % 8, i / 8);
        match g < 4 {
            true => byte(g + 4 * min) & 63,
            false => byte(g + 4) >> (4 * min) & 15 | byte(g - 4 + 4 * min) >> 6 << 4,
        }
    })
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
