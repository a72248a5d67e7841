//! A decoder's operations on plain slices: what each is told ([`LinearSpec`] and its like), what each means ([`reference`], which
//! judges every other implementation, the GPU's too), and SIMD on the file's own bytes.
//!
//! No burn in it, so that it is compiled and tested for another processor within a minute.
//!
//! Integer dot products on 16-bit activations for quantized weights, floats for float weights.
//! Quantized weights are kept bit by bit as in the file, sixteen rows side by side ([`pack`]). Rows
//! are shared between threads; each output is computed by one thread in one order, so results do
//! not depend on the number of threads or on what else is in the batch.

#[cfg(target_arch = "x86_64")]
mod amx;
mod attention;
mod dot;
mod format;
mod input;
mod isa;
mod linear;
mod low_rank;
#[cfg(target_arch = "aarch64")]
mod neon;
mod panel;
mod quant;
pub mod reference;
pub mod sample;
mod simd;
mod spec;
mod threads;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wasm;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use attention::{Attention, Cell, rope};
pub use format::Format;
pub use isa::Isa;
pub use linear::{Linear, embed};
pub use low_rank::LowRank;
pub use panel::{ROWS as PANEL_ROWS, pack, pack_into, packed_bytes, stays};
pub use spec::{
    Activation, AttentionSpec, DRAW, Draw, ENTRY, Factors, Input, Layout, LinearSpec, LowRankSpec,
    Norm, PARTS, RopeSpec,
};
pub use threads::{join, share};

/// What these run on, as in `AVX-512 VNNI, 2 threads`.
pub fn description() -> String {
    let threads = threads::count();
    format!(
        "{}, {threads} thread{}",
        Isa::best().name(),
        if threads == 1 { "" } else { "s" }
    )
}

/// The first of the best logits, −1 where these are no finite numbers. Lanes side by side become vectors; a search that keeps
/// the place with each logit does not.
pub fn best(logits: &[f32]) -> i32 {
    let (lanes, rest) = logits.as_chunks::<16>();
    let mut tops = [f32::NEG_INFINITY; 16];
    for lane in lanes {
        for (top, logit) in tops.iter_mut().zip(lane) {
            *top = top.max(*logit);
        }
    }
    let top = tops
        .iter()
        .chain(rest)
        .copied()
        .fold(f32::NEG_INFINITY, f32::max);
    let place = logits.iter().position(|logit| *logit == top);
    place
        .filter(|_| top.is_finite())
        .map_or(-1, |place| place as i32)
}
