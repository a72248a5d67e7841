//! Sums over a workgroup, the statistics of a norm, and `x + norm(y)`.

use burn::cubecl;
use cubecl::prelude::*;

use super::{CubeTensor, UNITS_1D, columns, spread};
use crate::Norm;

/// Mean to take off and factor to apply.
#[derive(CubeType, Clone, Copy)]
pub struct Moments {
    pub mean: f32,
    pub factor: f32,
}

/// The sum of `partial` over the units of a workgroup, in one order for every unit.
#[cube]
pub fn total(partial: f32, #[comptime] units: usize) -> f32 {
    let mut partials = Shared::<[f32]>::new_slice(units);
    partials[UNIT_POS as usize] = partial;
    sync_cube();
    let mut sum = 0.0f32;
    for i in 0..units {
        sum += partials[i];
    }
    sum
}

/// Statistics of `x[start .. start + columns]`, shared by a workgroup.
#[cube]
pub fn moments(
    x: &[f32],
    start: usize,
    columns: usize,
    eps: f32,
    #[comptime] centred: bool,
    #[comptime] units: usize,
) -> Moments {
    let mut mean = 0.0f32;
    if comptime!(centred) {
        let mut sum = 0.0f32;
        let mut i = UNIT_POS as usize;
        while i < columns {
            sum += x[start + i];
            i += units;
        }
        mean = total(sum, units) / f32::cast_from(columns);
    }
    let mut squares = 0.0f32;
    let mut i = UNIT_POS as usize;
    while i < columns {
        let v = x[start + i] - mean;
        squares += v * v;
        i += units;
    }
    let variance = total(squares, units) / f32::cast_from(columns);
    Moments {
        mean: mean,
        factor: 1.0 / (variance + eps).sqrt(),
    }
}

/// A normalised element: `gains` is `[1 or 2, columns]`.
#[cube]
pub fn normalized(
    value: f32,
    moments: &Moments,
    gains: &[f32],
    column: usize,
    columns: usize,
    #[comptime] centred: bool,
) -> f32 {
    let scaled = (value - moments.mean) * moments.factor * gains[column];
    if comptime!(centred) {
        scaled + gains[columns + column]
    } else {
        scaled
    }
}

/// `x + norm(y)`: a workgroup a row.
#[cube(launch)]
fn add_norm_kernel(
    x: &mut [f32],
    y: &[f32],
    gains: &[f32],
    rows: usize,
    columns: usize,
    eps: f32,
    #[comptime] centred: bool,
    #[comptime] units: usize,
) {
    let row = CUBE_POS;
    if row < rows {
        let start = row * columns;
        let moments = moments(y, start, columns, eps, centred, units);
        let mut i = UNIT_POS as usize;
        while i < columns {
            x[start + i] += normalized(y[start + i], &moments, gains, i, columns, centred);
            i += units;
        }
    }
}

/// Whether the mean is taken off, and the number under the root.
pub fn parts(norm: Norm) -> (bool, f32) {
    match norm {
        Norm::Rms { eps } => (false, eps),
        Norm::Layer { eps } => (true, eps),
    }
}

pub fn add_norm(x: CubeTensor, y: &CubeTensor, gains: &CubeTensor, norm: Norm) -> CubeTensor {
    let (rows, columns) = columns(&x);
    let (centred, eps) = parts(norm);
    add_norm_kernel::launch(
        &x.client,
        spread(rows),
        CubeDim::new_1d(UNITS_1D as u32),
        x.clone().into_buffer_arg(),
        y.clone().into_buffer_arg(),
        gains.clone().into_buffer_arg(),
        rows,
        columns,
        eps,
        centred,
        UNITS_1D,
    );
    x
}
