//! A checkpoint's tensors onto a device, one at a time.

use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::slice;

use burn::tensor::{Bytes, DType, Device, Tensor, TensorData};
use tinderbox_kernels::{
    Arena, Input, Layout, LowRank, Matrix, MatrixError, Norm, With, flush, reference, unwritten,
};

use crate::decoder::Decoder;
use crate::layer::{Layer, Linear};
use crate::lora::Product;
use crate::replay::Replays;
use crate::{Checkpoint, Config, Error, RawTensor, TensorInfo};

/// What is decided at load.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions {
    /// Tokens one sequence may hold; the model's own context bounds it.
    pub context: usize,
    /// Tokens in a KV block.
    pub block_size: usize,
    /// KV blocks, shared by all sequences.
    pub blocks: usize,
    /// Numbers of the KV cache.
    pub kv: KvType,
}

/// Numbers of the KV cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvType {
    /// Half precision: half the memory, 11 bits of mantissa.
    F16,
    /// Single precision.
    F32,
}

impl Decoder {
    /// Reads every tensor the decoder needs, in the order of the layers, so that the host holds no
    /// more than one matrix at a time.
    ///
    /// # Errors
    /// A missing tensor, a shape that does not fit the configuration, a failed read.
    pub async fn load(
        checkpoint: &Checkpoint,
        device: &Device,
        options: LoadOptions,
    ) -> Result<Decoder, Error> {
        let loader = Loader {
            checkpoint,
            config: &checkpoint.config,
            device,
            arena: RefCell::new(Arena::new(device, checkpoint.bytes() as usize)),
        };
        let config = loader.config;
        loader.check()?;

        let embedding = loader
            .matrix("token_embd", config.vocab, config.width)
            .await?;
        flush(device).map_err(Error::Device)?;
        let positions = match loader.has("position_embd.weight") {
            true => Some(
                loader
                    .matrix("position_embd", config.context, config.width)
                    .await?,
            ),
            false => None,
        };
        let mut layers = Vec::with_capacity(config.layers.len());
        for index in 0..config.layers.len() {
            layers.push(loader.layer(index).await?);
            flush(device).map_err(Error::Device)?;
        }
        let head = loader.head(&embedding).await?;
        let line = |values: &Vec<f32>| {
            Tensor::<1>::from_data(TensorData::new(values.clone(), [values.len()]), device)
        };
        let frequencies = config
            .ropes
            .iter()
            .map(|rope| line(&rope.frequencies))
            .collect();
        let cache = config
            .layers
            .iter()
            .map(|_| Some(loader.cache(options)))
            .collect();
        Ok(Decoder {
            config: config.clone(),
            device: device.clone(),
            embedding,
            positions,
            layers,
            head,
            tied: !loader.has("output.weight"),
            frequencies,
            cache,
            context: options.context.min(config.context),
            block_size: options.block_size,
            blocks: options.blocks,
            adapters: BTreeSet::new(),
            none: Tensor::zeros([1], device),
            replays: Replays::new(),
            begun: VecDeque::new(),
        })
    }
}

/// A matrix of the file, with or without a bias.
#[derive(Clone)]
struct Part {
    /// Before `.weight` and `.bias`.
    name: String,
    layout: Layout,
    bias: bool,
}

struct Loader<'a> {
    checkpoint: &'a Checkpoint,
    config: &'a Config,
    device: &'a Device,
    arena: RefCell<Arena>,
}

