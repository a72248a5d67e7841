//! The product for few rows: each row of weights is read once, by one or more lanes.
//!
//! `lanes` units share a row of weights and add up at the end: through the plane where the device
//! has plane operations of a fixed size, else through workgroup memory. With one lane a row there
//! is nothing to add up; a software GPU, for which only the loads that differ between lanes cost,
//! is fastest so.

use burn::cubecl;
use cubecl::prelude::*;

use super::input::{Prologue, element};
use super::unpack::{Packing, SPAN, Scales, UNITS, first_column, scales, weights};
use super::{CubeTensor, GRID_MAX, columns, rows};
use crate::{Layout, LinearSpec};

/// How the kernel is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gemv {
    pub packing: Packing,
    /// Applied while `x` is read. No layer norm: it does not factor out of the sum.
    pub prologue: Prologue,
    /// Units that share a row of weights.
    pub lanes: usize,
    /// Rows of lanes in a workgroup.
    pub groups: usize,
    /// Units of 8 weights a lane takes from a span at once: 1, 2 or 4.
    pub grain: usize,
    /// Rows of weights a lane works on at once.
    pub outputs: usize,
    /// Rows of `x` a lane works on at once.
    pub inputs: usize,
    /// Add up through the plane: `lanes` is its size.
    pub plane: bool,
}

impl Gemv {
    fn units(self) -> usize {
        self.lanes * self.groups
    }

    fn sums(self) -> usize {
        self.outputs * self.inputs
    }

    /// Sums of a lane, those of squares included.
    fn partials(self) -> usize {
        self.sums()
            + if self.prologue == Prologue::Rms {
                self.inputs
            } else {
                0
            }
    }
}

/// Sizes of one call.
#[derive(CubeType, CubeLaunch, Clone, Copy)]
pub struct Sizes {
    /// Rows of `x` and of `out`.
    pub inputs: usize,
    /// Rows of the matrix.
    pub outputs: usize,
    /// Columns of the matrix.
    pub columns: usize,
    /// [`Packing::stride`].
    pub stride: usize,
    /// Columns of `out`.
    pub width: usize,
    /// First column of `out` that is written.
    pub first: usize,
    /// From an output's bias to the next one's: 0 where a single zero is all there is.
    pub bias: usize,
    /// 1 where `out` is added to. Both are no part of the kernel, so that fewer are compiled.
    pub accumulate: usize,
}

/// Writes or adds one element of the product.
#[cube]
pub fn store(
    out: &mut [f32],
    bias: &[f32],
    value: f32,
    input: usize,
    output: usize,
    sizes: &Sizes,
) {
    if input < sizes.inputs && output < sizes.outputs {
        let at = input * sizes.width + sizes.first + output;
        let before = select(sizes.accumulate == 1, out[at], 0.0);
        out[at] = value + bias[output * sizes.bias] + before;
    }
}

/// Workgroup `(x, y)` takes `groups · outputs` rows of weights, `z` takes `inputs` rows of `x`.
#[cube(launch_unchecked)]
fn gemv_kernel(
    out: &mut [f32],
    x: &[f32],
    w: &[u32],
    gains: &[f32],
    bias: &[f32],
    sizes: Sizes,
    eps: f32,
    #[comptime] plan: Gemv,
) {
    let packing = comptime!(plan.packing);
    let lane = UNIT_POS as usize % comptime!(plan.lanes);
    let group = UNIT_POS as usize / comptime!(plan.lanes);
    let cube = (CUBE_POS_Y * CUBE_COUNT_X + CUBE_POS_X) as usize;
    let output = (cube * comptime!(plan.groups) + group) * comptime!(plan.outputs);
    let input = CUBE_POS_Z as usize * comptime!(plan.inputs);

    // Partial sums, [outputs, inputs], then each input's sum of squares for the norm.
    let mut sums = Array::<f32>::new(comptime!(plan.partials()));
    let mut values = Array::<f32>::new(8usize);
    let mut xs = Array::<f32>::new(comptime!(plan.inputs * 8));
    #[unroll]
    for i in 0..comptime!(plan.partials()) {
        sums[i] = 0.0;
    }

    let per_span = comptime!(UNITS / plan.grain);
    let steps = sizes.columns.div_ceil(SPAN) * per_span;
    let mut step = lane;
    while step < steps {
        let span = step / per_span;
        // Rows beyond the last read the last and are not stored.
        let mut heads = Sequence::<Scales>::new();
        #[unroll]
        for o in 0..comptime!(plan.outputs) {
            let row = min(output + o, sizes.outputs - 1) * sizes.stride;
            heads.push(scales(w, row, span, packing));
        }
        // Not unrolled: what CubeCL compiles takes time by the square of its length.
        for g in 0..comptime!(plan.grain) {
            let unit = step % per_span * comptime!(plan.grain) + g;
            let first = first_column(span, unit, packing);
            #[unroll]
            for m in 0..comptime!(plan.inputs) {
                let row = min(input + m, sizes.inputs - 1);
                let start = row * sizes.columns * comptime!(plan.prologue.width());
                #[unroll]
                for i in 0..8usize {
                    let mut column = first + comptime!(i % 4 + i / 4 * packing.gap());
                    let mut inside = true.runtime();
                    if comptime!(!packing.whole) {
                        inside = column < sizes.columns;
                        column = select(inside, column, 0);
                    }
                    let mut value =
                        element(x, start, column, sizes.columns, comptime!(plan.prologue));
                    if comptime!(plan.prologue == Prologue::Rms) {
                        let square = select(inside, value * value, 0.0);
                        sums[comptime!(plan.sums() + m)] += square;
                        value *= gains[column];
                    }
                    xs[comptime!(m * 8 + i)] = value;
                }
            }
            #[unroll]
            for o in 0..comptime!(plan.outputs) {
                let row = min(output + o, sizes.outputs - 1) * sizes.stride;
                weights(
                    w,
                    row,
                    span,
                    unit,
                    sizes.columns,
                    heads.index(o),
                    &mut values,
                    packing,
                );
                #[unroll]
                for m in 0..comptime!(plan.inputs) {
                    let mut sum = 0.0f32;
                    #[unroll]
                    for i in 0..8usize {
                        sum += values[i] * xs[comptime!(m * 8 + i)];
                    }
                    sums[comptime!(o * plan.inputs + m)] += sum;
                }
            }
        }
        step += comptime!(plan.lanes);
    }

    if comptime!(plan.plane) {
        #[unroll]
        for i in 0..comptime!(plan.partials()) {
            sums[i] = plane_sum(sums[i]);
        }
    } else if comptime!(plan.lanes > 1) {
        // [partials, units]: after the barrier every lane adds up its group's in one order.
        let mut shared = Shared::<[f32]>::new_slice(comptime!(plan.partials() * plan.units()));
        #[unroll]
        for i in 0..comptime!(plan.partials()) {
            shared[comptime!(i * plan.units()) + UNIT_POS as usize] = sums[i];
        }
        sync_cube();
        #[unroll]
        for i in 0..comptime!(plan.partials()) {
            let mut sum = 0.0f32;
            for l in 0..comptime!(plan.lanes) {
                sum += shared[comptime!(i * plan.units()) + group * comptime!(plan.lanes) + l];
            }
            sums[i] = sum;
        }
    }

    if lane == 0 {
        #[unroll]
        for m in 0..comptime!(plan.inputs) {
            let mut factor = 1.0f32;
            if comptime!(plan.prologue == Prologue::Rms) {
                let mean = sums[comptime!(plan.sums() + m)] / f32::cast_from(sizes.columns);
                factor = 1.0 / (mean + eps).sqrt();
            }
            #[unroll]
            for o in 0..comptime!(plan.outputs) {
                let value = sums[comptime!(o * plan.inputs + m)] * factor;
                store(out, bias, value, input + m, output + o, &sizes);
            }
        }
    }
}

