//! A weight matrix on a device, and the operations of the contract on burn tensors.

use burn::backend::{Dispatch, DispatchDevice};
use burn::tensor::{Bytes, DType, Device, Int, Tensor, TensorData};

use tinderbox_cpu::DRAW;

use crate::{Arena, AttentionSpec, Format, Input, Kernels, Layout, LinearSpec, Norm, RopeSpec};

/// A weight matrix in the format of its file, on a device. Cloning shares the memory.
#[derive(Clone, Debug)]
pub struct Matrix {
    pub(crate) layout: Layout,
    /// Its rows: all of them, or so many that a buffer of the device holds them.
    pub(crate) parts: Vec<Tensor<1, Int>>,
    /// Rows of each part but the last, which may have fewer.
    pub(crate) step: usize,
}

/// Why a matrix cannot be built.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MatrixError {
    /// A row is no whole number of blocks.
    #[error("rows of {columns} columns are no multiple of {format}'s block of {}", format.block())]
    Block {
        /// Storage of the rows.
        format: Format,
        /// Columns asked for.
        columns: usize,
    },
    /// The bytes are not those of the shape.
    #[error("{format} [{rows}, {columns}] takes {expected} bytes, found {found}")]
    Length {
        /// Storage of the rows.
        format: Format,
        /// Rows asked for.
        rows: usize,
        /// Columns asked for.
        columns: usize,
        /// Bytes of that shape.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
}

impl MatrixError {
    /// Bytes of a matrix of this shape.
    pub(crate) fn expected(layout: Layout) -> Result<usize, MatrixError> {
        let Layout {
            format,
            rows,
            columns,
        } = layout;
        let row = format.row_bytes(columns);
        let row = row.ok_or(MatrixError::Block { format, columns })?;
        Ok(row.saturating_mul(rows))
    }

    /// Whether so many bytes are a matrix of this shape.
    pub(crate) fn check(layout: Layout, found: usize) -> Result<(), MatrixError> {
        let expected = MatrixError::expected(layout)?;
        let Layout {
            format,
            rows,
            columns,
        } = layout;
        match found == expected {
            true => Ok(()),
            false => Err(MatrixError::Length {
                format,
                rows,
                columns,
                expected,
                found,
            }),
        }
    }
}

impl Matrix {
    /// A lone matrix on a device; see [`Arena::matrix`].
    ///
    /// # Errors
    /// Where bytes and shape do not match.
    pub fn new(layout: Layout, bytes: Vec<u8>, device: &Device) -> Result<Self, MatrixError> {
        Arena::new(device, bytes.len()).matrix(layout, bytes)
    }

