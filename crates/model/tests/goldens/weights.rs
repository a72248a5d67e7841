//! Weights from names: the twin of tests/golden/weights.py and quantized.py, bit for bit.

use half::{bf16, f16};
use tinderbox_kernels::Format;

/// Outputs of SplitMix64, started at the FNV-1a hash of `seed/name`.
fn stream(seed: u64, name: &str) -> impl Iterator<Item = u64> {
    let hash = |key: u64, byte: u8| (key ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
    let mut state = format!("{seed}/{name}")
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, hash);
    std::iter::repeat_with(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15_u64);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

/// `offset + scale · u`, u uniform in −1 .. 1.
pub fn floats(seed: u64, name: &str, shape: &[usize], offset: f32, scale: f32) -> Vec<f32> {
    let u = stream(seed, name).map(|bits| (bits >> 40) as f32 / (1 << 23) as f32 - 1.0);
    u.take(shape.iter().product())
        .map(|u| offset + scale * u)
        .collect()
}

/// A matrix in the bytes of its format.
pub fn stored(seed: u64, name: &str, format: Format, shape: &[usize]) -> Vec<u8> {
    let values = || floats(seed, name, shape, 0.0, 0.125).into_iter();
    // Bytes of the scale and of the second factor, the second as a multiple of the first, the unit.
    let (first, second, unit) = match format {
        Format::F32 => return values().flat_map(f32::to_le_bytes).collect(),
        Format::F16 => {
            return values()
                .flat_map(|x| f16::from_f32(x).to_le_bytes())
                .collect();
        }
        Format::BF16 => {
            return values()
                .flat_map(|x| bf16::from_f32(x).to_le_bytes())
                .collect();
        }
        Format::Q4_0 => (0, None, -6),
        Format::Q4_1 => (0, Some((2, -7.5)), -6),
        Format::Q5_0 => (0, None, -7),
        Format::Q5_1 => (0, Some((2, -15.5)), -7),
        Format::Q8_0 => (0, None, -10),
        Format::Q4_K => (0, Some((2, 7.5)), -12),
        Format::Q5_K => (0, Some((2, 15.5)), -13),
        Format::Q6_K => (208, None, -14),
    };
    let count = shape.iter().product::<usize>() / format.block() * format.block_bytes();
    let mut bytes: Vec<u8> = stream(seed, name)
        .flat_map(u64::to_le_bytes)
        .take(count)
        .collect();
    for block in bytes.chunks_exact_mut(format.block_bytes()) {
        let scale = 2_f32.powi(unit) * (1.0 + f32::from(block[first] & 3) / 4.0);
        block[first..first + 2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
        if let Some((at, ratio)) = second {
            block[at..at + 2].copy_from_slice(&f16::from_f32(scale * ratio).to_le_bytes());
        }
    }
    bytes
}
