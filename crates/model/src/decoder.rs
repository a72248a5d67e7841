//! The decoder: one forward pass for every family, its switches in [`Config`].

use std::borrow::Cow;
use std::collections::BTreeSet;

use burn::tensor::{Device, Int, Tensor, TensorData};
use tinderbox_kernels::profile::{Track, enter};
use tinderbox_kernels::{
    AttentionSpec, Matrix, Norm, RopeSpec, add_norm, attention, flush, on_cpu, rope, together,
};

use crate::layer::{Adapted, Layer, Linear};
use crate::{Config, Error, Output, Step, Want};

/// Rows a GPU gets: 1, 2, 4 or 8, and beyond them whole quarters of a product's tile. Whole tiles would cost a GPU in
/// software, which computes row by row, four times as much.
const FEW: usize = 8;
const TILE: usize = 16;

/// A decoder on a device, with its KV cache.
pub struct Decoder {
    pub(crate) config: Config,
    pub(crate) device: Device,
    pub(crate) embedding: Matrix,
    /// Learned positions (GPT-2).
    pub(crate) positions: Option<Matrix>,
    pub(crate) layers: Vec<Layer>,
    /// Final norm and vocabulary.
    pub(crate) head: Linear,
    /// The head's matrix is the embedding.
    pub(crate) tied: bool,
    /// Radians a position, one table for each of [`Config::ropes`].
    pub(crate) frequencies: Vec<Tensor<1>>,
    /// Keys and values of each layer, `[2, slots, kv_heads · head_dim]`. Taken out and put back by
    /// a step, so that kernels write them in place.
    pub(crate) cache: Vec<Option<Tensor<3>>>,
    pub(crate) context: usize,
    pub(crate) block_size: usize,
    pub(crate) blocks: usize,
    /// Slots that hold an adapter.
    pub(crate) adapters: BTreeSet<u32>,
}

impl Decoder {
    /// What the decoder is.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Tokens one sequence may hold.
    pub fn context(&self) -> usize {
        self.context
    }

    /// Tokens in a KV block.
    pub fn block_size(&self) -> usize {
        self.block_size
    }

    /// KV blocks, fixed at load.
    pub fn blocks(&self) -> usize {
        self.blocks
    }

    /// The device it runs on.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Bytes of weights on the device, a tied head counted once.
    pub fn weight_bytes(&self) -> usize {
        let linear = |l: &Linear| l.parts.iter().map(|(m, ..)| m.bytes()).sum::<usize>();
        let layers = self.layers.iter().flat_map(Layer::products);
        let layers = layers.map(linear);
        let tables = self.embedding.bytes() + self.positions.as_ref().map_or(0, Matrix::bytes);
        // A tied head is the embedding again: counted once.
        let head = if self.tied { 0 } else { linear(&self.head) };
        layers.sum::<usize>() + head + tables
    }

    /// Bytes of the KV cache.
    pub fn cache_bytes(&self) -> usize {
        let tensors = self.cache.iter().flatten();
        tensors
            .map(|t| t.shape().num_elements() * t.dtype().size())
            .sum()
    }

    /// Runs one step: writes the rows' keys and values, and answers for its output rows.
    ///
    /// # Errors
    /// A step whose parts do not fit together (nothing is written then), or a failed device.
    pub async fn forward(&mut self, step: &Step, want: Want) -> Result<Output, Error> {
        self.check(step)?;
        let step = &*self.in_tiles(step);
        let blocks = self.context.div_ceil(self.block_size);
        let count = step.tokens.len();
        let _step = enter(Track::Host, || format!("step of {count}"));

        let device = self.device.clone();
        let logits = {
            let _queue = enter(Track::Host, || "layers".into());
            let rows = Rows::new(step, self.block_size, blocks, &device);
            together(&device, || self.logits(step, &rows))
        };
        let _answer = enter(Track::Host, || "answer".into());
        let Some(logits) = logits else {
            // Nothing is read back: what waits for the device would keep the memory of every chunk of a prompt.
            flush(&device).map_err(Error::Device)?;
            return Ok(match want {
                Want::Logits => Output::Logits(Vec::new()),
                Want::Argmax => Output::Tokens(Vec::new()),
            });
        };
        match want {
            Want::Logits => {
                let data = logits.into_data_async().await.map_err(Error::device)?;
                Ok(Output::Logits(
                    data.try_into_vec::<f32>().map_err(Error::device)?,
                ))
            }
            Want::Argmax => {
                let data = logits
                    .argmax(1)
                    .into_data_async()
                    .await
                    .map_err(Error::device)?;
                Ok(Output::Tokens(data.iter::<u32>().collect()))
            }
        }
    }