    /// Shape and storage.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Bytes on the device.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|words| words.dims()[0] * 4).sum()
    }

    /// Each part's first row, shape and words.
    fn parts(&self) -> impl Iterator<Item = (usize, Layout, &Tensor<1, Int>)> {
        let first = (0..self.layout.rows.max(1)).step_by(self.step);
        first.zip(&self.parts).map(|(first, words)| {
            let rows = self.step.min(self.layout.rows - first);
            let layout = Layout {
                rows,
                ..self.layout
            };
            (first, layout, words)
        })
    }

    /// Rows of the table times `scale`: [`Kernels::embed`]. `ids` below `rows`.
    pub fn embed(&self, ids: &Tensor<1, Int>, scale: f32) -> Tensor<2> {
        let embed = |ids: Tensor<1, Int>, layout, words: &Tensor<1, Int>| {
            let (table, ids) = (words.clone().into_dispatch(), ids.into_dispatch());
            Tensor::from_dispatch(Dispatch::embed(table, ids, layout, scale))
        };
        if let [words] = &self.parts[..] {
            return embed(ids.clone(), self.layout, words);
        }
        // Each part gives a row for every id; that of the last part which begins before the id is the right one.
        let shape = [ids.dims()[0], self.layout.columns];
        let out = Tensor::zeros(shape, &ids.device());
        self.parts().fold(out, |out, (first, layout, words)| {
            let (first, last) = (first as i32, layout.rows as i32 - 1);
            let rows = embed(ids.clone().sub_scalar(first).clamp(0, last), layout, words);
            let here = ids.clone().greater_equal_elem(first);
            out.mask_where(here.unsqueeze_dim::<2>(1).expand(shape), rows)
        })
    }

    /// `input(x) · selfᵀ + bias` into columns `first ..` of `out`: [`Kernels::linear`].
    ///
    /// # Panics
    /// Where the shapes do not fit.
    pub fn linear(
        &self,
        out: Tensor<2>,
        x: &Tensor<2>,
        with: &With,
        first: usize,
        accumulate: bool,
    ) -> Tensor<2> {
        let Layout { rows, columns, .. } = self.layout;
        let wide = if matches!(with.input, Input::Gated(_)) {
            2 * columns
        } else {
            columns
        };
        let (out_dims, x_dims) = (out.dims(), x.dims());
        assert!(
            x_dims == [out_dims[0], wide] && first + rows <= out_dims[1],
            "linear: {x_dims:?} · [{rows}, {columns}]ᵀ into {out_dims:?} from column {first}"
        );
        let bias = with.bias.dims()[0] == rows;
        self.parts().fold(out, |out, (start, layout, words)| {
            let spec = LinearSpec {
                layout,
                input: with.input,
                first: first + start,
                accumulate,
                bias,
            };
            let bias = match bias && layout.rows < rows {
                true => with.bias.clone().narrow(0, start, layout.rows),
                false => with.bias.clone(),
            };
            Tensor::from_dispatch(Dispatch::linear(
                out.into_dispatch(),
                &x.clone().into_dispatch(),
                words.clone().into_dispatch(),
                &with.gains.clone().into_dispatch(),
                &bias.into_dispatch(),
                spec,
            ))
        })
    }
}

/// What goes with a product: the input's transformation and the bias.
#[derive(Clone, Debug)]
pub struct With {
    /// Applied to each input row first.
    pub input: Input,
    /// Gains of the norm, `[1, columns]` or `[2, columns]`; any tensor where there is none.
    pub gains: Tensor<2>,
    /// One number an output, or a single zero for all of them.
    pub bias: Tensor<1>,
}

/// See [`Kernels::rope`].
pub fn rope(
    qkv: Tensor<2>,
    cache: Tensor<3>,
    rows: &Tensor<2, Int>,
    frequencies: &Tensor<1>,
    gains: &Tensor<2>,
    spec: RopeSpec,
) -> (Tensor<2>, Tensor<3>) {
    let (qkv, cache) = Dispatch::rope(
        qkv.into_dispatch(),
        cache.into_dispatch(),
        rows.clone().into_dispatch(),
        &frequencies.clone().into_dispatch(),
        &gains.clone().into_dispatch(),
        spec,
    );
    (Tensor::from_dispatch(qkv), Tensor::from_dispatch(cache))
}

/// See [`Kernels::attention`].
pub fn attention(
    qkv: &Tensor<2>,
    cache: &Tensor<3>,
    rows: &Tensor<2, Int>,
    tables: &Tensor<2, Int>,
    spec: AttentionSpec,
) -> Tensor<2> {
    Tensor::from_dispatch(Dispatch::attention(
        &qkv.clone().into_dispatch(),
        &cache.clone().into_dispatch(),
        rows.clone().into_dispatch(),
        tables.clone().into_dispatch(),
        spec,
    ))
}

