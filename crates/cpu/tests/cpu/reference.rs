//! What judges everything else.

use tinderbox_cpu::Format;
use tinderbox_cpu::reference::{dequantize, quantize};
use tinderbox_cpu::sample::Random;

#[test]
fn quantized_values_are_within_half_a_step() {
    let mut random = Random(3);
    let mut values = random.vector(32 * 64);
    values[32..64].fill(0.0);
    values[64..96].fill(-0.25);
    for (format, steps) in [
        (Format::Q4_0, 8.0),
        (Format::Q4_1, 15.0),
        (Format::Q8_0, 127.0),
    ] {
        let bytes = quantize(format, &values).unwrap();
        let back = dequantize(format, &bytes);
        for (block, (values, back)) in values.chunks(32).zip(back.chunks(32)).enumerate() {
            let most = values.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let least = values.iter().copied().fold(f32::INFINITY, f32::min);
            let range = match format {
                Format::Q4_1 => most - least,
                _ => most.abs().max(least.abs()),
            };
            // One whole step at Q4_0's positive end, which stops at seven; halves are rounded, too.
            let step = range / steps * if format == Format::Q4_0 { 1.0 } else { 0.5 };
            for (value, back) in values.iter().zip(back) {
                let off = (value - back).abs();
                assert!(
                    off <= step * 1.02 + 1e-3 * range.max(0.25),
                    "{format} {block}: {value} {back}"
                );
            }
        }
    }
    assert_eq!(quantize(Format::Q4_K, &values), None);
}
