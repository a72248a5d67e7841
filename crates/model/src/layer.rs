//! One layer's weights, and its products.

use burn::tensor::{DType, Int, Tensor};
use tinderbox_kernels::{LowRank, Matrix, With, unwritten};

use crate::lora::Product;

/// One layer's weights.
pub(crate) struct Layer {
    /// Norm, then queries, keys and values.
    pub qkv: Linear,
    /// Gains of the per-head query and key norms, `[2, head_dim]`.
    pub qk_gains: Option<Tensor<2>>,
    /// Heads back to the residual stream.
    pub out: Linear,
    /// Norm of the attention's result (Gemma 2, 3).
    pub post_attention: Option<Tensor<2>>,
    /// Norm, then gate and up (or up alone).
    pub up: Linear,
    /// Activation, then back to the residual stream.
    pub down: Linear,
    /// Norm of the feed-forward result (Gemma 2, 3).
    pub post_ffn: Option<Tensor<2>>,
}

/// A linear map with what precedes it. Parts of different formats write their own columns.
pub(crate) struct Linear {
    /// Matrix, its input and bias, and its first output column.
    pub parts: Vec<(Matrix, With, usize)>,
    /// Outputs of all parts.
    pub width: usize,
    /// What adapters add; the head has none.
    pub adapters: Option<LowRank>,
}

/// Rows that have an adapter and its slot, `[n, 2]`; nothing where no row has one.
pub(crate) type Adapted = Option<Tensor<2, Int>>;

impl Linear {
    /// Into `out` where it is of the right shape: a new tensor's memory is found and cleared first.
    pub fn apply(&self, x: &Tensor<2>, adapted: &Adapted, out: Option<Tensor<2>>) -> Tensor<2> {
        let shape = [x.dims()[0], self.width];
        let out = out.filter(|out| out.dims() == shape);
        let out = out.unwrap_or_else(|| unwritten(shape, DType::F32, &x.device()));
        self.write(out, x, false, adapted)
    }

    pub fn add(&self, residual: Tensor<2>, x: &Tensor<2>, adapted: &Adapted) -> Tensor<2> {
        self.write(residual, x, true, adapted)
    }

    fn write(
        &self,
        out: Tensor<2>,
        x: &Tensor<2>,
        accumulate: bool,
        adapted: &Adapted,
    ) -> Tensor<2> {
        let out = self.parts.iter().fold(out, |out, (matrix, with, first)| {
            matrix.linear(out, x, with, *first, accumulate)
        });
        match (&self.adapters, adapted, self.parts.first()) {
            (Some(adapters), Some(rows), Some((_, with, _))) => adapters.add(out, x, with, rows),
            _ => out,
        }
    }
}

impl Layer {
    pub fn products(&self) -> [&Linear; 4] {
        [&self.qkv, &self.out, &self.up, &self.down]
    }

    pub fn products_mut(&mut self) -> [(Product, &mut Linear); 4] {
        [
            (Product::Qkv, &mut self.qkv),
            (Product::Out, &mut self.out),
            (Product::Up, &mut self.up),
            (Product::Down, &mut self.down),
        ]
    }
}
