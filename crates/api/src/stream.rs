//! Streamed answers: the events of all sequences, merged as they come, in a dialect's bytes.

use std::convert::Infallible;

use axum::body::{Body, Bytes};
use futures::StreamExt;
use futures::stream::{select_all, unfold};
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
