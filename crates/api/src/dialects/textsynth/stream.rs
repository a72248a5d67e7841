//! Streamed answers: JSON, each on a line and with an empty line behind it. Clients read a chunk of
//! the body as one answer, so each is sent alone.

use axum::response::Response;
use serde::Serialize;
use tinderbox_protocol::{Error, Event, EventStream};

use super::errors::TextSynth;
use super::reply::{Form, reason};
use super::wire::Generated;
use crate::failure::Shape;
use crate::stream::{self, Encoder};
use crate::usage::Usage;

/// The answers of all sequences.
pub(super) fn response(streams: Vec<EventStream>, form: Form) -> Response {
    let none = vec![String::new(); streams.len()];
    let answers = Answers {
        form,
        reasons: none.clone(),
        last: none,
        usage: Usage::default(),
        truncated: false,
    };
    stream::response("application/json", stream::body(streams, answers))
}

struct Answers {
    form: Form,
    /// The text each sequence ended with, for the last answer.
    last: Vec<String>,
    /// Why each sequence ended.
    reasons: Vec<String>,
    usage: Usage,
    /// A prompt was cut.
    truncated: bool,
}

impl Encoder for Answers {
    fn event(&mut self, index: usize, event: Event, out: &mut Vec<u8>) {
        self.usage.count(index, self.form.samples, &event);
        match event {
            Event::Started(started) => self.truncated |= started.truncated,
            Event::Token(token) if token.text.is_empty() => {}
            Event::Token(token) => {
                let mut texts = vec![String::new(); self.last.len()];
                texts[index] = token.text;
                let answer = Generated {
                    text: self.form.values(texts),
                    reached_end: false,
                    end: None,
                };
                line(&answer, out);
            }
            Event::Finished(finish) => {
                self.reasons[index] = reason(&finish.reason);
                self.last[index] = finish.text;
            }
        }
    }

    fn error(&mut self, error: Error, out: &mut Vec<u8>) {
        tracing::warn!(%error, "a stream ended early");
        broken(error, out);
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        let reasons = std::mem::take(&mut self.reasons);
        let last = std::mem::take(&mut self.last);
        let answer = Generated {
            text: self.form.values(last),
            reached_end: true,
            end: Some(self.form.end(self.truncated, reasons, self.usage)),
        };
        line(&answer, out);
    }
}

/// The end of a stream that fails.
pub(crate) fn broken(error: Error, out: &mut Vec<u8>) {
    line(&TextSynth::body(&error.into()), out);
}

fn line(answer: &impl Serialize, out: &mut Vec<u8>) {
    stream::json(answer, out);
    out.extend(b"\n\n");
}
