//! What happens to a row before it meets the matrix, as its own pass.

use burn::cubecl;
use cubecl::prelude::*;

use super::norm::{moments, normalized, parts};
use super::{CubeTensor, UNITS_1D, empty, rows, spread};
use crate::{Activation, Input};

/// [`Input`] as a kernel is compiled for it; `eps` travels apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Prologue {
    Plain,
    Rms,
    Layer,
    Act { gelu: bool },
    Gated { gelu: bool },
}

impl Prologue {
    /// The prologue of an input, and its eps.
    pub fn of(input: Input) -> (Self, f32) {
        match input {
            Input::Plain => (Prologue::Plain, 0.0),
            Input::Norm(norm) => {
                let (centred, eps) = parts(norm);
                (
                    if centred {
                        Prologue::Layer
                    } else {
                        Prologue::Rms
                    },
                    eps,
                )
            }
            Input::Act(act) => (
                Prologue::Act {
                    gelu: act == Activation::Gelu,
                },
                0.0,
            ),
            Input::Gated(act) => (
                Prologue::Gated {
                    gelu: act == Activation::Gelu,
                },
                0.0,
            ),
        }
    }

    /// Columns of `x` for one of the matrix.
    pub fn width(self) -> usize {
        if matches!(self, Prologue::Gated { .. }) {
            2
        } else {
            1
        }
    }

    pub fn is_norm(self) -> bool {
        matches!(self, Prologue::Rms | Prologue::Layer)
    }

    /// The non-linearity, where there is one.
    pub fn gelu(self) -> Option<bool> {
        match self {
            Prologue::Act { gelu } | Prologue::Gated { gelu } => Some(gelu),
            _ => None,
        }
    }
}

/// `tanh`, without the overflow that some drivers' own has.
#[cube]
pub fn safe_tanh(x: f32) -> f32 {
    let bounded = clamp(x, -15.0f32, 15.0f32);
    1.0 - 2.0 / ((bounded * 2.0).exp() + 1.0)
}

/// `act(x)`: Gaussian or sigmoid linear unit.
#[cube]
pub fn activate(x: f32, #[comptime] gelu: bool) -> f32 {
    if comptime!(gelu) {
        0.5 * x * (1.0 + safe_tanh(0.797_884_6 * (x + 0.044_715 * x * x * x)))
    } else {
        x / (1.0 + min(-x, 80.0f32).exp())
    }
}

/// One element of the prepared row, but for a norm's factor. `start` is the row's first element.
#[cube]
pub fn element(
    x: &[f32],
    start: usize,
    column: usize,
    columns: usize,
    #[comptime] prologue: Prologue,
) -> f32 {
    let value = x[start + column];
    if comptime!(prologue.gelu().is_some()) {
        let act = activate(value, comptime!(prologue.gelu() == Some(true)));
        if comptime!(prologue.width() == 2) {
            act * x[start + columns + column]
        } else {
            act
        }
    } else {
        value
    }
}

/// `out[r] = input(x[r])`: a workgroup a row.
#[cube(launch)]
fn prepare_kernel(
    out: &mut [f32],
    x: &[f32],
    gains: &[f32],
    rows: usize,
    columns: usize,
    eps: f32,
    #[comptime] prologue: Prologue,
    #[comptime] units: usize,
) {
    let row = CUBE_POS;
    if row < rows {
        let start = row * columns * comptime!(prologue.width());
        let mut i = UNIT_POS as usize;
        if comptime!(prologue.is_norm()) {
            let centred = comptime!(prologue == Prologue::Layer);
            let moments = moments(x, start, columns, eps, centred, units);
            while i < columns {
                let value = x[start + i];
                out[row * columns + i] = normalized(value, &moments, gains, i, columns, centred);
                i += units;
            }
        } else {
            while i < columns {
                out[row * columns + i] = element(x, start, i, columns, prologue);
                i += units;
            }
        }
    }
}

/// The prepared rows, `[r, columns]`.
pub fn prepare(x: &CubeTensor, gains: &CubeTensor, columns: usize, input: Input) -> CubeTensor {
    let (prologue, eps) = Prologue::of(input);
    if prologue == Prologue::Plain {
        return x.clone();
    }
    let rows = rows(x);
    let out = empty(x, [rows, columns]);
    prepare_kernel::launch(
        &x.client,
        spread(rows),
        CubeDim::new_1d(UNITS_1D as u32),
        out.clone().into_buffer_arg(),
        x.clone().into_buffer_arg(),
        gains.clone().into_buffer_arg(),
        rows,
        columns,
        eps,
        prologue,
        UNITS_1D,
    );
    out
}
