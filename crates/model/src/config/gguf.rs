//! A [`Config`] from GGUF metadata. `A` stands for the architecture, as in `llama.block_count`.
//!
//! | field | key |
//! |---|---|
//! | `architecture` | `general.architecture` |
//! | `vocab` | rows of the tensor `token_embd.weight` |
//! | `width` | `A.embedding_length` |
//! | `heads`, `kv_heads` | `A.attention.head_count`, `A.attention.head_count_kv` (default `heads`) |
//! | `head_dim` | `A.attention.key_length` (default `width / heads`) |
//! | `ffn` | `A.feed_forward_length` |
//! | `context` | `A.context_length` |
//! | `norm` | `A.attention.layer_norm_rms_epsilon` or `A.attention.layer_norm_epsilon` |
//! | `ropes` | `A.rope.freq_base`, `A.rope.freq_base_swa`, `A.rope.dimension_count`, `A.rope.scaling.*`, the tensors `rope_freqs.weight`, `rope_factors_long.weight`, `rope_factors_short.weight` |
//! | `attention_softcap` | `A.attn_logit_softcapping` |
//! | `logit_softcap` | `A.final_logit_softcapping` |
//! | `layers` | `A.block_count`, `A.attention.sliding_window`, `A.attention.sliding_window_pattern` |
//!
//! `parallel`, `activation`, `gated` and `embedding_scale` follow from the family. `norm_offset` is
//! 0: converters fold Gemma's 1 into the weights.

use super::rope::{Scaling, yarn_magnitude};
use super::{Config, Family, Norm, Rope, check_sizes, family, gemma_query_scalar, layers};
use crate::Error;
use crate::gguf::{Array, Metadata, Value};

/// Gemma 3's rotary base in local layers.
const LOCAL_BASE: f32 = 10_000.0;
/// Gemma 2's window, which old files do not write.
const GEMMA2_WINDOW: usize = 4096;

/// Metadata with the architecture's prefix at hand.
struct Keys<'a> {
    meta: &'a Metadata,
    family: &'static Family,
}

impl Config {
    /// The tensor that holds the rotary factors of this file, if one of the present does.
    ///
    /// LongRoPE models have two sets. The long one serves where the model was made for more than
    /// its original context, as the choice must hold for a whole sequence.
    pub(crate) fn factor_tensor(
        meta: &Metadata,
        has: impl Fn(&str) -> bool,
    ) -> Result<Option<&'static str>, Error> {
        let keys = Keys::new(meta)?;
        let context = keys.size("context_length")?;
        let original = keys
            .usize("rope.scaling.original_context_length")?
            .unwrap_or(context);
        let long = match context > original {
            true => "rope_factors_long.weight",
            false => "rope_factors_short.weight",
        };
        Ok(["rope_freqs.weight", long]
            .into_iter()
            .find(|name| has(name)))
    }

    /// Reads the configuration.
    ///
    /// `vocab` is the number of rows of the embedding, `factors` the values of
    /// [`factor_tensor`](Config::factor_tensor).
    ///
    /// # Errors
    /// Missing keys, values of a wrong type or out of range, families and variants unknown here.
    pub(crate) fn from_gguf(
        meta: &Metadata,
        vocab: usize,
        factors: Option<Vec<f32>>,
    ) -> Result<Config, Error> {
        let keys = Keys::new(meta)?;
        let family = keys.family;
        if keys.usize("expert_count")?.unwrap_or(0) > 0 {
            return Err(keys.unsupported("mixtures of experts are not implemented"));
        }
        let count = keys.size("block_count")?;
        let width = keys.size("embedding_length")?;
        let heads = keys.size("attention.head_count")?;
        let head_dim = keys.usize("attention.key_length")?;
        let head_dim = head_dim.unwrap_or(width / heads.max(1));
        check_sizes(count, width, heads, head_dim).map_err(|reason| keys.unsupported(reason))?;
        if keys
            .usize("attention.value_length")?
            .is_some_and(|value| value != head_dim)
        {
            return Err(keys.unsupported("keys and values of different widths"));
        }

        let ropes = keys.ropes(head_dim, factors)?;
        let window = keys.usize("attention.sliding_window")?;
        let window = window.or((family.gguf == "gemma2").then_some(GEMMA2_WINDOW));
        let local = keys.pattern()?;
        let layers = layers(count, window.filter(|n| *n > 0), ropes.len(), local);
        let query_scalar = match family.gemma {
            true => gemma_query_scalar(count, width, heads, head_dim),
            false => head_dim as f32,
        };
        Ok(Config {
            architecture: family.gguf.to_owned(),
            vocab,
            width,
            heads,
            kv_heads: keys.usize("attention.head_count_kv")?.unwrap_or(heads),
            head_dim,
            ffn: keys.size("feed_forward_length")?,
            context: keys.size("context_length")?,
            norm: keys.norm()?,
            norm_offset: 0.0,
            parallel: family.parallel,
            activation: family.activation,
            gated: family.gated,
            ropes,
            attention_scale: query_scalar.powf(-0.5),
            attention_softcap: keys.f32("attn_logit_softcapping")?,
            logit_softcap: keys.f32("final_logit_softcapping")?,
            embedding_scale: if family.gemma {
                (width as f32).sqrt()
            } else {
                1.0
            },
            layers,
        })
    }
}

