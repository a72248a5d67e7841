//! The CPU twin: the operations of `tinderbox-cpu` on burn's Flex tensors.

use burn::backend::Flex;
use burn::backend::TensorMetadata;
use burn::backend::flex::FlexTensor;
use burn::tensor::{DType, Element, Shape, TensorData};
use half::f16;
use tinderbox_cpu::{Attention, Linear, LowRank};

use crate::profile::{Track, enter};
use crate::{AttentionSpec, Kernels, Layout, LinearSpec, LowRankSpec, Norm, RopeSpec, reference};

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

fn columns(tensor: &FlexTensor) -> usize {
    let shape = tensor.shape();
    shape[shape.num_dims() - 1]
}

impl Kernels for Flex {
    fn embed(table: FlexTensor, ids: FlexTensor, layout: Layout, scale: f32) -> FlexTensor {
        let _span = enter(Track::Kernels, || format!("embed {layout}"));
        let ids = slice::<i32>(&ids);
        let rows = tinderbox_cpu::embed(table.bytes(), ids, layout, scale);
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
        let linear = Linear {
            x,
            w: w.bytes(),
            gains,
            bias,
            spec,
        };
        linear.run(slice_mut(&mut out), width);
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
            tinderbox_cpu::rope(heads, cache, rows, frequencies, gains, spec);
        } else {
            let cache = slice_mut::<f32>(&mut cache);
            tinderbox_cpu::rope(heads, cache, rows, frequencies, gains, spec);
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
        let mixed = if cache.dtype() == DType::F16 {
            let cache = slice::<f16>(cache);
            Attention {
                qkv,
                cache,
                rows,
                tables,
                blocks,
                spec,
            }
            .run()
        } else {
            let cache = slice::<f32>(cache);
            Attention {
                qkv,
                cache,
                rows,
                tables,
                blocks,
                spec,
            }
            .run()
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
        let low_rank = LowRank {
            x: slice(x),
            factors: slice(factors),
            table: slice(&table),
            rows: slice(&rows),
            gains: slice(gains),
            spec,
        };
        low_rank.run(slice_mut(&mut out), width);
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
                rows.for_each(|(token, logits)| *token = tinderbox_cpu::best(logits));
            }
        }
        tokens
    }
}
