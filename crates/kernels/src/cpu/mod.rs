//! The CPU twin: SIMD on the file's own bytes, on burn's Flex tensors.
//!
//! Integer dot products on 16-bit activations for quantized weights, floats for float weights.
//! Quantized weights are kept bit by bit as in the file, sixteen rows side by side ([`panel`]). Rows
//! are shared between threads; each output is computed by one thread in one order, so results do
//! not depend on the number of threads or on what else is in the batch.

#[cfg(target_arch = "x86_64")]
mod amx;
mod attention;
mod dot;
mod input;
mod isa;
mod linear;
mod low_rank;
#[cfg(target_arch = "aarch64")]
mod neon;
mod panel;
mod quant;
mod simd;
#[cfg(test)]
mod tests;
mod threads;
#[cfg(all(target_arch = "wasm32", target_feature = "simd128"))]
mod wasm;
#[cfg(target_arch = "x86_64")]
mod x86;

use burn::backend::Flex;
use burn::backend::TensorMetadata;
use burn::backend::flex::FlexTensor;
use burn::tensor::{DType, Element, Shape, TensorData};
use half::f16;

use crate::profile::{Track, enter};
use crate::{AttentionSpec, Kernels, Layout, LinearSpec, LowRankSpec, Norm, RopeSpec, reference};
use isa::Isa;
pub(crate) use panel::pack;
pub(crate) use threads::join;

/// What the CPU twin runs on, as in `AVX-512 VNNI, 2 threads`.
pub fn cpu_description() -> String {
    let threads = threads::count();
    format!(
        "{}, {threads} thread{}",
        Isa::best().name(),
        if threads == 1 { "" } else { "s" }
    )
}

/// The elements of a contiguous tensor.
fn slice<E: Element + bytemuck::Pod>(tensor: &FlexTensor) -> &[E] {
    assert!(tensor.is_contiguous(), "kernels take contiguous tensors");
    &tensor.storage::<E>()[tensor.layout().start_offset()..][..tensor.layout().num_elements()]
}

fn slice_mut<E: Element + bytemuck::Pod>(tensor: &mut FlexTensor) -> &mut [E] {
    assert!(tensor.is_contiguous(), "kernels take contiguous tensors");
    let (start, len) = (
        tensor.layout().start_offset(),
        tensor.layout().num_elements(),
    );
    &mut tensor.storage_mut::<E>()[start..][..len]
}

fn tensor(values: Vec<f32>, shape: [usize; 2]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, Shape::new(shape)))
}

