//! The product for many rows on cooperative matrices (`VK_KHR_cooperative_matrix`): both tiles as halves in workgroup
//! memory, sums in single precision. A half has 11 bits of precision, three more than a weight of 8 bits; an input
//! beyond its range counts as the largest.

use std::fmt;

use burn::cubecl;
use cubecl::cmma;
use cubecl::ir::{ElemType, FloatKind};
use cubecl::prelude::*;
use half::f16;

use super::linear_gemv::{Operands, Sizes, store};
use super::unpack::{Packing, SPAN, UNITS, first_column, scales, weights};
use crate::LinearSpec;

/// Rows of `x` and rows of weights in a tile.
const TILE: usize = 64;
/// A plane's share of the tile: 2 × 2 planes.
const SHARE: usize = TILE / 2;
const PLANES: usize = 4;
/// Vectors of four halves a row of a tile is apart: a span, and what spreads rows over the banks.
const PITCH: usize = SPAN / 4 + 2;
/// The largest half.
const LARGEST: f32 = 65_504.0;

type Halves = Vector<f16, Const<4>>;

/// A product of matrices that a plane makes at once: `m × k` by `k × n`, of halves, added to singles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fragment {
    m: usize,
    n: usize,
    k: usize,
    /// Units of a plane.
    lanes: usize,
}

impl fmt::Display for Fragment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} × {} × {}", self.m, self.n, self.k)
    }
}

impl Fragment {
    /// The largest that the device has and tiles are made of; `None` where planes have no size of their own.
    pub fn of(properties: &DeviceProperties) -> Option<Fragment> {
        let hardware = &properties.hardware;
        let half = ElemType::Float(FloatKind::F16);
        let single = ElemType::Float(FloatKind::F32);
        let made = properties.features.matmul.cmma.iter();
        made.filter(|made| made.a_type == half && made.b_type == half && made.cd_type == single)
            .map(|made| Fragment {
                m: made.m as usize,
                n: made.n as usize,
                k: made.k as usize,
                lanes: hardware.plane_size_min as usize,
            })
            .filter(|_| hardware.plane_size_min == hardware.plane_size_max)
            .filter(|f| SHARE.is_multiple_of(f.m) && SHARE.is_multiple_of(f.n))
            .filter(|f| SPAN.is_multiple_of(f.k) && f.k.is_multiple_of(4))
            .filter(|f| f.lanes * PLANES <= hardware.max_units_per_cube as usize)
            .filter(|f| (f.m * f.n).is_multiple_of(f.lanes))
            .max_by_key(|f| (f.m * f.n * f.k, *f))
    }
}

/// How the kernel is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Plan {
    packing: Packing,
    fragment: Fragment,
}

impl Plan {
    fn units(self) -> usize {
        self.fragment.lanes * PLANES
    }
}

