//! A [`Config`] from a config.json (or its `text_config`).
//!
//! | field | key; GPT-2 and GPT-J's where it differs |
//! |---|---|
//! | `architecture` | `model_type` |
//! | `vocab` | rows of the embedding |
//! | `width` | `hidden_size`; `n_embd` |
//! | `heads`, `kv_heads` | `num_attention_heads`, `num_key_value_heads` (default `heads`); `n_head` |
//! | `head_dim` | `head_dim` (default `width / heads`) |
//! | `ffn` | `intermediate_size`; `n_inner` (default `4 · width`) |
//! | `context` | `max_position_embeddings`; `n_positions` |
//! | `norm` | `rms_norm_eps`; `layer_norm_epsilon` |
//! | `activation` | `hidden_activation` or `hidden_act`; `activation_function` |
//! | `ropes` | `rope_parameters` (one, or one for each kind of layer), or `rope_theta`, `rope_scaling`, `rope_local_base_freq`; `partial_rotary_factor`, `rotary_dim` |
//! | `attention_scale` | `query_pre_attn_scalar` (Gemma), else `head_dim` |
//! | `attention_softcap` | `attn_logit_softcapping` |
//! | `logit_softcap` | `final_logit_softcapping` |
//! | `layers` | `num_hidden_layers`; `n_layer`; `sliding_window`, `layer_types`, `sliding_window_pattern`, `use_sliding_window`, `max_window_layers` |
//!
//! `parallel`, `gated`, `embedding_scale` and `norm_offset` follow from the family.

use super::rope::{Scaling, long_magnitude, yarn_magnitude};
use super::{Activation, Config, Family, Norm, Rope, check_sizes, family, layers};
use crate::Error;
use crate::hf::Fields;

/// Values that Gemma 3's multimodal files leave out of their `text_config`.
const GEMMA3: [(&str, f32); 9] = [
    ("num_attention_heads", 8.0),
    ("num_key_value_heads", 4.0),
    ("head_dim", 256.0),
    ("max_position_embeddings", 131_072.0),
    ("rms_norm_eps", 1e-6),
    ("query_pre_attn_scalar", 256.0),
    ("sliding_window", 4096.0),
    ("rope_theta", 1e6),
    ("sliding_window_pattern", 6.0),
];
/// Values that Gemma 2's class assumes.
const GEMMA2: [(&str, f32); 3] = [
    ("head_dim", 256.0),
    ("query_pre_attn_scalar", 256.0),
    ("sliding_window", 4096.0),
];

impl Config {
    /// The family a config.json names.
    pub(crate) fn hf_family(fields: &Fields) -> Result<&'static Family, Error> {
        let model_type = fields.required("model_type", fields.str("model_type"))?;
        Family::from_hf(model_type).map_err(|reason| Error::Unsupported {
            architecture: model_type.to_owned(),
            reason,
        })
    }

    /// Whether the head is the embedding: `tie_word_embeddings`, which the classes of Gemma and
    /// GPT-2 set where the file does not.
    pub(crate) fn hf_tied(root: &Fields, text: &Fields, family: &Family) -> Result<bool, Error> {
        let key = "tie_word_embeddings";
        let given = text.bool(key)?.or(root.bool(key)?);
        Ok(given.unwrap_or(family.gemma || family.learned_positions))
    }

    /// Reads the configuration. `vocab` is the number of rows of the embedding.
    ///
    /// # Errors
    /// Missing keys, values of a wrong type or out of range, variants unknown here.
    pub(crate) fn from_hf(
        fields: &Fields,
        family: &'static Family,
        vocab: usize,
    ) -> Result<Config, Error> {
        let keys = Keys { fields, family };
        if fields.get("quantization_config").is_some() {
            return Err(keys.unsupported("quantized safetensors; use a GGUF file"));
        }
        if fields.bool("scale_attn_by_inverse_layer_idx")? == Some(true) {
            return Err(keys.unsupported("attention scaled by the layer's index"));
        }
        let count = keys.size(["num_hidden_layers", "n_layer"])?;
        let width = keys.size(["hidden_size", "n_embd"])?;
        let heads = keys.size(["num_attention_heads", "n_head"])?;
        let head_dim = keys.usize("head_dim")?.unwrap_or(width / heads.max(1));
        check_sizes(count, width, heads, head_dim).map_err(|reason| keys.unsupported(reason))?;
        let ffn = match keys.usize("intermediate_size")? {
            Some(ffn) => ffn,
            None if family.layer_norm => keys.usize("n_inner")?.unwrap_or(4 * width),
            None => keys.size(["intermediate_size", "intermediate_size"])?,
        };
        let query_scalar = keys.f32("query_pre_attn_scalar")?.filter(|_| family.gemma);
        let query_scalar = query_scalar.unwrap_or(head_dim as f32);
        if query_scalar <= 0.0 {
            return Err(keys.unsupported(format!("query_pre_attn_scalar is {query_scalar}")));
        }
        let unscaled = fields.bool("scale_attn_weights")? == Some(false);
        let ropes = keys.ropes(head_dim)?;
        let local = keys.locals(count)?;
        let layers = layers(count, keys.window()?, ropes.len(), |layer| local[layer]);
        Ok(Config {
            architecture: family.gguf.to_owned(),
            vocab,
            width,
            heads,
            kv_heads: keys.usize("num_key_value_heads")?.unwrap_or(heads),
            head_dim,
            ffn,
            context: keys.context()?,
            norm: keys.norm()?,
            norm_offset: if family.gemma { 1.0 } else { 0.0 },
            parallel: family.parallel,
            activation: keys.activation()?,
            gated: family.gated,
            ropes,
            attention_scale: if unscaled {
                1.0
            } else {
                query_scalar.powf(-0.5)
            },
            attention_softcap: keys.softcap("attn_logit_softcapping", 50.0)?,
            logit_softcap: keys.softcap("final_logit_softcapping", 30.0)?,
            embedding_scale: if family.gemma {
                (width as f32).sqrt()
            } else {
                1.0
            },
            layers,
        })
    }
}

