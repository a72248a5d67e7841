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

/// Where a block's f16 numbers are in the file's form (`ggml-common.h`).
fn halves(format: Format) -> &'static [usize] {
    match format {
        Format::F32 | Format::F16 | Format::BF16 => &[],
        Format::Q4_0 | Format::Q5_0 | Format::Q8_0 => &[0],
        Format::Q4_1 | Format::Q5_1 | Format::Q4_K | Format::Q5_K => &[0, 2],
        Format::Q6_K => &[208],
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
    if layout.format.block() > 1 {
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
    layout.format.block() == 1 && layout.rows.is_multiple_of(ROWS)
}

/// Bytes of a matrix in panels that has so many in its file.
pub fn packed_bytes(layout: Layout, bytes: usize) -> usize {
    bytes / layout.rows.max(1) * layout.rows.next_multiple_of(ROWS)
}

/// A word of every row of a panel.
type Words = [u32; ROWS];

/// What `f` makes of the words of each row: a loop over rows, which compilers turn into vectors on every machine.
#[inline(always)]
fn each<const N: usize, const M: usize>(
    words: [&Words; N],
    f: impl Fn([u32; N]) -> [u32; M],
) -> [Words; M] {
    let mut out = [[0; ROWS]; M];
    for r in 0..ROWS {
        let made = f(words.map(|words| words[r]));
        for (out, made) in out.iter_mut().zip(made) {
            out[r] = made;
        }
    }
    out
}

/// The same block of every row, `SIZE` bytes in the file's form.
struct Block<'a, const SIZE: usize>([&'a [u8; SIZE]; ROWS]);

impl<const SIZE: usize> Block<'_, SIZE> {
    /// Bytes `at .. at + N` of every row.
    #[inline(always)]
    fn bytes<const N: usize>(&self, at: usize) -> [[u8; N]; ROWS] {
        let mut out = [[0; N]; ROWS];
        for (out, block) in out.iter_mut().zip(self.0) {
            out.copy_from_slice(&block[at..at + N]);
        }
        out
    }

    /// The word at byte `at` of every row.
    #[inline(always)]
    fn word(&self, at: usize) -> Words {
        let mut out = [0; ROWS];
        for (out, bytes) in out.iter_mut().zip(self.bytes(at)) {
            *out = u32::from_le_bytes(bytes);
        }
        out
    }
}

/// A panel from its rows in the file's form, side by side.
fn pack_panel(format: Format, file: &[u8], panel: &mut [u8]) {
    // Each format is compiled alone, so that loops over its blocks have known lengths.
    macro_rules! formats {
        ($($format:ident)*) => {
            match format {
                Format::F32 | Format::F16 | Format::BF16 => panel.copy_from_slice(file),
                $(Format::$format => {
                    const FORMAT: Format = Format::$format;
                    const QUADS: usize = FORMAT.block() / 4;
                    pack_blocks::<{ FORMAT.block_bytes() }, QUADS>(FORMAT, file, panel);
                })*
            }
        };
    }
    formats!(Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q4_K Q5_K Q6_K);
}

/// [`pack_panel`], block by block.
#[inline(always)]
fn pack_blocks<const SIZE: usize, const QUADS: usize>(
    format: Format,
    file: &[u8],
    panel: &mut [u8],
) {
    let blocks = file.len() / ROWS / SIZE;
    let file = file.as_chunks().0;
    for (b, to) in panel.chunks_exact_mut(ROWS * SIZE).enumerate() {
        let block = Block(std::array::from_fn(|r| &file[r * blocks + b]));
        pack_block::<SIZE, QUADS>(format, &block, to);
    }
}

/// A block of every row into its panel.
#[inline(always)]
fn pack_block<const SIZE: usize, const QUADS: usize>(
    format: Format,
    block: &Block<SIZE>,
    panel: &mut [u8],
) {
    let halves = halves(format);
    let (head, words) = panel.split_at_mut(2 * ROWS * halves.len());
    for (to, &at) in head.chunks_exact_mut(2 * ROWS).zip(halves) {
        to.copy_from_slice(block.bytes::<2>(at).as_flattened());
    }
    let mut next = words.chunks_exact_mut(4 * ROWS);
    let mut put = |words: &Words| {
        let to = next.next().expect("a panel has the bytes of its rows");
        for (to, word) in to.as_chunks_mut().0.iter_mut().zip(words) {
            *to = word.to_le_bytes();
        }
    };

    match format {
        Format::Q4_K | Format::Q5_K => {
            let packed = [4, 8, 12].map(|at| block.word(at));
            each(packed.each_ref(), six_bits).iter().for_each(&mut put);
        }
        Format::Q6_K => {
            for at in (192..208).step_by(4) {
                let [scales] = each([&block.word(at)], |[four]| [four ^ 0x8080_8080]);
                put(&scales);
            }
        }
        _ => {}
    }

    let mut quads = [[0; ROWS]; QUADS];
    read_quads(format, block, &mut quads);
    // Bits of both halves of a word.
    const ONE: u32 = 0x0001_0001;
    const TWO: u32 = 3 * ONE;
    const FOUR: u32 = 15 * ONE;
    match format {
        Format::Q8_0 => {
            for quad in &quads {
                let [word] = each([quad], |quad| {
                    let [a, b] = pairs(quad);
                    [a | b << 8]
                });
                put(&word);
            }
        }
        Format::Q5_0 | Format::Q5_1 | Format::Q5_K => {
            for quads in quads.as_chunks::<8>().0 {
                let mut rest = [0; ROWS];
                for (k, [low, high]) in quads.as_chunks().0.iter().enumerate() {
                    let word;
                    [word, rest] = each([low, high, &rest], |[low, high, rest]| {
                        let [a, b, c, d] = pairs([low, high]);
                        let word = a | b << 5 | c << 10 | ((d >> 4) & ONE) << 15;
                        [word, rest | (d & FOUR) << (4 * k)]
                    });
                    put(&word);
                }
                put(&rest);
            }
        }
        Format::Q6_K => {
            for quads in quads.as_chunks::<4>().0 {
                let mut rest = [0; ROWS];
                for (k, [low, high]) in quads.as_chunks().0.iter().enumerate() {
                    let word;
                    [word, rest] = each([low, high, &rest], |[low, high, rest]| {
                        let [a, b, c, d] = pairs([low, high]).map(|pair| pair ^ (ONE << 5));
                        let word = (d & FOUR) | a << 4 | b << 10;
                        [word, rest | (((d >> 4) & TWO) | c << 2) << (8 * k)]
                    });
                    put(&word);
                }
                put(&rest);
            }
        }
        _ => {
            for [low, high] in quads.as_chunks().0 {
                let [word] = each([low, high], |quads| {
                    let [a, b, c, d] = pairs(quads);
                    [a | b << 4 | c << 8 | d << 12]
                });
                put(&word);
            }
        }
    }
}

