//! From options to the part of a request that both endpoints share.

use tinderbox_protocol::{Error, Prompt, Request};

use super::sampling;
use super::wire::Options;
use crate::Context;
use crate::batch::invalid;
use crate::constraint::{Asked, ResponseFormat};
use crate::{adapters, truncate};

/// The request without its prompt and logprobs.
///
/// # Errors
/// A field outside its range, or one that is not supported.
pub(super) fn request(
    context: &Context,
    options: &mut Options,
    id: String,
    max_tokens: Option<u32>,
) -> Result<Request, Error> {
    let name = options.model.take().unwrap_or_default();
    let (from, token) = (options.adapter_source.as_deref(), options.api_token.take());
    let (model, adapter) = adapters::named(context, name, from, token)?;
    Ok(Request {
        id,
        model,
        adapter,
        max_tokens: max_tokens.map(|count| count as usize),
        sampling: sampling::sampling(options)?,
        stop: sampling::stop(options, max_tokens)?,
        ..Request::default()
    })
}

/// What the answer must look like.
///
/// # Errors
/// A format that is unknown or incomplete.
pub(super) fn constraint(format: Option<ResponseFormat>) -> Result<Option<Asked>, Error> {
    let Some(format) = format else {
        return Ok(None);
    };
    if format.kind == "json_schema" && format.json_schema.is_none() && format.schema.is_none() {
        let reason = "is required beside the type `json_schema`";
        return Err(invalid("response_format.json_schema", reason));
    }
    format.asked()
}

/// The prompt, or its last tokens where it is longer than `truncate_prompt_tokens`.
///
/// # Errors
/// A count that is none, or a prompt that has no tokens.
pub(super) async fn truncated(
    context: &Context,
    request: &Request,
    prompt: Prompt,
    keep: Option<i64>,
) -> Result<Prompt, Error> {
    let keep = match keep {
        None => return Ok(prompt),
        Some(_) if request.adapter.is_some() && matches!(prompt, Prompt::Chat(_)) => {
            let reason = "cuts no messages for an adapter, which may have a template of its own";
            return Err(invalid("truncate_prompt_tokens", reason));
        }
        Some(-1) => {
            let card = context.card(&request.model);
            let length = card.map_or(usize::MAX, |card| card.context_length);
            length
                .saturating_sub(request.max_tokens.unwrap_or(1))
                .max(1)
        }
        Some(count) => match usize::try_from(count) {
            Ok(count @ 1..) => count,
            _ => {
                let reason = format!("{count} is not -1 and not a count of 1 or more");
                return Err(invalid("truncate_prompt_tokens", reason));
            }
        },
    };
    truncate::prompt(context, &request.model, prompt, keep).await
}
