//! adapter_config.json: which modules are adapted, with which rank and scale.

use regex::{Regex, RegexBuilder};
use serde_json::Value;

use super::refusal;
use crate::Error;
use crate::hf::Fields;

pub(super) const FILE: &str = "adapter_config.json";
/// Largest rank; published adapters have at most a few hundred.
const RANK_LIMIT: usize = 4096;
/// Most patterns of ranks or alphas, and bytes of one compiled.
const PATTERNS: usize = 4096;
const PATTERN_BYTES: usize = 1 << 18;

/// What changes the computation in ways that are not supported; harmless where it is off.
const REFUSED: [&str; 14] = [
    "alora_invocation_tokens",
    "arrow_config",
    "kasa_config",
    "layer_replication",
    "lora_bias",
    "modules_to_save",
    "monteclora_config",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_dora",
    "use_qalora",
    "velora_config",
    "megatron_config",
];
/// Initialisations that change the base model too.
const REBASED: [&str; 5] = ["pissa", "olora", "corda", "loftq", "lora_ga"];

/// What the file says.
pub(super) struct Settings {
    rank: usize,
    alpha: f32,
    rank_stabilized: bool,
    ranks: Vec<(Regex, usize)>,
    alphas: Vec<(Regex, f32)>,
    targets: Targets,
}

/// Modules that are adapted.
enum Targets {
    /// Names, or ends of them behind a dot.
    Names(Vec<String>),
    /// Names that it matches as a whole.
    Pattern(Regex),
    /// Every linear layer but the head.
    All,
}

impl Settings {
    pub fn parse(bytes: &[u8]) -> Result<Settings, Error> {
        let fields = Fields::parse(FILE, bytes)?;
        let kind = fields.required("peft_type", fields.str("peft_type"))?;
        if kind != "LORA" {
            return Err(refusal(
                FILE,
                "peft_type",
                format!("{kind}, only LORA is supported"),
            ));
        }
        let bias = fields.str("bias")?.unwrap_or("none");
        if bias != "none" {
            return Err(refusal(
                FILE,
                "bias",
                format!("{bias}, only none is supported"),
            ));
        }
        for key in REFUSED {
            if let Some(value) = fields.get(key).filter(|value| !is_off(value)) {
                let value: String = value.to_string().chars().take(80).collect();
                return Err(refusal(FILE, key, format!("{value} is not supported")));
            }
        }
        let start = fields.get("init_lora_weights").and_then(Value::as_str);
        if let Some(start) = start.filter(|start| REBASED.iter().any(|r| start.starts_with(r))) {
            let reason = format!(
                "{start} changes the base model; convert the adapter (PEFT's path_initial_model_for_weight_conversion)"
            );
            return Err(refusal(FILE, "init_lora_weights", reason));
        }

        let rank = fields.required("r", fields.usize("r"))?;
        let ranks = fields.entries("rank_pattern", "an object of ranks", |value| {
            value.as_u64().and_then(|rank| usize::try_from(rank).ok())
        })?;
        let alphas = fields.entries("alpha_pattern", "an object of numbers", |value| {
            value.as_f64().map(|alpha| alpha as f32)
        })?;
        let alpha = fields.required("lora_alpha", fields.f32("lora_alpha"))?;
        let mut all = ranks.iter().map(|(_, rank)| *rank).chain([rank]);
        if let Some(rank) = all.find(|rank| !(1..=RANK_LIMIT).contains(rank)) {
            let reason = format!("rank {rank}, expected 1 to {RANK_LIMIT}");
            return Err(refusal(FILE, "r", reason));
        }
        let mut all = alphas.iter().map(|(_, alpha)| *alpha).chain([alpha]);
        if let Some(alpha) = all.find(|alpha| !(alpha.is_finite() && *alpha > 0.0)) {
            let reason = format!("{alpha}, expected a number above 0");
            return Err(refusal(FILE, "lora_alpha", reason));
        }
        Ok(Settings {
            rank,
            alpha,
            rank_stabilized: fields.bool("use_rslora")?.unwrap_or(false),
            ranks: patterns("rank_pattern", ranks)?,
            alphas: patterns("alpha_pattern", alphas)?,
            targets: targets(&fields)?,
        })
    }

    /// The module's rank.
    pub fn rank(&self, module: &str) -> usize {
        find(&self.ranks, module).unwrap_or(self.rank)
    }

    /// The factor on the module's `B · A`: `alpha / r`, or `alpha / √r` (rank-stabilized; Kalajdzievski 2023).
    pub fn scale(&self, module: &str) -> f32 {
        let rank = self.rank(module) as f32;
        let alpha = find(&self.alphas, module).unwrap_or(self.alpha);
        alpha
            / if self.rank_stabilized {
                rank.sqrt()
            } else {
                rank
            }
    }

    /// Whether the module is to be adapted.
    pub fn targets(&self, module: &str) -> bool {
        match &self.targets {
            Targets::All => true,
            Targets::Pattern(pattern) => pattern.is_match(module),
            Targets::Names(names) => names.iter().any(|name| {
                let start = module.strip_suffix(name.as_str());
                start.is_some_and(|start| start.is_empty() || start.ends_with('.'))
            }),
        }
    }
}

/// `null`, `false`, or an empty list or object.
fn is_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    }
}

fn targets(fields: &Fields) -> Result<Targets, Error> {
    let key = "target_modules";
    match fields.get(key) {
        Some(Value::String(all)) if all == "all-linear" => Ok(Targets::All),
        Some(Value::String(pattern)) => Ok(Targets::Pattern(whole(key, "", pattern)?)),
        _ => {
            let names = fields.required(key, fields.strs(key))?;
            Ok(Targets::Names(
                names.into_iter().map(str::to_owned).collect(),
            ))
        }
    }
}

/// A pattern that begins at the start of a name or behind a dot, and ends with it.
fn patterns<T>(key: &str, entries: Vec<(String, T)>) -> Result<Vec<(Regex, T)>, Error> {
    if entries.len() > PATTERNS {
        let reason = format!("{} patterns, at most {PATTERNS} are read", entries.len());
        return Err(refusal(FILE, key, reason));
    }
    let compiled = entries.into_iter();
    compiled
        .map(|(pattern, value)| Ok((whole(key, r"(?:.*\.)?", &pattern)?, value)))
        .collect()
}

fn whole(key: &str, before: &str, pattern: &str) -> Result<Regex, Error> {
    let mut builder = RegexBuilder::new(&format!("^{before}(?:{pattern})$"));
    builder
        .size_limit(PATTERN_BYTES)
        .dfa_size_limit(PATTERN_BYTES);
    builder.build().map_err(|error| {
        let reason = error.to_string();
        let reason = reason.lines().last().unwrap_or_default();
        let pattern: String = pattern.chars().take(80).collect();
        refusal(FILE, key, format!("pattern {pattern:?}: {reason}"))
    })
}

fn find<T: Copy>(patterns: &[(Regex, T)], module: &str) -> Option<T> {
    let found = patterns
        .iter()
        .find(|(pattern, _)| pattern.is_match(module));
    found.map(|(_, value)| *value)
}
