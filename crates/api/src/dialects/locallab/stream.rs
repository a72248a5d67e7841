//! Streams: raw text in `data:` lines, framed for what the three clients do with a line.

use axum::response::Response;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tinderbox_protocol::{Error, Event, EventStream};

use crate::failure::Failure;
use crate::sse;
use crate::stream::{self, Encoder};

/// Texts that mean something to the Python client or the command line at the start of a line.
const MARKS: [&str; 3] = ["[DONE]", "[ERROR]", "Error:"];

/// What an event is made of.
#[derive(Clone, Copy)]
pub(crate) enum Frame {
    /// The line `data: <text>`.
    Text,
    /// The same and a line of JSON, which parsers of server-sent events ignore. The command line
    /// reads the first, the Python client's `stream_chat` the second.
    Chat,
}

impl Frame {
    fn write(self, text: &str, chunk: Value, out: &mut Vec<u8>) {
        // No client undoes this, but all need one line.
        let line = text.replace('\n', "\\n").replace('\r', "\\r");
        let event = match self {
            Frame::Text => format!("data: {line}\n\n"),
            Frame::Chat => format!("data: {line}\n{chunk}\n\n"),
        };
        out.extend(event.into_bytes());
    }
}

/// The end of a stream that fails.
pub(crate) fn broken(frame: Frame, error: Error, out: &mut Vec<u8>) {
    let message = Failure::from(error).message();
    let value = json!({ "error": message });
    frame.write(&format!("[ERROR] {message}"), value, out);
}

/// A streamed answer.
pub(super) fn response(streams: Vec<EventStream>, frame: Frame) -> Response {
    let held = String::new();
    sse::response(stream::body(streams, Texts { frame, held }))
}

/// The stream of one sequence.
struct Texts {
    frame: Frame,
    /// Text that must not be an event's end, or an event by itself.
    held: String,
}

impl Encoder for Texts {
    fn event(&mut self, _index: usize, event: Event, out: &mut Vec<u8>) {
        match event {
            Event::Started(_) => {}
            Event::Token(token) => self.text(&token.text, out),
            Event::Finished(finish) => self.text(&finish.text, out),
        }
    }

    fn error(&mut self, error: Error, out: &mut Vec<u8>) {
        tracing::warn!(%error, "a stream ended early");
        self.flush(out);
        broken(self.frame, error, out);
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.flush(out);
        self.frame.write("[DONE]", json!("[DONE]"), out);
    }
}

impl Texts {
    /// Sends what may be sent. Clients strip a line, so white space waits for what follows it. The
    /// command line drops a line that is JSON, such as a number, so this waits too.
    fn text(&mut self, text: &str, out: &mut Vec<u8>) {
        self.held.push_str(text);
        let solid = self.held.trim_end_matches(is_space);
        let json = serde_json::from_str::<IgnoredAny>(solid).is_ok();
        if !json {
            self.flush(out);
        }
    }

    /// Sends all but the white space at the end.
    fn flush(&mut self, out: &mut Vec<u8>) {
        let end = self.held.trim_end_matches(is_space).len();
        let space = self.held.split_off(end);
        let text = std::mem::replace(&mut self.held, space);
        match MARKS.iter().any(|mark| text.starts_with(mark)) {
            // In two events it is text to everybody.
            true => {
                let (first, rest) = text.split_at(1);
                self.piece(first, out);
                self.piece(rest, out);
            }
            false if text.is_empty() => {}
            false => self.piece(&text, out),
        }
    }

    fn piece(&self, text: &str, out: &mut Vec<u8>) {
        let chunk = json!({"choices": [{"index": 0, "delta": {"content": text}}]});
        self.frame.write(text, chunk, out);
    }
}

/// What Python's `strip` takes away.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}
