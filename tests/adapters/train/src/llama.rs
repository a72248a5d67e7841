//! SmolLM2 in plain single precision: weights that stay as they are, and an adapter beside its attention.

use anyhow::{Result, bail};
use burn::tensor::activation::{silu, softmax};
use burn::tensor::{Bool, DType, Device, Int, Tensor, TensorData};
use futures::executor::block_on;
use tinderbox_kernels::reference;
use tinderbox_model::{Checkpoint, Config, Norm};

use crate::lora::{Adapter, Product};

/// The weights, in the order Hugging Face has them.
pub struct Llama {
    config: Config,
    eps: f32,
    embedding: Tensor<2>,
    pub layers: Vec<Layer>,
    norm: Tensor<2>,
    /// Radians a position, `[1, 1, 1, head_dim / 2]`.
    frequencies: Tensor<4>,
    device: Device,
}

/// Matrices are `[out, in]`, gains `[1, width]`.
pub struct Layer {
    attention_norm: Tensor<2>,
    /// Queries, keys, values, and heads back to the residual stream.
    pub attention: [Tensor<2>; 4],
    ffn_norm: Tensor<2>,
    gate: Tensor<2>,
    up: Tensor<2>,
    down: Tensor<2>,
}

impl Llama {
    /// Dequantizes a llama checkpoint whose head is its embedding.
    pub fn load(checkpoint: &Checkpoint, device: &Device) -> Result<Llama> {
        let config = checkpoint.config.clone();
        let (Norm::Rms { eps }, [rope]) = (config.norm, &config.ropes[..]) else {
            bail!("{} is no llama", checkpoint.name());
        };
        let matrix = |name: &str| -> Result<Tensor<2>> {
            let raw = block_on(checkpoint.read(&format!("{name}.weight")))?;
            let values = reference::dequantize(raw.format, &raw.bytes);
            let columns = raw.shape[raw.shape.len() - 1];
            let shape = [values.len() / columns, columns];
            Ok(Tensor::from_data(TensorData::new(values, shape), device))
        };
        // GGUF has the rows of a rotary pair side by side, Hugging Face has them half a head apart.
        let rotary = |name: &str, heads: usize| -> Result<Tensor<2>> {
            let weight = matrix(name)?;
            let [rows, columns] = weight.dims();
            if !rope.interleaved {
                return Ok(weight);
            }
            let pairs = weight.reshape([heads, rows / heads / 2, 2, columns]);
            Ok(pairs.swap_dims(1, 2).reshape([rows, columns]))
        };
        let layer = |index: usize| {
            let name = |part: &str| format!("blk.{index}.{part}");
            anyhow::Ok(Layer {
                attention_norm: matrix(&name("attn_norm"))?,
                attention: [
                    rotary(&name("attn_q"), config.heads)?,
                    rotary(&name("attn_k"), config.kv_heads)?,
                    matrix(&name("attn_v"))?,
                    matrix(&name("attn_output"))?,
                ],
                ffn_norm: matrix(&name("ffn_norm"))?,
                gate: matrix(&name("ffn_gate"))?,
                up: matrix(&name("ffn_up"))?,
                down: matrix(&name("ffn_down"))?,
            })
        };
        let layers: Result<Vec<_>> = (0..config.layers.len()).map(layer).collect();
        let turns = TensorData::new(rope.frequencies.clone(), [1, 1, 1, config.head_dim / 2]);
        Ok(Llama {
            embedding: matrix("token_embd")?,
            layers: layers?,
            norm: matrix("output_norm")?,
            frequencies: Tensor::from_data(turns, device),
            device: device.clone(),
            eps,
            config,
        })
    }

