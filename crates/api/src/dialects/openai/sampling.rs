//! Checks of the sampling fields, and their translation.

use std::ops::Bound;

use tinderbox_protocol::{Error, Sampling, Stop};

use super::wire::Options;
use crate::batch::invalid;
use crate::ranges::{logit_bias, number};

/// Most samples of one prompt.
const MAX_SAMPLES: u32 = 128;

/// Most alternatives a token.
const MAX_LOGPROBS: u32 = 20;

/// How the next token is chosen.
///
/// # Errors
/// A number outside its range.
pub(super) fn sampling(options: &Options) -> Result<Sampling, Error> {
    let default = Sampling::default();
    let share = (Bound::Excluded(0.0), Bound::Included(1.0));
    Ok(Sampling {
        temperature: number("temperature", options.temperature, 1.0, 0.0..=2.0)?,
        top_k: top_k(options.top_k)?,
        top_p: number("top_p", options.top_p, default.top_p, share)?,
        min_p: number("min_p", options.min_p, default.min_p, 0.0..=1.0)?,
        typical_p: number("typical_p", options.typical_p, default.typical_p, share)?,
        repetition_penalty: number(
            "repetition_penalty",
            options.repetition_penalty,
            default.repetition_penalty,
            (Bound::Excluded(0.0), Bound::Unbounded),
        )?,
        presence_penalty: number(
            "presence_penalty",
            options.presence_penalty,
            default.presence_penalty,
            -2.0..=2.0,
        )?,
        frequency_penalty: number(
            "frequency_penalty",
            options.frequency_penalty,
            default.frequency_penalty,
            -2.0..=2.0,
        )?,
        logit_bias: logit_bias(options.logit_bias.as_ref())?,
        seed: options.seed.map(i64::cast_unsigned),
    })
}

/// When to stop.
///
/// # Errors
/// `min_tokens` above `max_tokens`.
pub(super) fn stop(options: &mut Options, max_tokens: Option<u32>) -> Result<Stop, Error> {
    let min_tokens = options.min_tokens.unwrap_or(0);
    if let Some(most) = max_tokens.filter(|most| min_tokens > *most) {
        let reason = format!("{min_tokens} is more than max_tokens, {most}");
        return Err(invalid("min_tokens", reason));
    }
    Ok(Stop {
        strings: options.stop.take().map(Vec::from).unwrap_or_default(),
        tokens: options.stop_token_ids.take().unwrap_or_default(),
        ignore_eos: options
            .ignore_eos
            .or(options.ignore_eos_token)
            .unwrap_or(false),
        min_tokens: min_tokens as usize,
        include_in_text: options.include_stop_str_in_output.unwrap_or(false),
        show_special_tokens: !options.skip_special_tokens.unwrap_or(true),
    })
}

/// `n` or `best_of`: at least `least`.
///
/// # Errors
/// A number outside its range.
pub(super) fn samples(field: &str, value: Option<u32>, least: u32) -> Result<usize, Error> {
    let count = value.unwrap_or(least);
    if !(least..=MAX_SAMPLES).contains(&count) {
        let reason = format!("{count} is not in {least} ..= {MAX_SAMPLES}");
        return Err(invalid(field, reason));
    }
    Ok(count as usize)
}

/// `logprobs` or `top_logprobs`.
///
/// # Errors
/// More than 20.
pub(super) fn alternatives(field: &str, value: Option<u32>) -> Result<Option<usize>, Error> {
    match value {
        Some(count) if count > MAX_LOGPROBS => {
            let reason = format!("{count} is not in 0 ..= {MAX_LOGPROBS}");
            Err(invalid(field, reason))
        }
        value => Ok(value.map(|count| count as usize)),
    }
}

fn top_k(value: Option<i64>) -> Result<usize, Error> {
    match value.unwrap_or(0) {
        -1 => Ok(0),
        // No vocabulary is that large: the same as keeping all.
        k @ 0.. => Ok(usize::try_from(k).unwrap_or(0)),
        k => {
            let reason = format!("{k} is not a count; 0 and -1 keep all tokens");
            Err(invalid("top_k", reason))
        }
    }
}
