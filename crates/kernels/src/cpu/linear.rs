//! Matrix products on the file's own bytes.

use super::dot::{BF16, F16, F32, Floats, Weights};
use super::input::transform;
use super::isa::{Isa, Job};
use super::panel;
use super::quant::{Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
use super::simd::Simd;
use super::threads::{self, Shared};
use crate::{Format, Input, Layout, LinearSpec};

/// Arguments of a product, as plain slices; see [`crate::Kernels::linear`].
pub(crate) struct Linear<'a> {
    pub x: &'a [f32],
    pub w: &'a [u8],
    pub gains: &'a [f32],
    pub bias: &'a [f32],
    pub spec: LinearSpec,
}

impl Linear<'_> {
    /// Runs the product into `out`, rows of `width`.
    pub(crate) fn run(&self, isa: Isa, out: &mut [f32], width: usize) {
        let run = match self.spec.layout.format {
            Format::F32 => Self::product::<Floats<F32>>,
            Format::F16 => Self::product::<Floats<F16>>,
            Format::BF16 => Self::product::<Floats<BF16>>,
            Format::Q4_0 => Self::product::<Q4_0>,
            Format::Q4_1 => Self::product::<Q4_1>,
            Format::Q5_0 => Self::product::<Q5_0>,
            Format::Q5_1 => Self::product::<Q5_1>,
            Format::Q8_0 => Self::product::<Q8_0>,
            Format::Q4_K => Self::product::<Q4K>,
            Format::Q5_K => Self::product::<Q5K>,
            Format::Q6_K => Self::product::<Q6K>,
        };
        run(self, isa, out, width);
    }

    fn product<W: Weights>(&self, isa: Isa, out: &mut [f32], width: usize) {
        let (layout, count) = (self.spec.layout, out.len() / width);
        if count == 0 {
            return;
        }
        let row_bytes = layout
            .format
            .row_bytes(layout.columns)
            .expect("Matrix checked the block");
        let panel_bytes = panel::ROWS * row_bytes;
        let panels = layout.rows.div_ceil(panel::ROWS);
        let w = &self.w[..panels * panel_bytes];

        let mut rows: Vec<Option<W::Row>> = (0..count).map(|_| None).collect();
        let shared = Shared::new(&mut rows);
        threads::share(count, |r| {
            let x = &self.x[r * self.x.len() / count..][..self.x.len() / count];
            let prepared = isa.run(Prepare::<W>::new(self.spec.input, x, self.gains));
            // SAFETY: each task has its own row.
            unsafe { shared.part(r, 1)[0] = Some(prepared) };
        });
        let rows: Vec<W::Row> = rows.into_iter().flatten().collect();

        // Few enough that the weights of a task stay in the first-level cache while input rows pass.
        let size = panels.div_ceil(4 * threads::count()).clamp(1, 4);
        let out = Shared::new(out);
        threads::share(panels.div_ceil(size), |task| {
            let first = task * size;
            let last = (first + size).min(panels);
            isa.run(Tile::<W> {
                linear: self,
                rows: &rows,
                w: &w[first * panel_bytes..last * panel_bytes],
                panel_bytes,
                first: first * panel::ROWS,
                out,
                width,
            });
        });
    }
}

/// Applies the input transformation to a row and brings it into the form its product takes.
struct Prepare<'a, W> {
    input: Input,
    x: &'a [f32],
    gains: &'a [f32],
    _weights: std::marker::PhantomData<W>,
}

impl<'a, W: Weights> Prepare<'a, W> {
    fn new(input: Input, x: &'a [f32], gains: &'a [f32]) -> Self {
        Prepare {
            input,
            x,
            gains,
            _weights: std::marker::PhantomData,
        }
    }
}

impl<W: Weights> Job for Prepare<'_, W> {
    type Output = W::Row;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> W::Row {
        // SAFETY: the instruction set is the caller's.
        unsafe { W::prepare::<S>(transform::<S>(self.input, self.x, self.gains)) }
    }
}