impl Loader<'_> {
    /// What the kernels take for granted.
    fn check(&self) -> Result<(), Error> {
        let Config {
            heads,
            kv_heads,
            head_dim,
            ..
        } = *self.config;
        if kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
            return Err(self.misfit(format!("{heads} heads do not share {kv_heads} KV heads")));
        }
        if head_dim == 0 || !head_dim.is_multiple_of(8) {
            return Err(self.misfit(format!("head width {head_dim} is no multiple of 8")));
        }
        let pairs = self
            .config
            .ropes
            .iter()
            .map(|rope| rope.frequencies.len())
            .max();
        if pairs.unwrap_or(0) * 2 > head_dim {
            return Err(self.misfit(format!("rotary width exceeds the head width {head_dim}")));
        }
        Ok(())
    }

    fn misfit(&self, reason: String) -> Error {
        Error::Unsupported {
            architecture: self.config.architecture.clone(),
            reason,
        }
    }

    fn has(&self, name: &str) -> bool {
        self.checkpoint.info(name).is_some()
    }

    async fn layer(&self, index: usize) -> Result<Layer, Error> {
        let config = self.config;
        let name = |part: &str| format!("blk.{index}.{part}");
        let (q, kv) = (
            config.heads * config.head_dim,
            config.kv_heads * config.head_dim,
        );

        let norm = Input::Norm(config.norm);
        let gains = self.gains(&name("attn_norm"), config.width).await?;
        let fused = name("attn_qkv");
        let qkv = if self.has(&format!("{fused}.weight")) {
            vec![self.part(&fused, q + 2 * kv, config.width)?]
        } else {
            vec![
                self.part(&name("attn_q"), q, config.width)?,
                self.part(&name("attn_k"), kv, config.width)?,
                self.part(&name("attn_v"), kv, config.width)?,
            ]
        };
        let qkv = self
            .adaptable(Product::Qkv, qkv, norm, Some(&gains))
            .await?;
        let out = vec![self.part(&name("attn_output"), config.width, q)?];
        let out = self
            .adaptable(Product::Out, out, Input::Plain, None)
            .await?;
        let qk_gains = match self.has(&name("attn_q_norm.weight")) {
            true => {
                let mut both = self.gain(&name("attn_q_norm"), config.head_dim).await?;
                both.extend(self.gain(&name("attn_k_norm"), config.head_dim).await?);
                Some(self.grid(both, 2))
            }
            false => None,
        };

        // A parallel layer has one norm for both halves.
        let gains = match config.parallel {
            true => gains,
            false => self.gains(&name("ffn_norm"), config.width).await?,
        };
        let wide = if config.gated {
            2 * config.ffn
        } else {
            config.ffn
        };
        let up = if config.gated && self.has(&name("ffn_gate.weight")) {
            vec![
                self.part(&name("ffn_gate"), config.ffn, config.width)?,
                self.part(&name("ffn_up"), config.ffn, config.width)?,
            ]
        } else {
            vec![self.part(&name("ffn_up"), wide, config.width)?]
        };
        let up = self.adaptable(Product::Up, up, norm, Some(&gains)).await?;
        let down = vec![self.part(&name("ffn_down"), config.width, config.ffn)?];
        let input = match config.gated {
            true => Input::Gated(config.activation),
            false => Input::Act(config.activation),
        };
        Ok(Layer {
            qkv,
            qk_gains,
            out,
            up,
            down: self.adaptable(Product::Down, down, input, None).await?,
            post_attention: self.post(&name("post_attention_norm")).await?,
            post_ffn: self.post(&name("post_ffw_norm")).await?,
        })
    }

    async fn post(&self, name: &str) -> Result<Option<Tensor<2>>, Error> {
        match self.has(&format!("{name}.weight")) {
            true => Ok(Some(self.gains(name, self.config.width).await?)),
            false => Ok(None),
        }
    }

    /// The final norm and the vocabulary: a matrix of its own, or the embedding again.
    async fn head(&self, embedding: &Matrix) -> Result<Linear, Error> {
        let config = self.config;
        let gains = self.gains("output_norm", config.width).await?;
        if self.has("output.weight") {
            let part = self.part("output", config.vocab, config.width)?;
            return self
                .linear(vec![part], Input::Norm(config.norm), Some(&gains))
                .await;
        }
        let with = With {
            input: Input::Norm(config.norm),
            gains,
            bias: self.line(vec![0.0]),
        };
        Ok(Linear {
            parts: vec![(embedding.clone(), with, 0)],
            width: config.vocab,
            adapters: None,
        })
    }

    /// A product of a layer, which takes adapters.
    async fn adaptable(
        &self,
        product: Product,
        parts: Vec<Part>,
        input: Input,
        gains: Option<&Tensor<2>>,
    ) -> Result<Linear, Error> {
        let (columns, outputs) = (product.columns(self.config), product.outputs(self.config));
        Ok(Linear {
            adapters: Some(LowRank::new(columns, outputs, self.device)),
            ..self.linear(parts, input, gains).await?
        })
    }

    /// Puts the parts on the device, neighbours of one format as one matrix.
    async fn linear(
        &self,
        parts: Vec<Part>,
        input: Input,
        gains: Option<&Tensor<2>>,
    ) -> Result<Linear, Error> {
        let mut linear = Linear {
            parts: Vec::new(),
            width: 0,
            adapters: None,
        };
        for parts in parts.chunk_by(|part, next| self.join(part, next)) {
            let (matrix, bias) = self.place(parts).await?;
            let first = linear.width;
            linear.width += matrix.layout().rows;
            let with = With {
                input,
                gains: gains.cloned().unwrap_or_else(|| self.grid(vec![0.0], 1)),
                bias: self.line(bias),
            };
            linear.parts.push((matrix, with, first));
        }
        Ok(linear)
    }

    fn part(&self, name: &str, rows: usize, columns: usize) -> Result<Part, Error> {
        let weight = format!("{name}.weight");
        let TensorInfo { format, shape } = self.checkpoint.require(&weight)?;
        self.fits(&weight, &shape, &[rows, columns])?;
        Ok(Part {
            name: name.to_owned(),
            layout: Layout {
                format,
                rows,
                columns,
            },
            bias: self.has(&format!("{name}.bias")),
        })
    }

    async fn matrix(&self, name: &str, rows: usize, columns: usize) -> Result<Matrix, Error> {
        let part = self.part(name, rows, columns)?;
        Ok(self.place(&[part]).await?.0)
    }

    /// Puts parts that join on the device, a piece at a time, and reads their biases: a single zero where they have none.
    async fn place(&self, parts: &[Part]) -> Result<(Matrix, Vec<f32>), Error> {
        let layout = Layout {
            rows: parts.iter().map(|part| part.layout.rows).sum(),
            ..parts[0].layout
        };
        let misfit = |e: MatrixError| self.misfit(e.to_string());
        let matrix = match self.mapped(parts) {
            Some(bytes) => self.arena.borrow().keep(layout, bytes),
            None => {
                let mut filling = self.arena.borrow_mut().begin(layout).map_err(misfit)?;
                for weight in parts.iter().map(Part::weight) {
                    for rows in self.checkpoint.pieces(&weight, filling.piece()) {
                        filling.add(self.checkpoint.read_rows(&weight, rows).await?);
                    }
                }
                self.arena.borrow().finish(filling)
            }
        };
        let mut biases = Vec::new();
        for part in parts.iter().filter(|part| part.bias) {
            let name = format!("{}.bias", part.name);
            biases.extend(self.floats(&name, part.layout.rows).await?);
        }
        if biases.is_empty() {
            biases.push(0.0);
        }
        Ok((matrix.map_err(misfit)?, biases))
    }

    /// The parts where the file has them side by side, in the form that the device takes.
    fn mapped(&self, parts: &[Part]) -> Option<Bytes> {
        let arena = self.arena.borrow();
        let kept = parts.iter().all(|part| arena.keeps(part.layout));
        let weights: Vec<String> = parts.iter().map(Part::weight).collect();
        let names = weights.iter().map(String::as_str);
        let bytes = kept.then(|| self.checkpoint.map(names)).flatten();
        bytes.filter(|bytes| bytes.as_ptr().cast::<u32>().is_aligned())
    }

    /// One matrix serves both: same storage, and both or neither with a bias. What can stay where the file has it is not copied
    /// for that.
    fn join(&self, part: &Part, next: &Part) -> bool {
        let both = [part, next].map(Part::clone);
        part.layout.format == next.layout.format
            && part.layout.columns == next.layout.columns
            && part.bias == next.bias
            && (self.mapped(&both).is_some()
                || both
                    .iter()
                    .any(|it| self.mapped(slice::from_ref(it)).is_none()))
    }

    /// A norm's gain, and its bias where it is a layer norm: `[1 or 2, columns]`.
    async fn gains(&self, name: &str, columns: usize) -> Result<Tensor<2>, Error> {
        let mut values = self.gain(name, columns).await?;
        let rows = match self.config.norm {
            Norm::Rms { .. } => 1,
            Norm::Layer { .. } => {
                values.extend(self.floats(&format!("{name}.bias"), columns).await?);
                2
            }
        };
        Ok(self.grid(values, rows))
    }

    async fn gain(&self, name: &str, columns: usize) -> Result<Vec<f32>, Error> {
        let mut gain = self.floats(&format!("{name}.weight"), columns).await?;
        for value in &mut gain {
            *value += self.config.norm_offset;
        }
        Ok(gain)
    }

    async fn floats(&self, name: &str, len: usize) -> Result<Vec<f32>, Error> {
        let raw = self.read(name, &[len]).await?;
        Ok(reference::dequantize(raw.format, &raw.bytes))
    }

    async fn read(&self, name: &str, shape: &[usize]) -> Result<RawTensor, Error> {
        let raw = self.checkpoint.read(name).await?;
        self.fits(name, &raw.shape, shape)?;
        Ok(raw)
    }

    fn fits(&self, name: &str, found: &[usize], expected: &[usize]) -> Result<(), Error> {
        match found == expected {
            true => Ok(()),
            false => Err(self.misfit(format!("{name}: shape {found:?}, expected {expected:?}"))),
        }
    }

    fn line(&self, values: Vec<f32>) -> Tensor<1> {
        let len = values.len();
        Tensor::from_data(TensorData::new(values, [len]), self.device)
    }

    fn grid(&self, values: Vec<f32>, rows: usize) -> Tensor<2> {
        let columns = values.len() / rows;
        Tensor::from_data(TensorData::new(values, [rows, columns]), self.device)
    }

    /// A layer's cache. A slot is written before it is read.
    fn cache(&self, options: LoadOptions) -> Tensor<3> {
        let config = self.config;
        let shape = [
            2,
            options.blocks * options.block_size,
            config.kv_heads * config.head_dim,
        ];
        let dtype = match options.kv {
            KvType::F16 => DType::F16,
            KvType::F32 => DType::F32,
        };
        unwritten(shape, dtype, self.device)
    }
}

impl Part {
    fn weight(&self) -> String {
        format!("{}.weight", self.name)
    }
}
