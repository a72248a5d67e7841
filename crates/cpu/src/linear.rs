//! Matrix products on the file's own bytes.

#[cfg(target_arch = "x86_64")]
use crate::amx;
use crate::dot::{BF16, F16, F32, Floats, Weights};
use crate::input::transform;
use crate::isa::{Isa, Job};
use crate::panel;
use crate::quant::{Q4_0, Q4_1, Q4K, Q5_0, Q5_1, Q5K, Q6K, Q8_0, Quant};
use crate::simd::Simd;
use crate::threads::{self, Shared};
use crate::{Format, Input, Layout, LinearSpec};

/// A product: `linear` of `tinderbox-kernels`, which has the shapes.
pub struct Linear<'a> {
    /// Its input rows.
    pub x: &'a [f32],
    /// The matrix as [`pack`](crate::pack) left it.
    pub w: &'a [u8],
    /// Of the norm before it.
    pub gains: &'a [f32],
    /// One number an output, or anything.
    pub bias: &'a [f32],
    /// The rest.
    pub spec: LinearSpec,
}

impl Linear<'_> {
    /// Runs the product into `out`, rows of `width`.
    ///
    /// # Panics
    /// Where the slices do not have the shapes of `spec`.
    pub fn run(&self, out: &mut [f32], width: usize) {
        self.run_on(Isa::best(), out, width);
    }

    /// [`Linear::run`] on this instruction set.
    pub fn run_on(&self, isa: Isa, out: &mut [f32], width: usize) {
        let gated = matches!(self.spec.input, Input::Gated(_));
        let wide = self.spec.layout.columns * if gated { 2 } else { 1 };
        assert!(
            self.x.len() == out.len() / width * wide,
            "linear: rows of {wide} numbers are needed"
        );
        let run = match self.spec.layout.format {
            Format::F32 => Self::product::<Floats<F32>>,
            Format::F16 => Self::product::<Floats<F16>>,
            Format::BF16 => Self::product::<Floats<BF16>>,
            Format::Q4_0 => Self::quantized::<Q4_0>,
            Format::Q4_1 => Self::quantized::<Q4_1>,
            Format::Q5_0 => Self::quantized::<Q5_0>,
            Format::Q5_1 => Self::quantized::<Q5_1>,
            Format::Q8_0 => Self::quantized::<Q8_0>,
            Format::Q4_K => Self::quantized::<Q4K>,
            Format::Q5_K => Self::quantized::<Q5K>,
            Format::Q6_K => Self::quantized::<Q6K>,
        };
        run(self, isa, out, width);
    }

    fn quantized<Q: Quant>(&self, isa: Isa, out: &mut [f32], width: usize) {
        #[cfg(target_arch = "x86_64")]
        if isa.has_tiles() {
            let rows = &self.prepare::<Q>(isa, out.len() / width)[..];
            let (whole, rest) = rows.as_chunks();
            let blocks = threads::collect(whole.len(), |b| {
                // SAFETY: `isa` vouches for the instruction set.
                unsafe { amx::Block::new(&whole[b]) }
            });
            let first = rows.len() - rest.len();
            return self.share(out, width, |panels| {
                if !blocks.is_empty() {
                    // SAFETY: as above, and the blocks are of this matrix's columns.
                    unsafe { amx::products::<Q>(&panels, self.spec.layout.columns, &blocks) };
                }
                tiles::<Q>(isa, &panels, rows, first);
            });
        }
        self.product::<Q>(isa, out, width);
    }

    fn product<W: Weights>(&self, isa: Isa, out: &mut [f32], width: usize) {
        let rows = &self.prepare::<W>(isa, out.len() / width)[..];
        self.share(out, width, |panels| tiles::<W>(isa, &panels, rows, 0));
    }

    /// The input rows in the form that the product takes.
    fn prepare<W: Weights>(&self, isa: Isa, count: usize) -> Vec<W::Row> {
        threads::collect(count, |r| {
            let x = &self.x[r * self.x.len() / count..][..self.x.len() / count];
            isa.run(Prepare::<W>::new(self.spec.input, x, self.gains))
        })
    }

    /// Shares the weight rows: each task has some panels, and writes their products.
    fn share(&self, out: &mut [f32], width: usize, task: impl Fn(Panels) + Sync + Send) {
        let layout = self.spec.layout;
        if out.is_empty() {
            return;
        }
        let row_bytes = layout
            .format
            .row_bytes(layout.columns)
            .expect("columns are whole blocks");
        let bytes = panel::ROWS * row_bytes;
        let panels = layout.rows.div_ceil(panel::ROWS);
        let w = &self.w[..panels * bytes];
        // Few enough that the weights of a task stay in a near cache while input rows pass.
        let size = panels.div_ceil(4 * threads::count()).clamp(1, 4);
        let out = Shared::new(out);
        threads::share(panels.div_ceil(size), |number| {
            let first = number * size;
            let last = (first + size).min(panels);
            task(Panels {
                linear: self,
                w: &w[first * bytes..last * bytes],
                ahead: size * threads::count() * bytes,
                bytes,
                first: first * panel::ROWS,
                out,
                width,
            });
        });
    }
}