    /// Logits after the tokens in `rows`, `[rows, vocab]`. A row is counted through all texts as if
    /// each were as long as the longest.
    pub fn logits(&self, adapter: &Adapter, texts: &[&[u32]], rows: &[usize]) -> Tensor<2> {
        let longest = texts.iter().map(|text| text.len()).max().unwrap_or(0);
        // What fills a text up comes after it, so that no token of it looks there.
        let padded = texts.iter().flat_map(|text| {
            let fill = std::iter::repeat_n(&0, longest - text.len());
            text.iter().chain(fill).map(|token| *token as i32)
        });
        let mut x = self.embedding.clone().select(0, self.line(padded)); // [texts · longest, width]
        for (layer, products) in self.layers.iter().zip(&adapter.layers) {
            let normed = self.normalize(x.clone(), &layer.attention_norm);
            x = x + self.attend(layer, products, normed, [texts.len(), longest]);
            let normed = self.normalize(x.clone(), &layer.ffn_norm);
            let gate = silu(linear(normed.clone(), &layer.gate));
            x = x + linear(gate * linear(normed, &layer.up), &layer.down);
        }
        let rows = self.line(rows.iter().map(|row| *row as i32));
        linear(
            self.normalize(x.select(0, rows), &self.norm),
            &self.embedding,
        )
    }

    fn attend(
        &self,
        layer: &Layer,
        products: &[Product; 4],
        x: Tensor<2>,
        [texts, longest]: [usize; 2],
    ) -> Tensor<2> {
        let Config {
            heads,
            kv_heads,
            head_dim,
            ..
        } = self.config;
        let adapted =
            |i: usize, x: Tensor<2>| linear(x.clone(), &layer.attention[i]) + products[i].apply(x);
        let split = |x: Tensor<2>, heads: usize| {
            let x = x.reshape([texts, longest, heads, head_dim]);
            x.swap_dims(1, 2) // [texts, heads, longest, head_dim]
        };
        let q = self.turn(split(adapted(0, x.clone()), heads));
        let k = self.turn(split(adapted(1, x.clone()), kv_heads));
        let v = split(adapted(2, x), kv_heads);

        // Query heads that share a key head are its further rows.
        let shared = heads / kv_heads;
        let q = q.reshape([texts, kv_heads, shared * longest, head_dim]);
        let later = Tensor::<2, Bool>::tril_mask([longest, longest], 0, &self.device);
        let later = later.repeat_dim(0, shared).unsqueeze::<4>();
        let later = later.expand([texts, kv_heads, shared * longest, longest]);
        let scores = q.matmul(k.swap_dims(2, 3)) * self.config.attention_scale;
        let weights = softmax(scores.mask_fill(later, f32::NEG_INFINITY), 3);
        let mixed = weights.matmul(v).reshape([texts, heads, longest, head_dim]);
        let mixed = mixed.swap_dims(1, 2);
        adapted(3, mixed.reshape([texts * longest, heads * head_dim]))
    }

    /// Rotary positions, of pairs half a head apart.
    fn turn(&self, x: Tensor<4>) -> Tensor<4> {
        let [_, _, longest, head_dim] = x.dims();
        let positions = Tensor::<1, Int>::arange(0..longest as i64, &self.device).float();
        let angles = positions.reshape([1, 1, longest, 1]) * self.frequencies.clone();
        let (cos, sin) = (angles.clone().cos(), angles.sin());
        let first = x.clone().narrow(3, 0, head_dim / 2);
        let second = x.narrow(3, head_dim / 2, head_dim / 2);
        let turned = first.clone() * cos.clone() - second.clone() * sin.clone();
        Tensor::cat(vec![turned, second * cos + first * sin], 3)
    }

    fn normalize(&self, x: Tensor<2>, gains: &Tensor<2>) -> Tensor<2> {
        let root = (x.clone().square().mean_dim(1) + self.eps).sqrt();
        x / root * gains.clone()
    }

    /// Token ids or row numbers on the device.
    fn line(&self, values: impl Iterator<Item = i32>) -> Tensor<1, Int> {
        let values: Vec<i32> = values.collect();
        let count = values.len();
        Tensor::from_data(TensorData::new(values, [count]), (&self.device, DType::I32))
    }
}

/// `x · wᵀ`, as checkpoints have their matrices.
pub fn linear(x: Tensor<2>, weight: &Tensor<2>) -> Tensor<2> {
    x.matmul(weight.clone().transpose())
}