/// The five tensors of a product.
pub struct Operands<'a> {
    pub out: &'a CubeTensor,
    pub x: &'a CubeTensor,
    pub w: &'a CubeTensor,
    pub gains: &'a CubeTensor,
    pub bias: &'a CubeTensor,
}

impl Operands<'_> {
    /// Every buffer holds what the kernels address.
    ///
    /// # Panics
    /// Where one is too small.
    pub fn check(&self, spec: LinearSpec, prologue: Prologue) {
        let len = |tensor: &CubeTensor| tensor.meta.shape().num_elements();
        let (inputs, width) = columns(self.out);
        let Layout {
            format,
            rows,
            columns,
        } = spec.layout;
        let words = rows * Packing::stride(spec.layout);
        let words = if format.block() == 1 {
            (words * format.block_bytes()).div_ceil(4)
        } else {
            words
        };
        let fits = spec.first + rows <= width
            && rows > 0
            && len(self.x) >= inputs * columns * prologue.width()
            && len(self.w) >= words
            && (!prologue.is_norm() || len(self.gains) >= columns)
            && len(self.bias) >= if spec.bias { rows } else { 1 };
        assert!(
            fits,
            "linear: {:?}, {:?}, {:?} for {spec:?}",
            self.out, self.x, self.w
        );
    }

    /// A grid whose workgroups `(x, y)` take so many rows of weights, and `z` so many of `x`.
    pub fn grid(&self, spec: LinearSpec, outputs: usize, inputs: usize) -> CubeCount {
        let cubes = spec.layout.rows.div_ceil(outputs);
        let y = cubes.div_ceil(GRID_MAX);
        let z = rows(self.out).div_ceil(inputs);
        CubeCount::Static(cubes.div_ceil(y) as u32, y as u32, z as u32)
    }

    pub fn sizes(&self, spec: LinearSpec) -> SizesLaunch {
        let (inputs, width) = (rows(self.out), columns(self.out).1);
        let stride = Packing::stride(spec.layout);
        SizesLaunch::new(
            inputs,
            spec.layout.rows,
            spec.layout.columns,
            stride,
            width,
            spec.first,
            spec.bias.into(),
            spec.accumulate.into(),
        )
    }
}

pub fn launch(operands: &Operands, spec: LinearSpec, plan: Gemv, eps: f32) {
    operands.check(spec, plan.prologue);
    // SAFETY: rows of `x` and of weights are clamped to the last, columns are inside a row, and
    // `store` skips what is outside `out`; `check` found every buffer large enough for its shape.
    unsafe {
        gemv_kernel::launch_unchecked(
            &operands.x.client,
            operands.grid(spec, plan.groups * plan.outputs, plan.inputs),
            CubeDim::new_1d(plan.units() as u32),
            operands.out.clone().into_buffer_arg(),
            operands.x.clone().into_buffer_arg(),
            operands.w.clone().into_buffer_arg(),
            operands.gains.clone().into_buffer_arg(),
            operands.bias.clone().into_buffer_arg(),
            operands.sizes(spec),
            eps,
            plan,
        )
    };
}
