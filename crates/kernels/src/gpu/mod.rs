//! The GPU twin: CubeCL kernels on burn's own tensors.
//!
//! No kernel binds more than [`MAX_BINDINGS`] buffers (WebGPU grants 8 and CubeCL keeps one), 256
//! invocations or 16 KiB of workgroup memory, and none needs `shader-f16` unless the cache is
//! `f16`. Addresses that come from the caller's data (ids, slots, tables) are clamped or bounds
//! checked on the device.

// A kernel's parameters are its bindings and scalars, and its loops are the device's.
#![allow(clippy::too_many_arguments, clippy::needless_range_loop)]
// The `#[cube]` macro makes a name with an underscore of each argument, and takes no short fields.
#![allow(clippy::duplicate_underscore_argument, clippy::redundant_field_names)]

mod attention;
mod choice;
mod embed;
mod input;
mod linear;
mod linear_cooperative;
mod linear_gemm;
mod linear_gemv;
mod low_rank;
mod norm;
mod rope;
#[cfg(test)]
mod tests;
mod token;
mod unpack;

use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Cube, TensorMetadata};
use burn::cubecl;
use burn::tensor::{DType, Shape};
use cubecl::prelude::CubeCount;

pub(crate) use attention::shared_from;
pub(crate) use choice::{Class, Fault, draws, take_out};

use crate::profile::launch;
use crate::{AttentionSpec, Kernels, Layout, LinearSpec, LowRankSpec, Norm, RopeSpec};

type CubeTensor = FloatTensor<Cube>;

/// Buffers a kernel may bind.
#[cfg(test)]
const MAX_BINDINGS: usize = 7;
/// Workgroups a dimension of the grid may have.
const GRID_MAX: usize = 65_535;
/// Invocations of a workgroup, where one row or a flat range is a workgroup's work.
const UNITS_1D: usize = 64;

/// A grid of at least `cubes` workgroups; kernels skip those beyond.
fn spread(cubes: usize) -> CubeCount {
    let y = cubes.div_ceil(GRID_MAX).max(1);
    CubeCount::Static(cubes.div_ceil(y) as u32, y as u32, 1)
}

/// Rows and columns of a matrix.
fn columns(tensor: &CubeTensor) -> (usize, usize) {
    let shape = tensor.shape();
    (shape[0], shape[1])
}

fn rows(tensor: &CubeTensor) -> usize {
    tensor.shape()[0]
}

/// An uninitialised `f32` matrix beside `like`.
fn empty(like: &CubeTensor, shape: [usize; 2]) -> CubeTensor {
    let shape = Shape::new(shape);
    let handle = like.client.empty(shape.num_elements() * size_of::<f32>());
    CubeTensor::new_contiguous(
        like.client.clone(),
        like.device.clone(),
        shape,
        handle,
        DType::F32,
    )
}

/// Kernels address plain row-major buffers.
fn check(tensors: &[&CubeTensor]) {
    for tensor in tensors {
        assert!(
            tensor.is_contiguous(),
            "kernels take contiguous tensors, found {tensor:?}"
        );
    }
}

impl Kernels for Cube {
    fn embed(
        table: IntTensor<Self>,
        ids: IntTensor<Self>,
        layout: Layout,
        scale: f32,
    ) -> FloatTensor<Self> {
        check(&[&table, &ids]);
        let client = table.client.clone();
        let name = || format!("embed {layout}");
        launch(&client, name, || embed::embed(table, ids, layout, scale))
    }

    fn linear(
        out: FloatTensor<Self>,
        x: &FloatTensor<Self>,
        w: IntTensor<Self>,
        gains: &FloatTensor<Self>,
        bias: &FloatTensor<Self>,
        spec: LinearSpec,
    ) -> FloatTensor<Self> {
        check(&[&out, x, &w, gains, bias]);
        let operands = linear_gemv::Operands {
            out: &out,
            x,
            w: &w,
            gains,
            bias,
        };
        let name = || format!("linear {}", spec.layout);
        launch(&out.client, name, || linear::linear(&operands, spec));
        out
    }

    fn rope(
        qkv: FloatTensor<Self>,
        cache: FloatTensor<Self>,
        rows: IntTensor<Self>,
        frequencies: &FloatTensor<Self>,
        gains: &FloatTensor<Self>,
        spec: RopeSpec,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        check(&[&qkv, &cache, &rows, frequencies, gains]);
        let client = qkv.client.clone();
        launch(
            &client,
            || "rope".into(),
            || rope::rope(qkv, cache, rows, frequencies, gains, spec),
        )
    }

    fn attention(
        qkv: &FloatTensor<Self>,
        cache: &FloatTensor<Self>,
        rows: IntTensor<Self>,
        tables: IntTensor<Self>,
        spec: AttentionSpec,
    ) -> FloatTensor<Self> {
        check(&[qkv, cache, &rows, &tables]);
        launch(
            &qkv.client,
            || "attention".into(),
            || attention::attention(qkv, cache, rows, tables, spec),
        )
    }

    fn turning_attention(
        qkv: FloatTensor<Self>,
        cache: FloatTensor<Self>,
        rows: IntTensor<Self>,
        tables: IntTensor<Self>,
        frequencies: &FloatTensor<Self>,
        gains: &FloatTensor<Self>,
        rope: RopeSpec,
        spec: AttentionSpec,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        if !spec.alone || Fault::Turning.is_known(&qkv.device) {
            let (qkv, cache) = Self::rope(qkv, cache, rows.clone(), frequencies, gains, rope);
            let mixed = Self::attention(&qkv, &cache, rows, tables, spec);
            return (qkv, cache, mixed);
        }
        check(&[&qkv, &cache, &rows, &tables, frequencies, gains]);
        let turns = attention::Turns {
            frequencies,
            gains,
            spec: rope,
        };
        let mixed = launch(
            &qkv.client,
            || "rope, attention".into(),
            || attention::turning_attention(&qkv, &cache, rows, tables, turns, spec),
        );
        (qkv, cache, mixed)
    }

    fn add_norm(
        x: FloatTensor<Self>,
        y: &FloatTensor<Self>,
        gains: &FloatTensor<Self>,
        norm: Norm,
    ) -> FloatTensor<Self> {
        check(&[&x, y, gains]);
        let client = x.client.clone();
        launch(
            &client,
            || "add_norm".into(),
            || norm::add_norm(x, y, gains, norm),
        )
    }

    fn low_rank(
        out: FloatTensor<Self>,
        x: &FloatTensor<Self>,
        factors: &FloatTensor<Self>,
        table: IntTensor<Self>,
        rows: IntTensor<Self>,
        gains: &FloatTensor<Self>,
        spec: LowRankSpec,
    ) -> FloatTensor<Self> {
        check(&[&out, x, factors, &table, &rows, gains]);
        launch(
            &out.client,
            || "low_rank".into(),
            || low_rank::low_rank(&out, x, factors, &table, &rows, gains, spec),
        );
        out
    }

    fn choose(
        tokens: IntTensor<Self>,
        logits: &FloatTensor<Self>,
        draws: IntTensor<Self>,
        drawn: bool,
    ) -> IntTensor<Self> {
        check(&[&tokens, logits, &draws]);
        launch(
            &logits.client,
            || "choose".into(),
            || token::choose(&tokens, logits, drawn.then_some(&draws)),
        );
        tokens
    }
}