/// The first of the best logits, −1 where these are no finite numbers. Lanes side by side become vectors; a search that keeps
/// the place with each logit does not.
fn best(logits: &[f32]) -> i32 {
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

fn columns(tensor: &FlexTensor) -> usize {
    let shape = tensor.shape();
    shape[shape.num_dims() - 1]
}

impl Kernels for Flex {
    fn embed(table: FlexTensor, ids: FlexTensor, layout: Layout, scale: f32) -> FlexTensor {
        let _span = enter(Track::Kernels, || format!("embed {layout}"));
        let ids = slice::<i32>(&ids);
        let rows = linear::embed(table.bytes(), ids, layout, scale);
        tensor(rows, [ids.len(), layout.columns])
    }

    fn linear(
        mut out: FlexTensor,
        x: &FlexTensor,
        w: FlexTensor,
        gains: &FlexTensor,
        bias: &FlexTensor,
        spec: LinearSpec,
    ) -> FlexTensor {
        let _span = enter(Track::Kernels, || format!("linear {}", spec.layout));
        let width = columns(&out);
        let (x, gains, bias) = (slice(x), slice(gains), slice(bias));
        let linear = linear::Linear {
            x,
            w: w.bytes(),
            gains,
            bias,
            spec,
        };
        linear.run(Isa::best(), slice_mut(&mut out), width);
        out
    }

    fn rope(
        mut qkv: FlexTensor,
        mut cache: FlexTensor,
        rows: FlexTensor,
        frequencies: &FlexTensor,
        gains: &FlexTensor,
        spec: RopeSpec,
    ) -> (FlexTensor, FlexTensor) {
        let _span = enter(Track::Kernels, || "rope".into());
        let (rows, frequencies, gains) = (slice(&rows), slice(frequencies), slice(gains));
        let heads = slice_mut(&mut qkv);
        if cache.dtype() == DType::F16 {
            let cache = slice_mut::<f16>(&mut cache);
            attention::rope(heads, cache, rows, frequencies, gains, spec);
        } else {
            let cache = slice_mut::<f32>(&mut cache);
            attention::rope(heads, cache, rows, frequencies, gains, spec);
        }
        (qkv, cache)
    }

    fn attention(
        qkv: &FlexTensor,
        cache: &FlexTensor,
        rows: FlexTensor,
        tables: FlexTensor,
        spec: AttentionSpec,
    ) -> FlexTensor {
        let _span = enter(Track::Kernels, || "attention".into());
        let blocks = columns(&tables);
        let (qkv, rows, tables) = (slice(qkv), slice(&rows), slice(&tables));
        let isa = Isa::best().of_width(spec.head_dim);
        let mixed = if cache.dtype() == DType::F16 {
            let cache = slice::<f16>(cache);
            attention::Attention {
                qkv,
                cache,
                rows,
                tables,
                blocks,
                spec,
            }
            .run(isa)
        } else {
            let cache = slice::<f32>(cache);
            attention::Attention {
                qkv,
                cache,
                rows,
                tables,
                blocks,
                spec,
            }
            .run(isa)
        };
        tensor(mixed, [rows.len() / 3, spec.heads * spec.head_dim])
    }

    fn turning_attention(
        qkv: FlexTensor,
        cache: FlexTensor,
        rows: FlexTensor,
        tables: FlexTensor,
        frequencies: &FlexTensor,
        gains: &FlexTensor,
        rope: RopeSpec,
        spec: AttentionSpec,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let (qkv, cache) = Self::rope(qkv, cache, rows.clone(), frequencies, gains, rope);
        let mixed = Self::attention(&qkv, &cache, rows, tables, spec);
        (qkv, cache, mixed)
    }

    fn add_norm(mut x: FlexTensor, y: &FlexTensor, gains: &FlexTensor, norm: Norm) -> FlexTensor {
        let _span = enter(Track::Kernels, || "add_norm".into());
        let width = columns(&x);
        reference::add_norm(slice_mut(&mut x), slice(y), width, slice(gains), norm);
        x
    }

    fn low_rank(
        mut out: FlexTensor,
        x: &FlexTensor,
        factors: &FlexTensor,
        table: FlexTensor,
        rows: FlexTensor,
        gains: &FlexTensor,
        spec: LowRankSpec,
    ) -> FlexTensor {
        let _span = enter(Track::Kernels, || "low_rank".into());
        let width = columns(&out);
        let low_rank = low_rank::LowRank {
            x: slice(x),
            factors: slice(factors),
            table: slice(&table),
            rows: slice(&rows),
            gains: slice(gains),
            spec,
        };
        low_rank.run(Isa::best(), slice_mut(&mut out), width);
        out
    }

    fn choose(
        mut tokens: FlexTensor,
        logits: &FlexTensor,
        draws: FlexTensor,
        drawn: bool,
    ) -> FlexTensor {
        let _span = enter(Track::Kernels, || "choose".into());
        let (vocab, logits) = (columns(logits), slice::<f32>(logits));
        let chosen = slice_mut::<i32>(&mut tokens);
        match drawn {
            true => reference::choose(chosen, logits, vocab, Some(slice(&draws))),
            false => {
                let rows = chosen.iter_mut().zip(logits.chunks(vocab));
                rows.for_each(|(token, logits)| *token = best(logits));
            }
        }
        tokens
    }
}
