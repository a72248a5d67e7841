//! Whole answers.

use axum::http::HeaderMap;
use tinderbox_protocol::{self as protocol, Error, Finish, FinishReason, TokenLogprob};

use super::ask::{Form, Plan};
use super::errors::renamed;
use super::headers::{self, Watch};
use super::wire::{
    AlternativeToken, Details, End, Generated, InputToken, OtherSequence, Sequence, Token,
};
use crate::Context;
use crate::answer::{self, Answer};
use crate::tokens::{FLOOR, finite};

/// Asks and answers, with the headers that go with it.
///
/// # Errors
/// A refusal, or a failure before the end.
pub(super) async fn whole(
    context: &Context,
    mut watch: Watch,
    plan: Plan,
) -> Result<(HeaderMap, Generated), Error> {
    let Plan {
        mut batch,
        form,
        characters,
    } = plan;
    if !form.details && batch.samples == 1 {
        // Nobody sees them, and a greedy answer is cheaper without.
        batch.common.logprobs = None;
    }
    let mut headers = headers::of_prompt(context, &batch.common, characters);
    let streams = batch.start(context).await.map_err(renamed)?;
    watch.accepted();
    let streams = streams.into_iter().map(|events| watch.until_first(events));
    let mut answers = answer::collect(streams.collect()).await?;
    answer::rank(&mut answers);
    let mut answers = answers.into_iter();
    let best = answers
        .next()
        .ok_or_else(|| Error::Internal("there is no answer".into()))?;
    headers.extend(watch.headers(&best));
    let others: Vec<OtherSequence> = answers.map(|answer| form.other(answer)).collect();
    Ok((headers, form.generated(best, others)))
}

impl Form {
    fn generated(&self, answer: Answer, others: Vec<OtherSequence>) -> Generated {
        Generated {
            generated_text: self.text(&answer.text),
            details: self.details.then(|| Details {
                prompt_tokens: answer.started.prompt_tokens,
                sequence: self.sequence(answer),
                best_of_sequences: (!others.is_empty()).then_some(others),
            }),
        }
    }

    fn other(&self, answer: Answer) -> OtherSequence {
        OtherSequence {
            generated_text: self.text(&answer.text),
            sequence: self.sequence(answer),
        }
    }

    /// A text as it is answered.
    pub fn text(&self, text: &str) -> String {
        format!("{}{text}", self.prompt)
    }

    fn sequence(&self, answer: Answer) -> Sequence {
        let tokens = answer.tokens.into_iter().zip(answer.logprobs);
        Sequence {
            end: self.end(&answer.finish),
            prefill: answer.started.prompt.into_iter().map(input).collect(),
            tokens: tokens
                .map(|(token, scored)| self.token(token, scored))
                .collect(),
        }
    }

    pub fn end(&self, finish: &Finish) -> End {
        End {
            finish_reason: match finish.reason {
                FinishReason::Length => "length",
                FinishReason::EndToken(_) | FinishReason::Complete => "eos_token",
                FinishReason::StopString(_) => "stop_sequence",
            },
            generated_tokens: finish.completion_tokens,
            skipped_tokens: 0,
            seed: self.sampled.then_some(finish.seed),
        }
    }

    pub fn token(&self, token: protocol::Token, scored: TokenLogprob) -> Token {
        let alternatives = scored.top.iter().map(|other| AlternativeToken {
            id: other.id,
            text: name(&other.bytes),
            logprob: finite(other.logprob),
        });
        Token {
            id: token.id,
            // A mark has a name, unless it brings text that waited for it.
            text: match token.special && token.text.is_empty() {
                true => name(&scored.bytes),
                false => token.text,
            },
            // Clients need a number.
            logprob: finite(scored.logprob.unwrap_or(FLOOR)),
            special: token.special,
            skipped: false,
            alternative_tokens: self.alternatives.then(|| alternatives.collect()),
        }
    }
}

fn input(token: TokenLogprob) -> InputToken {
    InputToken {
        id: token.id,
        text: name(&token.bytes),
        logprob: token.logprob.map(finite),
    }
}

/// A token alone; half a character is U+FFFD.
pub(super) fn name(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
