//! Random operands for the oracle tests.

use tinderbox_kernels::Format;

/// A small generator (SplitMix64), so that a failing case is the same on every run.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Uniform in −1 .. 1.
    pub fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    pub fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.float()).collect()
    }

    /// Rows of valid blocks: random quants, moderate scales.
    pub fn weights(&mut self, format: Format, rows: usize, columns: usize) -> Vec<u8> {
        let blocks = rows * columns / format.block();
        (0..blocks).flat_map(|_| self.block(format)).collect()
    }

    fn block(&mut self, format: Format) -> Vec<u8> {
        let scale = |r: &mut Self| half::f16::from_f32(0.02 + 0.01 * r.float()).to_le_bytes();
        let mut block: Vec<u8> = (0..format.block_bytes()).map(|_| self.next() as u8).collect();
        let mut put = |at: usize, bytes: [u8; 2]| block[at..at + 2].copy_from_slice(&bytes);
        match format {
            Format::F32 => block = self.float().to_le_bytes().to_vec(),
            Format::F16 => block = half::f16::from_f32(self.float()).to_le_bytes().to_vec(),
            Format::BF16 => block = half::bf16::from_f32(self.float()).to_le_bytes().to_vec(),
            Format::Q4_0 | Format::Q5_0 | Format::Q8_0 => put(0, scale(self)),
            Format::Q4_1 | Format::Q5_1 | Format::Q4_K | Format::Q5_K => {
                put(0, scale(self));
                put(2, scale(self));
            }
            Format::Q6_K => put(208, scale(self)),
        }
        block
    }
}
