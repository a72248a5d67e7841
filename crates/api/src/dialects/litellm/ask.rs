//! From a body to requests.

use tinderbox_protocol::{Error, Prompt, Request, Sampling};

use super::wire::{Ask, Params};
use crate::Context;
use crate::batch::{Batch, invalid};
use crate::ranges::{count, number};

/// New tokens where nothing is said.
const DEFAULT_MAX_TOKENS: usize = 256;

/// What to ask.
pub(super) struct Plan {
    /// The prompts, as they were given.
    pub texts: Vec<String>,
    /// The same in requests, one sample each.
    pub batch: Batch,
}

/// What to ask for a body.
///
/// # Errors
/// A field that is missing or wrong.
pub(super) fn plan(context: &Context, ask: Ask) -> Result<Plan, Error> {
    let mut params = ask.params.ok_or_else(|| invalid("params", "is required"))?;
    let prompt = params.prompt.take();
    let prompt = prompt.ok_or_else(|| invalid("params.prompt", "is required"))?;
    let texts = Vec::from(prompt);
    if texts.is_empty() {
        let reason = "is an empty list; give at least one prompt";
        return Err(invalid("params.prompt", reason));
    }
    let prompt = |text: &String| Prompt::Text {
        text: text.clone(),
        add_special_tokens: None,
    };
    let max_tokens = count(
        "params.max_tokens",
        params.max_tokens,
        DEFAULT_MAX_TOKENS,
        1..,
    )?;
    Ok(Plan {
        batch: Batch {
            prompts: texts.iter().map(prompt).collect(),
            samples: 1,
            common: Request {
                id: format!("custom-{}", context.place.new_id()),
                model: ask.model.unwrap_or_default(),
                max_tokens: Some(max_tokens),
                sampling: sampling(&params)?,
                ..Request::default()
            },
            constraint: None,
        },
        texts,
    })
}

fn sampling(params: &Params) -> Result<Sampling, Error> {
    let default = Sampling::default();
    let temperature = default.temperature;
    Ok(Sampling {
        temperature: number("params.temperature", params.temperature, temperature, 0.0..)?,
        top_p: number("params.top_p", params.top_p, default.top_p, 0.0..=1.0)?,
        top_k: count("params.top_k", params.top_k, default.top_k, 0..)?,
        ..default
    })
}
