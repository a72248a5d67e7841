//! Matrix products on the file's own bytes.

use super::dot::{BF16, F16, F32, Floats, Weights};
use super::isa::{Isa, Job};
use super::quant::{Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0};
use super::simd::Simd;
use super::threads::{self, Shared};
use crate::reference::{activate, normalize};
use crate::{Format, Input, LinearSpec};

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
        let w = &self.w[..layout.rows * row_bytes];

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
        let size = layout.rows.div_ceil(4 * threads::count()).clamp(8, 64);
        let out = Shared::new(out);
        threads::share(layout.rows.div_ceil(size), |task| {
            let first = task * size;
            let last = (first + size).min(layout.rows);
            let w = &w[first * row_bytes..last * row_bytes];
            isa.run(Tile::<W> {
                linear: self,
                rows: &rows,
                w,
                row_bytes,
                first,
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
        W::prepare(match self.input {
            Input::Plain => self.x.to_vec(),
            Input::Norm(norm) => normalize(norm, self.x, self.gains),
            Input::Act(act) => self.x.iter().map(|&v| activate(act, v)).collect(),
            Input::Gated(act) => {
                let (gate, up) = self.x.split_at(self.x.len() / 2);
                gate.iter()
                    .zip(up)
                    .map(|(&g, u)| activate(act, g) * u)
                    .collect()
            }
        })
    }
}

/// Some weight rows times all input rows.
struct Tile<'a, W: Weights> {
    linear: &'a Linear<'a>,
    rows: &'a [W::Row],
    w: &'a [u8],
    row_bytes: usize,
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
        let mut x = [&self.rows[r]; N];
        for (n, x) in x.iter_mut().enumerate() {
            *x = &self.rows[r + n];
        }
        for (j, w) in self.w.chunks_exact(self.row_bytes).enumerate() {
            let j = self.first + j;
            // SAFETY: `w` is one row, `x` was prepared from rows of as many columns (`Matrix::linear`
            // checks), the instruction set is the caller's.
            let dots = unsafe { W::dot::<S, N>(w.as_ptr(), spec.layout.columns, x) };
            for (n, dot) in dots.into_iter().enumerate() {
                let value = if spec.bias {
                    dot + self.linear.bias[j]
                } else {
                    dot
                };
                // SAFETY: this task alone writes output column `j`.
                let out =
                    unsafe { &mut self.out.part((r + n) * self.width + spec.first + j, 1)[0] };
                *out = if spec.accumulate { *out + value } else { value };
            }
        }
    }
}
