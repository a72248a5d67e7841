//! From a body to requests.

use std::ops::Bound::{Excluded, Included, Unbounded};
use std::ops::RangeBounds;

use tinderbox_protocol::{Error, Prompt, Request, Sampling, Stop};

use super::adapters;
use super::errors::renamed;
use super::wire::{Generate, Parameters};
use crate::batch::{Batch, invalid};
use crate::constraint::ResponseFormat;
use crate::ranges::{count, number};
use crate::{Context, truncate};

/// Most samples to choose from.
pub(super) const MAX_BEST_OF: usize = 128;

/// Most stop strings.
pub(super) const MAX_STOP_SEQUENCES: usize = 128;

/// Most alternatives a token.
const MAX_ALTERNATIVES: i64 = 20;

/// What to ask and how to answer it.
pub(super) struct Plan {
    /// One prompt, several samples with `best_of`.
    pub batch: Batch,
    pub form: Form,
    /// Characters of the prompt.
    pub characters: usize,
}

/// What an answer holds besides text.
pub(super) struct Form {
    /// With details.
    pub details: bool,
    /// With alternatives to each token.
    pub alternatives: bool,
    /// Sampled, so that the seed says something.
    pub sampled: bool,
    /// Put before the text.
    pub prompt: String,
}

/// What to ask of `model`, the current one where empty, and how to answer.
///
/// # Errors
/// A field that is wrong or not supported, an adapter that does not exist.
pub(super) async fn plan(context: &Context, model: String, wire: Generate) -> Result<Plan, Error> {
    let inputs = wire.inputs.filter(|inputs| !inputs.is_empty());
    let inputs = inputs.ok_or_else(|| invalid("inputs", "is missing or empty"))?;
    let mut p = wire.parameters.unwrap_or_default();
    supported(&p)?;
    let card = context.card(&model).ok_or(Error::NoModel)?;
    let sampling = sampling(&p)?;
    let sampled = sampling.temperature > 0.0;
    let samples = best_of(&p, sampled)?;
    let max_tokens = optional("max_new_tokens", p.max_new_tokens, 1..)?;
    let alternatives = optional(
        "return_k_alternatives",
        p.return_k_alternatives,
        1..=MAX_ALTERNATIVES,
    )?;
    let most_inputs = card.context_length.saturating_sub(1);
    let keep = optional("truncate", p.truncate, 1..=most_inputs as i64)?;
    let stop = stop(&mut p)?;
    let format = p.response_format.take().map(ResponseFormat::asked);
    let constraint = format.transpose().map_err(renamed)?.flatten();
    let adapter = adapters::of(context, &mut p, &card.id)?;

    let prefill = p.decoder_input_details.unwrap_or(false);
    let form = Form {
        details: p.details.unwrap_or(false) || prefill,
        alternatives: alternatives.is_some(),
        sampled,
        prompt: match p.return_full_text {
            Some(true) => inputs.clone(),
            _ => String::new(),
        },
    };
    let characters = inputs.chars().count();
    let mut prompt = Prompt::Text {
        text: inputs,
        add_special_tokens: None,
    };
    if let Some(keep) = keep {
        prompt = truncate::prompt(context, &model, prompt, keep)
            .await
            .map_err(renamed)?;
    }
    if prefill {
        // In ids, an added BOS is a token like others.
        let encoded = context.inference.encode(&model, &prompt).await;
        prompt = Prompt::Tokens(encoded.map_err(renamed)?.tokens);
    }
    Ok(Plan {
        batch: Batch {
            prompts: vec![prompt],
            samples,
            common: Request {
                id: format!("gen-{}", context.place.new_id()),
                model,
                max_tokens,
                sampling,
                stop,
                adapter,
                logprobs: Some(alternatives.unwrap_or(0)),
                prompt_logprobs: prefill.then_some(0),
                ..Request::default()
            },
            constraint,
        },
        form,
        characters,
    })
}

/// Refuses what would otherwise be ignored.
fn supported(p: &Parameters) -> Result<(), Error> {
    if p.watermark == Some(true) {
        return Err(invalid("parameters.watermark", "is not supported"));
    }
    Ok(())
}

/// Greedy unless something asks for more.
fn sampling(p: &Parameters) -> Result<Sampling, Error> {
    let one = |name: &str, value, range| number(&format!("parameters.{name}"), value, 1.0, range);
    let penalty = |name: &str, value| number(&format!("parameters.{name}"), value, 0.0, -2.0..=2.0);
    let temperature = one("temperature", p.temperature, (Included(0.0), Unbounded))?;
    let top_k = optional("top_k", p.top_k, 1..)?;
    let top_p = one("top_p", p.top_p, (Excluded(0.0), Included(1.0)))?;
    let typical_p = one("typical_p", p.typical_p, (Excluded(0.0), Excluded(1.0)))?;
    let warped = temperature != 1.0 || top_k.is_some() || top_p < 1.0 || typical_p < 1.0;
    let sampled = p.do_sample == Some(true) || warped;
    Ok(Sampling {
        temperature: if sampled { temperature } else { 0.0 },
        top_k: top_k.unwrap_or(0),
        top_p,
        typical_p,
        repetition_penalty: one(
            "repetition_penalty",
            p.repetition_penalty,
            (Excluded(0.0), Unbounded),
        )?,
        frequency_penalty: penalty("frequency_penalty", p.frequency_penalty)?,
        presence_penalty: penalty("presence_penalty", p.presence_penalty)?,
        seed: p.seed,
        ..Sampling::default()
    })
}

/// The number of samples; several would be all the same without chance.
fn best_of(p: &Parameters, sampled: bool) -> Result<usize, Error> {
    let field = "parameters.best_of";
    match count(field, p.best_of, 1, 1..=MAX_BEST_OF as i64)? {
        1 => Ok(1),
        _ if !sampled => Err(invalid(field, "above 1 needs sampling; set `do_sample`")),
        _ if p.seed.is_some() => Err(invalid(field, "above 1 excludes `seed`")),
        samples => Ok(samples),
    }
}

/// A count, where given.
fn optional(
    name: &str,
    value: Option<i64>,
    range: impl RangeBounds<i64>,
) -> Result<Option<usize>, Error> {
    let field = format!("parameters.{name}");
    let counted = value.map(|value| count(&field, Some(value), 1, range));
    counted.transpose()
}

fn stop(p: &mut Parameters) -> Result<Stop, Error> {
    let strings = p.stop.take().map(Vec::from).unwrap_or_default();
    if strings.len() > MAX_STOP_SEQUENCES {
        let reason = format!("{} are more than {MAX_STOP_SEQUENCES}", strings.len());
        return Err(invalid("parameters.stop", reason));
    }
    Ok(Stop {
        strings,
        ignore_eos: p.ignore_eos_token.unwrap_or(false),
        // LoRAX looks for a stop string and never takes it away.
        include_in_text: true,
        ..Stop::default()
    })
}