/// The fields, with the defaults of their family.
struct Keys<'a> {
    fields: &'a Fields,
    family: &'static Family,
}

impl Keys<'_> {
    fn unsupported(&self, reason: impl Into<String>) -> Error {
        Error::Unsupported {
            architecture: self.family.gguf.to_owned(),
            reason: reason.into(),
        }
    }

    fn default(&self, key: &str) -> Option<f32> {
        let table: &[(&str, f32)] = match self.family.gguf {
            "gemma2" => &GEMMA2,
            "gemma3" => &GEMMA3,
            _ => &[],
        };
        // A field that is there as `null` is off, not forgotten.
        let forgotten = !self.fields.has(key);
        table
            .iter()
            .find(|(name, _)| *name == key && forgotten)
            .map(|(_, value)| *value)
    }

    fn usize(&self, key: &str) -> Result<Option<usize>, Error> {
        Ok(self
            .fields
            .usize(key)?
            .or(self.default(key).map(|value| value as usize)))
    }

    fn f32(&self, key: &str) -> Result<Option<f32>, Error> {
        Ok(self.fields.f32(key)?.or(self.default(key)))
    }

    /// A number under its common name or GPT's.
    fn size(&self, [common, gpt]: [&str; 2]) -> Result<usize, Error> {
        let key = if self.family.layer_norm { gpt } else { common };
        self.fields.required(key, self.usize(key))
    }

    fn context(&self) -> Result<usize, Error> {
        self.size(["max_position_embeddings", "n_positions"])
    }

    fn norm(&self) -> Result<Norm, Error> {
        let key = if self.family.layer_norm {
            "layer_norm_epsilon"
        } else {
            "rms_norm_eps"
        };
        let eps = self.fields.required(key, self.f32(key))?;
        Ok(if self.family.layer_norm {
            Norm::Layer { eps }
        } else {
            Norm::Rms { eps }
        })
    }

    fn activation(&self) -> Result<Activation, Error> {
        // Gemma's `hidden_act` is a leftover that its class does not read.
        let other = if self.family.gemma {
            "hidden_activation"
        } else {
            "hidden_act"
        };
        let name = match self.fields.str("hidden_activation")? {
            Some(name) => Some(name),
            None => self
                .fields
                .str(other)?
                .or(self.fields.str("activation_function")?),
        };
        match name {
            None => Ok(self.family.activation),
            Some("silu" | "swish") => Ok(Activation::Silu),
            Some("gelu_pytorch_tanh" | "gelu_new") => Ok(Activation::Gelu),
            Some(name) => {
                let known = "supported: silu, gelu_pytorch_tanh, gelu_new";
                Err(self.unsupported(format!("activation `{name}` ({known})")))
            }
        }
    }

    fn softcap(&self, key: &str, gemma2: f32) -> Result<Option<f32>, Error> {
        let default = self.family.gguf == "gemma2" && !self.fields.has(key);
        Ok(self.fields.f32(key)?.or(default.then_some(gemma2)))
    }

    fn window(&self) -> Result<Option<usize>, Error> {
        let switched = ["qwen2", "qwen3"].contains(&self.family.gguf);
        if switched && self.fields.bool("use_sliding_window")? != Some(true) {
            return Ok(None);
        }
        Ok(self.usize("sliding_window")?.filter(|window| *window > 0))
    }

    /// Of each layer, whether it attends to its window only.
    fn locals(&self, count: usize) -> Result<Vec<bool>, Error> {
        if let Some(types) = self.fields.strs("layer_types")? {
            if types.len() != count {
                let reason = format!("layer_types has {} entries for {count} layers", types.len());
                return Err(self.unsupported(reason));
            }
            return Ok(types
                .iter()
                .map(|kind| *kind == "sliding_attention")
                .collect());
        }
        let first = match self.family.gguf {
            "qwen2" | "qwen3" => self.fields.usize("max_window_layers")?.unwrap_or(0),
            _ => 0,
        };
        let pattern = self.usize("sliding_window_pattern")?;
        let pattern = pattern.unwrap_or(self.family.window_pattern);
        Ok((0..count)
            .map(|layer| layer >= first && family::is_local(layer, pattern))
            .collect())
    }

    /// The rotary tables: the global one, then Gemma 3's for local layers.
    fn ropes(&self, head_dim: usize) -> Result<Vec<Rope>, Error> {
        if self.family.learned_positions {
            return Ok(Vec::new());
        }
        let mut ropes = vec![self.rope("full_attention", head_dim)?];
        if self.family.gguf == "gemma3" {
            ropes.push(self.rope("sliding_attention", head_dim)?);
        }
        Ok(ropes)
    }

    /// The table of one kind of layer.
    fn rope(&self, kind: &str, head_dim: usize) -> Result<Rope, Error> {
        let local = kind == "sliding_attention";
        let new = self.fields.object("rope_parameters")?;
        let new = match new
            .as_ref()
            .map(|all| all.object(kind))
            .transpose()?
            .flatten()
        {
            Some(own) => Some(own),
            None => new.filter(|all| !local && all.get("full_attention").is_none()),
        };
        let base = match new
            .as_ref()
            .map(|own| own.f32("rope_theta"))
            .transpose()?
            .flatten()
        {
            Some(base) => base,
            None if local => self.f32("rope_local_base_freq")?.unwrap_or(10_000.0),
            None => self.f32("rope_theta")?.unwrap_or(10_000.0),
        };
        let old = if local {
            None
        } else {
            self.fields.object("rope_scaling")?
        };
        let own = new.or(old).unwrap_or_default();

        let part = own.f32("partial_rotary_factor")?;
        let part = part.or(self.f32("partial_rotary_factor")?).unwrap_or(1.0);
        let dims = match self.family.gguf {
            "gptj" => self.fields.usize("rotary_dim")?.unwrap_or(64),
            _ => (head_dim as f32 * part) as usize,
        };
        if dims > head_dim || base <= 1.0 {
            let reason = format!("rotary width {dims} of {head_dim} with base {base}");
            return Err(self.unsupported(reason));
        }
        let scaling = self.scaling(&own)?;
        Rope::new(self.family.interleaved.1, base, dims, &scaling)
            .map_err(|reason| self.unsupported(reason))
    }

    fn scaling(&self, own: &Fields) -> Result<Scaling, Error> {
        let kind = own
            .str("rope_type")?
            .or(own.str("type")?)
            .unwrap_or("default");
        let context = self.context()?;
        let key = "original_max_position_embeddings";
        let original = own
            .usize(key)?
            .or(self.fields.usize(key)?)
            .unwrap_or(context);
        let factor = || match own.required("factor", own.f32("factor"))? {
            factor if factor > 0.0 => Ok(factor),
            factor => Err(self.unsupported(format!("rope scaling by {factor}"))),
        };
        let magnitude = own.f32("attention_factor")?;
        Ok(match kind {
            // Dynamic scaling begins past `max_position_embeddings`, where our context ends.
            "default" | "dynamic" => Scaling::None,
            "linear" => Scaling::Linear { factor: factor()? },
            "llama3" => Scaling::Llama3 {
                factor: factor()?,
                low: own.required("low_freq_factor", own.f32("low_freq_factor"))?,
                high: own.required("high_freq_factor", own.f32("high_freq_factor"))?,
                original: original as f32,
            },
            "yarn" => {
                let factor = factor()?;
                let magnitude = match (magnitude, own.f32("mscale")?, own.f32("mscale_all_dim")?) {
                    (None, Some(one), Some(all)) if one > 0.0 && all > 0.0 => {
                        let part = |scale| (yarn_magnitude(factor) - 1.0) * scale + 1.0;
                        Some(part(one) / part(all))
                    }
                    (given, ..) => given,
                };
                Scaling::Yarn {
                    factor,
                    original: original as f32,
                    beta_fast: own.f32("beta_fast")?.unwrap_or(32.0),
                    beta_slow: own.f32("beta_slow")?.unwrap_or(1.0),
                    truncate: own.bool("truncate")?.unwrap_or(true),
                    magnitude,
                }
            }
            "longrope" | "su" => {
                // One set must hold for a whole sequence: the long one where the model was made
                // for more than its original context.
                let key = if context > original {
                    "long_factor"
                } else {
                    "short_factor"
                };
                let factors = own.required(key, own.f32s(key))?;
                let magnitude = magnitude.unwrap_or_else(|| long_magnitude(context, original));
                Scaling::Factors { factors, magnitude }
            }
            other => {
                let known = "supported: default, linear, dynamic, llama3, yarn, longrope";
                return Err(self.unsupported(format!("rope scaling `{other}` ({known})")));
            }
        })
    }
}