    /// Runs a step of each shape there is, so that a GPU compiles its kernels now and no request waits for them; those of
    /// adapters come with the first one. What it writes to the cache is of no sequence.
    ///
    /// # Errors
    /// A failed device.
    pub async fn warm_up(&mut self) -> Result<(), Error> {
        for rows in [1, 2, 4, FEW, TILE] {
            let rows = rows.min(self.context).min(self.blocks * self.block_size) as u32;
            let step = Step {
                tokens: vec![0; rows as usize],
                positions: (0..rows).collect(),
                sequences: vec![0; rows as usize],
                tables: vec![(0..rows.div_ceil(self.block_size as u32)).collect()],
                outputs: (0..rows).collect(),
                adapters: Vec::new(),
            };
            self.forward(&step, Want::Argmax).await?;
        }
        Ok(())
    }

    /// All layers, and the logits of the output rows, `[outputs, vocab]`, where there are any.
    fn logits(&mut self, step: &Step, rows: &Rows) -> Option<Tensor<2>> {
        let mut x = self
            .embedding
            .embed(&rows.tokens, self.config.embedding_scale); // [rows, width]
        if let Some(table) = &self.positions {
            x = x + table.embed(&rows.positions, 1.0);
        }
        let mut used = Used::default();
        for index in 0..self.layers.len() {
            x = self.layer(index, x, rows, &mut used);
        }
        if step.outputs.is_empty() {
            return None;
        }
        let logits = self
            .head
            .apply(&x.select(0, rows.outputs.clone()), &None, None);
        Some(match self.config.logit_softcap {
            Some(cap) => logits.div_scalar(cap).tanh().mul_scalar(cap),
            None => logits,
        })
    }

    fn layer(&mut self, index: usize, x: Tensor<2>, rows: &Rows, used: &mut Used) -> Tensor<2> {
        let (layer, config) = (&self.layers[index], &self.config);

        let adapted = &rows.adapted;
        let qkv = layer.qkv.apply(&x, adapted, used.qkv.take()); // [rows, (heads + 2 · kv_heads) · head_dim]
        let cache = self.cache[index]
            .take()
            .expect("every step puts the cache back");
        let (qkv, cache) = self.rotate(index, qkv, cache, rows);
        let spec = AttentionSpec {
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            block: self.block_size,
            scale: config.attention_scale,
            softcap: config.attention_softcap,
            window: config.layers[index].window,
            alone: rows.alone,
            longest: rows.longest,
        };
        let mixed = attention(&qkv, &cache, &rows.places, &rows.tables, spec); // [rows, heads · head_dim]
        self.cache[index] = Some(cache);
        used.qkv = Some(qkv);

        if config.parallel {
            let hidden = layer.up.apply(&x, adapted, used.hidden.take());
            let x = layer.out.add(x, &mixed, adapted);
            let x = layer.down.add(x, &hidden, adapted);
            used.hidden = Some(hidden);
            return x;
        }
        let x = match &layer.post_attention {
            Some(gains) => {
                let y = layer.out.apply(&mixed, adapted, None);
                add_norm(x, &y, gains, config.norm)
            }
            None => layer.out.add(x, &mixed, adapted),
        };
        let hidden = layer.up.apply(&x, adapted, used.hidden.take()); // [rows, ffn], twice that when gated
        let x = match &layer.post_ffn {
            Some(gains) => {
                let y = layer.down.apply(&hidden, adapted, None);
                add_norm(x, &y, gains, config.norm)
            }
            None => layer.down.add(x, &hidden, adapted),
        };
        used.hidden = Some(hidden);
        x
    }

    /// Query and key norms, rotary positions, and the write to the cache.
    fn rotate(
        &self,
        index: usize,
        qkv: Tensor<2>,
        cache: Tensor<3>,
        rows: &Rows,
    ) -> (Tensor<2>, Tensor<3>) {
        let (config, which) = (&self.config, self.config.layers[index].rope);
        let gains = &self.layers[index].qk_gains;
        let table = config.ropes.get(which);
        let eps = match config.norm {
            Norm::Rms { eps } | Norm::Layer { eps } => eps,
        };
        let spec = RopeSpec {
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            pairs: table.map_or(0, |rope| rope.frequencies.len()),
            interleaved: table.is_some_and(|rope| rope.interleaved),
            magnitude: table.map_or(1.0, |rope| rope.magnitude),
            qk_norm: gains.as_ref().map(|_| eps),
        };
        let none = Tensor::zeros([1], &self.device);
        let frequencies = self.frequencies.get(which).unwrap_or(&none);
        let unit = none.clone().reshape([1, 1]);
        rope(
            qkv,
            cache,
            &rows.places,
            frequencies,
            gains.as_ref().unwrap_or(&unit),
            spec,
        )
    }

