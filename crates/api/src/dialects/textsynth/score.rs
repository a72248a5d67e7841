//! `logprob`: how likely a continuation is.

use tinderbox_protocol::{Error, Prompt, Request, TokenLogprob};

use super::wire::{Score, Scored};
use crate::batch::{Batch, invalid};
use crate::tokens::{FLOOR, finite};
use crate::{Context, answer};

/// Scores a continuation.
///
/// # Errors
/// No continuation, an unknown engine, more tokens than the context holds.
pub(super) async fn scored(
    context: &Context,
    engine: String,
    wire: Score,
) -> Result<Scored, Error> {
    let continuation = wire.continuation.filter(|text| !text.is_empty());
    let continuation =
        continuation.ok_or_else(|| invalid("continuation", "is missing or empty"))?;
    let before = wire.context.unwrap_or_default();
    let (tokens, border) = tokens(context, &engine, &before, &continuation).await?;
    let batch = Batch {
        prompts: vec![Prompt::Tokens(tokens)],
        samples: 1,
        common: Request {
            id: format!("ts-{}", context.place.new_id()),
            model: engine,
            max_tokens: Some(0),
            prompt_logprobs: Some(1),
            ..Request::default()
        },
        constraint: None,
    };
    let answers = answer::collect(batch.start(context).await?).await?;
    let answer = answers.into_iter().next();
    let answer = answer.ok_or_else(|| Error::Internal("there is no answer".into()))?;
    let continuation = answer.started.prompt.get(border..).unwrap_or_default();
    let logprob = |token: &TokenLogprob| f64::from(finite(token.logprob.unwrap_or(FLOOR)));
    let likeliest = |token: &TokenLogprob| token.top.first().is_some_and(|top| top.id == token.id);
    Ok(Scored {
        logprob: continuation.iter().map(logprob).sum(),
        num_tokens: continuation.len(),
        is_greedy: continuation.iter().all(likeliest),
        input_tokens: answer.started.prompt_tokens,
        total_tokens: answer.started.prompt_tokens,
    })
}

/// The tokens of context and continuation as one text, and how many of them are the context's.
async fn tokens(
    context: &Context,
    engine: &str,
    before: &str,
    continuation: &str,
) -> Result<(Vec<u32>, usize), Error> {
    let encode = async |text: String, add_special_tokens| {
        let prompt = Prompt::Text {
            text,
            add_special_tokens,
        };
        let encoded = context.inference.encode(engine, &prompt).await;
        encoded.map(|encoded| encoded.tokens)
    };
    // The end-of-text token takes the place of an empty context, and that of a BOS.
    let special = before.is_empty().then_some(false);
    let whole = encode(format!("{before}{continuation}"), special).await?;
    let border = border(&encode(before.into(), special).await?, &whole);
    if border > 0 {
        return Ok((whole, border));
    }
    let end = context.inference.tokenizer_info(engine).await?.eos_token;
    let end = end.ok_or_else(|| {
        let reason = "is empty, and the model has no end-of-text token to take its place";
        invalid("context", reason)
    })?;
    let mut tokens = encode(end, Some(false)).await?;
    let border = tokens.len();
    tokens.extend(whole);
    Ok((tokens, border))
}

/// How many tokens of the whole are the context's own. One that reaches across the border, as ` is`
/// where the context ends with the space, belongs to the continuation.
fn border(before: &[u32], whole: &[u32]) -> usize {
    let pairs = before.iter().zip(whole);
    pairs.take_while(|(own, joint)| own == joint).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_across_the_border_is_the_continuations() {
        assert_eq!(border(&[1, 2], &[1, 2, 3]), 2);
        assert_eq!(border(&[1, 2], &[1, 7]), 1);
        assert_eq!(border(&[1], &[7, 8]), 0);
        assert_eq!(border(&[], &[7]), 0);
    }
}