/// Four columns each, a byte a column, as pairs: two columns in the halves of a word.
#[inline(always)]
fn pairs<const N: usize, const M: usize>(quads: [u32; N]) -> [u32; M] {
    std::array::from_fn(|i| match (quads[i / 2], i % 2) {
        (quad, 0) => quad & 0xff | (quad & 0xff00) << 8,
        (quad, _) => quad >> 16 & 0xff | quad >> 24 << 16,
    })
}

/// Eight scales and eight minima of `Q4_K` and `Q5_K`, five a word and the last above them. In the file those of groups 4 and up
/// have their low bits in the last four bytes and their high ones above the others'.
#[inline(always)]
fn six_bits(packed: [u32; 3]) -> [u32; 3] {
    let byte = |i: usize| packed[i / 4] >> (8 * (i % 4));
    let fields: [u32; 16] = std::array::from_fn(|i| {
        let (g, min) = (i % 8, i / 8);
        match g < 4 {
            true => byte(g + 4 * min) & 63,
            false => byte(g + 4) >> (4 * min) & 15 | (byte(g - 4 + 4 * min) >> 6 & 3) << 4,
        }
    });
    std::array::from_fn(|i| {
        let five = fields[5 * i..][..5].iter().rev();
        five.fold(fields[15] >> (2 * i) & 3, |word, &field| word << 6 | field)
    })
}

/// A block's quants in the order of its columns, four in a word, a byte each.
#[inline(always)]
fn read_quads<const SIZE: usize>(format: Format, block: &Block<SIZE>, out: &mut [Words]) {
    let nibbles = |at: usize, out: &mut [Words]| {
        let half = out.len() / 2;
        let (low, high) = out.split_at_mut(half);
        for (i, (low, high)) in low.iter_mut().zip(high).enumerate() {
            let word = block.word(at + 4 * i);
            [*low, *high] = each([&word], |[word]| {
                [word & 0x0f0f_0f0f, word >> 4 & 0x0f0f_0f0f]
            });
        }
    };
    // Adds bits `4 ..` to each byte, which lie in words from `at` on beside those of other columns.
    let upper = |at: usize, shift: usize, mask: u32, out: &mut [Words]| {
        for (i, out) in out.iter_mut().enumerate() {
            let bits = block.word(at + 4 * i);
            [*out] = each([out, &bits], |[quad, bits]| {
                [quad | (bits >> shift & mask) << 4]
            });
        }
    };
    // The fifth bits of 32 columns, side by side in a word.
    let fifth = |at: usize, out: &mut [Words]| {
        let bits = block.word(at);
        for (i, out) in out.iter_mut().enumerate() {
            [*out] = each([out, &bits], |[quad, bits]| {
                let four = bits >> (4 * i);
                [quad | (four & 1) << 4 | (four & 2) << 11 | (four & 4) << 18 | (four & 8) << 25]
            });
        }
    };
    match format {
        Format::F32 | Format::F16 | Format::BF16 => {}
        Format::Q4_0 => nibbles(2, out),
        Format::Q4_1 => nibbles(4, out),
        Format::Q5_0 => {
            nibbles(6, out);
            fifth(2, out);
        }
        Format::Q5_1 => {
            nibbles(8, out);
            fifth(4, out);
        }
        Format::Q8_0 => {
            for (i, out) in out.iter_mut().enumerate() {
                *out = block.word(2 + 4 * i);
            }
        }
        Format::Q4_K => {
            for (i, out) in out.chunks_exact_mut(16).enumerate() {
                nibbles(16 + 32 * i, out);
            }
        }
        Format::Q5_K => {
            for (i, out) in out.chunks_exact_mut(16).enumerate() {
                nibbles(48 + 32 * i, out);
            }
            for (i, out) in out.chunks_exact_mut(8).enumerate() {
                upper(16, i, 0x0101_0101, out);
            }
        }
        Format::Q6_K => {
            for (i, out) in out.chunks_exact_mut(32).enumerate() {
                nibbles(64 * i, out);
                for (quarter, out) in out.chunks_exact_mut(8).enumerate() {
                    upper(128 + 32 * i, 2 * quarter, 0x0303_0303, out);
                }
            }
        }
    }
}
