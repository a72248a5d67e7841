//! The low-rank products of rows with adapters. Rows of one slot go together, so that a vector of its
//! factors is loaded once for several; sums stay each row's own.

use crate::LowRankSpec;
use crate::dot::{F32, Floats, Weights};
use crate::input::transform;
use crate::isa::{Isa, Job};
use crate::simd::Simd;
use crate::spec::ENTRY;
use crate::threads::{self, Shared};

/// The products of rows with adapters: `low_rank` of `tinderbox-kernels`, which has the shapes.
pub struct LowRank<'a> {
    /// Input rows, of all rows.
    pub x: &'a [f32],
    /// Every slot's factors.
    pub factors: &'a [f32],
    /// [`ENTRY`] numbers a slot: where its `A` begins, its ranks, and of each part its first rank, the one after its last, and where its `B` begins.
    pub table: &'a [i32],
    /// A row of `out` and its slot, rows ascending.
    pub rows: &'a [i32],
    /// Of the norm before them.
    pub gains: &'a [f32],
    /// The rest.
    pub spec: LowRankSpec,
}

/// Most rows of one slot in a task.
const ROWS: usize = 8;

impl LowRank<'_> {
    /// Adds the products to `out`, rows of `width`.
    ///
    /// # Panics
    /// Where a row is named twice, or one, a slot or a factor is not there.
    pub fn run(&self, out: &mut [f32], width: usize) {
        self.run_on(Isa::best(), out, width);
    }

    /// [`LowRank::run`] on this instruction set.
    pub fn run_on(&self, isa: Isa, out: &mut [f32], width: usize) {
        let rows = self.rows.chunks_exact(2);
        assert!(
            rows.clone().is_sorted_by(|a, b| a[0] < b[0]),
            "rows of adapters ascend"
        );
        let mut rows: Vec<(i32, usize)> = rows.map(|row| (row[1], row[0] as usize)).collect();
        rows.sort_unstable();
        let most = rows.len().div_ceil(2 * threads::count()).clamp(1, ROWS);
        let slots = rows.chunk_by(|a, b| a.0 == b.0);
        let tasks: Vec<_> = slots.flat_map(|rows| rows.chunks(most)).collect();
        let wide = self.x.len() / (out.len() / width).max(1);
        let out = Shared::new(out);
        threads::share(tasks.len(), |task| {
            isa.run(Rows {
                low_rank: self,
                rows: tasks[task],
                wide,
                out,
                width,
            });
        });
    }
}

/// Some rows of one slot.
struct Rows<'a> {
    low_rank: &'a LowRank<'a>,
    /// Slot and row.
    rows: &'a [(i32, usize)],
    /// Columns of `x`.
    wide: usize,
    out: Shared<'a, f32>,
    width: usize,
}

impl Job for Rows<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let LowRank { table, spec, .. } = *self.low_rank;
        let entry = &table[self.rows[0].0 as usize * ENTRY..][..ENTRY];
        if entry[1] == 0 {
            return;
        }
        assert!(spec.columns > 0 && self.wide >= spec.columns);
        let mut r = 0;
        // SAFETY: the instruction set is the caller's.
        unsafe {
            while self.rows.len() - r >= 4 {
                self.rows_at::<S, 4>(entry, r);
                r += 4;
            }
            while r < self.rows.len() {
                self.rows_at::<S, 1>(entry, r);
                r += 1;
            }
        }
    }
}

impl Rows<'_> {
    /// The products of `N` rows from `r`.
    ///
    /// # Safety
    /// The CPU has `S`.
    #[inline(always)]
    unsafe fn rows_at<S: Simd, const N: usize>(&self, entry: &[i32], r: usize) {
        let LowRank {
            x, factors, spec, ..
        } = *self.low_rank;
        let rows: [usize; N] = std::array::from_fn(|n| self.rows[r + n].1);
        let mut inputs = [const { Vec::new() }; N];
        for n in 0..N {
            let row = &x[rows[n] * self.wide..][..self.wide];
            // SAFETY: the instruction set is the caller's.
            let row = unsafe { transform::<S>(spec.input, row, self.low_rank.gains) };
            assert!(row.len() == spec.columns);
            // SAFETY: the instruction set is the caller's.
            inputs[n] = unsafe { Floats::<F32>::prepare::<S>(row) };
        }
        let inputs = inputs.each_ref().map(|row| row.as_ptr());

        let ranks = entry[1] as usize;
        let a = &factors[entry[0] as usize..][..ranks * spec.columns];
        let mut products = vec![[0.0; N]; ranks];
        for (products, a) in products.iter_mut().zip(a.chunks_exact(spec.columns)) {
            let row = size_of_val(a);
            // SAFETY: `a` is a row of `columns`, and each input has as many, padded by `prepare`.
            [*products] = unsafe {
                Floats::<F32>::dots::<S, N, 1>(a.as_ptr().cast(), row, spec.columns, inputs)
            };
        }

        let mut first = 0;
        for (part, outputs) in entry[2..].chunks_exact(3).zip(spec.outputs) {
            let products = &products[part[0] as usize..part[1] as usize];
            if !products.is_empty() {
                let b = &factors[part[2] as usize..][..products.len() * outputs];
                // SAFETY: `LowRank::run` saw that rows are named once, so that this task alone has these.
                let out: [&mut [f32]; N] = std::array::from_fn(|n| unsafe {
                    self.out.part(rows[n] * self.width + first, outputs)
                });
                // SAFETY: `b` has a row of `outputs` for each product; the instruction set is the caller's.
                unsafe { add::<S, N>(out, b, products) };
            }
            first += outputs;
        }
    }
}

/// `out[n] += Σ products[i][n] · b[i]`.
///
/// # Safety
/// `b` has a row as long as each of `out` for each of `products`, and the CPU has `S`.
#[inline(always)]
unsafe fn add<S: Simd, const N: usize>(out: [&mut [f32]; N], b: &[f32], products: &[[f32; N]]) {
    let outputs = b.len() / products.len();
    let whole = outputs / S::LANES * S::LANES;
    for j in (0..whole).step_by(S::LANES) {
        // SAFETY: whole vectors inside rows of `outputs`.
        unsafe {
            let mut sums = [S::splat(0.0); N];
            for n in 0..N {
                sums[n] = S::load_f32(out[n].as_ptr().add(j).cast());
            }
            for (i, products) in products.iter().enumerate() {
                let b = S::load_f32(b.as_ptr().add(i * outputs + j).cast());
                for n in 0..N {
                    sums[n] = S::fma(sums[n], b, S::splat(products[n]));
                }
            }
            for n in 0..N {
                S::store(out[n].as_mut_ptr().add(j), sums[n]);
            }
        }
    }
    for j in whole..outputs {
        for (i, products) in products.iter().enumerate() {
            for n in 0..N {
                out[n][j] += products[n] * b[i * outputs + j];
            }
        }
    }
}