/// Some panels of weight rows, and where their products go.
pub(crate) struct Panels<'a> {
    linear: &'a Linear<'a>,
    w: &'a [u8],
    /// Bytes from a panel to the one that this thread will probably have after it: a task further on, or in the next matrix.
    pub(crate) ahead: usize,
    /// Bytes of a panel.
    bytes: usize,
    /// Number of the first weight row.
    first: usize,
    out: Shared<'a, f32>,
    width: usize,
}

impl Panels<'_> {
    /// Each panel's first weight row, and its bytes.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &[u8])> {
        self.groups(0, 1)
    }

    /// Groups of `size` panels from panel `from` on, as many as there are; each with its first weight row.
    fn groups(&self, from: usize, size: usize) -> impl Iterator<Item = (usize, &[u8])> {
        let groups = self.w[from * self.bytes..].chunks_exact(size * self.bytes);
        let row = move |group: usize| self.first + (from + group * size) * panel::ROWS;
        groups.enumerate().map(move |(group, w)| (row(group), w))
    }

    /// Writes the products of the panel that begins with weight row `first` with input rows `r ..`.
    ///
    /// By vectors: in a tab a copy of an array is a call.
    ///
    /// # Safety
    /// The CPU has `S`.
    #[inline(always)]
    pub(crate) unsafe fn write<S: Simd>(
        &self,
        first: usize,
        r: usize,
        products: &[[f32; panel::ROWS]],
    ) {
        let spec = &self.linear.spec;
        let len = panel::ROWS.min(spec.layout.rows - first);
        let whole = len / S::LANES * S::LANES;
        let bias: &[f32] = match spec.bias {
            true => &self.linear.bias[first..][..len],
            false => &[],
        };
        for (n, products) in products.iter().enumerate() {
            let at = (r + n) * self.width + spec.first + first;
            // SAFETY: this task alone writes these output columns.
            let out = unsafe { self.out.part(at, len) };
            for i in (0..whole).step_by(S::LANES) {
                // SAFETY: all have a whole vector there, the bias where there is one.
                unsafe {
                    let one = S::splat(1.0);
                    let mut sum = S::load_f32(products[i..].as_ptr().cast());
                    if spec.bias {
                        sum = S::fma(sum, S::load_f32(bias[i..].as_ptr().cast()), one);
                    }
                    if spec.accumulate {
                        sum = S::fma(sum, S::load_f32(out[i..].as_ptr().cast()), one);
                    }
                    S::store(out[i..].as_mut_ptr(), sum);
                }
            }
            for i in whole..len {
                let before = if spec.accumulate { out[i] } else { 0.0 };
                out[i] = before + (products[i] + bias.get(i).copied().unwrap_or(0.0));
            }
        }
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

/// The products of some panels of weight rows with the input rows from `first` on, so many at once that they share what is
/// unpacked. Each number of them is compiled alone: beside others it has fewer registers.
fn tiles<W: Weights>(isa: Isa, panels: &Panels, rows: &[W::Row], first: usize) {
    let first = isa.run(Tile::<W, 8, 1>::new(panels, rows, first));
    let first = isa.run(Tile::<W, 4, 1>::new(panels, rows, first));
    let first = isa.run(Tile::<W, 2, 2>::new(panels, rows, first));
    isa.run(Tile::<W, 1, 4>::new(panels, rows, first));
}

/// `N` input rows at a time, as long as there are so many, and `P` panels at once, where there are so many.
struct Tile<'a, W: Weights, const N: usize, const P: usize> {
    panels: &'a Panels<'a>,
    rows: &'a [W::Row],
    /// Rows before this one are done.
    first: usize,
}

impl<'a, W: Weights, const N: usize, const P: usize> Tile<'a, W, N, P> {
    fn new(panels: &'a Panels<'a>, rows: &'a [W::Row], first: usize) -> Self {
        Tile {
            panels,
            rows,
            first,
        }
    }
}

impl<W: Weights, const N: usize, const P: usize> Job for Tile<'_, W, N, P> {
    /// The first row that is not done.
    type Output = usize;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> usize {
        let (panels, mut r) = (self.panels, self.first);
        let (columns, ahead) = (panels.linear.spec.layout.columns, panels.ahead);
        let whole = panels.w.len() / panels.bytes / P * P;
        while N <= S::TILE && self.rows.len() - r >= N {
            let x: [&W::Row; N] = std::array::from_fn(|n| &self.rows[r + n]);
            // SAFETY: these are so many panels, `x` was prepared from rows of as many columns
            // (`Linear::run_on` saw to it), the instruction set is the caller's.
            unsafe {
                for (first, w) in panels.groups(0, P) {
                    let products = W::products::<S, N, P>(w.as_ptr(), ahead, columns, x);
                    for (p, products) in products.0.iter().enumerate() {
                        panels.write::<S>(first + p * panel::ROWS, r, products);
                    }
                }
                for (first, w) in panels.groups(whole, 1) {
                    let products = W::products::<S, N, 1>(w.as_ptr(), ahead, columns, x);
                    panels.write::<S>(first, r, &products.0[0]);
                }
            }
            r += N;
        }
        r
    }
}

/// Rows `ids` of a table that [`pack`](crate::pack) left, times `scale`.
///
/// # Panics
/// Where an id is none of a row.
pub fn embed(table: &[u8], ids: &[i32], layout: Layout, scale: f32) -> Vec<f32> {
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
    let panel_bytes = panel::ROWS * row_bytes.expect("columns are whole blocks");
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
