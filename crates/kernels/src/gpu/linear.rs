//! A product, made the way that is chosen for it.

use super::choice::{FEW, Way};
use super::input::{Prologue, prepare};
use super::linear_gemv::{self, Gemv, Operands};
use super::unpack::Packing;
use super::{linear_cooperative, linear_gemm, rows};
use crate::LinearSpec;

/// Workgroups that keep a GPU busy: fewer rows of weights a lane, where there would be less.
const BUSY: usize = 256;

pub fn linear(operands: &Operands, spec: LinearSpec) {
    let x = operands.x;
    let way = Way::of(&x.device, x.client.properties(), rows(x));
    run(operands, spec, way);
}

/// [`linear`] the way asked for.
pub fn run(operands: &Operands, spec: LinearSpec, way: Way) {
    #[cfg(test)]
    if super::tests::is_broken(way) {
        return;
    }
    let (prologue, eps) = Prologue::of(spec.input);
    let fused = matches!(way, Way::Shared | Way::Plane(_)) && prologue != Prologue::Layer;
    let x = if fused {
        operands.x.clone()
    } else {
        prepare(operands.x, operands.gains, spec.layout.columns, spec.input)
    };
    let operands = Operands { x: &x, ..*operands };
    match way {
        Way::Tiles => return linear_gemm::launch(&operands, spec),
        Way::Cooperative(fragment) => {
            return linear_cooperative::launch(&operands, spec, fragment);
        }
        _ => {}
    }
    let inputs = rows(operands.out).next_power_of_two();
    let (lanes, groups, inputs) = match way {
        Way::Plane(size) => (size, 128usize.div_ceil(size), inputs.min(FEW)),
        Way::Shared => (32, 2, inputs.min(FEW)),
        // A software GPU: its vectors are short, and compiling is slow for many sums.
        _ => (1, 8, inputs.min(4)),
    };
    let outputs = match way {
        // Loads of the input are most of the work, and each serves all of these.
        Way::Single => 8,
        _ if spec.layout.rows / groups < 4 * BUSY => 1,
        _ => (FEW / inputs).clamp(1, 4),
    };
    let plan = Gemv {
        packing: Packing::of(spec.layout),
        prologue: if fused { prologue } else { Prologue::Plain },
        lanes,
        groups,
        grain: if lanes == 1 { 4 } else { 1 },
        outputs,
        inputs,
        plane: matches!(way, Way::Plane(_)),
    };
    linear_gemv::launch(&operands, spec, plan, eps);
}
