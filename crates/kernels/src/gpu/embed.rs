//! Rows of a table.

use burn::cubecl;
use cubecl::prelude::*;

use super::unpack::{Packing, SPAN, UNITS, first_column, scales, weights};
use super::{CubeTensor, UNITS_1D, empty, spread};
use crate::Layout;

/// A unit of 8 weights an invocation.
#[cube(launch)]
fn embed_kernel(
    out: &mut [f32],
    table: &[u32],
    ids: &[i32],
    count: usize,
    columns: usize,
    stride: usize,
    scale: f32,
    #[comptime] packing: Packing,
) {
    let units = columns.div_ceil(SPAN) * UNITS;
    let id = ABSOLUTE_POS / units;
    let span = ABSOLUTE_POS % units / UNITS;
    let unit = ABSOLUTE_POS % UNITS;
    if id < count {
        let row = ids[id] as usize * stride;
        let scales = scales(table, row, span, packing);
        let mut values = Array::<f32>::new(8usize);
        weights(
            table,
            row,
            span,
            unit,
            columns,
            &scales,
            &mut values,
            packing,
        );
        let first = first_column(span, unit, packing);
        #[unroll]
        for i in 0..8usize {
            let column = first + comptime!(i % 4 + i / 4 * packing.gap());
            if column < columns {
                out[id * columns + column] = values[i] * scale;
            }
        }
    }
}

pub fn embed(table: CubeTensor, ids: CubeTensor, layout: Layout, scale: f32) -> CubeTensor {
    let count = ids.meta.shape().num_elements();
    let out = empty(&table, [count, layout.columns]);
    let units = count * layout.columns.div_ceil(SPAN) * UNITS;
    embed_kernel::launch(
        &table.client,
        spread(units.div_ceil(UNITS_1D)),
        CubeDim::new_1d(UNITS_1D as u32),
        out.clone().into_buffer_arg(),
        table.clone().into_buffer_arg(),
        ids.into_buffer_arg(),
        count,
        layout.columns,
        Packing::stride(layout),
        scale,
        Packing::of(layout),
    );
    out
}
