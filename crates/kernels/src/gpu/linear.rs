//! Which kernel makes a product.

use burn::cubecl;
use cubecl::features::Plane;

use super::CubeTensor;
use super::input::{Prologue, prepare};
use super::linear_gemv::{self, Gemv, Operands};
use super::unpack::Packing;
use super::{linear_gemm, rows};
use crate::LinearSpec;

/// Ways to make a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// A lane a row of weights, input prepared beforehand: software GPUs.
    Single,
    /// 32 lanes a row of weights, added up in workgroup memory.
    Shared,
    /// A plane of this many lanes a row of weights.
    Plane(usize),
    /// Tiles in workgroup memory.
    Tiles,
}

/// Rows of `x` up to which each weight is read once for all.
const FEW: usize = 8;
/// Workgroups that keep a GPU busy: fewer rows of weights a lane, where there would be less.
const BUSY: usize = 256;

impl Way {
    fn of(x: &CubeTensor) -> Way {
        let properties = x.client.properties();
        let planes = properties.hardware.plane_size_min..=properties.hardware.plane_size_max;
        if properties.identity.physical.is_none() {
            Way::Single
        } else if rows(x) > FEW {
            Way::Tiles
        } else if properties.features.plane.contains(Plane::Ops) && planes.start() == planes.end() {
            Way::Plane(*planes.start() as usize)
        } else {
            Way::Shared
        }
    }
}

pub fn linear(operands: &Operands, spec: LinearSpec) {
    run(operands, spec, Way::of(operands.x));
}

/// [`linear`] the way asked for.
pub fn run(operands: &Operands, spec: LinearSpec, way: Way) {
    let (prologue, eps) = Prologue::of(spec.input);
    let apart = matches!(way, Way::Single | Way::Tiles) || prologue == Prologue::Layer;
    let x = if apart {
        prepare(operands.x, operands.gains, spec.layout.columns, spec.input)
    } else {
        operands.x.clone()
    };
    let operands = Operands { x: &x, ..*operands };
    if way == Way::Tiles {
        return linear_gemm::launch(&operands, spec);
    }
    let inputs = rows(operands.out).next_power_of_two().min(FEW);
    let (lanes, groups) = match way {
        Way::Plane(size) => (size, 128usize.div_ceil(size)),
        Way::Shared => (32, 2),
        _ => (1, 32),
    };
    let outputs = match way {
        Way::Single => 1,
        _ if spec.layout.rows / groups < 4 * BUSY => 1,
        _ => (FEW / inputs).clamp(1, 4),
    };
    let plan = Gemv {
        packing: Packing::of(spec.layout),
        prologue: if apart { Prologue::Plain } else { prologue },
        lanes,
        groups,
        grain: if lanes == 1 { 4 } else { 1 },
        outputs,
        inputs,
        plane: matches!(way, Way::Plane(_)),
        accumulate: spec.accumulate,
        bias: spec.bias,
    };
    linear_gemv::launch(&operands, spec, plan, eps);
}