    /// A GPU's products take as long for a whole tile of rows as for a part of it: it gets whole ones, the last row again and
    /// again, which writes what it wrote. So steps have few shapes, and what is kept for each does not grow with a chat.
    fn in_tiles<'a>(&self, step: &'a Step) -> Cow<'a, Step> {
        let rows = step.tokens.len();
        let whole = match rows <= FEW {
            true => rows.next_power_of_two(),
            false => rows.next_multiple_of(TILE),
        };
        if on_cpu(&self.device) || rows == whole {
            return Cow::Borrowed(step);
        }
        let mut step = step.clone();
        for values in [&mut step.tokens, &mut step.positions, &mut step.sequences] {
            values.resize(whole, values[rows - 1]);
        }
        Cow::Owned(step)
    }

    fn check(&self, step: &Step) -> Result<(), Error> {
        let rows = step.tokens.len();
        let fail = |reason: String| Err(Error::Step(reason));
        if step.positions.len() != rows || step.sequences.len() != rows || rows == 0 {
            return fail(format!(
                "{rows} tokens, {} positions, {} sequences",
                step.positions.len(),
                step.sequences.len()
            ));
        }
        if let Some(token) = step
            .tokens
            .iter()
            .find(|t| **t as usize >= self.config.vocab)
        {
            return fail(format!(
                "token {token} is outside the vocabulary of {}",
                self.config.vocab
            ));
        }
        if let Some(row) = step.outputs.iter().find(|r| **r as usize >= rows) {
            return fail(format!("output row {row} of {rows}"));
        }
        if let Some(block) = step
            .tables
            .iter()
            .flatten()
            .find(|b| **b as usize >= self.blocks)
        {
            return fail(format!("block {block} of {}", self.blocks));
        }
        let mut slots = step.adapters.iter().flatten();
        if let Some(slot) = slots.find(|slot| !self.adapters.contains(*slot)) {
            return fail(format!("no adapter is in slot {slot}"));
        }
        if !step.adapters.is_empty() && step.adapters.len() != step.tables.len() {
            return fail(format!(
                "{} adapters for {} sequences",
                step.adapters.len(),
                step.tables.len()
            ));
        }
        for (position, sequence) in step.positions.iter().zip(&step.sequences) {
            let held = step
                .tables
                .get(*sequence as usize)
                .map_or(0, |t| t.len() * self.block_size);
            if *position as usize >= held.min(self.context) {
                return fail(format!(
                    "position {position} of sequence {sequence}, which holds {held}"
                ));
            }
        }
        Ok(())
    }
}

/// What one layer has done with and the next one writes over.
#[derive(Default)]
struct Used {
    qkv: Option<Tensor<2>>,
    hidden: Option<Tensor<2>>,
}

/// A step's integers on the device.
struct Rows {
    tokens: Tensor<1, Int>,
    positions: Tensor<1, Int>,
    /// Position, slot and sequence of each row.
    places: Tensor<2, Int>,
    /// Block ids, padded with zeros.
    tables: Tensor<2, Int>,
    outputs: Tensor<1, Int>,
    adapted: Adapted,
    /// No two rows are of one sequence.
    alone: bool,
    /// Tokens of the longest row's sequence so far.
    longest: usize,
}

impl Rows {
    /// `blocks` is how many a sequence can have: a shape that does not change with its length.
    fn new(step: &Step, block: usize, blocks: usize, device: &Device) -> Rows {
        let line = |values: &[u32]| {
            let values: Vec<i32> = values.iter().map(|v| *v as i32).collect();
            let count = values.len();
            Tensor::from_data(
                TensorData::new(values, [count]),
                (device, burn::tensor::DType::I32),
            )
        };
        let places: Vec<i32> = (step.positions.iter().zip(&step.sequences))
            .flat_map(|(&position, &sequence)| {
                let table = &step.tables[sequence as usize];
                let slot =
                    table[position as usize / block] as usize * block + position as usize % block;
                [position as i32, slot as i32, sequence as i32]
            })
            .collect();
        let longest = step.tables.iter().map(Vec::len).fold(blocks, usize::max);
        let mut tables = vec![0i32; step.tables.len() * longest];
        for (padded, table) in tables.chunks_mut(longest.max(1)).zip(&step.tables) {
            for (to, from) in padded.iter_mut().zip(table) {
                *to = *from as i32;
            }
        }
        let grid = |values: Vec<i32>, shape: [usize; 2]| {
            Tensor::from_data(
                TensorData::new(values, shape),
                (device, burn::tensor::DType::I32),
            )
        };
        let adapted: Vec<i32> = (step.sequences.iter().enumerate())
            .filter_map(|(row, sequence)| {
                let slot = step.adapters.get(*sequence as usize).copied().flatten()?;
                Some([row as i32, slot as i32])
            })
            .flatten()
            .collect();
        let count = adapted.len() / 2;
        Rows {
            adapted: (count > 0).then(|| grid(adapted, [count, 2])),
            tokens: line(&step.tokens),
            positions: line(&step.positions),
            places: grid(places, [step.tokens.len(), 3]),
            tables: grid(tables, [step.tables.len(), longest]),
            outputs: line(&step.outputs),
            alone: step.sequences.iter().collect::<BTreeSet<_>>().len() == step.sequences.len(),
            longest: step
                .positions
                .iter()
                .max()
                .map_or(0, |last| *last as usize + 1),
        }
    }
}
