//! Streamed answers: an event a token.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use tinderbox_protocol::{Error, Event, Token, TokenLogprob};

use super::ask::{Form, Plan};
use super::errors::{Lorax, renamed};
use super::headers;
use super::wire::{StreamDetails, StreamEvent};
use crate::batch::invalid;
use crate::failure::Shape;
use crate::stream::{self, Encoder};
use crate::{Context, sse};

/// Asks and answers with a stream.
///
/// # Errors
/// A refusal.
pub(super) async fn answer(context: &Context, plan: Plan) -> Result<Response, Error> {
    let headers = headers::of_prompt(context, &plan.batch.common, plan.characters);
    let body = match unfit(&plan) {
        // LoRAX tells these two in the stream, where its clients look for them.
        Some(error) => {
            let mut event = Vec::new();
            broken(error, &mut event);
            Body::from(event)
        }
        None => {
            let streams = plan.batch.start(context).await;
            stream::body(streams.map_err(renamed)?, Tokens::new(plan.form))
        }
    };
    Ok((headers, sse::response(body)).into_response())
}

/// The end of a stream that fails.
pub(crate) fn broken(error: Error, out: &mut Vec<u8>) {
    sse::event(&Lorax::body(&error.into()), out);
}

/// What a stream cannot give.
fn unfit(plan: &Plan) -> Option<Error> {
    let reason = "is not possible in a stream";
    if plan.batch.samples > 1 {
        return Some(invalid(
            "parameters.best_of",
            "above 1 is not possible in a stream",
        ));
    }
    let prefill = plan.batch.common.prompt_logprobs;
    prefill.map(|_| invalid("parameters.decoder_input_details", reason))
}

/// A stream that ends with the event of the last token, and no mark: lorax-client reads every
/// `data:` as JSON.
struct Tokens {
    form: Form,
    prompt_tokens: usize,
    /// The text so far.
    text: String,
    /// The newest token, held back because the last one's event says more.
    newest: Option<Token>,
}

impl Tokens {
    fn new(form: Form) -> Tokens {
        Tokens {
            form,
            prompt_tokens: 0,
            text: String::new(),
            newest: None,
        }
    }

    /// Sends the newest token, with the whole text and details where it is the last.
    fn send(
        &mut self,
        generated_text: Option<String>,
        details: Option<StreamDetails>,
        out: &mut Vec<u8>,
    ) {
        let Some(mut token) = self.newest.take() else {
            return;
        };
        let scored = token.logprob.take().unwrap_or_else(|| TokenLogprob {
            id: token.id,
            bytes: Vec::new(),
            logprob: None,
            top: Vec::new(),
        });
        let event = StreamEvent {
            token: self.form.token(token, scored),
            generated_text,
            details,
        };
        sse::event(&event, out);
    }
}

impl Encoder for Tokens {
    fn event(&mut self, _index: usize, event: Event, out: &mut Vec<u8>) {
        match event {
            Event::Started(started) => self.prompt_tokens = started.prompt_tokens,
            Event::Token(token) => {
                self.send(None, None, out);
                self.text.push_str(&token.text);
                self.newest = Some(token);
            }
            Event::Finished(finish) => {
                self.text.push_str(&finish.text);
                if let Some(last) = &mut self.newest {
                    last.text.push_str(&finish.text);
                }
                let details = self.form.details.then(|| StreamDetails {
                    prompt_tokens: self.prompt_tokens,
                    end: self.form.end(&finish),
                });
                self.send(Some(self.form.text(&self.text)), details, out);
            }
        }
    }

    fn error(&mut self, error: Error, out: &mut Vec<u8>) {
        tracing::warn!(%error, "a stream ended early");
        self.send(None, None, out);
        broken(error, out);
    }

    fn end(&mut self, _out: &mut Vec<u8>) {}
}
