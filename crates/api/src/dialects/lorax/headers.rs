//! What LoRAX tells of an answer in its headers: who, how much, how long. Times are whole
//! milliseconds.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use futures::StreamExt;
use tinderbox_protocol::{Event, EventStream, Request};

use crate::answer::Answer;
use crate::{Context, Place, adapters};

/// What is known before there is an answer.
pub(super) fn of_prompt(context: &Context, request: &Request, characters: usize) -> HeaderMap {
    let card = context.card(&request.model);
    let (id, device) = card.map_or_else(Default::default, |card| (card.id, card.device));
    let adapter = request.adapter.as_ref().map(|adapter| {
        [
            ("x-adapter-id", adapter.ids.join(",")),
            ("x-adapter-source", adapters::word(adapter.source).into()),
        ]
    });
    HeaderMap::from_iter(
        [
            ("x-compute-type", device_type(&device)),
            ("x-compute-characters", characters.to_string()),
            ("x-model-id", id),
        ]
        .into_iter()
        .chain(adapter.into_iter().flatten())
        .filter_map(header),
    )
}

/// The first word of a device's description, as in `cpu`.
pub(super) fn device_type(device: &str) -> String {
    let word = device.split_whitespace().next().unwrap_or_default();
    word.to_lowercase()
}

/// A header; none where the value cannot be one, as with a name that is not ASCII.
fn header((name, value): (&'static str, String)) -> Option<(HeaderName, HeaderValue)> {
    let value = HeaderValue::from_str(&value).ok()?;
    Some((HeaderName::from_static(name), value))
}

/// Notes when things happen, in uptimes.
pub(super) struct Watch {
    place: Arc<dyn Place>,
    asked: Duration,
    accepted: Duration,
    first: Arc<OnceLock<Duration>>,
}

impl Watch {
    /// A request has come.
    pub fn start(context: &Context) -> Watch {
        let now = context.place.uptime();
        Watch {
            place: context.place.clone(),
            asked: now,
            accepted: now,
            first: Arc::default(),
        }
    }

    /// It was right, and the engine has it.
    pub fn accepted(&mut self) {
        self.accepted = self.place.uptime();
    }

    /// The same events; notes when the first token comes.
    pub fn until_first(&self, events: EventStream) -> EventStream {
        let (place, first) = (self.place.clone(), self.first.clone());
        let note = move |event: &Result<Event, _>| {
            if let Ok(Event::Token(_)) = event {
                first.get_or_init(|| place.uptime());
            }
        };
        events.inspect(note).boxed()
    }

    /// What is known when the answer is complete.
    pub fn headers(&self, answer: &Answer) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
        let now = self.place.uptime();
        let first = self.first.get().copied().unwrap_or(now);
        let queue = answer.started.queued;
        let total = now.saturating_sub(self.asked);
        let inference = now.saturating_sub(self.accepted + queue);
        let prompt = answer.started.prompt_tokens;
        let generated = answer.finish.completion_tokens;
        let each = |time: Duration, count: usize| time.as_millis() / (count.max(1) as u128);
        [
            ("x-compute-time", total.as_millis()),
            ("x-total-time", total.as_millis()),
            (
                "x-validation-time",
                self.accepted.saturating_sub(self.asked).as_millis(),
            ),
            ("x-queue-time", queue.as_millis()),
            ("x-inference-time", inference.as_millis()),
            ("x-time-per-token", each(inference, generated)),
            (
                "x-time-to-first-token",
                first.saturating_sub(self.asked).as_millis(),
            ),
            (
                "x-time-per-output-token",
                each(now.saturating_sub(first), generated.saturating_sub(1)),
            ),
            ("x-prompt-tokens", prompt as u128),
            ("x-generated-tokens", generated as u128),
            ("x-skipped-tokens", 0),
            ("x-total-tokens", (prompt + generated) as u128),
        ]
        .into_iter()
        .filter_map(|(name, value)| header((name, value.to_string())))
    }
}
