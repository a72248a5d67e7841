//! Sequences: their tokens and their times, as the caller sees them.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, Registry};
use tinderbox_protocol::{Error, Event, EventStream, Finish};

use super::{Metrics, SECONDS, TOKENS, counter, counters, histogram, timers};
use crate::{Context, Place};

pub(super) struct Sequences {
    prompt_tokens: IntCounterVec,
    cached_tokens: IntCounterVec,
    generated_tokens: IntCounterVec,
    queue: HistogramVec,
    first_token: HistogramVec,
    per_token: HistogramVec,
    lorax: Lorax,
}

impl Sequences {
    pub fn new(registry: &Registry) -> Sequences {
        let counters = |name, help| counters(registry, name, help, &["model"]);
        let timers = |name, help| timers(registry, name, help, &["model"]);
        Sequences {
            prompt_tokens: counters(
                "tinderbox_prompt_tokens_total",
                "Tokens in: those of each sequence's prompt, added BOS included.",
            ),
            cached_tokens: counters(
                "tinderbox_cached_prompt_tokens_total",
                "Of the tokens in, those found in the prefix cache in place of being computed.",
            ),
            generated_tokens: counters(
                "tinderbox_generated_tokens_total",
                "Tokens out: those of each sequence's answer, end token included.",
            ),
            queue: timers(
                "tinderbox_queue_seconds",
                "Time a sequence waited for the first step on its prompt.",
            ),
            first_token: timers(
                "tinderbox_time_to_first_token_seconds",
                "Time from asking for a sequence to its first token.",
            ),
            per_token: timers(
                "tinderbox_time_per_output_token_seconds",
                "Mean time between the tokens of a finished sequence, the first token left out.",
            ),
            lorax: Lorax::new(registry),
        }
    }
}

/// What LoRAX's dashboards read. Its request is a sequence here.
struct Lorax {
    count: IntCounter,
    success: IntCounter,
    failure: IntCounterVec,
    duration: Histogram,
    validation: Histogram,
    queue: Histogram,
    inference: Histogram,
    per_token: Histogram,
    generated: Histogram,
    input: Histogram,
}

impl Lorax {
    fn new(registry: &Registry) -> Lorax {
        let counter = |name, help| counter(registry, name, help);
        let time = |name, help| histogram(registry, name, help, &SECONDS);
        let tokens = |name, help| histogram(registry, name, help, &TOKENS);
        Lorax {
            count: counter("lorax_request_count", "Sequences asked for."),
            success: counter("lorax_request_success", "Sequences that finished."),
            failure: counters(
                registry,
                "lorax_request_failure",
                "Sequences that were refused, failed, or were dropped by their client.",
                &["err"],
            ),
            duration: time("lorax_request_duration", "Seconds in all."),
            validation: time(
                "lorax_request_validation_duration",
                "Seconds of checks and tokenization.",
            ),
            queue: time("lorax_request_queue_duration", "Seconds in the queue."),
            inference: time(
                "lorax_request_inference_duration",
                "Seconds from the first step on the prompt to the end.",
            ),
            per_token: time(
                "lorax_request_mean_time_per_token_duration",
                "Seconds of inference for each generated token.",
            ),
            generated: tokens("lorax_request_generated_tokens", "Tokens generated."),
            input: tokens("lorax_request_input_length", "Tokens of the prompt."),
        }
    }
}

/// Measures one sequence.
pub(crate) struct Meter {
    metrics: Arc<Metrics>,
    place: Arc<dyn Place>,
    model: String,
    asked: Duration,
    accepted: Duration,
    queued: Duration,
    first_token: Option<Duration>,
    over: bool,
}

impl Meter {
    /// A sequence is asked of a model.
    pub fn start(context: &Context, model: &str) -> Meter {
        let now = context.place.uptime();
        // The card's name, because a caller may write any.
        let model = context.card(model).map_or_else(String::new, |card| card.id);
        context.metrics.sequences.lorax.count.inc();
        Meter {
            metrics: context.metrics.clone(),
            place: context.place.clone(),
            model,
            asked: now,
            accepted: now,
            queued: Duration::ZERO,
            first_token: None,
            over: false,
        }
    }

    /// It was taken in, or refused.
    pub fn accepted(&mut self, events: &Result<EventStream, Error>) {
        self.accepted = self.place.uptime();
        if let Err(error) = events {
            self.fail(word(error));
        }
    }

    /// Something came of it.
    pub fn event(&mut self, event: &Result<Event, Error>) {
        let sequences = &self.metrics.sequences;
        let model = [&self.model];
        match event {
            Ok(Event::Started(started)) => {
                let tokens = started.prompt_tokens;
                sequences
                    .prompt_tokens
                    .with_label_values(&model)
                    .inc_by(tokens as u64);
                let cached = sequences.cached_tokens.with_label_values(&model);
                cached.inc_by(started.cached_tokens as u64);
                sequences.lorax.input.observe(tokens as f64);
                let queue = sequences.queue.with_label_values(&model);
                queue.observe(started.queued.as_secs_f64());
                self.queued = started.queued;
            }
            Ok(Event::Token(_)) => {
                sequences.generated_tokens.with_label_values(&model).inc();
                if self.first_token.is_none() {
                    let now = self.place.uptime();
                    let timer = sequences.first_token.with_label_values(&model);
                    timer.observe(seconds(self.asked, now));
                    self.first_token = Some(now);
                }
            }
            Ok(Event::Finished(finish)) => self.finish(finish),
            Err(error) => self.fail(word(error)),
        }
    }

    fn finish(&mut self, finish: &Finish) {
        self.over = true;
        let now = self.place.uptime();
        let Sequences {
            per_token, lorax, ..
        } = &self.metrics.sequences;
        let tokens = finish.completion_tokens;
        if let Some(first) = self.first_token.filter(|_| tokens > 1) {
            let mean = seconds(first, now) / (tokens - 1) as f64;
            per_token.with_label_values(&[&self.model]).observe(mean);
        }
        let inference = seconds(self.accepted + self.queued, now);
        lorax.success.inc();
        lorax.duration.observe(seconds(self.asked, now));
        lorax.validation.observe(seconds(self.asked, self.accepted));
        lorax.queue.observe(self.queued.as_secs_f64());
        lorax.inference.observe(inference);
        lorax.generated.observe(tokens as f64);
        if tokens > 0 {
            lorax.per_token.observe(inference / tokens as f64);
        }
    }

    fn fail(&mut self, word: &str) {
        self.over = true;
        let failure = &self.metrics.sequences.lorax.failure;
        failure.with_label_values(&[word]).inc();
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if !self.over {
            self.fail("dropped");
        }
    }
}

fn seconds(from: Duration, to: Duration) -> f64 {
    to.saturating_sub(from).as_secs_f64()
}

/// LoRAX's word for a failure, where it has one.
fn word(error: &Error) -> &'static str {
    match error {
        Error::Overloaded { .. } => "overloaded",
        Error::Template(_) => "template",
        Error::Internal(_) => "generation",
        Error::NoModel | Error::Unavailable { .. } => "unavailable",
        _ => "validation",
    }
}
