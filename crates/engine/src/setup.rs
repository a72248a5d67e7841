//! From a checkpoint to an engine that answers: what every place decides in the same way.

use std::collections::BTreeMap;
use std::sync::Arc;

use burn::tensor::Device;
use tinderbox_kernels::{Format, largest_buffer, supports_f16};
use tinderbox_model::{Checkpoint, Decoder, KvType, LoadOptions};
use tinderbox_protocol::ModelCard;

use crate::{AdapterStore, Clock, DecoderRunner, Engine, Limits, Options, Reload, Service};

/// Tokens in a KV block.
const BLOCK: usize = 16;

/// How a model is to be served.
#[derive(Clone)]
pub struct Setup {
    /// Name under which it answers.
    pub name: String,
    /// Most tokens of one sequence; the model's own context bounds it, and what a buffer of the device holds.
    pub context: usize,
    /// Numbers of the KV cache; `None` is `F16`, or `F32` where the weights are or the device wants it.
    pub kv: Option<KvType>,
    /// Most bytes the KV cache takes beyond one full context.
    pub cache_bytes: usize,
    /// How much is taken on at once.
    pub limits: Limits,
    /// Where adapters are found, and most bytes of them in memory; without it there are none.
    pub adapters: Option<(Arc<dyn AdapterStore>, u64)>,
    /// Measures rates.
    pub clock: Clock,
    /// Random bits, from which requests without a seed get theirs.
    pub entropy: u64,
    /// The time: Unix seconds.
    pub now: u64,
}

impl Setup {
    /// What to load, and the bytes its KV cache will take: a full context for each sequence, as far
    /// as `cache_bytes` goes.
    pub fn plan(&self, checkpoint: &Checkpoint, device: &Device) -> (LoadOptions, usize) {
        let config = &checkpoint.config;
        let kv = self.kv.unwrap_or_else(|| {
            let embedding = checkpoint.info("token_embd.weight");
            let exact = embedding.is_some_and(|info| info.format == Format::F32);
            match exact || !supports_f16(device) {
                true => KvType::F32,
                false => KvType::F16,
            }
        });
        let number = if kv == KvType::F16 { 2 } else { 4 };
        // Of a layer, whose cache is one buffer.
        let token = 2 * config.kv_heads * config.head_dim * number;
        let most = largest_buffer(device) / token.max(1);
        let token = token * config.layers.len();
        let (context, tokens) = self.room(config.context, token, most);
        let options = LoadOptions {
            context,
            block_size: BLOCK,
            blocks: tokens.div_ceil(BLOCK),
            kv,
        };
        (options, options.blocks * BLOCK * token)
    }

    /// Tokens of a sequence and of the cache, where one takes `token` bytes and no more than `most` fit.
    fn room(&self, context: usize, token: usize, most: usize) -> (usize, usize) {
        let most = (most / BLOCK * BLOCK).max(BLOCK);
        let context = self.context.min(context).min(most);
        let affordable = (self.cache_bytes / token.max(1)).max(context);
        let wanted = context * self.limits.max_sequences.max(1);
        (context, wanted.min(affordable).min(most))
    }

    /// The engine of a loaded decoder, and who answers with it. `device` is for people; `reload`
    /// loads the decoder again in the same way.
    pub fn engine(
        self,
        decoder: Decoder,
        checkpoint: Checkpoint,
        device: String,
        reload: Option<Reload>,
    ) -> (Engine<DecoderRunner>, Service) {
        let dtype = main_format(&checkpoint);
        let tokenizer = Arc::new(checkpoint.tokenizer);
        let memory = BTreeMap::from([
            ("kv_cache", decoder.cache_bytes() as u64),
            ("weights", decoder.weight_bytes() as u64),
        ]);
        let options = Options {
            limits: self.limits,
            clock: self.clock,
            entropy: self.entropy,
        };
        let rows = self.limits.prefill_rows + self.limits.max_sequences + self.limits.speculate;
        let runner = DecoderRunner::new(decoder, rows, reload);
        let (engine, handle) = Engine::new(runner, tokenizer.clone(), options);
        let card = ModelCard {
            id: self.name,
            created: self.now,
            context_length: handle.context(),
            vocab_size: tokenizer.vocab_size(),
            device,
            dtype,
        };
        let aliases = Vec::new();
        let service = Service::new(
            handle,
            tokenizer,
            checkpoint.template,
            card,
            aliases,
            memory,
        );
        let service = match self.adapters {
            Some((store, budget)) => service.with_adapters(store, budget, checkpoint.config),
            None => service,
        };
        (engine, service)
    }
}

/// The format that most tensors of more than one row have.
fn main_format(checkpoint: &Checkpoint) -> String {
    let mut counts = BTreeMap::<String, usize>::new();
    let infos = checkpoint.names().filter_map(|name| checkpoint.info(name));
    for info in infos.filter(|info| info.shape.len() > 1) {
        *counts.entry(info.format.to_string()).or_default() += 1;
    }
    let most = counts.into_iter().max_by_key(|(_, count)| *count);
    most.map_or_else(String::new, |(format, _)| format)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_is_as_large_as_sequences_memory_and_a_buffer_allow() {
        let setup = |cache_bytes, max_sequences| Setup {
            name: String::new(),
            context: 1000,
            kv: None,
            cache_bytes,
            limits: Limits {
                max_sequences,
                ..Limits::default()
            },
            adapters: None,
            clock: Arc::new(|| std::time::Duration::ZERO),
            entropy: 0,
            now: 0,
        };
        let most = usize::MAX;
        assert_eq!(setup(1 << 30, 4).room(2000, 100, most), (1000, 4000));
        assert_eq!(setup(1 << 30, 4).room(500, 100, most), (500, 2000));
        // Beyond one context memory decides, and within it, too, what a buffer holds.
        assert_eq!(setup(300_000, 4).room(2000, 100, most), (1000, 3000));
        assert_eq!(setup(0, 4).room(2000, 100, most), (1000, 1000));
        assert_eq!(setup(1 << 30, 4).room(2000, 100, 1500), (1000, 1488));
        assert_eq!(setup(1 << 30, 4).room(2000, 100, 700), (688, 688));
    }
}
