//! How fast a device streams through memory: what bounds a token.

use burn::tensor::{Device, Tensor};

use crate::{device::sync, on_cpu};

/// Bytes a second the device reads and writes when it streams through memory: what bounds a token.
///
/// On a GPU a chain of element-wise additions on 128 MiB (each reads and writes it once); on the CPU
/// a read of 256 MiB by all threads. About half a second.
///
/// # Errors
/// What the device says where it fails.
pub async fn copy_bandwidth(device: &Device) -> Result<f64, String> {
    if on_cpu(device) {
        return Ok(read_bandwidth());
    }
    stream_bandwidth(device).await
}

async fn stream_bandwidth(device: &Device) -> Result<f64, String> {
    const ELEMENTS: usize = 1 << 25;
    let mut data = Tensor::<1>::zeros([ELEMENTS], device);
    let mut passes = 2;
    loop {
        sync(device).await?;
        let start = std::time::Instant::now();
        for _ in 0..passes {
            data = data + 1.0;
        }
        sync(device).await?;
        let seconds = start.elapsed().as_secs_f64();
        if seconds > 0.2 || passes >= 4096 {
            return Ok((ELEMENTS * passes * 2 * size_of::<f32>()) as f64 / seconds);
        }
        passes *= 4;
    }
}

fn read_bandwidth() -> f64 {
    let data = vec![1u64; 1 << 25];
    let sum = |part: &[u64]| part.iter().fold(0u64, |sum, v| sum.wrapping_add(*v));
    (0..4)
        .map(|_| {
            let start = std::time::Instant::now();
            #[cfg(feature = "threads")]
            let total: u64 = {
                use rayon::prelude::*;
                data.par_chunks(1 << 18).map(sum).sum()
            };
            #[cfg(not(feature = "threads"))]
            let total = sum(&data);
            std::hint::black_box(total);
            (data.len() * 8) as f64 / start.elapsed().as_secs_f64()
        })
        .fold(0.0, f64::max)
}
