//! The low-rank products of rows with adapters: down to the ranks, and up again into the output.
//!
//! What a row's slot has is known to the device alone, so that no barrier depends on it.

use burn::cubecl;
use cubecl::prelude::*;
use tinderbox_cpu::ENTRY;

use super::input::{Prologue, element};
use super::norm::moments;
use super::{CubeTensor, UNITS_1D, columns, empty, rows, spread};
use crate::LowRankSpec;

/// Ranks of a workgroup.
const RANKS: usize = 8;

/// `products[n, rank] = input(x[row n]) · A[rank]`: a workgroup some ranks of a row. Products beyond the
/// slot's own ranks are never read.
#[cube(launch)]
fn down_kernel(
    products: &mut [f32],
    x: &[f32],
    factors: &[f32],
    table: &[i32],
    rows: &[i32],
    gains: &[f32],
    count: usize,
    columns: usize,
    ranks: usize,
    eps: f32,
    #[comptime] prologue: Prologue,
) {
    let groups = ranks.div_ceil(RANKS);
    let (entry, group) = (CUBE_POS / groups, CUBE_POS % groups);
    if entry < count {
        let start = rows[entry * 2] as usize * columns * comptime!(prologue.width());
        let slot = rows[entry * 2 + 1] as usize * ENTRY;
        let a = table[slot] as usize;
        let last = max(table[slot + 1], 1) as usize - 1;
        let first = group * RANKS;

        let mut mean = 0.0f32;
        let mut factor = 1.0f32;
        if comptime!(prologue.is_norm()) {
            let centred = comptime!(prologue == Prologue::Layer);
            let moments = moments(x, start, columns, eps, centred, UNITS_1D);
            mean = moments.mean;
            factor = moments.factor;
        }

        let mut sums = Array::<f32>::new(RANKS);
        #[unroll]
        for r in 0..RANKS {
            sums[r] = 0.0;
        }
        let mut i = UNIT_POS as usize;
        while i < columns {
            let mut value = element(x, start, i, columns, prologue);
            if comptime!(prologue.is_norm()) {
                value = (value - mean) * factor * gains[i];
                if comptime!(prologue == Prologue::Layer) {
                    value += gains[columns + i];
                }
            }
            #[unroll]
            for r in 0..RANKS {
                sums[r] += value * factors[a + min(first + r, last) * columns + i];
            }
            i += UNITS_1D;
        }

        let mut shared = Shared::<[f32]>::new_slice(comptime!(RANKS * UNITS_1D));
        #[unroll]
        for r in 0..RANKS {
            shared[comptime!(r * UNITS_1D) + UNIT_POS as usize] = sums[r];
        }
        sync_cube();
        let r = UNIT_POS as usize;
        if r < RANKS && first + r < ranks {
            let mut sum = 0.0f32;
            for unit in 0..UNITS_1D {
                sum += shared[r * UNITS_1D + unit];
            }
            products[entry * ranks + first + r] = sum;
        }
    }
}

/// `out[row n, column] += products[n, from .. to] · B[column]`: an invocation a column of a row.
#[cube(launch)]
fn up_kernel(
    out: &mut [f32],
    products: &[f32],
    factors: &[f32],
    table: &[i32],
    rows: &[i32],
    count: usize,
    width: usize,
    ranks: usize,
    outputs0: usize,
    outputs1: usize,
    outputs2: usize,
) {
    let (second, third) = (outputs0, outputs0 + outputs1);
    let all = third + outputs2;
    let entry = ABSOLUTE_POS / all;
    let column = ABSOLUTE_POS % all;
    if entry < count {
        let (in_second, in_third) = (column >= second, column >= third);
        let part = select(
            in_third,
            comptime!(2usize),
            select(in_second, comptime!(1usize), comptime!(0usize)),
        );
        let first = select(in_third, third, select(in_second, second, 0));
        let outputs = select(in_third, outputs2, select(in_second, outputs1, outputs0));

        let place = rows[entry * 2 + 1] as usize * ENTRY + 2 + part * 3;
        let from = table[place] as usize;
        let to = table[place + 1] as usize;
        let b = table[place + 2] as usize;
        let mut sum = 0.0f32;
        let mut rank = from;
        while rank < to {
            let weight = factors[b + (rank - from) * outputs + column - first];
            sum += products[entry * ranks + rank] * weight;
            rank += 1;
        }
        if from < to {
            out[rows[entry * 2] as usize * width + column] += sum;
        }
    }
}

pub fn low_rank(
    out: &CubeTensor,
    x: &CubeTensor,
    factors: &CubeTensor,
    table: &CubeTensor,
    adapted: &CubeTensor,
    gains: &CubeTensor,
    spec: LowRankSpec,
) {
    let (prologue, eps) = Prologue::of(spec.input);
    let (count, width) = (rows(adapted), columns(out).1);
    let [outputs0, outputs1, outputs2] = spec.outputs;
    if count == 0 {
        return;
    }
    let products = empty(x, [count, spec.ranks]);
    down_kernel::launch(
        &x.client,
        spread(count * spec.ranks.div_ceil(RANKS)),
        CubeDim::new_1d(UNITS_1D as u32),
        products.clone().into_buffer_arg(),
        x.clone().into_buffer_arg(),
        factors.clone().into_buffer_arg(),
        table.clone().into_buffer_arg(),
        adapted.clone().into_buffer_arg(),
        gains.clone().into_buffer_arg(),
        count,
        spec.columns,
        spec.ranks,
        eps,
        prologue,
    );
    let units = count * (outputs0 + outputs1 + outputs2);
    up_kernel::launch(
        &x.client,
        spread(units.div_ceil(UNITS_1D)),
        CubeDim::new_1d(UNITS_1D as u32),
        out.clone().into_buffer_arg(),
        products.into_buffer_arg(),
        factors.clone().into_buffer_arg(),
        table.clone().into_buffer_arg(),
        adapted.clone().into_buffer_arg(),
        count,
        width,
        spec.ranks,
        outputs0,
        outputs1,
        outputs2,
    );
}