/// Some panels of weight rows times all input rows.
struct Tile<'a, W: Weights> {
    linear: &'a Linear<'a>,
    rows: &'a [W::Row],
    w: &'a [u8],
    panel_bytes: usize,
    /// Number of the first weight row.
    first: usize,
    out: Shared<'a, f32>,
    width: usize,
}

impl<W: Weights> Job for Tile<'_, W> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let mut r = 0;
        // SAFETY: the instruction set is the caller's.
        unsafe {
            while S::TILE >= 8 && self.rows.len() - r >= 8 {
                self.rows_at::<S, 8>(r);
                r += 8;
            }
            while self.rows.len() - r >= 4 {
                self.rows_at::<S, 4>(r);
                r += 4;
            }
            while S::TILE >= 8 && self.rows.len() - r >= 2 {
                self.rows_at::<S, 2>(r);
                r += 2;
            }
            while r < self.rows.len() {
                self.rows_at::<S, 1>(r);
                r += 1;
            }
        }
    }
}

impl<W: Weights> Tile<'_, W> {
    /// The products of `N` input rows from `r`.
    ///
    /// # Safety
    /// The CPU has `S`.
    #[inline(always)]
    unsafe fn rows_at<S: Simd, const N: usize>(&self, r: usize) {
        let spec = &self.linear.spec;
        let x: [&W::Row; N] = std::array::from_fn(|n| &self.rows[r + n]);
        for (panel, w) in self.w.chunks_exact(self.panel_bytes).enumerate() {
            let first = self.first + panel * panel::ROWS;
            let len = panel::ROWS.min(spec.layout.rows - first);
            // SAFETY: `w` is one panel, `x` was prepared from rows of as many columns
            // (`Matrix::linear` checks), the instruction set is the caller's.
            let products = unsafe { W::products::<S, N>(w.as_ptr(), spec.layout.columns, x) };
            for (n, products) in products.iter().enumerate() {
                let at = (r + n) * self.width + spec.first + first;
                // SAFETY: this task alone writes these output columns.
                let out = unsafe { self.out.part(at, len) };
                for (j, (out, product)) in out.iter_mut().zip(products).enumerate() {
                    let bias = if spec.bias {
                        self.linear.bias[first + j]
                    } else {
                        0.0
                    };
                    let before = if spec.accumulate { *out } else { 0.0 };
                    *out = before + (product + bias);
                }
            }
        }
    }
}

/// Rows `ids` of a table times `scale`; see [`crate::Kernels::embed`].
pub(crate) fn embed(table: &[u8], ids: &[i32], layout: Layout, scale: f32) -> Vec<f32> {
    let unpack = match layout.format {
        Format::F32 => Floats::<F32>::unpack,
        Format::F16 => Floats::<F16>::unpack,
        Format::BF16 => Floats::<BF16>::unpack,
        Format::Q4_0 => Q4_0::unpack,
        Format::Q4_1 => Q4_1::unpack,
        Format::Q5_0 => Q5_0::unpack,
        Format::Q5_1 => Q5_1::unpack,
        Format::Q8_0 => Q8_0::unpack,
        Format::Q4_K => Q4K::unpack,
        Format::Q5_K => Q5K::unpack,
        Format::Q6_K => Q6K::unpack,
    };
    let row_bytes = layout.format.row_bytes(layout.columns);
    let panel_bytes = panel::ROWS * row_bytes.expect("Matrix checked the block");
    let mut out = vec![0.0; ids.len() * layout.columns];
    for (out, &id) in out.chunks_exact_mut(layout.columns).zip(ids) {
        let (panel, r) = (id as usize / panel::ROWS, id as usize % panel::ROWS);
        let w = &table[panel * panel_bytes..][..panel_bytes];
        // SAFETY: `w` is a panel of rows of `columns`, as many as `out` has.
        unsafe { unpack(w.as_ptr(), r, out) };
        out.iter_mut().for_each(|v| *v *= scale);
    }
    out
}
