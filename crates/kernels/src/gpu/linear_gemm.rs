//! The product for many rows: tiles of 64 × 64 in workgroup memory, weights unpacked on the way in.

use burn::cubecl;
use cubecl::prelude::*;

use super::linear_gemv::{Operands, Sizes, store};
use super::unpack::{Packing, SPAN, UNITS, first_column, scales, weights};
use crate::LinearSpec;

/// Rows of `x` and rows of weights in a tile; with [`SPAN`] columns two tiles fill 16 KiB.
const TILE: usize = 64;
/// Each of the 16 × 16 invocations computes `BLOCK` × `BLOCK` outputs.
const BLOCK: usize = 4;
const SIDE: usize = TILE / BLOCK;

/// Workgroup `(x, y)` takes a tile of weight rows, `z` a tile of rows of `x`.
#[cube(launch)]
fn gemm_kernel(
    out: &mut [f32],
    x: &[f32],
    w: &[u32],
    bias: &[f32],
    sizes: Sizes,
    #[comptime] packing: Packing,
) {
    let unit_pos = UNIT_POS as usize;
    let cube = (CUBE_POS_Y * CUBE_COUNT_X + CUBE_POS_X) as usize;
    let (output0, input0) = (cube * TILE, CUBE_POS_Z as usize * TILE);

    // [columns of the span, rows]; column 8 · unit + i is weight i of the unit.
    let mut x_tile = Shared::<[f32]>::new_slice(comptime!(SPAN * TILE));
    let mut w_tile = Shared::<[f32]>::new_slice(comptime!(SPAN * TILE));
    let mut values = Array::<f32>::new(8usize);
    let mut sums = Array::<f32>::new(comptime!(BLOCK * BLOCK));
    #[unroll]
    for i in 0..comptime!(BLOCK * BLOCK) {
        sums[i] = 0.0;
    }

    // Each invocation loads one unit of one row of either tile.
    let (load_row, unit) = (unit_pos / UNITS, unit_pos % UNITS);
    let x_row = min(input0 + load_row, sizes.inputs - 1) * sizes.columns;
    let w_row = min(output0 + load_row, sizes.outputs - 1) * sizes.stride;
    let (down, across) = (unit_pos / SIDE * BLOCK, unit_pos % SIDE * BLOCK);

    for span in 0..sizes.columns.div_ceil(SPAN) {
        let head = scales(w, w_row, span, packing);
        weights(
            w,
            w_row,
            span,
            unit,
            sizes.columns,
            &head,
            &mut values,
            packing,
        );
        let first = first_column(span, unit, packing);
        #[unroll]
        for i in 0..8usize {
            let at = (unit * 8 + i) * TILE + load_row;
            let mut column = first + comptime!(i % 4 + i / 4 * packing.gap());
            if comptime!(!packing.whole) {
                // The weight beside it is 0.
                column = min(column, sizes.columns - 1);
            }
            x_tile[at] = x[x_row + column];
            w_tile[at] = values[i];
        }
        sync_cube();
        for k in 0..SPAN {
            #[unroll]
            for i in 0..BLOCK {
                let a = x_tile[k * TILE + down + i];
                #[unroll]
                for j in 0..BLOCK {
                    sums[comptime!(i * BLOCK + j)] += a * w_tile[k * TILE + across + j];
                }
            }
        }
        sync_cube();
    }

    #[unroll]
    for i in 0..BLOCK {
        #[unroll]
        for j in 0..BLOCK {
            let value = sums[comptime!(i * BLOCK + j)];
            let (input, output) = (input0 + down + i, output0 + across + j);
            store(out, bias, value, input, output, &sizes);
        }
    }
}

/// `operands.x` is prepared: the input's transformation is its own pass.
pub fn launch(operands: &Operands, spec: LinearSpec) {
    gemm_kernel::launch(
        &operands.x.client,
        operands.grid(spec, TILE, TILE),
        CubeDim::new_1d((SIDE * SIDE) as u32),
        operands.out.clone().into_buffer_arg(),
        operands.x.clone().into_buffer_arg(),
        operands.w.clone().into_buffer_arg(),
        operands.bias.clone().into_buffer_arg(),
        operands.sizes(spec),
        Packing::of(spec.layout),
    );
}