/// See [`Kernels::turning_attention`]; `turns` are frequencies and gains.
pub fn turning_attention(
    qkv: Tensor<2>,
    cache: Tensor<3>,
    rows: &Tensor<2, Int>,
    tables: &Tensor<2, Int>,
    turns: (&Tensor<1>, &Tensor<2>),
    rope: RopeSpec,
    spec: AttentionSpec,
) -> (Tensor<2>, Tensor<3>, Tensor<2>) {
    let (qkv, cache, mixed) = Dispatch::turning_attention(
        qkv.into_dispatch(),
        cache.into_dispatch(),
        rows.clone().into_dispatch(),
        tables.clone().into_dispatch(),
        &turns.0.clone().into_dispatch(),
        &turns.1.clone().into_dispatch(),
        rope,
        spec,
    );
    let (qkv, mixed) = (Tensor::from_dispatch(qkv), Tensor::from_dispatch(mixed));
    (qkv, Tensor::from_dispatch(cache), mixed)
}

/// See [`Kernels::add_norm`].
pub fn add_norm(x: Tensor<2>, y: &Tensor<2>, gains: &Tensor<2>, norm: Norm) -> Tensor<2> {
    let (y, gains) = (y.clone().into_dispatch(), gains.clone().into_dispatch());
    Tensor::from_dispatch(Dispatch::add_norm(x.into_dispatch(), &y, &gains, norm))
}

/// See [`Kernels::choose`].
///
/// # Panics
/// Where the shapes do not fit.
pub fn choose(
    tokens: Tensor<1, Int>,
    logits: &Tensor<2>,
    draws: Option<&Tensor<2, Int>>,
) -> Tensor<1, Int> {
    let rows = logits.dims()[0];
    let fits = draws.is_none_or(|draws| draws.dims() == [rows, DRAW]);
    assert!(
        tokens.dims() == [rows] && fits,
        "choose: {rows} rows of logits for {:?}",
        tokens.dims()
    );
    let drawn = draws.is_some();
    let draws = match draws {
        Some(draws) => draws.clone().into_dispatch(),
        None => tokens.clone().into_dispatch(),
    };
    let logits = logits.clone().into_dispatch();
    let tokens = Dispatch::choose(tokens.into_dispatch(), &logits, draws, drawn);
    Tensor::from_dispatch(tokens)
}

/// Whether the CPU twin serves this device.
pub fn on_cpu(device: &Device) -> bool {
    matches!(device.as_dispatch(), DispatchDevice::Flex(_))
}

/// Runs the operations of a step, on the CPU twin's own threads where it computes them.
pub fn together<T: Send>(device: &Device, work: impl FnOnce() -> T + Send) -> T {
    match on_cpu(device) {
        true => tinderbox_cpu::join(work),
        false => work(),
    }
}

/// Bytes of a block as [`pad_blocks`] leaves it.
pub(crate) fn padded_block(format: Format) -> usize {
    match format.block() {
        1 => format.block_bytes(),
        _ => format.block_bytes().next_multiple_of(4),
    }
}

/// GPUs load whole 32-bit words: blocks of 18, 22, 34 and 210 bytes get two more, after the half
/// they begin with (so that the quants behind it are aligned), or at the end of a `Q6_K` block.
pub(crate) fn pad_blocks(format: Format, mut bytes: Vec<u8>) -> TensorData {
    let (from, to) = (format.block_bytes(), padded_block(format));
    if from == to {
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        let words = bytes.len() / 4;
        return TensorData::from_bytes(Bytes::from_bytes_vec(bytes), [words], DType::U32);
    }
    let head = if format == Format::Q6_K { from } else { 2 };
    // Words from the start: bytes would be copied once more, to where words may lie, and a tab has
    // little memory.
    let mut words = vec![0u32; bytes.len() / from * to / 4];
    let padded = bytemuck::cast_slice_mut::<u32, u8>(&mut words).chunks_exact_mut(to);
    for (padded, block) in padded.zip(bytes.chunks_exact(from)) {
        padded[..head].copy_from_slice(&block[..head]);
        padded[to - (from - head)..].copy_from_slice(&block[head..]);
    }
    let len = words.len();
    TensorData::new(words, [len])
}