impl<'a> Keys<'a> {
    fn new(meta: &'a Metadata) -> Result<Self, Error> {
        let key = "general.architecture";
        let architecture = meta.required(key, meta.str(key))?;
        let family = Family::from_gguf(architecture).map_err(|reason| Error::Unsupported {
            architecture: architecture.to_owned(),
            reason,
        })?;
        Ok(Keys { meta, family })
    }

    fn unsupported(&self, reason: impl Into<String>) -> Error {
        Error::Unsupported {
            architecture: self.family.gguf.to_owned(),
            reason: reason.into(),
        }
    }

    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.family.gguf)
    }

    fn usize(&self, name: &str) -> Result<Option<usize>, Error> {
        self.meta.usize(&self.key(name))
    }

    fn f32(&self, name: &str) -> Result<Option<f32>, Error> {
        self.meta.f32(&self.key(name))
    }

    fn size(&self, name: &str) -> Result<usize, Error> {
        self.meta.required(&self.key(name), self.usize(name))
    }

    fn norm(&self) -> Result<Norm, Error> {
        let name = match self.family.layer_norm {
            true => "attention.layer_norm_epsilon",
            false => "attention.layer_norm_rms_epsilon",
        };
        let eps = self.meta.required(&self.key(name), self.f32(name))?;
        Ok(match self.family.layer_norm {
            true => Norm::Layer { eps },
            false => Norm::Rms { eps },
        })
    }

    /// The rotary tables: the global one, then Gemma 3's for local layers.
    fn ropes(&self, head_dim: usize, factors: Option<Vec<f32>>) -> Result<Vec<Rope>, Error> {
        if self.family.learned_positions {
            return Ok(Vec::new());
        }
        let base = self.f32("rope.freq_base")?.unwrap_or(10_000.0);
        let dims = self.usize("rope.dimension_count")?.unwrap_or(head_dim);
        if dims > head_dim || base <= 1.0 {
            let reason = format!("rotary width {dims} of {head_dim} with base {base}");
            return Err(self.unsupported(reason));
        }
        let scaling = self.scaling(factors)?;
        let rope = |base, scaling: &Scaling| {
            Rope::new(self.family.interleaved.0, base, dims, scaling)
                .map_err(|reason| self.unsupported(reason))
        };
        let mut ropes = vec![rope(base, &scaling)?];
        if self.family.gguf == "gemma3" {
            let base = self.f32("rope.freq_base_swa")?.unwrap_or(LOCAL_BASE);
            ropes.push(rope(base, &Scaling::None)?);
        }
        Ok(ropes)
    }

    fn scaling(&self, factors: Option<Vec<f32>>) -> Result<Scaling, Error> {
        let magnitude = self.f32("rope.scaling.attn_factor")?;
        if let Some(factors) = factors {
            return Ok(Scaling::Factors {
                factors,
                magnitude: magnitude.unwrap_or(1.0),
            });
        }
        let factor = match self.f32("rope.scaling.factor")? {
            Some(factor) => Some(factor),
            None => self.f32("rope.scale_linear")?,
        };
        let factor = factor.filter(|factor| *factor > 0.0).unwrap_or(1.0);
        let kind = self.meta.str(&self.key("rope.scaling.type"))?;
        match kind {
            None | Some("linear") => Ok(Scaling::Linear { factor }),
            Some("none" | "longrope") => Ok(Scaling::None),
            Some("yarn") => {
                let original = self.usize("rope.scaling.original_context_length")?;
                let original = original.map_or_else(|| self.size("context_length"), Ok)?;
                if self.f32("rope.scaling.yarn_ext_factor")?.unwrap_or(1.0) != 1.0 {
                    return Err(self.unsupported("a part of YaRN (rope.scaling.yarn_ext_factor)"));
                }
                // The first is `attention_factor` of config.json, the second comes on top.
                let whole = self.f32("rope.scaling.yarn_attn_factor")?;
                let extra = magnitude.map(|extra| extra * yarn_magnitude(factor));
                Ok(Scaling::Yarn {
                    factor,
                    original: original as f32,
                    beta_fast: self.f32("rope.scaling.yarn_beta_fast")?.unwrap_or(32.0),
                    beta_slow: self.f32("rope.scaling.yarn_beta_slow")?.unwrap_or(1.0),
                    truncate: true,
                    magnitude: whole.or(extra),
                })
            }
            Some(other) => Err(self.unsupported(format!("rope scaling `{other}`"))),
        }
    }

    /// Which layers attend to their window only.
    fn pattern(&self) -> Result<Box<dyn Fn(usize) -> bool>, Error> {
        let key = self.key("attention.sliding_window_pattern");
        if let Some(Value::Array(Array::Bool(flags))) = self.meta.get(&key) {
            let flags = flags.clone();
            return Ok(Box::new(move |layer| {
                flags.get(layer).copied().unwrap_or(false)
            }));
        }
        let family = self.family;
        Ok(match self.meta.usize(&key)? {
            Some(pattern) => Box::new(move |layer| family::is_local(layer, pattern)),
            None => Box::new(move |layer| family.is_local(layer)),
        })
    }
}
