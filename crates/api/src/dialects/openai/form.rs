//! What the two endpoints share on the way back: whole answers and streams of chunks. They differ
//! in their [`Form`].

use axum::Json;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tinderbox_protocol::{Error, Event};

use super::errors::{OpenAi, Refusal};
use super::wire::{Envelope, Options};
use crate::answer::{self, Answer};
use crate::batch::Batch;
use crate::failure::Shape;
use crate::stream::{self, Encoder};
use crate::usage::Usage;
use crate::{Context, sse};

/// What a handler answers.
pub(super) type Reply = Result<Response, Refusal>;

/// The shape of an endpoint's choices.
pub(super) trait Form: Send + 'static {
    /// `object` of a whole answer.
    const ANSWER: &'static str;
    /// `object` of a chunk.
    const CHUNK: &'static str;
    /// An element of a whole answer's `choices`.
    type Choice: Serialize;
    /// An element of a chunk's `choices`.
    type Piece: Serialize;

    /// The choice at `index`.
    fn choice(&self, index: usize, answer: Answer) -> Self::Choice;

    /// The pieces an event of choice `index` makes, each a chunk of its own.
    fn pieces(&mut self, index: usize, event: Event) -> Vec<Self::Piece>;
}

/// What to ask and how to answer it.
pub(super) struct Plan<F> {
    /// What to ask.
    pub batch: Batch,
    /// Samples of each prompt to answer; the best of the batch's.
    pub keep: usize,
    /// Whether to stream.
    pub stream: Option<Stream>,
    /// How to answer.
    pub form: F,
}

/// A wish for a stream.
pub(super) struct Stream {
    /// With a last chunk of token counts.
    pub include_usage: bool,
}

impl Stream {
    /// The stream the options ask for.
    pub fn of(options: &Options) -> Option<Stream> {
        let extras = options.stream_options.as_ref();
        let include_usage = extras.and_then(|o| o.include_usage).unwrap_or(false);
        (options.stream == Some(true)).then_some(Stream { include_usage })
    }
}

/// Asks and answers.
pub(super) async fn answer<F: Form>(context: &Context, plan: Plan<F>) -> Reply {
    let samples = plan.batch.samples;
    let head = Head {
        id: plan.batch.common.id.clone(),
        created: context.place.now(),
        model: match &plan.batch.common.adapter {
            Some(adapter) => adapter.ids.join(","),
            None => context.model_name(&plan.batch.common.model),
        },
    };
    let streams = plan.batch.start(context).await?;
    if let Some(Stream { include_usage }) = plan.stream {
        let chunks = Chunks {
            head,
            samples,
            usage: Usage::default(),
            include_usage,
            form: plan.form,
        };
        return Ok(sse::response(stream::body(streams, chunks)));
    }
    let answers = answer::collect(streams).await?;
    let usage = Usage::of(&answers, samples);
    let answers = answer::best(answers, samples, plan.keep);
    let choices = answers.into_iter().enumerate();
    let choices = choices.map(|(index, answer)| plan.form.choice(index, answer));
    let usage = Some(Some(usage.into()));
    Ok(Json(head.envelope(F::ANSWER, choices.collect(), usage)).into_response())
}

/// What is the same on every chunk.
struct Head {
    id: String,
    created: u64,
    model: String,
}

impl Head {
    fn envelope<C>(
        &self,
        object: &'static str,
        choices: Vec<C>,
        usage: Option<Option<super::wire::Usage>>,
    ) -> Envelope<'_, C> {
        Envelope {
            id: &self.id,
            object,
            created: self.created,
            model: &self.model,
            choices,
            usage,
        }
    }
}

/// The end of a stream that fails.
pub(crate) fn broken(error: Error, out: &mut Vec<u8>) {
    sse::event(&OpenAi::body(&error.into()), out);
    sse::done(out);
}

/// A stream of chunks.
struct Chunks<F> {
    head: Head,
    samples: usize,
    usage: Usage,
    include_usage: bool,
    form: F,
}

impl<F: Form> Encoder for Chunks<F> {
    fn event(&mut self, index: usize, event: Event, out: &mut Vec<u8>) {
        self.usage.count(index, self.samples, &event);
        for piece in self.form.pieces(index, event) {
            let usage = self.include_usage.then_some(None);
            sse::event(&self.head.envelope(F::CHUNK, vec![piece], usage), out);
        }
    }

    fn error(&mut self, error: Error, out: &mut Vec<u8>) {
        tracing::warn!(answer = self.head.id, %error, "a stream ended early");
        broken(error, out);
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if self.include_usage {
            let usage = Some(Some(self.usage.into()));
            let choices: Vec<F::Piece> = Vec::new();
            sse::event(&self.head.envelope(F::CHUNK, choices, usage), out);
        }
        sse::done(out);
    }
}
