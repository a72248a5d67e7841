//! Streamed answers: the events of all sequences, merged as they come, in a dialect's bytes.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use futures::stream::{select_all, unfold};
use serde::Serialize;
use tinderbox_protocol::{Error, Event, EventStream};

/// Writes a dialect's stream. What one call appends is sent as one chunk.
pub(crate) trait Encoder: Send + 'static {
    /// An event of sequence `index`.
    fn event(&mut self, index: usize, event: Event, out: &mut Vec<u8>);

    /// A sequence failed, and the answer ends.
    fn error(&mut self, error: Error, out: &mut Vec<u8>);

    /// Every sequence is complete.
    fn end(&mut self, out: &mut Vec<u8>);
}

/// The body of a streamed answer. Dropping it, as happens when the client goes away, drops the
/// event streams and so cancels their sequences.
pub(crate) fn body(streams: Vec<EventStream>, encoder: impl Encoder) -> Body {
    let indexed = streams.into_iter().enumerate();
    let events = select_all(indexed.map(|(index, s)| s.map(move |event| (index, event)).boxed()));
    let chunks = unfold(Some((events, encoder)), |state| async move {
        let (mut events, mut encoder) = state?;
        let mut chunk = Vec::new();
        loop {
            match events.next().await {
                Some((index, Ok(event))) => encoder.event(index, event, &mut chunk),
                Some((_, Err(error))) => {
                    encoder.error(error, &mut chunk);
                    return Some((chunk, None));
                }
                None => {
                    encoder.end(&mut chunk);
                    return (!chunk.is_empty()).then_some((chunk, None));
                }
            }
            if !chunk.is_empty() {
                return Some((chunk, Some((events, encoder))));
            }
        }
    });
    Body::from_stream(chunks.map(|chunk| Ok::<_, Infallible>(Bytes::from(chunk))))
}

/// An answer in pieces that nothing on the way should hold back.
pub(crate) fn response(content_type: &'static str, body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-cache"),
        // nginx collects a proxied answer unless told not to.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    let headers = headers.map(|(name, value)| (name, HeaderValue::from_static(value)));
    (headers, body).into_response()
}

/// Appends a JSON text: one line, because JSON has no raw line feeds.
pub(crate) fn json(value: &impl Serialize, out: &mut Vec<u8>) {
    if let Err(error) = serde_json::to_writer(out, value) {
        tracing::error!(%error, "a piece of an answer could not be written as JSON");
    }
}
