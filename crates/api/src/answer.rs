//! Whole answers, for requests that do not stream.

use futures::StreamExt;
use futures::future::try_join_all;
use tinderbox_protocol::{
    Error, Event, EventStream, Finish, FinishReason, Started, Token, TokenLogprob,
};

/// One sequence from its first event to its last.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The prompt, as the model saw it.
    pub started: Started,
    /// The generated text.
    pub text: String,
    /// The generated tokens, without logprobs; their texts together are the text.
    pub tokens: Vec<Token>,
    /// One entry a generated token, where logprobs were asked.
    pub logprobs: Vec<TokenLogprob>,
    /// How it ended.
    pub finish: Finish,
}

impl Answer {
    /// Mean of the tokens' log-probabilities; an answer without any comes last.
    fn mean_logprob(&self) -> f64 {
        let values = self.logprobs.iter().filter_map(|token| token.logprob);
        let sum: f64 = values.map(f64::from).sum();
        match self.logprobs.len() {
            0 => f64::NEG_INFINITY,
            count => sum / count as f64,
        }
    }
}

/// Reads all streams at once; the answers are in their order.
///
/// # Errors
/// The first error; the other sequences are cancelled.
pub(crate) async fn collect(streams: Vec<EventStream>) -> Result<Vec<Answer>, Error> {
    try_join_all(streams.into_iter().map(read)).await
}

async fn read(mut events: EventStream) -> Result<Answer, Error> {
    let mut started = Started::default();
    let mut text = String::new();
    let mut tokens: Vec<Token> = Vec::new();
    let mut logprobs = Vec::new();
    while let Some(event) = events.next().await {
        match event? {
            Event::Started(event) => started = event,
            Event::Token(mut token) => {
                text.push_str(&token.text);
                logprobs.extend(token.logprob.take());
                tokens.push(token);
            }
            Event::Finished(finish) => {
                text.push_str(&finish.text);
                if let Some(last) = tokens.last_mut() {
                    last.text.push_str(&finish.text);
                }
                return Ok(Answer {
                    started,
                    text,
                    tokens,
                    logprobs,
                    finish,
                });
            }
        }
    }
    Err(Error::Internal("the answer has no end".into()))
}

/// OpenAI's word for how a sequence ended.
pub(crate) fn finish_reason(reason: &FinishReason) -> &'static str {
    match reason {
        FinishReason::EndToken(_) | FinishReason::StopString(_) | FinishReason::Complete => "stop",
        FinishReason::Length => "length",
    }
}

/// Of `samples` answers to each prompt, the `keep` with the best mean log-probability.
pub(crate) fn best(answers: Vec<Answer>, samples: usize, keep: usize) -> Vec<Answer> {
    if samples == keep {
        return answers;
    }
    let mut kept = Vec::new();
    let mut answers = answers.into_iter();
    while answers.len() > 0 {
        let mut group: Vec<Answer> = answers.by_ref().take(samples).collect();
        rank(&mut group);
        kept.extend(group.into_iter().take(keep));
    }
    kept
}

/// Sorts answers to one prompt: the best mean log-probability first.
pub(crate) fn rank(answers: &mut [Answer]) {
    answers.sort_by(|a, b| b.mean_logprob().total_cmp(&a.mean_logprob()));
}
