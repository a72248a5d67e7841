//! The decoder: one forward pass for every family, its switches in [`Config`].

use std::collections::{BTreeSet, VecDeque};

use burn::tensor::{Device, Int, Tensor};
use tinderbox_kernels::{
    AttentionSpec, Matrix, Norm, RopeSpec, add_norm, choose, draws, turning_attention,
};

use crate::begun::Begun;
use crate::layer::{Layer, Linear};
use crate::replay::Replays;
use crate::rows::{Outputs, Rows};
use crate::{Config, Error, Step, Want};

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
    /// One number, for what has no gains or frequencies.
    pub(crate) none: Tensor<1>,
    /// Steps that a GPU has recorded.
    pub(crate) replays: Replays,
    /// Steps that the device was given and nobody has the answers of yet, in their order.
    pub(crate) begun: VecDeque<Begun>,
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

    /// Whether the device is to draw tokens itself ([`Step::draws`]); elsewhere a host does it faster.
    pub fn draws(&self) -> bool {
        draws(&self.device)
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

    /// All layers, and what the output rows answer, where there are any.
    pub(crate) fn compute(&mut self, rows: &Rows, want: Want) -> Option<Answer> {
        self.compute_through(0..self.layers.len(), rows, want)
    }

    /// [`Self::compute`] through some layers.
    pub(crate) fn compute_through(
        &mut self,
        layers: impl IntoIterator<Item = usize>,
        rows: &Rows,
        want: Want,
    ) -> Option<Answer> {
        let mut x = self
            .embedding
            .embed(&rows.tokens, self.config.embedding_scale); // [rows, width]
        if let (Some(table), Some(positions)) = (&self.positions, &rows.positions) {
            x = x + table.embed(positions, 1.0);
        }
        let mut used = Used::default();
        for index in layers {
            x = self.layer(index, x, rows, &mut used);
        }
        let x = match &rows.outputs {
            Outputs::All => x,
            Outputs::Some(rows) => x.select(0, (**rows).clone()),
            Outputs::None => return None,
        };
        let logits = self.head.apply(&x, &None, None); // [outputs, vocab]
        let logits = match self.config.logit_softcap {
            Some(cap) => logits.div_scalar(cap).tanh().mul_scalar(cap),
            None => logits,
        };
        Some(match want {
            Want::Logits => Answer::Logits(logits),
            Want::Tokens => {
                // In place of the step's own, so that the next step has them where a device has both.
                let tokens = match &rows.outputs {
                    Outputs::Some(outputs) => rows.tokens.clone().select(0, (**outputs).clone()),
                    _ => rows.tokens.clone(),
                };
                Answer::Tokens(choose(tokens, &logits, rows.draws.as_ref()))
            }
        })
    }

    fn layer(&mut self, index: usize, x: Tensor<2>, rows: &Rows, used: &mut Used) -> Tensor<2> {
        let (layer, config) = (&self.layers[index], &self.config);

        let adapted = &rows.adapted;
        let qkv = layer.qkv.apply(&x, adapted, used.qkv.take()); // [rows, (heads + 2 · kv_heads) · head_dim]
        let cache = self.cache[index]
            .take()
            .expect("every step puts the cache back");
        let spec = AttentionSpec {
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            block: self.block_size,
            scale: config.attention_scale,
            softcap: config.attention_softcap,
            window: config.layers[index].window,
            alone: rows.numbers.alone,
            longest: rows.numbers.longest,
        };
        let which = config.layers[index].rope;
        let frequencies = self.frequencies.get(which).unwrap_or(&self.none);
        let unit = self.none.clone().reshape([1, 1]);
        let turns = (frequencies, layer.qk_gains.as_ref().unwrap_or(&unit));
        let (places, tables) = (&rows.places, &rows.tables);
        let rope = self.rope(index);
        // mixed: [rows, heads · head_dim]
        let (qkv, cache, mixed) = turning_attention(qkv, cache, places, tables, turns, rope, spec);
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

    /// How a layer's queries and keys are normalised and turned.
    fn rope(&self, index: usize) -> RopeSpec {
        let (config, which) = (&self.config, self.config.layers[index].rope);
        let table = config.ropes.get(which);
        let eps = match config.norm {
            Norm::Rms { eps } | Norm::Layer { eps } => eps,
        };
        RopeSpec {
            heads: config.heads,
            kv_heads: config.kv_heads,
            head_dim: config.head_dim,
            pairs: table.map_or(0, |rope| rope.frequencies.len()),
            interleaved: table.is_some_and(|rope| rope.interleaved),
            magnitude: table.map_or(1.0, |rope| rope.magnitude),
            qk_norm: self.layers[index].qk_gains.as_ref().map(|_| eps),
        }
    }

    pub(crate) fn check(&self, step: &Step) -> Result<(), Error> {
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
        if !step.draws.is_empty() && step.draws.len() != step.outputs.len() {
            return fail(format!(
                "{} draws for {} outputs",
                step.draws.len(),
                step.outputs.len()
            ));
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

/// What a step answers with, on the device.
#[derive(Clone)]
pub(crate) enum Answer {
    /// `[outputs, vocab]`.
    Logits(Tensor<2>),
    /// `[outputs]`.
    Tokens(Tensor<1, Int>),
}

/// What one layer has done with and the next one writes over.
#[derive(Default)]
struct Used {
    qkv: Option<Tensor<2>>,
    hidden: Option<Tensor<2>>,
}
