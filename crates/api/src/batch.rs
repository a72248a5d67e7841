//! Several prompts, several samples of each: the sequences behind one HTTP request.

use futures::{StreamExt, TryStreamExt, stream};
use tinderbox_protocol::{Error, Event, EventStream, Prompt, Request};

use crate::Context;
use crate::constraint::Asked;
use crate::metrics::Meter;

/// Most sequences of one HTTP request.
pub(crate) const MAX_SEQUENCES: usize = 1024;

/// Sequences started at once: enough to hide a distant engine's delay, few enough that a request
/// that is refused was not copied many times.
const STARTING: usize = 8;

/// The sequences of one HTTP request. Sample `j` of prompt `i` has the index `i · samples + j`.
pub(crate) struct Batch {
    /// What to continue.
    pub prompts: Vec<Prompt>,
    /// Answers to each prompt, 1 or more.
    pub samples: usize,
    /// What all sequences share. Its id is the whole answer's, its seed the first sample's.
    pub common: Request,
    /// What every answer must look like.
    pub constraint: Option<Asked>,
}

impl Batch {
    /// Starts every sequence; the streams are in index order, and each ends with
    /// [`Event::Finished`] or an error.
    ///
    /// # Errors
    /// The first refusal; what was started is cancelled.
    pub async fn start(self, context: &Context) -> Result<Vec<EventStream>, Error> {
        let count = self.prompts.len().saturating_mul(self.samples);
        if count > MAX_SEQUENCES {
            let reason = format!(
                "{} prompts with {} samples each are {count} sequences; one request takes at most \
                 {MAX_SEQUENCES}",
                self.prompts.len(),
                self.samples,
            );
            return Err(invalid("prompt", reason));
        }
        tracing::debug!(answer = self.common.id, sequences = count, "start");
        let streams = start(context, (0..count).map(|index| self.request(index))).await;
        streams.map_err(|error| match &self.constraint {
            Some(asked) => asked.renamed(error),
            None => error,
        })
    }

    fn request(&self, index: usize) -> Request {
        let (prompt, sample) = (index / self.samples, index % self.samples);
        let mut request = Request {
            id: format!("{}-{index}", self.common.id),
            prompt: self.prompts[prompt].clone(),
            constraint: self
                .constraint
                .as_ref()
                .map(|asked| asked.constraint.clone()),
            ..self.common.clone()
        };
        let seed = &mut request.sampling.seed;
        *seed = seed.map(|seed| seed.wrapping_add(sample as u64));
        request
    }
}

/// Starts sequences that differ in more than their prompt; the streams are in their order.
///
/// # Errors
/// The first refusal; what was started is cancelled.
pub(crate) async fn start(
    context: &Context,
    requests: impl IntoIterator<Item = Request>,
) -> Result<Vec<EventStream>, Error> {
    let starts = requests
        .into_iter()
        .map(|request| sequence(context, request));
    stream::iter(starts).buffered(STARTING).try_collect().await
}

async fn sequence(context: &Context, request: Request) -> Result<EventStream, Error> {
    let mut meter = Meter::start(context, &request.model);
    let events = context.inference.generate(request).await;
    meter.accepted(&events);
    let events = whole(events?);
    Ok(events.inspect(move |event| meter.event(event)).boxed())
}

/// The stream, with an error where it breaks off.
fn whole(events: EventStream) -> EventStream {
    let next = |events: Option<EventStream>| async move {
        let mut events = events?;
        let event = events.next().await.unwrap_or_else(|| {
            let reason = "the engine's answer broke off";
            Err(Error::Internal(reason.into()))
        });
        let more = matches!(event, Ok(Event::Started(_) | Event::Token(_)));
        Some((event, more.then_some(events)))
    };
    stream::unfold(Some(events), next).boxed()
}

/// A field that is wrong.
pub(crate) fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Error {
    Error::Invalid {
        field: field.into(),
        reason: reason.into(),
    }
}
