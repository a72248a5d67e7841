//! Weights and vectors that look like a model's, the same on every machine: for the start-up
//! self-test, the oracle tests and the benchmarks.

use half::f16;

use crate::spec::ENTRY;
use crate::{Factors, Format, Layout, PARTS};

/// A small generator of numbers (SplitMix64; Steele, Lea & Flood 2014). Not for sampling tokens.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From −1 to 1.
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// Below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.bits() % end.max(1) as u64) as usize
    }

    /// `len` numbers from −1 to 1.
    pub fn vector(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.unit()).collect()
    }
}

/// A matrix's bytes: weights of the order of 1, every quant and every scale in use, some scales
/// subnormal.
///
/// # Panics
/// Where the columns are no whole number of blocks.
pub fn matrix(layout: Layout, random: &mut Random) -> Vec<u8> {
    let Layout {
        format,
        rows,
        columns,
    } = layout;
    let row = format.row_bytes(columns).expect("whole blocks");
    let mut bytes = Vec::with_capacity(rows * row);
    for _ in 0..rows * columns / format.block() {
        block(format, random, &mut bytes);
    }
    bytes
}

fn block(format: Format, random: &mut Random, bytes: &mut Vec<u8>) {
    let value = random.unit();
    match format {
        Format::F32 => return bytes.extend(value.to_le_bytes()),
        Format::F16 => return bytes.extend(f16::from_f32(value).to_le_bytes()),
        Format::BF16 => return bytes.extend(half::bf16::from_f32(value).to_le_bytes()),
        _ => {}
    }
    let start = bytes.len();
    bytes.extend((0..format.block_bytes()).map(|_| random.bits() as u8));
    // Where the f16 factors lie, and the largest product of what they multiply.
    let (places, largest): (&[usize], f32) = match format {
        Format::Q4_0 => (&[0], 8.0),
        Format::Q5_0 => (&[0], 16.0),
        Format::Q8_0 => (&[0], 127.0),
        Format::Q4_1 => (&[0, 2], 15.0),
        Format::Q5_1 => (&[0, 2], 31.0),
        Format::Q4_K => (&[0, 2], 63.0 * 15.0),
        Format::Q5_K => (&[0, 2], 63.0 * 31.0),
        _ => (&[208], 127.0 * 32.0),
    };
    for at in places {
        let tiny = random.below(8) == 0;
        let factor = random.unit() / largest * if tiny { 0.01 } else { 1.0 };
        bytes[start + at..][..2].copy_from_slice(&f16::from_f32(factor).to_le_bytes());
    }
}

/// Adapters of one product, as `LowRank` of `tinderbox-kernels` takes them and as the reference does.
#[derive(Clone, Debug)]
pub struct Adapters {
    /// Slots and their factors.
    pub slots: Vec<(u32, Factors)>,
    /// All factors in one row.
    pub values: Vec<f32>,
    /// Where they are: the table of [`LowRank`](crate::LowRank).
    pub table: Vec<i32>,
}

impl Adapters {
    /// `slots` are a slot and the ranks of its parts.
    pub fn new(
        columns: usize,
        outputs: [usize; PARTS],
        slots: &[(u32, [usize; PARTS])],
        random: &mut Random,
    ) -> Self {
        let count = slots.iter().map(|(slot, _)| *slot as usize + 1).max();
        let mut all = Adapters {
            slots: Vec::new(),
            values: Vec::new(),
            table: vec![0; count.unwrap_or(0) * ENTRY],
        };
        for (slot, ranks) in slots {
            let mut factors = Factors {
                a: random.vector(ranks.iter().sum::<usize>() * columns),
                ..Factors::default()
            };
            let entry = &mut all.table[*slot as usize * ENTRY..][..ENTRY];
            entry[0] = all.values.len() as i32;
            entry[1] = ranks.iter().sum::<usize>() as i32;
            all.values.extend(&factors.a);
            let mut from = 0;
            for (part, rank) in ranks.iter().enumerate() {
                let b = random.vector(rank * outputs[part]);
                let place = [from as i32, (from + rank) as i32, all.values.len() as i32];
                entry[2 + 3 * part..][..3].copy_from_slice(&place);
                all.values.extend(&b);
                factors.parts[part] = (from..from + rank, b);
                from += rank;
            }
            all.slots.push((*slot, factors));
        }
        all
    }
}