/// Workgroup `(x, y)` takes a tile of weight rows, `z` a tile of rows of `x`.
#[cube(launch)]
fn cooperative_kernel(
    out: &mut [f32],
    x: &[f32],
    w: &[u32],
    bias: &[f32],
    sizes: Sizes,
    #[comptime] plan: Plan,
) {
    let packing = comptime!(plan.packing);
    let m = comptime!(plan.fragment.m);
    let n = comptime!(plan.fragment.n);
    let k = comptime!(plan.fragment.k);
    let lanes = comptime!(plan.fragment.lanes);
    let (plane, lane) = (UNIT_POS as usize / lanes, UNIT_POS as usize % lanes);
    let (down, across) = (plane / 2 * SHARE, plane % 2 * SHARE);
    let cube = (CUBE_POS_Y * CUBE_COUNT_X + CUBE_POS_X) as usize;
    let (output0, input0) = (cube * TILE, CUBE_POS_Z as usize * TILE);

    // [rows, columns of the span]; column 8 · unit + i is weight i of the unit.
    let mut x_tile = Shared::<[Halves]>::new_aligned_slice(comptime!(TILE * PITCH), 16usize);
    let mut w_tile = Shared::<[Halves]>::new_aligned_slice(comptime!(TILE * PITCH), 16usize);
    // [planes, m, n]: what a plane made, on its way out.
    let mut made = Shared::<[f32]>::new_aligned_slice(comptime!(PLANES * m * n), 16usize);
    let mut values = Array::<f32>::new(8usize);
    let mut sums = Sequence::<cmma::Matrix<f32>>::new();
    #[unroll]
    for _ in 0..comptime!(SHARE / m * (SHARE / n)) {
        sums.push(cmma::Matrix::<f32>::from_value(
            cmma::MatrixIdent::Accumulator,
            m,
            n,
            k,
            cmma::MatrixLayout::Undefined,
            0.0,
        ));
    }

    for span in 0..sizes.columns.div_ceil(SPAN) {
        let mut at = UNIT_POS as usize;
        while at < comptime!(TILE * UNITS) {
            let (row, unit) = (at / UNITS, at % UNITS);
            let x_row = min(input0 + row, sizes.inputs - 1) * sizes.columns;
            let w_row = min(output0 + row, sizes.outputs - 1) * sizes.stride;
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
            for run in 0..2usize {
                let mut xs = Halves::empty();
                let mut ws = Halves::empty();
                #[unroll]
                for i in 0..4usize {
                    let mut column = first + comptime!(run * packing.gap() + i);
                    if comptime!(!packing.whole) {
                        // The weight beside it is 0.
                        column = min(column, sizes.columns - 1);
                    }
                    let value = clamp(x[x_row + column], -LARGEST, LARGEST);
                    xs.insert(i, f16::cast_from(value));
                    ws.insert(i, f16::cast_from(values[comptime!(run * 4 + i)]));
                }
                let to = row * PITCH + unit * 2 + run;
                x_tile[to] = xs;
                w_tile[to] = ws;
            }
            at += comptime!(plan.units());
        }
        sync_cube();
        #[unroll]
        for step in 0..comptime!(SPAN / k) {
            let mut ws = Sequence::<cmma::Matrix<Halves>>::new();
            #[unroll]
            for j in 0..comptime!(SHARE / n) {
                let from = (across + comptime!(j * n)) * PITCH + comptime!(step * k / 4);
                ws.push(cmma::Matrix::<Halves>::from_slice(
                    cmma::MatrixIdent::B,
                    m,
                    n,
                    k,
                    cmma::MatrixLayout::ColMajor,
                    &w_tile[from..],
                    comptime!(PITCH as u32 * 4),
                ));
            }
            #[unroll]
            for i in 0..comptime!(SHARE / m) {
                let from = (down + comptime!(i * m)) * PITCH + comptime!(step * k / 4);
                let xs = cmma::Matrix::<Halves>::from_slice(
                    cmma::MatrixIdent::A,
                    m,
                    n,
                    k,
                    cmma::MatrixLayout::RowMajor,
                    &x_tile[from..],
                    comptime!(PITCH as u32 * 4),
                );
                #[unroll]
                for j in 0..comptime!(SHARE / n) {
                    let sum = sums.index(comptime!(i * (SHARE / n) + j));
                    cmma::execute(&xs, ws.index(j), sum, sum);
                }
            }
        }
        sync_cube();
    }

    let slot = plane * comptime!(m * n);
    #[unroll]
    for i in 0..comptime!(SHARE / m) {
        #[unroll]
        for j in 0..comptime!(SHARE / n) {
            cmma::store(
                &mut made[slot..],
                sums.index(comptime!(i * (SHARE / n) + j)),
                comptime!(n as u32),
                cmma::MatrixLayout::RowMajor,
            );
            sync_cube();
            let mut at = lane;
            while at < comptime!(m * n) {
                store(
                    out,
                    bias,
                    made[slot + at],
                    input0 + down + comptime!(i * m) + at / n,
                    output0 + across + comptime!(j * n) + at % n,
                    &sizes,
                );
                at += lanes;
            }
            sync_cube();
        }
    }
}

/// `operands.x` is prepared: the input's transformation is its own pass.
pub fn launch(operands: &Operands, spec: LinearSpec, fragment: Fragment) {
    let plan = Plan {
        packing: Packing::of(spec.layout),
        fragment,
    };
    cooperative_kernel::launch(
        &operands.x.client,
        operands.grid(spec, TILE, TILE),
        CubeDim::new_1d(plan.units() as u32),
        operands.out.clone().into_buffer_arg(),
        operands.x.clone().into_buffer_arg(),
        operands.w.clone().into_buffer_arg(),
        operands.bias.clone().into_buffer_arg(),
        operands.sizes(spec),
        plan,
    );
}
